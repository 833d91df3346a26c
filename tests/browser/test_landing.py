"""The page of an offer as people see it: in four languages, by day and night, to every reader."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import tests.proximity.server.rig as rigs
from tests.browser.chromium import PHONE, Chromium, Page, chromium
from tests.npm import NODE_MODULES, need_node
from tests.proximity.inboxes import enrol, lay, offer_link
from tests.proximity.server.rig import Rig, running

TEXTS = {
    "en": ("Half a coffee, on us", "Coffee at half the price until eleven.", "One for each guest."),
    "fr": ("Un demi-café offert", "Un café à moitié prix jusqu'à onze heures.", "Un par personne."),
    "de": ("Ein halber Kaffee", "Kaffee zum halben Preis bis elf Uhr.", "Einer je Gast."),
    "es": ("Medio café", "Café a mitad de precio hasta las once.", "Uno por persona."),
    "ar": ("نصف قهوة", "قهوة بنصف السعر حتى الحادية عشرة.", "واحدة لكل ضيف."),
}
CAMPAIGNS = """
public_url = "http://127.0.0.1"

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["road"]
channels = ["inbox"]
landing = true
landing_place = "cafe"
redeem = "code"
price = "1.90 EUR"
link = "https://example.test/coffee"
text = { en = "Coffee." }
"""


def square(lon: float, lat: float, side: float) -> list[list[list[float]]]:
    corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]
    return [[[lon + x * side * 1.5, lat + y * side] for x, y in corners]]


def feature(id_: str, shape: dict[str, Any], **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "id": id_, "properties": properties, "geometry": shape}


FENCES = {
    "type": "FeatureCollection",
    "features": [
        feature("mall", {"type": "Polygon", "coordinates": square(11.573, 48.136, 0.002)},
                name="Isar Arcaden", timezone="Europe/Berlin"),
        feature("cafe", {"type": "Polygon", "coordinates": square(11.574, 48.1366, 0.0004)},
                name="Café am Brunnen", venue="mall",
                active=[{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
                         "from": "00:00", "to": "24:00"}]),
        feature("books", {"type": "Polygon", "coordinates": square(11.5751, 48.1373, 0.0005)},
                name="Buchhandlung", venue="mall"),
        feature("gate", {"type": "Point", "coordinates": [11.5735, 48.1376]},
                name="Tor", venue="mall", radius_m=12),
        feature("rival", {"type": "Polygon", "coordinates": square(11.5728, 48.1352, 0.0004)},
                name="Rival"),
        feature("road", {"type": "LineString", "coordinates": [[11.57, 48.135], [11.58, 48.135]]},
                name="Ring", radius_m=30),
    ],
}  # fmt: skip


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(rigs, "FENCES", FENCES)
    monkeypatch.setattr(rigs, "SITE", 'fences = "fences.geojson"\n')
    file = tmp_path / "offers.toml"
    file.write_text(CAMPAIGNS)
    async with running(tmp_path, campaigns=file) as made:
        await enrol(made)
        for language, (title, text, terms) in TEXTS.items():
            await lay(
                made, language, place="road", language=language, title=title, text=text, terms=terms
            )
        yield made


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Chromium]:
    need_node()
    async with chromium(tmp_path) as made:
        yield made


async def problems(page: Page) -> list[str]:
    """Ask axe-core what stands in the way of whom on this page."""
    await page.run((NODE_MODULES / "axe-core" / "axe.min.js").read_text() + ";0")
    found = await page.run("axe.run().then((all) => JSON.stringify(all.violations))")
    return [
        f"{one['id']}: {[node['html'][:120] for node in one['nodes']]}" for one in json.loads(found)
    ]


async def by_light(page: Page, light: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": light}]
    await page.command("Emulation.setEmulatedMedia", features=features)


async def test_nobody_is_kept_out_in_any_language_by_any_light(rig: Rig, browser: Chromium) -> None:
    # Row 55: no violation that axe-core knows, on a phone.
    page = await browser.open()
    found: dict[str, list[str]] = {}
    for language in TEXTS:
        await page.go(rig.url + await offer_link(rig, language, place="road"))
        for light in ("light", "dark"):
            await by_light(page, light)
            found[f"{language}, {light}"] = await problems(page)
        wide = await page.run("document.documentElement.scrollWidth")
        assert wide <= PHONE["width"], "nothing is to be scrolled to sideways"
    assert {name: some for name, some in found.items() if some} == {}
    assert page.faults() == []


async def test_what_keeps_somebody_out_would_be_found(rig: Rig, browser: Chromium) -> None:
    page = await browser.open()
    await page.go(rig.url + await offer_link(rig, "en", place="road"))
    await page.run("document.querySelector('svg.map').removeAttribute('aria-label')")
    await page.run("document.querySelector('.text').style.color = '#bbb'")
    await page.run("document.querySelector('form button').textContent = ''")
    found = {one.partition(":")[0] for one in await problems(page)}
    assert {"svg-img-alt", "color-contrast", "button-name"} <= found


async def test_it_is_redeemed_by_one_button_and_then_says_so(rig: Rig, browser: Chromium) -> None:
    page = await browser.open()
    await page.go(rig.url + await offer_link(rig, "de", place="road"))
    words = await page.run("document.body.innerText")
    for said in ("Ein halber Kaffee", "Kaffee zum halben Preis", "1,90", "Gültig", "Einer je Gast.",
                 "Café am Brunnen", "Tag und Nacht geöffnet", "100 m"):  # fmt: skip
        assert said in words
    assert "Rival" not in words, "what else the shop watches is nobody's to see"
    browser.events.clear()
    await page.click("form button")
    await browser.event("Page.loadEventFired")
    assert "Eingelöst am" in await page.run("document.body.innerText")
    code = await page.run("document.querySelector('.code').textContent")
    assert len(code) == 9
    assert await problems(page) == []
    await page.command("Page.reload")
    await page.until("document.readyState === 'complete'")
    assert await page.run("document.querySelector('.code').textContent") == code
    assert page.faults() == []


async def test_the_map_shows_the_right_shop_and_the_way_there(rig: Rig, browser: Chromium) -> None:
    # Row 44: whoever passes on the road is led to the shop.
    page = await browser.open()
    await page.go(rig.url + await offer_link(rig, "en", place="road"))
    assert await page.run("document.querySelector('svg.map').getAttribute('aria-label')") == (
        "Map: Café am Brunnen"
    )
    assert await page.run("document.querySelectorAll('svg .place, svg .venue').length") == 2
    assert await page.run("document.querySelectorAll('svg .near').length") == 2
    way = await page.run("document.querySelector('.where a.go').href")
    assert way.startswith("geo:48.136800,11.574300?q=48.136800,11.574300(Caf")
    inside = await page.run(
        """(() => {
            const [pin, place] = ["svg .pin", "svg path.place"].map((one) =>
                document.querySelector(one).getBoundingClientRect());
            return pin.left > place.left && pin.right < place.right && pin.top > place.top
                && pin.bottom < place.bottom;
        })()"""
    )
    assert inside


async def test_an_offer_that_is_over_says_so_to_everybody(rig: Rig, browser: Chromium) -> None:
    page = await browser.open()
    await page.go(rig.url + await offer_link(rig, "en", until=1.0))
    assert "This offer is over." in await page.run("document.body.innerText")
    for light in ("light", "dark"):
        await by_light(page, light)
        assert await problems(page) == []
