"""``proximity campaign backtest``: what would these campaigns have sent in a time that is over?"""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proximity.commands.questions import FILE, FOLDER, Finite, echo_json, moment
from proximity.model import ProximityError, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection

    from proximity.backtest.backtest import Backtest, Outcome
    from proximity.site.places import Places
    from proximity.store import Store

DAY_S = 86400.0
NO_EVENTS = (
    "proximity: a replay's folder has no events: what asks for them is judged as if there "
    "had been none; --data knows them"
)
_MOST_LINE = 256 * 1024


@click.command("backtest")
@click.argument("file", type=FILE)
@click.option("--data", type=FOLDER, help="Folder of a server's state; it may be running.")
@click.option("--run", type=FOLDER, help="Or a folder that `simulator replay --out` wrote.")
@click.option("--site", type=FILE, help="With --run: what is where.")
@click.option("--people", type=FILE, help="With --run: who they are and what they agreed to.")
@click.option("--since", help="From when: RFC 3339 or Unix seconds; else --days before the end.")
@click.option("--until", help="Before when; else until what happened last.")
@click.option(
    "--days", type=Finite(0.001, 366.0), default=7.0, show_default=True, help="How long, in days."
)
@click.option(
    "--consent", type=click.Choice(["required", "assumed"]), default="required", show_default=True,
    help="As `serve` was told: whether consent is kept here, or upstream.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object.")
def backtest_command(
    file: Path, data: Path | None, run: Path | None, site: Path | None, people: Path | None,
    since: str | None, until: str | None, days: float, consent: str, *, as_json: bool,
) -> int:  # fmt: skip
    """Say what the campaigns of FILE would have sent, to how many, and which gate stopped how much.

    What happened is taken as it was, people as they are known now, and every campaign of FILE is
    decided anew as the server would have decided it. Nothing is written. Exit 1 where nothing
    happened in that time.
    """
    from proximity.backtest.backtest import backtest
    from proximity.campaigns.file import load_campaigns
    from proximity.people.people import People

    if (data is None) == (run is None):
        raise click.UsageError("Give either --data DIR or --run DIR.")
    if run is None and (site is not None or people is not None):
        raise click.UsageError("--site and --people go with --run: a server knows its own.")
    rules = load_campaigns(file)
    start, end = moment("--since", since), moment("--until", until)
    with _opened(data, run, site, people) as (store, places):
        known = People(store)

        def work(connection: Connection) -> Backtest:
            last = _last(connection) if end is None else end
            first = last - days * DAY_S if start is None else start
            if not first < last:
                raise ProximityError("--since is not before --until: no time lies between")
            return backtest(
                connection, rules, first, last, people=known,
                places=_places(connection) if places is None else places,
                assumed=consent == "assumed",
            )  # fmt: skip

        found = store.read(work)
    if run is not None:
        click.echo(NO_EVENTS, err=True)
    if as_json:
        echo_json(found)
    else:
        click.echo(written(found))
    return 0 if found.transitions or found.events else 1


def written(found: Backtest) -> str:
    """Write a backtest for a terminal: campaigns by what they would have sent, and what stopped."""
    head = (
        f"{found.since} to {found.until}: {_count(found.transitions, 'transition')}, "
        f"{_count(found.events, 'event')}"
    )
    lines = [head, f"would have sent {_count(found.sent, 'offer')} to {_people(found.people)}"]
    if found.faults:
        lines.append(f"{_count(found.faults, 'trigger')} could not be decided: see the log")
    for one in sorted(found.campaigns, key=lambda one: (-one.sent, -one.met, one.campaign)):
        lines += ["", *_campaign(one)]
    return "\n".join(lines)


def _campaign(one: Outcome) -> Iterator[str]:
    yield f"{one.campaign}   version {one.version}"
    if not one.met:
        yield "  nothing met it"
        return
    yield (
        f"  would have sent {one.sent:,} to {_people(one.people)}; "
        f"met {_count(one.met, 'time')}, by {_people(one.people_met)}"
    )
    if one.waiting:
        yield f"  {one.waiting:,} would still wait for the end of quiet hours"
    for gate, number in one.stopped.items():
        alone = one.alone.get(gate, 0)
        only = f", {alone:,} of them alone" if alone else ""
        yield f"  {gate:<12} stopped {number:,}{only}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _people(number: int) -> str:
    return f"{number:,} {'person' if number == 1 else 'people'}"


# -- where it is taken from -----------------------------------------------------------------------


@contextmanager
def _opened(
    data: Path | None, run: Path | None, site: Path | None, people: Path | None
) -> Iterator[tuple[Store, Places | None]]:
    """Open the store to read from, and its places where they are not in it."""
    from proximity.commands.asking import open_either
    from proximity.store import Store

    if data is not None:
        with open_either(data, None, None) as there:
            assert isinstance(there, Store)
            yield there, None
        return
    assert run is not None
    with closing(Store.open(":memory:")) as store:
        yield store, _fill(store, run, site, people)


def _places(connection: Connection) -> Places:
    from proximity.commands.inforce import InForce

    return InForce(connection).places


def _last(connection: Connection) -> float:
    """Give the time just after what happened last; the present where nothing did."""
    import sqlalchemy as sa

    from proximity.store.schema import ledger

    newest = sa.select(ledger.c.at).order_by(ledger.c.seq.desc()).limit(1)
    at = connection.scalar(newest)
    return time.time() if at is None else at + 0.001


def _fill(store: Store, run: Path, site: Path | None, people: Path | None) -> Places:
    """Put a replay's transitions, and people, into an empty store; give what is where."""
    from geofences import FenceIndex, load
    from proximity.people.people import People, read_people
    from proximity.site.places import Places
    from proximity.site.sitefile import fences_beside, load_site
    from proximity.store import ledger

    what = None if site is None else load_site(site)
    beside = None if site is None or what is None else fences_beside(site, what)
    index = FenceIndex(() if beside is None else load(beside))
    known = People(store, clock=lambda: 0.0)
    persons = [] if people is None else read_people(people)
    carried = {subject: one.person for one in persons for subject in one.subjects}

    def put(connection: Connection) -> None:
        for person in persons:
            known.put(connection, person)

    store.write(put).result()
    entries: list[ledger.Entry] = []
    for number, record, text in _records(run / "transitions.jsonl"):
        entries.append(_entry(number, record, text, carried))
        if len(entries) == 1000:
            _append(store, entries)
            entries = []
    _append(store, entries)
    return Places(index, what)


def _append(store: Store, entries: list[Any]) -> None:
    from proximity.store import ledger

    store.write(lambda connection: ledger.append(connection, entries)).result()


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Read transitions, a line each. Raises ProximityError that names the line."""
    import msgspec

    from proximity.inputs import open_input

    try:
        with open_input(path) as stream:
            lines = iter(lambda: stream.readline(_MOST_LINE + 1), b"")
            for number, line in enumerate(lines, start=1):
                try:
                    yield number, msgspec.json.decode(line, type=dict[str, Any]), line.decode()
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise ProximityError(
                        f"{path} line {number}: {error}: give a folder that "
                        "`simulator replay --out` wrote"
                    ) from None
    except OSError as error:
        raise ProximityError(f"{path}: cannot be read: {error.strerror}") from None


def _entry(number: int, record: Mapping[str, Any], text: str, carried: Mapping[str, str]) -> Any:
    from proximity.store import ledger

    try:
        subject = record["subject"]
        return ledger.Entry(
            kind="transition",
            id=str(number),
            subject=subject,
            place=record["place"],
            person=carried.get(subject, subject),
            visit=record["visit"],
            campaign=None,
            at=parse_time(record["decided_at"]),
            record=text,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ProximityError(
            f"transitions.jsonl line {number}: this is no transition ({error}): give a folder "
            "that `simulator replay --out` wrote"
        ) from None
