from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest

from beacon_gateway.link import Away, Receipt
from beacon_gateway.model import GatewayError
from beacon_gateway.mqtt import MqttLink
from beacon_gateway.scanner import Clock
from beacon_gateway.spool import Spool
from beacon_gateway.spoolfile import Limits
from beacon_gateway.uplink import Uplink
from tests.beacon_gateway.listener import CONFIG
from tests.beacon_gateway.test_spool import add
from tests.servers import Mosquitto

BODY = b'{"id":"boot:0"}\n'


@contextlib.asynccontextmanager
async def subscriber(broker: Mosquitto, **more: object) -> AsyncIterator[aiomqtt.Client]:
    """Listen as a server does: with a session that outlives a broken connection."""
    async with aiomqtt.Client(
        "127.0.0.1", broker.port, identifier="server", clean_session=False, **more
    ) as client:
        await client.subscribe("proximity/+/sightings", qos=1)
        yield client


async def test_a_batch_is_handed_over_at_qos_1_under_the_gateways_topic(
    mosquitto: Mosquitto,
) -> None:
    link = MqttLink(mosquitto.url, "gw-1")
    async with subscriber(mosquitto) as client:
        assert await link.send(BODY) == Receipt()
        message = await asyncio.wait_for(anext(client.messages), 5)
    assert (str(message.topic), message.payload, message.qos) == (
        "proximity/gw-1/sightings", BODY, 1,
    )  # fmt: skip
    assert not message.retain
    await link.close()


async def test_a_broker_that_is_away_is_away_and_comes_back(mosquitto: Mosquitto) -> None:
    link = MqttLink(mosquitto.url, "gw-1")
    await link.send(BODY)
    mosquitto.stop()
    with pytest.raises(Away, match="broker") as away:
        await link.send(BODY)
    assert "127" not in str(away.value)
    with pytest.raises(Away):
        await link.configuration()
    mosquitto.start()
    assert await link.send(BODY) == Receipt()
    await link.close()


async def test_nothing_is_lost_while_the_broker_is_killed_again_and_again(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    spool = await Spool.open(
        tmp_path / "spool.sqlite", Limits(10_000_000, 1e6),
        gateway="gw-1", boot="boot", clock=Clock(),
    )  # fmt: skip
    link = MqttLink(mosquitto.url, "gw-1")
    uplink = Uplink(spool, link, draw=lambda: 0.05)
    running = asyncio.create_task(uplink.run())
    heard: Counter[str] = Counter()

    async def listen() -> None:
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with subscriber(mosquitto) as client:
                    async for message in client.messages:
                        assert isinstance(message.payload, bytes)
                        for line in message.payload.splitlines():
                            heard[json.loads(line)["id"]] += 1
            await asyncio.sleep(0.05)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.3)
    for _ in range(3):
        for _ in range(20):
            add(spool, 5)
            await asyncio.sleep(0.02)
        mosquitto.stop()
        add(spool, 5)
        await asyncio.sleep(0.2)
        mosquitto.start()
    for _ in range(300):
        if len(heard) == 315 and spool.waiting == 0:
            break
        add(spool, 0)
        await asyncio.sleep(0.05)
    uplink.stop()
    await running
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await link.close()
    await spool.close()
    assert set(heard) == {f"boot:{n}" for n in range(315)}, "twice may be; never not at all"


async def test_the_list_is_what_the_broker_retains(mosquitto: Mosquitto) -> None:
    link = MqttLink(mosquitto.url, "gw-1")
    assert await link.configuration() is None
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.publish(
            "proximity/gw-1/config", json.dumps(CONFIG).encode(), qos=1, retain=True
        )
    assert json.loads(await link.configuration() or b"") == CONFIG
    assert await link.configuration() is None
    await link.close()
    again = MqttLink(mosquitto.url, "gw-1")
    assert json.loads(await again.configuration() or b"") == CONFIG
    await again.health(b'{"beacons":1}')
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.subscribe("proximity/gw-1/health")
        message = await asyncio.wait_for(anext(client.messages), 5)
        assert message.payload == b'{"beacons":1}'
    await again.close()


async def test_the_token_is_the_password_that_goes_with_the_id(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, users={"gw-1": "px_token"})
    broker.start()
    try:
        link = MqttLink(broker.url, "gw-1", "px_token")
        assert await link.send(BODY) == Receipt()
        await link.close()
        wrong = MqttLink(broker.url, "gw-1", "px_other")
        with pytest.raises(Away) as away:
            await wrong.send(BODY)
        assert "px_other" not in str(away.value)
        await wrong.close()
    finally:
        broker.stop()


async def test_an_id_that_is_more_than_one_topic_is_refused(tmp_path: Path) -> None:
    for gateway in ("a/b", "#", "a+"):
        with pytest.raises(GatewayError, match="topic"):
            MqttLink("mqtt://127.0.0.1", gateway)
    (tmp_path / "ca").write_text("none")
    with pytest.raises(GatewayError, match="holds no certificate"):
        MqttLink("mqtts://127.0.0.1", "gw-1", ca_file=tmp_path / "ca")


def test_without_the_library_the_extra_is_named() -> None:
    code = "import sys; sys.modules['aiomqtt'] = None; import beacon_gateway.mqtt"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "pip install 'proximity-engine[mqtt]'" in ended.stderr
