"""How are gateways enrolled, told what to listen for, and watched? Each speaks for itself alone.

A gateway asks for its configuration and tells how it fares; operators read both, and hand out the
secrets that it signs with. What gateways hear goes another way (``records``).
"""

from __future__ import annotations

import asyncio
import ipaddress
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from proximity.model import format_time
from proximity.server import signing
from proximity.server.auth import Caller, Role
from proximity.server.entries import Resource, Source, delete_one, find, read_page, routes
from proximity.server.etags import etag_of, unchanged
from proximity.server.problems import HEADERS, Problem, answer, json_answer
from proximity.server.reading import SMALL_LIMIT, Asked, off_loop, parse_json, read_body, read_id
from proximity.server.routes import READERS, Content, Route
from proximity.site import gatewaysecrets
from proximity.site.entries import record_of
from proximity.site.registry import Enrolled, Gateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from proximity.server.parts import Parts
    from proximity.site.registry import Site

# Who sees to it that they run; and a gateway itself.
OPERATORS = frozenset({Role.ADMIN})
OWN = frozenset({Role.GATEWAY, Role.ADMIN})
# A gateway tells of itself once a minute: three that did not come are a sign.
SILENT_S = 180.0
HEALTH_LIMIT = 64 * 2**10
# An hour at least, so that one who looks away once still finds the old secret good.
LEAST_OVERLAP_S = 3600.0
MOST_OVERLAP_S = 90 * 86400.0


class Told(msgspec.Struct, frozen=True):
    """What a gateway last told of itself, and when (Unix seconds)."""

    at: float
    said: msgspec.Raw


class GatewayRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A gateway with the keys of a site file; and how it is, where it was ever heard.

    ``clock_error_s`` is by how many seconds its clock was ahead (behind, below 0) when a record of
    it was dated anew; ``health`` what it last told of itself.
    """

    id: str
    place: str = msgspec.field()
    source: Source = msgspec.field()
    offset_db: float = 0.0
    lon: float | None = None
    lat: float | None = None
    x_m: float | None = None
    y_m: float | None = None
    floor: float | None = None
    dead: bool = False
    silent: bool | None = None
    heard_at: str | None = None
    clock_error_s: float | None = None
    health_at: str | None = None
    health: dict[str, Any] | None = None


class GatewayPage(msgspec.Struct, frozen=True):
    """A page of gateways by id; ``cursor`` is the next request's ``after``."""

    items: tuple[GatewayRecord, ...]
    cursor: str


class Configuration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a gateway listens for: beacons with the keys of a site file, nobody's name.

    ``secret`` is a new one, told to whoever signed with the one that it replaces.
    """

    gateway: str
    place: str = msgspec.field()
    late_s: float = msgspec.field()
    beacons: tuple[dict[str, Any], ...] = msgspec.field()
    secret: str | None = None


class SecretRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A secret in force: ``until`` where another replaces it; itself only when it is made."""

    id: str
    gateway: str
    created_at: str
    until: str | None = None
    secret: str | None = None


class SecretList(msgspec.Struct, frozen=True):
    """The secrets of a gateway, the newest first."""

    items: tuple[SecretRecord, ...]


class Overlap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the secrets before go on, seconds; 0 ends them at once."""

    overlap_s: float = gatewaysecrets.OVERLAP_S


def _ids(parts: Parts) -> list[str]:
    return sorted(parts.ingest.site.gateways)


def _show(parts: Parts, name: str) -> GatewayRecord | None:
    """Show what is enrolled, which alone has an ETag: how a gateway fares changes by itself."""
    found = find(parts, "gateway", name)
    if found is None:
        return None
    return msgspec.convert({**record_of(found.value), "source": found.source}, GatewayRecord)


def heard_at(parts: Parts, name: str) -> float | None:
    """Tell when a gateway was last heard of in any way (Unix seconds); None since the start."""
    told = parts.healths.get(name)
    times = [parts.ingest.redating.heard.get(name), None if told is None else told.at]
    return max((at for at in times if at is not None), default=None)


def silent(parts: Parts, name: str) -> bool:
    """Whether a gateway was not heard of for minutes, or never since the server's start."""
    since = heard_at(parts, name)
    return parts.clock() > (parts.started_at if since is None else since) + SILENT_S


def missed(parts: Parts) -> list[str]:
    """Name the gateways that are silent and should not be: those known to be dead are let be."""
    gateways = parts.ingest.site.gateways.values()
    return [one.id for one in gateways if not one.dead and silent(parts, one.id)]


def watched_gateways(parts: Parts) -> dict[str, tuple[str, Callable[[], float]]]:
    """Give what is counted of all gateways together; none of them is named."""

    def names() -> list[str]:
        return list(parts.ingest.site.gateways)

    return {
        "gateways": ("Gateways enrolled.", lambda: len(names())),
        "gateways_silent": (
            "Gateways not heard of for minutes, but for those known to be dead.",
            lambda: len(missed(parts)),
        ),
        "sightings_redated": (
            "Sightings dated by the server since its start: their gateway's clock was wrong.",
            lambda: parts.ingest.redating.redated,
        ),
    }


def _state(parts: Parts, shown: GatewayRecord, *, whole: bool) -> GatewayRecord:
    """Add how a gateway is; ``whole``: with all that it told of itself."""
    told, heard = parts.healths.get(shown.id), heard_at(parts, shown.id)
    wrong = parts.ingest.redating.errors.get(shown.id)
    return msgspec.structs.replace(
        shown,
        silent=silent(parts, shown.id),
        heard_at=None if heard is None else format_time(heard),
        clock_error_s=None if wrong is None else round(wrong.ahead_s, 1),
        health_at=None if told is None or not whole else format_time(told.at),
        health=None if told is None or not whole else msgspec.json.decode(told.said),
    )


def _show_page(parts: Parts, name: str) -> GatewayRecord | None:
    shown = _show(parts, name)
    return None if shown is None else _state(parts, shown, whole=False)


async def _read_one(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    shown = _show(parts, read_id(request))
    if shown is None:
        raise Problem(404, "There is no gateway with this id.")
    tag = etag_of(msgspec.json.encode(shown))
    if unchanged(request, tag):
        return web.Response(status=304, headers={**HEADERS, "ETag": tag})
    return json_answer(msgspec.json.encode(_state(parts, shown, whole=True)), headers={"ETag": tag})


def _own(request: web.Request, parts: Parts, caller: Caller) -> Gateway:
    """Give the gateway of the path, which is the caller's own; ``self`` is whoever asks.

    Raises Problem 404 for any other: which there are is not for a gateway to know.
    """
    name = read_id(request)
    if caller.speaks_for is not None and name == signing.SELF:
        name = caller.speaks_for
    found = parts.ingest.site.gateways.get(name)
    if found is None or caller.speaks_for not in {None, name}:
        raise Problem(404, "There is no gateway with this id, or it is another's.")
    return found


async def _configuration(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    gateway, site = _own(request, parts, caller), parts.ingest.site
    if caller.role is Role.GATEWAY:  # an operator who looks is no sign of life
        parts.ingest.redating.heard[gateway.id] = parts.clock()
    signed = request.signed if isinstance(request, Asked) else None
    secret = signed.newer if signed is not None and _is_private(request) else None
    known = parts.configurations.get(gateway.id)
    if known is not None and known[0]() is site and secret is None and unchanged(request, known[1]):
        return web.Response(status=304, headers={**HEADERS, "ETag": known[1]})
    body = await asyncio.to_thread(configuration_of, site, gateway, parts.late_s, None)
    tag = etag_of(body)
    parts.configurations[gateway.id] = weakref.ref(site), tag
    if secret is not None:
        # Not to be taken for the same as one without: no ETag is known for it.
        return json_answer(
            await asyncio.to_thread(configuration_of, site, gateway, parts.late_s, secret)
        )
    if unchanged(request, tag):
        return web.Response(status=304, headers={**HEADERS, "ETag": tag})
    return json_answer(body, headers={"ETag": tag})


def configuration_of(
    site: Site, gateway: Gateway, late_s: float, secret: str | None, *, keys: bool = True
) -> bytes:
    """Write what a gateway listens for: what is carried, and bound to it or to none.

    ``keys`` false: without beacons whose identities change, since a key comes with each.
    """
    return msgspec.json.encode(
        Configuration(
            gateway=gateway.id,
            place=gateway.place,
            late_s=late_s,
            beacons=tuple(
                _listened(one)
                for one in site.beacons
                if one.subject is not None and one.bound(gateway.id) and (keys or one.eid is None)
            ),
            secret=secret,
        )
    )


def _listened(beacon: Enrolled) -> dict[str, Any]:
    hidden = {"id", "subject", "place", "gateways"}
    return {key: said for key, said in record_of(beacon).items() if key not in hidden}


def _is_private(request: web.Request) -> bool:
    """Whether nobody on the way reads the answer: encrypted, or it stays on this machine."""
    if request.secure:
        return True
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return False


async def _health(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    gateway = _own(request, parts, caller)
    body = await read_body(request, HEALTH_LIMIT)
    fields = await off_loop(len(body), lambda: parse_json(body, dict[str, Any]))
    # Written anew: what comes out is JSON as we write it, whatever came in.
    parts.healths[gateway.id] = Told(parts.clock(), msgspec.Raw(msgspec.json.encode(fields)))
    return web.Response(status=204, headers=HEADERS)


async def _make_secret(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    if name not in parts.ingest.site.gateways:
        raise Problem(404, "There is no gateway with this id: enrol it first.")
    body = await read_body(request, SMALL_LIMIT) if request.body_exists else b""
    overlap_s = parse_json(body, Overlap).overlap_s if body.strip() else gatewaysecrets.OVERLAP_S
    if not (overlap_s == 0.0 or LEAST_OVERLAP_S <= overlap_s <= MOST_OVERLAP_S):
        raise Problem(422, "overlap_s must be 0, or from an hour to 90 days in seconds.")
    now = parts.clock()

    def work(conn: Connection) -> SecretRecord:
        text = gatewaysecrets.make_secret(conn, name, now, overlap_s)
        made = gatewaysecrets.list_secrets(conn, now, name)[0]
        return msgspec.structs.replace(_secret(made), secret=text)

    made = await parts.store.awrite(work)
    await parts.signatures.arefresh()
    return answer(made, 201)


async def _list_secrets(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name, now = read_id(request), parts.clock()
    rows = await parts.store.aread(lambda conn: gatewaysecrets.list_secrets(conn, now, name))
    return answer(SecretList(tuple(_secret(row) for row in rows)))


async def _end_secrets(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    if not await parts.store.awrite(lambda conn: gatewaysecrets.end_secrets(conn, name)):
        raise Problem(404, "No secret of this gateway is in force.")
    await parts.signatures.arefresh()
    return web.Response(status=204, headers=HEADERS)


def _secret(row: gatewaysecrets.SecretRow) -> SecretRecord:
    return SecretRecord(
        id=row.id,
        gateway=row.gateway,
        created_at=format_time(row.created_at),
        until=None if row.until is None else format_time(row.until),
    )


async def _delete_one(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    """Take a gateway away, and with it what it signs with and what it told."""
    gone = await _delete_entry(request, parts, caller)
    name = read_id(request)
    await parts.signatures.arefresh()
    parts.healths.pop(name, None)
    parts.configurations.pop(name, None)
    # Another computer may come under this name: how the clock of this one was is not its matter.
    parts.ingest.redating.heard.pop(name, None)
    parts.ingest.redating.errors.pop(name, None)
    return gone


RESOURCE = Resource(
    kind="gateway",
    path="/v1/gateways",
    page=GatewayPage,
    record=GatewayRecord,
    readers=READERS,
    editors=OPERATORS,
    ids=_ids,
    show=_show,
    goes=gatewaysecrets.end_secrets,
    derived=frozenset({"source", "silent", "heard_at", "clock_error_s", "health_at", "health"}),
)
_delete_entry = delete_one(RESOURCE)
# Where gateways are not as other entries: the list tells how they are, and a secret goes with its
# gateway.
_OWN_WAYS = {
    ("GET", RESOURCE.path): read_page(RESOURCE._replace(show=_show_page)),
    ("DELETE", f"{RESOURCE.path}/{{id}}"): _delete_one,
}
_GONE = Content(meaning="There is no gateway with this id, or it is another's.")
_SECRETS = "/v1/gateways/{id}/secrets"

ROUTES = (
    *(
        replace(row, endpoint=_OWN_WAYS.get((row.method, row.path), row.endpoint))
        for row in routes(RESOURCE, read=False)
    ),
    Route(
        method="GET",
        path="/v1/gateways/{id}",
        endpoint=_read_one,
        roles=READERS,
        summary="One gateway and how it is; its ETag is of what is enrolled alone.",
        headers=("If-None-Match",),
        answers={
            200: Content(meaning="The gateway.", schema=GatewayRecord, headers=("ETag",)),
            304: Content(meaning="It is enrolled as you know it, however it is (If-None-Match)."),
            404: _GONE,
        },
    ),
    Route(
        method="GET",
        path="/v1/gateways/{id}/config",
        endpoint=_configuration,
        roles=OWN,
        summary="What a gateway listens for; `self` is whoever asks.",
        headers=("If-None-Match",),
        answers={
            200: Content(meaning="Its configuration.", schema=Configuration),
            304: Content(meaning="It is as you know it (If-None-Match)."),
            404: _GONE,
        },
    ),
    Route(
        method="POST",
        path="/v1/gateways/{id}/health",
        endpoint=_health,
        roles=OWN,
        summary="A gateway tells how it fares; the last is kept until the server stops.",
        body=Content(meaning="An object of at most 64 KiB.", schema={"type": "object"}),
        answers={204: Content(meaning="It is kept."), 404: _GONE},
    ),
    Route(
        method="GET",
        path=_SECRETS,
        endpoint=_list_secrets,
        roles=OPERATORS,
        summary="The secrets that a gateway may sign with, never the secrets themselves.",
        answers={200: Content(meaning="Those in force.", schema=SecretList)},
    ),
    Route(
        method="POST",
        path=_SECRETS,
        endpoint=_make_secret,
        roles=OPERATORS,
        summary="Make a secret, shown once; those before go on for a while.",
        body=Content(meaning="How long they go on; a week where absent.", schema=Overlap),
        answers={
            201: Content(meaning="The new secret.", schema=SecretRecord),
            404: _GONE,
            422: Content(meaning="That is no good overlap."),
        },
    ),
    Route(
        method="DELETE",
        path=_SECRETS,
        endpoint=_end_secrets,
        roles=OPERATORS,
        summary="End all secrets of a gateway at once.",
        answers={
            204: Content(meaning="They are ended."),
            404: Content(meaning="None is in force."),
        },
    ),
)
