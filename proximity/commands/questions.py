"""What do operators and marketers ask on the command line? ``consent`` and the rest.

Each takes ``--data DIR`` or ``--server URL --token T``; where the answer comes from is
``asking``'s, how a failure ends the command is ``__main__``'s.
"""

from __future__ import annotations

import math
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.model import ProximityError, parse_time
from proximity.person import language_tag

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


class Language(click.types.StringParamType):
    """A language tag, as people's own languages are written."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read the tag, or refuse the option: of no language anybody would get the default's."""
        try:
            return language_tag(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


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


def is_url(url: str) -> bool:
    """Whether this is the address of a server: http or https, a host, and a port that is one."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    # What is blank or a line break ``urlsplit`` passes over, and whoever follows the link does not.
    plain = url.isprintable() and " " not in url and parts.username is None
    return plain and bool(host) and parts.scheme in {"http", "https"}


def reached_at(url: str) -> str:
    """Give where --url says that people reach the server. Raises ProximityError."""
    if not is_url(url) or set("?#") & set(url):
        raise ProximityError(f"--url {url!r:.80} is no address of a server: write https://HOST")
    return url.rstrip("/")


def echo_json(value: object) -> None:
    """Print a value as a line of JSON."""
    click.echo(msgspec.json.encode(value).decode())
