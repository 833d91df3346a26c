from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from proximity.server import stream, tail
from proximity.server.auth import Role, revoke_token
from proximity.store import schema
from tests.proximity.server.rig import Rig, fix
from tests.proximity.server.test_ledger import DECISION, fill, transition


class Reader:
    """Reads server-sent events one at a time."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def frame(self) -> dict[str, str]:
        """The next frame; a comment is ``{"": text}``. Empty at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(30):
            async for raw in self.answer.content:
                line = raw.decode().rstrip("\n")
                if not line:
                    return fields
                name, _, text = line.partition(":")
                fields[name] = text.removeprefix(" ")
        return {}

    async def event(self) -> dict[str, str]:
        while True:
            frame = await self.frame()
            if not frame or "data" in frame:
                return frame


def listen(rig: Rig, query: str = "", **headers: str) -> Any:
    headers["Authorization"] = f"Bearer {rig.token(Role.ANALYST)}"
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return rig.session.get(rig.url + "/v1/stream" + query, headers=named)


async def test_what_happens_is_told_live_in_one_line_each(rig: Rig) -> None:
    await rig.consent("phone-1")
    async with listen(rig) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        reader = Reader(answer)
        assert "" in await reader.frame()
        for back in (2, 1):
            await rig.ask("POST", "/v1/fixes", body=fix(at=time.time() - back))
        events = [await reader.event() for _ in range(3)]
    assert [event["event"] for event in events] == ["transition", "decision", "delivery"]
    assert [int(event["id"]) for event in events] == [1, 2, 3]


async def test_a_reader_resumes_where_it_was(rig: Rig) -> None:
    await fill(rig, *(transition(n) for n in range(5)), DECISION)
    for options in ({"Last_Event_ID": "3"}, {"query": "?after=3"}):
        async with listen(rig, **options) as answer:
            reader = Reader(answer)
            events = [await reader.event() for _ in range(3)]
            assert [event["id"] for event in events] == ["4", "5", "6"]
            await fill(rig, transition(int(time.time_ns() % 10**9)))
            assert (await reader.event())["event"] == "transition"


async def test_without_an_id_it_starts_with_what_happens_next(rig: Rig) -> None:
    await fill(rig, transition(1))
    async with listen(rig, "?subject=b") as answer:
        reader = Reader(answer)
        await reader.frame()
        await fill(rig, transition(2, "a"), transition(3, "b"))
        assert (await reader.event())["id"] == "3"


async def test_a_bad_id_is_refused(rig: Rig) -> None:
    async with listen(rig, Last_Event_ID="x") as answer:
        assert answer.status == 400


async def test_a_cursor_of_another_ledger_is_refused(rig: Rig) -> None:
    """As of one that a backup was restored over: its reader would hear nothing for a long time."""
    await fill(rig, *(transition(n) for n in range(3)))
    for options in ({"Last_Event_ID": "4"}, {"query": "?after=4"}):
        async with listen(rig, **options) as answer:
            assert answer.status == 400
            assert "begin anew" in await answer.text()
    for last, status in ((3, 200), (4, 400)):
        for listed in ("transitions", "decisions", "deliveries"):
            assert (await rig.ask("GET", f"/v1/{listed}?after={last}")).status == status
    # Numbers are never given again, so that the newest row may go.
    await rig.parts.store.awrite(lambda conn: conn.execute(schema.ledger.delete()))
    assert (await rig.ask("GET", "/v1/transitions?after=3")).status == 200


async def test_silence_is_filled_with_comments(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    async with listen(rig) as answer:
        reader = Reader(answer)
        await reader.frame()
        assert await reader.frame() == {"": "still here"}


async def test_a_revoked_token_ends_its_stream(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RECHECK_S", 0.05)
    async with listen(rig) as answer:
        reader = Reader(answer)
        await reader.frame()
        token = rig.token(Role.ANALYST)
        await rig.parts.store.awrite(lambda conn: revoke_token(conn, token, 1.0))
        assert await reader.event() == {}


async def test_a_slow_reader_is_cut_off_and_nothing_is_kept_for_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SLOW_S", 0.2)
    big = {"note": "x" * 100_000}
    made = [transition(n) for n in range(200)]
    await fill(
        rig,
        *(
            one.__replace__(because=big) if hasattr(one, "__replace__") else _with(one, big)
            for one in made
        ),
    )
    host, port = rig.url.removeprefix("http://").split(":")
    token = rig.token(Role.ANALYST)
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(
        f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    for _ in range(200):
        if "proximity_streams_cut_total 1.0" in rig.parts.metrics.text().decode():
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("it was never cut off")
    assert rig.parts.tail.readers == 0
    writer.close()
    del reader


def _with(one: Any, because: dict[str, Any]) -> Any:
    import msgspec

    return msgspec.structs.replace(one, because=because)


async def test_there_are_only_so_many_streams(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "MOST_STREAMS", 1)
    async with listen(rig) as first:
        await Reader(first).frame()
        async with listen(rig) as second:
            assert second.status == 503
            assert "Retry-After" in second.headers


async def test_who_goes_away_makes_room(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before a comment would have found out that nobody reads it."""
    monkeypatch.setattr(tail, "MOST_STREAMS", 1)
    monkeypatch.setattr(stream, "HEARTBEAT_S", 3600.0)
    monkeypatch.setattr(stream, "RECHECK_S", 0.02)
    async with listen(rig) as first:
        await Reader(first).frame()
    async with asyncio.timeout(30):
        while True:
            async with listen(rig) as second:
                if second.status == 200:
                    break


async def test_streams_end_when_the_server_does(rig: Rig) -> None:
    async with listen(rig) as answer:
        reader = Reader(answer)
        await reader.frame()
        rig.parts.closing.set()
        rig.parts.tail.grew()
        assert await reader.event() == {}
        assert (await rig.ask("GET", "/readyz", role=None)).status == 503


async def test_a_head_would_never_end_so_there_is_none(rig: Rig) -> None:
    assert (await rig.ask("HEAD", "/v1/stream")).status == 405
