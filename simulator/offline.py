"""One run of ``simulator replay`` without a server: files in, engine, files and a summary out."""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from geofences import FenceIndex
from proximity.engine.engine import Engine
from simulator.expect import Expectations, read_expectations, to_junit
from simulator.files import Written, what_is_where
from simulator.progress import Progress
from simulator.replay import OUTPUTS, Replay
from simulator.sources import parts_of, read_small, write_small
from simulator.summary import as_json, as_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proximity.campaigns.campaigns import Campaigns
    from proximity.people.people import People
    from proximity.people.tagging import Plan
    from proximity.site.registry import Site
    from simulator.offers import Offers

__all__ = ["Options", "run"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command was told; ``until`` gives the Unix second to run on to from the last."""

    traces: tuple[Path, ...]
    site: Path | None = None
    fences: Path | None = None
    campaigns: Path | None = None
    people: Path | None = None
    events: Path | None = None
    decide: Literal["robust", "point"] = "robust"
    skip_bad: bool = False
    out: Path | None = None
    expect: Path | None = None
    junit: Path | None = None
    until: Callable[[float], float] | None = None
    late_s: float = 3600.0
    as_json: bool = False


SELDOM = (100_000, 20, 100)
"""When Python looks for garbage in cycles (``gc.set_threshold``). A run makes millions of values
that hold no cycles and are freed at once, over hundreds of thousands that stay: to look through
those every 700 values, the default, took a twentieth of its time and found nothing."""


def run(options: Options) -> int:
    """Read everything that is small, stream the traces through the engine, say how it went.

    Gives the exit status: 1 where an expectation is not met. Raises ProximityError where an input
    cannot be used; then no output file has changed.
    """
    often = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        return _run(options)
    finally:
        gc.set_threshold(*often)


def _run(options: Options) -> int:
    site, fences = what_is_where(options.site, options.fences, skip_bad=options.skip_bad)
    index = FenceIndex(fences)
    expected = Expectations()
    if options.expect is not None:
        expected = read_expectations(read_small(options.expect), str(options.expect))
    campaigns = None
    if options.campaigns is not None:
        from proximity.campaigns.file import load_campaigns

        campaigns = load_campaigns(options.campaigns)
    plan = None
    if options.events is not None:
        from proximity.people.planfile import load_plan

        plan = load_plan(options.events)
    engine = Engine(index, site, options.decide, options.late_s)
    read: Counter[str] = Counter()
    with ExitStack() as stack:
        people, offers = _decisions(options, campaigns, plan, index, site, stack)
        progress = stack.enter_context(Progress())
        written = stack.enter_context(Written(options.out, expected))
        replay = Replay(engine, written, offers=offers, people=people, site=site)
        skip_bad = options.skip_bad
        parts = parts_of(options.traces, stack, progress.reads, read, skip_bad=skip_bad)
        replay.feed(progress.over(parts))
        counts = replay.finish(options.until)
        written.keep()
    if options.junit is not None:
        write_small(options.junit, to_junit(expected, "simulator replay"))
    left_out = {
        **engine.counts,
        "unconsented": counts.unconsented,
        "malformed": 0 if offers is None else offers.malformed,
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


def _decisions(
    options: Options,
    campaigns: Campaigns | None,
    plan: Plan | None,
    index: FenceIndex,
    site: Site | None,
    stack: ExitStack,
) -> tuple[People | None, Offers | None]:
    """Open what decides offers, closed with ``stack``: who agreed to what, and the way out.

    A run that needs neither does not load the database and all that hangs on it. Without a file
    of people processing is assumed, and every send lacks consent (contract 3).
    """
    if options.people is None and campaigns is None:
        return None, None
    from proximity.people.tagging import NO_PLAN
    from proximity.site.places import Places
    from proximity.store import Store
    from simulator.offers import Offers, people_of

    store = Store.open(":memory:")
    stack.callback(store.close)
    people = people_of(store, options.people)
    offers = None
    if campaigns is not None:
        offers = Offers(store, campaigns, people, Places(index, site), plan or NO_PLAN)
        stack.callback(offers.close)
    return None if options.people is None else people, offers
