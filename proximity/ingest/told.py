"""What comes of records, in order: the engine's transitions, and events with where one was by then.

An event moves nobody, but where its subject was matters, and so does what came first: so the
engine has the records up to an event, is asked, and goes on. Both the server and a replay take
records this way, and how records are batched changes nothing. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proximity.model import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proximity.engine.engine import Engine
    from proximity.model import Record, Transition

__all__ = ["Did", "take"]


class Did(msgspec.Struct, frozen=True, gc=False):
    """An event, and in which places its subject was when it came: each with the visit's id."""

    event: Event
    visits: dict[str, str]


def take(engine: Engine, records: Sequence[Record]) -> Iterator[list[Transition | Did]]:
    """Give records to the engine; yield what came of them, whenever events stand between."""
    start = 0
    for end in _ends(records):
        told: list[Transition | Did] = [*engine.on_records(records[start:end])]
        told += [
            Did(_dated(event, engine.now), engine.visits_of(event.subject))
            for event in engine.events
        ]
        start = end
        yield told


def _ends(records: Sequence[Record]) -> Iterator[int]:
    """Say after which records to look: after events, where time or another record goes on.

    Events that came at one instant move nothing between them, and are taken together.
    """
    count = len(records)
    for number in range(1, count):
        record = records[number - 1]
        if type(record) is Event:
            after = records[number]
            if type(after) is not Event or _arrival(after) != _arrival(record):
                yield number
    if count:
        yield count


def _dated(event: Event, now: float) -> Event:
    """Say that an event came now (Unix seconds) where it says that it came before what was told."""
    return event if _arrival(event) >= now else msgspec.structs.replace(event, received_at=now)


def _arrival(event: Event) -> float:
    return event.at if event.received_at is None else event.received_at
