"""The question: how does an offer reach whoever listens at a broker.

MQTT 5 with QoS 1: the broker has said that it took the message before the offer counts as handed
over. Its expiry is the offer's, its topic is made of ids that cannot leave their level, and where
it is asked for the broker keeps the newest of each topic. The message is the webhook's event.
aiomqtt is imported here and in ``server.mqtt`` alone (extra ``mqtt``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from proximity.channels.channel import Reply
from proximity.channels.dialling import dial, read_peer
from proximity.channels.egress import EgressError, EgressRefused
from proximity.channels.envelope import (
    DEFAULT_SOURCE,
    STRUCTURED,
    as_structured,
    offer_envelope,
)
from proximity.channels.verdicts import reply_to
from proximity.model import ProximityError
from proximity.tomltable import TomlTable, nearest

try:
    import aiomqtt
    from aiomqtt.exceptions import MqttConnectError
    from paho.mqtt.client import MQTT_ERR_SUCCESS
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
except ModuleNotFoundError as error:  # pragma: no cover - the tests' environment has it
    raise ProximityError(
        f"channel mqtt needs {error.name}: pip install 'proximity-engine[mqtt]'"
    ) from None

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from proximity.channels.dialling import Peer, Tls
    from proximity.model import Endpoint, Offer

__all__ = ["Mqtt", "check_topic", "open_mqtt", "topic_of"]

PORTS: dict[Tls, int] = {"tls": 8883, "none": 1883}
TIMEOUT_S = 15.0
"""For one hand-over in all, connecting included; a dispatcher gives it 20 s."""
_CLOSE_S = 2.0
_KEEPALIVE_S = 30
"""A broker that is gone without a word is noticed after one and a half times this."""
_MOST_TEMPLATE = 512

WORDS = ("person", "subject", "place", "campaign", "purpose", "channel", "language")
"""What of an offer may stand in a topic; each is made of letters, digits and ``%`` escapes."""
DEFAULT_TOPIC = "proximity/offers/{person}"
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""What a broker may close the connection for where it stands in a text (MQTT 5, 1.5.4)."""
_HOLE = re.compile(r"\{([^{}]*)\}")

_quiet = logging.getLogger("proximity.channels.mqtt")
_quiet.setLevel(logging.CRITICAL)
"""The library's own lines name topics, and a topic may name a person."""


def topic_of(template: str, offer: Offer) -> str:
    """Fill in a topic. What an id holds stays on its level: ``/``, ``+``, ``#`` are escaped."""
    return _HOLE.sub(lambda hole: quote(getattr(offer, hole[1]), safe=""), template)


def check_topic(template: str) -> list[str]:
    """Say what is wrong with a template of topics."""
    problems = [
        f"topic: {{{name}}} is nothing of an offer's; {nearest(name, WORDS)}"
        for name in _HOLE.findall(template)
        if name not in WORDS
    ]
    rest = _HOLE.sub("", template)
    if set(rest) & set("+#{}"):
        problems.append("topic: leave out + and #, which are for subscribing, and lone { and }")
    if not template.isprintable() or len(template) > _MOST_TEMPLATE:
        problems.append(f"topic: write at most {_MOST_TEMPLATE} characters, none of control")
    if template.startswith(("$", "/")):
        problems.append("topic: it begins with $, which is the broker's own, or with /")
    return problems


class Mqtt:
    """Publishes each offer to one broker, over one connection that is made anew when it is lost.

    ``clock`` gives Unix seconds, for the time that is left of an offer.
    """

    name = "mqtt"
    to_endpoints = False

    def __init__(
        self,
        peer: Peer,
        topic: str = DEFAULT_TOPIC,
        *,
        retain: bool = False,
        source: str = DEFAULT_SOURCE,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._peer = peer
        self._topic = topic
        self._retain = retain
        self._source = source
        self._timeout_s = timeout_s
        self._clock = clock
        self._publisher: _Publisher | None = None
        self._connecting: asyncio.Task[_Publisher] | None = None

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:  # noqa: ARG002
        """Publish the offer; the outcome follows from the broker's reason code."""
        publisher = None
        try:
            async with asyncio.timeout(self._timeout_s):
                publisher = await self._connected()
                code = await publisher.hand_over(
                    topic_of(self._topic, offer),
                    as_structured(offer_envelope(offer, self._source)),
                    self._properties(offer),
                    retain=self._retain,
                )
        except MqttConnectError as error:
            return _connect_refused(error)
        except EgressRefused as error:
            return Reply(outcome="config_error", reply={"error": "refused", "why": str(error)})
        except EgressError as error:
            return Reply(outcome="retry", reply={"error": str(error)})
        except TimeoutError:
            return Reply(outcome="retry", reply={"error": "timeout"}, unsure=publisher is not None)
        except ssl.SSLCertVerificationError:
            return Reply(outcome="config_error", reply={"error": "certificate"})
        except ssl.SSLError:
            return Reply(outcome="config_error", reply={"error": "tls"})
        except (aiomqtt.MqttError, OSError, ValueError):
            # It may have been on its way when the connection was lost.
            return Reply(
                outcome="retry", reply={"error": "connection"}, unsure=publisher is not None
            )
        return reply_to("mqtt", code)

    async def close(self) -> None:
        """Leave the broker."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
            self._connecting = None
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.leave()

    def _properties(self, offer: Offer) -> Properties:
        found = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        # Zero would be over at once, and a broker that has it for a second harms nobody.
        found.MessageExpiryInterval = max(1, int(offer.expires_at - self._clock()))
        found.ContentType = STRUCTURED
        found.PayloadFormatIndicator = 1
        found.UserProperty = [
            (name, _NO_TEXT.sub("\ufffd", value))
            for name, value in (("key", offer.key), ("campaign", offer.campaign))
        ]
        return found

    async def _connected(self) -> _Publisher:
        """Give the connection; whoever comes while it is being made waits for the same one."""
        if self._publisher is not None:
            if not self._publisher.lost:
                return self._publisher
            self._publisher = None
        if self._connecting is None:
            self._connecting = asyncio.create_task(_connect(self._peer), name="mqtt-connect")
        task = self._connecting
        try:
            publisher = await asyncio.shield(task)
        finally:
            if task.done() and self._connecting is task:
                self._connecting = None
                if not task.cancelled() and task.exception() is None:
                    self._publisher = task.result()
        return publisher


class _Publisher(aiomqtt.Client):
    """One connection. What the library keeps from its callers is kept here: reason codes."""

    def __init__(self, peer: Peer, connected: socket.socket) -> None:
        super().__init__(
            peer.host,
            peer.port,
            username=peer.username,
            password=peer.password,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            keepalive=_KEEPALIVE_S,
            timeout=TIMEOUT_S,
            logger=_quiet,
        )
        self._codes: dict[int, asyncio.Future[int]] = {}
        self._client.on_publish = self._answered
        # The library would look the name up by itself; this is connected, judged and encrypted.
        self._client._create_socket_connection = lambda: connected  # type: ignore[method-assign]  # noqa: SLF001

    @property
    def lost(self) -> bool:
        """Whether the connection is no more."""
        return self._disconnected.done()

    async def hand_over(
        self, topic: str, payload: bytes, properties: Properties, *, retain: bool
    ) -> int:
        """Publish with QoS 1 and give the broker's reason code. Raises MqttError."""
        info = self._client.publish(topic, payload, 1, retain, properties)
        if info.rc != MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, "not published")
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._codes[info.mid] = answer
        try:
            either: list[asyncio.Future[Any]] = [answer, self._disconnected]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._codes.pop(info.mid, None)
        if not answer.done():
            raise aiomqtt.MqttError("the connection was lost")
        return answer.result()

    async def leave(self) -> None:
        """Say goodbye, or at least hang up."""
        with contextlib.suppress(aiomqtt.MqttError, OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self.__aexit__(None, None, None)

    def _answered(self, _client: Any, _data: Any, mid: int, code: Any, _properties: Any) -> None:
        waiting = self._codes.get(mid)
        if waiting is not None and not waiting.done():
            waiting.set_result(int(code.value))


async def _connect(peer: Peer) -> _Publisher:
    connected = await dial(peer)
    connected.settimeout(TIMEOUT_S)  # the library waits in threads
    if peer.context is not None:
        connected = await asyncio.to_thread(
            peer.context.wrap_socket, connected, server_hostname=peer.host
        )
    publisher = _Publisher(peer, connected)
    try:
        await publisher.__aenter__()
    except BaseException:
        connected.close()
        raise
    return publisher


def _connect_refused(error: MqttConnectError) -> Reply:
    code = getattr(error.rc, "value", error.rc)
    return reply_to("mqtt", code if isinstance(code, int) else 0x80)


def open_mqtt(config: Mapping[str, Any], folder: Path) -> Mqtt:
    """Open it from ``[channel.mqtt]``; relative files are looked for in ``folder``.

    Raises ProximityError with every problem.
    """
    table = TomlTable(config, "channel.mqtt")
    peer = read_peer(table, folder, PORTS)
    topic = table.text("topic") or DEFAULT_TOPIC
    for problem in check_topic(topic):
        table.fault(problem)
    retain = table.flag("retain", default=False)
    source = table.text("source") or DEFAULT_SOURCE
    table.finish()
    if table.problems or peer is None:
        raise ProximityError(*table.problems)
    return Mqtt(peer, topic, retain=retain, source=source)
