"""How does a trial run read on a terminal: who did what, what was decided, and why?

Takes records as the server's live stream has them, words them, and keeps account of what was
expected. Asks the server's own explanation where somebody leaves without an offer. Knows nothing
of processes and files.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from io import TextIOWrapper
from textwrap import wrap
from typing import Any

import aiohttp
from rich.console import Console
from rich.text import Text

from proximity.explain.readers import evidence
from proximity.model import parse_time

EXPECTED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ana enters the café", {"kind": "enter", "subject": "ana-phone", "place": "cafe"}),
    ("ana dwells in the café", {"kind": "dwell", "subject": "ana-phone", "place": "cafe"}),
    ("ana's offer is decided", {"decision": "send", "person": "ana", "campaign": "second-cup"}),
    ("ana's offer is handed over", {"outcome": "accepted", "person": "ana"}),
    ("ben enters the café", {"kind": "enter", "subject": "ben-phone", "place": "cafe"}),
    ("ben leaves the café", {"kind": "exit", "subject": "ben-phone", "place": "cafe"}),
    ("cleo enters the bakery", {"kind": "enter", "subject": "cleo-phone", "place": "bakery"}),
    ("cleo gets no offer", {"decision": "suppress", "person": "cleo", "reason": "no_consent"}),
)
"""What must be seen: a name for it, and keys of a record. Ben's offer must not be among it."""


class Screen:
    """Lines of the story: time, who, what; the evidence below, dimmed. Plain where no terminal."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            # An offer's “words” are not in every terminal's alphabet: it shows a ? for them.
            sys.stdout.reconfigure(errors="replace")
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

    def title(self, name: str, rest: str) -> None:
        """Write the heading."""
        self._console.print(Text.assemble((name, "bold"), "   ", rest))
        self._console.print()

    def fact(self, name: str, value: str) -> None:
        """Write one line of what is where."""
        self._console.print(Text.assemble((f"  {name:<9}", "dim"), value))

    def line(self, at: str, who: str, what: str, why: str = "", style: str = "") -> None:
        """Write one step of the story, and why."""
        self._console.print(Text.assemble((f"  {at:<8}  ", "dim"), f"{who:<5} ", (what, style)))
        for part in wrap(why, 88, break_long_words=False, break_on_hyphens=False):
            self._console.print(Text(f"{'':<18}{part}", "dim"))

    def command(self, text: str) -> None:
        """Write a command to try, whole, so that it can be copied."""
        self._console.print(Text(f"    {text}"))

    def blank(self) -> None:
        """Write an empty line."""
        self._console.print()

    def problem(self, text: str) -> None:
        """Say what went wrong."""
        self._console.print(Text(f"  {text}", "bold red"))


class Story:
    """What the live stream told so far, and what is still expected of it."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._open = dict(EXPECTED)
        self._explained: set[str] = set()
        self.ready = asyncio.Event()
        self.complete = asyncio.Event()
        self.wrong: list[str] = []

    @property
    def missing(self) -> list[str]:
        """Names of what was expected and has not come, and of what came and must not."""
        why = [] if "ben-phone" in self._explained else ["why ben gets nothing"]
        return [*self._open, *why, *self.wrong]

    async def follow(self, session: aiohttp.ClientSession) -> None:
        """Read the server's live stream, and tell each record as it comes."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with session.get("/v1/stream", timeout=timeout) as response:
            self.ready.set()
            async for raw in response.content:
                if raw.startswith(b"data: "):
                    record = json.loads(raw[6:])
                    self.take(record)
                    if record.get("kind") == "exit":
                        await self._ask_why(session, record)
                    if not self._open:
                        self.complete.set()

    def take(self, record: Mapping[str, Any]) -> None:
        """Tell one record, and cross off what it was expected for."""
        for name, keys in EXPECTED:
            if all(record.get(key) == value for key, value in keys.items()):
                self._open.pop(name, None)
        if record.get("decision") == "send" and record.get("person") == "ben":
            self.wrong.append("ben walks by and must get nothing")
        # When the engine was sure, so that times rise down the screen.
        at = str(record.get("decided_at") or record["at"])[11:19]
        who = str(record.get("person") or record["subject"]).removesuffix("-phone")
        tell = _TELL.get(str(record.get("kind") or record.get("decision") or "delivery"))
        if tell is not None:
            what, why, style = tell(record)
            self._screen.line(at, who, what, why, style)

    async def _ask_why(self, session: aiohttp.ClientSession, left: Mapping[str, Any]) -> None:
        """Ask the server why whoever left got nothing there, and tell its answer."""
        query = {"subject": left["subject"], "place": left["place"], "at": left["decided_at"]}
        async with session.get("/v1/explain", params=query) as response:
            visits = (await response.json())["visits"] if response.status == 200 else []
        for visit in visits:
            if visit["visit"] != left["visit"] or visit["decisions"]:
                continue
            entered = next(one["at"] for one in visit["transitions"] if one["kind"] == "enter")
            stay = parse_time(left["at"]) - parse_time(entered)
            who = str(left["subject"]).removesuffix("-phone")
            at = str(left["decided_at"])[11:19]
            for campaign, lacking in visit["unmet"].items():
                why = f"{campaign} {lacking}; the visit lasted {stay:g} s"
                self._screen.line(at, who, "gets nothing", why, "yellow")
                self._explained.add(str(left["subject"]))


def _enter(record: Mapping[str, Any]) -> tuple[str, str, str]:
    because = record["because"]
    return f"enters {record['place']}", _position(because), "cyan"


def _position(because: Mapping[str, Any]) -> str:
    """Put a fix's evidence in words: metres from the edge, and how good the fix was."""
    metres, accuracy = because.get("distance_m"), because.get("accuracy_m")
    if not isinstance(metres, int | float):
        return evidence(because)
    side = "inside" if metres <= 0.0 else "outside"
    words = f"{abs(metres):g} m {side} the edge"
    if accuracy is not None:
        words += f", by a fix said to be good to {accuracy:g} m"
    if because.get("fixes", 1) > 1:
        words += f"; {because['fixes']} fixes agree"
    return words


def _dwell(record: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        f"has been in {record['place']} for {record['dwell_s']:g} s",
        _position(record["because"]),
        "cyan",
    )


def _exit(record: Mapping[str, Any]) -> tuple[str, str, str]:
    what = f"has left {record['place']}, at {record['at'][11:19]}"
    return what, _position(record["because"]), "cyan"


def _pass(record: Mapping[str, Any]) -> tuple[str, str, str]:
    return f"passes {record['place']}", evidence(record["because"]), "cyan"


def _send(record: Mapping[str, Any]) -> tuple[str, str, str]:
    gates = ", ".join(str(gate["gate"]) for gate in record["gates"] if gate["passed"])
    return f"is to get {record['campaign']}", f"passed every gate: {gates}", "green"


def _suppress(record: Mapping[str, Any]) -> tuple[str, str, str]:
    failed = next((gate for gate in record["gates"] if not gate["passed"]), None)
    if failed is None:
        return f"gets no {record['campaign']}", str(record["reason"]), "yellow"
    because = failed["because"]
    if failed["gate"] == "consent":
        channels = " or ".join(because["channels"])
        why = f"{record['reason']}: never agreed to {because['purpose']} on {channels}"
    else:
        why = f"{record['reason']}: the gate {failed['gate']} saw {evidence(because)}"
    return f"gets no {record['campaign']}", why, "yellow"


def _delivery(record: Mapping[str, Any]) -> tuple[str, str, str]:
    if record["outcome"] != "accepted":
        return (
            f"is not reached by {record['channel']}: {record['outcome']}",
            str(record["reason"]),
            "red",
        )
    handed = record["handed"]
    why = f"{record['channel']} took it at the first try, {handed['language']}, {handed['link']}"
    return f"gets “{handed['text']}”", why, "bold green"


_TELL = {
    "enter": _enter,
    "dwell": _dwell,
    "exit": _exit,
    "pass": _pass,
    "send": _send,
    "suppress": _suppress,
    "delivery": _delivery,
}
