"""When a place is there: what its validity means to either feed, and to those who are in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from geofences import FenceIndex
from proximity import Engine, Site, parse_site
from tests.street import UUID, box, feature, fences, fix, heard, told

SHOP = box(0, 0, 40, 40)
WITHIN = [fix(1000 + 10 * n, 20, 20) for n in range(4)]


def rt(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


def heard_in(place: str, more: str = "") -> Site:
    """Make a site whose one gateway stands in a place."""
    card = f'[[beacon]]\nuuid = "{UUID}"\nmajor = 1\nminor = 1\nsubject = "s0"\n'
    return parse_site(f'{more}[[gateway]]\nid = "gw"\nplace = "{place}"\n{card}', "site.toml")


SHUT = [{"valid_until": rt(1100)}, {"valid_from": rt(9000)}]


@pytest.mark.parametrize("when", SHUT)
def test_nobody_is_heard_in_a_place_that_is_not_there(when: dict[str, str]) -> None:
    run = Engine(FenceIndex(fences(feature("shop", SHOP, **when))), heard_in("shop"))
    assert run.on_records([heard(1200 + n, "gw", -55) for n in range(12)]) == []
    assert run.advance(5000) == []


@pytest.mark.parametrize("when", SHUT)
def test_being_in_a_child_is_not_being_in_a_parent_that_is_not_there(when: dict[str, str]) -> None:
    drawn = fences(
        feature("mall", box(-60, -60, 90, 90), **when), feature("shop", SHOP, venue="mall")
    )
    run = Engine(FenceIndex(drawn))
    out = run.on_records([fix(1200 + 10 * n, 20, 20) for n in range(4)]) + run.advance(5000)
    assert {change.place for change in out} == {"shop"}


def test_who_is_heard_in_what_is_not_there_is_in_its_parent_all_the_same() -> None:
    drawn = fences(
        feature("mall", box(-60, -60, 90, 90)), feature("stall", SHOP, venue="mall", **SHUT[0])
    )
    run = Engine(FenceIndex(drawn), heard_in("stall"))
    out = run.on_records([heard(1200 + n, "gw", -55) for n in range(12)])
    assert [(change.kind, change.place) for change in out] == [("enter", "mall")]


@pytest.mark.parametrize("restored", [False, True])
@pytest.mark.parametrize(
    ("edit", "change"),
    [
        ({"valid_until": rt(1100)}, ("exit", "shop", 1100.0, "fence-expired")),
        ({"silent_after_s": 100}, ("exit", "shop", 1030.0, "silent")),
        ({"dwell_s": 100}, ("dwell", "shop", 1100.0, 100.0)),
    ],
)
def test_an_edit_that_brings_a_timer_forward_is_kept_to(
    edit: dict[str, Any], change: tuple[Any, ...], *, restored: bool
) -> None:
    index = FenceIndex(fences(feature("shop", SHOP)))
    run = Engine(index)
    assert told(run.on_fixes(WITHIN)) == [("enter", "shop", 1000.0, None)]
    index.put(fences(feature("shop", SHOP, **edit))[0])
    assert run.advance(1040) == []
    if restored:
        run = Engine.restore(run.snapshot(), index)
    assert told(run.advance(1200)) == [change]


def test_a_site_that_brings_a_timer_forward_is_kept_to() -> None:
    run = Engine(FenceIndex(fences(feature("shop", SHOP))))
    run.on_fixes(WITHIN)
    run.replace_site(parse_site('[[place]]\nid = "shop"\ndwell_s = [100]\n', "site.toml"))
    assert run.advance(1040) == []
    assert told(run.advance(1200)) == [("dwell", "shop", 1100.0, 100.0)]
