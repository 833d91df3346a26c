"""Walkers and phones: where they go, how far a phone errs, and that a seed decides all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pyproj import Geod

from proximity.model import Fix, ProximityError
from simulator.gps import Phone, fixes, noise
from simulator.walk import Stop, Walker, read_walkers, trace, walk

STREET = Path(__file__).resolve().parents[2] / "examples" / "street"
GEOD = Geod(ellps="WGS84")


def test_a_walk_keeps_its_pace_and_its_stops() -> None:
    walker = Walker(
        subject="s", path=(Stop(2.0, 48.0, 5.0), Stop(2.0, 48.001), Stop(2.0, 48.001, 30.0))
    )
    track = walk(walker, np.random.default_rng(1))
    assert track.starts_s == 0.0
    _, _, metres = GEOD.inv(2.0, 48.0, 2.0, 48.001)
    walking = track.ends_s - 35.0
    assert metres / walking == pytest.approx(1.35, rel=0.3)
    lons, lats = track.at(np.array([0.0, 4.9, 5.0 + walking / 2, 40.0 + walking]))
    assert list(lons) == [2.0] * 4
    assert lats[:2] == pytest.approx([48.0, 48.0])
    assert lats[2] == pytest.approx(48.0005, abs=1e-6)
    assert lats[3] == 48.001


def test_noise_is_as_large_as_said_and_hangs_together() -> None:
    rng = np.random.default_rng(5)
    phone = Phone(accuracy_m=10.0)
    times = np.arange(0.0, 200_000.0, 5.0)
    east, north = noise(times, phone, rng)
    radii = np.hypot(east, north)
    # 68 % of all errors within the accuracy; 40,000 fixes hold some 1,600 independent ones.
    assert np.mean(radii <= 10.0) == pytest.approx(0.68, abs=0.04)
    near = np.corrcoef(east[:-1], east[1:])[0, 1]
    far = np.corrcoef(east[:-60], east[60:])[0, 1]
    # exp(-5/60) of the part that drifts, 96 % of the variance: 0.88; after 300 s almost nothing.
    assert near == pytest.approx(0.88, abs=0.03)
    assert abs(far) < 0.1
    assert abs(np.corrcoef(east, north)[0, 1]) < 0.1


def test_no_fixes_no_noise() -> None:
    east, north = noise(np.array([]), Phone(), np.random.default_rng(0))
    assert len(east) == len(north) == 0


def test_fixes_lie_around_the_truth_and_state_their_accuracy() -> None:
    walker = Walker(subject="s", path=(Stop(2.0, 48.0, 4000.0),))
    phone = Phone(accuracy_m=12.0, stated=0.5, every_s=10.0)
    rng = np.random.default_rng(2)
    found = list(fixes("s", walk(walker, rng), phone, rng, start=1_000.0))
    assert len(found) == 401
    assert found[0].at == 1_000.0
    assert found[1].at == 1_010.0
    off = [GEOD.inv(fix.lon, fix.lat, 2.0, 48.0)[2] for fix in found]
    assert np.median(off) == pytest.approx(9.3, abs=3.0)
    claims = [fix.accuracy_m for fix in found if fix.accuracy_m]
    assert np.median(claims) == pytest.approx(6.0, abs=0.3)


def test_the_seed_decides_and_walkers_do_not_disturb_each_other() -> None:
    walkers = read_walkers(STREET / "walkers.toml")
    once, again = trace(walkers), trace(walkers)
    assert once == again
    assert once != trace(walkers, seed=8)
    assert [fix.at for fix in once] == sorted(fix.at for fix in once)
    alone = trace(msgspec.structs.replace(walkers, walker=walkers.walker[:1]))
    assert alone == [fix for fix in once if fix.subject == alone[0].subject]


def test_the_command_writes_a_trace() -> None:
    command = [sys.executable, "-m", "simulator.walk", str(STREET / "walkers.toml")]
    out = subprocess.run(command, capture_output=True, check=True).stdout
    lines = out.splitlines()
    written = [msgspec.json.decode(line, type=Fix) for line in lines]
    assert written == trace(read_walkers(STREET / "walkers.toml"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("start = 3", "Expected `str`"),
        ('start = "x"\nseed = 1\nwalker = []', "no RFC 3339 time"),
        ("= 1", "Invalid"),
        (
            'start = "2026-05-01T10:00:00Z"\nseed = 1\n[[walker]]\nsubject = "s"\npath = []',
            "needs a path",
        ),
    ],
)
def test_a_bad_file_of_walkers_is_named(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "walkers.toml"
    file.write_text(text)
    with pytest.raises(ProximityError) as caught:
        read_walkers(file)
    assert problem in str(caught.value)
    assert "walkers.toml" in str(caught.value)
