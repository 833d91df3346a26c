"""The real agent and the real server: paired, signed, re-dated, rotated, killed; one enter."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

pytestmark = pytest.mark.slow

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
SITE = f"""
timezone = "Europe/Paris"
[[place]]
id = "door"
[[gateway]]
id = "gw-1"
place = "door"
[[beacon]]
uuid = "{UUID}"
major = 1
minor = 7
subject = "member-42"
"""


class Shop:
    """A server and a gateway in it, each a process with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "site.toml").write_text(SITE)
        self.admin = self.command("token", "create", "--role", "admin").strip()
        self.server: asyncio.subprocess.Process | None = None
        self.url = ""
        self.port = 0

    def command(self, *words: str) -> str:
        command = [sys.executable, "-m", "proximity", *words, "--data", str(self.folder / "server")]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    async def open(self, *more: str) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.server = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "proximity", "serve", "--data", self.folder / "server",
                "--site", self.folder / "site.toml", "--consent", "assumed",
                "--port", str(self.port), *more,
                stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self.server.stdout is not None
        line = (await self.server.stdout.readline()).decode()
        assert line.startswith("listening on "), (self.folder / "server.log").read_text()[-2000:]
        self.url = line.split()[-1]
        self.port = int(self.url.rpartition(":")[2])

    async def kill(self) -> None:
        if self.server is not None and self.server.returncode is None:
            self.server.kill()
            await self.server.wait()

    async def gateway(self, token: str, trace: Path, *more: str) -> asyncio.subprocess.Process:
        (self.folder / "token").write_text(token)
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "beacon_gateway", "run", "--server", self.url,
            "--token-file", self.folder / "token", "--data", self.folder / "gateway",
            "--simulate", trace, *more, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def ask(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.admin}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(self.url + path) as answer,
        ):
            return await answer.json()

    async def transitions(self) -> list[tuple[str, str, str]]:
        items = (await self.ask("/v1/transitions"))["items"]
        return [(each["kind"], each["subject"], each["place"]) for each in items]

    async def counted(self, outcome: str) -> float:
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": f"Bearer {self.admin}"}
            async with session.get(self.url + "/metrics", headers=headers) as answer:
                text = await answer.text()
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if 'feed="sightings"' in line and f'outcome="{outcome}"' in line
        )


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    made = Shop(tmp_path)
    await made.open()
    yield made
    await made.kill()


async def ended(process: asyncio.subprocess.Process, within_s: float = 60.0) -> bytes:
    _, err = await asyncio.wait_for(process.communicate(), within_s)
    assert process.returncode == 0, err
    return err


async def wait(done: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not await done():
        assert time.monotonic() < deadline, "it did not come to this"
        await asyncio.sleep(0.1)


def write_trace(path: Path, seconds: int) -> Path:
    """Somebody with our tag stands at the door; a stranger with a look-alike beside them."""
    with path.open("w") as file:
        for half in range(2 * seconds):
            for minor in (7, 8):
                beacon = {"format": "ibeacon", "uuid": UUID, "major": 1, "minor": minor}
                record = {
                    "type": "sighting", "beacon": beacon, "at": 1_700_000_000 + half * 0.5,
                    "rssi_dbm": -55, "gateway": "gw-1",
                }  # fmt: skip
                file.write(json.dumps(record) + "\n")
    return path


async def test_a_token_a_trace_and_the_first_enter(shop: Shop, tmp_path: Path) -> None:
    token = shop.command("token", "create", "--role", "gateway", "--id", "gw-1")
    process = await shop.gateway(token, write_trace(tmp_path / "trace.jsonl", 8))
    await ended(process)
    assert ("enter", "member-42", "door") in await shop.transitions()
    assert {subject for _, subject, _ in await shop.transitions()} == {"member-42"}
    told = json.loads((tmp_path / "gateway" / "health.json").read_text())
    assert await shop.counted("accepted") == told["uplink"]["told"] >= 15
    assert told["unlisted"] == 1
    assert told["dropped"] == {}
    shown = await shop.ask("/v1/gateways/gw-1")
    assert shown["health"]["gateway"] == "gw-1"


async def test_a_secret_signs_is_replaced_and_goes_on_without_a_hand(
    shop: Shop, tmp_path: Path
) -> None:
    secret = shop.command("gateway", "secret", "--id", "gw-1").strip()
    trace = write_trace(tmp_path / "trace.jsonl", 3)
    await ended(await shop.gateway(secret, trace))
    first = await shop.counted("accepted")
    assert first >= 5
    assert not (tmp_path / "gateway" / "secret").exists()
    shop.command("gateway", "rotate", "--id", "gw-1")
    await asyncio.sleep(5.5)  # what the command line changes counts within 5 s
    await ended(await shop.gateway(secret, trace))
    newer = json.loads((tmp_path / "gateway" / "secret").read_text())["secret"]
    assert newer != secret
    assert secret not in (tmp_path / "gateway" / "config.json").read_text()
    assert newer not in (tmp_path / "gateway" / "config.json").read_text()
    await ended(await shop.gateway(secret, trace))
    assert await shop.counted("accepted") > 2 * first


async def test_a_server_killed_under_way_costs_nothing_and_doubles_nothing(
    shop: Shop, tmp_path: Path
) -> None:
    token = shop.command("token", "create", "--role", "gateway", "--id", "gw-1")
    process = await shop.gateway(token, write_trace(tmp_path / "trace.jsonl", 15))

    async def some() -> bool:
        return await shop.counted("accepted") >= 4

    await wait(some)
    await shop.kill()
    await asyncio.sleep(3.0)
    await shop.open()
    err = await ended(process)
    assert b"Traceback" not in err
    told = json.loads((tmp_path / "gateway" / "health.json").read_text())
    assert told["spool"]["waiting"] == 0
    assert told["dropped"] == {}
    # One visit: what was late fills it, and neither ends nor doubles it.
    kinds = [kind for kind, _, _ in await shop.transitions()]
    assert kinds.count("enter") == 1


async def test_an_unknown_token_is_said_plainly_and_loses_nothing(
    shop: Shop, tmp_path: Path
) -> None:
    process = await shop.gateway(
        "px_wrong", write_trace(tmp_path / "trace.jsonl", 2), "--gateway", "gw-1"
    )
    assert process.stderr is not None
    line = await asyncio.wait_for(process.stderr.readline(), 30)
    assert b"pair this gateway anew" in line
    assert b"px_wrong" not in line
    assert b"gw-1" not in line
    process.terminate()
    await process.communicate()
    assert process.returncode == 0
