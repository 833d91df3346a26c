"""How is somebody erased from a folder on which no server runs?

The engine is rebuilt as a start would, forgets them, and is saved again; then everything goes the
same way as beside a running server. Where the last server did not end well, its next start
finishes what is begun here. Knows no HTTP.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proximity.commands.asking import forget_next
from proximity.ingest.recovery import recover
from proximity.people.people import People
from proximity.privacy import erasing
from proximity.store import journal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from proximity.privacy.receipts import Receipt
    from proximity.store import Store

__all__ = ["erase_alone"]

# As long as records may ever be behind: what the engine keeps for late ones stays as it is.
_LATE_S = 7 * 86_400.0


def erase_alone(
    store: Store, person: str, *, now: float, source: str, processors: Sequence[str] = ()
) -> tuple[erasing.Begun, Receipt | None] | None:
    """Erase a person at Unix second ``now`` from a store that this process alone works on.

    None where nothing is known of them; without a receipt where the next start has to finish it.
    """
    people = People(store, lambda: now)

    def write(connection: Connection) -> erasing.Begun | None:
        before = next((b for b in erasing.pending(connection) if b.names[0] == person), None)
        if before is not None:
            return before
        if not erasing.known(connection, person):
            return None
        begun = erasing.begin(
            connection, people, person, now=now, source=source, processors=processors
        )
        forget_next(connection, begun.names, now, tags=True)
        return begun

    begun = store.write(write).result()
    if begun is None:
        return None
    receipt = erasing.finish(store, begun, now=now) if _cover(store, now) else None
    return begun, receipt


def _cover(store: Store, now: float) -> bool:
    """Save the engine as it is after all rows; False where some of them say more than to forget."""
    found = store.read(partial(recover, decide="robust", late_s=_LATE_S))
    if any(row.kind != "forget" for row, _ in found.rows):
        return False
    for row, _ in found.rows:
        found.fold.apply(row)
    state = found.fold.engine.snapshot()

    def write(connection: Connection) -> None:
        snapshot = journal.Snapshot(found.fold.position, max(now, found.now), state)
        journal.save_snapshot(connection, snapshot)
        journal.set_evaluated(connection, found.fold.position)

    store.write(write).result()
    return True
