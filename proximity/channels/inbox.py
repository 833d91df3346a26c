"""The question: what does it take to leave an offer where its reader comes to fetch it.

Nothing is carried anywhere: the decision wrote the offer down, and once it counts as handed over
it lies in its person's inbox, which ``proximity.inbox`` reads. How often people may come is said
here, because it is the channel's own setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.channels.channel import Reply
from proximity.model import ProximityError
from proximity.tomltable import TomlTable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proximity.model import Endpoint, Offer

__all__ = ["POLL_S", "Inbox", "open_inbox", "poll_s"]

POLL_S = 300.0
"""Seconds between two looks of an app where neither its operator nor the person says otherwise:
offers of a visit last some minutes, and a phone that asks oftener is felt in its battery."""
_LEAST_S, _MOST_S = 10.0, 86400.0


class Inbox:
    """Takes every offer: it is in the store already, and nobody has to be reached."""

    name = "inbox"
    to_endpoints = False

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:  # noqa: ARG002 - all channels alike
        """Accept it: it lies in the inbox as soon as this is recorded."""
        return Reply(outcome="accepted")

    async def close(self) -> None:
        """There is nothing to let go of."""


def open_inbox(config: Mapping[str, Any], folder: Path) -> Inbox:  # noqa: ARG001 - all rows alike
    """Open it from ``[channel.inbox]``, whose one key is ``poll_s``. Raises ProximityError."""
    table = TomlTable(config, "channel.inbox")
    table.number("poll_s", POLL_S, least=_LEAST_S, most=_MOST_S)
    table.finish()
    if table.problems:
        raise ProximityError(*table.problems)
    return Inbox()


def poll_s(config: Mapping[str, Any]) -> float:
    """Give the seconds between two looks that ``[channel.inbox]`` asks for."""
    return float(config.get("poll_s", POLL_S))
