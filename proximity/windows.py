"""The question: is it such-and-such an hour here, and when will it be.

Weekly windows of local civil time, for opening hours, campaign hours and quiet hours alike; what
they are for it must not know. Days, gaps and folds of the clock are settled by asking what a clock
on the wall shows at an instant. Pure: the tables of time zones are constants of ``zoneinfo``.
"""

from __future__ import annotations

import functools
import math
import re
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.campaigns.calendars import Calendar

__all__ = [
    "DAYS", "Wall", "Window", "load_zone", "local", "local_text", "next_time", "parse_windows",
    "period_start", "shown", "wall", "within",
]  # fmt: skip

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_DAY_S = 86400
_HORIZON_S = 15 * _DAY_S
"""How far ahead is looked. A week shows every window once; a window that falls wholly into the
hour that the clock skips in spring shows only the week after, and one day is for the way there."""
_HOLIDAY_HORIZON_S = 400 * _DAY_S
"""The same where a window asks for holidays: most come once a year, on days that move a little."""
_LAST = 253402300799.0 - _DAY_S
"""The calendar of ``datetime`` ends with the year 9999, in zones ahead of UTC a little sooner."""
_MOST_WINDOWS = 64
"""Windows in one list. Two a day and some holidays fit; a list of thousands is an accident."""


class Window(msgspec.Struct, frozen=True):
    """A stretch of the day, ``start_s`` to ``end_s`` (seconds of the local day, end exclusive).

    ``days`` are the weekdays it begins on, 0 is Monday; ``holidays`` True: and only on a holiday;
    False: and on none. Where ``end_s`` is smaller than ``start_s`` it runs over midnight into the
    next day.
    """

    days: tuple[int, ...]
    start_s: int
    end_s: int
    holidays: bool | None = None

    def to_record(self) -> dict[str, Any]:
        """Give the window as it is written in files."""
        record: dict[str, Any] = {
            "days": [DAYS[day] for day in self.days],
            "from": _clock(self.start_s),
            "to": _clock(self.end_s),
        }
        if self.holidays is not None:
            record["holidays"] = self.holidays
        return record

    def holds(self, wall: Wall, calendar: Calendar | None = None) -> bool:
        """Whether what a clock and a calendar on the wall show lies within."""
        if self.start_s < self.end_s:
            return self.start_s <= wall.second < self.end_s and self._begins(wall, 0, calendar)
        if wall.second >= self.start_s and self._begins(wall, 0, calendar):
            return True
        return wall.second < self.end_s and self._begins(wall, 1, calendar)

    def _begins(self, wall: Wall, ago: int, calendar: Calendar | None) -> bool:
        """Whether it begins on the day that was ``ago`` days before this one."""
        if (wall.weekday - ago) % 7 not in self.days:
            return False
        if self.holidays is None:
            return True
        begun = date.fromordinal(wall.day - ago)
        return (calendar is not None and calendar.holds(begun)) is self.holidays


class Wall(NamedTuple):
    """What hangs on a wall: weekday (0 is Monday), second of the day, and the calendar's day.

    ``day`` is ``date.toordinal``; in a window's eyes that is all there is of a moment.
    """

    weekday: int
    second: float
    day: int


def parse_windows(value: object, where: str) -> tuple[tuple[Window, ...], list[str]]:
    """Read a list of ``{days, from, to, holidays}`` tables; also gives every problem.

    ``days`` may be left out for all seven. ``from`` and ``to`` are ``HH:MM``; ``24:00`` ends a
    day; a ``to`` before ``from`` runs over midnight. ``where`` leads every problem.
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
        f"{spot}: unknown key {key!r:.40}; a window has days, from, to and holidays"
        for key in item
        if key not in {"days", "from", "to", "holidays"}
    )
    days = item.get("days", list(DAYS))
    known = isinstance(days, list | tuple) and all(isinstance(d, str) for d in days)
    if not (known and days and all(d in DAYS for d in days)):
        problems.append(f"{spot}: days must be a list of {', '.join(DAYS)}; it is {shown(days)}")
        days = []
    start, end = (_parse_clock(item.get(key), key, spot, problems) for key in ("from", "to"))
    if start == _DAY_S:
        problems.append(f"{spot}: from cannot be 24:00; write 00:00 of the next day")
    if start is not None and start == end:
        problems.append(
            f'{spot}: from and to are alike; a whole day is from = "00:00", to = "24:00"'
        )
    holidays = item.get("holidays")
    if holidays is not None and not isinstance(holidays, bool):
        problems.append(f"{spot}: holidays must be true (on them alone) or false (on none)")
    if len(problems) > before or start is None or end is None:
        return None
    return Window(tuple(sorted({DAYS.index(d) for d in days})), start, end, holidays)


def _parse_clock(value: object, key: str, spot: str, problems: list[str]) -> int | None:
    if isinstance(value, str) and _CLOCK.fullmatch(value):
        return int(value[:2]) * 3600 + int(value[3:]) * 60
    # TOML has times of its own, which are written without quotes.
    problems.append(f'{spot}: {key} must be a time of day such as "08:30"; it is {shown(value)}')
    return None


def shown(value: object) -> str:
    """Write a value for a problem, cut short; Python refuses to write endless whole numbers."""
    if isinstance(value, date | time):
        return value.isoformat()
    try:
        return f"{value!r:.60}"
    except ValueError:
        return "a number of thousands of digits"


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


def local_text(at: float, zone: ZoneInfo) -> str:
    """Write what the wall shows, to the second, such as ``tue 2026-01-06 20:00:00+0900``."""
    minute = _minute(int(min(at, _LAST) // 60), zone)
    if minute is None:
        moment = local(at, zone)
        return f"{DAYS[moment.weekday()]} {moment:%Y-%m-%d %H:%M:%S%z}"
    return f"{minute.text}{int(min(at, _LAST) % 60):02d}{minute.offset}"


def within(
    windows: Sequence[Window], at: float, zone: ZoneInfo, calendar: Calendar | None = None
) -> bool:
    """Whether Unix second ``at`` lies in any window of local time; ``calendar`` knows holidays.

    In the hour that comes twice in autumn a window holds both times; in the hour that spring
    skips it holds nothing.
    """
    shown = wall(at, zone)
    return any(window.holds(shown, calendar) for window in windows)


def next_time(
    windows: Sequence[Window],
    at: float,
    zone: ZoneInfo,
    *,
    inside: bool,
    calendar: Calendar | None = None,
    before: float = math.inf,
) -> float | None:
    """Find the first Unix second from ``at`` on that lies within (``inside``) or without.

    None where that is not so before Unix second ``before``, nor in the next fifteen days (400
    where windows ask for holidays). Walks from edge to edge of the windows along the wall clock and
    stops where the clock is put forward or back, because between those stops the answer cannot
    change.
    """
    stops = sorted({_DAY_S, *(w.start_s for w in windows), *(w.end_s for w in windows)})
    rare = any(window.holidays is not None for window in windows)
    last = at + (_HOLIDAY_HORIZON_S if rare else _HORIZON_S)
    now = at
    while now <= last and now < before:
        if within(windows, now, zone, calendar) is inside:
            return now
        whole = math.floor(now)
        second = int(wall(whole, zone).second)
        stop = whole + next(edge - second for edge in stops if edge > second)
        now = float(_offset_change(whole, stop, zone) or stop)
    return None


def period_start(period: str, at: float, zone: ZoneInfo) -> float:
    """Give the Unix second at which the hour, day, week or month of local time began.

    A day begins at midnight, or at the first moment that it has where clocks skip that; a week on
    Monday. An hour that comes twice is one.
    """
    moment = local(at, zone)
    hour = moment.hour if period == "hour" else 0
    start = datetime(moment.year, moment.month, moment.day, hour, tzinfo=zone)
    if period == "week":
        start -= timedelta(days=moment.weekday())
    elif period == "month":
        start = start.replace(day=1)
    return start.timestamp()


class _Minute(NamedTuple):
    weekday: int
    second: int  # of the day, at its begin
    day: int
    text: str
    offset: str


@functools.lru_cache(maxsize=16384)
def _minute(minute: int, zone: ZoneInfo) -> _Minute | None:
    """Read the wall at the begin of a minute since 1970; None where zones change within one.

    Decisions come in crowds: those of one minute ask the calendar once.
    """
    moment = datetime.fromtimestamp(minute * 60, zone)
    offset = moment.utcoffset()
    assert offset is not None
    if moment.second or offset.total_seconds() % 60:  # Liberia, until 1972
        return None
    return _Minute(
        moment.weekday(),
        moment.hour * 3600 + moment.minute * 60,
        moment.toordinal(),
        f"{DAYS[moment.weekday()]} {moment:%Y-%m-%d %H:%M}:",
        f"{moment:%z}",
    )


def wall(at: float, zone: ZoneInfo) -> Wall:
    """Give what a window looks at of the wall at Unix second ``at``."""
    at = min(at, _LAST)
    number = int(at // 60)
    minute = _minute(number, zone)
    if minute is not None:
        return Wall(minute.weekday, minute.second + (at - number * 60), minute.day)
    moment = local(at, zone)
    second = moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
    return Wall(moment.weekday(), second, moment.toordinal())


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
