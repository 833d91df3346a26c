"""Sends records as fast as a server takes them, or at a pace, from a process of its own.

``python -m benchmarks.load`` reads a Job as JSON and prints an Outcome. Requests are made before
the clock starts and go out over keep-alive connections, one at a time on each; raw sockets, so that
the sender costs a fraction of what it measures.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from itertools import count, islice

import msgspec
import numpy as np

from benchmarks.workloads import METRES_PER_DEGREE, SEED, Floats, stores

# Nobody is waited for longer than this.
PATIENCE_S = 15.0
# So many people move about; each sends a fix every lap, so many seconds of theirs.
SUBJECTS, LAP_S = 50_000, 10.0
# They stand within so many metres, and every so many laps walk out of a store or into it. Stores
# overlap, so that some 7 fixes of 100 change where somebody is, as in measured walks (5.5 to 9.2).
JITTER_M, STAY_LAPS = 5.0, 28
# Who is out stands so many radii from the middle.
OUTSIDE = 1.4
# Fixes made in one go.
AT_ONCE = 10_000
LENGTH = re.compile(rb"Content-Length: (\d+)")
PROBE = re.compile(rb'"kind":"enter","subject":"[a-z0-9]+-probe-(\d+)"')


class Job(msgspec.Struct, kw_only=True):
    """What to send where. ``name`` sets the subjects of this run apart from those of others.

    ``first`` numbers the first fix and ``since`` is the time (Unix seconds) of fix 0: a job that
    goes on where another ended sends later fixes of the same people. ``pace`` is requests a second,
    None for as many as possible; then every ``probe_every``th request is a newcomer to a fence,
    whose ``enter`` is awaited on the stream.
    """

    port: int
    path: str
    token: str = ""
    name: str
    size: int = 1
    seconds: float
    connections: int = 32
    most: int
    first: int = 0
    since: float
    pace: float | None = None
    probe_every: int = 0
    stores: int = 10_000


class Outcome(msgspec.Struct, kw_only=True):
    """``taken`` counts records of 2xx answers, ``latencies`` are ms from POST to the stream.

    ``busy`` is the share of the time that the sender itself was at work: near 1 it is the limit.
    """

    taken: int
    refused: dict[str, int]
    seconds: float
    busy: float
    answer_ms: list[float]
    latencies: list[float] = []
    unseen: int = 0


class Sent(msgspec.Struct):
    data: bytes
    probe: int = -1


def requests(job: Job) -> Iterator[Sent]:
    """Make the requests: bodies are JSON arrays of fixes, or one fix."""
    head = (
        f"POST {job.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {job.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    )
    rooms = stores(job.stores).circles
    assert rooms is not None
    walked = _walk(job, rooms)
    for request in range(job.most // job.size):
        probe = request if job.probe_every and request % job.probe_every == 0 else -1
        if probe >= 0:
            lon, lat = rooms[probe % len(rooms), :2].tolist()
            bodies = [_fix(f"{job.name}-probe-{probe}", time.time(), lon, lat)]
        else:
            bodies = list(islice(walked, job.size))
        body = bodies[0] if job.size == 1 else f"[{','.join(bodies)}]"
        yield Sent(f"{head}{len(body)}\r\n\r\n{body}".encode(), probe)


def _walk(job: Job, rooms: Floats) -> Iterator[str]:
    """Make fixes, without end, of people who stay about the edge of a store, in or out of it."""
    random = np.random.default_rng((SEED, job.first))
    for start in count(job.first, AT_ONCE):
        laps, who = np.divmod(np.arange(start, start + AT_ONCE), SUBJECTS)
        lons, lats, radii = rooms[who % len(rooms)].T
        out = (who + laps) // STAY_LAPS % 2 == 1
        aside = random.uniform(-JITTER_M, JITTER_M, (2, AT_ONCE))
        lats = lats + (aside[0] + np.where(out, OUTSIDE * radii, 0.0)) / METRES_PER_DEGREE
        lons = lons + aside[1] / (METRES_PER_DEGREE * np.cos(np.radians(lats)))
        ats = job.since + laps * LAP_S
        for row in zip(who.tolist(), ats.tolist(), lons.tolist(), lats.tolist(), strict=True):
            yield _fix(f"{job.name}-{row[0]}", *row[1:])


def _fix(subject: str, at: float, lon: float, lat: float) -> str:
    return (
        f'{{"subject":"{subject}","at":{at:.3f},"lon":{lon:.6f},"lat":{lat:.6f},"accuracy_m":5.0}}'
    )


class Wire:
    """One keep-alive connection and what it waits for."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at = 0.0

    def send(self, request: Sent) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(request.data)

    def answer(self) -> str | None:
        """Give the status once the whole answer is here."""
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("the server closed a connection under load")
        data = self.received + data
        ends = data.find(b"\r\n\r\n")
        length = LENGTH.search(data, 0, ends) if ends > 0 else None
        if ends < 0 or (length and len(data) < ends + 4 + int(length[1])):
            self.received = data
            return None
        self.received = b""
        return data[9:12].decode()


def run(job: Job) -> Outcome:
    waiting = deque(requests(job))
    with selectors.DefaultSelector() as selector:
        stream = _follow(job) if job.probe_every else None
        wires = [Wire(job.port) for _ in range(job.connections)]
        for wire in wires:
            selector.register(wire.socket, selectors.EVENT_READ, wire)
        if stream is not None:
            selector.register(stream, selectors.EVENT_READ, None)
        try:
            return _exchange(job, waiting, wires, selector, stream)
        finally:
            for wire in wires:
                wire.socket.close()
            if stream is not None:
                stream.close()


def _exchange(
    job: Job,
    waiting: deque[Sent],
    wires: list[Wire],
    selector: selectors.BaseSelector,
    stream: socket.socket | None,
) -> Outcome:
    statuses: Counter[str] = Counter()
    answered: list[float] = []
    latencies: list[float] = []
    probes: dict[int, float] = {}
    idle = deque(wires)
    tail = b""
    clock = time.perf_counter
    began, worked = clock(), time.process_time()
    due, ends = began, began + job.seconds
    last = began
    while True:
        now = clock()
        while idle and waiting and now < ends and due <= now:
            wire, request = idle.popleft(), waiting.popleft()
            wire.send(request)
            if request.probe >= 0:
                probes[request.probe] = wire.sent_at
            if job.pace:
                due += 1.0 / job.pace
        done = now >= ends or not waiting
        if done and len(idle) == len(wires) and (not probes or now > last + 2.0):
            break
        if now > ends + PATIENCE_S:
            break
        pause = 0.2 if done or not job.pace or not idle else max(due - now, 0.0)
        for key, _ in selector.select(pause):
            if key.data is None:
                assert stream is not None
                tail += stream.recv(262_144)
                came = clock()
                end = 0
                for match in PROBE.finditer(tail):
                    end = match.end()
                    sent = probes.pop(int(match[1]), None)
                    if sent is not None:
                        latencies.append((came - sent) * 1e3)
                tail = tail[max(end, len(tail) - 200) :]
                continue
            status = key.data.answer()
            if status is not None:
                last = clock()
                statuses[status] += 1
                answered.append((last - key.data.sent_at) * 1e3)
                idle.append(key.data)
    worked = time.process_time() - worked
    taken = sum(count for status, count in statuses.items() if status.startswith("2"))
    return Outcome(
        taken=taken * job.size,
        refused={status: n for status, n in statuses.items() if not status.startswith("2")},
        seconds=last - began,
        busy=worked / (clock() - began),
        answer_ms=answered[:: max(len(answered) // 2000, 1)],
        latencies=latencies,
        unseen=len(probes),
    )


def _follow(job: Job) -> socket.socket:
    """Open the live stream and read its greeting, so that nothing is missed."""
    stream = socket.create_connection(("127.0.0.1", job.port), PATIENCE_S)
    lines = ("GET /v1/stream HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {job.token}")
    stream.sendall("\r\n".join([*lines, "", ""]).encode())
    greeting = b""
    while b"retry: " not in greeting:
        data = stream.recv(4096)
        if not data or not greeting.startswith(b"HTTP/1.1 200"[: len(greeting)]):
            raise ConnectionError(f"no live stream: {greeting[:200]!r}")
        greeting += data
    return stream


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Job)))
    )
