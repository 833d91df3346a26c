"""The question: what does a transition's evidence say of how sure it is, and who told of it.

It reads what ``tracking`` and ``arbitration`` wrote as evidence, and judges nothing anew. It must
not know campaigns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.engine.arbitration import chance_of_margin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proximity.model import Source, Transition

__all__ = ["sureness", "told_by"]

_HEARD = frozenset({"gateway", "level_dbm", "near_dbm", "margin_db"})


def told_by(because: Mapping[str, Any]) -> Source:
    """Tell by its evidence whether fixes or sightings told of a transition."""
    if because.get("source") == "sighting" or not _HEARD.isdisjoint(because):
        return "sighting"
    return "fix"


def sureness(transition: Transition) -> float | None:
    """Tell how sure the engine was of a transition, 0 to 1; None where its evidence has no number.

    Of a fix it is the chance of being inside (outside, where somebody left), of a sighting the
    chance that its margin over the runner-up is no noise, of a child's place the child's. Silence
    has no number.
    """
    if transition.reason not in {None, "left"}:
        return None
    because = transition.because
    inside, margin_db = because.get("inside"), because.get("margin_db")
    if isinstance(inside, float):
        return round(1.0 - inside if transition.kind == "exit" else inside, 3)
    if isinstance(margin_db, int | float):
        return chance_of_margin(margin_db)
    strength = because.get("strength")
    return None if strength is None else round(float(strength), 3)
