"""What does one record do in ``point``, the yardstick?

Inside is where the coordinates lie, or the loudest receiver; nothing else plays a part.
"""

from __future__ import annotations

from typing import Any

from geofences import FenceIndex
from proximity.model import Fix, Sighting, Transition
from proximity.presence import Presence, State
from proximity.registry import loudest
from proximity.standing import Decide, Held, Moment, Standing, say, visit_id
from proximity.tracking import is_still


def point_fix(standing: Standing, fix: Fix, held: Held, moment: Moment) -> list[Transition]:
    """Take a fix as the truth: inside exactly the fences that hold its coordinates."""
    standing.fenced = held
    accuracy_m = None if fix.accuracy_m is None else float(fix.accuracy_m)
    because = {"rule": "point", "accuracy_m": accuracy_m}
    return _settle(standing, fix.at, because, moment, still=is_still(fix))


def point_sighting(
    standing: Standing, sighting: Sighting, place: str, moment: Moment
) -> list[Transition]:
    """Take the loudest sighting of the last seconds as the truth."""
    level = moment.layout.site.level_dbm(sighting)
    standing.window = loudest(standing.window, sighting.at, level, place)
    because = {"rule": "loudest", "rssi_dbm": float(sighting.rssi_dbm)}
    return _settle(standing, sighting.at, because, moment, still=False)


def _settle(
    standing: Standing, at: float, because: dict[str, Any], moment: Moment, *, still: bool
) -> list[Transition]:
    """Make presence what point mode's latest record says."""
    inside = set(standing.fenced)
    if standing.window:
        inside.add(standing.window[0][2])
    out: list[Transition] = []
    for place in sorted(standing.presences.keys() - inside):
        presence = standing.presences.pop(place)
        presence.inside_at, presence.still, presence.because = at, still, because
        out.append(say("exit", moment, place, presence, at, moment.now, reason="left"))
    for place in sorted(inside - standing.presences.keys()):
        presence = standing.presences[place] = Presence(
            State.INSIDE,
            moment.names + visit_id(moment.subject, place, at),
            at,
            inside_at=at,
            still=still,
        )
        presence.because = because
        out.append(say("enter", moment, place, presence, at, moment.now))
    return out


def point_stays(standing: Standing, fix: Fix, held: Held, index: FenceIndex) -> bool:  # noqa: ARG001 - rows of one table
    """Whether the same fences hold a fix as the one before."""
    return held is standing.fenced or held == standing.fenced


POINT = Decide(point_fix, point_sighting, point_stays, timers=False)
