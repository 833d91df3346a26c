"""All that a web push takes, at once: the engine, a push service, a browser with the client in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proximity.channels.vapid import make_key, public_key_of, write_key
from proximity.server.auth import Role
from tests.browser.chromium import Chromium, Page, chromium
from tests.npm import NODE_MODULES
from tests.proximity.channels.push_service import Browser, push_service
from tests.proximity.server.rig import Rig, running
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CLIENT = Path(__file__).resolve().parent.parent.parent / "examples" / "web-client"
SUBJECT = "phone-1"

CAMPAIGNS = """
public_url = "{url}"
link_hosts = ["127.0.0.1", "example.test"]

[channel.web-push]
contact = "mailto:ops@example.com"
key_file = "push.pem"
allow = ["127.0.0.1"]

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["store-7"]
link = "https://example.test/coffee"
channels = ["web-push", "inbox"]
[campaign.text]
en = "Coffee, half price until eleven."
"""

# What a page cannot do offline, it is given: a subscription that the push service made. What it
# must not do by itself is counted.
BEFORE = """
(() => {
  const told = %s;
  self.asked = 0;
  self.unsubscribed = 0;
  const real = Notification.requestPermission.bind(Notification);
  Notification.requestPermission = (...given) => { self.asked += 1; return real(...given); };
  const subscription = {
    endpoint: told.endpoint,
    toJSON: () => told,
    unsubscribe: async () => { self.unsubscribed += 1; return true; },
  };
  PushManager.prototype.subscribe = async (options) => {
    self.subscribedWith = [options.userVisibleOnly, Array.from(options.applicationServerKey)];
    return subscription;
  };
  PushManager.prototype.getSubscription = async () => subscription;
})()
"""

# As the client itself lists them: not while one is being shown (`inTurn` of its offers.js).
LISTED = """navigator.serviceWorker.ready.then(one => navigator.locks.request(
    "notifications", () => one.getNotifications()))"""


@dataclass
class Stage:
    """The parts of one test, and what is done with them again and again."""

    rig: Rig
    chromium: Chromium
    page: Page
    browser: Browser
    public_key: str
    listens: bool = False

    @property
    def origin(self) -> str:
        return self.rig.url

    @property
    def link(self) -> str:
        token = self.rig.token(Role.DEVICE)
        return f"{self.origin}/client/#token={token}&subject={SUBJECT}"

    async def permit(self, name: str, setting: str) -> None:
        await self.chromium.command(
            "Browser.setPermission", permission={"name": name}, setting=setting, origin=self.origin
        )

    async def come(self) -> None:
        """Open the link, with everything still to be asked."""
        for name in ("notifications", "geolocation"):
            await self.permit(name, "prompt")
        await self.page.go(
            "about:blank"
        )  # from the page itself to its link only the fragment changes
        await self.page.go(self.link)
        await self.visible("#ask-messages")

    async def agree(self) -> None:
        """Come, and say yes to messages."""
        await self.come()
        await self.permit("notifications", "granted")
        await self.page.click("#ask-messages [data-answer=accepted]")
        await self.visible("#state")

    async def visible(self, selector: str) -> None:
        await self.page.until(f"document.querySelector({json.dumps(selector)})?.hidden === false")

    async def push(self, message: Any) -> None:
        """Hand the real service worker what the browser would have got and decrypted."""
        if not self.listens:
            await self._awaken()
        await self._deliver(message if isinstance(message, str) else json.dumps(message))

    async def _deliver(self, text: str) -> None:
        await self.page.command(
            "ServiceWorker.deliverPushMessage",
            origin=self.origin, registrationId=await self.registration(), data=text,
        )  # fmt: skip

    async def _awaken(self) -> None:
        """Knock until the worker answers, then take away what the knocking left.

        Chromium drops, and does not say so, what comes before a registration is on its disk; the
        page knows of the registration earlier. On a busy machine an answer comes after more knocks:
        all of them are waited for, in their order, or one would be shown beside what a test pushes.
        """
        for number in range(200):
            last = f"knock-{number}"
            await self._deliver(json.dumps({"key": last, "text": "knock"}))
            await asyncio.sleep(0.1)
            if await self.page.run(f"{LISTED}.then(all => all.length)"):
                break
        else:
            raise AssertionError("the service worker hears nothing")
        await self.page.until(f"{LISTED}.then(all => all.some(one => one.tag === '{last}'))")
        await self.page.run(f"{LISTED}.then(all => all.forEach(one => one.close()))")
        await self.page.until(f"{LISTED}.then(all => all.length === 0)")
        await self.page.until(f"document.querySelector('[data-key={last}]') !== null")
        await self.page.run(
            "document.querySelectorAll('[data-key^=knock]').forEach(one => one.remove()); "
            "at('arrived').hidden = true"
        )
        self.listens = True

    async def registration(self) -> str:
        told = await self.chromium.event(
            "ServiceWorker.workerRegistrationUpdated", lambda one: bool(one["registrations"])
        )
        return told["registrations"][0]["registrationId"]

    async def notifications(self) -> list[dict[str, Any]]:
        """List what the browser shows."""
        return await self.page.run(
            f"""{LISTED}.then(all => all.map(
                one => ({{title: one.title, body: one.body, tag: one.tag, lang: one.lang,
                          dir: one.dir, data: one.data}})))"""
        )

    async def shown(self, count: int) -> list[dict[str, Any]]:
        await self.page.until(f"{LISTED}.then(all => all.length === {count})")
        return await self.notifications()

    async def axe(self) -> list[str]:
        """List what axe-core finds wrong with the page as it stands."""
        await self.page.run((NODE_MODULES / "axe-core" / "axe.min.js").read_text() + "; 1")
        found = await self.page.run("axe.run().then(told => told.violations)")
        return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]


@contextlib.asynccontextmanager
async def stage(folder: Path, campaigns: str = CAMPAIGNS, **options: Any) -> AsyncIterator[Stage]:
    """Put it up, and take it down."""
    port, key = free_port(), make_key()
    data = folder / "engine"
    data.mkdir()
    write_key(data / "push.pem", key)
    file = data / "push.toml"
    file.write_text(campaigns.replace("{url}", f"http://127.0.0.1:{port}"))
    browser = push_service().subscribe(public_key_of(key))
    async with (
        running(data, campaigns=file, client=CLIENT, port=port, **options) as rig,
        chromium(folder) as one,
    ):
        page = await one.open()
        await page.before(BEFORE % browser.address)
        yield Stage(rig, one, page, browser, public_key_of(key))
