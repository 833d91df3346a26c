"""The question: which Bluetooth adapters does BlueZ have, and in which state are they.

The only file that imports dbus-fast, which comes with bleak on Linux (extra `gateway`). It follows
the daemon's comings and goings over a connection of its own, since bleak tells nobody of them, and
switches an adapter's power. What follows from any of it, it must not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
from collections.abc import Callable
from typing import Any

import structlog

from beacon_gateway.adapters import Adapter
from beacon_gateway.model import GatewayError
from beacon_gateway.scanner import Clock

try:
    from dbus_fast import AuthError, BusType, DBusError, Message, MessageType, Variant
    from dbus_fast import unpack_variants as unpacked
    from dbus_fast.aio import MessageBus
    from dbus_fast.auth import AuthExternal
except ModuleNotFoundError as error:  # pragma: no cover - the tests' environment has it
    raise GatewayError(
        f"speaking to BlueZ needs {error.name}: pip install 'proximity-engine[gateway]'"
    ) from None

log = structlog.get_logger(__name__)

BLUEZ = "org.bluez"
ADAPTER = "org.bluez.Adapter1"
BUS = "org.freedesktop.DBus"
OBJECTS = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"

MATCHES = (
    f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{BLUEZ}'",
    f"type='signal',sender='{BLUEZ}',interface='{OBJECTS}',path='/'",
    f"type='signal',sender='{BLUEZ}',interface='{PROPERTIES}',arg0='{ADAPTER}'",
)
"""The signals wanted: the daemon, adapters that come and go, and what changes of an adapter.
Nothing of the devices around, whose every advertisement is a signal too."""

NO_BUS = "org.freedesktop.DBus.Error.Disconnected"
NO_DAEMON = "org.freedesktop.DBus.Error.NameHasNoOwner"
NO_ANSWER = "org.freedesktop.DBus.Error.Timeout"
NO_RIGHT = "org.freedesktop.DBus.Error.AccessDenied"
NO_ADAPTER = "NO_BLUETOOTH"
"""Why no adapter is known: keys of `bluez.TROUBLES`, which has the words."""

ANSWER_S = 5.0
"""The longest that another program may take to say its version."""

RECONNECT_S = 5.0
"""Between two tries to reach a D-Bus that is not there."""

OFF_S = 2.0
"""Without power for so long in a power cycle: the controller truly loses its state."""

ON_LOOKS = 30
ON_EVERY_S = 0.1
"""How often, and after how many seconds each, power is looked for after it was given back."""


class Bluez:
    """BlueZ's adapters, followed while `run` runs; ``changed`` is called after each change.

    ``running`` says whether the daemon is there; `tried` is set once the first question was
    answered or could not be asked. A daemon that hangs answers never.
    """

    def __init__(self, changed: Callable[[], None], clock: Clock | None = None) -> None:
        self._changed = changed
        self._sleep = (clock or Clock()).sleep
        self._bus: MessageBus | None = None
        self._known: dict[str, dict[str, Any]] = {}
        self._epoch = 0
        self._seen = 0
        self._absence = NO_BUS
        self._reading: set[asyncio.Task[None]] = set()
        self.tried = asyncio.Event()
        self.running = False

    async def run(self) -> None:
        """Follow BlueZ until cancelled, through restarts of it and of D-Bus itself."""
        while True:
            try:
                await self._follow()
            except AuthError:
                self._absence = NO_RIGHT
            # Whatever ends a connection, the next one is tried; `absence` says what is missing.
            except Exception as error:  # noqa: BLE001
                self._absence = NO_BUS
                log.debug("no D-Bus", why=" ".join(str(error).split()) or type(error).__name__)
            finally:
                self._forget()
                self.tried.set()
            await self._sleep(RECONNECT_S)

    def all(self) -> list[Adapter]:
        """Give every adapter, in the order of today's names."""
        found = [self._adapter(path, values) for path, values in self._known.items()]
        return sorted(found, key=lambda adapter: _order(adapter.name or ""))

    def find(self, address: str | None) -> Adapter | None:
        """Give the adapter of that address, or of None the first with power that can scan."""
        found = self.all()
        if address is not None:
            return next((one for one in found if one.address == address.upper()), None)
        able = [one for one in found if one.central]
        return next((one for one in able if one.powered), able[0] if able else None)

    def absence(self) -> str:
        """Say why `find` finds none: no D-Bus, no right, no daemon, no answer or no adapter."""
        return self._absence

    async def cycle(self, adapter: Adapter) -> None:
        """Take an adapter's power away and give it back; one without power is only given it.

        Returns once BlueZ has told that it has power again. Raises GatewayError where BlueZ
        refuses, with its reason and the mend.
        """
        if adapter.powered:
            await self._power(adapter, on=False)
            await self._sleep(OFF_S)
        await self._power(adapter, on=True)
        for _ in range(ON_LOOKS):
            now = self.find(adapter.address)
            if now is not None and now.powered:
                return
            await self._sleep(ON_EVERY_S)
        raise GatewayError(f"adapter {adapter.address} stays without power: rfkill list bluetooth")

    async def _power(self, adapter: Adapter, *, on: bool) -> None:
        if self._bus is None or not self._bus.connected:
            raise GatewayError("there is no D-Bus to speak to BlueZ")
        body = [ADAPTER, "Powered", Variant("b", on)]
        reply = await _call(
            self._bus, BLUEZ, f"/org/bluez/{adapter.name}", PROPERTIES, "Set", "ssv", body
        )
        if reply.message_type is MessageType.ERROR:
            words = " ".join(str(part) for part in reply.body) or "no reason given"
            raise GatewayError(
                f"adapter {adapter.address}: BlueZ does not switch its power "
                f"({reply.error_name}: {words}): look at `rfkill list bluetooth`, and whether "
                "the user is in the group bluetooth"
            )

    async def _follow(self) -> None:
        bus = MessageBus(bus_type=BusType.SYSTEM, auth=_identity())
        gone = asyncio.ensure_future(bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
        try:
            await bus.connect()
            self._bus = bus
            bus.add_message_handler(self._signal)
            for rule in MATCHES:
                await _call(bus, BUS, "/org/freedesktop/DBus", BUS, "AddMatch", "s", [rule])
            await self._read()
            self.tried.set()
            await gone
        finally:
            bus.disconnect()
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    async def _read(self) -> None:
        """Ask for all objects; anew where a change came in between. Without a daemon: none."""
        bus, epoch, seen = self._bus, self._epoch, -1
        while bus is not None and epoch == self._epoch and seen != self._seen:
            seen, known = self._seen, {}
            # A name that nobody owns is not asked: D-Bus would start a daemon that was stopped.
            owned = await _call(
                bus, BUS, "/org/freedesktop/DBus", BUS, "NameHasOwner", "s", [BLUEZ]
            )
            running = owned.message_type is MessageType.METHOD_RETURN and bool(owned.body[0])
            # A right that was refused before stays refused until there is an answer.
            if not running or self._absence != NO_RIGHT:
                self._absence = NO_ANSWER if running else NO_DAEMON
            if running:
                reply = await _call(bus, BLUEZ, "/", OBJECTS, "GetManagedObjects")
                if reply.message_type is MessageType.ERROR:
                    # No right, or a daemon just gone: `run` asks again over a new connection.
                    self._absence = NO_RIGHT if reply.error_name == NO_RIGHT else NO_DAEMON
                    bus.disconnect()
                    return
                self._absence = NO_ADAPTER
                known = {
                    path: unpacked(interfaces[ADAPTER])
                    for path, interfaces in reply.body[0].items()
                    if ADAPTER in interfaces
                }
            if epoch == self._epoch and seen == self._seen:
                self.running, self._known = running, known
                self._changed()

    async def _read_anew(self) -> None:
        # Where the connection breaks meanwhile, `run` makes another and reads.
        with contextlib.suppress(DBusError, OSError, EOFError):
            await self._read()

    def _signal(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        path = message.path or ""
        match message.member, message.body:
            case "NameOwnerChanged", [name, _, owner] if name == BLUEZ:
                self._epoch += 1
                self._known.clear()
                self.running = bool(owner)
                self._absence = NO_ANSWER if owner else NO_DAEMON
                if owner:
                    task = asyncio.ensure_future(self._read_anew())
                    self._reading.add(task)
                    task.add_done_callback(self._reading.discard)
            case "InterfacesAdded", [str(added), dict(interfaces)] if ADAPTER in interfaces:
                self._known[added] = unpacked(interfaces[ADAPTER])
            case "InterfacesRemoved", [str(removed), list(interfaces)] if ADAPTER in interfaces:
                self._known.pop(removed, None)
            case "PropertiesChanged", [interface, dict(values), _] if interface == ADAPTER:
                if path in self._known:
                    self._known[path].update(unpacked(values))
            case _:
                return
        self._seen += 1
        self._changed()

    def _adapter(self, path: str, values: dict[str, Any]) -> Adapter:
        return Adapter(
            name=path.rpartition("/")[2],
            address=str(values.get("Address", "")).upper(),
            powered=bool(values.get("Powered", False)),
            discovering=bool(values.get("Discovering", False)),
            central="central" in values.get("Roles", ["central"]),
            epoch=self._epoch,
        )

    def _forget(self) -> None:
        for task in self._reading:
            task.cancel()
        self._bus = None
        self._epoch += 1
        self._known.clear()
        self.running = False
        self._changed()


async def bluez_version() -> str | None:
    """Ask BlueZ's own command for its version; None where there is no such command."""
    try:
        asked = await asyncio.create_subprocess_exec(
            "bluetoothctl", "--version", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
    except OSError:
        return None
    try:
        said, _ = await asyncio.wait_for(asked.communicate(), ANSWER_S)
    except TimeoutError:
        asked.kill()
        return None
    found = re.search(rb"\d+\.\d+", said)
    return found[0].decode() if found else None


async def _call(
    bus: MessageBus,
    to: str,
    path: str,
    interface: str,
    member: str,
    signature: str = "",
    body: list[Any] | None = None,
) -> Message:
    return await bus.call(
        Message(
            destination=to,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=body or [],
        )
    )


def _identity() -> AuthExternal | None:
    """As bleak has it: in a container, the host's user may have another number."""
    user = os.environ.get("BLEAK_DBUS_AUTH_UID", "")
    return AuthExternal(uid=int(user)) if user.isdecimal() else None


def _order(name: str) -> tuple[int, str]:
    digits = name.removeprefix("hci")
    return (int(digits) if digits.isdecimal() else 1 << 16, name)
