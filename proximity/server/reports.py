"""What happened, in numbers of which nobody can be picked out? Reports over HTTP.

Fixed days and weeks, fixed rows, no filter: ``proximity.reports`` says why.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from proximity.reports.reports import MOST_PERIODS, REPORTS, Reported, read_report
from proximity.server.auth import Caller
from proximity.server.problems import Problem, answer
from proximity.server.reading import read_id
from proximity.server.routes import READERS, Content, Param, Route
from proximity.tomltable import nearest

if TYPE_CHECKING:
    from aiohttp import web

    from proximity.server.parts import Parts


class ReportNamed(msgspec.Struct, frozen=True):
    """A report that can be asked for: its name, what it says, and its grid of time in seconds."""

    report: str
    about: str
    grid_s: float


class ReportList(msgspec.Struct, frozen=True):
    """Every report there is."""

    items: tuple[ReportNamed, ...]


def _read_last(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_PERIODS:
        return int(text)
    raise ValueError(f"it must be 1 to {MOST_PERIODS}")


LAST = Param(
    name="last",
    schema={"type": "integer", "minimum": 1, "maximum": MOST_PERIODS, "default": 7},
    meaning="how many days or weeks, newest first; only those that are over",
    read=_read_last,
    default=7,
)


async def _list(_request: web.Request, _parts: Parts, _caller: Caller) -> web.StreamResponse:
    return answer(
        ReportList(tuple(ReportNamed(name, row.about, row.grid_s) for name, row in REPORTS.items()))
    )


async def _read_one(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name, last = read_id(request), LAST.of(request)
    if name not in REPORTS:
        raise Problem(404, f"There is no report {name[:64]!r}; {nearest(name, REPORTS)}")
    # What nobody has asked for yet is counted now, which may take a while: not on the event loop.
    return answer(await asyncio.to_thread(read_report, parts.store, name, parts.clock(), last))


ROUTES = (
    Route(
        method="GET",
        path="/v1/reports",
        endpoint=_list,
        roles=READERS,
        summary="Which reports there are.",
        answers={200: Content(meaning="All of them.", schema=ReportList)},
    ),
    Route(
        method="GET",
        path="/v1/reports/{id}",
        endpoint=_read_one,
        roles=READERS,
        summary="One report: numbers of ten people or more, without their last digit.",
        params=(LAST,),
        answers={
            200: Content(meaning="Its days or weeks, newest first.", schema=Reported),
            404: Content(meaning="There is no report of this name."),
        },
    ),
)
