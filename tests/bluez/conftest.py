"""The world of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.bluez.world import World
from tests.servers import DbusDaemon


@pytest.fixture
async def world(dbus_daemon: DbusDaemon, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", dbus_daemon.address)
    made = World(dbus_daemon)
    await made.open()
    yield made
    await made.close()
