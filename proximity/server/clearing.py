"""What does a server do for privacy by itself? Rounds: erasures are finished, old rows are swept.

Each round does what is due, in pieces, and survives whatever it meets: what is left stays begun, on
disk, for the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from proximity.faults import log_fault
from proximity.privacy import erasing, retention
from proximity.privacy.notices import tell
from proximity.reports.reports import make_due
from proximity.server import erasures
from proximity.store import StoreFailed, StoreFull

if TYPE_CHECKING:
    from proximity.server.parts import Parts

log = structlog.get_logger("proximity.server")

# The schedule counts in days; an hour late is no matter, and a sweep costs a scan of some tables.
SWEEP_S = 3600.0
# But while the disk is full it is looked every minute whether anything may go, beginning at once.
FULL_S, LOOK_S = 60.0, 2.0
# A processor that did not take a notice, and a log that a reader held, are tried again after this.
AGAIN_S = 60.0
# Erasures for silence in one round: each waits for a snapshot.
_MOST_DORMANT = 100


async def erase_always(parts: Parts) -> None:
    """Finish every erasure that was begun, those of before a crash too, and tell processors."""
    while not parts.closing.is_set():
        parts.erasing.clear()
        try:
            await erase_due(parts)
        except StoreFailed as error:
            log.warning("a round waits for the disk", round="erasing", reason=str(error))
        except Exception as error:  # noqa: BLE001 - one bad round must not end all others
            log_fault("a round failed", error, round="erasing")
        await _rest(parts, parts.erasing, AGAIN_S)


async def erase_due(parts: Parts) -> int:
    """Finish what was begun; how many erasures that were. Raises StoreFailed."""
    waiting = await parts.store.aread(erasing.pending)
    if waiting:
        await parts.ingest.cover()  # one snapshot serves them all
    done = 0
    for begun in waiting:
        found = await asyncio.to_thread(erasing.finish, parts.store, begun, now=parts.clock())
        if found is not None:
            done += 1
            log.info("erased", erasure=begun.id, source=begun.source)
    told, left = await tell(parts.store, parts.policy.processors, parts.clock)
    if told or left:
        log.info("processors told", told=told, left=left)
    return done


async def sweep_always(parts: Parts) -> None:
    """Delete what has outlived its rule: at the start, every hour, and when the disk is full."""
    while not parts.closing.is_set():
        full = isinstance(parts.store.refusing, StoreFull)
        try:
            await sweep_due(parts)
        except StoreFailed as error:
            log.warning("a round waits for the disk", round="sweeping", reason=str(error))
        except Exception as error:  # noqa: BLE001 - one bad round must not end all others
            log_fault("a round failed", error, round="sweeping")
        await _until_due(parts, full)


async def _until_due(parts: Parts, full: bool) -> None:
    """Wait until it is time to sweep again; ``full``: the disk was, when it was swept last."""
    began = time.monotonic()
    while not parts.closing.is_set():
        await _rest(parts, parts.closing, LOOK_S)
        passed_s = time.monotonic() - began
        if isinstance(parts.store.refusing, StoreFull) and (passed_s >= FULL_S or not full):
            return
        if passed_s >= SWEEP_S:
            return


async def sweep_due(parts: Parts) -> Counter[str]:
    """Sweep once; the rows deleted, by table. Raises StoreFailed."""
    now, days = parts.clock(), parts.policy.days
    # First what is counted of rows before they go.
    await asyncio.to_thread(make_due, parts.store, now)
    swept: Counter[str] = Counter()
    pieces = retention.sweep(parts.store, now, days)
    while not parts.closing.is_set():
        piece = await asyncio.to_thread(next, pieces, None)
        if piece is None:
            break
        swept[piece[0]] += piece[1]
    if swept:
        # Before anything else: where the disk was full, this is the room that was made.
        await asyncio.to_thread(parts.store.cut_log)
    await parts.store.awrite(lambda conn: retention.date(conn, now), freeing=True)
    silent = await parts.store.aread(lambda conn: retention.dormant(conn, now, days))
    for person in silent[:_MOST_DORMANT]:
        await erasures.begin(parts, person, tombstone=False, source="retention")
    if parts.ingest.engine.subjects:
        await parts.ingest.look()
    if swept or silent:
        log.info("swept", people=len(silent), **swept)
    return swept


async def _rest(parts: Parts, reason: asyncio.Event, seconds: float) -> None:
    """Wait for a reason to go on, or so long."""
    if parts.closing.is_set():
        return
    closing = asyncio.ensure_future(parts.closing.wait())
    wanted = asyncio.ensure_future(reason.wait())
    try:
        await asyncio.wait({closing, wanted}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        closing.cancel()
        wanted.cancel()
