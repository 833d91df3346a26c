"""The question: where is a channel's secret kept, and is it kept well enough.

From a file or from the environment, never from the campaigns file, which is shown around. It must
not know what the secret opens. No problem that it names holds any of it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from proximity.tomltable import TomlTable

__all__ = ["read_credential"]

_MOST_BYTES = 64 * 1024
"""A service account is some 2.4 kB, a key of Apple's some 260 bytes."""


def read_credential(table: TomlTable, folder: Path, stem: str, what: str) -> str | None:
    """Read ``{stem}_file``, relative to ``folder``, or the variable that ``{stem}_env`` names.

    ``what`` says in words what is wanted. None where it cannot be had, and the table has the fault:
    neither or both named, unreadable, no plain file, readable by everybody, empty or too large.
    """
    file, variable = table.text(f"{stem}_file"), table.text(f"{stem}_env")
    if (file is None) == (variable is None):
        table.fault(f"name either {stem}_file or {stem}_env: where {what} is kept")
        return None
    if file is not None:
        where = f"{stem}_file {file!r:.80}"
        raw, problem = _read(folder / file)
    else:
        where = f"{stem}_env {variable!r:.80}"
        raw, problem = os.environb.get(os.fsencode(variable or ""), b""), ""
    if problem:
        table.fault(f"{where} {problem}; it is to hold {what}")
        return None
    if not raw.strip():
        table.fault(f"{where} is empty; put {what} there")
        return None
    if len(raw) > _MOST_BYTES:
        table.fault(f"{where} is longer than {_MOST_BYTES} bytes; {what} is not")
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        table.fault(f"{where} is no text; put {what} there as it was given to you")
        return None


def _read(path: Path) -> tuple[bytes, str]:
    """Read a file that is one, and that not everybody can read; give it and what is wrong."""
    try:
        # A pipe that nobody writes to must not hold the engine up, hence without waiting.
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the name is none"
        return b"", f"cannot be read: {reason}"
    try:
        state = os.fstat(opened)
        if not stat.S_ISREG(state.st_mode):
            return b"", "is no plain file; name the file itself"
        if state.st_mode & 0o007:
            return b"", "can be read by everybody on this machine: chmod 600 it"
        return os.read(opened, _MOST_BYTES + 1), ""
    finally:
        os.close(opened)
