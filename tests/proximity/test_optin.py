"""Not at install, not twice in a row, never after a no: what answers mean for the next question."""

from __future__ import annotations

import pytest

from proximity.consent.optin import ANSWERS, MOST_DOUBLINGS, Asked, asked, free_at
from proximity.people.facts import NOTHING, Happened, Profile

DAY = 86400.0


def profile(*answers: tuple[str, float], purpose: str = "marketing") -> Profile:
    return Profile(
        events=tuple(Happened(f"optin-{name}", at, {"purpose": purpose}) for name, at in answers)
    )


def free(*answers: tuple[str, float], most: int | None = None) -> float | None:
    return free_at(asked(profile(*answers), "marketing"), most, DAY)


def test_whoever_was_never_asked_may_be() -> None:
    assert asked(NOTHING, "marketing") == Asked()
    assert free() == 0.0


def test_a_question_left_without_answer_waits() -> None:
    assert free(("shown", 100.0)) == 100.0 + DAY


def test_each_later_waits_twice_as_long() -> None:
    answers: list[tuple[str, float]] = []
    for number in range(4):
        answers.append(("later", float(number)))
        assert free(*answers) == number + DAY * 2**number
    many = [("later", 0.0)] * 50
    assert free(*many) == DAY * 2**MOST_DOUBLINGS


@pytest.mark.parametrize("answer", ["accepted", "declined"])
def test_a_yes_or_a_no_ends_it(answer: str) -> None:
    assert free((answer, 5.0)) is None
    assert free((answer, 5.0), ("shown", 6.0)) is None  # an app that asked without asking us
    assert free((answer, 5.0), ("later", 6.0)) is None


def test_the_newest_word_counts_of_a_yes_and_a_no() -> None:
    assert asked(profile(("accepted", 1.0), ("declined", 2.0)), "marketing").last == "declined"
    assert asked(profile(("declined", 1.0), ("accepted", 2.0)), "marketing").at == 2.0


def test_it_is_shown_so_often_at_most() -> None:
    shown = [("shown", 0.0), ("later", 1.0), ("shown", 2.0)]
    assert free(*shown, most=3) == 2.0 + DAY
    assert free(*shown, ("shown", 4.0), most=3) is None
    assert free(most=0) is None


def test_each_purpose_is_asked_for_by_itself() -> None:
    theirs = profile(("declined", 1.0), purpose="sharing")
    assert asked(theirs, "marketing") == Asked()
    assert asked(theirs, "sharing").last == "declined"


def test_other_events_say_nothing() -> None:
    other = Profile(events=(Happened("purchase", 1.0, {"purpose": "marketing"}),))
    assert asked(other, "marketing") == Asked()


def test_every_answer_has_its_rule() -> None:
    assert set(ANSWERS.values()) == {"once", "doubling", "never"}
