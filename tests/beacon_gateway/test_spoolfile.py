from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beacon_gateway.model import GatewayError
from beacon_gateway.spoolfile import AGED, BROKEN, FULL, MOST_HELD, Limits, Record, SpoolFile

ROOT = Path(__file__).resolve().parents[2]
BEACON = b'{"format":"ibeacon","uuid":"f7826da6-4fa2-4e98-8024-bc5b71e0893e","major":1,"minor":7}'
NOW = 1_790_000_000.0
DAY_S = 86_400.0


class Time:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.wall = NOW
        self.mono = 100.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


Opened = Callable[..., SpoolFile]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def opened(tmp_path: Path, time: Time) -> Iterator[Opened]:
    files = []

    def make(boot: str = "boot", most: int = 100_000_000, age_s: float = 7 * DAY_S) -> SpoolFile:
        file = SpoolFile(
            tmp_path / "spool.sqlite", Limits(most, age_s),
            boot=boot, wall=lambda: time.wall, mono=lambda: time.mono,
        )  # fmt: skip
        files.append(file)
        return file

    yield make
    for file in files:
        file.close()


def records(first: int, count: int, time: Time, boot: str = "boot") -> list[Record]:
    return [
        Record(n, "gw-1", boot, n - 1, BEACON, time.wall + n * 1e-3, time.mono + n * 1e-3, -60)
        for n in range(first, first + count)
    ]


def everything(file: SpoolFile) -> list[Record]:
    return file.oldest(1_000_000, file.last_n + 1)


def test_what_is_committed_is_there_after_the_next_start_and_in_order(
    opened: Opened, time: Time
) -> None:
    file = opened()
    wanted = records(1, 300, time)
    file.commit(wanted[:100])
    file.commit(wanted[100:])
    file.close()
    again = opened(boot="next")
    assert everything(again) == wanted
    assert (again.rows, again.last_n) == (300, 300)
    assert again.oldest(7, 6) == wanted[:5]
    assert again.oldest(3, 301) == wanted[:3]


def test_what_was_taken_is_forgotten_and_only_that(opened: Opened, time: Time) -> None:
    file = opened()
    wanted = records(1, 10, time)
    file.commit(wanted)
    file.commit([], settled=[2, 3, 99])
    assert [record.n for record in everything(file)] == [1, 4, 5, 6, 7, 8, 9, 10]
    assert file.rows == 8


def test_a_day_offline_at_five_a_second_fits_many_times(opened: Opened, time: Time) -> None:
    file = opened()
    n = 1
    for _ in range(24 * 6):  # ten minutes a commit: the test of a whole day commits every second
        file.commit(records(n, 3000, time))
        n += 3000
        time.pass_by(600.0)
    assert file.rows == 432_000
    assert file.bytes < 25_000_000
    assert file.dropped == {}


def test_a_full_spool_gives_up_its_oldest_and_counts_them_for_ever(
    opened: Opened, time: Time
) -> None:
    file = opened(most=1_000_000)
    n = 1
    for _ in range(60):
        file.commit(records(n, 1000, time))
        n += 1000
        assert file.bytes <= 1_000_000
    left = everything(file)
    assert [record.n for record in left] == list(range(n - len(left), n))
    assert 10_000 < len(left) < 60_000
    assert file.dropped == {FULL: 60_000 - len(left)}
    file.close()
    again = opened(boot="next", most=1_000_000)
    assert again.dropped == {FULL: 60_000 - len(left)}
    assert again.rows == len(left)


def test_rows_that_are_on_their_way_are_not_given_up(opened: Opened, time: Time) -> None:
    file = opened(most=1_000_000)
    n = 1
    for _ in range(60):
        file.commit(records(n, 1000, time), lent=500)
        n += 1000
    assert [record.n for record in file.oldest(500, n)] == list(range(1, 501))


def test_what_is_too_old_goes_by_the_clock_that_can_be_trusted(opened: Opened, time: Time) -> None:
    before = opened(boot="before")
    unset = [record._replace(at=3600.0) for record in records(1, 5, time, "before")]
    before.commit(unset)
    before.commit(records(6, 5, time, "before"))
    before.close()
    file = opened(boot="boot", age_s=DAY_S)
    # This start's own clock is years behind, which must not matter: its monotonic one counts.
    own = [record._replace(at=7200.0) for record in records(11, 5, time)]
    file.commit(own)
    time.pass_by(DAY_S - 60.0)
    file.commit(records(16, 5, time))
    assert file.rows == 20
    time.pass_by(120.0)
    file.commit([], dropped=Counter({"poison": 1}))
    # The rows of a clock that was never set come first and cannot be judged, so they stay, and
    # so does what lies behind them until they are told.
    assert file.rows == 20
    file.commit([], settled=[1, 2, 3, 4, 5])
    time.pass_by(120.0)
    file.commit([], dropped=Counter({"poison": 1}))
    assert [record.n for record in everything(file)] == [16, 17, 18, 19, 20]
    assert file.dropped == {AGED: 10, "poison": 2}


def test_counts_of_every_reason_survive(opened: Opened) -> None:
    file = opened()
    file.commit([], dropped=Counter({"poison": 2, "late": 1}))
    file.commit([], dropped=Counter({"poison": 1}))
    file.close()
    assert opened(boot="next").dropped == {"poison": 3, "late": 1}


def test_identities_without_rows_are_forgotten(opened: Opened, time: Time) -> None:
    file = opened()
    for n in range(1, 10_001, 100):
        # A rotating identity: another beacon each time.
        group = [
            record._replace(beacon=BEACON.replace(b'"minor":7', b'"minor":%d' % record.n))
            for record in records(n, 100, time)
        ]
        file.commit(group, settled=range(n - 100, n))
        assert len(file._numbers["beacons"]) < 2500
    last = everything(file)[-1]
    assert last.beacon == BEACON.replace(b'"minor":7', b'"minor":10000')


def test_made_up_identities_fill_the_disk_and_not_the_memory(opened: Opened, time: Time) -> None:
    file = opened()
    for n in range(1, 4 * MOST_HELD, 1000):
        file.commit([one._replace(beacon=b"%d" % one.n) for one in records(n, 1000, time)])
        assert len(file._numbers["beacons"]) <= MOST_HELD
    file.close()
    again = opened(boot="next")
    assert len(again._numbers["beacons"]) == MOST_HELD
    # One of those that are no longer held gets another number, and is the same.
    again.commit([one._replace(beacon=b"1") for one in records(4 * MOST_HELD + 1, 2, time)])
    told = everything(again)
    assert [one.beacon for one in told] == [b"%d" % one.n for one in told[:-2]] + [b"1"] * 2


def test_an_emptied_spool_gives_its_room_back(opened: Opened, time: Time) -> None:
    file = opened()
    file.commit(records(1, 100_000, time))
    full = file.bytes
    file.commit([], settled=range(1, 100_001))
    assert file.rows == 0
    assert file.bytes < full / 2


def test_two_agents_cannot_share_a_folder(opened: Opened) -> None:
    opened()
    with pytest.raises(GatewayError, match="another agent has it open"):
        opened(boot="next")


def test_a_spool_for_nothing_is_refused(opened: Opened) -> None:
    with pytest.raises(GatewayError, match="needs 1000000 or more"):
        opened(most=10_000)


@pytest.mark.parametrize("where", [0, 18, 60, 4096, 30_000, 1_000_000])
def test_a_broken_file_is_set_aside_and_never_fatal(opened: Opened, time: Time, where: int) -> None:
    file = opened()
    for n in range(1, 60_000, 1000):
        file.commit(records(n, 1000, time), dropped=Counter({"poison": 1}))
    file.close()
    content = bytearray(file.path.read_bytes())
    content[where : where + 5000] = os.urandom(5000)
    file.path.write_bytes(content)
    again = opened(boot="next")
    again.commit(records(1, 3, time, "next"))
    if again.replaced:
        aside = file.path.with_name("spool.sqlite.broken")
        assert aside.read_bytes()[:1000] == bytes(content[:1000])
        assert everything(again) == records(1, 3, time, "next")
    else:  # damage that no page of the file's own holds
        assert again.rows == 60_003
    assert again.replaced or where == 1_000_000


def test_a_file_that_breaks_under_way_costs_its_rows_and_says_how_many(
    opened: Opened, time: Time
) -> None:
    file = opened()
    for n in range(1, 100_000, 1000):
        file.commit(records(n, 1000, time), dropped=Counter({"poison": 1}))
    file._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file._db.execute("PRAGMA shrink_memory")
    with file.path.open("r+b") as raw:
        raw.seek(4096)
        raw.write(os.urandom(file.path.stat().st_size - 4096))
    file.commit(records(100_001, 5, time))
    assert file.replaced
    assert file.dropped == {"poison": 100, BROKEN: 100_000}
    assert everything(file) == records(100_001, 5, time)


def test_another_programs_file_is_set_aside(opened: Opened, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "spool.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("CREATE TABLE t (x)")
    db.close()
    assert opened().replaced


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("UPDATE sqlite_schema SET sql = replace(sql, 'rssi_dbm', 'rssi-dbm')", id="column"),
        pytest.param("UPDATE sqlite_schema SET sql = replace(sql, 'boot', 'b' || CAST(x'cc' AS TEXT))", id="text"),
        pytest.param("UPDATE senders SET boot = CAST(x'cc' AS TEXT)", id="sender"),
        pytest.param("UPDATE dropped SET reason = CAST(x'ccb0ff' AS TEXT)", id="reason"),
        pytest.param("UPDATE dropped SET records = 'many'", id="count"),
        pytest.param("PRAGMA user_version = 0", id="version"),
    ],
)  # fmt: skip
def test_damage_that_no_page_shows_is_set_aside_too(
    opened: Opened, time: Time, damage: str
) -> None:
    file = opened()
    file.commit(records(1, 3, time), dropped=Counter({"poison": 1}))
    file.close()
    with contextlib.closing(sqlite3.connect(file.path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute(damage)
    again = opened(boot="next")
    again.commit(records(1, 3, time, "next"))
    assert everything(again) == records(1, 3, time, "next")
    assert again.replaced


@pytest.mark.parametrize(
    "damage",
    ["seq = 'x'", "at = 'noon'", "mono_s = x'00'", "rssi_dbm = 'loud'", "beacon = 9"],
)
def test_a_damaged_row_ends_no_agent(opened: Opened, time: Time, damage: str) -> None:
    file = opened()
    file.commit(records(1, 3, time))
    file._db.execute("INSERT INTO beacons VALUES (9, 'text')")
    file._db.execute(f"UPDATE records SET {damage} WHERE n = 2")
    assert everything(file) == []
    assert file.replaced
    assert file.dropped == {BROKEN: 3}
    file.commit(records(4, 3, time))
    assert everything(file) == records(4, 3, time)


def test_a_format_of_tomorrow_is_not_taken_for_a_disk_that_is_read_only(
    opened: Opened, time: Time
) -> None:
    file = opened()
    file.commit(records(1, 3, time))
    file.close()
    with file.path.open("r+b") as raw:
        raw.seek(18)
        raw.write(bytes([136]))
    again = opened(boot="next")
    again.commit(records(1, 3, time, "next"))
    assert again.replaced


def test_another_users_file_is_named(
    opened: Opened, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened()
    file.close()

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(GatewayError, match=r"cannot be used .*not permitted.*check the rights"):
        opened()


def test_nobody_else_may_read_it(opened: Opened) -> None:
    file = opened()
    assert file.path.stat().st_mode & 0o077 == 0
    assert file.path.with_name("spool.sqlite.ballast").stat().st_mode & 0o077 == 0


KILLED = """
import sys, time
from pathlib import Path
from beacon_gateway.spoolfile import Limits, Record, SpoolFile
file = SpoolFile(Path(sys.argv[1]), Limits(100_000_000, 1e6), boot=sys.argv[2],
                 wall=time.time, mono=time.monotonic)
n = file.last_n
while True:
    group = [Record(n + k, "gw-1", sys.argv[2], n + k, b"{}", time.time(), time.monotonic(), -60)
             for k in range(1, 8)]
    n += 7
    file.commit(group)
    print(n, flush=True)
"""


def test_what_was_committed_survives_a_kill(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "spool.sqlite"
    last = 0
    for number in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), f"boot-{number}"],
            stdout=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(10 + 7 * number):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        last = int(rest[-1]) if rest else last
    file = opened()
    kept = [record.n for record in everything(file)]
    # What was being committed when it was killed may be there as well, whole.
    assert kept[:last] == list(range(1, last + 1))
    assert len(kept) in {last, last + 7}


FULL_DISK = """
import json, os, sys, time
from pathlib import Path
from beacon_gateway.spoolfile import Limits, Record, SpoolError, SpoolFile
folder = Path(sys.argv[1])
now = [1000.0]
def opened(boot):
    return SpoolFile(folder / "spool.sqlite", Limits(100_000_000, 1e9), boot=boot,
                     wall=lambda: 1.79e9 + now[0], mono=lambda: now[0])
def some(n, count):
    return [Record(k, "gw-1", "a", k, b"{}", 1.79e9 + now[0], now[0], -60)
            for k in range(n, n + count)]
file, n, refused = opened("a"), 1, 0
def add(count):
    global n, refused
    try:
        file.commit(some(n, count))
    except SpoolError:
        refused += count
    n += count
    now[0] += 1.0
for _ in range(100):
    add(100)
before = file.rows
# Somebody else fills the disk to the last byte.
with open(folder / "other", "wb", buffering=0) as other:
    try:
        while True:
            other.write(bytes(65536))
    except OSError:
        pass
    try:
        while True:
            other.write(b"x")
    except OSError:
        pass
for _ in range(400):
    add(100)
    file.oldest(10, n)
tight = (file.rows, sum(file.dropped.values()), refused)
(folder / "other").unlink()
for _ in range(200):
    add(100)
    now[0] += 1.0
file.close()
file = opened("b")
kept = [record.n for record in file.oldest(10**6, n)]
print(json.dumps({"before": before, "tight": tight, "appended": n - 1, "refused": refused,
    "rows": file.rows, "dropped": file.dropped, "run": kept == list(range(kept[0], n)),
    "ballast": (folder / "spool.sqlite.ballast").exists()}))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """Give the command that runs a command on a disk of 8 MB of its own, as nobody in particular."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = f'mount -t tmpfs -o size=8m tmpfs "{folder}" && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    usable = shutil.which("unshare") is not None and not subprocess.call([*command, "true"])
    if not usable:
        if os.environ.get("CI") == "true":
            pytest.fail("a full disk needs unshare (util-linux) and user namespaces")
        pytest.skip("this machine lets nobody mount a small disk (unshare)")
    return command


def test_a_full_disk_costs_the_oldest_counted_exactly_and_heals(
    tmp_path: Path, small_disk: list[str]
) -> None:
    ended = subprocess.run(
        [*small_disk, sys.executable, "-c", FULL_DISK, str(tmp_path / "disk")],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["before"] == 10_000
    assert told["refused"] == 0, "the ballast made room for each group"
    assert told["tight"][0] > 5_000
    assert told["appended"] == told["rows"] + sum(told["dropped"].values())
    assert set(told["dropped"]) == {"disk"}
    assert told["run"], "what is kept is the newest, without a gap"
    assert told["ballast"], "and it is laid again"
