"""Radio: levels by distance, shadowing that stays, fading that does not, and a real hall."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.radio import Air, Carried, Fixed, Wall, advertised, heading, hear

Floats = NDArray[np.float64]

FREE = Air(exponent=(2.0, 2.0), spread_db=0.0, shadow_db=0.0, rice_k_db=60.0, body_db=0.0, loss=0.0)
"""Air in which nothing is left to chance but what a test turns on."""


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def standing(x: float, y: float, count: int = 2000, heading_deg: float = 0.0, **more) -> Carried:
    ones = np.ones(count)
    floors = ones * more.get("floor", math.nan)
    return Carried(np.arange(count) * 0.5, x * ones, y * ones, heading_deg * ones, floors)


def levels(air: Air, carried: Carried, seed: int = 1, **more) -> Floats:
    fixed = Fixed(0.0, 0.0, air, rng(seed), more.pop("floor", math.nan))
    return hear(fixed, carried, -59.0, rng(seed + 1), **more)[1]


@pytest.mark.parametrize(("metres", "dbm"), [(1.0, -59.0), (10.0, -79.0), (0.1, -49.0)])
def test_levels_fall_with_the_logarithm_of_distance(metres: float, dbm: float) -> None:
    # Nearer than 0.3 m the law ends.
    assert levels(FREE, standing(metres, 0.0)) == pytest.approx(dbm, abs=1.0)


def test_what_is_too_weak_is_not_heard() -> None:
    assert len(levels(FREE, standing(1000.0, 0.0))) == 0
    # 26 dB to 20 m, 10 more to 38.6 m: there the level is -95, as often heard as not.
    assert len(levels(FREE, standing(38.6, 0.0))) == pytest.approx(1000, abs=100)


def test_other_traffic_spoils_its_share() -> None:
    assert len(levels(Air(loss=0.3), standing(2.0, 0.0))) == pytest.approx(1400, abs=80)


def test_a_back_turned_costs_what_is_said() -> None:
    air = Air(
        exponent=(2.0, 2.0), spread_db=0.0, shadow_db=0.0, rice_k_db=60.0, body_db=12.0, loss=0.0
    )
    # The carrier stands north of the receiver; facing south is facing it.
    facing, away = (levels(air, standing(0.0, 5.0, heading_deg=at)).mean() for at in (180.0, 0.0))
    assert facing - away == pytest.approx(12.0, abs=0.6)


def test_walls_and_ceilings_take_their_part() -> None:
    wall = Wall(-5.0, 2.0, 5.0, 2.0, loss_db=9.0)
    behind, beside = standing(0.0, 5.0), standing(0.0, 1.0)
    plain = levels(FREE, behind).mean()
    assert plain - levels(FREE, behind, walls=(wall,)).mean() == pytest.approx(9.0, abs=0.1)
    assert levels(FREE, beside, walls=(wall,)).mean() == levels(FREE, beside).mean()
    short = Wall(1.0, 2.0, 5.0, 2.0)
    assert levels(FREE, behind, walls=(short,)).mean() == plain
    above = levels(FREE, standing(0.0, 1.0, floor=1.0), floor=0.0).mean()
    # 18 dB of ceiling, and 3.64 m instead of one.
    assert above == pytest.approx(-59.0 - 18.0 - 20 * math.log10(math.hypot(1.0, 3.5)), abs=0.6)


def test_shadowing_belongs_to_the_place_and_fades_with_distance() -> None:
    fields = [Fixed(0.0, 0.0, Air(), rng(seed)) for seed in range(400)]
    at = {
        metres: np.array(
            [one.shadow_db(np.array([5.0 + metres]), np.zeros(1))[0] for one in fields]
        )
        for metres in (0.0, 0.5, 1.0, 3.0)
    }
    assert at[0.0].std() == pytest.approx(3.5, rel=0.1)
    for metres, levels_there in at.items():
        wanted = math.exp(-metres)
        assert np.corrcoef(at[0.0], levels_there)[0, 1] == pytest.approx(wanted, abs=0.12)
    again = Fixed(0.0, 0.0, Air(), rng(7)).shadow_db(np.array([4.0]), np.array([2.0]))
    assert again == Fixed(0.0, 0.0, Air(), rng(7)).shadow_db(np.array([4.0]), np.array([2.0]))


def test_channels_fade_apart_and_a_step_changes_all() -> None:
    air = Air(spread_db=0.0, shadow_db=0.0, body_db=0.0, rice_k_db=0.0, loss=0.0, fade_s=1e6)
    frozen = levels(air, standing(3.0, 0.0))
    # Nothing moves: three channels, three levels.
    assert len(np.unique(frozen)) <= 3
    moving = standing(3.0, 0.0)
    moving = Carried(
        moving.seconds,
        moving.x + np.arange(2000) * 0.3,
        moving.y,
        moving.heading_deg,
        moving.floors,
    )
    steps = np.diff(
        levels(Air(spread_db=0, shadow_db=0, body_db=0, rice_k_db=0, loss=0), moving)[:60]
    )
    assert np.abs(steps).mean() > 3.0


def test_intervals_have_the_random_delay_of_the_specification() -> None:
    times = advertised(100.0, 200.0, 0.35, rng())
    gaps = np.diff(times)
    assert gaps.min() >= 0.35
    assert gaps.max() <= 0.36
    assert gaps.mean() == pytest.approx(0.355, abs=0.001)
    assert times[0] >= 100.0
    assert times[-1] <= 200.0
    assert len(advertised(5.0, 5.0, 0.35, rng())) <= 1


def test_people_face_ahead_on_the_way_and_about_at_rest() -> None:
    seconds = np.arange(0.0, 2000.0, 0.5)
    walking = heading(seconds, np.full(4000, 1.3), np.full(4000, 70.0), rng())
    assert set(walking.tolist()) == {70.0}
    resting = heading(seconds, np.zeros(4000), np.zeros(4000), rng())
    assert np.histogram(resting, 4, (-180.0, 180.0))[0].min() > 300
    assert np.abs((np.diff(resting) + 180.0) % 360.0 - 180.0).mean() < 20.0


def test_some_reports_say_not_measured() -> None:
    reports = levels(Air(unmeasured=0.1), standing(2.0, 0.0))
    assert (reports == 127.0).mean() == pytest.approx(0.1, abs=0.03)
    assert (reports == np.round(reports)).all()
    assert reports[reports < 0.0].max() <= -20.0


def test_chance_is_seeded() -> None:
    assert levels(Air(), standing(5.0, 3.0)).tolist() == levels(Air(), standing(5.0, 3.0)).tolist()
    assert (
        levels(Air(), standing(5.0, 3.0), 2).tolist() != levels(Air(), standing(5.0, 3.0)).tolist()
    )


# A real hall -------------------------------------------------------------------------------------


class Hall:
    """Four tracks of one beacon through a hall with twelve receivers, and a receiver's own law."""

    def __init__(self, folder: Path) -> None:
        found = re.findall(
            r'"([0-9a-f]{12})": \[\[([\d.]+), ([\d.]+), ([\d.]+)\]',
            (folder / "cnf" / "tetam.dev").read_text(),
        )
        self.receivers = [(float(x), float(y)) for _, x, y, _ in found]
        number = {mac: place for place, (mac, *_) in enumerate(found)}
        rows: list[tuple[float, ...]] = []
        for track, path in enumerate(sorted((folder / "trk").glob("*.mbd"))):
            with path.open(newline="") as file:
                rows += [
                    (track, number[r[1]], float(r[0]), float(r[4]), float(r[5]), float(r[3]))
                    for r in csv.reader(file)
                ]
        self.rows = np.array(rows)

    def simulated(self, air: Air, seed: int) -> Floats:
        """Send a beacon along the same ways, past receivers in the same places."""
        found: list[Floats] = []
        for track in range(4):
            mine = self.rows[self.rows[:, 0] == track]
            at, first = np.unique(mine[:, 2], return_index=True)
            times = advertised(at[0], at[-1], 0.33, rng(seed))
            x, y = (np.interp(times, at, mine[first, axis]) for axis in (3, 4))
            way = np.degrees(np.arctan2(np.gradient(x), np.gradient(y)))
            carried = Carried(times, x, y, way, np.full(len(times), math.nan))
            for number, place in enumerate(self.receivers):
                fixed = Fixed(*place, air, np.random.default_rng([seed, number]))
                which, rssi = hear(
                    fixed, carried, -58.0, np.random.default_rng([seed, number, track])
                )
                ones = np.ones(len(which))
                found.append(
                    np.c_[track * ones, number * ones, times[which], x[which], y[which], rssi]
                )
        return np.concatenate(found)

    def residuals(self, rows: Floats) -> Floats:
        """What is left of each level when a receiver's own law of distance is taken from it."""
        left = np.empty(len(rows))
        for number, (x, y) in enumerate(self.receivers):
            mine = rows[:, 1] == number
            metres = np.maximum(np.hypot(rows[mine, 3] - x, rows[mine, 4] - y), 0.5)
            law = np.c_[np.ones(len(metres)), -10.0 * np.log10(metres)]
            fit, *_ = np.linalg.lstsq(law, rows[mine, 5], rcond=None)
            left[mine] = rows[mine, 5] - law @ fit
        return left

    def kept(self, rows: Floats, left: Floats, low: float, high: float) -> float:
        """Correlation of residuals of one receiver and track, ``low`` to ``high`` metres apart."""
        products: list[Floats] = []
        for number in range(len(self.receivers)):
            for track in range(4):
                mine = np.flatnonzero((rows[:, 1] == number) & (rows[:, 0] == track))
                mine = mine[np.argsort(rows[mine, 2], kind="stable")]
                for lag in range(1, 25):
                    one, other = mine[lag:], mine[:-lag]
                    apart = np.hypot(*(rows[one, 3:5] - rows[other, 3:5]).T)
                    near = (apart > low) & (apart <= high)
                    products.append((left[one] * left[other])[near])
        return float(np.concatenate(products).mean() / left.var())


def furthest(one: Floats, other: Floats) -> float:
    """Give the distance of Kolmogorov and Smirnov between two samples."""
    at = np.concatenate((one, other))
    shares = [np.searchsorted(np.sort(each), at, "right") / len(each) for each in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def test_levels_scatter_as_in_a_real_hall(shared_data) -> None:
    hall = Hall(shared_data("gateways-track-beacon-hall"))
    real = hall.residuals(hall.rows)
    # The beacon stood free on a mast: there is no body in the way.
    air = Air(body_db=0.0)
    runs = [hall.simulated(air, seed) for seed in range(4)]
    ours = [hall.residuals(rows) for rows in runs]
    assert np.concatenate(ours).std() == pytest.approx(real.std(), abs=0.7)
    assert furthest(np.concatenate(ours), real) < 0.07
    # The comparison can fail: a normal scatter of 2.5 dB, as often used, is too kind.
    assert furthest(rng().normal(0.0, 2.5, 20_000), real) > 0.15


def test_shadows_are_as_long_as_in_a_real_hall(shared_data) -> None:
    hall = Hall(shared_data("gateways-track-beacon-hall"))
    real = hall.residuals(hall.rows)
    runs = [hall.simulated(Air(body_db=0.0), seed) for seed in range(4)]
    for low, high in ((0.0, 0.1), (0.1, 0.35), (0.35, 0.75), (0.75, 1.5), (1.5, 3.0)):
        ours = np.mean([hall.kept(rows, hall.residuals(rows), low, high) for rows in runs])
        assert ours == pytest.approx(hall.kept(hall.rows, real, low, high), abs=0.1)


def test_level_by_distance_is_that_of_a_real_hall(shared_data) -> None:
    hall = Hall(shared_data("gateways-track-beacon-hall"))
    rows = np.concatenate([hall.simulated(Air(body_db=0.0), seed) for seed in range(6)])
    where = np.array(hall.receivers)

    def metres(of: Floats) -> Floats:
        place = where[of[:, 1].astype(int)]
        far: Floats = np.hypot(of[:, 3] - place[:, 0], of[:, 4] - place[:, 1])
        return far

    # One tag's power is not another's: it is the way the level falls, and spreads, that counts.
    shift = np.median(rows[:, 5]) - np.median(hall.rows[:, 5])
    for low, high in ((1.0, 4.0), (4.0, 7.0), (7.0, 11.0), (11.0, 20.0)):
        here = hall.rows[(metres(hall.rows) >= low) & (metres(hall.rows) < high), 5]
        ours = rows[(metres(rows) >= low) & (metres(rows) < high), 5] - shift
        for share in (0.25, 0.5, 0.75):
            assert np.quantile(ours, share) == pytest.approx(np.quantile(here, share), abs=4.0)
