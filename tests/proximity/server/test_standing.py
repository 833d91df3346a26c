"""Whether an offer is still news: asked by a device that shows it, with the link of its receipt."""

from __future__ import annotations

import time

import pytest

from tests.proximity.inboxes import enrol, lay, signed
from tests.proximity.server.rig import Rig


async def link(rig: Rig, key: str, until: float | None = None, does: str = "receipt") -> str:
    return f"/r/{await signed(rig, until, do=does, key=key, channel='web-push')}"


async def news(rig: Rig, key: str) -> bool:
    answer = await rig.ask("GET", await link(rig, key), role=None)
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    return answer.json["news"]


async def test_it_is_until_somebody_opened_it_anywhere(rig: Rig) -> None:
    await enrol(rig)
    await lay(rig, "k1")
    assert await news(rig, "k1")
    told = await rig.ask("POST", await link(rig, "k1"), role=None, body={"outcome": "delivered"})
    assert told.status == 200
    assert await news(rig, "k1"), "that it lies on another phone is no reason to take it down"
    await rig.ask("POST", await link(rig, "k1"), role=None, body={"outcome": "clicked"})
    assert not await news(rig, "k1")


async def test_what_is_over_or_was_never_there_is_none(rig: Rig) -> None:
    await enrol(rig)
    await lay(rig, "k1", expires_at=time.time() - 1.0)
    assert not await news(rig, "k1")
    assert not await news(rig, "k2")


@pytest.mark.parametrize("path", ["/r/x", "/r/x.y"])
async def test_a_link_that_is_none_of_ours(rig: Rig, path: str) -> None:
    await enrol(rig)
    answer = await rig.ask("GET", path, role=None)
    assert answer.status == 404
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_link_for_something_else_or_too_old(rig: Rig) -> None:
    await enrol(rig)
    assert (await rig.ask("GET", await link(rig, "k1", does="open"), role=None)).status == 404
    assert (await rig.ask("GET", await link(rig, "k1", until=1.0), role=None)).status == 410
