"""What is where in a scenario: fences, zones, gateways, beacons, walls, and the sky overhead?

Reads those tables into a ``Venue``: on the one hand what the site and fence files are to say, on
the other how things truly are, which no file of a real site tells: where a gateway hangs, how far
a zone reaches, when the power fails. Who walks there is for ``scenario``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

import geofences
from geofences import FenceIndex
from geofences.properties import PROPERTIES
from proximity.model import Beacon, ProximityError
from proximity.site.registry import ID_FIELDS, Site
from proximity.site.sitefile import parse_site
from proximity.tomltable import TomlTable
from simulator.gps import Sky
from simulator.radio import Air, Wall
from simulator.shapes import Plan, numbers, spells
from simulator.tomltext import array_of_tables, line

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Receiver", "Sender", "Venue", "plain", "read_venue"]

MAX_WALLS = 1000
"""Walls: each is weighed against every advertisement."""


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """A gateway as it is: position on the plan in metres, and what befalls its reports.

    It reports each beacon at most every ``report_s`` seconds, listens ``window_s[0]`` seconds and
    is deaf for ``window_s[1]``, and tells a level only once it differs by ``step_db`` from the last
    told: what Linux makes of a scan unless it is asked otherwise. Its clock is ``skew_s`` ahead;
    what it hears in spells of ``down`` is lost, in spells of ``offline`` arrives when they end.
    """

    id: str
    place: str
    x: float
    y: float
    floor: float
    report_s: float = 1.0
    window_s: tuple[float, float] = (1.0, 0.0)
    step_db: float = 0.0
    skew_s: float = 0.0
    delay_s: float = 0.2
    down: tuple[tuple[float, float], ...] = ()
    offline: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sender:
    """A beacon as it is: carried by ``subject``, or fixed at ``x``, ``y`` for ``place``."""

    beacon: Beacon
    every_s: float
    power_dbm: float
    subject: str | None
    place: str | None
    x: float
    y: float
    floor: float


@dataclass(frozen=True, kw_only=True)
class Venue:
    """All that a scenario says of a place, checked.

    ``fences`` is GeoJSON, ``site_toml`` the text of the site file; ``areas`` draws the zones that
    no fence draws, ``skies`` the roofs and streets overhead, each with its ``Sky``.
    """

    plan: Plan
    fences: bytes
    index: FenceIndex
    site_toml: str
    site: Site
    areas: FenceIndex
    skies: FenceIndex
    sky_of: dict[str, Sky]
    air: Air
    walls: tuple[Wall, ...]
    receivers: tuple[Receiver, ...]
    senders: tuple[Sender, ...]


def read_venue(top: TomlTable, beside: Callable[[str], str]) -> Venue | None:
    """Read the tables of a venue from a file's top; what is wrong is noted in ``top``.

    ``beside`` reads a file that lies beside. None where what is wrong leaves nothing to go on with.
    """
    return _Reader(top, beside).read()


class _Reader:
    """Reads one file's venue, part by part."""

    def __init__(self, top: TomlTable, beside: Callable[[str], str]) -> None:
        self.top = top
        self.beside = beside
        self.plan = Plan.read(top)
        self.receivers: list[Receiver] = []
        self.senders: list[Sender] = []
        self.areas: list[dict[str, Any]] = []
        self.skies: list[dict[str, Any]] = []
        self.sky_of: dict[str, Sky] = {}

    def read(self) -> Venue | None:
        """Read everything."""
        top = self.top
        fences, site_toml = self._what_is_where()
        for table in top.children("sky"):
            kind = table.choice("is", _SKIES)
            if kind is None:
                table.fault(f"needs is: one of {', '.join(_SKIES)}")
            self._sky(self.plan.needed_shape(table), kind)
            table.finish()
        walls = tuple(self._walls())
        air = _air(top.child("air"))
        index, areas = self._index(fences, "fence"), self._index(_collection(self.areas), "place")
        skies = self._index(_collection(self.skies), "sky")
        site = self._site(site_toml, [] if index is None else index.ids)
        if index is None or areas is None or skies is None or site is None:
            return None
        return Venue(
            plan=self.plan,
            fences=fences,
            index=index,
            site_toml=site_toml,
            site=site,
            areas=areas,
            skies=skies,
            sky_of=self.sky_of,
            air=air,
            walls=walls,
            receivers=tuple(self.receivers),
            senders=tuple(self.senders),
        )

    def _what_is_where(self) -> tuple[bytes, str]:
        """Read the fences and the site: drawn here, or files beside the scenario."""
        top = self.top
        features = [self._fence(table) for table in top.children("fence")]
        timezone = top.text("timezone")
        places = [self._place(table) for table in top.children("place")]
        gateways = [self._gateway(table) for table in top.children("gateway")]
        beacons = [self._beacon(table) for table in top.children("beacon")]
        beside = top.text("site")
        if beside is None:
            text = "" if timezone is None else line("timezone", timezone)
            text = line("fences", "fences.geojson") + text
            for name, tables in (("place", places), ("gateway", gateways), ("beacon", beacons)):
                text += array_of_tables(name, tables)
            return _collection(features), text
        if features or timezone or places or gateways or beacons:
            top.fault("site names a file, so everything on the site stands there: leave out one")
        text = self.beside(beside)
        fences = "fences.geojson"
        if text and f'"{fences}"' not in text:
            top.fault(f'{beside} must say fences = "{fences}", for that is written beside it')
            return _collection([]), text
        return self.beside(fences).encode() or _collection([]), text

    def _fence(self, table: TomlTable) -> dict[str, Any]:
        """Read a fence as the GeoJSON feature that it stands for."""
        name = _own_id(table)
        geometry, properties = self.plan.needed_shape(table)
        self._sky((geometry, properties), table.choice("sky", _SKIES))
        for key in PROPERTIES:
            if key not in _SHAPE_PROPERTIES and table.has(key):
                properties[key] = plain(table.table[key])
        table.finish()
        return {"type": "Feature", "id": name, "properties": properties, "geometry": geometry}

    def _place(self, table: TomlTable) -> dict[str, Any]:
        """Read a zone: what the site file says of it, and the area where it truly is."""
        name = _own_id(table)
        drawn = self.plan.shape(table)
        if drawn is not None:
            geometry, properties = drawn
            if table.has("floor"):
                properties["floor"] = table.number("floor", 0.0, least=-1e3, most=1e3)
            self.areas.append(
                {"type": "Feature", "id": name, "properties": properties, "geometry": geometry}
            )
        return _rest(table, *Plan.KEYS, "floor")

    def _gateway(self, table: TomlTable) -> dict[str, Any]:
        """Read a gateway: what the site file says of it, and where and how it truly is."""
        x, y = self.plan.point(table, "at")
        lon, lat = self.plan.degrees(x, y)
        floor = table.number("floor", math.nan, least=-1e3, most=1e3)
        plain = TomlTable(table.table, table.where, [])  # parse_site tells of what it finds
        self.receivers.append(
            Receiver(
                id=plain.identity("id") or "",
                place=plain.identity("place") or "",
                x=x,
                y=y,
                floor=floor,
                report_s=table.number("report_s", 1.0, least=0.01, most=3600.0),
                window_s=_window(table),
                step_db=table.number("step_db", 0.0, most=60.0),
                skew_s=table.number("skew_s", 0.0, least=-86400.0, most=86400.0),
                delay_s=table.number("delay_s", 0.2, least=0.0, most=3600.0),
                down=spells(table, "down"),
                offline=spells(table, "offline"),
            )
        )
        rest = _rest(table, "at", *_TRULY)
        return {**rest, "lon": round(lon, 7), "lat": round(lat, 7)}

    def _beacon(self, table: TomlTable) -> dict[str, Any]:
        """Read a beacon: what the site file says of it, and how it sends."""
        fixed = "place" in table.table
        x, y = self.plan.point(table, "at") if fixed else (0.0, 0.0)
        plain = TomlTable(table.table, table.where, [])
        form = table.table.get("format", "ibeacon")
        ids = {key: table.table[key] for key in ID_FIELDS.get(form, ()) if key in table.table}
        # Which beacon of those that share the rest is sent: the first.
        wanted = {"major": 0, "minor": 0} if form == "ibeacon" else {}
        wanted = {"id2": 0, "id3": 0} if form == "altbeacon" else wanted
        power = table.number("power_dbm", -59.0, least=-100.0, most=-20.0)
        sender = Sender(
            beacon=Beacon(format="ibeacon"),
            every_s=table.number("every_s", 0.5, least=0.02, most=10.24),
            power_dbm=power,
            subject=plain.identity("subject"),
            place=plain.identity("place"),
            x=x,
            y=y,
            floor=table.number("floor", math.nan, least=-1e3, most=1e3),
        )
        try:
            fields = {"format": form, **wanted, **ids, "power_dbm": round(power)}
            beacon = msgspec.convert(fields, Beacon)
        except msgspec.ValidationError:
            beacon = sender.beacon  # parse_site says what is wrong with it
        self.senders.append(replace(sender, beacon=beacon))
        return _rest(table, "at", "every_s", "power_dbm", "floor")

    def _sky(self, drawn: tuple[dict[str, Any], dict[str, Any]], kind: str | None) -> None:
        """Note what stands overhead in an area."""
        if kind is None:
            return
        name = str(len(self.skies))
        geometry, properties = drawn
        self.skies.append(
            {"type": "Feature", "id": name, "properties": dict(properties), "geometry": geometry}
        )
        self.sky_of[name] = _SKIES[kind]

    def _walls(self) -> Iterator[Wall]:
        tables = self.top.children("wall")
        if len(tables) > MAX_WALLS:
            self.top.fault(f"{len(tables)} walls are too many, at most {MAX_WALLS}")
        for table in tables[:MAX_WALLS]:
            ends = self.plan.points(table, "line", least=2, most=2)
            loss = table.number("loss_db", 6.0, least=0.0, most=60.0)
            table.finish()
            if len(ends) == 2:
                yield Wall(*ends[0], *ends[1], loss)

    def _index(self, features: bytes, what: str) -> FenceIndex | None:
        """Read features as fences; their problems are told in the words of this file."""
        try:
            return FenceIndex(geofences.loads(features, f"{self.top.where}: {what}").fences)
        except geofences.GeofenceError as error:
            for problem in error.problems:
                if not problem.advice:
                    self.top.problems.append(str(problem))
            return None

    def _site(self, text: str, fence_ids: Collection[str]) -> Site | None:
        try:
            site = parse_site(text, self.top.where)
        except ProximityError as error:
            self.top.problems.extend(error.problems)
            return None
        self.top.problems.extend(site.check(list(fence_ids)))
        drawn = {*fence_ids, *(one["id"] for one in self.areas)}
        asked = {one.place for one in self.receivers} | {one.place for one in self.senders}
        for place in sorted(asked & site.places.keys() - drawn - {None}):  # type: ignore[type-var]
            self.top.fault(
                f"place {place!r} is drawn nowhere: give it box, circle, outline or corridor, "
                "so that the truth about it is known"
            )
        return site


_SKIES = {sky.name.lower(): sky for sky in Sky if sky is not Sky.OPEN}
_SHAPE_PROPERTIES = ("radius_m",)
_TRULY = ("report_s", "window_s", "step_db", "skew_s", "delay_s", "down", "offline")
"""What no site file tells of a gateway."""


def _air(table: TomlTable) -> Air:
    """Read how radio behaves here; what is left out is as usual."""
    usual = Air()
    table.has("exponent")
    exponent = numbers(table.table.get("exponent", list(usual.exponent)), 2, 2)
    if exponent is None or not 1.0 <= exponent[0] <= exponent[1] <= 6.0:
        table.fault("exponent must be [least, most] from 1 to 6, such as [1.4, 2.4]")
        exponent = list(usual.exponent)
    air = Air(
        exponent=(exponent[0], exponent[1]),
        spread_db=table.number("spread_db", usual.spread_db, most=30.0),
        shadow_db=table.number("shadow_db", usual.shadow_db, most=30.0),
        shadow_m=table.number("shadow_m", usual.shadow_m, least=0.01, most=1000.0),
        rice_k_db=table.number("rice_k_db", usual.rice_k_db, least=-20.0, most=60.0),
        fade_m=table.number("fade_m", usual.fade_m, least=1e-3, most=1000.0),
        fade_s=table.number("fade_s", usual.fade_s, least=1e-3, most=1e6),
        body_db=table.number("body_db", usual.body_db, most=40.0),
        floor_db=table.number("floor_db", usual.floor_db, most=80.0),
        loss=table.number("loss", usual.loss, most=1.0),
        deaf_dbm=table.number("deaf_dbm", usual.deaf_dbm, least=-119.0, most=-30.0),
        unmeasured=table.number("unmeasured", usual.unmeasured, most=1.0),
    )
    table.finish()
    return air


def _window(table: TomlTable) -> tuple[float, float]:
    """Read how long a gateway listens, and how long it then does not, in seconds."""
    if not table.has("window_s"):
        return 1.0, 0.0
    pair = numbers(table.table["window_s"], 2, 2)
    if pair is None or not (0.01 <= pair[0] <= 3600.0 and 0.0 <= pair[1] <= 3600.0):
        table.fault("window_s must be [listens, is deaf] in seconds, such as [10, 5]")
        return 1.0, 0.0
    return pair[0], pair[1]


def _own_id(table: TomlTable) -> str:
    if not table.has("id"):
        table.fault('lacks id: add id = "…"')
    return table.identity("id") or ""


def _rest(table: TomlTable, *but: str) -> dict[str, Any]:
    """Give what the site file is to hold of a table: ``parse_site`` judges it."""
    for key in but:
        table.has(key)
    return {key: value for key, value in table.table.items() if key not in but}


def plain(value: Any) -> Any:
    """Turn what TOML has and JSON has not, dates, into text."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


def _collection(features: list[dict[str, Any]]) -> bytes:
    """Write features as GeoJSON, one a line."""
    lines = ",\n".join(json.dumps(one, ensure_ascii=False, default=str) for one in features)
    return f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n'.encode()
