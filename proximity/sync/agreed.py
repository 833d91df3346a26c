"""The question: what did somebody agree to, where two ledgers tell of it.

Both ledgers are read as statements: each yes that no later no has ended, with the moment from which
it counts, and of each no the last. Joined, in whatever order they meet, a yes stands where no no
to it is as late or later: a withdrawal wins over an older yes and over one of the same moment.
Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from beacon_gateway.model import check_id, parse_time
from proximity.model import Consent
from proximity.sync.fields import STEP_S, moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    Time = float
else:
    Time = float | str

__all__ = ["No", "Said", "in_milliseconds", "join", "said"]

AHEAD_S = 300.0
"""How far ahead a yes may begin and still be told to others, seconds: as far as two clocks are
apart that nobody looks after. One that begins later would overrule every no until then: it is told
when it is said anew."""
_EVER = float("-inf")


class No(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A withdrawal at Unix second ``at`` (RFC 3339 text is taken): of what is None, all of it."""

    at: Time
    purpose: str | None = None
    channel: str | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "at", moment(parse_time(self.at)))
        for name in ("purpose", "channel"):
            value = getattr(self, name)
            if value is not None:
                check_id(value, name)

    def ends(self, purpose: str, channel: str | None) -> bool:
        """Whether it speaks of a consent to these."""
        return self.purpose in {None, purpose} and (
            self.channel is None or channel in {None, self.channel}
        )

    def covers(self, other: No) -> bool:
        """Whether it ends, at no earlier moment, all that the other ends."""
        return (
            self.at >= other.at
            and self.purpose in {None, other.purpose}
            and self.channel in {None, other.channel}
        )


class Said(msgspec.Struct, frozen=True):
    """What somebody said, all of it: every yes that stands, and of each no the last."""

    yes: tuple[Consent, ...] = ()
    no: tuple[No, ...] = ()


def said(rows: Iterable[Any]) -> Said:
    """Read the rows of a person's consent ledger, in order, as statements.

    A yes without a beginning, or with one before an earlier no, was said anew: it counts from when
    it was recorded.
    """
    yes: list[Consent] = []
    noes: dict[tuple[str | None, str | None], No] = {}
    for row in rows:
        if row.since is not None and row.since == row.until:
            no = No(at=row.since, purpose=row.purpose, channel=row.channel)
            ended = [one.since or 0.0 for one in yes if no.ends(one.purpose, one.channel)]
            # A yes by a clock that was ahead: whoever said no after it meant it as well.
            no = msgspec.structs.replace(no, at=max(no.at, *ended)) if ended else no
            yes = [one for one in yes if not no.ends(one.purpose, one.channel)]
            before = noes.get((no.purpose, no.channel))
            if before is None or before.at < no.at:
                noes[no.purpose, no.channel] = no
            continue
        since = None if row.since is None else moment(row.since)
        if since is not None and since > row.recorded_at + AHEAD_S:
            continue
        ending = (no.at for no in noes.values() if no.ends(row.purpose, row.channel))
        last = max(ending, default=None)
        if last is not None and (since is None or since <= last):
            since = max(moment(row.recorded_at), moment(last + STEP_S))
        yes.append(
            Consent(
                purpose=row.purpose, channel=row.channel, since=since,
                until=None if row.until is None else moment(row.until),
                precision=row.precision, method=row.method, text=row.text,
            )
        )  # fmt: skip
    # What began before a no of its kind, though recorded after it, is told of once.
    unique = {_key(one): one for one in yes}
    return Said(
        tuple(unique[key] for key in sorted(unique, key=repr)),
        tuple(noes[key] for key in sorted(noes, key=repr)),
    )


def in_milliseconds(one: Consent) -> Consent:
    """Give a yes whose moments are as they are written."""
    since = None if one.since is None else moment(one.since)
    until = None if one.until is None else moment(one.until)
    return msgspec.structs.replace(one, since=since, until=until)


def join(ours: Said, theirs: Said) -> Said:
    """Tell what of another's statements is news to us, to be recorded in this order: no, then yes.

    A yes of our own that stands and is younger than a no that is news is among them: recorded
    again, it stands behind that no.
    """
    noes: list[No] = []
    for no in theirs.no:
        others = (*ours.no, *(one for one in theirs.no if not no.covers(one)), *noes)
        if not any(other.covers(no) for other in others):
            noes.append(no)
    every = (*ours.no, *theirs.no)
    known = {_key(one) for one in ours.yes}
    fresh = {
        _key(one): one
        for one in theirs.yes
        if _key(one) not in known
        and _stands(one, every)
        and (one.since is None or one.since != one.until)
    }
    revived = [
        one
        for one in ours.yes
        if _stands(one, every) and any(no.ends(one.purpose, one.channel) for no in noes)
    ]
    return Said((*revived, *fresh.values()), tuple(noes))


def _stands(one: Consent, noes: Iterable[No]) -> bool:
    since = _EVER if one.since is None else one.since
    return not any(no.at >= since and no.ends(one.purpose, one.channel) for no in noes)


def _key(one: Consent) -> tuple[Any, ...]:
    channel = None if one.channel == "*" else one.channel
    return one.purpose, channel, one.since, one.until
