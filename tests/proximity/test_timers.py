"""Whose timer is next, where most are put off."""

from __future__ import annotations

from proximity.engine.timers import Timers


def test_the_earliest_is_first_and_equal_ones_go_by_subject() -> None:
    dues: dict[str, float | None] = {}
    timers = Timers(dues.get)
    assert timers.first() is None
    assert not timers.waiting(1e9)
    for subject, due in (("b", 5.0), ("a", 5.0), ("c", 3.0)):
        dues[subject] = due
        timers.set(subject, due)
    assert timers.waiting(3.0)
    assert not timers.waiting(2.0)
    taken = []
    while timers.first() is not None:
        taken.append(timers.take())
    assert taken == ["c", "a", "b"]


def test_a_due_that_moved_later_is_found_out_when_it_comes_up() -> None:
    dues: dict[str, float | None] = {"a": 1.0, "b": 2.0}
    timers = Timers(dues.get)
    for subject, due in dues.items():
        timers.set(subject, due)
    dues["a"] = 9.0
    assert timers.told("a") == 1.0
    assert timers.first() == (2.0, "b")
    assert timers.told("a") == 9.0
    dues["b"] = None
    assert timers.first() == (9.0, "a")
    timers.set("a", None)
    assert timers.first() is None
    assert timers.told("a") == float("inf")


def test_only_what_comes_up_by_then_is_looked_at() -> None:
    dues: dict[str, float | None] = {f"s{number}": 100.0 + number for number in range(50)}
    asked: list[str] = []

    def due_of(subject: str) -> float | None:
        asked.append(subject)
        return dues[subject]

    timers = Timers(due_of)
    for number, subject in enumerate(dues):
        timers.set(subject, float(number))  # told early, put off since
    assert timers.first(9.0) is None
    assert asked == [f"s{number}" for number in range(10)]
    assert timers.first(104.0) == (100.0, "s0")
    assert timers.waiting(100.0)


def test_old_entries_do_not_pile_up() -> None:
    dues: dict[str, float | None] = {}
    timers = Timers(dues.get)
    for number in range(5000):
        subject = f"s{number % 7}"
        dues[subject] = float(number)
        timers.set(subject, dues[subject])
    assert len(timers.heap) <= 64 + 4 * 7 + 1
    assert timers.first() == (4993.0, "s2")


def test_putting_off_many_at_once_loses_none() -> None:
    dues: dict[str, float | None] = {f"s{number}": 1.0 for number in range(200)}
    timers = Timers(dues.get)
    for subject, due in dues.items():
        timers.set(subject, due)
    for number, subject in enumerate(dues):
        dues[subject] = 10.0 + number
    taken = []
    while timers.first() is not None:
        taken.append(timers.take())
    assert taken == list(dues)
