"""Which device a reset would reach, and that one which cannot be made says so.

That a reset cures a hung controller is nothing that a test without a radio can show.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from beacon_gateway.model import GatewayError
from beacon_gateway.reset import reset, usb_node


def dongle(root: Path) -> Path:
    """Lay out what the kernel shows of a USB dongle at bus 1, device 12."""
    hub = root / "sys" / "devices" / "pci0" / "usb1"
    controller = hub / "1-1" / "1-1:1.0"
    controller.mkdir(parents=True)
    for folder, bus, device in ((hub, 1, 1), (hub / "1-1", 1, 12)):
        (folder / "busnum").write_text(f"{bus}\n")
        (folder / "devnum").write_text(f"{device}\n")
    (root / "sys" / "class" / "bluetooth" / "hci0").mkdir(parents=True)
    (root / "sys" / "class" / "bluetooth" / "hci0" / "device").symlink_to(controller)
    node = root / "dev" / "bus" / "usb" / "001" / "012"
    node.parent.mkdir(parents=True)
    node.touch()
    return node


def test_a_dongle_is_found_on_its_bus(tmp_path: Path) -> None:
    node = dongle(tmp_path)
    assert usb_node("hci0", tmp_path / "sys", tmp_path / "dev") == node


def test_a_controller_on_a_serial_line_is_on_no_bus(tmp_path: Path) -> None:
    serial = tmp_path / "sys" / "devices" / "platform" / "serial0-0"
    serial.mkdir(parents=True)
    (tmp_path / "sys" / "class" / "bluetooth" / "hci0").mkdir(parents=True)
    (tmp_path / "sys" / "class" / "bluetooth" / "hci0" / "device").symlink_to(serial)
    assert usb_node("hci0", tmp_path / "sys", tmp_path / "dev") is None


def test_what_is_no_usb_device_refuses_and_the_mend_is_named(tmp_path: Path) -> None:
    dongle(tmp_path)
    with pytest.raises(GatewayError, match=r"hci0 cannot be reset .*: unplug it"):
        reset("hci0", tmp_path / "sys", tmp_path / "dev")


def test_a_device_that_has_gone_refuses(tmp_path: Path) -> None:
    dongle(tmp_path).unlink()
    with pytest.raises(GatewayError, match="No such file"):
        reset("hci0", tmp_path / "sys", tmp_path / "dev")


def test_a_controller_that_is_not_there_refuses(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="hci99 cannot be reset"):
        reset("hci99", tmp_path / "sys", tmp_path / "dev")


@pytest.mark.parametrize("name", ["hci", "hci0x", "../hci0"])
def test_a_name_that_is_none_refuses(tmp_path: Path, name: str) -> None:
    with pytest.raises(GatewayError, match="is no controller"):
        reset(name, tmp_path / "sys", tmp_path / "dev")
