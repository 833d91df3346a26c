"""How do records come in from a broker? One subscription, and the table of formats behind it.

A message is acknowledged after the journal's commit, so that whatever the broker was promised to be
rid of is on disk; what was not acknowledged the broker keeps, for as long as the session lasts, and
sends again. aiomqtt is imported here alone (extra ``mqtt``).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import ssl
from typing import TYPE_CHECKING, Any, cast

import msgspec
import structlog

from proximity.faults import log_fault
from proximity.feeds import FORMATS, Decoded, Incoming
from proximity.ingest.clock import ClockSetBack
from proximity.ingest.ingest import Overloaded
from proximity.model import ProximityError
from proximity.server.broker import TOPICS, Broker, Topic
from proximity.server.gateways import HEALTH_LIMIT, Told, configuration_of
from proximity.server.reading import RECORDS_LIMIT, off_loop
from proximity.server.records import accept, count
from proximity.store import StoreBroken, StoreFailed, StoreFull

try:
    import aiomqtt
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.subscribeoptions import SubscribeOptions
except ModuleNotFoundError as error:
    raise ProximityError(
        f"--mqtt needs {error.name}: pip install 'proximity-engine[mqtt]'"
    ) from None

if TYPE_CHECKING:
    from proximity.server.parts import Parts
    from proximity.site.registry import Site

log = structlog.get_logger("proximity.server")

# The broker keeps what this server has not acknowledged for so long while it is away, s.
SESSION_S = 3 * 86_400
# Messages that the broker may send ahead of their acknowledgement (QoS 1).
MOST_UNACKNOWLEDGED = 500
# Messages that nobody acknowledges (QoS 0) wait here at most; the newest go where there are more.
MOST_WAITING = 5_000
# Taken into one commit: a few milliseconds of judging, which requests wait for.
MOST_TOGETHER = 500
# Between attempts to connect, or to write: doubled each time, and scattered so that servers that
# lost one broker do not return as one.
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
# The journal cannot take it now; it will. Nothing is acknowledged meanwhile.
LATER = (Overloaded, StoreFull, StoreFailed, ClockSetBack)


HEALTH = "proximity/+/health"
"""What our own gateways tell of themselves; beside it they find their configuration, retained."""
# Marks of a topic: a gateway that has one in its name gets no configuration by a broker.
_MARKS = frozenset("/+#")
# How soon a change of the site reaches the broker.
LOOK_S = 2.0


class Subscriber:
    """Takes what a broker has for this server, until it is cancelled."""

    def __init__(self, parts: Parts, broker: Broker) -> None:
        self._parts = parts
        self._broker = broker
        self.connected = False
        self._held_back = 0

    async def run(self) -> None:
        """Connect, take, and connect again; a broker that is away is asked ever more seldom."""
        wait_s = SHORTEST_WAIT_S
        while True:
            try:
                async with self._client() as client:
                    await self._subscribe(client)
                    self.connected = True
                    log.info("broker connected")
                    wait_s = SHORTEST_WAIT_S
                    telling = asyncio.create_task(self._tell(client), name="mqtt-configurations")
                    try:
                        await self._take(client)
                    finally:
                        await end(telling)
            except (aiomqtt.MqttError, OSError) as error:
                if self.connected or wait_s == SHORTEST_WAIT_S:
                    # The text may hold the broker's name, never what was sent.
                    log.warning("broker away", error=type(error).__name__)
            except StoreBroken:
                return  # the server ends by itself
            except Exception as error:  # noqa: BLE001 - the other ways in must go on
                log_fault("the broker's messages could not be taken", error)
            finally:
                self.connected = False
            if _ending():
                return
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - scattered
            wait_s = min(2.0 * wait_s, LONGEST_WAIT_S)

    def _client(self) -> aiomqtt.Client:
        broker = self._broker
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = SESSION_S
        session.ReceiveMaximum = MOST_UNACKNOWLEDGED
        session.MaximumPacketSize = RECORDS_LIMIT
        # The library's own lines name hosts and topics, and a topic may name a person.
        quiet = logging.getLogger("proximity.server.mqtt")
        quiet.setLevel(logging.CRITICAL)
        waiting = functools.partial(_Waiting, self._drop)
        client = aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.password,
            identifier=broker.identifier,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            properties=session,
            queue_type=cast("type[asyncio.Queue[aiomqtt.Message]]", waiting),
            tls_context=ssl.create_default_context() if broker.tls else None,
            logger=quiet,
        )
        # aiomqtt has no switch of its own for acknowledging late, nor a call that does it.
        client._client.manual_ack_set(on=True)  # noqa: SLF001
        return client

    def _drop(self) -> None:
        self._parts.metrics.count_records("mqtt", "dropped", 1)

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        """Ask for every kind of topic; what the broker refuses is told once, by its filter."""
        # What a broker retained is of any time: a beacon heard last week is not heard now.
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        filters = [topic.filter for topic in TOPICS] + [HEALTH]
        asked: Any = [(name, options) for name in filters]
        answers = await client.subscribe(asked)
        for name, answer in zip(filters, answers, strict=True):
            if getattr(answer, "is_failure", False):
                log.warning("broker refuses", filter=name)

    async def _tell(self, client: aiomqtt.Client) -> None:
        """Keep every gateway's configuration with the broker, for whenever the gateway asks."""
        told: dict[str, bytes] = {}
        site = None
        with contextlib.suppress(aiomqtt.MqttError):  # the connection is lost, as others notice
            while True:
                newest = self._parts.ingest.site  # it may change while the broker is told
                if site is not newest:
                    try:
                        await self._tell_of(client, newest, told)
                        site = newest
                    except OSError as error:
                        log.warning("the broker is not told", reason=error.strerror)
                await asyncio.sleep(LOOK_S)

    async def _tell_of(self, client: aiomqtt.Client, site: Site, told: dict[str, bytes]) -> None:
        """Have the broker keep the configurations of a site, and no other that we gave it.

        ``told`` is what it was told since it was there. Raises OSError where the names of those it
        keeps cannot be kept; it is told of no further ones then.
        """
        broker, private = self._broker, self._broker.private
        wanted = {name: one for name, one in site.gateways.items() if not _MARKS.intersection(name)}
        kept = await asyncio.to_thread(broker.load_told)
        if not kept >= wanted.keys():
            # Before it is told: what it keeps and nobody knows of would stay for ever.
            await asyncio.to_thread(broker.save_told, kept | wanted.keys())
        gone = kept - wanted.keys()
        for name in gone:
            await client.publish(f"proximity/{name}/config", b"", qos=1, retain=True)
            told.pop(name, None)
        if gone:
            await asyncio.to_thread(broker.save_told, wanted)
        held_back = 0 if private else sum(one.eid is not None for one in site.beacons)
        if held_back and not self._held_back:
            log.warning("keys of rotating beacons need mqtts://", beacons=held_back)
        self._held_back = held_back
        for name, gateway in wanted.items():
            body = await asyncio.to_thread(
                configuration_of, site, gateway, self._parts.late_s, None, keys=private
            )
            if told.get(name) != body:
                await client.publish(f"proximity/{name}/config", body, qos=1, retain=True)
                told[name] = body

    def _hear_of(self, gateway: str, payload: bytes) -> None:
        """Keep what a gateway tells of itself."""
        if gateway not in self._parts.ingest.site.gateways or len(payload) > HEALTH_LIMIT:
            return
        with contextlib.suppress(ValueError, RecursionError):
            fields = msgspec.json.decode(payload, type=dict[str, Any])
            said = msgspec.Raw(msgspec.json.encode(fields))
            self._parts.healths[gateway] = Told(self._parts.clock(), said)

    async def _take(self, client: aiomqtt.Client) -> None:
        """Take messages as they come, as many together as wait."""
        messages = client.messages
        async for first in messages:
            together = [first]
            # What waits already is there to be had without waiting.
            while len(messages) and len(together) < MOST_TOGETHER:
                together.append(await anext(messages))
            await self._commit(together)
            for message in together:
                if message.qos:
                    client._client.ack(message.mid, message.qos)  # noqa: SLF001

    async def _commit(self, messages: list[aiomqtt.Message]) -> None:
        """Bring messages to the journal, format by format; poison is counted and gone."""
        groups: dict[str, list[Decoded]] = {}
        for message in messages:
            if message.topic.matches(HEALTH):
                self._hear_of(str(message.topic).split("/")[1], message.payload)
                continue
            topic = next((row for row in TOPICS if message.topic.matches(row.filter)), None)
            if topic is None:
                continue
            decoded = await self._decode(topic, str(message.topic), message.payload)
            groups.setdefault(topic.format, []).append(decoded)
        for name, decoded_of in groups.items():
            await self._accept(name, _joined(decoded_of))

    async def _decode(self, topic: Topic, name: str, payload: bytes) -> Decoded:
        incoming = Incoming(
            body=payload, speaks_for=topic.speaks_for(name), now=self._parts.clock()
        )
        return await off_loop(len(payload), lambda: FORMATS[topic.format].decode(incoming))

    async def _accept(self, name: str, decoded: Decoded) -> None:
        """Wait until the journal has taken the records, however long that is."""
        receipt, wait_s = None, SHORTEST_WAIT_S
        while decoded.records:
            try:
                receipt = await accept(decoded, self._parts)
                break
            except LATER as error:
                log.warning("broker waits", error=type(error).__name__)
                await asyncio.sleep(wait_s)
                wait_s = min(2.0 * wait_s, LONGEST_WAIT_S)
        count(name, decoded, receipt, self._parts.metrics)


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it is over.

    Once may not do: ``asyncio.wait_for`` of Python 3.11, which aiomqtt waits with, forgets that it
    was cancelled where what it waited for came at the same moment.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1.0)


def _ending() -> bool:
    """Whether this task was cancelled: leaving the broker may fail, and its failure hides that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _joined(parts: list[Decoded]) -> Decoded:
    """Make one of what several messages of a format held."""
    return Decoded(
        records=tuple(record for part in parts for record in part.records),
        lines=tuple(line for part in parts for line in part.lines),
        rejected=tuple(one for part in parts for one in part.rejected),
        ignored=sum(part.ignored for part in parts),
    )


class _Waiting(asyncio.Queue[aiomqtt.Message]):
    """Messages that wait their turn, bounded: the broker bounds those it wants acknowledged."""

    def __init__(self, drop: Any, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self._drop = drop

    def put_nowait(self, item: aiomqtt.Message) -> None:
        """Add a message, unless nobody awaits its acknowledgement and there are many."""
        if item.qos == 0 and self.qsize() >= MOST_WAITING:
            self._drop()
        else:
            super().put_nowait(item)
