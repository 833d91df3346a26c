"""``proximity segment``: which segments there are, how many people are in each, and is this one?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.commands.questions import FILE, echo_json, moment, where
from proximity.inputs import called
from proximity.model import ProximityError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.segments.rules import Rule
    from proximity.segments.size import Size
    from proximity.server.segments import Membership, SegmentRecord

_FILE = click.option("--campaigns", type=FILE, help="Campaigns file that names them (--data).")
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.group()
def segment() -> None:
    """See which people campaigns are for."""


@segment.command("list")
@where
@_FILE
@_JSON
def segment_list(
    data: Path | None, server: str | None, token: str | None, campaigns: Path | None, *,
    as_json: bool,
) -> None:  # fmt: skip
    """List the segments of a campaigns file, or of a server's, each as a sentence."""
    for one in _listed(data, server, token, campaigns):
        if as_json:
            echo_json(one)
        else:
            click.echo(f"{one.id}: {one.sentence}")


@segment.command("size")
@where
@click.argument("name", metavar="SEGMENT")
@_FILE
@click.option("--at", help="As of when: RFC 3339 or Unix seconds; else now (--data).")
@_JSON
def segment_size(
    data: Path | None, server: str | None, token: str | None, name: str, campaigns: Path | None,
    at: str | None, *, as_json: bool,
) -> None:  # fmt: skip
    """Say how many people a SEGMENT means, last digit left out, before anything is sent."""
    found = _size(data, server, token, name, campaigns, at)
    if as_json:
        echo_json(found)
        return
    click.echo(found.sentence)
    click.echo(f"{_said(found.people)} of {_said(found.known)} who are known")
    for purpose, people in found.agreed.items():
        click.echo(f"  {_said(people)} of them agreed to {purpose}")


@segment.command("explain")
@where
@click.argument("name", metavar="SEGMENT")
@click.option("--person", required=True, help="Whom it is about.")
@_FILE
@click.option("--at", help="As of when: RFC 3339 or Unix seconds; else now (--data).")
@_JSON
def segment_explain(
    data: Path | None, server: str | None, token: str | None, name: str, person: str,
    campaigns: Path | None, at: str | None, *, as_json: bool,
) -> int:  # fmt: skip
    """Say whether a SEGMENT means a person, and why; exit 1 where it does not."""
    found = _membership(data, server, token, name, person, campaigns, at)
    if as_json:
        echo_json(found)
    else:
        click.echo(f"{person} is {'' if found.holds else 'not '}in {name}")
        for line in _reasons(found.because, 1):
            click.echo(line)
    return 0 if found.holds else 1


def _said(people: int | None) -> str:
    return "fewer than ten" if people is None else f"at least {people:,}"


def _reasons(because: dict[str, Any], depth: int) -> list[str]:
    """Write what was found, a rule a line, those within others further in."""
    found = {key: because[key] for key in ("values", "times", "share") if key in because}
    said = "; ".join(f"{key}: {_shown(value)}" for key, value in found.items())
    mark = "yes" if because["holds"] else "no"
    lines = [f"{'  ' * depth}{mark:<3} {because['rule']}{f'  [{said}]' if said else ''}"]
    for part in because.get("of", ()):
        lines += _reasons(part, depth + 1)
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) if value else "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rules(campaigns: Path | None) -> dict[str, Rule]:
    from proximity.campaigns.file import load_campaigns

    if campaigns is None:
        raise ProximityError("--campaigns FILE is missing: it says what the segments are")
    return load_campaigns(campaigns).segments


def _one(campaigns: Path | None, name: str) -> Rule:
    from proximity.tomltable import nearest

    rules = _rules(campaigns)
    if name not in rules:
        assert campaigns is not None
        raise ProximityError(
            f"{called(campaigns)}: there is no segment {name!r:.80}; {nearest(name, rules)}"
        )
    return rules[name]


def _refuse(campaigns: Path | None, at: str | None = None) -> None:
    if campaigns is not None:
        raise ProximityError("--campaigns goes with --data: the server knows its campaigns")
    if at is not None:
        raise ProximityError("--at goes with --data: the server answers for now")


def _listed(
    data: Path | None, server: str | None, token: str | None, campaigns: Path | None
) -> list[SegmentRecord]:
    from proximity.commands.asking import Http, open_either
    from proximity.server.segments import SegmentRecord, segment_record

    if server is None:
        # What a file says needs no store; a folder given as well is simply not asked.
        return [segment_record(name, rule) for name, rule in sorted(_rules(campaigns).items())]
    _refuse(campaigns)
    with open_either(data, server, token) as there:
        assert isinstance(there, Http)
        return [msgspec.convert(one, SegmentRecord) for one in there.pages("/v1/segments", {})]


def _size(
    data: Path | None, server: str | None, token: str | None, name: str, campaigns: Path | None,
    at: str | None,
) -> Size:  # fmt: skip
    from proximity.commands.asking import Http, open_either
    from proximity.commands.inforce import InForce
    from proximity.segments.size import Size, measure

    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            _refuse(campaigns, at)
            body = there.ask("GET", f"/v1/segments/{_quoted(name)}/size")
            return msgspec.json.decode(body or b"", type=Size)
        rule, now = _one(campaigns, name), _now(at)
        return there.read(lambda conn: measure(conn, name, rule, now, InForce(conn).places.facts))


def _membership(
    data: Path | None, server: str | None, token: str | None, name: str, person: str,
    campaigns: Path | None, at: str | None,
) -> Membership:  # fmt: skip
    from proximity.commands.asking import Http, open_either
    from proximity.commands.inforce import InForce
    from proximity.people.behaviour import read_profiles
    from proximity.people.facts import NOTHING
    from proximity.people.people import People
    from proximity.server.segments import Membership, membership

    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            _refuse(campaigns, at)
            path = f"/v1/segments/{_quoted(name)}/explain"
            body = there.ask("GET", path, {"person": person})
            return msgspec.json.decode(body or b"", type=Membership)
        rule, now, people = _one(campaigns, name), _now(at), People(there)

        def read(conn: Connection) -> Membership:
            back_s, profile = rule.back_s(), NOTHING
            if back_s is not None:
                facts = InForce(conn).places.facts
                profile = read_profiles(conn, (person,), now - back_s, facts)[person]
            return membership(name, rule, people.read(conn, person), profile, now)

        return there.read(read)


def _now(at: str | None) -> float:
    asked = moment("--at", at)
    return time.time() if asked is None else asked


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


COMMANDS = (segment,)
