"""What is asked about privacy over HTTP? A report, who vouches for what, and a person's own export.

Erasures have a file of their own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from proximity.privacy import approvals, sensitive
from proximity.privacy.approvals import Approval
from proximity.privacy.exporting import Export, export_person, import_person
from proximity.privacy.report import PrivacyReport, report
from proximity.server.auth import Caller, Role
from proximity.server.people import KEEPERS, written
from proximity.server.problems import Problem, answer
from proximity.server.reading import (
    FENCES_LIMIT,
    SMALL_LIMIT,
    parse_json,
    read_body,
    read_id,
)
from proximity.server.routes import JSON, Content, Route

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.server.parts import Parts

ADMINS = frozenset({Role.ADMIN})
VOUCHERS = frozenset({Role.MARKETER, Role.ADMIN})


class Vouch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody vouches for, as a refusal named it, and why. Who they are their token says."""

    what: str
    reason: str


class Vouched(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many different people vouch for it now; two are enough. ``note``: it is of nothing."""

    approvals: int
    note: str | None = None


class Approvals(msgspec.Struct, frozen=True):
    """Every approval, oldest first."""

    items: tuple[Approval, ...]


class Imported(msgspec.Struct, frozen=True):
    """How many rows of each table were written."""

    rows: dict[str, int]


async def _report(_request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    now, days = parts.clock(), parts.policy.days
    return answer(await parts.store.aread(lambda conn: report(conn, now, days)))


async def _approve(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    said = parse_json(await read_body(request, SMALL_LIMIT), Vouch)
    now = parts.clock()

    def write(conn: Connection) -> int:
        return approvals.approve(conn, said.what, caller.token, said.reason, now=now)

    count = await written(parts, write)
    return answer(Vouched(count, await asyncio.to_thread(_unmet, parts, said.what)), 201)


def _unmet(parts: Parts, what: str) -> str | None:
    """Say that nothing in force is what somebody vouches for."""
    index, site, policy = parts.ingest.index, parts.ingest.site, parts.policy
    fences = [fence for name in index.ids if (fence := index.get(name)) is not None]
    place = sensitive.place_of(what)
    only = () if place is None else (place,)
    found = sensitive.find(fences, site, policy.layer, policy.buffer_m, only=only)
    return sensitive.unmet(what, {*index.ids, *site.named}, found)


async def _approvals(_request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    return answer(Approvals(tuple(await parts.store.aread(approvals.approvals))))


async def _export(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    found = await parts.store.aread(lambda conn: export_person(conn, parts.people, name))
    if found is None:
        raise Problem(404, "There is no person with this id.")
    return answer(found)


async def _import(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    body = await read_body(request, FENCES_LIMIT)
    export = await asyncio.to_thread(parse_json, body, Export)
    now = parts.clock()

    def write(conn: Connection) -> dict[str, int]:
        return import_person(conn, parts.people, export, now=now)

    return answer(Imported(await written(parts, write)))


_TEXT: dict[str, Any] = {"type": "object"}

ROUTES = (
    Route(
        method="GET",
        path="/v1/privacy",
        endpoint=_report,
        roles=ADMINS,
        summary="Count what is kept, and say what should not be.",
        answers={200: Content(meaning="The report.", schema=PrivacyReport)},
    ),
    Route(
        method="GET",
        path="/v1/approvals",
        endpoint=_approvals,
        roles=VOUCHERS,
        summary="Who vouched for what would be refused, when and why.",
        answers={200: Content(meaning="All of them.", schema=Approvals)},
    ),
    Route(
        method="POST",
        path="/v1/approvals",
        endpoint=_approve,
        roles=VOUCHERS,
        summary="Vouch for a sensitive place; it takes two different tokens.",
        body=Content(meaning="What, and why.", schema=Vouch, media=(JSON,)),
        answers={
            201: Content(meaning="It is recorded.", schema=Vouched),
            422: Content(meaning="You vouched already, or a part is missing."),
        },
    ),
    Route(
        method="GET",
        path="/v1/people/{id}/export",
        endpoint=_export,
        roles=KEEPERS,
        summary="All that is known of a person, to read and to take elsewhere.",
        answers={
            200: Content(meaning="The export.", schema=_TEXT),
            404: Content(meaning="There is no person with this id."),
        },
    ),
    Route(
        method="POST",
        path="/v1/exports",
        endpoint=_import,
        roles=KEEPERS,
        summary="Write an export from elsewhere, where nothing is known of its person.",
        body=Content(meaning="An export.", schema=_TEXT, media=(JSON,)),
        answers={
            200: Content(meaning="It is written.", schema=Imported),
            422: Content(meaning="It is none, or cannot be written here; `problems` says why."),
        },
    ),
)
