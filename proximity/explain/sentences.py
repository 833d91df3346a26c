"""How is an explanation told to the person whom it is about, in their language?

Plain sentences from the catalogue in ``messages``, with times, lengths and spans as that language
writes them. Knows explanations; knows no store and judges nothing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from proximity.content.languages import match
from proximity.dispatch.states import furthest
from proximity.explain.explain import by_hand
from proximity.explain.messages import LANGUAGES
from proximity.model import parse_time
from proximity.windows import load_zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from proximity.explain.explain import Explanation, Near, VisitExplanation

__all__ = ["Told", "tell"]

# Near misses that a person is told of, the nearest.
MOST_NEAR = 3

_HOLE = re.compile(r"\{(\w+)\}")
_TIMES = frozenset({"time", "start", "end", "until", "last", "newest_at"})
# Evidence of the time of day in a zone, as gates write it: a day, a date, the time with its offset.
_LOCAL = re.compile(r"\b(\d\d:\d\d):\d\d")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An explanation for the person: sentences in ``language``, in the order to be read."""

    person: str | None
    language: str
    timezone: str
    sentences: tuple[str, ...]


def tell(found: Explanation, languages: Sequence[str] = (), timezone: str | None = None) -> Told:
    """Tell an explanation in the first of ``languages`` that there is, else in English.

    ``timezone`` is the person's; UTC where it is not known.
    """
    language = match(languages, LANGUAGES) or "en"
    zone = load_zone(timezone) or UTC
    words = _Words(language, zone, _day(found, zone))
    sentences = [*_day_said(words), *_told(found, words)]
    # Of two subjects of one person the same may be true.
    return Told(
        person=found.person,
        language=language,
        timezone=str(zone),
        sentences=tuple(dict.fromkeys(sentences)),
    )


def _day(found: Explanation, zone: Any) -> datetime | None:
    """Find the day that an explanation is about, as the person's calendar has it."""
    times = [one.get("at") or one["decided_at"] for v in found.visits for one in v.transitions]
    times += [one["at"] for visit in found.visits for one in visit.decisions]
    times += [one.at for one in found.near]
    first = min(times, default=found.at)
    return None if first is None else datetime.fromtimestamp(parse_time(first), zone)


class _Words(NamedTuple):
    """One language, one zone and the day that it is all about."""

    language: str
    zone: Any
    day: datetime | None

    def say(self, key: str, **values: Any) -> str:
        """Say a sentence of the catalogue. Raises KeyError where a value is missing."""
        template = LANGUAGES[self.language][key]
        filled = {name: self._written(name, values[name]) for name in _HOLE.findall(template)}
        return template.format(**filled)

    def attempt(self, key: str, **values: Any) -> str | None:
        """Say a sentence, or its bare form where a value is not known; None where that fails."""
        catalogue = LANGUAGES[self.language]
        for one in (key, f"{key}.bare"):
            holes = _HOLE.findall(catalogue.get(one, "{none}"))
            if all(values.get(name) is not None for name in holes):
                return self.say(one, **values)
        return None

    def _written(self, name: str, value: Any) -> str:
        from babel import dates, units

        if name in _TIMES:
            return self._clock(value)
        if name == "since":
            return self._date(datetime.fromtimestamp(parse_time(value), self.zone))
        if name == "local":
            found = _LOCAL.search(str(value))
            return found[1] if found else str(value)
        if name.endswith("_s"):
            return dates.format_timedelta(
                timedelta(seconds=float(value)), threshold=1.5, locale=self.language
            )
        if name.endswith("_m"):
            metres = round(abs(float(value)))
            return units.format_unit(metres, "length-meter", "long", locale=self.language)
        return str(value)

    def _clock(self, text: str) -> str:
        """Write a time of day, and the day too where it is another than all is about."""
        from babel.dates import format_time

        moment = datetime.fromtimestamp(parse_time(text), self.zone)
        clock = format_time(moment, "HH:mm", locale=self.language)
        if self.day is None or moment.date() != self.day.date():
            return f"{clock} ({self._date(moment)})"
        return clock

    def _date(self, moment: datetime) -> str:
        from babel.dates import format_date

        return format_date(moment.date(), "long", locale=self.language)


def _day_said(words: _Words) -> Iterator[str]:
    if words.day is not None:
        from babel.dates import format_date

        zone = words.zone.key if isinstance(words.zone, ZoneInfo) else "UTC"
        day = format_date(words.day.date(), "full", locale=words.language)
        yield words.say("day", day=day, zone=zone)


def _told(found: Explanation, words: _Words) -> Iterator[str]:
    """Give all sentences about what happened and what did not."""
    for visit in found.visits:
        yield from _visit(visit, words)
    if not found.visits:
        name = next((one.name or one.place for one in found.near), found.place)
        yield (
            words.say("nothing") if found.place is None else words.say("nothing.place", place=name)
        )
        newest = max((one.newest_at for one in found.seen if one.newest_at), default=None)
        for code in found.nothing:
            said = words.attempt(code, newest_at=newest)
            yield from () if said is None else (said,)
    # Who was somewhere was outside everything else: worth no word, unless it was asked about.
    told = [one for one in found.near if one.code != "outside" or not found.visits or found.place]
    for near in told[:MOST_NEAR]:
        yield _near(near, words)
    yield words.say("rights")


def _visit(visit: VisitExplanation, words: _Words) -> Iterator[str]:
    place = visit.name or visit.place
    start, end, passed = _span(visit.transitions)
    if visit.transitions and start is None:
        yield words.say("never_was", place=place)
    elif passed:
        yield words.say("passed", place=place, start=start)
    elif start is not None:
        key = "was.open" if end is None else "was"
        yield words.say(key, place=place, start=start, end=end)
    final = {one["id"]: one for one in visit.decisions}
    for decision in final.values():
        yield from _decision(decision, visit, place, words)
    for lack in visit.lacking:
        code = "dwell" if lack.code == "dwell_s" else lack.code
        longer = words.attempt(f"unmet.{code}_s", campaign=lack.campaign, dwell_s=lack.dwell_s)
        yield longer or words.say(f"unmet.{code}", campaign=lack.campaign)
    if not visit.decisions and not visit.lacking and visit.transitions:
        yield words.say("unwatched", place=place)


def _span(transitions: Sequence[Mapping[str, Any]]) -> tuple[str | None, str | None, bool]:
    """Fold a visit's transitions: when it began and ended, and whether it was but a pass."""
    start: str | None = None
    end: str | None = None
    passed = False
    for one in transitions:
        if one["kind"] == "corrected":
            start, end = one["enter_at"], one["exit_at"]
        elif one["kind"] == "exit":
            end = one["at"]
            start = start or one["at"]
        else:
            start, passed = start or one["at"], one["kind"] == "pass"
    return start, end, passed


def _decision(
    decision: Mapping[str, Any], visit: VisitExplanation, place: str, words: _Words
) -> Iterator[str]:
    campaign, reason = decision["campaign"], decision["reason"]
    deliveries = [one for one in visit.deliveries if one["key"] == decision["id"]]
    if decision["decision"] == "send":
        cause = words.say(f"cause.{_cause(decision, visit)}", place=place)
        text = next((one["handed"]["text"] for one in deliveries if one["handed"]), None)
        key = "sent.untold" if text is None else "sent"
        yield words.say(key, time=decision["at"], text=text, campaign=campaign, cause=cause)
        consent = next((g for g in decision["gates"] if g["gate"] == "consent"), None)
        if consent is not None and consent["because"].get("from") is not None:
            yield words.say("agreed", since=consent["because"]["from"])
        if deliveries:
            last = furthest(deliveries)
            yield words.say(f"delivery.{last['outcome']}", time=last["at"])
            if last["reason"] is not None:
                yield _reason(last["reason"], {}, words)
        return
    if decision["decision"] == "defer":
        yield words.say("deferred", campaign=campaign, until=decision["until"])
    else:
        yield words.say("not_sent", campaign=campaign)
    failed = next((gate for gate in decision["gates"] if not gate["passed"]), None)
    because = {} if failed is None else _numbers(failed["because"])
    yield _reason(reason, because, words)
    detail = words.attempt(f"reason.{reason}.detail", **because)
    if detail is not None:
        yield detail


def _reason(reason: str | None, because: Mapping[str, Any], words: _Words) -> str:
    said = words.attempt(f"reason.{reason}", **because)
    return words.say("reason.other") if said is None else said


def _numbers(because: Mapping[str, Any]) -> dict[str, Any]:
    """Give a gate's evidence by name; of several caps those of the first that is full."""
    found = dict(because)
    caps = because.get("caps")
    for cap in caps if isinstance(caps, list) else ():
        if cap.get("sent", 0) >= cap.get("count", 0):
            found |= cap
            break
    return found


def _cause(decision: Mapping[str, Any], visit: VisitExplanation) -> str:
    """Say what kind of change the decision came of: the newest before it, where there was one."""
    kinds = [
        one["kind"]
        for one in visit.transitions
        if one["kind"] in {"enter", "dwell", "exit", "pass"} and one["decided_at"] <= decision["at"]
    ]
    if by_hand(decision):
        return "manual"
    if kinds:
        return str(kinds[-1])
    return "other" if visit.visit else "event"


def _near(near: Near, words: _Words) -> str:
    place = near.name or near.place
    said = words.attempt(f"near.{near.code}", place=place, time=near.at, **near.because)
    return said or words.say("nothing.place", place=place)
