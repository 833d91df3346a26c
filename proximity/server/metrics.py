"""What is counted while the server runs? Prometheus, in a registry of its own.

Labels come from tables of the program alone (routes, feeds, outcomes, gates), never from what was
sent: no subject, place, campaign or token can become a label, nor grow the number of series.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.core import Metric

# An answer to one fix is a journal commit away: half a millisecond on a good disk, tens on an SD
# card; beyond ten seconds a phone has given up.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# What the dispatcher counts besides decisions and deliveries, which have series of their own.
MET = ("fault", "fenced", "channel fault", "endpoint gone", "seen")


class Answers:
    """The answers of one route: how many of each status, and how long they took.

    Counted in plain numbers that a scrape reads: a request is counted three times, and doing so in
    series of their own takes as long as a tenth of what it takes to answer it.
    """

    def __init__(self) -> None:
        self.statuses: Tally[int] = Tally()
        self.slots = [0] * (len(SECONDS) + 1)
        self.seconds = 0.0

    def count(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        self.slots[bisect_left(SECONDS, seconds)] += 1
        self.seconds += seconds


class Metrics:
    """The counters of one server; ``text`` writes them out."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._answers: dict[str, Answers] = {}
        self._records: Tally[tuple[str, str]] = Tally()
        self._registry.register(_Counted(self._answers, self._records))
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
        self._records[feed, outcome] += count

    def answers_of(self, route: str) -> Answers:
        """Give what counts the answers of a route, by the name it has in the table."""
        return self._answers.setdefault(route, Answers())

    def watch(
        self,
        gauges: Mapping[str, tuple[str, Callable[[], float]]],
        counted: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        """Read ``gauges`` (name to meaning and reading) and the engine's own counts at each scrape.

        ``counted`` gives what the engine dropped, by reason.
        """
        self._registry.register(_Watched(gauges, counted))

    def collect_from(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Read families of metrics that others keep, at each scrape."""
        self._registry.register(_Kept(collect))

    def text(self) -> bytes:
        """Write all of it in Prometheus' text format."""
        return generate_latest(self._registry)


def dispatched(counts: Mapping[str, int]) -> Iterable[Metric]:
    """Give what a dispatcher met on its way, each kind from the first scrape on.

    So an alarm on the first fault of all has something to compare it with.
    """
    met = CounterMetricFamily(
        "proximity_dispatch",
        "What the dispatcher met besides decisions and deliveries, by kind.",
        labels=("kind",),
    )
    for kind in MET:
        met.add_metric([kind.replace(" ", "_")], counts.get(kind, 0))
    return (met,)


def waiting_text(waiting: Mapping[str, int], aside: Mapping[str, int]) -> bytes:
    """Write how much waits in the store, and how much was set aside there, by what it is."""
    registry = CollectorRegistry()
    gauges = [
        GaugeMetricFamily(f"proximity_{name}", meaning, labels=("what",))
        for name, meaning in (
            ("waiting", "Triggers to be decided and offers to be sent, due or not yet."),
            ("set_aside", "Triggers and offers that cannot be read, and are left alone."),
        )
    ]
    for gauge, counts in zip(gauges, (waiting, aside), strict=True):
        for what, count in counts.items():
            gauge.add_metric([what], count)
    registry.register(_Kept(lambda: gauges))
    return generate_latest(registry)


class _Counted:
    """Writes out at scrape time what requests and records were counted in."""

    def __init__(
        self, answers: Mapping[str, Answers], records: Mapping[tuple[str, str], int]
    ) -> None:
        self._answers = answers
        self._records = records

    def describe(self) -> Iterable[Metric]:
        """Nothing is read at registration: there is nothing yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Read every count."""
        requests = CounterMetricFamily(
            "proximity_requests",
            "Requests answered, by route of the table and status.",
            labels=("route", "status"),
        )
        seconds = HistogramMetricFamily(
            "proximity_request_seconds",
            "From a request's headers to its answer.",
            labels=("route",),
        )
        bounds = [*map(str, SECONDS), "+Inf"]
        for route, answers in self._answers.items():
            if not answers.statuses:
                continue  # nobody asked; a hundred routes of zeros hide what there is to see
            for status, count in sorted(answers.statuses.items()):
                requests.add_metric([route, str(status)], count)
            buckets = list(zip(bounds, accumulate(answers.slots), strict=True))
            seconds.add_metric([route], buckets, answers.seconds)
        records = CounterMetricFamily(
            "proximity_records",
            "Records received, by feed and what became of them.",
            labels=("feed", "outcome"),
        )
        for (feed, outcome), count in sorted(self._records.items()):
            records.add_metric([feed, outcome], count)
        yield from (requests, seconds, records)


class _Kept:
    """Collects at scrape time what others keep, families and labels and all."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def describe(self) -> Iterable[Metric]:
        """Nothing is read at registration: the parts may not have started."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Read all of it."""
        return self._collect()


class _Watched:
    """Collects at scrape time what its owners already count."""

    def __init__(
        self,
        gauges: Mapping[str, tuple[str, Callable[[], float]]],
        counted: Callable[[], Mapping[str, int]] | None = None,
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
        if self._counted is None:
            return
        dropped = CounterMetricFamily(
            "proximity_dropped", "Records the engine did not use, by reason.", labels=("reason",)
        )
        for reason, count in sorted(self._counted().items()):
            dropped.add_metric([reason], count)
        yield dropped
