"""An inbox that is followed live; ``browser/test_onsite`` has a browser's own EventSource."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from proximity.server.auth import Role, revoke_token
from tests.proximity.inboxes import enrol, inbox_link, lay
from tests.proximity.server.rig import Rig, running
from tests.proximity.server.test_stream import Reader

STREAM = "/v1/people/anna/inbox/stream"
SHOP = "https://shop.example.test"
CAMPAIGNS = """
public_url = "https://offers.example.test"
inbox_origins = ["https://shop.example.test"]

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "manual"
channels = ["inbox"]
text = { en = "Coffee." }
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    file = tmp_path / "offers.toml"
    file.write_text(CAMPAIGNS)
    async with running(tmp_path, campaigns=file) as made:
        await enrol(made)
        yield made


@asynccontextmanager
async def followed(
    rig: Rig, path: str = STREAM, **headers: str
) -> AsyncIterator[tuple[aiohttp.ClientResponse, Reader]]:
    if path == STREAM:
        headers["Authorization"] = f"Bearer {rig.token(Role.DEVICE)}"
    async with rig.session.get(URL(rig.url + path, encoded=True), headers=headers) as answer:
        yield answer, Reader(answer)


async def keys(reader: Reader) -> tuple[list[str], dict[str, Any]]:
    event = await reader.event()
    assert event["event"] == "inbox"
    page = json.loads(event["data"])
    assert event["id"] == page["cursor"]
    return [one["key"] for one in page["items"]], page


async def test_what_lies_there_comes_first_and_then_each_change(rig: Rig) -> None:
    await lay(rig, "k1")
    async with followed(rig) as (_, events):
        assert (await keys(events))[0] == ["k1"]
        await lay(rig, "k2")
        assert (await keys(events))[0] == ["k2"]
        body = {"key": "k1", "did": "read"}
        await rig.ask("POST", "/v1/people/anna/inbox", body=body)
        said, page = await keys(events)
        assert (said, page["items"][0]["state"]) == (["k1"], "opened")
        assert sorted(page["current"]) == ["k1", "k2"]
        # What nobody counts as a change of the offer is told as well: it is not there any more.
        await rig.ask("DELETE", "/v1/consents?person=anna")
        said, page = await keys(events)
        assert (said, page["current"]) == ([], [])


async def test_it_resumes_after_the_id_seen_last(rig: Rig) -> None:
    await lay(rig, "k1")
    async with followed(rig) as (_, events):
        _, page = await keys(events)
    await lay(rig, "k2")
    async with followed(rig, **{"Last-Event-ID": page["cursor"]}) as (_, events):
        said, page = await keys(events)
        assert (said, sorted(page["current"])) == (["k2"], ["k1", "k2"])
    async with followed(rig, **{"Last-Event-ID": ""}) as (_, events):  # none was seen
        said, _ = await keys(events)
        assert said == ["k1", "k2"]
    bad = await rig.ask("GET", STREAM, headers={"Last-Event-ID": "never"})
    assert bad.status == 400


async def test_by_link_for_a_page_of_a_listed_website(rig: Rig) -> None:
    await lay(rig, "k1")
    path = f"{await inbox_link(rig)}/stream"
    async with followed(rig, path, Origin=SHOP) as (source, events):
        assert source.headers["Access-Control-Allow-Origin"] == SHOP
        assert (await keys(events))[0] == ["k1"]
    foreign = await rig.ask("GET", path, role=None, headers={"Origin": "https://evil.example"})
    assert foreign.status == 403


async def test_no_more_is_asked_where_there_is_nothing_more_to_hear(rig: Rig) -> None:
    over = await rig.ask("GET", f"{await inbox_link(rig, until=1.0)}/stream", role=None)
    assert (over.status, over.body) == (204, b"")
    rig.parts.closing.set()
    assert (await rig.ask("GET", STREAM, role=Role.DEVICE)).status == 204


async def test_a_link_that_is_over_ends_its_stream(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proximity.server.inboxstream.LINK_S", 0.0)
    monkeypatch.setattr("proximity.server.inboxstream.LOOK_S", 0.1)
    monkeypatch.setattr("proximity.server.inboxstream.REST_S", 0.1)
    path = f"{await inbox_link(rig, until=time.time() + 1.5)}/stream"
    async with followed(rig, path) as (_, events):
        await keys(events)
        assert await events.event() == {}, "it ends"


async def test_one_link_takes_no_room_from_the_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proximity.server.inboxstream.MOST_FOLLOWERS", 6)
    monkeypatch.setattr("proximity.server.inboxstream.MOST_OF_ONE", 4)
    url = URL(f"{rig.url}{await inbox_link(rig)}/stream", encoded=True)
    other = await inbox_link(rig, person="bert")
    answers = await asyncio.gather(*(rig.session.get(url) for _ in range(9)))
    assert sorted(one.status for one in answers) == [200] * 4 + [429] * 5
    assert (rig.parts.followers, rig.parts.followed) == (4, {"anna": 4})
    async with followed(rig, f"{other}/stream") as (answer, _):
        assert answer.status == 200
    for one in answers:
        one.close()
    for _ in range(3000):
        if not rig.parts.followed:
            break
        await lay(rig, f"k{time.time()}")
        await asyncio.sleep(0.05)
    assert (rig.parts.followers, rig.parts.followed) == (0, {})


async def test_there_are_so_many_and_no_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proximity.server.inboxstream.MOST_FOLLOWERS", 1)
    async with followed(rig) as (_, events):
        await keys(events)
        full = await rig.ask("GET", STREAM, role=Role.DEVICE)
        assert (full.status, full.headers["Retry-After"]) == (503, "60")
    for _ in range(3000):
        if rig.parts.followers == 0:
            break
        await lay(rig, f"k{time.time()}")
        await asyncio.sleep(0.05)
    assert rig.parts.followers == 0


async def test_who_goes_away_makes_room(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing changes that it could not be told of."""
    monkeypatch.setattr("proximity.server.inboxstream.HEARTBEAT_S", 3600.0)
    monkeypatch.setattr("proximity.server.inboxstream.LOOK_S", 0.02)
    async with followed(rig) as (_, events):
        await keys(events)
    async with asyncio.timeout(30):
        while rig.parts.followers:  # noqa: ASYNC110 - the loop that ends tells nobody
            await asyncio.sleep(0.02)
    assert rig.parts.followed == {}


async def test_a_silent_inbox_is_heard_of(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("HEARTBEAT_S", 0.0), ("LOOK_S", 0.02), ("REST_S", 0.0)):
        monkeypatch.setattr(f"proximity.server.inboxstream.{name}", seconds)
    async with followed(rig) as (_, events):
        await keys(events)
        assert await events.frame() == {"": "still here"}


async def test_a_reader_that_takes_nothing_is_cut_off(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_slow(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("proximity.server.inboxstream.write", too_slow)
    cut = rig.parts.metrics.streams_cut._value.get
    before = cut()
    with pytest.raises(aiohttp.ClientPayloadError):
        async with followed(rig) as (answer, _):
            await answer.read()
    assert cut() == before + 1
    assert rig.parts.followers == 0


async def test_a_token_that_is_revoked_ends_its_stream(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOOK_S", "REST_S"):
        monkeypatch.setattr(f"proximity.server.inboxstream.{name}", 0.05)
    async with followed(rig) as (_, events):
        await keys(events)
        token = rig.token(Role.DEVICE)
        await rig.parts.store.awrite(lambda conn: revoke_token(conn, token, time.time()))
        assert await events.event() == {}, "it ends"
