"""Where the engine's state is kept: one Store on SQLAlchemy Core for SQLite and PostgreSQL."""

from proximity.store.faults import StoreAway, StoreBroken, StoreFailed, StoreFull
from proximity.store.folder import open_state
from proximity.store.ledger import Entry, LedgerRow
from proximity.store.store import Store

__all__ = [
    "Entry",
    "LedgerRow",
    "Store",
    "StoreAway",
    "StoreBroken",
    "StoreFailed",
    "StoreFull",
    "open_state",
]
