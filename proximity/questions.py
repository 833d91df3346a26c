"""What do operators and marketers ask on the command line? ``explain``, ``consent`` and the rest.

Each takes ``--data DIR`` or ``--server URL --token T``; where the answer comes from is
``asking``'s, how a failure ends the command is ``__main__``'s.
"""

from __future__ import annotations

import math
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.inputs import called
from proximity.model import ProximityError, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from proximity.asking import Source

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


class Finite(click.FloatRange):
    """A number of a range, and a number: NaN is within every range for ``click``."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the number, or refuse the option."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def where(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where to ask: a data folder, or a running server."""
    for option in (
        click.option("--token", envvar="PROXIMITY_TOKEN", help="Token; else PROXIMITY_TOKEN."),
        click.option("--server", help="URL of a running server."),
        click.option("--data", type=FOLDER, help="Folder of the server's state."),
    ):
        command = option(command)
    return command


def _open(
    data: Path | None, server: str | None, token: str | None
) -> AbstractContextManager[Source]:
    from proximity.asking import open_source

    return open_source(data, server, token)


@click.command("explain")
@where
@click.option("--subject", required=True, help="Whom it is about.")
@click.option("--place", help="Only the visit to this place.")
@click.option("--at", help="When: RFC 3339 or Unix seconds; else the last time.")
@click.option(
    "--campaigns", type=FILE, help="Campaigns file, to say what waited for what (--data)."
)
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object.")
def explain_command(
    data: Path | None, server: str | None, token: str | None, subject: str, place: str | None,
    at: str | None, campaigns: Path | None, *, as_json: bool,
) -> None:  # fmt: skip
    """Say why a person did or did not get an offer."""
    from proximity.explain import render

    moment = _moment(at)
    with _open(data, server, token) as source:
        found = source.explain(subject, place, moment, campaigns)
    if as_json:
        echo_json(found)
    else:
        click.echo(render(found))


@click.group()
def consent() -> None:
    """Record what people agreed to, and what they withdrew."""


_PERSON = click.option("--person", required=True, help="Whose.")


@consent.command("grant")
@where
@_PERSON
@click.option("--purpose", required=True, help="To what: marketing, service, …")
@click.option("--channel", help="On which channel; any, where left out.")
@click.option("--from", "since", help="From when; from ever, where left out.")
@click.option("--until", help="Until when; for ever, where left out.")
@click.option("--source", "told_by", default="command", show_default=True, help="Who says so.")
def consent_grant(
    data: Path | None, server: str | None, token: str | None, person: str, purpose: str,
    channel: str | None, since: str | None, until: str | None, told_by: str,
) -> None:  # fmt: skip
    """Record that a person agreed."""
    grant = {
        "person": person,
        "purpose": purpose,
        "channel": channel,
        "from": _moment(since),
        "until": _moment(until),
        "source": told_by,
    }
    with _open(data, server, token) as source:
        source.grant(grant)


@consent.command("withdraw")
@where
@_PERSON
@click.option("--purpose", help="Only this purpose; all, where left out.")
@click.option("--channel", help="Only this channel; all, where left out.")
def consent_withdraw(
    data: Path | None, server: str | None, token: str | None, person: str, purpose: str | None,
    channel: str | None,
) -> None:  # fmt: skip
    """Record that a person withdrew, from now on."""
    with _open(data, server, token) as source:
        source.withdraw(person, purpose, channel)


@consent.command("list")
@where
@click.option("--person", help="Only this person's.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def consent_list(
    data: Path | None, server: str | None, token: str | None, person: str | None, *, as_json: bool
) -> None:
    """List what was agreed to and withdrawn, oldest first."""
    with _open(data, server, token) as source:
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
            click.echo(
                f"{row['recorded_at']}  {row['person']}  {what} {row['purpose'] or 'everything'}"
                f" on {row['channel'] or 'any channel'}{span}  ({row['source']})"
            )


@click.group()
def person() -> None:
    """Read and write who is known."""


@person.command("import")
@where
@click.argument("file", type=FILE)
def person_import(data: Path | None, server: str | None, token: str | None, file: Path) -> None:
    """Add or replace the people of FILE (JSONL, "-" is standard input): all of them, or none.

    With --server they are sent in slices of at most 500 people and 1 MiB; all or none then holds
    for each slice, and those before one that is refused are written. Sending the whole file again
    does no harm.
    """
    from proximity.people import read_people

    people = read_people(file)
    with _open(data, server, token) as source:
        source.put_people(people)
    sys.stderr.write(f"proximity: {len(people)} people written\n")


@person.command("list")
@where
def person_list(data: Path | None, server: str | None, token: str | None) -> None:
    """List everyone who is known, a JSON object a line."""
    with _open(data, server, token) as source:
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
        sys.stderr.write("proximity: nothing is known of this person\n")
        return 1
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
    sys.stderr.write("proximity: nothing is known of this person\n")
    return 1


@click.group()
def campaign() -> None:
    """Check and read campaigns."""


@campaign.command("check")
@click.argument("file", type=FILE)
def campaign_check(file: Path) -> int:
    """Name every problem of a campaigns FILE ("-" is standard input); exit 1 where there is one.

    What is no TOML at all has no campaigns to judge: exit 2, as for a file that is not there.
    """
    from proximity.campaignfile import read_campaigns
    from proximity.campaigns import parse_campaigns
    from proximity.channels import CHANNELS, open_channels

    name, text = called(file), read_campaigns(file)
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProximityError(f"{name}: is not TOML ({error}): mend the text there") from None
    try:
        open_channels(parse_campaigns(text, name, tuple(CHANNELS)), file.parent)
    except ProximityError as error:
        for problem in error.problems:
            click.echo(problem)
        return 1
    return 0


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_time(float(text))
    except ValueError:
        pass
    try:
        return parse_time(text)
    except ValueError as error:
        raise ProximityError(str(error)) from None


def echo_json(value: object) -> None:
    """Print a value as a line of JSON."""
    click.echo(msgspec.json.encode(value).decode())


COMMANDS = (explain_command, consent, person, campaign)
