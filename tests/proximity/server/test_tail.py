"""The newest rows in memory: whoever keeps up misses none and sees none twice."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.server import tail as module
from proximity.server.tail import Tail
from proximity.store import LedgerRow


def rows(numbers: Iterable[int]) -> list[LedgerRow]:
    return [
        LedgerRow(
            seq=number, kind="transition", id=str(number), subject="s", place="p", person="s",
            visit="v", campaign=None, at=0.0, record="{}",
        )
        for number in numbers
    ]  # fmt: skip


def seqs(found: list[LedgerRow] | None) -> list[int] | None:
    return None if found is None else [row.seq for row in found]


def test_what_is_told_is_there_for_whoever_keeps_up() -> None:
    tail = Tail()
    with tail.reader():
        tail.grew(rows([4, 5]))
        assert seqs(tail.after(3)) == [4, 5]
        assert seqs(tail.after(4)) == [5]
        assert seqs(tail.after(5)) == []
        assert tail.after(2) is None, "row 3 was never told here"
        tail.grew(rows([6]))
        assert seqs(tail.after(4)) == [5, 6]


def test_a_hole_sends_the_reader_to_the_ledger() -> None:
    tail = Tail()
    with tail.reader():
        tail.grew(rows([1, 2]))
        tail.grew(rows([4, 7]))
        assert tail.after(2) is None
        assert tail.after(4) is None
        assert seqs(tail.after(6)) == [7]


def test_what_is_kept_is_bounded_and_nothing_without_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    tail = Tail()
    tail.grew(rows(range(1, 5)))
    assert tail.after(3) is None
    assert seqs(tail.after(4)) == []
    with tail.reader():
        tail.grew(rows(range(5, 10)))
        assert tail.after(5) is None
        assert seqs(tail.after(6)) == [7, 8, 9]
        assert tail.end == 9


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=20),
    st.integers(0, 30),
)
def test_memory_never_disagrees_with_the_ledger(growth: list[tuple[int, int]], cursor: int) -> None:
    tail = Tail()
    ledger: list[int] = []
    with tail.reader():
        for elsewhere, here in growth:  # rows of others lie between those that are told
            for told in (elsewhere, here):
                new = list(range(len(ledger) + 1, len(ledger) + 1 + told))
                ledger += new
            tail.grew(rows(new))
        found = seqs(tail.after(cursor))
    assert found is None or found == [number for number in ledger if number > cursor]
    assert tail.after(len(ledger)) == [] or not ledger
