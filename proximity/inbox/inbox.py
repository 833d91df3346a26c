"""The question: what lies in a person's inbox at this moment, and has it changed since they looked.

An offer lies there from its hand-over, on whichever channel, until it is over, set aside, or not
allowed any more: what its person agreed to is asked anew at every look. Looking is cheap, because
apps look every few minutes and mostly find what they have: no offer is read for it. Functions on
the caller's connection; times are Unix seconds. It must not know HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from proximity.channels.inbox import Inbox, poll_s
from proximity.consent import objections
from proximity.content import stamps
from proximity.dispatch import handing
from proximity.gates.gates import GATES
from proximity.model import Offer, format_time
from proximity.store.keys import find_key
from proximity.store.schema import codes, offers

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.dispatch.weighing import World
    from proximity.model import Person

__all__ = ["INTERVAL", "Item", "Look", "Row", "is_shown", "look", "open_items", "row_of"]

INTERVAL = "inbox_minutes"
"""The attribute by which people say how often their app may look: minutes (``people.tagging``)."""

HOLDS = frozenset({"active", "consent", "location", "age", "objection", "preference"})
"""Gates that are asked at every look: what the person may have changed, and the marketer. Hours and
quiet hours are not: whoever opens their inbox at night wants to see it."""
MOST_LYING = 200
"""Offers of one inbox, the newest ones: caps let far fewer be sent to anybody in their lifetime."""

_GATES = tuple(gate for gate in GATES if gate.name in HOLDS)
_ROW = (
    offers.c.key, offers.c.person, offers.c.campaign, offers.c.expires_at, offers.c.state,
    offers.c.changed, offers.c.read_at, offers.c.redeemed_at,
)  # fmt: skip
_LYING = (
    sa.select(*_ROW)
    .where(
        offers.c.person == sa.bindparam("whose"),
        offers.c.in_inbox == 1,
        offers.c.expires_at > sa.bindparam("now"),
        offers.c.state != "suppressed",
    )
    .order_by(offers.c.changed.desc())
    .limit(MOST_LYING)
)
_TEXTS = (
    sa.select(offers.c.key, offers.c.offer, codes.c.code)
    .select_from(offers.outerjoin(codes, codes.c.key == offers.c.key))
    .where(offers.c.key.in_(sa.bindparam("keys", expanding=True)))
)
_ONE = sa.select(*_ROW).where(offers.c.key == sa.bindparam("its_key"))
_THERE = sa.select(offers.c.in_inbox).where(offers.c.key == sa.bindparam("its_key"))

_decode = msgspec.msgpack.Decoder(Offer).decode
_encode = msgspec.msgpack.Encoder().encode


class Row(NamedTuple):
    """What is known of an offer without reading it; ``changed`` counts changes: a cursor."""

    key: str
    person: str
    campaign: str
    expires_at: float
    state: str
    changed: int
    read_at: float | None
    redeemed_at: float | None


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An offer as its reader finds it; times are RFC 3339.

    ``link`` leads to it, ``withdraw`` to a page where one says no to more of the kind. ``redeem``
    is how it is redeemed here (None: not at all), ``code`` what was given for it at the till.
    """

    key: str
    campaign: str
    place: str
    title: str | None
    text: str
    language: str
    link: str | None
    links: dict[str, str]
    terms: str | None
    created_at: str
    expires_at: str
    state: str
    read_at: str | None
    redeemed_at: str | None
    redeem: str | None
    code: str | None
    withdraw: str | None


class Look(NamedTuple):
    """What one look found: ``rows`` newest first, and a ``mark`` that changes with what is shown.

    ``poll_s`` is in how many seconds to look again.
    """

    person: Person
    rows: tuple[Row, ...]
    objected: bool
    mark: bytes
    poll_s: float
    now: float


def look(connection: Connection, world: World, person: str, now: float) -> Look:
    """Look into a person's inbox at Unix second ``now``, reading no offer."""
    rules = world.campaigns()
    found = connection.execute(_LYING, {"whose": person, "now": now})
    rows = tuple(Row(*row) for row in found)
    who = world.people.read(connection, person)
    objected = bool(objections.marked(connection, {person}, "objected"))
    every_s = _every_s(who, poll_s(rules.channel.get(Inbox.name, {})))
    hourly = any(one.hours is not None for one in who.preferences)
    seen: list[Any] = [
        [(row.key, row.changed, _runs(world, row.campaign, now)) for row in rows],
        [(one.purpose, one.channel) for one in who.consents if one.holds(now)],
        who.preferences, who.attributes, who.timezone, objected, rules.version, every_s,
        # Hours that somebody wants nothing at begin on a minute; the link to withdraw is the day's.
        now // (60.0 if hourly else 86400.0),
    ]  # fmt: skip
    return Look(who, rows, objected, _encode(seen), every_s, now)


def open_items(
    connection: Connection, world: World, looked: Look, after: int = 0, limit: int = MOST_LYING
) -> tuple[list[Item], list[str], int]:
    """Read what a look found: the items, the keys of all that lie there, and the cursor after them.

    Items are those that changed after cursor ``after``, oldest change first, at most ``limit``.
    """
    rows = sorted(looked.rows, key=lambda row: row.changed)
    asked = {"keys": [row.key for row in rows]}
    texts = {key: (_decode(offer), code) for key, offer, code in connection.execute(_TEXTS, asked)}
    lying = [row for row in rows if row.key in texts and _may(world, looked, texts[row.key][0])]
    new = [row for row in lying if row.changed > after]
    shown = new[:limit]
    by = _stamp(connection, world, looked.now)
    items = [_item(world, row, *texts[row.key], by) for row in shown]
    # What was passed over is behind the cursor too, but never what is still to come.
    last = shown[-1:] if len(shown) < len(new) else rows[-1:]
    cursor = max([after, *(row.changed for row in last)])
    return items, [row.key for row in lying], cursor


def row_of(
    connection: Connection, world: World, key: str, now: float
) -> tuple[Row, Offer, Item] | None:
    """Give one offer as it stands and as its reader sees it; None where there is none of that key.

    It may be over, or withdrawn: whoever asks looks at the row.
    """
    found = connection.execute(_ONE, {"its_key": key}).first()
    if found is None:
        return None
    row = Row(*found)
    (_, offer, code), *_ = connection.execute(_TEXTS, {"keys": [key]})
    said = _decode(offer)
    return row, said, _item(world, row, said, code, _stamp(connection, world, now))


def is_shown(connection: Connection, world: World, row: Row, offer: Offer, now: float) -> bool:
    """Whether an offer lies in its person's inbox, or did until it was over or set aside.

    Not one that was never handed over, nor one that they would not be let read any more.
    """
    was_there = connection.scalar(_THERE, {"its_key": row.key})
    return bool(was_there) and _may(world, look(connection, world, row.person, now), offer)


def _every_s(person: Person, otherwise: float) -> float:
    """Give how often a person wants their app to look, in seconds."""
    said = person.attributes.get(INTERVAL)
    if isinstance(said, bool) or not isinstance(said, int | float):
        return otherwise
    return min(max(said * 60.0, 60.0), 86400.0)


def _runs(world: World, campaign: str, now: float) -> bool:
    """Whether a campaign is in force: a look costs no more than this of what gates would ask."""
    one = world.campaigns().get(campaign)
    return (
        one.active
        and (one.valid_from is None or one.valid_from <= now)
        and (one.valid_until is None or now < one.valid_until)
    )


def _may(world: World, looked: Look, offer: Offer) -> bool:
    """Whether the person would still be let read this on this channel, as things stand."""
    candidate = handing.candidate_of(
        world, offer, looked.person, looked.now, objected=looked.objected, channel=Inbox.name
    )
    return all(gate.judge(candidate)[0] for gate in _GATES)


def _stamp(connection: Connection, world: World, now: float) -> stamps.Stamp | None:
    """Give what links are signed with, without making a key: whatever was sent had one made."""
    url = world.campaigns().public_url
    key = None if url is None else find_key(connection, "links")
    return None if url is None or key is None else stamps.Stamp(key, url, now)


def _item(world: World, row: Row, offer: Offer, code: str | None, by: stamps.Stamp | None) -> Item:
    # The links are those of this channel: a withdrawal from here speaks of the inbox.
    told = stamps.stamp(replace(offer, channel=Inbox.name), by)
    return Item(
        key=row.key,
        campaign=told.campaign,
        place=told.place,
        title=told.title,
        text=told.text,
        language=told.language,
        link=told.link,
        links=told.links,
        terms=told.terms,
        created_at=format_time(told.created_at),
        expires_at=format_time(row.expires_at),
        state=row.state,
        read_at=_time(row.read_at),
        redeemed_at=_time(row.redeemed_at),
        redeem=world.campaigns().get(told.campaign).redeem,
        code=code,
        withdraw=told.withdraw,
    )


def _time(at: float | None) -> str | None:
    return None if at is None else format_time(at)
