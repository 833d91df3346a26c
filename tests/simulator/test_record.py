"""A live feed becomes a file: what is written, what is said, and what happens at a broken end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from simulator.__main__ import main
from simulator.trace import read_trace

FIX = b'{"type":"fix","subject":"s-1","at":"2026-05-01T10:00:00.000Z","lon":2.0,"lat":48.0}\n'
NONE = b'{"recorded":0,"unconsented":0,"carried":0,"ended":false}\n'
END = b'{"recorded":2,"unconsented":3,"carried":1,"ended":true}\n'

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/v1/records/stream", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@contextmanager
def running(answer: Answer) -> Iterator[str]:
    """Run a real HTTP server in a thread, as the command has a loop of its own."""
    ready, done, found = threading.Event(), threading.Event(), []

    async def serve() -> None:
        async with server(answer) as url:
            found.append(url)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(5)
    try:
        yield found[0]
    finally:
        done.set()
        thread.join()


def telling(*pieces: bytes, cut: bool = False, seen: list[web.Request] | None = None) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        if seen is not None:
            seen.append(request)
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if cut and request.transport is not None:
            await asyncio.sleep(0.05)
            request.transport.abort()
        return response

    return answer


def record(url: str, out: Path, *more: str) -> int:
    return main(["record", "--server", url, "--token", "t0ken", "--out", str(out), *more])


def test_what_is_told_becomes_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[web.Request] = []
    out = tmp_path / "t.jsonl"
    # A line may come in pieces, and counts come between records.
    with running(telling(NONE, FIX[:20], FIX[20:] + NONE, FIX, END, seen=seen)) as url:
        assert record(url, out, "--for", "60", "--purpose", "study") == 0
    assert out.read_bytes() == FIX + FIX
    assert [one.subject for one in read_trace(out)] == ["s-1", "s-1"]
    said = capsys.readouterr().err
    assert "2 records in " in said
    assert "3 of people who have not agreed to study, 1 of tags that somebody carries" in said
    (request,) = seen
    assert request.headers["Authorization"] == "Bearer t0ken"
    assert dict(request.query) == {"purpose": "study", "for": "60"}


def test_a_cut_recording_keeps_what_came_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.jsonl"
    with running(telling(NONE, FIX, FIX[:30], cut=True)) as url:
        assert record(url, out) == 2
    assert out.read_bytes() == FIX
    assert "cut off before the end" in capsys.readouterr().err


def test_nothing_is_written_where_the_server_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=403, text="The role feed may not do this.")

    out = tmp_path / "t.jsonl"
    with running(refuse) as url:
        assert record(url, out) == 2
    assert "answers 403: The role feed may not do this." in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_is_there_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "t.jsonl"
    out.write_text("of another day")
    assert record("http://127.0.0.1:9", out) == 2
    assert "is there already: name a new file" in capsys.readouterr().err
    assert out.read_text() == "of another day"


def test_no_server_and_no_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert record("http://127.0.0.1:9", tmp_path / "t.jsonl") == 2
    assert "is the server running" in capsys.readouterr().err
    monkeypatch.delenv("PROXIMITY_TOKEN", raising=False)
    assert main(["record", "--server", "http://x", "--out", str(tmp_path / "t")]) == 2
    assert "a token is needed" in capsys.readouterr().err
