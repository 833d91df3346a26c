"""How does somebody's yes arrive, and what goes with their no? Forms, texts, and what is forgotten.

The form in which a consent is sent here, with the words that were shown for it, and how it is
recorded with them. Knows people and texts; what a row means is ``consents``'. Every function works
on the connection of the caller's transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proximity.consent.objections import erased, lift, object_to, refuse_erased
from proximity.consent.precision import NOTHING, allowed
from proximity.consent.purposes import purpose_problem
from proximity.consent.texts import Wording, check_text, register
from proximity.dispatch import outbox
from proximity.model import Consent, Person
from proximity.sync.clocks import Told, note
from proximity.sync.fields import PERSON

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.consent.objections import Kind
    from proximity.dispatch.outbox import InFlight
    from proximity.people.people import People

__all__ = ["Grant", "left_without", "lift_mark", "record_grant", "record_objection"]

LONGEST_SOURCE = 200
"""Where a consent came from is a name or a URL, not an essay."""


class Grant(Consent, frozen=True, kw_only=True, rename={"since": "from"}):
    """A person's yes to one purpose, and where it came from (a form, a shop, a file).

    ``text`` is the SHA-256 of a registered text that was shown, or ``shown`` is that text itself,
    which is then registered with it. Raises ValueError where a field is out of range.
    """

    person: str
    purpose: str = ""
    source: str = "http"
    shown: Wording | None = None

    def __post_init__(self) -> None:
        problem = purpose_problem(self.purpose)
        if problem is not None:
            raise ValueError(problem)
        super().__post_init__()
        Person(person=self.person)
        if len(self.source) > LONGEST_SOURCE:
            raise ValueError(f"source must have at most {LONGEST_SOURCE} characters")
        if self.text is not None and self.shown is not None:
            raise ValueError("name the text by its SHA-256 as text, or give it as shown: not both")


def record_grant(people: People, connection: Connection, grant: Grant, now: float) -> None:
    """Record a yes at Unix second ``now``, and register what was shown with it.

    Raises ProximityError where the text asks for something else, or as ``People.grant`` does.
    """
    text = grant.text
    if grant.shown is not None:
        text = register(connection, grant.purpose, grant.shown, now)
    elif text is not None:
        check_text(connection, grant.purpose, text)
    consent = Consent(
        purpose=grant.purpose,
        channel=grant.channel,
        since=grant.since,
        until=grant.until,
        precision=grant.precision,
        method=grant.method,
        text=text,
    )
    people.grant(connection, grant.person, consent, grant.source)


def record_objection(
    connection: Connection, person: str, *, at: float, source: str
) -> list[InFlight]:
    """Record that a person objects from Unix second ``at``; give what is in flight.

    What waits to be sent to them is taken out with it. Raises Erased where they were erased.
    """
    refuse_erased(connection, (person,))
    object_to(connection, person, at=at, source=source)
    told = Told(at=at, origin=PERSON)
    note(connection, {person: {"objected": True}}, told, within="objected")
    return outbox.withdraw(connection, person, at=at, reason="objection")


def lift_mark(people: People, connection: Connection, person: str, kind: Kind) -> bool:
    """Lift an objection, or the mark of an erasure; tells whether there was one."""
    found = lift(connection, person, kind)
    if found:
        people.moved(connection, (person,))
    return found


def left_without(people: People, connection: Connection, person: str, at: float) -> tuple[str, ...]:
    """Name the subjects of a person who agrees no more to being located at Unix second ``at``.

    Else none. What is known of where they are must go: no timer may tell any more of it. Of who was
    erased nothing is known, and to name them in the journal would bring their id back.
    """
    if erased(connection, person):
        return ()
    known = people.read(connection, person)
    if any(one.holds(at) for one in known.consents) and allowed(known.consents, at) != NOTHING:
        return ()
    return tuple(dict.fromkeys((person, *known.subjects)))
