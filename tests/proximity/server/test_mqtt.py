"""Records from a broker: a real one, a real store, and what happens when either is away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from beacon_gateway.eid import EidKey
from beacon_gateway.mqtt import MqttLink
from proximity.model import ProximityError
from proximity.server import mqtt
from proximity.server.broker import TOPICS, read_broker
from proximity.server.gateways import configuration_of
from proximity.server.mqtt import Subscriber
from proximity.server.serve import subscribed
from proximity.site.registry import Enrolled, Gateway, Site
from proximity.store import StoreFull
from tests.proximity.server.rig import Rig, running
from tests.servers import Mosquitto

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
BEACON = {"format": "ibeacon", "uuid": UUID, "major": 1, "minor": 7, "power_dbm": -59}
ADVERT = "0201061aff4c000215" + UUID.replace("-", "") + "00010007c5"
SITE = """
fences = "fences.geojson"
[[place]]
id = "door"
[[place]]
id = "shoes"
[[gateway]]
id = "gw-1"
place = "door"
[[gateway]]
id = "shoe-node"
place = "shoes"
[[gateway]]
id = "c8252d8e9c2c"
place = "shoes"
[[gateway]]
id = "TheengsGateway"
place = "shoes"
[[beacon]]
uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
subject = "member-42"
"""


def sightings(count: int = 3, first: int = 0, gateway: str = "gw-1") -> bytes:
    now = time.time()
    lines = [
        {"beacon": BEACON, "at": now - count + n, "rssi_dbm": -60, "gateway": gateway,
         "boot": "b", "seq": first + n, "id": f"b:{first + n}"}
        for n in range(count)
    ]  # fmt: skip
    return b"\n".join(json.dumps(line).encode() for line in lines)


def location(subject_at: float | None = None) -> bytes:
    at = time.time() if subject_at is None else subject_at
    return json.dumps(
        {"_type": "location", "lat": 48.85, "lon": 2.35, "acc": 8, "tst": at}
    ).encode()


@contextlib.asynccontextmanager
async def publisher(broker: Mosquitto) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        yield client


@pytest.fixture
async def assumed(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path, consent="assumed") as rig:
        yield rig


def counted(rig: Rig, feed: str) -> dict[str, int]:
    return {outcome: n for (name, outcome), n in rig.parts.metrics._records.items() if name == feed}


async def until(holds: Any, seconds: float = 15.0) -> None:
    for _ in range(int(seconds / 0.01)):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came about")


async def ready(rig: Rig, connected: float = 1.0) -> None:
    line = f"proximity_broker_connected {connected}"
    await until(lambda: line in rig.parts.metrics.text().decode())


async def test_every_topic_reaches_the_engine(tmp_path: Path, mosquitto: Mosquitto) -> None:
    (tmp_path / "mine.toml").write_text(SITE)
    broker = read_broker(mosquitto.url, None, tmp_path)
    async with (
        running(tmp_path, site=tmp_path / "mine.toml", consent="assumed") as rig,
        subscribed(rig.parts, broker),
        publisher(mosquitto) as client,
    ):
        await ready(rig)
        ibeacon = {"id": f"iBeacon:{UUID}-1-7", "rssi": -60.1, "rssi@1m": -59}
        advert = {"rssi": -60, "data": ADVERT, "gw_mac": "C8:25:2D:8E:9C:2C"}
        for topic, payload in (
            ("proximity/gw-1/sightings", sightings()),
            ("espresense/devices/iBeacon:x/shoe-node", json.dumps(ibeacon).encode()),
            ("home/TheengsGateway/BTtoMQTT/AABBCCDDEEFF", json.dumps({"rssi": -61, "manufacturerdata": ADVERT[10:]}).encode()),
            ("ruuvi/C8:25:2D:8E:9C:2C/AA:BB:CC:DD:EE:FF", json.dumps(advert).encode()),
            ("owntracks/ann/phone", location()),
            ("owntracks/ann/phone/event", json.dumps({"_type": "transition", "tst": 1}).encode()),
            ("owntracks/ann/phone/beacon", json.dumps({"_type": "beacon"}).encode()),
            ("something/else", b"x"),
        ):  # fmt: skip
            await client.publish(topic, payload, qos=1)
        await rig.until("/v1/transitions?subject=member-42", 1)
        (enter,) = await rig.until("/v1/transitions?subject=ann%2Fphone", 1)
        assert (enter["kind"], enter["place"]) == ("enter", "store-7")
        await until(lambda: counted(rig, "owntracks").get("ignored") == 2)
        assert counted(rig, "sightings") == {"accepted": 3}
        for feed in ("espresense", "theengs", "ruuvi"):
            assert counted(rig, feed) == {"accepted": 1}, feed
        assert rig.parts.ingest.counts["unlisted"] == 0


async def test_our_own_gateways_find_their_configuration_and_tell_how_they_fare(
    assumed: Rig, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    broker = read_broker(mosquitto.url, None, tmp_path)
    async with subscribed(assumed.parts, broker), publisher(mosquitto) as client:
        await ready(assumed)
        await client.subscribe("proximity/gw-1/config", qos=1)
        async with asyncio.timeout(60):
            message = await anext(client.messages)
        known = await assumed.ask("GET", "/v1/gateways/gw-1/config")
        assert json.loads(message.payload) == known.json
        for name, said in (("gw-1", b'{"radios":7}'), ("gw-1", b"{"), ("gw-1", b"[" * 70_000), ("gw-9", b"{}")):  # fmt: skip
            await client.publish(f"proximity/{name}/health", said, qos=1)
        await client.publish("proximity/gw-1/sightings", sightings(1), qos=1)
        await until(lambda: counted(assumed, "sightings") == {"accepted": 1})
        assert set(assumed.parts.healths) == {"gw-1"}
        assert json.loads(bytes(assumed.parts.healths["gw-1"].said)) == {"radios": 7}


async def test_our_own_gateway_at_the_other_end(assumed: Rig, tmp_path: Path, mosquitto: Mosquitto) -> None:  # fmt: skip
    broker = read_broker(mosquitto.url, None, tmp_path)
    link = MqttLink(mosquitto.url, "gw-1")
    async with subscribed(assumed.parts, broker):
        await ready(assumed)
        try:
            async with asyncio.timeout(60):
                said = None
                while said is None:  # it is told once the server has told the broker
                    said = await link.configuration()
            assert json.loads(said)["gateway"] == "gw-1"
            await link.send(sightings(3))
            await link.health(b'{"beacons":1}')
            await until(lambda: counted(assumed, "sightings") == {"accepted": 3})
            await until(lambda: "gw-1" in assumed.parts.healths)
        finally:
            await link.close()


async def test_a_gateway_that_is_no_more_leaves_no_configuration(
    assumed: Rig, tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "LOOK_S", 0.02)
    broker = read_broker(mosquitto.url, None, tmp_path)
    beside = {"id": "gw-2", "place": "store-7/entrance"}
    async with subscribed(assumed.parts, broker), publisher(mosquitto) as client:
        await client.subscribe("proximity/gw-2/config", qos=1)
        put = await assumed.ask("PUT", "/v1/gateways/gw-2", body=beside)
        assert put.status in {200, 201}, put.body
        async with asyncio.timeout(60):
            assert json.loads((await anext(client.messages)).payload)["gateway"] == "gw-2"
            gone = await assumed.ask("DELETE", "/v1/gateways/gw-2")
            assert gone.status in {200, 204}, gone.body
            assert (await anext(client.messages)).payload == b""


async def test_what_is_gone_while_the_server_is_down_goes_at_the_next_start(
    assumed: Rig, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    broker = read_broker(mosquitto.url, None, tmp_path)
    broker.save_told({"gw-old"})
    async with publisher(mosquitto) as client:
        for name in ("gw-old", "gw-theirs"):
            await client.publish(f"proximity/{name}/config", b"{}", qos=1, retain=True)
        await client.subscribe("proximity/+/config", qos=1)
        async with asyncio.timeout(60):
            await anext(client.messages), await anext(client.messages)
            async with subscribed(assumed.parts, broker):
                gone = await anext(client.messages)
                assert (str(gone.topic), gone.payload) == ("proximity/gw-old/config", b"")
                await until(lambda: broker.load_told() == {"gw-1"})


def test_keys_of_rotating_beacons_need_tls(tmp_path: Path) -> None:
    for url, private in (
        ("mqtt://127.0.0.1", True), ("mqtt://localhost", True), ("mqtt://broker.example", False),
        ("mqtt://192.0.2.1", False), ("mqtts://broker.example", True),
    ):  # fmt: skip
        assert read_broker(url, None, tmp_path).private is private
    eid = EidKey(identity_key="ab" * 16, exponent=10, epoch=0.0)
    turning = Enrolled(key=("eddystone-eid", "00" * 8), subject="s", eid=eid)
    gateway = Gateway(id="g", place="p")
    site = Site(gateways={"g": gateway}, beacons=(turning,))
    assert b"identity_key" in configuration_of(site, gateway, 60.0, None)
    assert b'"beacons":[]' in configuration_of(site, gateway, 60.0, None, keys=False)


async def test_nobody_speaks_for_another(
    assumed: Rig, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    broker = read_broker(mosquitto.url, None, tmp_path)
    async with subscribed(assumed.parts, broker), publisher(mosquitto) as client:
        await ready(assumed)
        await client.publish("proximity/gw-2/sightings", sightings(gateway="gw-1"), qos=1)
        await until(lambda: counted(assumed, "sightings") == {"rejected": 3})


async def test_what_a_broker_retained_is_not_of_now(assumed: Rig, tmp_path: Path, mosquitto: Mosquitto) -> None:  # fmt: skip
    broker = read_broker(mosquitto.url, None, tmp_path)
    async with publisher(mosquitto) as client:
        await client.publish("proximity/gw-1/sightings", sightings(), qos=1, retain=True)
        async with subscribed(assumed.parts, broker):
            await ready(assumed)
            await client.publish("proximity/gw-1/sightings", sightings(1, 10), qos=1)
            await until(lambda: counted(assumed, "sightings") == {"accepted": 1})


async def test_poison_is_counted_and_holds_nothing_up(assumed: Rig, tmp_path: Path, mosquitto: Mosquitto) -> None:  # fmt: skip
    broker = read_broker(mosquitto.url, None, tmp_path)
    async with subscribed(assumed.parts, broker), publisher(mosquitto) as client:
        await ready(assumed)
        for payload in (b"", b"\xff", b"{", b"[" * 100_000, sightings(2)):
            await client.publish("proximity/gw-1/sightings", payload, qos=1)
        await until(lambda: counted(assumed, "sightings").get("accepted") == 2)
        assert counted(assumed, "sightings")["rejected"] >= 3


async def test_a_full_disk_acknowledges_nothing(
    assumed: Rig, tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = assumed.parts.ingest.accept, []

    async def full(*args: Any) -> Any:
        tries.append(1)
        raise StoreFull("no room")

    monkeypatch.setattr(mqtt, "SHORTEST_WAIT_S", 0.02)
    monkeypatch.setattr(assumed.parts.ingest, "accept", full)
    broker = read_broker(mosquitto.url, None, tmp_path)
    async with publisher(mosquitto) as client:
        async with subscribed(assumed.parts, broker):
            await ready(assumed)
            await client.publish("proximity/gw-1/sightings", sightings(2), qos=1)
            await until(lambda: len(tries) > 2)
            assert counted(assumed, "sightings") == {}
        # The server went down before there was room: the broker still has it, for the next start.
        monkeypatch.setattr(assumed.parts.ingest, "accept", real)
        async with subscribed(assumed.parts, broker):
            await until(lambda: counted(assumed, "sightings") == {"accepted": 2})


async def test_what_was_committed_and_not_acknowledged_comes_twice_and_counts_once(
    assumed: Rig, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    broker = read_broker(mosquitto.url, None, tmp_path)
    subscriber = Subscriber(assumed.parts, broker)
    async with publisher(mosquitto) as client:
        async with subscriber._client() as connection:
            await subscriber._subscribe(connection)
            await client.publish("proximity/gw-1/sightings", sightings(2), qos=1)
            message = await anext(connection.messages)
            await subscriber._commit([message])
        assert counted(assumed, "sightings") == {"accepted": 2}
        async with subscribed(assumed.parts, broker):
            await until(lambda: counted(assumed, "sightings") == {"accepted": 2, "duplicate": 2})
        # Now it is acknowledged: a third start finds nothing.
        async with subscribed(assumed.parts, broker):
            await client.publish("proximity/gw-1/sightings", sightings(1, 7), qos=1)
            await until(lambda: counted(assumed, "sightings") == {"accepted": 3, "duplicate": 2})


async def test_a_broker_that_goes_away_is_found_again(
    assumed: Rig, tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "SHORTEST_WAIT_S", 0.05)
    monkeypatch.setattr(mqtt, "LONGEST_WAIT_S", 0.2)
    broker = read_broker(mosquitto.url, None, tmp_path)
    async with subscribed(assumed.parts, broker):
        await ready(assumed)
        mosquitto.stop()
        await ready(assumed, 0.0)
        await asyncio.to_thread(mosquitto.start)
        await ready(assumed)
        async with publisher(mosquitto) as client:
            await client.publish("proximity/gw-1/sightings", sightings(2), qos=1)
        await until(lambda: counted(assumed, "sightings") == {"accepted": 2})


async def test_many_at_once_are_taken_together_and_in_order(assumed: Rig, tmp_path: Path, mosquitto: Mosquitto) -> None:  # fmt: skip
    broker = read_broker(mosquitto.url, None, tmp_path)
    async with publisher(mosquitto) as client:
        async with subscribed(assumed.parts, broker):
            await ready(assumed)
        for n in range(300):  # while nobody listens
            await client.publish("proximity/gw-1/sightings", sightings(2, 2 * n), qos=1)
        async with subscribed(assumed.parts, broker):
            await until(lambda: counted(assumed, "sightings") == {"accepted": 600})


async def test_what_nobody_awaits_is_bounded(assumed: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(mqtt, "MOST_WAITING", 3)
    subscriber = Subscriber(assumed.parts, read_broker("mqtt://127.0.0.1:1", None, tmp_path))
    queue = subscriber._client()._queue

    def message(qos: int) -> aiomqtt.Message:
        return aiomqtt.Message("a", b"", qos, False, 1, None)

    for qos in (0, 0, 0, 0, 1, 1, 0):
        queue.put_nowait(message(qos))
    assert queue.qsize() == 5
    assert counted(assumed, "mqtt") == {"dropped": 2}


@pytest.mark.parametrize(
    ("filter_", "topic", "who"),
    [
        ("proximity/+/sightings", "proximity/GW-1/sightings", "GW-1"),
        ("espresense/devices/+/+", "espresense/devices/iBeacon:a-1-2/shoes", "shoes"),
        ("home/+/BTtoMQTT/#", "home/Theengs/BTtoMQTT/AABB", "Theengs"),
        ("ruuvi/+/+", "ruuvi/C8:25:2D:8E:9C:2C/x", "c8252d8e9c2c"),
        ("owntracks/+/+", "owntracks/ann/AABBCCDDEEFF", "ann/AABBCCDDEEFF"),
    ],
)
def test_who_speaks_on_a_topic(filter_: str, topic: str, who: str) -> None:
    (row,) = [one for one in TOPICS if one.filter == filter_]
    assert aiomqtt.Topic(topic).matches(row.filter)
    assert row.speaks_for(topic) == who


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ("localhost", "give mqtt://"), ("http://host", "give mqtt://"), ("mqtt://", "give mqtt://"),
        ("mqtt://host:port", "give mqtt://"), ("mqtt://host/topic", "give mqtt://"),
        ("mqtt://ann:secret@host", "--mqtt-password-file"),
    ],
)  # fmt: skip
def test_a_broker_is_named_rightly(tmp_path: Path, url: str, mend: str) -> None:
    with pytest.raises(ProximityError, match=mend) as refusal:
        read_broker(url, None, tmp_path)
    assert "secret" not in str(refusal.value)


def test_a_broker_with_a_name_and_a_password(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("word\n")
    broker = read_broker("mqtts://an%6e@broker.example", secret, tmp_path)
    assert (broker.host, broker.port, broker.tls) == ("broker.example", 8883, True)
    assert (broker.username, broker.password) == ("ann", "word")
    # The session is the same at the next start, and another under another folder.
    assert read_broker("mqtt://h", None, tmp_path).identifier == broker.identifier
    other = tmp_path / "other"
    other.mkdir()
    assert read_broker("mqtt://h", None, other).identifier != broker.identifier
    with pytest.raises(ProximityError, match="holds no password"):
        read_broker("mqtt://h", tmp_path / "none", tmp_path)
    with pytest.raises(ProximityError, match="cannot be kept"):
        read_broker("mqtt://h", None, tmp_path / "nowhere")


async def test_a_broker_that_asks_for_a_password(assumed: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    server = Mosquitto(folder, {"engine": "word"})
    server.start()
    try:
        secret = tmp_path / "password"
        secret.write_text("word")
        url = server.url.replace("://", "://engine@")
        async with subscribed(assumed.parts, read_broker(url, secret, tmp_path)):
            await ready(assumed)
        wrong = read_broker(server.url, None, tmp_path)
        async with subscribed(assumed.parts, wrong):
            await asyncio.sleep(0.3)
            assert "proximity_broker_connected 0.0" in assumed.parts.metrics.text().decode()
    finally:
        server.stop()


async def test_an_end_while_the_broker_does_not_answer_is_an_end(
    assumed: Rig, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    broker = read_broker(mosquitto.url, None, tmp_path)
    async with asyncio.timeout(30):
        async with subscribed(assumed.parts, broker):
            await ready(assumed)
            os.kill(mosquitto.pid, signal.SIGSTOP)  # it holds the line and says nothing
        os.kill(mosquitto.pid, signal.SIGCONT)
