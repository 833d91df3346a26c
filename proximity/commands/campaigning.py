"""What do marketers ask of a campaigns file before anybody gets anything? ``campaign …``.

Reads files and prints answers; what is wrong with a campaign is for ``lint``, ``preflight`` and
``content`` to say.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.commands.backtesting import backtest_command
from proximity.commands.questions import FILE, FOLDER, Language, echo_json, moment, where
from proximity.commands.sending import send_command
from proximity.inputs import called
from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from proximity.campaigns.campaigns import Campaign, Campaigns, PlaceFacts
    from proximity.campaigns.lint import Finding
    from proximity.commands.ground import Ground
    from proximity.content.content import Content
    from proximity.model import Person


@click.group()
def campaign() -> None:
    """Check, read and try campaigns."""


_SITE = click.option("--site", type=FILE, help="Site file: names of places, tags, languages.")
_JSON = click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")


@campaign.command("check")
@click.argument("file", type=FILE)
def check(file: Path) -> int:
    """Name every problem of a campaigns FILE ("-" is standard input); exit 1 where there is one.

    What is no TOML at all has no campaigns to judge: exit 2, as for a file that is not there.
    """
    _, problems = _read(file)
    for problem in problems:
        click.echo(problem)
    return 1 if problems else 0


@campaign.command("schema")
def schema() -> None:
    """Print the JSON Schema of a campaigns file, for editors and programs."""
    from proximity.campaigns.schema import schema as whole

    click.echo(msgspec.json.format(msgspec.json.encode(whole()), indent=2).decode())


@campaign.command("lint")
@click.argument("file", type=FILE)
@_SITE
@click.option("--privacy", type=FILE, help="The server's privacy file, with --site.")
@click.option("--data", type=FOLDER, help="Folder of who vouched for a place, with --site.")
@_JSON
def lint(
    file: Path, site: Path | None, privacy: Path | None, data: Path | None, *, as_json: bool
) -> int:
    """Say what of a campaigns FILE had better not be sent; exit 1 where there is a fault.

    Everything that `check` finds is one; advice does not change the status. With --site, places
    that the site does not have are faults, and sensitive ones that nobody vouched for.
    """
    from proximity.campaigns.lint import Finding
    from proximity.campaigns.lint import lint as judge

    if site is None and (privacy is not None or data is not None):
        raise click.UsageError("--privacy and --data go with --site: places are judged there.")
    campaigns, problems = _read(file)
    found = [Finding("check", "fault", None, problem) for problem in problems]
    if campaigns is not None:
        found += judge(campaigns)
    if campaigns is not None and site is not None:
        from proximity.commands.ground import Ground

        ground = Ground.of(site)
        found += _unknown_places(campaigns, ground)
        found += _closed_places(campaigns, ground)
        found += _sensitive_places(campaigns, ground, privacy, data)
    name = called(file)
    for finding in found:
        if as_json:
            echo_json(finding._asdict())
        elif finding.rule == "check":
            click.echo(finding.text)  # it names the file itself
        else:
            click.echo(f"{name}: {finding.to_line()}")
    return 1 if any(finding.level == "fault" for finding in found) else 0


@campaign.command("preview")
@click.argument("file", type=FILE)
@where
@click.option("--campaign", "only", help="Only this campaign.")
@click.option("--place", help="At this place; else at the first that the campaign names.")
@click.option("--language", type=Language(), help="Only for who reads this language.")
@click.option("--person", help="As this person would get it: from --people, --data or --server.")
@click.option("--people", type=FILE, help="People file that tells of --person.")
@_SITE
@_JSON
def preview(
    file: Path, data: Path | None, server: str | None, token: str | None, only: str | None,
    place: str | None, language: str | None, person: str | None, people: Path | None,
    site: Path | None, *, as_json: bool,
) -> int:  # fmt: skip
    """Show what the campaigns of FILE say, in each language or as one person would get it.

    Exit 1 where one cannot be shown. Nothing is sent and nothing is recorded.
    """
    from proximity.campaigns.file import load_campaigns

    if people is not None and person is None:
        raise ProximityError("--people: tells of --person: give that too, or leave --people out")
    campaigns = load_campaigns(file)
    reader = None
    if person is not None:
        reader = _person(person, people, data, server, token)
    from proximity.commands.ground import Ground
    from proximity.tomltable import nearest

    ground = Ground.of(site)
    places = ground.places
    if site is not None and place is not None and place not in ground.ids:
        mend = nearest(place, ground.ids)
        raise ProximityError(f"{called(site)}: there is no place {place!r:.80}; {mend}")
    chosen = list(campaigns.campaigns.values())
    if only is not None:
        if only not in campaigns.campaigns:
            mend = nearest(only, campaigns.campaigns)
            raise ProximityError(f"{called(file)}: there is no campaign {only!r:.80}; {mend}")
        chosen = [campaigns.campaigns[only]]
    failed = False
    for one in chosen:
        facts = places.facts(place if place is not None else _first_place(one))
        if not as_json:
            click.echo(f"{one.id} at {facts.name or facts.id or 'no place'}")
        for content in _contents(campaigns, one, facts, reader, language):
            failed = failed or content.problem is not None
            if as_json:
                shown = msgspec.to_builtins(content)
                echo_json({"campaign": one.id, "place": facts.id, "person": person} | shown)
            else:
                click.echo(_shown(content, chosen=person is not None))
    return 1 if failed else 0


@campaign.command("preflight")
@click.argument("file", type=FILE)
@_SITE
@click.option("--data", type=FOLDER, help="Folder of a server's state: what is left of the stock.")
@click.option("--at", help="As at this time: RFC 3339 or Unix seconds; else now.")
@click.option(
    "--allow", multiple=True, metavar="NETWORK",
    help="A network that may be opened though it is not public, such as 127.0.0.0/8.",
)  # fmt: skip
@_JSON
def preflight(
    file: Path, site: Path | None, data: Path | None, at: str | None, allow: tuple[str, ...], *,
    as_json: bool,
) -> int:  # fmt: skip
    """Open every link of a campaigns FILE, and hold price, end, store and stock against it.

    Exit 1 where a link is dead, something has ended or is sold out, or page and campaign disagree.
    """
    import asyncio

    from proximity.campaigns.file import load_campaigns
    from proximity.campaigns.preflight import Problem
    from proximity.campaigns.preflight import preflight as look
    from proximity.channels.egress import Egress

    campaigns = load_campaigns(file)
    from proximity.commands.ground import Ground

    ground = Ground.of(site)
    now = moment("--at", at)
    now = time.time() if now is None else now
    left = None if data is None else _stock_left(campaigns, data, now)
    networks = _networks(allow)

    async def open_all() -> list[Problem]:
        egress = Egress(networks)
        try:
            return await look(campaigns, ground.places.facts, ground.tagged, egress, now, left)
        finally:
            await egress.close()

    problems = asyncio.run(open_all())
    for problem in problems:
        if as_json:
            echo_json(problem._asdict())
        else:
            click.echo(f"{called(file)}: {problem.to_line()}")
    return 1 if any(not problem.advice for problem in problems) else 0


def _read(file: Path) -> tuple[Campaigns | None, list[str]]:
    """Read a campaigns file; give it, or every problem that keeps it from being run."""
    from proximity.campaigns.file import read_campaigns
    from proximity.campaigns.form import parse_campaigns
    from proximity.channels import open_channels
    from proximity.tomltable import parse_toml

    name, text = called(file), read_campaigns(file)
    parse_toml(text, name)
    try:
        campaigns = parse_campaigns(text, name)
    except ProximityError as error:
        return None, list(error.problems)
    try:
        open_channels(campaigns, file)
    except ProximityError as error:
        return campaigns, list(error.problems)
    return campaigns, []


def _unknown_places(campaigns: Campaigns, ground: Ground) -> Iterator[Finding]:
    from proximity.campaigns.lint import Finding
    from proximity.tomltable import nearest

    known = ground.ids
    tags = {tag for name in known for tag in ground.places.facts(name).tags}
    named: list[tuple[str | None, str | None]] = [(None, cap.place) for cap in campaigns.caps]
    for one in campaigns.campaigns.values():
        named += [(one.id, place) for rule in one.waits_for for place in sorted(rule.places)]
        named += [(one.id, place) for place in (one.landing_place, *(c.place for c in one.caps))]
    for campaign, place in named:
        if place is not None and place not in known:
            text = f"there is no place {place!r:.80}; {nearest(place, known)}"
            yield Finding("place", "fault", campaign, text)
    for one in campaigns.campaigns.values():
        for tag in sorted(tag for rule in one.waits_for for tag in rule.tags if tag not in tags):
            mend = f"; {nearest(tag, tags)}" if tags else ""
            yield Finding("place", "fault", one.id, f"no fence carries the tag {tag!r:.80}{mend}")


def _closed_places(campaigns: Campaigns, ground: Ground) -> Iterator[Finding]:
    """Find what may speak only while every place that it waits for is closed."""
    from proximity.campaigns.campaigns import KINDS
    from proximity.campaigns.lint import Finding, speaks

    facts = [ground.places.facts(name) for name in ground.ids]
    for one in campaigns.campaigns.values():
        rules = one.waits_for
        if not one.active or not speaks(one) or any(rule.on not in KINDS for rule in rules):
            continue
        places = [
            place
            for place in facts
            if any(place.id in r.places or not r.tags.isdisjoint(place.tags) for r in rules)
        ]
        if places and not any(speaks(one, place.active) for place in places):
            who = ", ".join(place.id for place in places[:5])
            text = f"nothing of it is ever sent: {who:.200} closed whenever it may speak"
            yield Finding("never", "fault", one.id, text)


def _sensitive_places(
    campaigns: Campaigns, ground: Ground, privacy: Path | None, data: Path | None
) -> Iterator[Finding]:
    from proximity.campaigns.lint import Finding
    from proximity.commands.asking import open_either
    from proximity.privacy import approvals
    from proximity.privacy.policy import Policy, load_policy
    from proximity.privacy.publishing import refused
    from proximity.store import Store

    policy = Policy() if privacy is None else load_policy(privacy)
    vouched: Collection[str] = ()
    if data is not None:
        with open_either(data, None, None) as store:
            assert isinstance(store, Store)
            vouched = store.read(approvals.vouched)
    fences = [fence for name in ground.ids if (fence := ground.fences.get(name)) is not None]
    for use in refused(campaigns, fences, ground.site, policy, vouched):
        text = use.problem().removeprefix(f"campaign {use.campaign!r}: ")
        yield Finding(use.finding.rule, "fault", use.campaign, text)


def _person(
    person: str, people: Path | None, data: Path | None, server: str | None, token: str | None
) -> Person:
    from proximity.commands.asking import open_source
    from proximity.model import Person
    from proximity.people.people import read_people

    if people is not None:
        found = next((one for one in read_people(people) if one.person == person), None)
        if found is None:
            raise ProximityError(f"{called(people)}: there is no person {person!r:.80}")
    else:
        with open_source(data, server, token) as source:
            record = source.person(person)
        found = None if record is None else msgspec.convert(record, Person)
    if found is None:
        raise ProximityError(f"nothing is known of {person!r:.80}: see `proximity person list`")
    return found


def _first_place(one: Campaign) -> str:
    return min((place for rule in one.waits_for for place in rule.places), default="")


def _contents(
    campaigns: Campaigns, one: Campaign, place: PlaceFacts, person: Person | None,
    language: str | None,
) -> Iterable[Content]:  # fmt: skip
    from proximity.content.content import Reader, compose

    left = {name: campaigns.stocks[name].count for name in one.stock if name in campaigns.stocks}
    reader = Reader(stock_left=left)
    wanted: list[tuple[str, ...]]
    wanted = [(tag,) for tag in one.text] if language is None else [(language,)]
    if person is not None:
        devices = tuple(e.language for e in person.endpoints if e.language is not None)
        reader = Reader(devices=devices, attributes=person.attributes, stock_left=left)
        wanted = [person.languages if language is None else (language,)]
    for languages in wanted:
        yield compose(one, place, languages, campaigns.link_hosts, reader, campaigns.language)


def _shown(content: Content, *, chosen: bool) -> str:
    if content.problem is not None:
        return f"  {content.language or '-':<8} cannot be shown: {content.problem}"
    lines = [
        f"  {content.language:<8} {content.text}",
        f"  {'':<8} {len(content.text)} characters"
        + (f"; the language is the {content.chosen_by}'s" if chosen else ""),
    ]
    ways = content.links or ({} if content.link is None else {"link": content.link})
    lines += [f"  {'':<8} {way}: {link}" for way, link in ways.items()]
    return "\n".join(lines)


def _stock_left(campaigns: Campaigns, data: Path, now: float) -> dict[str, int]:
    from proximity.commands.asking import open_either
    from proximity.dispatch.stock import left
    from proximity.store import Store

    with open_either(data, None, None) as store:
        assert isinstance(store, Store)
        return store.read(lambda conn: left(conn, campaigns.stocks.values(), now))


def _networks(words: Iterable[str]) -> list[Any]:
    import ipaddress

    found = []
    for word in words:
        try:
            found.append(ipaddress.ip_network(word))
        except ValueError as error:
            raise ProximityError(f"--allow {word}: {error}: write it like 127.0.0.0/8") from None
    return found


for _command in (backtest_command, send_command):
    campaign.add_command(_command)

COMMANDS = (campaign,)
