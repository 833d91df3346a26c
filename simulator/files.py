"""What does a replay read from disk, and what does it leave there?

Opens, bounds and names files; every problem is a ProximityError that says which file, where in it
and what would mend it. What the contents mean is for those who parse them.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import msgspec

import geofences
from proximity.model import ProximityError
from simulator.replay import OUTPUTS
from simulator.sources import read_small

if TYPE_CHECKING:
    from pathlib import Path

    from proximity.site.registry import Site
    from simulator.expect import Expectations

__all__ = ["Written", "what_is_where"]


class Written:
    """The files of one run: written aside, and put in their places once all of it is there.

    Without a folder nothing is written. Each record is also shown to the expectations.
    """

    def __init__(self, folder: Path | None, expected: Expectations) -> None:
        self._folder = folder
        self._expected = expected
        self._files: dict[str, BinaryIO] = {}
        self._lines = dict.fromkeys(OUTPUTS, 0)
        self._encode = msgspec.json.Encoder().encode

    def __enter__(self) -> Self:
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                for name in OUTPUTS:
                    self._files[name] = self._aside(name).open("wb")
            except OSError as error:
                raise ProximityError(
                    f"{self._folder}: {error.strerror}: name a folder that can be written"
                ) from None
        return self

    def __call__(self, name: str, record: dict[str, Any]) -> None:
        """Write one record to the output called ``name``."""
        self._lines[name] += 1
        if self._files:
            self._files[name].write(self._encode(record) + b"\n")
        if self._expected.lines:
            self._expected.see(f"{name}.jsonl:{self._lines[name]}", record)

    def keep(self) -> None:
        """Put the files in their places: the run is complete."""
        for file in self._files.values():
            file.close()  # all of them first: a full disk shows here
        for name in self._files:
            aside = self._aside(name)
            aside.replace(aside.with_name(f"{name}.jsonl"))
        self._files = {}

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for name, file in self._files.items():
            with contextlib.suppress(OSError):  # what cannot be written is not kept
                file.close()
            self._aside(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError) and self._files:
            raise ProximityError(
                f"{self._folder}: cannot be written: {error.strerror}: "
                "make room, or name another folder"
            ) from None

    def _aside(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f".{name}.jsonl.part"


def what_is_where(
    site_path: Path | None, fences_path: Path | None, *, skip_bad: bool
) -> tuple[Site | None, list[geofences.Fence]]:
    """Read the site and its fences; ``fences_path`` stands in for the file that the site names."""
    if site_path is None and fences_path is None:
        raise ProximityError("say what is where: --site FILE, --fences FILE, or both")
    site = None
    if site_path is not None:
        from proximity.site.sitefile import fences_beside, load_site

        site = load_site(site_path)
        fences_path = fences_path or fences_beside(site_path, site)
    fences: list[geofences.Fence] = []
    if fences_path is not None:
        fences = load_fences(fences_path, skip_bad=skip_bad)
    if site is not None and (problems := site.check([fence.id for fence in fences])):
        raise ProximityError(*problems)
    return site, fences


def load_fences(path: Path, *, skip_bad: bool) -> list[geofences.Fence]:
    """Read a fence file; ``skip_bad`` leaves bad fences out and says on standard error which.

    Raises ProximityError with every fault; advice is for ``geofences check``.
    """
    try:
        loaded = geofences.loads(read_small(path), str(path), skip_bad=skip_bad)
    except geofences.GeofenceError as error:
        faults = (str(problem) for problem in error.problems if not problem.advice)
        raise ProximityError(*faults) from None
    for problem in loaded.problems:
        if not problem.advice:
            sys.stderr.write(f"left out: {problem}\n")
    return loaded.fences
