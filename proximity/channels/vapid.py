"""The question: how does a push service know that it is we who send, and whom it may write to.

VAPID (RFC 8292): a key pair whose public half every subscription is bound to, and a token for each
push service, signed with the private half. The key comes from a file or the environment, in either
of the forms in which such keys are kept; it is in no message, log or ``repr``.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from proximity.channels.credentials import read_credential
from proximity.model import ProximityError

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from py_vapid.jwt import sign as sign_claims  # type: ignore[import-untyped]  # it ships no types
except ModuleNotFoundError as error:  # pragma: no cover - the tests' environment has it
    raise ProximityError(
        "channel web-push needs py-vapid and http-ece: pip install 'proximity-engine[push]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proximity.tomltable import TomlTable

__all__ = ["Vapid", "check_contact", "make_key", "public_key_of", "read_key", "write_key"]

GOOD_S = 12 * 3600.0
"""How long a token is good. RFC 8292 allows a day at most; half of it leaves room for clocks that
differ, and for push services that count more strictly."""
RENEW_S = 3600.0
"""A token is made anew when it is good for no longer than this: a message with a token that ends
while it waits in a proxy would be refused, and that counts as our fault."""
_MOST_TOKENS = 256
"""Push services a token is remembered for. There are some ten in the world; whoever names more in
subscriptions of their own costs a signature each, and no memory."""
_RAW = re.compile(r"[A-Za-z0-9_-]{43}=?")  # 32 bytes in base64url, as most generators print them
_MAIL = re.compile(r"mailto:[^\s<>@]+@(?P<host>[^\s<>@?]+)")
_SITE = re.compile(r"https://(?P<host>[^\s/?#:@]+)(:[0-9]+)?(/\S*)?")
# Hosts under which nobody can be reached: RFC 6761, and names without a dot. Push services refuse
# tokens that name them, some without saying why.
_NOWHERE = re.compile(r".*\.(localhost|local|invalid|internal|home|lan)|[^.]*|[0-9.]*|\[.*\]")


class Vapid:
    """Signs for every push service; ``contact`` is whom their operators may write to.

    ``clock`` gives Unix seconds. Tokens are kept and used again: a signature each costs more than
    encrypting the message does, and push services prefer to check one once.
    """

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        contact: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.public_key = public_key_of(key)
        self._key = key
        self._contact = contact
        self._clock = clock
        self._tokens: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def authorize(self, audience: str) -> str:
        """Give the ``Authorization`` header for a push service's origin (``https://host``)."""
        now = self._clock()
        until, token = self._tokens.get(audience, (0.0, ""))
        if until - now < RENEW_S or until - now > GOOD_S:  # the latter: our clock was set back
            until = float(int(now + GOOD_S))
            claims = {"aud": audience, "exp": int(until), "sub": self._contact}
            token = sign_claims(claims, self._key)
            self._tokens[audience] = until, token
        self._tokens.move_to_end(audience)
        while len(self._tokens) > _MOST_TOKENS:
            self._tokens.popitem(last=False)
        return f"vapid t={token},k={self.public_key}"


def make_key() -> ec.EllipticCurvePrivateKey:
    """Draw a new key."""
    return ec.generate_private_key(ec.SECP256R1())


def write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a key as PEM, for its owner's eyes alone; never over a file that is there.

    Whoever changes the key loses every subscription that was made with it. Raises ProximityError.
    """
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ProximityError(
            f"{file} is there already, and browsers that subscribed with its key hear of no other: "
            "give another file, or move this one away if nobody has subscribed"
        ) from None
    except OSError as error:
        raise ProximityError(f"{file} cannot be written ({error.strerror})") from None
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(pem)
        stream.flush()
        os.fsync(stream.fileno())


def public_key_of(key: ec.EllipticCurvePrivateKey) -> str:
    """Give the public half as browsers take it: the uncompressed point in base64url."""
    point = key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


def read_key(table: TomlTable, folder: Path) -> ec.EllipticCurvePrivateKey | None:
    """Read the key that a channel's table points at; None, with a fault noted, where it cannot be.

    A relative ``key_file`` is looked for in ``folder``.
    """
    text = read_credential(table, folder, "key", "the private key (`proximity push keys` makes it)")
    if text is None:
        return None
    key = _parse(text.strip())
    if key is None:
        table.fault(
            "the key is no private key of the curve P-256, as PEM without a password or as 32 "
            "bytes in base64url; `proximity push keys --out FILE` makes one"
        )
    return key


def check_contact(contact: str) -> str:
    """Say what is wrong with the address that push services may write to; empty where it will do.

    They refuse, or silently drop, messages of senders whom nobody could reach.
    """
    found = _MAIL.fullmatch(contact) or _SITE.fullmatch(contact)
    if found is None:
        return f"{contact!r:.80} is neither mailto:somebody@example.com nor https://example.com"
    if _NOWHERE.fullmatch(found["host"].lower().rstrip(".")):
        return f"nobody can be reached at {found['host']!r:.80}: name a public host"
    return ""


def _parse(text: str) -> ec.EllipticCurvePrivateKey | None:
    try:
        if _RAW.fullmatch(text):
            secret = base64.urlsafe_b64decode(text.rstrip("=") + "=")
            return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    return None
