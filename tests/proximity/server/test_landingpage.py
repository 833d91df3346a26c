"""The page of an offer: what is on it, what it counts, and that it leads nobody astray."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from proximity.server.auth import Role
from proximity.store import StoreFull, schema
from tests.proximity.inboxes import enrol, lay, offer_link
from tests.proximity.server.rig import Answer, Rig, fix, running

CAMPAIGNS = """
public_url = "https://offers.example.test/"
link_hosts = ["example.test"]

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["store-7"]
channels = ["console", "inbox"]
redeem = "button"
price = "2.50 EUR"
text = { en = "Coffee, half price." }
title = { en = "Half price" }
terms = { en = "One each." }

[[campaign]]
id = "cake"
purpose = "marketing"
on = "manual"
channels = ["inbox"]
redeem = "code"
text = { en = "Cake." }

[[campaign]]
id = "tea"
purpose = "marketing"
on = "manual"
channels = ["inbox"]
landing = true
link = "https://example.test/tea?at={place}"
text = { en = "Tea: {link}" }

[[campaign]]
id = "plain"
purpose = "marketing"
on = "manual"
channels = ["inbox"]
links = { web = "https://example.test/plain" }
text = { en = "Plain." }

[[campaign]]
id = "ended"
purpose = "marketing"
on = "manual"
channels = ["inbox"]
valid_until = "2020-01-01T00:00:00Z"
text = { en = "Over." }
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    file = tmp_path / "offers.toml"
    file.write_text(CAMPAIGNS)
    async with running(tmp_path, campaigns=file) as made:
        await enrol(made)
        yield made


async def ask(rig: Rig, path: str, method: str = "GET", **headers: str) -> Answer:
    url = URL(rig.url + path, encoded=True)
    async with rig.session.request(method, url, headers=headers, allow_redirects=False) as answer:
        return Answer(answer.status, answer.headers, await answer.read())


async def told(rig: Rig) -> list[tuple[str, str]]:
    items = (await rig.ask("GET", "/v1/deliveries")).json["items"]
    return [(one["channel"], one["outcome"]) for one in items]


async def test_an_offer_without_a_link_of_its_own_opens_its_page(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    # From the visit to the page: the link is in what was handed over, and nowhere else.
    await rig.ask("POST", "/v1/fixes", body=[fix()])
    await rig.until("/v1/deliveries", 1)
    handed = capsys.readouterr().err
    found = re.search(r"https://offers\.example\.test(/o/[\w.%-]+)", handed)
    assert found is not None
    page = await ask(rig, found[1])
    assert page.status == 200
    text = page.body.decode()
    for said in ("Half price", "Coffee, half price.", "One each.", "Price: €2.50", "Redeem now"):
        assert said in text
    assert "Store" in text
    assert "<svg" in text
    assert await told(rig) == [("console", "accepted"), ("console", "clicked")]


async def test_nothing_on_it_loads_runs_or_tells(rig: Rig) -> None:
    await lay(rig, "k1")
    page = await ask(rig, await offer_link(rig, "k1"))
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["X-Robots-Tag"] == "noindex"
    assert page.headers["Cache-Control"] == "no-store"
    text = page.body.decode()
    for word in ("<script", " src=", " style=", "url(", "@import", "http-equiv", " on"):
        assert word not in re.sub(r">[^<]*<", "><", text), word
    hosts = set(re.findall(r"https?://([^/\"]+)", text))
    assert hosts == {"offers.example.test"}, "an open map only where links may lead there"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("HEAD", {}),
        ("GET", {"Sec-Purpose": "prefetch;prerender"}),
        ("GET", {"Purpose": "prefetch"}),
        ("GET", {"X-Moz": "prefetch"}),
        ("GET", {"X-Purpose": "preview"}),
    ],
)
@pytest.mark.parametrize("campaign", ["coffee", "plain"])
async def test_who_looks_ahead_has_not_clicked(
    rig: Rig, campaign: str, method: str, headers: dict[str, str]
) -> None:
    await lay(rig, "k1", campaign=campaign)
    path = await offer_link(rig, "k1", campaign=campaign)
    assert (await ask(rig, path, method, **headers)).status in {200, 302}
    assert await told(rig) == []
    # A person has, once, by page and by redirect alike; and what is clicked is read everywhere.
    for _ in range(3):
        await ask(rig, path)
    assert await told(rig) == [("inbox", "clicked")]
    item = (await rig.ask("GET", "/v1/people/anna/inbox")).json["items"][0]
    assert (item["state"], item["read_at"] is None) == ("clicked", False)


async def test_it_leads_on_to_the_campaign_s_own_page(rig: Rig) -> None:
    made = await lay(rig, "k1", campaign="tea", link="https://example.test/tea?at=store-7")
    text = (await ask(rig, await offer_link(rig, "k1", campaign="tea"))).body.decode()
    assert 'href="https://example.test/tea?at=store-7"' in text
    assert "<form" not in text, "its campaign has nothing redeemed"
    assert made.text in text
    phone = {"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)"}
    path = await offer_link(rig, "k1", campaign="tea")
    assert "maps://?daddr=48.85" in (await ask(rig, path, **phone)).body.decode()


async def test_a_zone_is_shown_where_the_shop_about_it_is(rig: Rig) -> None:
    await lay(rig, "k1", place="store-7/entrance")
    text = (await ask(rig, await offer_link(rig, "k1", place="store-7/entrance"))).body.decode()
    assert 'aria-label="Map: Store"' in text
    assert "geo:48.850000,2.350000?q=48.850000,2.350000(Store)" in text
    # Of a place that no fence is about there is no map, and the page stands all the same.
    await lay(rig, "k2", place="nowhere")
    text = (await ask(rig, await offer_link(rig, "k2", place="nowhere"))).body.decode()
    assert "<svg" not in text
    assert "Redeem now" in text


async def test_redeeming_is_a_press_and_not_a_look(rig: Rig) -> None:
    await lay(rig, "k1")
    path = await offer_link(rig, "k1")
    for method in ("GET", "HEAD", "GET"):
        assert "Redeemed" not in (await ask(rig, path, method)).body.decode()
    pressed = await asyncio.gather(*(ask(rig, path, "POST", Accept="text/html") for _ in range(6)))
    assert {one.status for one in pressed} == {303}
    where = {one.headers["Location"] for one in pressed}
    assert where == {path.rpartition("/")[2]}, "the last part of its own path, and no host"
    text = (await ask(rig, path)).body.decode()
    assert "Redeemed" in text
    assert "<form" not in text
    assert [outcome for _, outcome in await told(rig)].count("converted") == 1
    by_app = await ask(rig, path, "POST", Accept="application/json")
    assert by_app.json["redeemed_at"] is not None
    # It is used in the inbox too.
    (item,) = (await rig.ask("GET", "/v1/people/anna/inbox", role=Role.DEVICE)).json["items"]
    assert (item["state"], item["code"]) == ("converted", None)


@pytest.mark.parametrize(
    ("laid", "claims", "statuses"),
    [
        ({}, {"until": 1.0}, (410, 410)),
        ({"campaign": "ended"}, {"campaign": "ended"}, (410, 410)),
        ({}, {"campaign": "never-was"}, (410, 410)),
        ({}, {"key": "erased"}, (410, 410)),
        ({"campaign": "tea"}, {"campaign": "tea"}, (200, 409)),
        ({}, {"do": "withdraw"}, (404, 404)),
        ({"expires_at": 1.0}, {}, (410, 410)),
    ],
)
async def test_what_cannot_be_opened_or_redeemed(
    rig: Rig, laid: dict[str, Any], claims: dict[str, Any], statuses: tuple[int, int]
) -> None:
    await lay(rig, "k1", **laid)
    said: dict[str, Any] = {"key": "k1"} | claims
    path = await offer_link(rig, **said)
    got = [(await ask(rig, path, method)).status for method in ("GET", "POST")]
    assert tuple(got) == statuses
    assert "converted" not in [outcome for _, outcome in await told(rig)]


async def test_a_full_disk_keeps_nobody_from_their_offer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lay(rig, "k1")
    path = await offer_link(rig, "k1")

    async def full(_work: object) -> None:
        raise StoreFull("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(rig.parts.store, "awrite", full)
        assert (await ask(rig, path)).status == 200
        assert (await ask(rig, path, "POST")).status == 507
    assert await told(rig) == []


async def test_whatever_is_in_a_link_it_leads_to_no_other_host(rig: Rig) -> None:
    # Row 48: texts that nobody signed, and signed ones with hostile ids, on pages and redirects.
    chance = random.Random(48)
    hostile = ["https://evil.test", "//evil.test", "\\\\evil.test", "..//evil.test/%2f", '"><a href="//evil.test">',
               "?next=https://evil.test", "\r\nLocation: https://evil.test", "javascript:alert(1)"]  # fmt: skip
    for number, name in enumerate(hostile):
        await lay(rig, f"k{number}", campaign="tea", place=name, text=name, title=name, terms=name)
    paths = [
        await offer_link(rig, f"k{number}", campaign="tea", place=name)
        for number, name in enumerate(hostile)
    ]
    good = paths[0]
    for _ in range(60):
        at = chance.randrange(3, len(good))
        paths.append(good[:at] + chance.choice("AZaz09-_.~") + good[at + 1 :])
    for path in paths:
        for method in ("GET", "POST"):
            answer = await ask(rig, path, method, Accept="text/html")
            assert answer.status in {200, 303, 404, 409, 410}
            location = answer.headers.get("Location")
            assert location is None or "/" not in location
            linked = re.findall(r'(?:href|action|src)="([^"]*)"', answer.body.decode())
            for link in linked:
                allowed = ("https://example.test/", "https://offers.example.test/", "geo:")
                assert link.startswith(allowed), link


async def kept(rig: Rig) -> tuple[list[tuple[str, str]], int, Any]:
    """What is written of offers: the deliveries, how many codes, and each offer's row."""

    def read(conn: Any) -> tuple[int, Any]:
        codes = len(conn.execute(schema.codes.select()).all())
        return codes, conn.execute(schema.offers.select()).all()

    return await told(rig), *await rig.parts.store.aread(read)


async def withdraw(rig: Rig, what: str = "") -> None:
    assert (await rig.ask("DELETE", f"/v1/consents?person=anna{what}")).status == 204


@pytest.mark.parametrize("campaign", ["coffee", "cake"])
async def test_who_withdrew_all_reads_their_offer_and_nothing_of_it_is_written(
    rig: Rig, campaign: str
) -> None:
    await lay(rig, "k1", campaign=campaign)
    path = await offer_link(rig, "k1", campaign=campaign)
    assert "<form" in (await ask(rig, path, Purpose="prefetch")).body.decode()
    await withdraw(rig)
    before = await kept(rig)
    page = await ask(rig, path)
    text = page.body.decode()
    assert page.status == 200
    assert "It cannot be redeemed here any more" in text
    assert "Please ask at the till." in text
    assert "<form" not in text
    # The page with the button was open when they withdrew: the press leads to the one that says it.
    pressed = await ask(rig, path, "POST", Accept="text/html")
    assert (pressed.status, pressed.headers["Location"]) == (303, path.rpartition("/")[2])
    by_app = await ask(rig, path, "POST", Accept="application/json")
    assert by_app.status == 409
    assert "agreed to nothing" in by_app.json["detail"]
    assert await kept(rig) == before


async def test_a_no_to_one_purpose_takes_away_nothing_that_was_given(rig: Rig) -> None:
    await enrol(rig, consents=[{"purpose": "marketing"}, {"purpose": "service"}])
    await lay(rig, "k1", campaign="cake")
    path = await offer_link(rig, "k1", campaign="cake")
    await withdraw(rig, "&purpose=marketing")
    assert (await ask(rig, path, "POST", Accept="text/html")).status == 303
    code = re.search(r'class="code">([\w-]+)<', (await ask(rig, path)).body.decode())
    assert code is not None
    assert ("inbox", "converted") in await told(rig)
    # And what was redeemed is shown still when nothing is agreed to, the same however often.
    await withdraw(rig)
    before = await kept(rig)
    assert (await ask(rig, path, "POST", Accept="text/html")).status == 303
    assert code[1] in (await ask(rig, path)).body.decode()
    assert await kept(rig) == before


async def test_of_who_is_erased_a_link_opens_nothing_that_is_theirs(rig: Rig) -> None:
    for campaign in ("coffee", "plain"):
        await lay(rig, campaign, campaign=campaign)
    begun = await rig.ask("POST", "/v1/erasures", body={"person": "anna"})
    assert begun.status == 202
    for _ in range(500):
        if (await rig.ask("GET", begun.headers["Location"])).json["state"] == "done":
            break
        await asyncio.sleep(0.02)
    before = await kept(rig)
    page = await offer_link(rig, "coffee")
    assert [(await ask(rig, page, method)).status for method in ("GET", "POST")] == [410, 410]
    # A link that leads on names a campaign and a place, and no person.
    on = await ask(rig, await offer_link(rig, "plain", campaign="plain"))
    assert (on.status, on.headers["Location"]) == (302, "https://example.test/plain")
    assert await kept(rig) == before == ([], 0, [])
