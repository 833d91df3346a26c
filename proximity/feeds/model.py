"""What a message of any feed comes in as, and what goes out as its reply.

The values every family of wire formats shares. A family is a row in ``FORMATS``: ``decode`` turns
an ``Incoming`` message into records, ``answer`` writes the reply which that client expects. Both
are pure: no clock, no socket, no store; they know nothing of tokens beyond the id spoken for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from proximity.feeds.units import moment
from proximity.model import Record

if TYPE_CHECKING:
    from proximity.ingest.admission import Receipt

#: Reasons may quote what was sent; this much of it is enough to find the fault, and keeps one
#: long string from filling the reply and the log.
LONGEST_REASON = 200

#: Records of one message of a phone. Overland sends 1000 at most, but an app that empties the
#: queue of a month offline in one go must not lose it: 16 MiB, all that a body may have, hold
#: 40,000 of the shortest that the Transistor SDK writes (400 bytes). A message of more is junk,
#: refused as one so that junk cannot make as many refusals.
MOST_ITEMS = 50_000

#: Real JSON has more bytes than this for each comma (names alone are longer). Counting first keeps
#: a body of nothing but commas and brackets from becoming millions of objects.
BYTES_A_COMMA = 8


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it arrived.

    ``headers`` has lower-case keys, ``query`` keeps order and repeats; ``speaks_for`` is the id
    that the token was made for (None: any); ``otherwise`` the subject of what names none (a trace
    file's stem); ``now`` is Unix seconds, NaN where there is no now, as in a file. The caller
    bounds ``body``.
    """

    method: str = "POST"
    body: bytes = b""
    content_type: str = ""
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = MappingProxyType({})
    speaks_for: str | None = None
    otherwise: str | None = None
    now: float = math.nan

    def time(self, value: Any) -> float:
        """Read a record's time as Unix seconds, now where it has none; raises ValueError."""
        at = moment(value)
        if at is None:
            at = self.now
        if math.isnan(at):
            raise ValueError("the record has no time")
        return at


class Rejected(msgspec.Struct, frozen=True):
    """A record that was refused: where in the message (from 1), and why in plain words."""

    line: int
    reason: str


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """What a message held. Every part of it is in exactly one of the fields: nothing is lost.

    ``lines`` runs parallel to ``records``: the line, or place in the array, counted from 1.
    ``ignored`` counts what is rightly no fix (a visit, a status, a position not yet known).
    ``refusal`` is the HTTP status where the message as a whole is refused, else 0; there are no
    records then and ``rejected`` says why.
    """

    records: tuple[Record, ...] = ()
    lines: tuple[int, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    ignored: int = 0
    refusal: int = 0


class Answer(msgspec.Struct, frozen=True):
    """The reply to write: HTTP status, body, content type."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """One wire format: where it is received, how it is read, and how it is answered.

    ``decode`` never raises, whatever the bytes. ``answer`` is given the ingest's receipt, or None
    where nothing was handed to it; failures of the store are the server's to answer, with 5xx.
    """

    name: str
    paths: tuple[str, ...]
    methods: tuple[str, ...]
    decode: Callable[[Incoming], Decoded]
    answer: Callable[[Decoded, Receipt | None], Answer]


def refused(line: int, reason: object) -> Rejected:
    """Make a ``Rejected`` whose reason is one bounded line of text."""
    deep = isinstance(reason, RecursionError)
    text = "it is nested too deeply" if deep else " ".join(str(reason).split())
    if len(text) > LONGEST_REASON:
        text = text[: LONGEST_REASON - 1] + "…"
    return Rejected(line, text)


def poison(reason: object) -> Decoded:
    """Refuse a message of which nothing can be read; the client is still answered as it expects."""
    return Decoded(rejected=(refused(1, reason),))


def read_json(body: bytes) -> Any:
    """Decode a JSON body; raises ValueError, also where it nests deeper than can be read."""
    if body.count(b",") > len(body) // BYTES_A_COMMA + MOST_ITEMS:
        raise ValueError("the JSON is all commas")
    try:
        return msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except RecursionError:
        raise ValueError("the JSON nests too deeply") from None


def gather(items: Sequence[Any], read: Callable[[Any], Record | None]) -> Decoded:
    """Read each item of a phone's message by itself; ``read`` gives None for what is no fix.

    A ValueError of ``read`` refuses its item alone.
    """
    if len(items) > MOST_ITEMS:
        return poison(f"{len(items)} records are more than the {MOST_ITEMS} of a message")
    records: list[Record] = []
    lines: list[int] = []
    rejected: list[Rejected] = []
    for line, item in enumerate(items, 1):
        try:
            record = read(item)
        except ValueError as problem:
            rejected.append(refused(line, problem))
            continue
        if record is not None:
            records.append(record)
            lines.append(line)
    return Decoded(
        records=tuple(records),
        lines=tuple(lines),
        rejected=tuple(rejected),
        ignored=len(items) - len(records) - len(rejected),
    )
