"""The question: how does a batch reach a broker, where a shop speaks MQTT already.

At QoS 1 under ``proximity/GATEWAY/sightings``: what the broker acknowledges is handed over, and
what follows is the broker's promise. aiomqtt is imported here alone (extra ``mqtt``). It must not
know what is in a batch, when to send or what to retry.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from beacon_gateway.allowlist import MAX_BYTES
from beacon_gateway.link import Away, Receipt
from beacon_gateway.model import GatewayError

try:
    import aiomqtt
except ModuleNotFoundError as error:
    raise GatewayError(
        f"a broker as the server needs {error.name}: pip install 'proximity-engine[mqtt]'"
    ) from None

PORTS = {"mqtt": 1883, "mqtts": 8883}
#: The broker has this long to answer, s; then it counts as away.
TIMEOUT_S = 30.0
#: How long a configuration that the broker retains takes to arrive after connecting, s.
RETAINED_S = 2.0


class MqttLink:
    """Batches to one broker; ``server`` is mqtt://host[:port] or mqtts://host[:port].

    ``token``, where there is one, is the password that goes with the gateway's id. Certificates of
    mqtts are always verified, against ``ca_file`` where one is given. The configuration is what the
    broker retains under ``proximity/GATEWAY/config``. Raises GatewayError where ``ca_file`` holds
    no certificate, or the id cannot be part of a topic.
    """

    def __init__(
        self, server: str, gateway: str, token: str | None = None, ca_file: Path | None = None
    ) -> None:
        if any(mark in gateway for mark in "/+#"):
            raise GatewayError(
                f"gateway {gateway!r}: the id is part of a topic: no /, + or # in it"
            )
        parts = urlsplit(server)
        trusted = None
        if parts.scheme == "mqtts":
            try:
                trusted = ssl.create_default_context(cafile=ca_file)
            except OSError as error:
                raise GatewayError(
                    f"{ca_file}: holds no certificate ({error.strerror}): "
                    "give the PEM file of who signed the broker's"
                ) from None
        self.gateway: str | None = gateway
        self.clock_offset_s = 0.0
        self._topic = f"proximity/{gateway}/"
        # The library's own lines name hosts and topics.
        quiet = logging.getLogger("beacon_gateway.mqtt")
        quiet.setLevel(logging.CRITICAL)
        self._client = aiomqtt.Client(
            parts.hostname or "", parts.port or PORTS[parts.scheme],
            identifier=f"proximity-{gateway}", clean_session=False,
            protocol=aiomqtt.ProtocolVersion.V311,
            username=gateway if token else None, password=token,
            tls_context=trusted, timeout=TIMEOUT_S, logger=quiet,
        )  # fmt: skip
        self._connection = contextlib.AsyncExitStack()
        self._listening: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._told: bytes | None = None
        self._changed = asyncio.Event()

    async def send(self, body: bytes) -> Receipt:
        """Hand a batch to the broker; Away where it does not acknowledge it."""
        await self._publish("sightings", body, qos=1)
        return Receipt()

    async def configuration(self) -> bytes | None:
        """Give what the broker retains; None where it is still the one given last."""
        async with self._lock:
            await self._connect()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), RETAINED_S)
        self._changed.clear()
        told, self._told = self._told, None
        return told

    def unread(self) -> None:
        """Ask anew next time: the broker tells what it retains to whoever connects."""

    async def health(self, snapshot: bytes) -> None:
        """Tell how this gateway fares; retained, as only the last counts."""
        await self._publish("health", snapshot, qos=0, retain=True)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._leave()

    async def _publish(self, name: str, body: bytes, *, qos: int, retain: bool = False) -> None:
        async with self._lock:
            listening = await self._connect()
        publishing = asyncio.ensure_future(
            self._client.publish(self._topic + name, body, qos=qos, retain=retain)
        )
        # A broken connection ends the listening; the acknowledgement would be waited for in vain.
        try:
            await asyncio.wait({publishing, listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            publishing.cancel()  # which is nothing to one that is done
        (failure,) = await asyncio.gather(publishing, return_exceptions=True)
        if failure is not None:
            async with self._lock:
                await self._leave()
            raise Away(f"the broker does not answer ({type(failure).__name__})")

    async def _connect(self) -> asyncio.Task[None]:
        """Connect where that is lost, and give the task that lasts as long; the lock is held."""
        if self._listening is not None and not self._listening.done():
            return self._listening
        await self._leave()
        try:
            await self._connection.enter_async_context(self._client)
            await self._client.subscribe(self._topic + "config", qos=1)
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            await self._leave()
            raise Away(f"the broker cannot be reached ({type(error).__name__})") from None
        self._listening = asyncio.create_task(self._listen(), name="mqtt")
        return self._listening

    async def _listen(self) -> None:
        """Take what the broker tells until the connection ends; then the next call connects."""
        with contextlib.suppress(aiomqtt.MqttError):
            async for message in self._client.messages:
                if isinstance(message.payload, bytes) and len(message.payload) <= MAX_BYTES:
                    self._told = message.payload
                    self._changed.set()

    async def _leave(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None
        with contextlib.suppress(aiomqtt.MqttError, OSError):
            await self._connection.aclose()
