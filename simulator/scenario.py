"""What does a scenario say: which places, people, walkers, phones and radios are there?

Reads a TOML file into a ``Scenario``, or names every problem at once with its place and mend; the
format stands in docs/scenarios.md. Nothing is drawn or generated here: ``make`` does that. The
reading of walkers and phones is in ``actors``, that of what is where in ``venue``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from proximity.campaigns.form import parse_campaigns
from proximity.inputs import STANDARD, called, read_text
from proximity.model import Person, ProximityError
from proximity.tomltable import TomlTable, nearest, parse_toml
from simulator.actors import Actor, Crowd, read_actor, read_crowd
from simulator.expect import read_expectations
from simulator.shapes import Plan
from simulator.sources import MAX_BYTES, read_small
from simulator.tomltext import array_of_tables
from simulator.venue import Sender, Venue, plain, read_venue

__all__ = ["LIBRARY", "Scenario", "find", "names", "read_scenario"]

LIBRARY = Path(__file__).resolve().parent / "scenarios"

MAX_PROBLEMS = 100
"""More than a person mends in one go are not listed."""
MAX_WALKERS = 100_000
LATEST_START = 250_000_000_000.0
"""In the year 9892: no story is a century long, and no time beyond the year 9999 can be written."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """All that a scenario says, checked. Seconds count from ``start`` (Unix seconds).

    ``campaigns_toml`` and ``expect`` are the texts of their files (None: none); ``words`` are
    further words for ``simulator replay``.
    """

    name: str
    shows: str
    start: float
    seed: int
    venue: Venue
    people: tuple[Person, ...]
    campaigns_toml: str | None
    actors: tuple[Actor, ...]
    crowds: tuple[Crowd, ...]
    expect: str | None
    words: tuple[str, ...]


def names() -> list[str]:
    """Name the scenarios of the library."""
    return sorted(path.stem for path in LIBRARY.glob("*.toml"))


def find(name: str) -> Path:
    """Find a scenario: a name of the library, or a path to a TOML file; ``-`` is standard input.

    Raises ProximityError with the nearest names where there is neither.
    """
    if name in (known := names()):
        return LIBRARY / f"{name}.toml"
    path = Path(name)
    if path == STANDARD or path.suffix == ".toml" or path.exists():
        return path
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"is {near[0]!r} meant?" if near else "simulator make --list names them"
    raise ProximityError(f"{name!r:.80} is no scenario of the library and no file: {meant}")


def read_scenario(path: Path) -> Scenario:
    """Read a scenario file; ProximityError lists every problem, each led by the file's name."""
    name = called(path)
    table = parse_toml(read_text(path, MAX_BYTES, "split it"), name)
    reader = _Reader(TomlTable(table, name), path)
    try:
        scenario = reader.read()
    except (RecursionError, ValueError):
        # Dotted keys nest without end, hexadecimal numbers have none either.
        raise ProximityError(
            f"{name}: holds tables too deep or numbers too long to be written: take them out"
        ) from None
    problems = list(dict.fromkeys(reader.top.problems))
    if scenario is None or problems:
        more = [f"{name}: and more; mend these first"] if len(problems) > MAX_PROBLEMS else []
        raise ProximityError(*problems[:MAX_PROBLEMS], *more)
    return scenario


class _Reader:
    """Reads one file, part by part; ``top`` gathers the problems of all of them."""

    def __init__(self, top: TomlTable, path: Path) -> None:
        self.top = top
        self.path = path

    def read(self) -> Scenario | None:
        """Read everything; None where what is wrong leaves nothing to go on with."""
        top = self.top
        shows = top.text("shows") or ""
        start = top.time("start")
        if start is None and "start" not in top.table:
            top.fault('lacks start: add start = "2026-05-01T10:00:00Z", the time of second 0')
        elif start is not None and start > LATEST_START:
            top.fault("start: leave a century before the year 10000, in which times end")
        seed = top.whole("seed", 1, least=0, most=2**63 - 1)
        words = tuple(top.names("replay"))
        venue = read_venue(top, self._beside)
        plan = Plan.read(TomlTable(top.table, top.where)) if venue is None else venue.plan
        actors = [read_actor(table, plan) for table in top.children("walker")]
        crowds = [read_crowd(table, plan) for table in top.children("crowd")]
        people = tuple(self._people())
        campaigns = self._campaigns()
        expect = self._expect()
        top.finish()
        if venue is not None:
            self._check(actors, crowds, venue.senders)
        if start is None or venue is None:
            return None
        return Scenario(
            name=self.top.where.removesuffix(".toml"),
            shows=shows,
            start=start,
            seed=seed,
            venue=venue,
            people=people,
            campaigns_toml=campaigns,
            actors=tuple(actor for actor in actors if actor is not None),
            crowds=tuple(crowd for crowd in crowds if crowd is not None),
            expect=expect,
            words=words,
        )

    def _people(self) -> Iterator[Person]:
        """Read the people, from tables here or from a file beside."""
        value = self.top.table.get("people")
        if isinstance(value, str):
            self.top.has("people")
            for number, text in enumerate(self._beside(value).splitlines(), 1):
                if text.strip():
                    yield from self._person(text.encode(), f"{value}: line {number}")
            return
        for table in self.top.children("person"):
            for key in _PERSON:
                table.has(key)
            table.finish()
            yield from self._person(msgspec.json.encode(plain(dict(table.table))), table.where)

    def _person(self, raw: bytes, where: str) -> Iterator[Person]:
        try:
            yield msgspec.json.decode(raw, type=Person)
        except (ValueError, RecursionError) as error:
            self.top.problems.append(f"{where}: {error}: write a person as for replay --people")

    def _campaigns(self) -> str | None:
        """Read the campaigns, as tables here or a file beside, as the text of their file."""
        value = self.top.table.get("campaigns")
        if isinstance(value, str):
            self.top.has("campaigns")
            text, name = self._beside(value), value
        else:
            tables = [one.table for one in self.top.children("campaign")]
            if not tables:
                return None
            text, name = array_of_tables("campaign", tables), self.top.where
        try:
            parse_campaigns(text, name)
        except ProximityError as error:
            self.top.problems.extend(error.problems)
        return text

    def _expect(self) -> str | None:
        text = self.top.text("expect")
        if text is not None:
            try:
                read_expectations(text.encode(), f"{self.top.where}: expect")
            except ProximityError as error:
                self.top.problems.extend(error.problems)
        return text

    def _check(
        self, actors: list[Actor | None], crowds: list[Crowd | None], senders: Sequence[Sender]
    ) -> None:
        """Look for what only shows once everything is known."""
        top = self.top
        tags = {one.subject for one in senders if one.subject is not None}
        taken: set[str] = set()
        for actor in actors:
            if actor is None:
                continue
            subject = actor.walker.subject
            for carried in {subject, *actor.carries} & taken:
                top.fault(f"walker {subject!r}: {carried!r} is somebody else's; each once")
            taken |= {subject, *actor.carries}
            for carried in actor.carries:
                if carried not in tags:
                    top.fault(
                        f"walker {subject!r}: carries {carried!r}, which no [[beacon]] is enrolled "
                        f"for; {nearest(carried, tags)}"
                    )
            if actor.hears and not any(one.place for one in senders):
                top.fault(f"walker {subject!r} hears, but no [[beacon]] is fixed at a place")
        if (count := len(actors) + sum(one.count for one in crowds if one)) > MAX_WALKERS:
            top.fault(f"{count} walkers are too many, at most {MAX_WALKERS}")
        if not count:
            top.fault("nobody walks: add a [[walker]] or a [[crowd]]")

    def _beside(self, name: str) -> str:
        """Read a file beside this one; its name alone, so that a scenario stays in its folder."""
        if Path(name).name != name:
            self.top.fault(f"{name!r:.80} must be the name of a file beside this one, no path")
            return ""
        try:
            return read_small(self.path.parent / name).decode("utf-8-sig")
        except ProximityError as error:
            self.top.problems.extend(error.problems)
        except UnicodeDecodeError:
            self.top.fault(f"{name} is no UTF-8: save it so")
        return ""


_PERSON = ("person", "subjects", "consents", "timezone", "languages", "attributes")
