"""Has anybody changed what people said? Every row of the consent ledger is sealed into a chain.

A seal holds no id and no word: a MAC of the row under its person's key, and a hash over the seal
before, this row's number, its MAC and its time. Whoever changes, adds, moves or takes away a row
or a seal breaks it; erasure destroys the key and leaves the seal, marked under the store's key.
What the chain cannot show by itself, that all of it was made anew, a head noted elsewhere shows.
Every function works on the connection of the caller's transaction.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from proximity.model import ProximityError
from proximity.store import schema
from proximity.store.journal import read_meta, write_meta
from proximity.store.keys import find_key, person_keys, store_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Row

__all__ = [
    "Head", "Seal", "Verified", "begin", "begins", "excuse", "find_seal", "head", "seal", "verify",
]  # fmt: skip

_HEAD = "consents_head"
_MOST_PROBLEMS = 100
_PAGE = 5000
"""Rows read at once: some megabytes, however long the ledger is."""
# PostgreSQL's advisory locks are numbers: who appends waits for who appended before.
_LOCK = int.from_bytes(b"consents")

_SEALED = (
    "seq", "person", "purpose", "channel", "since", "until", "recorded_at", "source", "precision",
    "method", "text",
)  # fmt: skip
"""The columns of a row that its MAC covers, in the order in which it covers them: all there are."""

_HEAD_FORM = re.compile("(?P<seq>[0-9]{1,18}):(?P<hash>[0-9a-f]{64})")

_rows, _seals = schema.consents, schema.consent_chain


class Head(NamedTuple):
    """The end of the chain: the number of its last row, and the hash over all before it."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read a head as ``verify`` told it. Raises ProximityError where it is none."""
        found = _HEAD_FORM.fullmatch(text)
        if found is None:
            raise ProximityError(
                f"{text!r:.80} is no head of a ledger: give one as `proximity consent verify` "
                "printed it, a number, a colon and 64 hexadecimal digits"
            )
        return cls(int(found["seq"]), found["hash"])


class Seal(msgspec.Struct, frozen=True):
    """One link of the chain: which row it seals, that row's MAC, and the hash up to here."""

    seq: int
    mac: str
    hash: str


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a walk along the chain found; ``head`` is None where nothing was ever said."""

    rows: int
    erased: int
    head: str | None
    problems: tuple[str, ...] = ()


NOTHING = Head(0, "0" * 64)
"""What the first seal follows."""


def begin(connection: Connection, now: float) -> Head:
    """Make ready to append, alone until the transaction ends; give the head as it is.

    A store of a time without seals has its rows sealed here, once, as they stand.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    found = head(connection)
    if found is not None:
        return found
    last = _last_seal(connection)
    if last is not None:  # the head's own row is lost: the chain goes on, and `verify` tells
        return last
    last = NOTHING
    for page in _pages(sa.select(_rows), connection):
        last = _append(connection, last, page, now)
    return last


def begins(connection: Connection) -> bool:
    """Whether there are rows of a time without seals, which ``begin`` would seal."""
    return (
        head(connection) is None
        and _last_seal(connection) is None
        and connection.scalar(sa.select(_rows.c.seq).limit(1)) is not None
    )


def seal(connection: Connection, last: Head, rows: Sequence[Row[Any]], now: float) -> Head:
    """Seal rows of the ledger, as they stand in it, after ``last``; give the new head."""
    return _append(connection, last, rows, now)


def head(connection: Connection) -> Head | None:
    """Give the end of the chain as it was noted when it was written last."""
    text = _note(connection)
    return None if text is None else Head.parse(text.partition(" ")[0])


def excuse(connection: Connection, person: str, now: float) -> int:
    """Mark the seals of a person's rows, which are about to be erased; how many there are.

    The mark proves that the row went with its person, and was not taken away.
    """
    begin(connection, now)
    key = store_key(connection, "ledger", now)
    found = connection.execute(
        sa.select(_seals.c.seq, _seals.c.hash)
        .join(_rows, _rows.c.seq == _seals.c.seq)
        .where(_rows.c.person == person)
    ).all()
    for seq, hashed in found:
        marked = _seals.update().where(_seals.c.seq == seq)
        connection.execute(marked.values(erased=_mark(key, seq, hashed)))
    return len(found)


def find_seal(connection: Connection, seq: int) -> Seal | None:
    """Give the seal of a row; None where it has none."""
    found = connection.execute(
        sa.select(_seals.c.seq, _seals.c.mac, _seals.c.hash).where(_seals.c.seq == seq)
    ).one_or_none()
    return None if found is None else Seal(*found)


def verify(connection: Connection, expected: Head | None = None) -> Verified:
    """Walk the whole chain and compare it with the rows; name the first hundred problems.

    ``expected`` is a head that was noted before: the chain must hold it, and may be longer now.
    """
    walk = _Walk(connection, expected)
    joined = sa.select(_seals, *(_rows.c[name].label(f"row_{name}") for name in _SEALED)).join(
        _rows, _rows.c.seq == _seals.c.seq, isouter=True
    )
    for page in _pages(joined, connection, by=_seals.c.seq):
        persons = {row.row_person for row in page if row.row_person is not None}
        keys = person_keys(connection, persons)
        for row in page:
            walk.step(row, keys)
    return walk.end(connection)


class _Walk:
    """One walk along the chain: what it has seen, and what was wrong."""

    def __init__(self, connection: Connection, expected: Head | None) -> None:
        self._key = find_key(connection, "ledger")
        self._expected = expected
        self._met = expected is None or expected == NOTHING
        self._last = NOTHING
        self._erased = self._count = 0
        self._problems: list[str] = []

    def step(self, row: Row[Any], keys: dict[str, bytes]) -> None:
        self._count += 1
        if row.hash != _hash(self._last, row.seq, row.mac, row.recorded_at):
            self._tell(
                f"seal {row.seq} does not follow from the one before it, {self._last.seq}: a seal "
                "was changed, added or taken away there"
            )
        self._last = Head(row.seq, row.hash)
        self._met = self._met or self._last == self._expected
        marked = row.erased is not None
        if marked and not self._proves(row):
            self._tell(f"seal {row.seq} is marked as erased, but not by this engine")
        if row.row_person is None:
            self._erased += marked
            if not marked:
                self._tell(f"row {row.seq} is gone, though its person was never erased")
            return
        if marked:
            self._tell(f"row {row.seq} was erased and is there again")
        key = keys.get(row.row_person)
        if key is None:
            self._tell(f"row {row.seq} proves nothing: its person's key is gone, or is another's")
        elif row.mac != _mac(key, row[-len(_SEALED) :]):  # as `verify` selects them, last
            self._tell(f"row {row.seq} is not as it was sealed: it was changed")

    def end(self, connection: Connection) -> Verified:
        """Compare the end of the chain with the head noted beside it, and ask for rows without."""
        free = sa.select(_rows.c.seq).where(~sa.exists().where(_seals.c.seq == _rows.c.seq))
        noted = _note(connection)
        begun = self._count > 0 or noted is not None
        for seq in connection.scalars(free.order_by(_rows.c.seq).limit(_MOST_PROBLEMS)):
            if begun:  # else it is of a time without seals, and is sealed with the next word
                self._tell(f"row {seq} has no seal: it was not recorded by this engine")
        if noted is None:
            if self._count:
                self._tell("the note of where the chain ends is gone")
        elif self._key is None or noted != _noted(self._key, self._last):
            self._tell(
                f"the chain ends at {self._last.seq}, and not where it was noted to end: seals "
                "were cut off or added, or the note was changed"
            )
        if not self._met:
            self._tell(
                f"the chain does not hold the head {self._expected}: it was made anew, or cut off, "
                "after that head was noted"
            )
        ended = str(self._last) if self._count else None
        return Verified(
            rows=self._count, erased=self._erased, head=ended, problems=tuple(self._problems)
        )

    def _proves(self, row: Row[Any]) -> bool:
        # As bytes: a mark that was tampered with may be any text.
        return self._key is not None and hmac.compare_digest(
            row.erased.encode(), _mark(self._key, row.seq, row.hash).encode()
        )

    def _tell(self, problem: str) -> None:
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(problem)


def _append(connection: Connection, last: Head, rows: Sequence[Row[Any]], now: float) -> Head:
    keys = person_keys(connection, {row.person for row in rows}, now)
    sealed: list[dict[str, Any]] = []
    for row in rows:
        mac = _mac(keys[row.person], [getattr(row, name) for name in _SEALED])
        last = Head(row.seq, _hash(last, row.seq, mac, row.recorded_at))
        sealed.append(
            {"seq": row.seq, "mac": mac, "hash": last.hash, "recorded_at": row.recorded_at}
        )
    if sealed:
        connection.execute(_seals.insert(), sealed)
        write_meta(connection, _HEAD, _noted(store_key(connection, "ledger", now), last))
    return last


def _note(connection: Connection) -> str | None:
    """Read the head and the store's word for it, as they stand beside the chain."""
    return read_meta(connection, _HEAD)


def _last_seal(connection: Connection) -> Head | None:
    found = connection.execute(
        sa.select(_seals.c.seq, _seals.c.hash).order_by(_seals.c.seq.desc()).limit(1)
    ).one_or_none()
    return None if found is None else Head(*found)


def _pages(
    statement: sa.Select[Any], connection: Connection, by: sa.ColumnElement[int] = _rows.c.seq
) -> Iterator[Sequence[Row[Any]]]:
    """Give the rows of a statement in the order of their number, some at a time."""
    after = 0
    while True:
        asked = statement.where(by > after).order_by(by).limit(_PAGE)
        page = connection.execute(asked).all()
        if page:
            yield page
        if len(page) < _PAGE:
            return
        after = page[-1].seq


def _mac(key: bytes, fields: Sequence[Any]) -> str:
    """HMAC-SHA256 of a row's columns as a JSON array, hexadecimal (RFC 2104)."""
    # SQLite hands a number just written back as it stores it: a whole one without its point.
    number, *rest = fields
    text = msgspec.json.encode([number, *(float(x) if isinstance(x, int) else x for x in rest)])
    return hmac.digest(key, text, hashlib.sha256).hex()


def _hash(last: Head, seq: int, mac: str, recorded_at: float) -> str:
    """SHA-256 over the hash before, the number, the MAC and the time, a line each, hexadecimal."""
    text = f"{last.hash}\n{seq}\n{mac}\n{float(recorded_at)!r}"
    return hashlib.sha256(text.encode()).hexdigest()


def _mark(key: bytes, seq: int, hashed: str) -> str:
    return hmac.digest(key, f"erased\n{seq}\n{hashed}".encode(), hashlib.sha256).hex()


def _noted(key: bytes, last: Head) -> str:
    """Write the head, and the store's own word for it, beside the chain."""
    word = hmac.digest(key, f"head\n{last}".encode(), hashlib.sha256).hex()
    return f"{last} {word}"
