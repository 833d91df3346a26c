"""The question: would the simulation find a fault? Faults to plant, each one that has been made.

A bug is a patch of the program under test, no longer than the slip of a hand that it stands for,
and a word of what the checks must say of it: whoever finds it for another reason has not found it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from proximity.dispatch import handing, outbox, sending, sends, stock
from proximity.engine.intake import Intake
from proximity.ingest import ingest, recovery
from proximity.ingest.backlog import Backlog
from proximity.model import Transition, digest
from proximity.people.people import People
from proximity.privacy import erasing
from proximity.store import journal

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    Patch = Callable[[pytest.MonkeyPatch], None]


class Bug(NamedTuple):
    """A fault to plant, and the words of which one is in what the checks say."""

    plant: Patch
    found_by: str


def _answered_before_it_is_written(patch: pytest.MonkeyPatch) -> None:
    async def settled(*_: Any, **__: Any) -> None:
        """Wait for nothing."""

    patch.setattr(Backlog, "settled", settled)


def _position_written_before_the_outputs(patch: pytest.MonkeyPatch) -> None:
    write = ingest.Ingest._write

    async def early(self: ingest.Ingest, outputs: Any) -> None:
        await self._store.awrite(lambda c: journal.set_evaluated(c, outputs.position))
        await write(self, outputs)

    patch.setattr(ingest.Ingest, "_write", early)


def _repeats_forgotten_at_a_start(patch: pytest.MonkeyPatch) -> None:
    recover = recovery.recover

    def forgetful(*args: Any, late_s: float, **more: Any) -> Any:
        found = recover(*args, late_s=late_s, **more)
        return msgspec.structs.replace(found, intake=Intake(late_s))

    patch.setattr(ingest, "recover", forgetful)


def _people_never_read_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(People, "reload", lambda _: False)


def _late_news_under_one_name(patch: pytest.MonkeyPatch) -> None:
    def id_(self: Transition) -> str:
        return digest(
            self.kind, self.visit, self.dwell_s, self.reason, self.late,
            self.at, self.decided_at, self.enter_at, self.exit_at,
        )  # fmt: skip

    patch.setattr(Transition, "id", property(id_))


def _ids_by_chance(patch: pytest.MonkeyPatch) -> None:
    from proximity.campaigns import campaigns

    count = iter(range(10**9))
    patch.setattr(campaigns, "digest", lambda *parts: digest(*parts, next(count)))


def _caps_from_a_cache(patch: pytest.MonkeyPatch) -> None:
    read = sends.read
    known: dict[str, list[Any]] = {}

    def cached(connection: Any, people: Any, *more: Any) -> dict[str, list[Any]]:
        found = read(connection, people, *more)
        for person, its in found.items():
            known.setdefault(person, list(its))
        return {person: list(known[person]) for person in people}

    patch.setattr(sends, "read", cached)


def _stock_taken_without_looking(patch: pytest.MonkeyPatch) -> None:
    take = stock.take

    def blind(connection: Any, decision: str, some: Any, now: float) -> bool:
        plenty: Any = [_Plenty(one) for one in some]
        return take(connection, decision, plenty, now)

    patch.setattr(stock, "left", lambda _c, some, _now, **_: {one.id: 10**6 for one in some})
    patch.setattr(stock, "take", blind)


class _Plenty:
    """A stock of which there is always more."""

    def __init__(self, one: Any) -> None:
        self.id, self.window, self.timezone, self.count = one.id, one.window, one.timezone, 10**6


def _stock_never_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stock, "give_back", lambda _c, _decisions: 0)


def _consent_not_asked_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(handing, "_GATES", ())


def _lease_not_fenced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sending, "LATEST_S", math.inf)


def _let_go_before_it_is_sent(patch: pytest.MonkeyPatch) -> None:
    start = handing.start

    def eager(connection: Any, *args: Any, **more: Any) -> Any:
        begun, dropped = start(connection, *args, **more)
        outbox.settle(connection, [one.lease for one in begun])
        return begun, dropped

    patch.setattr(handing, "start", eager)


def _sent_again_where_it_may_not(patch: pytest.MonkeyPatch) -> None:
    over = handing._over

    def careless(one: Any, terms: Any, now: float) -> Any:
        return over(msgspec.structs.replace(one, lapsed=False), terms, now)

    patch.setattr(handing, "_over", careless)


def _journal_not_erased(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(erasing, "strike", lambda _store, _names: 0)


BUGS = {
    "answered before it is written": Bug(_answered_before_it_is_written, "are on the disk"),
    "position written before the outputs": Bug(
        _position_written_before_the_outputs, "came of the journal"
    ),
    "repeats forgotten at a start": Bug(_repeats_forgotten_at_a_start, "is kept twice"),
    "people never read again": Bug(_people_never_read_again, "agreed to nothing"),
    "late news under one name": Bug(_late_news_under_one_name, "came of the journal"),
    "ids by chance": Bug(_ids_by_chance, "was never decided"),
    "caps from a cache": Bug(_caps_from_a_cache, "in a window"),
    "stock taken without looking": Bug(_stock_taken_without_looking, "are taken"),
    "stock never given back": Bug(_stock_never_given_back, "was not given back"),
    "consent not asked again": Bug(_consent_not_asked_again, "without consent"),
    "lease not fenced": Bug(_lease_not_fenced, "which it does not hold"),
    "let go before it is sent": Bug(_let_go_before_it_is_sent, "has no end"),
    "sent again where it may not": Bug(_sent_again_where_it_may_not, "times on email"),
    "journal not erased": Bug(_journal_not_erased, "stands in journal"),
}
"""What may be planted, by name."""
