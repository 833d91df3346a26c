"""The ``simulator`` command: its options, and what a problem looks like to a person.

Words go to standard error, answers to standard output. Exit status: 0 done, 1 the answer is "no",
2 bad usage or input that cannot be used.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beacon_gateway import terminal
from proximity.commands.questions import Finite
from proximity.inputs import STANDARD
from proximity.installation import missing_extra, refuse_collision
from proximity.model import ProximityError, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable

INPUTS = ("site", "fences", "campaigns", "people", "events")
"""The options that name a file to be read, each of which may be standard input."""
MAX_UNTIL_S = 366 * 86400.0
"""A year: further on nothing is left to happen, and a slip of the pen would only wait."""

PATH = click.Path(path_type=Path, allow_dash=True)


COMMANDS = {
    "compare": "simulator.compare",
    "plot": "simulator.plot",
    "record": "simulator.record",
    "make": "simulator.make",
    "score": "simulator.score",
}
"""Command -> the file that has it, under the same name; one that is not asked for is not loaded."""


class Commands(terminal.Commands):
    """The command's own group: what COMMANDS names is loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands."""
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command; None where there is none of this name."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return found


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def cli(context: click.Context) -> int:
    """Replay traces through the real engine: what would have happened?"""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return 2
    return 0


@cli.command()
@click.argument("traces", nargs=-1, required=True, type=PATH, metavar="TRACE...")
@click.option("--site", type=PATH, metavar="FILE", help="What is where: site.toml.")
@click.option("--fences", type=PATH, metavar="FILE", help="GeoJSON fences; over those of the site.")
@click.option(
    "--campaigns", type=PATH, metavar="FILE", help="campaigns.toml; else nothing is decided."
)
@click.option(
    "--people", type=PATH, metavar="FILE", help="JSONL of people and what they agreed to."
)
@click.option(
    "--events", type=PATH, metavar="FILE", help="Tagging plan: which events of the trace are kept."
)
@click.option(
    "--decide",
    type=click.Choice(["robust", "point"]),
    default="robust",
    show_default=True,
    help="How a fix becomes presence; point is the yardstick.",
)
@click.option(
    "--skip-bad", is_flag=True, help="Leave bad fences and unreadable lines out, and say so."
)
@click.option(
    "--out", type=PATH, metavar="DIR", help="Where transitions, decisions and deliveries go."
)
@click.option(
    "--expect", type=PATH, metavar="FILE", help="JSONL of partial records that must be there."
)
@click.option(
    "--junit", type=PATH, metavar="FILE", help="Write the expectations' outcome as JUnit XML."
)
@click.option(
    "--until", metavar="TIME|+S", help="Let the clock run on to here after the last record."
)
@click.option(
    "--late",
    "late_s",
    type=Finite(0.0),
    default=3600.0,
    show_default=True,
    metavar="S",
    help="How far behind a subject's newest a record still counts.",
)
@click.option(
    "--server", metavar="URL", help="Send the records to this server instead, as from now."
)
@click.option(
    "--speed",
    type=Finite(0.01, 1e6),
    metavar="X",
    help="With --server: so many times as fast.",
)
@click.option(
    "--token-file",
    type=PATH,
    metavar="FILE",
    help="With --server: the token (role feed); else PROXIMITY_TOKEN.",
)
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object.")
def replay(server: str | None, speed: float | None, token_file: Path | None, **told: Any) -> int:
    """Run the real engine over TRACEs in their own time, and tell what happened and why not.

    A TRACE is JSONL, GPX, CSV, or what phones log; - is standard input, here and for every FILE
    that is read, but only once. The same input gives the same output to the byte. Exit status 1
    where an expectation is not met, 2 for bad input.
    """
    read = [("TRACE", trace) for trace in told["traces"]]
    read += [(f"--{name}", told[name]) for name in INPUTS]
    read += [("--expect", told["expect"]), ("--token-file", token_file)]
    from_input = [name for name, path in read if path == STANDARD]
    if len(from_input) > 1:
        raise click.UsageError(f"only one can be standard input: {' and '.join(from_input)}")
    if server is not None:
        return _send(server, speed or 1.0, token_file, told)
    for name, value in (("speed", speed), ("token-file", token_file)):
        if value is not None:
            raise click.UsageError(f"--{name} goes with --server")
    from simulator.offline import Options, run

    if told["out"] == STANDARD:
        raise click.UsageError("--out is a folder: three files do not fit into standard output")
    told["until"] = None if told["until"] is None else _until(told["until"])
    return run(Options(**told))


MOST_REASONS = 10
"""Reasons of a server's refusals that are shown; one of them usually speaks for all."""


def _send(server: str, speed: float, token_file: Path | None, told: dict[str, Any]) -> int:
    """Post the traces to a running server, and say how many records it took."""
    import asyncio
    from collections import Counter
    from contextlib import ExitStack

    from simulator import live
    from simulator.progress import Progress
    from simulator.sources import parts_of, read_small

    context = click.get_current_context()
    for name in sorted(set(told) - {"traces", "skip_bad", "as_json"}):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            flag = "late" if name == "late_s" else name
            raise click.UsageError(f"--{flag} does not go with --server: the server has its own")
    if token_file is not None:
        token = read_small(token_file).decode("utf-8", "replace").strip()
    else:
        token = os.environ.get("PROXIMITY_TOKEN", "")
    if not token.isprintable() or not token:
        raise click.UsageError("--server needs a token: --token-file FILE or PROXIMITY_TOKEN")
    with ExitStack() as stack:
        progress = stack.enter_context(Progress())
        skip_bad: bool = told["skip_bad"]
        parts = parts_of(told["traces"], stack, progress.reads, Counter(), skip_bad=skip_bad)
        reasons: Counter[str] = Counter()
        counts = asyncio.run(live.send(progress.over(parts), server, token, speed, reasons))
    if told["as_json"]:
        import msgspec

        click.echo(msgspec.json.encode(counts))
    else:
        click.echo(
            ", ".join(f"{name} {number:,}" for name, number in counts.items()) or "no records"
        )
    for reason, number in reasons.most_common(MOST_REASONS):
        click.echo(f"rejected {number:,}: {reason}", err=True)
    return 1 if reasons else 0


def _until(text: str) -> Callable[[float], float]:
    """Read ``--until``: ``+S`` seconds after the last record, or a time."""
    try:
        if text.startswith("+"):
            seconds = float(text)
            if not 0.0 <= seconds <= MAX_UNTIL_S:
                raise ValueError(f"{text} is not 0 to {MAX_UNTIL_S:g} seconds")
            return lambda last: last + seconds
        try:
            at = parse_time(float(text))
        except ValueError:
            at = parse_time(text)
    except ValueError as error:
        raise click.UsageError(f"--until: {error}: give a time, or +SECONDS") from None
    return lambda _last: at


def main(words: list[str] | None = None) -> int:
    """Run the command with ``words``, else those of the process; give the exit status."""
    refuse_collision()
    terminal.open_streams()
    try:
        status: int = cli.main(words, prog_name="simulator", standalone_mode=False)
    except click.UsageError as error:
        command = "simulator" if error.ctx is None else error.ctx.command_path
        return _refuse(f"{error.format_message()} ({command} --help tells more)")
    except click.ClickException as error:
        return _refuse(error.format_message())
    except ProximityError as error:
        return _refuse(*error.problems)
    except ModuleNotFoundError as error:
        sentence = missing_extra(error)
        if sentence is None:
            raise
        return _refuse(sentence)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except OSError as error:
        if error.filename is not None or error.errno is None:
            return _refuse(f"this is a fault of the program: {type(error).__name__}: {error}")
        # What is read and what is written to a file is named where that is done.
        terminal.let_go()
        return _refuse(f"standard output: cannot be written: {error.strerror}: make room there")
    except Exception as error:  # noqa: BLE001 - a person reads this, so no traceback
        return _refuse(f"this is a fault of the program: {type(error).__name__}: {error}")
    return status or 0


def _refuse(*problems: str) -> int:
    for problem in problems:
        sys.stderr.write(f"simulator: {' '.join(problem.split())}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
