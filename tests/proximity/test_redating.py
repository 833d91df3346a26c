"""When it really was: gateways with wrong clocks, late ones, and ones that are both."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beacon_gateway.model import Beacon, Sighting
from proximity.ingest.redating import BELIEVED_S, DRIFT, LONGEST_BOOT, MOST_BOOTS, Redating
from tests.street import UUID, fix

NOW = 1_767_225_600.0
BEACON = Beacon(format="ibeacon", uuid=UUID, major=1, minor=1)
GATEWAYS = {"gw-1", "gw-2"}


def heard(true: float, clock_s: float, boot_at: float = NOW - 1000.0, **more: object) -> Sighting:
    """Heard at ``true`` by a gateway whose clock is ``clock_s`` ahead and that began at ``boot_at``."""
    fields = {"gateway": "gw-1", "boot": "b1", "mono_s": true - boot_at, **more}
    return Sighting(beacon=BEACON, at=max(0.0, true + clock_s), rssi_dbm=-60, **fields)  # type: ignore[arg-type]


def times(records: Sequence[object]) -> list[float]:
    return [record.at for record in records]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "clock_s", [-NOW + 60, -30 * 86400.0, -8 * 86400.0, 10.0, 3600.0, 400 * 86400.0]
)
def test_a_clock_that_is_surely_wrong_is_dated_at_once(clock_s: float) -> None:
    redating = Redating()
    live = [heard(NOW - ago, clock_s) for ago in (0.8, 0.4, 0.1)]
    dated = times(redating.date(live, GATEWAYS, NOW))
    assert dated == pytest.approx([NOW - 0.7, NOW - 0.3, NOW], abs=0.2)
    assert redating.redated == 3
    # The time that the server was not there for: as exactly as the quickest delivery was.
    spooled = [heard(NOW - 900 + n, clock_s) for n in range(10)]
    dated = times(redating.date(spooled, GATEWAYS, NOW + 1))
    assert dated == pytest.approx([NOW - 900 + n for n in range(10)], abs=0.5)


@pytest.mark.parametrize("clock_s", [-20 * 60.0, -6 * 3600.0])
def test_a_clock_that_is_behind_is_told_from_a_record_that_is_late(clock_s: float) -> None:
    redating = Redating()
    # One batch alone could be either: nothing is pulled forward to now, where it might be offered.
    first = heard(NOW, clock_s)
    assert redating.date([first], GATEWAYS, NOW + 0.2) == [first]
    # Something older came after something newer: this sender delivers what is new first.
    spooled = redating.date([heard(NOW - 600, clock_s)], GATEWAYS, NOW + 0.5)
    assert times(spooled) == pytest.approx([NOW - 600], abs=0.5)
    assert times(redating.date([heard(NOW + 1, clock_s)], GATEWAYS, NOW + 1.2)) == pytest.approx(
        [NOW + 1], abs=0.5
    )


def test_a_clock_that_is_behind_is_known_after_some_seconds() -> None:
    redating = Redating()
    for second in range(11):
        (record,) = redating.date([heard(NOW + second, -1200.0)], GATEWAYS, NOW + second + 0.3)
        assert record.at == pytest.approx(NOW + second - (1200.0 if second < 10 else 0.0), abs=0.5)
    assert redating.errors["gw-1"].ahead_s == pytest.approx(-1200.0, abs=1)


def test_a_clock_is_wrong_since_it_was_first_found_so_and_until_it_is_set() -> None:
    redating = Redating()
    for second in range(20):
        redating.date([heard(NOW + second, 3600.0)], GATEWAYS, NOW + second)
    ahead_s, since = redating.errors["gw-1"]
    assert (round(ahead_s), since) == (3600, NOW)
    redating.date([heard(NOW + 21, 0.0)], GATEWAYS, NOW + 21)
    assert redating.errors == {}


def test_what_waited_with_a_right_clock_stays_what_it_is() -> None:
    """The oldest first, faster than it came: no record is taken for a newer one."""
    redating = Redating()
    for step in range(200):
        batch = [heard(NOW - 3000 + 15.0 * step + n, 0.0, NOW - 9000) for n in range(15)]
        received = max(NOW + 0.5 * step, batch[-1].at + 0.1)
        assert redating.date(batch, GATEWAYS, received) == batch
    assert redating.redated == 0


def test_a_step_of_the_clock_in_the_middle_changes_nothing() -> None:
    redating = Redating()
    for second in range(60):
        clock_s = -86400.0 * 30 if second < 30 else 0.0
        (record,) = redating.date([heard(NOW + second, clock_s)], GATEWAYS, NOW + second + 0.2)
        assert record.at == pytest.approx(NOW + second, abs=0.5)


def test_a_slow_crystal_is_followed_for_weeks() -> None:
    redating = Redating()
    for hour in range(24 * 30):
        true = NOW + 3600.0 * hour
        slow = heard(true, -40 * 86400.0, NOW - 10)
        mono_s = (slow.mono_s or 0.0) * (1.0 - 0.9 * DRIFT)
        slow = heard(true, -40 * 86400.0, true - mono_s)
        (record,) = redating.date([slow], GATEWAYS, true + 0.2)
        assert record.at == pytest.approx(true, abs=1.0)


def test_each_run_of_a_machine_has_a_clock_of_its_own() -> None:
    redating = Redating()
    old = heard(NOW - 100, -30 * 86400.0, NOW - 5000, boot="old")
    redating.date([heard(NOW - 2000, -30 * 86400.0, NOW - 5000, boot="old")], GATEWAYS, NOW - 2000)
    redating.date([heard(NOW, -9 * 86400.0, NOW - 20, boot="new")], GATEWAYS, NOW)
    assert times(redating.date([old], GATEWAYS, NOW + 1)) == pytest.approx([NOW - 100], abs=0.5)
    for number in range(3 * MOST_BOOTS):
        redating.date([heard(NOW, 0.0, boot=f"n{number}")], GATEWAYS, NOW + number)
    assert len(redating._runs["gw-1"]) == MOST_BOOTS
    # Nor is more of them to be written: a gateway that makes up starts costs no disk.
    assert len(redating.changed()) == MOST_BOOTS


@pytest.mark.parametrize(
    "record",
    [
        fix(NOW + 5000, 0, 0),
        heard(NOW, 5000.0, gateway="stranger"),
        heard(NOW, 5000.0, boot=None),
        heard(NOW, 5000.0, mono_s=None),
        heard(NOW, 5000.0, mono_s=-1.0),
        heard(NOW, 5000.0, mono_s=float("inf")),
        heard(NOW, 5000.0, boot="x" * (LONGEST_BOOT + 1)),
        Sighting(beacon=BEACON, at=NOW, rssi_dbm=-60, subject="s", boot="b", mono_s=1.0),
    ],
)
def test_without_a_monotonic_clock_a_record_is_what_it_says(record: object) -> None:
    redating = Redating()
    assert redating.date([record], GATEWAYS, NOW) == [record]  # type: ignore[list-item]
    assert redating.changed() == []


def test_sent_again_it_is_the_same_record() -> None:
    redating = Redating()
    record = heard(NOW, 3600.0, seq=7)
    (first,) = redating.date([record], GATEWAYS, NOW)
    (again,) = redating.date([record], GATEWAYS, NOW + 100.0)
    assert first.id == again.id == "b1:7"
    named = heard(NOW, 3600.0, seq=8, id="mine")
    assert redating.date([named], GATEWAYS, NOW)[0].id == "mine"


def test_what_is_kept_goes_on() -> None:
    redating = Redating()
    redating.date([heard(NOW, -3600.0)], GATEWAYS, NOW)
    redating.date([heard(NOW - 50, -3600.0)], GATEWAYS, NOW + 1)
    kept = redating.changed()
    assert [run.boot for run in kept] == ["b1"]
    assert redating.changed() == []
    again = Redating(kept)
    dated = again.date([heard(NOW - 800, -3600.0)], GATEWAYS, NOW + 10)
    assert times(dated) == pytest.approx([NOW - 800], abs=0.5)


def test_a_start_after_weeks_dates_by_what_was_heard_last() -> None:
    """A clock that is right; what waited while the server was away stays what it is."""
    redating, kept = Redating(), []
    now = NOW
    for _ in range(30 * 24):
        now += 3600.0
        redating.date([heard(now, 0.0)], GATEWAYS, now + 0.2)
        kept = [msgspec.structs.replace(run) for run in redating.changed()] or kept
    waited = [heard(now + n, 0.0) for n in range(5)]
    assert Redating(kept).date(waited, GATEWAYS, now + 600.0) == waited


@given(
    st.lists(st.tuples(st.floats(0, 5000), st.floats(0, 3)), min_size=1, max_size=30),
    st.sampled_from([-NOW, -40 * 86400.0, 3600.0, 0.0]),
)
def test_no_record_is_dated_later_than_it_arrived(
    heard_at: list[tuple[float, float]], clock_s: float
) -> None:
    redating = Redating()
    now = NOW
    for ago, passed in heard_at:
        now += passed
        record = heard(now - min(ago, 900.0), clock_s)
        (dated,) = redating.date([record], GATEWAYS, now)
        assert dated.at <= max(now + BELIEVED_S, record.at if dated is record else 0.0)
        if clock_s == 0.0 and ago <= BELIEVED_S:
            assert dated.at == record.at
