"""What is common to the pages that people open by a signed link: no script, no login, no cache.

The link's signature is the credential. A page names nobody and loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aiohttp import web

from proximity.consent import links
from proximity.content.languages import match
from proximity.server.problems import HEADERS, Problem
from proximity.server.reading import Asked
from proximity.store.keys import find_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proximity.server.parts import Parts

T = TypeVar("T")

MOST_LANGUAGES = 10  # of those that a browser asks for
HTML = "text/html; charset=utf-8"
STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1.125rem/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem;"
    "overflow-wrap:anywhere}"
    "button{font:inherit;padding:.75rem 1.5rem;cursor:pointer}"
    "label,fieldset{display:block;margin:1rem 0;border:0;padding:0;min-width:0}"
    "legend{font-weight:600}"
)


def page_headers(style: str) -> dict[str, str]:
    """Give the headers of a page whose one style sheet is ``style``: nothing else may load."""
    known = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        **HEADERS,
        "Content-Type": HTML,
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{known}'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",  # the link is a credential
        "X-Robots-Tag": "noindex",
    }


PAGE_HEADERS = page_headers(STYLE)


class _Words(NamedTuple):
    """What a link that opens nothing says, in one language."""

    title: str
    old: str
    unknown: str


_WORDS = {
    "en": _Words(
        "This link does not work",
        "It is too old. Use the one in a newer message.",
        "It is incomplete, or was changed on its way. Open it again from where you found it.",
    ),
    "fr": _Words(
        "Ce lien ne fonctionne pas",
        "Il est trop ancien. Utilisez celui d'un message plus récent.",
        "Il est incomplet ou a été modifié en chemin. Ouvrez-le de nouveau là où vous l'avez "
        "trouvé.",
    ),
    "de": _Words(
        "Dieser Link funktioniert nicht",
        "Er ist zu alt. Nehmen Sie den aus einer neueren Nachricht.",
        "Er ist unvollständig oder wurde unterwegs verändert. Öffnen Sie ihn noch einmal dort, wo "
        "Sie ihn gefunden haben.",
    ),
    "es": _Words(
        "Este enlace no funciona",
        "Es demasiado antiguo. Use el de un mensaje más reciente.",
        "Está incompleto o se modificó por el camino. Ábralo de nuevo desde donde lo encontró.",
    ),
}
"""The languages of the pages behind links; whoever wants none of them gets the first."""


class _NoLink(Problem):
    """A link that opens nothing: a page to whoever reads pages, a problem to programs."""

    def __init__(self, status: int, detail: str, request: web.Request) -> None:
        super().__init__(status, detail)
        self._request = request

    def response(self) -> web.Response:
        if "text/html" not in self._request.headers.get("Accept", ""):
            return super().response()
        language, words = read_language(self._request, _WORDS)
        said = words.old if self.status == HTTPStatus.GONE else words.unknown
        return page(language, words.title, f"<p>{escape(said)}</p>", self.status)


async def read_link(request: web.Request, parts: Parts, does: str) -> dict[str, Any]:
    """Read what the link in the path claims; ``does`` is what it must be good for.

    Raises Problem 404 where it is none of ours, 410 where it is too old.
    """
    assert isinstance(request, Asked)
    key = await parts.store.aread(lambda conn: find_key(conn, "links"))
    try:
        if key is None:
            raise links.LinkError("this is no link of ours")
        said = links.read(key, request.named, parts.clock())
    except links.LinkExpired as error:
        raise _NoLink(410, f"{error.problems[0]}.", request) from None
    except links.LinkError as error:
        raise _NoLink(404, f"{error.problems[0]}.", request) from None
    if said.get("do") != does:
        raise _NoLink(404, "This link is good for something else.", request)
    return said


def languages_of(request: web.Request) -> list[str]:
    """Give the languages that the browser asks for, best first."""
    wanted: list[tuple[float, str]] = []
    for part in request.headers.get("Accept-Language", "").split(",")[:MOST_LANGUAGES]:
        tag, _, weight = part.replace(" ", "").partition(";q=")
        try:
            wish = float(weight or 1.0)
        except ValueError:
            continue
        if wish > 0.0:  # 0 is what they do not read
            wanted.append((-wish, tag))
    return [tag for _, tag in sorted(wanted, key=lambda one: one[0]) if tag]


def read_language(request: web.Request, words: Mapping[str, T]) -> tuple[str, T]:
    """Choose one of a page's languages by what the browser asks for, best first; else the first."""
    language = match(languages_of(request), words) or next(iter(words))
    return language, words[language]


def page(language: str, title: str, body: str, status: int = 200) -> web.Response:
    """Answer with a page; ``body`` is HTML already, ``title`` is not."""
    text = (
        f'<!doctype html><html lang="{escape(language)}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    return web.Response(status=status, text=text, headers=PAGE_HEADERS)
