"""The question: what does the sync file say: whose word counts, and how old a mirror may be.

``sync.toml`` may be left out: then what people want is theirs to say, of all else the last word
counts. Pure but for reading one file of bounded size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from proximity.inputs import called, read_text
from proximity.model import ProximityError
from proximity.sync.fields import DEFAULT_OWNERS, check_field
from proximity.tomltable import TomlTable, parse_toml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Rules", "load_rules", "parse_rules", "read_toml"]

_MOST_BYTES = 256 * 1024
_KINDS = ("attributes", "endpoints", "subjects")
WINDOW_S = 7 * 86_400.0
"""Within how many seconds of an offer a conversion is put down to it, unless the file says: a week
is what a coupon at hand is used in, and short enough that another errand is not counted in."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Whose word counts for which field, how old a peer's may be, and what an offer has brought.

    ``bounds`` are seconds by peer: what it said longer ago is told to be stale. ``windows`` are
    seconds by campaign, within which a purchase is put down to its offer.
    """

    owners: Mapping[str, str] = msgspec.field(default_factory=lambda: DEFAULT_OWNERS)
    bounds: Mapping[str, float] = {}
    window_s: float = WINDOW_S
    windows: Mapping[str, float] = {}

    def window_of(self, campaign: str) -> float:
        """Give the seconds within which a purchase is put down to an offer of this campaign."""
        return self.windows.get(campaign, self.window_s)


def load_rules(path: Path) -> Rules:
    """Read a sync file; raises ProximityError with every problem."""
    name = called(path)
    return parse_rules(read_toml(path), name)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of bounded size; raises ProximityError where it is none."""
    return parse_toml(read_text(path, _MOST_BYTES), called(path))


def parse_rules(table: Mapping[str, Any], name: str) -> Rules:
    """Read the tables of a sync file; raises ProximityError with every problem."""
    top = TomlTable(table, name)
    owners = dict(DEFAULT_OWNERS)
    item = top.child("owners")
    for field in item.table:
        owner = item.identity(field)
        if field not in _KINDS:
            try:
                check_field(field)
            except ValueError as error:
                item.fault(str(error))
        if owner is not None:
            owners[field] = owner
    item.finish()
    bounds = {}
    for one in top.children("peer"):
        peer, age = one.identity("id"), one.number("max_age_s", 0.0, least=1.0, most=366 * 86_400.0)
        if peer is None or not one.has("max_age_s"):
            one.fault("id and max_age_s are needed")
        one.finish()
        if peer is not None:
            bounds[peer] = age
    item = top.child("conversions")
    window_s = item.number("window_s", WINDOW_S, least=1.0, most=366 * 86_400.0)
    own = item.child("campaign")
    windows = {
        campaign: own.number(campaign, WINDOW_S, least=1.0, most=366 * 86_400.0)
        for campaign in own.table
    }
    own.finish()
    item.finish()
    top.finish()
    if top.problems:
        raise ProximityError(*top.problems)
    return Rules(owners=owners, bounds=bounds, window_s=window_s, windows=windows)
