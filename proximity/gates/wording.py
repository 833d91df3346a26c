"""The question: can the offer be written for this person, and what is it then.

The gate on content, and the offer of a candidate that every gate let pass. How texts and links are
written is ``content``'s to know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.campaigns.recall import recall
from proximity.content.content import ANYBODY, Reader, compose, evidence
from proximity.gates.permission import routes
from proximity.gates.timing import good_until
from proximity.model import Offer

if TYPE_CHECKING:
    from proximity.campaigns.campaigns import Campaign, Campaigns, PlaceFacts
    from proximity.content.content import Content
    from proximity.gates.candidates import Candidate

__all__ = ["content", "make_offer"]


def content(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass what can be written, in some language, with a link that may be shown."""
    campaign, place, rules = candidate.campaign, candidate.place, candidate.rules
    languages = candidate.person.languages
    if _is_personal(campaign) or candidate.person.endpoints:
        written = _write(candidate)
        return written.problem is None, evidence(written, languages)
    # By identity, as in ``recall``: what is written for one is the same for many.
    key = id(campaign), id(place), id(rules), languages
    kept = _impersonal.get(key)
    if kept is None:
        written = _write(candidate)
        answer = written.problem is None, evidence(written, languages)
        if len(_impersonal) >= _MOST_KEPT:
            _impersonal.clear()
        kept = _impersonal[key] = campaign, place, rules, answer
    return kept[3]


_Kept = tuple["Campaign", "PlaceFacts", "Campaigns", tuple[bool, dict[str, Any]]]
_impersonal: dict[tuple[int, int, int, tuple[str, ...]], _Kept] = {}
_MOST_KEPT = 16384
"""Answers that are kept: two hundred campaigns in eighty places or languages."""


def make_offer(candidate: Candidate) -> Offer:
    """Write the offer of a candidate that every gate let pass; ``key`` is the decision's id.

    Raises ValueError where there is nothing to offer, or nobody agreed to it.
    """
    campaign, trigger = candidate.campaign, candidate.trigger
    written = _write(candidate)
    ways = routes(candidate)
    channel = ways[0] if ways else None
    if channel is None or written.language is None or written.problem is not None:
        raise ValueError(f"decision {trigger.id}: an offer needs a decision to send it")
    return Offer(
        key=trigger.id,
        campaign=campaign.id,
        person=trigger.person,
        subject=trigger.subject,
        place=trigger.place,
        purpose=campaign.purpose,
        channel=channel,
        text=written.text,
        language=written.language,
        link=written.link,
        created_at=candidate.now,
        expires_at=good_until(candidate),
        version=campaign.version,
        visit=trigger.visit,
        source=trigger.source,
        links=written.links,
        title=written.title,
        terms=written.terms,
        route=ways[1:],
    )


def _write(candidate: Candidate) -> Content:
    person, rules, event = candidate.person, candidate.rules, candidate.trigger.event
    reader = ANYBODY
    if person.endpoints or _is_personal(candidate.campaign):
        devices = (one.language for one in person.endpoints)
        reader = Reader(
            devices=tuple(language for language in devices if language is not None),
            attributes=person.attributes,
            event={} if event is None else event.properties,
            stock_left=candidate.stock_left,
        )
    return compose(
        candidate.campaign, candidate.place, person.languages, rules.link_hosts, reader,
        rules.language,
    )  # fmt: skip


@recall
def _is_personal(campaign: Campaign) -> bool:
    """Whether any of its texts may name something of the reader's: holes alone never do."""
    return any(mark in text for text in campaign.text.values() for mark in ("{{", "{%"))
