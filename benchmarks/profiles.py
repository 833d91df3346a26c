"""Where does the time go? cProfile of the three hot paths: batch, single update, HTTP ingest.

A profiler makes calls dearer than they are: shares tell where to look, not what it costs.
"""

from __future__ import annotations

import cProfile
import pstats
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import geofences
from benchmarks import server
from benchmarks.timing import Found, Profile, Scale
from benchmarks.updates import BATCH, crossing, in_batches, jitter
from benchmarks.workloads import shops, zones
from proximity import Engine

LINES = 8
# Requests before and under the profiler, for each second of load elsewhere; enough for shares.
REQUESTS = 2000
LOAD_LIMIT_S = 20.0
Function = tuple[str, int, str]
"""File, line and name, as the profiler tells a function."""


def profiles(scale: Scale) -> Found:
    load = zones(scale.zones)
    index = geofences.FenceIndex(load.fences)
    lons, lats = load.points(scale.points, 1)
    found = Found()
    first = _profiled(lambda: index.locate_many(lons, lats))
    found.profiles.append(Profile("batch look-up, points never asked before (zones)", first))
    again = _profiled(lambda: [index.locate_many(lons, lats) for _ in range(5)])
    found.profiles.append(Profile("batch look-up, cells filled (zones)", again))
    shop = shops(scale.stores)
    shop_index = geofences.FenceIndex(shop.fences)
    for move in (crossing(shop, scale.subjects, 4), jitter(shop, scale.subjects, 4)):
        engine = Engine(shop_index)
        half = len(move.fixes) // 2
        engine.on_fixes(move.fixes[:half])
        taken = _profiled(
            lambda engine=engine, rest=move.fixes[half:]: [engine.on_fixes([fix]) for fix in rest]
        )
        found.profiles.append(Profile(f"single update, `robust`, {move.name}", taken))
    for decide, move in (
        ("point", crossing(shop, scale.subjects, 4)),
        ("robust", jitter(shop, scale.subjects, 4)),
    ):
        fixes = move.fixes
        taken = _profiled(lambda fixes=fixes, how=decide: in_batches(shop_index, fixes, how))
        what = f"updates in batches of {BATCH:,}, `{decide}`, {move.name}"
        found.profiles.append(Profile(what, taken))
    found.profiles.append(_http(scale))
    return found


def _profiled(run: Callable[[], object]) -> list[tuple[str, int, float]]:
    profile = cProfile.Profile()
    profile.runcall(run)
    return _lines(pstats.Stats(profile))


def _http(scale: Scale) -> Profile:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        into = folder / "profile"
        with server.engine(folder, scale.stores, ("benchmarks.profiled", str(into))) as running:
            walk = server.Walk(running, scale)
            walk.meet()
            requests = int(REQUESTS * scale.load_s)
            walk.send(walk.job(1, requests, LOAD_LIMIT_S))
            running.process.send_signal(signal.SIGUSR1)
            walk.send(walk.job(1, requests, LOAD_LIMIT_S))
        stats = pstats.Stats(str(into))
        whole = stats.total_tt  # type: ignore[attr-defined]  # no stub names it
        waited = sum(own for function, (_, _, own, _, _) in _table(stats) if _idle(function))
        where = f"the event loop's thread, which waited {waited / whole:.0%} of the time"
        return Profile(f"HTTP ingest, one fix each ({where})", _lines(stats))


# What a thread does while it has nothing to do.
IDLE = ("select.epoll", "select.kqueue", "acquire' of '_thread.lock")


def _table(stats: pstats.Stats) -> list[tuple[Function, tuple[int, int, float, float, object]]]:
    return list(stats.stats.items())  # type: ignore[attr-defined]  # no stub names it


def _idle(function: Function) -> bool:
    return any(idle in function[2] for idle in IDLE)


def _lines(stats: pstats.Stats) -> list[tuple[str, int, float]]:
    """Give the functions that took most time of their own; waiting is left out."""
    table = {
        _name(*function): (calls, own)
        for function, (_, calls, own, _, _) in _table(stats)
        if not _idle(function)
    }
    whole = sum(own for _, own in table.values())
    most = sorted(table.items(), key=lambda each: -each[1][1])[:LINES]
    return [(name, calls, own / whole) for name, (calls, own) in most]


def _name(path: str, line: int, function: str) -> str:
    """Say which function, without where this machine keeps it."""
    if path == "~":
        return function.strip("<>")
    parts = Path(path).parts
    return f"{'/'.join(parts[-2:])}:{line} {function}"
