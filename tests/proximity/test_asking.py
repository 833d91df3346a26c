"""``--server`` of what is no server of ours: one line that says so, and never a fault of ours."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from proximity.__main__ import main
from proximity.server.auth import Role
from tests.proximity.server.rig import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMANDS = (
    ("person", "list"),
    ("person", "show", "ana"),
    ("person", "link", "ana"),
    ("person", "reach", "ana"),
    ("report", "visits"),
    ("consent", "verify"),
    ("explain", "--person", "ana"),
    ("sync", "status"),
    ("segment", "size", "all"),
    ("gateway", "list"),
    ("privacy", "report"),
)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@contextmanager
def answering(said: bytes) -> Iterator[str]:
    """Play something that says the same to whoever calls."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    caller, _ = server.accept()
                except TimeoutError:
                    continue
                with caller:
                    caller.settimeout(5)
                    caller.recv(65536)
                    caller.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def answer(body: bytes, more: int = 0) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body) + more, body)


@pytest.mark.parametrize(
    "said",
    [
        answer(b"<html>a router</html>"),
        answer(b"[1, 2]"),
        answer(b'{"items": 5, "url": 5, "tables": 5}'),
        answer(b'{"items": [', more=900),
        answer(b"\xff\xfe"),
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_what_is_no_server_of_ours_is_told_so(said: bytes) -> None:
    with answering(said) as url:
        for words in COMMANDS:
            ended = run(*words, "--server", url, "--token", "px_x")
            if words[1] == "show" and b'{"items": 5' in said:
                continue  # a record of a person may hold anything
            assert ended.exit_code == 2, (words, ended.output)
            (line,) = ended.stderr.splitlines()
            assert line.startswith(f"proximity: {url}: what answers there is no server"), words
            assert line.endswith("mend --server")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:abc",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://a b/",
        "http://a\nb",
        "http://",
        "http://:80",
        "http://me:word@localhost",
        "ftp://localhost",
    ],
)
def test_what_is_no_url_is_told_so(url: str) -> None:
    ended = run("person", "list", "--server", url, "--token", "px_x")
    assert ended.exit_code == 2
    (line,) = ended.stderr.splitlines()
    assert line.endswith("this is no http:// or https:// URL")


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_another_s_404_says_of_nobody_that_they_are_not_known(said: bytes) -> None:
    with answering(said) as url:
        for words in (("show", "ana"), ("remove", "ana"), ("erase", "ana"), ("export", "ana")):
            ended = run("person", *words, "--server", url, "--token", "px_x")
            assert ended.exit_code == 2, words
            (line,) = ended.stderr.splitlines()
            assert line.startswith(f"proximity: {url}: The server answered ")
            assert line.endswith("Is --server the address of the server?")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_proxy_that_is_busy_is_not_a_wrong_address(status: int) -> None:
    with answering(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status) as url:
        ended = run("person", "show", "ana", "--server", url, "--token", "px_x")
        assert ended.exit_code == 2
        said = f"proximity: {url}: The server answered {status}. Try again later.\n"
        assert ended.stderr == said


async def test_a_path_behind_the_server_s_address_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        token = rig.token(Role.ADMIN)
        for path, status in (("", 1), ("/v1/", 1), ("/shop", 2)):
            ended = await asyncio.to_thread(
                run, "person", "show", "nobody", "--server", f"{rig.url}{path}", "--token", token
            )
            assert ended.exit_code == status, ended.stderr
        assert "/shop: There is nothing here; /openapi.json" in ended.stderr
