"""What have places, gateways and beacons in common over HTTP? Read and edited with the same habits.

One entry with its ETag, many at once all or nothing, and what a file names read-only. What an entry
may say is ``entries``'s, whether it fits the rest ``enrolment``'s; this must not know either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from aiohttp import web

from proximity.model import ProximityError
from proximity.server.etags import NAMES, check_write, etag_of, tagged
from proximity.server.problems import HEADERS, Problem, answer, json_answer
from proximity.server.reading import (
    AFTER_ID,
    FENCES_LIMIT,
    LIMIT,
    SMALL_LIMIT,
    numbered_lines,
    parse_json,
    read_body,
    read_id,
)
from proximity.server.routes import JSON, NDJSON, Content, Endpoint, Route
from proximity.site.enrolment import (
    Asked,
    EntryFixed,
    Name,
    carried,
    faults,
    name_of,
    read_asked,
    read_list,
)
from proximity.store import StoreFailed

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.server.auth import Caller, Role
    from proximity.server.parts import Parts
    from proximity.site.entries import Kind, Value

Source = Literal["file", "http"]
CSV = "text/csv"


class Edited(msgspec.Struct, frozen=True):
    """What a POST changed, by id."""

    added: tuple[str, ...]
    replaced: tuple[str, ...]


class Known(NamedTuple):
    """An entry in force, and whether a file or HTTP gave it."""

    value: Value
    source: Source


class Resource(NamedTuple):
    """How one kind of entry is shown and edited.

    ``show`` gives the record of an id, None where there is none; ``ids`` all of them, sorted.
    ``derived`` are its keys that nobody sets: given back unchanged they are passed over.
    ``restore`` fills in what is not shown where a record comes back without it; ``goes`` takes
    away what goes with an entry, in the same transaction, and ``gone`` says what becomes of it.
    """

    kind: Kind
    path: str
    page: type
    record: type
    readers: frozenset[Role]
    editors: frozenset[Role]
    ids: Callable[[Parts], Sequence[str]]
    show: Callable[[Parts, str], object | None]
    derived: frozenset[str] = frozenset({"source"})
    restore: Callable[[dict[str, Any], Value | None], None] = lambda _fields, _before: None
    csv: bool = False
    goes: Callable[[Connection, str], object] | None = None
    gone: str = "It is gone."


def find(parts: Parts, kind: Kind, name: str) -> Known | None:
    """Find an entry in force by kind and id; the file's own come first."""
    fixed = parts.ingest.fixed
    found: Value | None
    if kind == "place":
        found = fixed.places.get(name)
    elif kind == "gateway":
        found = fixed.gateways.get(name)
    else:
        found = fixed.by_name.get(name)
    if found is not None:
        return Known(found, "file")
    value = parts.ingest.enrolments.values.get((kind, name))
    return None if value is None else Known(value, "http")


def etag(shown: object | None) -> str | None:
    """Give the ETag of what is shown of an entry; None where there is nothing."""
    return None if shown is None else etag_of(msgspec.json.encode(shown))


async def put(
    parts: Parts,
    asked: Sequence[Asked],
    removals: Sequence[Name] = (),
    goes: Callable[[Connection], object] | None = None,
) -> None:
    """Enrol and remove, with the people who carry what; all or nothing.

    ``goes`` takes away what goes with the removed. Raises Problem: 409 where a file or another
    entry stands in the way, 422 that lists every reason why it is no good.
    """
    people, whose = parts.people, carried(asked)

    def also(conn: Connection) -> None:
        if whose:
            people.enrol(conn, whose, source="enrolment")
        if goes is not None:
            goes(conn)

    try:
        await parts.ingest.edit_entries(asked, removals, also=also if whose or goes else None)
    except StoreFailed:
        raise  # the disk's fault
    except EntryFixed as error:
        raise Problem(409, f"Nothing was changed: {error.problems[0]}.",
                      problems=error.problems) from None  # fmt: skip
    except ProximityError as error:
        raise refusal(error.problems) from None
    if whose:
        people.reload()


def refusal(problems: Sequence[str]) -> Problem:
    """Refuse entries that are no good, naming every reason."""
    said = problems[0] if len(problems) == 1 else f"{len(problems)} problems, see `problems`."
    return Problem(422, f"Nothing was changed: {said}", problems=problems)


def read_one(resource: Resource) -> Endpoint:
    """Make the endpoint that shows one entry."""

    async def read(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
        shown = resource.show(parts, read_id(request))
        if shown is None:
            raise Problem(404, f"There is no {resource.kind} with this id.")
        return tagged(request, shown)

    return read


def read_page(resource: Resource) -> Endpoint:
    """Make the endpoint that pages through entries by id."""

    async def read(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
        after, limit = AFTER_ID.of(request), LIMIT.of(request)
        names = [name for name in resource.ids(parts) if name > after][:limit]
        items = tuple(resource.show(parts, name) for name in names)
        return answer(resource.page(items, names[-1] if names else after))

    return read


def put_one(resource: Resource) -> Endpoint:
    """Make the endpoint that enrols one entry under the id in its path."""

    async def write(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
        name = read_id(request)
        fields = parse_json(await read_body(request, SMALL_LIMIT), dict[str, Any])
        if fields.setdefault("id", name) != name:
            raise Problem(422, "The record's own id is not the id in the path: leave one out.")
        async with parts.entries_edit:
            before = find(parts, resource.kind, name)
            check_write(request, etag(resource.show(parts, name)))
            problems: list[str] = []
            asked = _read(resource, [(resource.kind, fields)], parts, problems)
            if problems:
                raise refusal(problems)
            await put(parts, [one._replace(where="") for one in asked])
            shown = resource.show(parts, name)
        headers = {"ETag": etag(shown) or ""}
        return json_answer(msgspec.json.encode(shown), 201 if before is None else 200, headers)

    return write


def post_all(resource: Resource) -> Endpoint:
    """Make the endpoint that enrols many: JSON lines, an array, or a list as CSV."""

    async def write(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
        problems: list[str] = []
        if resource.csv and request.content_type == CSV:
            body = await read_body(request, FENCES_LIMIT)
            asked = await asyncio.to_thread(_read_csv, body, problems)
        else:
            body = await read_body(request, SMALL_LIMIT)
            found, problems = numbered_lines(body, dict[str, Any], f"{resource.kind}s")
            told = [(f"line {line}", fields) for line, fields in found]
            asked = _read(resource, told, parts, problems)
        async with parts.entries_edit:
            if problems:
                ingest = parts.ingest
                others = await asyncio.to_thread(
                    faults, ingest.enrolments.copy(), ingest.fixed, frozenset(ingest.fences), asked
                )
                raise refusal([*problems, *others])
            names = [name_of(one.value)[1] for one in asked]
            there = {name for name in names if find_quickly(parts, resource.kind, name)}
            await put(parts, asked)
        return answer(
            Edited(
                added=tuple(name for name in names if name not in there),
                replaced=tuple(name for name in names if name in there),
            )
        )

    return write


def delete_one(resource: Resource) -> Endpoint:
    """Make the endpoint that takes an entry away."""

    async def write(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
        name = read_id(request)
        async with parts.entries_edit:
            shown = resource.show(parts, name)
            if shown is None and "If-Match" not in request.headers:
                raise Problem(404, f"There is no {resource.kind} with this id.")
            check_write(request, etag(shown))
            if shown is not None and find(parts, resource.kind, name) is None:
                raise Problem(409, "It is there because a fence or another entry names it.")
            goes = resource.goes
            also = None if goes is None else lambda conn: goes(conn, name)
            await put(parts, (), [(resource.kind, name)], also)
        return web.Response(status=204, headers=HEADERS)

    return write


def find_quickly(parts: Parts, kind: Kind, name: str) -> bool:
    """Whether HTTP gave an entry; a file's are refused when they are written."""
    return (kind, name) in parts.ingest.enrolments.values


def _read(
    resource: Resource,
    told: Sequence[tuple[str, Mapping[str, Any]]],
    parts: Parts,
    problems: list[str],
) -> list[Asked]:
    """Read what is asked for; what is wrong goes to ``problems``, and what is not is given."""
    asked: list[Asked] = []
    for where, fields in told:
        mine = {key: said for key, said in fields.items() if key not in resource.derived}
        name = mine.get("id")
        values = parts.ingest.enrolments.values
        resource.restore(mine, values.get((resource.kind, name)) if isinstance(name, str) else None)
        before = len(problems)
        one = read_asked(resource.kind, where, mine, problems)
        if len(problems) == before:
            asked.append(one)
    return asked


def _read_csv(body: bytes, problems: list[str]) -> list[Asked]:
    try:
        return read_list(body.decode("utf-8-sig"), "", problems)
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise Problem(400, f"Line {line} is not UTF-8: save the list as UTF-8.") from None


_BODY = {"type": "object"}
_SAME = Content(meaning="It is as you know it (If-None-Match).")
_STALE = Content(meaning="The condition (If-Match, If-None-Match) does not hold.")
_BAD = Content(meaning="It is no good; `problems` says every reason. Nothing was changed.")


def routes(resource: Resource, *, read: bool = True) -> tuple[Route, ...]:
    """Give the rows of one kind of entry; ``read`` false: without the one that shows one."""
    kind, path = resource.kind, resource.path
    one = Content(meaning=f"The {kind}.", schema=resource.record, headers=("ETag",))
    gone = Content(meaning=f"There is no {kind} with this id.")
    fixed = Content(meaning="A file given to the server names it, or others need it as it is.")
    rows = [
        Route(
            method="GET",
            path=path,
            endpoint=read_page(resource),
            roles=resource.readers,
            summary=f"Page through the {kind}s.",
            params=(AFTER_ID, LIMIT),
            answers={200: Content(meaning="A page, by id.", schema=resource.page)},
        ),
        Route(
            method="POST",
            path=path,
            endpoint=post_all(resource),
            roles=resource.editors,
            summary=f"Add or replace {kind}s by id: all of them, or none.",
            body=Content(
                meaning=f"One {kind} a line, or an array of them"
                + (", or a list as CSV." if resource.csv else "."),
                schema={"type": ["object", "array"]},
                media=(JSON, NDJSON, CSV) if resource.csv else (JSON, NDJSON),
            ),
            answers={
                200: Content(meaning="They are in force.", schema=Edited),
                409: fixed,
                422: _BAD,
            },
        ),
        Route(
            method="PUT",
            path=f"{path}/{{id}}",
            endpoint=put_one(resource),
            roles=resource.editors,
            summary=f"Add or replace one {kind}.",
            headers=NAMES,
            body=Content(meaning=f"The {kind}, as in a site file.", schema=_BODY),
            answers={
                200: one,
                201: Content(meaning="It is new.", schema=resource.record, headers=("ETag",)),
                409: fixed,
                412: _STALE,
                422: _BAD,
            },
        ),
        Route(
            method="DELETE",
            path=f"{path}/{{id}}",
            endpoint=delete_one(resource),
            roles=resource.editors,
            summary=f"Take a {kind} away.",
            headers=("If-Match",),
            answers={204: Content(meaning=resource.gone), 404: gone, 409: fixed, 412: _STALE},
        ),
    ]
    if read:
        rows.append(
            Route(
                method="GET",
                path=f"{path}/{{id}}",
                endpoint=read_one(resource),
                roles=resource.readers,
                summary=f"One {kind}.",
                headers=("If-None-Match",),
                answers={200: one, 304: _SAME, 404: gone},
            )
        )
    return tuple(rows)
