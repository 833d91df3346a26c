"""The question: what does a person like, by what they did: which products, which venues, how much.

Counts and shares over a profile, nothing guessed: the same events and visits give the same figures
on any machine. Whether that speaks against an offer is ``gates``' to say. Pure; it knows no store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from proximity.people.facts import Happened, Profile, Stay

__all__ = ["Affinity", "Leaning", "Metrics", "affinities", "by_category", "by_venue", "leaning"]

PURCHASE = "purchase"
_MOST_QUANTITY = 1000.0
"""Of one purchase: a till that books a pallet, or a number that slipped, says nothing of taste."""


class Affinity(msgspec.Struct, frozen=True, kw_only=True):
    """How much a person takes of one product (or category): ``share`` is of all they took, 0..1.

    ``count`` adds up quantities, ``purchases`` the times it was bought, ``spent`` the prices where
    they were told; ``last_at`` is Unix seconds.
    """

    name: str
    count: float
    share: float
    purchases: int
    spent: float
    last_at: float


class Leaning(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what a person bought are these products: ``count`` of ``total``, 0..1 ``share``.

    ``leading`` is the product of them that they bought most, None where they bought none.
    """

    count: float
    total: float
    share: float
    leading: str | None


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Visits to a venue or a category of venues: recency, frequency, dwell; seconds, Unix seconds.

    ``per_week`` is the visits a week from the first on, of at least one week; ``dwell_s`` their
    sum, ``mean_dwell_s`` and ``longest_s`` of the visits that are over or last.
    """

    visits: int
    first_at: float
    last_at: float
    recency_s: float
    per_week: float
    dwell_s: float
    mean_dwell_s: float
    longest_s: float


_WEEK_S = 7 * 86400.0


def affinities(profile: Profile, key: str = "product") -> list[Affinity]:
    """Rank what was bought by how much, most first, then by name.

    ``key`` is the property that names it: ``product``, ``category``. A purchase without it counts
    for nothing here.
    """
    counts: dict[str, list[float]] = {}
    for event, name, quantity in _bought(profile.events, key):
        known = counts.setdefault(name, [0.0, 0.0, 0.0, 0.0])
        known[0] += quantity
        known[1] += 1.0
        known[2] += _number(event, "price") * quantity
        known[3] = max(known[3], event.at)
    total = sum(known[0] for known in counts.values())
    return sorted(
        (
            Affinity(
                name=name,
                count=count,
                share=count / total,
                purchases=int(purchases),
                spent=round(spent, 6),
                last_at=last_at,
            )
            for name, (count, purchases, spent, last_at) in counts.items()
        ),
        key=lambda one: (-one.count, one.name),
    )


def leaning(profile: Profile, names: Collection[str], key: str = "product") -> Leaning:
    """Tell how much of what was bought is any of ``names``; nothing of nothing is a share of 0."""
    total = 0.0
    of_them: dict[str, float] = {}
    for _, name, quantity in _bought(profile.events, key):
        total += quantity
        if name in names:
            of_them[name] = of_them.get(name, 0.0) + quantity
    count = sum(of_them.values())
    return Leaning(
        count=count,
        total=total,
        share=count / total if total else 0.0,
        leading=min(of_them, key=lambda name: (-of_them[name], name)) if of_them else None,
    )


def by_venue(profile: Profile, now: float) -> dict[str, Metrics]:
    """Measure the visits to each place, as they stand at Unix second ``now``; places in order."""
    grouped: dict[str, list[Stay]] = {}
    for stay in profile.visits:
        if stay.enter_at <= now:
            grouped.setdefault(stay.place, []).append(stay)
    return {name: _measure(grouped[name], now) for name in sorted(grouped)}


def by_category(profile: Profile, now: float) -> dict[str, Metrics]:
    """Measure the visits to the places of each tag, as ``by_venue`` does.

    A visit counts for every tag of its place; where someone was in two places of a tag at once,
    such as a shop and its mall, both visits count.
    """
    grouped: dict[str, list[Stay]] = {}
    for stay in profile.visits:
        if stay.enter_at <= now:
            for tag in stay.tags:
                grouped.setdefault(tag, []).append(stay)
    return {name: _measure(grouped[name], now) for name in sorted(grouped)}


def _measure(stays: Iterable[Stay], now: float) -> Metrics:
    """Measure some visits, at least one."""
    stays = list(stays)
    first_at = min(stay.enter_at for stay in stays)
    # Whoever is there now was there last now; otherwise what counts is when they left.
    last_at = max(now if s.exit_at is None else min(s.exit_at, now) for s in stays)
    dwells = [stay.dwell_s(now) for stay in stays]
    return Metrics(
        visits=len(stays),
        first_at=first_at,
        last_at=last_at,
        recency_s=now - last_at,
        per_week=len(stays) / max(1.0, (now - first_at) / _WEEK_S),
        dwell_s=sum(dwells),
        mean_dwell_s=sum(dwells) / len(dwells),
        longest_s=max(dwells),
    )


def _bought(events: Iterable[Happened], key: str) -> Iterator[tuple[Happened, str, float]]:
    """Give the purchases that name something under ``key``, each with how much of it."""
    for event in events:
        if event.name != PURCHASE:
            continue
        name = event.properties.get(key)
        if not isinstance(name, str) or not name:
            continue
        quantity = min(_number(event, "quantity", 1.0), _MOST_QUANTITY)
        if quantity > 0.0:
            yield event, name, quantity


def _number(event: Happened, key: str, default: float = 0.0) -> float:
    value = event.properties.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return float(value)
