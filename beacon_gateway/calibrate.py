"""The question: how does a shopkeeper find a site's numbers alone, with one tag and half a minute.

Four steps, each printing what goes into the site file: `record` what is heard while standing still,
then `offsets`, `near` and `zones` of such recordings. Reading and arithmetic are elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from beacon_gateway import calibration
from beacon_gateway.allowlist import AllowList
from beacon_gateway.around import named
from beacon_gateway.doctor import need_radio
from beacon_gateway.listening import Reading, configuration, listen, open_ears
from beacon_gateway.logs import log_to_stderr
from beacon_gateway.model import GatewayError, Sighting
from beacon_gateway.options import FILE, Seconds, asked, told
from beacon_gateway.recording import Recording, made, read_all
from beacon_gateway.settings import Settings

# Long enough for a slow turn on the spot, short enough to be done in every zone.
STAND_S = 30.0
# Readings that are kept: an hour of ten tags; a tag's half minute is some sixty.
MOST = 100_000

beacon_option = click.option(
    "--beacon", metavar="END",
    help="The tag to measure with, by how its name ends in `scan`; else the one most heard.",
)  # fmt: skip
seconds_option = click.option(
    "--seconds", type=Seconds(1, 3600), default=STAND_S, show_default=True,
    help="How long to stand there.",
)  # fmt: skip
site_option = click.option(
    "--site", type=FILE, help="The site as it is: its gateways' places and offsets count."
)
live = asked("data", "gateway", "adapters", "passive", "simulate", "speed")
recordings_argument = click.argument("recordings", nargs=-1, type=FILE, metavar="[RECORDING]...")


@click.group("calibrate", no_args_is_help=False)
def command() -> None:
    """Stand here for 30 s: the numbers for the site, as TOML.

    First `offsets`, where there are several gateways; then `near` for a place with an edge, or
    `zones` where places lie side by side. Each reads recordings, which `record` makes.
    """


@command.command()
@live
@beacon_option
@seconds_option
@click.option(
    "--out",
    type=FILE,
    required=True,
    help="Where the recording goes, a trace file; - is standard output.",
)
def record(
    config: Path | None, beacon: str | None, seconds: float, out: Path, **options: object
) -> None:
    """Record what this gateway hears of an enrolled tag while somebody stands still.

    The agent may go on running. The file is a trace: `simulator replay` reads it too.
    """
    settings = told(config, options, needs=())
    if not out.parent.is_dir():  # before anybody stands still for it
        raise GatewayError(f"{out}: cannot be written (its folder is not there): make it first")
    heard = _heard(settings, seconds, f"stand still for {seconds:.0f} s: begin now")
    found = made("what was heard", heard, beacon)
    lines = [msgspec.json.encode(one) for one in heard if named(one.beacon) == found.beacon]
    _write(out, b"\n".join(lines) + b"\n")
    _say(found)
    _warn(calibration.doubts([found]))


@command.command()
@recordings_argument
@click.option("--place", help="The place whose edge this is; else this gateway's own.")
@site_option
@live
@beacon_option
@seconds_option
def near(
    recordings: tuple[Path, ...],
    place: str | None,
    site: Path | None,
    config: Path | None,
    beacon: str | None,
    seconds: float,
    **options: object,
) -> None:
    """Find `near_dbm`: stand on the edge of the place and turn once, slowly.

    Wear the tag as customers will. Without recordings it listens now, for --seconds; a quarter of
    them for each heading.
    """
    settings = told(config, options, needs=())
    gateways = calibration.site_gateways(site)
    if place is not None and site is not None:
        calibration.check_place(site, place)
    if recordings:
        found = read_all(_once(recordings), beacon)
    else:
        now = f"stand on the edge and turn once in {seconds:.0f} s: begin now"
        found = [made("what was heard", _heard(settings, seconds, now), beacon)]
    if place is None:
        place = _place(settings, found, gateways)
    answer = calibration.near(found, gateways)
    for recording in found:
        _say(recording)
    _warn([*calibration.doubts(found), calibration.turned(answer)])
    click.echo(calibration.near_toml(answer, place), nl=False)


@command.command()
@click.argument("recordings", nargs=-1, required=True, type=FILE, metavar="RECORDING...")
@beacon_option
@site_option
def offsets(recordings: tuple[Path, ...], beacon: str | None, site: Path | None) -> None:
    """Find `offset_db`: one recording with the tag a metre in front of each gateway.

    What hears better than the others is turned down, what hears worse up.
    """
    found = read_all(_once(recordings), beacon)
    for recording in found:
        _say(recording)
    _warn(calibration.doubts(found))
    places = {gateway: row.place for gateway, row in calibration.site_gateways(site).items()}
    click.echo(calibration.offsets_toml(calibration.offsets(found), places), nl=False)


@command.command()
@click.argument("labelled", nargs=-1, required=True, metavar="PLACE=RECORDING...")
@beacon_option
@site_option
def zones(labelled: tuple[str, ...], beacon: str | None, site: Path | None) -> int:
    """Say which places are taken for each other, from recordings made in each.

    Stand in the middle of each place for half a minute, once for each gateway where they cannot
    record together. Status 1 where a place is recognised less than 80 % of the time.
    """
    pairs = [text.partition("=") for text in labelled]
    problems = [
        f"{text!r}: write PLACE=RECORDING, such as shoes=shoes.jsonl"
        for text, (place, _, file) in zip(labelled, pairs, strict=True)
        if not place or not file
    ]
    for place in dict.fromkeys(place for place, _, file in pairs if place and file):
        if site is None:
            break
        try:
            calibration.check_place(site, place)
        except GatewayError as error:
            problems.append(str(error))
    if problems:
        raise GatewayError("\n".join(dict.fromkeys(problems)))
    recordings = read_all(_once([Path(file) for _, _, file in pairs]), beacon)
    found = [(place, recording) for (place, _, _), recording in zip(pairs, recordings, strict=True)]
    gateways = calibration.site_gateways(site)
    answer = calibration.confusion(found, gateways)
    click.echo("\n".join(f"# {line}" for line in calibration.confusion_lines(answer)))
    places = calibration.assigned(found, gateways)
    known = {gateway: calibration.offset(gateway, gateways) for gateway in places}
    click.echo(calibration.offsets_toml(known, places), nl=False)
    _warn(calibration.doubts([recording for _, recording in found]))
    advice = calibration.unclear(answer)
    _warn(advice)
    return int(bool(advice))


def _heard(settings: Settings, seconds: float, say: str) -> list[Sighting]:
    """Listen, and give what was heard of enrolled beacons as this gateway's sightings.

    ``say`` goes to whoever stands there, once everything is ready.
    """
    need_radio(settings)
    known = configuration(settings.data)
    gateway = settings.gateway or (known.gateway if known is not None else None)
    if gateway is None:
        raise GatewayError(
            "this gateway does not know its id: give the agent's folder with --data, or --gateway"
        )
    listed = None if known is None else AllowList(known.beacons)
    if listed is None and settings.simulate is None:
        raise GatewayError(
            "no list of enrolled beacons: give the agent's folder with --data once "
            "`beacon-gateway run` has reached the server"
        )
    heard: list[Sighting] = []

    def take(reading: Reading) -> None:
        if reading.listed and len(heard) < MOST:
            heard.append(
                Sighting(
                    beacon=reading.beacon,
                    at=round(reading.at, 3),
                    rssi_dbm=reading.rssi_dbm,
                    gateway=gateway,
                )
            )

    log_to_stderr("warning")
    source, *_ = open_ears(settings, known)
    click.echo(say, err=True)
    try:
        asyncio.run(listen(source, listed, take, seconds / settings.speed))
    except KeyboardInterrupt:
        sys.exit(130)
    return heard


def _once(recordings: Sequence[Path]) -> Sequence[Path]:
    """Check that standard input is named once: what is read is gone."""
    if [str(file) for file in recordings].count("-") > 1:
        raise GatewayError("only one recording can be standard input: name files for the others")
    return recordings


def _write(out: Path, content: bytes) -> None:
    if str(out) == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        # Half a recording is none; what is no file (a device, a pipe) stays.
        if out.is_file():
            with contextlib.suppress(OSError):
                out.unlink()
        raise GatewayError(
            f"{out}: cannot be written ({error.strerror}): name another file"
        ) from None


def _place(
    settings: Settings, found: list[Recording], gateways: dict[str, calibration.Gateway]
) -> str:
    known = configuration(settings.data)
    loudest = gateways.get(found[0].loudest)
    place = (loudest.place if loudest else None) or (known.place if known else None)
    if place is None:
        raise GatewayError("which place is this the edge of: say --place ID")
    return place


def _say(recording: Recording) -> None:
    for gateway, heard in recording.gateways.items():
        click.echo(
            f"{recording.name}: {recording.beacon} by {gateway}: {heard.middle_dbm:.1f} dBm, "
            f"{len(heard.readings)} readings in {recording.seconds:.0f} s",
            err=True,
        )


def _warn(doubts: Sequence[str | None]) -> None:
    for doubt in doubts:
        if doubt is not None:
            click.echo(f"warning: {doubt}", err=True)
