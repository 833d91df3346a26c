"""Nothing is connected to that may not be: by URL, by name, or by a name that changes its answer."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from proximity.channels.egress import (
    Egress,
    EgressError,
    EgressRefused,
    _retry_after,
    check_url,
    refusal,
)
from tests.proximity.channels.receivers import Names, receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPBACK = (ipaddress.ip_network("127.0.0.1"),)
NOW = 1767697200.0

_watching: list[list[Any]] = []


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _watching:
        _watching[-1].append(args[1])


sys.addaudithook(_watch)


@pytest.fixture
def connections() -> Iterator[list[Any]]:
    """Every address that this process tries to connect to, as the interpreter itself sees it."""
    seen: list[Any] = []
    _watching.append(seen)
    yield seen
    _watching.remove(seen)


HOSTILE = [
    # loopback, spelled plainly and oddly
    "https://127.0.0.1/", "https://127.0.0.1./", "https://127.1/", "https://127.0.1/",
    "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/",
    "https://0177.0.0.01/", "https://017700000001/", "https://127.0.0.0x1/", "https://0/",
    "https://0.0.0.0/", "https://[::1]/", "https://[::]/", "https://[0:0:0:0:0:0:0:1]/",
    "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://%31%32%37.0.0.1/",
    # private, shared, link-local (the clouds' metadata), documentation, multicast, broadcast
    "https://10.0.0.1/", "https://172.16.0.1/", "https://172.31.255.255/", "https://192.168.1.1/",
    "https://100.64.0.1/", "https://169.254.169.254/latest/meta-data/", "https://192.0.2.1/",
    "https://198.18.0.1/", "https://203.0.113.1/", "https://224.0.0.1/", "https://255.255.255.255/",
    "https://240.0.0.1/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[fc00::1]/",
    "https://[fd12:3456::1]/", "https://[fec0::1]/", "https://[ff02::1]/", "https://[2001:db8::1]/",
    # IPv4 in IPv6: mapped, compatible, NAT64, 6to4, Teredo
    "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::ffff:169.254.169.254]/",
    "https://[::127.0.0.1]/", "https://[64:ff9b::127.0.0.1]/", "https://[64:ff9b::a00:1]/",
    "https://[64:ff9b:1::1]/", "https://[2002:7f00:1::]/", "https://[2001:0:7f00:1::]/",
    # other schemes, credentials, confusion
    "http://127.0.0.1/", "http://example.test/", "ftp://example.test/", "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x", "https://user:pw@example.test/", "https://example.test@127.0.0.1/",
    "https://127.0.0.1#@example.test/", "https://127.0.0.1\\@example.test/", "https:///x", "https://",
    "//127.0.0.1/", "", "https://exa mple.test/", "https://example.test/\n", "https://[::1/",
    "https://example.test:99999/", "https://example.test/" + "x" * 2000,
    # names that lead inside
    "https://localhost/", "https://inside.test/", "https://metadata.test/", "https://mapped.test/",
    "https://nat64.test/", "https://half.test/", "https://v6.test/", "https://link.test/",
    "https://odd.test/", "https://LOCALHOST./",
]  # fmt: skip
NAMES = {
    "localhost": [["127.0.0.1"]], "LOCALHOST.": [["127.0.0.1"]], "localhost.": [["127.0.0.1"]],
    "inside.test": [["10.1.2.3"]], "metadata.test": [["169.254.169.254"]],
    "mapped.test": [["::ffff:127.0.0.1"]], "nat64.test": [["64:ff9b::7f00:1"]],
    "half.test": [["93.184.216.34", "127.0.0.1"]], "v6.test": [["::1"]],
    "link.test": [["fe80::1%1"]], "odd.test": [["127.1"]],
}  # fmt: skip


def test_there_are_enough_of_them() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 40


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_url_is_refused_without_a_connection(
    url: str, connections: list[Any]
) -> None:
    egress = Egress(resolver=Names(NAMES))
    with pytest.raises(EgressRefused):
        await egress.post(url, b"{}", {})
    await egress.close()
    assert connections == []


async def test_the_watch_does_see_connections(connections: list[Any]) -> None:
    async with receiver() as one:
        egress = Egress(LOOPBACK)
        answer = await egress.post(one.url(), b"{}", {})
        await egress.close()
        assert answer.status == 200
        assert connections == [("127.0.0.1", one.port)]


async def test_a_name_that_changes_its_answer_gains_nothing(connections: list[Any]) -> None:
    """The first answer is allowed, the second is not: it is judged anew each time, and pinned."""
    async with receiver() as good, receiver("127.0.0.2", good.port) as inside:
        names = Names({"hook.test": [["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1", "127.0.0.2"]]})
        # http is for addresses in allow alone, so the name is reached over its own port by https.
        egress = Egress(LOOPBACK, resolver=names)
        url = f"https://hook.test:{good.port}/"
        with pytest.raises(EgressError) as first:
            await egress.post(url, b"{}", {})
        assert not isinstance(first.value, EgressRefused)  # it connected, and spoke no TLS
        assert set(connections) == {("127.0.0.1", good.port)}
        for _ in range(2):
            with pytest.raises(EgressRefused, match="leads to an address that is not public"):
                await egress.post(url, b"{}", {})
        assert names.asked == ["hook.test"] * 3  # asked once for each connection, never between
        assert set(connections) == {("127.0.0.1", good.port)}
        assert inside.requests == good.requests == []
        await egress.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    async with receiver() as one, receiver() as two:
        one.status, one.headers = status, {"Location": two.url()}
        egress = Egress(LOOPBACK)
        assert (await egress.post(one.url(), b"{}", {})).status == status
        await egress.close()
        assert len(one.requests) == 1
        assert two.requests == []


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as one, receiver() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url())
        egress = Egress(LOOPBACK)
        await egress.post(one.url(), b"{}", {})
        await egress.close()
        assert proxy.requests == []


async def test_an_endless_reply_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
                written += 65536
        except (ConnectionError, asyncio.CancelledError):
            return response

    async with receiver() as one:
        one.answer = endless
        egress = Egress(LOOPBACK)
        assert (await egress.post(one.url(), b"{}", {})).status == 200
        await egress.close()
    assert written < 64 * 1024 * 1024


async def test_a_reply_that_never_ends_keeps_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proximity.channels.egress._DRAIN_S", 0.05)

    async def stalled(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=201)
        await response.prepare(request)
        await response.write(b"x")
        await asyncio.sleep(30)
        return response

    async with receiver() as one:
        one.answer = stalled
        egress = Egress(LOOPBACK)
        assert (await egress.post(one.url(), b"{}", {})).status == 201
        await egress.close()


async def test_of_a_reply_as_much_is_kept_as_was_asked_for_and_as_it_was_written() -> None:
    async def compressing(request: web.Request) -> web.StreamResponse:
        response = web.Response(body=b"x" * 100_000, status=404)
        response.enable_compression()  # where the other side would take it
        return response

    async with receiver() as one:
        one.answer = compressing
        egress = Egress(LOOPBACK)
        for keep in (0, 1, 5000, 16 * 1024, 50_000):
            answer = await egress.post(one.url(), b"{}", {}, keep=keep)
            assert (answer.status, answer.body) == (404, b"x" * keep)
        one.answer, one.body = None, b"short"
        assert (await egress.post(one.url(), b"{}", {}, keep=100)).body == b"short"
        await egress.close()


async def test_it_says_whether_a_request_that_failed_may_have_arrived() -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with receiver() as one:
        egress = Egress(LOOPBACK, timeout_s=0.2)
        for answer in (hang_up, silent):
            one.answer = answer
            with pytest.raises(EgressError) as caught:
                await egress.post(one.url(), b"{}", {})
            assert caught.value.sent
        gone = one.url()
    with pytest.raises(EgressError) as caught:
        await egress.post(gone, b"{}", {})
    assert not caught.value.sent
    with pytest.raises(EgressRefused) as refused:
        await egress.post("https://10.0.0.1/", b"{}", {})
    assert not refused.value.sent
    await egress.close()


async def test_a_page_is_fetched_up_to_half_a_megabyte_and_no_redirect_followed() -> None:
    async with receiver() as one, receiver() as two:
        one.body = b"x" * (1024 * 1024)
        egress = Egress(LOOPBACK)
        page = await egress.fetch(one.url(path="/shop"))
        assert (page.status, page.location, len(page.body)) == (200, None, 512 * 1024)
        assert one.requests[0][0] == "/shop"
        one.status, one.headers, one.body = 302, {"Location": two.url()}, b""
        page = await egress.fetch(one.url())
        assert (page.status, page.location) == (302, two.url())
        await egress.close()
        assert two.requests == []


@pytest.mark.parametrize("url", HOSTILE[::5])
async def test_a_page_is_fetched_from_nowhere_that_may_not_be_posted_to(
    url: str, connections: list[Any]
) -> None:
    egress = Egress(resolver=Names(NAMES))
    with pytest.raises(EgressRefused):
        await egress.fetch(url)
    await egress.close()
    assert connections == []


async def test_a_page_that_stalls_half_way_is_an_error() -> None:
    async def stalled(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"<html>")
        await asyncio.sleep(30)
        return response

    async with receiver() as one:
        one.answer = stalled
        egress = Egress(LOOPBACK, timeout_s=0.1)
        with pytest.raises(EgressError, match="timeout"):
            await egress.fetch(one.url())
        await egress.close()


async def test_no_answer_in_time_is_an_error_worth_another_try() -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with receiver() as one:
        one.answer = silent
        egress = Egress(LOOPBACK, timeout_s=0.1)
        with pytest.raises(EgressError, match="timeout"):
            await egress.post(one.url(), b"{}", {})
        await egress.close()


async def test_nobody_there_and_no_such_name_are_errors_worth_another_try() -> None:
    async with receiver() as one:
        gone = one.url()
    egress = Egress(LOOPBACK, resolver=Names({}))
    for url in (gone, "https://absent.test/"):
        with pytest.raises(EgressError) as caught:
            await egress.post(url, b"{}", {})
        assert not isinstance(caught.value, EgressRefused)
    await egress.close()
    await egress.close()  # twice is no fault


async def test_slow_names_hold_up_nothing_else_of_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whoever subscribes a hundred browsers "at" a name server of theirs waits in these threads.
    answered = threading.Event()

    def tarpit(*_: Any) -> list[Any]:
        answered.wait(20.0)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", tarpit)
    egress = Egress()
    hosts = [f"https://n{number}.example.test/" for number in range(60)]
    waiting = [asyncio.ensure_future(egress.post(url, b"", {})) for url in hosts]
    try:
        await asyncio.sleep(0.1)
        assert not any(one.done() for one in waiting)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "read"), 10.0) == "read"
    finally:
        answered.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    await egress.close()
    assert {(type(one), getattr(one, "sent", None)) for one in told} == {(EgressError, False)}


async def test_a_reply_that_is_no_http_is_an_error() -> None:
    async def nonsense(reader: Any, writer: Any) -> None:
        writer.write(b"\x00\xff" * 100)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    egress = Egress(LOOPBACK)
    with pytest.raises(EgressError):
        await egress.post(f"http://127.0.0.1:{port}/", b"{}", {})
    await egress.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("address", "allow", "refused"),
    [
        ("93.184.216.34", [], False),
        ("2606:2800:220:1::1", [], False),
        ("::ffff:93.184.216.34", [], False),
        ("64:ff9b::5db8:d822", [], False),
        ("10.0.0.1", ["10.0.0.0/8"], False),
        ("11.0.0.1", ["10.0.0.0/8"], False),
        ("192.168.0.1", ["10.0.0.0/8"], True),
        ("::ffff:10.0.0.1", ["10.0.0.0/8"], False),
        ("fd00::1", ["fd00::/8"], False),
        ("224.0.0.1", ["224.0.0.0/4"], False),
        ("192.88.99.1", [], True),
    ],
)
def test_which_addresses_are_refused(address: str, allow: list[str], refused: bool) -> None:
    networks = [ipaddress.ip_network(one) for one in allow]
    assert (refusal(ipaddress.ip_address(address), networks) is not None) is refused


@pytest.mark.parametrize(
    "url",
    ["https://hooks.example.test/x", "https://93.184.216.34:8443/", "https://[2606:2800::1]/",
     "https://bücher.example/", "https://3com.example/", "https://x.1a/"],
)  # fmt: skip
def test_good_urls(url: str) -> None:
    target, problem = check_url(url)
    assert target is not None
    assert problem == ""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("-5", None),
        ("1e9", None),
        ("999999999999", 86400.0),
        ("Tue, 06 Jan 2026 11:01:00 GMT", 60.0),
        ("Tue, 06 Jan 2026 10:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("²", None),
        ("9" * 400, 86400.0),
        ("Tue, 06 Jan 99999 10:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert _retry_after(value, NOW) == seconds
