"""The question: how does a batch reach the server over HTTP, surely signed and surely taken.

Signs when it sends, learns the server's time from its answers, and believes no answer that the
server itself would not give. It must not know what is in a batch, when to send or what to retry.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import aiohttp
import msgspec

from beacon_gateway import signing
from beacon_gateway.allowlist import MAX_BYTES
from beacon_gateway.credentials import Credentials
from beacon_gateway.link import Away, Poison, Receipt
from beacon_gateway.model import GatewayError

#: A request is given up after this long, s; connecting gets a third of it.
TIMEOUT_S = 30.0
CONNECT_S = 10.0
#: The server's Date has whole seconds and the answer took its time: a difference below this is
#: none, and the server allows 300 s.
CLOCK_SLACK_S = 5.0
#: No server is left alone for longer than this at its own asking, s.
MOST_AFTER_S = 3600.0
#: A receipt names the lines that were refused; of a batch of ours that is far less.
MOST_ANSWER = 1024 * 1024
#: A batch that is refused with one of these can be cut smaller; with any other refusal it is the
#: gateway or the address that is refused, and the records wait.
POISON = {400, 413, 422}
#: What is wrong with the proof itself, and not only with its time or its being sent twice.
REFUSED, TIMELY = {401, 403}, {"clock", "repeated"}
#: What a server of ours says a refusal in, and all else; others' answers teach nothing, not even
#: the time.
PROBLEM, JSON = "application/problem+json", "application/json"
STRANGER = "something else answers at the server's address"
#: The id that a gateway asks by which does not know its own: whoever the token speaks for.
SELF = "self"


class Said(NamedTuple):
    """An answer: its status, its body, and what a server of ours says about a refusal.

    ``problem`` is whether it was refused as a server of ours refuses.
    """

    status: int
    body: bytes
    etag: str | None
    after_s: float
    code: str | None
    problem: bool


class Counts(msgspec.Struct):
    """The receipt of a batch; what lacks these counts is no answer of our server."""

    accepted: int
    duplicate: int
    unconsented: int = 0
    late: int = 0
    rejected: list[msgspec.Raw] = []


class Refusal(msgspec.Struct):
    """The member of a problem document that programs read."""

    code: str | None = None


class HttpsLink:
    """Requests to one ``server`` as one ``gateway``; ``wall`` gives Unix seconds.

    Certificates are always verified, against ``ca_file`` where one is given; no proxy of the
    environment is used and no redirect followed. Open it in a running event loop. Raises
    GatewayError where ``ca_file`` holds no certificate.
    """

    def __init__(
        self,
        server: str,
        credentials: Credentials,
        gateway: str | None,
        wall: Callable[[], float],
        ca_file: Path | None = None,
    ) -> None:
        try:
            trusted = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise GatewayError(
                f"{ca_file}: holds no certificate ({error.strerror}): "
                "give the PEM file of who signed the server's"
            ) from None
        self._server = server.rstrip("/")
        self._credentials, self._wall = credentials, wall
        self.gateway = gateway
        self.clock_offset_s = 0.0
        #: Whether a server of ours has told the time, though it may have refused the rest.
        self.timed = False
        self._etag: str | None = None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted, limit=4),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S, connect=CONNECT_S),
            trust_env=False,
        )

    async def send(self, body: bytes) -> Receipt:
        """Hand over a batch: Away where the server is not there, Poison where it is refused."""
        said = await self._ask("POST", "/v1/sightings", body, "application/x-ndjson")
        if said.code == "repeated":
            # It was taken, and the answer lost on the way.
            return Receipt()
        if said.status in POISON:
            raise Poison(f"refused with {said.status}", sure=said.problem)
        self._check(said)
        try:
            counts = msgspec.json.decode(said.body, type=Counts)
        except (ValueError, RecursionError):
            raise Away(STRANGER) from None
        return Receipt(late=counts.late, refused=len(counts.rejected))

    async def configuration(self) -> bytes | None:
        """Ask for the configuration; None where it is still the one given last."""
        headers = {"If-None-Match": self._etag} if self._etag else {}
        path = f"/v1/gateways/{quote(self.gateway or SELF, safe='')}/config"
        said = await self._ask("GET", path, headers=headers)
        if said.status == 304:
            if not headers:  # no server of ours says so to who knows none
                raise Away(STRANGER)
            return None
        self._check(said)
        self._etag = said.etag
        return said.body

    def unread(self) -> None:
        """Ask for the whole configuration next time: what came could not be used."""
        self._etag = None

    async def health(self, snapshot: bytes) -> None:
        """Tell how this gateway fares."""
        path = f"/v1/gateways/{quote(self.gateway or SELF, safe='')}/health"
        self._check(await self._ask("POST", path, snapshot, "application/json"))

    async def close(self) -> None:
        """Let go of the connections."""
        await self._session.close()

    @staticmethod
    def _check(said: Said) -> None:
        if not 200 <= said.status < 300:
            raise Away(_reason(said), said.after_s)

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Said:
        """Ask once; again where a wrong clock or a replaced token was all that was refused."""
        every = dict(headers or {})
        if content_type is not None:
            every["Content-Type"] = content_type
        said = await self._once(method, path, body, every)
        if said.code == "clock" or (said.code == "signature" and self._credentials.other()):
            # The answer's Date is adopted by now.
            said = await self._once(method, path, body, every)
        if said.status in REFUSED and said.code not in TIMELY and self._credentials.again():
            said = await self._once(method, path, body, every)
        return said

    async def _once(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Said:
        limit = MAX_BYTES if method == "GET" else MOST_ANSWER
        try:
            async with self._session.request(
                method,
                self._server + path,
                data=body if method == "POST" else None,
                headers={**headers, **self._proof(body)},
                allow_redirects=False,
            ) as response:
                content = await _read(response, limit)
                code, problem = _code(response, content), response.content_type == PROBLEM
                known = response.status == 304 and "If-None-Match" in headers
                if problem or known or (response.ok and response.content_type == JSON):
                    self._learn_time(response)
                return Said(
                    response.status,
                    content,
                    response.headers.get("ETag"),
                    _after(response),
                    code,
                    problem,
                )
        except aiohttp.ClientConnectorCertificateError as error:
            code = getattr(error.certificate_error, "verify_code", None)
            raise Away(f"its certificate {_DISTRUST.get(code, UNTRUSTED)}") from None
        except aiohttp.ClientSSLError as error:
            if "WRONG_VERSION" in str(error) or "RECORD_LAYER" in str(error):
                raise Away("the port speaks no TLS: is http:// meant?") from None
            raise Away("it and this computer agree on no TLS") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The name of the kind alone: texts of errors name hosts and ports.
            raise Away(f"cannot be reached ({type(error).__name__})") from None

    def _proof(self, body: bytes) -> dict[str, str]:
        secret = self._credentials.secret
        if secret is None:
            return {"Authorization": f"Bearer {self._credentials.token}"}
        now = int(self._wall() + self.clock_offset_s)
        # One id for each attempt: a captured request is worth nothing, and what was taken twice
        # is told by the ids of its records.
        proof = signing.headers(secret, "msg_" + secrets.token_hex(16), now, body)
        return proof if self.gateway is None else {**proof, "Gateway": self.gateway}

    def _learn_time(self, response: aiohttp.ClientResponse) -> None:
        try:
            told = parsedate_to_datetime(response.headers["Date"]).timestamp() + 0.5
        except (KeyError, ValueError, TypeError, OverflowError):
            return
        self.timed = True
        offset = told - self._wall()
        self.clock_offset_s = offset if abs(offset) > CLOCK_SLACK_S else 0.0


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    content = await response.content.read(limit + 1)
    while len(content) <= limit and not response.content.at_eof():
        content += await response.content.read(limit + 1 - len(content))
    if len(content) > limit:
        raise ValueError("longer than any answer of our server")
    return content


def _code(response: aiohttp.ClientResponse, content: bytes) -> str | None:
    """Read why a server of ours refused; None where it did not, or it is another."""
    if response.status != 401 or response.content_type != PROBLEM:
        return None
    try:
        return msgspec.json.decode(content, type=Refusal).code
    except (ValueError, RecursionError):
        return None


def _after(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), MOST_AFTER_S) if text.isascii() and text.isdigit() else 0.0


_REASONS: dict[int, str] = {
    401: "the token or signature is refused: pair this gateway anew",
    403: "the token may not speak for this gateway",
    404: "the server does not know this gateway, or the address is wrong",
    429: "the server asks for patience",
    503: "the server asks for patience",
}


# By OpenSSL's code: what is wrong with a certificate, where it is not who signed it.
_DISTRUST: dict[int | None, str] = {
    9: "is not valid yet: this computer's clock may be wrong (timedatectl)",
    10: "has expired, or this computer's clock is wrong (timedatectl)",
    62: "is for another host: give the server's own name",
    64: "is for another host: give the server's own name",
}
UNTRUSTED = "is not one to trust: see ca_file"


def _reason(said: Said) -> str:
    if 300 <= said.status < 400:
        return "the address is redirected: give the server's own"
    return _REASONS.get(said.status, f"answered with {said.status}")
