"""The web client in a real browser: what it asks and when, what it shows, what it tells."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from proximity.server.auth import Role
from tests.browser.chromium import PHONE
from tests.browser.stage import LISTED, SUBJECT, Stage, stage
from tests.proximity.channels.push_service import push_service

if TYPE_CHECKING:
    from pathlib import Path

OFFER = {
    "key": "k1", "title": "Café du Nord", "text": "Un café au Café du Nord", "lang": "fr",
    "dir": "ltr", "link": "https://example.test/coffee", "expires_at": 4e9,
}  # fmt: skip


async def asked(on: Stage) -> dict[str, Any]:
    """Tell how it stands with the question for messages."""
    items = (await on.rig.ask("GET", f"/v1/optin?person={SUBJECT}")).json["items"]
    (found,) = (one for one in items if one["purpose"] == "marketing")
    return found


async def test_the_browser_is_asked_once_and_only_after_a_press(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.come()
        assert await on.page.run("asked") == 0, "asked on load"
        assert "token" not in await on.page.run("location.href"), "the token stayed in the address"
        assert await on.page.run("document.querySelector('#sample').hidden") is False
        assert (await on.rig.ask("GET", "/v1/consents")).json["items"] == []

        await on.permit("notifications", "granted")
        await on.page.click("#ask-messages [data-answer=accepted]")
        await on.visible("#state")
        assert await on.page.run("asked") == 1
        visible, key = await on.page.run("subscribedWith")
        assert visible is True
        assert base64.urlsafe_b64encode(bytes(key)).rstrip(b"=").decode() == on.public_key

        # Bound to the browser, the website and the words (capability 2).
        (row,) = (await on.rig.ask("GET", "/v1/consents")).json["items"]
        text = await on.page.run("words.messagesText")
        assert (row["person"], row["purpose"], row["channel"]) == (SUBJECT, "marketing", "web-push")
        assert row["source"].startswith(f"{on.origin} web-push:")
        assert row["text"] == hashlib.sha256(text.encode()).hexdigest()
        assert row["method"] == "browser"
        person = (await on.rig.ask("GET", f"/v1/people/{SUBJECT}")).json
        (endpoint,) = person["endpoints"]
        assert (endpoint["channel"], endpoint["origin"]) == ("web-push", on.origin)
        assert json.loads(endpoint["address"]) == json.loads(on.browser.address)

        # That they were asked, and what they said (capability 4).
        asking = await asked(on)
        assert (asking["last"], asking["shown"], asking["agreed"]) == ("accepted", 1, True)
        assert on.page.faults() == []


async def test_coming_again_asks_nothing_and_leaves_the_address_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.agree()
        for _ in range(2):
            await on.page.go(f"{on.origin}/client/")
            await on.visible("#state")
            await on.page.until("Boolean(self.subscribedWith)")
        assert await on.page.run("asked") == 0
        assert await on.page.run("document.querySelector('#ask-messages').hidden")
        person = (await on.rig.ask("GET", f"/v1/people/{SUBJECT}")).json
        assert len(person["endpoints"]) == 1
        assert len((await on.rig.ask("GET", "/v1/consents")).json["items"]) == 1


@pytest.mark.parametrize("answer", ["later", "declined"])
async def test_a_no_is_kept_and_the_browser_is_not_asked(tmp_path: Path, answer: str) -> None:
    async with stage(tmp_path) as on:
        await on.rig.consent(SUBJECT, "service")  # so that something may be written of them
        await on.come()
        await on.page.click(f"#ask-messages [data-answer={answer}]")
        await on.visible("#state")
        assert await on.page.run("asked") == 0
        assert await on.page.run("self.subscribedWith === undefined")
        asking = await asked(on)
        assert (asking["last"], asking["shown"], asking["agreed"]) == (answer, 1, False)
        await on.page.go(f"{on.origin}/client/")
        await on.visible("#state")
        assert await on.page.run("document.querySelector('#ask-messages').hidden"), "asked again"
        # They can still say yes by themselves.
        await on.page.click("#messages-switch")
        await on.visible("#ask-messages")


async def test_of_who_agreed_to_nothing_nothing_is_written(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.come()
        await on.page.click("#ask-messages [data-answer=declined]")
        await on.visible("#state")
        assert (await on.rig.ask("GET", "/v1/people")).json["items"] == []
        assert (await on.rig.ask("GET", "/v1/events")).json["items"] == []


async def test_a_no_of_the_browser_itself_is_a_no(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.rig.consent(SUBJECT, "service")
        await on.come()
        await on.permit("notifications", "denied")
        await on.page.click("#ask-messages [data-answer=accepted]")
        await on.visible("#state")
        assert await on.page.run("document.querySelector('#messages-state').textContent") == (
            await on.page.run("words.blocked")
        )
        asking = await asked(on)
        assert asking["last"] == "declined"
        assert not (await on.rig.ask("GET", f"/v1/people/{SUBJECT}")).json.get("endpoints")


async def test_the_same_key_twice_is_one_notification(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.agree()
        await on.push(OFFER)
        (one,) = await on.shown(1)
        assert (one["title"], one["body"], one["tag"]) == ("Café du Nord", OFFER["text"], "k1")
        assert (one["lang"], one["dir"]) == ("fr", "ltr")
        await on.push({**OFFER, "text": "Un café, encore"})
        await on.page.until(f"{LISTED}.then(all => all.some(n => n.body === 'Un café, encore'))")
        assert len(await on.notifications()) == 1
        await on.push({**OFFER, "key": "k2"})
        assert len(await on.shown(2)) == 2
        # The page that is open lists what arrived, each once, as text.
        assert await on.page.run("[...document.querySelectorAll('#offers li')].length") == 2
        assert on.page.faults() == []


async def test_offers_that_arrive_together_all_stay_listed(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.agree()
        await on.push({**OFFER, "key": "first"})
        # Each lists what is shown once it is shown itself, while the next ones are being shown.
        rest = [f"rest-{number}" for number in range(20)]
        await asyncio.gather(*(on.push({**OFFER, "key": key}) for key in rest))
        assert {one["tag"] for one in await on.shown(21)} == {"first", *rest}


async def test_what_was_pushed_is_never_markup(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.agree()
        bad = {**OFFER, "text": "<img src=x onerror=alert(1)>", "link": "javascript:alert(1)"}
        await on.push(bad)
        (one,) = await on.shown(1)
        assert one["body"] == bad["text"]
        assert await on.page.run("document.querySelector('#offers img') === null")
        assert await on.page.run("document.querySelector('#offers a') === null"), (
            "a link to a script"
        )
        assert await on.page.run("document.querySelector('#offers p').textContent") == bad["text"]


@pytest.mark.parametrize("message", ["", "knock", "[1]", '{"key": 7, "text": 8}'])
async def test_a_push_that_is_no_offer_of_ours_is_shown_as_what_it_is(
    tmp_path: Path, message: str
) -> None:
    async with stage(tmp_path) as on:
        await on.agree()
        await on.push(message)
        (one,) = await on.shown(1)
        assert one["body"] == message


async def test_an_offer_that_is_over_is_not_shown(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.agree()
        await on.push({**OFFER, "expires_at": 1.0})
        await on.push({**OFFER, "key": "k2"})
        (one,) = await on.shown(1)
        assert one["tag"] == "k2"


async def test_stopping_takes_the_address_and_the_consent_back(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.agree()
        await on.page.click("#messages-switch")
        await on.page.until("unsubscribed === 1")
        await on.page.until("document.querySelector('#messages-state').textContent === words.off")
        person = (await on.rig.ask("GET", f"/v1/people/{SUBJECT}")).json
        assert not person.get("endpoints")
        proof = await on.rig.ask(
            "GET", f"/v1/consents/proof?person={SUBJECT}&purpose=marketing&channel=web-push"
        )
        assert proof.json["in_force"] is False


async def test_a_subscription_that_the_browser_changes_is_left_anew(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.agree()
        fresh = push_service().subscribe(on.public_key)
        worker = await on.chromium.worker(f"{on.origin}/client/sw.js")
        await worker.run(
            f"""(async () => {{
                const made = (told) => ({{endpoint: told.endpoint, toJSON: () => told}});
                const event = new ExtendableEvent("pushsubscriptionchange");
                event.oldSubscription = made({on.browser.address});
                event.newSubscription = made({fresh.address});
                const waits = [];
                event.waitUntil = (work) => waits.push(work);
                self.dispatchEvent(event);
                await Promise.all(waits);
            }})()"""
        )
        (endpoint,) = (await on.rig.ask("GET", f"/v1/people/{SUBJECT}")).json["endpoints"]
        assert json.loads(endpoint["address"]) == json.loads(fresh.address)
        (row,) = (await on.rig.ask("GET", "/v1/consents")).json["items"]
        assert not row["withdrawal"], "they did not say no"


async def test_its_place_is_told_only_after_a_yes_to_that(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.page.command(
            "Emulation.setGeolocationOverride", latitude=48.85, longitude=2.35, accuracy=8
        )
        await on.agree()
        await on.visible("#ask-location")
        await on.permit("geolocation", "granted")
        await on.page.click("#ask-location [data-answer=accepted]")
        (entered,) = await on.rig.until(f"/v1/transitions?subject={SUBJECT}", 1)
        assert (entered["kind"], entered["place"]) == ("enter", "store-7")
        await on.page.until(
            "document.querySelector('#location-state').textContent.includes('8\\u00a0m')"
        )
        rows = (await on.rig.ask("GET", "/v1/consents")).json["items"]
        assert [(row["purpose"], row["channel"]) for row in rows] == [
            ("marketing", "web-push"),
            ("location-precise", None),
        ]

        await on.page.click("#location-switch")
        await on.page.until("document.querySelector('#location-state').textContent === words.off")
        last = (await on.rig.ask("GET", "/v1/consents")).json["items"][-1]
        assert (last["purpose"], last["withdrawal"]) == ("location-precise", True)


async def test_somebody_else_s_link_tells_them_nothing_unasked(tmp_path: Path) -> None:
    # Whoever gets a link opened on another's phone would hear where that one walks.
    async with stage(tmp_path) as on:
        await on.page.command(
            "Emulation.setGeolocationOverride", latitude=48.85, longitude=2.35, accuracy=8
        )
        await on.agree()
        await on.permit("geolocation", "granted")
        await on.page.click("#ask-location [data-answer=accepted]")
        await on.rig.until(f"/v1/transitions?subject={SUBJECT}", 1)

        await on.rig.consent("phone-2")
        await on.rig.consent("phone-2", purpose="location-precise")
        token = on.rig.token(Role.DEVICE, "phone-2")
        await on.page.run(f"location.hash = {json.dumps(f'#token={token}&subject=phone-2')}")
        await on.page.until("location.hash === ''")
        await on.visible("#ask-messages")
        assert await on.page.run("unsubscribed") == 1
        assert await on.page.run("state.watch") is None
        await on.page.go(f"{on.origin}/client/")
        await on.visible("#ask-messages")
        assert await on.page.run("[state.watch, state.waiting.length]") == [None, 0]
        found = (await on.rig.ask("GET", "/v1/transitions?subject=phone-2")).json["items"]
        assert found == []
        assert not (await on.rig.ask("GET", "/v1/people/phone-2")).json.get("endpoints")


async def test_without_a_link_it_says_so_and_takes_one_by_hand(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.permit("notifications", "prompt")
        await on.page.go(f"{on.origin}/client/")
        await on.visible("#unknown")
        await on.page.run("document.querySelector('#link').value = 'https://example.test/'")
        await on.page.click("#paste button")
        await on.page.until("document.querySelector('#said').textContent === words.linkBad")
        await on.page.run(f"document.querySelector('#link').value = {json.dumps(on.link)}")
        await on.page.click("#paste button")
        await on.visible("#ask-messages")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_use_it(tmp_path: Path, scheme: str) -> None:
    async with stage(tmp_path) as on:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await on.page.command("Emulation.setEmulatedMedia", features=features)
        await on.page.go(f"{on.origin}/client/")
        await on.visible("#unknown")
        assert await on.axe() == []
        await on.come()
        assert await on.axe() == []
        await on.permit("notifications", "granted")
        await on.page.click("#ask-messages [data-answer=accepted]")
        await on.visible("#ask-location")
        await on.push(OFFER)
        await on.visible("#arrived")
        assert await on.axe() == []
        wide = await on.page.run("document.documentElement.scrollWidth")
        assert wide <= PHONE["width"], "it scrolls sideways"


async def test_a_token_that_was_revoked_is_said(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.come()
        from proximity.server.auth import revoke_token

        token = on.rig.token(Role.DEVICE)
        on.rig.parts.store.write(lambda conn: revoke_token(conn, token, 2.0)).result()
        await on.rig.parts.tokens.arefresh()
        await on.permit("notifications", "granted")
        await on.page.click("#ask-messages [data-answer=accepted]")
        await on.page.until("document.querySelector('#said').textContent === words.revoked")
