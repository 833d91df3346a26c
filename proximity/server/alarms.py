"""What should an operator look at? Identities that do not count for now, and gateways in trouble.

Gathered when it is asked; what each means is the business of whoever found it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from proximity.model import format_time
from proximity.server.auth import Caller, Role
from proximity.server.gateways import SILENT_S, heard_at, missed
from proximity.server.problems import answer
from proximity.server.routes import Content, Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiohttp import web

    from proximity.server.parts import Parts

WATCHERS = frozenset({Role.ANALYST, Role.ADMIN})
# More than this nobody reads; the first are those that have lasted longest.
MOST_ALARMS = 1000


class AlarmRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing to look at: an ``identity`` or a ``gateway``, why, since when, by what evidence.

    ``last`` is when it last happened; ``subject`` whose identity it is.
    """

    kind: Literal["identity", "gateway"]
    name: str = msgspec.field()
    reason: str = msgspec.field()
    since: str = msgspec.field()
    last: str | None = None
    subject: str | None = None
    because: dict[str, Any] = {}


class AlarmList(msgspec.Struct, frozen=True):
    """Every alarm that stands, the one that has lasted longest first; ``total`` of them."""

    items: tuple[AlarmRecord, ...]
    total: int


async def _read(_request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    every = (one for found in ALARMS for one in found(parts))
    found = sorted(every, key=lambda one: (one.since, one.name))
    return answer(AlarmList(tuple(found[:MOST_ALARMS]), len(found)))


def _identities(parts: Parts) -> Iterator[AlarmRecord]:
    for alarm in parts.ingest.engine.alarms():
        yield AlarmRecord(
            kind="identity",
            name=alarm.identity,
            reason=alarm.reason,
            since=format_time(alarm.since),
            last=format_time(alarm.last),
            subject=alarm.subject,
            because=alarm.because,
        )


def _silent(parts: Parts) -> Iterator[AlarmRecord]:
    for name in missed(parts):
        yield AlarmRecord(
            kind="gateway",
            name=name,
            reason="silent",
            since=_heard(parts, name),
            because={"why": f"not heard of for {SILENT_S:.0f} s: is it on, and connected?"},
        )


def _clocks(parts: Parts) -> Iterator[AlarmRecord]:
    errors = parts.ingest.redating.errors
    for name in parts.ingest.site.gateways:
        wrong = errors.get(name)
        if wrong is not None:
            yield AlarmRecord(
                kind="gateway",
                name=name,
                reason="clock",
                since=format_time(wrong.since),
                because={
                    "why": "its clock is wrong; its records are dated by the server's",
                    "ahead_s": round(wrong.ahead_s, 1),
                },
            )


def _heard(parts: Parts, gateway: str) -> str:
    """When it was last heard of, else when this server began to listen; RFC 3339."""
    heard = heard_at(parts, gateway)
    return format_time(parts.started_at if heard is None else heard)


ALARMS: tuple[Callable[[Parts], Iterator[AlarmRecord]], ...] = (_identities, _silent, _clocks)

ROUTES = (
    Route(
        method="GET",
        path="/v1/alarms",
        endpoint=_read,
        roles=WATCHERS,
        summary="Identities that do not count for now, and gateways in trouble.",
        answers={200: Content(meaning="All that stand.", schema=AlarmList)},
    ),
)
