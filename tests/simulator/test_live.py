"""A trace sent to a server: what is posted, when it is dated, and what happens when it is refused."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from beacon_gateway.model import Beacon
from proximity.model import Event, Fix, ProximityError, Sighting, parse_time
from simulator import live
from simulator.__main__ import main

NOW = 2_000_000_000.0
BEACON = Beacon(format="ibeacon", uuid="f7826da6-4fa2-4e98-8024-bc5b71e0893e", major=1, minor=7)
RECORDS = [
    Fix(subject="s", at=1000.0, lon=2.0, lat=48.0, received_at=1000.5, accuracy_m=5.0),
    Sighting(subject="s", beacon=BEACON, at=1000.5, rssi_dbm=-60.0),
    Event(subject="s", at=1001.0, name="opened"),
    Fix(subject="s", at=1001.0, lon=2.0, lat=48.1),
]

Answer = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[tuple[str, list[tuple[str, list[dict]]]]]:
    """Run a real HTTP server that notes what it is sent and answers as told."""
    seen: list[tuple[str, list[dict]]] = []

    async def health(_request: web.Request) -> web.Response:
        return web.Response(headers={"Date": formatdate(NOW, usegmt=True)})

    async def post(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer t0ken"
        lines = (await request.read()).splitlines()
        response = await answer(request)
        if response.status < 300:
            seen.append((request.path, [msgspec.json.decode(line) for line in lines]))
        return response

    app = web.Application()
    app.router.add_get("/healthz", health)
    app.router.add_post("/v1/{kind}", post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/", seen
    finally:
        await runner.cleanup()


async def accept(request: web.Request) -> web.Response:
    count = len((await request.read()).splitlines())
    return web.json_response(
        {"accepted": count, "duplicate": 0, "unconsented": 0, "rejected": []}, status=202
    )


async def test_records_go_where_they_belong_dated_from_the_server_s_now() -> None:
    async with server(accept) as (url, seen):
        counts = await live.send(RECORDS, url, "t0ken", 1e6)
    assert counts == {"accepted": 4, "duplicate": 0, "unconsented": 0, "rejected": 0}
    order = ["/v1/fixes", "/v1/sightings", "/v1/events", "/v1/fixes"]
    assert [path for path, _ in seen] == order
    (first,), (sighting,), _, (last,) = (lines for _, lines in seen)
    assert first["type"] == "fix"
    assert "received_at" not in first
    # The first arrived at 1000.5 of its own time: that is now, which the header tells in whole
    # seconds and is taken as their middle; it was made half a second before.
    assert parse_time(first["at"]) == NOW
    assert parse_time(last["at"]) == NOW + 1.0
    assert sighting["beacon"]["uuid"] == BEACON.uuid


async def test_what_arrives_together_goes_together_in_bounded_bodies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "MOST", 3)
    fixes = [Fix(subject=f"s{n}", at=1000.0, lon=2.0, lat=48.0) for n in range(8)]
    async with server(accept) as (url, seen):
        counts = await live.send(fixes, url, "t0ken", 10.0)
    assert [len(lines) for _, lines in seen] == [3, 3, 2]
    assert counts["accepted"] == 8


async def test_a_server_that_is_busy_is_asked_again() -> None:
    busy = [503, 503]

    async def answer(request: web.Request) -> web.Response:
        if busy:
            return web.Response(status=busy.pop(), headers={"Retry-After": "0"})
        return await accept(request)

    async with server(answer) as (url, seen):
        counts = await live.send(RECORDS[:1], url, "t0ken")
    assert counts["accepted"] == 1
    assert len(seen) == 1


async def test_what_the_server_rejects_is_counted() -> None:
    async def answer(_request: web.Request) -> web.Response:
        rejected = [{"line": 1, "reason": "future"}]
        return web.json_response({"accepted": 0, "rejected": rejected}, status=202)

    async with server(answer) as (url, _seen):
        counts = await live.send(RECORDS[:1], url, "t0ken")
    assert counts["rejected"] == 1


async def test_a_refusal_ends_it_with_the_server_s_words() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=403, text="The role analyst may not do this.")

    async with server(answer) as (url, _seen):
        with pytest.raises(ProximityError, match=r"/v1/fixes: answers 403: The role analyst"):
            await live.send(RECORDS[:1], url, "t0ken")


async def test_a_server_that_stays_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE_S", 0.2)

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "9"}, text="busy")

    async with server(answer) as (url, _seen):
        with pytest.raises(ProximityError, match="answers 503: busy: try again"):
            await live.send(RECORDS[:1], url, "t0ken")


async def test_no_server_is_said() -> None:
    with pytest.raises(ProximityError, match="is the server running"):
        await live.send(RECORDS, nowhere(), "t0ken")


def nowhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_the_command_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROXIMITY_TOKEN", "t0ken")
    trace = tmp_path / "t.jsonl"
    trace.write_text('{"type":"fix","subject":"s","at":0,"lon":30.0,"lat":15.0}\n')
    assert main(["replay", str(trace), "--server", nowhere(), "--speed", "10"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is the server running" in line
