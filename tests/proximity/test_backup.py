"""A store copied and brought back: whole, private, and never over something that is there."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from proximity.__main__ import main
from proximity.model import Fix
from proximity.store import Store, StoreFailed, journal, schema
from proximity.store.backup import Copied, backup, restore

NOW = 1_790_000_000.0


def row(position: int) -> journal.Row:
    fix = Fix(subject=f"s{position}", at=NOW, lon=2.35, lat=48.85, accuracy_m=5.0)
    payload = journal.encode_records([fix])
    return journal.Row(
        position=position, kind="records", now=NOW + position, version="v", payload=payload
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A store with seven rows, the last of them in the log alone."""
    path = tmp_path / "data" / "engine.db"
    store = Store.open(path)
    for position in range(1, 8):
        store.write(lambda c, p=position: journal.append(c, row(p))).result()
    killed = tmp_path / "killed"
    shutil.copytree(path.parent, killed)  # as it lies while it is open, or after a power cut
    store.close()
    assert (killed / "engine.db-wal").stat().st_size > 0
    return killed / "engine.db"


def test_there_and_back(source: Path, tmp_path: Path) -> None:
    copy, target = tmp_path / "copy.db", tmp_path / "new" / "engine.db"
    target.parent.mkdir()
    told = backup(source, copy)
    assert told == Copied(7, NOW + 7, schema.REVISION, copy.stat().st_size)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(one.name for one in tmp_path.glob("copy*")) == ["copy.db"], "one file, no log"
    assert restore(copy, target).position == 7
    store = Store.open(target, create=False)
    assert [one.position for one in store.read(lambda c: [*journal.rows_after(c, 0)])] == [
        *range(1, 8)
    ]
    store.close()


def test_nothing_is_overwritten(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(source, copy)
    before = copy.read_bytes()
    with pytest.raises(StoreFailed, match="not overwritten"):
        backup(source, copy)
    assert copy.read_bytes() == before
    with pytest.raises(StoreFailed, match="not overwritten"):
        restore(copy, source)


@pytest.mark.parametrize("left", ["engine.db", "engine.db-wal", "engine.db-journal"])
def test_the_rest_of_another_store_is_in_the_way(source: Path, tmp_path: Path, left: str) -> None:
    """An old log would be played into what is restored."""
    copy = tmp_path / "copy.db"
    backup(source, copy)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / left).write_bytes(b"")
    with pytest.raises(StoreFailed, match=left):
        restore(copy, tmp_path / "new" / "engine.db")


def test_what_is_damaged_is_no_backup(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(source, copy)
    content = bytearray(copy.read_bytes())
    for start in range(8192, len(content), 4096):
        content[start : start + 64] = b"\xff" * 64
    copy.write_bytes(content)
    (tmp_path / "new").mkdir()
    with pytest.raises(StoreFailed, match=r"damaged|no whole copy"):
        restore(copy, tmp_path / "new" / "engine.db")
    assert list((tmp_path / "new").iterdir()) == [], "nothing is left of it"


def edited(change: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute(change)
        db.close()

    return edit


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (edited("UPDATE alembic_version SET version_num = '9999'"), "newer version"),
        (edited("DROP TABLE alembic_version"), "no engine state"),
        (lambda path: path.write_text("not a database"), "no whole copy"),
        (Path.unlink, "no backup"),
    ],
)
def test_what_is_no_store_of_ours_is_refused(
    source: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    copy = tmp_path / "copy.db"
    backup(source, copy)
    spoil(copy)
    (tmp_path / "new").mkdir()
    with pytest.raises(StoreFailed, match=said):
        restore(copy, tmp_path / "new" / "engine.db")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("broken", [True, False])
def test_a_refused_restore_leaves_no_folder(source: Path, tmp_path: Path, broken: bool) -> None:
    copy = tmp_path / "copy.db"
    if broken:
        copy.write_text("not a database")
    folder = tmp_path / "new" / "deep"
    with pytest.raises(StoreFailed):
        restore(copy, folder / "engine.db")
    assert not folder.parent.exists()
    folder.parent.mkdir()
    with pytest.raises(StoreFailed):
        restore(copy, folder / "engine.db")
    assert folder.parent.exists(), "it was there before"
    assert not folder.exists()
    copy.unlink(missing_ok=True)
    backup(source, copy)
    restore(copy, folder / "engine.db")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_a_broken_off_copy_left_is_replaced(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.db.new").write_text("half")
    backup(source, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db.new").exists()


def test_no_room_and_no_folder(source: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="nowhere: there is no such folder: make it"):
        backup(source, tmp_path / "nowhere" / "copy.db")
    with pytest.raises(StoreFailed, match="no engine database"):
        backup(tmp_path / "none.db", tmp_path / "copy.db")


def test_the_commands(source: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    copy = tmp_path / "copy.db"
    made = run(main, ["backup", "--data", str(source.parent), str(copy)])
    assert made.exit_code == 0, made.output
    assert "up to journal row 7 of 2026-" in made.output
    back = run(main, ["restore", "--data", str(tmp_path / "new"), str(copy), "--json"])
    assert back.exit_code == 0, back.output
    assert '"position":7' in back.output
    for words in (["backup", "--data", str(source.parent), "-"], ["restore", "--data", "x", "-"]):
        piped = run(main, words)
        assert piped.exit_code == 2
        assert "name a file" in piped.output
    copy.write_text("broken")
    refused = run(main, ["restore", "--data", str(tmp_path / "other"), str(copy)])
    assert refused.exit_code == 2
    assert not (tmp_path / "other").exists()
    again = run(main, ["restore", "--data", str(tmp_path / "new"), str(copy)])
    assert again.exit_code == 2
    assert "not overwritten" in again.output
