"""Does an outline hold a point? Exact, for many pairs at once, without an object for any outline.

Even-odd crossings along a way from a place whose side is known. On which side of an edge a point
lies is decided in doubles with Shewchuk's bound on their rounding ("Adaptive Precision
Floating-Point Arithmetic and Fast Robust Geometric Predicates", 1997); what lies within the bound,
on an edge or level with a corner is left in doubt, for GEOS to decide. So answers are GEOS's.
This file knows vertices and numbers of them; nothing of fences, metres, or ±180°.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geofences.columns import WIDEST, ragged

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

# Shewchuk's ccwerrboundA, (3 + 16 ε) ε with ε = 2⁻⁵³: the determinant of three points in doubles
# is off by less than this share of the sum of its two products.
BOUND = (3.0 + 16.0 * 2.0**-53) * 2.0**-53
# Outlines are tested side by side in windows of these widths.
WIDTHS = (8, 16, 32, WIDEST)


def side(
    ax: Floats, ay: Floats, bx: Floats, by: Floats, x: Floats, y: Floats
) -> tuple[Bools, Bools]:
    """Tell whether each point lies left of its edge, and whether that is in doubt."""
    left, right = (ax - x) * (by - y), (ay - y) * (bx - x)
    turn = left - right
    return turn > 0.0, np.abs(turn) <= BOUND * (np.abs(left) + np.abs(right))


def in_whole(
    xs: Floats, ys: Floats, first: Ints, count: Ints, x: Floats, y: Floats
) -> tuple[Bools, Bools]:
    """Tell of pairs of outline and point whether it holds it, and whether that is in doubt.

    ``first`` and ``count`` (at most WIDEST) say where in ``xs`` and ``ys`` an outline stands.
    """
    inside = np.zeros(len(first), np.bool_)
    doubt = np.zeros(len(first), np.bool_)
    least = 0
    for width in WIDTHS:
        some = np.flatnonzero((count > least) & (count <= width))
        least = width
        if not len(some):
            continue
        starts, px, py = first[some], x[some], y[some]
        windows = np.lib.stride_tricks.sliding_window_view(ys, width)[starts]
        above = windows > py[:, None]
        doubt[some] = (windows == py[:, None]).any(axis=1)
        which, nth = np.nonzero(above[:, 1:] != above[:, :-1])
        # What lies beyond an outline's end is another's.
        own = nth < count[some][which] - 1
        which, at = which[own], (starts[which] + nth)[own]
        ax, ay, bx, by = xs[at], ys[at], xs[at + 1], ys[at + 1]
        left, unsure = side(ax, ay, bx, by, px[which], py[which])
        # Beside a break between rings there is no edge. Edges west of the point count.
        west = (left != (by > ay)) & ~np.isnan(ay + by)
        inside[some] = np.bincount(which[west], minlength=len(some)) & 1
        doubt[some[which[unsure]]] = True
    return inside, doubt


def in_part(
    xs: Floats, ys: Floats, edges: Ints, first: Ints, count: Ints,
    known: Bools, west: Floats, south: Floats, x: Floats, y: Floats,
) -> tuple[Bools, Bools]:  # fmt: skip
    """Tell of points in cells whether an outline holds them, and whether that is in doubt.

    ``edges`` are numbers of vertices where edges begin, of which ``first`` and ``count`` say those
    that meet a cell; ``known`` is whether its south-west corner is inside. The way runs from that
    corner north along the side and east to the point, and so never leaves the cell.
    """
    nth = np.repeat(np.arange(len(first)), count)
    at = edges[ragged(first, count)]
    ax, ay, bx, by = xs[at], ys[at], xs[at + 1], ys[at + 1]
    px, py, w = x[nth], y[nth], west[nth]
    level = (ay > py) != (by > py)
    upright = (ax > w) != (bx > w)
    doubt = np.zeros(len(first), np.bool_)
    doubt[nth[(ay == py) | (by == py)]] = True
    met = np.flatnonzero(level | upright)
    nth, level, upright = nth[met], level[met], upright[met]
    ax, ay, bx, by, py, w = ax[met], ay[met], bx[met], by[met], py[met], w[met]
    turned, unsure = side(ax, ay, bx, by, w, py)
    doubt[nth[unsure]] = True
    ended, unsure = side(ax, ay, bx, by, px[met], py)
    doubt[nth[unsure & level]] = True
    began, unsure = side(ax, ay, bx, by, w, south[nth])
    doubt[nth[unsure & upright]] = True
    crossed = (level & (turned != ended)) ^ (upright & (turned != began))
    return (np.bincount(nth[crossed], minlength=len(first)) & 1).astype(np.bool_) ^ known, doubt


def holds(xs: Sequence[float], ys: Sequence[float], x: float, y: float) -> bool | None:
    """Tell the same of one outline and one point; None where it is in doubt."""
    inside = False
    ax, ay = xs[0], ys[0]
    above = ay > y
    for bx, by in zip(xs, ys, strict=True):
        if by == y:
            return None
        if (by > y) != above:
            above = not above
            left, right = (ax - x) * (by - y), (ay - y) * (bx - x)
            turn = left - right
            if abs(turn) <= BOUND * (abs(left) + abs(right)):
                return None
            # Beside a break between rings ``turn`` is no number, and no edge is there.
            if turn == turn and (turn > 0.0) != (by > ay):  # noqa: PLR0124 - not a number
                inside = not inside
        ax, ay = bx, by
    return inside


class Part:
    """An outline's edges that meet one cell: the scalar form of ``in_part``."""

    __slots__ = ("edges", "known", "south", "west")

    def __init__(
        self, edges: list[tuple[float, float, float, float]], *, known: bool, west: float,
        south: float,
    ) -> None:  # fmt: skip
        self.edges, self.known, self.west, self.south = edges, known, west, south

    def holds(self, x: float, y: float) -> bool | None:
        """Tell whether the outline holds a point of the cell; None where that is in doubt."""
        held, west = self.known, self.west
        for ax, ay, bx, by in self.edges:
            if y in (ay, by):
                return None
            level = (ay > y) != (by > y)
            upright = (ax > west) != (bx > west)
            if level or upright:
                turned = _side(ax, ay, bx, by, west, y)
                ended = _side(ax, ay, bx, by, x, y) if level else turned
                began = _side(ax, ay, bx, by, west, self.south) if upright else turned
                if not (turned and ended and began):
                    return None
                if (turned != ended) != (turned != began):
                    held = not held
        return held

    def clear(self, x0: float, y0: float, x1: float, y1: float) -> bool:
        """Tell whether surely no edge lies on the straight way between two points of the cell."""
        for ax, ay, bx, by in self.edges:
            here = _side(ax, ay, bx, by, x0, y0)
            if here and here == _side(ax, ay, bx, by, x1, y1):
                continue
            start = _side(x0, y0, x1, y1, ax, ay)
            if not start or start != _side(x0, y0, x1, y1, bx, by):
                return False
        return True


def _side(ax: float, ay: float, bx: float, by: float, x: float, y: float) -> int:
    """Return 1 where the point lies left of the edge, -1 right of it, 0 in doubt."""
    left, right = (ax - x) * (by - y), (ay - y) * (bx - x)
    turn = left - right
    if abs(turn) <= BOUND * (abs(left) + abs(right)):
        return 0
    return 1 if turn > 0.0 else -1
