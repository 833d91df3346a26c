"""The question: how is a hung Bluetooth controller made to start from nothing.

Linux only, standard library only. A USB dongle is reset on its bus, which makes it come back,
perhaps under another name; any other controller is taken down and up. Both need rights that a
plain user lacks, and no test without a radio can prove that they cure one.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from pathlib import Path

from beacon_gateway.model import GatewayError

# <linux/usbdevice_fs.h>: _IO('U', 20); <net/bluetooth/hci_sock.h>: _IOW('H', 201 and 202, int).
USBDEVFS_RESET = 0x5514
HCI_UP = 0x400448C9
HCI_DOWN = 0x400448CA
# The kernel's number of the raw HCI protocol; Python names it only where it was built with it.
PROTOCOL_HCI = 1


def reset(name: str, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> None:
    """Reset the controller of that name of today, such as hci0; blocks for up to some seconds.

    Raises GatewayError where it cannot be done, with the reason and the mend.
    """
    if not re.fullmatch(r"hci\d{1,5}", name):
        raise GatewayError(f"{name!r} is no controller: names are such as hci0")
    try:
        node = usb_node(name, sys, dev)
        if node is not None:
            _reset_usb(node)
        else:
            _down_and_up(name)
    except OSError as error:
        mend = "unplug it for some seconds"
        if error.errno in {errno.EPERM, errno.EACCES}:
            mend = "give the unit AmbientCapabilities=CAP_NET_ADMIN, and its user the USB device"
        raise GatewayError(
            f"adapter {name} cannot be reset ({error.strerror or error}): {mend}"
        ) from None


def usb_node(name: str, sys: Path, dev: Path) -> Path | None:
    """Find the device node of a USB dongle; None where the controller is not on USB."""
    place = (sys / "class" / "bluetooth" / name / "device").resolve()
    # The controller hangs on an interface of the dongle, whose own folder is one up.
    for folder in (place, place.parent):
        numbers = [folder / "busnum", folder / "devnum"]
        if all(number.is_file() for number in numbers):
            bus, device = (int(number.read_text()) for number in numbers)
            return dev / "bus" / "usb" / f"{bus:03}" / f"{device:03}"
    return None


def _reset_usb(node: Path) -> None:
    import fcntl

    handle = os.open(node, os.O_WRONLY)
    try:
        fcntl.ioctl(handle, USBDEVFS_RESET, 0)
    finally:
        os.close(handle)


def _down_and_up(name: str) -> None:
    import fcntl

    number = int(name.removeprefix("hci"))
    family = getattr(socket, "AF_BLUETOOTH", 31)
    with socket.socket(family, socket.SOCK_RAW, PROTOCOL_HCI) as control:
        fcntl.ioctl(control, HCI_DOWN, number)
        fcntl.ioctl(control, HCI_UP, number)
