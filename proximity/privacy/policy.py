"""What does the operator's privacy file say: how long, who else has to erase, and where not?

``privacy.toml`` may be left out; then the schedule holds as it stands, nobody else is told, and
places are sensitive by their tags and names alone. Pure but for reading files of bounded size;
what any of it does is ``retention``'s, ``erasing``'s and ``sensitive``'s.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from geofences import Fence, GeofenceError, load
from proximity.channels.egress import check_url
from proximity.channels.signatures import read_secrets
from proximity.inputs import called, read_text
from proximity.model import ProximityError
from proximity.privacy.retention import SCHEDULE, keep_days
from proximity.privacy.sensitive import BUFFER_M, CATEGORIES
from proximity.tomltable import TomlTable, parse_toml

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Policy", "Recipient", "load_policy", "parse_policy"]

_MOST_BYTES = 1024 * 1024
_MOST_PROCESSORS = 100
_LONGEST_DAYS = 3660.0


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody else who keeps people of ours, and is told whom to erase.

    ``allow`` are networks that may be reached though they are not public.
    """

    id: str
    url: str
    secrets: tuple[str, ...]
    allow: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says: ``days`` by rule of the schedule, and the layer of sensitive areas."""

    days: dict[str, float] = msgspec.field(default_factory=keep_days)
    processors: tuple[Recipient, ...] = ()
    layer: tuple[Fence, ...] = ()
    buffer_m: float = BUFFER_M


def load_policy(path: str | Path) -> Policy:
    """Read a privacy file and what it names; raises ProximityError with every problem."""
    file = Path(path)
    return parse_policy(read_text(file, _MOST_BYTES), called(file), file.parent)


def parse_policy(text: str, name: str, folder: Path) -> Policy:
    """Read the text of a privacy file; what it names is looked for in ``folder``.

    Raises ProximityError with every problem.
    """
    top = TomlTable(parse_toml(text, name), name)
    days = _read_days(top.child("retention"))
    places = top.child("sensitive")
    buffer_m = places.number("buffer_m", BUFFER_M, most=100_000.0)
    layer = _read_layer(places, folder)
    places.finish()
    items = top.children("processor")
    if len(items) > _MOST_PROCESSORS:
        top.fault(f"{len(items)} processors are too many, at most {_MOST_PROCESSORS}")
    processors = tuple(_read_processor(item, folder) for item in items[:_MOST_PROCESSORS])
    named = [one.id for one in processors]
    if len(set(named)) < len(named):
        top.fault("two processors have the same id; give each its own")
    top.finish()
    if top.problems:
        raise ProximityError(*top.problems)
    return Policy(days=days, processors=processors, layer=tuple(layer), buffer_m=buffer_m)


def _read_days(item: TomlTable) -> dict[str, float]:
    """Read days by rule. What is no rule, or ends by no time, is a fault."""
    found = {
        name: item.number(name, rule.days, least=1.0, most=_LONGEST_DAYS)
        for name, rule in SCHEDULE.items()
        if rule.days is not None and name != "traces"  # `--late` says how long those are needed
    }
    item.finish()
    return keep_days(found)


def _read_layer(item: TomlTable, folder: Path) -> Sequence[Fence]:
    named = item.file_name("layer")
    if named is None:
        return ()
    try:
        fences = load(folder / named)
    except GeofenceError as error:
        for problem in error.problems:
            item.fault(f"layer: {problem}")
        return ()
    except OSError as error:
        item.fault(f"layer {named!r:.80} cannot be read: {error.strerror}")
        return ()
    for fence in fences:
        said = fence.properties.get("category")
        if said not in CATEGORIES:
            item.fault(
                f"layer: area {fence.id!r:.80} needs a category: one of {', '.join(CATEGORIES)}"
            )
    return fences


def _read_processor(item: TomlTable, folder: Path) -> Recipient:
    for key in ("id", "url"):
        if not item.has(key):
            item.fault(f"{key} is missing")
    allow = []
    for entry in item.names("allow"):
        try:
            allow.append(ipaddress.ip_network(entry))
        except ValueError:
            item.fault(f"allow: {entry!r:.60} is no address or network such as 10.0.0.0/8")
    url = item.text("url")
    if url is not None:
        target, problem = check_url(url, allow)
        if target is None:
            item.fault(f"url: {problem}, or list its address in allow")
    found = Recipient(
        id=item.identity("id") or "",
        url=url or "",
        secrets=tuple(read_secrets(item, folder)),
        allow=tuple(str(network) for network in allow),
    )
    item.finish()
    return found
