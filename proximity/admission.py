"""May this record be kept, and whose is it? Consent first, then time, then repeats.

What is not admitted is counted and leaves no trace. Knows people, site and intake; no journal and
no engine.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from proximity.feeds.model import Rejected
from proximity.model import Sighting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.intake import Intake
    from proximity.model import Record
    from proximity.people import People
    from proximity.registry import Site

_REASONS = {
    "future": "future: `at` is more than 60 s ahead of the server's clock; set the sender's clock"
}


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each record of a batch; they add up to its length.

    ``accepted`` records are on disk, or were rightly ignored (a beacon that nobody enrolled).
    """

    accepted: int = 0
    duplicate: int = 0
    unconsented: int = 0
    late: int = 0
    rejected: tuple[Rejected, ...] = ()


class Admission:
    """Judges records as they come in.

    ``consent`` ``required`` asks ``people``, ``assumed`` takes everybody's as given upstream.
    ``leaving`` are subjects whose erasure is being written: nothing of theirs may follow it.
    ``late_s`` is how far behind the server's clock a record may be; ``unlisted`` counts sightings
    of beacons and by gateways that the site does not know.
    """

    def __init__(
        self, people: People, intake: Intake, consent: Literal["required", "assumed"]
    ) -> None:
        self.intake = intake
        self.unlisted = 0
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
        taken: list[Record] = []
        counts: Counter[str] = Counter()
        rejected: list[Rejected] = []
        try:
            for line, record in zip(lines or itertools.count(1), records, strict=False):
                verdict = self._judge(record, site, now, taken)
                if verdict in _REASONS:
                    rejected.append(Rejected(line, _REASONS[verdict]))
                else:
                    counts[verdict] += 1
        except BaseException:
            # Not judged to the end: those admitted so far must not count as repeats next time.
            for record in taken:
                self.intake.forget(record)
            raise
        return taken, Receipt(**counts, rejected=tuple(rejected))

    def _judge(self, record: Record, site: Site, now: float, taken: list[Record]) -> str:
        """Say what becomes of a record, by the name that the receipt has; add it to ``taken``."""
        subject = record.subject
        if isinstance(record, Sighting):
            whose = site.who(record)
            if whose is None:
                # A stranger's tag is not written down, whoever is assumed to have agreed.
                self.unlisted += 1
                return "accepted" if self._consent == "assumed" else "unconsented"
            subject = whose[0]
        assert subject is not None  # only a sighting may lack one
        if self._consent == "required" and not self._agreed(subject, now):
            return "unconsented"
        if record.at < now - self.intake.late_s:
            return "late"
        stamped = msgspec.structs.replace(record, received_at=now)
        refusal = self.intake.admit(stamped, subject)
        if refusal is not None:
            return refusal
        taken.append(stamped)
        return "accepted"

    def _agreed(self, subject: str, now: float) -> bool:
        """Whether there is a yes in force as the record comes in."""
        return subject not in self.leaving and self._people.may_process(subject, now)
