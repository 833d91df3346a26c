"""``proximity sync``: people kept alike with a CRM, a shop's database or another engine."""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.commands.questions import FILE, Finite, echo_json, moment, where
from proximity.inputs import called, read_table
from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from proximity.commands.asking import Http
    from proximity.people.tagging import Plan
    from proximity.store import Store
    from proximity.sync.conversions import Conversion, Counted
    from proximity.sync.foreign import Foreign
    from proximity.sync.round import Exchanged, Side
    from proximity.sync.rules import Rules

_MOST_BYTES = 64 * 1024 * 1024
"""Bytes of a table: a million people in ten short columns."""
_RULES = click.option("--sync", "rules", type=FILE, help="Sync file (--data); a server has it.")
_PLAN = click.option(
    "--events", "plan", type=FILE, help="Tagging plan (--data); a server has its own."
)
_PEER = click.option(
    "--peer-name", default="crm", show_default=True, help="What the other side is called here."
)


@click.group()
def sync() -> None:
    """Keep people alike here and in a CRM, a shop's database or another engine."""


@sync.command("run")
@where
@click.option("--peer", help="URL of another engine's server.")
@click.option(
    "--peer-token", envvar="PROXIMITY_PEER_TOKEN", help="Its token; else PROXIMITY_PEER_TOKEN."
)
@click.option("--sql", envvar="PROXIMITY_SYNC_SQL", help="URL of a database: a table of people.")
@click.option("--mapping", type=FILE, help="Which column is which field (TOML), with --sql.")
@click.option("--state", type=FILE, help="What was last seen of the table; else beside MAPPING.")
@_PEER
@click.option("--as", "we", default="engine", show_default=True, help="What we are called there.")
@click.option("--every", type=Finite(1.0, 86_400.0), help="Again every so many seconds; else once.")
@_RULES
@_PLAN
def sync_run(
    data: Path | None, server: str | None, token: str | None, peer: str | None,
    peer_token: str | None, sql: str | None, mapping: Path | None, state: Path | None,
    peer_name: str, we: str, every: float | None, rules: Path | None, plan: Path | None,
) -> int:  # fmt: skip
    """Bring both sides to the same people: changes of each are told to the other.

    The other side is an engine (--peer URL --peer-token T) or a table (--sql URL --mapping FILE).
    What a crash interrupts is done again and changes nothing twice. Exit 1 where one side refused
    something; it is named.
    """
    from proximity.commands.asking import open_either
    from proximity.commands.sides import side

    with open_either(data, server, token) as there:
        ours = side(there, *_files(there, rules, plan))
        table = None
        if sql is not None:
            if peer is not None or mapping is None:
                raise ProximityError("--sql goes with --mapping FILE, and not with --peer")
            table = _table(sql, mapping, state)
        theirs = table or _peer(peer, peer_token)
        try:
            while True:
                try:
                    refused = _round(ours, theirs, table, they=peer_name, we=we)
                except ProximityError as error:
                    if every is None:
                        raise
                    # The other side may be down for a while: the next round goes on from here.
                    for problem in error.problems:
                        sys.stderr.write(f"proximity: {problem}\n")
                    refused = True
                if every is None:
                    return 1 if refused else 0
                time.sleep(every)
        finally:
            if table is not None:
                table.close()


def _round(ours: Side, theirs: Side, table: Foreign | None, *, they: str, we: str) -> bool:
    """Go round once and say what came of it; whether anything was refused."""
    from proximity.sync.round import exchange

    found = exchange(ours, theirs, they=they, we=we)
    unread = 0
    if table is not None:
        found.refused += table.refused
        table.refused = []
        unread = table.unreadable()
    for line in _told(found, unread):
        sys.stderr.write(f"proximity: {line}\n")
    return bool(found.refused)


def _told(found: Exchanged, unread: int) -> Iterator[str]:
    for name, taken in (("here", found.here), ("there", found.there)):
        counts = msgspec.to_builtins(taken)
        refused = counts.pop("refused", [])
        said = ", ".join(f"{what} {count}" for what, count in counts.items())
        yield f"{name}: {said or 'nothing new'}"
        yield from refused
    yield from found.refused
    if unread:
        yield f"{unread} rows are not read: they say neither whose they are nor when they changed"


@sync.command("in")
@where
@click.argument("file", type=FILE)
@_PEER
@click.option("--at", help="Since when rows without changed_at are so: RFC 3339 or Unix seconds.")
@_RULES
@_PLAN
def sync_in(
    data: Path | None, server: str | None, token: str | None, file: Path, peer_name: str,
    at: str | None, rules: Path | None, plan: Path | None,
) -> int:  # fmt: skip
    """Take the changes of FILE, a table (CSV, Parquet) with a column changed_at: the last counts.

    Sending it again does no harm, and what is older than what is known changes nothing.
    """
    from proximity.commands.asking import open_either
    from proximity.commands.sides import side
    from proximity.people.table import KINDS
    from proximity.sync.round import Exchanged, give, spelled
    from proximity.sync.table import OWN, parse_changes

    text = read_table(file, _MOST_BYTES, OWN, KINDS)
    items = parse_changes(text, called(file), at=moment("--at", at))
    found = Exchanged()
    with open_either(data, server, token) as there:
        ours = side(there, *_files(there, rules, plan))
        found.refused = spelled(give(ours, peer_name, items, found.here))
        ours.note(peer_name)
    for line in list(_told(found, 0)):
        if not line.startswith("there"):
            sys.stderr.write(f"proximity: {line}\n")
    return 1 if found.refused else 0


@sync.command("out")
@where
@_PEER
@click.option("--take", is_flag=True, help="They have them now: the next time, what came after.")
def sync_out(
    data: Path | None, server: str | None, token: str | None, peer_name: str, *, take: bool
) -> None:
    """Print what has changed that the other side does not have, a JSON object a line.

    Erasures stand first, until they are acknowledged (`POST /v1/erasures/{id}/acknowledgements`).
    """
    from proximity.commands.asking import open_either
    from proximity.commands.sides import side
    from proximity.server.changes import item_record
    from proximity.sync.round import PAGE

    with open_either(data, server, token) as there:
        ours = side(there)
        ours.note(peer_name)
        page = ours.page(peer_name, PAGE)
        while True:
            for item in page.items:
                echo_json(item_record(item))
            if take:
                ours.note(peer_name, cursor=page.cursor)
            if not page.more or not take:
                break
            page = ours.page(peer_name, PAGE)
    if page.more:
        sys.stderr.write("proximity: there are more: --take these to see them\n")


@sync.command("status")
@where
@_RULES
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def sync_status(
    data: Path | None, server: str | None, token: str | None, rules: Path | None, *, as_json: bool
) -> int:
    """Say with whom people are kept alike, how far each is, and how old what they said is.

    Exit 1 where that is older than the sync file allows.
    """
    from proximity.commands.asking import Http, open_either
    from proximity.server.changes import PeerList, peer_record
    from proximity.sync.peers import listed
    from proximity.sync.rules import Rules

    with open_either(data, server, token) as there:
        known = _files(there, rules, None)[0] or Rules()
        if isinstance(there, Http):
            body = there.ask("GET", "/v1/sync")
            found = msgspec.json.decode(body or b"{}", type=PeerList).items
        else:
            now = time.time()
            found = tuple(peer_record(one, now, known) for one in there.read(listed))
    for one in found:
        if as_json:
            echo_json(one)
        else:
            counts = ", ".join(f"{what} {count}" for what, count in one.counts.items())
            age = f"heard {one.age_s:.0f} s ago" + (", too long" if one.stale else "")
            click.echo(f"{one.id}  {age}  has {one.cursor}  {counts}".rstrip())
    return 1 if any(one.stale for one in found) else 0


@sync.command("sends")
@where
@click.argument("file", type=FILE)
@click.pass_context
def sync_sends(
    ctx: click.Context, data: Path | None, server: str | None, token: str | None, file: Path
) -> Any:
    """Bring in what another system sent (CSV or Parquet).

    Columns: subject or person, at, id, system, channel, purpose. It counts against the caps from
    then on. Sending it again does no harm.
    """
    from proximity.commands.persons import events_import

    return ctx.invoke(
        events_import, data=data, server=server, token=token, file=file, name="message-sent",
        plan=None,
    )  # fmt: skip


@sync.command("conversions")
@where
@click.argument("file", type=FILE)
@_RULES
@_PLAN
def sync_conversions(
    data: Path | None, server: str | None, token: str | None, file: Path, rules: Path | None,
    plan: Path | None,
) -> None:  # fmt: skip
    """Bring in purchases (CSV or Parquet), each once.

    Columns: id, person or key or code, at, value, currency. Each is put down to the offer that it
    names, else to the last one that reached the person.
    """
    from proximity.commands.asking import open_either
    from proximity.sync.conversions import COLUMNS, MOST, Counted, read_conversions

    text = read_table(file, _MOST_BYTES, COLUMNS)
    found = iter(list(read_conversions(text.splitlines(keepends=True), called(file))))
    counted = Counted()
    with open_either(data, server, token) as there:
        known = _files(there, rules, plan)
        while some := list(islice(found, MOST)):
            counted.add(_convert(there, some, *known))
    counts = msgspec.to_builtins(counted).items()
    sys.stderr.write("proximity: " + ", ".join(f"{what} {count}" for what, count in counts) + "\n")


def _convert(
    there: Store | Http, some: list[Conversion], rules: Rules | None, plan: Plan
) -> Counted:
    from proximity.commands.asking import Http
    from proximity.commands.inforce import InForce
    from proximity.people.people import People
    from proximity.sync.conversions import Counted, take
    from proximity.sync.rules import Rules

    if isinstance(there, Http):
        body = there.ask("POST", "/v1/conversions", body=some)
        return msgspec.json.decode(body or b"{}", type=Counted)
    people = People(there)

    def write(conn: Connection) -> Counted:
        return take(
            conn, people, some, rules or Rules(),
            now=time.time(), places=InForce(conn).places.facts, plan=plan,
        )  # fmt: skip

    return there.write(write).result()


def _files(there: Store | Http, rules: Path | None, plan: Path | None) -> tuple[Rules | None, Plan]:
    """Read the files that a folder is told of, and a server knows by itself."""
    from proximity.commands.asking import Http
    from proximity.people.planfile import load_plan
    from proximity.people.tagging import NO_PLAN
    from proximity.sync.rules import load_rules

    if isinstance(there, Http) and (rules is not None or plan is not None):
        raise ProximityError("--sync and --events go with --data: the server has its own")
    return (
        None if rules is None else load_rules(rules),
        NO_PLAN if plan is None else load_plan(plan),
    )


def _table(sql: str, mapping: Path, state: Path | None) -> Foreign:
    from proximity.sync.foreign import open_foreign
    from proximity.sync.mapping import parse_mapping
    from proximity.sync.rules import read_toml

    known = parse_mapping(read_toml(mapping), called(mapping))
    return open_foreign(sql, known, state or mapping.with_suffix(".state"))


def _peer(url: str | None, token: str | None) -> Side:
    from proximity.commands.asking import Http
    from proximity.commands.sides import Remote

    if url is None:
        raise ProximityError("give --peer URL --peer-token T, or --sql URL --mapping FILE")
    if not token:
        raise ProximityError(
            "--peer needs --peer-token T (or PROXIMITY_PEER_TOKEN): a token of the role feed or "
            "admin, made there with `proximity token create`"
        )
    return Remote(Http(url, token, "--peer"))


COMMANDS = (sync,)
