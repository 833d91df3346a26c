"""``proximity explain``: why a person did or did not get an offer, for three kinds of readers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proximity.commands.questions import FILE, Language, echo_json, moment, where
from proximity.explain.messages.operators import AUDIENCES
from proximity.model import ProximityError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Campaigns
    from proximity.commands.asking import Http
    from proximity.engine.nearmiss import Recent
    from proximity.explain.explain import Explanation
    from proximity.explain.readers import Table
    from proximity.explain.sentences import Told
    from proximity.model import Person
    from proximity.site.places import Places
    from proximity.store import Store


@click.command("explain")
@where
@click.option("--subject", help="The device or tag it is about.")
@click.option("--person", help="Or the person, with all that they carry.")
@click.option("--place", help="Only the visit to this place.")
@click.option("--at", help="When: RFC 3339 or Unix seconds; else the last time.")
@click.option(
    "--campaigns", type=FILE, help="Campaigns file, to say what waited for what (--data)."
)
@click.option(
    "--for", "audience", type=click.Choice([*AUDIENCES]), default="engineer", show_default=True,
    help="For whom: all evidence, a table of campaigns, or plain sentences.",
)  # fmt: skip
@click.option(
    "--language", type=Language(), help="A language tag, where it is not to be the person's own."
)
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object.")
def explain_command(
    data: Path | None, server: str | None, token: str | None, campaigns: Path | None,
    audience: str, *, as_json: bool, **asked: str | None,
) -> None:  # fmt: skip
    """Say why a person did or did not get an offer."""
    from proximity.commands.asking import Http, open_either

    if asked["subject"] is None and asked["person"] is None:
        raise click.UsageError("Give --subject or --person: whom it is about.")
    if asked["subject"] is not None and asked["person"] is not None:
        # Else what one person's device did would be told as another's.
        raise click.UsageError("Give --subject or --person, not both: whom it is about.")
    at = moment("--at", asked.pop("at"))
    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            if campaigns is not None:
                raise ProximityError("--campaigns goes with --data: the server knows its campaigns")
            found = _from_server(there, audience, at, asked)
        else:
            from proximity.campaigns.file import load_campaigns

            rules = None if campaigns is None else load_campaigns(campaigns)
            found = _from_store(there, audience, at, rules, asked)
    if as_json:
        echo_json(found)
    else:
        click.echo(_text(found))


def _from_server(
    server: Http, audience: str, at: float | None, asked: dict[str, str | None]
) -> Explanation | Table | Told:
    import msgspec

    from proximity.explain.explain import Explanation
    from proximity.explain.readers import Table
    from proximity.explain.sentences import Told

    kinds: dict[str, Any] = {"engineer": Explanation, "marketer": Table, "person": Told}
    query = {**asked, "at": None if at is None else repr(at), "for": audience}
    body = server.ask("GET", "/v1/explain", query)
    found: Explanation | Table | Told = msgspec.json.decode(body or b"{}", type=kinds[audience])
    return found


def _from_store(
    store: Store,
    audience: str,
    at: float | None,
    rules: Campaigns | None,
    asked: dict[str, str | None],
) -> Explanation | Table | Told:
    from proximity.commands.inforce import InForce
    from proximity.explain.explain import explain, with_recent
    from proximity.explain.readers import table
    from proximity.explain.sentences import tell
    from proximity.people.people import People

    people = People(store)
    subject, language = asked["subject"], asked["language"]

    def read(connection: Connection) -> tuple[Explanation, dict[str, Recent], Places, Person]:
        world = InForce(connection)
        places = world.places
        found = explain(
            connection, subject=subject, person=asked["person"], place=asked["place"], at=at,
            campaigns=rules, facts=places.facts,
        )  # fmt: skip
        recent = {one: world.near(one, at) for one in found.subjects}
        return found, recent, places, people.read(connection, found.person or subject or "")

    found, recent, places, who = store.read(read)
    # Whoever runs the server may keep consent elsewhere; what was kept was consented to.
    kept = any(one.newest_at is not None for one in recent.values())
    now = time.time() if at is None else at
    agreed = kept or any(people.may_process(one, now) for one in found.subjects)
    found = with_recent(found, recent, agreed=agreed, at=at, facts=places.facts)
    if audience == "engineer":
        return found
    if audience == "marketer":
        return table(found)
    zone = who.timezone
    if zone is None and found.visits:
        zone = places.facts(found.visits[0].place).timezone
    return tell(found, who.languages if language is None else (language,), zone)


def _text(found: Explanation | Table | Told) -> str:
    from proximity.explain.readers import Table, render, table_text
    from proximity.explain.sentences import Told

    if isinstance(found, Told):
        return "\n".join(found.sentences)
    return table_text(found) if isinstance(found, Table) else render(found)


COMMANDS = (explain_command,)
