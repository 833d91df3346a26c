from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proximity.store import StoreFull, journal
from tests.proximity.server.rig import Rig, fix

ADA: dict[str, Any] = {
    "person": "ada",
    "subjects": ["phone-1", "tag-1"],
    "consents": [{"purpose": "marketing", "channel": None, "from": None, "until": None}],
    "timezone": "Europe/Paris",
    "languages": ["fr", "en"],
    "attributes": {"tier": "gold"},
}


async def test_a_person_is_written_read_changed_and_forgotten(rig: Rig) -> None:
    made = await rig.ask("PUT", "/v1/people/ada", body=ADA)
    assert (made.status, made.json) == (201, ADA)
    got = await rig.ask("GET", "/v1/people/ada")
    assert (got.body, got.headers["ETag"]) == (made.body, made.headers["ETag"])
    etag = {"If-None-Match": got.headers["ETag"]}
    assert (await rig.ask("GET", "/v1/people/ada", headers=etag)).status == 304
    stale = {"If-Match": '"x"'}
    assert (await rig.ask("PUT", "/v1/people/ada", body=ADA, headers=stale)).status == 412
    right = {"If-Match": got.headers["ETag"]}
    changed = await rig.ask(
        "PUT", "/v1/people/ada", body={**ADA, "timezone": "Europe/Rome"}, headers=right
    )
    assert (changed.status, changed.json["timezone"]) == (200, "Europe/Rome")
    assert (await rig.ask("DELETE", "/v1/people/ada", headers=right)).status == 412
    assert (await rig.ask("DELETE", "/v1/people/ada")).status == 204
    assert (await rig.ask("GET", "/v1/people/ada")).status == 404
    assert (await rig.ask("DELETE", "/v1/people/ada")).status == 404


async def test_a_change_counts_for_the_next_record(rig: Rig) -> None:
    assert (await rig.ask("POST", "/v1/fixes", body=fix())).json["unconsented"] == 1
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    assert (await rig.ask("POST", "/v1/fixes", body=fix())).json["accepted"] == 1
    await rig.ask("DELETE", "/v1/consents?person=ada")
    assert (await rig.ask("POST", "/v1/fixes", body=fix())).json["unconsented"] == 1


async def test_who_is_forgotten_leaves_every_place(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    await rig.ask("POST", "/v1/fixes", body=fix())
    await rig.until("/v1/transitions", 1)
    assert (await rig.ask("DELETE", "/v1/people/ada")).status == 204
    _, gone = await rig.until("/v1/transitions", 2)
    assert (gone["kind"], gone["reason"]) == ("exit", "erased")


async def test_a_removal_that_cannot_be_written_changes_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    await rig.ask("POST", "/v1/fixes", body=fix())
    await rig.until("/v1/transitions", 1)

    def full(*_: object) -> None:
        raise StoreFull("injected")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "append", full)
        assert (await rig.ask("DELETE", "/v1/people/ada")).status == 507
        assert (await rig.ask("DELETE", "/v1/consents?person=ada")).status == 507
    assert (await rig.ask("GET", "/v1/people/ada")).json["subjects"] == ADA["subjects"]
    assert len((await rig.ask("GET", "/v1/consents?person=ada")).json["items"]) == 1
    while not rig.parts.ingest.ready:  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.05)
    assert (await rig.ask("DELETE", "/v1/people/ada")).status == 204
    assert [one["kind"] for one in await rig.until("/v1/transitions", 2)] == ["enter", "exit"]


async def test_a_full_disk_is_not_the_records_fault(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreFull("injected")

    monkeypatch.setattr(rig.parts.people, "put", full)
    assert (await rig.ask("PUT", "/v1/people/ada", body=ADA)).status == 507


async def test_who_agrees_to_nothing_any_more_is_forgotten(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    await rig.consent("ada", "service")
    await rig.ask("POST", "/v1/fixes", body=fix())
    await rig.until("/v1/transitions", 1)
    gone = await rig.ask("DELETE", "/v1/consents?person=ada&purpose=marketing")
    assert gone.status in {200, 204}  # with what is being handed over at that moment, if any
    assert rig.parts.ingest.engine.subjects == 1  # one yes is left
    assert (await rig.ask("DELETE", "/v1/consents?person=ada")).status == 204
    assert rig.parts.ingest.engine.subjects == 0
    _, left = await rig.until("/v1/transitions", 2)
    assert (left["kind"], left["reason"]) == ("exit", "erased")
    assert len((await rig.ask("GET", "/v1/consents?person=ada")).json["items"]) == 4


async def test_many_are_written_or_none_and_read_in_pages(rig: Rig) -> None:
    bad = [{"person": "a"}, {"person": "b", "timezone": "Nowhere/Land"}, {"person": "a"}]
    answer = await rig.ask("POST", "/v1/people", body=bad)
    assert answer.status == 422
    assert len(answer.json["problems"]) == 2
    assert (await rig.ask("GET", "/v1/people")).json == {"items": [], "cursor": ""}
    lines = "\n".join(json.dumps({"person": name}) for name in "abcde").encode()
    answer = await rig.ask("POST", "/v1/people", raw=lines)
    assert (answer.status, answer.json) == (200, {"recorded": 5})
    first = (await rig.ask("GET", "/v1/people?limit=3")).json
    assert [one["person"] for one in first["items"]] == ["a", "b", "c"]
    rest = (await rig.ask("GET", f"/v1/people?limit=3&after={first['cursor']}")).json
    assert [one["person"] for one in rest["items"]] == ["d", "e"]


@pytest.mark.parametrize(
    "body",
    [
        {"person": "other"},
        {"timezone": "Nowhere/Land"},
        {"subjects": "phone-1"},
        {"subjects": [""]},
        {"consents": [{"purpose": "x", "from": "yesterday"}]},
        {"consents": [{"purpose": "x", "from": 2, "until": 1}]},
    ],
)
async def test_a_bad_record_is_refused_with_the_reason(rig: Rig, body: Any) -> None:
    answer = await rig.ask("PUT", "/v1/people/ada", body=body)
    assert answer.status == 422, answer.body
    assert (await rig.ask("GET", "/v1/people/ada")).status == 404


async def test_consents_are_a_ledger(rig: Rig) -> None:
    grants = [
        {"person": "ada", "purpose": "marketing", "channel": "console", "source": "form 3"},
        {"person": "bob", "purpose": "service"},
    ]
    answer = await rig.ask("POST", "/v1/consents", body=grants)
    assert (answer.status, answer.json) == (201, {"recorded": 2})
    assert (await rig.ask("DELETE", "/v1/consents?person=ada&purpose=marketing")).status == 204
    page = (await rig.ask("GET", "/v1/consents?person=ada")).json
    yes, no = page["items"]
    assert (yes["withdrawal"], yes["purpose"], yes["channel"], yes["source"]) == (
        False, "marketing", "console", "form 3",
    )  # fmt: skip
    assert (no["withdrawal"], no["purpose"], no["channel"]) == (True, "marketing", None)
    after = (await rig.ask("GET", f"/v1/consents?after={page['cursor']}")).json
    assert after == {"items": [], "cursor": page["cursor"]}


async def test_bad_consents_are_refused_as_a_whole(rig: Rig) -> None:
    grants = [
        {"person": "ada", "purpose": "marketing"},
        {"person": "", "purpose": "marketing"},
        {"person": "bob", "purpose": ""},
        {"person": "eve"},
        {"person": "eve", "purpose": "x", "source": "s" * 201},
    ]
    answer = await rig.ask("POST", "/v1/consents", body=grants)
    assert answer.status == 422
    assert [problem[:6] for problem in answer.json["problems"]] == [
        f"line {n}" for n in (2, 3, 4, 5)
    ]
    backwards = {"person": "ada", "purpose": "x", "from": 2, "until": 1}
    assert (await rig.ask("POST", "/v1/consents", body=backwards)).status == 422
    assert (await rig.ask("DELETE", "/v1/consents")).status == 400
    assert (await rig.ask("GET", "/v1/consents")).json["items"] == []


async def test_every_fault_of_a_batch_is_told_with_its_line(rig: Rig) -> None:
    good = '{"person": "p1", "purpose": "marketing"}'
    ends = '{"person": "p2", "purpose": "marketing", "from": 9, "until": 8}'
    text = '{"person": "p3", "purpose": "marketing", "text": "%s"}' % ("0" * 64)
    bad = '{"person": 5, "purpose": "marketing"}'
    raw = f"\n{good}\n{ends}\n\n{bad}\n{text}".encode()
    answer = await rig.ask("POST", "/v1/consents", raw=raw)
    assert answer.status == 422
    told = answer.json["problems"]
    assert sorted(problem[:7] for problem in told) == ["line 3:", "line 5:", "line 6:"]
    assert (await rig.ask("GET", "/v1/consents")).json["items"] == []
    (alone,) = (await rig.ask("POST", "/v1/consents", raw=ends.encode())).json["problems"]
    assert alone.startswith("person 'p2': a consent must end")

    raw = b'\n\n{"person": "a", "timezone": "Mars/Base"}\n{"person": 1}'
    told = (await rig.ask("POST", "/v1/people", raw=raw)).json["problems"]
    assert told[0].startswith("line 4: ")
    assert told[1].startswith("person 'a': unknown timezone")

    raw = b'\n{"id": "hall"}\n\n{"id": "stairs", "exit_after_s": "x"}\n{"id": 5'
    told = (await rig.ask("POST", "/v1/places", raw=raw)).json["problems"]
    assert [problem[:7] for problem in told] == ["line 5:", "line 4:"]


async def test_a_device_of_two_people_at_once_is_nobody_s(rig: Rig) -> None:
    two = [{"person": "ann", "subjects": ["phone"]}, {"person": "bea", "subjects": ["phone"]}]
    answer = await rig.ask("POST", "/v1/people", body=two)
    assert answer.status == 422
    assert answer.json["problems"] == ["person 'bea': subject 'phone' belongs to 'ann' already"]
    assert (await rig.ask("GET", "/v1/people")).json["items"] == []


async def test_campaigns_and_places_are_read(rig: Rig) -> None:
    page = (await rig.ask("GET", "/v1/campaigns")).json
    (coffee,) = page["items"]
    assert (coffee["id"], coffee["places"], coffee["on"]) == ("coffee", ["store-7"], "enter")
    one = await rig.ask("GET", "/v1/campaigns/coffee")
    assert one.json == coffee
    etag = {"If-None-Match": one.headers["ETag"]}
    assert (await rig.ask("GET", "/v1/campaigns/coffee", headers=etag)).status == 304
    assert (await rig.ask("GET", "/v1/campaigns/tea")).status == 404
    page = (await rig.ask("GET", "/v1/places")).json
    assert [(one["id"], one["kind"]) for one in page["items"]] == [
        ("store-7", "fence"), ("store-7/entrance", "zone"),
    ]  # fmt: skip
    one = await rig.ask("GET", "/v1/places/store-7%2Fentrance")
    assert one.json["parents"] == ["store-7"]
    etag = {"If-None-Match": one.headers["ETag"]}
    assert (await rig.ask("GET", "/v1/places/store-7%2Fentrance", headers=etag)).status == 304
    assert (await rig.ask("GET", "/v1/places/nowhere")).status == 404
