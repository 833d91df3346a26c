"""From a step into a shop to a message on the phone and back: nothing of it stands in for anything.

But for what needs the world outside: the browser's own push service. A subscription of npm
``web-push-testing`` takes its place, and what arrives there, decrypted, is handed to the browser's
real service worker.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from proximity.dispatch import receipts
from tests.browser.stage import CAMPAIGNS, SUBJECT, Stage, stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.chromium import Page


async def arrived(on: Stage, count: int = 1) -> list[dict[str, Any]]:
    """Wait for what the push service took for this browser."""
    for _ in range(3000):
        if len(on.browser.messages) >= count:
            return [json.loads(one) for one in on.browser.messages]
        await asyncio.sleep(0.02)
    raise AssertionError("nothing arrived at the push service")


async def walk_in(on: Stage) -> None:
    """Agree to both, and stand in the middle of the shop."""
    place = {"latitude": 48.85, "longitude": 2.35, "accuracy": 8}
    await on.page.command("Emulation.setGeolocationOverride", **place)
    await on.agree()
    await on.visible("#ask-location")
    await on.permit("geolocation", "granted")
    await on.page.click("#ask-location [data-answer=accepted]")


async def outcomes(on: Stage, count: int) -> list[tuple[str, str]]:
    items = await on.rig.until(f"/v1/deliveries?subject={SUBJECT}", count)
    return [(one["channel"], one["outcome"]) for one in items]


async def press(on: Stage, tag: str, action: str = "") -> str:
    """Press a notification, as far as a browser without a screen lets one; give where it leads.

    Nobody can press what nobody sees: the event is made in the worker itself, and the window that
    it would open is noted, since only a finger may open one.
    """
    worker: Page = await on.chromium.worker(f"{on.origin}/client/sw.js")
    return await worker.run(
        f"""(async () => {{
            let opened = "";
            self.clients.openWindow = async (url) => {{ opened = String(url); return null; }};
            const found = await inTurn(
                () => self.registration.getNotifications({{tag: {json.dumps(tag)}}}));
            const event = new NotificationEvent(
                "notificationclick", {{notification: found[0], action: {json.dumps(action)}}});
            const waits = [];
            event.waitUntil = (work) => waits.push(work);
            self.dispatchEvent(event);
            await Promise.all(waits);
            return opened;
        }})()"""
    )


async def test_from_the_door_to_the_phone_and_back(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await walk_in(on)
        (message,) = await arrived(on)
        assert message["text"] == "Coffee, half price until eleven."
        assert message["receipt"].startswith(f"{on.origin}/r/")
        assert (await outcomes(on, 1)) == [("web-push", "accepted")]

        await on.push(message)
        (shown,) = await on.shown(1)
        assert (shown["body"], shown["tag"]) == (message["text"], message["key"])
        assert (await outcomes(on, 2))[1:] == [("web-push", "delivered")]

        assert await press(on, message["key"]) == message["link"]
        assert await on.notifications() == []
        assert ("web-push", "clicked") in await outcomes(on, 3)
        assert await on.page.run("store.get('receipts').then(all => all.length)") == 0
        assert on.page.faults() == []


async def test_the_way_out_stands_on_the_message_itself(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await walk_in(on)
        (message,) = await arrived(on)
        await on.push(message)
        await on.shown(1)
        where = await press(on, message["key"], "withdraw")
        assert where == message["withdraw"]
        await on.page.go(where)
        await on.page.click("button")
        proof = f"/v1/consents/proof?person={SUBJECT}&purpose=marketing&channel=web-push"
        for _ in range(200):
            if not (await on.rig.ask("GET", proof)).json["in_force"]:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the consent is still in force")
        assert "clicked" not in dict(await outcomes(on, 2)).values()


async def test_what_was_read_elsewhere_is_taken_down(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await walk_in(on)
        (message,) = await arrived(on)
        await on.push(message)
        await on.shown(1)
        await on.page.run("freshen()")
        assert len(await on.notifications()) == 1, "taken down unread"
        # Another of their devices opened it.
        key, now = message["key"], time.time()
        assert await on.rig.parts.store.awrite(
            lambda conn: receipts.record(conn, key, "opened", "inbox", now)
        )
        await on.page.run("freshen()")
        assert await on.shown(0) == []


async def test_a_browser_that_unsubscribed_is_not_written_to_again(tmp_path: Path) -> None:
    again = CAMPAIGNS.replace('channels = ["web-push", "inbox"]', 'channels = ["web-push"]')
    async with stage(tmp_path, again) as on:
        on.browser.expire()
        await walk_in(on)
        assert (await outcomes(on, 1)) == [("web-push", "dead_endpoint")]
        assert not (await on.rig.ask("GET", f"/v1/people/{SUBJECT}")).json.get("endpoints")


async def test_a_receipt_without_a_connection_is_sent_later(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await walk_in(on)
        (message,) = await arrived(on)
        worker = await on.chromium.worker(f"{on.origin}/client/sw.js")
        await worker.run(
            "self.whole = self.fetch; self.fetch = async () => { throw new TypeError() }; 1"
        )
        await on.push(message)
        await on.shown(1)
        await worker.run("self.fetch = self.whole; 1")
        assert await outcomes(on, 1) == [("web-push", "accepted")]
        await on.page.run("sendReceipts()")
        assert (await outcomes(on, 2))[1:] == [("web-push", "delivered")]
