"""The scenarios of the library as worlds: the very files that ``simulator make`` writes.

So the judge sees what anybody would who made, replayed and scored them by hand.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from geofences import FenceIndex
from proximity.model import Sighting
from proximity.site.sitefile import load_site
from simulator.files import load_fences
from simulator.judge import fold
from simulator.make import write
from simulator.scenario import find, names, read_scenario
from simulator.score import coverage_of, read_transitions
from simulator.sources import records_of
from simulator.worlds import Subject, World

if TYPE_CHECKING:
    from proximity.model import Record

__all__ = ["STAGED", "staged"]

STAGED = tuple(names())
"""The scenarios of the library."""


def staged(name: str, seed: int) -> World:
    """Make a scenario, and read it back as a world without an oracle. Raises ProximityError."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        made = Path(folder)
        write(read_scenario(find(name)), seed, made)
        site = load_site(made / "site.toml")
        index = FenceIndex(load_fences(made / "fences.geojson", skip_bad=False))
        truth = fold(read_transitions(made / "truth.jsonl"))
        paths = (made / "trace.jsonl",)
        records = list(records_of(paths, stack, lambda _: None, Counter(), skip_bad=False))
    of_whom: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        subject = record.subject
        if isinstance(record, Sighting):
            whose = site.who(record)
            subject = None if whose is None else whose[0]
        if subject is not None:
            of_whom[subject].append(record)
    coverage = coverage_of(records, site)
    subjects = [Subject(who, told, coverage[who]) for who, told in sorted(of_whom.items())]
    return World(name, index, None, site, subjects, truth)
