"""A receiver of webhooks that does next to nothing: takes each, and notes when each key came.

Its own process, so that what it costs is not counted with what sends. Prints its port; a GET gives
all that came as JSON: the key, and when (Unix seconds, the machine's one clock).
"""

from __future__ import annotations

import asyncio
import re
import sys
import time

import msgspec

ACCEPTED = b"HTTP/1.1 204 No Content\r\n\r\n"
_KEY = re.compile(rb"\r\nwebhook-id: ([^\r]+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


class Sink(asyncio.Protocol):
    """One connection, kept alive; its requests come one after the other."""

    def __init__(self, came: list[tuple[str, float]]) -> None:
        self._came = came
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[: end + 2]
            found = _LENGTH.search(head)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._read) < whole:
                return
            self._read = self._read[whole:]
            if head.startswith(b"GET"):
                told = msgspec.json.encode(self._came)
                length = f"HTTP/1.1 200 OK\r\nContent-Length: {len(told)}\r\n\r\n".encode()
                self._transport.write(length + told)
                continue
            key = _KEY.search(head)
            self._came.append((key[1].decode() if key else "", time.time()))
            self._transport.write(ACCEPTED)


async def main() -> None:
    came: list[tuple[str, float]] = []
    server = await asyncio.get_running_loop().create_server(lambda: Sink(came), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
