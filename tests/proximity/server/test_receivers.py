"""Receivers over HTTP: who may post, what is answered, what reaches the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgpack
import pytest

from proximity.server.auth import Role
from tests.proximity.server.rig import Rig, running

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
ADVERT = "0201061aff4c000215" + UUID.replace("-", "") + "00010007c5"
STRANGER = "0201061aff4c000215" + "ab" * 16 + "00010007c5"
SITE = """
fences = "fences.geojson"
[[place]]
id = "door"
[[place]]
id = "shoes"
[[gateway]]
id = "gw-1"
place = "door"
[[gateway]]
id = "ac233fc00001"
place = "shoes"
[[beacon]]
uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
subject = "member-42"
"""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Rig]:
    (tmp_path / "mine.toml").write_text(SITE)
    async with running(tmp_path, site=tmp_path / "mine.toml", consent="assumed") as rig:
        yield rig


def ingics(advert: str, back: float, rssi: int = -60) -> bytes:
    line = f"$GPRP,CCB97E7361A4,AC233FC00001,{rssi},{advert},{time.time() - back:.3f}\r\n"
    return line.encode()


async def test_a_receivers_own_address_names_it(shop: Rig) -> None:
    for back in (4, 3, 2, 1):
        body = ingics(ADVERT, back) + ingics(STRANGER, back)
        answer = await shop.ask("POST", "/gateways/ingics", role=Role.FEED, raw=body)
        assert (answer.status, answer.body) == (200, b"")
    (enter,) = await shop.until("/v1/transitions", 1)
    assert (enter["subject"], enter["place"]) == ("member-42", "shoes")
    # A stranger's beacon is a number and nothing else.
    assert shop.parts.ingest.counts["unlisted"] == 4


async def test_a_gateways_token_is_the_gateway(shop: Rig) -> None:
    token = shop.token(Role.GATEWAY)
    for _ in range(5):
        await asyncio.sleep(0.3)  # it has no clock: what comes is of now
        report = bytes.fromhex("00123b6a1a64cfc4" + ADVERT)
        body = msgpack.packb({"mac": "F008D1789200", "time": 7, "devices": [report]})
        answer = await shop.ask(
            "POST", f"/gateways/aprilbrother?token={token}", role=None, raw=body,
            headers={"Content-Type": "application/msgpack"},
        )  # fmt: skip
        assert (answer.status, answer.body) == (200, b"")
    (enter,) = await shop.until("/v1/transitions", 1)
    assert enter["place"] == "door"


@pytest.mark.parametrize("name", ["minew", "aprilbrother", "ruuvi", "ingics", "raddec"])
async def test_poison_is_answered_and_who_may_not_is_refused(shop: Rig, name: str) -> None:
    path = f"/gateways/{name}"
    for body in (b"", b"\xff\xff", b"{", b"[" * 200_000):
        answer = await shop.ask("POST", path, role=Role.GATEWAY, raw=body)
        assert (answer.status, answer.body) == (200, b"")
    assert (await shop.ask("POST", path, role=None, raw=b"{}")).status == 401
    for role in (Role.DEVICE, Role.ANALYST, Role.MARKETER):
        assert (await shop.ask("POST", path, role=role, raw=b"{}")).status == 403
    assert (await shop.ask("GET", path)).status == 405
