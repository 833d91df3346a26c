"""What is counted while the server runs? Prometheus, in a registry of its own.

Labels come from tables of the program alone (routes, feeds, outcomes, gates), never from what was
sent: no subject, place, campaign or token can become a label, nor grow the number of series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.core import Metric

# An answer to one fix is a journal commit away: half a millisecond on a good disk, tens on an SD
# card; beyond ten seconds a phone has given up.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one server; ``text`` writes them out."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        # Looking a series up by its labels takes longer than counting in it.
        self._series: dict[tuple[str, str], Counter] = {}
        self.requests = Counter(
            "proximity_requests",
            "Requests answered, by route of the table and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "proximity_request_seconds",
            "From a request's headers to its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.records = Counter(
            "proximity_records",
            "Records received, by feed and what became of them.",
            ("feed", "outcome"),
            registry=self._registry,
        )
        self.decisions = Counter(
            "proximity_decisions",
            "Decisions written, by outcome and the gate that failed first.",
            ("decision", "reason"),
            registry=self._registry,
        )
        self.deliveries = Counter(
            "proximity_deliveries",
            "Attempts to hand an offer to a channel, by outcome.",
            ("channel", "outcome"),
            registry=self._registry,
        )
        self.streams_cut = Counter(
            "proximity_streams_cut",
            "Live streams cut off because their reader was too slow.",
            registry=self._registry,
        )
        self.connections_refused = Counter(
            "proximity_connections_refused",
            "Connections turned away at the cap.",
            registry=self._registry,
        )

    def count_records(self, feed: str, outcome: str, count: int) -> None:
        """Count received records."""
        if count:
            series = self._series.get((feed, outcome))
            if series is None:
                series = self._series[feed, outcome] = self.records.labels(feed, outcome)
            series.inc(count)

    def watch(
        self,
        gauges: Mapping[str, tuple[str, Callable[[], float]]],
        counted: Callable[[], Mapping[str, int]],
    ) -> None:
        """Read ``gauges`` (name to meaning and reading) and the engine's own counts at each scrape.

        ``counted`` gives what the engine dropped, by reason.
        """
        self._registry.register(_Watched(gauges, counted))

    def text(self) -> bytes:
        """Write all of it in Prometheus' text format."""
        return generate_latest(self._registry)


class _Watched:
    """Collects at scrape time what its owners already count."""

    def __init__(
        self,
        gauges: Mapping[str, tuple[str, Callable[[], float]]],
        counted: Callable[[], Mapping[str, int]],
    ) -> None:
        self._gauges = gauges
        self._counted = counted

    def describe(self) -> Iterable[Metric]:
        """Nothing is read at registration: the parts may not have started."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Read every gauge and count."""
        for name, (meaning, read) in self._gauges.items():
            yield GaugeMetricFamily(f"proximity_{name}", meaning, value=read())
        dropped = CounterMetricFamily(
            "proximity_dropped", "Records the engine did not use, by reason.", labels=("reason",)
        )
        for reason, count in sorted(self._counted().items()):
            dropped.add_metric([reason], count)
        yield dropped
