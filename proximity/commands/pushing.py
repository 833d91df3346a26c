"""What does somebody need to send their first web push? Keys, and a link for a phone.

``push`` makes the keys, ``client`` the link that gives a phone its token. How a failure ends the
command is ``__main__``'s.
"""

from __future__ import annotations

import sys
import time
import urllib.parse
from contextlib import closing
from pathlib import Path

import click

from proximity.commands.questions import FILE, FOLDER, reached_at
from proximity.commands.trying import push_try
from proximity.inputs import STANDARD
from proximity.model import Person, ProximityError


@click.group()
def push() -> None:
    """Set up push, and try it."""


push.add_command(push_try)


@push.command("keys")
@click.option("--out", required=True, type=FILE, help="File for the private key; a new one.")
def push_keys(out: Path) -> None:
    """Make the key pair that browsers subscribe with; print its public half.

    The file is for `key_file` in [channel.web-push]. Keep it: with another key nobody who has
    subscribed is reached any more.
    """
    from proximity.channels.vapid import make_key, public_key_of, write_key

    if out == STANDARD:
        raise ProximityError("--out -: the private key is for one file alone: name it")
    key = make_key()
    write_key(out, key)
    click.echo(public_key_of(key))


@click.group()
def client() -> None:
    """Let phones use the web client."""


@client.command("link")
@click.option("--data", required=True, type=FOLDER, help="Folder of the server's state.")
@click.option("--subject", required=True, help="The phone's id; its fixes come under it.")
@click.option("--url", required=True, help="Where phones reach the server, https://HOST.")
def client_link(data: Path, subject: str, url: str) -> None:
    """Make a token for one phone, and print the link that opens the client with it.

    Whoever has the link is this phone: hand it to one person. `token revoke` ends it.
    """
    from proximity.server.auth import Role, make_token
    from proximity.store import open_state

    try:
        Person(person=subject)
    except ValueError as error:
        raise ProximityError(f"--subject: {error}".replace("person", "an id")) from None
    base = _base(url)
    with closing(open_state(data, create=True)) as store:
        token = store.write(
            lambda conn: make_token(conn, Role.DEVICE, subject, time.time())
        ).result()
    # Behind the #, where no server and no proxy sees it.
    told = urllib.parse.urlencode({"token": token, "subject": subject})
    click.echo(f"{base}/client/#{told}")


def _base(url: str) -> str:
    """Check where phones are to go, and say what keeps the client from working there."""
    base = reached_at(url)
    parts = urllib.parse.urlsplit(base)
    if parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        sys.stderr.write(
            "proximity: browsers give pages of http:// neither push nor position: serve with "
            "--tls-cert, and give its https address\n"
        )
    return base


COMMANDS = (push, client)
