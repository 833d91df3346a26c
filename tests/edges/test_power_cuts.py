"""The plug is pulled while records come in: what was acknowledged is on the disk afterwards.

An ext4 of its own on a loop device stops at once by its own ioctl, without writing its journal:
what was not synced is gone. Killing a process cannot show that, since the kernel keeps its pages.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.edges.shop import (
    Senders,
    Shop,
    needs_root,
    nothing_lost,
    one_effect_each,
    own_mounts,
    run,
)
from tests.servers import find

pytestmark = pytest.mark.slow

CUTS = 30
CUTS_OF_SPOOL = 20
CARELESS = (sys.executable, "-m", "tests.edges.unsynced")
MOST_CARELESS = 40
"""Cuts within which a store that does not sync is found out; it mostly is at the first."""
SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN; its word 2 means: and do not write the log."""
NO_LOG = struct.pack("I", 2)
DISK_BYTES = 192 * 2**20


class Disk:
    """A disk of its own, mounted at ``path``, whose plug can be pulled."""

    def __init__(self, folder: Path) -> None:
        # In memory: what counts is what was synced, not how fast. All of it ends with this process.
        own_mounts()
        self._home, self.path = folder / "memory", folder / "disk"
        self._home.mkdir()
        self.path.mkdir()
        run("mount", "-t", "tmpfs", "tmpfs", self._home)
        self._image = self._home / "image"
        with self._image.open("wb") as image:
            image.truncate(DISK_BYTES)
        run(find("mkfs.ext4"), "-q", "-F", self._image)
        self.plug_in()

    def plug_in(self) -> None:
        # The loop device lets go of the image by itself when it is unmounted.
        run("mount", "-o", "loop", self._image, self.path)

    def cut(self) -> None:
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, NO_LOG)
        finally:
            os.close(folder)

    def unplug(self) -> None:
        run("umount", self.path)

    def remove(self) -> None:
        for folder in (self.path, self._home):
            subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    needs_root("pulling a disk's plug")
    plugged = None
    try:
        plugged = Disk(tmp_path)
        yield plugged
    finally:
        if plugged is not None:
            plugged.remove()


async def test_what_was_acknowledged_survives_power_cuts(tmp_path: Path, disk: Disk) -> None:
    dice = random.Random(7)
    shop = Shop(tmp_path / "shop", data=disk.path / "data")
    taken: set[tuple[str, float]] = set()
    for _ in range(CUTS):
        taken |= await lived(shop, disk, dice)
        shop.books.whole()
        nothing_lost(shop, taken)
    assert await shop.open()
    await one_effect_each(shop, {subject for subject, _ in taken})
    assert await shop.end(signal.SIGTERM) == 0
    print(f"{CUTS} power cuts, {len(taken)} acknowledged, 0 lost")  # noqa: T201
    assert len(taken) > 20 * CUTS


async def lived(shop: Shop, disk: Disk, dice: random.Random) -> set[tuple[str, float]]:
    """Start, take records, lose power at any moment; what was acknowledged until then."""
    assert await shop.open(), shop.server.told()
    senders = Senders(shop, 2000.0, name=f"{time.monotonic_ns()}-")
    try:
        while not senders.taken:  # noqa: ASYNC110 - a set has no event
            await asyncio.sleep(0.002)
        await asyncio.sleep(dice.uniform(0.0, 0.4))
        # What is answered from here on is not counted: with the power, the program would be gone.
        taken = set(senders.taken)
        disk.cut()
        await shop.end(signal.SIGKILL)
    finally:
        await senders.close()
        await shop.server.gone()
    disk.unplug()
    disk.plug_in()
    return taken


async def test_a_store_that_does_not_sync_is_found_out(tmp_path: Path, disk: Disk) -> None:
    dice = random.Random(7)
    shop = Shop(tmp_path / "shop", data=disk.path / "data", program=CARELESS)
    taken: set[tuple[str, float]] = set()
    for cuts in range(1, MOST_CARELESS + 1):
        taken |= await lived(shop, disk, dice)
        lost = taken - shop.books.fixes().keys()
        if lost:
            print(f"unsynced: {len(lost)} of {len(taken)} lost by cut {cuts}")  # noqa: T201
            return
    pytest.fail("a store that does not sync lost nothing: these cuts prove nothing")


def spool_lived(disk: Disk, boot: str, dice: random.Random, *words: str) -> int:
    """Commit to a spool until the power is cut; the last record that was promised."""
    command = [
        sys.executable, "-m", "tests.edges.spooling", disk.path / "spool.sqlite", boot, *words,
    ]  # fmt: skip
    with subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            last = int(process.stdout.readline())
            time.sleep(dice.uniform(0.0, 0.2))
            os.set_blocking(process.stdout.fileno(), False)
            # What is said from here on is not counted: with the power, the program would be gone.
            said = process.stdout.read() or b""
            disk.cut()
            last = max([last, *map(int, said.split()[: said.count(b"\n")])])
        finally:
            process.kill()
    disk.unplug()
    disk.plug_in()
    return last


def spool_kept(disk: Disk) -> list[int]:
    with closing(sqlite3.connect(disk.path / "spool.sqlite")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [n for (n,) in db.execute("SELECT n FROM records ORDER BY n")]


def test_what_a_spool_has_committed_survives_power_cuts(disk: Disk) -> None:
    dice, last = random.Random(7), 0
    for cut in range(CUTS_OF_SPOOL):
        promised = spool_lived(disk, f"boot-{cut}", dice)
        kept = spool_kept(disk)
        assert promised > last
        assert kept[:promised] == list(range(1, promised + 1)), "committed and lost"
        last = kept[-1]
    print(f"{CUTS_OF_SPOOL} power cuts, {last} sightings promised, 0 lost")  # noqa: T201


def test_a_spool_that_does_not_sync_is_found_out(disk: Disk) -> None:
    dice = random.Random(7)
    for cut in range(MOST_CARELESS):
        promised = spool_lived(disk, f"boot-{cut}", dice, "NORMAL")
        try:
            kept = spool_kept(disk)
        except sqlite3.DatabaseError:
            kept = []
        if len(kept) < promised:
            print(f"unsynced: {promised - len(kept)} of {promised} lost by cut {cut + 1}")  # noqa: T201
            return
    pytest.fail("a spool that does not sync lost nothing: these cuts prove nothing")
