"""Which places say too much of whoever is in them, and which campaign would use one?

A place is sensitive by its tags, by its name, or because it lies in or near an area of a layer that
the operator gives; what stands in a sensitive place is sensitive as well. Campaigns that use one
are refused when they are published, unless two people vouch for that very place (``approvals``).
Pure: it knows fences, site and campaigns, no person and no disk.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from geofences import FenceIndex
from proximity.model import digest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from geofences import Fence, Geometry
    from proximity.campaigns.campaigns import Campaign, Campaigns
    from proximity.site.registry import Site

__all__ = [
    "BUFFER_M", "CATEGORIES", "Category", "Finding", "Use", "find", "place_of", "places_of",
    "unmet", "uses",
]  # fmt: skip

BUFFER_M = 610.0
"""How near to an area of the layer is too near: 2000 feet, as Washington's My Health My Data Act
has it; California's 1850 feet lie within."""
_STEP = 0.1
"""Outlines are looked at every tenth of the buffer, which is then taken as wider by half of that:
in doubt, a place is sensitive."""
_LEAST_STEP_M = 5.0
_MOST_POINTS = 20_000
_METRES_A_DEGREE = 111_320.0
_DEEPEST = 16


class Category(NamedTuple):
    """One kind of sensitive place: tags that mark it, and words that a name of it has."""

    tags: frozenset[str]
    words: frozenset[str]


def _category(tags: str, words: str) -> Category:
    return Category(frozenset(tags.split()), frozenset(words.split()))


CATEGORIES: dict[str, Category] = {
    "health": _category(
        "health clinic hospital doctor doctors dentist medical hospice pharmacy psychiatry "
        "rehab addiction fertility abortion sanatorium",
        "clinic hospital hospice polyclinic clinique hôpital klinik krankenhaus clínica hospital "
        "sanatorium maternity oncology psychiatry psychiatrie",
    ),
    "worship": _category(
        "worship church mosque synagogue temple religion place-of-worship monastery gurdwara",
        "church mosque synagogue cathedral église mosquée kirche moschee synagoge iglesia mezquita "
        "gurdwara",
    ),
    "shelter": _category(
        "shelter refuge women-shelter homeless-shelter asylum refugee",
        "shelter refuge frauenhaus asylheim",
    ),
    "school": _category(
        "school kindergarten nursery childcare playground",
        "school kindergarten école schule escuela preschool crèche kita",
    ),
    "custody": _category(
        "prison jail detention probation immigration",
        "prison jail gefängnis cárcel penitentiary",
    ),
    "belief": _category(
        "union trade-union political-party party-office protest embassy",
        "gewerkschaft",
    ),
    "orientation": _category("lgbt lgbtq gay", "lgbtq"),
    "military": _category("military barracks base", "barracks kaserne"),
}
"""The categories, after the lists of the FTC's orders (2024 to 2026) and of MHMDA."""

_WAYS = _category(
    "",
    "street road avenue lane square way place rue avenue chemin straße strasse weg platz gasse "
    "calle plaza gate hill bakery café cafe bistro restaurant bar pub shop store",
).words
"""A name with one of these after the word is called after a church and is none."""

_MARK = re.compile(r"[0-9a-f]{12}")
"""The end of what approvals of a place are called."""

_WORDS = re.compile(r"[\w-]+")


class Finding(NamedTuple):
    """A sensitive place: the rule it falls under, why, and what approvals of it are called.

    ``what`` changes with the place: who vouched for a shop did not vouch for what is drawn later.
    ``listed``: an area of the operator's own layer says so.
    """

    rule: str
    place: str
    because: str
    what: str
    listed: bool = False


class Use(NamedTuple):
    """A campaign that would use a sensitive place."""

    campaign: str
    finding: Finding

    def problem(self) -> str:
        """Say it as a problem with its mend."""
        found = self.finding
        return (
            f"campaign {self.campaign!r}: place {found.place!r} is {found.rule} "
            f"({found.because}): leave it out, or have two people vouch for it: "
            f"`proximity privacy approve {found.what!r} --who NAME --reason …`"
        )


def find(
    fences: Iterable[Fence],
    site: Site,
    layer: Sequence[Fence] = (),
    buffer_m: float = BUFFER_M,
    *,
    only: Collection[str] | None = None,
) -> dict[str, Finding]:
    """Find the sensitive places among fences and a site's zones, by id.

    ``layer`` are areas with a ``category`` property, ``buffer_m`` metres how near is too near;
    ``only`` these places are judged, where not all are asked about.
    """
    drawn = {fence.id: fence for fence in fences}
    parents = _parents(drawn, site)
    wanted = {*drawn, *site.named} if only is None else _with_parents(only, parents)
    spots = _spots(site)
    near = _Layer(layer, buffer_m, [drawn[one] for one in sorted(wanted & drawn.keys())])
    found: dict[str, Finding] = {}
    for place in sorted(wanted):
        fence, receivers = drawn.get(place), spots.get(place, [])
        said = near.judge(fence, receivers)
        listed = said is not None
        if said is None and fence is not None:
            said = _by_words(fence)
        if said is not None:
            finding = _finding(*said, place, fence, receivers)
            found[place] = finding._replace(listed=listed)
    for place in sorted(wanted - found.keys()):  # who is at its counter is in the clinic
        above = next((one for one in _above(place, parents) if one in found), None)
        if above is not None:
            category = found[above].rule.partition("/")[2]
            because = f"it is in {above!r}"
            found[place] = _finding(
                category, because, place, drawn.get(place), spots.get(place, [])
            )
    return found


def places_of(campaigns: Campaigns, tags: Mapping[str, Collection[str]]) -> set[str]:
    """Name the places that campaigns wait at; ``tags`` are those of every place."""
    tagged: dict[str, set[str]] = {}
    for place, own in tags.items():
        for tag in own:
            tagged.setdefault(tag, set()).add(place)
    used: set[str] = set()
    for campaign in campaigns.campaigns.values():
        for watched, own in _watched(campaign):
            used |= watched
            used = used.union(*(tagged.get(tag, ()) for tag in own))
    return used


def _watched(campaign: Campaign) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """Give the places and tags that a campaign looks at: where it waits, and whose visits count.

    A transition happens in the very place that is waited for; an event happens anywhere in it, so
    that the venue which its circumstances ask for is looked at as well.
    """
    for rule in campaign.waits_for:
        yield rule.places, rule.tags
    if any(rule.on == "event" for rule in campaign.waits_for):
        for one in campaign.context:
            yield frozenset(), one.tags
    if campaign.audience is not None:
        yield campaign.audience.watched()


def uses(
    campaigns: Campaigns, found: Mapping[str, Finding], tags: Mapping[str, Collection[str]]
) -> list[Use]:
    """List the campaigns that would use one of these places, by name or by a tag that it has."""
    listed: list[Use] = []
    for campaign in campaigns.campaigns.values():
        met = [
            finding
            for place, finding in sorted(found.items())
            if any(
                place in places or not own.isdisjoint(tags.get(place, ()))
                for places, own in _watched(campaign)
            )
        ]
        listed += [Use(campaign.id, finding) for finding in met]
    return listed


def place_of(what: str) -> str | None:
    """Give the place that an approval is of; None where no refusal could have named it so."""
    place, _, mark = what.strip().rpartition("@")
    return place if place and _MARK.fullmatch(mark) else None


def unmet(
    what: str, known: Collection[str], found: Mapping[str, Finding] | None = None
) -> str | None:
    """Say that nothing is there yet that an approval called ``what`` would be of; else None.

    ``known`` are the places there are; ``found`` the sensitive ones, where somebody looked.
    """
    place = place_of(what)
    if place is None:
        return (
            f"no refusal is called {what!r:.80}: it is PLACE@ and twelve of 0-9 and a-f, as the "
            "refusal or `proximity privacy scan` has it"
        )
    if place not in known:
        return f"no place {place!r} is in force: it counts once one is drawn as it was refused"
    if found is None or (place in found and found[place].what == what.strip()):
        return None
    if place in found:
        return f"{place!r} is not as it was then: what it takes now is {found[place].what!r}"
    return f"nothing is sensitive about {place!r} as it is now"


def _by_words(fence: Fence) -> tuple[str, str] | None:
    """Judge a fence by its own tags and name."""
    tags = {_plain(tag) for tag in fence.tags}
    words = [_plain(word) for word in _WORDS.findall(fence.name)]
    for name, category in CATEGORIES.items():
        for tag in sorted(tags & category.tags):
            return name, f"it is tagged {tag!r}"
        for spot, word in enumerate(words):
            called_after = spot + 1 < len(words) and not _WAYS.isdisjoint(words[spot + 1 :])
            if word in category.words and not called_after:
                return name, f"its name says {word!r}"
    return None


def _plain(word: str) -> str:
    return unicodedata.normalize("NFC", word).lower().replace("_", "-").replace(" ", "-")


class _Layer:
    """The operator's areas, and what of ``fences`` is drawn round one of them."""

    def __init__(self, layer: Sequence[Fence], buffer_m: float, fences: Sequence[Fence]) -> None:
        self._buffer_m = buffer_m
        self._index = FenceIndex(layer)
        self._kinds = {area.id: str(area.properties.get("category")) for area in layer}
        self._held: dict[str, str] = {}
        own = FenceIndex(fences if layer else ())
        for area in layer:
            for lon, lat in _positions(area.geometry):
                for fence in own.locate(lon, lat):
                    self._held.setdefault(fence, area.id)

    def judge(
        self, fence: Fence | None, receivers: Sequence[tuple[float, float]]
    ) -> tuple[str, str] | None:
        """Give the category of the area that a place is in, holds or is near, and why."""
        if not self._kinds:
            return None
        if fence is not None and fence.id in self._held:
            area = self._held[fence.id]
            return self._kinds[area], f"{area!r} of the layer lies in it"
        reach = self._buffer_m
        near = self._near(receivers, reach)
        if near is None and fence is not None:
            reach += self._buffer_m * _STEP / 2 + _LEAST_STEP_M + (fence.radius_m or 0.0)
            near = self._near(_outline(fence.geometry, self._buffer_m), reach)
        if near is None:
            return None
        return self._kinds[near], f"it is within {self._buffer_m:g} m of {near!r} of the layer"

    def _near(self, points: Iterable[tuple[float, float]], reach_m: float) -> str | None:
        for lon, lat in points:
            for area, _ in self._index.within(lon, lat, reach_m):
                return area
        return None


def _spots(site: Site) -> dict[str, list[tuple[float, float]]]:
    """Give where the receivers of each place stand, as far as the site says."""
    spots: dict[str, list[tuple[float, float]]] = {}
    for gateway in site.gateways.values():
        if gateway.lon is not None and gateway.lat is not None:
            spots.setdefault(gateway.place, []).append((gateway.lon, gateway.lat))
    return spots


def _parents(drawn: Mapping[str, Fence], site: Site) -> dict[str, str]:
    """Give what each place is in, as the fence or the site says."""
    parents = {one.id: one.venue for one in drawn.values() if one.venue is not None}
    return parents | {one.id: one.parent for one in site.places.values() if one.parent is not None}


def _above(place: str, parents: Mapping[str, str]) -> Iterator[str]:
    """Give what a place is in, nearest first."""
    for _ in range(_DEEPEST):
        above = parents.get(place)
        if above is None:
            return
        yield above
        place = above


def _with_parents(places: Collection[str], parents: Mapping[str, str]) -> set[str]:
    return {*places, *(above for place in places for above in _above(place, parents))}


def _finding(
    category: str,
    because: str,
    place: str,
    fence: Fence | None,
    receivers: Sequence[tuple[float, float]],
) -> Finding:
    drawn = "" if fence is None else msgspec.json.encode(fence.to_feature(), order="sorted")
    what = f"{place}@{digest(category, drawn, repr(receivers))[:12]}"
    return Finding(f"sensitive/{category}", place, because, what)


def _outline(geometry: Geometry, buffer_m: float) -> Iterator[tuple[float, float]]:
    """Give points along a geometry, near enough to one another for the buffer."""
    step = max(_LEAST_STEP_M, buffer_m * _STEP)
    left = _MOST_POINTS
    for line in _lines(geometry):
        yield float(line[0, 0]), float(line[0, 1])
        for (lon0, lat0), (lon1, lat1) in zip(line[:-1, :2], line[1:, :2], strict=True):
            turn = (lon1 - lon0 + 180.0) % 360.0 - 180.0
            east = turn * _METRES_A_DEGREE * math.cos(math.radians((lat0 + lat1) / 2))
            length = math.hypot(east, (lat1 - lat0) * _METRES_A_DEGREE)
            count = min(max(1, math.ceil(length / step)), max(1, left))
            left -= count
            for part in range(1, count + 1):
                lon = lon0 + turn * part / count
                yield (
                    float((lon + 180.0) % 360.0 - 180.0),
                    float(lat0 + (lat1 - lat0) * part / count),
                )


def _positions(geometry: Geometry) -> Iterator[tuple[float, float]]:
    """Give every position of a geometry."""
    for line in _lines(geometry):
        for lon, lat in line[:, :2]:
            yield float(lon), float(lat)


def _lines(geometry: Geometry) -> Iterator[npt.NDArray[np.float64]]:
    for leaf in geometry.leaves():
        if leaf.rings:
            yield from leaf.lines()
        else:
            yield from (leaf.coords[n : n + 1] for n in range(len(leaf.coords)))
