"""The question: is this scan still hearing, and what is to be done where it is not.

Pure: times and events in, a move out; what a move does to a radio is `radio.py`'s matter. One
watchdog for each adapter. `TABLE` is the machine, `LADDER` its remedies, mildest first.

Silence has two readings. A *stall* is proved: starting failed, the stack says that nobody
discovers, or a canary that was heard before is silent too. Mere *silence* may be an empty store
at night: it climbs the ladder as well, for a hung controller looks just like it, but never ends
the process, and after the last rung it rests, longer each time.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Phase = Literal["waiting", "listening", "hearing", "failing", "resting"]
"""waiting: the adapter or its daemon is not there; no scan. listening: a scan runs and has not
heard anything useful yet. hearing: it has. failing: no scan runs, though there is an adapter.
resting: the ladder has been climbed in vain."""

Event = Literal["heard", "steady", "silent", "stalled", "failed", "off", "gone", "back", "due"]
"""heard: something useful. steady: for so long that the last remedy counts as one. silent,
stalled: the patience of the rung has run out, without or with proof. failed: a scan did not
start. off: the adapter has no power. gone, back: the adapter or its daemon. due: a wait is over."""

Move = Literal["none", "start", "stop", "restart", "rebuild", "power", "reset", "leave"]

Answer = Literal["stay", "soon", "start", "stop", "climb", "afresh", "skip", "settle"]
"""What the table answers. soon: start in a moment. climb: the next rung's move. afresh: the same,
from the foot of the ladder. skip: no scan will do before the adapter has power, so that rung is
next. settle: the ladder begins at its foot again."""


class Rung(NamedTuple):
    """One remedy: its move, and for how long the scan that follows may stay silent (seconds)."""

    move: Move
    patience_s: float


QUIET_S = 45.0
"""Silence of a scan that did hear. BlueZ scans in windows of 10 s with gaps up to 5 s, so a lone
tag at 1 Hz misses 30 reports in a row by then; and the whole ladder fits into 150 s after it."""

LADDER: tuple[Rung, ...] = (
    Rung("restart", 15.0),
    Rung("rebuild", 15.0),
    Rung("power", 20.0),
    Rung("reset", 20.0),
    Rung("leave", 0.0),
)
"""15 s is a whole window and a gap. After a loss of power the controller loads its firmware, and
the daemon takes it up again: some 5 s more."""

PLAIN_LADDER: tuple[Rung, ...] = (Rung("restart", 15.0), Rung("rebuild", 15.0), Rung("leave", 0.0))
"""Where the system lets nobody power an adapter (Windows, macOS)."""

RETRY_S = 5.0
"""Between a failed start and the next rung; also the least time between two starts, so that a
daemon that crashes each second does not make us rebuild each second."""

SETTLE_S = 1.0
"""After the adapter is back: the daemon still sets it up, and a start now may be refused."""

IDLE_S = 3.0
"""For how long "nobody discovers" must hold before it is proof: a start takes part of it."""

WAIT_MOST_S = 60.0
"""The longest wait for an adapter that is not there. It doubles from `RETRY_S`, in case the news
of its return was lost; a person who plugs one in has patience for a minute."""

HEALED_S = 300.0
"""Hearing for so long without a gap is a cure; a remedy that lasts less makes the next stall
begin one rung higher. Five minutes is more than twice the climb."""

REST_S = 120.0
REST_MOST_S = 3600.0
"""After the ladder: rest, doubling. A night of twelve hours in an empty store costs 16 climbs, each
of a few seconds without hearing, when there is nobody to be heard."""

TABLE: dict[tuple[Phase, Event], tuple[Phase, Answer]] = {
    ("waiting", "due"): ("listening", "start"),
    ("waiting", "back"): ("waiting", "soon"),
    ("waiting", "off"): ("failing", "skip"),
    ("listening", "heard"): ("hearing", "stay"),
    ("listening", "silent"): ("listening", "climb"),
    ("listening", "stalled"): ("listening", "climb"),
    ("listening", "failed"): ("failing", "stay"),
    ("listening", "off"): ("failing", "skip"),
    ("listening", "gone"): ("waiting", "stop"),
    ("hearing", "steady"): ("hearing", "settle"),
    ("hearing", "silent"): ("listening", "climb"),
    ("hearing", "stalled"): ("listening", "climb"),
    ("hearing", "off"): ("failing", "skip"),
    ("hearing", "gone"): ("waiting", "stop"),
    ("failing", "due"): ("listening", "climb"),
    ("failing", "back"): ("waiting", "soon"),
    ("failing", "gone"): ("waiting", "stop"),
    ("resting", "heard"): ("hearing", "stay"),
    ("resting", "due"): ("listening", "afresh"),
    ("resting", "back"): ("waiting", "soon"),
    ("resting", "gone"): ("waiting", "stop"),
}
"""What is not in it changes nothing."""


class Watchdog:
    """The machine of one adapter; every time is monotonic seconds.

    ``phase`` says where it stands, ``rung`` how many rungs have been climbed. Whoever drives it
    asks `due` when to `look`, makes the move it is given, and then says that a scan `started` or
    tells "failed" or "gone".
    """

    def __init__(self, now: float, ladder: tuple[Rung, ...] = LADDER) -> None:
        self.phase: Phase = "waiting"
        self.rung = 0
        self.ever_heard = False
        self._ladder = ladder
        self._power = next((n for n, rung in enumerate(ladder) if rung.move == "power"), 0)
        self._since = now
        self._until = now
        self._last = now
        self._tried = now - RETRY_S
        self._idle: float | None = None
        self._wait_s = RETRY_S
        self._rest_s = REST_S

    def heard(self, now: float) -> None:
        """Take note of a useful advertisement; called for each, so it does next to nothing."""
        self._last = now
        if self.phase != "hearing":
            self.tell("heard", now)
            self.ever_heard = True

    def idle(self, now: float, *, idle: bool) -> None:
        """Take note of whether the stack says that nobody discovers on this adapter."""
        if not idle:
            self._idle = None
        elif self._idle is None:
            self._idle = now

    def started(self, now: float) -> None:
        """Begin the patience of a scan that runs now: here, not where the silence began."""
        self._since = now
        self._wait_s = RETRY_S

    def due(self) -> float:
        """When to look, if nothing is told before."""
        if self.phase == "listening":
            patience = self._ladder[self.rung - 1].patience_s if self.rung else QUIET_S
            return min(self._since + patience, self._proof())
        if self.phase == "hearing":
            healed = self._since + HEALED_S if self.rung else float("inf")
            return min(self._last + QUIET_S, self._proof(), healed)
        return self._until

    def look(self, now: float, *, proved: bool = False, alone: bool = True) -> Move:
        """Say which move is due now.

        ``proved``: a silence is no empty store, though the stack says that it discovers.
        ``alone``: no other adapter of this process hears, so that nothing is lost by leaving.
        """
        if now < self.due():
            return "none"
        event: Event = "due"
        if self.phase in {"listening", "hearing"}:
            proved = proved or self._proof() <= now
            event = "stalled" if proved else "silent"
            if self.phase == "hearing" and not proved and now < self._last + QUIET_S:
                event = "steady"
        return self.tell(event, now, leave=event != "silent" and alone)

    def tell(self, event: Event, now: float, *, leave: bool = False) -> Move:
        """Take an event, and say which move it asks for; ``leave``: the last rung may be used."""
        before = self.phase
        self.phase, answer = TABLE.get((before, event), (before, "stay"))
        if self.phase != before:
            self._since = now
            self._until = now + (self._wait_s if self.phase == "waiting" else RETRY_S)
        return self._answer(answer, now, leave=leave and self.ever_heard)

    def _answer(self, answer: Answer, now: float, *, leave: bool) -> Move:
        match answer:
            case "start":
                self.rung = 0
                self._tried = now
                return "start"
            case "stop":
                self._wait_s = min(2 * self._wait_s, WAIT_MOST_S)
                return "stop"
            case "soon":
                self._until = max(now + SETTLE_S, self._tried + RETRY_S)
            case "skip":
                self.rung = max(self.rung, self._power)
            case "settle":
                self.rung = 0
                self._rest_s = REST_S
            case "afresh":
                self.rung = 0
                return self._climb(now, leave=False)
            case "climb":
                return self._climb(now, leave=leave)
        return "none"

    def _climb(self, now: float, *, leave: bool) -> Move:
        self._since = self._tried = now
        if self.rung < len(self._ladder):
            move = self._ladder[self.rung].move
            self.rung += 1
            if move != "leave" or leave:
                return move
        self.phase = "resting"
        self._until = now + self._rest_s
        self._rest_s = min(2 * self._rest_s, REST_MOST_S)
        return "none"

    def _proof(self) -> float:
        """When "nobody discovers" will have held for long enough, with nothing heard meanwhile."""
        if self._idle is None:
            return float("inf")
        return max(self._idle, self._since, self._last) + IDLE_S
