"""How does a store get a million rows quickly? The database makes them itself, of what it has.

Nobody else has the file meanwhile, and nothing of it is worth saving should the machine stop, so
that no log is written: what is measured afterwards opens the store anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_CACHE_KB = 1_000_000


def fill(path: Path, statements: Sequence[str], values: Mapping[str, float]) -> None:
    """Run statements on the database of a store that is closed."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        with connection:
            for statement in statements:
                connection.execute(statement, values)
