from __future__ import annotations

import pytest

from proximity.ingest import refusals
from proximity.ingest.refusals import Refusals


def test_refusals_are_counted_by_reason_and_forgotten_when_asked() -> None:
    counted = Refusals()
    for reason in ("late", "late", "future"):
        counted.note("a", reason)
    assert counted.of("a") == {"late": 2, "future": 1}
    assert counted.of("b") == {}
    counted.forget("a")
    counted.forget("a")
    assert counted.of("a") == {}


def test_who_was_refused_nothing_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST", 2)
    counted = Refusals()
    for subject in ("a", "b", "a", "c"):
        counted.note(subject, "late")
    assert [bool(counted.of(subject)) for subject in "abc"] == [True, False, True]
