"""What has been sent to whom: what caps, cooldowns and contests count.

A row is a reservation, written in the transaction that decides; other systems' sends stand beside
our own. Functions on the caller's connection; times are Unix seconds.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import sqlalchemy as sa
from msgspec.structs import replace

from proximity.gates.candidates import Send
from proximity.store.schema import sends

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import PlaceFacts
    from proximity.gates.candidates import Candidate
    from proximity.model import Offer

__all__ = ["carry_on", "known", "lock", "made", "read", "reserve", "won"]

_AT_ONCE = 500
"""Ids in one statement: SQLite may be built to take no more than 999 variables."""
_FIELDS = (
    sends.c.decision, sends.c.campaign, sends.c.purpose, sends.c.at, sends.c.place, sends.c.visit,
    sends.c.channel, sends.c.system,
)  # fmt: skip
_LOCK = sa.text("SELECT pg_advisory_xact_lock(one) FROM unnest(CAST(:keys AS bigint[])) AS one")
_READ = (
    sa.select(sends.c.person, *_FIELDS)
    .where(sends.c.person.in_(sa.bindparam("people", expanding=True)))
    .where(sends.c.at > sa.bindparam("since"))
    .order_by(sends.c.at, sends.c.decision)
)
_CARRY_ON = (
    sends.update()
    .where(sends.c.decision == sa.bindparam("its_decision"))
    .values(channel=sa.bindparam("its_channel"))
)
_WON = (
    sa.select(sends.c.moment, *_FIELDS)
    .where(sends.c.person.in_(sa.bindparam("people", expanding=True)))
    .where(sends.c.moment.in_(sa.bindparam("moments", expanding=True)))
)


def lock(connection: Connection, people: Collection[str]) -> None:
    """Let nobody else decide about these people until the transaction ends.

    On SQLite whoever writes is alone. On PostgreSQL two dispatchers would each count a person's
    sends without the other's, and a withdrawal would not see an offer that is just being made; they
    lock in one order, so that nobody waits in a ring.
    """
    if connection.dialect.name == "postgresql" and people:
        keys = sorted(_lock_key(person) for person in people)
        connection.execute(_LOCK, {"keys": keys})


def read(
    connection: Connection,
    people: Collection[str],
    since: float,
    facts: Callable[[str], PlaceFacts] | None = None,
) -> dict[str, list[Send]]:
    """Read each person's sends after Unix second ``since``, oldest first.

    ``facts`` tells what a place lies in, for caps of a place; None: no cap asks.
    """
    found: dict[str, list[Send]] = {person: [] for person in people}
    names = sorted(people)
    for start in range(0, len(names), _AT_ONCE):
        some = {"people": names[start : start + _AT_ONCE], "since": since}
        for person, *fields in connection.execute(_READ, some):
            send = Send(*fields)
            if facts is not None and send.place:
                send = replace(send, around=facts(send.place).parents)
            found[person].append(send)
    return found


def won(
    connection: Connection, people: Collection[str], moments: Collection[str]
) -> dict[str, list[Send]]:
    """Read the sends that were made of these moments already."""
    found: dict[str, list[Send]] = {}
    names, every = sorted(people), sorted(moments)
    for start in range(0, len(every), _AT_ONCE):
        some = {"people": names, "moments": every[start : start + _AT_ONCE]}
        for moment, *send in connection.execute(_WON, some):
            found.setdefault(moment, []).append(Send(*send))
    return found


def known(connection: Connection, decisions: Sequence[str]) -> set[str]:
    """Tell which of these decisions made a send; it is known for longer than the decision is."""
    found: set[str] = set()
    for start in range(0, len(decisions), _AT_ONCE):
        some = sends.c.decision.in_(decisions[start : start + _AT_ONCE])
        found.update(connection.scalars(sa.select(sends.c.decision).where(some)))
    return found


def made(candidate: Candidate, channel: str) -> Send:
    """Make the send of a candidate that every gate let pass."""
    trigger, campaign = candidate.trigger, candidate.campaign
    return Send(
        decision=trigger.id,
        campaign=campaign.id,
        purpose=campaign.purpose,
        at=candidate.now,
        place=trigger.place,
        visit=trigger.visit,
        channel=channel,
        around=candidate.place.parents,
    )


def reserve(connection: Connection, some: Sequence[tuple[Candidate, Send]]) -> None:
    """Count sends against the caps and cooldowns of their people."""
    rows = [
        {
            "decision": send.decision,
            "person": candidate.trigger.person,
            "campaign": send.campaign,
            "purpose": send.purpose,
            "place": send.place,
            "visit": send.visit,
            "at": send.at,
            "channel": send.channel,
            "system": None,
            "moment": candidate.trigger.moment or None,
        }
        for candidate, send in some
    ]
    connection.execute(sends.insert(), rows)


def carry_on(connection: Connection, some: Sequence[Offer]) -> None:
    """Note that other channels carry these offers now; each is the one send that it was."""
    if some:
        rows = [{"its_decision": one.key, "its_channel": one.channel} for one in some]
        connection.execute(_CARRY_ON, rows)


def _lock_key(person: str) -> int:
    """Give the number of a person's lock: of 64 bits, so that strangers hardly ever share one."""
    return int.from_bytes(hashlib.sha256(person.encode()).digest()[:8], signed=True)
