"""What do operators and marketers ask on the command line? ``consent`` and the rest.

Each takes ``--data DIR`` or ``--server URL --token T``; where the answer comes from is
``asking``'s, how a failure ends the command is ``__main__``'s.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.model import ProximityError, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from proximity.commands.asking import Source

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


class Finite(click.FloatRange):
    """A number of a range, and a number: NaN is within every range for ``click``."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the number, or refuse the option."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def where(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where to ask: a data folder, or a running server."""
    for option in (
        click.option("--token", envvar="PROXIMITY_TOKEN", help="Token; else PROXIMITY_TOKEN."),
        click.option("--server", help="URL of a running server."),
        click.option("--data", type=FOLDER, help="Folder of the server's state."),
    ):
        command = option(command)
    return command


def _open(
    data: Path | None, server: str | None, token: str | None
) -> AbstractContextManager[Source]:
    from proximity.commands.asking import open_source

    return open_source(data, server, token)


def moment(option: str, text: str | None) -> float | None:
    """Read a time that an option gave: RFC 3339 or Unix seconds. Raises ProximityError."""
    if text is None:
        return None
    try:
        return parse_time(float(text))
    except ValueError:
        pass
    try:
        return parse_time(text)
    except ValueError as error:
        form = "write it as 2026-05-04T12:30:00Z, or in Unix seconds"
        raise ProximityError(f"{option}: {error}; {form}") from None


def echo_json(value: object) -> None:
    """Print a value as a line of JSON."""
    click.echo(msgspec.json.encode(value).decode())
