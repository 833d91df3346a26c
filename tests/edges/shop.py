"""What the tests of faults share: a shop whose processes may die, senders that insist, its books.

A sender repeats a batch until it is acknowledged, as phones do, and remembers each record of it.
The books are read from the files of the shop, not asked of who wrote them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proximity.model import Fix, Sighting
from proximity.store.journal import decode_records

LON, LAT = 2.35, 48.85
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
FENCE = {
    "type": "Feature",
    "id": "cafe",
    "properties": {"radius_m": 60},
    "geometry": {"type": "Point", "coordinates": [LON, LAT]},
}
TAGS = 20
SITE = """
fences = "fences.geojson"
timezone = "Europe/Paris"
[[place]]
id = "door"
[[gateway]]
id = "gw-1"
place = "door"
""" + "".join(
    f'[[beacon]]\nuuid = "{UUID}"\nmajor = 1\nminor = {n}\nsubject = "tag-{n}"\n'
    for n in range(TAGS)
)
CAMPAIGN = """
[[campaign]]
id = "coffee"
purpose = "service"
on = "enter"
places = ["cafe"]
max_age_s = 3600
ttl_s = 3600
channels = ["console"]
[campaign.text]
en = "Coffee."
"""
PROXIMITY = (sys.executable, "-m", "proximity")
CLONE_NEWNS = 0x00020000
OF_ONE = 20
"""Fixes of one subject in one batch: the first of them begins a visit, and with it an offer."""
AS_INSTALLED = {"PYTHONDONTWRITEBYTECODE": ""}
"""A program that is installed has its bytecode; compiling it at each start took 0.4 s more."""
READY_MOST_S = 180.0
"""Far more than a start takes (the promise is 2 s, and what it took is printed): other tests run
beside this one."""


def in_ci(few: int, all_: int) -> int:
    """Give how often a fault is repeated: as often as promised, but where CI says so, less."""
    return few if os.environ.get("CI") == "true" else all_


def needs_root(what: str) -> None:
    """Skip the test where nobody is root; fail where CI must be."""
    if os.geteuid() == 0:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} needs root")
    pytest.skip(f"{what} needs root")


def own_mounts() -> None:
    """Mount from here on where nobody else sees it, and where it ends with this process.

    What others mount is still seen.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        reason = f"no mounts of one's own here ({os.strerror(ctypes.get_errno())})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    run("mount", "--make-rslave", "/")


def run(*command: object) -> None:
    ended = subprocess.run(
        [str(word) for word in command], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, f"{command}: {ended.stderr}"


class Process:
    """One program of the shop, started and killed as often as one likes."""

    def __init__(self, *command: object, log: Path) -> None:
        self._command = [str(word) for word in command]
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def worked_s(self) -> float:
        """Seconds of a processor that it has had, which do not depend on who else has some."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def catches(self, number: signal.Signals) -> bool:
        """Whether it has come so far that it would catch this signal."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (number - 1) & 1)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def told(self) -> str:
        """What it wrote to its log, the end of it."""
        return self._log.read_text(errors="replace")[-4000:]

    async def start(self, before: Sequence[object] = ()) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(str(word) for word in before), *self._command,
                stdin=subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
                env=os.environ | AS_INSTALLED,
            )  # fmt: skip

    async def said(self, word: str) -> str:
        """Give the rest of its first line of output, which begins with ``word``; "" if it died."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_MOST_S):
            line = (await self._process.stdout.readline()).decode()
        return line.removeprefix(word).strip() if line.startswith(word) else ""

    async def ended(self, within_s: float = 60.0) -> int:
        assert self._process is not None
        async with asyncio.timeout(within_s):
            return await self._process.wait()

    def signal(self, how: signal.Signals) -> None:
        assert self._process is not None
        assert self._process.returncode is None, f"it died by itself:\n{self.told()}"
        self._process.send_signal(how)

    async def end(self, how: signal.Signals) -> int:
        self.signal(how)
        return await self.ended()

    async def gone(self) -> None:
        if self.running:
            assert self._process is not None
            self._process.kill()
            await self._process.wait()


class Shop:
    """A server over one folder; ``up`` while it takes requests.

    ``ready_s`` is how long each start took, ``ready_work_s`` what it took of a processor.
    """

    def __init__(
        self, folder: Path, *, data: Path | None = None, program: Sequence[object] = PROXIMITY
    ) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "fences.geojson").write_text(json.dumps(FENCE))
        (folder / "site.toml").write_text(SITE)
        (folder / "campaigns.toml").write_text(CAMPAIGN)
        self.folder = folder
        self.data = folder / "data" if data is None else data
        self.url = ""
        self.up = asyncio.Event()
        self.ready_s: list[float] = []
        self.ready_work_s: list[float] = []
        self.token = self.command("token", "create", "--role", "admin").strip()
        self.port = 0
        self.server = Process(log=folder / "server.log")
        self._program = program

    def command(self, *words: object) -> str:
        command = [*PROXIMITY, *words, "--data", self.data]
        ended = subprocess.run(
            [str(word) for word in command], check=False, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    async def open(self, before: Sequence[object] = (), *, speed: float = 1.0) -> bool:
        """Start the server; False where it died before it was ready."""
        self.server = Process(
            *self._program, "serve", "--data", self.data, "--site", self.folder / "site.toml",
            "--campaigns", self.folder / "campaigns.toml", "--consent", "assumed",
            "--port", self.port, "--clock-speed", speed, log=self.folder / "server.log",
        )  # fmt: skip
        began = time.monotonic()
        await self.server.start(before)
        self.url = await self.server.said("listening on ")
        if not self.url:
            return False
        self.ready_s.append(time.monotonic() - began)
        self.ready_work_s.append(self.server.worked_s)
        self.port = int(self.url.rpartition(":")[2])
        self.up.set()
        return True

    async def end(self, how: signal.Signals) -> int:
        self.up.clear()
        return await self.server.end(how)

    @property
    def books(self) -> Books:
        return Books(self.data / "engine.db")


async def attach(shop: Shop, *words: str) -> asyncio.subprocess.Process:
    """Have `strace` look at all threads of the server from here on."""
    pid = shop.server.pid
    tracer = await asyncio.create_subprocess_exec(*words, "-p", str(pid))
    threads = Path(f"/proc/{pid}/task")

    def watched() -> bool:
        try:
            running = [*threads.iterdir()]
        except FileNotFoundError:
            return True  # what is done to it was done at a call that it made by itself
        for thread in running:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                if "TracerPid:\t0\n" in (thread / "status").read_text():
                    return False
        return True

    async with asyncio.timeout(20.0):
        while not watched():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)
    return tracer


class Senders:
    """Phones that report to a shop at ``rate`` records a second, until ``stop``.

    ``taken`` are the records that were acknowledged, by subject and time; ``refused`` counts the
    other answers by status.
    """

    def __init__(self, shop: Shop, rate: float, *, name: str = "s", of_one: int = OF_ONE) -> None:
        self.taken: set[tuple[str, float]] = set()
        self.refused: Counter[int] = Counter()
        self.sent = 0
        self._shop, self._rate, self._name, self._of_one = shop, rate, name, of_one
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # Here, because a task that is cancelled before its first step has made none.
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {shop.token}"},
            timeout=aiohttp.ClientTimeout(total=10),
        )
        self._driving = asyncio.create_task(self._drive())

    @property
    def subjects(self) -> set[str]:
        return {subject for subject, _ in self.taken}

    async def stop(self) -> None:
        """Send nothing new; what was sent is repeated until it is acknowledged."""
        self._stopping.set()
        await self._driving
        await asyncio.gather(*self._tasks)

    def drop(self) -> None:
        self._driving.cancel()
        for task in self._tasks:
            task.cancel()

    async def _drive(self) -> None:
        due, step = time.monotonic(), self._of_one / self._rate
        for number in itertools.count():
            while (left := due - time.monotonic()) > 0 or len(self._tasks) >= 64:
                if self._stopping.is_set():
                    return
                await asyncio.sleep(max(left, 0.005))
            if self._stopping.is_set():
                return
            task = asyncio.create_task(self._insist(f"{self._name}{number}"))
            self._tasks.add(task)
            task.add_done_callback(self._done)
            # What could not be sent in time is not made up for: the rate is the most there is.
            due = max(due, time.monotonic() - 1.0) + step

    def _done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)

    async def _insist(self, subject: str) -> None:
        now = time.time()
        batch = [
            {
                "type": "fix", "subject": subject, "at": now - (self._of_one - n) * 0.05,
                "lon": LON + n * 1e-7, "lat": LAT, "accuracy_m": 5,
            }
            for n in range(self._of_one)
        ]  # fmt: skip
        self.sent += len(batch)
        while True:
            await self._shop.up.wait()
            try:
                url = f"{self._shop.url}/v1/fixes"
                async with self._session.post(url, json=batch) as answer:
                    if answer.status == 202:
                        receipt = await answer.json()
                        assert receipt["accepted"] + receipt["duplicate"] == len(batch), receipt
                        self.taken.update((subject, one["at"]) for one in batch)
                        return
                    self.refused[answer.status] += 1
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                pass
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        self.drop()
        await asyncio.gather(self._driving, *self._tasks, return_exceptions=True)
        await self._session.close()


class Books:
    """What a store's file holds, read by nobody's program but SQLite."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._file, timeout=30)) as db:
            return db.execute(statement).fetchall()

    def records(self) -> Iterator[Any]:
        rows = self.ask("SELECT payload FROM journal WHERE kind = 'records' ORDER BY position")
        for (payload,) in rows:
            yield from decode_records(payload)

    def fixes(self) -> Counter[tuple[str, float]]:
        """How often each fix stands in the journal, by subject and time."""
        return Counter((one.subject, one.at) for one in self.records() if isinstance(one, Fix))

    def sightings(self) -> Counter[tuple[str, int]]:
        """How often each sighting of a gateway does, by its start and number."""
        found = (one for one in self.records() if isinstance(one, Sighting))
        return Counter((one.boot, one.seq) for one in found if one.boot and one.seq is not None)

    def ledger(self, kind: str) -> list[dict[str, Any]]:
        rows = self.ask(f"SELECT record FROM ledger WHERE kind = '{kind}' ORDER BY seq")
        return [json.loads(record) for (record,) in rows]

    def whole(self) -> None:
        assert self.ask("PRAGMA integrity_check") == [("ok",)]


async def until(done: Callable[[], bool], within_s: float = 60.0, *, why: str = "") -> None:
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, why or "it did not come to this"
        await asyncio.sleep(0.1)


def nothing_lost(shop: Shop, taken: set[tuple[str, float]]) -> None:
    """Every acknowledged fix is in the journal, once."""
    kept = shop.books.fixes()
    assert taken - kept.keys() == set(), f"{len(taken - kept.keys())} acknowledged and lost"
    assert {one: n for one, n in kept.items() if n != 1} == {}, "written twice"


async def one_effect_each(shop: Shop, subjects: set[str]) -> None:
    """Each subject came in once, was decided about once, and its offer was handed over.

    An offer that was leased when its sender died is free again when the lease ends, after a minute;
    so the server is started anew with a clock that runs faster.
    """
    assert await shop.end(signal.SIGTERM) == 0, shop.server.told()
    assert await shop.open(speed=30.0), shop.server.told()

    def handed() -> set[str]:
        found = shop.books.ledger("delivery")
        return {one["subject"] for one in found if one["outcome"] == "accepted"}

    def waiting() -> int:
        tables = ("triggers", "outbox")
        return sum(shop.books.ask(f"SELECT count(*) FROM {one}")[0][0] for one in tables)

    # Nor is anything left of whoever else came in.
    await until(
        lambda: subjects <= handed() and not waiting(), 120.0, why="decided and never handed over"
    )
    transitions = shop.books.ledger("transition")
    entered = Counter(
        one["subject"] for one in transitions if (one["kind"], one["place"]) == ("enter", "cafe")
    )
    decided = Counter(one["subject"] for one in shop.books.ledger("decision"))
    for told in (entered, decided):
        assert subjects - told.keys() == set(), "acknowledged and without effect"
        assert {one: n for one, n in told.items() if n != 1} == {}, "twice"
    shop.books.whole()


def spooled(folder: Path, aside: Path) -> set[tuple[str, int]]:
    """What lies in the spool of a gateway that was killed, by start and number, in a copy."""
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for file in folder.glob("spool.sqlite*"):
        if not file.name.endswith(".ballast"):
            shutil.copy(file, aside)
    if not (aside / "spool.sqlite").exists():
        return set()
    with closing(sqlite3.connect(aside / "spool.sqlite")) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if "records" not in tables:
            return set()
        return set(
            db.execute("SELECT s.boot, r.seq FROM records r JOIN senders s ON s.id = r.sender")
        )
