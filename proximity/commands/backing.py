"""``proximity backup`` and ``proximity restore``: a copy of all state, carried away and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from proximity.commands.questions import FILE, FOLDER, echo_json
from proximity.model import ProximityError

if TYPE_CHECKING:
    from proximity.store.backup import Copied

_JSON = click.option("--json", "as_json", is_flag=True, help="What it holds, as JSON.")


@click.command("backup")
@click.option("--data", required=True, type=FOLDER, help="Folder of the server's state.")
@click.argument("out", type=FILE)
@_JSON
def backup(data: Path, out: Path, *, as_json: bool) -> None:
    """Copy all state to the new file OUT, beside a running server or without one.

    OUT is checked and on the disk when this ends. It holds who was where, and credentials: keep it
    as you keep the folder. It is the same kind of file where the state is in a PostgreSQL.
    """
    from proximity.store.backup import backup as copy
    from proximity.store.folder import state_of

    _refuse_pipe(out)
    _tell(out, copy(state_of(data), out), as_json=as_json)


@click.command("restore")
@click.option("--data", required=True, type=FOLDER, help="Folder that will hold the state.")
@click.argument("source", metavar="BACKUP", type=FILE)
@_JSON
def restore(data: Path, source: Path, *, as_json: bool) -> None:
    """Make a data folder from BACKUP; a folder that holds state already is refused.

    Where the folder names a PostgreSQL, the state goes there: so a server moves to one.
    Whoever was erased since is in it again: erase them once more before `serve`.
    """
    from proximity.store.backup import restore as copy
    from proximity.store.folder import state_of

    _refuse_pipe(source)
    target = state_of(data)
    _tell(target if isinstance(target, Path) else data, copy(source, target), as_json=as_json)


def _refuse_pipe(file: Path) -> None:
    if str(file) == "-":
        raise ProximityError("-: a backup is read and checked page by page: name a file")


def _tell(path: Path, copied: Copied, *, as_json: bool) -> None:
    from proximity.model import format_time

    until = format_time(copied.until) if copied.until else None
    if as_json:
        echo_json(
            {
                "file": str(path),
                "position": copied.position,
                "until": until,
                "schema": copied.revision,
                "bytes": copied.bytes,
            }
        )
        return
    click.echo(
        f"{path}: whole, {copied.bytes:,} bytes, schema {copied.revision}, all that was "
        f"acknowledged up to journal row {copied.position}" + (f" of {until}" if until else "")
    )


COMMANDS: tuple[click.Command, ...] = (backup, restore)
