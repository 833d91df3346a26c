"""Each way a radio stack goes silent, with the real scanner, in a time that passes at once.

The faults are the fake daemon's; that a true controller is cured by the same moves is nothing that
a test without a radio can show.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from beacon_gateway import notify
from beacon_gateway.radio import RadioStalledError
from beacon_gateway.watchdog import HEALED_S, QUIET_S, REST_S, RETRY_S
from tests.bluez import Controller
from tests.bluez.world import ONE, PASSER_BY, TAG, TWO, World

RECOVERED_WITHIN_S = 150.0
DAEMON_BACK_WITHIN_S = 10.0


async def discovery_dropped(world: World) -> None:
    world.bluez.drop_discovery("hci0")


async def discovery_deaf(world: World) -> None:
    world.bluez.adapters["hci0"].deaf = "start"


async def controller_deaf_until_powered_anew(world: World) -> None:
    world.bluez.adapters["hci0"].deaf = "power"


async def controller_deaf_until_reset(world: World) -> None:
    world.bluez.adapters["hci0"].deaf = "reset"


async def power_taken(world: World) -> None:
    world.bluez.power("hci0", on=False)


async def unplugged_and_back_under_another_name(world: World) -> None:
    controller = world.bluez.remove("hci0")
    await world.advance(20.0)
    world.bluez.add("hci3", controller)
    world.silence()
    world.send(name="hci3")


async def only_empty_frames(world: World) -> None:
    world.bluez.adapters["hci0"].empty = True


async def caught_in_progress(world: World) -> None:
    world.bluez.drop_discovery("hci0")
    world.bluez.adapters["hci0"].stuck = True


async def daemon_restarted(world: World) -> None:
    await world.bluez.stop()
    await world.advance(1.0)
    await world.bluez.start()


async def daemon_away_for_a_minute(world: World) -> None:
    await world.bluez.stop()
    await world.advance(60.0)
    await world.bluez.start()


# The fault, how many times the scan is started for it, and within how many seconds it is over.
STALLS: list[tuple[Callable[[World], Awaitable[None]], int, float]] = [
    (discovery_dropped, 1, 10.0),
    (discovery_deaf, 1, 60.0),
    (only_empty_frames, 1, 60.0),
    (controller_deaf_until_powered_anew, 3, 90.0),
    (controller_deaf_until_reset, 4, 120.0),
    (power_taken, 1, 10.0),
    (unplugged_and_back_under_another_name, 1, 25.0),
    (caught_in_progress, 1, 30.0),
    (daemon_restarted, 1, 10.0),
    (daemon_away_for_a_minute, 1, 70.0),
]


@pytest.mark.parametrize(("fault", "starts", "within_s"), STALLS)
async def test_a_stall_ends_within_its_time_and_stays_ended(
    world: World, fault: Callable[[World], Awaitable[None]], starts: int, within_s: float
) -> None:
    assert within_s <= RECOVERED_WITHIN_S
    await world.listen()
    world.send(every_s=1.0)
    await world.advance(10.0)
    assert world.adapter().state == "hearing"
    began, restarts = world.time.now, world.adapter().restarts
    await fault(world)
    await world.until(lambda: world.adapter().restarts > restarts, within_s)
    await world.until(lambda: world.last_s() < 2.0, within_s)
    assert world.time.now - began <= within_s
    assert world.adapter().restarts - restarts == starts
    assert world.resets == (["hci0"] if fault is controller_deaf_until_reset else [])
    started = world.starts()
    await world.advance(400.0)
    assert world.last_s() < 2.0
    assert world.starts() == started
    assert world.adapter().trouble is None


async def test_a_restart_of_the_daemon_is_noticed_at_once(world: World) -> None:
    await world.listen()
    world.send()
    await world.advance(10.0)
    await world.bluez.stop()
    await world.settle()
    await world.advance(0.5)
    assert world.adapter().state == "waiting"
    await world.bluez.start()
    assert await world.until(lambda: world.last_s() < 0.6, DAEMON_BACK_WITHIN_S) <= 2.0


async def test_a_daemon_that_crashes_all_the_time_makes_no_rebuild_loop(world: World) -> None:
    await world.listen()
    world.send()
    for _ in range(30):
        await world.bluez.stop()
        await world.advance(1.0)
        await world.bluez.start()
        await world.advance(1.0)
    assert world.starts() <= 1 + 60 / RETRY_S
    await world.until(lambda: world.last_s() < 1.0, DAEMON_BACK_WITHIN_S)


async def test_a_daemon_that_answers_nothing_is_told_and_left_and_the_heart_beats_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    beats: list[str] = []
    monkeypatch.setattr(notify, "notify", beats.append)
    beating = asyncio.create_task(notify.heartbeat(world.time.clock))
    await world.listen()
    world.send()
    await world.advance(10.0)
    began = world.time.now
    world.bluez.mute = True
    assert world.listening is not None
    await world.until(world.listening.done, 250.0)
    with pytest.raises(RadioStalledError, match="leaving"):
        world.listening.result()
    assert "does not answer" in (world.adapter().trouble or "")
    assert beats == ["WATCHDOG=1"] * len(beats)
    assert len(beats) >= (world.time.now - began) / 15.0
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_an_empty_store_at_night_costs_few_restarts_and_no_exit(world: World) -> None:
    await world.listen()
    world.send()
    await world.advance(60.0)
    world.silence()
    before = world.starts()
    await world.advance(12 * 3600.0)
    assert world.listening is not None
    assert not world.listening.done()
    await world.until(lambda: world.adapter().state == "resting", 200.0)
    assert "nobody is there" in (world.adapter().trouble or "")
    # 16 climbs of four rungs.
    assert world.starts() - before <= 64
    world.send(PASSER_BY)
    # Not at once where he comes in the middle of a climb.
    await world.until(lambda: world.adapter().state == "hearing", 30.0)
    assert world.adapter().trouble is None


async def test_a_silent_canary_proves_that_the_store_is_not_empty(world: World) -> None:
    await world.listen(canary=lambda heard: heard.address == TAG)
    world.send()
    await world.advance(60.0)
    world.silence()
    assert world.listening is not None
    await world.until(world.listening.done, RECOVERED_WITHIN_S)
    with pytest.raises(RadioStalledError):
        world.listening.result()


async def test_a_canary_that_was_never_heard_proves_nothing(world: World) -> None:
    await world.listen(canary=lambda heard: heard.address == "not here")
    world.send()
    await world.advance(60.0)
    world.silence()
    await world.advance(RECOVERED_WITHIN_S + REST_S)
    assert world.listening is not None
    assert not world.listening.done()


async def test_nobody_leaves_while_another_adapter_hears(world: World) -> None:
    world.bluez.add("hci1", Controller(TWO))
    await world.listen(ONE, TWO, canary=lambda heard: heard.address == TAG)
    world.send(TAG, "hci0")
    world.send(TAG, "hci1")
    await world.advance(10.0)
    world.bluez.adapters["hci0"].deaf = "ever"
    await world.advance(400.0)
    assert world.listening is not None
    assert not world.listening.done()
    assert world.adapter(TWO).state == "hearing"
    assert world.adapter(TWO).restarts == 0
    assert world.adapter(ONE).state == "resting"


async def test_a_scan_that_is_dead_from_the_start_recovers(world: World) -> None:
    world.bluez.adapters["hci0"].deaf = "power"
    world.send()
    await world.listen()
    await world.until(lambda: world.last_s() < 1.0, RECOVERED_WITHIN_S)


async def test_a_remedy_that_does_not_last_makes_the_next_one_stronger(world: World) -> None:
    await world.listen()
    world.send(every_s=1.0)
    powered = []
    for restarts in (1, 2, 3):
        await world.advance(20.0)
        world.bluez.calls.clear()
        world.bluez.adapters["hci0"].deaf = "start"
        await world.until(lambda n=restarts: world.adapter().restarts == n, 60.0)
        await world.until(lambda: world.last_s() < 2.0, 10.0)
        powered.append([body[2].value for member, _, body in world.bluez.calls if member == "Set"])
    assert powered == [[], [], [False, True]]


async def test_a_cure_begins_the_ladder_at_its_foot_again(world: World) -> None:
    await world.listen()
    world.send(every_s=1.0)
    for restarts in (1, 2, 3):
        await world.advance(HEALED_S + QUIET_S)
        world.bluez.adapters["hci0"].deaf = "start"
        await world.until(lambda n=restarts: world.adapter().restarts == n, 60.0)
    assert not any(member == "Set" for member, _, _ in world.bluez.calls)


async def test_a_bus_that_dies_is_reached_again(world: World) -> None:
    # What the bus library wrote into the dead socket it tells when it is collected, perhaps within
    # another test.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    await world.listen()
    world.send()
    await world.advance(5.0)
    world.server.stop(kill=True)
    await world.bluez.stop()
    await world.advance(2.0)
    assert world.adapter().state == "waiting"
    world.server.start()
    await world.open()
    for _ in range(20):
        # Connecting anew is no message that anybody could wait for.
        await asyncio.sleep(0.02)
        await world.advance(1.0)
    assert world.last_s() < 1.0
