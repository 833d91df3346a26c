"""The question: how does a receiver know that a request is really from this gateway.

Standard Webhooks (standardwebhooks.com, version 1 of the specification): HMAC-SHA256 over the
message's id, the time of sending and the body. Pure; it must not know what a request is for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from beacon_gateway.model import GatewayError

PREFIX = "whsec_"
# The specification's own bounds for a secret, in bytes.
SHORTEST, LONGEST = 24, 64
ID_HEADER, TIME_HEADER, SIGNATURE_HEADER = (
    "webhook-id", "webhook-timestamp", "webhook-signature",
)  # fmt: skip


def read_secret(text: str) -> bytes:
    """Read a secret as it is handed out, ``whsec_`` and base64.

    Raises GatewayError, which never holds the secret, where it is none of 24 to 64 bytes.
    """
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise GatewayError("a secret is whsec_ and base64: copy it whole") from None
    if not text.startswith(PREFIX) or not SHORTEST <= len(secret) <= LONGEST:
        raise GatewayError(
            f"a secret is whsec_ and base64 of {SHORTEST} to {LONGEST} bytes: copy it whole"
        )
    return secret


def signature(secret: bytes, message: str, at_s: int, body: bytes) -> str:
    """Sign ``body`` sent as ``message`` (its id) at Unix second ``at_s``: ``v1,`` and base64."""
    content = f"{message}.{at_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()


def headers(secret: bytes, message: str, at_s: int, body: bytes) -> dict[str, str]:
    """Give the three headers that go with a signed request."""
    return {
        ID_HEADER: message,
        TIME_HEADER: str(at_s),
        SIGNATURE_HEADER: signature(secret, message, at_s, body),
    }
