"""What people did, over HTTP: in by the journal, or at once where it is long ago; out in pages."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proximity.model import format_time
from proximity.server.auth import Role
from tests.proximity.server.rig import Rig, fix, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PLAN = """
[[event]]
name = "saved"
properties = { item = "text" }
"""


@pytest.fixture
async def planned(tmp_path: Path) -> AsyncIterator[Rig]:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    async with running(tmp_path, events=plan) as made:
        yield made


def event(name: str = "saved", subject: str = "phone-1", **more: Any) -> dict[str, Any]:
    own = {"id": more.pop("id")} if "id" in more else {}
    at = more.pop("at", time.time())
    return {"type": "event", "subject": subject, "name": name, "at": at, "properties": more} | own


async def test_an_event_is_taken_once_and_read_back(planned: Rig) -> None:
    await planned.consent("phone-1")
    await planned.ask("POST", "/v1/fixes", body=[fix(at=time.time() - n) for n in (20, 10, 0)])
    await planned.until("/v1/transitions", 1)
    one = event(item="shoe", id="e1", at=time.time())
    for _ in range(2):
        answer = await planned.ask("POST", "/v1/events", role=Role.DEVICE, body=[one])
        assert answer.status == 202
    assert answer.json["duplicate"] == 1
    (found,) = await planned.until("/v1/events", 1)
    assert (found["name"], found["person"], found["place"]) == ("saved", "phone-1", "store-7")
    assert found["properties"] == {"item": "shoe"}
    assert (await planned.ask("GET", "/v1/events?name=other")).json["items"] == []
    assert len((await planned.ask("GET", "/v1/events?person=phone-1")).json["items"]) == 1


async def test_what_the_plan_speaks_against_is_in_quarantine(planned: Rig) -> None:
    await planned.consent("phone-1")
    bad = [event(itme="x"), event("svaed")]
    answer = await planned.ask("POST", "/v1/events", role=Role.DEVICE, body=bad)
    assert answer.json["accepted"] == 2
    found = await planned.until("/v1/events?quarantined=true", 2)
    assert [one["name"] for one in found] == ["saved", "svaed"]
    assert "did you mean 'item'" in found[0]["problem"]
    assert found[0]["properties"] == {"itme": "x"}
    assert (await planned.ask("GET", "/v1/events")).json["items"] == []
    metrics = (await planned.ask("GET", "/metrics")).body.decode()
    assert 'proximity_dropped_total{reason="malformed"} 2.0' in metrics
    assert (await planned.ask("GET", "/v1/events?quarantined=yes")).status == 400


async def test_events_of_long_ago_go_their_own_way(planned: Rig) -> None:
    await planned.consent("ada")
    past_month = time.time() - 30 * 86400
    past = [
        event("message-sent", "ada", system="crm", id="m1", at=past_month),
        event("purchase", "ada", product="tea", id="p1", at=past_month, quantity=3),
        event("svaed", "ada", at=past_month, id="x"),
        event("purchase", "eve", product="tea", id="p2", at=past_month),
    ]
    answer = await planned.ask("POST", "/v1/events/history", role=Role.FEED, body=past)
    counts = {"accepted": 2, "duplicate": 0, "unconsented": 1, "quarantined": 1}
    assert (answer.status, answer.json) == (200, counts)
    again = await planned.ask("POST", "/v1/events/history", body=past)
    assert again.json["duplicate"] == 2
    assert (
        await planned.ask("POST", "/v1/events/history", role=Role.DEVICE, body=past)
    ).status == 403
    assert (await planned.ask("POST", "/v1/events/history", body=[{"at": 1}])).status == 422
    profile = (await planned.ask("GET", "/v1/people/ada/profile")).json
    assert [(one["name"], one["count"], one["share"]) for one in profile["products"]] == [
        ("tea", 3.0, 1.0)
    ]
    assert profile["products"][0]["last_at"] == format_time(past_month)  # as all times, in text
    assert (await planned.ask("GET", "/v1/people/ada/profile?within_s=60")).json["products"] == []


async def test_a_profile_has_the_visits_by_place_and_by_kind(rig: Rig) -> None:
    await rig.consent("phone-1")
    await rig.ask("POST", "/v1/fixes", body=[fix(at=time.time() - n) for n in (20, 10, 0)])
    await rig.until("/v1/transitions", 1)
    for _ in range(100):
        profile = (await rig.ask("GET", "/v1/people/phone-1/profile")).json
        if profile["visits"]:
            break
        await asyncio.sleep(0.01)
    (visit,) = profile["visits"]
    assert (visit["place"], visit["tags"], visit["exit_at"]) == ("store-7", ["cafe"], None)
    assert profile["venues"]["store-7"]["visits"] == 1
    assert profile["venues"]["store-7"]["first_at"] == visit["enter_at"]
    assert profile["kinds"]["cafe"]["last_at"] == profile["at"]
    assert profile["kinds"]["cafe"]["recency_s"] == 0.0
    assert (await rig.ask("GET", "/v1/people/nobody/profile")).status == 404
    assert (await rig.ask("GET", "/v1/people/phone-1/profile?within_s=x")).status == 400
    assert (await rig.ask("GET", "/v1/people/phone-1/profile", role=Role.MARKETER)).status == 403
