"""What holds a connection, and what lets go of it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proximity.clock import Clock
from proximity.ingest.clock import Present
from proximity.ingest.ingest import Ingest
from proximity.model import ProximityError
from proximity.server import serve
from proximity.server.app import failure
from proximity.server.settings import (
    Files,
    Settings,
    check_host,
    check_site,
    read_files,
)
from proximity.store import Store, StoreBroken, StoreFailed, open_state
from tests.proximity.server.rig import fix, running


async def test_headers_that_dribble_are_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "HEADERS_S", 0.2)
    async with running(tmp_path) as rig:
        where = rig.url.removeprefix("http://").split(":")
        for sent in (
            b"",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /h",
        ):
            reader, writer = await asyncio.open_connection(*where)
            writer.write(sent)
            async with asyncio.timeout(30):
                received = await reader.read()
            assert received.count(b"200 OK") == sent.count(b"\r\n\r\n")
            writer.close()


async def test_connections_beyond_the_cap_are_told_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_most_connections", lambda: 1)
    async with running(tmp_path) as rig:
        where = rig.url.removeprefix("http://").split(":")
        _held, writer = await asyncio.open_connection(*where)
        await asyncio.sleep(0.05)
        reader, second = await asyncio.open_connection(*where)
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()
        second.close()
        assert "proximity_connections_refused_total 1.0" in rig.parts.metrics.text().decode()


def kinds_of(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for below in kind.__subclasses__():
        yield from kinds_of(below)


@pytest.mark.parametrize("kind", [*kinds_of(StoreFailed)])
def test_whatever_the_store_failed_with_is_answered(kind: type[Exception]) -> None:
    told = failure(kind("engine.db: as it was"))
    assert told.status in (503, 507)
    assert "Retry-After" in told.response().headers


async def test_a_lost_disk_stops_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proximity.server import rounds

    monkeypatch.setattr(rounds, "WATCH_S", 0.01)
    async with running(tmp_path) as rig:
        stop = asyncio.Event()
        rig.parts.store.failure = StoreBroken("the disk failed")
        async with asyncio.timeout(30):
            await rounds.watch_always(rig.parts, stop)
        assert stop.is_set()
        assert (await rig.ask("GET", "/readyz", role=None)).status == 503
        rig.parts.store.failure = None


async def test_a_lost_engine_stops_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> None:
        raise KeyError("canary")

    monkeypatch.setattr(Present, "watch", broken)
    settings = Settings(data=tmp_path, port=0)
    store = Store.open(":memory:")
    async with asyncio.timeout(60):
        assert await serve._run(settings, read_files(settings), store, None) == 1
    store.close()
    told = "".join(capsys.readouterr())
    assert told.count("the engine stopped by a fault of the program: stopping") == 1


async def test_the_watch_survives_its_own_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proximity.server import rounds

    monkeypatch.setattr(rounds, "WATCH_S", 0.01)
    async with running(tmp_path) as rig:
        tried: list[None] = []

        async def arefresh() -> None:
            tried.append(None)
            if len(tried) == 1:
                raise KeyError("canary")
            rig.parts.closing.set()

        monkeypatch.setattr(rig.parts.tokens, "arefresh", arefresh)
        stop = asyncio.Event()
        async with asyncio.timeout(30):
            await rounds.watch_always(rig.parts, stop)
        assert len(tried) >= 2
        assert not stop.is_set()


async def test_nothing_is_collected_while_it_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collecting: list[bool] = []
    start = Ingest.start

    async def watched(self: Ingest) -> None:
        collecting.append(gc.isenabled())
        await start(self)

    monkeypatch.setattr(Ingest, "start", watched)
    async with running(tmp_path):
        assert collecting == [False]
        assert gc.isenabled()


async def test_a_site_file_may_name_what_was_drawn_over_http(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        circle = {"type": "Point", "coordinates": [2.36, 48.86]}
        drawn = {"type": "Feature", "properties": {"radius_m": 50}, "geometry": circle}
        assert (await rig.ask("PUT", "/v1/fences/shop", body=drawn)).status == 201
        assert (await rig.ask("PUT", "/v1/places/hall", body={})).status == 201
        for place in ("shop", "hall"):
            check_site(_stands_in(tmp_path, place), rig.parts.store)
        with pytest.raises(ProximityError, match="place 'shpo' is neither a fence"):
            check_site(_stands_in(tmp_path, "shpo"), rig.parts.store)


def _stands_in(folder: Path, place: str) -> Files:
    site = folder / "site.toml"
    site.write_text(f'[[gateway]]\nid = "gw"\nplace = "{place}"\n')
    return read_files(Settings(data=folder, site=site))


async def test_a_clock_set_back_is_said_to_who_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, consent="assumed") as rig:
        assert (await rig.ask("POST", "/v1/fixes", body=fix())).status == 202
        now = time.time()
        with monkeypatch.context() as patched:
            patched.setattr("time.time", lambda: now - 600.0)
            refused = await rig.ask("POST", "/v1/fixes", body=fix())
            assert refused.status == 503
            assert "clock was set back by" in refused.json["detail"]
            assert (await rig.ask("GET", "/readyz", role=None)).status == 503
        assert (await rig.ask("POST", "/v1/fixes", body=fix())).status == 202


async def test_a_failing_round_does_not_end_the_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proximity.dispatch import rounds
    from proximity.server.rounds import shift_of

    monkeypatch.setattr(rounds, "AGAIN_S", 0.01)
    tried = 0

    async with running(tmp_path) as rig:

        async def adecide_due(_now: float) -> list[object]:
            nonlocal tried
            tried += 1
            if tried == 1:
                raise KeyError("once")
            rig.parts.closing.set()
            return []

        class Failing:
            pass

        dispatcher = Failing()
        dispatcher.adecide_due = adecide_due  # type: ignore[attr-defined]
        async with asyncio.timeout(30):
            shift = shift_of(rig.parts)
            await rounds.decide_always(shift, dispatcher, asyncio.Event(), asyncio.Event())  # type: ignore[arg-type]
    assert tried == 2


def test_the_clock_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    times = iter([100.0, 90.0, 101.0])
    monkeypatch.setattr("time.time", lambda: next(times))
    assert [clock(), clock(), clock()] == [100.0, 100.0, 101.0]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_loopback_needs_no_admin(host: str) -> None:
    store = Store.open(":memory:")
    check_host(host, store)
    store.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "no such host"])
def test_any_other_host_does(host: str) -> None:
    store = Store.open(":memory:")
    with pytest.raises(ProximityError, match="--host"):
        check_host(host, store)
    store.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProximityError, match="--data"):
        open_state(tmp_path / "file" / "data", create=True)
