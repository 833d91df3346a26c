"""Which broker is there to listen to, and what do its topics mean? A URL, a session, a table.

Knows no MQTT library: what speaks with the broker is ``mqtt``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from proximity.feeds.receivers import receiver_id
from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Iterable

PORTS = {"mqtt": 1883, "mqtts": 8883}


class Topic(NamedTuple):
    """Topics of one kind: the filter, the format, and the levels that say who speaks.

    ``maker``: who speaks is a receiver of some maker's, known by its radio address in any spelling.
    """

    filter: str
    format: str
    speaker: tuple[int, ...]
    maker: bool = True

    def speaks_for(self, topic: str) -> str:
        """Name who speaks on a topic: the broker lets nobody else publish there."""
        levels = topic.split("/")
        name = "/".join(levels[number] for number in self.speaker)
        return (receiver_id(name) or name) if self.maker else name


TOPICS = (
    Topic("proximity/+/sightings", "sightings", (1,), maker=False),
    Topic("espresense/devices/+/+", "espresense", (3,)),
    Topic("home/+/BTtoMQTT/#", "theengs", (1,)),
    Topic("ruuvi/+/+", "ruuvi", (1,)),
    Topic("owntracks/+/+", "owntracks", (1, 2), maker=False),
    Topic("owntracks/+/+/event", "owntracks", (1, 2), maker=False),
    Topic("owntracks/+/+/beacon", "owntracks", (1, 2), maker=False),
)


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """Where the broker is and who asks: ``identifier`` is this server's name for its session.

    ``told`` is the file that names the gateways whose configuration the broker keeps for us.
    """

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None
    identifier: str
    told: Path

    @property
    def private(self) -> bool:
        """Whether nobody on the way reads along: encrypted, or it stays on this machine."""
        if self.tls or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def load_told(self) -> set[str]:
        """Name the gateways that the broker was told of, also before the last start."""
        try:
            return set(self.told.read_text().splitlines())
        except (OSError, ValueError):
            return set()

    def save_told(self, names: Iterable[str]) -> None:
        """Keep those names. Raises OSError."""
        _replace(self.told, "".join(f"{name}\n" for name in sorted(names)))

    def __repr__(self) -> str:
        return f"Broker({self.host!r}, {self.port})"


def read_broker(url: str, password_file: Path | None, data: Path) -> Broker:
    """Read ``mqtt[s]://[USER@]HOST[:PORT]``; raises ProximityError with the mend.

    The session's name is made once and kept under the data folder: another name would be another
    session, and what the broker keeps for this one would wait there for nobody.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in PORTS or not parts.hostname or parts.path not in {"", "/"}:
        raise ProximityError("--mqtt: give mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
    if parts.password is not None:
        raise ProximityError(
            "--mqtt: a password in the URL can be read by everybody on this machine: "
            "put it in a file and give --mqtt-password-file"
        )
    password = None
    if password_file is not None:
        try:
            password = password_file.read_text().strip()
        except (OSError, ValueError):
            raise ProximityError(f"{password_file}: holds no password that can be read") from None
    return Broker(
        host=parts.hostname,
        port=port or PORTS[parts.scheme],
        tls=parts.scheme == "mqtts",
        username=unquote(parts.username) if parts.username else None,
        password=password,
        identifier=_identifier(data / "mqtt-session"),
        told=data / "mqtt-told",
    )


def _replace(path: Path, text: str) -> None:
    """Write a small file whole or not at all. Raises OSError."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _identifier(path: Path) -> str:
    """Give the session's name, made where there is none yet. Raises ProximityError."""
    try:
        with contextlib.suppress(FileNotFoundError):
            if name := path.read_text().strip():
                return name
        name = f"proximity-{secrets.token_hex(8)}"
        _replace(path, name + "\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "unreadable"
        raise ProximityError(f"{path}: cannot be kept ({reason})") from None
    return name
