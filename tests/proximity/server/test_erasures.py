"""Leaving over HTTP: what is answered, who is told, and what a sensitive place is met with."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from proximity.server import clearing
from proximity.server.auth import Role
from proximity.store import StoreFull, schema
from tests.proximity.server.rig import Rig, fix, running

ADA: dict[str, Any] = {
    "person": "lovelace",
    "subjects": ["phone-1", "tag-1"],
    "consents": [{"purpose": "marketing", "channel": None, "from": None, "until": None}],
    "timezone": "Europe/Paris",
}


async def erased(rig: Rig, person: str = "lovelace") -> dict[str, Any]:
    begun = await rig.ask("POST", "/v1/erasures", body={"person": person})
    assert begun.status == 202, begun.body
    assert begun.headers["Location"] == f"/v1/erasures/{begun.json['id']}"
    for _ in range(500):
        found = (await rig.ask("GET", begun.headers["Location"])).json
        if found["state"] == "done":
            return dict(found)
        await asyncio.sleep(0.02)
    raise AssertionError("never done")


def left(rig: Rig, *names: str) -> dict[str, int]:
    """Rows of any table in which one of these names stands anywhere."""

    def read(conn: sa.Connection) -> dict[str, int]:
        found = {}
        for table in schema.metadata.sorted_tables:
            rows = [repr(tuple(row)) for row in conn.execute(sa.select(table))]
            count = sum(any(name in row for name in names) for row in rows)
            if count:
                found[table.name] = count
        return found

    return rig.parts.store.read(read)


async def test_every_row_goes_and_others_stay(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/lovelace", body=ADA)
    await rig.ask("PUT", "/v1/people/bob", body={**ADA, "person": "bob", "subjects": ["phone-b"]})
    for subject in ("phone-1", "phone-b"):
        assert (await rig.ask("POST", "/v1/fixes", body=fix(subject))).json["accepted"] == 1
    await rig.until("/v1/deliveries", 2)
    assert set(left(rig, "lovelace", "phone-1")) >= {
        "people",
        "subjects",
        "consents",
        "ledger",
        "sends",
    }
    before = left(rig, "bob", "phone-b")
    found = await erased(rig)
    assert left(rig, "lovelace", "phone-1", "tag-1") == {}
    rest = left(rig, "bob", "phone-b")
    assert {name: rest[name] for name in before if name not in {"snapshots", "journal"}} == {
        name: count for name, count in before.items() if name not in {"snapshots", "journal"}
    }
    assert found["receipt"]["rows"]["ledger"] >= 3
    assert found["receipt"]["person"] not in {"lovelace", ""}
    (listed,) = (await rig.ask("GET", "/v1/erasures")).json["items"]
    assert listed == found


async def test_who_is_unknown_cannot_be_erased(rig: Rig) -> None:
    assert (await rig.ask("POST", "/v1/erasures", body={"person": "nobody"})).status == 404
    assert (await rig.ask("POST", "/v1/erasures", body={"person": ""})).status == 400
    assert (await rig.ask("GET", "/v1/erasures/none")).status == 404
    said = {"processor": "crm"}
    path = "/v1/erasures/none/acknowledgements"
    assert (await rig.ask("POST", path, body=said)).status == 404


async def test_an_erasure_that_cannot_be_written_changes_nothing(
    rig: Rig, monkeypatch: Any
) -> None:
    await rig.ask("PUT", "/v1/people/lovelace", body=ADA)

    def full(*_: object) -> None:
        raise StoreFull("injected")

    with monkeypatch.context() as patched:
        patched.setattr(rig.parts.people, "remove", full)
        assert (await rig.ask("POST", "/v1/erasures", body={"person": "lovelace"})).status == 507
    assert (await rig.ask("GET", "/v1/people/lovelace")).status == 200
    while not rig.parts.ingest.ready:  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.05)
    await erased(rig)


async def test_asked_twice_it_is_one_erasure(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/lovelace", body=ADA)
    both = await asyncio.gather(
        *(rig.ask("POST", "/v1/erasures", body={"person": "lovelace"}) for _ in range(2))
    )
    ids = {one.json["id"] for one in both if one.status == 202}
    assert len(ids) == 1  # the second finds the first under way, or nobody any more


async def test_a_phone_of_theirs_may_be_somebody_elses_afterwards(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/lovelace", body=ADA)
    await erased(rig)
    other = {**ADA, "person": "eve", "subjects": ["phone-1"]}
    assert (await rig.ask("PUT", "/v1/people/eve", body=other)).status == 201
    assert (await rig.ask("POST", "/v1/fixes", body=fix("phone-1"))).json["accepted"] == 1
    assert (await rig.ask("PUT", "/v1/people/lovelace", body=ADA)).status == 422


async def test_no_route_brings_them_back(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/lovelace", body=ADA)
    export = (await rig.ask("GET", "/v1/people/lovelace/export")).json
    await erased(rig)
    beacon = {"uuid": "0d3c2f6e-5a51-4d0b-9d0c-cab1e5ca9a21", "major": 1, "person": "lovelace"}
    tries = [
        ("PUT", "/v1/people/lovelace", ADA),
        ("POST", "/v1/consents", {"person": "lovelace", "purpose": "marketing"}),
        ("PUT", "/v1/beacons/card-1", beacon),
        ("POST", "/v1/beacons", [{"id": "card-1", **beacon}]),
        ("POST", "/v1/exports", export),
    ]
    for method, path, body in tries:
        answer = await rig.ask(method, path, body=body)
        assert answer.status == 422, (path, answer.body)
        assert b"erased" in answer.body, path
    listed = await rig.ask("POST", "/v1/people", body=[ADA])  # a nightly list goes on without her
    assert (listed.status, listed.json) == (200, {"recorded": 0, "erased": 1})
    assert (await rig.ask("POST", "/v1/fixes", body=fix("phone-1"))).json["unconsented"] == 1
    assert left(rig, "lovelace", "phone-1", "tag-1", "card-1") == {}


async def test_where_consent_is_assumed_a_late_record_does_not_bring_them_back(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, consent="assumed") as rig:
        await rig.ask("PUT", "/v1/people/lovelace", body=ADA)
        assert (await rig.ask("POST", "/v1/fixes", body=fix("phone-1"))).json["accepted"] == 1
        await erased(rig)
        assert (await rig.ask("POST", "/v1/fixes", body=fix("phone-1"))).json["unconsented"] == 1
        assert (await rig.ask("POST", "/v1/fixes", body=fix("phone-2"))).json["accepted"] == 1
        assert left(rig, "lovelace", "phone-1") == {}


class Crm:
    """Somebody else who keeps people: takes notices, and says what came."""

    def __init__(self, secret: str) -> None:
        self.came: list[dict[str, Any]] = []
        self.status = 204
        self._webhook = Webhook(secret)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._webhook.verify(body, dict(request.headers))
        self.came.append(json.loads(body))
        return web.Response(status=self.status)


async def test_processors_are_told_until_they_say_it_is_done(tmp_path: Path) -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    crm = Crm(secret)
    app = web.Application()
    app.router.add_post("/erase", crm.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    (tmp_path / "crm.secret").write_text(secret)
    (tmp_path / "privacy.toml").write_text(f"""
[[processor]]
id = "crm"
url = "http://127.0.0.1:{port}/erase"
allow = ["127.0.0.0/8"]
secret_file = "crm.secret"
""")
    try:
        async with running(tmp_path, privacy=tmp_path / "privacy.toml") as rig:
            await rig.ask("PUT", "/v1/people/lovelace", body=ADA)
            crm.status = 503
            found = await erased(rig)
            while not crm.came:  # noqa: ASYNC110 - it is told right after the receipt
                await asyncio.sleep(0.02)
            assert found["receipt"]["processors"] == ["crm"]
            (waiting,) = (await rig.ask("GET", f"/v1/erasures/{found['id']}")).json["processors"]
            assert waiting == {"processor": "crm", "told_at": None, "acknowledged_at": None}
            crm.status = 204
            await clearing.erase_due(rig.parts)
            first, second = crm.came
            assert first["id"] == second["id"] == f"{found['id']}/crm"
            assert second["type"] == "proximity.person.erased.v1"
            assert second["data"]["person"] == "lovelace"
            assert left(rig, "lovelace") == {"erasure_notices": 1}  # until they say it is done
            await clearing.erase_due(rig.parts)
            assert len(crm.came) == 2
            report = (await rig.ask("GET", "/v1/privacy")).json
            assert report["erasures"] == {"begun": 0, "done": 1, "unacknowledged": 1}
            done = await rig.ask("POST", second["data"]["acknowledge"], body={"processor": "crm"})
            assert done.status == 204
            assert left(rig, "lovelace") == {}
            (told,) = (await rig.ask("GET", f"/v1/erasures/{found['id']}")).json["processors"]
            assert told["acknowledged_at"] is not None
            report = (await rig.ask("GET", "/v1/privacy")).json
            assert report["erasures"]["unacknowledged"] == 0
    finally:
        await runner.cleanup()


CLINIC = {
    "type": "Feature",
    "properties": {"name": "Clinic", "radius_m": 50, "tags": ["cafe", "clinic"]},
    "geometry": {"type": "Point", "coordinates": [2.40, 48.90]},
}


async def test_a_fence_round_a_clinic_is_refused_until_two_people_vouch(tmp_path: Path) -> None:
    layer = {**CLINIC, "id": "listed", "properties": {"category": "health", "radius_m": 30}}
    (tmp_path / "layer.geojson").write_text(json.dumps(layer))
    (tmp_path / "privacy.toml").write_text('[sensitive]\nlayer = "layer.geojson"\n')
    shop = {**CLINIC, "properties": {"name": "Shop", "radius_m": 50}}
    async with running(tmp_path, privacy=tmp_path / "privacy.toml") as rig:
        refused = await rig.ask("PUT", "/v1/fences/shop", body=shop)
        assert (refused.status, refused.json["code"]) == (422, "sensitive")
        assert "sensitive/health" in refused.json["problems"][0]
        posted = await rig.ask("POST", "/v1/fences", body={**shop, "id": "shop"})
        assert posted.status == 422
        assert (await rig.ask("GET", "/v1/fences/shop")).status == 404
        what = refused.json["problems"][0].split("approve '")[1].split("'")[0]
        said = {"what": what, "reason": "the clinic's own shop"}
        one = await rig.ask("POST", "/v1/approvals", body=said)
        unmet = "no place 'shop' is in force: it counts once one is drawn as it was refused"
        assert (one.status, one.json) == (201, {"approvals": 1, "note": unmet})
        assert (await rig.ask("POST", "/v1/approvals", body=said)).status == 422
        (approval, *_) = (await rig.ask("GET", "/v1/approvals")).json["items"]
        assert approval["at"].endswith("Z")
        assert (await rig.ask("PUT", "/v1/fences/shop", body=shop)).status == 422
        two = await rig.ask("POST", "/v1/approvals", body=said, role=Role.MARKETER)
        assert two.json == {"approvals": 2, "note": unmet}
        assert (await rig.ask("PUT", "/v1/fences/shop", body=shop)).status == 201
        cy = {"Authorization": f"Bearer {rig.token(Role.MARKETER, 'cy')}"}
        third = await rig.ask("POST", "/v1/approvals", body=said, role=None, headers=cy)
        assert third.json == {"approvals": 3}
        wider = {**shop, "properties": {"name": "Shop", "radius_m": 60}}
        assert (await rig.ask("PUT", "/v1/fences/shop", body=wider)).status == 422
        audit = (await rig.ask("GET", "/v1/approvals")).json["items"]
        assert len({one["who"] for one in audit}) == 3
        assert {one["reason"] for one in audit} == {"the clinic's own shop"}
        far = {**shop, "geometry": {"type": "Point", "coordinates": [2.5, 48.9]}}
        assert (await rig.ask("PUT", "/v1/fences/far", body=far)).status == 201


async def test_an_export_holds_all_and_goes_in_elsewhere(rig: Rig, tmp_path: Path) -> None:
    await rig.ask(
        "PUT", "/v1/people/lovelace", body={**ADA, "attributes": {"likes": ["tea", "=1+1"]}}
    )
    await rig.ask("POST", "/v1/fixes", body=fix("phone-1"))
    await rig.ask(
        "POST", "/v1/events",
        body={"type": "event", "subject": "phone-1", "at": time.time(), "name": "saved"},
    )  # fmt: skip
    await rig.until("/v1/deliveries", 1)
    await rig.ask("DELETE", "/v1/consents?person=lovelace&purpose=marketing&channel=console")
    found = (await rig.ask("GET", "/v1/people/lovelace/export")).json
    kept = {"people", "subjects", "attributes", "consents", "ledger", "sends", "events", "visits"}
    assert set(found["tables"]) >= kept
    assert (await rig.ask("GET", "/v1/people/nobody/export")).status == 404
    again = await rig.ask("POST", "/v1/exports", body=found)
    assert again.status == 422  # she is here
    (tmp_path / "other").mkdir()
    async with running(tmp_path / "other") as other:
        written = await other.ask("POST", "/v1/exports", body=found)
        assert written.status == 200, written.body
        second = (await other.ask("GET", "/v1/people/lovelace/export")).json
        assert second == {**found, "records": []}
        verified = await other.ask("GET", "/v1/consents/verify")
        assert verified.status == 200
        assert not verified.json["problems"]
        assert (await other.ask("GET", "/v1/people/lovelace")).json == (
            await rig.ask("GET", "/v1/people/lovelace")
        ).json
