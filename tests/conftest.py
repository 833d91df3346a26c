"""Fixtures that every tier of tests shares."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from proximity.store import Store
from tests.servers import DbusDaemon, Mosquitto

ROOT = Path(__file__).resolve().parent.parent
KEEPS_ITS_STORE = "tests.simulation.disk"
"""One store serves all its worlds, for as long as the process runs."""


@pytest.fixture(autouse=True)
def logs_of_its_own() -> Iterator[None]:
    """Undo what a command run in this process has said about logs: they went to its own stream."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def stores_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the stores that a test opens; those that the product opens are for it to close.

    From Python 3.13 on, a connection that nobody closed is a warning, and so an error here.
    """
    opened: list[Store] = []
    shipped = Store.open

    def noted(*args: Any, **more: Any) -> Store:
        store = shipped(*args, **more)
        who = sys._getframe(1).f_globals["__name__"]
        if who.startswith("tests.") and who != KEEPS_ITS_STORE:
            opened.append(store)
        return store

    monkeypatch.setattr(Store, "open", noted)
    yield
    for store in opened:
        store.close()
        store._engine.dispose()  # whoever reads on after that opens another


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Find a set of real data by name; skip where it is absent, fail where CI must have it."""
    base = Path(os.environ.get("PROXIMITY_DATA", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        path = base / name
        if not path.exists():
            reason = f"real data {name!r} is not at PROXIMITY_DATA ({base.name})"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """Start an MQTT broker of the test's own."""
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(folder)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def dbus_daemon() -> Iterator[DbusDaemon]:
    """Start a message bus of the test's own; a socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="bus-") as folder:
        bus = DbusDaemon(Path(folder))
        bus.start()
        yield bus
        bus.stop()
