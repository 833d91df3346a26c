"""``proximity campaign send``: to whom, because a marketer wants it now; or as a rehearsal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
import msgspec

from proximity.commands.questions import FILE, echo_json, where
from proximity.model import ProximityError

if TYPE_CHECKING:
    from proximity.dispatch.manual import Queued, Rehearsal
    from proximity.store import Store


@click.command("send")
@click.argument("campaign")
@where
@click.option("--campaigns", type=FILE, help="Campaigns file, with --data; a server has its own.")
@click.option("--person", help="To this person alone.")
@click.option("--audience", help="To a segment of the file; else to the campaign's own audience.")
@click.option("--place", help="For this place: its name and its hours; else the campaign's.")
@click.option("--occasion", help="What is sent once to each; else the campaign's version.")
@click.option("--dry-run", is_flag=True, help="Tell what would become of it; send nothing.")
@click.option(
    "--consent", type=click.Choice(["required", "assumed"]), default="required", show_default=True,
    help="With --data: as `serve` was told.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object.")
def send_command(
    campaign: str, data: Path | None, server: str | None, token: str | None,
    campaigns: Path | None, consent: str, *, dry_run: bool, as_json: bool, **whom: str | None,
) -> int:  # fmt: skip
    """Send CAMPAIGN to a person or an audience; every gate is asked as always.

    A --dry-run may be of any campaign, as if what it waits for happened now: try it on yourself.

    With --data it is queued in the folder and goes out while a server runs on it. Exit 1 where
    nobody is meant, or, with --dry-run, nobody would get it.
    """
    from proximity.commands.asking import Http, open_either

    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            if campaigns is not None:
                raise ProximityError("--campaigns goes with --data: the server knows its campaigns")
            told = {name: value for name, value in whom.items() if value is not None}
            path = f"/v1/campaigns/{quote(campaign, safe='')}/sends"
            body = there.ask("POST", path, body={**told, "dry_run": dry_run})
            found = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        else:
            if campaigns is None:
                raise ProximityError("--data needs --campaigns FILE: the one that `serve` has")
            found = _in_folder(
                there, campaigns, campaign, whom, dry_run=dry_run, assumed=consent == "assumed"
            )
    if as_json:
        echo_json(found)
    else:
        click.echo(_rehearsed(found) if dry_run else _queued(found))
    return 0 if found["people"] and (not dry_run or found["results"].get("send")) else 1


def _in_folder(
    store: Store, file: Path, campaign: str, whom: dict[str, str | None], *, dry_run: bool,
    assumed: bool,
) -> dict[str, Any]:  # fmt: skip
    from proximity.campaigns.file import load_campaigns
    from proximity.commands.inforce import InForce
    from proximity.dispatch import manual
    from proximity.dispatch.weighing import World
    from proximity.people.people import People

    rules = load_campaigns(file)
    places = store.read(lambda conn: InForce(conn).places)
    wish = manual.wish_for(rules, campaign, **whom, places=places, rehearsal=dry_run)
    world = World(lambda: rules, People(store), places, assumed)
    now = time.time()
    found: Queued | Rehearsal
    if dry_run:
        found = manual.rehearse(store, world, wish, now)
        decisions = [decision.to_record() for decision in found.decisions]
        shown: dict[str, Any] = msgspec.to_builtins(found) | {"decisions": decisions}
        return shown
    found = manual.queue_all(store, world, wish, now)
    queued: dict[str, Any] = msgspec.to_builtins(found)
    return queued


def _queued(found: dict[str, Any]) -> str:
    said = f"meant {found['people']}, of them new {found['new']}"
    left_out = found.get("unconsented", 0)
    return said + (f", left out since they agreed to nothing {left_out}" if left_out else "")


def _rehearsed(found: dict[str, Any]) -> str:
    lines = [f"meant {found['people']}; nothing was sent"]
    lines += [f"  {count:>6}  {result}" for result, count in found["results"].items()]
    for decision in found["decisions"]:
        text = found["texts"].get(decision["id"])
        failed = [gate["gate"] for gate in decision["gates"] if not gate["passed"]]
        said = f"would get: {text}" if text is not None else f"stopped by {', '.join(failed)}"
        lines.append(f"  {decision['person']}: {said}")
    return "\n".join(lines)
