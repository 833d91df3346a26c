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

from proximity.campaigns.campaigns import PlaceFacts
from proximity.campaigns.purposes import presses
from proximity.campaigns.reach import KINDS, Terms
from proximity.consent.purposes import unasked
from proximity.content.content import Reader, compose, links_of
from proximity.content.templates import Template, TemplateError, is_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proximity.campaigns.campaigns import Campaign, Campaigns

__all__ = ["PLATFORMS", "RULES", "Finding", "Level", "Platform", "Rule", "lint", "sample_text"]

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
