"""The question: where does a gateway keep what must outlive it, and how is it written.

One folder, of which only its owner can read anything: the list names people's tags. It must not
know what the files mean.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from beacon_gateway.model import GatewayError

CONFIG = "config.json"
SECRET = "secret"  # noqa: S105 - a file's name
HEALTH = "health.json"
SPOOL = "spool.sqlite"


def make_folder(path: Path) -> Path:
    """Make the folder where it is not there yet, for its owner alone.

    Raises GatewayError where that cannot be.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise GatewayError(
            f"{path}: cannot be the data folder ({error.strerror}): check the name and the rights"
        ) from None
    return path


def read_file(path: Path, most: int) -> bytes | None:
    """Read a file of at most ``most`` bytes; None where there is none, or it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError:
        return None
    return content if len(content) <= most else None


def write_file(path: Path, content: bytes, *, lasting: bool = True) -> None:
    """Write a file that only its owner reads: all of it or, after a power cut, the old one.

    ``lasting`` waits for the disk; without it the file is whole, but may be an older one after a
    cut, and flash is spared. Raises OSError where the disk will not have it.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        with open(fresh, "wb", opener=_private) as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
        if lasting:
            _settle(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _settle(folder: Path) -> None:
    """Wait until a folder's names are on disk; where a system cannot, its rename must do."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
