"""Addresses that browsers and apps leave: whose they are, what goes with them, how they go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proximity.channels.vapid import make_key, public_key_of, write_key
from proximity.server.auth import Role
from tests.proximity.channels.receivers import receiver
from tests.proximity.server.rig import Rig, fix, running

PHONE = "phone-1"
TEXT = "Offers on this phone? You save a tenth."
AGREED = {
    "purpose": "marketing",
    "shown": {"version": "1", "locale": "en", "text": TEXT, "benefit": "You save a tenth."},
}
CAMPAIGNS = """
[channel.web-push]
contact = "mailto:ops@example.com"
key_file = "push.pem"

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["store-7"]
link = "https://example.test/coffee"
channels = ["web-push"]
[campaign.text]
en = "Coffee, half price until eleven."
"""

MAIL = """
[channel.email]
host = "mail.example.com"
from = "Shop <offers@example.com>"

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["store-7"]
channels = ["email"]
[campaign.text]
en = "Coffee, half price until eleven."
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    key = make_key()
    write_key(tmp_path / "push.pem", key)
    file = tmp_path / "push.toml"
    file.write_text(CAMPAIGNS)
    async with running(tmp_path, campaigns=file) as made:
        made.public_key = public_key_of(key)  # type: ignore[attr-defined]
        yield made


def address(name: str = "1", host: str = "push.example.com") -> str:
    keys = {"p256dh": public_key_of(make_key()), "auth": "AAECAwQFBgcICQoLDA0ODw"}
    return json.dumps({"endpoint": f"https://{host}/{name}", "keys": keys})


ONE = address()


def left(**more: Any) -> dict[str, Any]:
    return {
        "channel": "web-push", "address": ONE, "origin": "https://shop.example.com",
        "language": "en", "agreed": [AGREED], **more,
    }  # fmt: skip


async def endpoints(rig: Rig, person: str = PHONE) -> list[dict[str, Any]]:
    found = await rig.ask("GET", f"/v1/people/{person}")
    return [] if found.status == 404 else found.json.get("endpoints", [])


async def consents(rig: Rig, person: str = PHONE) -> list[dict[str, Any]]:
    return (await rig.ask("GET", f"/v1/consents?person={person}")).json["items"]


async def test_a_phone_leaves_its_address_and_what_it_agreed_to(rig: Rig) -> None:
    answer = await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left())
    assert (answer.status, answer.json) == (201, {"kept": True, "person": PHONE})
    (one,) = await endpoints(rig)
    assert one.pop("registered_at")
    assert one == {
        "channel": "web-push",
        "address": ONE,
        "origin": "https://shop.example.com",
        "language": "en",
    }
    (row,) = await consents(rig)
    assert row["source"].startswith("https://shop.example.com web-push:")
    assert ONE not in json.dumps(row)
    proof = await rig.ask(
        "GET", f"/v1/consents/proof?person={PHONE}&purpose=marketing&channel=web-push"
    )
    assert proof.json["in_force"]
    assert proof.json["text"]["text"] == TEXT


async def test_two_browsers_are_told_apart_by_what_they_agreed_to(rig: Rig) -> None:
    for one in (ONE, address("2")):
        await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left(address=one))
    first, second = await consents(rig)
    assert first["source"] != second["source"]
    assert len(await endpoints(rig)) == 2


async def test_the_person_is_who_carries_the_phone(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/people/ann", body={"subjects": [PHONE]})
    answer = await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left())
    assert answer.json == {"kept": True, "person": "ann"}
    assert len(await endpoints(rig, "ann")) == 1
    assert await consents(rig) == []
    assert len(await consents(rig, "ann")) == 1


async def test_whoever_logs_in_next_on_a_browser_has_it_and_no_longer_who_was_there(
    rig: Rig,
) -> None:
    for person in ("ann", "ben"):
        answer = await rig.ask("POST", "/v1/endpoints", body=left(person=person))
        assert (answer.status, answer.json) == (201, {"kept": True, "person": person})
    assert await endpoints(rig, "ann") == []
    assert len(await endpoints(rig, "ben")) == 1
    said = (await rig.ask("GET", "/v1/people/ann/reach")).json["channels"]
    (why,) = (one["why"] for one in said if one["channel"] == "web-push")
    assert why == "the address is gone: left by somebody else"
    assert len(await consents(rig, "ann")) == 1, "they never said no: their next browser is reached"
    # An old copy of both from elsewhere says what was before: it stays as it is.
    copies = [{"channel": "web-push", "address": ONE, "registered_at": "2020-01-01T00:00:00Z"}]
    for person in ("ben", "ann"):
        await rig.ask("PUT", f"/v1/people/{person}", body={"endpoints": copies})
    assert await endpoints(rig, "ann") == []


async def test_who_agrees_to_nothing_is_not_shown_what_was_somebody_elses(rig: Rig) -> None:
    await rig.ask("POST", "/v1/endpoints", body=left(person="ann"))
    answer = await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left(agreed=[]))
    assert (answer.status, answer.json) == (200, {"kept": False, "person": PHONE})
    assert await endpoints(rig, "ann") == await endpoints(rig) == []
    # A refused request changes nothing.
    await rig.ask("POST", "/v1/endpoints", body=left(person="ann"))
    wrong = left(person="ben", agreed=[{"purpose": "marketing", "text": "0" * 64}])
    assert (await rig.ask("POST", "/v1/endpoints", body=wrong)).status == 422
    assert len(await endpoints(rig, "ann")) == 1


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/endpoints"), ("DELETE", "/v1/endpoints")]
)
async def test_a_phone_speaks_for_nobody_else(rig: Rig, method: str, path: str) -> None:
    body = (
        left(person="bea")
        if method == "POST"
        else {"channel": "web-push", "address": ONE, "person": "bea"}
    )
    answer = await rig.ask(method, path, role=Role.DEVICE, body=body)
    assert answer.status == 403
    assert await endpoints(rig, "bea") == []


@pytest.fixture
async def by_mail(tmp_path: Path) -> AsyncIterator[Rig]:
    (tmp_path / "mail.toml").write_text(MAIL)
    async with running(tmp_path, campaigns=tmp_path / "mail.toml") as made:
        yield made


async def test_a_phone_signs_nobody_s_mailbox_up(by_mail: Rig) -> None:
    body = left(channel="email", address="somebody.else@example.com")
    refused = await by_mail.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=body)
    assert refused.status == 403
    assert await consents(by_mail) == []
    assert await endpoints(by_mail) == []
    # Who has confirmed it may, and whoever has the phone may take it back.
    kept = await by_mail.ask(
        "POST", "/v1/endpoints", role=Role.FEED, body={**body, "person": PHONE}
    )
    assert (kept.status, kept.json["kept"]) == (201, True)
    gone = {"channel": "email", "address": body["address"]}
    taken = await by_mail.ask("DELETE", "/v1/endpoints", role=Role.DEVICE, body=gone)
    assert taken.status == 204
    assert await endpoints(by_mail) == []


@pytest.mark.parametrize(
    "address", ["anna", "anna@", "a\r\nb@example.com", "anna@example", "@b.test"]
)
async def test_what_is_no_mailbox_is_not_kept(by_mail: Rig, address: str) -> None:
    body = left(channel="email", address=address, person=PHONE)
    refused = await by_mail.ask("POST", "/v1/endpoints", role=Role.FEED, body=body)
    assert (refused.status, await endpoints(by_mail)) == (422, [])
    assert address not in refused.json["detail"]


async def test_an_app_s_backend_names_the_person(rig: Rig) -> None:
    assert (await rig.ask("POST", "/v1/endpoints", role=Role.FEED, body=left())).status == 422
    answer = await rig.ask("POST", "/v1/endpoints", role=Role.FEED, body=left(person="bea"))
    assert (answer.status, answer.json["person"]) == (201, "bea")
    for role in (Role.MARKETER, Role.ANALYST, Role.GATEWAY):
        assert (
            await rig.ask("POST", "/v1/endpoints", role=role, body=left(person="bea"))
        ).status == 403


async def test_of_who_agreed_to_nothing_no_address_is_kept(rig: Rig) -> None:
    answer = await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left(agreed=[]))
    assert (answer.status, answer.json["kept"]) == (200, False)
    assert await endpoints(rig) == []
    assert (await rig.ask("GET", "/v1/people")).json["items"] == []
    metrics = (await rig.ask("GET", "/metrics")).body.decode()
    assert 'proximity_records_total{feed="endpoints",outcome="unconsented"} 1' in metrics
    await rig.consent(PHONE, "service")
    assert (
        await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left(agreed=[]))
    ).status == 201


async def test_who_was_erased_does_not_come_back_by_an_address(rig: Rig) -> None:
    await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left())
    assert (await rig.ask("POST", "/v1/erasures", body={"person": PHONE})).status == 202
    answer = await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left())
    assert (answer.status, answer.json["kept"]) == (200, False)
    assert await consents(rig) == []


async def test_leaving_it_again_keeps_one_and_asks_nobody_to_agree_again(rig: Rig) -> None:
    await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left())
    await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left(agreed=[], language="fr"))
    (one,) = await endpoints(rig)
    assert one["language"] == "fr"
    assert len(await consents(rig)) == 1


async def test_with_the_last_address_goes_what_was_agreed_to_for_it(rig: Rig) -> None:
    second = address("2")
    for one in (ONE, second):
        await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left(address=one))
    await rig.consent(PHONE, "service")

    def taken(one: str) -> dict[str, str]:
        return {"channel": "web-push", "address": one}

    proof = f"/v1/consents/proof?person={PHONE}&purpose=marketing&channel=web-push"
    assert (
        await rig.ask("DELETE", "/v1/endpoints", role=Role.DEVICE, body=taken(ONE))
    ).status == 204
    assert (await rig.ask("GET", proof)).json["in_force"], "the other browser agreed for itself"
    for _ in range(2):  # the second time there is nothing left to take back
        assert (
            await rig.ask("DELETE", "/v1/endpoints", role=Role.DEVICE, body=taken(second))
        ).status == 204
    assert not (await rig.ask("GET", proof)).json["in_force"]
    assert await endpoints(rig) == []
    noes = [row["purpose"] for row in await consents(rig) if row["withdrawal"]]
    assert noes == ["marketing"], "what was agreed to elsewhere stays"


async def test_what_was_just_being_handed_over_is_told(tmp_path: Path) -> None:
    write_key(tmp_path / "push.pem", make_key())
    file = tmp_path / "push.toml"
    file.write_text(
        CAMPAIGNS.replace("[channel.web-push]", '[channel.web-push]\nallow = ["127.0.0.1"]')
    )
    begun, done = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        begun.set()
        await done.wait()
        return web.Response(status=201)

    async with receiver() as service, running(tmp_path, campaigns=file) as rig:
        service.answer = slow
        there = address().replace("https://push.example.com/1", service.url())
        await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left(address=there))
        await rig.ask("POST", "/v1/fixes", role=Role.DEVICE, body=fix())
        await asyncio.wait_for(begun.wait(), 10)
        body = {"channel": "web-push", "address": there}
        answer = await rig.ask("DELETE", "/v1/endpoints", role=Role.DEVICE, body=body)
        done.set()
        assert answer.status == 200
        assert [one["campaign"] for one in answer.json["in_flight"]] == ["coffee"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"address": "https://push.example.com/1"}, "subscription as JSON"),
        ({"address": address(host="10.0.0.1")}, "not public"),
        ({"address": address(host="localhost").replace("https", "http")}, "https"),
        ({"address": ""}, "address"),
        ({"address": "x" * 5000}, "address"),
        ({"channel": "console"}, "takes no addresses"),
        ({"channel": "pigeon"}, "takes no addresses"),
        ({"language": "not a language"}, "language"),
        ({"origin": "a\nb"}, "origin"),
        ({"agreed": [AGREED] * 11}, "more than 10"),
        ({"agreed": [{"purpose": "all"}]}, "one purpose at a time"),
        ({"agreed": [{**AGREED, "text": "0" * 64}]}, "not both"),
        ({"agreed": [{"purpose": "marketing", "text": "0" * 64}]}, "is registered"),
        ({"agreed": [{"purpose": "marketing", "shown": {**AGREED["shown"], "benefit": "no"}}]}, "benefit"),
    ],
)  # fmt: skip
async def test_what_is_no_good_changes_nothing(rig: Rig, more: dict[str, Any], why: str) -> None:
    answer = await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left(**more))
    assert answer.status in {400, 422}, answer.body
    assert why in answer.body.decode()
    assert await endpoints(rig) == []
    assert await consents(rig) == []


async def test_a_phone_answers_for_itself_what_it_was_asked(rig: Rig) -> None:
    said = {
        "purpose": "marketing",
        "answer": "accepted",
        "channel": "web-push",
        "shown": AGREED["shown"],
    }
    assert (await rig.ask("POST", "/v1/optin", role=Role.DEVICE, body=said)).status == 201
    (row,) = await consents(rig)
    assert (row["person"], row["channel"]) == (PHONE, "web-push")
    for foreign in (
        {"person": "bea"},
        {"subject": "phone-2"},
        {"subject": ["phone-2"]},
        {"person": {}},
    ):
        answer = await rig.ask("POST", "/v1/optin", role=Role.DEVICE, body=said | foreign)
        assert answer.status == 403
    assert (await rig.ask("POST", "/v1/optin", role=Role.DEVICE, body=["accepted"])).status == 400


async def test_a_phone_takes_back_what_its_person_agreed_to_and_nobody_else_s(rig: Rig) -> None:
    for person in (PHONE, "bea"):
        await rig.consent(person, "location-precise")
    path = "/v1/consents?person={}&purpose=location-precise"
    assert (await rig.ask("DELETE", path.format("bea"), role=Role.DEVICE)).status == 403
    assert (await rig.ask("DELETE", path.format(PHONE), role=Role.DEVICE)).status == 204
    assert [row["withdrawal"] for row in await consents(rig)] == [False, True]
    assert len(await consents(rig, "bea")) == 1


async def test_anybody_may_have_the_public_key(rig: Rig) -> None:
    answer = await rig.ask("GET", "/v1/push-key", role=None)
    assert (answer.status, answer.json) == (200, {"key": rig.public_key})  # type: ignore[attr-defined]


async def test_a_channel_with_a_name_of_its_own_takes_the_same_addresses(tmp_path: Path) -> None:
    write_key(tmp_path / "push.pem", make_key())
    file = tmp_path / "push.toml"
    own = CAMPAIGNS.replace('"web-push"', '"shop"').replace(
        "[channel.web-push]", '[channel.shop]\nkind = "web-push"'
    )
    file.write_text(own)
    async with running(tmp_path, campaigns=file) as rig:
        assert (await rig.ask("GET", "/v1/push-key", role=None)).status == 200
        bad = left(address=address(host="10.0.0.1"))
        assert (await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=bad)).status == 422
        answer = await rig.ask("POST", "/v1/endpoints", role=Role.DEVICE, body=left())
        assert answer.status == 201


async def test_a_server_without_web_push_has_no_key(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        answer = await rig.ask("GET", "/v1/push-key", role=None)
        assert answer.status == 404
        assert "[channel.web-push]" in answer.json["detail"]
