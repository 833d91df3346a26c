"""The trial run: what does one see when people with phones walk down a street?

Starts the real server as a process of its own, a walker as another, and tells what the server's
live stream says, line by line, with the evidence. Nothing is staged: the walker posts noisy fixes
over HTTP, and who gets an offer, and who does not, is read from the server's own records. Knows
the public commands and the HTTP interface, nothing of the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import click

from proximity.commands.story import Screen, Story
from proximity.model import ProximityError

SPEED = 10
"""How much faster than life: a minute and a half on the street is nine seconds at the screen."""

READY_S = 60.0
"""How long a server may take to start: a slow machine compiles everything at the first start."""

STOP_S = 15.0
"""How long the server may drain: longer than it promises."""

AFTER_WALK_S = 10.0
"""How long the last steps may still come after the walk: the longest timer of the street, 30 s of
its time, is 3 s; the rest is for a slow machine."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seed", type=click.IntRange(0), help="Another walk: other paces, other noise.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; 0 picks one.")
def command(seed: int | None, port: int) -> int:
    """Run a trial: three people walk down a small street, over HTTP, ten times as fast.

    On a terminal the server then stays up until Ctrl-C; elsewhere the exit status tells whether
    everything expected was seen.
    """
    try:
        return asyncio.run(_run(seed, port))
    except KeyboardInterrupt:
        return 130
    except asyncio.CancelledError:
        return 143


def main(words: Sequence[str] = ()) -> int:
    """Run the command with ``words``; the exit status: 0 all was seen, 1 something was not."""
    status: int = command.main(list(words), prog_name="proximity demo", standalone_mode=False)
    return status


def street() -> Path:
    """Find the drawn street: beside this file in an installation, else in a checkout's examples.

    Raises ProximityError where it is in neither place.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "street", here.parent / "examples" / "street"):
        if folder.is_dir():
            below = folder.is_relative_to(Path.cwd())
            return folder.relative_to(Path.cwd()) if below else folder
    raise ProximityError("the demo's street is missing: install the package anew")


async def _run(seed: int | None, port: int) -> int:
    """Start everything, tell the story, and stop everything again."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    stays = sys.stdout.isatty()
    screen, source = Screen(), street()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proximity-demo-")))
        screen.title("proximity demo", "a small street, three people, ten times as fast as life")
        token = ("token", "create", "--data", folder, "--role")
        walk = (source / "walkers.toml", *([] if seed is None else [seed]))
        # The first token makes the database; the rest happens side by side.
        admin, trace = await _together(
            _ask("proximity", *token, "admin"), _ask("simulator.walk", *walk)
        )
        feed, url = await _together(
            _ask("proximity", *token, "feed"),
            stack.enter_async_context(_server(folder, source, port)),
        )
        for name, text in (("admin.token", admin), ("feed.token", feed), ("street.jsonl", trace)):
            (folder / name).write_text(text, "utf-8")
        _introduce(screen, url, source)
        headers = {"Authorization": f"Bearer {admin.strip()}"}
        session = await stack.enter_async_context(aiohttp.ClientSession(url, headers=headers))
        await _enrol(session, source)
        story = Story(screen)
        told = asyncio.create_task(story.follow(session))
        stack.callback(told.cancel)
        await story.ready.wait()
        walker = await stack.enter_async_context(_walker(folder, url))
        await _until_told(walker, story, told)
        if story.missing:
            screen.problem(f"not as expected: {'; '.join(story.missing)}. The server's log:")
            sys.stderr.write((folder / "server.log").read_text("utf-8", "replace"))
        _look_further(screen, url, folder, source, stays=stays)
        if stays:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return 1 if story.missing else 0


def _introduce(screen: Screen, url: str, source: Path) -> None:
    screen.fact("server", f"{url}   a real `proximity serve`, its data in a temporary folder")
    screen.fact("street", f"{source}   fences, site, campaigns, people, walkers")
    screen.fact("walkers", "a phone each, a fix every 2 s, 5 m good, posted over HTTP as they walk")
    screen.fact("time", f"the server's clock runs {SPEED} times as fast as yours: all seconds and")
    screen.fact("", "times below are the street's own (UTC), and nothing else is scaled")
    screen.blank()


def _look_further(screen: Screen, url: str, folder: Path, source: Path, *, stays: bool) -> None:
    """Say what can be tried next: against the running server, or without one."""
    screen.blank()
    if stays:
        screen.fact("look", "further, from another terminal, while this goes on serving:")
        screen.blank()
        for line in (
            f"export PROXIMITY_TOKEN=$(cat {folder}/admin.token)",
            f"proximity explain --server {url} --subject ana-phone",
            f'curl -s -H "Authorization: Bearer $PROXIMITY_TOKEN" {url}/v1/decisions',
            f'curl -sN -H "Authorization: Bearer $PROXIMITY_TOKEN" "{url}/v1/stream?after=0"',
        ):
            screen.command(line)
        screen.blank()
        screen.fact("stop", "with Ctrl-C")
        return
    screen.fact("look", "further: the same walk offline, in the traces' own time")
    screen.blank()
    options = " ".join(
        f"--{name} {shlex.quote(f'{source}/{file}')}"
        for name, file in (
            ("site", "site.toml"), ("campaigns", "campaigns.toml"), ("people", "people.jsonl"),
        )
    )  # fmt: skip
    walkers = shlex.quote(f"{source}/walkers.toml")
    screen.command(f"python -m simulator.walk {walkers} > street.jsonl")
    screen.command(f"simulator replay street.jsonl {options} --out run")


async def _enrol(session: aiohttp.ClientSession, source: Path) -> None:
    """Tell the server who the people are, and what they agreed to."""
    people = (source / "people.jsonl").read_bytes()
    headers = {"Content-Type": "application/x-ndjson"}
    async with session.post("/v1/people", data=people, headers=headers) as response:
        if response.status >= 300:
            raise ProximityError(f"the server refuses the people: {await response.text()}")


async def _until_told(
    walker: asyncio.subprocess.Process, story: Story, told: asyncio.Task[None]
) -> None:
    """Wait until the walk is over and everything expected was told, or is overdue.

    Raises ProximityError where the walker fails, and whatever ended the stream early.
    """
    _, trouble = await walker.communicate()
    if walker.returncode != 0:
        raise ProximityError(f"the walker stopped: {trouble.decode('utf-8', 'replace').strip()}")
    complete = asyncio.create_task(story.complete.wait())
    await asyncio.wait({complete, told}, timeout=AFTER_WALK_S, return_when=asyncio.FIRST_COMPLETED)
    complete.cancel()
    if told.done():
        told.result()


async def _together(*works: Coroutine[Any, Any, str]) -> list[str]:
    """Do works side by side; where one fails the others are ended before its error goes on."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except* ProximityError as errors:
        raise ProximityError(*_problems(errors)) from None
    return [task.result() for task in tasks]


def _problems(errors: ExceptionGroup[ProximityError]) -> list[str]:
    return [
        problem
        for error in errors.exceptions
        if isinstance(error, ProximityError)
        for problem in error.problems
    ]


def _python(module: str, *words: object) -> list[str]:
    """Write the command line of one of our own commands, in this very environment."""
    return [sys.executable, "-m", module, *map(str, words)]


async def _ask(module: str, *words: object) -> str:
    """Run a command to its end and give what it printed. Raises ProximityError where it fails."""
    process = await asyncio.create_subprocess_exec(
        *_python(module, *words), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, trouble = await process.communicate()
    finally:
        await _stop(process)
    if process.returncode != 0:
        raise ProximityError(f"{module} failed: {trouble.decode('utf-8', 'replace').strip()}")
    return out.decode()


@contextlib.asynccontextmanager
async def _server(folder: Path, source: Path, port: int) -> AsyncIterator[str]:
    """Run the server and give its URL; at the end ask it to stop, and wait until it has.

    Raises ProximityError with its own words where it does not come up.
    """
    command = _python(
        "proximity", "serve", "--data", folder, "--site", source / "site.toml",
        "--campaigns", source / "campaigns.toml", "--port", port, "--clock-speed", SPEED,
    )  # fmt: skip
    log = folder / "server.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=stderr
        )
    try:
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), READY_S)
        except TimeoutError:
            line = b""
        prefix = b"listening on "
        if not line.startswith(prefix):
            # One that ends by itself is waited for, not signalled: a signal would reap it behind
            # the back of whoever waits.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_S)
            last = log.read_text("utf-8", "replace").strip().rpartition("\n")[2]
            raise ProximityError(f"the server did not start: {last.removeprefix('proximity: ')}")
        yield line.removeprefix(prefix).decode().strip()
    finally:
        await _stop(process)


@contextlib.asynccontextmanager
async def _walker(folder: Path, url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the walker: the trace, posted at ten times its pace."""
    process = await asyncio.create_subprocess_exec(
        *_python(
            "simulator", "replay", folder / "street.jsonl", "--server", url,
            "--token-file", folder / "feed.token", "--speed", SPEED,
        ),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a process of ours: ask, wait, and insist only where it does not answer."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
