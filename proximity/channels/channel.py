"""The question: what is a channel, and which ones are there.

``CHANNELS`` is a table; a new channel is a new file and a row. A channel hands over what it is
given and says what came back; it must not know gates, caps or the store.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proximity.campaigns.campaigns import Campaigns
    from proximity.model import Offer

__all__ = ["CHANNELS", "Channel", "Outcome", "Reply", "open_channels"]

Outcome = Literal["accepted", "retry", "failed", "dead_endpoint"]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of handing over one offer.

    ``accepted``: taken, which is not yet seen; ``retry``: not now, perhaps in ``retry_after_s``
    seconds; ``failed``: not ever; ``dead_endpoint``: the receiver is gone. ``reply`` is kept in
    the ledger: codes and counts, never what the other side wrote.
    """

    outcome: Outcome
    reply: dict[str, Any] = {}
    retry_after_s: float | None = None


class Channel(Protocol):
    """A way to hand over offers. ``send`` never raises for what the other side does."""

    @property
    def name(self) -> str:
        """The name by which campaigns call it."""

    async def send(self, offer: Offer) -> Reply:
        """Hand over one offer; ``offer.key`` lets the receiver collapse repeats."""

    async def close(self) -> None:
        """Let go of connections."""


def _console(config: Mapping[str, Any], folder: Path) -> Channel:
    from proximity.channels.console import open_console

    return open_console(config, folder)


def _webhook(config: Mapping[str, Any], folder: Path) -> Channel:
    from proximity.channels.webhook import open_webhook

    return open_webhook(config, folder)


CHANNELS: dict[str, Callable[[Mapping[str, Any], Path], Channel]] = {
    "console": _console,
    "webhook": _webhook,
}
"""Name -> what opens it from its ``[channel.NAME]`` table; its paths are relative to the folder."""


def open_channels(campaigns: Campaigns, folder: Path | None = None) -> dict[str, Channel]:
    """Open every channel that a campaign uses; ``folder`` is where the campaigns file lies.

    Raises ProximityError with the problems of all of them.
    """
    used = {name for campaign in campaigns.campaigns.values() for name in campaign.channels}
    opened: dict[str, Channel] = {}
    problems: list[str] = []
    for name in sorted(used | set(campaigns.channel)):
        try:
            opened[name] = CHANNELS[name](campaigns.channel.get(name, {}), folder or Path())
        except ProximityError as error:
            problems += error.problems
    if problems:
        raise ProximityError(*problems)
    return opened
