"""What is left to work with when the disk is full? Room that was kept for that.

A full disk cannot be emptied by deleting: that writes too. So a file of no use lies beside the
store, and is given up for what frees room, and for that alone. Knows a file and a disk; which
writes free room is their caller's to say.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BALLAST_BYTES", "FREE_PAGES", "Ballast"]

BALLAST_BYTES = 16 * 2**20
"""Four of SQLite's logs (1000 pages of 4 KiB): what the log still holds has to go into the file,
deletions need a log of their own, and so do the writes that go on in the pages freed."""
FREE_PAGES = 256
"""Ordinary writes need so many free pages in the file (1 MiB) while the ballast is given up: fewer,
and they would take up the room by which more can be freed."""


class Ballast:
    """The file at ``path``; ``spent`` while it is given up and has not been laid again."""

    def __init__(self, path: Path) -> None:
        self.spent = False
        self._path = path

    def lay(self) -> bool:
        """Take the room, where the disk has plenty; whether it is taken now."""
        try:
            if not self._path.exists():
                # Plenty: so that it is neither the ballast that fills a small disk, nor laid and
                # given up by turns.
                if shutil.disk_usage(self._path.parent).free < 4 * BALLAST_BYTES:
                    return False
                self._write()
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            return False
        self.spent = False
        return True

    def _write(self) -> None:
        # Blocks of its own rather than zeros, which some file systems keep without taking room.
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(file, 0, BALLAST_BYTES)
        finally:
            os.close(file)

    def give(self) -> bool:
        """Give the room up; False where it was given up before, or never taken."""
        try:
            self._path.unlink()
        except OSError:
            return False
        self.spent = True
        return True
