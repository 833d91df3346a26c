"""The question: what is a channel, and which ones are there.

``CHANNELS`` is a table; a new channel is a new file and a row, here and in ``campaigns.reach``; one
of your own is ``kind = "module:attr"`` in its table. A channel hands over what it is given and says
what came back; it must not know gates, caps or the store.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from proximity.inputs import called
from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proximity.campaigns.campaigns import Campaigns
    from proximity.model import Endpoint, Offer

    Opener = Callable[[Mapping[str, Any], Path], "Channel"]

__all__ = ["CHANNELS", "Channel", "Outcome", "Reply", "open_channels", "set_up"]

Outcome = Literal["accepted", "retry", "failed", "dead_endpoint", "config_error"]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of handing over one offer.

    ``accepted``: taken, which is not yet seen; ``retry``: not now, perhaps in ``retry_after_s``
    seconds; ``failed``: not ever; ``dead_endpoint``: the receiver is gone; ``config_error``: what
    the operator set up is refused, whoever the offer is for. ``reply`` is kept in the ledger: codes
    and counts, never what the other side wrote. ``unsure``, with ``retry``: it was handed over in
    full and no answer came, so that it may have been taken all the same.
    """

    outcome: Outcome
    reply: dict[str, Any] = {}
    retry_after_s: float | None = None
    unsure: bool = False


class Channel(Protocol):
    """A way to hand over offers. ``send`` never raises for what the other side does."""

    @property
    def name(self) -> str:
        """The name by which campaigns call it."""

    @property
    def to_endpoints(self) -> bool:
        """Whether it hands over to an address of the person's, which ``send`` is then given."""

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        """Hand over one offer; ``offer.key`` lets the receiver collapse repeats."""

    async def close(self) -> None:
        """Let go of connections."""


CHANNELS = {
    "console": "proximity.channels.console:open_console",
    "webhook": "proximity.channels.webhook:open_webhook",
    "mqtt": "proximity.channels.mqtt:open_mqtt",
    "inbox": "proximity.channels.inbox:open_inbox",
    "web-push": "proximity.channels.web_push:open_web_push",
    "fcm": "proximity.channels.fcm:open_fcm",
    "apns": "proximity.channels.apns:open_apns",
    "email": "proximity.channels.mail:open_email",
}
"""Kind -> what opens it (``Opener``) from its ``[channel.NAME]`` table; paths are relative to the
folder. Loaded when it is used: most need a library of their own."""


def set_up(campaigns: Campaigns) -> set[str]:
    """Name the channels that are opened for a campaigns file: what it uses or has a table for."""
    used = {name for campaign in campaigns.campaigns.values() for name in campaign.channels}
    return used | set(campaigns.channel)


def open_channels(campaigns: Campaigns, file: Path | None = None) -> dict[str, Channel]:
    """Open every channel that is set up; ``file`` is the campaigns file, beside which theirs lie.

    Raises ProximityError with the problems of all of them, each led by the file and its table.
    """
    folder = Path() if file is None else file.parent
    lead = "" if file is None else f"{called(file)}: "
    opened: dict[str, Channel] = {}
    problems: list[str] = []
    for name in sorted(set_up(campaigns)):
        table = campaigns.channel.get(name, {})
        try:
            opened[name] = _open(name, table, folder)
        except ProximityError as error:
            kind = str(table.get("kind", name))
            problems += [lead + _placed(problem, name, kind) for problem in error.problems]
    if problems:
        raise ProximityError(*problems)
    return opened


def _placed(problem: str, name: str, kind: str) -> str:
    """Let a problem begin with the table it is of: what opens a channel knows only its kind."""
    if problem.startswith(f"channel.{name}:"):
        return problem
    before, found, rest = problem.partition(f"channel.{kind}")
    if not found:
        rest = f": {problem}"
    elif before:  # a provider's number
        rest = f": {before}{rest.lstrip(':. ')}"
    return f"channel.{name}{rest}"


def _open(name: str, table: Mapping[str, Any], folder: Path) -> Channel:
    """Open one channel, or each of its providers. Raises ProximityError."""
    own = dict(table)
    opener = _opener(name, own.pop("kind", name))
    providers = own.pop("provider", None)
    if providers is None:
        return opener(own, folder)
    from proximity.channels.failover import open_providers

    return open_providers(name, opener, own, providers, folder)


def _opener(name: str, kind: str) -> Opener:
    ours = CHANNELS.get(kind)
    module, _, attribute = (ours or kind).partition(":")
    try:
        opener: Opener = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if ours is not None:
            raise  # a library that is missing: whoever asked names its extra
        raise ProximityError(
            f"channel.{name}: kind {kind!r:.80} cannot be had ({error}): write module:attr of "
            "what opens it, and install that where the engine runs"
        ) from None
    return opener
