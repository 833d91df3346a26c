"""How are gateways paired and tags enrolled on the command line? ``gateway`` and ``beacon``.

Each takes ``--data DIR`` or ``--server URL --token T``; what it does there is ``enrolling``'s.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from beacon_gateway.model import check_id
from proximity.commands.questions import FILE, Finite, echo_json, where
from proximity.inputs import called, read_text
from proximity.model import ProximityError
from proximity.site.sitefile import MAX_BEACONS_BYTES

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from proximity.site.enrolling import Ends


def _checked(_ctx: click.Context, _option: click.Parameter, value: str) -> str:
    """Refuse what is no id, before anything is asked."""
    try:
        check_id(value, "--id")
    except ValueError as error:
        raise ProximityError(f"{error}: give the id that the gateway has in the site") from None
    return value


_ID = click.option(
    "--id", "gateway", required=True, callback=_checked, help="The gateway's id."
)  # fmt: skip
DAY_S = 86_400.0


def _open(data: Path | None, server: str | None, token: str | None) -> AbstractContextManager[Ends]:
    from proximity.site.enrolling import open_ends

    return open_ends(data, server, token)


@click.group("gateway")
def gateway_group() -> None:
    """Pair gateways with the server, and replace what they sign with."""


@gateway_group.command("pair")
@where
@_ID
@click.option("--place", help="The place where it stands; not needed where it is enrolled already.")
@click.option("--json", "as_json", is_flag=True, help="The secret in a JSON object.")
def pair(
    data: Path | None, server: str | None, token: str | None, gateway: str, place: str | None,
    *, as_json: bool,
) -> None:  # fmt: skip
    """Enrol a gateway, make its secret, and print what to do on it. Secrets before end."""
    with _open(data, server, token) as ends:
        known = next((one for one in ends.gateways() if one["id"] == gateway), None)
        if known is None and place is None:
            raise ProximityError(f"gateway {gateway!r} is new: say where it stands with --place")
        if known is not None and place not in {None, known["place"]}:
            raise ProximityError(
                f"gateway {gateway!r} stands in {known['place']!r}: leave --place out, or move "
                "the gateway first (PUT /v1/gateways/ID, or the site file)"
            )
        if known is None:
            ends.put_gateway({"id": gateway, "place": place})
        made = ends.make_secret(gateway, 0.0)
    if as_json:
        echo_json({"gateway": gateway, "secret": made})
        return
    url = server or "https://THIS-SERVER"
    click.echo(
        f"""\
# On the gateway, as root. The secret is shown this once.
install -d -m 700 /etc/beacon-gateway
( umask 077 && cat > /etc/beacon-gateway/token ) <<'END'
{made}
END
cat > /etc/beacon-gateway/settings.toml <<'END'
server = {_toml(url)}
gateway = {_toml(gateway)}
token_file = "token"
data = "/var/lib/beacon-gateway"
END
beacon-gateway doctor --config /etc/beacon-gateway/settings.toml
beacon-gateway install-service --config /etc/beacon-gateway/settings.toml"""
    )
    if server is None:
        sys.stderr.write(
            "proximity: write the server's own address in place of https://THIS-SERVER\n"
        )


@gateway_group.command("secret")
@where
@_ID
def secret(data: Path | None, server: str | None, token: str | None, gateway: str) -> None:
    """Make a new secret and print it alone, this once. Those before end now."""
    with _open(data, server, token) as ends:
        click.echo(ends.make_secret(gateway, 0.0))


@gateway_group.command("rotate")
@where
@_ID
@click.option(
    "--overlap", "days", type=Finite(1 / 24, 90.0), default=7.0, show_default=True,
    help="Days for which the secrets before go on.",
)  # fmt: skip
def rotate(
    data: Path | None, server: str | None, token: str | None, gateway: str, days: float
) -> None:
    """Replace the secret; the gateway fetches the new one by itself, over TLS alone."""
    with _open(data, server, token) as ends:
        known = next((one for one in ends.gateways() if one["id"] == gateway), None)
        if known is not None and not known["secrets"]:
            raise ProximityError(
                f"gateway {gateway!r} has no secret that it could fetch a new one with: give it "
                "its first (proximity gateway pair, or secret)"
            )
        ends.make_secret(gateway, days * DAY_S)
    sys.stderr.write(f"proximity: the secrets before end in {days:g} days\n")


@gateway_group.command("list")
@where
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def list_gateways(
    data: Path | None, server: str | None, token: str | None, *, as_json: bool
) -> None:
    """List gateways, where they stand and whether they sign; never a secret itself."""
    with _open(data, server, token) as ends:
        found = ends.gateways()
    for one in found:
        if as_json:
            echo_json(one)
        else:
            click.echo(f"{one['id']:<24}  {one['place']:<32}  {one['source']}  {_signs(one)}")


@gateway_group.command("revoke")
@where
@_ID
def revoke(data: Path | None, server: str | None, token: str | None, gateway: str) -> int:
    """End all secrets of a gateway at once. Tokens: `proximity token revoke`."""
    with _open(data, server, token) as ends:
        if ends.end_secrets(gateway):
            return 0
    sys.stderr.write("proximity: no secret of this gateway is in force\n")
    return 1


@click.group("beacon")
def beacon_group() -> None:
    """Enrol tags, loyalty cards and fixed beacons."""


@beacon_group.command("enrol")
@where
@click.argument("file", type=FILE)
def enrol(data: Path | None, server: str | None, token: str | None, file: Path) -> None:
    """Enrol the beacons of a CSV FILE ("-" is standard input): all of them, or none.

    Columns are the keys of [[beacon]] in a site file, and person and consents (such as
    "marketing;service@email").
    """
    name = called(file)
    text = read_text(file, MAX_BEACONS_BYTES, "split it")
    with _open(data, server, token) as ends:
        count = ends.enrol(text, name)
    sys.stderr.write(f"proximity: {count} beacons are enrolled\n")


def _toml(text: str) -> str:
    """Write a basic string of TOML, as JSON does but for what neither an id nor a URL holds."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def _signs(one: dict[str, Any]) -> str:
    secrets = one["secrets"]
    if not secrets:
        return "no secret"
    ending = [secret["until"] for secret in secrets[1:] if secret.get("until")]
    return f"secret {secrets[0]['id']}" + (f", the one before ends {ending[0]}" if ending else "")


COMMANDS = (gateway_group, beacon_group)
