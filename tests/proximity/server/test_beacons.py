"""Tags and cards over HTTP: singly with a person and a consent, many by CSV, and erased with them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from beacon_gateway import eid
from proximity.server.auth import Role
from tests.proximity.server.rig import Rig
from tests.proximity.server.test_gateways import UUID, heard

KEY = "ab" * 16


async def put(rig: Rig, name: str, **fields: Any) -> Any:
    return await rig.ask("PUT", f"/v1/beacons/{name}", role=Role.FEED, body=fields)


async def post_csv(rig: Rig, text: str) -> Any:
    return await rig.ask(
        "POST", "/v1/beacons", headers={"Content-Type": "text/csv"}, raw=text.encode()
    )


class TestOne:
    async def test_a_card_its_person_and_their_yes_are_one(self, rig: Rig) -> None:
        before = await rig.ask("POST", "/v1/sightings", body=[heard(minor=9)])
        assert before.json["unconsented"] == 1
        made = await put(
            rig, "card-9", uuid=UUID, major=2, minor=9, person="ann",
            consents=[{"purpose": "marketing", "channel": "console"}],
        )  # fmt: skip
        assert made.status == 201, made.body
        assert made.json == {
            "id": "card-9", "format": "ibeacon", "source": "http", "uuid": UUID, "major": 2,
            "minor": 9, "subject": "card-9",
        }  # fmt: skip
        ann = (await rig.ask("GET", "/v1/people/ann")).json
        assert ann["subjects"] == ["card-9"]
        assert ann["consents"][0]["purpose"] == "marketing"
        record = heard()
        record["beacon"] |= {"major": 2, "minor": 9}
        assert (await rig.ask("POST", "/v1/sightings", body=[record])).json["accepted"] == 1
        shown = await rig.ask("GET", "/v1/beacons/card-9")
        same = await rig.ask("PUT", "/v1/beacons/card-9", body=shown.json)
        assert (same.status, same.json) == (200, shown.json)

    async def test_a_person_keeps_what_else_they_carry(self, rig: Rig) -> None:
        person = {"person": "ann", "subjects": ["phone"], "languages": ["fr"]}
        await rig.ask("PUT", "/v1/people/ann", body=person)
        assert (await put(rig, "card", uuid=UUID, major=2, person="ann")).status == 201
        ann = (await rig.ask("GET", "/v1/people/ann")).json
        assert (ann["subjects"], ann["languages"]) == (["card", "phone"], ["fr"])
        other = await put(rig, "other", uuid=UUID, major=3, person="bob", subject="phone")
        assert (other.status, "somebody else's" in other.json["detail"]) == (422, True)
        assert (await rig.ask("GET", "/v1/beacons/other")).status == 404
        assert (await rig.ask("GET", "/v1/people/bob")).status == 404

    async def test_a_withdrawn_yes_does_not_come_back_with_the_list(self, rig: Rig) -> None:
        fields = {"uuid": UUID, "major": 2, "person": "ann", "consents": [{"purpose": "service"}]}
        assert (await put(rig, "card", **fields)).status == 201
        assert (await rig.ask("DELETE", "/v1/consents?person=ann")).status == 204
        assert (await put(rig, "card", **fields)).status == 200
        ann = (await rig.ask("GET", "/v1/people/ann")).json
        assert all(one["until"] is not None for one in ann["consents"])
        # Nor is the card gone: what is withdrawn is the yes.
        assert (await rig.ask("GET", "/v1/beacons/card")).status == 200

    async def test_erasing_a_person_takes_their_tags(self, rig: Rig) -> None:
        for number in (2, 3):
            fields = {"uuid": UUID, "major": number, "person": "ann", "consents": ["service"]}
            assert (await put(rig, f"card-{number}", **fields)).status == 201
        assert (await put(rig, "bobs", uuid=UUID, major=4, person="bob")).status == 201
        records = [heard(ago_s=4 - n) for n in range(4)]
        for record in records:
            record["beacon"]["major"] = 2
        assert (await rig.ask("POST", "/v1/sightings", body=records)).json["accepted"] == 4
        await rig.until("/v1/transitions", 1)
        assert (await rig.ask("DELETE", "/v1/people/ann")).status == 204
        listed = (await rig.ask("GET", "/v1/beacons")).json["items"]
        assert [one["id"] for one in listed] == ["bobs", f"ibeacon/{UUID}/1"]
        told = await rig.until("/v1/transitions", 3)
        assert {one["reason"] for one in told if one["kind"] == "exit"} == {"erased"}
        again = records[-1] | {"at": time.time()}
        assert (await rig.ask("POST", "/v1/sightings", body=[again])).json["unconsented"] == 1
        (config,) = [(await rig.ask("GET", "/v1/gateways/gw-1/config")).json]
        assert [one["major"] for one in config["beacons"]] == [1, 4]

    async def test_what_others_hear_of_a_bound_beacon_is_counted(self, rig: Rig) -> None:
        await rig.ask("PUT", "/v1/gateways/gw-2", body={"place": "store-7"})
        fields = {"uuid": UUID, "major": 2, "person": "ann", "gateways": ["gw-2"]}
        await put(rig, "card", **fields, consents=["service"])
        for gateway, outcome in (("gw-1", "unconsented"), ("gw-2", "accepted")):
            record = heard(gateway)
            record["beacon"]["major"] = 2
            answer = await rig.ask("POST", "/v1/sightings", body=[record])
            assert answer.json[outcome] == 1
        metrics = (await rig.ask("GET", "/metrics")).body.decode()
        assert 'proximity_dropped_total{reason="elsewhere"} 1.0' in metrics

    async def test_a_rotating_identity_is_known_and_its_key_never_shown(self, rig: Rig) -> None:
        epoch = time.time() - 100_000
        made = await put(
            rig, "turning", format="eddystone-eid", identity_key=KEY, exponent=10, epoch=epoch,
            person="ann", consents=["service"],
        )  # fmt: skip
        assert made.status == 201, made.body
        key = eid.EidKey(identity_key=KEY, exponent=10, epoch=epoch)
        assert made.json["eid"] == eid.name(key)
        at = time.time()
        record = {
            "beacon": {"format": "eddystone-eid", "eid": eid.identity_at(key, at)},
            "at": at, "rssi_dbm": -60, "gateway": "gw-1",
        }  # fmt: skip
        answer = await rig.ask("POST", "/v1/sightings", body=[record])
        assert answer.json["accepted"] == 1, answer.json
        stale = record | {
            "at": at + 0.5,
            "beacon": {"format": "eddystone-eid", "eid": eid.identity_at(key, at - 50_000)},
        }
        assert (await rig.ask("POST", "/v1/sightings", body=[stale])).json["unconsented"] == 1
        shown = await rig.ask("GET", "/v1/beacons/turning")
        moved = await put(rig, "turning", **(shown.json | {"subject": "ann-tag"}))
        assert (moved.status, moved.json["subject"]) == (200, "ann-tag")
        every = [shown.body, moved.body, (await rig.ask("GET", "/v1/beacons")).body]
        wrong = await put(rig, "x", format="eddystone-eid", identity_key=KEY[1:], subject="s")
        assert wrong.status == 422
        assert len(wrong.json["problems"]) == 3
        assert all(KEY[1:].encode() not in body for body in [*every, wrong.body])

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"uuid": UUID}, "needs either subject"),
            ({"uuid": UUID, "subject": "s", "place": "store-7"}, "needs either subject"),
            ({"uuid": UUID, "place": "store-7", "person": "ann"}, "nobody carries it"),
            ({"uuid": UUID, "subject": "s", "consents": ["x"]}, "add person"),
            ({"uuid": UUID, "person": "ann", "consents": [{"purpose": ""}]}, "consents"),
            ({"uuid": UUID, "person": "ann", "consents": 3}, "consents must be a list"),
            ({"uuid": "x", "subject": "s"}, "must be a UUID"),
            ({"uuid": UUID, "major": 1, "subject": "s"}, "is enrolled as"),
            ({"uuid": UUID, "subject": "s", "gateways": []}, "gateways has 0 entries"),
            ({"format": "morse", "subject": "s"}, "format"),
            ({"uuid": UUID, "place": "store-7", "gateways": ["gw-1"]}, "is fixed"),
        ],
    )
    async def test_what_is_no_good_is_refused(
        self, rig: Rig, fields: dict[str, Any], told: str
    ) -> None:
        answer = await put(rig, "x", **fields)
        assert answer.status == 422, answer.body
        assert told in " ".join(answer.json["problems"])
        assert (await rig.ask("GET", "/v1/people/ann")).status == 404


class TestMany:
    async def test_a_list_is_enrolled_with_its_people(self, rig: Rig) -> None:
        rows = "\n".join(
            f"card-{n},{UUID},7,{n},person-{n},marketing;service@email" for n in range(300)
        )
        text = f"id,uuid,major,minor,person,consents\n{rows}\n"
        answer = await post_csv(rig, "\ufeff" + text)
        assert (answer.status, len(answer.json["added"])) == (200, 300)
        again = await post_csv(rig, text)
        assert len(again.json["replaced"]) == 300
        person = (await rig.ask("GET", "/v1/people/person-299")).json
        assert [(c["purpose"], c["channel"]) for c in person["consents"]] == [
            ("marketing", None), ("service", "email"),
        ]  # fmt: skip
        page = (await rig.ask("GET", "/v1/beacons?limit=1000")).json
        assert len(page["items"]) == 301

    async def test_all_problems_are_told_at_once_and_nothing_is_written(self, rig: Rig) -> None:
        text = (
            "id,uuid,major,minor,person,place,gateways\n"
            f"a,{UUID},70000,1,ann,,\n"
            f"b,{UUID},7,2,bob,store-7,\n"
            "c,nonsense,7,3,cid,,\n"
            f"d,{UUID},7,4,dan,,\n"
            f"e,{UUID},7,4,eve,,,too many\n"
        )
        answer = await post_csv(rig, text)
        assert answer.status == 422
        told = answer.json["problems"]
        assert [one.split(":")[0] for one in told] == [
            "line 2",
            "line 3",
            "line 4",
            "line 6",
        ]
        good = f"id,uuid,major,minor,person,gateways\nd,{UUID},7,4,dan,gw-x\ne,{UUID},7,4,eve,\n"
        clash = await post_csv(rig, good)
        assert (clash.status, "is enrolled as 'd'" in clash.json["problems"][0]) == (422, True)
        strange = await post_csv(rig, good.rsplit("\n", 2)[0])
        assert "'gw-x' is no [[gateway]]" in strange.json["problems"][0]
        assert len((await rig.ask("GET", "/v1/beacons")).json["items"]) == 1
        for name in ("ann", "bob", "cid", "dan", "eve"):
            assert (await rig.ask("GET", f"/v1/people/{name}")).status == 404
        assert (await post_csv(rig, "id,uuid\n\xff".encode("latin-1").decode("latin-1"))).status in {
            200, 422,
        }  # fmt: skip
        raw = await rig.ask(
            "POST", "/v1/beacons", headers={"Content-Type": "text/csv"}, raw=b"id\n\xff\n"
        )
        assert raw.status == 400

    async def test_lines_of_json(self, rig: Rig) -> None:
        rows = [{"uuid": UUID, "major": 7, "minor": n, "subject": f"s{n}"} for n in range(3)]
        body = "\n".join(map(json.dumps, rows)).encode()
        answer = await rig.ask("POST", "/v1/beacons", raw=body)
        assert answer.json["added"] == [f"ibeacon/{UUID}/7/{n}" for n in range(3)]
        gone = await rig.ask("DELETE", f"/v1/beacons/ibeacon%2F{UUID}%2F7%2F1")
        assert gone.status == 204

    async def test_a_cut_off_channel_is_no_yes_to_all(self, rig: Rig) -> None:
        head = "id,uuid,major,person,consents\n"
        cut = await post_csv(rig, head + f"card,{UUID},7,ann,marketing@\n")
        assert (cut.status, cut.json["problems"][0][:24]) == (422, "line 2: consents: 'marke")
        for consents in (["service@ "], ["@"], [{"purpose": "service", "chanel": "email"}]):
            answer = await put(rig, "card", uuid=UUID, major=7, person="ann", consents=consents)
            assert answer.status == 422, consents
        assert (await rig.ask("GET", "/v1/people/ann")).status == 404

    async def test_every_fault_has_its_line_whatever_its_kind(self, rig: Rig) -> None:
        text = (
            "id,uuid,major,minor,subject,place,gateways\n"
            f"a,{UUID},7,1,s,,\n"
            f"a,{UUID},7,2,s,,\n"
            f"b,{UUID},7,1,s,,\n"
            f"c,{UUID},7,3,,nowhere,\n"
            f"d,{UUID},7,4,s,,gw-x\n"
            f"e,{UUID},1,,s,,\n"
            "f,nonsense,7,5,s,,\n"
        )
        answer = await post_csv(rig, text)
        assert answer.status == 422
        told = dict(one.split(": ", 1) for one in answer.json["problems"])
        assert set(told) == {f"line {n}" for n in range(3, 9)}
        for line, word in (
            (3, "twice"), (4, "enrolled as 'a'"), (5, "'nowhere'"), (6, "'gw-x'"),
            (7, "enrolled as"), (8, "UUID"),
        ):  # fmt: skip
            assert word in told[f"line {line}"]
        assert not any("site.toml" in one for one in answer.json["problems"])

    async def test_whose_a_subject_is_is_told_with_the_way_out(self, rig: Rig) -> None:
        assert (await put(rig, "card", uuid=UUID, major=2, person="ann/1")).status == 201
        other = await put(rig, "card", uuid=UUID, major=2, person="bob")
        assert (other.status, "PUT /v1/people/{id} of 'ann/1' without" in other.json["detail"]) == (
            422,
            True,
        )
        # A refusal is not the disk's.
        assert (await rig.ask("GET", "/readyz", role=None)).status == 200
        # The card goes, and its subject stays with the person.
        assert (await rig.ask("DELETE", "/v1/beacons/card")).status == 204
        assert (await rig.ask("GET", "/v1/people/ann%2F1")).json["subjects"] == ["card"]

    async def test_a_receipt_counts_what_is_nobodys(self, rig: Rig) -> None:
        stranger = heard()
        stranger["beacon"]["major"] = 40
        answer = await rig.ask("POST", "/v1/sightings", body=[stranger])
        assert answer.json == {
            "accepted": 0, "duplicate": 0, "unconsented": 1, "unlisted": 1, "rejected": [],
        }  # fmt: skip
