"""How much of a core a radio costs: the real scanner at a given rate of advertisements.

    python -m benchmarks.radio [--per-s 2000] [--seconds 10]

The daemon plays in one process, the listener in another; only the listener's CPU is counted. It is
split by where it goes: bleak and the message bus, what this project does up to a decoded beacon.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from beacon_gateway.adverts import decode_records
from beacon_gateway.bluez import Scan
from beacon_gateway.health import Health
from beacon_gateway.radio import Radio
from beacon_gateway.scanner import Heard
from tests.bluez import Bluez, Controller
from tests.bluez.world import IBEACON, ONE
from tests.servers import DbusDaemon

# As many devices as a lively store has around it; one in twenty is a tag.
DEVICES = 400
PHONE = {0x004C: bytes.fromhex("1005031c0b5f6b"), 0x0075: bytes(20)}
# Advertisements in a burst, as a controller's reports come.
BURST = 10


async def play(per_s: float, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="bus-") as folder:
        bus = DbusDaemon(Path(folder))
        bus.start()
        daemon = Bluez(bus.address, time.monotonic)
        daemon.add("hci0", Controller(ONE))
        await daemon.start()
        listener = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.radio", "--listen", str(int(per_s * seconds)),
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address},
            stdout=subprocess.PIPE,
        )  # fmt: skip
        while not daemon.adapters["hci0"].sessions:  # noqa: ASYNC110 (another process begins it)
            await asyncio.sleep(0.05)
        start, sent = time.monotonic(), 0
        while sent < per_s * seconds:
            for _ in range(BURST):
                number = sent * 7919 % DEVICES
                payload = IBEACON if number % 20 == 0 else PHONE
                address = f"7A:00:00:00:{number >> 8:02X}:{number & 255:02X}"
                await daemon.hear("hci0", address, -50 - sent % 40, payload)
                sent += 1
            await daemon.flush()
            await asyncio.sleep(max(0.0, start + sent / per_s - time.monotonic()))
        took = time.monotonic() - start
        said, _ = await listener.communicate()
        print(said.decode().strip())
        print(f"sent {sent} in {took:.1f} s: {sent / took:.0f} a second")
        await daemon.stop()
        bus.stop()


async def listen(wanted: int) -> None:
    health, count, ours = Health(), 0, 0.0
    enough = asyncio.Event()
    clock = time.perf_counter

    def take(heard: Heard) -> None:
        nonlocal count
        count += 1
        health.heard(heard.address, heard.mono_s)
        for beacon in decode_records(heard.manufacturer, heard.service):
            health.kept(beacon.identity, heard.rssi_dbm, heard.mono_s, heard.adapter)
        if count >= wanted:
            enough.set()

    inner = Scan._callback  # noqa: SLF001 (what is timed lies inside)

    def timed(self: Scan, device: object, said: object) -> None:
        nonlocal ours
        start = clock()
        inner(self, device, said)  # type: ignore[arg-type]
        ours += clock() - start

    Scan._callback = timed  # type: ignore[method-assign,assignment]  # noqa: SLF001
    radio = asyncio.create_task(Radio(health=health).run(take))
    while not count:  # noqa: ASYNC110 (what it waits for must cost nothing)
        await asyncio.sleep(0.01)
    begun, start = time.process_time(), time.monotonic()
    await asyncio.wait([asyncio.create_task(enough.wait())], timeout=60)
    cpu, took = time.process_time() - begun, time.monotonic() - start
    print(
        f"heard {count} in {took:.1f} s; CPU {cpu / count * 1e6:.0f} us an advertisement, "
        f"{cpu / took:.1%} of a core; of it scan, filter, decode and count "
        f"{ours / count * 1e6:.1f} us ({ours / took:.1%})"
    )
    radio.cancel()
    await asyncio.gather(radio, return_exceptions=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--per-s", type=float, default=2000.0)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--listen", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.listen:
        asyncio.run(listen(given.listen))
    else:
        asyncio.run(play(given.per_s, given.seconds))


if __name__ == "__main__":
    main()
