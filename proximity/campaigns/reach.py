"""The question: which channels may campaigns name, and what does each cost and need of a person.

``KINDS`` is a table; a new channel is a row here and one in ``channels.CHANNELS``. Pure: how a
channel hands over is that channel's to know.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from proximity.campaigns import forms
from proximity.campaigns.forms import Key
from proximity.tomltable import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proximity.model import Endpoint, Person
    from proximity.tomltable import TomlTable

__all__ = ["CHANNEL", "KINDS", "PLAIN", "Kind", "Repeats", "Terms", "addresses", "read_terms"]

Repeats = Literal["at_most_once", "at_least_once"]


class Kind(NamedTuple):
    """A row of ``KINDS``: whether it needs an endpoint of the person's, and what a crash may cost.

    A hand-over of which nobody knows whether it arrived is repeated where the receiver collapses
    repeats by their key, and is not where people would see it twice. ``takes_all``: there is no
    other side that could refuse, so that nothing goes on from here.
    """

    to_endpoints: bool
    repeats: Repeats
    takes_all: bool = False


KINDS = {
    "console": Kind(to_endpoints=False, repeats="at_least_once", takes_all=True),
    "webhook": Kind(to_endpoints=False, repeats="at_least_once"),
    "mqtt": Kind(to_endpoints=False, repeats="at_least_once"),
    "inbox": Kind(to_endpoints=False, repeats="at_least_once", takes_all=True),
    "web-push": Kind(to_endpoints=True, repeats="at_least_once"),
    "fcm": Kind(to_endpoints=True, repeats="at_least_once"),
    "apns": Kind(to_endpoints=True, repeats="at_least_once"),
    "email": Kind(to_endpoints=True, repeats="at_most_once"),  # no mailbox collapses
}
_FOREIGN = Kind(to_endpoints=False, repeats="at_most_once")  # of a plug-in nothing is known
_PLUG_IN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_MOST_COST = 1e6

CHANNEL: forms.Form = (
    Key(
        "cost",
        forms.number(0.0, _MOST_COST),
        "what one offer costs on it, in any unit that is the same for all: of a campaign's "
        "channels the cheapest is tried first, equal ones in the campaign's order",
        "0",
    ),
    Key(
        "repeats",
        forms.choice(("at_least_once", "at_most_once")),
        "what becomes of an offer of which nobody knows whether it arrived: handed over again "
        "with the same key, or given up",
        "the channel's own",
    ),
    Key(
        "kind",
        forms.text(),
        "for a channel with a name of its own: which one it is of, or `module:attr` for one "
        "of yours",
        "its name",
    ),
    Key(
        "to_endpoints",
        forms.flag(),
        "with a `kind` of your own: whether it needs an address of the person's",
        "`false`",
    ),
)
"""Keys that every ``[channel.NAME]`` may have, besides the channel's own and ``provider``."""


class Terms(msgspec.Struct, frozen=True):
    """On what terms a channel is used: its cost, what it does about repeats, whom it reaches.

    ``addressed`` is the channel that endpoints name to be reached on it; None: it needs none.
    ``kind`` is the row of ``KINDS`` that it is of; None: a plug-in's.
    """

    cost: float = 0.0
    repeats: Repeats = "at_least_once"
    addressed: str | None = None
    kind: str | None = None


PLAIN = {
    name: Terms(repeats=kind.repeats, addressed=name if kind.to_endpoints else None, kind=name)
    for name, kind in KINDS.items()
}
"""The terms of channels of which the file says nothing."""


def read_terms(name: str, item: TomlTable) -> Terms | None:
    """Read the terms of ``[channel.NAME]``; None, and a fault, where there is no such kind."""
    said = forms.read(CHANNEL, item)
    kind = said.get("kind", name)
    if ":" in kind:
        if not _PLUG_IN.fullmatch(kind):
            item.fault(f"kind: {kind!r:.60} is no module:attr such as shop.channels:open_till")
            return None
        row = _FOREIGN._replace(to_endpoints=said.get("to_endpoints", False))
        addressed = name
    else:
        if kind not in KINDS:
            item.fault(
                f"no such channel; {nearest(kind, KINDS)} (a name of your own needs kind: "
                "which of them it is, or module:attr)"
            )
            return None
        if "to_endpoints" in said:
            item.fault(f"to_endpoints is known of {kind}: leave it out")
        row, addressed = KINDS[kind], kind
    return Terms(
        cost=said.get("cost", 0.0),
        repeats=said.get("repeats", row.repeats),
        addressed=addressed if row.to_endpoints else None,
        kind=None if ":" in kind else kind,
    )


def addresses(person: Person, terms: Terms) -> tuple[Endpoint, ...]:
    """Give the endpoints by which a channel of these terms reaches a person."""
    return tuple(one for one in person.endpoints if one.channel == terms.addressed)


def cheapest_first(channels: tuple[str, ...], terms: Mapping[str, Terms]) -> tuple[str, ...]:
    """Order channels by cost; equal ones stay as they are."""
    return tuple(sorted(channels, key=lambda name: terms[name].cost if name in terms else 0.0))
