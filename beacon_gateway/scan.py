"""The question: what is heard here right now, shown to somebody who watches.

A table that is drawn anew each second, or lines of JSON. Nothing is written down or sent: what is
around lives in this process until it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from beacon_gateway.allowlist import AllowList
from beacon_gateway.around import Around, Row, table
from beacon_gateway.doctor import need_radio
from beacon_gateway.listening import Reading, configuration, listen, open_ears
from beacon_gateway.logs import log_to_stderr
from beacon_gateway.model import GatewayError
from beacon_gateway.options import Seconds, asked, told
from beacon_gateway.scanner import Clock, Source

# As often as a person can read a table, and as a slow tag reports.
EVERY_S = 1.0
# ANSI: to the top left, to the end of the line, to the end of the screen.
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

Show = Callable[[list[Row]], None]


@click.command("scan")
@asked("data", "gateway", "adapters", "passive", "simulate", "speed")
@click.option(
    "--all", "everything", is_flag=True,
    help="Beacons that are not enrolled too: shown, and kept nowhere.",
)  # fmt: skip
@click.option("--seconds", type=Seconds(0.1, 86_400), help="End after so long.")
@click.option("--json", "as_json", is_flag=True, help="A line for each beacon and second.")
def command(
    config: Path | None,
    seconds: float | None,
    *,
    everything: bool,
    as_json: bool,
    **options: object,
) -> int:
    """Show the enrolled beacons that are heard, and how loud they really are.

    Which are enrolled is what the agent of the data folder last learned from the server. A trace
    without a data folder is its own list. Levels are smoothed as the engine smooths them. Status 1
    where there is nothing to hear with.
    """
    settings = told(config, options, needs=())
    need_radio(settings)
    known = configuration(settings.data)
    if known is None and settings.simulate is None and not everything:
        raise GatewayError(
            "no list of enrolled beacons: give the agent's folder with --data once "
            "`beacon-gateway run` has reached the server, or add --all"
        )
    listed = AllowList(known.beacons) if known is not None else None
    if listed is None and settings.simulate is None:
        listed = AllowList()
    log_to_stderr("warning")
    source, clock, health = open_ears(settings, known)
    show = _lines if as_json else _screen if sys.stdout.isatty() else None
    around = Around()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch(source, clock, listed, around, show, seconds, everything=everything))
    if show is None:
        click.echo("\n".join(table(around.rows(clock.mono()))))
    return int(any(adapter.trouble for adapter in health.adapters.values()))


async def watch(
    source: Source,
    clock: Clock,
    listed: AllowList | None,
    around: Around,
    show: Show | None,
    seconds: float | None = None,
    *,
    everything: bool = False,
) -> None:
    """Gather what is heard into ``around`` and show it each second, until the source ends."""

    def take(reading: Reading) -> None:
        if everything or reading.listed:
            is_listed = None if listed is None else reading.listed
            around.take(reading.beacon, reading.rssi_dbm, reading.mono_s, listed=is_listed)

    async def draw(shown: Show) -> None:
        while True:
            await clock.sleep(EVERY_S)
            shown(around.rows(clock.mono()))

    drawing = None if show is None else asyncio.create_task(draw(show))
    try:
        await listen(source, listed, take, seconds)
    finally:
        if drawing is not None:
            drawing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await drawing
    if show is not None:
        show(around.rows(clock.mono()))


def _lines(rows: list[Row]) -> None:
    for row in rows:
        sys.stdout.write(msgspec.json.encode(row.jsonable()).decode() + "\n")
    sys.stdout.flush()


def _screen(rows: list[Row]) -> None:
    width, height = shutil.get_terminal_size()
    lines = table(rows, width)
    left_out = len(lines) - (height - 1)
    if left_out > 0:
        lines = [*lines[: height - 2], f"... and {left_out + 1} more"]
    drawn = "".join(f"{line}{REST_OF_LINE}\r\n" for line in lines)
    sys.stdout.write(HOME + drawn + REST_OF_SCREEN)
    sys.stdout.flush()
