"""The question: who is told of what happens here, of what exactly, and where.

Reads the subscribers' file. It must not know the ledger, nor how anything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from proximity.channels.dialling import read_allowed
from proximity.channels.egress import check_url
from proximity.channels.envelope import DEFAULT_SOURCE
from proximity.channels.signatures import read_secrets
from proximity.inputs import called, read_text
from proximity.model import ProximityError
from proximity.tomltable import TomlTable, parse_toml

if TYPE_CHECKING:
    from pathlib import Path

    from proximity.channels.egress import Network

__all__ = ["KINDS", "FileSink", "Subscriber", "UrlSink", "load_subscribers", "parse_subscribers"]

KINDS = ("transition", "decision", "delivery", "person")
"""What can be told: the ledger's records, and changes and erasures of people."""
_WITHOUT_PLACE = ("person",)
_WITHOUT_CAMPAIGN = ("transition", "person")

_OF_SINKS = (
    "allow", "secret_file", "secret_env", "mode", "batch", "rotate_mb", "rotate_h", "keep",
)  # fmt: skip
_MOST_BYTES = 1024 * 1024
_MOST_SUBSCRIBERS = 64
"""Each has a task, a page in memory and connections of its own."""
_MOST_BATCH = 500
"""Events of some 500 bytes in one POST: a quarter of a megabyte, which receivers still take."""
_DAY_S = 86400.0
_GIVE_UP_DAYS = 7.0
"""Whoever takes nothing for a week is no receiver any more; what they missed is still there."""
_ROTATE_MB, _KEEP = 64.0, 30


class UrlSink(msgspec.Struct, frozen=True, kw_only=True):
    """Where to post: an event each, or up to ``batch`` together."""

    url: str
    secrets: tuple[str, ...]
    allow: tuple[Network, ...] = ()
    binary: bool = False
    batch: int = 1

    def __repr__(self) -> str:
        return f"UrlSink(url={self.url!r}, batch={self.batch})"


class FileSink(msgspec.Struct, frozen=True, kw_only=True):
    """Where to write, a line each: a new file after so many bytes and seconds; ``keep`` old ones.

    ``keep`` 0 keeps all.
    """

    path: Path
    rotate_bytes: int
    rotate_s: float
    keep: int


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told, of which kinds, of which places and campaigns (all, where none is named).

    ``since`` is where they begin when they are new: with what happens from now on, or with all that
    is still there. ``give_up_s``: after so long without a success they are not tried any more.
    ``third_party``: another company, told only of whoever agreed to ``sharing``.
    """

    name: str
    kinds: tuple[str, ...]
    sink: UrlSink | FileSink
    places: frozenset[str] = frozenset()
    campaigns: frozenset[str] = frozenset()
    source: str = DEFAULT_SOURCE
    since: Literal["now", "start"] = "now"
    give_up_s: float = _GIVE_UP_DAYS * _DAY_S
    third_party: bool = False


def load_subscribers(path: Path) -> tuple[Subscriber, ...]:
    """Read a subscribers' file and the secrets it names; raises ProximityError with every problem.

    What it names is looked for in the file's own folder.
    """
    return parse_subscribers(read_text(path, _MOST_BYTES), called(path), path.parent)


def parse_subscribers(text: str, name: str, folder: Path) -> tuple[Subscriber, ...]:
    """Read the text of a subscribers' file. Raises ProximityError with every problem."""
    table = TomlTable(parse_toml(text, name), name)
    found = []
    names: set[str] = set()
    files: set[Path] = set()
    items = table.children("subscriber")
    if len(items) > _MOST_SUBSCRIBERS:
        table.fault(f"{len(items)} subscribers; {_MOST_SUBSCRIBERS} are the most there may be")
        items = []
    for item in items:
        one = _read(item, folder)
        if one is None:
            continue
        if one.name in names:
            item.fault(f"name {one.name!r} is there twice: their positions would be one")
        names.add(one.name)
        if isinstance(one.sink, FileSink):
            if one.sink.path in files:
                item.fault("file is another subscriber's as well: give each its own")
            files.add(one.sink.path)
        found.append(one)
    table.finish()
    if table.problems:
        raise ProximityError(*table.problems)
    return tuple(found)


def _read(table: TomlTable, folder: Path) -> Subscriber | None:
    name = table.identity("name")
    if name is None and "name" not in table.table:
        table.fault("name is missing: it is what their position is kept under")
    elif name is not None:
        table.where = f"{table.where.rpartition(':')[0]}: subscriber {name!r:.80}"
    kinds = table.names("kinds")
    if not kinds:
        table.fault(f"kinds is missing: write some of {', '.join(KINDS)}")
    for kind in kinds:
        if kind not in KINDS:
            table.fault(f"kinds: {kind!r:.60} is none; there is {', '.join(KINDS)}")
    places, campaigns = frozenset(table.names("places")), frozenset(table.names("campaigns"))
    for filtered, without in ((places, _WITHOUT_PLACE), (campaigns, _WITHOUT_CAMPAIGN)):
        lost = [kind for kind in kinds if filtered and kind in without]
        if lost:
            what = "place" if without is _WITHOUT_PLACE else "campaign"
            table.fault(f"kinds: a {lost[0]} has no {what}, so none would be told: leave it out")
    sink: UrlSink | FileSink | None = None
    told, written = table.has("url"), table.has("file")
    if told == written:
        table.fault("write either url or file: where they are told")
        for key in _OF_SINKS:  # whether they belong here cannot be said until it is known which
            table.has(key)
    elif told:
        sink = _read_url(table, folder)
    else:
        sink = _read_file(table, folder)
    source = table.text("source") or DEFAULT_SOURCE
    since: Literal["now", "start"] = (
        "start" if table.choice("since", ("now", "start")) == "start" else "now"
    )
    third_party = table.flag("third_party", default=False)
    give_up = table.number("give_up_days", _GIVE_UP_DAYS, least=0.01, most=3650.0)
    table.finish()
    if name is None or sink is None:
        return None
    return Subscriber(
        name=name, kinds=kinds, sink=sink, places=places, campaigns=campaigns, source=source,
        since=since, give_up_s=give_up * _DAY_S, third_party=third_party,
    )  # fmt: skip


def _read_url(table: TomlTable, folder: Path) -> UrlSink | None:
    allow = read_allowed(table)
    url = table.text("url")
    if url is not None:
        target, problem = check_url(url, allow)
        if target is None:
            table.fault(f"url: {problem}, or list its address in allow")
    secrets = read_secrets(table, folder)
    binary = table.choice("mode", ("structured", "binary")) == "binary"
    batch = table.whole("batch", 1, least=1, most=_MOST_BATCH)
    if binary and batch > 1:
        table.fault('mode: "binary" has one event in a request: leave out batch, or mode')
    if url is None:
        return None
    return UrlSink(url=url, secrets=tuple(secrets), allow=tuple(allow), binary=binary, batch=batch)


def _read_file(table: TomlTable, folder: Path) -> FileSink | None:
    file = table.file_name("file")
    rotate_bytes = int(table.number("rotate_mb", _ROTATE_MB, least=0.001, most=1e6) * 1e6)
    rotate_s = table.number("rotate_h", 24.0, least=1 / 3600, most=8784.0) * 3600.0
    keep = table.whole("keep", _KEEP, least=0, most=100_000)
    if file is None:
        return None
    return FileSink(path=folder / file, rotate_bytes=rotate_bytes, rotate_s=rotate_s, keep=keep)
