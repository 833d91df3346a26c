"""Offers by MQTT 5 at real brokers: mosquitto, and aedes where its Node is there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.channels.mqtt import DEFAULT_TOPIC, Mqtt, check_topic, open_mqtt, topic_of
from proximity.model import ProximityError
from tests.npm import NODE_MODULES, need_node
from tests.proximity.given import NOON, offer
from tests.servers import Mosquitto

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TLS = Path(__file__).resolve().parents[2] / "edges" / "tls"


def opened(port: int, folder: Path, **changes: Any) -> Mqtt:
    config = {"host": "127.0.0.1", "port": port, "tls": "none", "allow": ["127.0.0.1"]} | changes
    channel = open_mqtt({key: value for key, value in config.items() if value is not None}, folder)
    channel._clock = lambda: NOON
    return channel


async def heard(port: int, count: int, *, subscribe: str = "#") -> AsyncIterator[aiomqtt.Message]:
    """Give the messages that a subscriber of its own hears."""
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe(subscribe, qos=1)
        async for message in client.messages:
            yield message
            count -= 1
            if not count:
                return


async def listening(port: int, count: int) -> asyncio.Task[list[aiomqtt.Message]]:
    """Begin to listen, and be sure of it."""
    ready = asyncio.Event()

    async def listen() -> list[aiomqtt.Message]:
        async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await client.subscribe("#", qos=1)
            ready.set()
            found = []
            async for message in client.messages:
                found.append(message)
                if len(found) == count:
                    break
            return found

    task = asyncio.create_task(listen())
    await ready.wait()
    return task


async def test_an_offer_arrives_with_its_expiry_and_its_key(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    task = await listening(mosquitto.port, 1)
    channel = opened(mosquitto.port, tmp_path)
    reply = await channel.send(offer(text="قهوة ☕"))
    await channel.close()
    (message,) = await asyncio.wait_for(task, 10)
    assert (reply.outcome, reply.reply) == ("accepted", {"code": "0x00"})
    assert str(message.topic) == "proximity/offers/anna"
    assert (message.qos, message.retain) == (1, False)
    event = json.loads(message.payload)
    assert (event["id"], event["data"]["text"]) == ("k1", "قهوة ☕")
    assert message.properties is not None
    said = message.properties.json()
    assert 115 <= said["MessageExpiryInterval"] <= 120
    assert said["ContentType"] == "application/cloudevents+json; charset=utf-8"
    assert said["UserProperty"] == [("key", "k1"), ("campaign", "coffee")]


async def test_nobody_listening_is_told_by_the_reason_code(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    channel = opened(mosquitto.port, tmp_path)
    reply = await channel.send(offer())
    await channel.close()
    assert (reply.outcome, reply.reply) == ("accepted", {"code": "0x10"})


async def test_a_retained_offer_takes_the_place_of_the_one_before(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    channel = opened(mosquitto.port, tmp_path, retain=True, topic="board/{place}")
    for key in ("k1", "k2"):
        await channel.send(offer(key=key))
    await channel.send(offer(key="k3", place="cafe-2"))
    await channel.close()
    found = [json.loads(one.payload)["id"] async for one in heard(mosquitto.port, 2)]
    assert sorted(found) == ["k2", "k3"]


async def test_a_retained_offer_that_is_over_is_gone(mosquitto: Mosquitto, tmp_path: Path) -> None:
    channel = opened(mosquitto.port, tmp_path, retain=True)
    await channel.send(offer(key="over", person="bo", expires_at=NOON + 1))
    await channel.send(offer(key="good"))
    await channel.close()
    deadline = asyncio.get_running_loop().time() + 20
    found = ["over"]
    while "over" in found and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.5)
        found = []
        async with asyncio.timeout(60):
            async for one in heard(mosquitto.port, 1, subscribe="proximity/offers/anna"):
                found.append(json.loads(one.payload)["id"])
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            await client.subscribe("proximity/offers/+")
            try:
                async with asyncio.timeout(0.3):
                    async for message in client.messages:
                        found.append(json.loads(message.payload)["id"])
            except TimeoutError:
                pass
    assert set(found) == {"good"}


async def test_a_broker_that_restarts_is_connected_to_anew(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    channel = opened(mosquitto.port, tmp_path)
    assert (await channel.send(offer())).outcome == "accepted"
    mosquitto.stop()
    away = await channel.send(offer())
    assert away.outcome == "retry"
    replies = await asyncio.gather(*(channel.send(offer(key=f"k{n}")) for n in range(16)))
    assert {one.outcome for one in replies} == {"retry"}
    assert not any(one.unsure for one in replies)
    mosquitto.start()
    replies = await asyncio.gather(*(channel.send(offer(key=f"k{n}")) for n in range(16)))
    assert {one.outcome for one in replies} == {"accepted"}
    await channel.close()


async def test_it_signs_in_and_what_is_refused_is_a_config_error(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Mosquitto(folder, users={"shop": "canary-good"})
    broker.start()
    try:
        for password, outcome in (("canary-good", "accepted"), ("canary-bad", "config_error")):
            (tmp_path / "password").write_text(password)
            (tmp_path / "password").chmod(0o600)
            config = {"username": "shop", "password_file": "password"}
            with pytest.raises(
                ProximityError, match="everybody on the way could read the password"
            ):
                opened(broker.port, tmp_path, **config)
            channel = opened(broker.port, tmp_path)
            channel._peer = type(channel._peer)(
                host="127.0.0.1", port=broker.port, tls="none", allow=channel._peer.allow,
                username="shop", password=password,
            )  # fmt: skip
            reply = await channel.send(offer())
            await channel.close()
            assert reply.outcome == outcome
            assert "canary" not in repr(reply) + repr(channel._peer)
    finally:
        broker.stop()


async def test_tls_with_a_checked_name(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Mosquitto(folder, tls=(TLS / "cert.pem", TLS / "key.pem"))
    broker.start()
    try:
        for ca_file, reply in (
            (str(TLS / "cert.pem"), {"code": "0x10"}),
            (None, {"error": "certificate"}),
        ):
            channel = opened(
                broker.port, tmp_path, host="localhost", tls="tls", ca_file=ca_file,
                allow=["127.0.0.1", "::1"],
            )  # fmt: skip
            found = await channel.send(offer())
            await channel.close()
            assert found.reply == reply
    finally:
        broker.stop()


async def test_a_broker_that_says_nothing_holds_nobody_up(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    channel = opened(server.sockets[0].getsockname()[1], tmp_path)
    channel._timeout_s = 0.3
    reply = await channel.send(offer())
    assert (reply.outcome, reply.reply, reply.unsure) == ("retry", {"error": "timeout"}, False)
    await channel.close()
    server.close()


AEDES = """
const { Aedes } = require("aedes");
const net = require("net");
Aedes.createBroker().then((broker) => {
  const server = net.createServer(broker.handle);
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
});

"""


async def test_a_broker_of_an_older_protocol_is_a_config_error(tmp_path: Path) -> None:
    broker = await asyncio.create_subprocess_exec(
        need_node(), "-e", AEDES, cwd=NODE_MODULES.parent,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert broker.stdout is not None
    port = int(await asyncio.wait_for(broker.stdout.readline(), 20))
    channel = opened(port, tmp_path)
    reply = await channel.send(offer())
    await channel.close()
    assert (reply.outcome, reply.reply) == ("config_error", {"code": "0x84"})
    broker.kill()
    await broker.communicate()


async def test_a_private_address_is_refused_unless_listed(tmp_path: Path) -> None:
    channel = open_mqtt({"host": "localhost"}, tmp_path)
    reply = await channel.send(offer())
    await channel.close()
    assert (reply.outcome, reply.reply["error"]) == ("config_error", "refused")


# -- topics --------------------------------------------------------------------------------------


@given(st.text(max_size=128), st.text(max_size=128))
def test_no_id_leaves_its_level(person: str, place: str) -> None:
    topic = topic_of("a/{person}/b/{place}/c", offer(person=_whole(person), place=_whole(place)))
    levels = topic.split("/")
    assert (len(levels), levels[0], levels[2], levels[4]) == (5, "a", "b", "c")
    assert not set(topic) & set("+#\x00$ ")


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_two_people_never_share_a_topic(one: str, other: str) -> None:
    topics = {topic_of(DEFAULT_TOPIC, offer(person=_whole(name))) for name in (one, other)}
    assert len(topics) == len({_whole(one), _whole(other)})


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("offers/+", "leave out + and #"),
        ("offers/{person}/#", "leave out + and #"),
        ("$SYS/{person}", "it begins with $"),
        ("/{person}", "it begins with $, which is the broker's own, or with /"),
        ("offers/{persn}", "{persn} is nothing of an offer's; did you mean 'person'?"),
        ("offers/{text}", "{text} is nothing of an offer's"),
        ("offers/{person", "lone { and }"),
        ("a\x00b", "none of control"),
        ("a" * 600, "at most 512 characters"),
    ],
)
def test_what_cannot_be_a_topic_is_named(template: str, problem: str, tmp_path: Path) -> None:
    assert any(problem in one for one in check_topic(template))
    with pytest.raises(ProximityError, match=r"channel\.mqtt: topic: "):
        open_mqtt({"host": "broker.example.test", "topic": template}, tmp_path)


def test_opened_with_the_least_that_it_needs(tmp_path: Path) -> None:
    channel = open_mqtt({"host": "broker.example.test"}, tmp_path)
    assert (channel._peer.port, channel._peer.tls, channel._topic) == (8883, "tls", DEFAULT_TOPIC)
