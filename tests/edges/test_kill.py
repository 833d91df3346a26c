"""The real server, killed again and again under load: what was acknowledged has its effect, once."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

LON, LAT = 2.35, 48.85
FENCE = {
    "type": "Feature",
    "id": "cafe",
    "properties": {"radius_m": 60},
    "geometry": {"type": "Point", "coordinates": [LON, LAT]},
}
CAMPAIGN = """
[[campaign]]
id = "coffee"
purpose = "service"
on = "enter"
places = ["cafe"]
max_age_s = 600
channels = ["console"]
[campaign.text]
en = "Coffee."
"""
KILLS = 25  # of each of two servers
SENDERS = 8


class Server:
    """`proximity serve` over one data folder, started and killed as often as one likes."""

    def __init__(self, folder: Path) -> None:
        (folder / "fences.geojson").write_text(json.dumps(FENCE))
        (folder / "site.toml").write_text('fences = "fences.geojson"\ntimezone = "Europe/Paris"\n')
        (folder / "campaigns.toml").write_text(CAMPAIGN)
        self.folder = folder
        self.url = ""
        self.up = asyncio.Event()
        self.process: asyncio.subprocess.Process | None = None
        self.token = self._command("token", "create", "--role", "admin").strip()

    def _command(self, *words: str) -> str:
        command = [sys.executable, "-m", "proximity", *words, "--data", str(self.folder / "data")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    async def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "proximity", "serve",
                "--data", self.folder / "data", "--site", self.folder / "site.toml",
                "--campaigns", self.folder / "campaigns.toml",
                "--consent", "assumed", "--port", "0",
                stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        assert line.startswith("listening on "), (self.folder / "log").read_text()[-2000:]
        self.url = line.removeprefix("listening on ").strip()
        self.up.set()

    async def end(self, how: signal.Signals) -> int:
        self.up.clear()
        assert self.process is not None
        assert self.process.returncode is None, "it died by itself"
        self.process.send_signal(how)
        return await self.process.wait()


async def send(
    server: Server, subjects: Iterator[str], acknowledged: list[str], stop: list[bool]
) -> None:
    """Report one subject after another as a phone does: again and again until it is acknowledged."""
    headers = {"Authorization": f"Bearer {server.token}"}
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        while not stop[0]:
            subject = next(subjects)
            body = {
                "type": "fix", "subject": subject, "at": time.time(),
                "lon": LON, "lat": LAT, "accuracy_m": 5,
            }  # fmt: skip
            while True:
                await server.up.wait()
                try:
                    async with session.post(f"{server.url}/v1/fixes", json=body) as answer:
                        if answer.status == 202:
                            receipt = await answer.json()
                            assert receipt["accepted"] + receipt["duplicate"] == 1, receipt
                            break
                except (aiohttp.ClientError, TimeoutError, ConnectionError):
                    await asyncio.sleep(0.005)
            acknowledged.append(subject)


async def read_all(server: Server, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = "0"
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {server.token}"}
    ) as session:
        while True:
            query = {"after": cursor, "limit": "1000"}
            async with session.get(f"{server.url}/v1/{what}", params=query) as answer:
                assert answer.status == 200, await answer.text()
                page = await answer.json()
            if not page["items"]:
                return found
            found += page["items"]
            cursor = page["cursor"]


@pytest.mark.slow
async def test_killed_fifty_times_under_load(tmp_path: Path) -> None:
    """Two servers side by side, since most of the time goes into starting: a core for each."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    await asyncio.gather(*(storm(folder, seed) for seed, folder in enumerate(folders)))


async def storm(folder: Path, seed: int) -> None:
    """Kill a server `KILLS` times while phones report to it, then look at what it holds."""
    dice = random.Random(seed)
    server = Server(folder)
    numbers = itertools.count()
    subjects = (f"s{number}" for number in numbers)
    acknowledged: list[str] = []
    stop = [False]
    senders = [
        asyncio.create_task(send(server, subjects, acknowledged, stop)) for _ in range(SENDERS)
    ]
    try:
        for _ in range(KILLS):
            await server.start()
            before = len(acknowledged)
            # Not before it has taken something, and then at any moment.
            while len(acknowledged) == before:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.002)
            await asyncio.sleep(dice.uniform(0.0, 0.3))
            assert await server.end(signal.SIGKILL) == -signal.SIGKILL
        stop[0] = True
        await server.start()
        await asyncio.gather(*senders)
        sent = set(acknowledged)
        assert len(sent) == len(acknowledged) > 5 * KILLS

        # Every decision is made and handed over in the end: nothing more is waiting then.
        deadline = time.monotonic() + 60
        deliveries: list[dict[str, Any]] = []
        while len({one["key"] for one in deliveries}) < len(sent):
            assert time.monotonic() < deadline, (len(deliveries), len(sent))
            await asyncio.sleep(0.2)
            deliveries = await read_all(server, "deliveries")
        transitions = await read_all(server, "transitions")
        decisions = await read_all(server, "decisions")
        assert await server.end(signal.SIGTERM) == 0
    finally:
        for task in senders:
            task.cancel()
        if server.process is not None and server.process.returncode is None:
            server.process.kill()
            await server.process.wait()

    entered = Counter(one["subject"] for one in transitions if one["kind"] == "enter")
    assert sent - entered.keys() == set(), "acknowledged and lost"
    assert {s: n for s, n in entered.items() if n != 1} == {}, "entered twice"
    assert entered.keys() == sent
    decided = Counter(one["subject"] for one in decisions)
    assert {s: n for s, n in decided.items() if n != 1} == {}, "decided twice"
    assert decided.keys() == sent
    assert {one["decision"] for one in decisions} == {"send"}
    accepted = {one["subject"] for one in deliveries if one["outcome"] == "accepted"}
    assert accepted == sent, "decided and never handed over"
    print(f"{KILLS} kills, {len(sent)} acknowledged")  # noqa: T201 - shown with -s
