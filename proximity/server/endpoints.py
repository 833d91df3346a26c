"""How does a browser or an app leave the address at which it may be reached, and take it back?

A device does so for its own person, an app's backend for anybody. With the address comes what the
person agreed to when they left it, in the same transaction: each consent names where it was said,
for which address, and which words were shown. Of somebody who agreed to nothing no address is kept.
What an address looks like is its channel's to judge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import msgspec
from aiohttp import web

from proximity.consent.asked import Answered, answer
from proximity.consent.grants import LONGEST_SOURCE, left_without
from proximity.consent.texts import Wording
from proximity.model import Consent, Endpoint, Precision
from proximity.people import endpoints
from proximity.people.behaviour import may_be_written
from proximity.server.auth import Caller, Role
from proximity.server.consents import Withdrawn
from proximity.server.people import SPEAKERS, erased, whose, written
from proximity.server.problems import HEADERS, Problem
from proximity.server.problems import answer as reply
from proximity.server.reading import SMALL_LIMIT, parse_json, read_body
from proximity.server.routes import Content, Route

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.channels import Channel
    from proximity.dispatch.outbox import InFlight
    from proximity.server.parts import Parts

MOST_AGREED = 10
FEED = "endpoints"
"""Under which name addresses that were not kept are counted, beside records that were not."""
UNPROVEN = frozenset({"email"})
"""Channels whose addresses anybody can write down: a subscription or a push token is given to the
one device that it reaches, a mailbox's address shows nothing of who sends it."""


@runtime_checkable
class Addressed(Protocol):
    """A channel that can tell a good address from a bad one."""

    def refuses(self, address: str) -> str:
        """Say why nothing could be sent to this address; empty where it may be tried."""


@runtime_checkable
class Subscribed(Protocol):
    """A channel whose addresses are made with its public key."""

    public_key: str


class Agreed(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody agreed to as they left an address: one purpose, and the words they were shown.

    ``shown`` is the text itself, or ``text`` the SHA-256 of a registered one.
    """

    purpose: str
    precision: Precision | None = None
    text: str | None = None
    shown: Wording | None = None


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """An address that somebody leaves; ``person`` may be left out with a device's own token.

    ``origin`` is the website or app it was given to, ``platform`` what that runs on, ``language``
    what it is set to, ``agreed`` what they agreed to with it.
    """

    channel: str
    address: str
    person: str | None = None
    origin: str | None = None
    platform: str | None = None
    language: str | None = None
    agreed: tuple[Agreed, ...] = ()


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """An address that somebody takes back; of ``person``, or of the device's own."""

    channel: str
    address: str
    person: str | None = None


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an address is kept now, and whose it is."""

    kept: bool
    person: str


class PushKey(msgspec.Struct, frozen=True):
    """The public key that browsers subscribe with, in base64url."""

    key: str


async def _leave(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    left = parse_json(await read_body(request, SMALL_LIMIT), Left)
    endpoint = _endpoint(left, parts)
    if caller.role is Role.DEVICE and endpoint.channel in UNPROVEN:
        raise Problem(
            403,
            f"A phone leaves no address of {endpoint.channel}: it could name anybody's. The app's "
            "backend does, once its owner has confirmed it.",
        )
    if len(left.agreed) > MOST_AGREED:
        raise Problem(422, f"agreed: {len(left.agreed)} purposes are more than {MOST_AGREED}.")
    now = parts.clock()
    consent: Literal["required", "assumed"] = "assumed" if parts.assumed else "required"

    def write(conn: Connection) -> Kept:
        person = whose(conn, parts, caller, left.person)
        # Whoever has the device now, what it shows is no longer for whom it was another's: that
        # holds of somebody who agrees to nothing, too.
        lost = endpoints.taken(conn, person, endpoint, now)
        if lost:
            parts.people.moved(conn, lost)
        if not may_be_written(conn, {person}, now, "assumed"):
            return Kept(kept=False, person=person)  # they were erased, and do not come back
        for one in left.agreed:
            said = _said(person, one, endpoint, endpoints.mark(conn, endpoint, now), caller)
            answer(parts.people, conn, said, now=now, places=parts.places.facts, consent=consent)
        if not may_be_written(conn, {person}, now, consent):
            return Kept(kept=False, person=person)
        parts.people.moved(conn, endpoints.add(conn, person, endpoint, now))
        return Kept(kept=True, person=person)

    try:
        kept = await written(parts, write)
    except ValueError as error:
        raise Problem(422, f"Nothing was changed: {error}") from None
    parts.metrics.count_records(FEED, "accepted" if kept.kept else "unconsented", 1)
    return reply(kept, 201 if kept.kept else 200)


def _said(person: str, one: Agreed, endpoint: Endpoint, mark: str, caller: Caller) -> Answered:
    """Write what was agreed to as the answer that it is, bound to its address and origin."""
    source = f"{endpoint.origin or 'no origin'} {endpoint.channel}:{mark}"
    return Answered(
        person=person,
        purpose=one.purpose,
        channel=endpoint.channel,
        precision=one.precision,
        text=one.text,
        shown=one.shown,
        method="browser" if endpoint.channel == "web-push" else "app",
        source=source[-LONGEST_SOURCE:],
        answer="accepted",
        subject=caller.speaks_for,
    )


async def _take_back(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    taken = parse_json(await read_body(request, SMALL_LIMIT), Taken)
    now = parts.clock()
    in_flight: list[InFlight] = []

    def write(conn: Connection) -> tuple[str, ...]:
        in_flight.clear()
        person = whose(conn, parts, caller, taken.person)
        gone = _made(channel=taken.channel, address=taken.address)
        if not endpoints.remove(conn, person, gone):
            return ()
        parts.people.moved(conn, (person,))
        known = parts.people.read(conn, person)
        if any(one.channel == taken.channel for one in known.endpoints):
            return ()  # another browser of theirs, which agreed for itself
        for purpose in _bound(known.consents, taken.channel, now):
            in_flight.extend(
                parts.people.withdraw(
                    conn, person, purpose, taken.channel, at=now, source="endpoint taken back"
                )
            )
        return left_without(parts.people, conn, person, now)

    await erased(parts, write)
    if in_flight:
        return reply(Withdrawn(tuple(in_flight)))
    return web.Response(status=204, headers=HEADERS)


def _bound(consents: tuple[Consent, ...], channel: str, now: float) -> tuple[str, ...]:
    """Name the purposes that are agreed to for this very channel."""
    return tuple(
        dict.fromkeys(one.purpose for one in consents if one.channel == channel and one.holds(now))
    )


async def _read_key(_request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    for channel in _reaching(parts, "web-push"):
        if isinstance(channel, Subscribed):
            return reply(PushKey(channel.public_key))
    raise Problem(404, "This server sends no web push: [channel.web-push] is not set up.")


def _reaching(parts: Parts, addressed: str) -> list[Channel]:
    """List the open channels that reach people by addresses of this kind."""
    terms = parts.campaigns().channel_terms
    names = [name for name, one in terms.items() if one.addressed == addressed]
    return [parts.channels[name] for name in names if name in parts.channels]


def _endpoint(left: Left, parts: Parts) -> Endpoint:
    """Make the endpoint that is to be kept. Raises Problem 422."""
    terms = parts.campaigns().channel_terms.values()
    if left.channel not in {one.addressed for one in terms}:
        raise Problem(422, f"channel: {left.channel!r:.60} takes no addresses.")
    for channel in _reaching(parts, left.channel):
        if isinstance(channel, Addressed) and (problem := channel.refuses(left.address)):
            raise Problem(422, f"Nothing was changed: {problem}")
    return _made(
        channel=left.channel,
        address=left.address,
        origin=left.origin,
        platform=left.platform,
        language=left.language,
    )


def _made(**fields: str | None) -> Endpoint:
    try:
        return msgspec.convert(fields, Endpoint)
    except msgspec.ValidationError as error:
        raise Problem(422, f"Nothing was changed: {error}", problems=[str(error)]) from None


_FOREIGN = Content(
    meaning="A device's token speaks for its own person alone, and leaves no e-mail address."
)
_BAD = Content(meaning="It is no good address, or no good consent. Nothing was changed.")

ROUTES = (
    Route(
        method="POST",
        path="/v1/endpoints",
        endpoint=_leave,
        roles=SPEAKERS,
        summary="Leave an address to be reached at, and what was agreed to with it.",
        body=Content(meaning="The address.", schema=Left),
        answers={
            201: Content(meaning="It is kept.", schema=Kept),
            200: Content(meaning="It is not: they agreed to nothing. It is counted.", schema=Kept),
            403: _FOREIGN,
            422: _BAD,
        },
    ),
    Route(
        method="DELETE",
        path="/v1/endpoints",
        endpoint=_take_back,
        roles=SPEAKERS,
        summary="Take an address back; with the last of a channel its consents are withdrawn.",
        body=Content(meaning="The address.", schema=Taken),
        answers={
            200: Content(
                meaning="It is withdrawn; these were just being handed over.", schema=Withdrawn
            ),
            204: Content(meaning="It is not kept any more."),
            403: _FOREIGN,
            422: _BAD,
        },
    ),
    Route(
        method="GET",
        path="/v1/push-key",
        endpoint=_read_key,
        roles=frozenset(),
        summary="The public key with which a browser subscribes to web push.",
        answers={
            200: Content(meaning="The key.", schema=PushKey),
            404: Content(meaning="This server sends no web push."),
        },
    ),
)
