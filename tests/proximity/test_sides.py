"""A peer over HTTP that answers what none of ours would: it is told in words, and ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proximity.store import Store
from tests.proximity.test_persons import ask


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    class Answers(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{}", b"[" * 100_000, b'{"items": [], "cursor": "7", "more": true}'],
    ids=["list", "nothing", "deep", "endless"],
)
def test_a_strange_answer_is_named_and_ends_the_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    Store.open(tmp_path / "engine.db").close()
    with answering(body) as url:
        words = ("sync", "run", "--data", tmp_path, "--peer", url, "--peer-token", "T")
        assert ask(*words, "--peer-name", "other") == 2
    assert "no server of this engine, or of another version" in capsys.readouterr().err
