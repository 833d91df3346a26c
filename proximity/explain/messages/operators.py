"""English: what operators and marketers are told."""

from __future__ import annotations

from proximity.model import Reason

AUDIENCES = {
    "engineer": "all evidence: transitions, gates, deliveries, and what almost happened",
    "marketer": "a row for each campaign: what was decided, which gate stopped it, in words",
    "person": "plain sentences, in the person's language",
}
"""For whom an explanation may be, and what they get."""

REASONS: dict[str, str] = {
    Reason.STALE: "the trigger, or the evidence behind it, was too old",
    Reason.INACTIVE: "the campaign was not running",
    Reason.PLACE_CLOSED: "the place was closed",
    Reason.NO_CONSENT: "the person did not agree to this purpose on this channel",
    Reason.NO_LOCATION_CONSENT: "the person does not want to be located for this",
    Reason.AGE: "the person is too young for it, or their age is not known",
    Reason.OBJECTION: "the person objected to being sent anything",
    Reason.PREFERENCE: "the person does not want this topic, channel, place or hour",
    Reason.UNREACHABLE: "the person left no address for any channel of the campaign",
    Reason.SEGMENT: "the person is not in the audience",
    Reason.CONFIDENCE: "the engine was not sure enough of the presence",
    Reason.CONTEXT: "venue, time or what the person did lately did not fit",
    Reason.AFFINITY: "the person usually buys something contrary",
    Reason.BELOW_THRESHOLD: "it was worth too little to the person",
    Reason.ASK: "the person was asked often enough, or it is too early to ask",
    Reason.OUTSIDE_HOURS: "outside the campaign's hours",
    Reason.OFFER_WINDOW: "outside the part of the day for which the offer is",
    Reason.CAPPED: "the person had as many as the cap allows",
    Reason.COOLDOWN: "the person had this campaign too short a time ago",
    Reason.QUIET_HOURS: "quiet hours of the person",
    Reason.NO_CONTENT: "nothing could be written for the person",
    Reason.OUT_OF_STOCK: "nothing was left of its stock",
    Reason.OUTRANKED: "another campaign won the moment",
    Reason.FAULT: "it could not be decided: a fault of the program, which its log names",
}
"""Why nothing was sent, in words for operators and marketers: every reason there is."""
