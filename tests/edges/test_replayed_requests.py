"""A signed request is taken once, however often the server is killed in between."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp

from beacon_gateway import signing

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
SITE = f"""
[[place]]
id = "hall"
[[gateway]]
id = "gw-1"
place = "hall"
[[beacon]]
uuid = "{UUID}"
subject = "card"
"""
KILLS = 6
SENDERS = 4


class Server:
    """`proximity serve` over one folder, killed and started as often as one likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "site.toml").write_text(SITE)
        self.url, self.up = "", asyncio.Event()

    def command(self, *words: str) -> str:
        command = [sys.executable, "-m", "proximity", *words, "--data", str(self.folder / "data")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    async def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "proximity", "serve", "--data", self.folder / "data",
                "--site", self.folder / "site.toml", "--consent", "assumed", "--port", "0",
                stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        assert line.startswith("listening on "), (self.folder / "log").read_text()[-2000:]
        self.url = line.removeprefix("listening on ").strip()
        self.up.set()

    async def end(self, how: signal.Signals) -> None:
        self.up.clear()
        self.process.send_signal(how)
        await self.process.wait()


def body_of(number: int) -> bytes:
    beacon = {"format": "ibeacon", "uuid": UUID, "major": 1, "minor": number % 100}
    record = {
        "beacon": beacon, "at": time.time(), "rssi_dbm": -60, "gateway": "gw-1", "boot": "b",
        "seq": number, "id": f"b:{number}",
    }  # fmt: skip
    return json.dumps(record).encode()


async def send(server: Server, secret: bytes, mine: int, sent: dict[str, bytes]) -> None:
    """Send requests one after another; what a killed server left open is asked again as it was."""
    number = mine * 1_000_000
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        while True:
            number += 1
            body, message = body_of(number), f"msg_{number}"
            while True:
                await server.up.wait()
                headers = signing.headers(secret, message, int(time.time()), body)
                try:
                    async with session.post(
                        f"{server.url}/v1/sightings", data=body, headers=headers
                    ) as answer:
                        told = await answer.json()
                except (aiohttp.ClientError, TimeoutError, ConnectionError):
                    await asyncio.sleep(0.005)
                    continue
                if answer.status == 202:
                    assert told["accepted"] + told["duplicate"] == 1, told
                    break
                # Taken, and the answer lost with the server: "repeated" says so, and is true.
                if answer.status == 401:
                    assert told["code"] == "repeated", told
                    break
            sent[message] = body


async def test_no_request_is_taken_twice_nor_lost_between_kills(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.start()
    secret = signing.read_secret(server.command("gateway", "secret", "--id", "gw-1"))
    sent: dict[str, bytes] = {}
    rng = random.Random(7)
    senders = [asyncio.create_task(send(server, secret, mine, sent)) for mine in range(SENDERS)]
    for _ in range(KILLS):
        before = len(sent)
        async with asyncio.timeout(60):
            while len(sent) < before + 10:  # noqa: ASYNC110 - nothing tells of the next one
                await asyncio.sleep(0.01)
        await asyncio.sleep(rng.uniform(0.0, 0.1))
        await server.end(signal.SIGKILL)
        await server.start()
        failed = [task for task in senders if task.done()]
        assert not failed, failed[0].exception()
    for task in senders:
        task.cancel()
    await asyncio.gather(*senders, return_exceptions=True)
    admin = server.command("token", "create", "--role", "admin")
    async with aiohttp.ClientSession() as session:
        # Whoever captured any of them has nothing, however new its timestamp looks.
        for message, body in sent.items():
            headers = signing.headers(secret, message, int(time.time()), body)
            async with session.post(
                f"{server.url}/v1/sightings", data=body, headers=headers
            ) as answer:
                assert (answer.status, (await answer.json())["code"]) == (401, "repeated")
        # And all of them are there: sent under another id, each is known.
        for number, body in enumerate(sent.values()):
            headers = signing.headers(secret, f"again_{number}", int(time.time()), body)
            async with session.post(
                f"{server.url}/v1/sightings", data=body, headers=headers
            ) as answer:
                assert (await answer.json())["duplicate"] == 1
        headers = {"Authorization": f"Bearer {admin}"}
        async with session.get(f"{server.url}/v1/gateways/gw-1", headers=headers) as answer:
            assert (await answer.json())["silent"] is False
    await server.end(signal.SIGTERM)
    assert signing.PREFIX not in (tmp_path / "log").read_text()
