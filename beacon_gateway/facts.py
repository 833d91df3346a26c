"""The question: what is there to know of a computer before it is said how well its gateway is.

Values only: `probing.py` finds them out, `checks.py` judges them.
"""

from __future__ import annotations

import msgspec


class AdapterFact(msgspec.Struct, frozen=True, kw_only=True):
    """A Bluetooth adapter as the system has it."""

    name: str | None
    address: str
    powered: bool
    central: bool = True


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about this computer; None: could not be told, or does not apply.

    ``radio_error`` why the radio cannot be used at all; ``wanted`` the adapters asked for;
    ``per_beacon`` sightings a second of each enrolled beacon heard within ``listened_s``;
    ``clock_offset_s`` how far the server's clock is ahead; ``health_age_s`` since the agent last
    wrote, below 0 where the clocks do not agree; ``stopped`` whether it was for the last time;
    ``trouble`` why it tells no sightings, ``list_trouble`` why it gets no list, ``waiting`` how
    many sightings it holds; ``reached`` whether the server answered, though it refuses;
    ``listed`` whether there is a list to know enrolled beacons by; ``in_memory`` whether
    Bluetooth's own memory of names is on no disk.
    """

    platform: str = "linux"
    simulated: bool = False
    radio_error: str | None = None
    adapters: tuple[AdapterFact, ...] = ()
    wanted: tuple[str, ...] = ()
    passive: bool = False
    bluez: str | None = None
    listened_s: float = 0.0
    per_s: float = 0.0
    radios: int = 0
    per_beacon: tuple[float, ...] = ()
    unlisted: int = 0
    throttled: bool | None = None
    server_error: str | None = None
    token_error: str | None = None
    token_readable: bool = False
    token_open: bool = False
    enrolled: int | None = None
    place: str | None = None
    clock_offset_s: float | None = None
    rtc: bool | None = None
    data_error: str | None = None
    free_bytes: int | None = None
    spool_bytes: int | None = None
    spool_limit: int = 0
    dropped: int = 0
    health_age_s: float | None = None
    stopped: bool = False
    trouble: str | None = None
    list_trouble: str | None = None
    waiting: int = 0
    reached: bool = False
    listed: bool = True
    in_memory: bool | None = None
