"""The question: what was this gateway told, and can it be used.

A TOML file, the environment and the command line say the same keys; the later overrules. All that
is wrong in any of them is found at once, each problem with its place and the mend. It must know
nothing of radios, and reads no file but the one with the settings.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from beacon_gateway.adverts import format_uuid
from beacon_gateway.model import Beacon, GatewayError, check_id

DAY_S = 86_400.0
# What every name in the environment begins with; then the key in upper case.
PREFIX = "BEACON_GATEWAY__"
SCHEMES = ("http", "https", "mqtt", "mqtts")
# The data folder of a command that was told none and needs none.
NOWHERE = Path()
# A file of settings is a page; more is a mistake, and is not read into memory.
MAX_FILE = 65_536
_MAC = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one gateway is told when it starts; ``KEYS`` says what each is for.

    Seconds and bytes as the names say. None: not said.
    """

    server: str
    data: Path
    token_file: Path | None = None
    gateway: str | None = None
    adapters: tuple[str, ...] = ()
    passive: bool = False
    canary: Beacon | None = None
    simulate: Path | None = None
    speed: float = 1.0
    ca_file: Path | None = None
    spool_bytes: int = 100_000_000
    spool_age_s: float = 7 * DAY_S


class SettingsError(GatewayError):
    """Settings that cannot be used; ``problems`` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Key(NamedTuple):
    """One key: what reads its value (ValueError says what it must be), and what it is for."""

    read: Callable[[Any], Any]
    purpose: str


def load(
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Path | None = None,
    needs: Collection[str] = ("server", "data"),
) -> Settings:
    """Read the settings: ``options`` over ``environment`` over ``file`` over the defaults.

    ``options`` has values as typed, by key; None, an empty tuple and False count as not said. Paths
    in the file are relative to it. A command that does without the server or the data folder leaves
    it out of ``needs``; unsaid, it is then empty. Raises SettingsError with every problem of all.
    """
    problems: list[str] = []
    said: dict[str, Any] = {}
    from_file: Mapping[str, Any] = {}
    broken = False
    if file is not None:
        from_file = _file(file, problems)
        broken = bool(problems)
        _take(said, problems, from_file, str(file), "")
        for key in PATHS & said.keys():
            said[key] = file.parent / said[key]
    named = {
        name[len(PREFIX) :].lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    _take(said, problems, named, "environment", PREFIX)
    typed = {
        key: value
        for key, value in options.items()
        if value is not None and value is not False and value != ()
    }
    _take(said, problems, typed, "command line", "--")
    problems += [
        f"{key} is not set: {KEYS[key].purpose}: give --{key}, "
        f"{PREFIX}{key.upper()} or {key} in a settings file"
        for key in needs
        # What a broken file says of it is not known.
        if not broken and key not in {*from_file, *named, *typed}
    ]
    if problems:
        raise SettingsError(problems)
    if said.get("data") == NOWHERE:
        said["data"] = NOWHERE.absolute()  # this folder, as somebody said, and not none
    return Settings(**{"server": "", "data": NOWHERE, **said})


def _take(
    said: dict[str, Any], problems: list[str], values: Mapping[str, Any], where: str, lead: str
) -> None:
    """Read the values of one source into ``said``; what is wrong goes into ``problems``."""
    for name, value in values.items():
        shown = f"{lead}{name.upper()}" if lead == PREFIX else f"{lead}{name.replace('_', '-')}"
        shown = "--adapter" if shown == "--adapters" else shown if lead else name
        key = KEYS.get(name)
        if key is None:
            near = difflib.get_close_matches(name, KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(KEYS)}"
            problems.append(f"{where}: {name}: there is no such key: {hint}")
            continue
        try:
            if key.read is _flag and not lead and not isinstance(value, bool):
                raise ValueError("must be true or false, without quotes")
            said[name] = key.read(value)
        except ValueError as error:
            problems.append(f"{where}: {shown}: {error}")


def _file(file: Path, problems: list[str]) -> Mapping[str, Any]:
    try:
        with file.open("rb") as source:
            content = source.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        problems.append(f"{file}: cannot be read ({reason}): check the name and the rights")
        return {}
    try:
        if len(content) > MAX_FILE:
            raise ValueError(f"more than {MAX_FILE} bytes are no settings")
        return tomllib.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        problems.append(f'{file}: is not TOML ({error}): write lines such as data = "/var/lib/x"')
        return {}


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text that is not empty")
    return value.strip()


def _server(value: Any) -> str:
    url = _text(value)
    # The URL itself stays out of the text: it may hold a password.
    wanted = "must be a URL such as https://engine.example or mqtts://broker.example"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (reading it is what checks it)
    except ValueError:
        raise ValueError(wanted) from None
    blank = any(mark.isspace() or not mark.isprintable() for mark in url)
    if parts.scheme not in SCHEMES or not parts.hostname or blank:
        raise ValueError(wanted)
    if parts.username or parts.password:
        raise ValueError("must hold no name or password: put the secret into a file, token_file")
    if parts.query or parts.fragment:
        raise ValueError("must end with the host, a port or a path: nothing after ? or #")
    if parts.scheme.startswith("mqtt") and parts.path.strip("/"):
        raise ValueError("must end with the host or a port: a broker has no paths")
    # Whoever asks what it begins with need not think of HTTPS://.
    return f"{parts.scheme}{url[len(parts.scheme) :]}".rstrip("/")


def _path(value: Any) -> Path:
    if isinstance(value, Path):
        return value
    text = _text(value)
    if "\0" in text:
        raise ValueError("must be the name of a file or folder")
    return Path(text)


def _id(value: Any) -> str:
    text = _text(value)
    check_id(text, "it")
    return text


def _macs(value: Any) -> tuple[str, ...]:
    """Read adapter addresses: a list, or text with commas between."""
    many = value.split(",") if isinstance(value, str) else value
    if not isinstance(many, Sequence) or not all(isinstance(mac, str) for mac in many):
        raise ValueError('must be a list of addresses: ["00:1A:7D:DA:71:13"]')
    macs = tuple(mac.strip().upper().replace("-", ":") for mac in many)
    strange = [repr(mac) for mac in macs if not _MAC.fullmatch(mac)]
    if strange:
        raise ValueError(
            f"{', '.join(strange)}: not an adapter's address such as 00:1A:7D:DA:71:13: "
            "`bluetoothctl list` shows them (hci0 and its like change between starts)"
        )
    if len(set(macs)) < len(macs):
        raise ValueError("names an adapter twice: one scanner for each")
    return macs


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if not isinstance(value, str) or value.strip().lower() not in word:
        raise ValueError("must be true or false")
    return word[value.strip().lower()]


def _canary(value: Any) -> Beacon:
    """Read the iBeacon that always lies in the shop."""
    wanted = "must be the UUID/MAJOR/MINOR of an iBeacon, as `beacon-gateway scan` shows it"
    parts = value.strip().split("/") if isinstance(value, str) else ()
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts[1:]):
        raise ValueError(wanted)
    try:
        uuid = bytes.fromhex(parts[0].replace("-", ""))
        major, minor = (int(part) for part in parts[1:])
    except ValueError:
        raise ValueError(wanted) from None
    if len(uuid) != 16 or max(major, minor) > 0xFFFF:
        raise ValueError(wanted)
    return Beacon(format="ibeacon", uuid=format_uuid(uuid), major=major, minor=minor)


def _number(low: float, high: float, unit: str) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not low <= number <= high:
            raise ValueError(f"must be a number from {low:,.15g} to {high:,.15g}{unit}")
        return number

    return read


def _bytes(value: Any) -> int:
    return int(_number(1_000_000, 1e12, " bytes")(value))


KEYS: dict[str, Key] = {
    "server": Key(
        _server, "where sightings go: http(s)://… of the engine, or mqtt(s)://… of a broker"
    ),
    "token_file": Key(_path, "the file with the gateway's token or secret, as `pair` printed it"),
    "data": Key(_path, "the folder of all that is kept: the spool, the list of beacons, health"),
    "gateway": Key(
        _id, "this gateway's id in the site; left out: the one that the token speaks for"
    ),
    "adapters": Key(_macs, "the radios, by their own addresses; left out: the first one"),
    "passive": Key(_flag, "only listen, and ask no beacon for more (BlueZ: experimental features)"),
    "canary": Key(
        _canary, "an iBeacon fixed in the shop (UUID/MAJOR/MINOR): silent, the radio has stalled"
    ),
    "simulate": Key(_path, "a trace to replay where there is no radio"),
    "speed": Key(_number(0.01, 100_000, " times"), "how many times as fast the trace is replayed"),
    "ca_file": Key(
        _path, "who signed the server's certificate, where no public authority did (PEM)"
    ),
    "spool_bytes": Key(_bytes, "the most that waits on the disk while the server is away, bytes"),
    "spool_age_s": Key(
        _number(60, 366 * DAY_S, " s"), "what has waited longer is dropped and counted, s"
    ),
}
# Those that name a file or folder: relative to the settings file where they stand in one.
PATHS = {key for key, row in KEYS.items() if row.read is _path}
