"""The question: how can a receiver trust that a message is ours.

Standard Webhooks: ``webhook-id``, ``webhook-timestamp`` and a signature for each secret, so that
secrets can be changed over. ``v1`` (HMAC-SHA256) is the standard's own library's; ``v1a`` (Ed25519)
needs ``cryptography``, imported where such a key is read. It must not know what is signed.
"""

from __future__ import annotations

import base64
import binascii
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from proximity.model import ProximityError

try:
    from standardwebhooks.webhooks import Webhook
except ModuleNotFoundError as error:  # pragma: no cover - the tests' environment has it
    raise ProximityError(
        "signing needs standardwebhooks: pip install 'proximity-engine[engine]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proximity.tomltable import TomlTable

__all__ = ["Signer", "read_secrets", "sign", "signer_of"]

_LEAST_SECRET = 24
"""Bytes of a secret that Standard Webhooks asks for at least."""
_SEED = 32
_SEED_AND_PUBLIC = 64
"""Bytes of an Ed25519 key: its seed (RFC 8032), alone or with the public key behind it."""
_MOST_SECRET_FILE = 4096
_SYMMETRIC, _ASYMMETRIC = "whsec_", "whsk_"


class Signer(Protocol):
    """What signs with one secret."""

    def sign(self, msg_id: str, timestamp: datetime, data: str) -> str:
        """Give the signature with its version before it: ``v1,…`` or ``v1a,…``."""


class _Ed25519:
    """Signs so that receivers need the public key alone."""

    def __init__(self, seed: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        except ModuleNotFoundError:  # pragma: no cover - the tests' environment has it
            raise ProximityError(
                "a whsk_ key needs cryptography: pip install 'proximity-engine[eid]'"
            ) from None
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, msg_id: str, timestamp: datetime, data: str) -> str:
        signed = f"{msg_id}.{int(timestamp.timestamp())}.{data}".encode()
        return f"v1a,{base64.b64encode(self._key.sign(signed)).decode()}"


def signer_of(secret: str) -> Signer:
    """Make what signs with a secret, as ``read_secrets`` gives it. Raises ProximityError."""
    if secret.startswith(_ASYMMETRIC):
        return _Ed25519(base64.b64decode(secret.removeprefix(_ASYMMETRIC))[:_SEED])
    found: Signer = Webhook(secret)
    return found


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
        except (OSError, ValueError) as error:  # the second of a NUL in the name
            reason = error.strerror if isinstance(error, OSError) else "the name is none"
            table.fault(f"secret_file {file!r:.80} cannot be read: {reason}")
            return []
        where = f"secret_file {file!r:.80}"
    else:
        raw = os.environ.get(variable or "", "")
        where = f"secret_env {variable!r:.80}"
    secrets = raw.split()
    if not secrets:
        table.fault(f"{where} is empty; put a secret there, a line each: whsec_ and base64")
    for number, secret in enumerate(secrets, start=1):
        if (problem := _problem(secret)) is not None:
            table.fault(f"{where}, line {number}: {problem}")
    return secrets


def _problem(secret: str) -> str | None:
    """Say what is wrong with a secret; None where it can be signed with."""
    asymmetric = secret.startswith(_ASYMMETRIC)
    encoded = secret.removeprefix(_ASYMMETRIC if asymmetric else _SYMMETRIC)
    try:
        size = len(base64.b64decode(encoded + ("" if asymmetric else "=="), validate=asymmetric))
    except (binascii.Error, ValueError):
        size = 0
    if asymmetric and size not in {_SEED, _SEED_AND_PUBLIC}:
        return f"not whsk_ and base64 of an Ed25519 key, {_SEED} bytes or {_SEED_AND_PUBLIC}"
    if not asymmetric and size < _LEAST_SECRET:
        return f"not whsec_ and base64 of {_LEAST_SECRET} bytes or more"
    return None
