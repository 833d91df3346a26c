"""Reports and segments over HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proximity.reports.reports import REPORTS
from proximity.server.auth import Role
from proximity.server.clearing import sweep_due
from proximity.store import schema
from tests.proximity.server.rig import CAMPAIGNS, Rig, running

SEGMENTS = """
[[segment]]
id = "gold/ones"
attribute = "tier"
is = "gold"
[[segment]]
id = "regulars"
all = [{ segment = "gold/ones" }, { tag = "cafe", within_s = 604800 }]
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    file = tmp_path / "with-segments.toml"
    file.write_text(SEGMENTS + CAMPAIGNS)
    async with running(tmp_path, campaigns=file) as made:
        yield made


async def people(rig: Rig, count: int, *, tier: str = "gold") -> None:
    body = [
        {
            "person": f"p{number}",
            "consents": [{"purpose": "marketing"}] if number < 15 else [{"purpose": "service"}],
            "attributes": {"tier": tier},
        }
        for number in range(count)
    ]
    assert (await rig.ask("POST", "/v1/people", body=body)).status == 200


def visit(number: int, at: float) -> dict[str, object]:
    return {
        "visit": f"v{number}", "person": f"p{number}", "subject": f"p{number}",
        "place": "store-7", "enter_at": at, "exit_at": at + 60,
    }  # fmt: skip


async def test_segments_are_listed_as_sentences(rig: Rig) -> None:
    said = await rig.ask("GET", "/v1/segments", role=Role.MARKETER)
    assert said.json == {
        "items": [
            {"id": "gold/ones", "sentence": 'People whose tier is "gold".', "rules": 1},
            {
                "id": "regulars",
                "sentence": 'People in segment "gold/ones" and who visited a place tagged "cafe" '
                "in the last 7 days.",
                "rules": 4,
            },
        ],
        "cursor": "regulars",
    }
    page = await rig.ask("GET", "/v1/segments?limit=1&after=gold/ones")
    assert [one["id"] for one in page.json["items"]] == ["regulars"]
    assert (await rig.ask("GET", "/v1/segments", role=Role.DEVICE)).status == 403


async def test_a_size_is_told_without_its_last_digit(rig: Rig) -> None:
    await people(rig, 27)
    said = await rig.ask("GET", "/v1/segments/gold%2Fones/size", role=Role.MARKETER)
    assert said.status == 200
    assert said.json["people"] == 20
    assert said.json["known"] == 20
    assert said.json["agreed"]["marketing"] == 10
    assert said.json["agreed"]["service"] == 10
    assert said.json["agreed"]["social"] is None
    assert (await rig.ask("GET", "/v1/segments/none/size")).status == 404


async def test_a_fences_tag_counts_for_the_visits_to_it(rig: Rig) -> None:
    await people(rig, 12)
    assert (await rig.ask("GET", "/v1/segments/regulars/size")).json["people"] is None
    rows = [visit(number, time.time() - 100) for number in range(12)]
    await rig.parts.store.awrite(lambda conn: conn.execute(schema.visits.insert(), rows))
    assert (await rig.ask("GET", "/v1/segments/regulars/size")).json["people"] == 10


async def test_membership_is_explained_to_those_who_keep_people(rig: Rig) -> None:
    await people(rig, 1)
    said = await rig.ask("GET", "/v1/segments/regulars/explain?person=p0")
    assert said.json["holds"] is False
    assert [part["holds"] for part in said.json["because"]["of"]] == [True, False]
    path = "/v1/segments/regulars/explain?person=p0"
    assert (await rig.ask("GET", path, role=Role.MARKETER)).status == 403
    assert (await rig.ask("GET", "/v1/segments/regulars/explain")).status == 400


async def test_reports_are_named_and_told(rig: Rig) -> None:
    said = await rig.ask("GET", "/v1/reports", role=Role.ANALYST)
    assert [one["report"] for one in said.json["items"]] == [*REPORTS]
    assert (await rig.ask("GET", "/v1/reports/funel")).status == 404
    assert (await rig.ask("GET", "/v1/reports/visits?last=0")).status == 400
    assert (await rig.ask("GET", "/v1/reports/visits?place=store-7")).status == 400
    assert (await rig.ask("GET", "/v1/reports/visits", role=Role.FEED)).status == 403
    for name in REPORTS:
        found = await rig.ask("GET", f"/v1/reports/{name}?last=2", role=Role.MARKETER)
        assert found.status == 200
        assert len(found.json["periods"]) == 2


async def test_yesterday_is_told_as_it_was_even_after_erasure(rig: Rig) -> None:
    await people(rig, 25)
    begin = REPORTS["visits"].begin(time.time() - 3600.0)
    rows = [visit(number, begin - 3600.0 + number) for number in range(25)]
    await rig.parts.store.awrite(lambda conn: conn.execute(schema.visits.insert(), rows))
    # As if it had not run yet: it did at the start, when nobody had been anywhere.
    await rig.parts.store.awrite(lambda conn: conn.execute(schema.reports.delete()))
    # The hourly round makes what is over, before anything is swept.
    await sweep_due(rig.parts)
    for number in range(20):
        await rig.ask("DELETE", f"/v1/people/p{number}")
    said = await rig.ask("GET", "/v1/reports/visits?last=1")
    assert said.json["least"] == 10
    assert said.json["periods"][0]["rows"] == [{"place": "store-7", "people": 20, "visits": 20}]
