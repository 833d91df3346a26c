from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from beacon_gateway import uplink as uplinks
from beacon_gateway.credentials import Credentials
from beacon_gateway.https import HttpsLink
from beacon_gateway.link import Away
from beacon_gateway.scanner import Clock
from beacon_gateway.spool import Spool
from beacon_gateway.spoolfile import Limits
from beacon_gateway.uplink import BATCH, CREDIT, LEAST, Uplink
from tests.beacon_gateway.listener import Listener, problem
from tests.beacon_gateway.test_spool import add


class Rig:
    """A spool, an uplink and the server it talks to, over a real connection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listener = Listener()

    async def open(self, boot: str = "boot") -> None:
        url = await self.listener.start()
        (self.folder / "token").write_text("px_token\n")
        self.spool = await Spool.open(
            self.folder / "spool.sqlite", Limits(50_000_000, 1e6),
            gateway="gw-1", boot=boot, clock=Clock(),
        )  # fmt: skip
        credentials = Credentials(self.folder / "token", self.folder)
        self.link = HttpsLink(url, credentials, "gw-1", time.time)
        self.uplink = Uplink(self.spool, self.link, draw=lambda: 0.02)
        self.running = asyncio.create_task(self.uplink.run())

    async def close(self) -> None:
        self.uplink.stop()
        await self.running
        await self.spool.close()
        await self.link.close()
        await self.listener.stop()

    async def wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not done():
            assert time.monotonic() < deadline, "it did not come to this"
            assert not self.running.done(), self.running.exception()
            await asyncio.sleep(0.01)

    async def stored(self, count: int) -> None:
        """Put records on disk as if nobody had told them for a long time, then start to tell."""
        self.uplink.stop()
        await self.running
        add(self.spool, count)
        await self.spool.commit()
        self.spool.live(0)
        self.uplink = Uplink(self.spool, self.link, draw=lambda: 0.02)
        self.running = asyncio.create_task(self.uplink.run())


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(uplinks, "FIRST_S", 0.3)
    made = Rig(tmp_path)
    await made.open()
    yield made
    await made.close()


async def test_what_is_heard_is_told_at_once_and_once(rig: Rig) -> None:
    for turn in range(1, 21):
        add(rig.spool, 5)
        await rig.wait(lambda turn=turn: len(rig.listener.taken) == 5 * turn)  # type: ignore[misc]
    assert not rig.listener.doubled
    assert rig.spool.waiting == 0
    assert rig.uplink.told == 100
    assert rig.spool._file.last_n == 0, "and no flash was worn"
    record = rig.listener.taken["boot:0"]
    assert record["type"] == "sighting"
    assert (record["gateway"], record["boot"], record["seq"]) == ("gw-1", "boot", 0)
    assert record.keys() == {
        "type", "beacon", "at", "rssi_dbm", "gateway", "boot", "seq", "mono_s", "id",
    }  # fmt: skip


async def test_a_server_that_was_away_loses_and_doubles_nothing(rig: Rig) -> None:
    port = rig.listener.port
    await rig.listener.stop()
    for _ in range(30):
        add(rig.spool, 50)
        await asyncio.sleep(0.05)
    await rig.wait(lambda: rig.uplink.trouble is not None)
    await rig.listener.start(port)
    add(rig.spool, 1)
    await rig.wait(lambda: len(rig.listener.taken) == 1501)
    assert not rig.listener.doubled
    assert rig.uplink.trouble is None
    await rig.wait(lambda: rig.spool.waiting == 0)
    assert rig.spool.dropped == {}


async def test_after_an_outage_the_newest_go_first(rig: Rig) -> None:
    rig.listener.answer = lambda *_: problem(503)
    await rig.stored(5 * BATCH)
    add(rig.spool, 1)
    await rig.wait(lambda: rig.uplink.trouble is not None)
    rig.listener.answer = lambda *_: None
    add(rig.spool, 1)
    await rig.wait(lambda: len(rig.listener.taken) == 5 * BATCH + 2)
    assert f"boot:{5 * BATCH + 1}" in rig.listener.batches[0]
    assert not rig.listener.doubled


async def test_a_drain_never_crowds_out_what_is_live(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplinks, "QUIET_S", 5.0)
    monkeypatch.setattr(uplinks, "BATCH", 50)
    await rig.stored(2000)
    while rig.spool.waiting > 0:
        add(rig.spool, 5)
        await asyncio.sleep(0.05)
    await rig.wait(lambda: rig.spool.waiting == 0)
    lanes = ["live" if len(batch) <= 10 else "backlog" for batch in rig.listener.batches]
    assert lanes[0] == "live", "the server learns the clock from something fresh"
    since = 0
    for lane in lanes:
        since = 0 if lane == "live" else since + 1
        # One batch of each lane may be on its way at the same time.
        assert since <= CREDIT + 1
    assert lanes.count("backlog") > 2 * CREDIT
    assert not rig.listener.doubled


async def test_batches_from_disk_are_as_large_as_the_server_can_bear(rig: Rig) -> None:
    uplink = rig.uplink
    for wanted in (50, 100, 200, 400, 500, 500):
        assert uplink._resize(0.05) == 0.05
        assert uplink._size == wanted
    assert uplink._resize(0.2) == 0.2
    assert uplink._size == 500
    uplink._live_took_s = 0.6
    assert uplink._resize(0.05) == 0.6, "what is live waits behind it as well"
    assert uplink._size == 250
    for wanted in (125, 62, 31, LEAST, LEAST):
        uplink._resize(2.0)
        assert uplink._size == wanted


async def test_a_drain_goes_on_though_nothing_is_heard(rig: Rig) -> None:
    await rig.stored(8 * BATCH)
    await rig.wait(lambda: len(rig.listener.taken) == 8 * BATCH)
    await rig.wait(lambda: rig.spool.waiting == 0)
    assert list(rig.listener.taken) == [f"boot:{n}" for n in range(8 * BATCH)], "in order"


async def test_a_line_that_breaks_again_and_again_loses_nothing_and_counts_nothing_twice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplinks, "CAP_S", 0.5)
    draw = random.Random(11)

    def cut(request: web.Request, share: float) -> None:
        if draw.random() < share and request.transport is not None:
            request.transport.abort()

    # One request in ten never arrives, one in twenty arrives and its receipt does not.
    rig.listener.answer = lambda request, _: cut(request, 0.1)
    rig.listener.before_receipt = lambda request: cut(request, 0.05)
    for _ in range(200):
        add(rig.spool, 5)
        await asyncio.sleep(0.02)
    rig.listener.answer = lambda *_: None
    rig.listener.before_receipt = lambda _: None
    add(rig.spool, 1)
    await rig.wait(lambda: rig.spool.waiting == 0)
    assert rig.listener.taken.keys() == {f"boot:{n}" for n in range(1001)}
    # What came twice has the same id, which is how the engine knows it.
    assert set(rig.listener.doubled) <= rig.listener.taken.keys()
    assert rig.spool.dropped == {}


def refusing(status: int, *ids: str) -> Callable[[web.Request, list[dict[str, Any]]], Any]:
    def answer(_request: web.Request, records: list[dict[str, Any]]) -> web.Response | None:
        bad = any(record["id"] in ids for record in records)
        return problem(status) if bad else None

    return answer


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_poison_is_found_counted_and_blocks_nobody(rig: Rig, status: int) -> None:
    rig.listener.answer = refusing(status, "boot:3", "boot:777", "boot:1203")
    add(rig.spool, 10)
    await rig.wait(lambda: len(rig.listener.taken) == 9)
    await rig.stored(1300)
    await rig.wait(lambda: len(rig.listener.taken) == 1307)
    await rig.wait(lambda: rig.spool.waiting == 0)
    assert rig.spool.dropped == {"poison": 3}
    assert not rig.listener.doubled
    add(rig.spool, 1)
    await rig.wait(lambda: len(rig.listener.taken) == 1308)


async def test_poison_amid_an_outage_is_counted_once(rig: Rig) -> None:
    add(rig.spool, 1)
    await rig.wait(lambda: len(rig.listener.taken) == 1)
    poison = refusing(400, "boot:100")
    asked = 0

    def answer(*told: Any) -> web.Response | None:
        nonlocal asked
        asked += 1
        refused = poison(*told)
        if refused is None and asked == 12:
            return web.Response(status=503)
        return refused

    rig.listener.answer = answer
    await rig.stored(300)
    await rig.wait(lambda: rig.spool.waiting == 0)
    assert rig.spool.dropped == {"poison": 1}
    assert not rig.listener.doubled


async def test_a_server_that_refuses_everything_empties_no_spool(rig: Rig) -> None:
    rig.listener.answer = lambda *_: web.Response(status=400, text="who are you?")
    await rig.stored(2 * BATCH)
    add(rig.spool, 3)
    await rig.wait(lambda: rig.uplink.trouble is not None)
    await asyncio.sleep(0.5)
    assert rig.spool.waiting == 2 * BATCH + 3
    assert rig.spool.dropped == {}
    assert "everything is refused" in (rig.uplink.trouble or "")
    rig.listener.answer = lambda *_: None
    add(rig.spool, 1)
    await rig.wait(lambda: len(rig.listener.taken) == 2 * BATCH + 4)


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_stranger_that_answers_after_the_server_empties_no_spool(
    rig: Rig, status: int
) -> None:
    add(rig.spool, 1)
    await rig.wait(lambda: len(rig.listener.taken) == 1)
    asked = 0

    def sign_in(*_: object) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=status, text="<html>Sign in</html>")

    rig.listener.answer = sign_in
    add(rig.spool, BATCH)
    await rig.wait(lambda: asked > 40)
    assert rig.spool.waiting == BATCH
    assert rig.spool.dropped == {}
    rig.listener.answer = lambda *_: None
    add(rig.spool, 1)
    await rig.wait(lambda: len(rig.listener.taken) == BATCH + 2)
    assert not rig.listener.doubled


async def test_what_a_proxy_refuses_alone_holds_nothing_up(rig: Rig) -> None:
    """A filter on the way dislikes one record for good: the others pass it, and it is counted."""

    def filtered(_: object, records: list[dict[str, Any]]) -> web.Response | None:
        bad = any(record["id"] == "boot:7" for record in records)
        return web.Response(status=400, text="<html>Blocked</html>") if bad else None

    rig.listener.answer = filtered
    add(rig.spool, 20)
    await rig.wait(lambda: len(rig.listener.taken) == 19)
    await rig.wait(lambda: rig.spool.waiting == 0)
    assert rig.spool.dropped == {"poison": 1}


async def test_what_a_proxy_finds_too_long_goes_in_parts(rig: Rig) -> None:
    rig.listener.answer = lambda _, records: web.Response(status=413) if len(records) > 40 else None
    await rig.stored(BATCH)
    add(rig.spool, 1)
    await rig.wait(lambda: len(rig.listener.taken) == BATCH + 1)
    assert rig.spool.dropped == {}


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=401),
        lambda: web.Response(status=403),
        lambda: web.Response(status=404),
        lambda: web.Response(status=500),
        lambda: web.Response(status=200, text="<html>Sign in to the hotel</html>"),
        lambda: web.Response(status=202, text='{"ok":true}'),
        lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
        lambda: web.Response(status=202, body=b"[" * 2_000_000),
    ],
)
async def test_an_answer_that_is_no_receipt_takes_nothing(
    rig: Rig, answer: Callable[[], web.Response]
) -> None:
    rig.listener.answer = lambda *_: answer()
    add(rig.spool, 7)
    await rig.wait(lambda: rig.uplink.trouble is not None)
    assert rig.spool.waiting == 7
    rig.listener.answer = lambda *_: None
    add(rig.spool, 1)
    await rig.wait(lambda: len(rig.listener.taken) == 8)
    assert not rig.listener.doubled
    assert rig.spool.dropped == {}


async def test_what_the_server_refuses_or_finds_late_is_counted(rig: Rig) -> None:
    rig.listener.answer = lambda *_: web.json_response(
        {
            "accepted": 1, "duplicate": 0, "unconsented": 1, "late": 2,
            "rejected": [{"line": 1, "reason": "no"}],
        },
        status=202,
    )  # fmt: skip
    add(rig.spool, 5)
    await rig.wait(lambda: rig.spool.waiting == 0)
    assert rig.spool.dropped == {"late": 2, "refused": 1}


async def test_the_server_is_left_alone_as_long_as_it_asks(rig: Rig) -> None:
    now = [1000.0]
    uplink = Uplink(rig.spool, rig.link, draw=lambda: 1.0, mono=lambda: now[0])
    uplink._wait(Away("busy", after_s=30.0))
    assert uplink._until == 1000.0 + 30.0 + 1.0


async def test_waits_double_to_a_minute_with_full_jitter_and_end_with_a_success(rig: Rig) -> None:
    now, drawn = [0.0], [1.0]
    uplink = Uplink(rig.spool, rig.link, draw=lambda: drawn[0], mono=lambda: now[0])
    waits = []
    for _ in range(10):
        uplink._wait(Away("away"))
        waits.append(uplink._until - now[0])
        now[0] = uplink._until
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    drawn[0] = 0.25
    uplink._wait(Away("away"))
    assert uplink._until - now[0] == 15.0
    uplink._wait(Away("the other lane, a moment later"))
    assert uplink._until - now[0] == 15.0
    uplink._took(1)
    uplink._wait(Away("away"))
    assert uplink._until - now[0] == 0.25


async def test_a_stop_gives_what_is_on_its_way_a_moment_and_keeps_the_rest(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplinks, "LAST_S", 0.2)
    held = asyncio.Event()

    async def hang(body: bytes) -> Any:
        held.set()
        await asyncio.sleep(3600)

    monkeypatch.setattr(rig.link, "send", hang)
    add(rig.spool, 4)
    await held.wait()
    add(rig.spool, 2)
    rig.uplink.stop()
    await asyncio.wait_for(rig.running, 5)
    assert rig.spool.waiting == 6


async def test_what_was_just_heard_is_told_before_a_stop(rig: Rig) -> None:
    add(rig.spool, 4)
    rig.uplink.stop()
    await asyncio.wait_for(rig.running, 5)
    assert len(rig.listener.taken) == 4
    assert rig.spool.waiting == 0
