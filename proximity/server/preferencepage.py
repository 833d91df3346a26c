"""How does somebody say what they want, without logging in? A page of theirs, by signed link.

It asks what campaigns are about and what the tagging plan lets people set. What they say goes the
way of all events, so that it survives what they survive and is found in what was decided by it.
The page names nobody. What is kept of it is ``preferences``'s.
"""

from __future__ import annotations

import urllib.parse
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from proximity.content.languages import match
from proximity.model import Event
from proximity.people.behaviour import PREFERENCE_SET
from proximity.server.auth import Caller
from proximity.server.pages import page, read_language, read_link
from proximity.server.preferences import DOES, Wishes, known, questions, wishes
from proximity.server.problems import Problem, answer
from proximity.server.reading import parse_json, read_body
from proximity.server.routes import JSON, Content, Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aiohttp import web

    from proximity.model import Person, Preference
    from proximity.people.tagging import AttributeRule
    from proximity.server.parts import Parts

FORM_LIMIT = 64 * 1024
MOST_FIELDS = 1000
MOST_ANSWERS = 100


class Words(NamedTuple):
    """What the page says in one language."""

    title: str
    topics: str
    channels: str
    places: str
    alone: str
    opens: str
    closes: str
    no_answer: str
    yes: str
    no: str
    save: str
    saved: str
    unkept: str
    refused: str


WORDS = {
    "en": Words(
        "What would you like to hear from us?", "About", "By", "From",
        "Leave me alone at these hours", "from", "to", "no answer", "yes", "no", "Save",
        "Saved. It holds from the next message on.",
        "Nothing was saved: without your consent we keep nothing about you.",
        "Nothing was saved. Go back and look at your answers again: two times that are the same, "
        "or an answer that does not fit its question.",
    ),
    "fr": Words(
        "Que souhaitez-vous recevoir de nous ?", "À propos de", "Par", "De la part de",
        "Ne pas me déranger", "de", "à", "sans réponse", "oui", "non", "Enregistrer",
        "Vos choix sont enregistrés : ils valent dès le prochain message.",
        "Rien ne reste enregistré : sans votre accord, nous ne gardons rien sur vous.",
        "Rien n'a été enregistré. Revenez en arrière et relisez vos réponses : deux heures "
        "identiques, ou une réponse qui ne convient pas à la question.",
    ),
    "de": Words(
        "Was möchten Sie von uns hören?", "Über", "Per", "Von",
        "Lassen Sie mich zu diesen Zeiten in Ruhe", "von", "bis", "keine Angabe", "ja", "nein",
        "Speichern", "Gespeichert. Es gilt ab der nächsten Nachricht.",
        "Nichts wurde gespeichert: Ohne Ihre Einwilligung behalten wir nichts über Sie.",
        "Nichts wurde gespeichert. Gehen Sie zurück und sehen Sie Ihre Angaben noch einmal an: "
        "zwei gleiche Uhrzeiten, oder eine Antwort, die nicht zur Frage passt.",
    ),
    "es": Words(
        "¿Qué quiere recibir de nosotros?", "Sobre", "Por", "De",
        "No molestar a estas horas", "de", "a", "sin respuesta", "sí", "no", "Guardar",
        "Guardado. Vale desde el próximo mensaje.",
        "No se ha guardado nada: sin su consentimiento no guardamos nada sobre usted.",
        "No se ha guardado nada. Vuelva atrás y revise sus respuestas: dos horas iguales, o una "
        "respuesta que no corresponde a la pregunta.",
    ),
}  # fmt: skip
"""The page's languages; whoever wants none of them gets the first."""

_DAYS_END = "24:00"


class Answers(msgspec.Struct, frozen=True):
    """What a person says: each the properties of an event ``preference-set``."""

    answers: tuple[dict[str, str | float | bool | None], ...]


class Answered(msgspec.Struct, frozen=True):
    """How many answers were taken."""

    answered: int


async def _show(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    claim = await read_link(request, parts, DOES)
    person = await known(parts, claim["person"])
    if "text/html" not in request.headers.get("Accept", "text/html"):
        return answer(wishes(person, parts))
    language, words = read_language(request, WORDS)
    form = "".join(_form(person, parts, language, words))
    # Without an action the form goes to where the page is: the link itself.
    return page(
        language,
        words.title,
        f'<form method="post">{form}<button type="submit">{escape(words.save)}</button></form>',
    )


async def _take(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    claim = await read_link(request, parts, DOES)
    body = await read_body(request, FORM_LIMIT)
    person = await known(parts, claim["person"])
    by_form = "json" not in request.headers.get("Content-Type", "")
    said = _read_form(body, person, parts) if by_form else parse_json(body, Answers).answers
    if len(said) > MOST_ANSWERS:
        raise Problem(413, f"{len(said)} answers are more than {MOST_ANSWERS}.")
    subject = person.subjects[0] if person.subjects else person.person
    now = parts.clock()
    events = [Event(subject=subject, at=now, name=PREFERENCE_SET, properties=one) for one in said]
    problems = [problem for event in events for problem in parts.plan.problems(event)]
    by_browser = "text/html" in request.headers.get("Accept", "")
    language, words = read_language(request, WORDS)
    if problems and by_browser:
        return page(language, words.title, f"<p>{escape(words.refused)}</p>", 422)
    if problems:
        raise Problem(422, f"Nothing was changed: {problems[0]}", problems=problems)
    receipt = await parts.ingest.accept(events) if events else None
    kept = receipt is None or receipt.unconsented == 0
    if not by_browser:
        if not kept:
            raise Problem(403, WORDS["en"].unkept)
        return answer(Answered(len(events)))
    told = words.saved if kept else words.unkept
    return page(language, words.title, f"<p>{escape(told)}</p>")


class Choice(NamedTuple):
    """One thing to want or not: a box of the page."""

    key: str
    about: str
    name: str
    says: str


def _choices(person: Person, parts: Parts) -> Iterator[Choice]:
    """Name what may be wanted or not: what campaigns are about, and what was said before."""
    campaigns = [one for one in parts.campaigns().campaigns.values() if one.active]
    said = person.preferences
    found = {
        "topic": {one.topic for one in campaigns} | {one.topic for one in said},
        "channel": {name for one in campaigns for name in one.channels}
        | {one.channel for one in said},
        "place": {one.place for one in said},
    }
    for about, names in found.items():
        for name in sorted(name for name in names if name is not None):
            says = (parts.places.facts(name).name if about == "place" else None) or name
            yield Choice(f"{about}:{name}", about, name, says)


def _wanted(person: Person, choice: Choice) -> bool:
    """Whether somebody said last that they want it; who said nothing does."""
    rows = [
        one
        for one in person.preferences
        if one.hours is None and _about(one) == {choice.about: choice.name}
    ]
    return rows[-1].allow if rows else True


def _about(preference: Preference) -> dict[str, str]:
    found = {name: getattr(preference, name) for name in ("topic", "channel", "place")}
    return {name: value for name, value in found.items() if value is not None}


def _alone(person: Person) -> tuple[str, str] | None:
    """Tell at which hours of each day somebody wants nothing at all; None: they did not say.

    The end of the day is no time of day to a browser: there it is none.
    """
    for one in reversed(person.preferences):
        if one.hours and not one.allow and not _about(one):
            return one.hours[0].opens, one.hours[0].closes.replace(_DAYS_END, "")
    return None


def _form(person: Person, parts: Parts, language: str, words: Words) -> Iterator[str]:
    """Write the fields of the page's form."""
    choices = list(_choices(person, parts))
    for about, legend in (
        ("topic", words.topics), ("channel", words.channels), ("place", words.places),
    ):  # fmt: skip
        boxes = [one for one in choices if one.about == about]
        if boxes:
            yield f"<fieldset><legend>{escape(legend)}</legend>"
            for one in boxes:
                checked = " checked" if _wanted(person, one) else ""
                yield (
                    f'<input type="hidden" name="shown" value="{escape(one.key)}"><label>'
                    f'<input type="checkbox" name="want" value="{escape(one.key)}"{checked}> '
                    f"<bdi>{escape(one.says)}</bdi></label>"
                )
            yield "</fieldset>"
    opens, closes = _alone(person) or ("", "")
    yield (
        f"<fieldset><legend>{escape(words.alone)}</legend>"
        f'<label>{escape(words.opens)} <input type="time" name="from" value="{escape(opens)}">'
        f'</label><label>{escape(words.closes)} <input type="time" name="to" '
        f'value="{escape(closes)}"></label></fieldset>'
    )
    for rule in questions(parts):
        yield _ask(rule, person.attributes.get(rule.name), language, words)


def _ask(rule: AttributeRule, value: Any, language: str, words: Words) -> str:
    """Write one question, and what was answered so far."""
    chosen = match([language], rule.ask) or next(iter(rule.ask), None)
    asks = rule.name if chosen is None else rule.ask[chosen]
    name = escape(f"ask:{rule.name}")
    options = [str(one) for one in rule.one_of]
    said = _as_text(value)
    if rule.kind == "flag":
        labels = {"": words.no_answer, "true": words.yes, "false": words.no}
    elif options and rule.kind != "texts":
        labels = {"": words.no_answer} | {one: one for one in options}
    else:
        kind = "number" if rule.kind == "number" else "text"
        # A step of its own would refuse half a euro.
        field = f'<input type="{kind}" step="any" name="{name}" value="{escape(said)}">'
        return f"<label>{escape(asks)} {field}</label>"
    listed = "".join(
        f'<option value="{escape(one)}"{" selected" * (one == said)}>{escape(label)}</option>'
        for one, label in labels.items()
    )
    return f'<label>{escape(asks)} <select name="{name}">{listed}</select></label>'


def _as_text(value: Any) -> str:
    """Write an attribute as a field of the form has it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read_form(body: bytes, person: Person, parts: Parts) -> Sequence[dict[str, Any]]:
    """Read what a sent form changes. Raises Problem 400 where it is none."""
    try:
        fields = urllib.parse.parse_qs(
            body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, strict_parsing=True
        )
    except ValueError:
        raise Problem(400, "This is no form that was filled in here.") from None
    return [
        *_changed_choices(fields, person, parts),
        *_changed_hours(fields, person),
        *_changed_answers(fields, person, questions(parts)),
    ]


def _changed_choices(
    fields: dict[str, list[str]], person: Person, parts: Parts
) -> Iterator[dict[str, Any]]:
    shown, wanted = set(fields.get("shown", ())), set(fields.get("want", ()))
    for one in _choices(person, parts):
        allow = one.key in wanted
        if one.key in shown and allow != _wanted(person, one):
            yield {one.about: one.name, "allow": allow}


def _changed_hours(fields: dict[str, list[str]], person: Person) -> Iterator[dict[str, Any]]:
    opens, closes = (fields.get(name, [""])[0] for name in ("from", "to"))
    before = _alone(person)
    after = (opens, closes) if opens or closes else None
    if after == before:
        return
    if before is not None:
        yield {"allow": True, "from": before[0], "to": before[1] or _DAYS_END}
    if after is not None:
        yield {"allow": False, "from": opens or "00:00", "to": closes or _DAYS_END}


def _changed_answers(
    fields: dict[str, list[str]], person: Person, rules: Iterable[AttributeRule]
) -> Iterator[dict[str, Any]]:
    for rule in rules:
        said: Sequence[str] | None = fields.get(f"ask:{rule.name}")
        if said is None:
            continue
        text = said[0].strip()
        if text != _as_text(person.attributes.get(rule.name)):
            yield {"attribute": rule.name, "value": _read_value(text, rule)}


def _read_value(text: str, rule: AttributeRule) -> str | float | bool | None:
    if not text:
        return None
    if rule.kind == "flag":
        return text == "true"
    if rule.kind == "number":
        try:
            return float(text)
        except ValueError:
            return text  # the plan says what is wrong with it
    return text


_BAD = Content(meaning="`problems` says every reason. Nothing was changed.")
_NO_LINK = Content(meaning="This is no link of ours, or it was changed on its way.")
_OLD = Content(meaning="The link is too old.")
_NOBODY: frozenset[Any] = frozenset()

ROUTES = (
    Route(
        method="GET",
        path="/preferences/{id}",
        endpoint=_show,
        roles=_NOBODY,
        summary="A person's own page of preferences, by signed link.",
        answers={
            200: Content(
                meaning="The page; values where JSON is asked for.",
                schema=Wishes,
                media=("text/html", JSON),
            ),
            404: _NO_LINK,
            410: _OLD,
        },
        loose=True,
    ),
    Route(
        method="POST",
        path="/preferences/{id}",
        endpoint=_take,
        roles=_NOBODY,
        summary="Take what a person says on their page; it counts from the next decision on.",
        body=Content(
            meaning="The page's form, or answers as JSON.",
            schema=Answers,
            media=("application/x-www-form-urlencoded", JSON),
        ),
        answers={
            200: Content(meaning="It is taken.", schema=Answered, media=(JSON, "text/html")),
            403: Content(meaning="They agreed to nothing: nothing is kept of them."),
            404: _NO_LINK,
            410: _OLD,
            422: _BAD,
        },
        loose=True,
    ),
)
