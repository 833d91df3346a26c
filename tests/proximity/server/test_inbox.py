"""The inbox over HTTP: fetched by cursor and ETag, marked for all channels, shown by signed link."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proximity.dispatch import offers, outbox
from proximity.inbox.pace import AT_ONCE
from proximity.server.auth import Role
from tests.proximity.given import offer
from tests.proximity.inboxes import enrol, inbox_link, lay
from tests.proximity.server.rig import Rig, fix, running

INBOX = "/v1/people/anna/inbox"
SHOP = "https://shop.example.test"
CAMPAIGNS = """
public_url = "https://offers.example.test"
inbox_origins = ["https://shop.example.test"]

[channel.inbox]
poll_s = 600

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["store-7"]
channels = ["inbox"]
redeem = "code"
text = { en = "Coffee, half price." }
title = { en = "Half price" }
terms = { en = "One each." }

[[campaign]]
id = "tea"
purpose = "marketing"
on = "manual"
channels = ["inbox"]
link = "https://example.test/tea"
text = { en = "Tea." }
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    file = tmp_path / "offers.toml"
    file.write_text(CAMPAIGNS)
    async with running(tmp_path, campaigns=file) as made:
        await enrol(made)
        yield made


async def test_an_offer_of_a_visit_lies_in_the_inbox_and_is_fetched_once(rig: Rig) -> None:
    # Row 37: twice the same question is 200, then 304; by cursor each item comes once.
    await rig.ask("POST", "/v1/fixes", body=[fix()])
    await rig.until("/v1/deliveries", 1)
    first = await rig.ask("GET", INBOX, role=Role.DEVICE)
    assert first.status == 200
    (item,) = first.json["items"]
    assert first.json["current"] == [item["key"]]
    assert (item["text"], item["title"], item["terms"]) == (
        "Coffee, half price.", "Half price", "One each.",
    )  # fmt: skip
    assert (item["state"], item["redeem"], item["code"]) == ("accepted", "code", None)
    assert item["link"].startswith("https://offers.example.test/o/")
    assert item["withdraw"].startswith("https://offers.example.test/withdraw/")
    assert first.json["poll_after_s"] == 600.0
    assert first.headers["Cache-Control"] == "private, max-age=600"
    same = {"If-None-Match": first.headers["ETag"]}
    again = await rig.ask("GET", INBOX, role=Role.DEVICE, headers=same)
    assert (again.status, again.body) == (304, b"")
    after = await rig.ask("GET", f"{INBOX}?after={first.json['cursor']}", role=Role.DEVICE)
    assert (after.status, after.json["items"]) == (200, [])
    assert after.json["current"] == [item["key"]]


async def test_nothing_is_read_of_offers_while_nothing_changed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lay(rig, "k1")
    first = await rig.ask("GET", INBOX)
    monkeypatch.setattr("proximity.inbox.inbox._decode", None)
    same = {"If-None-Match": first.headers["ETag"]}
    assert (await rig.ask("GET", INBOX, headers=same)).status == 304
    assert (await rig.ask("GET", INBOX)).status == 500


async def test_what_changes_is_told_and_what_is_gone_is_not_there(rig: Rig) -> None:
    await lay(rig, "k1")
    await lay(rig, "k2", campaign="tea", link="https://example.test/tea")
    first = (await rig.ask("GET", INBOX)).json
    assert [one["key"] for one in first["items"]] == ["k1", "k2"]
    marked = await rig.ask("POST", INBOX, body=[{"key": "k1", "did": "read"}], role=Role.DEVICE)
    assert marked.json["items"][0]["state"] == "opened"
    then = (await rig.ask("GET", f"{INBOX}?after={first['cursor']}")).json
    assert [(one["key"], one["read_at"] is None) for one in then["items"]] == [("k1", False)]
    await rig.ask("POST", INBOX, body={"key": "k2", "did": "dismissed"})
    last = (await rig.ask("GET", f"{INBOX}?after={then['cursor']}")).json
    assert (last["items"], last["current"]) == ([], ["k1"])
    # Another channel's hand-over does not bring back what was set aside.
    await rig.parts.store.awrite(
        lambda c: offers.move(c, [offers.News("k2", "delivered", 1.0, in_inbox=True)])
    )
    assert (await rig.ask("GET", INBOX)).json["current"] == ["k1"]


async def test_marking_again_changes_nothing_and_the_code_stays(rig: Rig) -> None:
    await lay(rig, "k1")
    redeem = {"key": "k1", "did": "redeemed"}
    answers = await asyncio.gather(*(rig.ask("POST", INBOX, body=redeem) for _ in range(8)))
    assert {one.status for one in answers} == {200}
    (said,) = {one.body for one in answers}
    item = json.loads(said)["items"][0]
    assert item["redeemed_at"] is not None
    assert len(item["code"]) == 9
    outcomes = [one["outcome"] for one in (await rig.ask("GET", "/v1/deliveries")).json["items"]]
    assert outcomes == ["converted"]


async def test_no_two_offers_get_the_same_code(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    # From an alphabet of two letters and two places, so that most draws are taken.
    monkeypatch.setattr("proximity.inbox.codes.ALPHABET", "AB")
    monkeypatch.setattr("proximity.inbox.codes.LENGTH", 3)
    monkeypatch.setattr("proximity.inbox.codes._TRIES", 200)
    for n in range(8):
        await lay(rig, f"k{n}")
    answers = await asyncio.gather(
        *(rig.ask("POST", INBOX, body={"key": f"k{n}", "did": "redeemed"}) for n in range(8))
    )
    assert len({one.json["items"][0]["code"] for one in answers}) == 8


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ({}, {"key": "none", "did": "read"}, 404),
        ({"person": "ben"}, {"key": "k1", "did": "read"}, 404),
        ({"campaign": "tea"}, {"key": "k1", "did": "redeemed"}, 409),
        ({"expires_at": 1.0}, {"key": "k1", "did": "redeemed"}, 410),
        ({"expires_at": 1.0}, {"key": "k1", "did": "read"}, 200),
        ({}, {"key": "k1", "did": "eaten"}, 400),
        ({}, {"key": "k1"}, 400),
        ({}, [{"key": "k1", "did": "read"}] * 101, 413),
        ({}, [{"key": "k1", "did": "read"}, {"key": "none", "did": "read"}], 404),
    ],
)
async def test_marks_that_cannot_be_taken(
    rig: Rig, fields: dict[str, Any], body: Any, status: int
) -> None:
    await lay(rig, "k1", **fields)
    assert (await rig.ask("POST", INBOX, body=body)).status == status
    if status != 200:
        assert (await rig.ask("GET", "/v1/deliveries")).json["items"] == []


async def test_consent_is_asked_at_every_look(rig: Rig) -> None:
    await lay(rig, "k1")
    before = await rig.ask("GET", INBOX)
    same = {"If-None-Match": before.headers["ETag"]}
    gone = await rig.ask("DELETE", "/v1/consents?person=anna&purpose=marketing")
    assert gone.status == 204, gone.body
    after = await rig.ask("GET", INBOX, headers=same)
    assert (after.status, after.json["items"], after.json["current"]) == (200, [], [])


@pytest.mark.parametrize("did", ["read", "redeemed", "dismissed"])
async def test_what_is_not_shown_any_more_is_not_told_by_a_mark(rig: Rig, did: str) -> None:
    # Neither its text nor a code, and nothing more is written of somebody who said no.
    await lay(rig, "k1")
    gone = await rig.ask("DELETE", "/v1/consents?person=anna&purpose=marketing")
    assert gone.status == 204, gone.body
    marked = await rig.ask("POST", INBOX, role=Role.DEVICE, body={"key": "k1", "did": did})
    assert (marked.status, b"Coffee" in marked.body) == (404, False)
    assert (await rig.ask("GET", "/v1/deliveries")).json["items"] == []


@pytest.mark.parametrize("did", ["read", "redeemed"])
async def test_an_offer_that_was_not_handed_over_is_not_told_by_a_mark(rig: Rig, did: str) -> None:
    now = time.time()
    waits = offer(
        key="k1", subject="phone-1", channel="web-push", created_at=now, expires_at=now + 600.0
    )
    await rig.parts.store.awrite(lambda conn: offers.put(conn, [waits]))
    marked = await rig.ask("POST", INBOX, role=Role.DEVICE, body={"key": "k1", "did": did})
    assert (marked.status, waits.text.encode() in marked.body) == (404, False)


async def test_an_offer_that_is_over_is_not_there(rig: Rig) -> None:
    await lay(rig, "k1", expires_at=time.time() + 0.2)
    first = await rig.ask("GET", INBOX)
    assert len(first.json["items"]) == 1
    await asyncio.sleep(0.25)
    same = {"If-None-Match": first.headers["ETag"]}
    after = await rig.ask("GET", INBOX, headers=same)
    assert (after.status, after.json["current"]) == (200, [])


async def test_a_device_looks_into_its_own_person_s_inbox_alone(rig: Rig) -> None:
    await lay(rig, "k1")
    other = rig.token(Role.DEVICE, "phone-9")
    bearer = {"Authorization": f"Bearer {other}"}
    assert (await rig.ask("GET", INBOX, role=None, headers=bearer)).status == 403
    mark = {"key": "k1", "did": "read"}
    assert (await rig.ask("POST", INBOX, role=None, headers=bearer, body=mark)).status == 403
    assert (await rig.ask("GET", f"{INBOX}/stream", role=None, headers=bearer)).status == 403
    assert (await rig.ask("GET", INBOX, role=Role.MARKETER)).status == 403
    assert (await rig.ask("GET", INBOX, role=None)).status == 401
    assert (await rig.ask("POST", f"{INBOX}/link", role=Role.DEVICE)).status == 403


async def test_whoever_asks_without_end_is_told_to_wait(rig: Rig) -> None:
    statuses = [(await rig.ask("GET", INBOX, role=Role.FEED)).status for _ in range(int(AT_ONCE))]
    assert set(statuses) == {200}
    often = await rig.ask("GET", INBOX, role=Role.FEED)
    assert often.status == 429
    assert 0 < int(often.headers["Retry-After"]) <= 150
    # Another reader of the same inbox is not held up by it.
    assert (await rig.ask("GET", INBOX, role=Role.DEVICE)).status == 200


async def often(rig: Rig) -> str:
    """How long an app is told to keep what it fetched: until it may look again."""
    answer = await rig.ask("GET", INBOX, role=Role.DEVICE)
    assert answer.status == 200, answer.body
    return str(answer.headers["Cache-Control"])


async def test_a_person_chooses_how_often_on_their_own_page(rig: Rig) -> None:
    made = await rig.ask("POST", "/v1/people/anna/preferences/link")
    path = made.json["url"].removeprefix("https://offers.example.test")
    page = await rig.ask("GET", path, role=None, headers={"Accept-Language": "de"})
    assert "Wie oft darf Ihre App nach Angeboten sehen?" in page.body.decode()
    assert (await often(rig)) == "private, max-age=600"  # where nobody chose
    said = {"answers": [{"attribute": "inbox_minutes", "value": 5}]}
    assert (await rig.ask("POST", path, role=None, body=said)).status == 200
    for _ in range(200):
        if (await often(rig)) == "private, max-age=300":
            break
        await asyncio.sleep(0.01)
    assert (await often(rig)) == "private, max-age=300"
    bad = {"answers": [{"attribute": "inbox_minutes", "value": 7}]}
    assert (await rig.ask("POST", path, role=None, body=bad)).status == 422


async def test_a_signed_link_opens_one_inbox_for_pages_of_listed_websites(rig: Rig) -> None:
    await lay(rig, "k1")
    made = await rig.ask("POST", f"{INBOX}/link", role=Role.FEED)
    path = made.json["url"].removeprefix("https://offers.example.test")
    listed = {"Origin": SHOP}
    shown = await rig.ask("GET", path, role=None, headers=listed)
    assert (shown.status, len(shown.json["items"])) == (200, 1)
    assert shown.headers["Access-Control-Allow-Origin"] == SHOP
    assert "Access-Control-Allow-Credentials" not in shown.headers
    asked = {**listed, "Access-Control-Request-Method": "POST"}
    preflight = await rig.ask("OPTIONS", path, role=None, headers=asked)
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == SHOP
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    mark = {"key": "k1", "did": "read"}
    marked = await rig.ask("POST", path, role=None, headers=listed, body=mark)
    assert marked.status == 200
    # Its own pages may, by whichever name people reach it.
    for own in (rig.url, "https://offers.example.test"):
        assert (await rig.ask("GET", path, role=None, headers={"Origin": own})).status == 200
    for origin in ("https://evil.example", "null", "https://shop.example.test.evil.example"):
        foreign = {"Origin": origin}
        for method, body in (("GET", None), ("POST", mark)):
            answer = await rig.ask(method, path, role=None, headers=foreign, body=body)
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers
        answer = await rig.ask("OPTIONS", path, role=None, headers=foreign)
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_page_that_hides_where_it_is_from_is_foreign_everywhere(tmp_path: Path) -> None:
    # Without a `public_url` too, whose host is then as empty as that of such a page.
    file = tmp_path / "offers.toml"
    file.write_text(CAMPAIGNS.replace('public_url = "https://offers.example.test"', ""))
    async with running(tmp_path, campaigns=file) as rig:
        await enrol(rig)
        await lay(rig, "k1")
        for origin in ("null", "about:blank", ""):
            mark = {"key": "k1", "did": "read"}
            answer = await rig.ask(
                "POST", await inbox_link(rig), role=None, headers={"Origin": origin}, body=mark
            )
            assert answer.status == 403, origin


async def test_no_other_link_of_ours_opens_an_inbox(rig: Rig) -> None:
    assert (await rig.ask("GET", await inbox_link(rig, do="withdraw"), role=None)).status == 404
    assert (await rig.ask("GET", await inbox_link(rig, until=1.0), role=None)).status == 410
    good = await inbox_link(rig)
    assert (await rig.ask("GET", good + "A", role=None)).status == 404
    answer = await rig.ask("GET", good, role=None)
    assert (answer.status, answer.headers.get("Vary")) == (200, "Origin")


async def test_what_is_opened_in_the_inbox_is_not_pushed_any_more(rig: Rig) -> None:
    # Row 17: the web push of the same offer waits for its next try, and is withdrawn.
    made = await lay(rig, "k1", route=("web-push",))
    push = msgspec.structs.replace(made, channel="web-push", route=())
    later = time.time() + 300.0
    await rig.parts.store.awrite(lambda conn: outbox.append(conn, [push], at=later))
    assert await rig.parts.store.aread(outbox.depth) == 1
    await rig.ask("POST", INBOX, role=Role.DEVICE, body={"key": "k1", "did": "read"})
    assert await rig.parts.store.aread(outbox.depth) == 0
    told = (await rig.ask("GET", "/v1/deliveries")).json["items"]
    assert [(one["channel"], one["outcome"], one["reason"]) for one in told] == [
        ("inbox", "opened", None),
        ("web-push", "suppressed", "opened"),
    ]
