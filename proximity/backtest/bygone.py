"""What was known of people at each moment of a time that is over?

Goes through a past time with whoever decides it again, and gives what people had done and where
they had been by then: not what came later. Reads the store; knows no campaign and no gate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from proximity.consent.optin import EVENTS
from proximity.people.behaviour import MOST
from proximity.people.facts import NOTHING, Happened, Profile, Stay
from proximity.store.schema import events, visits

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import PlaceFacts
    from proximity.model import Transition

__all__ = ["Bygone"]

_decode = msgspec.json.Decoder(dict[str, str | float | bool | None]).decode


class _Life:
    """What one person did and where they were: all events, and the visits told of so far."""

    def __init__(self) -> None:
        self.events: list[Happened] = []
        self.stays: dict[str, Stay] = {}


class Bygone:
    """People's events and visits as they were known while a past time goes by.

    ``since`` and ``until`` (Unix seconds) bound that time, ``back_s`` how far before it anything
    matters; 0: nobody will ask.
    """

    def __init__(
        self,
        connection: Connection,
        places: Callable[[str], PlaceFacts],
        since: float,
        until: float,
        back_s: float,
    ) -> None:
        self._connection = connection
        self._places = places
        self._since = since
        self._until = until
        self._back_s = back_s
        self._lives: dict[str, _Life] = {}
        self._present: dict[str, dict[str, str]] = {}

    def tell(self, change: Transition, person: str) -> None:
        """Take in what a transition tells, when its time has come."""
        present = self._present.setdefault(change.subject, {})
        if change.kind == "enter":
            present[change.place] = change.visit
        elif change.kind == "exit":
            present.pop(change.place, None)
        if not self._back_s or change.kind not in {"enter", "exit", "corrected"}:
            return
        stays = self._life(person).stays
        known = stays.get(change.visit)
        if change.kind == "exit":
            if known is not None:
                stays[change.visit] = msgspec.structs.replace(known, exit_at=change.at)
            return
        stays.pop(change.visit, None)
        entered = change.enter_at if change.kind == "corrected" else change.at
        if entered is not None:
            tags = self._places(change.place).venue_tags
            stay = Stay(change.visit, change.place, entered, change.exit_at, tags)
            stays[change.visit] = stay

    def present(self, subject: str) -> dict[str, str]:
        """Give the places in which a subject is by now, as was told, each with the visit's id."""
        return self._present.get(subject, {})

    def profile(self, person: str, since: float, now: float, *, asking: bool = False) -> Profile:
        """Give what was known of a person at Unix second ``now``, back to ``since``.

        As ``behaviour.read_profiles`` would have read it then; where somebody is ``asking`` for a
        consent, with all answers, as ``asked.with_answers`` adds them.
        """
        life = self._life(person)
        did = [one for one in life.events if since <= one.at <= now][-MOST:]
        if asking:
            lately = {one.id for one in did}
            answers = [one for one in life.events if one.name in EVENTS and one.at <= now]
            did = sorted(
                [*did, *(one for one in answers if one.id not in lately)],
                key=lambda one: (one.at, one.id),
            )
        stayed = [one for one in life.stays.values() if one.exit_at is None or one.exit_at >= since]
        if not did and not stayed:
            return NOTHING
        stayed.sort(key=lambda one: (one.enter_at, one.visit))
        return Profile(tuple(did), tuple(stayed[-MOST:]), since)

    def _life(self, person: str) -> _Life:
        life = self._lives.get(person)
        if life is None:
            life = self._lives[person] = self._read(person)
        return life

    def _read(self, person: str) -> _Life:
        """Read a person's events, and the visits that had begun before the time in question."""
        life, oldest = _Life(), self._since - self._back_s
        did = (
            sa.select(events)
            .where(events.c.person == person, events.c.at < self._until)
            .where(sa.or_(events.c.at >= oldest, events.c.name.in_(sorted(EVENTS))))
            .order_by(events.c.at, events.c.id)
        )
        for row in self._connection.execute(did):
            happened = Happened(row.name, row.at, _decode(row.properties), row.place, row.id)
            life.events.append(happened)
        over = sa.or_(visits.c.exit_at.is_(None), visits.c.exit_at >= oldest)
        were = sa.select(visits).where(
            visits.c.person == person, visits.c.enter_at < self._since, over
        )
        for row in self._connection.execute(were.order_by(visits.c.enter_at, visits.c.visit)):
            # What ended later had not ended then.
            exit_at = row.exit_at if row.exit_at is None or row.exit_at < self._since else None
            tags = self._places(row.place).venue_tags
            life.stays[row.visit] = Stay(row.visit, row.place, row.enter_at, exit_at, tags)
        return life
