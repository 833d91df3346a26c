"""The question: what does this gateway prove itself with, and which secret counts today.

A bearer token, or a secret to sign with. A server that replaces the secret hands out the new one
with the configuration; until it is surely in use both are kept. Whoever pairs the gateway anew
writes the file anew, and it is read again once what it held is refused. It must not know about
requests.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import msgspec

from beacon_gateway.folder import SECRET, read_file, write_file
from beacon_gateway.model import GatewayError
from beacon_gateway.signing import PREFIX, read_secret

# A token is some fifty characters; a file of this size is no token file.
MOST_BYTES = 4096


class Kept(msgspec.Struct, frozen=True):
    """What lies in the folder: a newer secret, and a digest of the token file it came after.

    Where the token file is another one by now, the gateway was paired anew and the file counts.
    """

    secret: str
    after: str


class Credentials:
    """The token in ``token_file``, and the newer secret in ``folder`` where there is one.

    Raises GatewayError where the file cannot be read or holds nothing of use.
    """

    def __init__(self, token_file: Path, folder: Path) -> None:
        self._file, self._path = token_file, folder / SECRET
        #: Tells one token file from another; nothing of what is in it can be learnt from this.
        self.digest = ""
        #: The bearer token; None where requests are signed.
        self.token: str | None = None
        self._secrets: list[bytes] = []
        self._read()

    def again(self) -> bool:
        """Read the token file again, as what it held is refused; whether there is another now.

        What cannot be read, or is none, is as good as unchanged: somebody may be writing it.
        """
        before = self.digest
        with contextlib.suppress(GatewayError):
            self._read()
        return self.digest != before

    def _read(self) -> None:
        content = read_file(self._file, MOST_BYTES)
        if content is None:
            raise GatewayError(
                f"{self._file}: cannot be read, or is longer than any token: "
                "check the name and the rights"
            )
        text = content.decode("utf-8-sig", "replace").strip()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise GatewayError(f"{self._file}: holds no token: one line, as it was printed")
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest == self.digest:
            return
        token: str | None = text
        secrets: list[bytes] = []
        if text.startswith(PREFIX):
            try:
                token, secrets = None, [read_secret(text)]
            except GatewayError as error:
                raise GatewayError(f"{self._file}: {error}") from None
            with contextlib.suppress(msgspec.MsgspecError, GatewayError):
                kept = msgspec.json.decode(read_file(self._path, MOST_BYTES) or b"", type=Kept)
                if kept.after == digest:
                    secrets.insert(0, read_secret(kept.secret))
        self.digest, self.token, self._secrets = digest, token, secrets

    @property
    def secret(self) -> bytes | None:
        """The secret to sign with; None where a token does."""
        return self._secrets[0] if self._secrets else None

    def renew(self, text: str) -> None:
        """Keep a newer secret on disk, then use it.

        Raises GatewayError where it is none, OSError where the disk will not have it: the old one
        goes on then, and the server hands out the new one again.
        """
        secret = read_secret(text)
        if self.token is not None or secret in self._secrets[:1]:
            return
        write_file(self._path, msgspec.json.encode(Kept(text, self.digest)))
        self._secrets = [secret, *self._secrets[:1]]

    def other(self) -> bool:
        """Turn to the other secret where there is one: this one's signature was refused."""
        self._secrets.reverse()
        return len(self._secrets) > 1
