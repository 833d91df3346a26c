"""``make bench``: every part in a process of its own, and the results as one page.

    python -m benchmarks                            all of it, at most ten minutes
    python -m benchmarks --quick                    smaller, about a minute
    python -m benchmarks --out docs/speed.md        writes the page and its chart
    python -m benchmarks --tile38 127.0.0.1:9851    with a live Tile38 in the same run
    python -m benchmarks --part city --part server  these alone

Exit status 1 where an answer differs from a peer's, however fast it came, or a part failed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import shapely

from benchmarks import (
    containment,
    decisions,
    delivering,
    erasing,
    explaining,
    gateway,
    gateways,
    growth,
    page,
    profiles,
    replayed,
    server,
    starting,
    tile38,
    updates,
)
from benchmarks.timing import FULL, QUICK, Found, Scale

PARTS: dict[str, Callable[[Scale], Found]] = {
    "city": containment.city,
    "stores": containment.dense,
    "country": growth.growth,
    "updates": updates.batches,
    "outlines": growth.outlines,
    "circles": growth.circles,
    "nowhere": updates.nowhere,
    "loading": containment.loading,
    "server": server.ingest,
    "starting": starting.starting,
    "replay": replayed.replay,
    "decisions": decisions.decisions,
    "delivering": delivering.delivering,
    "gateway": gateway.gateway,
    "gateways": gateways.gateways,
    "profiles": profiles.profiles,
    "backtest": explaining.deciding_again,
    "explain": explaining.explaining,
    "erasing": erasing.erasing,
}
# Nothing here takes so long; whatever hangs is ended and named.
PART_LIMIT_S = 240.0
LIBRARIES = ("numpy", "shapely", "rtree", "geopandas", "pyproj", "aiohttp", "msgspec")


def main() -> int:
    asked = _asked()
    if asked.run_one:
        scale = QUICK if asked.quick else FULL
        if asked.run_one == "tile38":
            found = tile38.compare(scale, asked.tile38)
        else:
            found = PARTS[asked.run_one](scale)
        sys.stdout.buffer.write(msgspec.json.encode(found))
        return 0
    parts = asked.part or [*PARTS, *(["tile38"] if asked.tile38 else [])]
    found = Found()
    began = time.monotonic()
    for part in parts:
        _add(found, _child(part, asked))
    if not asked.tile38:
        found.notes.append("Tile38 was not measured: none was named (`--tile38 HOST:PORT`).")
    print(f"{time.monotonic() - began:.0f} s in all", file=sys.stderr)
    chart = None
    if asked.out and found.costs:
        chart = asked.out.with_suffix(".svg")
        chart.write_text(page.drawn(found.costs))
    text = page.written(found, facts(), _command(asked), chart.name if chart else None)
    if asked.out:
        asked.out.write_text(text)
        print(f"written to {asked.out}", file=sys.stderr)
    else:
        print(text)
    wrong = [check.what for check in found.checks if check.differences]
    for what in wrong:
        print(f"different answers: {what}", file=sys.stderr)
    for what in found.failed:
        print(what, file=sys.stderr)
    return 1 if wrong or found.failed else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="smaller, about a minute")
    parser.add_argument("--out", type=Path, help="where the page goes; else it is printed")
    parser.add_argument("--tile38", metavar="HOST:PORT", help="a live Tile38 to compare with")
    parser.add_argument("--part", action="append", choices=[*PARTS], help="this part alone")
    parser.add_argument("--run-one", choices=[*PARTS, "tile38"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.tile38 and not asked.tile38.rpartition(":")[2].isdigit():
        parser.error(f"--tile38 {asked.tile38!r} has no port: write HOST:PORT")
    if asked.out and not asked.out.parent.is_dir():
        parser.error(f"--out {asked.out}: there is no folder {asked.out.parent}")
    return asked


def _child(part: str, asked: argparse.Namespace) -> Found:
    """Run one part by itself, so that it is not measured in what another left in memory."""
    print(f"{part} ... ", end="", file=sys.stderr, flush=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks", "--run-one", part]
    command += ["--quick"] if asked.quick else []
    command += ["--tile38", asked.tile38] if asked.tile38 else []
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, timeout=PART_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        print(f"took more than {PART_LIMIT_S:g} s and was ended", file=sys.stderr)
        return Found(failed=[f"The part `{part}` took more than {PART_LIMIT_S:g} s and was ended."])
    if ended.returncode != 0:
        return Found(failed=[f"The part `{part}` failed and is missing."])
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return msgspec.json.decode(ended.stdout, type=Found)


def _add(whole: Found, part: Found) -> None:
    for name in Found.__struct_fields__:
        getattr(whole, name).extend(getattr(part, name))


def _command(asked: argparse.Namespace) -> str:
    words = ["python -m benchmarks"]
    words += ["--quick"] if asked.quick else []
    words += [f"--part {part}" for part in asked.part or []]
    words += ["--tile38 HOST:PORT"] if asked.tile38 else []
    words += (
        [f"--out {asked.out.name if asked.out.is_absolute() else asked.out}"] if asked.out else []
    )
    return " ".join(words)


def facts() -> list[tuple[str, str]]:
    """Say what it ran on: nothing of the machine's name, user or paths."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return [
        ("date", f"{datetime.now(UTC):%Y-%m-%d}"),
        ("processor", f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB"),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("Python", platform.python_version()),
        ("libraries", f"{versions}, GEOS {shapely.geos_version_string}"),
        ("load average at the end (1, 5, 15 minutes)", busy),
    ]


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        for line in cpus.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
