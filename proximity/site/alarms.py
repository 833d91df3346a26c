"""The question: which identities should an operator look at.

Keeps account of what ``suspects`` found of each subject's own and ``sharing`` of fixed beacons,
while sightings come in. It must not know how either judges, and changes no visit. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from proximity.engine.history import Subject
from proximity.engine.sharing import Sharing
from proximity.engine.standing import Standing
from proximity.engine.suspects import Alarm, alarms, suspect
from proximity.engine.trail import point_of
from proximity.model import Sighting


class Alarms:
    """Who was heard of under an identity that does not count, and where fixed ones were heard."""

    __slots__ = ("sharing", "subjects")

    def __init__(self) -> None:
        self.sharing = Sharing()
        self.subjects: set[str] = set()

    def note(self, subject: str, sighting: Sighting, standing: Standing) -> bool:
        """Take a sighting that was judged; whether its identity does not count."""
        ranging, last = standing.ranging, standing.last
        if last and sighting.subject is not None:
            at, lon, lat, accuracy_m = point_of(last)
            self.sharing.note(sighting, lon, lat, at, accuracy_m or None)
        if ranging is None or not ranging.quarantined:
            return False
        self.subjects.add(subject)
        return True

    def recall(self, subject: str, standing: Standing) -> None:
        """Take a subject of a snapshot."""
        if standing.ranging is not None and suspect(standing.ranging.watched):
            self.subjects.add(subject)

    def listed(self, known: Mapping[str, Subject | bytes], now: float) -> list[Alarm]:
        """List the identities that do not count at Unix second ``now``, or are more than one.

        ``known`` are the subjects that the engine remembers.
        """
        found = self.sharing.alarms()
        for name in sorted(self.subjects):
            subject = known.get(name)
            ranging = subject.standing.ranging if isinstance(subject, Subject) else None
            mine = [] if ranging is None else alarms(name, ranging.watched, now)
            if not mine:
                self.subjects.discard(name)
            found += mine
        return found
