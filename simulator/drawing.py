"""How does one subject's replay look? A map and its timelines, as SVG.

Values in, text out: no file, no engine, no clock; the same values give the same bytes. The map is
``drawnmap``'s, marks and colours are ``ink``'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

from simulator.drawnmap import draw_map
from simulator.ink import (
    BLUE,
    GREY,
    MARGIN,
    MOST_NAMED,
    SHAPES,
    SKY,
    WIDTH,
    Mark,
    clock,
    legal,
    shape,
    step_of,
    text,
    thinned,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geofences import Fence

__all__ = ["Mark", "Panel", "Picture", "draw"]

SIDE, GUTTER = 44.0, 118.0
"""Room beside a timeline: left for its numbers, right for the words of its bounds."""
PANEL, PANEL_GAP = 92.0, 44.0


@dataclass(frozen=True)
class Panel:
    """One place over time: points (Unix second, value) between ``low`` and ``high``.

    ``joined`` draws them as a line, broken at gaps; ``bounds`` are lines across with their words;
    ``visits`` from when until when the engine held that the subject was there.
    """

    place: str
    title: str
    low: float
    high: float
    points: Sequence[tuple[float, float]]
    joined: bool
    bounds: Sequence[tuple[float, str]] = ()
    visits: Sequence[tuple[float, float]] = ()
    marks: Sequence[Mark] = ()


@dataclass(frozen=True)
class Picture:
    """All of one drawing; ``fixes`` and ``way`` are (Unix second, lon, lat) in order of time."""

    title: str
    notes: Sequence[str]
    begins: float
    ends: float
    fences: Sequence[Fence]
    fixes: Sequence[tuple[float, float, float]]
    way: Sequence[tuple[float, float, float]]
    panels: Sequence[Panel]
    marks: Sequence[Mark] = field(default_factory=tuple)


def draw(picture: Picture) -> str:
    """Write the picture as an SVG document."""
    out: list[str] = []
    y = MARGIN + 18.0
    out.append(text(MARGIN, y, picture.title, size=17, weight="600"))
    for note in picture.notes:
        y += 17.0
        out.append(text(MARGIN, y, note, colour=GREY))
    y += 14.0
    if picture.fixes or picture.way:
        height = draw_map(out, picture, y)
        y += height + 10.0
    y = _legend(out, picture, y + 12.0)
    for panel in picture.panels:
        y += PANEL_GAP
        _panel(out, panel, picture, y)
        y += PANEL
    total = y + 46.0
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}" height="{total:g}" '
        f'viewBox="0 0 {WIDTH:g} {total:g}" font-family="DejaVu Sans, Verdana, sans-serif" '
        f'font-size="12">\n<title>{legal(picture.title)}</title>\n'
        f'<rect width="{WIDTH:g}" height="{total:g}" fill="#fff"/>\n'
    )
    return head + "\n".join(out) + "\n</svg>\n"


def _legend(out: list[str], picture: Picture, y: float) -> float:
    """Write what the marks mean, in as many rows as it takes; give where it ends."""
    items: list[tuple[str, str]] = []
    if picture.fixes:
        items += [
            (f'<circle r="3" fill="{GREY}" fill-opacity="0.7"/>', "fix as reported"),
            (f'<path d="M-9,0 H9" stroke="{BLUE}" stroke-width="2"/>', "position as followed"),
        ]
    items += [
        (f'<path d="{shape}" fill="{colour}" stroke="#fff"/>', kind)
        for kind, (shape, colour) in SHAPES.items()
    ]
    items += [
        (
            f'<path d="M-9,0 H9 M9,-4 V4" stroke="{GREY}" stroke-width="1.6" fill="none"/>',
            "from when it happened to when the engine was sure",
        ),
        (
            f'<rect x="-9" y="-6" width="18" height="12" fill="{SKY}" fill-opacity="0.45"/>',
            "in the place, as decided",
        ),
    ]
    x = MARGIN + 10.0
    for symbol, words in items:
        long = 34.0 + 7.0 * len(words)
        if x + long > WIDTH - MARGIN:
            x, y = MARGIN + 10.0, y + 20.0
        out.append(f'<g transform="translate({x:.1f},{y:.1f})">{symbol}</g>')
        out.append(text(x + 14.0, y + 4.0, words, size=11))
        x += long
    return y


# -- the timelines ---------------------------------------------------------------------------


def _panel(out: list[str], panel: Panel, picture: Picture, top: float) -> None:
    left, right = MARGIN + SIDE, WIDTH - MARGIN - GUTTER
    bottom = top + PANEL
    lasts = max(picture.ends - picture.begins, 1e-3)

    def across(at: float) -> float:
        return left + (right - left) * min(max((at - picture.begins) / lasts, 0.0), 1.0)

    def up(value: float) -> float:
        share = (value - panel.low) / (panel.high - panel.low)
        return bottom - PANEL * min(max(share, 0.0), 1.0)

    out.append(text(left, top - 9.0, panel.title, weight="600"))
    out.append(
        f'<rect x="{left:g}" y="{top:.1f}" width="{right - left:g}" height="{PANEL:g}" '
        'fill="#FCFCFC" stroke="#BBB"/>'
    )
    for begins, ends in panel.visits:
        x, until = across(begins), across(ends)
        out.append(
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{max(until - x, 1.0):.1f}" '
            f'height="{PANEL:g}" fill="{SKY}" fill-opacity="0.3"/>'
        )
    for value in (panel.low, (panel.low + panel.high) / 2.0, panel.high) if panel.points else ():
        words = f"{value:g}".replace("-", "\u2212")
        out.append(text(left - 6.0, up(value) + 4.0, words, anchor="end", size=10, colour=GREY))
    for value, words in panel.bounds:
        y = up(value)
        out.append(
            f'<path d="M{left:g},{y:.1f} H{right:g}" stroke="#000" stroke-opacity="0.45" '
            'stroke-dasharray="4 4"/>'
        )
        out.append(text(right + 5.0, y + 3.5, words, size=9, colour=GREY))
    _series(out, [(at, across(at), up(value)) for at, value in panel.points], joined=panel.joined)
    _ticks(out, picture, across, top, bottom)
    for number, mark in enumerate(panel.marks):
        x, sure = across(mark.at), across(mark.decided_at)
        _, colour = SHAPES.get(mark.kind, ("", "#000"))
        out.append(f'<path d="M{x:.1f},{top:.1f} V{bottom:.1f}" stroke="{colour}"/>')
        if sure - x > 1.0:
            y = top + 7.0
            out.append(
                f'<path d="M{x:.1f},{y:.1f} H{sure:.1f} M{sure:.1f},{y - 4:.1f} V{y + 4:.1f}" '
                f'stroke="{colour}" stroke-width="1.6"/>'
            )
        out.append(shape(mark, x, top))
        if len(panel.marks) <= MOST_NAMED:
            level = 22.0 + 11.0 * (number % 3)
            out.append(text(x + 4.0, top + level, mark.kind, size=10, colour=colour, halo=True))


def _series(out: list[str], points: list[tuple[float, float, float]], *, joined: bool) -> None:
    points = list(thinned(points))
    if not joined:
        out += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.5" fill="{BLUE}" fill-opacity="0.6"/>'
            for _, x, y in points
        ]
        return
    gaps = sorted(after[0] - before[0] for before, after in pairwise(points))
    # Where nothing came for long nothing is known: the line breaks rather than guesses.
    long = max(120.0, 5.0 * gaps[len(gaps) // 2]) if gaps else 0.0
    path, last = [], None
    for at, x, y in points:
        path.append(f"{'M' if last is None or at - last > long else 'L'}{x:.1f},{y:.1f}")
        last = at
    out.append(f'<path d="{" ".join(path)}" fill="none" stroke="{BLUE}" stroke-width="1.8"/>')


def _ticks(
    out: list[str], picture: Picture, across: Callable[[float], float], top: float, bottom: float
) -> None:
    step, form = step_of(picture.begins, picture.ends)
    at = ceil(picture.begins / step) * step
    while at <= picture.ends:
        x = across(at)
        out.append(
            f'<path d="M{x:.1f},{top:.1f} V{bottom:.1f}" stroke="#000" stroke-opacity="0.08"/>'
        )
        out.append(text(x, bottom + 14.0, clock(at, form), anchor="middle", size=10, colour=GREY))
        at += step
