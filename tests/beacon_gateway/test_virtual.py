"""The radio over virtual controllers: HCI and advertising bytes are real, the air is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from beacon_gateway.adverts import decode_manufacturer, decode_service
from beacon_gateway.health import Health
from beacon_gateway.radio import Radio, RadioStalledError
from beacon_gateway.scanner import Heard
from beacon_gateway.watchdog import QUIET_S
from tests.beacon_gateway.virtual import Air
from tests.bluez.timeless import Timeless

IBEACON = bytes.fromhex("0201061aff4c000215f7826da64fa24e988024bc5b71e0893e00010007c5")
EDDYSTONE = bytes.fromhex("0201060303aafe1516aafe00edaabbccddeeff00112233010203040506")
TAG, CARD = "C0:FF:EE:00:00:01", "C0:FF:EE:00:00:02"


@pytest.fixture
async def air() -> AsyncIterator[Air]:
    made = Air()
    yield made
    await made.stop()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 (what is waited for is in another's list)
            await asyncio.sleep(0.01)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("passive", [False, True])
async def test_beacons_are_heard_through_hci_with_their_levels(air: Air, passive: bool) -> None:
    await air.beacon(TAG, IBEACON, -61)
    await air.beacon(CARD, EDDYSTONE, -84)
    heard: list[Heard] = []
    radio = Radio(backend=air.backend(), passive=passive, platform="linux")
    listening = asyncio.create_task(radio.run(heard.append))
    await until(lambda: {one.address for one in heard} == {TAG, CARD} and len(heard) > 20)
    assert {(one.address, one.rssi_dbm) for one in heard} == {(TAG, -61), (CARD, -84)}
    tag = next(one for one in heard if one.address == TAG)
    card = next(one for one in heard if one.address == CARD)
    [beacon] = [decode_manufacturer(*item) for item in tag.manufacturer.items()]
    assert beacon is not None
    assert (beacon.format, beacon.major, beacon.minor) == ("ibeacon", 1, 7)
    [beacon] = [decode_service(int(uuid[4:8], 16), v) for uuid, v in card.service.items()]
    assert beacon is not None
    assert beacon.instance == "010203040506"
    await ended(listening)


async def test_a_level_that_follows_a_walker_arrives_as_it_is(air: Air) -> None:
    await air.beacon(TAG, IBEACON, -60)
    heard: list[Heard] = []
    listening = asyncio.create_task(Radio(backend=air.backend()).run(heard.append))
    for rssi in range(-60, -85, -3):
        air.receiver.levels[TAG] = rssi
        await until(lambda wanted=rssi: bool(heard) and heard[-1].rssi_dbm == wanted)
    order = list(dict.fromkeys(one.rssi_dbm for one in heard))
    assert order == list(range(-60, -85, -3))
    await ended(listening)


async def test_a_hung_controller_is_started_anew(air: Air) -> None:
    time, health = Timeless(), Health()
    await air.beacon(TAG, IBEACON, -61)
    heard: list[Heard] = []
    radio = Radio(backend=air.backend(), clock=time.clock, health=health)
    listening = asyncio.create_task(radio.run(heard.append))
    await until(lambda: len(heard) > 3)
    air.receiver.hung = True
    # What was on its way still arrives.
    await asyncio.sleep(0.1)
    heard.clear()
    await time.advance(QUIET_S + 1.0, lambda: asyncio.sleep(0.05))
    await until(lambda: len(heard) > 3)
    assert health.snapshot()["restarts"] == 1
    await ended(listening)


async def test_where_no_adapter_can_be_powered_the_last_resort_is_to_leave(air: Air) -> None:
    time = Timeless()
    await air.beacon(TAG, IBEACON, -61)
    heard: list[Heard] = []
    radio = Radio(backend=air.backend(), clock=time.clock, canary=lambda _: True)
    listening = asyncio.create_task(radio.run(heard.append))
    await until(lambda: len(heard) > 3)
    await air.stop()
    await asyncio.sleep(0.1)
    await time.advance(100.0, lambda: asyncio.sleep(0.02))
    with pytest.raises(RadioStalledError, match="leaving"):
        await asyncio.wait_for(listening, 10)
