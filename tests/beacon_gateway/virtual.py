"""bleak over virtual controllers: Bumble's link layer and HCI, real advertising bytes, no radio."""

from __future__ import annotations

from typing import Any, ClassVar

from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.uuids import normalize_uuid_16
from bumble import hci
from bumble.controller import Controller
from bumble.core import AdvertisingData
from bumble.device import (
    Advertisement,
    AdvertisingEventProperties,
    AdvertisingParameters,
    AdvertisingSet,
    Device,
)
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink

OWN = "F0:0D:00:00:00:01"


class Receiver(Controller):
    """A controller that hears as loud as ``levels`` say; Bumble's hears everybody at -50 dBm.

    Where ``hung`` it reports nothing until the host resets it.
    """

    def __init__(self, link: LocalLink) -> None:
        super().__init__("receiver", link=link)
        self.levels: dict[str, int] = {}
        self.hung = False

    def send_hci_packet(self, packet: hci.HCI_Packet) -> None:
        reports = getattr(packet, "reports", [])
        if reports and self.hung:
            return
        for report in reports:
            report.rssi = self.levels.get(report.address.to_string(with_type_qualifier=False), -50)
        if reports:
            # Its bytes were made when it was; make them anew, with the level.
            packet = type(packet)(reports=reports)
        super().send_hci_packet(packet)

    def on_hci_reset_command(self, command: hci.HCI_Reset_Command) -> Any:
        self.hung = False
        return super().on_hci_reset_command(command)


class Air:
    """A link with one receiver, and any number of beacons."""

    def __init__(self) -> None:
        self.link = LocalLink()
        self.receiver = Receiver(self.link)
        self._sets: list[AdvertisingSet] = []

    async def beacon(
        self, address: str, payload: bytes, rssi: int, interval_ms: float = 20.0
    ) -> None:
        """Put up a beacon that takes no connection; its payload is made of AD structures."""
        self.receiver.levels[address] = rssi
        controller = Controller(address, link=self.link)
        device = Device(
            address=hci.Address(address), host=Host(controller, AsyncPipeSink(controller))
        )
        await device.power_on()
        one = await device.create_advertising_set(
            advertising_parameters=AdvertisingParameters(
                primary_advertising_interval_min=interval_ms,
                primary_advertising_interval_max=interval_ms,
                advertising_event_properties=AdvertisingEventProperties(is_connectable=False),
            ),
            random_address=hci.Address(address),
            advertising_data=payload,
        )
        self._sets.append(one)

    async def stop(self) -> None:
        for one in self._sets:
            await one.stop()

    def backend(self) -> type[BaseBleakScanner]:
        """Make the scanner that bleak takes in place of this system's own."""
        return type("OverBumble", (VirtualScanner,), {"receiver": self.receiver})


class VirtualScanner(BaseBleakScanner):
    """A backend of bleak as its own are: scanning, and a callback for each advertisement."""

    receiver: ClassVar[Receiver]

    def __init__(
        self, detection_callback: Any, service_uuids: Any, scanning_mode: str, **_: Any
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._active = scanning_mode == "active"
        self._device: Device | None = None

    async def start(self) -> None:
        self.seen_devices = {}
        self._device = Device(
            address=hci.Address(OWN), host=Host(self.receiver, AsyncPipeSink(self.receiver))
        )
        self._device.on("advertisement", self._advertisement)
        await self._device.power_on()
        await self._device.start_scanning(active=self._active, filter_duplicates=False)

    async def stop(self) -> None:
        if self._device is not None:
            await self._device.stop_scanning()

    def _advertisement(self, advertisement: Advertisement) -> None:
        manufacturer: dict[int, bytes] = {}
        service: dict[str, bytes] = {}
        for kind, content in advertisement.data.ad_structures:
            number = int.from_bytes(content[:2], "little")
            if kind == AdvertisingData.MANUFACTURER_SPECIFIC_DATA:
                manufacturer[number] = content[2:]
            elif kind == AdvertisingData.SERVICE_DATA_16_BIT_UUID:
                service[normalize_uuid_16(number)] = content[2:]
        address = advertisement.address.to_string(with_type_qualifier=False)
        said = AdvertisementData(
            local_name=None,
            manufacturer_data=manufacturer,
            service_data=service,
            service_uuids=[],
            tx_power=None,
            rssi=advertisement.rssi,
            platform_data=(advertisement,),
        )
        device = self.create_or_update_device(address, address, None, advertisement, said)
        self.call_detection_callbacks(device, said)
