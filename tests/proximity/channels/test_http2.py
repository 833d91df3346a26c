"""One long-lived HTTP/2 connection against nghttp2, by Node: kept, lost, refused, asked, renewed."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import ssl
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proximity.channels import http2
from proximity.channels.dialling import Peer
from proximity.channels.egress import EgressError, EgressRefused
from proximity.channels.line import Line, tls_context
from tests.npm import need_node
from tests.proximity.channels.tls import write_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SCRIPT = (Path(__file__).parent / "peer.js").read_text()
ACCEPTS = frozenset({200})


@asynccontextmanager
async def nghttp2(folder: Path, *, streams: int = 100, window: int = 65535) -> AsyncIterator[int]:
    chain, key = write_certificate(folder, "127.0.0.1")
    process = await asyncio.create_subprocess_exec(
        need_node(), "-e", SCRIPT, "--", str(key), str(chain), str(streams), str(window),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.communicate()


def line(folder: Path, port: int, timeout_s: float = 5.0) -> Line:
    context = tls_context(ssl.create_default_context(cafile=str(folder / "server.pem")))
    allow = (ipaddress.ip_network("127.0.0.1"),)
    return Line(
        Peer(host="127.0.0.1", port=port, tls="tls", allow=allow, context=context), timeout_s
    )


async def ask(one: Line, path: str, body: bytes = b"hello") -> dict[str, Any]:
    answer = await one.post(path, [("x-test", "1")], body, ACCEPTS)
    read: dict[str, Any] = json.loads(answer.body)
    return read | {"status": answer.status}


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    async with nghttp2(tmp_path) as found:
        yield found


@pytest.fixture
async def way(tmp_path: Path, port: int) -> AsyncIterator[Line]:
    one = line(tmp_path, port)
    yield one
    await one.close()


async def test_one_connection_serves_them_all(way: Line) -> None:
    answers = [await ask(way, f"/ok-{n}", b"x" * n) for n in range(20)]
    assert {answer["sessions"] for answer in answers} == {1}
    assert [answer["size"] for answer in answers] == list(range(20))
    answers = await asyncio.gather(*(ask(way, f"/ok-b{n}") for n in range(200)))
    assert answers[-1]["sessions"] == 1
    assert 10 < max(answer["most"] for answer in answers) <= 100


async def test_one_at_a_time_until_one_is_accepted(way: Line) -> None:
    answers = await asyncio.gather(*(ask(way, f"/unknown-{n}") for n in range(20)))
    assert {(answer["status"], answer["most"]) for answer in answers} == {(404, 1)}


@pytest.mark.parametrize("streams", [1, 3])
async def test_no_more_at_once_than_the_peer_allows(tmp_path: Path, streams: int) -> None:
    async with nghttp2(tmp_path, streams=streams) as port:
        one = line(tmp_path, port)
        await ask(one, "/ok")
        answers = await asyncio.gather(*(ask(one, f"/ok-{n}") for n in range(30)))
        assert max(answer["most"] for answer in answers) == streams
        await one.close()


async def test_a_body_larger_than_the_window_waits_for_it_to_open(tmp_path: Path) -> None:
    async with nghttp2(tmp_path, window=100) as port:
        one = line(tmp_path, port)
        assert (await ask(one, "/ok", b"x" * 4096))["size"] == 4096
        answers = await asyncio.gather(*(ask(one, f"/ok-{n}", b"x" * 4096) for n in range(20)))
        assert {answer["size"] for answer in answers} == {4096}
        # Answered while half the body waits for a window that does not open any more.
        assert (await ask(one, "/early", b"x" * 4096))["status"] == 413
        answer = await ask(one, "/ok")
        assert (answer["sessions"], answer["open"]) == (1, 1)
        assert one._connection is not None
        assert one._connection._h2.open_outbound_streams == 0
        await one.close()


async def test_of_a_long_answer_the_beginning_is_kept(way: Line) -> None:
    answer = await way.post("/big", [], b"", ACCEPTS)
    assert answer.body == b"x" * 4096
    assert (await ask(way, "/ok"))["sessions"] == 1


async def test_a_reset_may_have_arrived_and_a_refusal_surely_has_not(way: Line) -> None:
    with pytest.raises(EgressError, match="reset") as caught:
        await ask(way, "/reset")
    assert caught.value.sent
    answer = await ask(way, "/refuse")
    assert (answer["times"], answer["sessions"]) == (2, 1)


async def test_a_peer_that_says_goodbye_still_answers_what_it_began_with(way: Line) -> None:
    await ask(way, "/ok")
    leaving, *others = await asyncio.gather(
        ask(way, "/goaway"), *(ask(way, f"/ok-{n}") for n in range(5))
    )
    assert (leaving["status"], leaving["session"]) == (200, 1)
    assert {answer["status"] for answer in others} == {200}
    after = await ask(way, "/ok-after")
    assert after["session"] == 2
    assert after["times"] == 1
    (left,) = way._retired
    await asyncio.wait_for(left._listening, 5.0)  # closed when the last answer is there
    assert left.over


async def test_whoever_waits_for_a_turn_when_it_ends_goes_to_the_next(tmp_path: Path) -> None:
    async with nghttp2(tmp_path, streams=1) as port:
        one = line(tmp_path, port)
        await ask(one, "/ok")
        answers = await asyncio.gather(
            ask(one, "/goaway"), *(ask(one, f"/ok-{n}") for n in range(5))
        )
        assert [answer["session"] for answer in answers] == [1, 2, 2, 2, 2, 2]
        assert {answer["times"] for answer in answers} == {1}
        await one.close()


async def test_when_the_numbers_of_streams_are_used_up_there_is_another_connection(
    way: Line,
) -> None:
    await ask(way, "/ok")
    assert way._connection is not None
    way._connection._h2.highest_outbound_stream_id = 2**31 - 1
    assert (await ask(way, "/ok-2"))["session"] == 2


async def test_a_peer_that_never_finishes_the_handshake(tmp_path: Path) -> None:
    write_certificate(tmp_path, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        one = line(tmp_path, mute.getsockname()[1], timeout_s=0.2)
        with pytest.raises(EgressError, match="timeout") as caught:
            await ask(one, "/ok")
        assert not caught.value.sent
        await one.close()


async def test_what_it_has_not_begun_with_is_asked_anew(way: Line) -> None:
    await ask(way, "/ok")
    answer = await ask(way, "/unbegun")
    assert (answer["session"], answer["times"]) == (2, 2)


@pytest.mark.parametrize("path", ["/cut", "/half"])
async def test_a_connection_that_breaks_leaves_doubt_and_is_made_anew(way: Line, path: str) -> None:
    await ask(way, "/ok")
    with pytest.raises(EgressError) as caught:
        await ask(way, path)
    assert caught.value.sent
    answer = await ask(way, "/ok-2")
    assert answer["session"] == 2


async def test_no_answer_is_a_timeout_and_the_connection_is_asked_before_it_is_used_again(
    tmp_path: Path, port: int
) -> None:
    one = line(tmp_path, port, timeout_s=0.3)
    await ask(one, "/ok")
    with pytest.raises(EgressError, match="timeout") as caught:
        await ask(one, "/silent")
    assert caught.value.sent
    assert (await ask(one, "/ok-2"))["pings"] == 1
    answer = await ask(one, "/ok-3")
    assert (answer["sessions"], answer["open"]) == (1, 1), "the peer has been told of it"
    await one.close()


async def test_after_silence_the_connection_is_asked_whether_it_is_there(way: Line) -> None:
    await ask(way, "/ok")
    assert way._connection is not None
    way._connection._heard_at -= 61.0
    assert (await ask(way, "/ok-2"))["pings"] == 1
    assert (await ask(way, "/ok-3"))["pings"] == 1


async def test_one_that_was_forgotten_without_a_word_is_replaced(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2, "_PING_S", 0.2)
    deaf = asyncio.Event()
    pairs: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Like a router: passes bytes on, and drops those of connections that it forgot."""
        mine = len(pairs)
        there, back = await asyncio.open_connection("127.0.0.1", port)
        pairs.extend([writer, back])

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    if mine == 0 and deaf.is_set():
                        continue
                    sink.write(data)

        await asyncio.gather(pump(reader, back), pump(there, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        one = line(tmp_path, server.sockets[0].getsockname()[1])
        await ask(one, "/ok")
        deaf.set()
        assert one._connection is not None
        one._connection._heard_at -= 61.0
        assert (await ask(one, "/ok-2"))["session"] == 2
        await one.close()
        for writer in pairs:
            writer.close()


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" * 10,
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\xff" * 100,
        b"\x7f\xff\xff\x00\x00\x00\x00\x00\x01" + b"x" * 100_000,
        b"",
    ],
    ids=["text", "garbage", "a frame of 8 MB", "nothing"],
)  # fmt: skip
async def test_what_is_no_http_2_ends_the_connection(tmp_path: Path, says: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        with contextlib.suppress(OSError):
            await reader.read(200)
        writer.close()

    async with listening(tmp_path, speak, alpn=["h2"]) as port:
        one = line(tmp_path, port)
        with pytest.raises(EgressError):
            await ask(one, "/ok")
        await one.close()


async def test_a_peer_without_http_2_is_told_nothing(tmp_path: Path) -> None:
    heard = bytearray()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(100))
        writer.close()

    async with listening(tmp_path, speak, alpn=["http/1.1"]) as port:
        one = line(tmp_path, port)
        with pytest.raises(EgressError) as caught:
            await ask(one, "/ok")
        assert not caught.value.sent
        await one.close()
    assert heard == b""


@asynccontextmanager
async def listening(folder: Path, speak: Callable[..., Any], alpn: list[str]) -> AsyncIterator[int]:
    chain, key = write_certificate(folder, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(alpn)
    async with await asyncio.start_server(speak, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


async def test_old_tls_is_not_spoken(tmp_path: Path, port: int) -> None:
    assert line(tmp_path, port)._peer.context is not None
    context = tls_context(ssl.create_default_context())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_where_one_may_not_connect_nobody_does(tmp_path: Path) -> None:
    write_certificate(tmp_path, "127.0.0.1")
    one = line(tmp_path, 9)
    inside = Line(Peer(host="127.0.0.1", port=9, tls="tls", context=one._peer.context))
    with pytest.raises(EgressRefused):
        await ask(inside, "/ok")
    with pytest.raises(EgressError) as caught:
        await ask(one, "/ok")
    assert not caught.value.sent


async def test_closing_ends_what_is_under_way(way: Line) -> None:
    await ask(way, "/ok")
    waiting = asyncio.create_task(ask(way, "/silent"))
    await asyncio.sleep(0.05)
    await way.close()
    with pytest.raises(EgressError):
        await waiting
    assert (await ask(way, "/ok-2"))["session"] == 2


async def test_whoever_gives_up_leaves_nothing_behind(way: Line) -> None:
    await ask(way, "/ok")
    for _ in range(3):
        waiting = asyncio.create_task(ask(way, "/silent"))
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert way._connection is not None
    assert way._connection._streams == {}
    assert way._connection._h2.open_outbound_streams == 0
    answer = await ask(way, "/ok-2")
    assert (answer["sessions"], answer["open"]) == (1, 1), "the peer has been told of it"
