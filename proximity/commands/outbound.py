"""``proximity outbound``: who is told what happens, how far they are, and tell them again."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import msgspec

from proximity.commands.questions import FOLDER, echo_json


@click.group("outbound")
def outbound() -> None:
    """See how far the subscribers of `serve --outbound` are."""


@outbound.command("list")
@click.option("--data", required=True, type=FOLDER, help="Folder of the server's state.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def outbound_list(data: Path, *, as_json: bool) -> None:
    """List subscribers: position, newest row, state, and since when they take nothing."""
    from proximity.model import format_time
    from proximity.outbound import positions
    from proximity.store import open_state

    store = open_state(data)
    try:
        rows = store.read(
            lambda conn: [(one, positions.newest(conn, one.feed)) for one in positions.listed(conn)]
        )
    finally:
        store.close()
    for one, newest in rows:
        since = None if one.failing_since is None else format_time(one.failing_since)
        if as_json:
            fields = msgspec.structs.asdict(one) | {
                "failing_since": since, "moved_at": format_time(one.moved_at), "newest": newest,
            }  # fmt: skip
            echo_json(fields)
            continue
        failing = "" if since is None else f", takes nothing since {since}"
        state = one.state.replace("_", " ")
        click.echo(
            f"{one.subscriber}  {one.feed}  {state}  {one.position} of {newest}"
            f"{failing}, written {format_time(one.moved_at)}"
        )


@outbound.command("enable")
@click.argument("subscriber")
@click.option("--data", required=True, type=FOLDER, help="Folder of the server's state.")
def outbound_enable(subscriber: str, data: Path) -> int:
    """Tell SUBSCRIBER again, who is gone or was given up, from where they were."""
    from proximity.outbound import positions
    from proximity.store import open_state

    store = open_state(data)
    try:
        done = store.write(lambda conn: positions.enable(conn, subscriber, time.time())).result()
    finally:
        store.close()
    if not done:
        sys.stderr.write(
            "proximity: nobody is called so: `proximity outbound list` names the subscribers\n"
        )
    return 0 if done else 1


COMMANDS = (outbound,)
