"""What a terminal shows of a radio: the real code of doctor, scan and calibrate, in real time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from beacon_gateway.adverts import decode_manufacturer
from beacon_gateway.allowlist import AllowList
from beacon_gateway.around import Around
from beacon_gateway.checks import examine
from beacon_gateway.facts import AdapterFact
from beacon_gateway.listening import configuration, open_ears
from beacon_gateway.probing import facts
from beacon_gateway.scan import watch
from beacon_gateway.settings import Settings
from tests.bluez.world import IBEACON, ONE, PASSER_BY, TAG, TWO, World

BEACON = decode_manufacturer(0x004C, IBEACON[0x004C])
STRANGER = {0x004C: b"\x02\x15" + bytes(range(16)) + b"\x00\x01\x00\x02\xc5"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    data = tmp_path / "data"
    data.mkdir()
    beacons = [msgspec.to_builtins(BEACON)]
    (data / "config.json").write_bytes(
        msgspec.json.encode({"gateway": "gw-1", "place": "shoes", "beacons": beacons})
    )
    return Settings(server="http://127.0.0.1:9", data=data)


@contextlib.asynccontextmanager
async def air(world: World, every_s: float = 0.1) -> AsyncIterator[None]:
    """A tag that is enrolled, and somebody who walks past, both of them on air."""

    async def advertise() -> None:
        number = 0
        while True:
            number += 1
            await world.bluez.hear("hci0", TAG, -60 - number * 7 % 19, IBEACON)
            await world.bluez.hear("hci0", PASSER_BY, -70, STRANGER)
            await asyncio.sleep(every_s)

    sending = asyncio.create_task(advertise())
    yield
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending


async def test_the_doctor_hears_what_the_agent_would(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    async with air(world):
        found = await facts(settings, 2.2, tmp_path)
    assert found.radio_error is None
    assert found.adapters == (AdapterFact(name="hci0", address=ONE, powered=True),)
    assert (found.radios, found.unlisted, len(found.per_beacon)) == (2, 1, 1)
    assert found.per_beacon[0] > 3
    assert found.per_s > 6
    verdicts = {name: finding.verdict for name, finding in examine(found).items()}
    assert verdicts["adapter"] == verdicts["rate"] == verdicts["beacons"] == "ok"
    assert verdicts["token"] == "fault"


async def test_the_doctor_names_an_adapter_without_power(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    world.bluez.power("hci0", on=False)
    finding = examine(await facts(settings, 0.0, tmp_path))["adapter"]
    assert finding.verdict == "fault"
    assert "rfkill" in finding.mend
    wanted = msgspec.structs.replace(settings, adapters=(TWO,))
    finding = examine(await facts(wanted, 0.0, tmp_path))["adapter"]
    assert TWO in finding.says
    assert ONE in finding.says


async def test_the_doctor_names_a_daemon_that_is_not_there(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    await world.bluez.stop()
    finding = examine(await facts(settings, 1.0, tmp_path))["adapter"]
    assert finding.verdict == "fault"
    assert "systemctl enable --now bluetooth" in finding.mend


async def test_a_scan_shows_enrolled_beacons_and_all_where_it_is_asked(
    world: World, settings: Settings
) -> None:
    known = configuration(settings.data)
    assert known is not None
    shown: list[list[bool]] = []
    for everything in (False, True):
        around = Around()
        async with air(world):
            source, clock, _ = open_ears(settings, known)
            await watch(
                source, clock, AllowList(known.beacons), around, None, 1.0, everything=everything
            )
        shown.append([row.listed for row in around.rows(clock.mono())])
    assert shown[0] == [True]
    assert sorted(shown[1]) == [False, True]
