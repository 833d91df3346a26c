"""The question: over which connection does a request go, and when is another one needed.

One HTTP/2 connection for each peer, opened by ``dialling`` to a judged address, with TLS 1.2 or
newer and the certificate of the name; kept open, and opened anew when it is lost. What goes over it
is ``http2``'s. It must not know what is posted.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from proximity.channels.dialling import dial
from proximity.channels.egress import TIMEOUT_S, EgressError
from proximity.channels.http2 import CLOSE_S, Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.channels.dialling import Peer
    from proximity.channels.http2 import Response

__all__ = ["Line", "tls_context"]

_HANDSHAKE_S = 5.0
"""As long as a connection may take to come about."""


def tls_context(context: ssl.SSLContext) -> ssl.SSLContext:
    """Make a context fit for HTTP/2 (RFC 9113, 9.2): TLS 1.2 at least, and agreed by ALPN."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context


class Line:
    """The way to one peer: one connection at a time, kept open between requests."""

    def __init__(self, peer: Peer, timeout_s: float = TIMEOUT_S) -> None:
        self._peer = peer
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._retired: set[Connection] = set()  # told to go, but still answering
        self._opening = asyncio.Lock()

    async def post(
        self, path: str, headers: Sequence[tuple[str, str]], body: bytes, accepts: frozenset[int]
    ) -> Response:
        """Post ``body``; give the answer, whatever it is.

        An answer with a status in ``accepts`` shows that we are known there, and more than one
        request may be under way. One that surely did not arrive is made once more, over a new
        connection where the old one is ending. Raises EgressRefused where the peer may not be
        reached; EgressError where no answer came, whose ``sent`` tells if it may have arrived.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        for last in (False, True):
            connection = await self._ready(deadline)
            try:
                return await connection.post(path, headers, body, accepts, deadline)
            except EgressError as error:
                if error.sent or last:
                    raise
        raise AssertionError("the second attempt answers or raises")

    def renew(self) -> None:
        """Make the next request over a new connection; those under way are still answered."""
        if self._connection is not None:
            self._connection.retire()

    async def close(self) -> None:
        """Close every connection."""
        if self._connection is not None:
            self._retired.add(self._connection)
            self._connection = None
        for one in tuple(self._retired):
            await one.close()
        self._retired.clear()

    async def _ready(self, deadline: float) -> Connection:
        try:
            async with asyncio.timeout_at(deadline), self._opening:
                one = self._connection
                if one is not None and one.usable and await one.answers():
                    return one
                if one is not None:
                    self._retired = {old for old in self._retired if not old.over}
                    self._retired.add(one)
                    one.retire()
                    self._connection = None
                self._connection = await _connect(self._peer)
                return self._connection
        except TimeoutError:
            raise EgressError("timeout") from None


async def _connect(peer: Peer) -> Connection:
    """Connect, agree on TLS and HTTP/2, and begin to listen."""
    plain = await dial(peer)
    try:
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=peer.context, server_hostname=peer.host,
            ssl_handshake_timeout=_HANDSHAKE_S, ssl_shutdown_timeout=CLOSE_S,
        )  # fmt: skip
    except (OSError, ssl.SSLError) as error:
        plain.close()
        raise EgressError(type(error).__name__) from None
    except BaseException:
        plain.close()
        raise
    agreed: ssl.SSLObject = writer.get_extra_info("ssl_object")
    if agreed.selected_alpn_protocol() != "h2":
        writer.close()
        raise EgressError("the other side does not speak HTTP/2")
    port = "" if peer.port == 443 else f":{peer.port}"
    host = f"[{peer.host}]" if ":" in peer.host else peer.host
    return Connection(reader, writer, host + port)
