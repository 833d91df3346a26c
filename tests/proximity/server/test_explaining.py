"""Explanations over HTTP: what each kind of reader gets, and who may ask for it."""

from __future__ import annotations

import time

import pytest

from proximity.model import Decision, Delivery, GateResult, Reason, Transition, Verdict
from proximity.server.auth import Role
from proximity.store import ledger
from tests.proximity.server.rig import Rig, fix

# Retention sweeps what is old: what is told of happened just now.
THEN = round(time.time() - 600.0)


def transition(subject: str = "phone-1", visit: str = "v") -> Transition:
    return Transition(
        kind="enter",
        subject=subject,
        place="store-7",
        visit=visit,
        at=THEN + 0.0,
        decided_at=THEN + 1.0,
    )


DECISION = Decision(
    id="d", decision=Verdict.SUPPRESS, reason=Reason.CAPPED, campaign="coffee", version=1,
    subject="phone-1", person="ada", place="store-7", visit="v", at=THEN + 2.0,
    gates=(GateResult("caps", False, {"caps": []}),),
)  # fmt: skip


async def fill(rig: Rig, *items: Transition | Decision | Delivery) -> None:
    await rig.parts.store.awrite(
        lambda conn: ledger.append(conn, [ledger.entry(item) for item in items])
    )
    rig.parts.tail.grew()


async def test_explain_over_http(rig: Rig) -> None:
    assert (await rig.ask("GET", "/v1/explain?subject=s&person=p")).status == 400
    answer = await rig.ask("GET", "/v1/explain?subject=nobody")
    assert answer.json["visits"] == []
    assert "Nothing happened" in answer.json["says"]
    await fill(rig, transition("s"))
    answer = await rig.ask("GET", f"/v1/explain?subject=s&at={THEN + 100}")
    (visit,) = answer.json["visits"]
    assert visit["unmet"] == {"coffee": "not decided yet, or not in force when it happened"}
    assert visit["lacking"][0]["code"] == "undecided"
    assert visit["name"] == "Store"
    assert (await rig.ask("GET", f"/v1/explain?subject=s&at={time.time()}")).status == 200
    zoned = "/v1/explain?subject=s&at=2026-01-01T00:00:00+01:00"
    assert (await rig.ask("GET", zoned)).status == 200


@pytest.mark.parametrize(
    "query",
    ["", "?subject=s&at=noon", "?subject=", "?subject=s&for=king", "?subject=s&language=1%202",
     "?subject=s&subjct=t", "?person=" + "x" * 129],
)  # fmt: skip
async def test_a_bad_question_is_refused(rig: Rig, query: str) -> None:
    answer = await rig.ask("GET", f"/v1/explain{query}")
    assert answer.status == 400, answer.body
    assert answer.headers["Content-Type"].startswith("application/problem+json")


async def test_each_reader_gets_their_own(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/ada", body={"subjects": ["phone-1"], "languages": ["fr"]})
    await rig.consent("ada")
    await fill(rig, transition(), DECISION)
    asked = f"/v1/explain?subject=phone-1&at={THEN + 100}"
    engineer = (await rig.ask("GET", asked)).json
    assert engineer["visits"][0]["decisions"][0]["gates"][0]["gate"] == "caps"
    marketer = (await rig.ask("GET", f"{asked}&for=marketer", role=Role.MARKETER)).json
    assert [row["result"] for row in marketer["rows"]] == ["not sent"]
    person = (await rig.ask("GET", f"{asked}&for=person")).json
    assert (person["language"], person["timezone"]) == ("fr", "Europe/Paris")
    assert any("Store" in one for one in person["sentences"])
    english = (await rig.ask("GET", f"{asked}&for=person&language=en")).json
    assert "We did not send you the offer “coffee”." in english["sentences"]
    of_person = (await rig.ask("GET", f"/v1/explain?person=ada&at={THEN + 100}")).json
    assert of_person["visits"] == engineer["visits"]
    assert of_person["subjects"] == ["phone-1"]


async def test_a_device_is_told_what_is_for_its_person_and_about_nobody_else(rig: Rig) -> None:
    await rig.consent("phone-1")
    await fill(rig, transition(), DECISION)
    own = await rig.ask("GET", f"/v1/explain?subject=phone-1&at={THEN + 100}", role=Role.DEVICE)
    assert own.status == 200
    assert own.json["sentences"]
    for query in ("subject=phone-2", "person=phone-1", "subject=phone-1&for=engineer"):
        refused = await rig.ask("GET", f"/v1/explain?{query}", role=Role.DEVICE)
        assert refused.status == 403, query
    backend = await rig.ask("GET", "/v1/explain?person=phone-1&for=person", role=Role.FEED)
    assert backend.status == 200
    refused = await rig.ask("GET", "/v1/explain?person=phone-1&for=marketer", role=Role.FEED)
    assert refused.status == 403
    assert (await rig.ask("GET", "/v1/explain?subject=gw-1", role=Role.GATEWAY)).status == 403


async def test_what_did_not_happen_is_told_from_the_running_engine(rig: Rig) -> None:
    await rig.consent("phone-1")
    now = time.time()
    # 100 m north of the middle of a circle of 60 m.
    fixes = [fix(at=now - 60.0 + n, lat=48.85 + 100.0 / 111_200.0) for n in range(3)]
    assert (await rig.ask("POST", "/v1/fixes", body=fixes)).status == 202
    for _ in range(100):
        found = (await rig.ask("GET", "/v1/explain?subject=phone-1")).json
        if found["near"]:
            break
    (near,) = found["near"]
    assert (near["place"], near["code"], near["name"]) == ("store-7", "outside", "Store")
    assert near["because"]["distance_m"] == pytest.approx(40.0, abs=3.0)
    assert "stood outside store-7" in found["says"]
    said = (await rig.ask("GET", "/v1/explain?subject=phone-1&for=person&language=en")).json
    assert any("about 40 meters from its edge" in one for one in said["sentences"])


async def test_without_consent_nothing_is_said_but_that(rig: Rig) -> None:
    found = (await rig.ask("GET", "/v1/explain?subject=stranger")).json
    assert found["nothing"] == ["unconsented"]
    assert (found["near"], found["seen"]) == ([], [])
    said = (await rig.ask("GET", "/v1/explain?subject=stranger&for=person&language=en")).json
    assert any("You had not agreed" in one for one in said["sentences"])


async def test_what_came_too_late_is_told(rig: Rig) -> None:
    await rig.consent("phone-1")
    old = [fix(at=time.time() - 9000.0 + n) for n in range(2)] + [fix(at=time.time() + 900.0)]
    told = (await rig.ask("POST", "/v1/fixes", body=old)).json
    assert (told["accepted"], len(told["rejected"])) == (0, 1)
    found = (await rig.ask("GET", "/v1/explain?subject=phone-1")).json
    assert found["nothing"] == ["late", "future"]
    assert "2 records came too late to count" in found["says"]
    said = (await rig.ask("GET", "/v1/explain?subject=phone-1&for=person&language=en")).json
    assert "Some of what your device sent came too late to count." in said["sentences"]
    # Who is forgotten is forgotten here too.
    assert (await rig.ask("DELETE", "/v1/people/phone-1")).status == 204
    assert rig.parts.ingest.refused("phone-1") == {}
