"""The inbox as a channel: its settings, and that it takes what it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proximity.channels.inbox import POLL_S, open_inbox, poll_s
from proximity.inbox import codes
from proximity.model import ProximityError
from proximity.store import Store


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"poll_s": 1}, "channel.inbox: poll_s must be a number from 10 to 86400"),
        ({"poll_s": "often"}, "channel.inbox: poll_s must be a number"),
        ({"polls": 60}, "channel.inbox: unknown key 'polls'; did you mean 'poll_s'?"),
    ],
)
def test_settings_that_are_none(config: dict[str, Any], problem: str) -> None:
    with pytest.raises(ProximityError) as error:
        open_inbox(config, Path())
    assert error.value.problems[0].startswith(problem)


def test_how_often_apps_are_to_look() -> None:
    assert poll_s({}) == POLL_S
    assert poll_s({"poll_s": 600}) == 600.0
    open_inbox({"poll_s": 600}, Path())


def test_codes_that_have_run_out_are_a_fault_and_no_second_one_of_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codes, "ALPHABET", "A")
    store = Store.open(":memory:")
    assert store.write(lambda c: codes.issue(c, "k1", "anna", 0.0)).result() == "AAAA-AAAA"
    assert store.write(lambda c: codes.issue(c, "k1", "anna", 1.0)).result() == "AAAA-AAAA"
    with pytest.raises(RuntimeError, match="no code was free"):
        store.write(lambda c: codes.issue(c, "k2", "anna", 0.0)).result()
    store.close()
