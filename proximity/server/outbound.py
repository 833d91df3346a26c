"""How are subscribers told while the server runs? A task for each, and what is measured of them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from proximity.outbound import positions
from proximity.outbound.telling import Teller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from prometheus_client.core import Metric

    from proximity.outbound.subscribers import Subscriber
    from proximity.server.parts import Parts

# A request on its way is waited for so long; what was not answered by then is told again.
DRAIN_S = 1.0


@contextlib.asynccontextmanager
async def telling(parts: Parts, subscribers: Sequence[Subscriber]) -> AsyncIterator[None]:
    """Tell every subscriber; what they do not take now they get after the next start."""
    names = {one.name for one in subscribers}
    await parts.store.awrite(lambda conn: positions.meet(conn, names, parts.clock()))
    closing = asyncio.Event()
    tellers = [
        Teller(
            one, parts.store, parts.people,
            news=parts.tail.next, closing=closing, clock=parts.clock,
        )
        for one in subscribers
    ]  # fmt: skip
    if tellers:
        parts.metrics.collect_from(lambda: measured(tellers, parts.clock))
    tasks = [asyncio.create_task(one.run(), name=f"tell {one.subscriber.name}") for one in tellers]
    try:
        yield
    finally:
        closing.set()
        if tasks:
            _done, late = await asyncio.wait(tasks, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def measured(tellers: Sequence[Teller], clock: Callable[[], float]) -> Iterable[Metric]:
    """Give what is measured of subscribers; their names are the operator's own."""
    on = GaugeMetricFamily(
        "proximity_outbound_on", "1 while the subscriber is told.", labels=("subscriber",)
    )
    behind = GaugeMetricFamily(
        "proximity_outbound_behind",
        "Rows that the subscriber has not got, or that are not for them, behind their position.",
        labels=("subscriber",),
    )
    seconds = GaugeMetricFamily(
        "proximity_outbound_lag_seconds",
        "How long ago the oldest event happened that the subscriber has not got.",
        labels=("subscriber",),
    )
    events = CounterMetricFamily(
        "proximity_outbound_events",
        "Events sent, attempts that failed, and events left out since they were refused.",
        labels=("subscriber", "outcome"),
    )
    now = clock()
    for one in tellers:
        name, oldest = one.subscriber.name, one.oldest_at
        on.add_metric([name], int(one.state == "on"))
        behind.add_metric([name], one.behind)
        seconds.add_metric([name], 0.0 if oldest is None else max(0.0, now - oldest))
        for outcome in ("sent", "failed", "refused"):
            events.add_metric([name, outcome], one.counts[outcome])
    return (on, behind, seconds, events)
