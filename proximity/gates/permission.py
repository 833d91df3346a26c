"""The question: did this person allow such a message, here, on this channel, at their age.

Gates on consent, location, age, objection and preference: pure, each with the evidence it judged
by. It must not know how consents are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.campaigns.purposes import LOCATION_PURPOSES, PUBLIC_CHANNELS, PURPOSES, presses
from proximity.campaigns.reach import Terms, addresses
from proximity.campaigns.recall import FEW, recall, recall_both
from proximity.model import format_time
from proximity.windows import load_zone, within

if TYPE_CHECKING:
    from proximity.campaigns.campaigns import Campaign, Campaigns, PlaceFacts
    from proximity.gates.candidates import Candidate
    from proximity.model import Consent, Person, Preference
    from proximity.windows import Window

__all__ = [
    "AGES", "DEFAULT_AGE", "age", "allows", "consent", "consented_channel", "is_quiet_wish",
    "least_age", "location", "needs_address", "objection", "own_zone", "preference",
    "quiet_windows", "reach", "routes",
]  # fmt: skip

AGES = {
    "AT": 14, "BE": 13, "BG": 14, "CY": 14, "CZ": 15, "DE": 16, "DK": 15, "EE": 13, "ES": 14,
    "FI": 13, "FR": 15, "GB": 13, "GR": 15, "HR": 16, "HU": 16, "IE": 16, "IS": 13, "IT": 14,
    "LI": 16, "LT": 14, "LU": 16, "LV": 13, "MT": 13, "NL": 16, "NO": 13, "PL": 16, "PT": 13,
    "RO": 16, "SE": 13, "SI": 15, "SK": 16, "US": 13,
}  # fmt: skip
"""Years from which somebody agrees for themselves: GDPR, article 8, as each state has set it; COPPA
in the United States. A law that changes is a number here, or ``[age] least`` in the file."""
DEFAULT_AGE = 16
"""Where a country has set none: article 8 itself."""
_UNKNOWN = Terms()
LOWEST_AGE = 13
"""Whoever is younger is too young everywhere."""


def allows(
    consent: Consent, purpose: str, channel: str, at: float, kind: str | None = None
) -> bool:
    """Whether one consent is a yes to this purpose on this channel at Unix second ``at``.

    ``kind`` is what a channel with a name of its own is of: who agreed to e-mail agreed to each of
    them, and who agreed to push alone to none.
    """
    row = PURPOSES.get(purpose)
    wanted = (purpose,) if row is None else row.consents
    if not wanted:  # the question itself: any yes in force is one to being spoken to
        return consent.holds(at)
    return (
        consent.purpose in wanted
        and consent.channel in {None, "*", channel, kind}
        and (consent.purpose != "push-marketing" or (kind or channel) not in PUBLIC_CHANNELS)
        and consent.holds(at)
    )


def consented_channel(candidate: Candidate) -> tuple[str | None, Consent | None]:
    """Find the channel that an offer takes, and the consent that allows it.

    It is the first of the campaign's that the person has agreed to, that they want and on which
    they can be reached; else the first that they want, else the first that they agreed to. A
    consent without a channel, or for ``*``, holds for all. Where consent is kept upstream each
    channel counts as agreed to.
    """
    best: tuple[str | None, Consent | None] = (None, None)
    rank = 0
    for channel in candidate.campaign.channels:
        found = None
        if not candidate.assumed:
            found = _consent_for(candidate, channel)
            if found is None:
                continue
        if candidate.person.preferences and _refusal(candidate, channel) is not None:
            this = 1
        elif not _reached(candidate, channel):
            this = 2
        else:
            return channel, found
        if this > rank:
            best, rank = (channel, found), this
    return best


def routes(candidate: Candidate) -> tuple[str, ...]:
    """Give the channels that an offer may take, in the order in which they are tried.

    Each of them the person has agreed to, wants and can be reached on.
    """
    return tuple(
        channel
        for channel in candidate.campaign.channels
        if (candidate.assumed or _consent_for(candidate, channel) is not None)
        and not (candidate.person.preferences and _refusal(candidate, channel) is not None)
        and _reached(candidate, channel)
    )


def reach(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass whom one of the campaign's channels reaches: they left an address, if it needs one.

    Which addresses is nobody's business here: a record says how many.
    """
    if not needs_address(candidate.campaign, candidate.rules):
        return True, {"needed": False}
    channel, _ = consented_channel(candidate)
    if channel is None:  # of whom nothing may be told: where they can be reached is no matter
        return True, {"channel": None}
    terms = candidate.rules.channel_terms.get(channel, _UNKNOWN)
    if terms.addressed is None:
        return True, {"channel": channel, "needed": False}
    count = len(addresses(candidate.person, terms))
    return count > 0, {"channel": channel, "endpoints": count}


def needs_address(campaign: Campaign, rules: Campaigns) -> bool:
    """Whether any of a campaign's channels reaches only whom it has an address of."""
    terms = rules.channel_terms
    return any(terms.get(one, _UNKNOWN).addressed is not None for one in campaign.channels)


def _reached(candidate: Candidate, channel: str) -> bool:
    terms = candidate.rules.channel_terms.get(channel, _UNKNOWN)
    return terms.addressed is None or bool(addresses(candidate.person, terms))


def _consent_for(candidate: Candidate, channel: str) -> Consent | None:
    purpose, now = candidate.campaign.purpose, candidate.now
    kind = candidate.rules.channel_terms.get(channel, _UNKNOWN).kind
    row = PURPOSES.get(purpose)
    wanted = (purpose,) if row is None else row.consents
    for one in candidate.person.consents:
        # Looked at before it is asked about: most are of another purpose, and all are looked at.
        if wanted and (one.purpose not in wanted or one.channel not in (channel, kind, None, "*")):
            continue
        if allows(one, purpose, channel, now, kind):
            return one
    return None


def consent(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass whom the person has allowed this purpose on one of the campaign's channels."""
    channel, found = consented_channel(candidate)
    because: dict[str, Any] = {"purpose": candidate.campaign.purpose, "channel": channel}
    if candidate.assumed:
        because["assumed"] = True
    elif found is None:
        because["channels"] = list(candidate.campaign.channels)
    else:
        if found.purpose != candidate.campaign.purpose:
            because["by"] = found.purpose
        because["from"], because["until"] = _span(found)
    return channel is not None, because


@recall
def _span(found: Consent) -> tuple[str | None, str | None]:
    since, until = found.since, found.until
    return (
        None if since is None else format_time(since),
        None if until is None else format_time(until),
    )


def location(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass what was told without locating anybody, or by leave of the person.

    Who has said anything of being located this way needs a yes in force; who never did is taken by
    their other consents, unless the file says ``location_consent = "required"``.
    """
    source = candidate.trigger.source
    purposes = LOCATION_PURPOSES.get(source)
    if purposes is None:
        return True, {"source": source}
    if candidate.assumed:
        return True, {"source": source, "assumed": True}
    said = [one for one in candidate.person.consents if one.purpose in purposes]
    if not said:
        implied = candidate.rules.location_consent == "implied"
        return implied, {"source": source, "said": False, "implied": implied}
    held = next((one.purpose for one in said if one.holds(candidate.now)), None)
    return held is not None, {"source": source, "said": True, "purpose": held}


def least_age(country: str | None, rules: Campaigns) -> int | None:
    """Give the years that somebody there must have for marketing; None where nobody can say."""
    if rules.age is not None and rules.age.least is not None:
        return rules.age.least
    if country is None:
        return None if rules.age is not None else LOWEST_AGE
    return AGES.get(country, DEFAULT_AGE)


def age(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass who is old enough, and where the file does not ask for ages, who is not too young.

    Binds what presses as marketing does.
    """
    person, rules = candidate.person, candidate.rules
    if not presses(candidate.campaign.purpose):
        return True, {"purpose": candidate.campaign.purpose}
    known, country = _age_of(person)
    if known is None:
        return rules.age is None, {"known": False, "asked": rules.age is not None}
    least = least_age(country, rules)
    because = {"known": True, "jurisdiction": country, "least": least}
    return least is not None and known >= least, because


def _read_age(person: Person) -> tuple[int | None, str | None]:
    return person.least_age, person.jurisdiction


_age_of = recall(_read_age, FEW)


def objection(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass unless the person objects to what presses as marketing does."""
    because = {"objected": candidate.objected}
    return not (candidate.objected and presses(candidate.campaign.purpose)), because


def preference(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass what the person wants, by the last of their preferences that speaks of it.

    Where none does it is wanted. Service is not a matter of taste. Hours in which nothing is wanted
    at all are quiet hours of their own.
    """
    rows = candidate.person.preferences
    if not rows or candidate.campaign.purpose == "service":
        return True, {"rows": len(rows)}
    channel, _ = consented_channel(candidate)
    because: dict[str, Any] = {"rows": len(rows)}
    number = _speaking(candidate, channel)
    if number is None:
        return True, because
    row = rows[number]
    because |= {"row": number + 1, "allow": row.allow}
    for name in ("topic", "channel", "place"):
        if getattr(row, name) is not None:
            because[name] = getattr(row, name)
    if row.windows is not None:
        because["hours"] = [window.to_record() for window in row.windows]
    return row.allow, because


def _refusal(candidate: Candidate, channel: str | None) -> Preference | None:
    """Give the preference by which this channel is not wanted, if it is not."""
    if candidate.campaign.purpose == "service":
        return None
    number = _speaking(candidate, channel)
    row = None if number is None else candidate.person.preferences[number]
    return None if row is None or row.allow else row


def _speaking(candidate: Candidate, channel: str | None) -> int | None:
    """Find the last preference that speaks of such a message now.

    Where it names hours and nobody knows the person's zone, a no speaks at any hour and a yes at
    none.
    """
    place, topic = candidate.place, candidate.campaign.topic
    places = (place.id, *place.parents)
    rows = candidate.person.preferences
    for number in range(len(rows) - 1, -1, -1):
        row = rows[number]
        if not row.names(topic, channel, places) or is_quiet_wish(row):
            continue
        windows = row.windows
        if windows is None:
            return number
        zone = load_zone(own_zone(candidate.person, place))
        if not row.allow if zone is None else within(windows, candidate.now, zone):
            return number
    return None


def is_quiet_wish(row: Preference) -> bool:
    """Whether a preference says that at some hours nothing is wanted, whatever it is."""
    return (
        not row.allow
        and row.hours is not None
        and row.topic is None
        and row.channel is None
        and row.place is None
    )


def quiet_windows(person: Person, rules: Campaigns) -> tuple[Window, ...]:
    """Give the quiet hours that hold for a person: the file's, and their own."""
    if not person.preferences:
        return rules.quiet_hours
    return _all_quiet(person.preferences, rules.quiet_hours)


@recall_both
def _all_quiet(
    preferences: tuple[Preference, ...], windows: tuple[Window, ...]
) -> tuple[Window, ...]:
    own: list[Window] = []
    for row in preferences:
        if is_quiet_wish(row):
            own += row.windows or ()
        elif row.allow and (row.topic, row.channel, row.place, row.hours) == (None,) * 4:
            own.clear()  # whoever wants everything again wants it at those hours, too
    return (*windows, *own) if own else windows


def own_zone(person: Person, place: PlaceFacts) -> str | None:
    """Give the person's zone, else the place's; one that is named but unknown stays unknown."""
    return person.timezone if person.timezone is not None else place.timezone
