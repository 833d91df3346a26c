"""The question: which beacon does a telemetry frame speak for, as it carries no name itself.

A beacon that sends telemetry sends it in turn with its name, from one radio address. So a frame is
joined by address to the name last heard from there, in memory and nowhere else. Only beacons that
are listed may be given to it; it reads no clock and must know nothing of files or the network.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from beacon_gateway.model import Beacon

# How long an address stands for a name, s: random addresses change about every 15 minutes, and a
# stale one may by then be anybody's.
ADDRESS_S = 900.0
# More addresses than this are no shop's tags; the one not heard for longest goes first.
MAX_ADDRESSES = 4096


class Telemetry:
    """The names last heard from each address, for the frames that come without one."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, tuple[Beacon, float]] = OrderedDict()

    def heard(self, address: str, beacon: Beacon, at: float) -> None:
        """Remember that a listed ``beacon`` was heard from ``address`` at Unix second ``at``."""
        self._names[address] = (beacon, at)
        self._names.move_to_end(address)
        if len(self._names) > MAX_ADDRESSES:
            self._names.popitem(last=False)

    def joined(self, address: str, frame: Beacon, at: float) -> Beacon | None:
        """Give the beacon that a telemetry ``frame`` speaks for, with what it tells of itself.

        None where no listed beacon was heard from that address within ADDRESS_S seconds.
        """
        named = self._names.get(address)
        if named is None:
            return None
        beacon, last = named
        if abs(at - last) > ADDRESS_S:
            del self._names[address]
            return None
        return msgspec.structs.replace(
            beacon,
            battery_mv=frame.battery_mv,
            temperature_c=frame.temperature_c,
            count=frame.count,
            uptime_s=frame.uptime_s,
        )
