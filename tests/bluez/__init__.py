"""BlueZ as far as a listener meets it, on a private message bus, with its faults as switches.

What it does of its own accord is what the daemon's source does: sessions and filters for each
client, one memory of each device whose frames add up, levels that are reported by the 8 dB rule
unless a client asked for them, frames that are repeated only with ``DuplicateData``, and the
windows of the kernel's scan. What it cannot show is radio: nothing here is ever received.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

ADAPTER = "org.bluez.Adapter1"
DEVICE = "org.bluez.Device1"
MONITORS = "org.bluez.AdvertisementMonitorManager1"
MONITOR = "org.bluez.AdvertisementMonitor1"
OBJECTS = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
EDDYSTONE_UUID = "0000feaa-0000-1000-8000-00805f9b34fb"

# The kernel's scan for one start of a discovery, and the daemon's pause before the next.
WINDOW_ON_S, WINDOW_OFF_S = 10.24, 5.0


@dataclass
class Controller:
    """One adapter. ``deaf`` until: "start" of a discovery, "power" cycle, "reset"; or "ever"."""

    address: str
    powered: bool = True
    roles: tuple[str, ...] = ("central", "peripheral")
    discovering: bool = False
    filters: dict[str, dict[str, Any]] = field(default_factory=dict)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    monitors: dict[tuple[str, str], list[Any] | None] = field(default_factory=dict)
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    deaf: str | None = None
    empty: bool = False
    stuck: bool = False
    blocked: bool = False


class Bluez:
    """The daemon. Switches: ``throttled`` (since 2026: 8 dB unless a client set an RSSI filter),
    ``windows`` (adverts are lost between two windows), ``mute`` (no call is answered),
    ``denied`` (every call is refused).

    ``calls`` keeps each call as (member, adapter, body); ``lost`` counts adverts by reason.
    """

    def __init__(self, address: str, mono: Callable[[], float]) -> None:
        self._address = address
        self._mono = mono
        self._bus: MessageBus | None = None
        self.adapters: dict[str, Controller] = {}
        self.calls: list[tuple[str, str, list[Any]]] = []
        self.lost: Counter[str] = Counter()
        self.activity = 0
        self.throttled = True
        self.windows = False
        self.mute = False
        self.denied = False

    @property
    def running(self) -> bool:
        return self._bus is not None

    async def start(self) -> None:
        bus = MessageBus(bus_address=self._address)
        await bus.connect()
        self._bus = bus
        bus.add_message_handler(self._answer)
        rule = "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'"
        await self._call("org.freedesktop.DBus", "/org/freedesktop/DBus", "AddMatch", "s", [rule])
        await bus.request_name("org.bluez")
        self.activity += 1

    async def stop(self) -> None:
        """Die: the name goes, and with it every session and every memory of a device."""
        assert self._bus is not None
        bus, self._bus = self._bus, None
        bus.disconnect()
        await bus.wait_for_disconnect()
        self.mute = False
        for controller in self.adapters.values():
            _quiet(controller)
            controller.devices.clear()
        self.activity += 1

    async def flush(self) -> None:
        """Wait until the bus has read all that was sent: its socket holds some 200 signals."""
        await self._call("org.freedesktop.DBus", "/org/freedesktop/DBus", "GetId")

    def add(self, name: str, controller: Controller) -> None:
        self.adapters[name] = controller
        if self._bus is not None:
            body = [_path(name), {ADAPTER: _adapter(controller), MONITORS: {}}]
            self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", body)

    def remove(self, name: str) -> Controller:
        controller = self.adapters.pop(name)
        for device in controller.devices:
            path = f"{_path(name)}/{device}"
            self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [path, [DEVICE]])
        _quiet(controller)
        controller.devices.clear()
        body = [_path(name), [ADAPTER, MONITORS]]
        self._signal("/", OBJECTS, "InterfacesRemoved", "oas", body)
        return controller

    def power(self, name: str, *, on: bool) -> None:
        """Switch power as `rfkill` or a person would; what it ends is over."""
        controller = self.adapters[name]
        if not on:
            _quiet(controller)
            controller.stuck = False
            controller.devices.clear()
            if controller.deaf == "power":
                controller.deaf = None
        controller.powered = on
        self._changed(name, Powered=Variant("b", on), Discovering=Variant("b", False))

    def reset(self, name: str) -> None:
        """Start the controller from nothing, as a reset on its USB bus does."""
        controller = self.adapters[name]
        if controller.deaf == "reset":
            controller.deaf = None
        self.power(name, on=False)
        if not controller.blocked:
            self.power(name, on=True)

    def drop_discovery(self, name: str) -> None:
        """End a discovery behind its client's back, as a suspended machine does."""
        controller = self.adapters[name]
        _quiet(controller)
        self._changed(name, Discovering=Variant("b", False))

    def touch(self, name: str, address: str, **values: Variant) -> None:
        """Change something of a device that is no advertisement, such as Connected."""
        path = f"{_path(name)}/{_device(address)}"
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [DEVICE, values, []])

    async def hear(
        self,
        name: str,
        address: str,
        rssi: int,
        manufacturer: dict[int, bytes] | None = None,
        service: dict[str, bytes] | None = None,
    ) -> bool:
        """Let an advertisement reach an adapter; whether a signal came of it."""
        controller = self.adapters.get(name)
        reason = "daemon" if self._bus is None or self.mute else self._deafness(controller)
        if reason is not None or controller is None:
            self.lost[reason or "adapter"] += 1
            return False
        if controller.empty:
            manufacturer = service = None
        active = list(controller.sessions.values())
        if not active and not await self._wanted(controller, manufacturer or {}, service or {}):
            self.lost["pattern"] += 1
            return False
        every_level = any("RSSI" in one for one in active) or (bool(active) and not self.throttled)
        every_frame = any(one.get("DuplicateData", True) for one in active)
        return self._report(
            name, controller, address, rssi, manufacturer or {}, service or {},
            every_level=every_level, every_frame=every_frame,
        )  # fmt: skip

    def _deafness(self, controller: Controller | None) -> str | None:
        if controller is None:
            return "adapter"
        if not controller.powered:
            return "power"
        if not controller.sessions and not controller.monitors:
            return "no scan"
        if controller.deaf is not None:
            return "deaf"
        within = self._mono() % (WINDOW_ON_S + WINDOW_OFF_S)
        if self.windows and controller.sessions and within >= WINDOW_ON_S:
            return "window"
        return None

    async def _wanted(
        self, controller: Controller, manufacturer: dict[int, bytes], service: dict[str, bytes]
    ) -> bool:
        """Hold an advertisement against the patterns of the monitors, which are read once."""
        sections = [(0xFF, k.to_bytes(2, "little") + v) for k, v in manufacturer.items()]
        sections += [(0x16, bytes.fromhex(k[4:8])[::-1] + v) for k, v in service.items()]
        for (client, path), known in list(controller.monitors.items()):
            if known is None:
                body = [MONITOR, "Patterns"]
                reply = await self._call(client, path, "Get", "ss", body, PROPERTIES)
                controller.monitors[client, path] = reply.body[0].value
            for start, kind, content in controller.monitors[client, path] or []:
                for section, octets in sections:
                    if section == kind and octets[start:].startswith(bytes(content)):
                        return True
        return False

    def _report(
        self,
        name: str,
        controller: Controller,
        address: str,
        rssi: int,
        manufacturer: dict[int, bytes],
        service: dict[str, bytes],
        *,
        every_level: bool,
        every_frame: bool,
    ) -> bool:
        device = _device(address)
        path = f"{_path(name)}/{device}"
        frames = {
            "ManufacturerData": ("a{qv}", manufacturer),
            "ServiceData": ("a{sv}", service),
        }
        known = controller.devices.get(device)
        said = {
            key: Variant(signature, {k: Variant("ay", v) for k, v in value.items()})
            for key, (signature, value) in frames.items()
            if value and (known is None or every_frame or known.get(key) != value)
        }
        if known is None or every_level or "RSSI" not in known or abs(rssi - known["RSSI"]) >= 8:
            said["RSSI"] = Variant("n", rssi)
        memory = controller.devices.setdefault(device, {})
        memory.update({key: value for key, (_, value) in frames.items() if value})
        if "RSSI" in said:
            memory["RSSI"] = rssi
        if known is None:
            values = {
                "Adapter": Variant("o", _path(name)),
                "Address": Variant("s", address),
                "Alias": Variant("s", address.replace(":", "-")),
                "UUIDs": Variant("as", [EDDYSTONE_UUID] if service else []),
                **said,
            }
            body: list[Any] = [path, {DEVICE: values}]
            self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", body)
        elif said:
            body = [DEVICE, said, []]
            self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", body)
        return bool(said)

    def _answer(self, message: Message) -> Message | bool | None:
        if message.message_type is MessageType.SIGNAL and message.member == "NameOwnerChanged":
            client, _, owner = message.body
            if not owner:
                self._client_left(client)
            return None
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        self.activity += 1
        member, name = message.member or "", (message.path or "").rpartition("/")[2]
        self.calls.append((member, name, message.body))
        if self.mute:
            return True
        if self.denied:
            error = "org.freedesktop.DBus.Error.AccessDenied"
            return Message.new_error(message, error, "Rejected send message")
        if member == "GetManagedObjects":
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [self._objects()])
        controller = self.adapters.get(name)
        if controller is None:
            error = "org.freedesktop.DBus.Error.UnknownObject"
            return Message.new_error(message, error, f"no object {message.path}")
        refusal = CALLS[member](self, name, controller, message)
        if refusal is not None:
            return Message.new_error(message, f"org.bluez.Error.{refusal[0]}", refusal[1])
        return Message.new_method_return(message)

    def _set_filter(self, _: str, controller: Controller, message: Message) -> Refusal:
        if not controller.powered:
            return "NotReady", "Resource Not Ready"
        said = {key: value.value for key, value in message.body[0].items()}
        controller.filters[message.sender or ""] = said
        return None

    def _start(self, name: str, controller: Controller, message: Message) -> Refusal:
        client = message.sender or ""
        if not controller.powered:
            return "NotReady", "Resource Not Ready"
        if client in controller.sessions or controller.stuck:
            return "InProgress", "Operation already in progress"
        controller.sessions[client] = controller.filters.get(client, {})
        if controller.deaf == "start":
            controller.deaf = None
        controller.empty = False
        self._changed(name, Discovering=Variant("b", True))
        return None

    def _stop(self, name: str, controller: Controller, message: Message) -> Refusal:
        if not controller.powered:
            return "NotReady", "Resource Not Ready"
        if controller.stuck:
            return "InProgress", "Operation already in progress"
        if controller.sessions.pop(message.sender or "", None) is None:
            return "Failed", "No discovery started"
        self._changed(name, Discovering=Variant("b", bool(controller.sessions)))
        return None

    def _register(self, _: str, controller: Controller, message: Message) -> Refusal:
        controller.monitors[message.sender or "", message.body[0]] = None
        return None

    def _unregister(self, _: str, controller: Controller, message: Message) -> Refusal:
        if controller.monitors.pop((message.sender or "", message.body[0]), ()) == ():
            return "DoesNotExist", "Does Not Exist"
        return None

    def _set(self, name: str, controller: Controller, message: Message) -> Refusal:
        interface, key, value = message.body
        assert (interface, key) == (ADAPTER, "Powered")
        if value.value and controller.blocked:
            return "Failed", "Blocked through rfkill"
        self.power(name, on=value.value)
        return None

    def _client_left(self, client: str) -> None:
        for name, controller in self.adapters.items():
            controller.filters.pop(client, None)
            for key in [key for key in controller.monitors if key[0] == client]:
                del controller.monitors[key]
            if controller.sessions.pop(client, None) is not None and not controller.sessions:
                self._changed(name, Discovering=Variant("b", False))

    def _objects(self) -> dict[str, Any]:
        return {
            _path(name): {ADAPTER: _adapter(controller), MONITORS: {}}
            for name, controller in self.adapters.items()
        }

    def _changed(self, name: str, **values: Variant) -> None:
        controller = self.adapters[name]
        controller.discovering = bool(values["Discovering"].value)
        body = [ADAPTER, values, []]
        self._signal(_path(name), PROPERTIES, "PropertiesChanged", "sa{sv}as", body)

    def _signal(
        self, path: str, interface: str, member: str, signature: str, body: list[Any]
    ) -> None:
        self.activity += 1
        if self._bus is not None and not self.mute:
            sent = self._bus.send(Message.new_signal(path, interface, member, signature, body))
            sent.add_done_callback(asyncio.Future.exception)

    async def _call(
        self,
        to: str,
        path: str,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        interface: str = "org.freedesktop.DBus",
    ) -> Message:
        assert self._bus is not None
        reply = await self._bus.call(
            Message(
                destination=to, path=path, interface=interface, member=member,
                signature=signature, body=body or [],
            )
        )  # fmt: skip
        assert reply is not None
        assert reply.message_type is MessageType.METHOD_RETURN, reply.body
        return reply


Refusal = tuple[str, str] | None

CALLS: dict[str, Callable[[Bluez, str, Controller, Message], Refusal]] = {
    "SetDiscoveryFilter": Bluez._set_filter,
    "StartDiscovery": Bluez._start,
    "StopDiscovery": Bluez._stop,
    "RegisterMonitor": Bluez._register,
    "UnregisterMonitor": Bluez._unregister,
    "Set": Bluez._set,
}


def _quiet(controller: Controller) -> None:
    controller.sessions.clear()
    controller.monitors.clear()
    controller.discovering = False


def _adapter(controller: Controller) -> dict[str, Variant]:
    return {
        "Address": Variant("s", controller.address),
        "Powered": Variant("b", controller.powered),
        "Discovering": Variant("b", controller.discovering),
        "Roles": Variant("as", list(controller.roles)),
    }


def _path(name: str) -> str:
    return f"/org/bluez/{name}"


def _device(address: str) -> str:
    return "dev_" + address.replace(":", "_")
