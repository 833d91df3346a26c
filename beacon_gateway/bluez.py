"""The question: what does one scan through bleak hear, and why does it not start.

The only file that imports bleak (extra `gateway`). It asks the stack for every advertisement with
its level, and takes off what the stack adds of its own: levels that are none, and old ones handed
out again. When to scan, and what to do about silence, it must not know.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Literal, NamedTuple

from beacon_gateway.model import GatewayError
from beacon_gateway.scanner import Clock, Heard, Take, measured

try:
    from bleak import BleakScanner
    from bleak.args.bluez import BlueZScannerArgs, OrPatternLike
    from bleak.assigned_numbers import AdvertisementDataType
    from bleak.backends import BleakBackend
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
    from bleak.exc import (
        BleakBluetoothNotAvailableError,
        BleakBluetoothNotAvailableReason,
        BleakDBusError,
        BleakError,
    )
except ModuleNotFoundError as error:  # pragma: no cover - the tests' environment has it
    raise GatewayError(
        f"hearing beacons needs {error.name}: pip install 'proximity-engine[gateway]'"
    ) from None

FLOOR_DBM = -120
"""The RSSI filter. Without one BlueZ reports a level only when it has changed by 8 dB; with one it
reports each packet's. The value itself is the lowest that is a measurement: nothing is filtered."""

PATTERNS: tuple[OrPatternLike, ...] = (
    (0, AdvertisementDataType.MANUFACTURER_SPECIFIC_DATA, b"\x4c\x00\x02\x15"),
    (2, AdvertisementDataType.MANUFACTURER_SPECIFIC_DATA, b"\xbe\xac"),
    (0, AdvertisementDataType.SERVICE_DATA_UUID16, b"\xaa\xfe"),
)
"""What a passive scan lets through: iBeacon; AltBeacon of any company, for its code stands after
the company's two bytes; Eddystone. Position, AD type, bytes."""

MOST_SEEN = 20_000
"""Radio addresses after which the scan asks to be started anew: bleak keeps each one it has ever
met, and only BlueZ tells it to forget. Some 1.5 kB each, so 30 MB; a mall's day elsewhere."""

LOOK_EVERY = 4096
"""Advertisements between two looks at that number, which takes a millisecond to count."""

ADVICE = {
    "darwin": "macOS hides iBeacon frames from every program: this computer hears AltBeacon and "
    "Eddystone only; put a gateway for iBeacon on Linux or Windows",
}
"""The truth to be told at start, by `sys.platform`."""


class Trouble(NamedTuple):
    """Why there is no scan: what to do about it, and one sentence with the mend for people.

    ``kind`` is an event of the watchdog: "gone" waits, "off" and "failed" climb its ladder.
    """

    kind: Literal["gone", "off", "failed"]
    text: str


NO_DAEMON = Trouble(
    "gone", "the Bluetooth daemon does not run: sudo systemctl enable --now bluetooth"
)
NO_ADAPTER = Trouble("gone", "there is no such Bluetooth adapter: see bluetoothctl list")
NO_POWER = Trouble("off", "the Bluetooth adapter has no power: sudo rfkill unblock bluetooth")
NO_BUS = Trouble(
    "gone", "there is no system D-Bus: install dbus; in a container mount /run/dbus from the host"
)
DENIED = Trouble(
    "gone",
    "this user may not use Bluetooth: sudo usermod -aG bluetooth $USER, then log in anew",
)
BUSY = Trouble(
    "failed", "BlueZ is caught in a discovery that it cannot end; the adapter's power helps"
)
MUTE = Trouble("failed", "the Bluetooth daemon does not answer: sudo systemctl restart bluetooth")

TROUBLES: dict[str, Trouble] = {
    "org.freedesktop.DBus.Error.ServiceUnknown": NO_DAEMON,
    "org.freedesktop.DBus.Error.NameHasNoOwner": NO_DAEMON,
    "org.freedesktop.DBus.Error.NoReply": NO_DAEMON,
    "org.freedesktop.DBus.Error.Disconnected": NO_BUS,
    "org.freedesktop.DBus.Error.Timeout": MUTE,
    "org.freedesktop.DBus.Error.UnknownObject": NO_ADAPTER,
    "org.freedesktop.DBus.Error.UnknownMethod": NO_ADAPTER,
    "org.freedesktop.DBus.Error.AccessDenied": DENIED,
    "org.freedesktop.DBus.Error.AuthFailed": DENIED,
    "org.bluez.Error.NotAuthorized": DENIED,
    "org.bluez.Error.NotPermitted": DENIED,
    "org.bluez.Error.NotReady": NO_POWER,
    "org.bluez.Error.InProgress": BUSY,
    "NO_BLUETOOTH": NO_ADAPTER,
    "NO_BLE_CENTRAL_ROLE": Trouble(
        "gone", "the Bluetooth adapter cannot scan for low energy: use one of version 4.0 or later"
    ),
    "POWERED_OFF": NO_POWER,
    "DENIED_BY_USER": DENIED,
    "DENIED_BY_SYSTEM": DENIED,
    "DENIED_BY_UNKNOWN": DENIED,
}
"""By D-Bus error name, and by the name of bleak's reason."""


def trouble(error: BaseException) -> Trouble:
    """Name what went wrong, with the mend; what is unknown keeps its own words."""
    if isinstance(error, BleakDBusError):
        name = error.dbus_error
    elif isinstance(error, BleakBluetoothNotAvailableError):
        reason: BleakBluetoothNotAvailableReason = error.reason
        name = reason.name
    else:
        name = ""
    if name in TROUBLES:
        return TROUBLES[name]
    if isinstance(error, TimeoutError):
        return MUTE
    if isinstance(error, OSError | EOFError):
        return NO_BUS
    words = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, BleakError) and words.startswith("adapter ") and "not found" in words:
        return NO_ADAPTER
    if isinstance(error, BleakError) and words.startswith("passive scanning"):
        return Trouble("gone", f"{words}; or leave passive scanning off")
    return Trouble("failed", f"Bluetooth does not start: {words}")


class Scan:
    """One scan on one adapter: continuous, active unless asked otherwise.

    ``name`` is BlueZ's name of today (None: not on BlueZ), ``address`` the adapter's own, as it
    goes into each `Heard`. ``backend`` replaces bleak's choice for this system. ``dropped`` counts
    what is not handed on, by reason. `start` and `stop` raise what bleak raises; see `trouble`.
    """

    def __init__(
        self,
        take: Take,
        *,
        address: str,
        name: str | None = None,
        passive: bool = False,
        clock: Clock | None = None,
        backend: type[BaseBleakScanner] | None = None,
        dropped: Counter[str] | None = None,
    ) -> None:
        self._take = take
        self._address = address
        self._passive = passive
        self._wall, self._mono, _ = clock or Clock()
        self.dropped: Counter[str] = Counter() if dropped is None else dropped
        self.full = False
        self._count = 0
        self._values: dict[str, tuple[Any, Any, Any]] = {}
        bluez: BlueZScannerArgs = {
            "filters": {"RSSI": FLOOR_DBM, "DuplicateData": True},
            "or_patterns": list(PATTERNS),
        }
        if name is not None:
            bluez["adapter"] = name
        self._scanner = BleakScanner(
            self._callback,
            scanning_mode="passive" if passive else "active",
            bluez=bluez,
            backend=backend,
        )
        self._bluez = self._scanner.backend_id == BleakBackend.BLUEZ_DBUS

    async def start(self) -> None:
        """Begin, or begin again after `stop`."""
        self.full = False
        self._values.clear()
        await self._scanner.start()

    async def stop(self) -> None:
        """End; may raise where the daemon or the adapter is no longer there."""
        await self._scanner.stop()

    def _callback(self, device: BLEDevice, said: AdvertisementData) -> None:
        self._count += 1
        if self._count % LOOK_EVERY == 0:
            self.full = len(self._scanner.discovered_devices) > MOST_SEEN
        if not measured(said.rssi):
            self.dropped["unmeasured"] += 1
            return
        manufacturer, service = said.manufacturer_data, said.service_data
        if self._bluez:
            path, values = said.platform_data
            fresh = self._fresh(path, values)
            if fresh is None:
                self.dropped["repeated"] += 1
                return
            manufacturer = manufacturer if fresh[0] else {}
            service = service if fresh[1] else {}
        if not manufacturer and not service:
            self.dropped["empty"] += 1
            return
        self._take(
            Heard(
                device.address,
                said.rssi,
                self._wall(),
                self._mono(),
                manufacturer,
                service,
                self._address,
            )
        )

    def _fresh(self, path: str, values: dict[str, Any]) -> tuple[bool, bool] | None:
        """Tell which part of BlueZ's merged memory of a device this signal brought; None: nothing.

        bleak calls back on any change, such as of "Connected", with all that it remembers: the
        last level and the last frame of each kind. Each value of a signal is made anew when it is
        read, so an object that is the very one of the last call was not in this signal. A level
        alone belongs to an advertisement without frames, for an active scan has each frame
        repeated; a passive one has not, and there it belongs to the frames of before.
        """
        now = (values.get("RSSI"), values.get("ManufacturerData"), values.get("ServiceData"))
        before = self._values.get(path)
        if before is None and len(self._values) >= MOST_SEEN:
            self._values.clear()
        self._values[path] = now
        if before is None:
            return True, True
        manufacturer = now[1] is not before[1]
        service = now[2] is not before[2]
        if manufacturer or service:
            return manufacturer, service
        if now[0] is before[0]:
            return None
        return self._passive, self._passive


def advice(platform: str = sys.platform) -> str | None:
    """Say what this system keeps from us, in one sentence; None where it keeps nothing."""
    return ADVICE.get(platform)
