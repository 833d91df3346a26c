"""The question: how does the engine show Apple that it may send.

A JSON web token signed with the team's key (ES256; google-auth signs, for FCM needs it too), made
anew often enough and never too often. It must not know what is sent with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proximity.model import ProximityError

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from google.auth import jwt
    from google.auth.crypt import ES256Signer
except ModuleNotFoundError as error:  # pragma: no cover - the tests' environment has it
    raise ProximityError(
        "channel apns needs google-auth: pip install 'proximity-engine[push]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from proximity.tomltable import TomlTable

__all__ = ["ProviderToken", "read_id", "read_signer"]

_RENEW_S = 2400.0
"""Apple takes a token for an hour and minds a new one within 20 minutes: in the middle of both, a
clock that is some minutes off does no harm."""
_LEAST_AGE_S = 1200.0
_ID = re.compile(r"[A-Z0-9]{10}")


class ProviderToken:
    """The token of one team and key; ``clock`` gives Unix seconds."""

    def __init__(
        self, key_id: str, team_id: str, signer: ES256Signer, clock: Callable[[], float]
    ) -> None:
        self._key_id = key_id
        self._team_id = team_id
        self._signer = signer
        self._clock = clock
        self._token = ""
        self._made_at = 0.0

    def __repr__(self) -> str:
        return "ProviderToken(…)"

    def get(self) -> str:
        """Give the token, a new one every 40 minutes."""
        now = self._clock()
        if not self._token or not 0 <= now - self._made_at < _RENEW_S:
            claims = {"iss": self._team_id, "iat": int(now)}
            made: bytes = jwt.encode(  # type: ignore[no-untyped-call]
                self._signer, claims, key_id=self._key_id
            )
            self._token, self._made_at = made.decode(), now
        return self._token

    def drop(self) -> bool:
        """Have a new one made because Apple calls this one too old; False where it is too young."""
        if self._clock() - self._made_at < _LEAST_AGE_S:
            return False
        self._token = ""
        return True


def read_signer(table: TomlTable, text: str) -> ES256Signer | None:
    """Read the key from the text of Apple's ``.p8`` file; None where the table has the fault."""
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        table.fault(
            "the key is no P-256 private key in PEM: put the text of the .p8 file there, whole"
        )
        return None
    return ES256Signer(key)


def read_id(table: TomlTable, name: str, where: str) -> str:
    """Read a key's or a team's id, ten capitals and digits; ``where`` says where it stands."""
    value = table.text(name)
    if value is None or not _ID.fullmatch(value):
        table.fault(f"{name} must be the ten capitals and digits that {where} shows")
        return ""
    return value
