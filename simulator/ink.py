"""What are the pictures of a replay drawn with? Colours, marks, words and the ticks of a clock.

Colours are those of Okabe and Ito, which people who confuse colours tell apart, and no colour
stands alone: each kind of mark has its shape, each band its words. Knows no map and no timeline.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from math import ceil
from typing import TYPE_CHECKING

from proximity.model import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH, MARGIN = 1000.0, 20.0

BLUE, GREEN, VERMILLION = "#0072B2", "#009E73", "#D55E00"
ORANGE, PURPLE, SKY, GREY = "#E69F00", "#CC79A7", "#56B4E9", "#6B6B6B"

SHAPES = {
    "enter": ("M0,-7 L6.5,5 L-6.5,5 Z", GREEN),
    "exit": ("M0,7 L6.5,-5 L-6.5,-5 Z", VERMILLION),
    "dwell": ("M-5,-5 H5 V5 H-5 Z", ORANGE),
    "pass": ("M0,-7 L7,0 L0,7 L-7,0 Z", PURPLE),
}
"""Kind of a transition -> its shape about its point, and its colour."""

STEPS_S = (
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
    10800.0, 21600.0, 43200.0, 86400.0, 172800.0, 604800.0,
)  # fmt: skip
MOST_TICKS = 10
MOST_POINTS = 20_000
"""Points of one line; of more every second, third … is drawn: they would lie on each other."""
MOST_NAMED = 12
"""Fences, or marks of a panel, that are named; of more the names would lie on each other."""


@dataclass(frozen=True)
class Mark:
    """A transition: when it happened, when the engine was sure (Unix seconds), and where."""

    kind: str
    place: str
    at: float
    decided_at: float
    lon: float | None = None
    lat: float | None = None


def shape(mark: Mark, x: float, y: float) -> str:
    """Draw a transition's mark about a point; its times are its tooltip."""
    path, colour = SHAPES.get(mark.kind, ("M-4,0 L0,4 L4,0 L0,-4 Z", "#000"))
    told = (
        f"{mark.kind} {mark.place} at {format_time(mark.at)}, sure {format_time(mark.decided_at)}"
    )
    return (
        f'<path transform="translate({x:.1f},{y:.1f})" d="{path}" fill="{colour}" stroke="#fff" '
        f'stroke-width="1.2"><title>{legal(told)}</title></path>'
    )


def text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    size: int = 12,
    colour: str = "#222",
    weight: str = "",
    halo: bool = False,
) -> str:
    """Write words; ``halo`` keeps them readable over whatever lies below."""
    more = f' font-weight="{weight}"' if weight else ""
    if halo:
        more += ' stroke="#fff" stroke-width="3" paint-order="stroke"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}"{more}>{legal(words)}</text>'
    )


def legal(words: str) -> str:
    """Escape text for XML, without what XML cannot carry at all."""
    return escape("".join(c if c.isprintable() else "\ufffd" for c in words))


def step_of(begins: float, ends: float) -> tuple[float, slice]:
    """Choose the seconds between ticks, and which part of a time tells them apart."""
    step = next((one for one in STEPS_S if (ends - begins) / one <= MOST_TICKS), None)
    if step is None:  # many weeks, or a clock that was wrong
        weeks = ceil((ends - begins) / STEPS_S[-1] / MOST_TICKS)
        return weeks * STEPS_S[-1], slice(0, 10)
    if step >= 86400.0:
        return step, slice(5, 10)
    return step, slice(11, 16) if step >= 60.0 else slice(11, 19)


def clock(at: float, form: slice) -> str:
    """Write the part of a time that ``step_of`` chose."""
    return format_time(at)[form]


def thinned(points: Sequence[tuple[float, float, float]]) -> Iterable[tuple[float, float, float]]:
    """Leave out points of a line that has too many."""
    every = ceil(len(points) / MOST_POINTS) or 1
    return points[::every]
