"""Which outlines are plainly sound, and give no cause for advice? Asked of thousands at once.

A shop is drawn as one ring of some tens of corners, far from ±180° and the poles. Of such rings
whole arrays are judged in a few steps; whatever is out of the ordinary, or close to it, is left to
``outline`` and ``advice``, which say what is wrong. Never says "sound" where they would not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from geofences.advice import METRES_PER_DEGREE, TYPICAL_ACCURACY_M
from geofences.outline import FREE_PAIRS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

MOST = 2 * FREE_PAIRS
"""Positions of a plain ring: so few cost nothing of what a file may ask of GEOS."""
HAIR = 1e-6
"""Sums are taken in another order here than ring by ring: this much closer to a limit is left to
those who take them there. Rounding is a billionth of it."""


def could_be(rings: Sequence[Floats]) -> bool:
    """Whether a polygon's rings are of the kind that is judged here: one, of few positions."""
    return len(rings) == 1 and len(rings[0]) <= MOST


def plainly_sound(rings: Sequence[Floats]) -> Bools:
    """Tell of each ring (a row a position: degrees east, north) whether nothing is to say of it.

    Each is the only ring of its polygon, has four positions or more and finite coordinates.
    """
    if not rings:
        return np.zeros(0, dtype=np.bool_)
    coords = np.concatenate(rings)
    counts = np.fromiter(map(len, rings), np.int64, len(rings))
    first = np.concatenate(([0], np.cumsum(counts)[:-1]))
    last = first + counts - 1
    whose = np.repeat(np.arange(len(rings)), counts)
    lon, lat = coords[:, 0], coords[:, 1]

    def span(values: Floats) -> Floats:
        """Give how far each ring's values reach."""
        widest: Floats = np.maximum.reduceat(values, first) - np.minimum.reduceat(values, first)
        return widest

    # The last position of a ring has no edge of its own: its step leads to the next ring.
    step = np.empty_like(coords)
    step[:-1] = coords[1:] - coords[:-1]
    step[last] = 1.0
    good: Bools = (coords[first] == coords[last]).all(axis=1)
    good &= np.logical_and.reduceat(step.any(axis=1), first)
    good &= (span(lon) < 180.0) & (np.minimum.reduceat(lon, first) < 180.0)
    north = np.add.reduceat(lat, first) / counts
    metres = METRES_PER_DEGREE * np.cos(np.radians(north))
    x = (lon - lon[first][whose]) * metres[whose]
    y = (lat - lat[first][whose]) * METRES_PER_DEGREE
    turn = np.zeros(len(coords))
    turn[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    turn[last] = 0.0
    area = np.abs(np.add.reduceat(turn, first)) / 2.0
    wide, high = span(x), span(y)
    # An area to speak of: then the corners do not lie on one line.
    good &= area > HAIR * wide * high
    with np.errstate(divide="ignore", invalid="ignore"):
        good &= area / (wide + high) > TYPICAL_ACCURACY_M * (1.0 + HAIR)
    which = np.flatnonzero(good)
    if len(which):
        kept = good[whose]
        indices = np.repeat(np.arange(len(which)), counts[which])
        faces = shapely.polygons(shapely.linearrings(coords[kept], indices=indices))
        good[which] = shapely.is_valid(faces)
    return good
