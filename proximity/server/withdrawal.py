"""How does somebody withdraw by one click, without logging in? A page with one button, by link.

The link's signature is the credential, and a no is all that it is good for. Opening it changes
nothing, since programs that look for viruses open every link of a mail; the button, or a mail
program's own (RFC 8058), does it. The page names nobody.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from proximity.campaigns.purposes import PURPOSES
from proximity.consent.grants import record_objection
from proximity.consent.links import WITHDRAW
from proximity.consent.objections import erased
from proximity.server.auth import Caller
from proximity.server.consents import Withdrawn, withdraw
from proximity.server.pages import page, read_language, read_link
from proximity.server.people import written
from proximity.server.problems import answer
from proximity.server.reading import read_body
from proximity.server.routes import Content, Route

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.dispatch.outbox import InFlight
    from proximity.server.parts import Parts

SOURCE = "link"
BODY_LIMIT = 4096
"""A mail program sends `List-Unsubscribe=One-Click`, a browser an empty form."""


class Words(NamedTuple):
    """What the page says in one language; ``flying`` has the number of messages in it."""

    title: str
    asks: str
    button: str
    done: str
    flying: str


WORDS = {
    "en": Words(
        "No more messages",
        "Press the button, and you get no more messages of this kind from us.",
        "No more messages",
        "Done. You get no more messages of this kind from us.",
        "On their way already, and not to be called back: {count}.",
    ),
    "fr": Words(
        "Ne plus recevoir de messages",
        "Appuyez sur le bouton et vous ne recevrez plus de messages de ce type.",
        "Ne plus rien recevoir",
        "Voilà qui est fait. Vous ne recevrez plus de messages de ce type.",
        "Messages déjà partis, qui ne peuvent plus être rappelés : {count}.",
    ),
    "de": Words(
        "Keine Nachrichten mehr",
        "Ein Klick auf den Knopf, und Sie erhalten keine Nachrichten dieser Art mehr.",
        "Keine Nachrichten mehr",
        "Erledigt. Sie erhalten keine Nachrichten dieser Art mehr.",
        "Schon unterwegs und nicht mehr zurückzuholen: {count}.",
    ),
    "es": Words(
        "No recibir más mensajes",
        "Pulse el botón y no recibirá más mensajes de este tipo.",
        "No recibir más mensajes",
        "Hecho. Ya no recibirá mensajes de este tipo.",
        "Mensajes ya enviados, que no se pueden detener: {count}.",
    ),
}
"""The page's languages; whoever wants none of them gets the first."""


async def _show(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    await read_link(request, parts, WITHDRAW)
    language, words = read_language(request, WORDS)
    # Without an action the form goes to where the page is: the link itself, wherever it is served.
    button = f'<button type="submit">{escape(words.button)}</button>'
    body = f'<p>{escape(words.asks)}</p><form method="post">{button}</form>'
    return page(language, words.title, body)


async def _do(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    await read_body(request, BODY_LIMIT)
    claims = await read_link(request, parts, WITHDRAW)
    in_flight = await _end(parts, claims["person"], claims.get("purpose"), claims.get("channel"))
    if "text/html" not in request.headers.get("Accept", ""):
        return answer(Withdrawn(in_flight))
    language, words = read_language(request, WORDS)
    said = [words.done]
    if in_flight:
        said.append(words.flying.format(count=len(in_flight)))
    return page(language, words.title, "".join(f"<p>{escape(one)}</p>" for one in said))


async def _end(
    parts: Parts, person: str, purpose: str | None, channel: str | None
) -> tuple[InFlight, ...]:
    """End whatever allows messages of this purpose; to those that need no consent, object."""
    row = None if purpose is None else PURPOSES.get(purpose)
    if row is not None and not row.consents:
        now = parts.clock()

        def write(conn: Connection) -> list[InFlight]:
            if erased(conn, person):
                return []  # nothing is sent to them, and nothing is written of them
            return record_objection(conn, person, at=now, source=SOURCE)

        return tuple(await written(parts, write))
    purposes = (purpose,) if row is None else row.consents
    return await withdraw(parts, person, purposes, channel, source=SOURCE, method="one-click")


ROUTES = (
    Route(
        method="GET",
        path="/withdraw/{id}",
        endpoint=_show,
        roles=frozenset(),
        summary="The page behind the link to withdraw: one button; opening it changes nothing.",
        answers={
            200: Content(meaning="The page.", schema={"type": "string"}, media=("text/html",)),
            404: Content(meaning="This is no link of ours, or it was changed on its way."),
            410: Content(meaning="The link is too old."),
        },
        loose=True,
    ),
    Route(
        method="POST",
        path="/withdraw/{id}",
        endpoint=_do,
        roles=frozenset(),
        summary="Withdraw by link: the button of the page, or of a mail program (RFC 8058).",
        answers={
            200: Content(
                meaning="It is recorded; nothing more is sent on it but what is in flight.",
                schema=Withdrawn,
                media=("application/json", "text/html"),
            ),
            404: Content(meaning="This is no link of ours, or it was changed on its way."),
            410: Content(meaning="The link is too old."),
        },
        loose=True,
    ),
)
