"""A year and a month later: what a server finds on its disk then, and what it leaves there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import sqlalchemy as sa

from proximity.privacy import datamap
from proximity.privacy.retention import DAY_S, SCHEDULE
from proximity.server import clearing
from proximity.server.serve import bound, opened, working
from proximity.server.settings import Settings, read_files
from proximity.store import Store, schema
from tests.edges.test_erasure import PERSON, PHONE, TAG, UUID, found_in
from tests.proximity.server.rig import Rig, fix, write_files

LATER_S = 400 * DAY_S

# Nobody's trace, or what proves that somebody agreed and that somebody was erased.
STAY = {
    name for name, table in schema.metadata.tables.items() if table.info["retention"] == "kept"
} | {"journal", "snapshots", "snapshot_pieces", "tokens"}


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Rig]:
    """A server in this process over a folder on the disk."""
    settings = Settings(data=folder / "data", port=0, **write_files(folder))
    store = Store.open(folder / "data" / "engine.db")
    try:
        async with (
            opened(settings, read_files(settings), store) as (parts, dispatcher),
            working(parts, dispatcher, asyncio.Event()),
            bound(settings, parts, None) as url,
            aiohttp.ClientSession() as session,
        ):
            yield Rig(url, parts, session)
            parts.closing.set()
            parts.tail.grew()
    finally:
        store.close()


def counted(store: Store) -> dict[str, int]:
    def read(conn: sa.Connection) -> dict[str, int]:
        return {
            name: int(conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0)
            for name, table in schema.metadata.tables.items()
        }

    return store.read(read)


async def become_known(rig: Rig) -> None:
    person = {
        "person": PERSON, "subjects": [PHONE], "timezone": "Europe/Paris",
        "consents": [{"purpose": "marketing"}], "attributes": {"tier": "gold"},
    }  # fmt: skip
    assert (await rig.ask("PUT", f"/v1/people/{PERSON}", body=person)).status == 201
    beacon = {"uuid": UUID, "major": 3, "person": PERSON, "subject": TAG}
    assert (await rig.ask("PUT", f"/v1/beacons/{TAG}", body=beacon)).status == 201
    assert (await rig.ask("POST", "/v1/fixes", body=fix(PHONE))).json["accepted"] == 1
    event = {"type": "event", "subject": PHONE, "at": time.time(), "name": "saved"}
    assert (await rig.ask("POST", "/v1/events", body=event)).json["accepted"] == 1
    await rig.until("/v1/deliveries", 1)


async def test_after_400_days_nothing_is_left_but_seals_and_receipts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as rig:
        await become_known(rig)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + LATER_S)
    async with served(tmp_path) as rig:
        for _ in range(600):  # its own rounds do it, at the start
            if not found_in(tmp_path / "data", PERSON, PHONE, TAG):
                break
            await asyncio.sleep(0.02)
        rows = counted(rig.parts.store)
        assert {name: count for name, count in rows.items() if count and name not in STAY} == {}
        assert rows["consent_chain"] == 1
        assert rows["objections"] == 0  # who was only silent may come back
        assert (await rig.ask("GET", "/v1/consents/verify")).json["problems"] == []
        assert found_in(tmp_path / "data", PERSON, PHONE, TAG, UUID) == {}
        assert (await rig.ask("GET", "/v1/privacy")).json["problems"] == []
        again = await rig.ask("PUT", f"/v1/people/{PERSON}", body={"person": PERSON})
        assert again.status == 201


async def test_after_31_days_the_visits_are_gone_and_the_person_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as rig:
        await become_known(rig)
        before = counted(rig.parts.store)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 31.5 * DAY_S)
    async with served(tmp_path) as rig:
        await clearing.sweep_due(rig.parts)
        after = counted(rig.parts.store)
        assert (await rig.ask("GET", f"/v1/people/{PERSON}")).status == 200
        transitions = (await rig.ask("GET", "/v1/transitions")).json["items"]
    # The visit ended by silence when the server came up again: that is what is left of it.
    assert all(one["decided_at"] > "2026" for one in transitions)
    assert [one["kind"] for one in transitions] in ([], ["exit"])
    assert after["events"] == before["events"] == 1
    assert after["sends"] == 1
    assert after["people"] == 1


async def test_the_engine_keeps_no_position_of_who_was_not_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traces: an hour in the journal, twice that in the engine's memory and its snapshots."""
    async with served(tmp_path) as rig:
        await rig.consent("walker-91ab")
        away = fix("walker-91ab", lat=48.70)
        assert (await rig.ask("POST", "/v1/fixes", body=away)).json["accepted"] == 1
    assert found_in(tmp_path / "data", "walker-91ab")["engine.db"]
    now = time.time
    for step in (1, 2):
        monkeypatch.setattr(time, "time", lambda step=step: now() + step * DAY_S)
        async with served(tmp_path) as rig:
            await clearing.sweep_due(rig.parts)
            await rig.ask("POST", "/v1/fixes", body=fix("nobody"))
    monkeypatch.setattr(time, "time", lambda: now() + 3 * DAY_S)
    async with served(tmp_path) as rig:
        await clearing.sweep_due(rig.parts)
        assert rig.parts.ingest.engine.subjects == 0
        await rig.parts.ingest.cover()

        def traces(conn: sa.Connection) -> list[bytes]:
            tables = (schema.journal.c.payload, schema.snapshots.c.state)
            return [row for column in tables for row in conn.scalars(sa.select(column))]

        async with asyncio.timeout(60):
            while any(b"walker-91ab" in one for one in rig.parts.store.read(traces)):
                await rig.parts.ingest._keeping.prune(time.time())
                await asyncio.sleep(0.05)


def test_the_map_and_the_schedule_name_the_same_rules() -> None:
    named = {rule for table in schema.metadata.sorted_tables for column in table.columns
             for rule in datamap.retention_of(column)}  # fmt: skip
    assert named == set(SCHEDULE)
