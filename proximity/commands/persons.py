"""``proximity person`` and ``proximity events``: who is known, what they want, what they did."""

from __future__ import annotations

import sys
import time
import urllib.parse
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.commands.questions import FILE, Finite, echo_json, where
from proximity.inputs import called, open_input
from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from proximity.commands.asking import Source
    from proximity.model import Event, Preference
    from proximity.people.behaviour import Written
    from proximity.people.eventfile import Line
    from proximity.people.tagging import Plan
    from proximity.server.events import EventPage, ProfileRecord
    from proximity.server.reaching import Reaching

MOST_PROBLEMS = 100
"""Problems that are shown; a log with more has one cause, which the first show."""
MOST_TOGETHER = 500
"""Events of one request: at the longest that a line may be, still within a request's limit."""


def _open(
    data: Path | None, server: str | None, token: str | None
) -> AbstractContextManager[Source]:
    from proximity.commands.asking import open_source

    return open_source(data, server, token)


@click.group()
def person() -> None:
    """Read and write who is known."""


@person.command("import")
@where
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--events", type=FILE, help="Tagging plan, for the types of attributes (--data).")
def person_import(
    data: Path | None, server: str | None, token: str | None, file: Path, events: Path | None
) -> None:
    """Add or replace the people of FILE (JSONL, CSV, Parquet; "-": standard input): all, or none.

    With --server they are sent in slices of at most 500 people and 1 MiB; all or none then holds
    for each slice, and those before one that is refused are written. Sending the whole file again
    does no harm. FILE may also be what `person export` wrote elsewhere, JSON, a ZIP or a folder.
    """
    from proximity.commands.privacy import put_export
    from proximity.privacy.exportfile import is_export

    # Of a pipe or a device nothing may be read before the people are: it would be lost to them.
    if (file.is_dir() or file.is_file()) and is_export(file):
        put_export(data, server, token, file)
        return
    from proximity.commands.consenting import echo_unasked
    from proximity.people.file import people_problems, read_people

    people = read_people(file)
    if events is not None:
        from proximity.people.planfile import load_plan

        problems = people_problems(people, load_plan(events))
        if problems:
            raise ProximityError(*(f"{called(file)}: {problem}" for problem in problems))
    with _open(data, server, token) as source:
        left = source.put_people(people)
    told = f", {left} left out: they were erased and do not come back" if left else ""
    sys.stderr.write(f"proximity: {len(people) - left} people written{told}\n")
    echo_unasked(consent.purpose for one in people for consent in one.consents)


@person.command("list")
@where
@click.option("--csv", "as_csv", is_flag=True, help="A table, which `person import` reads.")
@click.option(
    "--parquet", type=click.Path(dir_okay=False, path_type=Path),
    help="Write the table to this Parquet file instead, which `person import` reads too.",
)  # fmt: skip
def person_list(
    data: Path | None, server: str | None, token: str | None, parquet: Path | None, *, as_csv: bool
) -> None:
    """List everyone who is known, a JSON object a line."""
    if parquet is not None:
        if as_csv:
            raise ProximityError("--csv and --parquet are two: give one of them")
        from proximity.parquet import write_columns
        from proximity.people.table import columns_of

        with _open(data, server, token) as source:
            written = write_columns(columns_of(source.people()))
        try:
            parquet.touch(mode=0o600)  # everybody's addresses stand in it
            parquet.write_bytes(written)
        except OSError as error:
            raise ProximityError(f"{parquet}: cannot be written: {error.strerror}") from None
        return
    with _open(data, server, token) as source:
        if as_csv:
            from proximity.people.table import write_table

            click.echo(write_table(source.people()), nl=False)
            return
        for record in source.people():
            echo_json(record)


@person.command("show")
@where
@click.argument("person")
def person_show(data: Path | None, server: str | None, token: str | None, person: str) -> int:
    """Show one person as JSON."""
    with _open(data, server, token) as source:
        found = source.person(person)
    if found is None:
        return _unknown()
    echo_json(found)
    return 0


@person.command("remove")
@where
@click.argument("person")
def person_remove(data: Path | None, server: str | None, token: str | None, person: str) -> int:
    """Forget one person: profile, subjects and consents."""
    with _open(data, server, token) as source:
        if source.remove_person(person):
            return 0
    return _unknown()


@person.command("preferences")
@where
@click.argument("person")
@click.option("--set", "rows", type=FILE, help="Replace them by this JSON array of rows.")
def person_preferences(
    data: Path | None, server: str | None, token: str | None, person: str, rows: Path | None
) -> int:
    """Show what a person wants, a row a line in the order in which they count, or replace it."""
    said = None if rows is None else _read_preferences(rows)
    with _open(data, server, token) as source:
        found = source.person(person)
        if found is not None and said is not None:
            source.prefer(person, said)
            found = source.person(person)
    if found is None:
        return _unknown()
    for row in found.get("preferences", ()):
        echo_json(row)
    return 0


@person.command("link")
@click.option("--token", envvar="PROXIMITY_TOKEN", help="Token; else PROXIMITY_TOKEN.")
@click.option("--server", required=True, help="URL of a running server.")
@click.argument("person")
def person_link(server: str, token: str | None, person: str) -> int:
    """Print the link to a person's own page of preferences; whoever has it may answer for them."""
    from proximity.commands.asking import Http, open_either

    with open_either(None, server, token) as there:
        assert isinstance(there, Http)
        path = f"/v1/people/{urllib.parse.quote(person, safe='')}/preferences/link"
        body = there.ask("POST", path, missing=True)
        url = None if body is None else msgspec.json.decode(body, type=dict[str, str]).get("url")
    if url is None:
        return _unknown()
    click.echo(url if "://" in url else server.rstrip("/") + url)
    return 0


@person.command("profile")
@where
@click.argument("person")
@click.option("--within", "within_s", type=Finite(0, 1e9), help="Seconds to look back; a year.")
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object.")
def person_profile(
    data: Path | None, server: str | None, token: str | None, person: str,
    within_s: float | None, *, as_json: bool,
) -> int:  # fmt: skip
    """Show what a person did, in figures: what they buy, where they are, and how often."""
    found = _profile(data, server, token, person, within_s)
    if found is None:
        return _unknown()
    if as_json:
        echo_json(found)
        return 0
    click.echo(f"{found.person}, {found.since} to {found.at}: {found.events} events")
    for title, taken in (("buys", found.products), ("of the kind", found.categories)):
        for one in taken:
            click.echo(f"  {title} {one.name}: {one.count:g}, {one.share:.0%} of what they buy")
    for title, places in (("was in", found.venues), ("was in a", found.kinds)):
        for name, been in places.items():
            click.echo(
                f"  {title} {name}: {been.visits} visits, {been.per_week:.1f} a week, "
                f"{been.mean_dwell_s / 60:.0f} min each, last {been.recency_s / 86400:.1f} days ago"
            )
    return 0


@person.command("reach")
@where
@click.argument("person")
@click.option("--campaigns", type=FILE, help="Campaigns file: which channels are set up (--data).")
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object.")
def person_reach(
    data: Path | None, server: str | None, token: str | None, person: str,
    campaigns: Path | None, *, as_json: bool,
) -> int:  # fmt: skip
    """List the channels that reach a person, and why the others do not."""
    found = _reach(data, server, token, person, campaigns)
    if found is None:
        return _unknown()
    if as_json:
        echo_json(found)
        return 0
    for one in found.channels:
        devices = f", addresses: {one.endpoints}" if one.endpoints else ""
        agreed = f", agreed to {', '.join(one.agreed)}" if one.agreed else ""
        said = "reaches them" if one.reachable else f"does not: {one.why}"
        click.echo(f"{one.channel}: {said}{devices}{agreed}")
    if any(one.set_up is None for one in found.channels):
        sys.stderr.write("proximity: --campaigns FILE tells which of these channels are set up\n")
    return 0


@person.command("events")
@where
@click.option("--person", help="Only this person's.")
@click.option("--name", help="Only events of this name.")
@click.option("--quarantined", is_flag=True, help="Those that the tagging plan speaks against.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def person_events(
    data: Path | None, server: str | None, token: str | None, person: str | None,
    name: str | None, *, quarantined: bool, as_json: bool,
) -> None:  # fmt: skip
    """List what people did, in order of arrival, or what was set aside of it and why."""
    for one in _events(data, server, token, person, name, quarantined=quarantined):
        if as_json:
            echo_json(one)
            continue
        where_to = f"  in {one['place']}" if one.get("place") else ""
        tail = f"  {one['problem']}" if one.get("problem") else _flat(one.get("properties", {}))
        click.echo(f"{one['at']}  {one['person']}  {one['name']}{where_to}{tail}")


def _flat(properties: dict[str, Any]) -> str:
    return "".join(f"  {name}={value}" for name, value in properties.items())


@click.group()
def events() -> None:
    """Check a tagging plan against what is sent, and bring in what other systems know."""


@events.command("check")
@click.argument("plan", type=FILE)
@click.argument("log", type=FILE)
@click.option("--name", help="Name of the events of a table that has no column for it.")
def events_check(plan: Path, log: Path, name: str | None) -> int:
    """Name every event of LOG (a trace or a table) that PLAN speaks against; exit 1 if any."""
    from proximity.people.planfile import load_plan

    rules = load_plan(plan)
    counted, faults = 0, 0
    for line in _lines(log, name):
        problems = [line.problem] if line.problem is not None else []
        if line.event is not None:
            counted += 1
            problems = [f"{line.event.name}: {one}" for one in rules.problems(line.event)]
        for problem in problems:
            faults += 1
            if faults <= MOST_PROBLEMS:
                click.echo(f"{called(log)}, line {line.number}: {problem}")
    if faults > MOST_PROBLEMS:
        click.echo(f"and {faults - MOST_PROBLEMS} more")
    sys.stderr.write(f"proximity: {counted} events, {faults} problems\n")
    return 1 if faults else 0


@events.command("import")
@where
@click.argument("file", type=FILE)
@click.option("--name", help="Name of the events of a table that has no column for it.")
@click.option("--events", "plan", type=FILE, help="Tagging plan (--data); the server has its own.")
def events_import(
    data: Path | None, server: str | None, token: str | None, file: Path, name: str | None,
    plan: Path | None,
) -> int:  # fmt: skip
    """Bring in events of long ago from FILE (a trace or a table): they trigger nothing.

    What another system sent (`--name message-sent`, columns subject or person, at, id, system,
    channel, purpose) counts against the caps from then on. Sending the file again does no harm.
    """
    from proximity.people.planfile import load_plan
    from proximity.people.tagging import NO_PLAN

    rules = NO_PLAN if plan is None else load_plan(plan)
    found: list[Event] = []
    problems: list[str] = []
    for line in _lines(file, name):
        if line.problem is not None:
            problems.append(f"{called(file)}, line {line.number}: {line.problem}")
        elif line.event is not None:
            found.append(line.event)
    if problems:
        raise ProximityError(*problems[:MOST_PROBLEMS])
    counts = _import(data, server, token, found, rules)
    sys.stderr.write(
        "proximity: " + ", ".join(f"{name} {number}" for name, number in counts.items()) + "\n"
    )
    return 1 if counts["quarantined"] else 0


def _import(
    data: Path | None, server: str | None, token: str | None, found: Sequence[Event], plan: Plan
) -> dict[str, int]:
    """Write events of long ago in slices; say what became of them."""
    from proximity.commands.asking import Http, open_either
    from proximity.commands.inforce import InForce
    from proximity.people.behaviour import Written, write_history
    from proximity.people.people import People

    counts = dict.fromkeys(Written.__struct_fields__, 0)
    remaining = iter(found)
    with open_either(data, server, token) as there:
        while some := list(islice(remaining, MOST_TOGETHER)):
            if isinstance(there, Http):
                body = there.ask("POST", "/v1/events/history", body=some)
                written = msgspec.json.decode(body or b"{}", type=Written)
            else:
                people = People(there)

                def write(
                    conn: Connection, some: list[Event] = some, people: People = people
                ) -> Written:
                    facts = InForce(conn).places.facts
                    return write_history(conn, some, people, plan, facts, now=time.time())

                written = there.write(write).result()
            for name in counts:
                counts[name] += getattr(written, name)
    return counts


def _lines(file: Path, name: str | None) -> Iterator[Line]:
    """Read a file's events line by line. Raises ProximityError where it cannot be read."""
    from proximity.people.eventfile import bounded, read_events

    try:
        with open_input(file) as stream:
            yield from read_events(bounded(stream, called(file)), name=name)
    except OSError as error:
        raise ProximityError(f"{called(file)}: cannot be read: {error.strerror}") from None


def _events(
    data: Path | None, server: str | None, token: str | None, person: str | None,
    name: str | None, *, quarantined: bool,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    from proximity.commands.asking import PAGE, Http, open_either
    from proximity.server.events import event_page

    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            query = {"person": person, "name": name}
            if quarantined:
                query["quarantined"] = "true"
            yield from there.pages("/v1/events", query)
            return
        after = 0
        while True:

            def read(conn: Connection, after: int = after) -> EventPage:
                return event_page(
                    conn, after, PAGE, person=person, name=name, quarantined=quarantined
                )

            page = there.read(read)
            yield from (msgspec.to_builtins(one) for one in page.items)
            if len(page.items) < PAGE:
                return
            after = int(page.cursor)


def _profile(
    data: Path | None, server: str | None, token: str | None, person: str, within_s: float | None
) -> ProfileRecord | None:
    from proximity.commands.asking import Http, open_either
    from proximity.commands.inforce import InForce
    from proximity.server.events import BACK_S, ProfileRecord, read_profile

    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            path = f"/v1/people/{urllib.parse.quote(person, safe='')}/profile"
            query = {"within_s": None if within_s is None else str(int(within_s))}
            body = there.ask("GET", path, query, missing=True)
            return None if body is None else msgspec.json.decode(body, type=ProfileRecord)
        now = time.time()
        since = max(0.0, now - (BACK_S if within_s is None else within_s))
        return there.read(
            lambda conn: read_profile(conn, person, since, now, InForce(conn).places.facts)
        )


def _reach(
    data: Path | None, server: str | None, token: str | None, person: str, campaigns: Path | None
) -> Reaching | None:
    from proximity.campaigns.file import load_campaigns
    from proximity.campaigns.reach import PLAIN
    from proximity.channels import set_up
    from proximity.commands.asking import Http, open_either
    from proximity.people.people import People
    from proximity.server.reaching import Reaching, read_reach

    rules = None if campaigns is None else load_campaigns(campaigns)
    terms, names = (PLAIN, None) if rules is None else (rules.channel_terms, set_up(rules))
    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            path = f"/v1/people/{urllib.parse.quote(person, safe='')}/reach"
            body = there.ask("GET", path, missing=True)
            return None if body is None else msgspec.json.decode(body, type=Reaching)
        people = People(there)
        return there.read(
            lambda conn: read_reach(conn, people, person, terms, time.time(), set_up=names)
        )


def _read_preferences(file: Path) -> tuple[Preference, ...]:
    from proximity.inputs import read_text
    from proximity.model import Person, Preference

    try:
        said = msgspec.json.decode(read_text(file, 1024 * 1024), type=tuple[Preference, ...])
        return Person(person="any", preferences=said).preferences  # no more than one may have
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ProximityError(f"{called(file)}: this is no list of preferences: {error}") from None


def _unknown() -> int:
    sys.stderr.write("proximity: nothing is known of this person\n")
    return 1


COMMANDS = (person, events)
