"""The question: what does an offer say, in which language, and where does its link lead.

Text is text with a few named holes, no template language: what marketers and map-makers write can
fill a hole, never run. Pure; it must not know gates, channels or people's consents.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import msgspec

from proximity.tomltable import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from proximity.campaigns import Campaign, PlaceFacts

__all__ = [
    "LINK_PLACEHOLDERS", "MAX_LINK", "MAX_TEXT", "TEXT_PLACEHOLDERS", "Content",
    "check_link", "check_text", "choose_language", "compose", "fill", "link_host",
]  # fmt: skip

TEXT_PLACEHOLDERS = {
    "place": "the place's name, or its id where it has none",
    "campaign": "the campaign's id",
    "link": "the campaign's link, filled in",
}
LINK_PLACEHOLDERS = {
    "place": "the place's id, percent-encoded",
    "campaign": "the campaign's id, percent-encoded",
}

MAX_TEXT = 1000
"""Characters of an offer's text, as written and as filled in. Push platforms show some 200 and
carry 4 kB in all; this leaves room for either in any script."""
MAX_LINK = 2000
"""Characters of a link, as written and as filled in: what every browser still opens."""
DEFAULT_LANGUAGE = "en"

_HOLE = re.compile(r"\{([^{}]*)\}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_DIRECTION_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MAX_NAME = 128  # as long as an id may be
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Content(msgspec.Struct, frozen=True):
    """What one offer shows, or why there is nothing to show (``problem`` set, ``text`` empty)."""

    language: str | None
    text: str = ""
    link: str | None = None
    problem: str | None = None


def check_text(language: str, text: object, *, link: bool) -> list[str]:
    """Name every fault of one language's text; ``link`` tells whether the campaign has a link."""
    problems = []
    if not _LANGUAGE.fullmatch(language):
        problems.append(f"text.{language!r:.40} is no language tag such as en, fr or pt-BR")
    if not isinstance(text, str) or not text.strip():
        return [*problems, f"text.{language:.40} is empty: write what the offer says"]
    if len(text) > MAX_TEXT:
        problems.append(f"text.{language:.40} has {len(text)} characters, at most {MAX_TEXT}")
    problems += [f"text.{language:.40}: {fault}" for fault in _check_holes(text, TEXT_PLACEHOLDERS)]
    if "{link}" in text and not link:
        problems.append(f"text.{language:.40} asks for {{link}} and the campaign has no link")
    return problems


def check_link(link: str, hosts: Collection[str]) -> list[str]:
    """Name every fault of a link; ``hosts``, where there are any, are the only ones allowed.

    A link is https; http leads only to this machine itself, for trying things out.
    """
    if len(link) > MAX_LINK:
        return [f"link has {len(link)} characters, at most {MAX_LINK}"]
    if any(c.isspace() or not c.isprintable() for c in link) or "\\" in link:
        return ["link holds a space, a control character or a backslash"]
    problems = [f"link: {fault}" for fault in _check_holes(link, LINK_PLACEHOLDERS)]
    try:
        parts = urlsplit(link)
        host = parts.hostname
        _ = parts.port  # raises where the port is no number
    except ValueError:
        return [*problems, f"link {link!r:.80} is no web address"]
    if not host or "{" in parts.netloc:
        return [*problems, f"link {link!r:.80} names no host: write https://host/path"]
    if parts.username is not None:
        problems.append("link holds a user name; leave it out")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        problems.append(f"link {link!r:.80} is not https (http is for localhost alone)")
    if hosts and host not in hosts:
        problems.append(f"link leads to {host!r:.80}, which is not among link_hosts")
    return problems


def _check_holes(template: str, allowed: Mapping[str, str]) -> list[str]:
    problems = [
        f"unknown placeholder {{{name:.40}}}; {nearest(name, allowed)}"
        for name in _HOLE.findall(template)
        if name not in allowed
    ]
    if any(brace in _HOLE.sub("", template) for brace in "{}"):
        problems.append("a brace stands alone; braces are for placeholders such as {place}")
    return problems


def link_host(link: str) -> str | None:
    """Give the host that a link leads to; None where it is no link."""
    try:
        return urlsplit(link).hostname
    except ValueError:
        return None


def choose_language(wanted: Sequence[str], available: Collection[str]) -> str | None:
    """Choose among the available languages for a person who reads ``wanted``, best first.

    For each wanted tag in turn: the tag itself, then shortened from the right (``de-AT``, ``de``:
    RFC 4647 lookup), then any of the same language. Then English, then the first written; None
    where nothing is available.
    """
    by_tag = {tag.lower(): tag for tag in available}
    for wish in (*wanted, DEFAULT_LANGUAGE):
        tag = f"{wish.lower()}-"
        fitting = [key for key in by_tag if tag.startswith(f"{key}-")]
        if fitting:
            return by_tag[max(fitting, key=len)]
        language = tag.partition("-")[0]
        for key, found in by_tag.items():
            if key.partition("-")[0] == language:
                return found
    return next(iter(available), None)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fill the holes of a template in one pass, so that a value's own braces stay what they are."""
    return _HOLE.sub(lambda hole: values.get(hole[1], hole[0]), template)


def compose(
    campaign: Campaign, place: PlaceFacts, languages: Sequence[str], hosts: Collection[str] = ()
) -> Content:
    """Write the offer of a campaign at a place for somebody who reads ``languages``.

    ``hosts`` are the ones that links may lead to, any where empty. The result has a ``problem``
    instead of a text where no text exists or what comes out cannot be shown.
    """
    language = choose_language(languages, campaign.text)
    if language is None:
        return Content(None, problem="no text in any language")
    link = None
    if campaign.link is not None:
        ids = {"place": quote(place.id, safe=""), "campaign": quote(campaign.id, safe="")}
        link = fill(campaign.link, ids)
        faults = check_link(link, hosts)
        if faults or link_host(link) != link_host(campaign.link):
            return Content(language, problem="; ".join(faults) or "link leaves its host")
    values = {"place": _plain(place.name or place.id), "campaign": _plain(campaign.id)}
    text = fill(campaign.text[language], values if link is None else {**values, "link": link})
    if len(text) > MAX_TEXT:
        return Content(language, problem=f"text has {len(text)} characters, at most {MAX_TEXT}")
    return Content(language, text, link)


def _plain(value: str) -> str:
    """Take out of a name what could steer a terminal, break a line or turn the text around it.

    Control characters, lone surrogates and the overrides of writing direction go; letters of any
    script, right-to-left ones included, stay as they are.
    """
    kept = (
        c for c in value
        if unicodedata.category(c) not in {"Cc", "Cs"} and c not in _DIRECTION_OVERRIDES
    )  # fmt: skip
    return "".join(kept).strip()[:_MAX_NAME]
