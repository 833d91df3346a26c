"""The ``proximity`` command: serve, tokens, and what operators and marketers ask.

Words go to standard error, answers to standard output. Exit status: 0 done, 1 the answer is "no",
2 bad usage or input that cannot be used; a problem is one line that names the thing and the mend.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from beacon_gateway import terminal
from beacon_gateway.logs import log_to_stderr
from proximity.commands.backing import COMMANDS as BACKING
from proximity.commands.campaigning import COMMANDS as CAMPAIGNING
from proximity.commands.consenting import COMMANDS as CONSENTING
from proximity.commands.explaining import COMMANDS as EXPLAINING
from proximity.commands.outbound import COMMANDS as OUTBOUND
from proximity.commands.persons import COMMANDS as PERSONS
from proximity.commands.privacy import COMMANDS as PRIVACY
from proximity.commands.privacy import OF_A_PERSON
from proximity.commands.pushing import COMMANDS as PUSHING
from proximity.commands.questions import Finite, echo_json
from proximity.commands.reporting import COMMANDS as REPORTING
from proximity.commands.segmenting import COMMANDS as SEGMENTING
from proximity.commands.syncing import COMMANDS as SYNCING
from proximity.inputs import STANDARD
from proximity.installation import refuse_collision, refuse_missing
from proximity.model import ProximityError
from proximity.site.installing import COMMANDS as INSTALLING

if TYPE_CHECKING:
    from contextlib import closing

    from proximity.store import Store

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
# What a group without a command ends with since click 8.2; before, it printed its help by itself.
_NO_WORDS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
ROLES = ("device", "gateway", "feed", "marketer", "analyst", "admin")


class Commands(terminal.Commands):
    """A group whose commands end in one line and a status, never in a traceback."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command and leave with its status."""
        options["standalone_mode"] = False
        terminal.open_streams()
        try:
            status = super().main(*args, **options)
        except click.exceptions.Exit as end:
            status = end.exit_code
        except click.UsageError as error:
            if isinstance(error, _NO_WORDS):
                error.show()  # the help, in its own lines
                sys.exit(2)
            command = error.ctx.command_path if error.ctx is not None else "proximity"
            _refuse(f"{error.format_message()} See `{command} --help`.")
        except click.ClickException as error:
            _refuse(error.format_message())
        except click.Abort:
            sys.exit(130)
        except ModuleNotFoundError as error:
            refuse_missing(error)
        except Exception as error:
            problems = getattr(error, "problems", None)
            if (reason := terminal.unwritable(error)) is not None:
                terminal.let_go()
                problems = (f"{reason}: make room",)
            if problems is None:
                logging.getLogger("proximity").debug("failed", exc_info=True)
                problems = (f"this is a fault of the program: {type(error).__name__}: {error}",)
            _refuse(*problems)
        sys.exit(status if isinstance(status, int) else 0)


def _refuse(*problems: object) -> NoReturn:
    for problem in problems:
        text = " ".join(str(problem).split())
        sys.stderr.write(f"proximity: {text}\n")
    sys.exit(2)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="proximity-engine", prog_name="proximity")
def main() -> None:
    """Who is where, and what is said to them."""
    refuse_collision()


@main.command()
@click.option("--data", required=True, type=FOLDER, help="Folder that holds all of its state.")
@click.option("--site", type=FILE, help="Site file: places, gateways, beacons, fences.")
@click.option("--campaigns", type=FILE, help="Campaigns file.")
@click.option("--events", type=FILE, help="Tagging plan: which events are kept.")
@click.option(
    "--consent", type=click.Choice(["required", "assumed"]), default="required", show_default=True,
    help="Whether consent is kept here, or upstream.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind to.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 picks one."
)
@click.option("--tls-cert", type=FILE, help="PEM certificate chain.")
@click.option("--tls-key", type=FILE, help="Its PEM key.")
@click.option(
    "--late", "late_s", type=Finite(0, 7 * 86400), default=3600.0, show_default=True,
    help="Seconds a record may be behind.",
)  # fmt: skip
@click.option(
    "--arm-phones", is_flag=True,
    help="Tell OwnTracks and Transistor clients the nearest fences, to wake them there.",
)  # fmt: skip
@click.option(
    "--privacy",
    type=FILE,
    help="Privacy file: how long what is kept, who else has to erase, sensitive areas.",
)
@click.option("--sync", type=FILE, help="Sync file: whose word counts, how old a mirror may be.")
@click.option("--client", type=FOLDER, help="Folder of a web client, served as /client/.")
@click.option("--outbound", type=FILE, help="Subscribers file: who else is told what happens.")
@click.option(
    "--mqtt", metavar="URL",
    help="Also take records from the broker at mqtt[s]://[USER@]HOST[:PORT].",
)  # fmt: skip
@click.option("--mqtt-password-file", type=FILE, help="File that holds USER's password.")
@click.option(
    "--clock-speed", type=Finite(1.0, 1000.0), default=1.0, show_default=True,
    help="For rehearsals: time runs so many times as fast.",
)  # fmt: skip
def serve(**options: Any) -> int:
    """Run the engine; prints `listening on URL` once it is ready."""
    for name, value in options.items():
        if value == STANDARD:
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{flag} cannot be standard input: the server reads it again.")
    log_to_stderr(variable="PROXIMITY_LOG", hushed=("aiohttp",))
    from proximity.server import pauses

    with pauses.put_off():
        from proximity.server import Settings, run

    return run(Settings(**options))


@main.command()
@click.option("--data", required=True, type=FOLDER, help="Folder that names the server's state.")
@click.option("--campaigns", type=FILE, help="Campaigns file, the same as the server's.")
def worker(**options: Any) -> int:
    """Decide and send beside `serve`; prints `working` once it does.

    The folder holds a `postgresql.url` as the server's does, or is the server's own.
    """
    if options["campaigns"] == STANDARD:
        raise click.UsageError("--campaigns cannot be standard input: keys lie beside the file.")
    log_to_stderr(variable="PROXIMITY_LOG", hushed=("aiohttp",))
    from proximity.worker import WorkerSettings, run

    return run(WorkerSettings(**options))


@main.group()
def token() -> None:
    """Make, list and revoke the tokens that requests come with."""


@token.command("create")
@click.option("--data", required=True, type=FOLDER, help="Folder of the server's state.")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What it may do.")
@click.option("--id", "speaks_for", help="The one id a device or gateway speaks for.")
def token_create(data: Path, role: str, speaks_for: str | None) -> None:
    """Make a token and print it, this once."""
    from proximity.model import Person
    from proximity.server.auth import Role, make_token

    if speaks_for is not None:
        try:
            Person(person=speaks_for)
        except ValueError as error:
            raise ProximityError(f"--id: {error}".replace("person", "an id")) from None
    with _store(data, create=True) as store:
        made = store.write(
            lambda conn: make_token(conn, Role(role), speaks_for, time.time())
        ).result()
    click.echo(made)


@token.command("list")
@click.option("--data", required=True, type=FOLDER, help="Folder of the server's state.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def token_list(data: Path, *, as_json: bool) -> None:
    """List tokens: never the secret itself."""
    from proximity.model import format_time
    from proximity.server.auth import list_tokens

    with _store(data) as store:
        rows = store.read(list_tokens)
    for row in rows:
        fields = {
            "id": row.id,
            "role": row.role,
            "for": row.subject,
            "created": format_time(row.created_at),
            "revoked": None if row.revoked_at is None else format_time(row.revoked_at),
        }
        if as_json:
            echo_json(fields)
        else:
            state = "in force" if row.revoked_at is None else f"revoked {fields['revoked']}"
            click.echo(f"{row.id}  {row.role:<8}  {row.subject or '-':<24}  {state}")


@token.command("revoke")
@click.option("--data", required=True, type=FOLDER, help="Folder of the server's state.")
@click.argument("which")
def token_revoke(data: Path, which: str) -> int:
    """Revoke WHICH: a token's id as listed, or the token itself. A running server follows."""
    from proximity.server.auth import revoke_token

    with _store(data) as store:
        found = store.write(lambda conn: revoke_token(conn, which, time.time())).result()
    if not found:
        sys.stderr.write("proximity: no token in force has this id: see `proximity token list`\n")
        return 1
    return 0


@main.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def demo(words: tuple[str, ...]) -> int:
    """Run a trial: a walk through a small street, over HTTP."""
    from proximity.demo import main as run_demo

    return int(run_demo(list(words)) or 0)


def _store(folder: Path, *, create: bool = False) -> closing[Store]:
    """Open the store of a data folder for one command; a missing one is made only to ``create``."""
    from contextlib import closing

    from proximity.store import open_state

    return closing(open_state(folder, create=create))


for _command in (
    *CAMPAIGNING,
    *CONSENTING,
    *EXPLAINING,
    *PERSONS,
    *REPORTING,
    *SEGMENTING,
    *INSTALLING,
    *PRIVACY,
    *PUSHING,
    *OUTBOUND,
    *BACKING,
    *SYNCING,
):
    main.add_command(_command)
for _command in OF_A_PERSON:
    main.commands["person"].add_command(_command)  # type: ignore[attr-defined]  # it is a group


if __name__ == "__main__":
    main()
