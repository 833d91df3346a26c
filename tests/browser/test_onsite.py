"""A shop's own page shows a visitor's offers, by one script and a signed link, from another origin."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from proximity.dispatch import offers
from tests.browser.chromium import Chromium, Page, chromium
from tests.browser.test_landing import by_light, problems
from tests.npm import need_node
from tests.proximity.inboxes import enrol, inbox_link, lay
from tests.proximity.server.rig import Rig, running
from tests.servers import free_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "on-site"
CAMPAIGNS = """
public_url = "{public}"
inbox_origins = ["http://127.0.0.1:{shop}"]

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "manual"
channels = ["inbox"]
redeem = "code"
text = {{ en = "Coffee." }}
"""
# The strictest that a shop may have: nothing inline, one foreign script, one foreign server.
POLICY = "default-src 'none'; style-src 'self'; script-src {engine}; connect-src {engine}"


@asynccontextmanager
async def shop(port: int) -> AsyncIterator[dict[str, tuple[str, str, str]]]:
    """The example's website: each path a kind, a text and the policy that it comes with."""
    pages: dict[str, tuple[str, str, str]] = {}

    async def give(request: web.BaseRequest) -> web.StreamResponse:
        kind, text, policy = pages.get(request.path, ("text/plain", "", ""))
        headers = {"Content-Security-Policy": policy} if policy else {}
        return web.Response(text=text, content_type=kind, headers=headers)

    runner = web.ServerRunner(web.Server(give))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield pages
    finally:
        await runner.cleanup()


class Shop:
    """The shop's page, and the engine that it shows offers of."""

    def __init__(self, rig: Rig, pages: dict[str, tuple[str, str, str]], root: str) -> None:
        self.rig, self.pages, self.root = rig, pages, root

    async def put(self, path: str = "/") -> str:
        """Put the example's page there, with a link of Anna's; give its address."""
        text = (EXAMPLE / "index.html").read_text()
        link = self.rig.url + await inbox_link(self.rig)
        text = text.replace("https://offers.example.test/inbox/LINK", link)
        text = text.replace("https://offers.example.test", self.rig.url)
        self.pages[path] = "text/html", text, POLICY.format(engine=self.rig.url)
        self.pages["/shop.css"] = "text/css", (EXAMPLE / "shop.css").read_text(), ""
        return self.root + path


@pytest.fixture
async def visit(tmp_path: Path) -> AsyncIterator[tuple[Shop, Chromium]]:
    need_node()
    port = free_port()
    file = tmp_path / "offers.toml"
    file.write_text(CAMPAIGNS.format(public="https://offers.example.test", shop=port))
    async with (
        running(tmp_path, campaigns=file) as rig,
        shop(port) as pages,
        chromium(tmp_path) as browser,
    ):
        await enrol(rig)
        yield Shop(rig, pages, f"http://127.0.0.1:{port}"), browser


async def shown(page: Page) -> list[str]:
    listed = "[...document.querySelectorAll('.px-offer')].map((one) => one.dataset.key)"
    found: list[str] = await page.run(listed)
    return found


async def state(rig: Rig, key: str) -> str:
    return (await rig.parts.store.aread(lambda conn: offers.states_of(conn, [key])))[key]


async def test_what_lies_there_is_shown_and_what_is_seen_counts_as_read(
    visit: tuple[Shop, Chromium],
) -> None:
    there, browser = visit
    await lay(there.rig, "below", text="\n".join(["Far below."] * 60), language="en")
    await lay(there.rig, "first", title="Half price", text="Coffee.", terms="One each.")
    page = await browser.open()
    await page.go(await there.put())
    await page.until("document.querySelectorAll('.px-offer').length === 2")
    assert await shown(page) == ["first", "below"]
    words = await page.run("document.querySelector('.px-offer').innerText")
    assert re.search(r"Half price\s+Coffee\.\s+Good until .+\s+One each\.", words)
    await page.until("!document.querySelector('[data-key=first].px-new')")
    assert await state(there.rig, "first") == "opened"
    # What nobody scrolled to is not read.
    assert await state(there.rig, "below") == "accepted"
    for light in ("light", "dark"):
        await by_light(page, light)
        assert await problems(page) == []
    assert page.faults() == []


async def test_it_is_redeemed_and_set_aside_on_the_shop_s_page(
    visit: tuple[Shop, Chromium],
) -> None:
    there, browser = visit
    await lay(there.rig, "k1", language="de", text="Kaffee.")
    await lay(there.rig, "k2", language="de", text="Tee.")
    page = await browser.open()
    await page.go(await there.put())
    await page.until("document.querySelectorAll('.px-offer').length === 2")
    await page.click("[data-key=k1] .px-redeem")
    code = await page.until("document.querySelector('[data-key=k1] .px-code')?.textContent")
    assert re.fullmatch(r"Code: [0-9A-Z]{4}-[0-9A-Z]{4}", code)
    assert await state(there.rig, "k1") == "converted"
    await page.click("[data-key=k2] .px-dismiss")
    await page.until("document.querySelectorAll('.px-offer').length === 1")
    assert await shown(page) == ["k1"]
    assert page.faults() == []


async def test_texts_are_texts_and_links_lead_to_the_web(visit: tuple[Shop, Chromium]) -> None:
    there, browser = visit
    hostile = "<img src=x onerror=alert(1)><script>document.title='had'</script>"
    await lay(there.rig, "k1", title=hostile, text=hostile, link="javascript:alert(1)")
    await lay(there.rig, "k2", text="قهوة بنصف السعر.", language="ar")
    page = await browser.open()
    await page.go(await there.put())
    await page.until("document.querySelectorAll('.px-offer').length === 2")
    assert await page.run("document.querySelector('[data-key=k1] .px-text').textContent") == hostile
    assert (
        await page.run("document.querySelectorAll('[data-key=k1] img, [data-key=k1] a').length")
        == 0
    )
    direction = "getComputedStyle(document.querySelector('[data-key=k2]')).direction"
    assert await page.run(direction) == "rtl"
    assert await page.run("document.querySelector('[data-key=k2] .px-text').lang") == "ar"
    assert page.faults() == []


async def test_another_website_s_page_shows_nothing(visit: tuple[Shop, Chromium]) -> None:
    there, browser = visit
    await lay(there.rig, "k1")
    other = free_port()
    async with shop(other) as pages:
        page = await browser.open()
        await page.go(await Shop(there.rig, pages, f"http://127.0.0.1:{other}").put())
        # Its console tells that it was refused.
        await page.browser.event(
            "Log.entryAdded", lambda told: "Access-Control-Allow-Origin" in told["entry"]["text"]
        )
        assert await shown(page) == []
        assert await state(there.rig, "k1") == "accepted"


async def test_a_browser_s_own_event_source_follows_and_stops(
    visit: tuple[Shop, Chromium],
) -> None:
    there, browser = visit
    await lay(there.rig, "k1")
    page = await browser.open()
    await page.go(await there.put())
    link = there.rig.url + await inbox_link(there.rig)
    await page.run(
        f"""(() => {{
            window.told = [];
            window.source = new EventSource({json.dumps(f"{link}/stream")});
            source.addEventListener("inbox", (event) =>
                told.push([event.lastEventId, JSON.parse(event.data).items.map((i) => i.key)]));
        }})()"""
    )
    await page.until("told.length >= 1")
    await lay(there.rig, "k2")
    await page.until("told.some(([, keys]) => keys.includes('k2'))")
    over = there.rig.url + await inbox_link(there.rig, until=1.0)
    stopped = f"""new Promise((done) => {{
        const one = new EventSource({json.dumps(f"{over}/stream")});
        one.onerror = () => done(one.readyState);
    }})"""
    assert await page.run(stopped) == 2, "CLOSED: it does not ask again"


async def test_the_script_is_small_and_cached(visit: tuple[Shop, Chromium]) -> None:
    rig = visit[0].rig
    first = await rig.ask("GET", "/onsite.js", role=None)
    assert first.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert len(first.body) < 6000
    for word in (b"innerHTML", b"eval(", b"document.cookie", b"localStorage", b".style"):
        assert word not in first.body
    same = {"If-None-Match": first.headers["ETag"]}
    assert (await rig.ask("GET", "/onsite.js", role=None, headers=same)).status == 304
