"""The question: is it such-and-such an hour here, and when will it be.

Weekly windows of local civil time, for opening hours, campaign hours and quiet hours alike; what
they are for it must not know. Days, gaps and folds of the clock are settled by asking what a clock
on the wall shows at an instant. Pure: the tables of time zones are constants of ``zoneinfo``.
"""

from __future__ import annotations

import functools
import math
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DAYS", "Window", "load_zone", "local", "next_time", "parse_windows", "within"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_DAY_S = 86400
_HORIZON_S = 15 * _DAY_S
"""How far ahead is looked. A week shows every window once; a window that falls wholly into the
hour that the clock skips in spring shows only the week after, and one day is for the way there."""
_LAST = 253402300799.0 - _DAY_S
"""The calendar of ``datetime`` ends with the year 9999, in zones ahead of UTC a little sooner."""
_MOST_WINDOWS = 64
"""Windows in one list. Two a day and some holidays fit; a list of thousands is an accident."""


class Window(msgspec.Struct, frozen=True):
    """A stretch of the day, ``start_s`` to ``end_s`` (seconds of the local day, end exclusive).

    ``days`` are the weekdays it begins on, 0 is Monday. Where ``end_s`` is smaller than
    ``start_s`` it runs over midnight into the next day.
    """

    days: tuple[int, ...]
    start_s: int
    end_s: int

    def to_record(self) -> dict[str, Any]:
        """Give the window as it is written in files."""
        return {
            "days": [DAYS[day] for day in self.days],
            "from": _clock(self.start_s),
            "to": _clock(self.end_s),
        }

    def holds(self, weekday: int, second: float) -> bool:
        """Whether a wall clock that shows ``second`` of the day on ``weekday`` lies within."""
        if self.start_s < self.end_s:
            return weekday in self.days and self.start_s <= second < self.end_s
        if weekday in self.days and second >= self.start_s:
            return True
        return (weekday - 1) % 7 in self.days and second < self.end_s


def parse_windows(value: object, where: str) -> tuple[tuple[Window, ...], list[str]]:
    """Read a list of ``{days, from, to}`` tables; also gives every problem, each led by ``where``.

    ``days`` may be left out for all seven. ``from`` and ``to`` are ``HH:MM``; ``24:00`` ends a
    day; a ``to`` before ``from`` runs over midnight.
    """
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list | tuple):
        return (), [f'{where}: write a list of windows such as {{from = "09:00", to = "18:30"}}']
    if len(value) > _MOST_WINDOWS:
        return (), [f"{where}: {len(value)} windows are too many, at most {_MOST_WINDOWS}"]
    windows: list[Window] = []
    problems: list[str] = []
    for number, item in enumerate(value, start=1):
        spot = where if len(value) == 1 else f"{where}, window {number}"
        found = _parse_window(item, spot, problems)
        if found is not None:
            windows.append(found)
    return tuple(windows), problems


def _parse_window(item: object, spot: str, problems: list[str]) -> Window | None:
    if not isinstance(item, dict):
        problems.append(f'{spot}: write a table such as {{from = "09:00", to = "18:30"}}')
        return None
    before = len(problems)
    problems.extend(
        f"{spot}: unknown key {key!r}; a window has days, from and to"
        for key in item
        if key not in {"days", "from", "to"}
    )
    days = item.get("days", list(DAYS))
    known = isinstance(days, list | tuple) and all(isinstance(d, str) for d in days)
    if not (known and days and all(d in DAYS for d in days)):
        problems.append(f"{spot}: days must be a list of {', '.join(DAYS)}; it is {days!r:.60}")
        days = []
    start, end = (_parse_clock(item.get(key), key, spot, problems) for key in ("from", "to"))
    if start == _DAY_S:
        problems.append(f"{spot}: from cannot be 24:00; write 00:00 of the next day")
    if start is not None and start == end:
        problems.append(
            f'{spot}: from and to are alike; a whole day is from = "00:00", to = "24:00"'
        )
    if len(problems) > before or start is None or end is None:
        return None
    return Window(tuple(sorted({DAYS.index(d) for d in days})), start, end)


def _parse_clock(value: object, key: str, spot: str, problems: list[str]) -> int | None:
    if isinstance(value, str) and _CLOCK.fullmatch(value):
        return int(value[:2]) * 3600 + int(value[3:]) * 60
    problems.append(f'{spot}: {key} must be a time of day such as "08:30"; it is {value!r:.40}')
    return None


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}"


@functools.lru_cache(maxsize=1024)
def load_zone(name: str | None) -> ZoneInfo | None:
    """Find a time zone by its IANA name; None where there is no such zone.

    The names that mean "whatever this machine is set to" are no zones here: the same input must
    give the same answer anywhere.
    """
    if not name or name in {"localtime", "posixrules", "Factory"}:
        return None
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # unknown; no plain name; the name of a folder
        return None


def local(at: float, zone: ZoneInfo) -> datetime:
    """Give what calendar and clock on the wall show at Unix second ``at``."""
    return datetime.fromtimestamp(min(at, _LAST), zone)


def within(windows: Sequence[Window], at: float, zone: ZoneInfo) -> bool:
    """Whether Unix second ``at`` lies in any window of local time.

    In the hour that comes twice in autumn a window holds both times; in the hour that spring
    skips it holds nothing.
    """
    moment = local(at, zone)
    weekday, second = moment.weekday(), _second_of_day(moment)
    return any(window.holds(weekday, second) for window in windows)


def next_time(
    windows: Sequence[Window], at: float, zone: ZoneInfo, *, inside: bool
) -> float | None:
    """Find the first Unix second from ``at`` on that lies within (``inside``) or without.

    None where that is not so in the next fifteen days. Walks from edge to edge of the windows
    along the wall clock and stops where the clock is put forward or back, because between those
    stops the answer cannot change.
    """
    stops = sorted({_DAY_S, *(w.start_s for w in windows), *(w.end_s for w in windows)})
    now = at
    while now <= at + _HORIZON_S:
        if within(windows, now, zone) is inside:
            return now
        whole = math.floor(now)
        second = _second_of_day(local(whole, zone))
        stop = whole + next(edge - int(second) for edge in stops if edge > second)
        now = float(_offset_change(whole, stop, zone) or stop)
    return None


def _second_of_day(moment: datetime) -> float:
    return moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1_000_000


def _offset_change(start: int, stop: int, zone: ZoneInfo) -> int | None:
    """Find the second in (start, stop] at which the zone's offset changes, by halving.

    At most one change is looked for: no zone has had two within a day.
    """
    before = local(start, zone).utcoffset()
    if local(stop, zone).utcoffset() == before:
        return None
    while stop - start > 1:
        middle = (start + stop) // 2
        if local(middle, zone).utcoffset() == before:
            start = middle
        else:
            stop = middle
    return stop
