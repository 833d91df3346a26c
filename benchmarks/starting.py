"""How long after ``kill -9`` does a server answer again, with an hour of records behind it?

What a start reads is made by what the server writes it with: rows of the journal, the pieces by
which it knows repeats, and a snapshot that is as old as one gets. Each start is killed in turn, so
that the next one finds the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import workloads
from benchmarks.server import engine, started
from benchmarks.timing import Found, Row, Scale
from proximity.ingest.recovery import recover
from proximity.ingest.remembering import remember
from proximity.model import Fix
from proximity.store import Store, journal
from proximity.store.folder import state_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

STORES = 1_000
EACH_S = 20.0
"""How often a phone reports: 10,000 of them make 500 records a second."""
RATE = 500
GOAL_S = 2.0
BEHIND = 15_000
"""Records after the snapshot: so many come until one of that size is written again."""
# So many records come together at that rate, and so many rows are written at once here.
TOGETHER, AT_ONCE = 5, 400


def starting(scale: Scale) -> Found:
    """Prepare a store, and start a server on it again and again."""
    count = scale.million * 18 // 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with engine(folder, STORES) as first:
            first.process.send_signal(signal.SIGTERM)
            first.process.wait(30)
        with contextlib.closing(Store.open(state_of(folder / "data"))) as store:
            _fill(store, count)
        command = [sys.executable, "-m", "proximity", "serve", "--data", str(folder / "data")]
        options = ["--port", "0", "--consent", "assumed", "--site", str(folder / "site.toml")]
        taken: list[float] = []
        worked: list[float] = []
        for _ in range(max(3, scale.rounds)):
            began = time.perf_counter()
            with started([*command, *options], folder / "log") as (process, _line):
                taken.append(time.perf_counter() - began)
                worked.append(_worked_s(process))
                process.kill()
    return Found(
        rows=[
            Row(
                what="a start after `kill -9`, until it listens", against="", unit="s",
                values=taken, least=GOAL_S, fewer=True,
                note=f"{count:,} records within `--late`, of 10,000 phones, the newest "
                f"{min(BEHIND, count):,} after the snapshot; {min(worked):.2f} s of a processor",
            )
        ]
    )  # fmt: skip


def _worked_s(process: subprocess.Popen[str]) -> float:
    """Tell how long a process has had a processor so far; NaN where the system does not say."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _fill(store: Store, count: int) -> None:
    """Let so many records pass through journal, engine, pieces and snapshot, as if they came."""
    fold = store.read(partial(recover, decide="robust", late_s=3600.0)).fold
    phones = int(RATE * EACH_S)
    lons, lats = workloads.stores(STORES).points(phones, 1)
    # Nine in ten are somewhere else in the country, as those are who are not shopping.
    lats += np.where(np.arange(phones) % 10, 10.0, 0.0)
    noise = np.random.default_rng(workloads.SEED).normal(0.0, 4e-5, (2, count))
    first, end = fold.position + 1, time.time()
    rows: list[journal.Row] = []
    for number in range(0, count, TOGETHER):
        records = []
        for each in range(number, min(number + TOGETHER, count)):
            phone, at = each % phones, end - (count - each) / RATE
            lon, lat = lons[phone] + noise[0, each], lats[phone] + noise[1, each]
            records.append(
                Fix(
                    subject=f"phone-{phone}", at=at, lon=float(lon), lat=float(lat),
                    accuracy_m=8.0, received_at=at,
                )
            )  # fmt: skip
        row = journal.Row(
            position=first + number // TOGETHER, kind="records", now=records[-1].at,
            version="benchmark", payload=journal.encode_records(records),
        )  # fmt: skip
        rows.append(row)
        if count - number > BEHIND:
            fold.apply(row, records)
        if len(rows) == AT_ONCE or number + TOGETHER >= count:
            store.write(partial(_append, rows=rows)).result()
            rows = []
    snapshot = journal.Snapshot(fold.position, fold.now, fold.engine.snapshot())
    store.write(lambda connection: journal.save_snapshot(connection, snapshot)).result()
    # What the rows behind it tell is thrown away, as by a start that wrote it before it was killed.
    store.write(lambda connection: journal.set_evaluated(connection, row.position)).result()
    while store.write(partial(remember, until=row.position, site=fold.site)).result():
        pass


def _append(connection: Connection, rows: list[journal.Row]) -> None:
    for row in rows:
        journal.append(connection, row)
