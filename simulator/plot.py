"""What did the engine make of one subject's walk? The command ``simulator plot``.

Gathers a subject's records, follows them as the engine does, and hands path, fences, transitions
and confidence over time to ``drawing``. Decides nothing: what is drawn as decided is what a run
wrote, or what the engine says when it is run here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from geofences import FenceIndex
from proximity.engine import tracking
from proximity.engine.engine import Engine
from proximity.model import Fix, ProximityError, Sighting, format_time
from simulator.drawing import Mark, Panel, Picture, draw
from simulator.files import what_is_where
from simulator.outcome import TransitionLine, fold, read_transitions
from simulator.pairing import second_of
from simulator.sources import records_of, write_small

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geofences import Fence
    from proximity.engine.tracking import Where
    from proximity.model import Record
    from proximity.site.registry import Site

__all__ = ["picture_of", "plot"]

MOST_PANELS = 8
"""Places with a timeline of their own; a picture of more is read in parts (``--from``)."""
MOST_FENCES = 400
NEAR_M = 400.0
"""Fences so near to the way are drawn: what one could have meant, on a map of a walk."""
MOST_NAMED = 10

_PATH = click.Path(path_type=Path, allow_dash=True)


@click.command()
@click.argument("traces", nargs=-1, required=True, type=_PATH, metavar="TRACE...")
@click.option("--site", type=_PATH, metavar="FILE", help="What is where: site.toml.")
@click.option(
    "--fences", type=_PATH, metavar="FILE", help="GeoJSON fences; over those of the site."
)
@click.option("--subject", metavar="S", help="Whose way; may be left out where there is only one.")
@click.option(
    "--run",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Draw what this run decided; else the engine is run here.",
)
@click.option(
    "--decide",
    type=click.Choice(["robust", "point"]),
    default="robust",
    show_default=True,
    help="How the engine decides, where it is run here.",
)
@click.option("--out", type=_PATH, required=True, metavar="FILE.svg", help="Where it goes.")
def plot(
    traces: tuple[Path, ...],
    site: Path | None,
    fences: Path | None,
    subject: str | None,
    folder: Path | None,
    decide: Literal["robust", "point"],
    out: Path,
) -> int:
    """Draw one subject's way through TRACEs: path, fences, transitions, confidence over time.

    The picture is SVG: a map, and below it a timeline for each place with how probable it was at
    each moment that the subject was inside, the thresholds, and the visits as decided.
    """
    if out != Path("-") and out.suffix.lower() != ".svg":
        raise click.UsageError(
            f"--out {out}: the picture is SVG: name it {out.with_suffix('.svg')}"
        )
    where, drawn = what_is_where(site, fences, skip_bad=False)
    index = FenceIndex(drawn)
    with ExitStack() as stack:
        records = records_of(traces, stack, lambda _: None, Counter(), skip_bad=False)
        subject, own = _own_records(records, where, subject)
    if folder is not None:
        lines = [line for line in read_transitions(folder) if line.subject == subject]
    else:
        lines = _decided(Engine(index, where, decide), own)
    write_small(out, draw(picture_of(subject, own, lines, index, where)).encode())
    return 0


def _own_records(
    records: Iterable[Record], site: Site | None, subject: str | None
) -> tuple[str, list[Record]]:
    """Keep the records that speak for one subject; say who is there where none was named."""
    found: dict[str, list[Record]] = {}
    for record in records:
        whom = record.subject
        if isinstance(record, Sighting):
            spoken = None if site is None else site.who(record)
            whom = None if spoken is None else spoken[0]
        if whom is not None and (subject is None or whom == subject):
            found.setdefault(whom, []).append(record)
    if subject is None and len(found) > 1:
        names = ", ".join(sorted(found)[:MOST_NAMED])
        more = f" and {len(found) - MOST_NAMED:,} more" if len(found) > MOST_NAMED else ""
        raise ProximityError(
            f"the traces hold {len(found):,} subjects: name one with --subject: {names}{more}"
        )
    if not found:
        raise ProximityError(
            "the traces hold no record of anybody"
            if subject is None
            else f"--subject {subject}: the traces hold no record of this subject"
        )
    return next(iter(found.items()))


def _decided(engine: Engine, records: Sequence[Record]) -> list[TransitionLine]:
    """Run the engine over one subject's records: subjects do not depend on each other."""
    return [
        msgspec.convert(transition.to_record(), TransitionLine)
        for transition in engine.on_records(records)
    ]


def picture_of(
    subject: str,
    records: Sequence[Record],
    lines: Sequence[TransitionLine],
    index: FenceIndex,
    site: Site | None,
) -> Picture:
    """Put together what is drawn of ``subject``: its records, and the transitions ``lines``.

    Positions are followed in the order of event time, as the engine judges them in the end.
    """
    times = [record.at for record in records]
    fixes = sorted((one for one in records if isinstance(one, Fix)), key=lambda one: one.at)
    followed = _follow(fixes)
    way = [(fix.at, where.lon, where.lat) for fix, where in followed]
    marks = [_mark(line, way) for line in lines if line.at is not None and line.kind != "corrected"]
    visits, _ = fold(list(lines))
    begins, ends = min(times), max([*times, *(mark.decided_at for mark in marks)])
    heard = _heard(records, site)
    places = _places(lines, way, heard, index)
    panels: list[Panel] = []
    for place in places[:MOST_PANELS]:
        drawn = []
        if place in index and way:
            drawn.append(_chances(place, followed, index))
        if place in heard:
            drawn.append(_levels(place, heard[place], site))
        if not drawn:
            title = f"{place}: in it through the places in it"
            drawn.append(Panel(place, title, 0.0, 1.0, [], joined=False))
        spans = [
            (max(visit.begins, begins), min(visit.ends, ends))
            for visit in visits
            if visit.place == place
        ]
        own = [mark for mark in marks if mark.place == place]
        panels += [replace(panel, visits=spans, marks=own) for panel in drawn]
    notes = [
        (
            f"{format_time(begins)} to {format_time(ends)}: {_count(len(fixes), 'fix', 'es')}, "
            f"{_count(sum(map(len, heard.values())), 'sighting', 's')}, "
            f"{_count(len(lines), 'transition', 's')}; times are UTC"
        )
    ]
    if len(places) > MOST_PANELS:
        notes.append(
            f"{len(places) - MOST_PANELS} more places were met; they have no timeline here"
        )
    return Picture(
        title=subject,
        notes=notes,
        begins=begins,
        ends=ends,
        fences=_near(way, index),
        fixes=[(fix.at, fix.lon, fix.lat) for fix in fixes],
        way=way,
        panels=panels,
        marks=marks,
    )


def _follow(fixes: Sequence[Fix]) -> list[tuple[Fix, Where]]:
    """Follow fixes as the engine does; those that tell nothing are left out."""
    track = b""
    found: list[tuple[Fix, Where]] = []
    for fix in fixes:
        track, where = tracking.follow(track, fix)
        if where.rule not in tracking.ASIDE:
            found.append((fix, where))
    return found


def _mark(line: TransitionLine, way: Sequence[tuple[float, float, float]]) -> Mark:
    """Place a transition on the way, where the way knows its time."""
    assert line.at is not None
    at = second_of(line.at)
    decided_at = at if line.decided_at is None else second_of(line.decided_at)
    if not way or not way[0][0] <= at <= way[-1][0]:
        return Mark(line.kind, line.place, at, decided_at)
    number = max(bisect_right(way, at, key=lambda point: point[0]) - 1, 0)
    before, after = way[number], way[min(number + 1, len(way) - 1)]
    share = (at - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
    east = (after[1] - before[1] + 180.0) % 360.0 - 180.0
    lon, lat = before[1] + share * east, before[2] + share * (after[2] - before[2])
    return Mark(line.kind, line.place, at, decided_at, lon, lat)


def _places(
    lines: Sequence[TransitionLine],
    way: Sequence[tuple[float, float, float]],
    heard: dict[str, list[tuple[float, float]]],
    index: FenceIndex,
) -> list[str]:
    """List the places that the subject has to do with: those decided about first."""
    found = dict.fromkeys(line.place for line in lines)
    found |= dict.fromkeys(heard)
    if way:
        for held in index.holding([lon for _, lon, _ in way], [lat for _, _, lat in way]):
            found |= dict.fromkeys(held)
    return list(found)


def _chances(place: str, followed: Sequence[tuple[Fix, Where]], index: FenceIndex) -> Panel:
    """Draw how probable it is, at each fix, that the subject is inside a fence."""
    fence = index.get(place)
    assert fence is not None
    depth_m = index.depth(place)
    points = [
        (
            fix.at,
            tracking.inside(index.distance(place, where.lon, where.lat), depth_m, where.sd_m)
            if tracking.fits_level(fix, fence)
            else 0.0,
        )
        for fix, where in followed
    ]
    surely = tracking.MIN_CONFIDENCE if fence.min_confidence is None else fence.min_confidence
    bounds = [
        (surely, f"{surely:g}: inside at once"),
        (surely * tracking.TWICE_SHARE, f"{surely * tracking.TWICE_SHARE:.2g}: at two in a row"),
        (surely * tracking.OUTSIDE_SHARE, f"{surely * tracking.OUTSIDE_SHARE:.2g}: outside below"),
    ]
    title = f"{place}: probability of being inside"
    return Panel(place, title, 0.0, 1.0, points, joined=True, bounds=bounds)


def _heard(records: Sequence[Record], site: Site | None) -> dict[str, list[tuple[float, float]]]:
    """Gather the levels heard, by place: (Unix second, dBm)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        if isinstance(record, Sighting) and record.measured and site is not None:
            spoken = site.who(record)
            if spoken is not None:
                found.setdefault(spoken[1], []).append((record.at, record.rssi_dbm))
    return {place: sorted(levels) for place, levels in found.items()}


def _levels(place: str, levels: list[tuple[float, float]], site: Site | None) -> Panel:
    """Draw how loud a place's beacons or gateways were heard."""
    zone = None if site is None else site.places.get(place)
    near_dbm = None if zone is None else zone.near_dbm
    bounds = [] if near_dbm is None else [(near_dbm, f"{near_dbm:g} dBm: near")]
    title = f"{place}: level heard, dBm"
    return Panel(place, title, -100.0, -40.0, levels, joined=False, bounds=bounds)


def _near(way: Sequence[tuple[float, float, float]], index: FenceIndex) -> list[Fence]:
    """Find the fences to draw: those near the way, looked for from some hundred points of it."""
    found: dict[str, float] = {}
    for _, lon, lat in way[:: max(len(way) // 300, 1)]:
        for place, distance_m in index.within(lon, lat, NEAR_M):
            found[place] = min(distance_m, found.get(place, distance_m))
    nearest = sorted(found, key=lambda place: (found[place], place))[:MOST_FENCES]
    return [fence for place in nearest if (fence := index.get(place)) is not None]


def _count(number: int, noun: str, more: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else more}"
