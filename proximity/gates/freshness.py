"""The question: is what another system told of people young enough to decide by it.

Decisions read a copy that is kept here, and never ask the other system: whether it is up or down,
they go on. How old the copy is stands in the evidence; where a bound is set and passed, the bound
says whether to send all the same. Pure; how the copy is kept is ``proximity.sync``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proximity.sync.rules import Bound

__all__ = ["freshness"]


def freshness(
    ages: Mapping[str, float], bounds: Mapping[str, Bound]
) -> tuple[bool, dict[str, Any]]:
    """Let pass what is decided on copies that are young enough.

    ``ages`` are seconds since each peer was last heard of; of a peer that has a bound and was never
    heard of there is no age, and nothing that could be told from it: it counts as too old. The
    evidence names each peer with ``age_s``, its bound, and whether it is stale.
    """
    peers = {}
    passed = True
    for peer in sorted({*ages, *bounds}):
        age, bound = ages.get(peer), bounds.get(peer)
        said: dict[str, Any] = {"age_s": None if age is None else round(age, 3)}
        if bound is not None:
            stale = age is None or age > bound.max_age_s
            said |= {"max_age_s": bound.max_age_s, "stale": stale, "on_stale": bound.on_stale}
            passed = passed and not (stale and bound.on_stale == "suppress")
        peers[peer] = said
    return passed, {"peers": peers}
