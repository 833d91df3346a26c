"""The question: does what was promised hold, at every commit and at the end?

A plain model beside the engine: who agreed to what, who was erased, what lies in the journal, who
holds which lease. It looks at the disk after each commit, with queries of its own, and at the end
compares the ledger with one engine that was never disturbed. What is wrong is noted, and the run
goes on.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import sqlalchemy as sa

from proximity.consent import chain
from proximity.dispatch import outbox, queue
from proximity.ingest.fold import Fold
from proximity.ingest.told import Did
from proximity.model import Offer
from proximity.store import journal, schema
from proximity.store.journal import Row
from proximity.windows import local
from tests.proximity.given import PARIS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.ingest.admission import Receipt
    from proximity.model import Consent, Record
    from tests.simulation.disk import Disk
    from tests.simulation.world import World

GRACE_S = 5.0
"""A record that came so shortly after a withdrawal may have been on its way in."""
FINAL = frozenset({"accepted", "expired", "suppressed", "failed", "dead_endpoint"})
REFUSED = frozenset({"failed", "dead_endpoint"})
ONCE = frozenset({"email"})
"""Channels on which nothing may arrive twice."""

_offer = msgspec.msgpack.Decoder(Offer).decode


class Held(NamedTuple):
    """A lease as it stands: who may hand over until when (Unix seconds)."""

    owner: str
    token: int
    until: float


class Yes(msgspec.Struct):
    """Somebody's consent: to what, on which channel (None: any), since and until when.

    ``heard_at`` is when the server said that it has heard the no: records from then on are not kept.
    """

    purpose: str
    channel: str | None
    since: float
    until: float = math.inf
    heard_at: float = math.inf


class Checks:
    """The model of one world, and what was found ``wrong``."""

    def __init__(self, world: World) -> None:
        self.wrong: list[str] = []
        self.agreed: dict[str, list[Yes]] = defaultdict(list)
        self.objecting: set[str] = set()
        self.leaving: set[str] = set()
        self.erased: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self.rows: list[Row] = []
        self.whose: dict[str, str] = {}
        self.leases: Counter[str] = Counter()
        self._world = world
        self._ids: set[str] = set()
        self._held: dict[tuple[str, str], Held] = {}
        self._raw: Any = world.store._engine.raw_connection().driver_connection
        self._stocks = {one.id: one.count for one in world.rules.stocks.values()}

    def fault(self, what: str) -> None:
        """Note something wrong."""
        self._world.story(f"WRONG: {what}")
        self.wrong.append(what)

    # -- what people said, once it is on the disk ------------------------------------------------

    def agrees(self, who: str, given: Consent) -> None:
        """Somebody's yes is written."""
        self._world.story(f"{who} agrees to {given.purpose} on {given.channel or 'all'}")
        self.agreed[who].append(Yes(given.purpose, given.channel, given.since or 0.0))

    def objects(self, who: str, *, objects: bool) -> None:
        """Somebody's objection is written, or lifted."""
        self._world.story(f"{who} {'objects' if objects else 'objects no more'}")
        (self.objecting.add if objects else self.objecting.discard)(who)

    def withdraws(self, who: str, purpose: str | None, channel: str | None, at: float) -> None:
        """Somebody's no is written."""
        self._world.story(f"{who} withdraws {purpose or 'all'} on {channel or 'all'}")
        for one in self.agreed[who]:
            if purpose in {None, one.purpose} and (
                channel is None or one.channel in {None, channel}
            ):
                one.until = min(one.until, at)

    def heard(self, who: str) -> None:
        """Whatever somebody said so far, the server has heard it."""
        for one in self.agreed.get(who, ()):
            if one.until < math.inf:
                one.heard_at = min(one.heard_at, self._world.now)
        if who in self.erased:
            self.gone.setdefault(who, self._world.now)

    def _agrees(self, who: str, purpose: str, channel: str, at: float) -> bool:
        return any(
            one.purpose == purpose
            and one.channel in {None, channel}
            and one.since <= at < one.until
            for one in self.agreed[who]
        )

    # -- after every commit ----------------------------------------------------------------------

    def committed(self, disk: Disk) -> None:
        """Look at what is on the disk now."""
        del disk
        now = self._world.now
        after = self.rows[-1].position if self.rows else 0
        found = self._raw.execute(
            "SELECT position, kind, now, version, payload FROM journal WHERE position > ? "
            "ORDER BY position",
            (after,),
        )
        for fields in found.fetchall():
            position, kind, at, version, payload = fields
            row = Row(position=position, kind=kind, now=at, version=version, payload=payload)
            self.rows.append(row)
            if row.kind == "records":
                self._taken(journal.decode_records(row.payload))
        for who in sorted(self.leaving):
            if self._raw.execute(
                "SELECT 1 FROM erasures WHERE pending LIKE ?", (f'%"{who}"%',)
            ).fetchone():
                self.leaving.discard(who)
                self.erased[who] = now
                self.agreed.pop(who, None)
                self._world.story(f"{who} is erased")
        for stock, used in self._raw.execute("SELECT stock, used FROM stocks").fetchall():
            if not 0 <= used <= self._stocks[stock]:
                self.fault(f"{used} of {self._stocks[stock]} units of {stock} are taken")
        leased = self._raw.execute(
            "SELECT key, channel, owner, token, lease_until, offer FROM outbox "
            "WHERE state = 'leased' ORDER BY key, channel"
        )
        for key, channel, owner, token, until, packed in leased.fetchall():
            if self._held.get((key, channel), Held("", -1, 0.0)).token != token:
                self._held[key, channel] = Held(owner, token, until)
                self._leased(_offer(packed), channel, now)

    def _taken(self, records: Sequence[Record]) -> None:
        """Records are in the journal: may they be?"""
        for record in records:
            assert record.id is not None
            if record.id in self._ids:
                self.fault(f"record {record.id} is kept twice")
            self._ids.add(record.id)
            who = self._world.carrier(record)
            at = record.received_at or 0.0
            if self.gone.get(who, math.inf) < at - GRACE_S:
                self.fault(f"a record of {who} is kept, who was erased")
            elif who not in self.erased and not any(
                one.since <= at and one.heard_at > at - GRACE_S for one in self.agreed[who]
            ):
                self.fault(f"a record of {who} is kept, who agreed to nothing")

    def _leased(self, offer: Offer, channel: str, now: float) -> None:
        """A hand-over begins, by its lease: is it allowed at this very instant?"""
        who, presses = offer.person, offer.purpose == "marketing"
        self.whose[offer.key] = who
        self.leases[offer.key] += 1
        self._world.fate.leased()
        self._world.story(f"{offer.campaign} {offer.key[:8]} for {who} is leased for {channel}")
        for wrong, what in (
            (who in self.erased, "to an erased person"),
            (presses and who in self.objecting, "against an objection"),
            (not self._agrees(who, offer.purpose, channel, now), "without consent"),
            (presses and self._quiet(now), "in quiet hours"),
            (now >= offer.expires_at, "after its expiry"),
        ):
            if wrong:
                self.fault(f"{offer.campaign} is handed over {what}")

    def _quiet(self, now: float) -> bool:
        shown = local(now, ZoneInfo(PARIS))
        return shown.hour >= 22 or shown.hour < 7

    def begins(self, offer: Offer, owner: str) -> None:
        """A dispatcher hands over: does it hold the lease?"""
        now = self._world.now
        held = self._held.get((offer.key, offer.channel))
        if held is None or held.owner != owner or now > held.until:
            self.fault(f"{owner} hands over {offer.key[:8]}, which it does not hold")

    def acknowledged(self, some: Sequence[Record], receipt: Receipt) -> None:
        """A sender heard that its records arrived: they are on the disk."""
        found = sum(one.id in self._ids for one in some)
        if found < receipt.accepted - receipt.unlisted + receipt.duplicate:
            self.fault(f"{receipt} was said of {len(some)} records, and {found} are on the disk")

    # -- at the end ------------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Everything is settled: compare what stands with what should."""
        store = self._world.store
        for name, depth in (("queue", queue.depth), ("outbox", outbox.depth)):
            if store.read(depth):
                self.fault(f"{store.read(depth)} are left in the {name}")
        if store.read(chain.verify).problems:
            self.fault("the chain of consents is broken")
        records: dict[str, list[Any]] = {"transition": [], "decision": [], "delivery": []}
        for kind, text in self._raw.execute("SELECT kind, record FROM ledger ORDER BY seq"):
            records[kind].append(msgspec.json.decode(text))
        self._undisturbed(records["transition"], records["decision"])
        self._caps()
        self._delivered(records["decision"], records["delivery"])
        self._no_trace()

    def _undisturbed(self, told: list[Any], decisions: list[Any]) -> None:
        """One engine that was never disturbed tells the same, and all of it is decided once."""
        world = self._world
        fold = Fold({}, None, decide=world.decide, late_s=world.late_s)
        expected: list[Any] = []
        candidates: set[str] = set()
        for row in self.rows:
            for one in fold.apply(row):
                assert not isinstance(one, Did)
                who = world.person_of(one.subject)
                if fold.fault is not None:
                    self.fault(f"the engine failed on a row: {fold.fault!r}")
                if who in self.erased:
                    continue
                expected.append(one.to_record())
                facts = world.facts(one.place)
                candidates.update(trigger.id for trigger in world.rules.triggers(one, who, facts))
        if told != expected:
            at = next(
                (
                    n
                    for n, both in enumerate(zip(told, expected, strict=False))
                    if both[0] != both[1]
                ),
                min(len(told), len(expected)),
            )
            self.fault(
                f"{len(told)} transitions are told, {len(expected)} came of the journal; "
                f"they differ at {at}: {told[at : at + 1]} {expected[at : at + 1]}"
            )
        finals = Counter(one["id"] for one in decisions if one["decision"] != "defer")
        about = Counter(
            (one["person"], one["campaign"], one["visit"]) for one in decisions
            if one["decision"] != "defer"
        )  # fmt: skip
        if any(count > 1 for count in finals.values()):
            self.fault("a candidate has two decisions")
        if any(count > 1 for count in about.values()):
            self.fault("two decisions are about one visit")
        for id_ in sorted(candidates - set(finals)):
            self.fault(f"candidate {id_[:8]} was never decided")
        for id_ in sorted(set(finals) - candidates):
            self.fault(f"decision {id_[:8]} is about nothing that happened")

    def _caps(self) -> None:
        times: dict[str, list[float]] = defaultdict(list)
        for person, at in self._raw.execute(
            "SELECT person, at FROM sends WHERE purpose = 'marketing' ORDER BY at"
        ):
            times[person].append(at)
        (cap,) = self._world.rules.caps
        for who, each in times.items():
            for first, later in zip(each, each[cap.count :], strict=False):
                if later - first < cap.window_s:
                    self.fault(f"{who} has more than {cap.count} offers in a window")

    def _delivered(self, decisions: list[Any], deliveries: list[Any]) -> None:
        """Every offer arrived or has its reason, and none arrived that was not decided."""
        world = self._world
        sent = {one["id"]: one for one in decisions if one["decision"] == "send"}
        outcomes: dict[str, list[str]] = defaultdict(list)
        refused: Counter[str] = Counter()
        for one in deliveries:
            outcomes[one["key"]].append(one["outcome"])
            refused[one["key"]] += one["outcome"] in REFUSED and one["reason"] is None
        seen = {one.key for one in world.sink.seen}
        accepted = {key for key, _ in world.sink.accepted}
        for key, decision in sent.items():
            ends = [one for one in outcomes[key] if one in FINAL]
            if not ends:
                self.fault(f"offer {key[:8]} has no end: {outcomes[key]}")
            if "accepted" in ends and key not in accepted:
                self.fault(f"offer {key[:8]} is said to be accepted, and is not")
            self._stock(key, decision["campaign"], ends, refused[key])
        for key in sorted(seen - set(sent)):
            if self.whose.get(key) not in self.erased:
                self.fault(f"offer {key[:8]} arrived and was never decided")
        taken = Counter(
            (one.key, one.channel, one.address) for one in world.sink.seen if not one.refused
        )
        for (key, channel, _), count in taken.items():
            if channel in ONCE and count > 1:
                self.fault(f"offer {key[:8]} arrived {count} times on {channel}")

    def _stock(self, key: str, campaign: str, ends: list[str], refused: int) -> None:
        """What somebody may have has its unit, what nobody can have has given it back."""
        if not self._world.rules.get(campaign).stock:
            return
        held = self._raw.execute("SELECT 1 FROM reservations WHERE decision = ?", (key,)).fetchone()
        if "accepted" in ends and not held:
            self.fault(f"offer {key[:8]} was accepted, and its unit given back")
        if held and "accepted" not in ends and refused == self.leases[key]:
            self.fault(f"nobody can have offer {key[:8]}, and its unit was not given back")

    def _no_trace(self) -> None:
        """Nowhere stands the name of an erased person, in whatever form."""
        if not self.erased:
            return
        for table in schema.metadata.sorted_tables:
            every = sa.select(table)
            for row in self._world.store.read(lambda c, every=every: c.execute(every).all()):
                for value in row:
                    packed = value if isinstance(value, bytes) else str(value).encode()
                    for who in self.erased:
                        if who.encode() in packed:
                            self.fault(f"{who} stands in {table.name}")
