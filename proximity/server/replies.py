"""How is a short answer written with the least work? In one piece, headers and all.

For answers that are sent thousands of times a second; all others are aiohttp's own responses.
"""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from proximity.server.problems import HEADERS

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

_SAME = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())


class Reply(web.StreamResponse):
    """An answer of ``body``, which is all there is; ``now`` dates it (Unix seconds)."""

    def __init__(self, status: int, body: bytes, content_type: str, now: float) -> None:
        super().__init__(status=status)
        self._whole = b"%sContent-Length: %d\r\n" % (
            _head(status, content_type, int(now)),
            len(body),
        )
        self._text = body
        self._keeps = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection is kept: what its client asked for."""
        return self._keeps

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it, once."""
        self._keeps = request.keep_alive
        if not self._keeps:
            said = b"Connection: close\r\n\r\n"
        elif request.version < (1, 1):
            said = b"Connection: keep-alive\r\n\r\n"
        else:
            said = b"\r\n"
        writer = request.writer
        await writer.write(b"".join((self._whole, said, self._text)))
        await writer.drain()
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


@lru_cache(maxsize=256)
def _head(status: int, content_type: str, second: int) -> bytes:
    """Write the lines that are the same for all answers of a second."""
    phrase = HTTPStatus(status).phrase
    return (
        f"HTTP/1.1 {status} {phrase}\r\n{_SAME}Content-Type: {content_type}\r\n"
        f"Date: {formatdate(second, usegmt=True)}\r\n"
    ).encode()
