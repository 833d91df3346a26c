"""From the decision to the phone: FCM first, APNs after it, over real connections and a real store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from proximity.channels.apns import open_apns
from proximity.channels.fcm import open_fcm
from proximity.model import Consent, Endpoint
from proximity.people import endpoints
from proximity.store import Store, schema
from tests.proximity.channels import apple, google
from tests.proximity.channels.google import refusal
from tests.proximity.given import ANNA, COFFEE, NOON, rules, trigger
from tests.proximity.test_dispatch import Way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from proximity.model import Delivery

GONE = refusal(404, "NOT_FOUND", name="UNREGISTERED")
STRANGER = refusal(403, "PERMISSION_DENIED", name="SENDER_ID_MISMATCH")
BUSY = refusal(429, "RESOURCE_EXHAUSTED", name="QUOTA_EXCEEDED")

ANDROIDS = tuple(
    Endpoint(channel="fcm", address=f"android-{n}", platform="android", registered_at=NOON - 9.0)
    for n in range(3)
)
IPHONE = Endpoint(channel="apns", address=apple.DEVICE, platform="ios", registered_at=NOON - 9.0)
PEOPLE = replace(ANNA, endpoints=(*ANDROIDS, IPHONE), consents=(Consent(purpose="marketing"),))
CAMPAIGN = replace(COFFEE, channels=("fcm", "apns"), ttl_s=600.0)


class Mobile(Way):
    """The way out by FCM and APNs; Anna has three Androids and an iPhone."""

    def __init__(self, folder: Path, fcm: google.Google, apns: apple.Apple) -> None:
        super().__init__(Store.open(":memory:"), rules(CAMPAIGN))
        self.fcm, self.apns = fcm, apns
        channels = [
            open_fcm(google.settings(folder, fcm.url), folder),
            open_apns(apple.settings(folder, apns.url), folder),
        ]
        self.dispatcher._channels = {channel.name: channel for channel in channels}
        self.put(PEOPLE).queue(trigger())
        assert [d.decision for d in self.decide()] == ["send"]

    async def sent(self, now: float = NOON) -> list[Delivery]:
        return await self.dispatcher.send_due(now)

    def living(self) -> tuple[Endpoint, ...]:
        return self.store.read(lambda c: self.people.read(c, "anna")).endpoints


@pytest.fixture
async def way(tmp_path: Path) -> AsyncIterator[Mobile]:
    async with google.google() as fcm, apple.apple(tmp_path) as apns:
        one = Mobile(tmp_path, fcm, apns)
        yield one
        for channel in one.dispatcher._channels.values():
            await channel.close()
        one.store.close()


async def test_three_devices_are_one_delivery_and_the_dead_one_goes(way: Mobile) -> None:
    way.fcm.devices = {"android-0": (404, GONE), "android-1": (403, STRANGER)}
    (told,) = await way.sent()
    assert (told.channel, told.outcome) == ("fcm", "accepted")
    assert told.reply["endpoints"] == {"accepted": 1, "config_error": 1, "dead_endpoint": 1}
    # Of another project is our fault: it stays. Unregistered is its own end.
    assert way.living() == (ANDROIDS[1], ANDROIDS[2], IPHONE)
    gone = way.store.read(lambda c: endpoints.known_gone(c, "anna"))
    assert [(one.channel, one.reason) for one in gone] == [("fcm", "UNREGISTERED")]
    assert len(way.rows(schema.sends)) == 1
    assert way.apns.pushes == []


async def test_all_gone_and_the_same_offer_goes_by_apns(way: Mobile) -> None:
    way.fcm.says = (404, GONE)
    assert [(d.channel, d.outcome) for d in await way.sent()] == [("fcm", "dead_endpoint")]
    assert [(d.channel, d.outcome) for d in await way.sent()] == [("apns", "accepted")]
    (push,) = way.apns.pushes
    assert push.payload["offer"]["key"] == way.fcm.sent[0]["message"]["data"]["key"] == "t1"
    assert push.headers["apns-collapse-id"] == "t1"
    assert way.living() == (IPHONE,)
    assert [(row.decision, row.channel) for row in way.rows(schema.sends)] == [("t1", "apns")]


async def test_a_full_quota_is_waited_for_and_then_it_is_sent(way: Mobile) -> None:
    way.fcm.says = (429, BUSY)
    (told,) = await way.sent()
    assert (told.outcome, told.next_at) == ("retry", NOON + 60.0)
    way.fcm.says = (200, None)
    assert await way.sent(NOON + 59.0) == []
    assert [d.outcome for d in await way.sent(NOON + 60.0)] == ["accepted"]
    tags = {sent["message"]["android"]["notification"]["tag"] for sent in way.fcm.sent}
    assert tags == {"t1"}, "a repeat replaces what is on the screen"


async def test_settings_that_are_refused_delete_nothing_and_the_next_channel_takes_over(
    way: Mobile,
) -> None:
    way.fcm.grants = (400, {"error": "invalid_grant"})
    (told,) = await way.sent()
    assert (told.outcome, told.reason) == ("failed", "config_error")
    assert [(d.channel, d.outcome) for d in await way.sent()] == [("apns", "accepted")]
    assert way.living() == PEOPLE.endpoints
    assert way.fcm.sent == []


async def test_no_device_s_address_is_in_any_record(way: Mobile) -> None:
    way.fcm.says = (404, GONE)
    way.apns.otherwise = (410, {"reason": "Unregistered", "timestamp": int(NOON * 1000)})
    await way.sent()
    await way.sent()
    assert way.living() == ()
    for kind in ("decision", "delivery"):
        text = str(way.records(kind))
        assert text != "[]"
        assert not any(one.address in text for one in PEOPLE.endpoints)
