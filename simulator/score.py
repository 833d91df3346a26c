"""How right was a run, as a file says it: transitions and truth in, one JSON object out.

The ``simulator score`` command and its files. What counts as found is ``judge``'s; every problem
of an input is a ProximityError that names file, line and mend.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from proximity.commands.questions import Finite
from proximity.inputs import STANDARD, open_input
from proximity.model import ProximityError, Sighting, Time, Transition, parse_time
from simulator.judge import KINDS, TOLERANCE_S, WITHIN_S, Coverage, Tally, fold, judge
from simulator.sources import BOM, arrival, records_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proximity.site.registry import Site
    from simulator.judge import Verdict

__all__ = ["as_record", "coverage_of", "read_transitions", "score"]

MOST_LINES = 2_000_000
"""Transitions of a file: a thousand people for a year; about a gigabyte once read."""
LONGEST_LINE = 1024 * 1024
"""Bytes of one line; a transition with all its evidence takes a few hundred."""
MOST_PROBLEMS = 20
"""Problems named one by one; the rest are counted."""

PATH = click.Path(path_type=Path, allow_dash=True)


class _Line(msgspec.Struct, frozen=True):
    """What the judge reads of one line of ``transitions.jsonl`` or ``truth.jsonl``."""

    kind: Literal["enter", "dwell", "exit", "pass", "corrected"]
    subject: str
    place: str
    visit: str = ""
    at: Time | None = None
    decided_at: Time | None = None
    dwell_s: float | None = None
    enter_at: Time | None = None
    exit_at: Time | None = None


@click.command()
@click.argument("transitions", type=PATH)
@click.argument("truth", type=PATH)
@click.option(
    "--tolerance",
    "tolerance_s",
    type=Finite(0.0),
    default=TOLERANCE_S,
    show_default=True,
    metavar="S",
    help="How far from the truth a change may be dated.",
)
@click.option(
    "--within",
    "within_s",
    type=Finite(0.0),
    default=WITHIN_S,
    show_default=True,
    metavar="S",
    help="How long after the truth it may be decided; not counting what its records were late.",
)
@click.option(
    "--trace",
    "traces",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="The records that were judged: what they cannot show is set aside. May be repeated.",
)
@click.option(
    "--site", type=PATH, metavar="FILE", help="With --trace: who carries the beacons it sights."
)
@click.option("--json", "as_json", is_flag=True, help="On one line; it is JSON either way.")
def score(
    transitions: Path,
    truth: Path,
    *,
    tolerance_s: float,
    within_s: float,
    traces: tuple[Path, ...],
    site: Path | None,
    as_json: bool,
) -> int:
    """Hold TRANSITIONS of a run against TRUTH; say how right, how soon and how steady it was.

    Both are JSONL; - is standard input, once. A corrected visit counts as corrected.
    With --trace, what no observer could see is set aside and counted: visits and absences under
    three sampling intervals or 40 s, crossings in a gap of more than 90 s, passes under 20 s; and a
    visit between two records is a pass.
    """
    told = [transitions, truth, *traces, site]
    if told.count(STANDARD) > 1:
        raise click.UsageError("only one file can be standard input")
    if site is not None and not traces:
        raise click.UsageError("--site goes with --trace")
    announced, true = read_transitions(transitions), read_transitions(truth)
    coverage = None
    if traces:
        from proximity.site.sitefile import load_site

        with ExitStack() as stack:
            records = records_of(traces, stack, lambda _: None, Counter(), skip_bad=False)
            coverage = coverage_of(records, None if site is None else load_site(site))
    verdict = judge(
        fold(announced), fold(true), coverage, tolerance_s=tolerance_s, within_s=within_s
    )
    content = msgspec.json.encode(as_record(verdict))
    click.echo(content if as_json else msgspec.json.format(content, indent=2))
    return 0


def read_transitions(path: Path) -> list[Transition]:
    """Read what ``simulator replay`` or ``make`` wrote, in its order; ``decided_at`` may lack.

    Raises ProximityError: a problem a line, with file, line and mend.
    """
    name = "standard input" if path == STANDARD else str(path)
    decoder = msgspec.json.Decoder(_Line)
    problems: list[str] = []
    unnamed = 0
    found: list[Transition] = []
    try:
        with open_input(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
                if not line.strip():
                    continue
                problem = None
                if len(line) > LONGEST_LINE:
                    problems.append(
                        f"{name}:{number}: over {LONGEST_LINE} bytes: write one object a line"
                    )
                    break
                if len(found) >= MOST_LINES:
                    problems.append(f"{name}:{number}: more than {MOST_LINES} lines: split the run")
                    break
                try:
                    found.append(_transition(decoder.decode(line.removeprefix(BOM))))
                except msgspec.ValidationError as error:
                    problem = f"{name}:{number}: {error}: write a transition as replay does"
                except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                    problem = f"{name}:{number}: no JSON ({error}): write one object a line"
                except ValueError as error:
                    problem = f"{name}:{number}: {error}"
                if problem is not None and len(problems) < MOST_PROBLEMS:
                    problems.append(problem)
                elif problem is not None:
                    unnamed += 1
    except OSError as error:
        raise ProximityError(f"{path}: cannot be read: {error.strerror}: check the name") from None
    if unnamed:
        problems.append(f"{name}: {unnamed} more such lines")
    if problems:
        raise ProximityError(*problems)
    return found


def _transition(line: _Line) -> Transition:
    """Check a line and read its times. Raises ValueError that says what is to change."""
    at, decided = _moment("at", line.at), _moment("decided_at", line.decided_at)
    enter_at, exit_at = _moment("enter_at", line.enter_at), _moment("exit_at", line.exit_at)
    if line.kind == "corrected":
        if decided is None or not line.visit:
            raise ValueError("corrected lacks visit or decided_at: say what it corrects, and when")
        if enter_at is None and exit_at is not None:
            raise ValueError("corrected has exit_at but no enter_at: name both, or neither")
    elif at is None:
        raise ValueError(f"{line.kind} lacks at: say when it happened")
    if line.dwell_s is not None and not 0.0 <= line.dwell_s < 1e9:
        raise ValueError(f"dwell_s {line.dwell_s!r} is no number of seconds")
    decided = at if decided is None else decided
    assert decided is not None
    return Transition(
        kind=line.kind,
        subject=line.subject,
        place=line.place,
        visit=line.visit,
        at=at,
        decided_at=decided,
        dwell_s=line.dwell_s,
        enter_at=enter_at,
        exit_at=exit_at,
    )


def _moment(name: str, value: float | str | None) -> float | None:
    try:
        return None if value is None else parse_time(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def coverage_of(records: Iterable[Any], site: Site | None = None) -> dict[str, Coverage]:
    """Say of each subject when records were made of it; ``site`` tells who carries a beacon."""
    times: dict[str, list[float]] = {}
    arrivals: dict[str, list[float]] = {}
    for record in records:
        subject = record.subject
        if isinstance(record, Sighting) and site is not None:
            whose = site.who(record)
            subject = None if whose is None else whose[0]
        if subject is not None:
            times.setdefault(subject, []).append(record.at)
            arrivals.setdefault(subject, []).append(arrival(record))
    return {subject: Coverage(times[subject], arrivals[subject]) for subject in times}


def as_record(verdict: Verdict) -> dict[str, Any]:
    """Give a verdict as the JSON object of contract 1; null where there is nothing to divide by."""
    places = sorted({place for _, place, _ in verdict.tallies} | {p for _, p in verdict.visits})
    whole = sum(verdict.hours.values())
    record = _numbers(verdict.total(), whole)
    record["flaps_per_visit"] = _rate(sum(verdict.flaps.values()), sum(verdict.visits.values()))
    record["visits"] = sum(verdict.visits.values())
    record["subjects"] = len(verdict.hours)
    record["hours"] = round(whole, 6)
    record["by_kind"] = {
        kind: _numbers(verdict.total([kind]), whole)
        for kind in KINDS
        if any(kind == each for _, _, each in verdict.tallies)
    }
    # One pass over the tallies: a site may have thousands of places.
    tallies: dict[str, Tally] = {place: Tally() for place in places}
    visits: Counter[str] = Counter()
    flaps: Counter[str] = Counter()
    for (_, place, _), tally in verdict.tallies.items():
        tallies[place] += tally
    for (_, place), number in verdict.visits.items():
        visits[place] += number
    for (_, place), number in verdict.flaps.items():
        flaps[place] += number
    record["by_place"] = {
        place: {
            **_numbers(tallies[place], whole),
            "flaps_per_visit": _rate(flaps[place], visits[place]),
        }
        for place in places
    }
    return record


def _numbers(tally: Tally, hours: float) -> dict[str, Any]:
    return {
        "true": tally.true,
        "found": tally.found,
        "matched": tally.matched,
        "missed": tally.true - tally.matched,
        "false": tally.false,
        "precision": _rounded(tally.precision),
        "recall": _rounded(tally.recall),
        "f1": _rounded(tally.f1),
        "delay_p50_s": _rounded(tally.delay(0.5)),
        "delay_p95_s": _rounded(tally.delay(0.95)),
        "false_per_hour": _rate(tally.false, hours),
        "set_aside": {
            "true": sum(tally.set_aside.values()),
            "found": tally.found_aside,
            "because": dict(sorted(tally.set_aside.items())),
        },
    }


def _rate(number: float, of: float) -> float | None:
    return round(number / of, 6) if of > 0.0 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
