"""How does real traffic become a trace? Records as they are accepted, without their people's names.

Only of people who have agreed to being recorded, which is a purpose of its own; subjects and ids
are replaced by keyed hashes whose key is drawn for one recording, kept in memory and gone with it.
Where somebody was is still in it: a recording is pseudonymous, not anonymous.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import Counter, deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from beacon_gateway.model import check_id
from proximity.model import Event, Record, Sighting, format_time
from proximity.server.ledger import WATCHERS
from proximity.server.problems import HEADERS, Problem
from proximity.server.reading import ID_SCHEMA
from proximity.server.routes import NDJSON, Content, Param, Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.people.people import People
    from proximity.server.auth import Caller
    from proximity.server.parts import Parts

MOST_RECORDINGS = 4
"""Recordings at a time: each writes every record once more."""
MOST_WAITING = 20_000
"""Records that wait for one reader, some 10 MB. A slower one is cut off: a recording with holes
that nobody knows of would be worse than none."""
SLOW_S = 10.0
"""A reader that takes nothing for this long is gone."""
TELL_S = 10.0
"""How often a count goes out while nothing else does: proxies close what is silent for a minute."""
RECHECK_S = 2.0
"""How long before it is asked again whether the token still counts (5 s are promised)."""
LONGEST_S = 7 * 86400.0
PURPOSE = "recording"


class Count(msgspec.Struct, frozen=True):
    """A line that is no record: what went out so far, and what was left out and why."""

    recorded: int
    unconsented: int
    carried: int
    ended: bool


class Recording:
    """One recording: takes what is accepted, gives it as lines of a trace.

    ``purpose`` is what a person must have agreed to. ``counts``: ``recorded``; ``unconsented``, of
    somebody who has not; ``carried``, a tag that somebody carries, whose beacon is a name as well.
    """

    def __init__(self, people: People, purpose: str) -> None:
        self.counts: Counter[str] = Counter()
        self.overrun = False
        self.news = asyncio.Event()
        self._people = people
        self._purpose = purpose
        self._key = secrets.token_bytes(32)
        self._waiting: deque[Record] = deque()

    def take(self, records: Sequence[Record]) -> None:
        """Note records that were accepted just now; called by ingest."""
        if len(self._waiting) + len(records) > MOST_WAITING:
            self.overrun = True
        else:
            self._waiting.extend(records)
        self.news.set()

    def lines(self, most: int = 1000) -> bytes:
        """Give what waits, up to ``most`` records, a JSON object a line."""
        out: list[bytes] = []
        while self._waiting and len(out) < most:
            record = self._waiting.popleft()
            if isinstance(record, Sighting) and record.gateway is not None:
                self.counts["carried"] += 1
            elif not self._agreed(record):
                self.counts["unconsented"] += 1
            else:
                self.counts["recorded"] += 1
                out.append(self._line(record))
        self.news.clear()
        if self._waiting:
            self.news.set()
        return b"".join(out)

    def told(self, *, ended: bool) -> bytes:
        """Give the line that counts."""
        count = Count(
            self.counts["recorded"], self.counts["unconsented"], self.counts["carried"], ended
        )
        return msgspec.json.encode(count) + b"\n"

    def _agreed(self, record: Record) -> bool:
        """Whether the record's person had agreed to being recorded when it came."""
        subject, at = record.subject, record.received_at
        if subject is None or at is None:
            return False
        person = self._people.get(self._people.person_of(subject))
        return person is not None and any(
            consent.purpose == self._purpose and consent.holds(at) for consent in person.consents
        )

    def _line(self, record: Record) -> bytes:
        fields: dict[str, Any] = msgspec.to_builtins(record)
        fields["subject"] = self._pseudonym("subject", record.subject)
        if record.id is not None:
            fields["id"] = self._pseudonym("id", record.id)
        if isinstance(record, Event):
            fields.pop("properties", None)  # whatever an app puts there: an address, a name
        if isinstance(record, Sighting):
            fields.pop("boot", None)
        for name in ("at", "received_at"):
            if name in fields:
                fields[name] = format_time(fields[name])
        return msgspec.json.encode(fields) + b"\n"

    def _pseudonym(self, kind: str, name: str | None) -> str:
        """Hash a name with the recording's key: 64 bits, the same throughout this recording."""
        text = f"{kind}\x1f{name}".encode()
        return f"{kind[0]}-{blake2b(text, key=self._key, digest_size=8).hexdigest()}"


async def _record(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    purpose, for_s = _PURPOSE.of(request), _FOR.of(request)
    listeners = parts.ingest.on_accepted
    if len(listeners) >= MOST_RECORDINGS:
        raise Problem(503, f"{MOST_RECORDINGS} recordings run already: end one of them first.")
    recording = Recording(parts.people, purpose)
    response = web.StreamResponse(
        headers={**HEADERS, "Content-Type": NDJSON, "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)
    loop = asyncio.get_running_loop()
    until = loop.time() + for_s
    listeners.append(recording.take)
    try:
        await _write(response, recording.told(ended=False))
        tell_at = loop.time() + TELL_S
        while (
            loop.time() < until
            and not recording.overrun
            and request.transport is not None  # the reader went away
            and not parts.closing.is_set()
            and parts.tokens.in_force(caller)
        ):
            if lines := recording.lines():
                await _write(response, lines)
                continue
            if loop.time() >= tell_at:
                await _write(response, recording.told(ended=False))
                tell_at = loop.time() + TELL_S
            await _wait(recording.news, min(RECHECK_S, tell_at - loop.time(), until - loop.time()))
        if recording.overrun:
            raise TimeoutError
        await _write(response, recording.lines(MOST_WAITING) + recording.told(ended=True))
    except TimeoutError:
        parts.metrics.streams_cut.inc()
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass  # the same, found out by writing
    finally:
        listeners.remove(recording.take)
    return response


async def _write(response: web.StreamResponse, lines: bytes) -> None:
    async with asyncio.timeout(SLOW_S):
        await response.write(lines)


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await news.wait()
    except TimeoutError:
        pass


def _read_seconds(text: str) -> float:
    seconds = float(text)
    if not 0.0 < seconds <= LONGEST_S:
        raise ValueError(f"it must be more than 0 and at most {LONGEST_S:g} seconds")
    return seconds


def _read_purpose(text: str) -> str:
    check_id(text, "it")
    return text


_PURPOSE = Param(
    name="purpose",
    schema=ID_SCHEMA | {"default": PURPOSE},
    meaning="what a person must have agreed to, for their records to be in it",
    read=_read_purpose,
    default=PURPOSE,
)
_FOR = Param(
    name="for",
    schema={"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_S},
    meaning="end after so many seconds; else when the reader goes",
    read=_read_seconds,
    default=math.inf,
)

ROUTES = (
    Route(
        method="GET",
        path="/v1/records/stream",
        endpoint=_record,
        roles=WATCHERS,
        summary="Record what comes in, pseudonymised, of people who agreed to that purpose.",
        params=(_PURPOSE, _FOR),
        live=True,
        answers={
            200: Content(
                meaning="A trace, a record a line; lines without `type` count what was left out.",
                schema={"anyOf": [{"$ref": "#/components/schemas/Record"}, {"type": "object"}]},
                media=(NDJSON,),
            )
        },
    ),
)
