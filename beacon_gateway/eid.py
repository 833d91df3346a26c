"""The question: which enrolled beacon is behind an identity that changes every few minutes.

An Eddystone-EID beacon sends eight bytes made from a secret key and its own count of seconds; who
knows the key can name it, nobody else can follow it. Pure: the caller says what time it is. It
must know nothing of radios, places or who carries what. ``cryptography`` is imported here alone,
and only once there is a key to resolve (extra ``eid``).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import msgspec

from beacon_gateway.model import GatewayError

# The format's own bound on a beacon's clock: it may gain or lose this share of the time passed.
DRIFT = 150e-6
# How wrong the clock of whoever heard it may be besides, s: two machines that keep time by network
# differ by far less, a mark made by hand when the beacon was set up by about as much.
SKEW_S = 60.0
# Temporary keys change with the upper 16 bits of the count: every 65,536 s.
KEY_BITS = 16
COUNT_LIMIT = 1 << 32
# Answers are worked out for stretches of time of this length and kept, so that a sighting costs a
# look-up; the exact window is still checked for each.
STRETCH_S = 1024.0
# Live records, records from a spool and a replay ask about different times in turn; an hour of
# lateness is four stretches, and one more on either side.
STRETCHES = 6
# No key costs more than this many identities a stretch, whatever its period and age. A beacon that
# changes every second reaches it after some months; those of 2**10 s and more never do.
MAX_WINDOWS = 4096

Resolver = Callable[[str, float], int | None]


class EidKey(msgspec.Struct, frozen=True, kw_only=True):
    """What tells one rotating beacon: its secret, its pace and when its count began.

    ``identity_key`` is 16 bytes as 32 hex digits, ``exponent`` 0 to 15 (a new identity every
    2**exponent seconds), ``epoch`` the Unix second at which the beacon's count was 0. Raises
    ValueError (msgspec.ValidationError when decoded) where one is out of range; the text never
    holds the key.
    """

    identity_key: str
    exponent: int
    epoch: float

    def __post_init__(self) -> None:
        digits = self.identity_key
        if len(digits) != 32 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            raise ValueError("identity_key must be 32 hex digits (16 bytes)")
        if not 0 <= self.exponent <= 15:
            raise ValueError(f"exponent {self.exponent} must be 0 to 15")
        if not (math.isfinite(self.epoch) and abs(self.epoch) < COUNT_LIMIT):
            raise ValueError("epoch must be the Unix second at which the beacon's count was 0")
        if not digits.islower() and digits.lower() != digits:
            msgspec.structs.force_setattr(self, "identity_key", digits.lower())

    def __repr__(self) -> str:
        return f"EidKey(exponent={self.exponent})"


def resolver(keys: Sequence[EidKey]) -> Resolver:
    """Make the function that names a rotating identity: (eid hex, Unix seconds) -> index in keys.

    It answers None for an identity that none of the keys makes at about that time: within SKEW_S,
    DRIFT since the key's epoch, and one period behind, as a beacon may switch late in its window.
    Of two equal keys the first is named. Raises GatewayError where ``cryptography`` is missing.
    """
    if not keys:
        return lambda _eid, _at: None
    kept = tuple(keys)
    _aes(bytes(16), bytes(16))  # a missing library is told now, not at the first sighting
    stretches: OrderedDict[int, dict[str, list[tuple[int, int]]]] = OrderedDict()

    def resolve(eid: str, at: float) -> int | None:
        number = int(at // STRETCH_S)
        known = stretches.get(number)
        if known is None:
            known = stretches[number] = _identities(kept, number * STRETCH_S)
            if len(stretches) > STRETCHES:
                stretches.popitem(last=False)
        else:
            stretches.move_to_end(number)
        for index, window in known.get(eid, ()):
            first, last = _windows(kept[index], at, at)
            if first <= window <= last:
                return index
        return None

    return resolve


def name(key: EidKey) -> str:
    """Give a key's public name: the identity (16 hex digits) that it makes at count 0."""
    return next(_made(key, 0, 0))


def identity_at(key: EidKey, at: float) -> str | None:
    """Give the identity (16 hex digits) that a beacon with an exact clock sends at Unix ``at``.

    None before its epoch, and after 2**32 s, when its count is over.
    """
    count = math.floor(at - key.epoch)
    if not 0 <= count < COUNT_LIMIT:
        return None
    window = count >> key.exponent
    return next(_made(key, window, window))


def _identities(keys: Sequence[EidKey], start: float) -> dict[str, list[tuple[int, int]]]:
    """Work out every identity that could be heard in one stretch: (index of the key, window)."""
    found: dict[str, list[tuple[int, int]]] = {}
    for index, key in enumerate(keys):
        first, last = _windows(key, start, start + STRETCH_S)
        for window, eid in enumerate(_made(key, first, last), first):
            found.setdefault(eid, []).append((index, window))
    return found


def _windows(key: EidKey, since: float, until: float) -> tuple[int, int]:
    """Say which windows (counts of periods) may be on air between two Unix seconds."""
    doubt = SKEW_S + DRIFT * max(0.0, until - key.epoch)
    first = math.floor(since - key.epoch - doubt) >> key.exponent
    last = math.floor(until - key.epoch + doubt) >> key.exponent
    first, last = max(0, first - 1), min(last, (COUNT_LIMIT - 1) >> key.exponent)
    over = last - first + 1 - MAX_WINDOWS
    if over > 0:
        first, last = first + (over + 1) // 2, last - over // 2
    return first, last


def _made(key: EidKey, first: int, last: int) -> Iterator[str]:
    """Make the identities of a run of windows, all that share a temporary key in one call.

    The computation as Eddystone's "EID Computation" has it: the temporary key is the identity key's
    encryption of (11 zeros, 0xFF, 2 zeros, upper 16 bits of the count), the identity the first 8
    bytes of its encryption of (11 zeros, exponent, count with its low exponent bits cleared).
    """
    secret = bytes.fromhex(key.identity_key)
    share = KEY_BITS - key.exponent  # bits of the window that one temporary key serves
    while first <= last:
        upper = first >> share
        end = min(last, ((upper + 1) << share) - 1)
        temporary = _aes(secret, bytes(11) + b"\xff\x00\x00" + upper.to_bytes(2, "big"))
        head = bytes(11) + bytes([key.exponent])
        blocks = b"".join(
            head + (window << key.exponent).to_bytes(4, "big") for window in range(first, end + 1)
        )
        made = _aes(temporary, blocks).hex()
        for start in range(0, len(made), 32):
            yield made[start : start + 16]
        first = end + 1


def _aes(key: bytes, blocks: bytes) -> bytes:
    """Encrypt whole blocks, each by itself, as the format asks; nothing here is kept secret."""
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError:
        raise GatewayError(
            "rotating beacons (eddystone-eid) need the library cryptography: "
            "pip install 'proximity-engine[eid]'"
        ) from None
    cipher = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()  # noqa: S305 (the format's own)
    return cipher.update(blocks) + cipher.finalize()
