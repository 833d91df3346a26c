"""Where is the state of a data folder: in the folder itself, or in a PostgreSQL that it names?

Everything that takes ``--data`` asks here, so all of it follows where one folder says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from proximity.inputs import read_text
from proximity.store.faults import StoreFailed
from proximity.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ADDRESS", "FILE", "open_state", "state_of"]

FILE = "engine.db"
"""SQLite's file in the folder: the state, unless ``ADDRESS`` is there."""
ADDRESS = "postgresql.url"
"""The file in the folder that holds one line, ``postgresql://USER@HOST/NAME``."""
_MOST_BYTES = 4096


def state_of(folder: Path) -> str | Path:
    """Tell what ``Store.open`` is to open for a folder: its SQLite file, there or not, or a URL.

    Raises ProximityError where the address cannot be used: it is no PostgreSQL's, others may read
    a password in it, or there is state in the folder as well.
    """
    file, address = folder / FILE, folder / ADDRESS
    if not address.exists():
        return file
    url = read_text(address, _MOST_BYTES, "write one line, postgresql://USER@HOST/NAME").strip()
    if not url.startswith(("postgresql://", "postgres://")) or len(url.split()) != 1:
        raise StoreFailed(
            f"{address}: this is no address of a PostgreSQL: write one line, "
            "postgresql://USER@HOST/NAME"
        )
    if file.exists() and file.stat().st_size:
        raise StoreFailed(
            f"{folder}: there is state in {FILE} and a PostgreSQL in {ADDRESS}: carry the one over "
            f"(`proximity backup`, then `proximity restore`) and move {FILE} away, or remove "
            f"{ADDRESS}"
        )
    if address.stat().st_mode & 0o077 and _holds_password(url):
        raise StoreFailed(f"{address}: holds a password that others may read: chmod 600 {address}")
    return url


def open_state(folder: Path, *, create: bool = False) -> Store:
    """Open the state of a data folder.

    ``create``: make the folder, for its owner's eyes alone, and the state where there is none.
    Raises ProximityError where it cannot be opened, or where there is none and none may be made.
    """
    if create:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreFailed(
                f"{folder}: no data folder can be made here ({error.strerror}): give another --data"
            ) from None
    return Store.open(state_of(folder), create=create)


def _holds_password(url: str) -> bool:
    try:
        made = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return False  # who opens it says what is wrong
    return bool(made.password or made.query.get("password"))
