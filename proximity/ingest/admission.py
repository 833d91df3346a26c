"""May this record be kept, how exactly, and whose is it? Consent first, then time, then repeats.

What is not admitted is counted and leaves no trace; what is kept is as exact as its person agreed
to. Knows people, site and intake; no journal and no engine.
"""

from __future__ import annotations

from collections import Counter
from operator import methodcaller
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import force_setattr

from proximity.consent.precision import EVERYTHING, as_agreed, may_keep
from proximity.feeds.model import Rejected
from proximity.ingest.refusals import Refusals
from proximity.model import Sighting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proximity.consent.precision import Allowed
    from proximity.engine.intake import Intake
    from proximity.model import Record
    from proximity.people.people import People
    from proximity.site.registry import Site

# ``copy.copy`` looks for this first, in Python; there are hundreds of thousands a second of it.
_copied: Callable[[Record], Record] = methodcaller("__copy__")

_REASONS = {
    "future": "future: `at` is more than 60 s ahead of the server's clock; set the sender's clock"
}


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each record of a batch; they add up to its length.

    ``accepted`` records are on disk, or were rightly ignored (a beacon that nobody enrolled);
    ``unconsented`` ones are not: their person agreed to nothing, or not to that kind of record.
    ``unlisted`` is how many of the accepted or unconsented were ignored in that way, and is in
    their sum already.
    """

    accepted: int = 0
    duplicate: int = 0
    unconsented: int = 0
    late: int = 0
    unlisted: int = 0
    rejected: tuple[Rejected, ...] = ()


class Admission:
    """Judges records as they come in.

    ``consent`` ``required`` asks ``people``, ``assumed`` takes everybody's as given upstream.
    ``leaving`` are subjects whose erasure is being written: nothing of theirs may follow it.
    ``late_s`` is how far behind the server's clock a record may be; ``ignored`` counts
    sightings: ``unlisted`` of beacons and by gateways that the site does not know, ``elsewhere``
    by a gateway that the beacon is not bound to.
    """

    def __init__(
        self, people: People, intake: Intake, consent: Literal["required", "assumed"]
    ) -> None:
        self.intake = intake
        self.refusals = Refusals()
        self.ignored = Counter(unlisted=0, elsewhere=0)
        self.leaving: set[str] = set()
        self._people = people
        self._consent = consent

    def judge(
        self, records: Sequence[Record], lines: Sequence[int] | None, site: Site, now: float
    ) -> tuple[list[Record], Receipt]:
        """Judge a batch at Unix second ``now``; give what is to be kept, stamped, and the receipt.

        ``lines`` says where each record stood (else counted from 1). Raises StoreFailed where the
        people cannot be read; nothing is admitted then.
        """
        subjects = [
            record.subject if type(record) is not Sighting else carrier(record, site)
            for record in records
        ]
        agreed = self._agreed(subjects, now)
        gone = (
            self._people.erased(_named(subjects)) | self.leaving if agreed is None else self.leaving
        )
        oldest = now - self.intake.late_s
        counts = {"accepted": 0, "duplicate": 0, "unconsented": 0, "late": 0, "unlisted": 0}
        asked: list[Record] = []
        whose: list[str] = []
        places: list[int] = []
        for place, (record, subject) in enumerate(zip(records, subjects, strict=True)):
            if subject is None:
                # A stranger's tag is not written down, whoever is assumed to have agreed.
                elsewhere = type(record) is Sighting and site.elsewhere(record)
                self.ignored["elsewhere" if elsewhere else "unlisted"] += 1
                counts["accepted" if agreed is None else "unconsented"] += 1
                counts["unlisted"] += type(record) is Sighting
            elif subject in gone or (
                agreed is not None
                and (found := agreed.get(subject)) is not EVERYTHING
                and (found is None or not may_keep(record, found))
            ):
                counts["unconsented"] += 1
            elif record.at < oldest:
                counts["late"] += 1
                self.refusals.note(subject, "late")
            else:
                asked.append(record)
                whose.append(subject)
                places.append(place)
        # The caller's own records stay as they are. They were checked when they were made, so that
        # copying them checks nothing.
        asked = [*map(_copied, asked)]
        for stamped in asked:
            force_setattr(stamped, "received_at", now)
        if agreed is not None and any(found is not EVERYTHING for found in agreed.values()):
            asked = [
                as_agreed(record, agreed[subject])
                for record, subject in zip(asked, whose, strict=True)
            ]
        refusals = self.intake.admit_many(asked, whose)
        if not any(refusals):
            counts["accepted"] += len(asked)
            return asked, Receipt(**counts, rejected=())
        taken: list[Record] = []
        rejected: list[Rejected] = []
        for stamped, place, refusal in zip(asked, places, refusals, strict=True):
            if refusal is None:
                taken.append(stamped)
                continue
            self.refusals.note(subjects[place] or "", refusal)
            if refusal in _REASONS:
                line = place + 1 if lines is None else lines[place]
                rejected.append(Rejected(line, _REASONS[refusal]))
            else:
                counts[refusal] += 1
        counts["accepted"] += len(taken)
        return taken, Receipt(**counts, rejected=tuple(rejected))

    def _agreed(self, subjects: Sequence[str | None], now: float) -> dict[str, Allowed] | None:
        """Tell what may be kept of those of whom there is a yes in force; None: everybody, all."""
        if self._consent == "assumed":
            return None
        asked = _named(subjects)
        self._people.know(asked, consents=True)
        return {
            subject: found
            for subject in asked
            if (found := self._people.allows(subject, now)) is not None
        }


def _named(subjects: Sequence[str | None]) -> set[str]:
    return {subject for subject in subjects if subject is not None}


def carrier(sighting: Sighting, site: Site) -> str | None:
    """Name whose sighting it is; None where it is nobody's."""
    whose = site.who(sighting)
    return None if whose is None else whose[0]
