"""An intake that recalls what another admitted, in pieces, goes on as the other would have."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from beacon_gateway.model import Beacon, Sighting
from proximity.engine.intake import Admitted, Intake
from proximity.model import Event, Fix, Record

LATE_S = 600.0
START = 10_000.0
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"

subjects = st.sampled_from(["ana", "ben", "tag-1"])
ids = st.none() | st.sampled_from(["1", "2"])


@st.composite
def records(draw: st.DrawFn, first: float, last: float) -> list[tuple[Record, str | None]]:
    """Records as a server has them, with whose each is where a gateway heard it, in order of arrival."""
    moments = sorted(draw(st.lists(st.floats(first, last), max_size=25)))
    found: list[tuple[Record, str | None]] = []
    for arrived in moments:
        # Few enough values that many repeat, and some that are older than what came before.
        at = float(draw(st.integers(int(arrived) // 100 - 3, int(arrived) // 100)) * 100)
        kind = draw(st.sampled_from(["fix", "fix", "moving", "heard", "event"]))
        common: dict[str, Any] = {"at": at, "received_at": arrived, "id": draw(ids)}
        subject = draw(subjects)
        if kind == "event":
            found.append((Event(subject=subject, name="open", **common), None))
        elif kind == "heard":
            beacon = Beacon(format="ibeacon", uuid=UUID, major=1, minor=draw(st.integers(1, 2)))
            heard = Sighting(beacon=beacon, rssi_dbm=-60.0, gateway="gw", **common)
            found.append((heard, subject))
        else:
            speed = {"speed_mps": 1.0} if kind == "moving" else {}
            place = draw(st.sampled_from([2.0, 2.5]))
            found.append((Fix(subject=subject, lon=place, lat=48.0, **speed, **common), None))
    return found


@given(st.data())
def test_it_refuses_what_the_other_refuses(data: st.DataObject) -> None:
    before = data.draw(records(START, START + 0.8 * LATE_S))
    after = data.draw(records(START + 0.8 * LATE_S, START + LATE_S))
    first = Intake(LATE_S)
    taken = [(one, whose) for one, whose in before if first.admit(one, whose) is None]
    again = Intake(LATE_S)
    pieces: list[tuple[float, Admitted]] = []
    while taken:
        cut = data.draw(st.integers(1, len(taken)))
        piece, taken = taken[:cut], taken[cut:]
        packed = msgspec.msgpack.encode(Admitted.of(*zip(*piece, strict=True)))
        now = max(one.received_at or 0.0 for one, _ in piece)
        pieces.append((now, msgspec.msgpack.decode(packed, type=Admitted)))
    again.recall(pieces)
    for one, whose in [*before, *after]:
        assert again.admit(one, whose) == first.admit(one, whose)


@given(st.data())
def test_who_is_taken_out_is_unknown_and_nobody_else(data: st.DataObject) -> None:
    taken = data.draw(records(START, START + LATE_S))
    piece = Admitted.of([one for one, _ in taken], [whose for _, whose in taken])
    left = piece.without({"ana"})
    assert "ana" not in {*left.subjects, *(name for name, _ in left.newest)}
    others = [one for one in taken if (one[1] or one[0].subject) != "ana"]
    same = Admitted.of([one for one, _ in others], [whose for _, whose in others])
    assert (left.subjects, left.rows, left.newest) == (same.subjects, same.rows, same.newest)
    assert left.marks == piece.marks
    assert piece.count == len(taken)
    assert left.count == same.count + (len(piece.marks) - len(same.marks)) // 8
