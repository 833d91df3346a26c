"""How do records come in over HTTP? The native feed and the phones, through one table of formats.

Knows bodies and receipts; what a format means stands in ``feeds``, what happens to a record in
``ingest``. A 2xx leaves here only after the journal's commit.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from proximity.feeds import FORMATS, Decoded, Format, Incoming, Rejected
from proximity.ingest.ingest import Overloaded
from proximity.server.auth import Caller, Role
from proximity.server.reading import INLINE_LIMIT, RECORDS_LIMIT, read_body
from proximity.server.replies import Reply
from proximity.server.routes import JSON, NDJSON, Content, Endpoint, Route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from proximity.ingest.admission import Receipt
    from proximity.server.metrics import Metrics
    from proximity.server.parts import Parts

SENDERS = frozenset({Role.DEVICE, Role.FEED, Role.ADMIN})
HEARERS = SENDERS | {Role.GATEWAY}

# A receiver has a token of its own, or comes through an app's backend.
RECEIVERS = frozenset({Role.GATEWAY, Role.FEED, Role.ADMIN})

NATIVE = frozenset({"fixes", "sightings", "events"})
"""The formats that are ours: named records in, counts out."""

# Query parameters that are the sender's credentials and no part of the message.
CREDENTIALS = frozenset({"token", "api_key"})
# Records judged and packed in one go: some 10 ms, which everybody else waits for.
SLICE = 1000
# A batch whose later slices meet a full journal waits this long for room, looking this often.
PATIENCE_S = 10.0
PAUSE_S = 0.05
OUTCOMES = ("accepted", "duplicate", "unconsented", "late")


class ReceiptBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a batch; ``rejected`` names the lines, counted from 1.

    ``unlisted`` of the accepted or unconsented were of a beacon that counts for nobody there.
    """

    accepted: int
    duplicate: int
    unconsented: int
    late: int = 0
    unlisted: int = 0
    rejected: tuple[Rejected, ...] = msgspec.field(default=())


def _take(name: str, wire: Format) -> Endpoint:
    """Make the endpoint of one format."""

    async def take(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
        body = b""
        if request.body_exists:
            parts.ingest.check_room()  # a flood is refused before any of it is read
            body = await read_body(request, RECORDS_LIMIT)
        message = Incoming(
            method=request.method,
            body=body,
            content_type=request.headers.get("Content-Type", ""),
            query=_query(request),
            headers=request.headers,
            speaks_for=caller.speaks_for,
            now=parts.clock(),
        )
        if len(body) <= INLINE_LIMIT:
            decoded = wire.decode(message)
        else:
            decoded = await asyncio.to_thread(wire.decode, message)
        receipt = None
        if decoded.records:
            receipt = await accept(decoded, parts)
        count(name, decoded, receipt, parts.metrics)
        said = wire.answer(decoded, receipt)
        if parts.arming is not None:
            said = parts.arming.add(said, name, message, decoded, receipt)
        return Reply(said.status, said.body, said.content_type, message.now)

    return take


async def accept(decoded: Decoded, parts: Parts) -> Receipt:
    """Hand records to the journal, a large batch in slices, so that others are served meanwhile.

    Where a later slice finds the journal full it waits for room; a batch that fails half-way is
    sent again as a whole, and what was taken of it counts as duplicate then.
    """
    records, lines = decoded.records, decoded.lines
    whole = await parts.ingest.accept(records[:SLICE], lines[:SLICE])
    for start in range(SLICE, len(records), SLICE):
        end = start + SLICE
        deadline = parts.clock() + PATIENCE_S
        while True:
            try:
                part = await parts.ingest.accept(records[start:end], lines[start:end])
                break
            except Overloaded:
                if parts.clock() > deadline or parts.closing.is_set():
                    raise
                await asyncio.sleep(PAUSE_S)
        names = (*OUTCOMES, "unlisted")
        counts = {name: getattr(whole, name) + getattr(part, name) for name in names}
        whole = msgspec.structs.replace(whole, **counts, rejected=whole.rejected + part.rejected)
    return whole


def _query(request: web.Request) -> tuple[tuple[str, str], ...]:
    if not request.query_string:
        return ()
    return tuple((key, text) for key, text in request.query.items() if key not in CREDENTIALS)


def count(name: str, decoded: Decoded, receipt: Receipt | None, metrics: Metrics) -> None:
    """Count every record of a message under exactly one outcome."""
    rejected = len(decoded.rejected)
    if receipt is not None:
        rejected += len(receipt.rejected)
        for outcome in OUTCOMES:
            found = getattr(receipt, outcome)
            if found:
                metrics.count_records(name, outcome, found)
    if rejected:
        metrics.count_records(name, "rejected", rejected)
    if decoded.ignored:
        metrics.count_records(name, "ignored", decoded.ignored)


_RECORD: dict[str, Any] = {"$ref": "#/components/schemas/Record"}
NATIVE_BODY = Content(
    meaning="Records, one JSON object a line, or a JSON array of them.",
    schema={"anyOf": [{"type": "array", "items": _RECORD}, _RECORD]},
    media=(JSON, NDJSON),
)
PHONE_BODY = Content(
    meaning="What the client sends as it comes from the app store.",
    schema={},
    media=(JSON, "application/x-www-form-urlencoded", "text/plain"),
)

PHONE_REPLY = Content(
    meaning="The reply that client expects, poison included.", schema={}, media=(JSON, "text/plain")
)
PHONE_REFUSAL = Content(
    meaning="The refusal that client expects, where it knows one.",
    schema={},
    media=("text/plain", "application/problem+json"),
)


def _roles(name: str, path: str) -> frozenset[Role]:
    if path.startswith("/gateways/"):
        return RECEIVERS
    return HEARERS if name == "sightings" else SENDERS


def _routes() -> Iterator[Route]:
    for name, wire in FORMATS.items():
        native = name in NATIVE
        for path in wire.paths:
            for method in wire.methods:
                yield Route(
                    method=method,
                    path=path,
                    endpoint=_take(name, wire),
                    roles=_roles(name, path),
                    summary=f"Take {name}." if native else f"Take what a {name} client sends.",
                    answers=(
                        {202: Content(meaning="What became of each record.", schema=ReceiptBody)}
                        if native
                        else {200: PHONE_REPLY, 400: PHONE_REFUSAL, 404: PHONE_REFUSAL}
                    ),
                    body=None if method == "GET" else NATIVE_BODY if native else PHONE_BODY,
                    token_in_query=not native,
                    loose=not native,
                )


ROUTES = tuple(_routes())
