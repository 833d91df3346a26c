"""How many fixes a second does ``simulator replay`` take, from file to file, its start included?"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.timing import Found, Row, Scale
from benchmarks.updates import crossing, jitter
from benchmarks.workloads import shops

ROUNDS = 3


def replay(scale: Scale) -> Found:
    """People who mostly stay where they are, and one in twenty who hops from store to store."""
    load = shops(scale.stores)
    subjects = max(scale.replayed // 20, 20)
    moving = crossing(load, subjects // 20, 20).fixes
    still = jitter(load, subjects - subjects // 20, 20).fixes
    fixes = [msgspec.structs.replace(fix, subject=f"mover-{fix.subject}") for fix in moving] + still
    fixes.sort(key=lambda fix: fix.at)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encode = msgspec.json.Encoder().encode
        (folder / "trace.jsonl").write_bytes(b"\n".join(map(encode, fixes)) + b"\n")
        features = [each.to_feature() for each in load.fences]
        drawn = {"type": "FeatureCollection", "features": features}
        (folder / "fences.geojson").write_text(json.dumps(drawn))
        rates, cpu = [], []
        for number in range(min(ROUNDS, scale.rounds)):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.perf_counter()
            _replay(folder, number, len(fixes))
            took = time.perf_counter() - began
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            rates.append(len(fixes) / took)
            if took * (number + 1) > scale.limit_s:
                break
    return Found(
        rows=[
            Row(
                what=f"`simulator replay --out`, {len(fixes):,} fixes, {scale.stores:,} fences",
                against="",
                unit="/s",
                values=rates,
                least=150_000.0,
                note=f"start included; {min(cpu):.3g} s of CPU",
            )
        ]
    )


def _replay(folder: Path, number: int, fixes: int) -> None:
    ended = subprocess.run(
        [
            sys.executable, "-m", "simulator", "replay", folder / "trace.jsonl",
            "--fences", folder / "fences.geojson", "--out", folder / f"out-{number}", "--json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        raise SystemExit(f"simulator replay ended with {ended.returncode}:\n{ended.stderr}")
    assert str(fixes) in ended.stdout.replace(",", ""), "every fix is counted"
