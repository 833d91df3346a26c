"""The question: how does another system learn of an offer, and how can it trust that it is ours.

A POST to one address: a CloudEvents 1.0 event as JSON, signed as Standard Webhooks has it. The
``webhook-id`` is the offer's key and the same for every attempt, so that receivers can collapse
repeats. Connections are ``egress``'s.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from proximity.channels.channel import Reply
from proximity.channels.egress import Egress, EgressError, EgressRefused, check_url
from proximity.channels.verdicts import MEANS, judge
from proximity.model import ProximityError, format_time
from proximity.tomltable import TomlTable

try:
    from standardwebhooks.webhooks import Webhook as Signer
except ModuleNotFoundError as error:  # pragma: no cover - the tests' environment has it
    raise ProximityError(
        "channel webhook needs standardwebhooks: pip install 'proximity-engine[engine]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from proximity.channels.channel import Outcome
    from proximity.model import Endpoint, Offer

__all__ = ["Webhook", "make_event", "open_webhook", "outcome_of", "sign"]

EVENT_TYPE = "proximity.offer.v1"
DEFAULT_SOURCE = "urn:proximity-engine"

_LEAST_SECRET = 24
"""Bytes of a secret that Standard Webhooks asks for at least."""
_MOST_SECRET_FILE = 4096


class Webhook:
    """Posts each offer to one URL, signed with every secret (more than one while they rotate).

    ``clock`` gives Unix seconds, for the signature.
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._signers = [Signer(secret) for secret in secrets]
        self._egress = egress
        self._source = source
        self._clock = clock

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:  # noqa: ARG002
        """Post the offer; the outcome follows from the status alone."""
        body = make_event(offer, self._source)
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "user-agent": "proximity-engine",
            **sign(self._signers, offer.key, self._clock(), body),
        }
        try:
            answer = await self._egress.post(self._url, body, headers)
        except EgressRefused as error:
            return Reply(outcome="failed", reply={"error": "refused", "why": str(error)})
        except EgressError as error:
            return Reply(outcome="retry", reply={"error": str(error)})
        outcome = outcome_of(answer.status)
        return Reply(
            outcome=outcome,
            reply={"status": answer.status},
            retry_after_s=answer.retry_after_s if outcome == "retry" else None,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._egress.close()


def outcome_of(status: int) -> Outcome:
    """Tell what an HTTP status means for an offer: 2xx alone is success, a redirect is none."""
    return MEANS[judge("webhook", status).means]


def make_event(offer: Offer, source: str = DEFAULT_SOURCE) -> bytes:
    """Write an offer as a CloudEvents 1.0 event in structured JSON; its ``id`` is the key."""
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": offer.key,
            "source": source,
            "type": EVENT_TYPE,
            "subject": offer.campaign,
            "time": format_time(offer.created_at),
            "datacontenttype": "application/json",
            "data": {
                "key": offer.key,
                "campaign": offer.campaign,
                "purpose": offer.purpose,
                "person": offer.person,
                "subject": offer.subject,
                "place": offer.place,
                "language": offer.language,
                "text": offer.text,
                "link": offer.link,
                **({"links": offer.links} if offer.links else {}),
                **({} if offer.withdraw is None else {"withdraw": offer.withdraw}),
                "expires_at": format_time(offer.expires_at),
            },
        }
    )


def sign(signers: Sequence[Signer], key: str, at: float, body: bytes) -> dict[str, str]:
    """Make the three headers of Standard Webhooks; ``at`` Unix seconds, a signature a secret."""
    moment = datetime.fromtimestamp(int(at), UTC)
    text = body.decode()
    return {
        "webhook-id": key,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": " ".join(
            signer.sign(msg_id=key, timestamp=moment, data=text) for signer in signers
        ),
    }


def open_webhook(config: Mapping[str, Any], folder: Path) -> Webhook:
    """Open it from ``[channel.webhook]``; a relative ``secret_file`` is looked for in ``folder``.

    Raises ProximityError with every problem.
    """
    table = TomlTable(config, "channel.webhook")
    allow = []
    for entry in table.names("allow"):
        try:
            allow.append(ipaddress.ip_network(entry))
        except ValueError:
            table.fault(f"allow: {entry!r:.60} is no address or network such as 10.0.0.0/8")
    url = table.text("url")
    if url is None:
        table.fault("url is missing: a campaign uses this channel, so say where it leads")
    else:
        target, problem = check_url(url, allow)
        if target is None:
            table.fault(f"url: {problem}, or list its address in allow")
    source = table.text("source") or DEFAULT_SOURCE
    secrets = read_secrets(table, folder)
    table.finish()
    if table.problems or url is None:
        raise ProximityError(*table.problems)
    return Webhook(url, secrets, Egress(allow), source=source)


def read_secrets(table: TomlTable, folder: Path) -> list[str]:
    """Read the secrets, a line each, from a file or the environment; never from the table."""
    file, variable = table.text("secret_file"), table.text("secret_env")
    if (file is None) == (variable is None):
        table.fault("name either secret_file or secret_env: where the signing secret is kept")
        return []
    if file is not None:
        try:
            with (folder / file).open("rb") as stream:
                raw = stream.read(_MOST_SECRET_FILE).decode("ascii", errors="replace")
        except OSError as error:
            table.fault(f"secret_file {file!r:.80} cannot be read: {error.strerror}")
            return []
        where = f"secret_file {file!r:.80}"
    else:
        raw = os.environ.get(variable or "", "")
        where = f"secret_env {variable!r:.80}"
    secrets = raw.split()
    if not secrets:
        table.fault(f"{where} is empty; put a secret there, a line each: whsec_ and base64")
    for number, secret in enumerate(secrets, start=1):
        try:
            size = len(base64.b64decode(secret.removeprefix("whsec_") + "==", validate=False))
        except (binascii.Error, ValueError):
            size = 0
        if size < _LEAST_SECRET:
            table.fault(
                f"{where}, line {number}: not whsec_ and base64 of {_LEAST_SECRET} bytes or more"
            )
    return secrets
