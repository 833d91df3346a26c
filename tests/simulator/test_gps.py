"""Phones: how far they err, for how long alike, what they claim, when they speak and arrive."""

from __future__ import annotations

import csv
import math
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pyproj import Geod

from simulator.actors import BOUNDS
from simulator.gps import (
    NUMBERS,
    PHONES,
    Phone,
    Reports,
    Sky,
    arrival,
    drawn,
    fixes,
    motion_of,
    noise,
    observe,
)
from simulator.walk import Track

GEOD = Geod(ellps="WGS84")
Floats = NDArray[np.float64]


def still(seconds: float) -> Track:
    return Track(np.array([0.0, seconds]), np.array([2.0, 2.0]), np.array([48.0, 48.0]))


def away(reports: Reports) -> Floats:
    here = np.full(len(reports), 2.0), np.full(len(reports), 48.0)
    metres: Floats = GEOD.inv(*here, reports.lons, reports.lats)[2]
    return metres


def seen(phone: Phone, seconds: float = 40_000.0, seed: int = 5, **more) -> Reports:
    return observe(still(seconds), phone, np.random.default_rng(seed), **more)


# Errors ------------------------------------------------------------------------------------------


def test_noise_is_as_large_as_said_and_hangs_together() -> None:
    times = np.arange(0.0, 200_000.0, 5.0)
    east, north = noise(times, Phone(accuracy_m=10.0), np.random.default_rng(5))
    radii = np.hypot(east, north)
    # 68 % of all errors within the accuracy; 40,000 fixes hold some 1,600 independent ones.
    assert np.mean(radii <= 10.0) == pytest.approx(0.68, abs=0.04)
    near = np.corrcoef(east[:-1], east[1:])[0, 1]
    far = np.corrcoef(east[:-60], east[60:])[0, 1]
    # exp(-5/60) of the part that drifts, 96 % of the variance: 0.88; after 300 s almost nothing.
    assert near == pytest.approx(0.88, abs=0.03)
    assert abs(far) < 0.1
    assert abs(np.corrcoef(east, north)[0, 1]) < 0.1


@pytest.mark.parametrize("memory_s", [15.0, 180.0])
@pytest.mark.parametrize("white", [0.0, 0.35])
def test_memory_and_white_share_are_as_said(memory_s: float, white: float) -> None:
    times = np.arange(0.0, 100_000.0, 5.0)
    phone = Phone(correlation_s=memory_s, white=white)
    east, _ = noise(times, phone, np.random.default_rng(1))
    wanted = (1.0 - white**2) * math.exp(-10.0 / memory_s)
    assert np.corrcoef(east[:-2], east[2:])[0, 1] == pytest.approx(wanted, abs=0.06)


def test_no_fixes_no_noise() -> None:
    east, north = noise(np.array([]), Phone(), np.random.default_rng(0))
    assert len(east) == len(north) == 0


def test_roofs_and_streets_make_a_phone_worse_and_no_roof_better() -> None:
    def under(kind: Sky):
        return lambda times, *_: np.full(len(times), int(kind))

    phone = Phone(accuracy_m=10.0)
    middle = {kind: np.median(away(seen(phone, sky=under(kind)))) for kind in Sky if kind < 3}
    assert middle[Sky.CANYON] == pytest.approx(2.0 * middle[Sky.OPEN], rel=0.01)
    assert middle[Sky.INDOOR] == pytest.approx(1.4 * middle[Sky.OPEN], rel=0.01)
    assert len(seen(phone, sky=under(Sky.NONE))) == 0
    coarse = Phone(accuracy_m=50.0)
    assert np.median(away(seen(coarse, sky=under(Sky.INDOOR)))) == pytest.approx(
        np.median(away(seen(coarse))), rel=0.01
    )
    capped = Phone(accuracy_m=30.0)
    assert np.nanmedian(seen(capped, sky=under(Sky.INDOOR)).accuracy_m) == pytest.approx(
        35, rel=0.1
    )


def test_heavy_tails_are_rare_and_far() -> None:
    plain, heavy = Phone(white=0.35), Phone(white=0.35, tail_share=0.05, tail_factor=10.0)
    assert np.quantile(away(seen(heavy)), 0.99) > 1.3 * np.quantile(away(seen(plain)), 0.99)
    assert np.median(away(seen(heavy))) == pytest.approx(np.median(away(seen(plain))), rel=0.1)


# Claims ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stated", [1 / 2.8, 1.0, 2.8])
def test_a_phone_claims_what_its_own_scale_makes_of_the_truth(stated: float) -> None:
    reports = seen(Phone(accuracy_m=12.0, stated=stated))
    assert np.median(reports.accuracy_m) == pytest.approx(12.0 * stated, rel=0.02)
    assert np.median(away(reports)) == pytest.approx(9.3, abs=2.0)


def test_claims_follow_an_accuracy_that_wanders() -> None:
    reports = seen(Phone(accuracy_spread=0.6))
    good = reports.accuracy_m < np.quantile(reports.accuracy_m, 0.25)
    bad = reports.accuracy_m > np.quantile(reports.accuracy_m, 0.75)
    assert np.median(away(reports)[bad]) > 2.0 * np.median(away(reports)[good])


def test_some_fixes_claim_nothing() -> None:
    assert np.isnan(seen(Phone(unknown=0.18)).accuracy_m).mean() == pytest.approx(0.18, abs=0.02)


def test_jumps_lie_far_off_and_claim_to_be_good() -> None:
    phone = Phone(accuracy_m=4.0, jumps_per_hour=6.0)
    reports = seen(phone, 6 * 3600.0)
    far = away(reports) > 100.0
    # 36 bursts of 15 s in the mean, at least a fix each.
    assert 36 <= far.sum() <= 36 * 6
    assert reports.accuracy_m[far].max() <= 9.0
    assert away(reports)[far].min() > 130.0
    assert away(reports)[far].max() < 330.0


def test_a_short_burst_is_still_seen() -> None:
    phone = Phone(every_s=60.0, jumps_per_hour=30.0, jump_s=(0.0, 1.0))
    assert (away(seen(phone, 3600.0)) > 100.0).sum() >= 10


# When --------------------------------------------------------------------------------------------


def test_intervals_are_as_said() -> None:
    assert np.diff(seen(Phone(every_s=10.0, delay_s=0.0), 3600.0).true_s) == pytest.approx(10.0)
    jittered = np.diff(seen(Phone(every_s=10.0, jitter=0.3, delay_s=0.0), 36_000.0).true_s)
    assert jittered.min() >= 7.0
    assert jittered.max() <= 13.0
    assert jittered.mean() == pytest.approx(10.0, rel=0.02)


def test_a_phone_at_rest_falls_asleep_and_wakes_on_the_way() -> None:
    # Five minutes on the way, half an hour at rest, five on the way: 1.3 m/s to the north.
    far = 48.0 + 400.0 / 111_200.0
    track = Track(
        np.array([0.0, 300.0, 2100.0, 2400.0]),
        np.array([2.0, 2.0, 2.0, 2.0]),
        np.array([48.0, far, far, 48.0]),
    )
    phone = Phone(sleeps_after_s=120.0, wake_m=25.0)
    times = observe(track, phone, np.random.default_rng(1)).true_s
    assert not ((times > 430.0) & (times < 2100.0)).any()
    assert times[times > 440.0].min() == pytest.approx(2120.0, abs=10.0)
    beating = observe(
        track, Phone(sleeps_after_s=120.0, asleep_every_s=300.0), np.random.default_rng(1)
    ).true_s
    assert list(beating[(beating > 430.0) & (beating < 2100.0)]) == [
        600.0,
        900.0,
        1200.0,
        1500,
        1800,
    ]


def test_gaps_and_a_dead_app_lose_what_is_in_them() -> None:
    reports = seen(Phone(gaps_per_hour=2.0, gap_s=(120.0, 480.0)), 36_000.0)
    gaps = np.diff(reports.true_s)
    assert 8 <= (gaps > 119.0).sum() <= 35
    dead = seen(Phone(dead=((100.0, 200.0),)), 300.0).true_s
    assert not ((dead >= 100.0) & (dead < 200.0)).any()


def test_what_is_offline_arrives_when_the_network_is_back() -> None:
    reports = seen(Phone(offline=((100.0, 900.0),), delay_s=0.0), 1000.0)
    waited = (reports.true_s >= 100.0) & (reports.true_s < 900.0)
    assert (reports.received_s[waited] == 900.0).all()
    assert (reports.received_s[~waited] == reports.true_s[~waited]).all()
    assert (np.diff(reports.true_s) > 0.0).all()


def test_batches_duplicates_and_disorder() -> None:
    rng = np.random.default_rng(4)
    times = np.arange(0.0, 3000.0, 5.0)
    received, which = arrival(times, rng, delay_s=0.2, batch_s=300.0, shuffled=True, twice=0.1)
    assert (np.diff(received) >= 0.0).all()
    assert (received >= times[which]).all()
    assert sorted(set(which.tolist())) == list(range(600))
    assert len(which) - 600 == pytest.approx(60, abs=25)
    assert (np.diff(times[which]) < 0.0).sum() > 100
    in_order, _ = arrival(times, rng, delay_s=20.0)
    assert len(in_order) == 600


def test_a_skewed_clock_shows_in_at_alone() -> None:
    reports = seen(Phone(skew_s=45.0, delay_s=0.0), 100.0)
    assert (reports.at_s - reports.true_s == 45.0).all()
    assert (reports.received_s == reports.true_s).all()


# Records -----------------------------------------------------------------------------------------


def test_fixes_say_what_phones_say() -> None:
    track = Track(
        np.array([0.0, 100.0]), np.array([2.0, 2.0]), np.array([48.0, 48.01]), np.array([1.0, 1.0])
    )
    phone = Phone(tells_motion=True, tells_floor=True, mock=True, every_s=10.0)
    found = list(fixes("s", track, phone, np.random.default_rng(2), start=1_000.0))
    assert len(found) == 11
    assert found[0].at == 1_000.0
    assert found[0].received_at is not None
    assert found[0].received_at >= 1_000.0
    assert {fix.motion for fix in found} == {"driving"}
    assert {fix.speed_mps for fix in found} == {11.1}
    assert {fix.course_deg for fix in found} == {0.0}
    assert {fix.floor for fix in found} == {1.0}
    assert all(fix.mock for fix in found)
    quiet = next(fixes("s", track, Phone(), np.random.default_rng(2)))
    assert (quiet.motion, quiet.speed_mps, quiet.floor, quiet.mock) == (None, None, None, False)


@pytest.mark.parametrize(
    ("speed", "name"), [(0.0, "stationary"), (1.3, "walking"), (3.5, "running"), (9.0, "driving")]
)
def test_speeds_have_names(speed: float, name: str) -> None:
    assert motion_of(speed) == name


@pytest.mark.parametrize("name", PHONES)
def test_every_phone_of_the_list_reports(name: str) -> None:
    once = seen(PHONES[name], 7200.0)
    assert len(once) > 0
    again = seen(PHONES[name], 7200.0)
    for column in ("at_s", "received_s", "lons", "lats", "accuracy_m"):
        assert np.array_equal(getattr(once, column), getattr(again, column), equal_nan=True)
    assert not np.array_equal(once.lons, seen(PHONES[name], 7200.0, seed=6).lons)


def test_a_track_of_a_moment_gives_a_fix() -> None:
    track = Track(np.array([7.0]), np.array([2.0]), np.array([48.0]))
    phone = Phone(jumps_per_hour=5.0, sleeps_after_s=10.0, jitter=0.2)
    assert observe(track, phone, np.random.default_rng(0)).true_s.tolist() == [7.0]


def test_drawn_phones_lie_in_their_ranges() -> None:
    between = {"accuracy_m": (5.0, 35.0), "white": (0.0, 0.35)}
    phones = [drawn(Phone(), between, np.random.default_rng(n)) for n in range(400)]
    accuracies = np.array([phone.accuracy_m for phone in phones])
    assert accuracies.min() >= 5.0
    assert accuracies.max() <= 35.0
    # The logarithm is uniform: the middle is the geometric mean.
    assert np.median(accuracies) == pytest.approx(math.sqrt(5 * 35), rel=0.15)
    assert np.median([phone.white for phone in phones]) == pytest.approx(0.175, abs=0.03)
    assert {phone.every_s for phone in phones} == {5.0}


def test_every_number_of_a_phone_has_bounds() -> None:
    assert set(BOUNDS) == NUMBERS


# Real phones -------------------------------------------------------------------------------------


def autocorrelation(spells: list[Floats], lags: tuple[int, ...]) -> list[float]:
    """Give the median correlation of each spell about its own mean, at each lag."""
    found: list[list[float]] = [[] for _ in lags]
    for spell in spells:
        centred = spell - spell.mean()
        for place, lag in enumerate(lags):
            found[place].append(float((centred[lag:] * centred[:-lag]).mean() / centred.var()))
    return [float(np.median(one)) for one in found]


def resting(archive: Path) -> list[Floats]:
    """Find spells of two minutes, 24 fixes, within 25 m, in recorded rounds: east and north."""
    found: list[Floats] = []
    with zipfile.ZipFile(archive) as files:
        for name in sorted(files.namelist())[:400]:
            rows = list(csv.DictReader(files.read(name).decode().splitlines()))
            at = np.array(
                [datetime.fromisoformat(one["timestamp"][:26]).timestamp() for one in rows]
            )
            xy = np.array([[float(one["x"]), float(one["y"])] for one in rows]).T
            first = 0
            while first + 24 <= len(at):
                part = xy[:, first : first + 24]
                lasts = at[first + 23] - at[first]
                middle = np.median(part, axis=1, keepdims=True)
                if np.hypot(*(part - middle)).max() < 25.0 and 100.0 < lasts < 140.0:
                    found += [axis for axis in part if axis.std() > 0.5]
                    first += 24
                else:
                    first += 4
    return found


def test_errors_hang_together_as_those_of_resting_phones_do(shared_data) -> None:
    # 5, 10, 20, 40 and 60 s, each spell about its own mean.
    lags = (1, 2, 4, 8, 12)
    real = resting(shared_data("goal-gps-onfoot-driving") / "trajectories.zip")
    assert len(real) > 200
    wanted = autocorrelation(real, lags)
    times = np.arange(0.0, 120.0, 5.0)

    def simulated(phone: Phone) -> list[float]:
        drawn_spells = [noise(times, phone, np.random.default_rng(n))[0] for n in range(400)]
        return autocorrelation(drawn_spells, lags)

    def apart(phone: Phone) -> float:
        return max(abs(a - b) for a, b in zip(simulated(phone), wanted, strict=True))

    assert apart(Phone()) < 0.2
    assert apart(Phone(white=0.1)) < 0.12
    # The comparison can fail: white noise, and errors that change within seconds, do not look so.
    assert apart(Phone(white=1.0)) > 0.5
    assert apart(Phone(correlation_s=5.0)) > 0.25


def test_claims_wander_as_those_of_a_real_phone_do(shared_data) -> None:
    path = shared_data("phone-tracks-accuracy") / "posmo_trajectory.csv"
    with path.open(newline="") as file:
        rows = sorted(
            (datetime.fromisoformat(one["tracked_at"][:26]).timestamp(), float(one["accuracy"]))
            for one in csv.DictReader(file, delimiter=";")
        )
    at, claims = np.array(rows).T
    assert (claims <= 0.0).mean() == pytest.approx(0.11, abs=0.02)
    at, real = at[claims > 0.0], np.log(claims[claims > 0.0])
    phone = Phone(
        accuracy_m=float(np.exp(np.median(real))),
        accuracy_spread=0.55,
        stated_spread=0.1,
        every_s=2.0,
    )
    reports = seen(phone, 20_000.0)
    ours = np.log(reports.accuracy_m)
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        # A claim of a third more or less is the same to everybody.
        assert np.quantile(ours, share) == pytest.approx(np.quantile(real, share), abs=0.33)

    def kept(times: Floats, logs: Floats, low: float, high: float) -> float:
        """Correlation of claims made ``low`` to ``high`` seconds apart."""
        products: list[Floats] = []
        centred = logs - logs.mean()
        for lag in range(1, 40):
            apart = times[lag:] - times[:-lag]
            near = (apart > low) & (apart <= high)
            products.append((centred[lag:] * centred[:-lag])[near])
        return float(np.concatenate(products).mean() / logs.var())

    for low, high in ((0.0, 5.0), (5.0, 30.0), (30.0, 90.0)):
        wanted = kept(at, real, low, high)
        assert kept(reports.true_s, ours, low, high) == pytest.approx(wanted, abs=0.2)
