"""What does HTTP ingest cost? ``proximity serve`` against servers that do next to nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import msgspec

from benchmarks import workloads
from benchmarks.load import SUBJECTS, Job, Outcome
from benchmarks.timing import Found, Row, Scale, in_words
from proximity.store.folder import state_of

# More than these servers take in a second, so that a run ends by the clock.
SINGLE_MOST, BATCH_MOST = 40_000, 200_000
BATCH = 100
# Fixes began to be so long ago; every lap of a run's people is LAP_S later.
BACK_S = 900.0
DRAIN_LIMIT_S = 60.0
# A program that is installed has its bytecode; compiling it would be half a second of each start.
AS_INSTALLED = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True)
class Server:
    port: int
    token: str
    process: subprocess.Popen[str]
    ledger: Path

    def rows_waiting(self) -> int:
        """How far the engine is behind what has been acknowledged."""
        found = re.search(
            r"^proximity_journal_rows_waiting (\S+)", self._ask("/metrics"), re.MULTILINE
        )
        if found is None:
            raise AssertionError("/metrics no longer tells proximity_journal_rows_waiting")
        return int(float(found[1]))

    def events(self) -> int:
        """How many events there have been, as the ledger numbers them."""
        with contextlib.closing(sqlite3.connect(self.ledger)) as ledger:
            return int(ledger.execute("select coalesce(max(seq), 0) from ledger").fetchone()[0])

    def _ask(self, path: str) -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            headers={"Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            told: str = answer.read().decode()
            return told


@contextlib.contextmanager
def started(command: list[str], log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server until the block ends; the process and its first line."""
    with (
        log.open("a") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=AS_INSTALLED
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{' '.join(command[1:4])} did not start:\n{log.read_text()}")
            yield process, line
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def engine(folder: Path, stores: int, module: tuple[str, ...] = ("proximity",)) -> Iterator[Server]:
    """``proximity serve`` with so many store circles, durable as ever; ``module`` may wrap it."""
    load = workloads.stores(stores)
    features = [each.to_feature() for each in load.fences]
    drawn = {"type": "FeatureCollection", "features": features}
    (folder / "fences.geojson").write_text(json.dumps(drawn))
    (folder / "site.toml").write_text('fences = "fences.geojson"\ntimezone = "Europe/Paris"\n')
    python = [sys.executable]
    made = subprocess.run(
        [
            *python,
            "-m",
            "proximity",
            "token",
            "create",
            "--data",
            folder / "data",
            "--role",
            "admin",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    command = [*python, "-m", *module, "serve", "--data", str(folder / "data")]
    options = ["--port", "0", "--consent", "assumed", "--site", str(folder / "site.toml")]
    with started([*command, *options], folder / "log") as (process, line):
        yield Server(
            int(line.rpartition(":")[2]), made.stdout.strip(), process, state_of(folder / "data")
        )


def send(job: Job) -> Outcome:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=msgspec.json.encode(job),
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(ended.stdout, type=Outcome)


def drained(server: Server) -> float:
    """Wait until the engine has caught up; the seconds that took."""
    began = time.perf_counter()
    while server.rows_waiting() > 0:
        if time.perf_counter() - began > DRAIN_LIMIT_S:
            raise AssertionError(f"the engine did not catch up within {DRAIN_LIMIT_S:g} s")
        time.sleep(0.02)
    return time.perf_counter() - began


class Walk:
    """The people of a run: each job goes on where the one before it ended."""

    def __init__(self, server: Server, scale: Scale) -> None:
        self.server = server
        self.scale = scale
        self.since = time.time() - BACK_S
        self.first = 0

    def meet(self) -> None:
        """Let everybody be heard of, so that what is measured is no crowd of newcomers.

        A run of less than a second meets no more than it needs.
        """
        people = int(SUBJECTS * min(self.scale.load_s, 1.0))
        self.send(self.job(BATCH, people, DRAIN_LIMIT_S))
        drained(self.server)

    def send(self, job: Job) -> Outcome:
        """Send a job and go on after what it got rid of."""
        outcome = send(job)
        self.first += outcome.taken + job.size * sum(outcome.refused.values())
        return outcome

    def job(self, size: int, most: int, seconds: float) -> Job:
        return Job(
            port=self.server.port,
            path="/v1/fixes",
            token=self.server.token,
            name="p",
            size=size,
            seconds=seconds,
            most=most,
            first=self.first,
            since=self.since,
            stores=self.scale.stores,
        )


def ingest(scale: Scale) -> Found:
    """Single fixes, batches of 100, and how soon an event is on the stream."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            engine(folder, scale.stores) as server,
            started([sys.executable, "-m", "benchmarks.bare"], folder / "bare") as (_, line),
        ):
            bare = int(line)
            found = Found()
            walk = Walk(server, scale)
            walk.meet()
            single = _against(walk, bare, "/empty", 1, found)
            _against(walk, bare, "/decode", BATCH, found)
            found.rows += _latency(walk, single / 10)
            return found


def _against(walk: Walk, bare: int, path: str, size: int, found: Found) -> float:
    """Load ours and the bare one in turn; the median rate of ours."""
    scale, server = walk.scale, walk.server
    most = int((SINGLE_MOST if size == 1 else BATCH_MOST) * scale.load_s)
    ours: list[float] = []
    theirs: list[float] = []
    kept_up: list[float] = []
    busy: list[float] = []
    refused: Counter[str] = Counter()
    before, sent = server.events(), 0
    for _ in range(min(scale.rounds, 3)):
        job = walk.job(size, most, scale.load_s)
        outcome = walk.send(job)
        behind = drained(server)
        sent += outcome.taken
        ours.append(outcome.taken / outcome.seconds)
        kept_up.append(outcome.taken / (outcome.seconds + behind))
        refused.update(outcome.refused)
        outcome = send(msgspec.structs.replace(job, port=bare, path=path))
        theirs.append(outcome.taken / outcome.seconds)
        busy.append(outcome.busy)
    share = (server.events() - before) / max(sent, 1)
    middle = sorted(ours)[len(ours) // 2]
    peer = sorted(theirs)[len(theirs) // 2]
    one = size == 1
    said = f"; refused {dict(refused)}" if refused else ""
    found.rows += [
        Row(
            what="`POST /v1/fixes`, one fix each, 32 connections, durable"
            if one
            else f"`POST /v1/fixes`, batches of {size}, durable",
            against="an empty aiohttp endpoint"
            if one
            else "an endpoint that only decodes the body",
            unit="x",
            values=[a / b for a, b in zip(ours, theirs, strict=True)],
            least=0.5 if one else 0.15,
            note=f"{in_words(peer)}/s on the other side, where the sender was busy for "
            f"{max(busy):.0%} of the time; {share:.2f} events a fix{said}",
        ),
        Row(
            what="the same, fixes acknowledged a second",
            against="",
            unit="/s",
            values=ours,
            aim=12_000.0 if one else 300_000.0,
        ),
        Row(
            what="the same, fixes through the engine a second (the time to catch up counted)",
            against="",
            unit="/s",
            values=kept_up,
        ),
    ]
    return middle


def _latency(walk: Walk, pace: float) -> list[Row]:
    seconds = walk.scale.load_s * 4
    job = walk.job(1, int(pace * seconds) + 10, seconds)
    job = msgspec.structs.replace(job, pace=pace, probe_every=4)
    outcome = send(job)
    if not outcome.latencies:
        raise AssertionError(f"no event reached the stream of {job.most} requests")
    cuts = quantiles(outcome.latencies, n=100, method="inclusive")
    said = f"{pace:,.0f} fixes a second, {len(outcome.latencies)} events, {outcome.unseen} unseen"
    return [
        Row(
            what=f"an event on the stream after its POST, {name}",
            against="",
            unit="ms",
            values=[value],
            least=least,
            fewer=True,
            note=said,
        )
        for name, value, least in (("p50", cuts[49], 5.0), ("p99", cuts[98], 20.0))
    ]
