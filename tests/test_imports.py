"""Who may import whom, and what an installation without the extras can still do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ("numpy", "shapely", "rtree", "pyproj", "sqlalchemy", "alembic", "tzfpy", "rich")
OTHER_EXTRAS = ("geopandas", "pyogrio", "pandas", "bleak", "psycopg", "nats", "aiomqtt", "scipy")

# Stands in for an environment in which the libraries were never installed.
BLOCKER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
{code}
"""


def run_without(blocked: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKER.format(blocked=set(blocked), code=code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_run_one_way() -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 broken" in ended.stdout


@pytest.mark.parametrize(
    ("what", "blocked"),
    [
        ("beacon_gateway", (*ENGINE, *OTHER_EXTRAS)),
        ("beacon_gateway.__main__", (*ENGINE, *OTHER_EXTRAS)),
        ("geofences", (*OTHER_EXTRAS, "aiohttp", "sqlalchemy", "alembic", "tzfpy", "rich")),
        ("geofences.__main__", (*OTHER_EXTRAS, "aiohttp", "sqlalchemy", "alembic", "tzfpy")),
        ("proximity", OTHER_EXTRAS),
        ("proximity.installation", (*ENGINE, *OTHER_EXTRAS)),
        ("simulator", OTHER_EXTRAS),
    ],
)
def test_a_package_imports_with_only_what_it_needs(what: str, blocked: tuple[str, ...]) -> None:
    ended = run_without(blocked, f"import {what}")
    assert ended.returncode == 0, ended.stderr


def test_a_gateway_never_loads_the_engine_though_it_is_installed() -> None:
    # All but rich, which is no part of the engine: structlog itself loads it wherever it is there.
    engine = {*ENGINE, "proximity", "geofences"} - {"rich"}
    code = f"import sys, beacon_gateway.__main__; print(*({engine!r} & set(sys.modules)))"
    ended = run_without((), code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == ""


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("geofences", ["check", "nowhere.geojson"]),
        ("proximity", ["serve", "--data", "nowhere"]),
        ("simulator", ["replay", "nowhere.jsonl", "--fences", "nowhere.geojson"]),
    ],
)
def test_a_command_without_its_extra_names_the_pip_line(package: str, arguments: list[str]) -> None:
    code = f"""
sys.argv = [{package!r}, *{arguments!r}]
from {package}.__main__ import main
sys.exit(main())
"""
    ended = run_without(ENGINE, code)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "pip install 'proximity-engine[engine]'" in ended.stderr
