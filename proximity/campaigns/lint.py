"""The question: what may be run as it stands, and had better not be.

``check`` says whether a campaigns file can be run; this says whether it should be: what people
switch messages off for, and what a campaign forgot. ``RULES`` is a table. Pure; it must not know
files, sites on disk or who will get anything.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from proximity.campaigns.calendars import NO_HOLIDAYS
from proximity.campaigns.campaigns import PlaceFacts
from proximity.campaigns.purposes import presses
from proximity.campaigns.reach import KINDS, Terms
from proximity.consent.purposes import unasked
from proximity.content.content import Reader, compose, links_of
from proximity.content.templates import Template, TemplateError, is_template
from proximity.segments.rules import All, AnyOf, Member, Not

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proximity.campaigns.campaigns import Campaign, Campaigns, Cap
    from proximity.segments.rules import Rule as Segment
    from proximity.windows import Window

__all__ = [
    "PLATFORMS", "RULES", "Finding", "Level", "Platform", "Rule", "lint", "sample_text", "speaks",
]  # fmt: skip

Level = Literal["fault", "advice"]


class Finding(NamedTuple):
    """One thing that a rule found; ``campaign`` None where it is the file's."""

    rule: str
    level: Level
    campaign: str | None
    text: str

    def to_line(self) -> str:
        """Say it in one line."""
        who = "" if self.campaign is None else f"campaign {self.campaign!r:.80}: "
        mark = "advice: " if self.level == "advice" else ""
        return f"{who}{mark}{self.text} [{self.rule}]"


class Platform(NamedTuple):
    """Where a text is read, how many characters of it are seen, and who says so."""

    name: str
    shows: int
    level: Level
    source: str


_BRAZE = "Braze, Push message and image formats, as of 2026"
PLATFORMS = (
    Platform("iOS lock screen", 160, "fault", _BRAZE),
    Platform("iOS banner", 80, "advice", _BRAZE),
    Platform("Android lock screen", 49, "advice", _BRAZE),
)
"""What a push shows before it is cut. Sizes of letters and screens differ; these are what a widely
used sender tells its marketers. What an iOS lock screen cuts is cut nearly everywhere. The longest
stands first."""
MAX_PAYLOAD = 4096
"""Bytes of a whole message that APNs, FCM and Web Push (RFC 8030) carry."""
PAYLOAD_REST = 1024
"""Bytes of it that are not the text: ids, link, signature of the link, the message's own keys."""

_FOR_ALL = (
    "it goes to everybody, the same: give it an audience, a trigger, or a text that says "
    "something of its reader"
)
_MOST_EXCLAMATIONS = 1
_MOST_EMOJI = 2
_SHOUTED_SHARE = 0.3
"""Share of capitals. German, which has the most, stays below 0.15; with ten letters to count, an
abbreviation or two does not reach it."""
_LEAST_LETTERS = 10
_SHOUTED = re.compile(r"\b[^\W\d_]{3,}\b")
_LINK = re.compile(r"\w+://\S+")
_PLAIN = Terms()
_WEEK_MINUTES = 7 * 24 * 60
_WEEK = (1 << _WEEK_MINUTES) - 1
_SAMPLE_PLACE = PlaceFacts(id="place", name="Station Road Store")
_SAMPLE_WORD, _SAMPLE_NUMBER = "Alexandra", 12.0


class Rule(NamedTuple):
    """A row of ``RULES``: its name, how grave it is, what it asks, and who looks.

    ``look`` gives each thing found: a campaign's id (None: the file's) and what is wrong. A level
    that it gives besides wins over the row's.
    """

    name: str
    level: Level
    asks: str
    look: Callable[[Campaigns], Iterator[tuple[str | None, str] | tuple[str | None, str, Level]]]


def lint(campaigns: Campaigns) -> list[Finding]:
    """Ask every rule; findings in the order of ``RULES``, and within one of the file."""
    found = []
    for rule in RULES:
        for campaign, text, *level in rule.look(campaigns):
            found.append(Finding(rule.name, level[0] if level else rule.level, campaign, text))
    return found


def sample_text(campaign: Campaign, language: str) -> str | None:
    """Write a campaign's text of a language with values of ordinary length; None where it cannot.

    What is of the reader is a name of nine letters, or a number where the text counts with it.
    """
    for value in (_SAMPLE_WORD, _SAMPLE_NUMBER):
        reader = Reader(
            attributes=dict.fromkeys(campaign.attributes, value),
            event=dict.fromkeys(_event_names(campaign.text[language], language), value),
            stock_left=dict.fromkeys(campaign.stock, int(_SAMPLE_NUMBER)),
        )
        content = compose(campaign, _SAMPLE_PLACE, (language,), (), reader, language)
        if content.problem is None and content.language == language:
            return content.text
    return None


def _event_names(text: str, language: str) -> list[str]:
    paths = () if (template := _template(text, language)) is None else template.paths
    return [path[1] for path in paths if path[0] == "event" and len(path) > 1]


@lru_cache(maxsize=1024)
def _template(text: str, language: str) -> Template | None:
    if not is_template(text):
        return None
    try:
        return Template(text, language)
    except TemplateError:
        return None  # `check` has said so


def _texts(campaigns: Campaigns) -> Iterator[tuple[Campaign, str, str]]:
    """Give every text of the file as people will read it, links left out."""
    for campaign in campaigns.campaigns.values():
        for language in campaign.text:
            text = sample_text(campaign, language)
            if text is not None:
                yield campaign, language, text


def _pressing(campaigns: Campaigns) -> list[Campaign]:
    return [one for one in campaigns.campaigns.values() if presses(one.purpose)]


def _everyone(campaigns: Campaigns) -> Iterator[tuple[str, str]]:
    for one in campaigns.campaigns.values():
        chosen = (
            any(rule.on != "manual" for rule in one.waits_for)
            or one.audience is not None
            or one.context
            or one.contrary
            or _is_personal(one)
        )
        if not chosen:
            yield one.id, _FOR_ALL


def _is_personal(campaign: Campaign) -> bool:
    return any(
        path[0] in {"person", "event"}
        for language, text in campaign.text.items()
        if (template := _template(text, language)) is not None
        for path in template.paths
    )


def _benefit(campaigns: Campaigns) -> Iterator[tuple[str, str]]:
    for one in _pressing(campaigns):
        if one.benefit is None:
            yield one.id, 'it says nowhere what its reader gains: benefit = "…", in a few words'


def _value_first(campaigns: Campaigns) -> Iterator[tuple[str, str]]:
    for one in campaigns.campaigns.values():
        if one.asks is not None and one.after is None:
            yield (
                one.id,
                "it asks before any value was shown: write after = { visits = 3 }, or an event",
            )


def _purpose_asked(campaigns: Campaigns) -> Iterator[tuple[str, str]]:
    for one in campaigns.campaigns.values():
        if one.asks is not None and (said := unasked(one.asks)) is not None:
            yield one.id, f"asks: {said}"


def _length(campaigns: Campaigns) -> Iterator[tuple[str, str, Level]]:
    cut: dict[tuple[str, Platform], list[str]] = {}
    for one, language, text in _texts(campaigns):
        # Only the first platform that cuts it: whoever mends it there has the others before them.
        longest = next((platform for platform in PLATFORMS if len(text) > platform.shows), None)
        if longest is not None:
            cut.setdefault((one.id, longest), []).append(f"text.{language} ({len(text)})")
        size = len(text.encode())
        if size > MAX_PAYLOAD - PAYLOAD_REST:
            told = f"text.{language} takes {size} bytes, a push carries {MAX_PAYLOAD}"
            yield one.id, told, "fault"
    for (name, platform), texts in cut.items():
        how = f"{platform.name} shows {platform.shows} characters"
        yield name, f"{', '.join(texts)}: {how}, the rest is cut", platform.level


def _shouting(campaigns: Campaigns) -> Iterator[tuple[str, str]]:
    for one, language, text in _texts(campaigns):
        said = _LINK.sub("", text)
        cased = [c for c in said if c.isupper() or c.islower()]
        words = [word.isupper() for word in _SHOUTED.findall(said)]
        loud = sum(c.isupper() for c in cased)
        if (len(cased) >= _LEAST_LETTERS and loud > _SHOUTED_SHARE * len(cased)) or any(
            this and following for this, following in pairwise(words)
        ):
            yield one.id, f"text.{language} shouts: write it in small letters"


def _exclamations(campaigns: Campaigns) -> Iterator[tuple[str, str]]:
    for one, language, text in _texts(campaigns):
        count = sum(text.count(mark) for mark in "!\uff01")
        if count > _MOST_EXCLAMATIONS:
            yield one.id, f"text.{language} has {count} exclamation marks, one is enough"


def _emoji(campaigns: Campaigns) -> Iterator[tuple[str, str]]:
    for one, language, text in _texts(campaigns):
        count = count_emoji(text)
        if count > _MOST_EMOJI:
            yield one.id, f"text.{language} has {count} emoji, at most {_MOST_EMOJI} are read"


def count_emoji(text: str) -> int:
    """Count the pictures in a text; those joined to one (a family, a flag) count once."""
    count, before, half_flag = 0, "", False
    for c in text:
        if 0x1F1E6 <= ord(c) <= 0x1F1FF:  # two letters make a flag
            count, half_flag = count + (not half_flag), not half_flag
        else:
            half_flag = False
            picture = ord(c) >= 0x2300 and unicodedata.category(c) == "So"
            count += picture and before != "\u200d"
        before = c
    return count


def _never(
    campaigns: Campaigns,
) -> Iterator[tuple[str | None, str] | tuple[str | None, str, Level]]:
    """Find what no person, hour or place could ever let pass; what is switched off is meant so."""
    unnamed = "a window on holidays alone never opens, as the file names none: write holidays"
    if campaigns.holidays == NO_HOLIDAYS:
        if _on_holidays(campaigns.quiet_hours):
            yield None, f"quiet_hours: {unnamed}", "advice"
        for one in campaigns.campaigns.values():
            for windows in (one.hours, [part.window for part in one.dayparts]):
                if one.active and _on_holidays(windows):
                    others = any(window.holidays is not True for window in windows)
                    told: Level = "advice" if others else "fault"  # nothing else opens either
                    yield one.id, f"hours or dayparts: {unnamed}", told
    asleep = _minutes(one for one in campaigns.quiet_hours if one.holidays is None)
    for one in campaigns.campaigns.values():
        if not one.active:
            continue
        quiet = asleep if presses(one.purpose) else 0
        heard = speaks(one)
        if quiet == _WEEK:
            yield one.id, "nothing of it is ever sent: quiet_hours are every hour of the week"
        elif not heard:
            yield one.id, "nothing of it is ever sent: no hour is in its hours and its dayparts"
        elif not heard & ~quiet:
            yield (
                one.id,
                (
                    "all hours in which it may speak are quiet_hours: only who is on another "
                    "clock than the place gets it"
                ),
                "advice",
            )
        for why in _barred(one, campaigns):
            yield one.id, f"nothing of it is ever sent: {why}"


def _on_holidays(windows: Iterable[Window]) -> bool:
    return any(window.holidays is True for window in windows)


def _barred(one: Campaign, campaigns: Campaigns) -> Iterator[str]:
    """Say what of a campaign, hours aside, lets nobody pass."""
    if any(_stops(cap, one) for cap in campaigns.caps) or any(_stops(cap, one) for cap in one.caps):
        yield "a cap with count = 0 holds for it; active = false switches a campaign off"
    for name in one.stock:
        if name in campaigns.stocks and campaigns.stocks[name].count == 0:
            yield f"stock {name!r:.60} has a count of 0"
    shunned = {tag for circumstance in one.context for tag in circumstance.not_tags}
    for circumstance in one.context:
        if circumstance.tags and circumstance.tags <= shunned:
            tags = ", ".join(sorted(circumstance.tags))
            yield f"context asks for {tags:.80} in tags and forbids it in not_tags"
    least = one.least_value
    if least is None and campaigns.contest is not None:
        least = campaigns.contest.least_value
    if least is not None and one.value < least:
        yield f"its value is {one.value:g} at most, and least_value asks for {least:g}"
    if one.audience is not None and _is_empty(one.audience):
        yield "audience asks for something and for its contrary, so nobody is in it"


def _stops(cap: Cap, one: Campaign) -> bool:
    """Whether a cap lets nothing of a campaign through, wherever it is triggered."""
    about = cap.purpose in {None, one.purpose} or (
        cap.purpose == "marketing" and presses(one.purpose)
    )
    return (
        cap.count == 0
        and about
        and cap.campaign in {None, one.id}
        and (cap.channel is None or set(one.channels) == {cap.channel})
        and cap.place is None
    )


def _is_empty(rule: Segment) -> bool:
    """Whether a rule means nobody by the way it is made: it asks for something and its contrary.

    What two attributes say against each other is not looked at: a person may have a list of them.
    """
    rule = _bare(rule)
    if isinstance(rule, AnyOf):
        return all(_is_empty(part) for part in rule.rules)
    if not isinstance(rule, All):
        return False
    asked, waiting = [], list(rule.rules)
    while waiting:
        part = _bare(waiting.pop())
        if isinstance(part, All):
            waiting += part.rules
        else:
            asked.append(part)
    barred = [_bare(part.rule) for part in asked if isinstance(part, Not)]
    return any(part in barred or _is_empty(part) for part in asked)


def _bare(rule: Segment) -> Segment:
    """Take off the name of a segment, and what is turned round twice."""
    while True:
        if isinstance(rule, Member):
            rule = rule.rule
        elif isinstance(rule, Not) and isinstance(inner := _named(rule.rule), Not):
            rule = inner.rule
        else:
            return rule


def _named(rule: Segment) -> Segment:
    while isinstance(rule, Member):
        rule = rule.rule
    return rule


def speaks(campaign: Campaign, active: Iterable[Window] = ()) -> int:
    """Give the minutes of a place's week in which a campaign may speak there, a bit each.

    ``active`` are the place's opening hours. Never in others: what holidays and the person's clock
    take away besides is not looked at.
    """
    minutes = _WEEK
    theirs = any(part.clock == "person" for part in campaign.dayparts)
    parts = () if theirs else tuple(part.window for part in campaign.dayparts)
    for windows in (tuple(active), campaign.hours, parts):
        if windows:
            minutes &= _minutes(windows)
    return minutes


def _minutes(windows: Iterable[Window]) -> int:
    """Give the minutes of the week that lie in any of the windows, holidays or not, a bit each."""
    found = 0
    for window in windows:
        long_s = (window.end_s - window.start_s) % 86400 or 86400
        for day in window.days:
            first = (day * 86400 + window.start_s) // 60
            found |= ((1 << long_s // 60) - 1) << first
    return (found | found >> _WEEK_MINUTES) & _WEEK


def _languages(campaigns: Campaigns) -> Iterator[tuple[str, str]]:
    every: dict[str, int] = {}
    for one in campaigns.campaigns.values():
        for language in one.text:
            every[language] = every.get(language, 0) + 1
    for one in campaigns.campaigns.values():
        for language, count in every.items():
            if language not in one.text:
                others = "another campaign has" if count == 1 else f"{count} others have"
                yield one.id, f"text.{language} is missing, and {others} it"


def _plurals(campaigns: Campaigns) -> Iterator[tuple[str, str]]:
    for one in campaigns.campaigns.values():
        for language, text in one.text.items():
            template = _template(text, language)
            missing = [] if template is None else template.missing_plurals()
            if missing:
                yield one.id, f"text.{language}: plural lacks {', '.join(missing)}, which it needs"


def _defaults(campaigns: Campaigns) -> Iterator[tuple[str, str]]:
    for one in campaigns.campaigns.values():
        for language, text in one.text.items():
            template = _template(text, language)
            for name in [] if template is None else template.unguarded({"person", "event"}):
                yield (
                    one.id,
                    (
                        f"text.{language}: who has no {name} gets nothing: write "
                        f"{{{{ {name} | default: '…' }}}}"
                    ),
                )


def _rivals(campaigns: Campaigns) -> Iterator[tuple[None, str]]:
    if campaigns.contest is not None:
        return
    meeting: dict[tuple[str, str, str], set[str]] = {}
    for one in _pressing(campaigns):
        for rule in one.waits_for:
            for kind, names in (("place", rule.places), ("tag", rule.tags)):
                for name in names:
                    meeting.setdefault((rule.on, kind, name), set()).add(one.id)
    told = set()
    for (on, kind, name), ids in sorted(meeting.items()):
        together = tuple(sorted(ids))
        if len(together) > 1 and together not in told:
            told.add(together)
            who = ", ".join(together[:5]) + (", …" if len(together) > 5 else "")
            yield (
                None,
                (
                    f"{who} wait for the same {on} ({kind} {name!r:.60}): without [contest] one "
                    "person may get them all"
                ),
            )


def _order(campaigns: Campaigns) -> Iterator[tuple[str, str]]:
    """Find what stands behind a channel that takes everything, in the order of trying.

    That is by cost first, and is not always the order of the file. What lies in the inbox lies
    there whichever channel took it, so that the inbox itself loses nothing by standing behind.
    """
    for one in campaigns.campaigns.values():
        terms = {name: campaigns.channel_terms.get(name, _PLAIN) for name in one.channels}
        first = next((name for name in one.channels if _takes_all(terms[name])), None)
        if first is None:
            continue
        behind = one.channels[one.channels.index(first) + 1 :]
        idle = [name for name in behind if name != "inbox"]
        if idle:
            dearest = max(terms[name].cost for name in idle)
            mend = f"write {first} last"
            if terms[first].cost < dearest:
                mend = (
                    f"{first} is tried first because it is cheaper: give [channel.{first}] "
                    f"cost = {dearest:g}, and {mend}"
                )
            yield (
                one.id,
                (
                    f"channels: {first} takes every offer, so that {', '.join(idle)} behind it "
                    f"is tried only for whom {first} is not allowed; {mend}"
                ),
            )


def _takes_all(terms: Terms) -> bool:
    return terms.kind is not None and KINDS[terms.kind].takes_all


def _age(campaigns: Campaigns) -> Iterator[tuple[None, str]]:
    if campaigns.age is None and _pressing(campaigns):
        yield None, "no [age]: people whose age nobody knows get marketing by location"


def _pressure(campaigns: Campaigns) -> Iterator[tuple[None, str]]:
    pressing = _pressing(campaigns)
    if pressing and not campaigns.caps and not any(one.caps for one in pressing):
        yield None, "no [[cap]]: nothing limits how much one person gets"
    if pressing and not campaigns.quiet_hours:
        yield None, "no [quiet_hours]: people are told at night too"


def _hosts(campaigns: Campaigns) -> Iterator[tuple[None, str]]:
    if not campaigns.link_hosts and any(links_of(one) for one in campaigns.campaigns.values()):
        yield None, "no link_hosts: a slip of the pen may send people to any host"


RULES = (
    Rule("everyone", "fault", "is it for somebody, or for all alike?", _everyone),
    Rule("benefit", "fault", "does its reader gain something?", _benefit),
    Rule("after", "fault", "is a question asked after value was shown?", _value_first),
    Rule("never", "fault", "can anything of it ever be sent?", _never),
    Rule("length", "fault", "is it read whole where it is shown?", _length),
    Rule("shouting", "fault", "does it speak in a normal voice?", _shouting),
    Rule("exclamation", "fault", "does it do without a row of exclamation marks?", _exclamations),
    Rule("emoji", "fault", "does it do without a row of pictures?", _emoji),
    Rule("languages", "fault", "is each language there that the file speaks?", _languages),
    Rule("plurals", "fault", "has each language all of its plural forms?", _plurals),
    Rule("asks", "advice", "is what it asks for a consent that anything goes by?", _purpose_asked),
    Rule("default", "advice", "is there a word for whom nothing is known of?", _defaults),
    Rule("contest", "advice", "does one moment bring one offer?", _rivals),
    Rule("order", "advice", "can each of its channels have its turn?", _order),
    Rule("age", "advice", "is the age asked for?", _age),
    Rule("pressure", "advice", "is there a limit, and a night?", _pressure),
    Rule("hosts", "advice", "is it written where links may lead?", _hosts),
)
"""Every rule; a new one is a new row."""
