from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.proximity.server.rig import Rig, fix, running

ADA: dict[str, Any] = {
    "person": "ada",
    "subjects": ["phone-1"],
    "consents": [{"purpose": "marketing", "channel": None, "from": None, "until": None}],
    "attributes": {"tier": "gold"},
}
NOON = "2026-01-06T12:00:00Z"
LATER = "2026-01-06T13:00:00Z"


def word(field: str, value: object, at: str = NOON) -> dict[str, Any]:
    return {"field": field, "value": value, "at": at}


def item(*words: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"person": "ada", "words": list(words), **more}


AGREED = [{"purpose": "marketing", "channel": None, "from": None, "until": None}]


async def tell(rig: Rig, *items: dict[str, Any], origin: str = "crm") -> dict[str, Any]:
    answer = await rig.ask("POST", f"/v1/changes?origin={origin}", body=list(items))
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json
    return told


async def changes(rig: Rig, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await rig.ask("GET", f"/v1/changes{query}")).json["items"]
    return items


def said(one: dict[str, Any]) -> dict[str, Any]:
    return {w["field"]: w.get("value") for w in one["words"]}


async def test_what_changes_stands_in_the_feed_with_who_said_it(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    (one,) = await changes(rig)
    assert said(one) == {"attributes.tier": "gold", "subjects.phone-1": True}
    assert {w["origin"] for w in one["words"]} == {"http"}
    assert [c["purpose"] for c in one["consents"]] == ["marketing"]


async def test_every_way_of_changing_somebody_is_a_change(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    cursor = (await rig.ask("GET", "/v1/changes")).json["cursor"]
    steps: list[tuple[str, str, Any]] = [
        ("PUT", "/v1/people/ada/preferences", [{"allow": False, "topic": "music"}]),
        ("POST", "/v1/people", [{**ADA, "timezone": "Europe/Paris"}]),
        ("POST", "/v1/consents", [{"person": "ada", "purpose": "service"}]),
        ("DELETE", "/v1/consents?person=ada&purpose=service", None),
        ("PUT", "/v1/objections/ada", None),
        ("DELETE", "/v1/objections/ada", None),
        ("POST", "/v1/endpoints", {"person": "ada", "channel": "email", "address": "a@b.example"}),
    ]
    for method, path, body in steps:
        answer = await rig.ask(method, path, body=body)
        assert answer.status < 300, (path, answer.body)
        page = (await rig.ask("GET", f"/v1/changes?after={cursor}")).json
        assert [one["person"] for one in page["items"]] == ["ada"], path
        assert page["cursor"] != cursor
        cursor = page["cursor"]
    # And what changes nothing makes no change.
    await rig.ask("PUT", "/v1/people/ada/preferences", body=[{"allow": False, "topic": "music"}])
    assert (await rig.ask("GET", f"/v1/changes?after={cursor}")).json["items"] == []


async def test_the_last_word_counts_field_by_field(rig: Rig) -> None:
    told = await tell(rig, item(word("attributes.tier", "gold", LATER), consents=AGREED))
    assert told == {"changed": 1}
    told = await tell(
        rig, item(word("attributes.tier", "silver", NOON), word("attributes.age", 40, NOON))
    )
    assert (told["changed"], told["stale"]) == (1, 1)
    found = (await rig.ask("GET", "/v1/people/ada")).json
    assert found["attributes"] == {"tier": "gold", "age": 40}


async def test_a_copy_never_overrules_what_the_person_said(rig: Rig) -> None:
    await tell(rig, item(word("preferences", [{"allow": True, "topic": "music"}]), consents=AGREED))
    await rig.ask("PUT", "/v1/people/ada/preferences", body=[{"allow": False, "topic": "music"}])
    soon = "2030-01-01T00:00:00Z"
    told = await tell(rig, item(word("preferences", [{"allow": True, "topic": "music"}], soon)))
    assert told["owned"] == 1
    assert told["refused"] == ["person 'ada': preferences is not for 'crm' to say"]
    assert (await rig.ask("GET", "/v1/people/ada")).json["preferences"] == [
        {"allow": False, "topic": "music"}
    ]


async def test_an_owner_s_word_stands_above_later_ones(tmp_path: Path) -> None:
    rules = tmp_path / "sync.toml"
    rules.write_text('[owners]\n"attributes.tier" = "crm"\n')
    async with running(tmp_path, sync=rules) as rig:
        await tell(rig, item(word("attributes.tier", "gold"), consents=AGREED))
        told = await tell(rig, item(word("attributes.tier", "none", LATER)), origin="shop")
        assert told["owned"] == 1
        assert (await rig.ask("GET", "/v1/people/ada")).json["attributes"] == {"tier": "gold"}


async def test_what_is_dated_years_ahead_counts_as_said_now(rig: Rig) -> None:
    told = await tell(
        rig, item(word("attributes.tier", "x", "2099-01-01T00:00:00Z"), consents=AGREED)
    )
    assert told["clamped"] == 1
    later = {**ADA, "attributes": {"tier": "y"}}
    await rig.ask("PUT", "/v1/people/ada", body=later)
    assert (await rig.ask("GET", "/v1/people/ada")).json["attributes"] == {"tier": "y"}


async def test_a_message_is_taken_once(rig: Rig) -> None:
    one = item(word("attributes.tier", "gold"), consents=AGREED, id="m-1")
    assert (await tell(rig, one))["changed"] == 1
    assert (await tell(rig, one))["duplicate"] == 1
    # Without an id the same comes to the same.
    del one["id"]
    assert (await tell(rig, one))["same"] == 1


async def test_a_no_wins_over_an_older_yes_and_over_one_of_the_same_moment(rig: Rig) -> None:
    yes = [{"purpose": "marketing", "channel": None, "from": NOON, "until": None}]
    await tell(rig, {"person": "ada", "consents": yes})
    await tell(rig, {"person": "ada", "withdrawals": [{"purpose": "marketing", "at": NOON}]})
    await tell(rig, {"person": "ada", "consents": yes})
    assert (await rig.ask("POST", "/v1/fixes", body=fix(subject="ada"))).json["unconsented"] == 1
    later = [{**yes[0], "from": LATER}]
    await tell(rig, {"person": "ada", "consents": later})
    assert (await rig.ask("POST", "/v1/fixes", body=fix(subject="ada"))).json["accepted"] == 1
    # A no from between comes late, and does not end the yes after it.
    between = "2026-01-06T12:30:00Z"
    await tell(rig, {"person": "ada", "withdrawals": [{"purpose": None, "at": between}]})
    assert (await rig.ask("POST", "/v1/fixes", body=fix(subject="ada"))).json["accepted"] == 1


async def test_of_who_agrees_to_nothing_only_the_link_is_kept(rig: Rig) -> None:
    told = await tell(rig, item(word("attributes.tier", "gold"), word("subjects.phone-1", True)))
    assert told["unconsented"] == 1
    found = (await rig.ask("GET", "/v1/people/ada")).json
    assert (found["subjects"], found["attributes"]) == (["phone-1"], {})


async def test_a_reader_is_not_told_their_own_words(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/sync/crm", body={})
    await rig.ask("PUT", "/v1/sync/shop", body={})
    await tell(rig, item(word("attributes.tier", "gold"), consents=AGREED))
    assert await changes(rig, "?for=crm") == []
    (one,) = await changes(rig, "?for=shop")
    assert said(one) == {"attributes.tier": "gold"}


async def test_a_reader_goes_on_from_where_they_said_they_are(rig: Rig) -> None:
    assert (await rig.ask("GET", "/v1/changes?for=crm")).status == 404
    assert (await rig.ask("PUT", "/v1/sync/crm", body={})).status == 201
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    page = (await rig.ask("GET", "/v1/changes?for=crm")).json
    assert len(page["items"]) == 1
    assert (await rig.ask("GET", "/v1/changes?for=crm")).json == page
    done = await rig.ask("PUT", "/v1/sync/crm", body={"cursor": page["cursor"]})
    assert (done.status, done.json["cursor"]) == (200, page["cursor"])
    assert await changes(rig, "?for=crm") == []
    (peer,) = (await rig.ask("GET", "/v1/sync")).json["items"]
    assert peer["id"] == "crm"
    assert 0.0 <= peer["age_s"] < 60.0


async def test_a_new_peer_is_told_of_those_who_were_there_before(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    await rig.parts.store.awrite(
        lambda conn: conn.exec_driver_sql("DELETE FROM changes")  # as before an upgrade
    )
    await rig.ask("PUT", "/v1/sync/crm", body={})
    (one,) = await changes(rig, "?for=crm")
    assert said(one) == {"attributes.tier": "gold", "subjects.phone-1": True}
    # They were said before everything else: an old word of the CRM stands above them.
    await tell(rig, item(word("attributes.tier", "silver", "2001-01-01T00:00:00Z")))
    assert (await rig.ask("GET", "/v1/people/ada")).json["attributes"] == {"tier": "silver"}


async def test_an_erasure_goes_out_until_it_is_acknowledged(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/sync/crm", body={})
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    begun = (await rig.ask("POST", "/v1/erasures", body={"person": "ada"})).json
    for _ in range(2):
        page = (await rig.ask("GET", "/v1/changes?for=crm")).json
        (one,) = page["items"]
        assert (one["person"], one["id"]) == ("ada", begun["id"])
        assert one["erased_at"]
        await rig.ask("PUT", "/v1/sync/crm", body={"cursor": page["cursor"]})
    path = f"/v1/erasures/{begun['id']}/acknowledgements"
    assert (await rig.ask("POST", path, body={"processor": "crm"})).status == 204
    assert await changes(rig, "?for=crm") == []


async def test_an_erasure_comes_in_and_who_was_erased_does_not_come_back(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/sync/shop", body={})
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    gone = {"person": "ada", "id": "e-1", "erased_at": NOON}
    assert (await tell(rig, gone))["erasing"] == 1
    assert (await rig.ask("GET", "/v1/people/ada")).status == 404
    told = await tell(rig, item(word("attributes.tier", "gold", LATER), consents=AGREED))
    assert (told["erased"], told["refused"]) == (
        1, ["person 'ada': was erased and does not come back"],
    )  # fmt: skip
    # The shop is told, who sent it is not; and one whom we never knew is not taken either.
    assert [one["person"] for one in await changes(rig, "?for=shop")] == ["ada"]
    assert await changes(rig, "?for=crm") == []
    await tell(rig, {"person": "zoe", "id": "e-2", "erased_at": NOON})
    assert (await tell(rig, {"person": "zoe", "consents": AGREED}))["erased"] == 1


async def test_an_old_erasure_that_comes_again_does_not_erase_who_came_back(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    gone = {"person": "ada", "id": "e-1", "erased_at": NOON}
    await tell(rig, gone)
    await rig.ask("DELETE", "/v1/objections/ada?kind=erased")
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    assert (await tell(rig, gone))["duplicate"] == 1
    assert (await rig.ask("GET", "/v1/people/ada")).status == 200


async def test_a_bad_message_is_named_and_nothing_is_changed(rig: Rig) -> None:
    answer = await rig.ask(
        "POST", "/v1/changes?origin=crm",
        body=[item(word("attributes.tier", "gold"), consents=AGREED), item(word("timezone", "Mars/Olympus"))],
    )  # fmt: skip
    assert answer.status == 422
    assert answer.json["problems"] == [
        "message 2: person 'ada': unknown timezone 'Mars/Olympus'; \"Europe/Paris\" is one"
    ]
    assert (await rig.ask("GET", "/v1/people/ada")).status == 404
    strange = await rig.ask("POST", "/v1/changes?origin=crm", body=[item(word("tier", "gold"))])
    assert strange.status == 422
    assert "field 'tier' is none of" in strange.json["problems"][0]


async def test_a_withdrawal_that_leaves_nothing_makes_the_engine_forget(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/ada", body=ADA)
    await rig.ask("POST", "/v1/fixes", body=fix())
    await rig.until("/v1/transitions", 1)
    await tell(rig, {"person": "ada", "withdrawals": [{"at": "2099-12-31T00:00:00Z"}]})
    _, gone = await rig.until("/v1/transitions", 2)
    assert (gone["kind"], gone["reason"]) == ("exit", "erased")
