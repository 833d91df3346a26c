"""Other people's JavaScript: run by Node from what `npm ci` put beside this file."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
NODE_MODULES = HERE / "node_modules"


def need_node() -> str:
    """Give Node's path; skip where it or the packages are absent, fail where CI must have them."""
    node = shutil.which("node")
    if node is not None and NODE_MODULES.is_dir():
        return node
    reason = "Node and the packages of tests/npm are needed: `make test` installs the packages"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def node(script: str, *arguments: str, stdin: str = "", timeout_s: float = 60.0) -> str:
    """Run a script (CommonJS) that may `require` the packages; give what it prints."""
    done = subprocess.run(
        [need_node(), "-e", script, "--", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=HERE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
