"""The question: how is a POST made over one HTTP/2 connection, and did it arrive.

RFC 9113 by h2, over streams of bytes that ``line`` has opened. Whoever asks is told whether a
request that failed may have arrived. It must not know what is posted, nor to whom.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import TYPE_CHECKING, NamedTuple

from proximity.channels.egress import EgressError
from proximity.model import ProximityError

try:
    from h2 import events
    from h2.config import H2Configuration
    from h2.connection import ConnectionState, H2Connection
    from h2.errors import ErrorCodes
    from h2.exceptions import H2Error
    from h2.settings import SettingCodes, Settings
except ModuleNotFoundError as error:  # pragma: no cover - the tests' environment has it
    raise ProximityError("channel apns needs h2: pip install 'proximity-engine[push]'") from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Connection", "Response"]

# It writes every header down at DEBUG, and ours hold tokens.
logging.getLogger("hpack").setLevel(logging.WARNING)

CLOSE_S = 1.0
"""How long a goodbye is waited for: only politeness."""
_PING_S = 2.0
_IDLE_S = 60.0
"""A connection that was silent for so long is asked whether it is still there: routers forget
connections without a word, and the offer would wait for a timeout."""
_MOST_STREAMS = 100
"""At once, whatever the peer allows: so many at 20 ms each are 5,000 a second."""
_MOST_BODY = 4096
_FRAME_HEAD = 9
_MOST_FRAME = 16384


class Response(NamedTuple):
    """What came back: the status and the beginning of the body."""

    status: int
    body: bytes


class _Stream:
    """One request under way."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.body = bytearray()

    def fail(self, kind: str, *, sent: bool) -> None:
        if not self.answer.done():
            self.answer.set_exception(EgressError(kind, sent=sent))


class Connection:
    """One connection, and the task that listens to it.

    Until an answer has shown that we are known there, one request at a time is under way; then as
    many as the peer allows. ``authority`` is the host, with the port where it is not 443.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._authority = authority
        self._h2 = H2Connection(H2Configuration(client_side=True))
        own = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: 16384}
        self._h2.local_settings = Settings(client=True, initial_values=own)
        self._h2.initiate_connection()
        self._streams: dict[int, _Stream] = {}
        self._room = asyncio.Condition()  # notified when streams end and windows open
        self._pong: asyncio.Future[None] | None = None
        self._proven = False  # an answer has shown that we are known here
        self._leaving = False  # no new requests
        self._doubted = False
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._flush()
        self._listening = self._loop.create_task(self._listen())

    @property
    def usable(self) -> bool:
        """Whether new requests may begin."""
        return not self._leaving

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self._listening.done()

    async def answers(self) -> bool:
        """Whether the other side is still there: asked by a ping after silence or a timeout."""
        if not self._doubted and self._loop.time() - self._heard_at < _IDLE_S:
            return True
        if self._pong is None:
            self._pong = self._loop.create_future()
            self._h2.ping(b"present?")
            self._flush()
        try:
            async with asyncio.timeout(_PING_S):
                await asyncio.shield(self._pong)
        except TimeoutError:
            return False
        return not self._leaving

    def retire(self) -> None:
        """Begin no more requests; close when those under way are answered."""
        self._leaving = True
        if not self._streams:
            self._hang_up()

    async def close(self) -> None:
        """Close now; what is under way fails."""
        self._leaving = True
        self._hang_up()
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError, ssl.SSLError, TimeoutError):
            await self._listening
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()

    async def post(
        self, path: str, headers: Sequence[tuple[str, str]], body: bytes,
        accepts: frozenset[int], deadline: float,
    ) -> Response:  # fmt: skip
        """Make one request; ``deadline`` is in the loop's time.

        An answer with a status in ``accepts`` shows that we are known. Raises EgressError, whose
        ``sent`` tells whether the request may have arrived, where no answer came.
        """
        number, stream = None, _Stream()
        try:
            async with asyncio.timeout_at(deadline):
                async with self._room:
                    await self._room.wait_for(self._has_room)
                    if self._leaving:
                        raise EgressError("closed")
                    number = self._begin(path, headers, stream)
                await self._write_body(number, body)
                answer = await stream.answer
        except TimeoutError:
            self._doubted = True
            raise EgressError("timeout", sent=number is not None) from None
        finally:
            if number is not None:
                await self._end(number)
        self._proven = self._proven or answer.status in accepts
        return answer

    def _has_room(self) -> bool:
        allowed = min(self._h2.remote_settings.max_concurrent_streams, _MOST_STREAMS)
        return self._leaving or len(self._streams) < (allowed if self._proven else min(allowed, 1))

    def _begin(self, path: str, headers: Sequence[tuple[str, str]], stream: _Stream) -> int:
        pseudo = [
            (":method", "POST"), (":scheme", "https"),
            (":authority", self._authority), (":path", path),
        ]  # fmt: skip
        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(number, [*pseudo, *headers])
        except H2Error as error:  # the stream numbers are used up, among others
            self._leaving = True
            raise EgressError(type(error).__name__) from None
        self._streams[number] = stream
        self._flush()
        return number

    async def _write_body(self, number: int, body: bytes) -> None:
        """Write the body as far as the peer's windows let it, waiting for them to open."""
        rest = memoryview(body)
        while True:
            async with self._room:
                await self._room.wait_for(lambda: self._window(number) > 0)
                stream = self._streams[number]
                if stream.answer.done():  # answered, reset or lost before it was all there
                    return
                piece = min(self._window(number), len(rest))
                try:
                    self._h2.send_data(number, bytes(rest[:piece]), end_stream=piece == len(rest))
                except H2Error as error:
                    stream.fail(type(error).__name__, sent=True)
                    return
                self._flush()
                rest = rest[piece:]
            if not rest:
                with contextlib.suppress(OSError, ssl.SSLError):
                    await self._writer.drain()
                return

    def _window(self, number: int) -> int:
        """How many bytes may be sent now; one where the stream is over, so that nobody waits."""
        if self._streams[number].answer.done():
            return 1
        try:
            window = self._h2.local_flow_control_window(number)
        except H2Error:
            return 1
        return min(window, self._h2.max_outbound_frame_size)

    async def _end(self, number: int) -> None:
        """Forget a stream; where it is still open, tell the other side that nobody waits."""
        answer = self._streams.pop(number).answer
        if answer.done() and not answer.cancelled():
            answer.exception()  # whoever gave up does not look at it, and need not
        open_there = self._h2.streams.get(number)
        if open_there is not None and not open_there.closed:
            with contextlib.suppress(H2Error):
                self._h2.reset_stream(number, ErrorCodes.CANCEL)
                self._flush()
        if self._leaving and not self._streams:
            self._hang_up()
        async with self._room:
            self._room.notify_all()

    async def _listen(self) -> None:
        kind = "closed"
        try:
            waiting = bytearray()
            while data := await self._reader.read(65536):
                self._heard_at, self._doubted = self._loop.time(), False
                waiting += data
                for frame in _frames(waiting):
                    for event in self._h2.receive_data(frame):
                        self._on(event)
                self._flush()
                async with self._room:
                    self._room.notify_all()
        except (OSError, ssl.SSLError, H2Error) as error:
            kind = type(error).__name__
        finally:
            self._leaving = True
            for stream in self._streams.values():
                stream.fail(kind, sent=True)
            if self._pong is not None and not self._pong.done():
                self._pong.set_result(None)  # it is over, and whoever waits sees that
            self._hang_up()
        async with self._room:
            self._room.notify_all()

    def _on(self, event: events.Event) -> None:
        # Of a stream that nobody waits for any more only the bytes are counted.
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        match event:
            case events.ResponseReceived() if stream is not None:
                # h2 has seen to it that there is one; not that it is a number.
                status = dict(event.headers)[b":status"]
                stream.status = int(status) if status.isdigit() and len(status) == 3 else 0
            case events.DataReceived():
                if stream is not None:
                    stream.body += event.data[: _MOST_BODY - len(stream.body)]
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case events.StreamEnded() if stream is not None:
                if not stream.answer.done():
                    stream.answer.set_result(Response(stream.status, bytes(stream.body)))
            case events.StreamReset() if stream is not None:
                stream.fail("reset", sent=event.error_code != ErrorCodes.REFUSED_STREAM)
            case events.PingAckReceived() if self._pong is not None and not self._pong.done():
                self._pong.set_result(None)
                self._pong = None
            case events.ConnectionTerminated():
                self._leave(event)
            case _:
                pass  # settings, windows and pings, which h2 sees to

    def _leave(self, event: events.ConnectionTerminated) -> None:
        """Begin no more; what the peer has not begun with surely did not arrive (RFC 9113, 6.8)."""
        self._leaving = True
        for number, stream in self._streams.items():
            if number > (event.last_stream_id or 0):
                stream.fail("goaway", sent=False)
        # h2 takes the connection for closed now, but the peer goes on with what it has begun with.
        self._h2.state_machine.state = ConnectionState.CLIENT_OPEN

    def _hang_up(self) -> None:
        """Say goodbye as far as anybody listens, and close."""
        with contextlib.suppress(H2Error):
            self._h2.close_connection()
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        waiting = self._h2.data_to_send()
        if waiting and not self._writer.is_closing():
            self._writer.write(waiting)


def _frames(waiting: bytearray) -> Iterator[bytes]:
    """Take whole frames off the front: h2 would not give what preceded a frame it cannot take."""
    while len(waiting) >= _FRAME_HEAD:
        size = _FRAME_HEAD + int.from_bytes(waiting[:3])
        if len(waiting) < size <= _FRAME_HEAD + _MOST_FRAME:
            return
        yield bytes(waiting[:size])
        del waiting[:size]
