"""A start knows what came lately from pieces, and from the journal what no piece covers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from proximity.ingest import remembering
from proximity.store import journal, schema
from tests.proximity.test_ingest import START, Clock, Rig
from tests.street import fix

PIECE = 8


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "PIECE_RECORDS", PIECE)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each row of the journal had that was decoded."""
    counts: list[int] = []
    decode = journal.decode_records

    def counted(payload: bytes) -> list[object]:
        found = decode(payload)
        counts.append(len(found))
        return [*found]

    monkeypatch.setattr(journal, "decode_records", counted)
    return counts


def batch(number: int) -> list[object]:
    at = START + 30.0 * number
    return [fix(at, 900.0, 900.0, subject=f"u{n}") for n in range(4)] + [
        fix(at, 900.0, 900.0, subject="told", id=f"id-{number}")
    ]


async def taken(rig: Rig, numbers: range) -> None:
    """Have batches taken in, and what came of them written down."""
    for number in numbers:
        rig.clock.now = START + 30.0 * number
        assert (await rig.ingest.accept(batch(number))).accepted == 5
        await rig.settled()
        if (task := rig.ingest._remembering._task) is not None:
            await task


async def repeated(rig: Rig, numbers: range) -> None:
    for number in numbers:
        receipt = await rig.ingest.accept(batch(number))
        assert (receipt.accepted, receipt.duplicate) == (0, 5)


def pieces(rig: Rig) -> list[int]:
    query = sa.select(schema.admitted.c.position).order_by(schema.admitted.c.position)
    return rig.store.read(lambda connection: [*connection.scalars(query)])


async def test_a_start_reads_what_no_piece_covers_and_refuses_every_repeat(
    tmp_path: Path, read: list[int]
) -> None:
    rig = await Rig(tmp_path / "engine.db", Clock()).started()
    await taken(rig, range(9))
    assert len(pieces(rig)) == 4  # two batches each
    await rig.save()
    rig.crash()
    read.clear()
    again = await Rig(tmp_path / "engine.db", rig.clock).started()
    assert sum(read) == 5  # of 45
    await repeated(again, range(9))
    await taken(again, range(9, 11))
    assert len(pieces(again)) == 5
    again.crash()


async def test_what_is_in_no_piece_yet_is_caught_up_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as far:
        far.setattr(remembering, "PIECE_RECORDS", 1_000)  # as if an earlier version had written it
        rig = await Rig(tmp_path / "engine.db", Clock()).started()
        await taken(rig, range(8))
        rig.crash()
    assert pieces(rig) == []
    again = await Rig(tmp_path / "engine.db", rig.clock).started()
    await taken(again, range(8, 9))
    assert len(pieces(again)) == 4
    again.crash()


def spoil_all(packed: bytes) -> bytes:
    return b"\xc1"


def spoil_a_row(packed: bytes) -> bytes:
    names, rows, marks, newest = msgspec.msgpack.decode(packed)
    return msgspec.msgpack.encode((names, rows[:-32], marks, newest))


def spoil_a_mark(packed: bytes) -> bytes:
    names, rows, marks, newest = msgspec.msgpack.decode(packed)
    return msgspec.msgpack.encode((names, rows, marks[1:], newest))


@pytest.mark.parametrize("spoil", [spoil_all, spoil_a_row, spoil_a_mark])
async def test_a_piece_that_cannot_be_read_costs_a_longer_start_and_no_more(
    tmp_path: Path, read: list[int], spoil: Callable[[bytes], bytes]
) -> None:
    rig = await Rig(tmp_path / "engine.db", Clock()).started()
    await taken(rig, range(8))
    await rig.save()
    one = schema.admitted.c.position == pieces(rig)[1]
    packed = rig.store.read(lambda c: c.scalar(sa.select(schema.admitted.c.packed).where(one)))
    spoilt = schema.admitted.update().where(one).values(packed=spoil(packed))
    rig.store.write(lambda connection: connection.execute(spoilt)).result()
    rig.crash()
    read.clear()
    again = await Rig(tmp_path / "engine.db", rig.clock).started()
    assert sum(read) == 40
    await repeated(again, range(8))
    again.crash()


async def test_who_is_struck_out_is_in_no_piece(tmp_path: Path) -> None:
    rig = await Rig(tmp_path / "engine.db", Clock()).started()
    await taken(rig, range(8))
    remembering.strike(rig.store, {"u1", "told"})
    query = sa.select(schema.admitted.c.packed)
    packed = b"".join(rig.store.read(lambda connection: [*connection.scalars(query)]))
    assert b"u0" in packed
    assert b"u1" not in packed
    assert b"told" not in packed
    spoilt = schema.admitted.update().values(packed=b"\xc1u0")
    rig.store.write(lambda connection: connection.execute(spoilt)).result()
    remembering.strike(rig.store, {"u0"})
    assert pieces(rig) == []
    rig.crash()


async def test_pieces_go_when_their_records_would_be_late(tmp_path: Path) -> None:
    rig = await Rig(tmp_path / "engine.db", Clock(), late_s=100.0).started()
    await taken(rig, range(8))
    await rig.save()
    before = START + 30.0 * 4
    rig.store.write(lambda connection: journal.prune(connection, before)).result()
    assert len(pieces(rig)) == 2
    rig.crash()
