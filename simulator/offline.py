"""One run of ``simulator replay`` without a server: files in, engine, files and a summary out."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from geofences import FenceIndex
from proximity.campaignfile import load_campaigns
from proximity.engine import Engine
from proximity.places import Places
from proximity.store import Store
from simulator.expect import Expectations, read_expectations, to_junit
from simulator.files import Written, people_of, what_is_where
from simulator.progress import Progress
from simulator.replay import OUTPUTS, Offers, Replay
from simulator.sources import read_small, records_of, write_small
from simulator.summary import as_json, as_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Options", "run"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command was told; ``until`` gives the Unix second to run on to from the last."""

    traces: tuple[Path, ...]
    site: Path | None = None
    fences: Path | None = None
    campaigns: Path | None = None
    people: Path | None = None
    decide: Literal["robust", "point"] = "robust"
    skip_bad: bool = False
    out: Path | None = None
    expect: Path | None = None
    junit: Path | None = None
    until: Callable[[float], float] | None = None
    late_s: float = 3600.0
    as_json: bool = False


def run(options: Options) -> int:
    """Read everything that is small, stream the traces through the engine, say how it went.

    Gives the exit status: 1 where an expectation is not met. Raises ProximityError where an input
    cannot be used; then no output file has changed.
    """
    site, fences = what_is_where(options.site, options.fences, skip_bad=options.skip_bad)
    index = FenceIndex(fences)
    expected = Expectations()
    if options.expect is not None:
        expected = read_expectations(read_small(options.expect), str(options.expect))
    campaigns = None if options.campaigns is None else load_campaigns(options.campaigns)
    engine = Engine(index, site, options.decide, options.late_s)
    read: Counter[str] = Counter()
    with ExitStack() as stack:
        store = Store.open(":memory:")
        stack.callback(store.close)
        people = people_of(store, options.people)
        offers = None
        if campaigns is not None:
            offers = Offers(store, campaigns, people, Places(index, site))
        progress = stack.enter_context(Progress())
        written = stack.enter_context(Written(options.out, expected))
        # Without a file of people processing is assumed, and every send lacks consent (contract 3).
        known = None if options.people is None else people
        replay = Replay(engine, written, offers=offers, people=known, site=site)
        skip_bad = options.skip_bad
        records = records_of(options.traces, stack, progress.reads, read, skip_bad=skip_bad)
        replay.feed(progress.over(records))
        counts = replay.finish(options.until)
        written.keep()
    if options.junit is not None:
        write_small(options.junit, to_junit(expected, "simulator replay"))
    left_out = {
        **engine.counts,
        "unconsented": counts.unconsented,
        "ignored": read["ignored"],
        "bad": read["bad"],
    }
    ids = None if campaigns is None else campaigns.campaigns
    summary = as_json(counts, left_out, engine.subjects, ids)
    checked = options.expect is not None
    if options.as_json:
        if checked:
            summary["expectations"] = len(expected.lines)
            summary["unmet"] = [line.difference() for line in expected.unmet]
        click.echo(msgspec.json.format(msgspec.json.encode(summary), indent=2))
    else:
        click.echo(as_text(summary))
        if options.out is not None:
            click.echo(f"written to {options.out}: {', '.join(f'{n}.jsonl' for n in OUTPUTS)}")
        if checked:
            click.echo(expected.report())
    return 1 if expected.unmet else 0
