"""How are fences read and edited over HTTP? GeoJSON in and out, with ETags, all or nothing.

What a file given to ``serve`` names is read-only here. Whether a shape is a good one is
``geofences``' to say; that an edit survives and is seen by the next record, ``ingest``'s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from geofences import Fence, GeofenceError, loads
from proximity.privacy import approvals
from proximity.privacy.publishing import refused_fences
from proximity.server.auth import Caller, Role
from proximity.server.etags import NAMES, check_write, etag_of, unchanged
from proximity.server.problems import HEADERS, Problem, answer, json_answer
from proximity.server.reading import BOM, FENCES_LIMIT, parse_json, read_body, read_id
from proximity.server.routes import GEOJSON, JSON, READERS, Content, Route
from proximity.site.enrolment import EntryFixed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proximity.server.parts import Parts
    from proximity.store.journal import StoredFence

EDITORS = frozenset({Role.MARKETER, Role.ADMIN})


class Edited(msgspec.Struct, frozen=True):
    """What a POST of fences changed, by id."""

    added: tuple[str, ...]
    replaced: tuple[str, ...]


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """A GeoJSON Feature; ``properties`` as in the reference, unknown ones are kept."""

    type: str
    id: str
    geometry: dict[str, Any]
    properties: dict[str, Any]


class FeatureCollection(msgspec.Struct, frozen=True, kw_only=True):
    """A GeoJSON FeatureCollection."""

    type: str
    features: tuple[Feature, ...]


async def _read_all(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    fences = dict(parts.ingest.fences)
    etag = await asyncio.to_thread(_collection_etag, fences)
    if unchanged(request, etag):
        return _not_modified(etag)
    text = await asyncio.to_thread(_collection, fences)
    return json_answer(text, headers={"ETag": etag}, content_type=GEOJSON)


async def _read_one(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    found = parts.ingest.fences.get(read_id(request))
    if found is None:
        raise Problem(404, "There is no fence with this id.")
    etag = _etag(found)
    if unchanged(request, etag):
        return _not_modified(etag)
    return _fence(found, 200)


async def _put_one(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    body = await read_body(request, FENCES_LIMIT)
    fence = await asyncio.to_thread(_parse_one, body, name)
    async with parts.fences_edit:
        before = parts.ingest.fences.get(name)
        check_write(request, None if before is None else _etag(before))
        _writable({name: before})
        await _judge(parts, [fence])
        await parts.ingest.edit_fences([fence], [])
        found = parts.ingest.fences[name]
    return _fence(found, 201 if before is None else 200)


async def _delete_one(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    async with parts.fences_edit:
        before = parts.ingest.fences.get(name)
        if before is None:
            if "If-Match" in request.headers:
                check_write(request, None)
            raise Problem(404, "There is no fence with this id.")
        check_write(request, _etag(before))
        _writable({name: before})
        try:
            await parts.ingest.edit_fences([], [name])
        except EntryFixed as error:
            raise Problem(409, f"Nothing was changed: {error.problems[0]}.",
                          problems=error.problems) from None  # fmt: skip
    return web.Response(status=204, headers=HEADERS)


async def _post_all(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    body = await read_body(request, FENCES_LIMIT)
    fences = await asyncio.to_thread(_parse, body)
    names = [fence.id for fence in fences]
    async with parts.fences_edit:
        every = dict(parts.ingest.fences)
        check_write(request, await asyncio.to_thread(_collection_etag, every))
        before = {name: every.get(name) for name in names}
        _writable(before)
        await _judge(parts, fences)
        await parts.ingest.edit_fences(fences, [])
    return answer(
        Edited(
            added=tuple(name for name in names if before[name] is None),
            replaced=tuple(name for name in names if before[name] is not None),
        )
    )


async def _judge(parts: Parts, fences: Sequence[Fence]) -> None:
    """Refuse to draw where places are sensitive. Raises Problem 422 that names every one."""
    campaigns, policy = parts.campaigns(), parts.policy
    if not campaigns.campaigns and not policy.layer:
        return
    around: dict[str, Fence] = {}
    for fence in fences:  # what they lie in, however deep
        while fence.venue is not None and fence.venue not in around:
            above = parts.ingest.index.get(fence.venue)
            if above is None:
                break
            fence = around[above.id] = above  # noqa: PLW2901 - one step up
    vouched = await parts.store.aread(approvals.vouched)
    problems = await asyncio.to_thread(
        refused_fences, fences, around.values(), campaigns, parts.ingest.site, policy, vouched
    )
    if problems:
        raise Problem(
            422, f"Nothing was changed: {problems[0]}", problems=problems, code="sensitive"
        )


def _parse(body: bytes) -> list[Fence]:
    """Read a body of fences. Raises Problem 422 that names every problem."""
    try:
        return list(loads(body, "body").fences)
    except GeofenceError as error:
        problems = [str(problem) for problem in error.problems]
        raise Problem(
            422,
            "Nothing was changed: "
            + (
                problems[0]
                if len(problems) == 1
                else f"{len(problems)} problems, listed in `problems`."
            ),
            problems=problems,
        ) from None


def _parse_one(body: bytes, name: str) -> Fence:
    """Read a body that is one Feature or geometry; the id in the path is its id."""
    # Members stay as they were sent: only what names the fence is looked at here.
    members = parse_json(body, dict[str, msgspec.Raw])
    kind = _said(members, "type")
    if kind == "FeatureCollection":
        raise Problem(422, "One fence is put at a time: POST a collection to /v1/fences.")
    feature: dict[str, Any] = dict(members)
    if kind != "Feature":
        feature = {
            "type": "Feature",
            "properties": {},
            "geometry": msgspec.Raw(body.removeprefix(BOM).strip()),
        }
    said = _said(members, "id") if kind == "Feature" else None
    if said is not None and str(said) != name:
        raise Problem(422, "The feature's own id is not the id in the path: leave one of them out.")
    feature["id"] = name
    # Written out again, so that one reader judges every fence, whichever way it came in.
    (fence,) = _parse(msgspec.json.encode(feature))
    return fence


def _said(members: Mapping[str, msgspec.Raw], name: str) -> Any:
    try:
        return msgspec.json.decode(members[name]) if name in members else None
    except RecursionError:
        return None  # no type and no id of anything


def _writable(before: dict[str, StoredFence | None]) -> None:
    """Refuse to edit what a file names. Raises Problem 409."""
    fixed = [name for name, found in before.items() if found is not None and found.source == "file"]
    if fixed:
        raise Problem(
            409,
            "A file given to the server names this, so it is read-only here: edit the file.",
            problems=[f"fence {name!r} stands in a file" for name in fixed],
        )


def _not_modified(etag: str) -> web.Response:
    return web.Response(status=304, headers={**HEADERS, "ETag": etag})


def _etag(fence: StoredFence) -> str:
    return f'"{fence.etag}"'


def _fence(fence: StoredFence, status: int) -> web.Response:
    return json_answer(fence.feature, status, {"ETag": _etag(fence)}, content_type=GEOJSON)


def _collection_etag(fences: Mapping[str, StoredFence]) -> str:
    return etag_of(*(f"{name}\0{fences[name].etag}" for name in sorted(fences)))


def _collection(fences: Mapping[str, StoredFence]) -> bytes:
    features = ",".join(fences[name].feature for name in sorted(fences))
    return f'{{"type":"FeatureCollection","features":[{features}]}}'.encode()


_BODY = Content(
    meaning="A GeoJSON FeatureCollection, Feature or geometry.",
    schema={"type": "object"},
    media=(GEOJSON, JSON),
)
_ONE = Content(meaning="The fence.", schema=Feature, media=(GEOJSON,), headers=("ETag",))
_SAME = Content(meaning="It is as you know it (If-None-Match).")
_GONE = Content(meaning="There is no fence with this id.")
_FILE = Content(meaning="A file given to the server names it: read-only here.")
_NEEDED = Content(meaning="A file names it, or a gateway or beacon stands in it: move that first.")
_STALE = Content(meaning="The condition (If-Match, If-None-Match) does not hold.")
_BAD = Content(meaning="It is no good fence; `problems` says every reason. Nothing was changed.")

ROUTES = (
    Route(
        method="GET",
        path="/v1/fences",
        endpoint=_read_all,
        roles=READERS,
        summary="Every fence in force.",
        headers=("If-None-Match",),
        answers={
            200: Content(
                meaning="All of them.",
                schema=FeatureCollection,
                media=(GEOJSON,),
                headers=("ETag",),
            ),
            304: _SAME,
        },
    ),
    Route(
        method="POST",
        path="/v1/fences",
        endpoint=_post_all,
        roles=EDITORS,
        summary="Add or replace fences by id: all of them, or none.",
        headers=NAMES,
        body=_BODY,
        answers={
            200: Content(meaning="They are in force.", schema=Edited),
            409: _FILE,
            412: _STALE,
            422: _BAD,
        },
    ),
    Route(
        method="GET",
        path="/v1/fences/{id}",
        endpoint=_read_one,
        roles=READERS,
        summary="One fence.",
        headers=("If-None-Match",),
        answers={200: _ONE, 304: _SAME, 404: _GONE},
    ),
    Route(
        method="PUT",
        path="/v1/fences/{id}",
        endpoint=_put_one,
        roles=EDITORS,
        summary="Add or replace one fence.",
        headers=NAMES,
        body=_BODY,
        answers={
            200: _ONE,
            201: Content(meaning="It is new.", schema=Feature, media=(GEOJSON,), headers=("ETag",)),
            409: _FILE,
            412: _STALE,
            422: _BAD,
        },
    ),
    Route(
        method="DELETE",
        path="/v1/fences/{id}",
        endpoint=_delete_one,
        roles=EDITORS,
        summary="Take a fence away; who is in it leaves with the reason fence-removed.",
        headers=("If-Match",),
        answers={
            204: Content(meaning="It is gone."),
            404: _GONE,
            409: _NEEDED,
            412: _STALE,
        },
    ),
)
