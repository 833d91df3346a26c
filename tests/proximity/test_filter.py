"""The arithmetic of the position filter: what it makes of noise that hangs together."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.engine import filter as kalman
from proximity.engine.filter import State

Fixes = list[tuple[float, float, float, float]]
"""Seconds since the last fix, metres east and north, square metres of its error."""

VARIANCE = 100.0


def after(fixes: Fixes) -> State:
    """Follow a phone from the first fix on, in plain floats."""
    _, x0, y0, variance = fixes[0]
    state = kalman.start(variance, 0.0)
    for gap_s, x, y, variance in fixes[1:]:
        rho, keep = exp(-gap_s / kalman.ERROR_MEMORY_S), exp(-gap_s * kalman.changes(state))
        ahead, _ = kalman.predict(state, gap_s, rho, keep, variance)
        east, north = x - x0, y - y0
        s_off, s_variance, w_off, w_variance = kalman.surprise(
            ahead, east, north, kalman.white(variance)
        )
        exponent = min(0.5 * (s_off / s_variance - w_off / w_variance), 50.0)
        likelier = s_variance / w_variance * exp(exponent)
        state = kalman.correct(ahead, east, north, s_variance, w_variance, likelier)
        x0, y0 = x, y
    return state


def noise(count: int, gap_s: float, seed: int, variance: float = VARIANCE) -> np.ndarray:
    """Draw errors that hang together as the filter expects them."""
    random = np.random.default_rng(seed)
    share = kalman.WHITE_SHARE
    slow = sqrt(variance * (1.0 - share * share))
    rho = exp(-gap_s / kalman.ERROR_MEMORY_S)
    drift = slow * random.standard_normal(2)
    found = []
    for _ in range(count):
        found.append(drift + share * sqrt(variance) * random.standard_normal(2))
        drift = rho * drift + slow * sqrt(1.0 - rho * rho) * random.standard_normal(2)
    return np.array(found)


def test_a_first_fix_is_worth_its_accuracy() -> None:
    east, north, variance = kalman.position(kalman.start(VARIANCE, 0.0))
    assert (east, north) == (0.0, 0.0)
    assert variance == pytest.approx(VARIANCE + kalman.START_M2)


def test_ten_fixes_of_one_error_make_nobody_sure() -> None:
    state = after([(5.0, 0.0, 0.0, VARIANCE)] * 10)
    assert sqrt(kalman.position(state)[2]) > 0.75 * sqrt(VARIANCE)


def test_an_hour_of_standing_does() -> None:
    errors = noise(720, 5.0, 1)
    state = after([(5.0, x, y, VARIANCE) for x, y in errors])
    east, north, variance = kalman.position(state)
    off = np.hypot(east + errors[-1][0], north + errors[-1][1])
    assert sqrt(variance) < 0.6 * sqrt(VARIANCE)
    assert off < 3.0 * sqrt(variance)
    assert state[kalman.STANDING] > 0.8


def test_a_walk_is_told_from_standing_and_followed() -> None:
    errors = noise(120, 5.0, 2)
    walked = np.arange(120) * 5.0 * 1.3
    state = after([(5.0, x + e, y, VARIANCE) for (x, y), e in zip(errors, walked, strict=True)])
    assert state[kalman.STANDING] < 0.2
    assert state[9] == pytest.approx(1.3, abs=0.6)


@pytest.mark.parametrize("every_s", [5.0, 15.0, 60.0])
def test_what_it_says_of_its_own_error_is_true(every_s: float) -> None:
    off, said = [], []
    for seed in range(60):
        errors = noise(40, every_s, seed)
        state = after([(every_s, x, y, VARIANCE) for x, y in errors])
        east, north, variance = kalman.position(state)
        off += [east + errors[-1][0], north + errors[-1][1]]
        said.append(sqrt(variance))
    # Never surer than it may be; where fixes are rare it stays a little on the careful side.
    assert 0.5 < np.sqrt(np.mean(np.square(off))) / np.mean(said) < 1.3


def test_who_has_stood_for_long_sets_off_seldom() -> None:
    stood = after([(15.0, 0.0, 0.0, VARIANCE)] * 400)
    assert kalman.goes(stood[-1]) < kalman.goes(0.0) / 10.0
    # ... but is followed all the same.
    assert kalman.changes(stood) > kalman.STOPS_PER_S


steps = st.tuples(
    st.floats(1e-6, 1e5), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(9.0, 1e6)
)


@given(st.lists(steps, min_size=2, max_size=20))
def test_whatever_comes_variances_stay_sound(fixes: Fixes) -> None:
    state = after(fixes)
    assert all(np.isfinite(state))
    assert kalman.position(state)[2] > 0.0
    assert 0.0 < state[kalman.STANDING] < 1.0
    for pp, pe, ee in (state[4:7], (state[13], state[16], state[18])):
        assert pp > 0.0
        assert ee > 0.0
        assert pe * pe <= pp * ee * (1.0 + 1e-6)


@given(st.lists(st.lists(steps, min_size=3, max_size=3), min_size=2, max_size=12))
def test_arrays_give_the_bits_of_floats(many: list[Fixes]) -> None:
    start = kalman.start(np.array([f[0][3] for f in many]), np.zeros(len(many)))
    one = [kalman.start(f[0][3], 0.0) for f in many]
    assert [list(column) for column in zip(*start, strict=True)] == [list(s) for s in one]
    gaps, x, y, variance = np.array([f[1] for f in many]).T
    rho = np.array([exp(-g / kalman.ERROR_MEMORY_S) for g in gaps.tolist()])
    keep = np.array([exp(-g * kalman.changes(one[0])) for g in gaps.tolist()])
    ahead, fresh = kalman.predict(start, gaps, rho, keep, variance)
    white = kalman.white(variance)
    s_off, s_variance, w_off, w_variance = kalman.surprise(ahead, x, y, white)
    state = kalman.correct(ahead, x, y, s_variance, w_variance, np.full(len(many), 0.5))
    place = kalman.position(state)
    for n in range(len(many)):
        own, new = kalman.predict(one[n], *(float(v[n]) for v in (gaps, rho, keep, variance)))
        assert new == fresh[n]
        found = kalman.surprise(own, float(x[n]), float(y[n]), kalman.white(float(variance[n])))
        assert found == (s_off[n], s_variance[n], w_off[n], w_variance[n])
        end = kalman.correct(own, float(x[n]), float(y[n]), found[1], found[3], 0.5)
        assert list(end) == [column[n] for column in state]
        assert list(kalman.position(end)) == [column[n] for column in place]
