from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import structlog

from beacon_gateway import signing
from beacon_gateway.configuring import Configuring
from beacon_gateway.credentials import Credentials
from beacon_gateway.folder import CONFIG, SECRET
from beacon_gateway.https import HttpsLink
from beacon_gateway.model import Beacon
from tests.beacon_gateway.listener import Listener

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
OTHER = "aa826da6-4fa2-4e98-8024-bc5b71e0893e"
OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()


def beacon(uuid: str = UUID) -> Beacon:
    return Beacon(format="ibeacon", uuid=uuid, major=1, minor=1)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    await made.start()
    yield made
    await made.stop()


Made = Callable[..., Configuring]
Sleep = Callable[[float], Awaitable[None]]


@pytest.fixture
async def made(tmp_path: Path, listener: Listener) -> AsyncIterator[Made]:
    links = []

    def make(
        gateway: str | None = "gw-1", token: str = "px_token", sleep: Sleep = asyncio.sleep
    ) -> Configuring:
        (tmp_path / "token").write_text(token)
        credentials = Credentials(tmp_path / "token", tmp_path)
        url = f"http://127.0.0.1:{listener.port}"
        links.append(HttpsLink(url, credentials, gateway, time.time))
        configuring = Configuring(links[-1], credentials, tmp_path, gateway, sleep)
        configuring.recall()
        return configuring

    yield make
    for link in links:
        await link.close()


async def test_the_list_comes_into_force_and_a_changed_one_after_it(
    made: Made, listener: Listener
) -> None:
    configuring = made()
    changes = []
    configuring.changed = lambda: changes.append(len(configuring.listed))
    assert configuring.listed.match(beacon(), 0.0) is None
    assert await configuring.ask()
    assert configuring.listed.match(beacon(), 0.0) is not None
    assert await configuring.ask()
    listener.config["beacons"] = [{"uuid": OTHER}]
    assert await configuring.ask()
    assert configuring.listed.match(beacon(), 0.0) is None
    assert configuring.listed.match(beacon(OTHER), 0.0) is not None
    assert changes == [1, 1], "an unchanged list is not read again"


async def test_a_start_without_network_hears_what_was_heard_before(
    made: Made, listener: Listener, tmp_path: Path
) -> None:
    assert await made().ask()
    await listener.stop()
    again = made(gateway=None)
    assert again.came.is_set()
    assert await again.begin() == "gw-1"
    assert again.listed.match(beacon(), 0.0) is not None
    assert not await again.ask()
    assert "cannot be reached" in (again.trouble or "")
    assert again.listed.match(beacon(), 0.0) is not None
    assert (tmp_path / CONFIG).stat().st_mode & 0o077 == 0


async def test_the_server_tells_a_gateway_who_it_is(made: Made) -> None:
    configuring = made(gateway=None)
    assert await configuring.begin() == "gw-1"


async def test_what_is_no_list_leaves_the_old_one_in_force(
    made: Made, listener: Listener, tmp_path: Path
) -> None:
    configuring = made()
    await configuring.ask()
    kept = (tmp_path / CONFIG).read_bytes()
    for nonsense in ({"gateway": "gw-2", "beacons": []}, {"hotel": "sign in"}):
        listener.config = nonsense
        assert not await configuring.ask()
        assert configuring.listed.match(beacon(), 0.0) is not None
    assert (tmp_path / CONFIG).read_bytes() == kept
    listener.config = {"gateway": "gw-1", "beacons": []}
    assert await configuring.ask()
    assert len(configuring.listed) == 0


async def test_another_gateways_list_in_the_folder_is_not_used(
    made: Made, listener: Listener
) -> None:
    await made().ask()
    assert not made(gateway="gw-2").came.is_set()


async def test_who_its_token_says_it_is_counts_and_not_who_it_was(
    made: Made, listener: Listener
) -> None:
    await made(gateway=None, token="px_first").ask()
    assert made(gateway=None, token="px_first").gateway == "gw-1"
    listener.config = {**listener.config, "gateway": "gw-2"}
    moved = made(gateway=None, token="px_second")
    assert moved.gateway is None
    assert not moved.came.is_set()
    assert await moved.begin() == "gw-2"
    assert made(gateway=None, token="px_second").gateway == "gw-2"


async def test_a_token_that_was_replaced_under_way_is_no_other_gateway(
    made: Made, tmp_path: Path
) -> None:
    configuring = made(gateway=None, token="px_first")
    await configuring.ask()
    (tmp_path / "token").write_text("px_second")
    assert configuring._credentials is not None
    assert configuring._credentials.again()
    assert await configuring.ask()
    assert made(gateway=None, token="px_second").gateway == "gw-1"


async def test_a_list_of_before_tokens_were_noted_is_used(made: Made, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(json.dumps({"gateway": "gw-1", "beacons": [{"uuid": UUID}]}))
    assert made(gateway=None).gateway == "gw-1"


@pytest.mark.parametrize("content", [b"", b"{", b"\x00" * 100, b'{"gateway":"gw-1","paired":7}'])
async def test_a_broken_file_is_as_good_as_none(made: Made, tmp_path: Path, content: bytes) -> None:
    (tmp_path / CONFIG).write_bytes(content)
    configuring = made()
    assert not configuring.came.is_set()
    assert await configuring.ask()


async def test_a_new_secret_goes_where_secrets_are_and_nowhere_else(
    made: Made, listener: Listener, tmp_path: Path
) -> None:
    listener.config["secret"] = NEW
    configuring = made(token=OLD)
    with structlog.testing.capture_logs() as logs:
        assert await configuring.ask()
    assert NEW not in (tmp_path / CONFIG).read_text()
    assert json.loads((tmp_path / SECRET).read_text())["secret"] == NEW
    assert "whsec" not in repr(logs)
    assert await configuring.ask()
    # What the second request was signed with.
    headers = listener.requests[-1][1]
    at = int(headers["webhook-timestamp"])
    wanted = signing.signature(b"n" * 32, headers["webhook-id"], at, b"")
    assert headers["webhook-signature"] == wanted


async def test_rotating_beacons_without_their_library_cost_themselves_alone(
    made: Made, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    listener.config["beacons"] = [
        {"uuid": UUID},
        {"format": "eddystone-eid", "identity_key": "00" * 16, "exponent": 4, "epoch": 0},
    ]
    configuring = made()
    with structlog.testing.capture_logs() as logs:
        assert await configuring.ask()
    assert configuring.listed.match(beacon(), 0.0) is not None
    assert any("proximity-engine[eid]" in str(line) for line in logs)


async def test_without_a_list_it_is_asked_for_soon_again_and_then_rarely(
    made: Made, listener: Listener
) -> None:
    await listener.stop()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 8:
            await listener.start(listener.port)

    configuring = made(gateway=None, sleep=sleep)
    assert await configuring.begin() == "gw-1"
    for tries, seconds in enumerate(slept):
        most = min(60.0, 2.0 * 2.0**tries)
        assert most / 2 <= seconds <= most
