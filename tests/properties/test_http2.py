"""Whatever a peer writes in the place of HTTP/2, a request ends: answered, or with a reason."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity.channels.egress import EgressError
from proximity.channels.http2 import Connection, Response

DATA, HEADERS, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, END_HEADERS = 0x1, 0x4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame (RFC 9113, 4.1), however wrong."""
    head = len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4)
    return head + payload


def block(fields: list[tuple[str, str]]) -> bytes:
    return Encoder().encode(fields)


GREETING = frame(SETTINGS, 0, 0, b"")
STATUS = block([(":status", "200")])

streams = st.sampled_from([1, 1, 1, 3, 3, 0, 5, 2, 2**31 - 1, 2**32 - 1])
numbers = st.sampled_from([0, 1, 7, 8, 100, 65535, 2**31 - 1, 2**32 - 1]).map(
    lambda number: number.to_bytes(4)
)
blocks = st.one_of(
    st.just(STATUS),
    st.lists(
        st.tuples(
            st.sampled_from([":status", ":path", "apns-id", "Content-Type", "connection", ""]),
            st.sampled_from(["200", "400", "100", "²", "-1", "x" * 300, ""]),
        ),
        max_size=4,
    ).map(block),
)
setting = st.tuples(st.integers(0, 9).map(lambda one: one.to_bytes(2)), numbers).map(b"".join)
frames = st.one_of(
    st.builds(frame, st.just(HEADERS), st.sampled_from([4, 5, 5, 0, 1]), streams, blocks),
    st.builds(frame, st.just(DATA), st.sampled_from([0, 1, 8, 9]), streams, st.binary(max_size=90)),
    st.builds(frame, st.just(RESET), st.just(0), streams, numbers),
    st.builds(frame, st.just(WINDOW), st.just(0), streams, numbers),
    st.builds(frame, st.just(PING), st.sampled_from([0, 1]), st.just(0), st.just(b"present?")),
    st.builds(
        frame, st.just(GOAWAY), st.just(0), st.just(0),
        st.tuples(numbers, numbers, st.binary(max_size=40)).map(b"".join),
    ),
    st.builds(
        frame, st.just(SETTINGS), st.just(0), st.just(0),
        st.lists(setting, max_size=4).map(b"".join),
    ),
    st.builds(frame, st.just(CONTINUATION), st.sampled_from([0, 4]), streams, blocks),
    st.builds(frame, st.integers(0, 255), st.integers(0, 255), streams, st.binary(max_size=60)),
)  # fmt: skip


async def exchange(says: bytes, *, cut: int, closes: bool) -> list[Any]:
    """Two requests to a peer that writes ``says`` in pieces, and then hangs up or falls silent."""
    ours, theirs = socket.socketpair()
    faults: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    reader, writer = await asyncio.open_connection(sock=ours)
    other, back = await asyncio.open_connection(sock=theirs)
    connection = Connection(reader, writer, "peer.test")
    connection._proven = True
    asked = [
        loop.create_task(
            connection.post("/", [("a", "b")], b"x" * size, frozenset(), loop.time() + 0.2)
        )
        for size in (5, 3000)
    ]
    await other.read(10)
    for at in range(0, len(says), cut):
        back.write(says[at : at + cut])
        await asyncio.sleep(0)
    if closes:
        back.close()
    results = await asyncio.gather(*asked, return_exceptions=True)
    await connection.close()
    back.close()
    with contextlib.suppress(OSError):
        await back.wait_closed()
    assert faults == []
    assert connection._streams == {}
    return results


@settings(max_examples=500, deadline=None)
@given(
    st.lists(frames, max_size=8).map(b"".join) | st.binary(max_size=200),
    st.booleans(),
    st.sampled_from([1, 7, 10_000]),
)
def test_every_request_ends_with_an_answer_or_a_reason(says: bytes, greets: bool, cut: int) -> None:
    results = asyncio.run(exchange((GREETING if greets else b"") + says, cut=cut, closes=True))
    for result in results:
        assert isinstance(result, Response | EgressError), repr(result)
        if isinstance(result, Response):
            assert len(result.body) <= 4096


def test_silence_is_a_timeout() -> None:
    results = asyncio.run(exchange(GREETING, cut=100, closes=False))
    assert [str(result) for result in results] == ["timeout", "timeout"]
    assert all(isinstance(result, EgressError) and result.sent for result in results)


def test_what_came_before_a_goodbye_counts_and_what_it_leaves_out_was_not_begun() -> None:
    says = (
        GREETING
        + frame(HEADERS, END_HEADERS | END_STREAM, 1, STATUS)
        + frame(GOAWAY, 0, 0, (1).to_bytes(4) + (0).to_bytes(4))
    )
    first, second = asyncio.run(exchange(says, cut=1, closes=True))
    assert first == Response(200, b"")
    assert isinstance(second, EgressError)
    assert not second.sent


def test_what_came_before_nonsense_counts() -> None:
    says = GREETING + frame(HEADERS, END_HEADERS | END_STREAM, 1, STATUS) + frame(DATA, 8, 3, b"")
    first, second = asyncio.run(exchange(says, cut=10_000, closes=True))
    assert first == Response(200, b"")
    assert isinstance(second, EgressError)
    assert second.sent
