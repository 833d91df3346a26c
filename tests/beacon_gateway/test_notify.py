"""What systemd would read: datagrams on a socket of the test's own."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from beacon_gateway.notify import heartbeat, notify
from tests.bluez.timeless import Timeless


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with (
        tempfile.TemporaryDirectory(prefix="sd-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener,
    ):
        path = Path(folder) / "notify"
        listener.bind(str(path))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield listener


def read(listener: socket.socket) -> list[str]:
    said = []
    while True:
        try:
            said.append(listener.recv(256).decode())
        except BlockingIOError:
            return said


def test_a_state_arrives(systemd: socket.socket) -> None:
    assert notify("READY=1")
    assert notify("STATUS=hearing 3 beacons")
    assert read(systemd) == ["READY=1", "STATUS=hearing 3 beacons"]


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no files are Linux's")
def test_a_name_that_is_no_file_is_reached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"gateway-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert notify("WATCHDOG=1")
        assert listener.recv(64) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_where_nobody_listens_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


async def test_the_heart_beats_twice_as_often_as_asked(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    time = Timeless()
    beating = asyncio.create_task(heartbeat(time.clock))
    await time.advance(95.0, lambda: asyncio.sleep(0))
    assert read(systemd) == ["WATCHDOG=1"] * 4
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


@pytest.mark.parametrize(
    ("usec", "pid"), [("", None), ("0", None), ("soon", None), ("60000000", "1")]
)
async def test_no_heart_beats_where_none_is_asked_for(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, usec: str, pid: str | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    await heartbeat()
    assert read(systemd) == []
