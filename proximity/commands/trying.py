"""What would this phone get? One message to one device, to see whether the settings are right.

``push try`` asks the provider to judge account, message and token, or with ``--send`` hands a
message over. How a failure ends the command is ``__main__``'s.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from proximity.commands.questions import FILE, echo_json
from proximity.inputs import called
from proximity.model import Endpoint, Offer, ProximityError

if TYPE_CHECKING:
    from proximity.channels import Channel, Reply

__all__ = ["push_try"]

_MOST_ADDRESS = 4096
_GOOD_FOR_S = 600.0


@click.command("try")
@click.argument("file", type=FILE)
@click.option("--channel", "name", required=True, help="The channel's name, such as fcm.")
@click.option("--platform", help="The device's, as endpoints have it: android, ios, ios-sandbox.")
@click.option("--origin", help="The app's or the site's, as endpoints have it.")
@click.option("--text", default="It works.", show_default=True, help="What the message says.")
@click.option("--send", is_flag=True, help="Hand the message over, so that the device shows it.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON.")
def push_try(
    file: Path, name: str, platform: str | None, origin: str | None, text: str, *,
    send: bool, as_json: bool,
) -> int:  # fmt: skip
    """Try a channel of a campaigns FILE on one device; its address is read from standard input.

    Without --send the provider only judges the message, where it can: fcm. Exit 1 where it is not
    taken.
    """
    address = sys.stdin.read(_MOST_ADDRESS + 1).strip()
    if not address or len(address) > _MOST_ADDRESS:
        raise ProximityError(
            "the device's address is missing: give its token on standard input, "
            "proximity push try … < token.txt"
        )
    try:
        device = Endpoint(channel=name, address=address, platform=platform, origin=origin)
    except ValueError as error:
        raise ProximityError(f"the device: {error}") from None
    kind, channel = _open(file, name)
    now = time.time()
    offer = Offer(
        key=f"try-{int(now)}", campaign="try", person="try", subject="try", place="try",
        purpose="service", channel=name, text=text, language="en", link=None, created_at=now,
        expires_at=now + _GOOD_FOR_S,
    )  # fmt: skip
    reply = asyncio.run(_hand_over(channel, offer, device, send=send))
    what, source = _meaning(kind, reply)
    if as_json:
        echo_json({"outcome": reply.outcome, "reply": reply.reply, "what": what, "source": source})
    else:
        codes = ", ".join(f"{key} {value}" for key, value in reply.reply.items())
        said = f": {what} ({source})" if what else ""
        click.echo(f"{reply.outcome}{said}{f' [{codes}]' if codes else ''}")
    return 0 if reply.outcome == "accepted" else 1


def _open(file: Path, name: str) -> tuple[str, Channel]:
    """Open the one channel, whatever the others want; give its kind too. Raises ProximityError."""
    from proximity.campaigns.file import load_campaigns
    from proximity.channels import open_channels
    from proximity.tomltable import nearest

    campaigns = load_campaigns(file)
    table = campaigns.channel.get(name)
    if table is None:
        there = nearest(name, campaigns.channel) if campaigns.channel else "write one"
        raise ProximityError(f"{called(file)}: there is no [channel.{name}]; {there}")
    alone = replace(campaigns, campaigns={}, channel={name: table})
    channel = open_channels(alone, file)[name]
    if not channel.to_endpoints:
        raise ProximityError(f"channel {name}: hands over to no device, so there is nothing to try")
    return str(table.get("kind", name)), channel


async def _hand_over(channel: Channel, offer: Offer, device: Endpoint, *, send: bool) -> Reply:
    """Send, or have the provider judge. Raises ProximityError where it does not do that."""
    try:
        if send:
            return await channel.send(offer, device)
        check = getattr(channel, "check", None)
        if check is None:
            raise ProximityError(
                f"channel {channel.name}: its provider judges no message without handing it over; "
                "with --send the device shows it"
            )
        judged: Reply = await check(offer, device)
        return judged
    finally:
        await channel.close()


def _meaning(kind: str, reply: Reply) -> tuple[str | None, str | None]:
    """Say in words what the codes of a reply mean, and who says so."""
    from proximity.channels.verdicts import TABLE, judge

    provider = "oauth" if reply.reply.get("at") == "token" else kind
    codes = [reply.reply[key] for key in ("code", "status") if key in reply.reply]
    if not codes or (provider, "*") not in TABLE:
        return None, None
    row = judge(provider, *codes)
    return row.what, row.source
