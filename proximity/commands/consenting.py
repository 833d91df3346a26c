"""What is asked about consent on the command line? What people agreed to, and how it is proven.

``consent`` keeps the ledger, ``optin`` tells of the question itself. Each takes ``--data DIR`` or
``--server URL --token T``; where the answer comes from is ``asking``'s.
"""

from __future__ import annotations

import sys
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.commands.questions import FILE, FOLDER, echo_json, moment, reached_at, where
from proximity.model import ProximityError, format_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proximity.consent.chain import Verified
    from proximity.consent.objections import Kind
    from proximity.consent.proofs import Proof
    from proximity.consent.texts import Text
    from proximity.dispatch.outbox import InFlight

_PERSON = click.option("--person", required=True, help="Whose.")
_JSON = click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
_MOST_FILE = 64 * 1024  # bytes of a text to register: four times what it may have in characters


@click.group()
def consent() -> None:
    """Record what people agreed to and withdrew, and prove it."""


@consent.command("grant")
@where
@_PERSON
@click.option(
    "--purpose", "purposes", multiple=True,
    help="To what: marketing, beacon, …; once for each, and at least one.",
)  # fmt: skip
@click.option("--channel", help="On which channel; any, where left out.")
@click.option("--from", "since", help="From when; from ever, where left out.")
@click.option("--until", help="Until when; for ever, where left out.")
@click.option(
    "--precision", type=click.Choice(["exact", "geohash-6", "venue"]),
    help="How exactly they may be located; no bound, where left out.",
)  # fmt: skip
@click.option("--method", help="How it was said: form, spoken, link, …")
@click.option("--text", help="SHA-256 of the registered text that was shown.")
@click.option("--source", "told_by", default="command", show_default=True, help="Who says so.")
def consent_grant(
    data: Path | None, server: str | None, token: str | None, person: str,
    purposes: tuple[str, ...], channel: str | None, since: str | None, until: str | None,
    precision: str | None, method: str | None, text: str | None, told_by: str,
) -> None:  # fmt: skip
    """Record that a person agreed: a row for each purpose, all of them or none."""
    from proximity.commands.asking import open_source
    from proximity.consent.purposes import check_purpose

    for purpose in purposes or ("",):
        check_purpose(purpose)
    grants = [
        {
            "person": person,
            "purpose": purpose,
            "channel": channel,
            "from": moment("--from", since),
            "until": moment("--until", until),
            "precision": precision,
            "method": method,
            "text": text,
            "source": told_by,
        }
        for purpose in purposes
    ]
    with open_source(data, server, token) as source:
        source.grant(grants)
    echo_unasked(purposes)


@consent.command("withdraw")
@where
@_PERSON
@click.option("--purpose", help="Only this purpose; all, where left out.")
@click.option("--channel", help="Only this channel; all, where left out.")
def consent_withdraw(
    data: Path | None, server: str | None, token: str | None, person: str, purpose: str | None,
    channel: str | None,
) -> None:  # fmt: skip
    """Record that a person withdrew, from now on; print what is in flight, a line each."""
    from proximity.commands.asking import open_source

    with open_source(data, server, token) as source:
        _echo_flights(source.withdraw(person, purpose, channel))


@consent.command("list")
@where
@click.option("--person", help="Only this person's.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def consent_list(
    data: Path | None, server: str | None, token: str | None, person: str | None, *, as_json: bool
) -> None:
    """List what was agreed to and withdrawn, oldest first."""
    from proximity.commands.asking import open_source

    with open_source(data, server, token) as source:
        for row in source.consents(person):
            if as_json:
                echo_json(row)
                continue
            what = "withdrew" if row["withdrawal"] else "agreed to"
            span = (
                ""
                if row["withdrawal"]
                else f"  {row['from'] or 'ever'} to {row['until'] or 'ever'}"
            )
            words = row.get("text")
            said = (row.get("precision"), row.get("method"), words and f"text {words[:12]}")
            extra = "".join(f", {one}" for one in said if one)
            click.echo(
                f"{row['recorded_at']}  {row['person']}  {what} {row['purpose'] or 'everything'}"
                f" on {row['channel'] or 'any channel'}{span}  ({row['source']}{extra})"
            )


@consent.command("prove")
@where
@_PERSON
@click.option("--purpose", required=True, help="To what.")
@click.option("--channel", help="On which channel; any, where left out.")
@click.option("--at", help="When: RFC 3339 or Unix seconds; now, where left out.")
@_JSON
def consent_prove(
    data: Path | None, server: str | None, token: str | None, person: str, purpose: str,
    channel: str | None, at: str | None, *, as_json: bool,
) -> int:  # fmt: skip
    """Show the row, the text and the seal of a consent in force; exit 1 where none was."""
    from proximity.commands.asking import Http, open_either
    from proximity.consent.proofs import Proof, prove

    when = moment("--at", at)
    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            query: dict[str, str | None] = {
                "person": person, "purpose": purpose, "channel": channel,
            }  # fmt: skip
            query["at"] = None if when is None else format_time(when)
            body = there.ask("GET", "/v1/consents/proof", query)
            found = msgspec.json.decode(body or b"", type=Proof)
        else:
            asked = time.time() if when is None else when
            found = there.read(lambda conn: prove(conn, person, purpose, channel, asked))
    if as_json:
        echo_json(found)
    else:
        _echo_proof(found)
    return 0 if found.in_force else 1


@consent.command("verify")
@where
@click.option("--head", help="A head printed before: the ledger must hold it still.")
@_JSON
def consent_verify(
    data: Path | None, server: str | None, token: str | None, head: str | None, *, as_json: bool
) -> int:
    """Check that nobody changed the ledger, and print its head; exit 1 where somebody did.

    Note the head somewhere else: it alone can show that the whole ledger was made anew.
    """
    from proximity.commands.asking import Http, open_either
    from proximity.consent.chain import Head, Verified, verify

    expected = None if head is None else Head.parse(head)
    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            body = there.ask("GET", "/v1/consents/verify", {"head": head})
            found = msgspec.json.decode(body or b"", type=Verified)
        else:
            found = there.read(lambda conn: verify(conn, expected))
    _echo_verified(found, as_json=as_json)
    return 1 if found.problems else 0


@consent.group("texts", invoke_without_command=True)
@click.pass_context
@where
@click.option("--purpose", help="Only texts that ask for this.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def consent_texts(
    context: click.Context, data: Path | None, server: str | None, token: str | None,
    purpose: str | None, *, as_json: bool,
) -> None:  # fmt: skip
    """List the texts that people are shown; `texts add` registers one."""
    from proximity.commands.asking import Http, open_either
    from proximity.consent.texts import Text, every_text

    if context.invoked_subcommand is not None:
        return
    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            body = there.ask("GET", "/v1/consents/texts", {"purpose": purpose})
            found = msgspec.json.decode(body or b"", type=dict[str, list[Text]])["items"]
        else:
            found = there.read(lambda conn: every_text(conn, purpose))
    for one in found:
        if as_json:
            echo_json(one)
        else:
            _echo_text(one)


@consent_texts.command("add")
@where
@click.argument("file", type=FILE)
@click.option("--purpose", required=True, help="What it asks for: one purpose.")
@click.option("--version", required=True, help="As its authors count.")
@click.option("--locale", required=True, help="Its language tag: en, pt-BR, …")
@click.option("--benefit", help="Its sentence that says what it is good for, to the letter.")
def texts_add(
    data: Path | None, server: str | None, token: str | None, file: Path, purpose: str,
    version: str, locale: str, benefit: str | None,
) -> None:  # fmt: skip
    """Register the text of FILE ("-" is standard input), to the letter; print its SHA-256."""
    from proximity.commands.asking import Http, open_either
    from proximity.consent.purposes import check_purpose
    from proximity.consent.texts import Wording, register

    check_purpose(purpose)
    fields = {"version": version, "locale": locale, "text": _text_of(file), "benefit": benefit}
    try:
        wording = msgspec.convert(fields, Wording)
    except msgspec.ValidationError as error:
        raise ProximityError(f"{file}: cannot be registered: {error}") from None
    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            body = there.ask("POST", "/v1/consents/texts", body=fields | {"purpose": purpose})
            click.echo(msgspec.json.decode(body or b"{}", type=dict[str, str])["sha256"])
        else:
            now = time.time()
            click.echo(there.write(lambda conn: register(conn, purpose, wording, now)).result())
    echo_unasked((purpose,))


@consent.command("object")
@where
@_PERSON
def consent_object(data: Path | None, server: str | None, token: str | None, person: str) -> None:
    """Record that a person objects: no marketing any more; print what is in flight, a line each."""
    from proximity.commands.asking import Http, open_either
    from proximity.consent.grants import record_objection
    from proximity.server.consents import Withdrawn

    flying: Iterable[InFlight]
    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            body = there.ask("PUT", f"/v1/objections/{_quoted(person)}")
            flying = msgspec.json.decode(body or b"{}", type=Withdrawn).in_flight
        else:
            now = time.time()
            flying = there.write(
                lambda conn: record_objection(conn, person, at=now, source="command")
            ).result()
    _echo_flights(flying)


@consent.command("lift")
@where
@_PERSON
@click.option("--erased", is_flag=True, help="Let them come back who were erased, as they asked.")
def consent_lift(
    data: Path | None, server: str | None, token: str | None, person: str, *, erased: bool
) -> int:
    """Lift a person's objection; exit 1 where there is none."""
    from proximity.commands.asking import Http, open_either
    from proximity.consent.grants import lift_mark
    from proximity.people.people import People

    kind: Kind = "erased" if erased else "objected"
    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            path = f"/v1/objections/{_quoted(person)}"
            found = there.ask("DELETE", path, {"kind": kind}, missing=True) is not None
        else:
            people = People(there)
            found = there.write(lambda conn: lift_mark(people, conn, person, kind)).result()
    if not found:
        sys.stderr.write("proximity: there is no such mark on this person\n")
    return 0 if found else 1


@consent.command("link")
@click.option("--data", type=FOLDER, required=True, help="Folder of the server's state.")
@_PERSON
@click.option("--url", required=True, help="Where people reach the server: https://…")
@click.option("--purpose", help="Only this purpose; all, where left out.")
@click.option("--channel", help="Only this channel; all, where left out.")
def consent_link(
    data: Path, person: str, url: str, purpose: str | None, channel: str | None
) -> None:
    """Print a link by which a person withdraws with one click, good for 90 days."""
    from proximity.commands.asking import Http, open_either
    from proximity.consent.links import withdraw_url
    from proximity.store.keys import store_key

    base = reached_at(url)
    with open_either(data, None, None) as there:
        assert not isinstance(there, Http)
        now = time.time()
        key = there.write(lambda conn: store_key(conn, "links", now)).result()
    click.echo(withdraw_url(key, base, person, purpose, channel, now))


@click.group()
def optin() -> None:
    """Tell what became of asking people for their consent."""


@optin.command("status")
@where
@_PERSON
@click.option("--campaigns", type=FILE, help="Campaigns file, to say when each may ask (--data).")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def optin_status(
    data: Path | None, server: str | None, token: str | None, person: str,
    campaigns: Path | None, *, as_json: bool,
) -> None:  # fmt: skip
    """Say what a person answered, and when they may be asked again."""
    from proximity.campaigns.file import load_campaigns
    from proximity.commands.asking import Http, open_either
    from proximity.consent.asked import Asking, status
    from proximity.people.people import People
    from proximity.site.places import Places

    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            if campaigns is not None:
                raise ProximityError("--campaigns goes with --data: the server knows its campaigns")
            body = there.ask("GET", "/v1/optin", {"person": person})
            found = msgspec.json.decode(body or b"", type=dict[str, list[Asking]])["items"]
        else:
            rules = {} if campaigns is None else load_campaigns(campaigns).campaigns
            people, places = People(there), Places(None).facts
            found = there.read(
                lambda conn: list(
                    status(people, conn, person, now=time.time(), places=places, campaigns=rules)
                )
            )
    for one in found:
        if as_json:
            echo_json(one)
            continue
        last = "never asked" if one.last is None else f"last {one.last} {one.at}"
        agreed = "agreed" if one.agreed else "not agreed"
        click.echo(
            f"{one.purpose}  {agreed}  {last}  shown {one.shown} times, later {one.later} times"
        )
        for name, at in one.again.items():
            soon = "now" if at is not None and at <= format_time(time.time()) else f"from {at}"
            click.echo(f"  {name}: {'never again' if at is None else f'may ask {soon}'}")


@optin.command("answer")
@where
@_PERSON
@click.option("--purpose", required=True, help="What they were asked for.")
@click.option(
    "--answer", "said", required=True,
    type=click.Choice(["shown", "later", "accepted", "declined"]), help="What became of it.",
)  # fmt: skip
@click.option("--channel", help="On which channel they agreed; any, where left out.")
@click.option("--campaign", help="What asked them.")
@click.option("--text", help="SHA-256 of the registered text that was shown.")
@click.option("--id", "name", help="The answer's own id: one of the same id counts once.")
def optin_answer(
    data: Path | None, server: str | None, token: str | None, person: str, purpose: str,
    said: str, channel: str | None, campaign: str | None, text: str | None, name: str | None,
) -> int:  # fmt: skip
    """Record what a person answered; a yes is a consent as well. Exit 1 where nothing was written.

    Of somebody who agreed to nothing at all only a yes is written; the same answer counts once.
    """
    from proximity.commands.asking import Http, open_either
    from proximity.consent.asked import Answered, answer
    from proximity.people.people import People
    from proximity.site.places import Places

    fields = {
        "person": person, "purpose": purpose, "answer": said, "channel": channel, "text": text,
        "campaign": campaign, "id": name, "source": "command", "method": "opt-in",
    }  # fmt: skip
    try:
        given = msgspec.convert(fields, Answered)
    except msgspec.ValidationError as error:
        raise ProximityError(f"the answer cannot be recorded: {error}") from None
    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            body = there.ask("POST", "/v1/optin", body=fields)
            new = msgspec.json.decode(body or b"{}", type=dict[str, bool])["recorded"]
        else:
            people, places, now = People(there), Places(None).facts, time.time()
            new = there.write(
                lambda conn: answer(people, conn, given, now=now, places=places)
            ).result()
    echo_unasked((purpose,))
    if not new:
        sys.stderr.write(
            "proximity: nothing was written: it was there already, or they agree to nothing\n"
        )
    return 0 if new else 1


def echo_unasked(purposes: Iterable[str]) -> None:
    """Say of purposes that the engine does not know that they may be written wrong."""
    from proximity.consent.purposes import unasked

    for purpose in sorted(set(purposes)):
        said = unasked(purpose)
        if said is not None:
            sys.stderr.write(f"proximity: {said}\n")


def _echo_flights(flying: Iterable[InFlight]) -> None:
    """Print what was being handed over and cannot be called back, a line of JSON each."""
    for one in flying:
        echo_json(one)


def _echo_proof(found: Proof) -> None:
    click.echo(f"{'yes' if found.in_force else 'no'}: {found.says}")
    for name, row in (("consent", found.consent), ("ended by", found.ended_by)):
        if row is not None:
            click.echo(f"{name}: {msgspec.json.encode(row).decode()}")
    if found.text is not None:
        _echo_text(found.text)
    elif found.consent is not None:
        click.echo("text: none was recorded with it")
    if found.seal is not None:
        click.echo(f"sealed: row {found.seal.seq}, {found.seal.hash}; head {found.head}")


def _echo_text(one: Text) -> None:
    click.echo(f"text {one.sha256}  {one.purpose}, version {one.version}, {one.locale}")
    for line in one.text.splitlines():
        click.echo(f"  {line}")
    click.echo(f"  (benefit: {one.benefit or 'it names none: say what it is good for'})")


def _echo_verified(found: Verified, *, as_json: bool) -> None:
    if as_json:
        echo_json(found)
        return
    for problem in found.problems:
        click.echo(problem)
    click.echo(f"{found.rows} rows, of which {found.erased} erased; {len(found.problems)} problems")
    if found.head is not None:
        click.echo(f"head {found.head}")


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _text_of(file: Path) -> str:
    from proximity.inputs import read_text

    return read_text(file, _MOST_FILE, "nobody would read it")


COMMANDS: tuple[Any, ...] = (consent, optin)
