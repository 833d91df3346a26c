"""The real bleak code on the fake daemon: what is asked for, what is heard, what is taken off."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable

import pytest
from bleak import BleakScanner
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDBusError,
    BleakError,
)
from dbus_fast import Variant

from beacon_gateway import bluez
from beacon_gateway.adverts import decode_manufacturer, decode_service
from beacon_gateway.model import GatewayError
from beacon_gateway.radio import Radio
from tests.bluez import WINDOW_OFF_S, WINDOW_ON_S, Controller
from tests.bluez.world import (
    ALTBEACON,
    EDDYSTONE,
    IBEACON,
    ONE,
    PASSER_BY,
    TAG,
    TWO,
    World,
)
from tests.test_imports import run_without

PHONE = {0x004C: bytes.fromhex("1005031c0b5f6b")}


def levels(world: World) -> list[int]:
    return [heard.rssi_dbm for heard in world.heard]


async def test_the_filter_asks_for_every_level_and_every_frame(world: World) -> None:
    await world.listen()
    asked = [body for member, name, body in world.bluez.calls if member == "SetDiscoveryFilter"]
    said = {key: (value.signature, value.value) for key, value in asked[0][0].items()}
    assert said == {"Transport": ("s", "le"), "RSSI": ("n", -120), "DuplicateData": ("b", True)}


async def test_each_advertisement_is_heard_once_with_its_own_level(world: World) -> None:
    await world.listen()
    said = [-60, -61, -61, -63, -80]
    for rssi in said:
        await world.bluez.hear("hci0", TAG, rssi, IBEACON)
        await world.advance(1.0)
    assert levels(world) == said
    assert {heard.address for heard in world.heard} == {TAG}
    assert {heard.adapter for heard in world.heard} == {ONE}
    assert all(heard.manufacturer == IBEACON for heard in world.heard)
    assert [heard.mono_s for heard in world.heard] == [1000.0 + n for n in range(5)]
    assert world.heard[4].at - world.heard[0].at == pytest.approx(4.0)


async def test_without_the_filter_the_daemon_keeps_steps_below_8_db_to_itself(world: World) -> None:
    # What bleak asks for by itself: were the filter lost, the test above would see this.
    seen: list[int] = []
    scanner = BleakScanner(lambda _, said: seen.append(said.rssi), bluez={"adapter": "hci0"})
    await scanner.start()
    for rssi in [-60, -61, -61, -63, -80, -73, -72]:
        await world.bluez.hear("hci0", TAG, rssi, IBEACON)
    await world.settle()
    assert seen == [-60, -80, -72]
    await scanner.stop()


async def test_a_property_that_is_no_advertisement_repeats_nothing(world: World) -> None:
    await world.listen()
    await world.bluez.hear("hci0", TAG, -60, IBEACON)
    await world.settle()
    world.bluez.touch("hci0", TAG, Connected=Variant("b", True))
    world.bluez.touch("hci0", TAG, Paired=Variant("b", False))
    await world.settle()
    assert levels(world) == [-60]
    assert world.adapter().dropped == {"repeated": 2}


async def test_of_a_beacon_that_takes_turns_each_frame_goes_with_its_own_level(
    world: World,
) -> None:
    await world.listen()
    for turn in range(3):
        await world.bluez.hear("hci0", TAG, -60 - turn, IBEACON)
        await world.bluez.hear("hci0", TAG, -70 - turn, None, EDDYSTONE)
        await world.bluez.hear("hci0", TAG, -80 - turn)
    await world.settle()
    assert [(one.rssi_dbm, bool(one.manufacturer), bool(one.service)) for one in world.heard] == [
        (-60, True, False),
        (-70, False, True),
        (-61, True, False),
        (-71, False, True),
        (-62, True, False),
        (-72, False, True),
    ]
    assert world.adapter().dropped == {"empty": 3}


@pytest.mark.parametrize("rssi", [127, 20, 0, -121, -127])
async def test_a_level_that_is_none_is_not_handed_on(world: World, rssi: int) -> None:
    await world.listen()
    await world.bluez.hear("hci0", TAG, rssi, IBEACON)
    await world.settle()
    assert world.heard == []
    assert world.adapter().dropped == {"unmeasured": 1}


@pytest.mark.parametrize("passive", [False, True])
async def test_all_three_formats_arrive_whole(world: World, passive: bool) -> None:
    await world.listen(passive=passive)
    await world.bluez.hear("hci0", TAG, -60, IBEACON)
    await world.bluez.hear("hci0", TAG[:-1] + "2", -61, ALTBEACON)
    await world.bluez.hear("hci0", TAG[:-1] + "3", -62, None, EDDYSTONE)
    await world.settle()
    formats = []
    for heard in world.heard:
        found = [decode_manufacturer(*one) for one in heard.manufacturer.items()]
        found += [decode_service(int(uuid[4:8], 16), v) for uuid, v in heard.service.items()]
        formats += [beacon.format for beacon in found if beacon is not None]
    assert formats == ["ibeacon", "altbeacon", "eddystone-uid"]


async def test_a_passive_scan_lets_beacons_through_and_phones_not(world: World) -> None:
    await world.listen(passive=True)
    assert [member for member, _, _ in world.bluez.calls][-1] == "RegisterMonitor"
    assert world.starts() == 0
    assert not await world.bluez.hear("hci0", PASSER_BY, -50, PHONE)
    assert world.bluez.lost == {"pattern": 1}
    # Nobody discovers, and that is no stall; a level changes without its frame.
    for rssi in (-60, -61, -69):
        await world.bluez.hear("hci0", TAG, rssi, IBEACON)
        await world.advance(20.0)
    assert levels(world) == [-60, -69]
    assert all(heard.manufacturer == IBEACON for heard in world.heard)
    assert world.adapter().restarts == 0


async def test_a_passive_scan_that_the_kernel_refuses_is_told(world: World) -> None:
    world.bluez.adapters["hci0"].deaf = "ever"
    await world.listen(passive=True)
    await world.until(lambda: world.adapter().state == "resting", 150.0)
    assert "leave passive scanning off" in (world.adapter().trouble or "")


async def test_two_adapters_are_told_apart_by_address_whatever_their_names(world: World) -> None:
    world.bluez.remove("hci0")
    world.bluez.add("hci1", Controller(ONE))
    world.bluez.add("hci0", Controller(TWO))
    await world.listen(ONE.lower(), TWO)
    await world.bluez.hear("hci1", TAG, -60, IBEACON)
    await world.bluez.hear("hci0", TAG, -70, IBEACON)
    await world.settle()
    assert [(one.adapter, one.rssi_dbm) for one in world.heard] == [(ONE, -60), (TWO, -70)]
    assert (world.adapter(ONE).name, world.adapter(TWO).name) == ("hci1", "hci0")


async def test_one_adapter_of_two_may_fail_and_the_other_never_pauses(world: World) -> None:
    world.bluez.add("hci1", Controller(TWO))
    await world.listen(ONE, TWO)
    world.send(TAG, "hci1", every_s=1.0)
    await world.advance(5.0)
    world.bluez.remove("hci0")
    await world.advance(60.0)
    assert world.adapter(ONE).trouble == bluez.NO_ADAPTER.text
    times = [heard.mono_s for heard in world.heard]
    assert max(b - a for a, b in itertools.pairwise(times)) == pytest.approx(1.0)


async def test_of_none_named_the_first_that_can_scan_is_taken(world: World) -> None:
    world.bluez.remove("hci0")
    world.bluez.add("hci0", Controller(ONE, roles=("peripheral",)))
    world.bluez.add("hci1", Controller("00:1A:7D:DA:71:09", powered=False))
    world.bluez.add("hci2", Controller(TWO))
    await world.listen()
    assert world.adapter(TWO).name == "hci2"


async def test_the_adapter_in_use_stays_in_use_when_an_earlier_one_appears(world: World) -> None:
    world.bluez.adapters["hci0"].powered = False
    world.bluez.add("hci1", Controller(TWO))
    await world.listen()
    world.send(name="hci1")
    await world.advance(2.0)
    world.bluez.power("hci0", on=True)
    await world.advance(10.0)
    assert (world.adapter(TWO).state, world.adapter(TWO).restarts) == ("hearing", 0)
    world.bluez.remove("hci1")
    world.send()
    await world.until(lambda: world.heard[-1].adapter == ONE, 10.0)


async def test_gaps_between_windows_are_no_stall(world: World) -> None:
    world.bluez.windows = True
    await world.listen()
    world.send(every_s=1.0)
    await world.advance(300.0)
    share = len(world.heard) / 301
    assert share == pytest.approx(WINDOW_ON_S / (WINDOW_ON_S + WINDOW_OFF_S), abs=0.05)
    assert world.adapter().restarts == 0


@pytest.mark.parametrize(("passive", "verdict"), [(False, False), (True, True)])
async def test_health_tells_throttled_levels_from_lively_ones(
    world: World, passive: bool, verdict: bool
) -> None:
    # Passive scanning is throttled by the daemon, whatever is asked for.
    await world.listen(passive=passive)
    level = random.Random(5)
    for _ in range(400):
        await world.bluez.hear("hci0", TAG, round(level.gauss(-70, 5)), IBEACON)
        await world.settle()
    for heard in world.heard:
        world.health.kept("a tag", heard.rssi_dbm, heard.mono_s, heard.adapter)
    assert world.health.rssi_throttled is verdict


def no_adapter(world: World) -> Callable[[], None]:
    controller = world.bluez.remove("hci0")
    return lambda: world.bluez.add("hci0", controller)


def no_power(world: World) -> Callable[[], None]:
    world.bluez.power("hci0", on=False)
    world.bluez.adapters["hci0"].blocked = True
    return lambda: world.bluez.power("hci0", on=True)


def no_permission(world: World) -> Callable[[], None]:
    world.bluez.denied = True
    return lambda: setattr(world.bluez, "denied", False)


@pytest.mark.parametrize(
    ("fault", "words"),
    [(no_adapter, "bluetoothctl list"), (no_power, "rfkill"), (no_permission, "usermod")],
)
async def test_a_start_that_fails_names_the_mend_and_is_tried_again(
    world: World, fault: Callable[[World], Callable[[], None]], words: str
) -> None:
    mend = fault(world)
    await world.listen()
    assert words in (next(iter(world.health.adapters.values())).trouble or "")
    await world.advance(120.0)
    assert world.listening is not None
    assert not world.listening.done()
    assert words in (next(iter(world.health.adapters.values())).trouble or "")
    mend()
    world.send()
    for _ in range(80):
        # Connecting anew is no message that anybody could wait for.
        await asyncio.sleep(0.005)
        await world.advance(1.0)
        if world.last_s() < 2.0:
            break
    assert world.last_s() < 2.0
    assert world.adapter().trouble is None


async def test_without_a_daemon_the_mend_is_named(world: World) -> None:
    await world.bluez.stop()
    await world.listen()
    assert next(iter(world.health.adapters.values())).trouble == bluez.NO_DAEMON.text
    await world.bluez.start()
    world.send()
    await world.until(lambda: world.last_s() < 1.0, 10.0)


async def test_without_a_bus_the_mend_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=nowhere")
    await world.listen()
    assert next(iter(world.health.adapters.values())).trouble == bluez.NO_BUS.text


async def test_a_daemon_that_hangs_from_the_start_is_named_and_met_when_it_is_restarted(
    world: World,
) -> None:
    world.bluez.mute = True
    world.listening = asyncio.create_task(
        Radio(clock=world.time.clock, health=world.health).run(world.heard.append)
    )
    for _ in range(30):
        await asyncio.sleep(0.01)
        await world.advance(1.0)
    assert next(iter(world.health.adapters.values())).trouble == bluez.MUTE.text
    await world.bluez.stop()
    await world.advance(2.0)
    await world.bluez.start()
    world.send()
    await world.until(lambda: world.last_s() < 1.0, 10.0)


@pytest.mark.parametrize("name", ["hci0", "", "00:11:22:33:44", "00:11:22:33:44:GG"])
def test_an_adapter_is_named_by_its_address(name: str) -> None:
    with pytest.raises(GatewayError, match="bluetoothctl list"):
        Radio([name])


async def test_a_scan_that_has_met_too_many_asks_for_a_fresh_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bluez, "MOST_SEEN", 20)
    monkeypatch.setattr(bluez, "LOOK_EVERY", 10)
    await world.listen()
    for number in range(40):
        await world.bluez.hear("hci0", f"C0:FF:EE:00:00:{number:02X}", -60, IBEACON)
        await world.advance(2.0)
    assert world.adapter().restarts == 1


async def test_a_stop_leaves_nothing_scanning(world: World) -> None:
    await world.listen()
    assert world.listening is not None
    world.listening.cancel()
    await asyncio.wait([world.listening])
    await world.settle()
    assert world.bluez.adapters["hci0"].sessions == {}
    assert not world.bluez.adapters["hci0"].discovering


def test_on_macos_the_truth_is_told() -> None:
    assert "iBeacon" in (bluez.advice("darwin") or "")
    assert bluez.advice("linux") is None
    assert bluez.advice("win32") is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BleakDBusError("org.bluez.Error.InProgress", ["busy"]), "power helps"),
        (
            BleakDBusError("org.bluez.Error.Failed", ["no\nidea"]),
            "[org.bluez.Error.Failed] no idea",
        ),
        (BleakError("adapter 'hci0' not found"), "bluetoothctl list"),
        (BleakError("passive scanning on Linux requires BlueZ >= 5.56"), "leave passive"),
        (TimeoutError(), "systemctl restart bluetooth"),
        (EOFError(), "D-Bus"),
        (FileNotFoundError(2, "No such file"), "D-Bus"),
        (RuntimeError(), "RuntimeError"),
        *(
            (BleakBluetoothNotAvailableError("words", reason), mend)
            for reason, mend in [
                (BleakBluetoothNotAvailableReason.NO_BLUETOOTH, "no such"),
                (BleakBluetoothNotAvailableReason.NO_BLE_CENTRAL_ROLE, "version 4.0"),
                (BleakBluetoothNotAvailableReason.POWERED_OFF, "rfkill"),
                (BleakBluetoothNotAvailableReason.DENIED_BY_SYSTEM, "usermod"),
                (BleakBluetoothNotAvailableReason.UNKNOWN, "words"),
            ]
        ),
    ],
)
def test_every_error_is_one_line_with_its_mend(error: Exception, words: str) -> None:
    said = bluez.trouble(error).text
    assert words in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("module", "library"), [("bluez", "bleak"), ("daemon", "dbus_fast"), ("radio", "bleak")]
)
def test_without_the_library_the_pip_line_is_named(module: str, library: str) -> None:
    ended = run_without((library,), f"import beacon_gateway.{module}")
    assert "GatewayError" in ended.stderr
    assert "pip install 'proximity-engine[gateway]'" in ended.stderr


def test_a_radio_needs_no_dbus_library_until_it_runs_on_linux() -> None:
    code = "import sys, beacon_gateway.radio; print('beacon_gateway.daemon' in sys.modules)"
    ended = run_without((), code)
    assert ended.stdout.strip() == "False"
