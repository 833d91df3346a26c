"""What a person is told about themselves: in four languages, word for word."""

from __future__ import annotations

import re
from typing import Any

import pytest

from proximity.engine.nearmiss import MISSES
from proximity.explain.explain import Explanation, Near, Seen, VisitExplanation
from proximity.explain.messages import LANGUAGES
from proximity.explain.sentences import tell
from proximity.explain.unmet import WORDS, Unmet
from proximity.model import Reason

HOLE = re.compile(r"\{(\w+)\}")
EN = LANGUAGES["en"]
AT = "2026-05-04T08:14:00.000Z"
LATER = "2026-05-04T08:40:00.000Z"


def moved(kind: str, at: str | None, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "at": at, "decided_at": at, "because": {}, **more}


def decided(reason: str | None = None, because: dict[str, Any] | None = None, **more: Any) -> Any:
    gates = [{"gate": "consent", "passed": reason != "no_consent", "because": {"from": AT}}]
    if reason not in {None, "no_consent"}:
        gates.append({"gate": "some", "passed": False, "because": because or {}})
    return {
        "id": "d", "decision": "send" if reason is None else "suppress", "reason": reason,
        "campaign": "coffee", "version": 1, "at": AT, "until": None, "gates": gates, **more,
    }  # fmt: skip


def visit(*decisions: Any, deliveries: tuple[Any, ...] = (), **more: Any) -> VisitExplanation:
    fields: dict[str, Any] = {
        "place": "store-7", "visit": "v", "says": "", "name": "Café Rose", "unmet": {},
        "transitions": (moved("enter", AT), moved("exit", LATER)),
        "decisions": decisions, "deliveries": deliveries,
    }  # fmt: skip
    return VisitExplanation(**{**fields, **more})


def about(*visits: VisitExplanation, **more: Any) -> Explanation:
    fields: dict[str, Any] = {
        "subject": "s", "place": None, "at": AT, "person": "ada", "says": "", "visits": visits,
    }  # fmt: skip
    return Explanation(**{**fields, **more})


def told(found: Explanation, language: str = "en", zone: str | None = "Europe/Paris") -> list[str]:
    # French sets a number and its unit together; that is typography, not wording.
    return [one.replace("\xa0", " ") for one in tell(found, (language,), zone).sentences]


DELIVERED = {
    "key": "d", "channel": "console", "outcome": "accepted", "reason": None, "at": AT,
    "handed": {"text": "Coffee, half price."},
}  # fmt: skip
CAPPED = {"caps": [
    {"count": 9, "window_s": 3600.0, "sent": 1}, {"count": 2, "window_s": 86400.0, "sent": 2},
]}  # fmt: skip
NEAR = Near(
    subject="s", place="store-7", at=AT, code="outside", says="", name="Café Rose",
    because={"distance_m": 14.2, "accuracy_m": 30.0},
)  # fmt: skip

SENT = {
    "en": [
        "This is about Monday, May 4, 2026; times are those of Europe/Paris.",
        "You were at Café Rose from 10:14 to 10:40.",
        "At 10:14 we decided to send you “Coffee, half price.”, because you came to Café Rose.",
        "You had agreed to this on May 4, 2026.",
        "It was handed over at 10:14.",
        "You can change what you agreed to, or withdraw it, at any time.",
    ],
    "fr": [
        "Il s'agit du lundi 4 mai 2026 ; les heures sont celles de Europe/Paris.",
        "Vous étiez à Café Rose de 10:14 à 10:40.",
        (
            "À 10:14, nous avons décidé de vous envoyer « Coffee, half price. », parce que vous "
            "veniez d'arriver à Café Rose."
        ),
        "Vous aviez donné votre accord le 4 mai 2026.",
        "Le message a été remis à 10:14.",
        "Vous pouvez changer ou retirer votre accord à tout moment.",
    ],
    "de": [
        "Der Tag, um den es geht: Montag, 4. Mai 2026; die Uhrzeiten gelten für Europe/Paris.",
        "Sie waren von 10:14 bis 10:40 hier: Café Rose.",
        (
            "Um 10:14 haben wir entschieden, Ihnen „Coffee, half price.“ zu senden, weil Sie "
            "angekommen sind (Café Rose)."
        ),
        "Sie hatten dem am 4. Mai 2026 zugestimmt.",
        "Es wurde um 10:14 übergeben.",
        "Sie können Ihre Zustimmung jederzeit ändern oder zurücknehmen.",
    ],
    "es": [
        "Se trata del lunes, 4 de mayo de 2026; las horas son las de Europe/Paris.",
        "Usted estuvo en Café Rose de 10:14 a 10:40.",
        "A las 10:14 decidimos enviarle «Coffee, half price.», porque usted llegó a Café Rose.",
        "Usted dio su consentimiento el 4 de mayo de 2026.",
        "Se entregó a las 10:14.",
        "Usted puede cambiar o retirar su consentimiento en cualquier momento.",
    ],
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_why_it_was_sent(language: str) -> None:
    assert told(about(visit(decided(), deliveries=(DELIVERED,))), language) == SENT[language]


STOPPED = {
    "en": [
        "We did not send you the offer “coffee”.",
        "You had already got as many messages as we send in that time.",
        "You had got 2; we send at most 2 within 24 hours.",
    ],
    "fr": [
        "Nous ne vous avons pas envoyé l'offre « coffee ».",
        "Vous aviez déjà reçu autant de messages que nous en envoyons dans ce délai.",
        "Vous en aviez reçu 2 ; nous en envoyons 2 au plus en 24 heures.",
    ],
    "de": [
        "Wir haben Ihnen das Angebot „coffee“ nicht gesendet.",
        "Sie hatten schon so viele Nachrichten bekommen, wie wir in dieser Zeit senden.",
        "Sie hatten 2 bekommen; wir senden höchstens 2 innerhalb von 24 Stunden.",
    ],
    "es": [
        "No le enviamos la oferta «coffee».",
        "Usted ya había recibido tantos mensajes como enviamos en ese plazo.",
        "Había recibido 2; enviamos 2 como máximo en 24 horas.",
    ],
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_why_it_was_not_sent(language: str) -> None:
    said = told(about(visit(decided("capped", CAPPED))), language)
    assert said[2:5] == STOPPED[language]


OUTSIDE = {
    "en": [
        "Nothing happened: we do not know of any visit to Café Rose.",
        (
            "At 10:14 you were outside Café Rose, about 14 meters from its edge; your position was "
            "known to about 30 meters."
        ),
    ],
    "fr": [
        "Il ne s'est rien passé : nous n'avons connaissance d'aucune visite à Café Rose.",
        (
            "À 10:14, vous étiez à l'extérieur de Café Rose, à 14 mètres environ de son bord ; votre "
            "position était connue à 30 mètres près."
        ),
    ],
    "de": [
        "Es ist nichts geschehen: uns ist kein Besuch bekannt (Café Rose).",
        (
            "Um 10:14 waren Sie außerhalb (Café Rose), etwa 14 Meter vom Rand; Ihre Position war auf "
            "etwa 30 Meter bekannt."
        ),
    ],
    "es": [
        "No ocurrió nada: no tenemos constancia de ninguna visita a Café Rose.",
        (
            "A las 10:14 usted estaba fuera de Café Rose, a unos 14 metros de su borde; su posición "
            "se conocía con un error de unos 30 metros."
        ),
    ],
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_why_nothing_happened_at_all(language: str) -> None:
    said = told(about(place="store-7", near=(NEAR,)), language)
    assert said[1:3] == OUTSIDE[language]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("reason", [*Reason, "expired", "attempts"], ids=str)
def test_every_reason_has_its_own_sentence(reason: str, language: str) -> None:
    catalogue = LANGUAGES[language]
    said = told(about(visit(decided(str(reason)))), language)
    assert catalogue[f"reason.{reason}"] in said
    assert catalogue["reason.other"] not in said


def test_a_reason_from_a_later_version_is_no_fault() -> None:
    assert EN["reason.other"] in told(about(visit(decided("moon_phase"))))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_near_miss_and_every_unmet_campaign_has_its_sentence(language: str) -> None:
    for code in MISSES:
        because = {"distance_m": 3.0, "accuracy_m": None}
        near = Near(subject="s", place="p", at=AT, code=code, says="", because=because)
        assert told(about(near=(near,)), language)[2] != LANGUAGES[language]["nothing.place"]
    for code in WORDS:
        lack = Unmet(campaign="coffee", code=code, says="", dwell_s=90.0)
        assert any("coffee" in one for one in told(about(visit(lacking=(lack,))), language))


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_all_languages_say_the_same_with_the_same_holes(language: str) -> None:
    other = LANGUAGES[language]
    assert list(other) == list(EN)
    for key, sentence in EN.items():
        assert set(HOLE.findall(other[key])) == set(HOLE.findall(sentence)), key
        assert other[key] != sentence, key


def test_the_first_language_that_there_is_is_taken_and_english_last() -> None:
    assert tell(about(), ("it", "de-AT", "fr")).language == "de"
    assert tell(about(), ("it",)).language == "en"
    assert tell(about(), (), None).timezone == "UTC"
    assert tell(about(), (), "Nowhere/Land").timezone == "UTC"


def test_another_day_is_named_and_a_visit_that_lasts_has_no_end() -> None:
    lasting = visit(transitions=(moved("enter", "2026-05-03T21:00:00.000Z"),))
    (day, was, *_) = told(about(lasting))
    assert "May 3" in day
    assert was == "You have been at Café Rose since 23:00."
    late = visit(decided(decision="defer", reason="quiet_hours", until="2026-05-05T06:00:00.000Z"))
    assert "until 08:00 (May 5, 2026)." in " ".join(told(about(late)))


def test_passes_corrections_and_things_on_the_way_are_told() -> None:
    assert "You passed Café Rose at 10:14." in told(about(visit(transitions=(moved("pass", AT),))))
    gone = moved("corrected", None, enter_at=None, exit_at=None, decided_at=LATER)
    assert any("none" in one for one in told(about(visit(transitions=(moved("enter", AT), gone)))))
    found = visit(decided(), place="", name=None, visit="", transitions=())
    assert any("something that you had just done" in one for one in told(about(found)))


@pytest.mark.parametrize("outcome", ["retry", "failed", "dead_endpoint", "expired", "suppressed"])
def test_what_became_of_an_offer_is_told(outcome: str) -> None:
    handed = {**DELIVERED, "outcome": outcome, "handed": {}, "reason": "expired"}
    said = told(about(visit(decided(), deliveries=(handed,))))
    assert EN[f"delivery.{outcome}"] in said
    assert EN["reason.expired"] in said
    assert any("the offer “coffee”" in one for one in said)


def test_why_nothing_is_known_is_told() -> None:
    seen = Seen(subject="s", first_at=AT, newest_at=AT, fixes=2, sightings=0, mock=2, jumps=0)
    said = told(about(nothing=("not_since", "mock"), seen=(seen,)))
    assert "We last heard from your device at 10:14." in said
    assert EN["mock"] in said
    for code in ("unconsented", "unknown", "not_kept", "late", "future", "jumps", "far"):
        assert EN[code] in told(about(nothing=(code,)))
