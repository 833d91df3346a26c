"""A town whose people come, are sent things and agree to things, written straight into a store.

Every number that a report may tell is there again as the set of people that it is of: what a test
holds against what an attacker can learn.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection

from proximity.consent import consents
from proximity.model import Consent, Decision, Delivery, Verdict
from proximity.reports.reports import DAY_S, WEEK_S
from proximity.store import Store, ledger, schema

MONDAY = 1_699_833_600.0  # 2023-11-13 00:00 UTC
END = MONDAY + 2 * WEEK_S
PLACES = {"mall": None, "mall/cafe": "mall", "mall/shoes": "mall", "kiosk": None}
REASONS = ("capped", "no_consent", "quiet_hours")

NOT_PEOPLE = {"visits", "cost", "sends", "spent"}
"""Columns that are of no set of people."""

Cell = tuple[str, float, str, str]
"""A number of a report: its name, begin, row and column."""


class Town:
    """What happened in two weeks; ``people`` are those that each number is of."""

    def __init__(self, seed: int, size: int) -> None:
        self.dice = random.Random(seed)
        self.who = [f"p{number}" for number in range(size)]
        self.people: dict[Cell, set[str]] = defaultdict(set)
        self.visits: list[dict[str, Any]] = []
        self.items: list[Decision | Delivery] = []
        self.sends: list[dict[str, Any]] = []
        self.agreed: list[tuple[str, Consent]] = []
        for number in range(14):
            self._day(MONDAY + number * DAY_S)
        self._weeks()
        self._agree()

    def write(self, store: Store) -> None:
        """Put all of it into a store."""

        def work(conn: Connection) -> None:
            for row in self.visits:
                conn.execute(schema.visits.insert(), row)
            for row in self.sends:
                conn.execute(schema.sends.insert(), row)
            ledger.append(conn, [ledger.entry(item) for item in self.items])
            for person, consent in self.agreed:
                consents.grant(conn, person, consent, source="test", now=MONDAY)

        store.write(work).result()

    def _some(self) -> list[str]:
        """A crowd, or a handful, or a crowd but for a handful."""
        size = len(self.who)
        count = self.dice.choice([0, 3, 9, 10, 12, size // 2, size - 2, size])
        return self.dice.sample(self.who, min(count, size))

    def _day(self, day: float) -> None:
        for place, parent in PLACES.items():
            crowd = self._some()
            if parent is not None:
                # Whoever is in the café is in the mall.
                inside = sorted(self.people["visits", day, parent, "people"])
                crowd = self.dice.sample(inside, self.dice.randint(0, len(inside)))
            for person in crowd:
                at = day + self.dice.random() * (DAY_S - 1)
                self.people["visits", day, place, "people"].add(person)
                self.visits.append(
                    {
                        "visit": f"{place}/{person}/{day}",
                        "person": person,
                        "subject": person,
                        "place": place,
                        "enter_at": at,
                        "exit_at": at + 60.0,
                    }
                )

    def _weeks(self) -> None:
        for week in (MONDAY, MONDAY + WEEK_S):
            sent: dict[str, int] = defaultdict(int)
            for campaign in ("coffee", "shoes"):
                for person in self._some():
                    self._decide(week, campaign, person, sent)
            for person, count in sent.items():
                band = "5 to 9" if count >= 5 else str(count)
                self.people["fatigue", week, band, "people"].add(person)

    def _decide(self, week: float, campaign: str, person: str, sent: dict[str, int]) -> None:
        self.people["funnel", week, campaign, "met"].add(person)
        for number in range(self.dice.choice([1, 1, 3])):
            key = f"{campaign}/{person}/{week}/{number}"
            reason = self.dice.choice([None, None, *REASONS])
            at = week + self.dice.random() * (WEEK_S - 1)
            verdict = Verdict.SEND if reason is None else Verdict.SUPPRESS
            common = {"campaign": campaign, "person": person, "subject": person, "place": "mall"}
            self.items.append(
                Decision(
                    id=key, decision=verdict, reason=reason, version=1, visit="v", at=at, **common
                )
            )
            if reason is not None:
                self.people["funnel", week, campaign, reason].add(person)
                continue
            self.people["funnel", week, campaign, "sent"].add(person)
            sent[person] += 1
            self.sends.append(
                {
                    "decision": key,
                    "person": person,
                    "campaign": campaign,
                    "purpose": "marketing",
                    "place": "mall",
                    "visit": "v",
                    "at": at,
                }
            )
            outcome = self.dice.choice(["accepted", "accepted", "failed"])
            if outcome == "accepted":
                self.people["funnel", week, campaign, "delivered"].add(person)
                self.people["spend", week, "console", "people"].add(person)
            self.items.append(
                Delivery(key=key, channel="console", attempt=1, outcome=outcome, at=at, **common)
            )

    def _agree(self) -> None:
        for purpose in ("marketing", "content", "service"):
            for person in self._some():
                self.agreed.append((person, Consent(purpose=purpose, since=MONDAY + 1)))
                for week in (MONDAY, MONDAY + WEEK_S):
                    self.people["consents", week, purpose, "people"].add(person)


def cells(report: str, begin: float, rows: list[dict[str, Any]]) -> Iterator[tuple[Cell, int]]:
    """Give every number of people that a period of a report tells, by its cell."""
    for row in rows:
        (_, about), *columns = row.items()
        for column, value in columns:
            if isinstance(value, dict):
                yield from (((report, begin, about, name), count) for name, count in value.items())
            elif value is not None and column not in NOT_PEOPLE:
                yield (report, begin, about, column), value


def possible(told: int, of: Callable[[int], int | None]) -> set[int]:
    """Give every count that would have been told as this one."""
    return {count for count in range(told - 20, told + 21) if count >= 0 and of(count) == told}
