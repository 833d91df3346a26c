"""The question: which numbers make a site's gateways agree with where people truly stood.

Recordings in, numbers and their TOML out. Pure but for the site file that it may be given, of which
it reads gateways and the names of places. It must not know how a recording was made.
"""

from __future__ import annotations

import difflib
import json
import math
import statistics
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from beacon_gateway.model import GatewayError
from beacon_gateway.ranging import join
from beacon_gateway.recording import Recording

# The quarters of a turn on the spot: facing the gateway, and three times a quarter to the right.
HEADINGS = 4
# Fewer readings than this in a recording say little: 30 s of a tag that reports once in 1.5 s.
FEW_READINGS = 20
# A body between tag and gateway takes 6 to 15 dB indoors; more difference between headings than
# this is a tag that hangs behind its wearer, and a better place for it than any number mends that.
TURN_DB = 12.0
# A place that is recognised for less of the time than this is not worth an offer.
CLEAR = 0.8
# How much louder or quieter a number is tried, dB, to show what it is worth.
TRY_DB = 3


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver as the site file has it: its id, its place, and its offset in dB."""

    id: str
    place: str | None = None
    offset_db: float = 0.0


class Near(NamedTuple):
    """What a turn on the ring gives: the number, and what stands for and against it.

    ``near_dbm`` dBm; ``headings`` the median level of each quarter of the turn, dBm (NaN: not
    heard); ``inside`` the share of the time that counts as in, by dB added to the number.
    """

    near_dbm: int
    readings: int
    per_s: float
    headings: tuple[float, ...]
    inside: dict[int, float]


def near(recordings: Sequence[Recording], gateways: Mapping[str, Gateway]) -> Near:
    """Find the level of a ring: what half of the time somebody who turns there is louder than.

    Of several gateways the loudest counts, as in the engine. Offsets are those of ``gateways``.
    """
    turns = [_loudest(recording, gateways) for recording in recordings]
    levels = [level for turn in turns for level in turn.values()]
    middle = round(statistics.median(levels))
    quarters: list[list[float]] = [[] for _ in range(HEADINGS)]
    for turn in turns:
        first, last = min(turn, default=0), max(turn, default=0)
        for step, level in turn.items():
            quarters[min(HEADINGS - 1, (step - first) * HEADINGS // (last - first + 1))].append(
                level
            )
    heard = [one for recording in recordings for one in recording.gateways.values()]
    return Near(
        near_dbm=middle,
        readings=sum(len(one.readings) for one in heard),
        per_s=max(one.per_s for one in heard),
        headings=tuple(statistics.median(q) if q else math.nan for q in quarters),
        inside={
            more: sum(level > middle + more for level in levels) / len(levels)
            for more in (-TRY_DB, 0, TRY_DB)
        },
    )


def offsets(recordings: Sequence[Recording]) -> dict[str, float]:
    """Find what to add to each gateway, dB, so that one tag a metre away is equally loud to all.

    A recording speaks for the gateway that heard it loudest. The middle gateway gets 0, so that
    the levels of the site as a whole stay what they are.
    """
    levels: dict[str, list[float]] = {}
    for recording in recordings:
        levels.setdefault(recording.loudest, []).append(
            recording.gateways[recording.loudest].middle_dbm
        )
    if len(levels) < 2:
        raise GatewayError(
            f"all recordings speak for {next(iter(levels))}: offsets compare gateways; record one "
            "with the tag a metre in front of each"
        )
    own = {gateway: statistics.fmean(many) for gateway, many in levels.items()}
    middle = statistics.median(own.values())
    return {gateway: round(2 * (middle - level)) / 2 for gateway, level in sorted(own.items())}


def assigned(
    recordings: Sequence[tuple[str, Recording]], gateways: Mapping[str, Gateway]
) -> dict[str, str]:
    """Say which place each gateway speaks for: the site's, else the one where it is loudest."""
    best: dict[str, tuple[float, str]] = {}
    for place, recording in recordings:
        for gateway, heard in recording.gateways.items():
            best[gateway] = max(best.get(gateway, (-math.inf, "")), (heard.middle_dbm, place))
    known = {gateway: row.place for gateway, row in gateways.items() if row.place is not None}
    return {gateway: known.get(gateway, best[gateway][1]) for gateway in sorted(best)}


def confusion(
    recordings: Sequence[tuple[str, Recording]], gateways: Mapping[str, Gateway]
) -> dict[str, Counter[str]]:
    """Count, for each true place, the steps at which each place was the loudest.

    Recordings of one place by different gateways need not have been made at one time: they are
    laid over each other from their beginnings, step by step.
    """
    places = assigned(recordings, gateways)
    receivers = Counter(places.values())
    by_place: dict[str, dict[str, dict[int, float]]] = {}
    for place, recording in recordings:
        laid = by_place.setdefault(place, {})
        for gateway, heard in recording.gateways.items():
            steps = laid.setdefault(gateway, {})
            # A second stand in the same place goes on where the first ended.
            after = max(steps, default=-1) + 1
            steps.update({after + step: level for step, level in heard.steps.items()})
    found: dict[str, Counter[str]] = {}
    for place, laid in sorted(by_place.items()):
        counts = found[place] = Counter()
        for step in sorted({step for steps in laid.values() for step in steps}):
            levels: dict[str, list[float]] = {}
            for gateway, steps in laid.items():
                if step in steps:
                    level = steps[step] + offset(gateway, gateways)
                    levels.setdefault(places[gateway], []).append(level)
            loudest = max(levels, key=lambda name: (join(levels[name], receivers[name]), name))
            counts[loudest] += 1
    return found


def site_gateways(file: Path | None) -> dict[str, Gateway]:
    """Read the gateways of a site file; none without one.

    Raises GatewayError where it cannot be read.
    """
    return {} if file is None else {row.id: row for row in _site(file).gateway}


def check_place(file: Path, place: str) -> None:
    """Check that a site file knows a place; one of a fence, by the gateway that stands there.

    Raises GatewayError where it does not, or cannot be read.
    """
    site = _site(file)
    said = [one.id for one in site.place] + [one.parent for one in site.place]
    said += [one.place for one in site.gateway]
    known = sorted({one for one in said if one is not None})
    if place not in known:
        near = difflib.get_close_matches(place, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known[:5]) or 'none'}"
        raise GatewayError(f"{file}: knows no place {place!r}: {hint}")


class _Place(msgspec.Struct):
    id: str
    parent: str | None = None


class _Site(msgspec.Struct):
    """What of a site file is wanted here."""

    place: list[_Place] = []
    gateway: list[Gateway] = []


def _site(file: Path) -> _Site:
    try:
        return msgspec.convert(tomllib.loads(file.read_text("utf-8-sig")), _Site)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise GatewayError(
            f"{file}: cannot be read as a site ({reason}): name the site's TOML file"
        ) from None


def near_toml(found: Near, place: str) -> str:
    """Write the fragment of a place that has found its level."""
    turn = " ".join("-" if math.isnan(level) else f"{level:.0f}" for level in found.headings)
    tried = ", ".join(
        f"{found.near_dbm + more} dBm {100 * share:.0f} %" for more, share in found.inside.items()
    )
    heard = f"{found.readings} readings, {found.per_s:.1f} a second"
    return (
        f"# {heard}; quarters of the turn: {turn} dBm\n"
        f"# of the time on the ring, what counts as in: {tried}\n"
        f"[[place]]\nid = {_toml(place)}\nnear_dbm = {found.near_dbm}\n"
    )


def offsets_toml(found: Mapping[str, float], places: Mapping[str, str | None]) -> str:
    """Write the fragment of gateways that have found their offsets."""
    rows = []
    for gateway, offset in found.items():
        place = places.get(gateway)
        line = f"place = {_toml(place)}\n" if place else ""
        rows.append(f"[[gateway]]\nid = {_toml(gateway)}\n{line}offset_db = {offset:g}\n")
    return "\n".join(rows)


def confusion_lines(found: Mapping[str, Counter[str]]) -> list[str]:
    """Draw who was taken for where: true places down, decided ones across, per cent of the time."""
    places = sorted({*found, *(place for counts in found.values() for place in counts)})
    widths = [max(6, len(place)) for place in places]
    first = max(len("stood in"), *(len(place) for place in found))
    cells = (f"{place:>{width}}" for place, width in zip(places, widths, strict=True))
    lines = [f"{'stood in':{first}}  " + "  ".join(cells)]
    for true, counts in found.items():
        shares = (
            f"{100 * counts[place] / max(1, counts.total()):{width - 2}.0f} %"
            for place, width in zip(places, widths, strict=True)
        )
        lines.append(f"{true:{first}}  " + "  ".join(shares))
    return lines


def unclear(found: Mapping[str, Counter[str]]) -> list[str]:
    """Name each place that is too often taken for another, with the mend."""
    advice = []
    for place, counts in found.items():
        share = counts[place] / max(1, counts.total())
        if share >= CLEAR:
            continue
        others = [other for other, _ in counts.most_common() if other != place]
        told = f"{place}: recognised {100 * share:.0f} % of the time"
        advice.append(
            f"{told}, else taken for {others[0]}: move their gateways apart or towards the middle "
            "of their places, calibrate offsets, or make one place of the two"
            if others
            else f"{told}: nothing was heard there: put its gateway closer"
        )
    return advice


def doubts(recordings: Sequence[Recording]) -> list[str]:
    """Name what makes recordings weak evidence."""
    found = []
    for recording in recordings:
        most = max(len(heard.readings) for heard in recording.gateways.values())
        if most < FEW_READINGS:
            found.append(
                f"{recording.name}: {most} readings in {recording.seconds:.0f} s are few: set the "
                "tag to report every second or faster, or stand there longer"
            )
    return found


def turned(found: Near) -> str | None:
    """Say what is wrong with how the tag is carried, where the turn shows it."""
    heard = [level for level in found.headings if not math.isnan(level)]
    if max(heard) - min(heard) <= TURN_DB:
        return None
    return (
        f"the turn changes the level by {max(heard) - min(heard):.0f} dB: the body hides the tag; "
        "wear it in front, or calibrate with it worn as customers will"
    )


def _loudest(recording: Recording, gateways: Mapping[str, Gateway]) -> dict[int, float]:
    """Give the loudest gateway's level at each step, dBm with offsets."""
    steps: dict[int, float] = {}
    for gateway, heard in recording.gateways.items():
        for step, level in heard.steps.items():
            steps[step] = max(steps.get(step, -math.inf), level + offset(gateway, gateways))
    return dict(sorted(steps.items()))


def offset(gateway: str, gateways: Mapping[str, Gateway]) -> float:
    """Give what the site adds to a gateway's levels, dB."""
    known = gateways.get(gateway)
    return 0.0 if known is None else known.offset_db


def _toml(text: str) -> str:
    """Write a TOML basic string; JSON's are the same but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
