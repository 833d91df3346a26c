"""New, repeated, too late, or from the future."""

from __future__ import annotations

from typing import Any

import pytest

from beacon_gateway.model import Beacon, Sighting
from proximity.engine import intake as module
from proximity.engine.intake import Admitted, Intake, fingerprint, sender
from proximity.engine.trail import ROW_BYTES
from proximity.model import Event, Fix, Record


def fix(at: float, subject: str = "s", **more: Any) -> Fix:
    return Fix(subject=subject, at=at, lon=2.0, lat=48.0, **more)


BEACON = Beacon(format="ibeacon", uuid="f7826da6-4fa2-4e98-8024-bc5b71e0893e", major=1, minor=7)


def test_a_record_counts_once() -> None:
    intake = Intake()
    assert intake.admit(fix(100.0)) is None
    assert intake.admit(fix(100.0)) == "duplicate"
    assert intake.admit(fix(100.0, received_at=150.0)) == "duplicate"
    assert intake.admit(fix(100.0, accuracy_m=5.0)) is None
    assert intake.now == 150.0


def test_an_id_tells_repeats_whatever_else_differs() -> None:
    intake = Intake()
    assert intake.admit(fix(100.0, id="a")) is None
    assert intake.admit(fix(130.0, id="a")) == "duplicate"
    assert intake.admit(fix(130.0, subject="t", id="a")) is None


def test_the_sender_of_a_sighting_is_its_gateway() -> None:
    heard = Sighting(beacon=BEACON, at=100.0, rssi_dbm=-60.0, gateway="g", id="1")
    assert sender(heard) == "g"
    own = Sighting(beacon=BEACON, at=100.0, rssi_dbm=-60.0, subject="s", id="1")
    assert sender(own) == "s"
    assert fingerprint(heard) != fingerprint(own)
    intake = Intake()
    assert intake.admit(heard, "carrier") is None
    assert intake.admit(own) is None


def test_all_kinds_of_records_have_fingerprints_of_their_content() -> None:
    records: list[Record] = [
        fix(100.0),
        Sighting(beacon=BEACON, at=100.0, rssi_dbm=-60.0, gateway="g"),
        Sighting(beacon=BEACON, at=100.0, rssi_dbm=-61.0, gateway="g"),
        Event(subject="s", at=100.0, name="open"),
        Event(subject="s", at=100.0, name="open", properties={"a": 1.0}),
    ]
    assert len({fingerprint(record) for record in records}) == len(records)


def test_a_clock_ahead_of_the_arrival_is_refused() -> None:
    intake = Intake()
    assert intake.admit(fix(161.0, received_at=100.0)) == "future"
    assert intake.admit(fix(160.0, received_at=100.0)) is None


def test_late_is_measured_against_the_subject_s_newest() -> None:
    intake = Intake(late_s=50.0)
    assert intake.admit(fix(1000.0)) is None
    assert intake.admit(fix(950.0)) is None
    assert intake.admit(fix(949.0)) == "late"
    assert intake.admit(fix(10.0, subject="t")) is None


def test_what_could_not_be_kept_may_come_again() -> None:
    intake = Intake()
    assert intake.admit(fix(100.0)) is None
    intake.forget(fix(100.0))
    assert intake.admit(fix(100.0)) is None
    assert intake.admit(fix(110.0, id="a")) is None
    intake.forget(fix(110.0, id="a"))
    assert intake.admit(fix(110.0, id="a")) is None


def remembered(intake: Intake) -> int:
    rows = [*intake._rows.values(), *intake._rows_before.values()]
    return sum(map(len, rows)) // ROW_BYTES + len(intake._newer) + len(intake._older)


@pytest.mark.parametrize("more", [{}, {"speed_mps": 1.0}])
def test_records_are_remembered_for_late_s_and_dropped_later(more: dict[str, Any]) -> None:
    intake = Intake(late_s=100.0)
    for at in range(1000, 2000, 10):
        assert intake.admit(fix(float(at), **more)) is None
        assert intake.admit(fix(float(at), **more)) == "duplicate"
        assert intake.admit(fix(max(1000.0, at - 100.0), **more)) == "duplicate"
    assert remembered(intake) <= 21
    assert intake.admit(fix(5000.0, **more)) is None
    assert remembered(intake) == 1


def test_a_late_record_is_remembered_as_long_as_others() -> None:
    intake = Intake(late_s=100.0)
    assert intake.admit(fix(1050.0)) is None
    assert intake.admit(fix(1100.0, subject="t")) is None  # a generation begins
    assert intake.admit(fix(1000.0)) is None  # late, the first of its generation
    assert intake.admit(fix(1000.0)) == "duplicate"
    assert intake.admit(fix(1050.0)) == "duplicate"
    assert intake.admit(fix(1040.0)) is None
    assert intake.admit(fix(949.0)) == "late"
    assert intake.admit(fix(1040.0)) == "duplicate"


def test_a_sighting_and_a_fix_of_one_subject_share_what_is_newest() -> None:
    intake = Intake(late_s=50.0)
    heard = Sighting(beacon=BEACON, at=1000.0, rssi_dbm=-60.0, subject="s")
    assert intake.admit(heard) is None
    assert intake.admit(heard) == "duplicate"
    assert intake.admit(fix(949.0)) == "late"
    assert intake.admit(fix(950.0)) is None
    assert intake.admit(fix(950.0)) == "duplicate"


def test_many_are_admitted_as_one_after_the_other() -> None:
    records = [fix(100.0), fix(100.0), fix(90.0, id="a"), fix(90.0, id="a"), fix(170.0)]
    one, many = Intake(late_s=60.0), Intake(late_s=60.0)
    expected = [one.admit(record) for record in records]
    assert many.admit_many(records) == expected
    assert many.pack() == one.pack()
    assert expected == [None, "duplicate", None, "duplicate", None]


def test_a_talkative_subject_is_remembered_too() -> None:
    intake = Intake()
    for at in range(500):
        assert intake.admit(fix(1000.0 + at)) is None
    assert intake.admit(fix(999.5)) is None
    assert intake.admit(fix(2000.0)) is None
    assert intake.admit(fix(1250.0)) == "duplicate"
    again = Intake.unpack(intake.pack())  # type: ignore[arg-type]
    assert again.admit(fix(1250.0)) == "duplicate"
    again.forget(fix(1250.0))
    assert again.admit(fix(1250.0)) is None


def test_a_row_is_found_where_it_begins_alone() -> None:
    intake = Intake()
    # A row's bytes may stand across two others.
    first = Fix(subject="s", at=1.0, lon=2.0, lat=3.0, accuracy_m=4.0)
    second = Fix(subject="s", at=5.0, lon=6.0, lat=7.0, accuracy_m=8.0)
    across = Fix(subject="s", at=3.0, lon=4.0, lat=5.0, accuracy_m=6.0)
    assert intake.admit_many([first, second]) == [None, None]
    assert intake.admit(across) is None
    assert intake.admit(across) == "duplicate"


def test_a_subject_can_be_forgotten() -> None:
    intake = Intake(late_s=10.0)
    intake.admit(fix(1000.0))
    intake.admit(fix(1001.0, id="a"))
    intake.forget_subject("s")
    assert intake.admit(fix(10.0)) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MARKS", 20)
    intake = Intake()
    for at in range(1000):
        assert intake.admit(fix(float(at))) is None
    assert remembered(intake) <= 20
    assert intake.admit(fix(999.0)) == "duplicate"


def test_memory_is_bounded_when_much_is_recalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MARKS", 20)
    intake = Intake()
    # The first of these falls into the same piece as a later one of its subject.
    pieces = [[fix(at + late) for late in (1.0, 0.0, 1.5)] for at in range(5000, 5300, 3)]
    pieces += [[fix(5002.5)]]
    intake.recall(
        (records[0].at, Admitted.of(records, [None] * len(records))) for records in pieces
    )
    assert remembered(intake) <= 20
    assert intake.admit(fix(5298.5)) == "duplicate"
    assert intake.admit(fix(5298.5 - 3600.5)) == "late"  # though what came last was older


def test_a_repeat_is_one_for_late_s_whatever_else_comes() -> None:
    for others in (0, 5):
        intake = Intake(late_s=100.0)
        assert intake.admit(fix(1000.0, id="a")) is None
        for n in range(others):
            assert intake.admit(fix(1000.0 + 20 * n, subject="t")) is None
        assert intake.admit(fix(1100.0, id="a")) == "duplicate"
        assert intake.admit(fix(1101.0, id="a")) is None


def test_neighbouring_numbers_are_not_the_same() -> None:
    one = Fix(subject="s", at=1.0, lon=-1.0, lat=48.0, floor=-1.0)
    other = Fix(subject="s", at=1.0, lon=-2.0, lat=48.0, floor=-1.0)
    assert fingerprint(one) != fingerprint(other)


def test_subjects_long_silent_are_forgotten() -> None:
    intake = Intake(late_s=10.0)
    for n in range(1000):
        assert intake.admit(fix(1000.0 + n, subject=f"s{n}")) is None
    assert len(intake._rows) + len(intake._rows_before) <= 40


@pytest.mark.parametrize("count", [0, 3])
def test_the_state_packs_and_unpacks(count: int) -> None:
    intake = Intake(late_s=30.0)
    for at in range(count):
        intake.admit(fix(1000.0 + 20 * at))
    again = Intake.unpack(intake.pack())  # type: ignore[arg-type]
    assert again.pack() == intake.pack()
    if count:
        assert again.admit(fix(1040.0)) == "duplicate"
