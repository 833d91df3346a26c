"""Any bytes in, never an exception out: a million frames, each spoilt in a way of its own."""

from __future__ import annotations

import random

import msgspec
import pytest

from beacon_gateway.adverts import (
    decode_line,
    decode_manufacturer,
    decode_payload,
    decode_service,
)
from beacon_gateway.model import Beacon
from tests.beacon_gateway.test_adverts import ENCRYPTED_TLM, WHOLE

PAYLOADS = 1_000_000
SOUND = [*(payload for payload, _ in WHOLE.values()), ENCRYPTED_TLM]
# The longest extended advertisement.
LONGEST = 1650


def spoilt(dice: random.Random) -> bytearray:
    """Take a sound frame and cut, flip, insert, double or join; or make bytes of nothing."""
    content = bytearray(dice.choice(SOUND))
    for _ in range(1 + (dice.random() < 0.3)):
        where = int(dice.random() * (len(content) + 1))
        match int(dice.random() * 7):
            case 0:
                del content[where:]
            case 1 | 2 if where < len(content):
                content[where] ^= 1 << int(dice.random() * 8)
            case 3 if where < len(content):
                content[where] = int(dice.random() * 256)
            case 4:
                content[where:where] = dice.randbytes(int(dice.random() * 5))
            case 5:
                content += dice.choice(SOUND)
            case 6 if dice.random() < 0.1:
                content = bytearray(dice.randbytes(int(dice.random() * LONGEST)))
    return content


def check(beacon: Beacon | None) -> bool:
    """What came out is nothing, or a beacon that the next program can read."""
    if beacon is None:
        return False
    assert msgspec.json.decode(msgspec.json.encode(beacon), type=Beacon) == beacon
    return True


@pytest.mark.slow
def test_a_million_spoilt_frames() -> None:
    dice = random.Random(20)
    found = 0
    for _ in range(PAYLOADS // 10_000):
        batch = [bytes(spoilt(dice)) for _ in range(10_000)]
        answers = [decode_payload(payload) for payload in batch]
        found += sum(map(check, answers[::10]))
        for payload in batch[::100]:
            check(decode_manufacturer(int.from_bytes(payload[:2], "little"), payload[2:]))
            check(decode_service(0xFEAA, payload[7:]))
            check(decode_line(payload.hex()[1:]))
            check(decode_line("svc:" + payload.decode("latin-1")))
    # Spoilt, but not so that nothing is left: both ways through every decoder are taken.
    assert PAYLOADS // 10 * 0.1 < found < PAYLOADS // 10 * 0.9
