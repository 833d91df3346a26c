"""The command ``geofences``: check fence files, locate points, convert between formats.

What was asked for goes to standard output, words to standard error. Exit status: 0 done, 1 a
check found faults, 2 bad usage or input that cannot be read.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

try:
    from geofences import convert, geojson, table
    from geofences.index import FenceIndex
    from geofences.model import GeofenceError, Problem
except ModuleNotFoundError as error:  # the base installation is a gateway's, without geometry
    sys.stderr.write(
        f"this needs {error.name}, which is not installed: pip install 'proximity-engine[engine]'\n"
    )
    sys.exit(2)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Points are located so many at a time: enough for the arrays to pay, some megabytes at most.
BATCH = 50_000
# What problems call the streams.
INPUT, OUTPUT = "standard input", "standard output"


def _line(problem: Problem | str) -> bytes:
    """Write a problem as one line that any terminal takes, whatever a file is called."""
    return " ".join(str(problem).splitlines()).encode("utf-8", "backslashreplace")


def _refuse(*problems: Problem | str) -> NoReturn:
    for problem in problems:
        click.echo(_line(problem), err=True)
    sys.exit(2)


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """Turn what may go wrong with files into a line each, and exit status 2."""
    try:
        yield
    except GeofenceError as error:
        _refuse(*(problem for problem in error.problems if not problem.advice))
    except BrokenPipeError:
        raise
    except OSError as error:
        _unusable(error)


def _unusable(*errors: OSError) -> NoReturn:
    """Refuse files; what has no name is standard output, since everything else is named."""
    _let_go()
    _refuse(
        *(
            f"{each.filename or OUTPUT}: {each.strerror}; name a file that can be used"
            for each in errors
        )
    )


@contextlib.contextmanager
def _named(name: str, aside: Path | None = None) -> Iterator[None]:
    """Give what goes wrong with an open file the file's name, which only opening knows.

    ``aside`` is written in its stead, and is nobody's business.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or error.filename == str(aside):
            error.filename = name
        raise


def _let_go() -> None:
    """Send what standard output still holds nowhere; at the end it would be tried once more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _seen_enough() -> Iterator[None]:
    """End well where who reads the output went away; ``click`` would make it status 1, a "no"."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go()
        raise click.exceptions.Exit(0) from None


class Commands(click.Group):
    """A group whose bad usage is one line and exit status 2, as every other problem is."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command and leave with its status."""
        options["standalone_mode"] = False
        # Where a stream is closed there is nothing to read, and nobody to read what is written.
        sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
        sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        try:
            status = super().main(*args, **options)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx is not None else "geofences"
            _refuse(
                f"geofences: {' '.join(error.format_message().split())} See `{command} --help`."
            )
        except click.ClickException as error:
            _refuse(f"geofences: {' '.join(error.format_message().split())}")
        except click.Abort:
            sys.exit(130)
        except OSError as error:
            _unusable(error)
        sys.exit(status if isinstance(status, int) else 0)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the words; where they ask for help, this prints it."""
        with _seen_enough():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the words name."""
        with _seen_enough():
            return super().invoke(ctx)


class Finite(click.FloatRange):
    """A number of a range, and a number: NaN is within every range for ``click``."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the number, or refuse the option."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


@click.group(
    cls=Commands, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]}
)
def main() -> None:
    """Say where a point is: fences from GeoJSON, exact to the boundary point."""


def _read(path: str) -> bytes:
    if path == "-":
        with _named(INPUT):
            return sys.stdin.buffer.read(geojson.MAX_BYTES + 1)
    with _named(path), Path(path).open("rb") as file:
        return file.read(geojson.MAX_BYTES + 1)


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print the problems as a JSON list.")
def check(files: tuple[str, ...], *, as_json: bool) -> None:
    """Validate fence files; print a problem a line.

    FILE is GeoJSON, "-" is standard input. The exit status is 1 where there is any fault; advice
    is marked so and changes nothing.
    """
    if files.count("-") > 1:
        raise click.UsageError("only one FILE can be standard input.")
    found: list[Problem] = []
    fences = 0
    unread: list[OSError] = []
    with _plainly():
        for path in files:
            try:
                text = _read(path)
            except OSError as error:
                unread.append(error)
                continue
            try:
                loaded = geojson.loads(text, path, skip_bad=True)
            except GeofenceError as error:
                found += error.problems
            else:
                found += loaded.problems
                fences += len(loaded.fences)
        if as_json:
            click.echo(json.dumps([asdict(problem) for problem in found], indent=2))
        else:
            for problem in found:
                click.echo(_line(problem))
    if unread:
        _unusable(*unread)
    faults = sum(not problem.advice for problem in found)
    if not as_json:
        summary = f"{fences} sound fences in {len(files)} files, {faults} faults"
        click.echo(f"{summary}, {len(found) - faults} pieces of advice", err=True)
    sys.exit(1 if faults else 0)


def _report(problems: Iterable[Problem]) -> None:
    """Say on standard error which fences were left out, and why."""
    for problem in problems:
        if not problem.advice:
            click.echo(_line(f"left out: {problem}"), err=True)


@main.command()
@click.argument("fences", metavar="FENCES")
@click.argument("points", metavar="POINTS")
@click.option(
    "--within",
    "metres",
    type=Finite(0.0, 1e7),
    metavar="M",
    help="Pairs whose distance is at most M metres, instead of containment.",
)
@click.option("--skip-bad", is_flag=True, help="Leave fences with faults out, and say so.")
@click.option("--out", metavar="FILE", default="-", help="Where to write; else standard output.")
def locate(fences: str, points: str, metres: float | None, *, skip_bad: bool, out: str) -> None:
    """Find the fences that hold each point; write CSV id,fence, a row a pair.

    FENCES is GeoJSON; POINTS is CSV with columns lon, lat and perhaps id (else the row's number
    from 0). Either may be "-". A point on a boundary is inside.
    """
    if fences == points == "-":
        raise click.UsageError("only one of FENCES and POINTS can be standard input.")
    with _plainly():
        loaded = geojson.loads(_read(fences), fences, skip_bad=skip_bad)
        _report(loaded.problems)
        index = FenceIndex(loaded.fences)
        with _open(points) as source:
            rows = table.points(source, points)
            first = list(islice(rows, BATCH))
            with _create(out) as target:
                writer = csv.writer(target, lineterminator="\n")
                writer.writerow(["id", "fence"])
                while first:
                    writer.writerows(_pairs(index, first, metres))
                    first = list(islice(rows, BATCH))


@contextlib.contextmanager
def _open(path: str) -> Iterator[IO[str]]:
    if path == "-":
        sys.stdin.reconfigure(encoding="utf-8-sig", newline="")  # type: ignore[union-attr] # a text stream
        with _named(INPUT):
            yield sys.stdin
        return
    with _named(path), Path(path).open(encoding="utf-8-sig", newline="") as file:
        yield file


@contextlib.contextmanager
def _create(path: str) -> Iterator[IO[str]]:
    if path == "-":
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr] # the same
        with _named(OUTPUT):
            yield sys.stdout
            sys.stdout.flush()
        return
    out = aside = Path(path)
    with contextlib.ExitStack() as stack:
        if out.is_file() or not out.exists():  # no device, no pipe
            # What goes wrong half-way, a bad row or a full disk, leaves an earlier file as it was.
            out = out.resolve()
            aside = out.with_name(f".{out.name}.part")
            stack.callback(_discard, aside)
        with _named(path, aside):
            with aside.open("w", encoding="utf-8", newline="") as file:
                yield file
            if aside != out:
                aside.replace(out)


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _pairs(
    index: FenceIndex, points: list[table.Point], metres: float | None
) -> Iterator[tuple[str, str]]:
    """Yield the pairs of point and fence id, in the order of the points."""
    if metres is not None:
        for point in points:
            for fence_id, _ in index.within(point.lon, point.lat, metres):
                yield point.id, fence_id
        return
    ids = index.ids
    which, held_by = index.locate_many([p.lon for p in points], [p.lat for p in points])
    for number, slot in zip(which.tolist(), held_by.tolist(), strict=True):
        yield points[number].id, ids[slot]


@main.command("convert")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option(
    "--radius",
    "radius_m",
    type=Finite(0.0, 1e7, min_open=True),
    metavar="M",
    help="Radius in metres of points and lines that have none.",
)
@click.option("--skip-bad", is_flag=True, help="Leave fences with faults out, and say so.")
def convert_command(source: str, target: str, radius_m: float | None, *, skip_bad: bool) -> None:
    """Convert fences between GeoJSON, KML, GPKG, Shapefile, FlatGeobuf and CSV of circles.

    The formats follow from the names; "-" is GeoJSON. A CSV has columns for longitude and
    latitude, under any usual name, and perhaps id, name and radius_m.
    """
    with _plainly():
        loaded = convert.read(source, radius_m=radius_m, skip_bad=skip_bad)
        _report(loaded.problems)
        convert.write(loaded.fences, target, loaded.extra)


if __name__ == "__main__":
    main(prog_name="geofences")
