"""A live Tile38 in the same run, if ``--tile38 HOST:PORT`` names one: its fences, our fixes.

Uses names of its own, ``proximity-bench``, and removes them; whatever else the server holds stays.
RESP over a raw socket, so that the client costs little.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Self

import numpy as np
import shapely

import geofences
from benchmarks.timing import Found, Row, Scale, in_words
from benchmarks.updates import TILE38_CPU_US, Movement, crossing, in_batches, jitter
from benchmarks.workloads import shops
from proximity import Fix

KEY = "proximity-bench"
PIPELINED = 100
PATIENCE_S = 30.0
PROBES = 300
ROUNDS = 3


class Tile38Error(Exception):
    """The server answered with an error, or not at all."""


class Connection:
    """One RESP connection."""

    def __init__(self, host: str, port: int) -> None:
        try:
            self.socket = socket.create_connection((host, port), PATIENCE_S)
        except OSError as error:
            raise Tile38Error(
                f"no Tile38 at {host}:{port}: {error}; start one, or name none"
            ) from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self.socket.close()

    def ask(self, *words: object) -> Any:
        self.socket.sendall(command(*words))
        return self.read()

    def pipeline(self, commands: list[bytes]) -> None:
        self.socket.sendall(b"".join(commands))
        for _ in commands:
            self.read()

    def read(self) -> Any:
        """Read one answer: text, a number, a list, None. Raises Tile38Error for an error."""
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise Tile38Error("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Tile38Error(rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._reader.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        raise Tile38Error(f"this is no RESP: {line[:40]!r}")


def command(*words: object) -> bytes:
    """Encode a command as RESP."""
    parts = [str(word).encode() for word in words]
    body = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%b" % (len(parts), body)


def moved(fix: Fix) -> bytes:
    return command("SET", KEY, fix.subject, "POINT", fix.lat, fix.lon)


def compare(scale: Scale, address: str) -> Found:
    """Throughput, CPU an update and event latency, with every update crossing and with jitter."""
    host, _, port = address.rpartition(":")
    load = shops(scale.stores)
    index = geofences.FenceIndex(load.fences)
    with Connection(host, int(port)) as server:
        facts = server.ask("SERVER")
        known = dict(zip(facts[::2], facts[1::2], strict=True))
        pid = _local(host, known.get("pid"))
        version = known.get("version") or known.get("tile38_version", "of unknown version")
        found = Found(notes=[f"Tile38 {version} at {'loopback' if pid else host}"])
        try:
            for number, polygon in enumerate(load.polygons):
                words = (
                    "SETCHAN",
                    f"{KEY}:{number}",
                    "WITHIN",
                    KEY,
                    "FENCE",
                    "DETECT",
                    "enter,exit",
                )
                server.ask(*words, "OBJECT", json.dumps(shapely.geometry.mapping(polygon)))
            for move in (
                crossing(load, scale.subjects, scale.steps),
                jitter(load, scale.subjects, scale.steps),
            ):
                found.rows += _throughput(server, index, move, pid, scale)
            found.rows += _latency(host, int(port), load.fences)
        finally:
            server.ask("PDELCHAN", f"{KEY}:*")
            server.ask("DROP", KEY)
    return found


def _throughput(
    server: Connection, index: geofences.FenceIndex, move: Movement, pid: int | None, scale: Scale
) -> list[Row]:
    """SETs, a hundred in flight, and our batches in the same rounds."""
    sets = [moved(fix) for fix in move.fixes]
    ratios, cpus, theirs, ours_cpu = [], [], [], []
    for _ in range(min(ROUNDS, scale.rounds)):
        began, used = time.perf_counter(), _cpu_s(pid)
        for first in range(0, len(sets), PIPELINED):
            server.pipeline(sets[first : first + PIPELINED])
        took = time.perf_counter() - began
        theirs.append(len(sets) / took)
        if pid is not None:
            cpus.append((_cpu_s(pid) - used) / len(sets) * 1e6)
        began, own = time.perf_counter(), time.process_time()
        in_batches(index, move.fixes, "point")
        ratios.append(took / (time.perf_counter() - began))
        ours_cpu.append((time.process_time() - own) / len(sets) * 1e6)
    rows = [
        Row(
            what=f"`Engine.on_fixes` in process, {len(index):,} fences, {move.name}",
            against=f"live Tile38, SETs pipelined by {PIPELINED}",
            unit="x",
            values=ratios,
            aim=10.0,
            note=f"Tile38 {in_words(median(theirs))}/s",
        )
    ]
    if cpus:
        rows.append(
            Row(
                what=f"CPU of an update, {len(index):,} fences, {move.name}",
                against=f"live Tile38, {median(cpus):.3g} µs an update "
                f"({TILE38_CPU_US:g} µs for 1.25.5 where it was measured)",
                unit="of it",
                values=[a / b for a, b in zip(ours_cpu, cpus, strict=True)],
                least=0.1 if move.name != "jitter" else None,
                aim=0.05 if move.name != "jitter" else None,
                fewer=True,
            )
        )
    return rows


def _latency(host: str, port: int, fences: list[geofences.Fence]) -> list[Row]:
    """From SET to the message of the channel, one at a time."""
    taken = []
    with Connection(host, port) as listener, Connection(host, port) as sender:
        listener.ask("PSUBSCRIBE", f"{KEY}:*")
        for lon, lat in _middles(fences):
            sent = time.perf_counter()
            name = f"probe-{len(taken)}"
            sender.ask("SET", KEY, name, "POINT", lat, lon)
            while f'"{name}"' not in str(listener.read()[-1]):
                pass
            taken.append((time.perf_counter() - sent) * 1e3)
    cuts = quantiles(taken, n=100, method="inclusive")
    return [
        Row(
            what=f"Tile38: SET to its event, {name}",
            against="",
            unit="ms",
            values=[value],
            fewer=True,
        )
        for name, value in (("p50", cuts[49]), ("p99", cuts[98]))
    ]


def _middles(fences: list[geofences.Fence]) -> Iterator[tuple[float, float]]:
    random = np.random.default_rng(1)
    for number in random.integers(0, len(fences), PROBES).tolist():
        yield fences[number].centre


def _local(host: str, pid: Any) -> int | None:
    """Give the server's process where it runs on this machine and /proc tells of it."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    name = Path(f"/proc/{pid}/comm")
    if loopback and name.exists() and name.read_text().startswith("tile38"):
        return int(pid)
    return None


def _cpu_s(pid: int | None) -> float:
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
