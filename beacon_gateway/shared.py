"""The question: does one identity come from more than one radio.

What a beacon says of itself is easily said by two: a factory setting that nobody changed, a copy.
An address that comes back after another one was heard (A, B, A) tells two radios from one that
changes its address, which never returns to an old one. Memory only, of enrolled identities only,
and addresses only as numbers that mean nothing elsewhere. It must not know levels or places.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

# An address that was not heard for so long is gone; one that is back after it counts as new.
WINDOW_S = 600.0
# A late repeat of an old report looks like a return; three of them within the window are none.
RETURNS = 3
# What is remembered: in a mall one identity came from 235 radios, on one floor.
MOST_ADDRESSES = 512
MOST_IDENTITIES = 4096
# Of all identities together, some 100 bytes each: whoever makes up both would fill the memory else.
MOST_RADIOS = 65_536
# What a person looks into, in some 20 kB: a server takes 64 of a gateway's health.
MOST_TOLD = 100

Identity = Sequence[str | int | None]


class Radio:
    """One address of an identity: when it was first and last heard, monotonic seconds."""

    __slots__ = ("first", "last")

    def __init__(self, first: float) -> None:
        self.first = self.last = first


class Shared:
    """Which identities come from several radios at once; times are monotonic seconds."""

    def __init__(self) -> None:
        self._radios: dict[Identity, dict[int, Radio]] = {}
        self._returns: dict[Identity, int] = {}
        self._count = 0

    def heard(self, identity: Identity, address: str, mono_s: float) -> None:
        """Take one advertisement of an enrolled beacon, by its format and id fields."""
        radios = self._radios.get(identity)
        if radios is None:
            if len(self._radios) >= MOST_IDENTITIES:
                self._forget_one()
            radios = self._radios[identity] = {}
        # Python salts the hashes of text anew in each process. The newest address stands last.
        number = hash(address)
        newest = next(reversed(radios), number)
        if newest == number and radios:
            radios[number].last = mono_s
            return
        radio = radios.pop(number, None)
        self._count += radio is None
        if radio is None or mono_s - radio.last > WINDOW_S:
            radio = Radio(mono_s)
        else:
            self._returns[identity] = self._returns.get(identity, 0) + 1
        radio.last = mono_s
        radios[number] = radio
        oldest = next(iter(radios))
        if len(radios) > MOST_ADDRESSES or mono_s - radios[oldest].last > WINDOW_S:
            del radios[oldest]
            self._count -= 1
            if len(radios) == 1:
                self._returns.pop(identity, None)
        if self._count > MOST_RADIOS:
            self._forget_one()

    def _forget_one(self) -> None:
        """Forget the identity that has been known for longest."""
        gone = next(iter(self._radios))
        self._count -= len(self._radios.pop(gone))
        self._returns.pop(gone, None)

    def snapshot(self) -> list[dict[str, Any]]:
        """List the identities that several radios say: how many at once, of how many addresses.

        The worst MOST_TOLD of them, so that what tells of it stays small.
        """
        found: list[dict[str, Any]] = []
        for identity, returns in self._returns.items():
            radios = self._radios[identity].values()
            at_once = _most_at_once(radios)
            if returns >= RETURNS and at_once > 1:
                name = "/".join(str(part) for part in identity if part is not None)
                found.append({"identity": name, "radios": at_once, "addresses": len(radios)})
        return sorted(found, key=lambda one: -one["radios"])[:MOST_TOLD]


def _most_at_once(radios: Any) -> int:
    """Count how many addresses were in use at one time, at most."""
    # An end that falls together with a beginning is no overlap: the end is counted first.
    turns = sorted(
        [(radio.first, 1) for radio in radios if radio.last > radio.first]
        + [(radio.last, -1) for radio in radios if radio.last > radio.first]
    )
    return max(accumulate(turn for _, turn in turns), default=0)
