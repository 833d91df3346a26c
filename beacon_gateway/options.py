"""The question: how are a gateway's settings typed at a terminal.

One row of options for every command that needs them, and the one way from there to ``Settings``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click

from beacon_gateway.settings import KEYS, Settings, load


class Named(click.Path):
    """The name of a file or folder; an empty one, as an unset variable leaves it, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the name, or refuse the option."""
        if value == "":
            self.fail("is empty: give a name.", param, ctx)
        return super().convert(value, param, ctx)


FILE = Named(path_type=Path, dir_okay=False)
FOLDER = Named(path_type=Path, file_okay=False)

# How each key is typed, in the order in which help shows them; the rest is for a settings file.
TYPED: dict[str, dict[str, Any]] = {
    "server": {"metavar": "URL"},
    "token_file": {"type": FILE, "metavar": "FILE"},
    "data": {"type": FOLDER, "metavar": "DIR"},
    "gateway": {"metavar": "ID"},
    "ca_file": {"type": FILE, "metavar": "FILE"},
    "adapters": {"multiple": True, "metavar": "MAC"},
    "passive": {"is_flag": True},
    "canary": {"metavar": "UUID/MAJOR/MINOR"},
    "simulate": {"type": FILE, "metavar": "TRACE"},
    "speed": {"type": float, "metavar": "X"},
}
LONG = {"adapters": "--adapter"}


class Seconds(click.FloatRange):
    """Seconds of a range; NaN, which is within every range for ``click``, is not."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the number, or refuse the option."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return number


Command = Callable[..., Any]


def asked(*names: str) -> Callable[[Command], Command]:
    """Give a command the options ``names`` (keys of TYPED) and ``--config``."""

    def give(command: Command) -> Command:
        config = "TOML file that says the same; so does the environment, BEACON_GATEWAY__KEY."
        command = click.option("--config", type=FILE, metavar="FILE", help=config)(command)
        for name in reversed(names):
            purpose = KEYS[name].purpose
            text = f"{purpose[0].upper()}{purpose[1:]}."
            long = LONG.get(name, f"--{name.replace('_', '-')}")
            command = click.option(long, name, help=text, **TYPED[name])(command)
        return command

    return give


def told(
    config: Path | None, options: dict[str, Any], needs: Collection[str] = ("server", "data")
) -> Settings:
    """Make the settings from what was typed, the environment and the file of ``--config``."""
    return load(options, os.environ, config, needs)
