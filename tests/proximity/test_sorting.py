"""Rows that came piece by piece are those of their subjects, in order but for the newest."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.engine.sorting import Sorting
from proximity.engine.trail import ROW_BYTES, newest_of, spot_of
from proximity.model import Fix

rows = st.lists(st.tuples(st.sampled_from(["ana", "ben", "čeněk"]), st.integers(0, 9)))


def row(at: int, lon: int) -> bytes:
    return spot_of(Fix(subject="s", at=float(at), lon=float(lon), lat=0.0))


@given(st.lists(rows))
def test_each_row_is_its_subjects_and_the_newest_comes_last(
    pieces: list[list[tuple[str, int]]],
) -> None:
    sorting, came = Sorting(), defaultdict[str, list[bytes]](list)
    for number, piece in enumerate(pieces):
        own = [row(at, number) for _, at in piece]
        sorting.add([subject for subject, _ in piece], b"".join(own))
        for (subject, _), one in zip(piece, own, strict=True):
            came[subject].append(one)
    found = {subject: bytes(trail) for subject, trail in sorting.trails()}
    assert list(found) == list(came)
    for subject, theirs in came.items():
        newest = max(map(newest_of, theirs))
        if newest_of(theirs[-1]) < newest:
            last = next(one for one in theirs if newest_of(one) == newest)
            theirs.remove(last)
            theirs.append(last)
        assert found[subject] == b"".join(theirs)


@pytest.mark.parametrize("count", [2**16 - 1, 2**16, 2**16 + 1])
def test_any_number_of_subjects(count: int) -> None:
    sorting = Sorting()
    names = [f"s{n}" for n in range(count)]
    for lon in (1, 2):
        sorting.add(names, b"".join(row(n, lon) for n in range(count)))
    for number, (subject, trail) in enumerate(sorting.trails()):
        assert subject == names[number]
        assert bytes(trail) == row(number, 1) + row(number, 2)
    assert number == count - 1
    assert len(trail) == 2 * ROW_BYTES
