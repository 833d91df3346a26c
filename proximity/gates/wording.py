"""The question: can the offer be written for this person, and what is it then.

The gate on content, and the offer of a candidate that every gate let pass. How texts and links are
written is ``content``'s to know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.campaigns.recall import recall
from proximity.content.content import ANYBODY, Content, Reader, compose, evidence
from proximity.gates.permission import consented_channel
from proximity.gates.timing import good_until
from proximity.model import Offer

if TYPE_CHECKING:
    from proximity.campaigns.campaigns import Campaign
    from proximity.gates.candidates import Candidate

__all__ = ["content", "make_offer"]


def content(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass what can be written, in some language, with a link that may be shown."""
    written = _write(candidate)
    languages = candidate.person.languages
    kept = _evidence.get((id(written), languages))
    if kept is None:
        if len(_evidence) >= _MOST_EVIDENCE:
            _evidence.clear()
        # By identity, as in ``recall``: what is written once for many is here as often as them.
        kept = _evidence[id(written), languages] = written, evidence(written, languages)
    return written.problem is None, kept[1]


_evidence: dict[tuple[int, tuple[str, ...]], tuple[Content, dict[str, Any]]] = {}
_MOST_EVIDENCE = 4096


def make_offer(candidate: Candidate) -> Offer:
    """Write the offer of a candidate that every gate let pass; ``key`` is the decision's id.

    Raises ValueError where there is nothing to offer, or nobody agreed to it.
    """
    campaign, trigger = candidate.campaign, candidate.trigger
    written = _write(candidate)
    channel, _ = consented_channel(candidate)
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
    )


def _write(candidate: Candidate) -> Content:
    person, rules, event = candidate.person, candidate.rules, candidate.trigger.event
    reader = ANYBODY
    if person.attributes or person.endpoints or event is not None or candidate.stock_left:
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
