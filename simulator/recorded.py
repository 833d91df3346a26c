"""Real walks as truth: what people's ways look like when nobody drew them.

Reads recorded tracks, smooths what their own receivers added, and takes them for the clean path;
``worlds`` then lets poorer phones report them. ``delivery`` chains pieces of delivery agents on
foot, ``hikes`` are walks in the hills. Knows where such files lie (``PROXIMITY_DATA``, or the
folder beside the checkout), and that they may be absent.
"""

from __future__ import annotations

import cmath
import csv
import io
import math
import os
import zipfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proximity.model import Fix, ProximityError
from simulator.trace import TraceError, read_trace
from simulator.walk import METRES_PER_RADIAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Way = tuple[NDArray[np.float64], NDArray[np.complex128]]

__all__ = ["DELIVERY", "HIKES", "folder", "hikes", "on_foot"]

DELIVERY = "goal-gps-onfoot-driving/trajectories.zip"
"""805 pieces of six minutes, a position each 5 s, labelled OnFoot or Driving (CC BY 4.0)."""
HIKES = "gpx-variety"
"""GPX files of hikes in Slovenia and Istria."""

MOST_BYTES = 64 * 1024 * 1024
"""Larger than any such file."""
MOST_PIECES = 5000
JITTER_M = 8.0
"""What a recorded track is off a straight and even walk by less than this is its receiver's own
error, and must not become anybody's visits: good receivers wander so far about one who stands."""
SHORTEST_S = 60.0, 300.0
"""Shorter stretches, on foot between two drives and of a hike, are left out."""
LONGEST_GAP_S = 120.0
"""A track is cut where its receiver was silent for longer: a straight line is no walk."""


def folder() -> Path | None:
    """Find the folder of real data; None where there is none."""
    named = os.environ.get("PROXIMITY_DATA")
    path = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return path if path.is_dir() else None


def on_foot(data: Path) -> list[Way]:
    """Read the stretches of delivery agents on foot: seconds and metres from 0.

    Metres are east plus i times north. Raises ProximityError where the file is not as it should be.
    """
    path = data / DELIVERY
    found: list[Way] = []
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".csv"))
            for name in names[:MOST_PIECES]:
                if archive.getinfo(name).file_size > MOST_BYTES:
                    raise ProximityError(f"{path}: {name} is too large: take the original file")
                text = archive.read(name).decode("utf-8")
                found += _stretches(_piece(text), SHORTEST_S[0])
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, ValueError, KeyError) as error:
        raise ProximityError(f"{path}: cannot be read ({error}): take the original file") from None
    return found


def _piece(text: str) -> list[tuple[float, complex] | None]:
    """Read one piece; None stands where its agent drove."""
    found: list[tuple[float, complex] | None] = []
    for row in csv.DictReader(io.StringIO(text)):
        at = datetime.fromisoformat(row["timestamp"][:26]).timestamp()
        metres = complex(float(row["x"]), float(row["y"]))
        if not cmath.isfinite(metres):
            raise ValueError(f"{metres} is no position")
        found.append((at, metres) if row["groundtruth"] == "OnFoot" else None)
    return found


def hikes(data: Path) -> list[Way]:
    """Read the hikes: each stretch without a long silence, as ``on_foot`` gives them."""
    found: list[Way] = []
    for path in sorted((data / HIKES).glob("*.gpx")):
        if "cerknicko" in path.name and path.name != "cerknicko-jezero.gpx":
            continue  # the same hike in other spellings
        try:
            with path.open("rb") as file:
                fixes = [one for one in read_trace(file, path.name) if isinstance(one, Fix)]
        except TraceError:
            continue  # files without times are there for other tests
        fixes.sort(key=lambda one: one.at)
        north = math.radians(1.0) * METRES_PER_RADIAN
        east = north * math.cos(math.radians(fixes[0].lat))
        points = [(one.at, complex(one.lon * east, one.lat * north)) for one in fixes]
        found += _stretches(points, SHORTEST_S[1])
    return found


def _stretches(points: Sequence[tuple[float, complex] | None], least_s: float) -> list[Way]:
    """Cut a track at its silences, and where None stands; give what is long enough."""
    found: list[Way] = []
    run: list[tuple[float, complex]] = []
    for point in [*points, None]:
        if point is not None and run and point[0] <= run[-1][0]:
            continue
        if run and (point is None or point[0] - run[-1][0] > LONGEST_GAP_S):
            if run[-1][0] - run[0][0] >= least_s:
                seconds = np.array([at for at, _ in run])
                metres = np.array([one for _, one in run])
                kept = _even(seconds, metres)
                found.append((seconds[kept] - seconds[0], metres[kept] - metres[0]))
            run = []
        if point is not None:
            run.append(point)
    return found


def _even(seconds: Floats, metres: NDArray[np.complex128]) -> NDArray[np.bool_]:
    """Choose the points between which a track is even: straight, at one pace, to ``JITTER_M``.

    Douglas and Peucker's way of thinning a line, with the distance measured at the same instant,
    so that standing is kept as well as turning.
    """
    kept = np.zeros(len(seconds), np.bool_)
    kept[[0, -1]] = True
    open_ends = [(0, len(seconds) - 1)]
    while open_ends:
        first, last = open_ends.pop()
        if last - first < 2:
            continue
        share = (seconds[first : last + 1] - seconds[first]) / (seconds[last] - seconds[first])
        line = metres[first] + share * (metres[last] - metres[first])
        off = np.abs(metres[first : last + 1] - line)
        furthest = first + int(np.argmax(off))
        if off.max() > JITTER_M:
            kept[furthest] = True
            open_ends += [(first, furthest), (furthest, last)]
    return kept
