"""``simulator make``: a scenario in, the files of a run out.

What happens is drawn by ``stories``, what is true told by ``truth``; this file writes both down.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.inputs import STANDARD
from proximity.model import Consent, Person, ProximityError, format_time
from simulator.scenario import find, names, read_scenario
from simulator.stories import Stories, in_order
from simulator.trace import write_record
from simulator.truth import Truth, format_truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proximity.model import Record
    from simulator.actors import Actor
    from simulator.scenario import Scenario

__all__ = ["make", "write"]


def write(scenario: Scenario, seed: int, out: Path) -> dict[str, int]:
    """Write the files of a scenario drawn with ``seed`` to a folder; how many lines each has.

    Raises ProximityError where the folder cannot be written or the scenario is too large.
    """
    truth = Truth(scenario.venue.index, scenario.venue.areas, scenario.venue.site, scenario.start)
    reach = _reach(scenario, truth)
    true: list[dict[str, object]] = []
    parts: list[list[Record]] = []
    subjects: list[str] = []
    for story in Stories(scenario, seed):
        parts.append(story.records)
        for subject, seen in story.seen.items():
            subjects.append(subject)
            true += truth.transitions(story.track, subject, reach(story.actor, subject), seen)
    records = in_order(parts)
    lines: dict[str, Iterable[bytes]] = {
        "people.jsonl": map(_line, _people(scenario, subjects)),
        "trace.jsonl": map(write_record, records),
        "truth.jsonl": map(_line, format_truth(true)),
        "fences.geojson": [scenario.venue.fences],
        "site.toml": [scenario.venue.site_toml.encode()],
    }
    if scenario.campaigns_toml is not None:
        lines["campaigns.toml"] = [scenario.campaigns_toml.encode()]
    if scenario.expect is not None:
        lines["expect.jsonl"] = [scenario.expect.strip().encode() + b"\n"]
    counts: dict[str, int] = {}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in lines.items():
            with (out / name).open("wb") as file:
                counts[name] = 0
                for one in content:
                    file.write(one)
                    counts[name] += 1
    except OSError as error:
        raise ProximityError(
            f"{out}: {error.strerror}: name a folder that can be written"
        ) from None
    return counts


@click.command()
@click.argument("scenario", required=False)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), help="Whose chance; else the scenario's."
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the files go.")
@click.option("--list", "listed", is_flag=True, help="Name the scenarios of the library.")
def make(scenario: str | None, seed: int | None, out: Path | None, *, listed: bool) -> int:
    """Make the files of SCENARIO: a name of the library, or a TOML file; - is standard input.

    Writes site.toml, fences.geojson, people.jsonl, trace.jsonl and truth.jsonl, and where the
    scenario has them campaigns.toml and expect.jsonl. The same seed gives the same bytes.
    """
    if listed:
        known = {name: read_scenario(find(name)).shows for name in names()}
        width = max(map(len, known), default=0)
        for name, shows in known.items():
            click.echo(f"{name:<{width}}  {shows}")
        return 0
    if scenario is None or out is None:
        raise click.UsageError("name a scenario and --out DIR, or --list")
    if out == STANDARD:
        raise click.UsageError("--out is a folder: its files do not fit into standard output")
    told = read_scenario(find(scenario))
    counts = write(told, told.seed if seed is None else seed, out)
    click.echo(f"{told.name}: {told.shows}" if told.shows else told.name)
    click.echo(
        f"written to {out}: {counts['trace.jsonl']:,} records, {counts['truth.jsonl']:,} true "
        f"transitions, {counts['people.jsonl']:,} people"
    )
    words = ["simulator", "replay", f"{out}/trace.jsonl", "--site", f"{out}/site.toml"]
    words += ["--people", f"{out}/people.jsonl"]
    words += ["--campaigns", f"{out}/campaigns.toml"] if told.campaigns_toml is not None else []
    words += [*told.words, *(["--expect", f"{out}/expect.jsonl"] if told.expect else [])]
    click.echo(f"replay it: {shlex.join(words)}")
    return 0


def _reach(scenario: Scenario, truth: Truth) -> Callable[[Actor, str], set[str]]:
    """Make the function that tells of which places a subject's reports can tell at all."""
    fences = set(scenario.venue.index.ids)
    by_gateway = truth.with_above({one.place for one in scenario.venue.receivers})
    by_beacon = truth.with_above({one.place for one in scenario.venue.senders if one.place})
    tagged = {one.subject for one in scenario.venue.senders}

    def reach(actor: Actor, subject: str) -> set[str]:
        own = subject == actor.walker.subject
        places = truth.with_above(fences) if own and actor.phone is not None else set()
        if own and actor.hears:
            places |= by_beacon
        return places | by_gateway if subject in tagged else places

    return reach


def _people(scenario: Scenario, subjects: Iterable[str]) -> list[Person]:
    """Give the scenario's people, and for every other subject one who agreed to the service."""
    known = {subject for person in scenario.people for subject in person.subjects}
    others = [
        Person(person=subject, subjects=(subject,), consents=(Consent(purpose="service"),))
        for subject in dict.fromkeys(subjects)
        if subject not in known
    ]
    return [*scenario.people, *others]


def _line(value: Any) -> bytes:
    if isinstance(value, Person):
        value = msgspec.to_builtins(value)
        for consent in value.get("consents", ()):
            for key in ("from", "until"):
                if isinstance(when := consent.get(key), float):
                    consent[key] = format_time(when)
    return msgspec.json.encode(value) + b"\n"
