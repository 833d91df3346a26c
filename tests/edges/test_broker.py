"""``proximity serve --mqtt`` as a process, killed without warning: what a broker took is not lost."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import aiomqtt
import pytest

from tests.edges.test_server import Server, folder, proximity, serving, token  # noqa: F401
from tests.servers import Mosquitto

PHONES = 240
KILLS = 4


def connected(server: Server) -> bool:
    ask = Request(server.url + "/metrics", headers={"Authorization": f"Bearer {server.token}"})
    with urlopen(ask, timeout=10) as answer:
        return b"proximity_broker_connected 1.0" in answer.read()


def wait_for(server: Server) -> None:
    deadline = time.monotonic() + 20
    while not connected(server):
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.02)


async def publish(broker: Mosquitto, first: int, last: int) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        for n in range(first, last):
            fix = {"_type": "location", "lat": 48.85, "lon": 2.35, "acc": 8, "tst": time.time()}
            await client.publish(f"owntracks/u{n}/phone", json.dumps(fix), qos=1)


@pytest.mark.slow
def test_kill_9_loses_nothing_that_the_broker_took(
    folder: Path,  # noqa: F811 - a fixture
    token: str,  # noqa: F811 - a fixture
    mosquitto: Mosquitto,
) -> None:
    options = ("--mqtt", mosquitto.url, "--consent", "assumed")
    with serving(folder, token, *options) as server:
        wait_for(server)  # from here on the broker knows whom it keeps messages for
        server.end(signal.SIGKILL)
    each = PHONES // KILLS
    for turn in range(KILLS):
        with serving(folder, token, *options) as server:
            # Killed in the midst of it: some are committed, some on their way, some still there.
            asyncio.run(publish(mosquitto, turn * each, turn * each + each))
            server.end(signal.SIGKILL)
        if turn == 1:  # the broker, too
            mosquitto.stop()
            mosquitto.start()
    with serving(folder, token, *options) as server:
        wait_for(server)
        entered = [
            one["subject"]
            for one in server.until(f"/v1/transitions?limit={PHONES}", PHONES)
            if one["kind"] == "enter"
        ]
        assert sorted(entered) == sorted(f"u{n}/phone" for n in range(PHONES))
    assert "Traceback" not in server.log.read_text()


def test_a_broker_that_cannot_be_is_refused_before_anything_is_bound(
    folder: Path,  # noqa: F811 - a fixture
) -> None:
    result = proximity("serve", "--data", folder / "data", "--port", "0", "--mqtt", "localhost")
    assert (result.returncode, result.stdout) == (2, "")
    assert "give mqtt://" in result.stderr


def test_without_the_extra_it_names_the_pip_line(folder: Path) -> None:  # noqa: F811 - a fixture
    code = "import sys; sys.modules['aiomqtt'] = None; from proximity.__main__ import main; main()"
    command = [
        sys.executable, "-c", code, "serve", "--data", str(folder / "data"), "--port", "0",
        "--mqtt", "mqtt://127.0.0.1",
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "pip install 'proximity-engine[mqtt]'" in ended.stderr
