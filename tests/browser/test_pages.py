"""The pages behind links to withdraw and to say what one wants: on a phone, by day and by night."""

from __future__ import annotations

import tests.browser.test_landing as landing
from tests.browser.chromium import Chromium
from tests.proximity.inboxes import enrol, signed
from tests.proximity.server.rig import Rig

rig, browser = landing.rig, landing.browser

LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2
DARK = "getComputedStyle(document.body).colorScheme.includes('dark')"
FITS = "document.documentElement.scrollWidth <= 390"


async def test_nobody_is_kept_out_of_what_is_theirs_to_say(rig: Rig, browser: Chromium) -> None:
    await enrol(rig)
    wishes = [{"allow": False, "topic": LONG[:128]}, {"allow": False, "topic": "قهوة"}]
    said = await rig.ask("PUT", "/v1/people/anna/preferences", body=wishes)
    assert said.status == 200, said.body
    paths = {
        "withdraw": await signed(rig, do="withdraw", person="anna", purpose="marketing"),
        "preferences": await signed(rig, do="preferences", person="anna"),
    }
    page = await browser.open()
    found: dict[str, list[str]] = {}
    for path, link in (*paths.items(), ("withdraw", "none")):
        await page.go(f"{rig.url}/{path}/{link}")
        for light in ("light", "dark"):
            await landing.by_light(page, light)
            found[f"{path}, {light}"] = await landing.problems(page)
        assert await page.run(DARK), f"{path}: white by night"
        assert await page.run(FITS), f"{path}: to be scrolled sideways"
    assert {name: some for name, some in found.items() if some} == {}


async def test_who_fills_it_in_wrongly_is_told_in_words(rig: Rig, browser: Chromium) -> None:
    await enrol(rig)
    page = await browser.open()
    link = await signed(rig, do="preferences", person="anna")
    await page.go(f"{rig.url}/preferences/{link}")
    await page.run(
        "for (const one of document.querySelectorAll('[type=time]')) one.value = '08:00'"
    )
    browser.events.clear()
    await page.click("button")
    await browser.event("Page.loadEventFired")
    assert "Nothing was saved." in await page.run("document.body.innerText")
