"""The question: may we connect there, and what came back.

The one client that opens connections outwards. What it may reach is decided by address, at the
moment of connecting: the name is resolved once, every address is judged, and the connection is made
to those addresses and no others, so that a name that changes its answer gains nothing. Redirects
are not followed. Of a reply to a POST nothing is kept but what was asked for; that, and a page
that is fetched, goes to whoever asked and must not be passed on to anybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

__all__ = ["Answer", "Egress", "EgressError", "EgressRefused", "Page", "check_url", "refusal"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

TIMEOUT_S = 15.0
"""For one exchange in all. Standard Webhooks advises 15 to 30 s; an offer is worth two minutes."""
_CONNECT_S = 5.0
_DRAIN_S = 1.0
"""How long the rest of a reply is waited for once its status is known: only politeness."""
_MOST_REPLY = 16 * 1024
_MOST_PAGE = 512 * 1024
"""Bytes of a page that are read: what tells price and store stands in the first of them."""
_MOST_URL = 2000
_MOST_RETRY_AFTER_S = 86400.0
_CONNECTIONS = 64  # as many as a channel's hand-overs side by side
_CHECKED = 1024
"""Targets whose judgement is remembered; it depends on nothing but the URL and what is allowed."""
_LOOK_UPS = 16
"""Names looked up at once. A name server may let one wait for half a minute; where strangers name
the hosts, those wait in threads that nothing else of the engine works in."""

# RFC 6052's prefix of NAT64: the last four bytes are the IPv4 address that is meant.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Networks that `ipaddress` calls global though they lead inside, to a tunnel or to nowhere.
_REFUSED: tuple[Network, ...] = (
    ipaddress.IPv4Network("192.88.99.0/24"),  # 6to4 relays
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # local NAT64
    ipaddress.IPv6Network("2001::/32"),  # Teredo
    ipaddress.IPv6Network("2002::/16"),  # 6to4
    ipaddress.IPv6Network("fec0::/10"),  # site-local
)


class EgressError(Exception):
    """The exchange did not come about; trying again may help. The text is a short kind.

    ``sent``: the request may have arrived all the same, for a connection was there.
    """

    def __init__(self, kind: str, *, sent: bool = False) -> None:
        super().__init__(kind)
        self.sent = sent


class EgressRefused(EgressError):  # noqa: N818  a refusal is an answer, not a fault
    """The target is not one that may be reached; trying again does not help."""


class Answer(NamedTuple):
    """What came back: the status, and the seconds to wait where the other side asked for it.

    ``body`` is the beginning of what it wrote, as much as was asked for.
    """

    status: int
    retry_after_s: float | None
    body: bytes = b""


class Page(NamedTuple):
    """A page that was fetched: the status, where it sends on to, and the beginning of its body."""

    status: int
    location: str | None
    body: bytes


def refusal(address: Address, allow: Sequence[Network] = ()) -> str | None:
    """Say why an address may not be reached; None where it may.

    Public addresses may be, and those in ``allow``. An IPv4 address within an IPv6 one (mapped, or
    by way of NAT64) is judged as what it is.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return refusal(inner, allow)
        if address.scope_id is not None:
            return "an address of one link"
    if any(address in network for network in allow):
        return None
    if address.is_multicast:
        return "a multicast address"
    if not address.is_global or any(address in network for network in _REFUSED):
        return "an address that is not public"
    return None


def check_url(url: str, allow: Sequence[Network] = ()) -> tuple[URL | None, str]:
    """Give the target of a URL, or None and what is wrong with it, without resolving its name.

    https is needed; http is for addresses in ``allow`` alone. Hosts that end in a number but are
    no plain dotted address (``2130706433``, ``0177.1``, ``0x7f.1``) are refused: programs differ
    in what they take them for.
    """
    if len(url) > _MOST_URL or any(c.isspace() or not c.isprintable() for c in url) or "\\" in url:
        return None, "the URL is too long or holds a space, control character or backslash"
    try:
        target = URL(url)
        host, _ = target.host, target.port
    except ValueError:
        return None, "the URL cannot be read"
    if target.scheme not in {"https", "http"} or not host:
        return None, "the URL must be https://host/path"
    if target.user is not None or target.password is not None:
        return None, "the URL holds a user name; leave it out"
    literal = _literal(host)
    if literal is None and _looks_numeric(host):
        return None, "the host is a number in an odd spelling; write the plain address"
    if literal is not None:
        reason = refusal(literal, allow)
        if reason is not None:
            return None, f"the host is {reason}"
    plain_ok = literal is not None and any(literal in network for network in allow)
    if target.scheme == "http" and not plain_ok:
        return None, "http is for allowed addresses alone; write https"
    return target, ""


# The same few receivers are asked again and again, and judging an address costs a tenth of asking.
_checked = lru_cache(_CHECKED)(check_url)


class Egress:
    """The client. ``allow`` are networks that may be reached though they are not public.

    ``resolver`` finds the addresses of names (the system's where None); ``clock`` gives Unix
    seconds, for Retry-After as a date.
    """

    def __init__(
        self,
        allow: Sequence[Network] = (),
        *,
        resolver: AbstractResolver | None = None,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._allow = tuple(allow)
        self._resolver = resolver
        self._timeout_s = timeout_s
        self._clock = clock
        self._names: _Names | None = None
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, keep: int = 0
    ) -> Answer:
        """Post ``body``; give the status, whatever it is, and ``keep`` bytes of the reply.

        Raises EgressRefused where the target may not be reached, EgressError where the exchange
        failed on the way.
        """
        # What is kept is read as it comes, so it must not come compressed.
        asked = {"Accept-Encoding": "identity", **headers}
        async with self._ask("POST", url, asked, body) as response:
            kept = await _drain(response, keep)
            after = response.headers.get("Retry-After")
            return Answer(response.status, _retry_after(after, self._clock()), kept)

    async def fetch(self, url: str) -> Page:
        """Get a page; give its status and the first 512 KiB of it, and follow no redirect.

        Raises as ``post`` does.
        """
        headers = {"Accept": "text/html,*/*;q=0.5", "Accept-Encoding": "identity"}
        async with self._ask("GET", url, headers) as response:
            body = bytearray()
            while len(body) < _MOST_PAGE and (
                chunk := await response.content.read(_MOST_PAGE - len(body))
            ):
                body += chunk
            response.close()
            return Page(response.status, response.headers.get("Location"), bytes(body))

    @contextlib.asynccontextmanager
    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        target, problem = _checked(url, self._allow)
        if target is None:
            raise EgressRefused(problem)
        try:
            async with self._open().request(
                method, target, data=body, headers=headers, allow_redirects=False
            ) as response:
                yield response
        except TimeoutError as error:
            connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
            raise EgressError("timeout", sent=not connecting) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # aiohttp wraps what a resolver raises.
            for cause in (error, error.__cause__, error.__context__):
                if isinstance(cause, _RefusedHostError):
                    raise EgressRefused(str(cause)) from None
            never = isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL)
            raise EgressError(type(error).__name__, sent=not never) from None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._names is not None:
            await self._names.close()
            self._names = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = self._resolver
            if resolver is None:
                resolver = self._names = _Names()
            connector = aiohttp.TCPConnector(
                resolver=_Guard(resolver, self._allow),
                use_dns_cache=False,
                limit=_CONNECTIONS,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=_CONNECT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                raise_for_status=False,
            )
        return self._session


class _RefusedHostError(OSError):
    """Raised while resolving, so that no connection is tried."""


class _Names(AbstractResolver):
    """The system's resolver, in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, socket.getaddrinfo,
            host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG,
        )  # fmt: skip
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=int(address[1]), family=kind,
                proto=protocol, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]  # fmt: skip

    async def close(self) -> None:
        """Look nothing up any more; who waits for a slow name is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Guard(AbstractResolver):
    """A resolver that gives only addresses that may be reached: aiohttp connects to those alone."""

    def __init__(self, inner: AbstractResolver, allow: Sequence[Network]) -> None:
        self._inner = inner
        self._allow = allow

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for one in found:
            literal = _literal(one["host"])
            reason = "no address" if literal is None else refusal(literal, self._allow)
            if reason is not None:
                # One bad address among good ones is a trap, not a choice.
                raise _RefusedHostError(f"the host's name leads to {reason}")
        return found

    async def close(self) -> None:
        """Leave the inner one to whoever made it."""


async def _drain(response: aiohttp.ClientResponse, keep: int) -> bytes:
    """Read a little of the reply, so that the other side can finish; give the first ``keep``.

    A reply that breaks off or is slow is kept as far as it came: its status is what counts.
    """
    kept = bytearray()
    if response.content.is_eof():  # nearly always: it came whole, with the status
        with contextlib.suppress(aiohttp.ClientError):
            kept += response.content.read_nowait(keep)
        return bytes(kept)
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_DRAIN_S):
            left = max(_MOST_REPLY, keep)
            while left > 0 and (chunk := await response.content.read(left)):
                left -= len(chunk)
                kept += chunk[: keep - len(kept)]
            if left > 0:
                return bytes(kept)
    response.close()
    return bytes(kept)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.rstrip(".").strip("[]"))
    except ValueError:
        return None


def _looks_numeric(host: str) -> bool:
    last = host.rstrip(".").rpartition(".")[2].lower()
    return last.isdigit() or (
        last.startswith("0x") and all(c in "0123456789abcdef" for c in last[2:])
    )


def _retry_after(value: str | None, now: float) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110, 10.2.3), bounded to a day; None where bad."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), _MOST_RETRY_AFTER_S)
