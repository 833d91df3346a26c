"""Who is where, by what was told."""

from __future__ import annotations

from proximity.engine.occupants import Occupants
from proximity.model import Transition


def told(kind: str, subject: str, place: str) -> Transition:
    return Transition(kind, subject, place, "v", 1.0, 1.0)  # type: ignore[arg-type]


def test_transitions_are_followed() -> None:
    who = Occupants()
    who.follow([told("enter", "b", "bar"), told("enter", "a", "bar"), told("pass", "a", "hall")])
    assert (list(who), who.of("bar"), who.of("hall")) == (["bar"], ["a", "b"], [])
    who.follow([told("exit", "a", "bar"), told("dwell", "b", "bar"), told("exit", "b", "bar")])
    assert list(who) == []


def test_a_subject_may_be_moved() -> None:
    who = Occupants()
    who.move("a", (), {"bar", "hall"})
    who.move("a", {"bar", "hall"}, {"hall", "shop"})
    assert (who.of("bar"), who.of("hall"), who.of("shop")) == ([], ["a"], ["a"])
