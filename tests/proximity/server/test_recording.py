"""Records become a trace: only of those who agreed to that, and nobody by name."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

import aiohttp

from proximity.server import recording
from proximity.server.auth import Role, revoke_token
from tests.proximity.server.rig import Rig, fix

BEACON = {"format": "ibeacon", "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "major": 1}


class Reader:
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def line(self) -> dict[str, Any] | None:
        """The next line; None at the end."""
        async with asyncio.timeout(30):
            raw = await self.answer.content.readline()
        return json.loads(raw) if raw else None

    async def record(self) -> dict[str, Any]:
        """The next record."""
        while True:
            line = await self.line()
            assert line is not None, "the recording ended"
            if "type" in line:
                return line


def listen(rig: Rig, query: str = "") -> Any:
    headers = {"Authorization": f"Bearer {rig.token(Role.ANALYST)}"}
    return rig.session.get(rig.url + "/v1/records/stream" + query, headers=headers)


async def send(rig: Rig, *records: dict[str, Any], kind: str = "fixes") -> dict[str, Any]:
    answer = await rig.ask("POST", f"/v1/{kind}", body=list(records))
    assert answer.status == 202, answer.body
    return answer.json


async def nobody_records(rig: Rig) -> None:
    """Wait until the server has seen that the reader is gone: then ingest calls nobody."""
    for _ in range(500):
        if not rig.parts.ingest.on_accepted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("ingest still tells a recording that nobody reads")


async def test_only_who_agreed_to_recording_and_nobody_by_name(rig: Rig) -> None:
    await rig.consent("phone-1", "recording")
    await rig.consent("phone-2", "marketing")
    async with listen(rig) as answer:
        assert answer.headers["Content-Type"].startswith("application/x-ndjson")
        reader = Reader(answer)
        assert await reader.line() == {
            "recorded": 0, "unconsented": 0, "carried": 0, "ended": False,
        }  # fmt: skip
        for n in range(2):
            told = await send(
                rig,
                fix("phone-2", lat=48.8501, at=time.time() - n),
                fix("phone-1", at=time.time() - n, id=f"secret-{n}", motion="walking"),
                fix("stranger", at=time.time() - n),
            )
            assert (told["accepted"], told["unconsented"]) == (2, 1)
        first, second = await reader.record(), await reader.record()
    assert first["subject"] == second["subject"]
    assert first["subject"].startswith("s-")
    assert first["id"] != second["id"]
    text = json.dumps([first, second])
    assert "phone" not in text
    assert "secret" not in text
    assert (first["lon"], first["lat"], first["motion"]) == (2.35, 48.85, "walking")
    assert first["at"].endswith("Z")
    assert first["received_at"].endswith("Z")
    await nobody_records(rig)


async def test_a_key_lives_for_one_recording(rig: Rig) -> None:
    await rig.consent("phone-1", "recording")
    names = set()
    for _ in range(2):
        async with listen(rig) as answer:
            reader = Reader(answer)
            await reader.line()
            await send(rig, fix("phone-1", at=time.time()))
            names.add((await reader.record())["subject"])
    assert len(names) == 2


async def test_another_purpose_and_a_withdrawal(rig: Rig) -> None:
    await rig.consent("phone-1", "study")
    await rig.consent("phone-2", "study")
    await rig.consent("phone-2", "service")
    async with listen(rig, "?purpose=study&for=1.5") as answer:
        reader = Reader(answer)
        await reader.line()
        await rig.ask("DELETE", "/v1/consents?person=phone-2&purpose=study")
        await asyncio.sleep(0.01)
        await send(rig, fix("phone-2"), fix("phone-1"))
        lines = []
        while (line := await reader.line()) is not None:
            lines.append(line)
    assert [line.get("type") for line in lines] == ["fix", None]
    assert lines[-1] == {"recorded": 1, "unconsented": 1, "carried": 0, "ended": True}


async def test_what_a_tag_says_is_left_out_and_what_an_app_says_is_cut(rig: Rig) -> None:
    await rig.consent("member-42", "recording")
    async with listen(rig, "?for=1") as answer:
        reader = Reader(answer)
        await reader.line()
        heard = {"gateway": "gw-1", "beacon": BEACON, "at": time.time(), "rssi_dbm": -60}
        await send(rig, heard, kind="sightings")
        event = {
            "subject": "member-42", "at": time.time(), "name": "opened",
            "properties": {"mail": "a@example.test"},
        }  # fmt: skip
        await send(rig, event, kind="events")
        found = await reader.record()
        assert set(found) == {"type", "subject", "at", "name", "received_at"}
        last = await reader.line()
    assert last is not None
    assert (last["recorded"], last["carried"], last["ended"]) == (1, 1, True)


async def test_who_may_and_how_many_at_a_time(rig: Rig, monkeypatch: Any) -> None:
    for role in (Role.FEED, Role.DEVICE, Role.GATEWAY, Role.MARKETER):
        assert (await rig.ask("GET", "/v1/records/stream", role=role)).status == 403
    for query in ("?for=0", "?for=nan", "?for=x", "?purpose=", "?reason=a"):
        assert (await rig.ask("GET", "/v1/records/stream" + query)).status == 400
    monkeypatch.setattr(recording, "MOST_RECORDINGS", 1)
    async with listen(rig) as answer:
        await Reader(answer).line()
        assert (await rig.ask("GET", "/v1/records/stream")).status == 503
    await nobody_records(rig)
    assert (await rig.ask("GET", "/v1/records/stream?for=0.1")).status == 200


async def test_a_revoked_token_ends_it(rig: Rig, monkeypatch: Any) -> None:
    monkeypatch.setattr(recording, "RECHECK_S", 0.05)
    async with listen(rig) as answer:
        reader = Reader(answer)
        await reader.line()
        token = rig.token(Role.ANALYST)
        rig.parts.store.write(lambda conn: revoke_token(conn, token, time.time())).result()
        last = await reader.line()
        assert last is not None
        assert last["ended"] is True
        assert await reader.line() is None


async def test_a_reader_that_cannot_keep_up_is_cut_off(rig: Rig, monkeypatch: Any) -> None:
    monkeypatch.setattr(recording, "MOST_WAITING", 2)
    await rig.consent("phone-1", "recording")
    async with listen(rig) as answer:
        reader = Reader(answer)
        await reader.line()
        await send(rig, *(fix("phone-1", at=time.time() - n) for n in range(5)))
        # The end that says: this is not all of it.
        with contextlib.suppress(aiohttp.ClientPayloadError):
            assert await reader.line() is None
    assert b"proximity_streams_cut_total 1.0" in rig.parts.metrics.text()
