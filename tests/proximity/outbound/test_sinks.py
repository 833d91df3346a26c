"""Lines on the disk: synced, rotated, whole after a crash, and never somebody else's to read."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest

from proximity.channels.envelope import Envelope
from proximity.outbound.sinks import Lines
from proximity.outbound.subscribers import FileSink

if TYPE_CHECKING:
    from pathlib import Path


def event(n: int) -> Envelope:
    return Envelope(id=f"e{n}", source="urn:x", type="t", data={"n": n})


def sink(path: Path, now: list[float] | None = None, **changes: Any) -> Lines:
    fields: dict[str, Any] = {
        "path": path, "rotate_bytes": 10_000, "rotate_s": 86400.0, "keep": 30,
    }  # fmt: skip
    at = now or [path.parent.stat().st_mtime]
    return Lines(FileSink(**fields | changes), lambda: at[0])


def written_at(folder: Path) -> float:
    return folder.stat().st_mtime


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


async def test_lines_are_appended_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    for n in range(2):
        lines = sink(path)
        assert (await lines.take([event(2 * n), event(2 * n + 1)])).outcome == "accepted"
        await lines.close()
        await lines.close()
    assert ids(path) == ["e0", "e1", "e2", "e3"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_they_are_on_the_disk_before_they_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd))[1])
    path = tmp_path / "out.ndjson"
    lines = sink(path)
    await lines.take([event(1)])
    await lines.close()
    assert synced[-1] == path.stat().st_size


@pytest.mark.parametrize("torn", [b'{"id":"e', b"x" * 200_000, b""])
async def test_a_line_that_a_crash_left_half_written_is_cut_off(
    tmp_path: Path, torn: bytes
) -> None:
    path = tmp_path / "out.ndjson"
    whole = b'{"id":"e0"}\n'
    for begin in (whole, b""):
        path.write_bytes(begin + torn)
        lines = sink(path, rotate_bytes=10**9)
        await lines.take([event(1)])
        await lines.close()
        assert ids(path) == (["e0", "e1"] if begin else ["e1"])


async def test_a_large_file_is_set_aside_and_old_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    other = tmp_path / "out-of-here.ndjson"
    other.write_text("mine")
    lines = sink(path, rotate_bytes=200, keep=3)
    for n in range(20):
        await lines.take([event(n)])
    await lines.close()
    aside = [one for one in files(tmp_path) if one not in {path, other}]
    assert len(aside) == 3
    found = [one for file in [*aside, path] for one in ids(file)]
    assert found == [f"e{n}" for n in range(20 - len(found), 20)]
    assert other.read_text() == "mine"


async def test_fewer_old_files_than_are_kept_all_stay(tmp_path: Path) -> None:
    lines = sink(tmp_path / "out.ndjson", rotate_bytes=100, keep=30)
    for n in range(25):
        await lines.take([event(n)])
    await lines.close()
    assert sum(len(ids(one)) for one in files(tmp_path)) == 25


async def test_a_file_of_yesterday_is_set_aside_and_none_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    now = [written_at(tmp_path)]
    lines = sink(path, now, keep=0)
    for n in range(4):
        await lines.take([event(n)])
        now[0] += 86400.0
        if n < 3:
            os.utime(path, (now[0] - 86400.0, now[0] - 86400.0))
    await lines.close()
    assert sum(len(ids(one)) for one in files(tmp_path)) == 4
    assert len(files(tmp_path)) == 4


async def test_a_full_disk_leaves_nothing_by_half_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.ndjson"
    lines = sink(path)
    await lines.take([event(1)])
    real = os.write
    left = [20]

    def write(file: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "full")
        some = real(file, data[: left[0]])
        left[0] -= some
        return some

    monkeypatch.setattr(os, "write", write)
    reply = await lines.take([event(2)])
    said = {"error": "No space left on device", "file": str(path)}
    assert (reply.outcome, reply.reply) == ("retry", said)
    assert ids(path) == ["e1"]
    monkeypatch.setattr(os, "write", real)
    assert (await lines.take([event(2)])).outcome == "accepted"
    await lines.close()
    assert ids(path) == ["e1", "e2"]


@pytest.mark.parametrize("erased", [True, False])
async def test_a_file_that_was_replaced_or_taken_away_is_opened_anew(
    tmp_path: Path, *, erased: bool
) -> None:
    """Whoever takes somebody's lines out of it writes another file under its name."""
    path = tmp_path / "out.ndjson"
    lines = sink(path)
    await lines.take([event(1), event(2)])
    if erased:
        other = tmp_path / "without-e1"
        other.write_text(path.read_text().splitlines(keepends=True)[1])
        other.rename(path)
    else:
        path.rename(tmp_path / "moved")
    assert (await lines.take([event(3)])).outcome == "accepted"
    await lines.close()
    assert ids(path) == (["e2", "e3"] if erased else ["e3"])


async def test_what_is_written_while_it_is_closed_gets_into_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "out.ndjson", tmp_path / "other"
    lines = sink(path)
    await lines.take([event(1)])
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()
    write, sync = os.write, os.fsync

    def slow(file: int, data: bytes) -> int:
        begun.set()
        go_on.wait()
        return write(file, data)

    def synced(file: int) -> None:
        try:
            sync(file)
        finally:
            done.set()

    monkeypatch.setattr(os, "write", slow)
    monkeypatch.setattr(os, "fsync", synced)
    task = asyncio.create_task(lines.take([event(2)]))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await lines.close()
    with other.open("wb"):  # gets the lowest number that is free
        go_on.set()
        await asyncio.to_thread(done.wait)
    assert other.read_bytes() == b""
    assert ids(path) == ["e1", "e2"]


async def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    lines = sink(tmp_path / "out.ndjson")
    lines._to = FileSink(
        path=tmp_path / "later" / "out.ndjson", rotate_bytes=1000, rotate_s=60.0, keep=1
    )
    assert (await lines.take([event(1)])).outcome == "retry"
    (tmp_path / "later").mkdir()
    assert (await lines.take([event(1)])).outcome == "accepted"
    await lines.close()
