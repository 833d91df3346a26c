"""The question: what does an offer say to this person at this place, and where does it lead.

A text is plain text with a few named holes, or a template (``templates``) where it has ``{{`` or
``{%``. What depends on no person is written once for each place and language and remembered. Pure;
it must not know gates, channels or people's consents.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

import msgspec

from proximity.content.deeplinks import (
    KINDS,
    LINK_PLACEHOLDERS,
    MAX_LINK,
    check_link,
    fill_links,
    link_host,
)
from proximity.content.holes import check_holes, fill, outside
from proximity.content.languages import (
    DEFAULT_LANGUAGE,
    Wishes,
    choose_language,
    direction,
    isolate,
)
from proximity.tomltable import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from proximity.campaigns.campaigns import Campaign, PlaceFacts
    from proximity.content.templates import Template

__all__ = [
    "ANYBODY", "LINK_PLACEHOLDERS", "MAX_LINK", "MAX_TEXT", "TEXT_PLACEHOLDERS", "VARIABLES",
    "Content", "Reader", "check_link", "check_text", "check_words", "compose", "evidence",
    "link_host", "links_of", "plain",
]  # fmt: skip

TEXT_PLACEHOLDERS = {
    "place": "the place's name, or its id where it has none",
    "campaign": "the campaign's id",
    "link": "the campaign's link, filled in",
}
VARIABLES = {
    **TEXT_PLACEHOLDERS,
    "language": "the tag of the language the text is written in",
    "price": "the amount of the campaign's price, a number",
    "currency": "its currency",
    "stock": "units left of what the campaign gives, a number",
    "person": "person.NAME: an attribute that the campaign declares",
    "event": "event.NAME: a property of the event that triggered it",
}
"""What a template may name."""

MAX_TEXT = 1000
"""Characters of an offer's text, as written and as filled in. Push platforms show some 200 and
carry 4 kB in all; this leaves room for either in any script."""

MAX_TITLE = 120
"""Characters of a title: phones show some 40 to 65 of them, mail programs 80."""
MAX_TERMS = 5000
"""Characters of small print: two pages, which nobody reads on a phone as it is."""
_OF_READER = ("{{ person.NAME }}",)
"""What a plain text may become, named where somebody writes ``{first_name}``."""
_WORDS = {name: TEXT_PLACEHOLDERS[name] for name in ("place", "campaign")}

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_DIRECTION_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MAX_NAME = 128  # as long as an id may be
_MAX_LIST = 30  # as many turns as a template's loop may take
_OF_THE_READER = frozenset({"person", "event", "stock"})
_MOST_REMEMBERED = 2000
"""Campaigns whose texts are kept ready: as many as one file may have."""
_MOST_WRITTEN = 20_000
"""Written texts that are kept, of all campaigns: places times languages of a large chain, 20 MB."""


class Content(msgspec.Struct, frozen=True):
    """What one offer shows, or why there is nothing to show (``problem`` set, ``text`` empty).

    ``link`` is the one for everybody, ``links`` each of the campaign's ways to it; ``chosen_by``
    whose wish the language was (``languages.Choice``); ``title`` is the campaign's, else the
    place's name; ``terms`` are its small print.
    """

    language: str | None
    text: str = ""
    link: str | None = None
    problem: str | None = None
    links: dict[str, str] = {}
    chosen_by: str = "default"
    title: str | None = None
    terms: str | None = None


class Reader(msgspec.Struct, frozen=True):
    """What a text may know of whoever reads it, besides their languages.

    ``devices`` are the languages their devices are set to, ``event`` the properties of the event
    that triggered, ``stock_left`` units by stock id.
    """

    devices: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = {}
    event: Mapping[str, Any] = {}
    stock_left: Mapping[str, int] = {}


ANYBODY = Reader()
"""Somebody of whom nothing is known."""


def check_text(
    language: str,
    text: object,
    *,
    link: bool,
    attributes: Collection[str] = (),
    price: bool = False,
    stock: bool = False,
) -> list[str]:
    """Name every fault of one language's text.

    ``link``, ``price`` and ``stock`` tell whether the campaign has one, ``attributes`` which of a
    person's the campaign declares.
    """
    if not _LANGUAGE.fullmatch(language):
        # What stands below [campaign.text] belongs to it, to TOML: so do keys of the campaign.
        fault = f"text.{language!r:.40} is no language tag such as en, fr or pt-BR"
        return [f"{fault}; other keys of the campaign stand above [campaign.text]"]
    if not isinstance(text, str):
        return [f'text.{language:.40} must be a text, such as "Coffee at {{place}}."']
    if not text.strip():
        return [f"text.{language:.40} is empty: write what the offer says"]
    has = {"link": link, "price": price, "currency": price, "stock": stock}
    if _is_template(text):
        faults = _check_template(language, text, has, attributes)
        return [f"text.{language:.40}: {fault}" for fault in faults]
    problems = []
    if len(text) > MAX_TEXT:
        problems.append(f"text.{language:.40} has {len(text)} characters, at most {MAX_TEXT}")
    problems += [
        f"text.{language:.40}: {fault}"
        for fault in check_holes(text, TEXT_PLACEHOLDERS, _OF_READER)
    ]
    if "{link}" in text and not link:
        problems.append(f"text.{language:.40} asks for {{link}} and the campaign has no link")
    return problems


def check_words(key: str, texts: Mapping[str, object]) -> list[str]:
    """Name every fault of a campaign's ``title`` or ``terms``: plain text with the place's hole."""
    most = MAX_TITLE if key == "title" else MAX_TERMS
    problems = []
    for language, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            problems.append(f"{key}.{language:.40} is empty: write it, or leave it out")
            continue
        if len(text) > most:
            problems.append(f"{key}.{language:.40} has {len(text)} characters, at most {most}")
        problems += [f"{key}.{language:.40}: {fault}" for fault in check_holes(text, _WORDS)]
    return problems


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def _check_template(
    language: str, text: str, has: Mapping[str, bool], attributes: Collection[str]
) -> list[str]:
    from proximity.content.templates import Template, TemplateError

    try:
        template = Template(text, language)
    except TemplateError as error:
        return [str(error)]
    problems = [
        f"{{{name}}} stays as it is in a template: write {{{{ {name} }}}}"
        for name in TEXT_PLACEHOLDERS
        if f"{{{name}}}" in template.literal
    ]
    known = [*VARIABLES, *(f"person.{name}" for name in attributes)]
    for root, *rest in sorted(template.paths):
        if root not in VARIABLES:
            problems.append(f"unknown name {root!r:.60}; {nearest(root, known)}")
        elif root in {"person", "event"}:
            if len(rest) != 1:
                problems.append(f"{root} alone says nothing: write {root}.NAME")
            elif root == "person" and rest[0] not in attributes:
                problems.append(
                    f"person.{rest[0]:.60} is not declared: add it to the campaign's attributes"
                )
        elif rest:
            problems.append(f"{root} has nothing in it: write {{{{ {root} }}}}")
        elif not has.get(root, True):
            key = "price" if root == "currency" else root
            problems.append(f"it asks for {root} and the campaign has no {key}")
    return problems


def compose(
    campaign: Campaign,
    place: PlaceFacts,
    languages: Sequence[str],
    hosts: Collection[str] = (),
    reader: Reader = ANYBODY,
    default: str = DEFAULT_LANGUAGE,
) -> Content:
    """Write the offer of a campaign at a place for somebody who reads ``languages``.

    ``hosts`` are the ones that links may lead to, any where empty; ``default`` is the language
    for whom no other is known. The result has a ``problem``
    instead of a text where no text exists or what comes out cannot be shown. The same arguments
    give the same content; what needs nothing of the reader's is written once.
    """
    wishes = Wishes(tuple(languages), reader.devices, place.languages, default)
    key = (id(campaign), wishes, place.id, place.name, frozenset(hosts))
    kept = _written.get(key)
    if kept is not None:
        return kept[1]
    found, personal = _texts_of(campaign).write(place, wishes, hosts, reader)
    if not personal:
        if len(_written) >= _MOST_WRITTEN:
            _written.clear()
        _written[key] = campaign, found
    return found


def evidence(content: Content, languages: Sequence[str]) -> dict[str, Any]:
    """Say how an offer's content came about, for a decision's record; no attribute stands in it."""
    because: dict[str, Any] = {
        "wanted": list(languages[:10]),
        "language": content.language,
        "chosen_by": content.chosen_by,
        "characters": len(content.text),
    }
    if content.link is not None:
        because["link_host"] = link_host(content.link)
    if content.problem is not None:
        because["problem"] = content.problem
    return because


class _Texts:
    """One campaign's texts, read once: templates compiled."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.templates: dict[str, Template | str] = {}

    def write(
        self, place: PlaceFacts, wishes: Wishes, hosts: Collection[str], reader: Reader
    ) -> tuple[Content, bool]:
        """Give the content, and whether it is this reader's own."""
        campaign = self.campaign
        language, by = choose_language(wishes, campaign.text)
        if language is None:
            return Content(None, problem="no text in any language"), False
        links, faults = self._links(place.id, frozenset(hosts))
        link = links.get("web") or links.get("universal")
        # A plain link stays as it is written, unless a page of ours stands before it.
        ways = {} if campaign.link is not None and not campaign.landing else links
        if faults:
            return Content(language, problem="; ".join(faults), chosen_by=by), False
        text, personal, problem = self._fill(language, place, link, reader)
        if problem is None and len(text) > MAX_TEXT:
            problem = f"text has {len(text)} characters, at most {MAX_TEXT}"
        if problem is not None:
            return Content(language, problem=problem, chosen_by=by), personal
        title = self._words(campaign.title.get(language), place) or plain(place.name or place.id)
        terms = self._words(campaign.terms.get(language), place)
        return Content(language, text, link, None, ways, by, title or None, terms), personal

    def _words(self, text: str | None, place: PlaceFacts) -> str | None:
        """Fill in a title or small print, which name nothing of the reader's."""
        if text is None:
            return None
        values = {"place": plain(place.name or place.id), "campaign": plain(self.campaign.id)}
        base = direction(outside(text))
        return fill(text, {name: isolate(value, base) for name, value in values.items()})

    def _fill(
        self, language: str, place: PlaceFacts, link: str | None, reader: Reader
    ) -> tuple[str, bool, str | None]:
        campaign = self.campaign
        source = campaign.text[language]
        values = {"place": plain(place.name or place.id), "campaign": plain(campaign.id)}
        if link is not None:
            values["link"] = link
        if not _is_template(source):
            base = direction(outside(source))
            shown = {name: isolate(value, base) for name, value in values.items()}
            return fill(source, shown), False, None
        template = self._template(language, source)
        if isinstance(template, str):
            return "", False, template
        personal = any(path[0] in _OF_THE_READER for path in template.paths)
        try:
            return template.render(self._values(values, reader)), personal, None
        except ValueError as error:
            return "", personal, f"text.{language}: {error}"

    def _links(self, place: str, hosts: frozenset[str]) -> tuple[dict[str, str], list[str]]:
        campaign = self.campaign
        kept = _filled.get((id(campaign), place, hosts))
        if kept is not None:
            return kept[1]
        links, faults = fill_links(links_of(campaign), place, campaign.id, hosts)
        if campaign.link is not None:
            faults = [fault.removeprefix("links.web: ") for fault in faults]
        if len(_filled) >= _MOST_WRITTEN:
            _filled.clear()
        _filled[id(campaign), place, hosts] = campaign, (links, faults)
        return links, faults

    def _values(self, values: Mapping[str, str], reader: Reader) -> dict[str, Any]:
        campaign = self.campaign
        given: dict[str, Any] = dict(values)
        if campaign.price is not None:
            given |= {"price": campaign.price.amount, "currency": campaign.price.currency}
        left = [reader.stock_left[one] for one in campaign.stock if one in reader.stock_left]
        if left:
            given["stock"] = min(left)
        given["person"] = {
            name: _value(reader.attributes[name])
            for name in campaign.attributes
            if name in reader.attributes
        }
        given["event"] = {name: _value(value) for name, value in reader.event.items()}
        return given

    def _template(self, language: str, source: str) -> Template | str:
        from proximity.content.templates import Template, TemplateError

        found = self.templates.get(language)
        if found is None:
            try:
                found = Template(source, language)
            except TemplateError as error:
                found = f"text.{language}: {error}"
            self.templates[language] = found
        return found


# By identity: a campaign is a frozen value with dictionaries in it, which has no hash. Each row
# holds on to its campaign, so that no other can have its id for as long as the row is here.
_remembered: dict[int, _Texts] = {}
_written: dict[tuple[Any, ...], tuple[Campaign, Content]] = {}
_filled: dict[
    tuple[int, str, frozenset[str]], tuple[Campaign, tuple[dict[str, str], list[str]]]
] = {}


def _texts_of(campaign: Campaign) -> _Texts:
    found = _remembered.get(id(campaign))
    if found is None:
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        found = _remembered[id(campaign)] = _Texts(campaign)
    return found


def links_of(campaign: Campaign) -> dict[str, str]:
    """Give a campaign's links by their way (``deeplinks.KINDS``), as written."""
    ways = {way: getattr(campaign.links, way) for way in KINDS}
    ways["web"] = ways["web"] or campaign.link
    return {way: link for way, link in ways.items() if link is not None}


def _value(value: Any) -> Any:
    """Give an attribute as a template may see it: cleaned, short and flat."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [_value(one) for one in value[:_MAX_LIST] if not isinstance(one, list | dict)]
    return None if isinstance(value, dict) else value


def plain(value: str) -> str:
    """Take out of a name what could steer a terminal, break a line or turn the text around it.

    Control characters, lone surrogates and the overrides of writing direction go; letters of any
    script, right-to-left ones included, stay as they are.
    """
    if value.isascii() and value.isprintable():
        return value.strip()[:_MAX_NAME]
    kept = (
        c for c in value
        if unicodedata.category(c) not in {"Cc", "Cs"} and c not in _DIRECTION_OVERRIDES
    )  # fmt: skip
    return "".join(kept).strip()[:_MAX_NAME]
