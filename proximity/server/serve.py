"""How does a server come up, and go down? Opens the parts, recovers, binds, drains.

The order is the promise: every file is judged and everything acknowledged is recovered before the
port is bound, and the port is closed before anything else is. A start after a power cut takes the
same way as one after a clean stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from proximity.clock import Clock
from proximity.consent import chain
from proximity.dispatch import rules
from proximity.dispatch.dispatch import Dispatcher
from proximity.dispatch.rounds import decide_always, send_always
from proximity.ingest.ingest import Ingest
from proximity.model import ProximityError
from proximity.people.people import People
from proximity.server import pauses
from proximity.server.app import create_app
from proximity.server.arming import Arming
from proximity.server.auth import Tokens
from proximity.server.broker import read_broker
from proximity.server.clearing import erase_always, sweep_always
from proximity.server.gateways import watched_gateways
from proximity.server.metrics import Metrics, dispatched
from proximity.server.outbound import telling
from proximity.server.parts import Parts
from proximity.server.rounds import collect_always, shift_of, watch_always
from proximity.server.settings import (
    check_host,
    check_places,
    check_site,
    open_tls,
    read_files,
)
from proximity.server.signing import Signatures
from proximity.server.tail import Tail
from proximity.site.places import Places
from proximity.store import StoreAway, open_state

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from proximity.server.broker import Broker
    from proximity.server.settings import Files, Settings
    from proximity.store import Store

log = structlog.get_logger("proximity.server")

# A request's headers must be complete within this, and an idle connection is closed after it:
# both hold a file descriptor and nothing else. Bodies have a deadline of their own.
HEADERS_S = 15.0
# A stop may last ten seconds in all. Requests in flight get these: aiohttp waits for them twice,
# once for the answer and once for the connection.
REQUESTS_S = 1.5
# What is being decided and handed over gets these: a receiver that takes longer is sent the same
# again by the next start. The rest is the journal's and the last snapshot's.
ROUNDS_S = 3.5
# Descriptors kept for the database, its log and the channels' connections.
SPARE_FILES = 128
MOST_CONNECTIONS = 4096

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit status: 1 where its disk or its database is lost.

    Raises ProximityError or GeofenceError, before anything is bound, where what it was given
    cannot be used.
    """
    files = read_files(settings)
    tls = open_tls(settings)
    try:
        store = open_state(settings.data, create=True)
    except StoreAway as error:
        sys.stderr.write(f"proximity: {error}\n")
        return 1  # another start may find it
    try:
        check_host(settings.host, store)
        check_site(files, store)
        check_places(files, store)
        broker = None
        if settings.mqtt is not None:
            import proximity.server.mqtt  # noqa: F401 - an optional library: missed now or never

            broker = read_broker(settings.mqtt, settings.mqtt_password_file, settings.data)
        return asyncio.run(_run(settings, files, store, tls, broker))
    finally:
        store.close()


async def _run(
    settings: Settings,
    files: Files,
    store: Store,
    tls: ssl.SSLContext | None,
    broker: Broker | None = None,
) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        opened(settings, files, store) as (parts, dispatcher),
        working(parts, dispatcher, stop),
        telling(parts, files.subscribers),
        bound(settings, parts, tls) as url,
        subscribed(parts, broker),
    ):
        with pauses.kept_short():
            sys.stdout.write(f"listening on {url}\n")
            sys.stdout.flush()
            log.info("listening", url=url)
            await stop.wait()
        log.info("stopping")
        parts.closing.set()
        parts.tail.grew()
    return 1 if store.failure is not None or parts.ingest.fault is not None else 0


@contextlib.asynccontextmanager
async def opened(
    settings: Settings, files: Files, store: Store
) -> AsyncIterator[tuple[Parts, Dispatcher]]:
    """Recover, and leave a snapshot at the end."""
    clock = Clock(settings.clock_speed)
    people = People(store, clock)
    people.reload()
    if await store.aread(chain.begins):
        await store.awrite(lambda conn: chain.begin(conn, clock()))
    places = Places(None, None)
    tokens = Tokens(store)
    tokens.refresh()
    signatures = Signatures(store, clock)
    await signatures.arefresh()
    ingest = Ingest(
        store,
        people=people,
        campaigns=lambda: files.campaigns,
        places=places,
        clock=clock.wall,  # it keeps the order of time by itself, and tells where it was set back
        site_file=settings.site,
        fences=files.fences,
        consent=settings.consent,
        late_s=settings.late_s,
        decide=settings.decide,
        plan=files.plan,
    )
    dispatcher = Dispatcher(
        store,
        campaigns=lambda: files.campaigns,
        people=people,
        places=places,
        channels=files.channels,
        owner=f"{socket.gethostname()}/{os.getpid()}/{time.monotonic_ns()}",
        consent=settings.consent,
        clock=clock,
    )
    tail = Tail()
    parts = Parts(
        store=store,
        ingest=ingest,
        people=people,
        places=places,
        campaigns=lambda: files.campaigns,
        channels=files.channels,
        client=files.client,
        plan=files.plan,
        tokens=tokens,
        signatures=signatures,
        late_s=settings.late_s,
        assumed=settings.consent == "assumed",
        started_at=clock(),
        metrics=Metrics(),
        tail=tail,
        clock=clock,
        policy=files.policy,
        sync=files.sync,
    )
    if settings.arm_phones:
        parts.arming = Arming(
            lambda: ingest.index,
            lambda subject: settings.consent == "assumed" or people.may_process(subject, clock()),
            clock,
        )
    parts.metrics.watch(
        {
            "journal_rows_waiting": ("Rows not yet judged by the engine.", lambda: ingest.depth),
            "subjects": ("Subjects the engine remembers.", lambda: ingest.engine.subjects),
            "fences": ("Fences in force.", lambda: len(ingest.fences)),
            "streams": ("Live streams open.", lambda: tail.readers),
            "inboxes_followed": ("Inboxes followed live.", lambda: parts.followers),
            "phones_armed": (
                "Phones told which regions to watch.",
                lambda: len(parts.arming or ()),
            ),
            **watched_gateways(parts),
            "channels_failing": (
                "Channels left alone but for probes, because they fail.",
                lambda: len(dispatcher.failing()),
            ),
            "ready": ("1 while writes are accepted.", lambda: int(ingest.ready)),
        },
        lambda: ingest.engine.counts + ingest.counts,
    )
    ingest.on_committed.append(tail.grew)
    await _recover(store, ingest)
    going_by = rules.Rules(campaigns=files.campaigns.version, consent=settings.consent)
    await store.awrite(lambda conn: rules.announce(conn, going_by))
    try:
        yield parts, dispatcher
    finally:
        await ingest.stop()
        for channel in files.channels.values():
            await channel.close()


async def _recover(store: Store, ingest: Ingest) -> None:
    """Take up what the last server left, and say how long that took."""
    started = time.perf_counter()
    await asyncio.to_thread(store.cut_log)  # an erasure may have ended just before the power did
    with pauses.put_off():  # what is recovered stays, as the program does
        await ingest.start()
    log.info(
        "recovered",
        seconds=round(time.perf_counter() - started, 3),
        fences=len(ingest.fences),
        subjects=ingest.engine.subjects,
    )


@contextlib.asynccontextmanager
async def bound(settings: Settings, parts: Parts, tls: ssl.SSLContext | None) -> AsyncIterator[str]:
    """Bind and give the URL; at the end stop listening, then let requests in flight finish."""
    server = create_app(
        parts,
        own_time=settings.clock_speed != 1.0,  # whoever sends a trace that fast asks for it
        access_log=None,  # its lines would hold query tokens, and positions sent in queries
        keepalive_timeout=HEADERS_S,
        lingering_time=2.0,
    )
    runner = web.ServerRunner(server, shutdown_timeout=REQUESTS_S)
    await runner.setup()
    most = _most_connections()

    def connect() -> asyncio.Protocol:
        if len(server.connections) < most:
            return server()
        parts.metrics.connections_refused.inc()
        return _Busy()

    loop = asyncio.get_running_loop()
    try:
        listener = await loop.create_server(
            connect,
            settings.host or None,
            settings.port,
            ssl=tls,
            ssl_handshake_timeout=HEADERS_S if tls is not None else None,
            backlog=512,
            start_serving=False,
        )
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        reason = getattr(error, "strerror", None) or str(error)
        raise ProximityError(
            f"{settings.host} port {settings.port} cannot be bound ({reason}): "
            "give another --port, or 0 for a free one"
        ) from None
    port = listener.sockets[0].getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    await listener.start_serving()
    try:
        yield f"{'http' if tls is None else 'https'}://{host}:{port}"
    finally:
        listener.close()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def subscribed(parts: Parts, broker: Broker | None) -> AsyncIterator[None]:
    """Take what a broker has, where there is one; what was not taken at the end stays with it."""
    if broker is None:
        yield
        return
    from proximity.server.mqtt import Subscriber, end

    subscriber = Subscriber(parts, broker)
    parts.metrics.watch(
        {"broker_connected": ("1 while the broker is.", lambda: int(subscriber.connected))}
    )
    task = asyncio.create_task(subscriber.run(), name="mqtt")
    try:
        yield
    finally:
        await end(task)


class _Busy(asyncio.Protocol):
    """Turns one connection away: there are as many as the process can hold."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(BUSY)
        transport.close()


def _most_connections() -> int:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft < 0 else max(16, min(MOST_CONNECTIONS, soft - SPARE_FILES))


@contextlib.asynccontextmanager
async def working(parts: Parts, dispatcher: Dispatcher, stop: asyncio.Event) -> AsyncIterator[None]:
    """Keep deciding, sending and watching; at the end each finishes the round it is in."""
    parts.metrics.collect_from(lambda: dispatched(dispatcher.counts))
    wake_sender, added, shift = asyncio.Event(), parts.ingest.triggers_added, shift_of(parts)
    tasks = [
        asyncio.create_task(decide_always(shift, dispatcher, added, wake_sender), name="decide"),
        asyncio.create_task(send_always(shift, dispatcher, wake_sender), name="send"),
        asyncio.create_task(watch_always(parts, stop), name="watch"),
        asyncio.create_task(collect_always(parts), name="collect"),
        asyncio.create_task(erase_always(parts), name="erase"),
        asyncio.create_task(sweep_always(parts), name="sweep"),
    ]
    try:
        yield
    finally:
        parts.closing.set()
        added.set()
        wake_sender.set()
        _done, late = await asyncio.wait(tasks, timeout=ROUNDS_S)
        for task in late:
            # What it was sending stays leased, and is sent again by whoever starts next.
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
