"""The question: where does an offer's link lead, and may it lead there.

A campaign has one web link, or up to three ways to the same thing: into an app by its scheme, by a
universal link, and on the web for everybody else. What may be opened is written in the campaigns
file and checked when read, when filled and when opened; no address ever comes out of a request.
Pure; it must not know gates, channels or servers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from proximity.content.holes import check_holes, fill

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["KINDS", "LINK_PLACEHOLDERS", "MAX_LINK", "check_link", "check_links",
           "check_origin", "fill_links", "link_host", "target"]  # fmt: skip

LINK_PLACEHOLDERS = {
    "place": "the place's id, percent-encoded",
    "campaign": "the campaign's id, percent-encoded",
}

KINDS = ("app", "universal", "web")
"""The ways of a campaign's ``links``: ``cafe-app://…``, an https link that an installed app
takes, and the web page that everybody can open."""

MAX_LINK = 2000
"""Characters of a link, as written and as filled in: what every browser still opens."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{1,63}")
# Schemes that run something, read something or call somebody: never an app of the sender's own.
_NO_APP = frozenset({
    "about", "blob", "chrome", "content", "data", "facetime", "file", "filesystem", "ftp", "geo",
    "http", "https", "intent", "itms-services", "javascript", "jar", "mailto", "market",
    "ms-msdt", "resource", "search-ms", "shell", "sms", "smsto", "tel", "vbscript",
    "view-source", "ws", "wss",
})  # fmt: skip


def check_link(link: str, hosts: Collection[str]) -> list[str]:
    """Name every fault of a web link; ``hosts``, where there are any, are the only ones allowed.

    A link is https; http leads only to this machine itself, for trying things out.
    """
    problems = _check_text(link)
    if problems:
        return problems
    problems = [f"link: {fault}" for fault in check_holes(link, LINK_PLACEHOLDERS)]
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


def check_origin(origin: str) -> list[str]:
    """Name every fault of a website's origin: scheme and host as browsers write it, no path."""
    problems = check_link(origin, ())
    if not problems and origin != "{0.scheme}://{0.netloc}".format(urlsplit(origin)).lower():
        problems.append(f"{origin!r:.80} is no origin: write https://host, in small letters")
    return problems


def check_links(links: Mapping[str, str], hosts: Collection[str]) -> list[str]:
    """Name every fault of a campaign's ``links``; each fault is led by its way.

    ``universal`` and ``web`` are held to ``check_link``. ``app`` needs a scheme that is an app's
    own; where ``hosts`` are listed it must be among them, written ``cafe-app://``.
    """
    problems = []
    for kind, link in links.items():
        if kind == "app":
            faults = _check_app(link, hosts)
        elif kind in KINDS:
            faults = check_link(link, hosts)
        else:
            faults = [f"there is no such way; there is {', '.join(KINDS)}"]
        problems += [f"links.{kind:.40}: {fault}" for fault in faults]
    if "app" in links and not {"universal", "web"} & links.keys():
        problems.append("links.app alone leads nowhere without the app: add web or universal")
    return problems


def fill_links(
    links: Mapping[str, str], place: str, campaign: str, hosts: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Fill the ids into each link and check what comes out; give the links and their faults.

    What is filled in is percent-encoded: it can neither end a path nor change the host or scheme.
    """
    ids = {"place": quote(place, safe=""), "campaign": quote(campaign, safe="")}
    filled = {kind: fill(link, ids) for kind, link in links.items()}
    problems = check_links(filled, hosts)
    problems += [
        f"links.{kind}: link leaves its host"
        for kind, link in filled.items()
        if _root(kind, link) != _root(kind, links[kind])
    ]
    return filled, problems


def target(links: Mapping[str, str], *, phone: bool) -> str | None:
    """Choose where a link that was clicked leads: a phone by the universal link, else the web.

    Never the app's scheme: a redirect into one that is not installed is an error page.
    """
    ways = ("universal", "web") if phone else ("web", "universal")
    return next((links[way] for way in ways if way in links), None)


def link_host(link: str) -> str | None:
    """Give the host that a link leads to; None where it is no link."""
    try:
        return urlsplit(link).hostname
    except ValueError:
        return None


def _check_text(link: str) -> list[str]:
    if len(link) > MAX_LINK:
        return [f"link has {len(link)} characters, at most {MAX_LINK}"]
    if any(c.isspace() or not c.isprintable() for c in link) or "\\" in link:
        return ["link holds a space, a control character or a backslash"]
    return []


def _check_app(link: str, hosts: Collection[str]) -> list[str]:
    problems = _check_text(link)
    if problems:
        return problems
    scheme, separator, rest = link.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme) or not rest:
        return [f"{link!r:.80} is no app link: write cafe-app://path, its scheme in small letters"]
    if scheme in _NO_APP:
        problems.append(f"{scheme}:// is no app's own scheme")
    elif hosts and f"{scheme}://" not in hosts:
        problems.append(f"the scheme is not among link_hosts: add {scheme + '://'!r}")
    problems += check_holes(link, LINK_PLACEHOLDERS)
    return problems


def _root(kind: str, link: str) -> tuple[str, str | None]:
    # What stands first in an app's link is the app's own affair: it is no host.
    return link.partition(":")[0], None if kind == "app" else link_host(link)
