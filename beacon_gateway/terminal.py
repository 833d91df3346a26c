"""What becomes of a command whose reader goes away, or whose streams are closed?

The manners of every command of this project on the standard streams, in one place (``geofences``
alone, which imports nothing of ours, has its own). Knows click and the streams; knows no command.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Commands", "let_go", "open_streams", "unwritable"]

# What a full disk, a broken one or a closed descriptor answers to whoever writes.
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def open_streams() -> None:
    """Put nothing in the place of closed streams: nobody is there to be read, or to read."""
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def unwritable(error: Exception) -> str | None:
    """Say why standard output cannot be written; None where it is not that: a file has a name."""
    if isinstance(error, OSError) and not error.filename and error.errno in _UNWRITABLE:
        return f"standard output cannot be written ({error.strerror})"
    return None


def let_go() -> None:
    """Send what standard output still holds nowhere; at the end it would be tried once more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _seen_enough() -> Iterator[None]:
    """End well where who reads the output went away; ``click`` would make it status 1, a "no"."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        let_go()
        raise click.exceptions.Exit(0) from None


class Commands(click.Group):
    """A group whose commands end well where nobody reads on."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the words; where they ask for help, this prints it."""
        with _seen_enough():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the words name."""
        with _seen_enough():
            return super().invoke(ctx)
