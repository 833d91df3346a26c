"""Rotating identities against vectors made with another implementation of AES.

Each vector is two runs of ``openssl enc -aes-128-ecb -nopad -K KEY``: the block of the temporary
key, then the block of the identity under it, as Eddystone's "EID Computation" lays them out.
"""

from __future__ import annotations

import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beacon_gateway import eid
from beacon_gateway.eid import DRIFT, MAX_WINDOWS, SKEW_S, EidKey, identity_at, name, resolver
from beacon_gateway.model import GatewayError

EPOCH = 1_700_000_000.0
SECRET = "00112233445566778899aabbccddeeff"
OTHER = "553c66da1485e9f78849de00f2cb178e"
THIRD = "0f0e0d0c0b0a09080706050403020100"
KEY = EidKey(identity_key=SECRET, exponent=10, epoch=EPOCH)
YEAR = 365 * 86400.0

VECTORS = [
    (SECRET, 10, 0, "741ca0b43f6bdd09"),
    (SECRET, 10, 65280, "823ea23e8675bc96"),
    (SECRET, 10, 65536, "f4c6d4d1464d5a60"),
    (OTHER, 12, 5 * 4096 + 77, "312b4a38294b2afd"),
    (THIRD, 15, 0xFFFFFFFF, "f4ea15352ec6dd91"),
    (THIRD, 0, 123456789, "21fa5f534be1e8c0"),
]


@pytest.mark.parametrize(("secret", "exponent", "count", "identity"), VECTORS)
def test_the_published_computation(secret: str, exponent: int, count: int, identity: str) -> None:
    key = EidKey(identity_key=secret, exponent=exponent, epoch=EPOCH)
    assert identity_at(key, EPOCH + count) == identity


def test_a_keys_public_name_is_its_first_identity() -> None:
    assert name(KEY) == "741ca0b43f6bdd09" == identity_at(KEY, EPOCH)


def test_a_beacon_has_no_identity_before_its_epoch_and_after_its_count() -> None:
    assert identity_at(KEY, EPOCH - 1) is None
    assert identity_at(KEY, EPOCH + 2**32) is None
    assert identity_at(KEY, EPOCH + 2**32 - 1) is not None


@pytest.mark.parametrize("age", [0.0, 10.0, 65_530.0, YEAR, 5 * YEAR])
@pytest.mark.parametrize("share", [-0.99, -0.5, 0.0, 0.5, 0.99])
def test_a_beacon_whose_clock_drifts_is_still_named(age: float, share: float) -> None:
    said = identity_at(KEY, EPOCH + max(0.0, age * (1 + share * DRIFT)))
    assert said is not None
    assert resolver([KEY])(said, EPOCH + age) == 0


def test_a_beacon_may_switch_late_in_its_window() -> None:
    said = identity_at(KEY, EPOCH + 1023)
    assert said is not None
    assert resolver([KEY])(said, EPOCH + 2047) == 0


@pytest.mark.parametrize("off", [-3 * 1024.0, 3 * 1024.0, 86_400.0, -86_400.0])
def test_what_was_overheard_serves_nobody_later(off: float) -> None:
    at = EPOCH + 30_000
    said = identity_at(KEY, at + off) or "00" * 8
    assert resolver([KEY])(said, at) is None


def test_the_windows_of_a_second_are_its_own_and_not_those_of_the_stretch() -> None:
    fast = EidKey(identity_key=SECRET, exponent=0, epoch=1024.0 * 1_600_000)
    resolve = resolver([fast])
    said = identity_at(fast, fast.epoch + 900) or ""
    assert resolve(said, fast.epoch + 900) == 0
    assert resolve(said, fast.epoch + 100) is None


def test_the_right_one_of_many_is_named_whatever_the_order_of_times() -> None:
    keys = [
        EidKey(identity_key=f"{number:032x}", exponent=number % 16, epoch=EPOCH + 7 * number)
        for number in range(64)
    ]
    resolve = resolver(keys)
    for at in (EPOCH + 5e5, EPOCH + 1000, EPOCH + 5e5 + 3600, EPOCH + 1e6, EPOCH + 5e5):
        for number, key in enumerate(keys):
            assert resolve(identity_at(key, at) or "", at) == number
    assert resolve("0123456789abcdef", EPOCH + 5e5) is None


def test_of_two_equal_keys_the_first_is_named() -> None:
    assert resolver([KEY, KEY])(name(KEY), EPOCH) == 0


def test_without_keys_nothing_is_named_and_nothing_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    assert resolver([])("741ca0b43f6bdd09", EPOCH) is None
    with pytest.raises(GatewayError, match=r"proximity-engine\[eid\]"):
        resolver([KEY])


def test_a_key_of_any_age_and_period_costs_a_bounded_table() -> None:
    fast = EidKey(identity_key=SECRET, exponent=0, epoch=EPOCH)
    first, last = eid._windows(fast, EPOCH + YEAR, EPOCH + YEAR + 1024)
    assert last - first + 1 == MAX_WINDOWS
    assert first < YEAR < last
    assert resolver([fast])(identity_at(fast, EPOCH + YEAR) or "", EPOCH + YEAR) == 0


def test_memory_is_bounded_whatever_times_are_asked_about() -> None:
    resolve = resolver([KEY])
    for number in range(50):
        resolve("00" * 8, EPOCH + 5000.0 * number)
    kept = next(
        cell.cell_contents
        for cell in resolve.__closure__ or ()
        if isinstance(cell.cell_contents, dict)
    )
    assert len(kept) <= eid.STRETCHES


@given(
    secret=st.binary(min_size=16, max_size=16),
    exponent=st.integers(0, 15),
    age=st.floats(0, 3e7),
    error=st.floats(-0.9 * SKEW_S, 0.9 * SKEW_S),
)
def test_whoever_knows_the_key_names_the_beacon(
    secret: bytes, exponent: int, age: float, error: float
) -> None:
    key = EidKey(identity_key=secret.hex(), exponent=exponent, epoch=EPOCH)
    said = identity_at(key, EPOCH + age)
    assert said is not None
    assert resolver([key])(said, EPOCH + age + error) == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"identity_key": "00" * 15},
        {"identity_key": "zz" * 16},
        {"identity_key": SECRET + "00"},
        {"exponent": 16},
        {"exponent": -1},
        {"epoch": float("nan")},
        {"epoch": 1e12},
    ],
)
def test_a_key_that_is_none_is_refused_and_never_shown(bad: dict[str, object]) -> None:
    fields = {"identity_key": SECRET, "exponent": 10, "epoch": EPOCH} | bad
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(fields, EidKey)
    assert str(fields["identity_key"]) not in str(refused.value)


def test_a_key_is_written_in_one_way_and_its_secret_is_not_shown() -> None:
    loud = EidKey(identity_key=SECRET.upper(), exponent=10, epoch=EPOCH)
    assert loud == KEY
    assert SECRET not in repr(KEY)
