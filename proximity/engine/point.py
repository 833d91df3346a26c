"""What does one record do in ``point``, the yardstick?

Inside is where the coordinates lie, or the loudest receiver; nothing else plays a part.
"""

from __future__ import annotations

from typing import Any

from proximity.engine.arbitration import loudest
from proximity.engine.layout import Layout
from proximity.engine.presence import Presence, State
from proximity.engine.standing import Decide, Followed, Held, Moment, Standing, visit_id
from proximity.engine.tracking import is_still
from proximity.model import Fix, Sighting, Transition


def point_fix(
    standing: Standing, fix: Fix, held: Held | Followed | None, moment: Moment
) -> list[Transition]:
    """Take a fix as the truth: inside exactly the fences that hold its coordinates."""
    if not isinstance(held, tuple):
        held = tuple(moment.layout.index.locate(fix.lon, fix.lat))
    standing.fenced = held
    still = (fix.motion is not None or fix.speed_mps is not None) and is_still(fix)
    at, accuracy_m = fix.at, fix.accuracy_m
    because = {"rule": "point", "accuracy_m": accuracy_m, "evidence_at": at, "still": still}
    return _settle(standing, at, because, moment)


def point_sighting(
    standing: Standing, sighting: Sighting, place: str, moment: Moment
) -> list[Transition]:
    """Take the loudest sighting of the last seconds as the truth."""
    level = moment.layout.site.level_dbm(sighting)
    standing.window = loudest(standing.window, sighting.at, level, place)
    because: dict[str, Any] = {
        "rule": "loudest",
        "rssi_dbm": float(sighting.rssi_dbm),
        "evidence_at": sighting.at,
        "still": False,
    }
    if sighting.gateway is not None:
        because["gateway"] = sighting.gateway
    return _settle(standing, sighting.at, because, moment)


def _settle(
    standing: Standing, at: float, because: dict[str, Any], moment: Moment
) -> list[Transition]:
    """Make presence what point mode's latest record says.

    All that one record tells shares one ``because``, and nothing is built by name: this is what an
    update that crosses an edge costs.
    """
    presences, inside = standing.presences, standing.fenced
    if standing.window:
        inside = tuple(sorted({*inside, standing.window[0][2]}))
    subject, now = moment.subject, moment.now
    out = []
    if presences:
        for place in sorted(presences) if len(presences) > 1 else list(presences):
            if place not in inside:
                visit = presences.pop(place).visit
                out.append(Transition("exit", subject, place, visit, at, now, because, "left"))
    for place in inside:
        if place not in presences:
            visit = moment.names + visit_id(subject, place, at)
            presences[place] = Presence(
                State.INSIDE, visit, at, 0.0, at, None, None, 0, because["still"], because
            )
            out.append(Transition("enter", subject, place, visit, at, now, because))
    return out


def point_stays(standing: Standing, fix: Fix, held: Held | None, layout: Layout) -> bool:
    """Whether the same fences hold a fix as the one before."""
    if held is None:
        held = tuple(layout.index.locate(fix.lon, fix.lat))
    return held is standing.fenced or held == standing.fenced


POINT = Decide(point_fix, point_sighting, point_stays, timers=False, ordered=True)
