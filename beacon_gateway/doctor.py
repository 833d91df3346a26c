"""The question: is this gateway well, told to somebody who can do something about it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from beacon_gateway.checks import Finding, examine
from beacon_gateway.facts import Facts
from beacon_gateway.logs import log_to_stderr
from beacon_gateway.model import NothingHeardError
from beacon_gateway.options import Seconds, asked, told
from beacon_gateway.probing import LISTEN_S, facts, radio
from beacon_gateway.settings import Settings

MARKS = {"ok": "ok", "warning": "warning", "fault": "FAULT"}


@click.command("doctor")
@asked(
    "server", "token_file", "data", "gateway", "ca_file", "adapters", "passive", "simulate", "speed"
)
@click.option(
    "--seconds", type=Seconds(0, 600), default=LISTEN_S, show_default=True,
    help="How long to listen; 0 leaves the radio alone.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each check.")
def command(config: Path | None, seconds: float, *, as_json: bool, **options: object) -> int:
    """Say what keeps this gateway from hearing well, and what mends it.

    Takes the options of `run`. It changes nothing, and may run beside the agent. Status 1 where
    something does not work at all.
    """
    settings = told(config, options)
    log_to_stderr("warning")
    found = examine(asyncio.run(facts(settings, seconds)))
    if as_json:
        for name, finding in found.items():
            line = {"check": name, **finding._asdict()}
            sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    else:
        click.echo("\n".join(lines(found)))
    return int(any(finding.verdict == "fault" for finding in found.values()))


def need_radio(settings: Settings) -> None:
    """Look whether there is a radio, for whoever is about to wait for what it hears.

    Raises NothingHeardError where there is none, GatewayError where its library is missing.
    """
    if settings.simulate is not None or sys.platform != "linux":
        return
    import beacon_gateway.daemon  # noqa: F401 - says itself which library it lacks

    # What it finds out is told below, in one line.
    log_to_stderr("error")
    found = Facts(platform=sys.platform, **asyncio.run(radio(settings)))
    if found.radio_error is not None or not found.adapters:
        finding = examine(found)["adapter"]
        raise NothingHeardError(f"{finding.says}: {finding.mend}")


def lines(found: dict[str, Finding]) -> list[str]:
    """Write the findings as lines of text: what is the case, and under it what to do."""
    written = []
    for name, finding in found.items():
        written.append(f"{name:14}{MARKS[finding.verdict]:9}{finding.says}")
        if finding.mend:
            written.append(f"{'':23}-> {finding.mend}")
    return written
