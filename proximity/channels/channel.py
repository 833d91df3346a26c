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

from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proximity.campaigns.campaigns import Campaigns
    from proximity.model import Endpoint, Offer

    Opener = Callable[[Mapping[str, Any], Path], "Channel"]

__all__ = ["CHANNELS", "Channel", "Outcome", "Reply", "open_channels"]

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


def _console(config: Mapping[str, Any], folder: Path) -> Channel:
    from proximity.channels.console import open_console

    return open_console(config, folder)


def _webhook(config: Mapping[str, Any], folder: Path) -> Channel:
    from proximity.channels.webhook import open_webhook

    return open_webhook(config, folder)


def _mqtt(config: Mapping[str, Any], folder: Path) -> Channel:
    from proximity.channels.mqtt import open_mqtt

    return open_mqtt(config, folder)


def _inbox(config: Mapping[str, Any], folder: Path) -> Channel:
    from proximity.channels.inbox import open_inbox

    return open_inbox(config, folder)


def _web_push(config: Mapping[str, Any], folder: Path) -> Channel:
    from proximity.channels.web_push import open_web_push

    return open_web_push(config, folder)


def _fcm(config: Mapping[str, Any], folder: Path) -> Channel:
    from proximity.channels.fcm import open_fcm

    return open_fcm(config, folder)


def _apns(config: Mapping[str, Any], folder: Path) -> Channel:
    from proximity.channels.apns import open_apns

    return open_apns(config, folder)


def _email(config: Mapping[str, Any], folder: Path) -> Channel:
    from proximity.channels.mail import open_email

    return open_email(config, folder)


CHANNELS: dict[str, Opener] = {
    "console": _console,
    "webhook": _webhook,
    "mqtt": _mqtt,
    "inbox": _inbox,
    "web-push": _web_push,
    "fcm": _fcm,
    "apns": _apns,
    "email": _email,
}
"""Kind -> what opens it from its ``[channel.NAME]`` table; its paths are relative to the folder."""


def open_channels(campaigns: Campaigns, folder: Path | None = None) -> dict[str, Channel]:
    """Open every channel that a campaign uses; ``folder`` is where the campaigns file lies.

    Raises ProximityError with the problems of all of them.
    """
    used = {name for campaign in campaigns.campaigns.values() for name in campaign.channels}
    opened: dict[str, Channel] = {}
    problems: list[str] = []
    for name in sorted(used | set(campaigns.channel)):
        try:
            opened[name] = _open(name, campaigns.channel.get(name, {}), folder or Path())
        except ProximityError as error:
            problems += error.problems
    if problems:
        raise ProximityError(*problems)
    return opened


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
    found = CHANNELS.get(kind)
    if found is not None:
        return found
    module, _, attribute = kind.partition(":")
    try:
        plugged: Opener = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ProximityError(
            f"channel.{name}: kind {kind!r:.80} cannot be had ({error}): write module:attr of "
            "what opens it, and install that where the engine runs"
        ) from None
    return plugged
