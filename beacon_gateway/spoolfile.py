"""The question: how do sightings outlive a power cut, a full disk and a broken file.

One SQLite file with a bound in bytes and age, used by one thread. Every drop is counted in the
transaction that drops. It must not know who asks, when rows are sent or what a server says.
"""

# ruff: noqa: S608 - what is put into statements here are this file's own names and marks
from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from beacon_gateway.folder import write_file
from beacon_gateway.model import GatewayError

#: What the file was written by; another number is another program's file.
VERSION = 1
PAGE_BYTES = 4096
#: The write-ahead log is folded into the file at this size, and reused in place. Small, so that a
#: full disk has to find little room; large enough that a page filled row by row is folded once.
LOG_PAGES = 128
#: What one group of rows may add to the log: some thousand of them, and as many evicted.
GROUP_PAGES = 64
#: The ballast in logs: a full disk that is given it back has room for what the log still holds,
#: for the log itself, and for some new rows. Evicting needs room too: it is a change like another.
BALLAST_LOGS = 3
#: A spool that could not hold some minutes is a mistake in the settings.
LEAST_BYTES = 1_000_000
#: Rows evicted at once where there is no room: one in a hundred, so that it is done rarely.
EVICTED_SHARE = 100
#: Before this, 2024, a clock was never set: how old a record of another start is cannot be told,
#: and only the bound in bytes ends it.
CLOCK_SET = 1_704_067_200.0
#: How often age and free room are looked at, s: neither bound is a matter of seconds.
LOOK_S = 60.0
#: Beacons no row speaks of are forgotten once so many more were made since the last time, or half
#: as many as there were: rotating identities and telemetry make new ones for ever.
FORGET_AFTER = 2000
#: Beacons whose numbers are held in memory, some 3 MB; one beyond them may get two. Whoever
#: makes up identities under a listed UUID would fill the memory else, long before the disk.
MOST_HELD = 10_000

FULL, AGED, DISK, BROKEN = "full", "aged", "disk", "broken"

#: Faults that room or a new start of the file may mend, and those after which it is set aside, by
#: SQLite's primary result code. None: the library's own, of a file that could not be reopened.
#: ERROR: a statement of ours that does not fit its tables, so their description is damaged.
MENDABLE = {
    None, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}  # fmt: skip
BROKEN_FILE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
#: Where a file says by which version of SQLite's format it is read and written: 1, or 2 with a log.
#: One with a higher number would be taken for a disk that is read-only.
FORMATS = slice(18, 20)

SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE senders (id INTEGER PRIMARY KEY, gateway TEXT NOT NULL, boot TEXT NOT NULL);
CREATE TABLE beacons (id INTEGER PRIMARY KEY, beacon BLOB NOT NULL);
CREATE TABLE records (
    n INTEGER PRIMARY KEY, sender INTEGER NOT NULL, seq INTEGER NOT NULL, beacon INTEGER NOT NULL,
    at REAL NOT NULL, mono_s REAL NOT NULL, rssi_dbm INTEGER NOT NULL
);
CREATE TABLE dropped (reason TEXT PRIMARY KEY, records INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""


class Record(NamedTuple):
    """One sighting to be told: ``n`` is its number in this spool, the rest travels.

    ``beacon`` is its JSON; ``at`` Unix seconds and ``mono_s`` monotonic seconds by this computer,
    ``rssi_dbm`` dBm; ``boot`` and ``seq`` name it for ever.
    """

    n: int
    gateway: str
    boot: str
    seq: int
    beacon: bytes
    at: float
    mono_s: float
    rssi_dbm: int


# What a row holds, unless it is damaged: not every change of a byte breaks a page's own order.
TYPES = (int, str, str, int, bytes, float, float, int)


class Limits(NamedTuple):
    """How much is kept: bytes on disk in all, and seconds since it was heard."""

    bytes: int
    age_s: float


class SpoolError(GatewayError):
    """The disk takes nothing now; what was to be written is still the caller's."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(f"{path}: cannot be written ({reason}): make room, or check the card")


class SpoolFile:
    """The file at ``path``; ``boot`` is this start's, whose ``mono`` tells its seconds.

    Open it in the thread that uses it. Raises GatewayError where another program has it open, or
    it cannot be made. A broken file is set aside, never fatal.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits,
        *,
        boot: str,
        wall: Callable[[], float],
        mono: Callable[[], float],
    ) -> None:
        if limits.bytes < LEAST_BYTES:
            raise GatewayError(f"spool_bytes {limits.bytes}: a spool needs {LEAST_BYTES} or more")
        self.path = path
        self.rows = self.last_n = 0
        #: Whether a broken file was set aside, and this one begun in its place.
        self.replaced = False
        self.dropped: Counter[str] = Counter()
        self._limits = limits
        self._boot, self._wall, self._mono = boot, wall, mono
        self._log_pages = min(LOG_PAGES, limits.bytes // 32 // PAGE_BYTES)
        self._log = path.with_name(path.name + "-wal")
        self._ballast = path.with_name(path.name + ".ballast")
        self._ballast_bytes = BALLAST_LOGS * self._log_pages * PAGE_BYTES
        # The log may outgrow its bound by a group of rows before it is folded.
        beside = self._ballast_bytes + (self._log_pages + GROUP_PAGES) * PAGE_BYTES
        self._most_pages = (limits.bytes - beside) // PAGE_BYTES
        #: How many pages there may be while the disk is full; None while it is not.
        self._ceiling: int | None = None
        self._looked_at = mono()
        self._changed = self._made = 0
        self._numbers: dict[str, dict[tuple[object, ...], int]] = {}
        self._db = self._opened()
        self._lay_ballast()

    def commit(
        self,
        records: Sequence[Record],
        settled: Iterable[int] = (),
        dropped: Counter[str] | None = None,
        lent: int = 0,
    ) -> None:
        """Keep ``records``, forget the rows ``settled`` and add to what was ``dropped``; durable.

        All of it or nothing. Rows up to number ``lent`` are on their way and are not given up for
        room. Raises SpoolError where the disk takes nothing, even after the oldest others were.
        """
        gone = [(n,) for n in settled]
        for mended in (False, True):
            added = Counter(dropped or ())
            try:
                self._db.execute("BEGIN IMMEDIATE")
                for n in gone:
                    self._delete("n = ?", n)
                if self._mono() - self._looked_at >= LOOK_S:
                    self._drop_aged(added, lent)
                self._make_room(len(records), added, lent)
                self._insert(records)
                self._add_dropped(added)
                self._db.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                self._roll_back()
                if mended:
                    raise SpoolError(self.path, error) from None
                self._mend(error)
            else:
                self.rows += self._changed
                self._changed = 0
                self.dropped += added
                if records:
                    self.last_n = max(self.last_n, records[-1].n)
                self._tidy()
                return

    def oldest(self, limit: int, before: int) -> list[Record]:
        """Give the oldest rows, at most ``limit``, with numbers below ``before``.

        Raises SpoolError where the disk cannot be read.
        """
        ask = (
            "SELECT n, gateway, boot, seq, b.beacon, at, mono_s, rssi_dbm FROM records r"
            " JOIN senders s ON s.id = r.sender JOIN beacons b ON b.id = r.beacon"
            " WHERE n < ? ORDER BY n LIMIT ?"
        )
        for mended in (False, True):
            try:
                return [_sound(row) for row in self._db.execute(ask, (before, limit))]
            except sqlite3.DatabaseError as error:
                if mended:
                    raise SpoolError(self.path, error) from None
                self._mend(error)
        return []

    @property
    def bytes(self) -> int:
        """What the spool takes on disk now, its log and ballast included."""
        total = 0
        for path in (self.path, self._log, self._ballast):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def close(self) -> None:
        """Fold the log into the file and let go of it."""
        self._db.close()

    # -- parts of a transaction ---------------------------------------------------------------

    def _insert(self, records: Sequence[Record]) -> None:
        rows = []
        for record in records:
            sender = self._number("senders", (record.gateway, record.boot))
            beacon = self._number("beacons", (record.beacon,))
            rows.append((record.n, sender, record.seq, beacon, *record[5:]))
        self._db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._changed += len(rows)

    def _number(self, table: str, values: tuple[object, ...]) -> int:
        """Give the number that stands for values said again and again, making one if need be."""
        number = self._numbers[table].get(values)
        if number is None:
            marks = ", ".join("?" * (1 + len(values)))
            made = self._db.execute(f"INSERT INTO {table} VALUES ({marks})", (None, *values))
            number = made.lastrowid or 0
            if table == "beacons":
                self._made += 1
                if len(self._numbers[table]) >= MOST_HELD:
                    self._numbers[table].clear()
            self._numbers[table][values] = number
        return number

    def _delete(self, where: str, values: Sequence[object] = ()) -> int:
        deleted = self._db.execute(f"DELETE FROM records WHERE {where}", values).rowcount
        self._changed -= deleted
        return deleted

    def _delete_between(self, after: int, end: tuple[int] | None) -> int:
        """Delete the rows after one number and before another, or to the last."""
        if end is None:
            return self._delete("n > ?", (after,))
        return self._delete("n > ? AND n < ?", (after, *end))

    def _add_dropped(self, added: Counter[str]) -> None:
        self._db.executemany(
            "INSERT INTO dropped VALUES (?, ?)"
            " ON CONFLICT (reason) DO UPDATE SET records = records + excluded.records",
            [pair for pair in added.items() if pair[1]],
        )

    def _roll_back(self) -> None:
        self._changed = 0
        with contextlib.suppress(sqlite3.DatabaseError):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._read_numbers()

    # -- bounds -------------------------------------------------------------------------------

    def _drop_aged(self, added: Counter[str], lent: int) -> None:
        """Drop what is older than the bound.

        A row of this start is judged by the clock that never jumps, one of another start by the
        wall's. Rows lie in order of time: the first that is young ends the search.
        """
        ours = [n for (_, boot), n in self._numbers["senders"].items() if boot == self._boot]
        age_s = self._limits.age_s
        young = self._db.execute(
            "SELECT n FROM records WHERE CASE WHEN sender = ? THEN mono_s >= ?"
            " ELSE at >= ? OR at < ? END ORDER BY n LIMIT 1",
            (ours[0] if ours else 0, self._mono() - age_s, self._wall() - age_s, CLOCK_SET),
        ).fetchone()
        added[AGED] += self._delete_between(lent, young)

    def _make_room(self, wanted: int, added: Counter[str], lent: int) -> None:
        """Evict the oldest rows until ``wanted`` more fit: some 40 bytes each, and a few edges."""
        most, reason = self._most_pages, FULL
        if self._ceiling is not None and self._ceiling < most:
            most, reason = self._ceiling, DISK
        most -= wanted * 40 // PAGE_BYTES + 4
        while self._ask("PRAGMA page_count") - self._ask("PRAGMA freelist_count") > most:
            batch = max(wanted, (self.rows + self._changed) // EVICTED_SHARE, 100)
            end = self._db.execute(
                "SELECT n FROM records WHERE n > ? ORDER BY n LIMIT 1 OFFSET ?", (lent, batch)
            ).fetchone()
            evicted = self._delete_between(lent, end)
            if not evicted:
                return
            added[reason] += evicted

    def _ask(self, what: str) -> int:
        return int(self._db.execute(what).fetchone()[0])

    # -- between transactions -----------------------------------------------------------------

    def _tidy(self) -> None:
        """After a commit: forget names nobody speaks of, give room back, lay the ballast again."""
        with contextlib.suppress(sqlite3.DatabaseError):
            if self._made > self._forget_at:
                for table, column in (("beacons", "beacon"), ("senders", "sender")):
                    self._db.execute(
                        f"DELETE FROM {table} WHERE id NOT IN (SELECT {column} FROM records)"
                    )
                self._read_numbers()
            if not self.rows and self._ask("PRAGMA page_count") > 2 * self._log_pages:
                self._db.execute("VACUUM")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if self._mono() - self._looked_at >= LOOK_S:
            self._looked_at = self._mono()
            self._lay_ballast()

    def _lay_ballast(self) -> None:
        """Take room that a full disk can be given back, where the disk has plenty."""
        with contextlib.suppress(OSError):
            if not self._ballast.exists():
                if shutil.disk_usage(self.path.parent).free < 4 * self._ballast_bytes:
                    return
                # Not zeros: some file systems keep those without taking room.
                write_file(self._ballast, os.urandom(self._ballast_bytes))
            self._ceiling = None

    def _read_numbers(self) -> None:
        newest = "ORDER BY id DESC LIMIT"
        self._numbers = {
            table: {
                tuple(values): n
                for n, *values in self._db.execute(f"SELECT * FROM {table} {newest} {most}")
            }
            for table, most in (("senders", -1), ("beacons", MOST_HELD))
        }
        self._made = 0
        self._forget_at = max(FORGET_AFTER, self._ask("SELECT count(*) FROM beacons") // 2)

    # -- faults -------------------------------------------------------------------------------

    def _mend(self, error: sqlite3.DatabaseError) -> None:
        """Do what can be done about a fault, so that it may be tried once more.

        Raises SpoolError where nothing can.
        """
        code = _code(error)
        try:
            if code in BROKEN_FILE:
                self._replace(self.dropped + Counter({BROKEN: self.rows}))
            elif code in MENDABLE:
                with contextlib.suppress(OSError):
                    self._ballast.unlink()
                if code != sqlite3.SQLITE_FULL:
                    # What a failed write left in the system's cache is not to be trusted.
                    self._db.close()
                    self._db = self._open()
                # What the log holds may have to be laid behind the file's end; from then on
                # nothing grows: the oldest rows make room for the new.
                self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                pages = self._ask("PRAGMA page_count") + self._log_pages
                self._ceiling = min(pages, self._ceiling or pages)
            else:
                raise error
        except sqlite3.DatabaseError as again:
            raise SpoolError(self.path, again) from None

    def _replace(self, dropped: Counter[str]) -> None:
        """Set a broken file aside, the last one only, and begin anew with the same counts."""
        with contextlib.suppress(AttributeError):
            self._db.close()
        aside = self.path.with_name(self.path.name + ".broken")
        with contextlib.suppress(OSError):
            self.path.replace(aside)
            self._log.unlink(missing_ok=True)
        self._db = self._open()
        self.replaced = True
        self.dropped = dropped
        self._add_dropped(dropped)

    def _opened(self) -> sqlite3.Connection:
        """Open for the first time; where the disk is full or the file broken, mend that first."""
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            try:
                if _code(error) in BROKEN_FILE:
                    self._replace(_salvaged(self.path))
                    return self._db
                if _code(error) in MENDABLE:
                    self._ballast.unlink(missing_ok=True)
                    return self._open()
                raise
            except sqlite3.DatabaseError:
                pass
            held = _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            mend = "another agent has it open" if held else "make room, or check the rights"
            raise GatewayError(f"{self.path}: cannot be used ({error}): {mend}") from None

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=0.0, isolation_level=None)
        try:
            self.path.chmod(0o600)
            if not set(_head(self.path)[FORMATS]) <= {1, 2}:
                raise _broken("no format that is known")
            # One program, one file: nobody else may open it, and no shared memory is needed.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")  # what is committed survives a power cut
            db.execute(f"PRAGMA wal_autocheckpoint = {self._log_pages}")
            db.execute(f"PRAGMA journal_size_limit = {self._log_pages * PAGE_BYTES}")
            db.execute("PRAGMA secure_delete = FAST")
            db.execute("PRAGMA cache_size = -512")
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                db.executescript(SCHEMA)
            if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                raise _broken("written by another version")
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise _broken("a page is damaged")
            self._db = db
            self._read_numbers()
            self.dropped = _drops(db)
            self.rows, last = db.execute("SELECT count(*), max(n) FROM records").fetchone()
            self.last_n = max(self.last_n, last or 0)
        except UnicodeDecodeError:  # the library's, of a message with damaged text in it
            db.close()
            raise _broken("its text is damaged") from None
        except OSError as error:  # another user's file, or a card that cannot even be read
            db.close()
            raise _fault(error.strerror or str(error), sqlite3.SQLITE_CANTOPEN) from None
        except BaseException:
            db.close()
            raise
        return db


def _code(error: sqlite3.DatabaseError) -> int | None:
    """Give SQLite's primary result code of a fault."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None and isinstance(error, sqlite3.OperationalError):
        return sqlite3.SQLITE_CORRUPT  # the library's own: text that is none
    return None if code is None else code & 0xFF


def _broken(reason: str) -> sqlite3.DatabaseError:
    return _fault(reason, sqlite3.SQLITE_CORRUPT)


def _fault(reason: str, code: int) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = code
    return error


def _sound(row: tuple[Any, ...]) -> Record:
    if tuple(map(type, row)) != TYPES:
        raise _broken("a row is damaged")
    return Record(*row)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FORMATS.stop)


def _drops(db: sqlite3.Connection) -> Counter[str]:
    """Read how many records were dropped, by reason."""
    found = dict(db.execute("SELECT reason, records FROM dropped"))
    if not all(type(reason) is str and type(number) is int for reason, number in found.items()):
        raise _broken("a count is damaged")
    return Counter(found)


def _salvaged(path: Path) -> Counter[str]:
    """Read what a broken file still tells of drops, and how many rows are lost with it."""
    dropped: Counter[str] = Counter()
    with (
        contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError),
        contextlib.closing(sqlite3.connect(path, timeout=0.0)) as db,
    ):
        with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
            dropped += _drops(db)
        dropped[BROKEN] += int(db.execute("SELECT count(*) FROM records").fetchone()[0])
    return dropped
