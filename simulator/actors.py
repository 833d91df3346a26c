"""Who walks in a scenario, with which phone, tag and habits?

Reads the tables ``[[walker]]`` and ``[[crowd]]``. A crowd is a walker many times over, each with
chance of its own: ``make`` draws them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from proximity.tomltable import TomlTable, nearest
from simulator.gps import NUMBERS, PHONES, Phone
from simulator.shapes import MAX_POINTS, numbers, spells
from simulator.walk import Stop, Walker

if TYPE_CHECKING:
    from simulator.shapes import Plan

__all__ = ["Actor", "Crowd", "read_actor", "read_crowd"]

MAX_STAY_S = 60 * 86400.0
MAX_START_S = 400 * 86400.0
MAX_SPEED_MPS = 350.0
"""Faster than any airliner is a slip of the pen."""
MAX_COUNT = 100_000

BOUNDS: dict[str, tuple[float, float]] = {
    "accuracy_m": (0.1, 1500.0),
    "stated": (0.01, 100.0),
    "every_s": (0.1, 86400.0),
    "correlation_s": (0.1, 86400.0),
    "white": (0.0, 1.0),
    "stated_spread": (0.0, 2.0),
    "accuracy_spread": (0.0, 2.0),
    "tail_share": (0.0, 1.0),
    "tail_factor": (1.0, 100.0),
    "unknown": (0.0, 1.0),
    "canyon_factor": (1.0, 100.0),
    "indoor_factor": (1.0, 100.0),
    "indoor_most_m": (1.0, 1500.0),
    "jumps_per_hour": (0.0, 3600.0),
    "gaps_per_hour": (0.0, 3600.0),
    "sleeps_after_s": (1.0, 86400.0),
    "wake_m": (0.0, 10_000.0),
    "asleep_every_s": (0.0, 86400.0),
    "jitter": (0.0, 0.9),
    "skew_s": (-86400.0, 86400.0),
    "twice": (0.0, 1.0),
    "delay_s": (0.0, 86400.0),
    "batch_s": (0.0, 86400.0),
}
"""What each number of a phone may be: beyond it the number is not what was meant."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A walker and what is carried.

    ``phone`` None: none; ``between`` gives the ranges of its numbers that are to be drawn.
    ``carries`` are subjects of enrolled tags besides the walker's own; ``hears``: the phone also
    reports fixed beacons.
    """

    walker: Walker
    phone: Phone | None
    between: dict[str, tuple[float, float]]
    carries: tuple[str, ...] = ()
    hears: bool = False


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """``count`` walkers like ``like``, named after its subject, each starting in ``starts_s``.

    Each point of the path is moved by up to ``spread_m``. Before the last point each calls at some
    of ``calls``, from ``calls_each[0]`` to ``calls_each[1]`` of them, for ``stay_s`` seconds from
    and to.
    """

    like: Actor
    count: int
    starts_s: tuple[float, float]
    spread_m: float
    calls: tuple[Stop, ...]
    calls_each: tuple[int, int]
    stay_s: tuple[float, float]


def read_actor(table: TomlTable, plan: Plan) -> Actor | None:
    """Read a ``[[walker]]``; None where it is at fault."""
    actor = _actor(table, plan)
    table.finish()
    return actor


def read_crowd(table: TomlTable, plan: Plan) -> Crowd | None:
    """Read a ``[[crowd]]``; None where it is at fault."""
    like = _actor(table, plan)
    count = table.whole("count", 1, least=1, most=MAX_COUNT)
    starts = _range(table, "starts_s", (0.0, 0.0), 0.0, MAX_START_S)
    stay = _range(table, "stay_s", (60.0, 600.0), 0.0, MAX_STAY_S)
    spread = table.number("spread_m", 0.0, most=10_000.0)
    calls = _path(table, "calls", plan) if "calls" in table.table else ()
    each = _range(table, "calls_each", (0.0, float(len(calls))), 0.0, float(max(1, len(calls))))
    table.finish()
    if like is None:
        return None
    return Crowd(
        like=like,
        count=count,
        starts_s=starts,
        spread_m=spread,
        calls=calls,
        calls_each=(int(each[0]), min(int(each[1]), len(calls))),
        stay_s=stay,
    )


def _actor(table: TomlTable, plan: Plan) -> Actor | None:
    """Read what walkers and crowds have in common."""
    if not table.has("subject"):
        table.fault('lacks subject: add subject = "…", the name of whoever walks')
    subject = table.identity("subject") or ""
    path = _path(table, "path", plan)
    speed = table.number("speed_mps", 1.35, least=0.05, most=MAX_SPEED_MPS)
    start = table.number("start_s", 0.0, most=MAX_START_S)
    phone, between = _phone(table)
    carries = table.names("carries")
    hears = table.flag("hears", default=False)
    if hears and phone is None:
        table.fault("hears, but has no phone to hear with")
    if not subject or not path:
        return None
    return Actor(
        walker=Walker(subject, path, speed, start),
        phone=phone,
        between=between,
        carries=carries,
        hears=hears,
    )


def _path(table: TomlTable, key: str, plan: Plan) -> tuple[Stop, ...]:
    """Read a list of points: [x, y], [x, y, seconds to stay], or a table of what is to be said."""
    value = table.table[key] if table.has(key) else None
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_POINTS:
        table.fault(
            f"{key} must be a list of 1 to {MAX_POINTS} points, such as [[0, 0], [9, 4, 60]]"
        )
        return ()
    stops = (_stop(table, one, f"{key}: point {n}", plan) for n, one in enumerate(value, 1))
    return tuple(stop for stop in stops if stop is not None)


def _stop(table: TomlTable, value: object, key: str, plan: Plan) -> Stop | None:
    if isinstance(value, dict):
        point = TomlTable(value, f"{table.where}: {key}", table.problems)
        at = numbers(value.get("at"), 2, 2)
        point.has("at")
        stay = point.number("stay_s", 0.0, most=MAX_STAY_S)
        wander = point.number("wander_m", 0.0, most=1000.0)
        floor = point.number("floor", math.nan, least=-1e3, most=1e3)
        speed = point.number("speed_mps", math.nan, least=0.05, most=MAX_SPEED_MPS)
        point.finish()
        if at is None:
            point.fault("needs at = [x, y]")
            return None
        lon, lat = plan.place(table, at, key)
        return Stop(lon, lat, stay, wander, _or_none(floor), _or_none(speed))
    triple = numbers(value, 2, 3)
    if triple is None or not 0.0 <= (triple[2:] or [0.0])[0] <= MAX_STAY_S:
        table.fault(f"{key} must be [x, y], [x, y, seconds to stay] or {{ at = [x, y], … }}")
        return None
    return Stop(*plan.place(table, triple[:2], key), *triple[2:])


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _phone(table: TomlTable) -> tuple[Phone | None, dict[str, tuple[float, float]]]:
    """Read a phone: a name of PHONES, "none", or a table of numbers over one of them (``like``)."""
    if not table.has("phone"):
        return Phone(), {}
    value = table.table["phone"]
    if isinstance(value, str):
        if value != "none" and value not in PHONES:
            table.fault(f"phone is {value!r:.60}; {nearest(value, [*PHONES, 'none'])}")
        return (None if value == "none" else PHONES.get(value, Phone())), {}
    if not isinstance(value, dict):
        table.fault('phone must be a name such as "town", or a table of its numbers')
        return Phone(), {}
    told = TomlTable(value, f"{table.where}: phone", table.problems)
    phone = PHONES[told.choice("like", PHONES) or "plain"]
    between: dict[str, tuple[float, float]] = {}
    changes: dict[str, Any] = {}
    for one in fields(Phone):
        if one.name not in value:
            told.has(one.name)
        elif one.name in NUMBERS:
            low, high = BOUNDS[one.name]
            if isinstance(value[one.name], list):
                between[one.name] = _range(told, one.name, (low, high), low, high)
            else:
                changes[one.name] = told.number(one.name, low, least=low, most=high)
        elif one.type == "bool":
            changes[one.name] = told.flag(one.name, default=False)
        elif one.name in {"offline", "dead"}:
            changes[one.name] = spells(told, one.name)
        else:
            changes[one.name] = _range(told, one.name, (0.0, 0.0), 0.0, 100_000.0)
    told.finish()
    return replace(phone, **changes), between


def _range(
    table: TomlTable, key: str, usual: tuple[float, float], least: float, most: float
) -> tuple[float, float]:
    """Read [from, to], rising, within bounds."""
    if not table.has(key):
        return usual
    value = numbers(table.table[key], 2, 2)
    if value is None or not least <= value[0] <= value[1] <= most:
        table.fault(f"{key} must be [from, to], rising, from {least:g} to {most:g}")
        return usual
    return value[0], value[1]
