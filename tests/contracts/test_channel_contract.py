"""What every channel promises, asked of each one in the table against a real receiver."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from queue import Queue
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

import paho.mqtt.client as paho
import pytest

from proximity.campaigns.campaigns import Campaigns
from proximity.channels import CHANNELS, Channel, Reply
from proximity.channels.apns import open_apns
from proximity.channels.console import Console
from proximity.channels.fcm import open_fcm
from proximity.channels.inbox import Inbox, open_inbox
from proximity.channels.mail import open_email
from proximity.channels.mqtt import open_mqtt
from proximity.channels.vapid import make_key, write_key
from proximity.channels.web_push import open_web_push
from proximity.channels.webhook import open_webhook
from proximity.dispatch import offers
from proximity.dispatch.weighing import World
from proximity.inbox import look
from proximity.model import Endpoint
from proximity.people.people import People
from proximity.site.places import Places
from proximity.store import Store
from tests.proximity.channels import apple, google
from tests.proximity.channels.mailboxes import TLS, mailboxes
from tests.proximity.channels.push_service import push_service
from tests.proximity.channels.receivers import receiver
from tests.proximity.given import COFFEE, NOON, offer
from tests.servers import Mosquitto

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Connection

    from proximity.model import Offer

CERTIFICATE = TLS / "cert.pem"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

# What a place, a person or a marketer may be called, by accident or not.
STRANGE = ["", "a\nb", "\x1b[31m", "\u202e", "قهوة", "☕" * 500, '"},{"', "\u2028", "\x00"]


class Tried(NamedTuple):
    """A channel with a real receiver behind it; ``received`` gives the keys that came there."""

    channel: Channel
    received: Callable[[], list[str]]
    endpoint: Endpoint | None = None

    async def send(self, one: Offer) -> Reply:
        return await self.channel.send(one, self.endpoint)


@asynccontextmanager
async def console(_: Path) -> AsyncIterator[Tried]:
    stream = io.StringIO()
    yield Tried(
        Console(stream),
        lambda: [json.loads(one)["key"] for one in stream.getvalue().splitlines()],
    )


@asynccontextmanager
async def webhook(folder: Path) -> AsyncIterator[Tried]:
    (folder / "secret").write_text(SECRET)
    async with receiver() as one:
        config = {"url": one.url(), "secret_file": "secret", "allow": ["127.0.0.1"]}
        channel = open_webhook(config, folder)
        yield Tried(channel, lambda: [json.loads(body)["id"] for _, _, body in one.requests])
        await channel.close()


@asynccontextmanager
async def fcm(folder: Path) -> AsyncIterator[Tried]:
    async with google.google() as one:
        channel = open_fcm(google.settings(folder, one.url), folder)
        yield Tried(
            channel,
            lambda: [sent["message"]["data"]["key"] for sent in one.sent],
            Endpoint(channel="fcm", address=google.DEVICE, platform="android"),
        )
        await channel.close()


@asynccontextmanager
async def apns(folder: Path) -> AsyncIterator[Tried]:
    async with apple.apple(folder) as one:
        channel = open_apns(apple.settings(folder, one.url), folder)
        yield Tried(
            channel,
            lambda: [push.payload["offer"]["key"] for push in one.pushes],
            Endpoint(channel="apns", address=apple.DEVICE, platform="ios"),
        )
        await channel.close()


@asynccontextmanager
async def web_push(folder: Path) -> AsyncIterator[Tried]:
    write_key(folder / "push.pem", make_key())
    config = {
        "contact": "mailto:ops@example.com", "key_file": "push.pem", "allow": ["127.0.0.1"],
    }  # fmt: skip
    channel = open_web_push(config, folder)
    browser = push_service().subscribe(channel.public_key)
    yield Tried(
        channel,
        lambda: [json.loads(message)["key"] for message in browser.messages],
        Endpoint(channel="web-push", address=browser.address, origin="https://shop.example.test"),
    )
    await channel.close()


@asynccontextmanager
async def email(folder: Path) -> AsyncIterator[Tried]:
    async with mailboxes() as boxes:
        config = {
            "host": "localhost", "port": boxes.port, "from": "Shop <offers@shop.test>",
            "allow": ["127.0.0.1", "::1"], "ca_file": str(CERTIFICATE),
        }  # fmt: skip
        channel = open_email(config, folder)
        yield Tried(
            channel,
            lambda: [one["Message-ID"][1:].split("@")[0] for one in boxes.messages],
            Endpoint(channel="email", address="anna@example.test"),
        )
        await channel.close()


class Listener:
    """A subscriber in a thread of its own, by the library that is under the other one."""

    def __init__(self, port: int) -> None:
        self.keys: list[str] = []
        self.marks: Queue[bytes] = Queue()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = self.hear
        subscribed = Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe("#", qos=1)
        assert subscribed.wait(10)

    def hear(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if message.topic == "mark":
            self.marks.put(message.payload)
        else:
            self.keys.append(json.loads(message.payload)["id"])

    def received(self) -> list[str]:
        """Give what was heard by now: all that was published before a mark of our own."""
        self.client.publish("mark", b"here", qos=1)
        self.marks.get(timeout=10)
        return self.keys

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@asynccontextmanager
async def mqtt(folder: Path) -> AsyncIterator[Tried]:
    (folder / "broker").mkdir()
    broker = Mosquitto(folder / "broker")
    broker.start()
    listener = Listener(broker.port)
    config = {
        "host": "127.0.0.1", "port": broker.port, "tls": "none", "allow": ["127.0.0.1"],
        "topic": "offers/{campaign}/{place}/{person}",
    }  # fmt: skip
    channel = open_mqtt(config, folder)
    yield Tried(channel, listener.received)
    await channel.close()
    listener.close()
    broker.stop()


class Recorded:
    """The inbox as its offers come to lie in it: what dispatch writes before and after it."""

    name, to_endpoints = Inbox.name, Inbox.to_endpoints

    def __init__(self, store: Store) -> None:
        self.store, self.inner = store, open_inbox({}, Path())
        rules = Campaigns(campaigns={"coffee": COFFEE})
        self.world = World(lambda: rules, People(store), Places(None), assumed=True)

    async def send(self, one: Offer, endpoint: Endpoint | None = None) -> Reply:
        reply = await self.inner.send(one, endpoint)

        def write(conn: Connection) -> None:
            if not offers.states_of(conn, [one.key]):
                offers.put(conn, [one])
            offers.move(conn, [offers.News(one.key, reply.outcome, NOON, in_inbox=True)])

        await self.store.awrite(write)
        return reply

    def received(self) -> list[str]:
        rows = self.store.read(lambda conn: look(conn, self.world, "anna", NOON)).rows
        return [row.key for row in rows]

    async def close(self) -> None:
        await self.inner.close()


@asynccontextmanager
async def inbox(_: Path) -> AsyncIterator[Tried]:
    store = Store.open(":memory:")
    one = Recorded(store)
    yield Tried(one, one.received)
    store.close()


OPENERS = {
    "console": console,
    "inbox": inbox,
    "webhook": webhook,
    "email": email,
    "mqtt": mqtt,
    "fcm": fcm,
    "apns": apns,
    "web-push": web_push,
}
every_channel = pytest.mark.parametrize("name", sorted(CHANNELS))


def test_every_channel_is_asked() -> None:
    assert set(OPENERS) == set(CHANNELS)


@every_channel
async def test_it_has_the_name_that_campaigns_call_it_by(name: str, tmp_path: Path) -> None:
    async with OPENERS[name](tmp_path) as tried:
        assert tried.channel.name == name
        assert tried.channel.to_endpoints is (tried.endpoint is not None)


@every_channel
async def test_an_offer_taken_is_accepted_and_carries_its_key(name: str, tmp_path: Path) -> None:
    async with OPENERS[name](tmp_path) as tried:
        reply = await tried.send(offer(channel=name, key="k-7"))
        assert reply.outcome == "accepted"
        assert tried.received() == ["k-7"]


@every_channel
async def test_an_offer_sent_again_has_the_same_key(name: str, tmp_path: Path) -> None:
    async with OPENERS[name](tmp_path) as tried:
        for _ in range(2):
            await tried.send(offer(channel=name))
        assert set(tried.received()) == {"k1"}


@every_channel
async def test_replies_are_plain_values_that_the_ledger_can_keep(name: str, tmp_path: Path) -> None:
    async with OPENERS[name](tmp_path) as tried:
        reply = await tried.send(offer(channel=name))
        assert isinstance(reply, Reply)
        assert json.loads(json.dumps(reply.reply)) == reply.reply


@every_channel
@pytest.mark.parametrize("text", STRANGE)
async def test_strange_text_is_handed_over_whole(name: str, text: str, tmp_path: Path) -> None:
    async with OPENERS[name](tmp_path) as tried:
        strange = offer(channel=name, text=text, link=None, place=text or "p", campaign=text or "c")
        assert (await tried.send(strange)).outcome == "accepted"
        assert tried.received() == ["k1"]


@every_channel
async def test_many_at_once_all_arrive(name: str, tmp_path: Path) -> None:
    async with OPENERS[name](tmp_path) as tried:
        keys = [f"k{n:02}" for n in range(40)]
        replies = await asyncio.gather(
            *(tried.send(offer(channel=name, key=key, created_at=NOON)) for key in keys)
        )
        assert {reply.outcome for reply in replies} == {"accepted"}
        assert sorted(tried.received()) == keys


@every_channel
async def test_it_can_be_closed_twice(name: str, tmp_path: Path) -> None:
    async with OPENERS[name](tmp_path) as tried:
        await tried.send(offer(channel=name))
        await tried.channel.close()
        await tried.channel.close()
