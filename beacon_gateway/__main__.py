"""The command `beacon-gateway`: what an in-store agent does, as far as a terminal is concerned.

Words go to standard error, what was asked for to standard output; exit status 2 is bad usage or
input that cannot be read.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from beacon_gateway import agent, calibrate, doctor, scan, systemd, terminal
from beacon_gateway.adverts import decode_line
from beacon_gateway.model import BOM, GatewayError
from beacon_gateway.options import TYPED, asked, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from beacon_gateway.model import Beacon

# The longest advertisement is 1,650 bytes, twice as many hex digits; a longer line is no beacon
# and is not kept in memory.
MAX_LINE = 8192


def _refuse(problem: object, status: int = 2) -> NoReturn:
    click.echo(str(problem), err=True)
    sys.exit(status)


class Commands(terminal.Commands):
    """A group whose bad usage is one line and exit status 2, as every other problem is."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command and leave with its status."""
        options["standalone_mode"] = False
        terminal.open_streams()
        try:
            status = super().main(*args, **options)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx is not None else "beacon-gateway"
            problem = " ".join(error.format_message().split())
            _refuse(f"beacon-gateway: {problem} See `{command} --help`.")
        except click.ClickException as error:
            _refuse(f"beacon-gateway: {' '.join(error.format_message().split())}")
        except GatewayError as error:
            _refuse(error, error.status)
        except click.Abort:
            sys.exit(130)
        except Exception as error:  # noqa: BLE001 - whatever it is, a user gets one line
            if (reason := terminal.unwritable(error)) is not None:
                terminal.let_go()
                _refuse(f"beacon-gateway: {reason}")
            # Where, and not what: the text of an error may name what was heard of bystanders.
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}, line {last.lineno}"
            _refuse(f"beacon-gateway: a fault of the program: {type(error).__name__} in {place}")
        sys.exit(status if isinstance(status, int) else 0)


@click.group(
    cls=Commands, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]}
)
def main() -> None:
    """Hear beacons in a store and tell the engine."""


@main.command()
@click.argument("file", default="-", metavar="[FILE]")
def decode(file: str) -> None:
    """Decode advertisements to beacons, a line of JSON for each line.

    A line is the hex of a whole advertising payload, mfr:COMPANY:HEX or svc:UUID16:HEX. The
    answer is null where it is no beacon. FILE is standard input where it is left out or "-".
    """
    out = sys.stdout.buffer
    live = file == "-"
    for beacon in _beacons(file):
        out.write(msgspec.json.encode(beacon) + b"\n")
        if live:
            out.flush()
    out.flush()


@main.command()
@asked(*TYPED)
def run(config: Path | None, **options: Any) -> int:
    """Hear enrolled beacons and tell the engine, until it is stopped.

    What to listen for comes from the server, and is kept for a start without network. What the
    server cannot take now waits in the data folder. Status 1 means: start me again.
    """
    return agent.run(told(config, options))


for each in (scan, doctor, calibrate, systemd):
    main.add_command(each.command)


def _beacons(file: str) -> Iterator[Beacon | None]:
    """Decode each line of a file; one that is too long is passed over, never held."""
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as source:
            while line := source.readline(MAX_LINE):
                if len(line) < MAX_LINE or line.endswith(b"\n"):
                    yield decode_line(line.removeprefix(BOM).decode("ascii", "replace"))
                    continue
                while line and not line.endswith(b"\n"):
                    line = source.readline(MAX_LINE)
                yield None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise GatewayError(
            f"{file}: cannot be read ({reason}): check the name and the rights"
        ) from None


if __name__ == "__main__":
    main()
