"""The links of offers: they lead where the campaign says, for as long as the offer is good."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from yarl import URL

from proximity.consent.links import sign
from proximity.content.stamps import OPEN, stamp, stamp_of
from proximity.store.keys import store_key
from tests.proximity.given import offer
from tests.proximity.server.rig import Rig, running

HOSTS = {"example.test", "go.example.test"}
CAMPAIGNS = """
link_hosts = ["example.test", "go.example.test", "cafe-app://"]
public_url = "https://offers.example.test/"

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["store-7"]
channels = ["console"]
links = { app = "cafe-app://{place}", universal = "https://go.example.test/{place}", web = "https://example.test/coffee?at={place}" }
text = { en = "Coffee: {link}" }

[[campaign]]
id = "gone"
purpose = "marketing"
on = "enter"
places = ["store-7"]
channels = ["console"]
active = false
links = { web = "https://example.test/gone" }
text = { en = "Gone." }
"""
PHONE = {"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)"}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    file = tmp_path / "offers.toml"
    file.write_text(CAMPAIGNS)
    async with running(tmp_path, campaigns=file) as made:
        yield made


async def key(rig: Rig) -> bytes:
    return await rig.parts.store.awrite(lambda conn: store_key(conn, "links", 0.0))


async def signed(rig: Rig, until: float | None = None, **claims: Any) -> str:
    said = {"do": OPEN, "campaign": "coffee", "place": "store-7", "key": "k1"} | claims
    return sign(await key(rig), said, time.time() + 60 if until is None else until)


async def opened(rig: Rig, text: str, **headers: str) -> tuple[int, str | None, str]:
    url = URL(f"{rig.url}/o/{quote(text, safe='')}", encoded=True)
    async with rig.session.get(url, headers=headers, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location"), await answer.text()


async def test_a_link_leads_to_the_campaign_s_page_without_a_token(rig: Rig) -> None:
    text = await signed(rig)
    assert (await opened(rig, text))[:2] == (302, "https://example.test/coffee?at=store-7")
    assert (await opened(rig, text, **PHONE))[:2] == (302, "https://go.example.test/store-7")


@pytest.mark.parametrize(
    "claims", [{"until": 1.0}, {"campaign": "gone"}, {"campaign": "never-was"}]
)
async def test_an_offer_that_is_over_says_so(rig: Rig, claims: dict[str, Any]) -> None:
    status, location, page = await opened(rig, await signed(rig, **claims))
    assert (status, location) == (410, None)
    assert "This offer is over." in page
    german = {"Accept-Language": "de-AT,en;q=0.5"}
    assert (
        "Dieses Angebot ist vorbei."
        in (await opened(rig, await signed(rig, **claims), **german))[2]
    )


async def test_no_other_link_of_ours_opens_anything(rig: Rig) -> None:
    status, location, _ = await opened(rig, await signed(rig, do="withdraw"))
    assert (status, location) == (404, None)


async def test_no_redirect_leads_anywhere_but_to_an_allowed_host(rig: Rig) -> None:
    # A fuzz from both sides: texts that nobody signed, and signed ones with hostile ids.
    chance = random.Random(48)
    good = await signed(rig)
    hostile = ["https://evil.test", "//evil.test", "\\\\evil.test", "@evil.test", "..//evil.test/%2f",
               "evil.test#", "?next=https://evil.test", "\r\nLocation: https://evil.test",
               "javascript:alert(1)", "{campaign}", "。evil.test"]  # fmt: skip
    texts = [
        *hostile,
        "",
        ".",
        "a.b",
        good[:-1],
        good + "A",
        good.swapcase(),
        good.replace(".", ""),
    ]
    for _ in range(100):
        at = chance.randrange(len(good))
        texts.append(good[:at] + chance.choice("AZaz09-_.~%/:@") + good[at + 1 :])
    texts += [await signed(rig, place=place) for place in hostile]
    for text in texts:
        for headers in ({}, PHONE):
            status, location, _ = await opened(rig, text or "%00", **headers)
            assert status in {302, 400, 404, 410}
            assert (location is None) is (status != 302)
            if location is not None:
                assert text == good or text in texts[-len(hostile) :]
                parts = urlsplit(location)
                assert (parts.scheme, parts.hostname in HOSTS) == ("https", True)
                assert parts.username is None
                assert location.isascii()
                assert not any(c in location for c in "\\\r\n\t ")


async def test_an_offer_is_stamped_with_a_link_that_opens_it(rig: Rig) -> None:
    now = time.time()
    by = await rig.parts.store.awrite(
        lambda conn: stamp_of(conn, "https://offers.example.test/", now)
    )
    web = "https://example.test/coffee?at=store-7"
    plain = offer(
        place="store-7", expires_at=now + 60, link=web, text=f"Coffee: {web}",
        links={"app": "cafe-app://store-7", "web": web},
    )  # fmt: skip
    stamped = stamp(plain, by)
    assert stamped.link is not None
    assert stamped.link.startswith("https://offers.example.test/o/")
    assert stamped.text == f"Coffee: {stamped.link}"
    assert stamped.links == {"app": "cafe-app://store-7", "web": stamped.link}
    assert str(stamped.withdraw).startswith("https://offers.example.test/withdraw/")
    text = stamped.link.rpartition("/")[2]
    assert (await opened(rig, text))[:2] == (302, web)
    # A campaign with a plain link keeps it; where nobody could follow there is nothing to sign.
    simple = offer()
    assert stamp(simple, by).link == simple.link
    assert stamp(plain, None) == plain


async def test_what_is_handed_over_is_signed_and_the_ledger_keeps_no_credential(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.proximity.server.rig import fix

    await rig.consent("phone-1")
    await rig.ask("POST", "/v1/fixes", body=[fix()])
    (delivery,) = await rig.until("/v1/deliveries", 1)
    assert delivery["handed"]["link"] == "https://example.test/coffee?at=store-7"
    assert "/withdraw/" not in str(delivery)
    handed = capsys.readouterr().err
    assert "https://offers.example.test/o/" in handed
    assert "https://offers.example.test/withdraw/" in handed
