"""The question: what would be said, for whoever watches the engine run.

One line of JSON for each offer, on standard error unless told otherwise: standard output belongs
to ``listening on``.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, TextIO

from proximity.channels.channel import Reply
from proximity.model import ProximityError, format_time
from proximity.tomltable import TomlTable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proximity.model import Endpoint, Offer

__all__ = ["Console", "open_console"]


class Console:
    """Writes each offer as one line to a stream of text."""

    name = "console"
    to_endpoints = False

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:  # noqa: ARG002
        """Write the offer's line; a stream that is gone is a failure for good."""
        # ASCII alone: a name from a map must not be able to steer the terminal it appears on.
        line = json.dumps(
            {
                "offer": offer.text,
                "link": offer.link,
                **({"links": offer.links} if offer.links else {}),
                **({} if offer.withdraw is None else {"withdraw": offer.withdraw}),
                "campaign": offer.campaign,
                "person": offer.person,
                "place": offer.place,
                "expires_at": format_time(offer.expires_at),
                "key": offer.key,
            }
        )
        stream = sys.stderr if self._stream is None else self._stream
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            return Reply(outcome="failed", reply={"error": type(error).__name__})
        return Reply(outcome="accepted", reply={"characters": len(line)})

    async def close(self) -> None:
        """Leave the stream open: it is not ours."""


def open_console(config: Mapping[str, Any], folder: Path) -> Console:  # noqa: ARG001  all rows alike
    """Open it from ``[channel.console]``, which has no keys. Raises ProximityError."""
    table = TomlTable(config, "channel.console")
    table.finish()
    if table.problems:
        raise ProximityError(*table.problems)
    return Console()
