"""How does a running server's feed become a trace? The command ``simulator record``.

Asks the server to tell what it accepts and writes that down, line by line. The server leaves out
who has not agreed and hides who is who, before anything comes here (``docs/replay.md``).
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import aiohttp
import click
import msgspec

from proximity.commands.questions import Finite
from proximity.inputs import STANDARD
from proximity.model import ProximityError
from simulator.live import check_url
from simulator.sources import read_small

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["record", "recorded"]

SILENT_S = 60.0
"""The server counts aloud every ten seconds: one that says nothing for so long is gone."""
LONGEST_LINE = 256 * 1024
"""Bytes of one record; the longest id and the most there is to say take a hundredth of it."""


class Said(msgspec.Struct, frozen=True):
    """A line of the server's that is no record: what came so far, and what was left out."""

    recorded: int = 0
    unconsented: int = 0
    carried: int = 0
    ended: bool = False


@click.command()
@click.option("--server", required=True, metavar="URL", help="The running server.")
@click.option(
    "--token",
    envvar="PROXIMITY_TOKEN",
    metavar="T",
    help="Role analyst or admin; else PROXIMITY_TOKEN.",
)
@click.option(
    "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="The token, in a file."
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="The trace; a new file.",
)
@click.option(
    "--purpose",
    default="recording",
    show_default=True,
    metavar="NAME",
    help="Only people who have agreed to this purpose are recorded.",
)
@click.option(
    "--for", "for_s", type=Finite(0.1), metavar="S", help="End after S seconds; else Ctrl-C."
)
def record(
    server: str,
    token: str | None,
    token_file: Path | None,
    out: Path,
    purpose: str,
    for_s: float | None,
) -> int:
    """Record what a running server accepts, as a trace to replay.

    Only records of people who have agreed to the purpose are in it, under pseudonyms that hold
    for this recording alone. Where they were is in it: treat the file as personal.
    """
    if token_file is not None:
        token = read_small(token_file).decode("utf-8", "replace").strip()
    if not token or not token.isprintable():
        raise click.UsageError("a token is needed: --token-file FILE or PROXIMITY_TOKEN")
    check_url(server)
    if out != STANDARD and out.exists():
        raise ProximityError(f"{out}: is there already: name a new file")
    try:
        said = asyncio.run(_write(out, server, token, purpose, for_s))
    except KeyboardInterrupt:
        click.echo(f"ended; what came is in {_called(out)}", err=True)
        return 0
    left = [f"{said.unconsented:,} of people who have not agreed to {purpose}"] * bool(
        said.unconsented
    )
    left += [f"{said.carried:,} of tags that somebody carries"] * bool(said.carried)
    click.echo(f"{said.recorded:,} records in {_called(out)}", err=True)
    if left:
        click.echo(f"left out: {', '.join(left)}", err=True)
    if not said.ended:
        raise ProximityError(
            f"{server}: cut off before the end (stopped, or too much at once): "
            f"{_called(out)} holds what came until then"
        )
    return 0


async def recorded(
    server: str, token: str, purpose: str, for_s: float | None = None
) -> AsyncIterator[bytes | Said]:
    """Give each record as a line of a trace, and now and then what the server counts.

    Ends when the server does; the last thing said tells whether it ended by itself. Raises
    ProximityError where the server refuses, or cannot be reached.
    """
    url = f"{server.rstrip('/')}/v1/records/stream"
    query = {"purpose": purpose} | ({} if for_s is None else {"for": f"{for_s:g}"})
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=SILENT_S)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with (
            aiohttp.ClientSession(
                headers=headers, timeout=timeout, read_bufsize=LONGEST_LINE
            ) as session,
            session.get(url, params=query) as answer,
        ):
            if answer.status != 200:
                raise ProximityError(
                    f"{url}: answers {answer.status}: {(await answer.text())[:200]}"
                )
            async for line in answer.content:
                if line.startswith(b'{"recorded"'):
                    yield msgspec.json.decode(line, type=Said)
                elif line.endswith(b"\n"):
                    yield line
    except aiohttp.ClientPayloadError:
        return  # cut off: the last count said that there was more to come
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ProximityError(
            f"{url}: cannot be read ({error or type(error).__name__}): is the server running?"
        ) from None


async def _write(out: Path, server: str, token: str, purpose: str, for_s: float | None) -> Said:
    """Write the trace as it comes, so that an end without warning loses nothing."""
    said, count = Said(), 0
    with ExitStack() as stack:
        file: BinaryIO | None = sys.stdout.buffer if out == STANDARD else None
        async for one in recorded(server, token, purpose, for_s):
            if file is None:  # the server has agreed: now there is something to keep
                file = stack.enter_context(_opened(out))
            if isinstance(one, Said):
                said = one
                file.flush()
            else:
                count += 1
                file.write(one)
    return msgspec.structs.replace(said, recorded=count)


def _opened(out: Path) -> BinaryIO:
    try:
        return out.open("xb")
    except OSError as error:
        raise ProximityError(
            f"{out}: cannot be written: {error.strerror}: name a new file in a folder that is there"
        ) from None


def _called(out: Path) -> str:
    return "standard output" if out == STANDARD else str(out)
