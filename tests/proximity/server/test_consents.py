"""Consent over HTTP: recorded with its words, proven, verified, withdrawn by one click."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import sqlalchemy as sa

from beacon_gateway.model import parse_time
from proximity.consent import chain
from proximity.consent.links import sign, withdraw_url
from proximity.consent.objections import bury
from proximity.dispatch import outbox
from proximity.model import Offer
from proximity.server.auth import Role
from proximity.server.serve import opened
from proximity.server.settings import Settings, read_files
from proximity.store import Store, schema
from proximity.store.keys import store_key
from tests.proximity.server.rig import Rig, fix, write_files

if TYPE_CHECKING:
    from pathlib import Path

ASKED = {"version": "3", "locale": "en", "text": "Offers in the shop? You save a tenth.",
         "benefit": "You save a tenth."}  # fmt: skip
BROWSER = {"Accept": "text/html", "Accept-Language": "pl, fr;q=0.9, de;q=0.95"}


async def granted(rig: Rig, person: str = "ada", **fields: Any) -> None:
    answer = await rig.ask(
        "POST", "/v1/consents", body={"person": person, "purpose": "marketing", **fields}
    )
    assert answer.status == 201, answer.body


async def link(rig: Rig, person: str = "ada", purpose: str | None = None) -> str:
    """Give the path of a link to withdraw, as an offer carries it."""
    now = time.time()
    key = await rig.parts.store.awrite(lambda conn: store_key(conn, "links", now))
    return withdraw_url(key, "", person, purpose, None, now)


async def test_words_are_recorded_with_the_yes_and_proven(rig: Rig) -> None:
    await granted(rig, shown=ASKED, method="form", precision="venue", source="app")
    (text,) = (await rig.ask("GET", "/v1/consents/texts?purpose=marketing")).json["items"]
    assert abs(parse_time(text["recorded_at"]) - time.time()) < 60
    assert isinstance(text["recorded_at"], str)
    assert (text["text"], text["benefit"]) == (ASKED["text"], "You save a tenth.")
    proof = (await rig.ask("GET", "/v1/consents/proof?person=ada&purpose=marketing")).json
    assert proof["in_force"]
    assert proof["text"]["text"] == ASKED["text"]
    assert proof["consent"]["precision"] == "venue"
    verified = (await rig.ask("GET", f"/v1/consents/verify?head={proof['head']}")).json
    assert (verified["problems"], verified["head"]) == ([], proof["head"])
    before = (
        await rig.ask("GET", "/v1/consents/proof?person=ada&purpose=marketing&at=9&channel=x")
    ).json
    assert not before["in_force"]
    assert before["says"].startswith("not yet in force")
    (row,) = (await rig.ask("GET", "/v1/consents")).json["items"]
    assert (row["text"], row["method"], row["seq"]) == (text["sha256"], "form", 1)


async def test_a_text_is_registered_and_then_named(rig: Rig) -> None:
    made = await rig.ask("POST", "/v1/consents/texts", body={**ASKED, "purpose": "marketing"})
    assert made.status == 201
    await granted(rig, text=made.json["sha256"])
    other = await rig.ask(
        "POST",
        "/v1/consents",
        body={"person": "ada", "purpose": "sharing", "text": made.json["sha256"]},
    )
    assert other.status == 422
    assert "asks for 'marketing', and not for 'sharing'" in other.json["problems"][0]
    unknown = {"person": "ada", "purpose": "marketing", "text": "0" * 64}
    assert (await rig.ask("POST", "/v1/consents", body=unknown)).status == 422
    again = {**ASKED, "purpose": "sharing"}
    assert (await rig.ask("POST", "/v1/consents/texts", body=again)).status == 422
    assert len((await rig.ask("GET", "/v1/consents")).json["items"]) == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "one purpose at a time"),
        ({"purpose": "all"}, "one purpose at a time, a row each: name one of marketing,"),
        ({"purpose": "*"}, "one purpose at a time"),
        ({"purpose": "marketing", "precision": "street"}, "precision"),
        ({"purpose": "marketing", "text": "short"}, "SHA-256"),
        ({"purpose": "marketing", "text": "0" * 64, "shown": ASKED}, "not both"),
        ({"purpose": "marketing", "shown": {**ASKED, "benefit": "Gold."}}, "does not say it"),
        ({"purpose": "marketing", "source": "x" * 201}, "at most 200"),
    ],
)
async def test_what_is_no_consent_is_refused_with_the_list(
    rig: Rig, fields: dict[str, Any], said: str
) -> None:
    answer = await rig.ask("POST", "/v1/consents", body=[{"person": "ada", **fields}])
    assert answer.status == 422
    assert said in answer.json["problems"][0]


async def test_opening_the_link_withdraws_nothing(rig: Rig) -> None:
    await granted(rig)
    path = await link(rig)
    for method in ("GET", "HEAD", "GET"):
        shown = await rig.ask(method, path, role=None, headers=BROWSER)
        assert shown.status == 200
    assert shown.headers["Content-Type"] == "text/html; charset=utf-8"
    page = shown.body.decode()
    assert '<html lang="de">' in page
    assert page.count("<form") == page.count("<button") == 1
    assert 'method="post"' in page
    assert "<script" not in page
    assert "ada" not in page
    policy = shown.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert shown.headers["Referrer-Policy"] == "no-referrer"
    proof = await rig.ask("GET", "/v1/consents/proof?person=ada&purpose=marketing")
    assert proof.json["in_force"]


@pytest.mark.parametrize("body", [b"List-Unsubscribe=One-Click", b"", b"\xff\x00"])
async def test_one_click_withdraws_without_login(rig: Rig, body: bytes) -> None:
    await granted(rig)
    await rig.ask("POST", "/v1/fixes", body=fix("ada"))
    path = await link(rig)
    done = await rig.ask("POST", path, role=None, raw=body)
    assert done.status == 200
    assert isinstance(done.json["in_flight"], list)
    assert rig.parts.ingest.engine.subjects == 0  # nobody knows any more where they are
    last = (await rig.ask("GET", "/v1/consents")).json["items"][-1]
    assert (last["withdrawal"], last["source"], last["method"]) == (True, "link", "one-click")
    assert (await rig.ask("POST", path, role=None, raw=body)).status == 200  # and once more


async def test_the_button_says_what_it_did(rig: Rig) -> None:
    await granted(rig)
    done = await rig.ask("POST", await link(rig), role=None, raw=b"", headers=BROWSER)
    assert done.status == 200
    assert "Erledigt. Sie erhalten keine Nachrichten dieser Art mehr." in done.body.decode()
    english = await rig.ask(
        "GET", await link(rig), role=None, headers={"Accept-Language": "pl;q=x"}
    )
    assert '<html lang="en">' in english.body.decode()


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        ("fr; q=0.3, de", "de"),
        ("fr ;q=0.3, de ; q=0.9", "de"),
        ("pl, es;q=0.1", "es"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("de;q=0", "en"),
    ],
)
async def test_the_page_is_in_the_language_that_is_liked_best(
    rig: Rig, wanted: str, language: str
) -> None:
    await granted(rig)
    headers = {"Accept-Language": wanted}
    shown = await rig.ask("GET", await link(rig), role=None, headers=headers)
    assert f'<html lang="{language}">' in shown.body.decode()


async def test_a_link_withdraws_what_it_names_and_no_more(rig: Rig) -> None:
    await granted(rig)
    await granted(rig, purpose="service")
    await rig.ask("POST", await link(rig, purpose="marketing"), role=None)
    asked = [
        (await rig.ask("GET", f"/v1/consents/proof?person=ada&purpose={one}")).json["in_force"]
        for one in ("marketing", "service")
    ]
    assert asked == [False, True]


async def test_a_link_ends_every_consent_that_its_message_went_by(rig: Rig) -> None:
    """An offer that a consent to push marketing allowed comes with a link that ends that one."""
    await granted(rig, purpose="push-marketing")
    await granted(rig, purpose="service")
    await rig.ask("POST", await link(rig, purpose="marketing"), role=None)
    asked = [
        (await rig.ask("GET", f"/v1/consents/proof?person=ada&purpose={one}")).json["in_force"]
        for one in ("push-marketing", "service")
    ]
    assert asked == [False, True]


async def test_who_is_tired_of_being_asked_objects_by_the_link(rig: Rig) -> None:
    await granted(rig, purpose="service")
    assert (await rig.ask("POST", await link(rig, purpose="opt-in"), role=None)).status == 200
    assert (await rig.ask("GET", "/v1/objections/ada")).json["objected_at"] is not None
    proof = await rig.ask("GET", "/v1/consents/proof?person=ada&purpose=service")
    assert proof.json["in_force"]


async def test_what_is_no_link_of_ours_does_nothing(rig: Rig) -> None:
    await granted(rig)
    assert (await rig.ask("POST", "/withdraw/x.y", role=None)).status == 404
    path = await link(rig)
    now = time.time()
    key = await rig.parts.store.awrite(lambda conn: store_key(conn, "links", now))
    other = sign(key, {"do": "preferences", "person": "ada"}, now + 60)
    old = sign(key, {"do": "withdraw", "person": "ada"}, now - 60)
    statuses = [
        (await rig.ask("POST", one, role=None)).status
        for one in (f"{path}x", path[:-1], f"/withdraw/{other}", f"/withdraw/{old}")
    ]
    assert statuses == [404, 404, 404, 410]
    for one, status, words in (
        (f"{path}x", 404, "Er ist unvollständig"),
        (f"/withdraw/{other}", 404, "Er ist unvollständig"),
        (f"/withdraw/{old}", 410, "Er ist zu alt."),
        ("/preferences/x.y", 404, "Er ist unvollständig"),
    ):
        shown = await rig.ask("GET", one, role=None, headers=BROWSER)
        assert (shown.status, shown.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
        assert words in shown.body.decode()
        assert "ada" not in shown.body.decode()
        assert shown.headers["Content-Security-Policy"].startswith("default-src 'none'")
        told = await rig.ask("GET", one, role=None)
        assert told.headers["Content-Type"] == "application/problem+json"
    assert len((await rig.ask("GET", "/v1/consents")).json["items"]) == 1


async def test_what_is_in_flight_is_listed_and_what_waits_is_taken_out(rig: Rig) -> None:
    await granted(rig)
    now = time.time()

    def waiting(conn: sa.Connection) -> None:
        offers = [
            Offer(
                key=key, campaign="coffee", person="ada", subject="ada", place="store-7",
                purpose="marketing", channel="console", text="Coffee.", language="en", link=None,
                created_at=now + 3000, expires_at=now + 3600,
            )
            for key in ("flying", "waiting")
        ]  # fmt: skip
        outbox.append(conn, offers)
        leased = {"state": "leased", "owner": "other", "lease_until": now + 3600}
        conn.execute(schema.outbox.update().where(schema.outbox.c.key == "flying").values(leased))

    await rig.parts.store.awrite(waiting)
    gone = await rig.ask("DELETE", "/v1/consents?person=ada")
    assert gone.status == 200
    (flying,) = gone.json["in_flight"]
    assert (flying["key"], flying["campaign"], flying["channel"]) == ("flying", "coffee", "console")
    (told,) = await rig.until("/v1/deliveries", 1)
    assert (told["key"], told["outcome"], told["reason"]) == ("waiting", "suppressed", "no_consent")


async def test_who_objects_is_left_alone_until_they_take_it_back(rig: Rig) -> None:
    standing = (await rig.ask("GET", "/v1/objections/ada")).json
    assert standing == {"person": "ada", "objected_at": None, "erased_at": None}
    assert (await rig.ask("PUT", "/v1/objections/ada")).json == {"in_flight": []}
    assert (await rig.ask("GET", "/v1/objections/ada")).json["objected_at"] is not None
    assert (await rig.ask("DELETE", "/v1/objections/ada")).status == 204
    assert (await rig.ask("DELETE", "/v1/objections/ada")).status == 404
    assert (await rig.ask("DELETE", "/v1/objections/ada?kind=gone")).status == 400


async def test_who_was_erased_comes_back_only_as_they_ask(rig: Rig) -> None:
    await rig.parts.store.awrite(lambda conn: bury(conn, ["ada"], at=9.0, source="x"))
    body = {"person": "ada", "purpose": "marketing"}
    refused = await rig.ask("POST", "/v1/consents", body=body)
    assert refused.status == 422
    assert "'ada' was erased and is not written again" in refused.json["problems"][0]
    assert (await rig.ask("PUT", "/v1/people/ada", body={})).status == 422
    assert (await rig.ask("PUT", "/v1/objections/ada")).status == 422
    # An old link, pressed once more, is answered, and writes their id nowhere: not in the journal.
    assert (await rig.ask("POST", await link(rig), role=None)).status == 200
    assert (await rig.ask("DELETE", "/v1/consents?person=ada")).status == 204
    assert (await rig.ask("GET", "/v1/consents")).json["items"] == []
    rows = await rig.parts.store.aread(lambda conn: conn.execute(sa.select(schema.journal)).all())
    assert not [row for row in rows if b"ada" in bytes(row.payload)]
    assert (await rig.ask("DELETE", "/v1/objections/ada?kind=erased")).status == 204
    await granted(rig)


async def test_answers_to_the_question_are_kept_and_a_yes_counts(rig: Rig) -> None:
    stranger = {"person": "eve", "purpose": "marketing", "answer": "declined"}
    assert (await rig.ask("POST", "/v1/optin", body=stranger)).json == {"recorded": False}
    await granted(rig, purpose="service")
    for number, said in enumerate(("shown", "later", "shown")):
        body = {"person": "ada", "purpose": "marketing", "answer": said, "id": f"a-{number}"}
        assert (await rig.ask("POST", "/v1/optin", body=body)).status == 201
        assert (await rig.ask("POST", "/v1/optin", body=body)).json == {"recorded": False}
    (asked,) = (await rig.ask("GET", "/v1/optin?person=ada")).json["items"]
    assert (asked["shown"], asked["later"], asked["last"], asked["agreed"]) == (
        2,
        1,
        "shown",
        False,
    )
    yes = {"person": "ada", "purpose": "marketing", "answer": "accepted", "shown": ASKED, "id": "y"}
    for _ in range(2):
        await rig.ask("POST", "/v1/optin", body=yes)
    rows = (await rig.ask("GET", "/v1/consents?person=ada")).json["items"]
    assert [one["purpose"] for one in rows] == ["service", "marketing"]
    (asked,) = (await rig.ask("GET", "/v1/optin?person=ada")).json["items"]
    assert (asked["last"], asked["agreed"]) == ("accepted", True)
    new = {"person": "eve", "purpose": "marketing", "answer": "accepted"}
    assert (await rig.ask("POST", "/v1/optin", body=new)).json == {"recorded": True}
    proof = await rig.ask("GET", "/v1/consents/proof?person=eve&purpose=marketing")
    assert proof.json["in_force"]


@pytest.mark.parametrize("name", ["id", "subject", "campaign"])
@pytest.mark.parametrize("value", ["", "x" * 129, "a\0b"])
async def test_an_answer_with_what_is_no_id_changes_nothing(
    rig: Rig, name: str, value: str
) -> None:
    body = {"person": "ada", "purpose": "marketing", "answer": "accepted", name: value}
    refused = await rig.ask("POST", "/v1/optin", body=body)
    assert refused.status == 422
    assert refused.json["problems"][0].startswith(name)


async def test_an_answer_that_is_none_is_told_those_there_are(rig: Rig) -> None:
    said = {"person": "ada", "purpose": "marketing", "answer": "perhaps"}
    answer = await rig.ask("POST", "/v1/optin", body=said)
    assert answer.status == 422
    assert answer.json["detail"].endswith("it is one of shown, later, accepted, declined")


async def test_a_phone_answers_for_itself_alone(rig: Rig) -> None:
    """A device's token names its own person, its own subject, or nobody; else nothing is kept."""
    for person, subject in (("ada", "ada-phone"), ("bob", "bob-phone")):
        body = {"subjects": [subject], "consents": [{"purpose": "service"}]}
        await rig.ask("PUT", f"/v1/people/{person}", body=body)
    phone = {"Authorization": f"Bearer {rig.token(Role.DEVICE, 'ada-phone')}"}
    said = {"purpose": "marketing", "answer": "accepted"}
    for strange in ({"person": "bob"}, {"subject": "bob-phone"}, {"person": "ada", "subject": "x"}):
        body = said | strange
        refused = await rig.ask("POST", "/v1/optin", body=body, role=None, headers=phone)
        assert refused.status == 403, strange
    assert (await rig.ask("GET", "/v1/optin?person=bob", role=None, headers=phone)).status == 403
    taken = await rig.ask("POST", "/v1/optin", body=said, role=None, headers=phone)
    assert (taken.status, taken.json) == (201, {"recorded": True})
    for person, agreed in (("ada", True), ("bob", False)):
        path = f"/v1/consents/proof?person={person}&purpose=marketing"
        assert (await rig.ask("GET", path)).json["in_force"] is agreed
    (event,) = (await rig.ask("GET", "/v1/events?person=ada")).json["items"]
    assert event["subject"] == "ada-phone"


async def test_a_backend_answers_for_whom_it_names_on_a_device_of_theirs(rig: Rig) -> None:
    for person in ("ada", "bob", "cleo"):
        body = {"subjects": [f"{person}-phone"], "consents": [{"purpose": "service"}]}
        await rig.ask("PUT", f"/v1/people/{person}", body=body)
    assert (await rig.ask("POST", "/v1/erasures", body={"person": "cleo"})).status == 202
    said = {"person": "ada", "purpose": "marketing", "answer": "shown"}
    for foreign in ("bob-phone", "cleo-phone", "cleo"):
        body = said | {"subject": foreign}
        refused = await rig.ask("POST", "/v1/optin", role=Role.FEED, body=body)
        assert refused.status == 422, foreign
    for subject in ("ada-phone", "ada", "a-browser"):
        body = said | {"subject": subject, "id": subject}
        taken = await rig.ask("POST", "/v1/optin", role=Role.FEED, body=body)
        assert (taken.status, taken.json) == (201, {"recorded": True}), subject
    items = (await rig.ask("GET", "/v1/events")).json["items"]
    assert [one["subject"] for one in items] == ["ada-phone", "ada", "a-browser"]


async def test_fewer_rungs_keep_less(rig: Rig) -> None:
    """A fix as the ladder has it: in a cell, or not at all, and nothing finer on the disk."""
    lon, lat = 2.3512345678, 48.8567891234
    await granted(rig, "ada", purpose="location-background", precision="geohash-6")
    await granted(rig, "bob", purpose="beacon")
    await granted(rig, "cleo", purpose="marketing")
    for person, kept in (("ada", 1), ("bob", 0), ("cleo", 1)):
        body = fix(person, lon=lon, lat=lat)
        answer = await rig.ask("POST", "/v1/fixes", body=body, role=Role.FEED)
        assert (answer.json["accepted"], answer.json["unconsented"]) == (kept, 1 - kept)
    await asyncio.sleep(0)
    rows = await rig.parts.store.aread(
        lambda conn: conn.scalars(sa.select(schema.journal.c.payload)).all()
    )
    fixes = {
        one["subject"]: one
        for row in rows
        if row
        for pair in msgspec.msgpack.decode(row)
        if isinstance(pair, list) and isinstance(one := pair[1], dict) and "lon" in one
    }
    assert fixes.keys() == {"ada", "cleo"}
    assert (fixes["cleo"]["lon"], fixes["cleo"]["lat"]) == (lon, lat)
    assert abs(fixes["ada"]["lon"] - lon) > 1e-6
    assert not re.search(rb"bob", b"".join(rows))


async def test_a_ledger_of_the_release_before_is_sealed_at_the_start(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, port=0, **write_files(tmp_path))
    store = Store.open(":memory:")
    old = "INSERT INTO consents (person, purpose, recorded_at, source) VALUES ('ada', 'x', 9, 'y')"
    store.write(lambda conn: conn.exec_driver_sql(old)).result()
    assert store.read(chain.begins)
    async with opened(settings, read_files(settings), store):
        assert not store.read(chain.begins)
    assert store.read(chain.verify).rows == 1
    store.close()
