"""The question: how does another system learn of an offer, and what does its answer mean.

A POST to one address: a CloudEvents 1.0 event (``envelope``), signed as Standard Webhooks has it
(``signatures``). The ``webhook-id`` is the offer's key and the same for every attempt, so that
receivers can collapse repeats. Connections are ``egress``'s.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from proximity.channels.channel import Reply
from proximity.channels.dialling import read_allowed
from proximity.channels.egress import Egress, EgressError, EgressRefused, check_url
from proximity.channels.envelope import (
    DEFAULT_SOURCE,
    STRUCTURED,
    as_binary,
    as_structured,
    offer_envelope,
)
from proximity.channels.signatures import read_secrets, sign, signer_of
from proximity.channels.verdicts import MEANS, judge, reply_to
from proximity.model import ProximityError
from proximity.tomltable import TomlTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from proximity.channels.channel import Outcome
    from proximity.channels.envelope import Envelope
    from proximity.model import Endpoint, Offer

__all__ = ["Webhook", "make_event", "open_webhook", "outcome_of", "post", "sign"]


class Webhook:
    """Posts each offer to one URL, signed with every secret (more than one while they rotate).

    ``binary`` puts the event's attributes into headers. ``clock`` gives Unix seconds, for the
    signature.
    """

    name = "webhook"
    to_endpoints = False

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        egress: Egress,
        *,
        source: str = DEFAULT_SOURCE,
        binary: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._signers = [signer_of(secret) for secret in secrets]
        self._egress = egress
        self._source = source
        self._binary = binary
        self._clock = clock

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:  # noqa: ARG002
        """Post the offer; the outcome follows from the status alone."""
        headers, body = _written(offer_envelope(offer, self._source), binary=self._binary)
        headers |= sign(self._signers, offer.key, self._clock(), body)
        return await post(self._egress, self._url, headers, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._egress.close()


async def post(egress: Egress, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
    """Post what is signed already; what came of it, by the status and never by what was written."""
    try:
        answer = await egress.post(url, body, {"user-agent": "proximity-engine", **headers})
    except EgressRefused as error:
        return Reply(outcome="config_error", reply={"error": "refused", "why": str(error)})
    except EgressError as error:
        return Reply(outcome="retry", reply={"error": str(error)}, unsure=error.sent)
    return reply_to("webhook", answer.status, retry_after_s=answer.retry_after_s)


def outcome_of(status: int) -> Outcome:
    """Tell what an HTTP status means for an offer: 2xx alone is success, a redirect is none."""
    return MEANS[judge("webhook", status).means]


def make_event(offer: Offer, source: str = DEFAULT_SOURCE) -> bytes:
    """Write an offer as a CloudEvents 1.0 event in structured JSON; its ``id`` is the key."""
    return as_structured(offer_envelope(offer, source))


def _written(event: Envelope, *, binary: bool) -> tuple[dict[str, str], bytes]:
    if binary:
        return as_binary(event)
    return {"content-type": STRUCTURED}, as_structured(event)


def open_webhook(config: Mapping[str, Any], folder: Path) -> Webhook:
    """Open it from ``[channel.webhook]``; a relative ``secret_file`` is looked for in ``folder``.

    Raises ProximityError with every problem.
    """
    table = TomlTable(config, "channel.webhook")
    allow = read_allowed(table)
    url = table.text("url")
    if url is None:
        table.fault("url is missing: a campaign uses this channel, so say where it leads")
    else:
        target, problem = check_url(url, allow)
        if target is None:
            table.fault(f"url: {problem}, or list its address in allow")
    source = table.text("source") or DEFAULT_SOURCE
    binary = table.choice("mode", ("structured", "binary")) == "binary"
    secrets = read_secrets(table, folder)
    table.finish()
    if table.problems or url is None:
        raise ProximityError(*table.problems)
    return Webhook(url, secrets, Egress(allow), source=source, binary=binary)
