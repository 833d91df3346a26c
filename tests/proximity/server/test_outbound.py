"""People's changes and erasures told by a whole server, and what is measured of subscribers."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from proximity.outbound import positions
from proximity.outbound import telling as module
from proximity.outbound.subscribers import Subscriber
from proximity.server.outbound import telling
from proximity.store import schema
from tests.proximity.channels.receivers import Receiver, receiver
from tests.proximity.outbound.told import subscriber, to_url, until
from tests.proximity.server.rig import Rig, fix, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest


@asynccontextmanager
async def told(folder: Path, **changes: Any) -> AsyncIterator[tuple[Rig, Receiver, Subscriber]]:
    async with running(folder) as rig, receiver() as one:
        crm = subscriber(to_url(one.url()), **changes)
        async with telling(rig.parts, [crm]):
            yield rig, one, crm


def events(one: Receiver, kind: str) -> list[dict[str, Any]]:
    every = [json.loads(body) for _, _, body in one.requests]
    return [event for event in every if event["type"] == kind]


async def test_changes_of_people_are_told_and_then_that_they_are_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    async with told(tmp_path, kinds=("person",)) as (rig, one, _):
        put = await rig.ask("PUT", "/v1/people/anna", body={"languages": ["fr"]})
        assert put.status in {200, 201}, put.body
        await until(lambda: events(one, "proximity.person.changed.v1"))
        changed = events(one, "proximity.person.changed.v1")[0]
        assert changed["data"]["person"] == "anna"
        assert ["fr"] in [word["value"] for word in changed["data"]["words"]]
        gone = await rig.ask("POST", "/v1/erasures", body={"person": "anna"})
        assert gone.status in {200, 202}, gone.body
        await until(lambda: events(one, "proximity.person.erased.v1"))
        erased = events(one, "proximity.person.erased.v1")
        assert [event["data"]["person"] for event in erased] == ["anna"]
        await until(lambda: not names_left(rig))
        # Told once, and acknowledged by that.
        assert len(events(one, "proximity.person.erased.v1")) == 1


def names_left(rig: Rig) -> list[str]:
    notices = schema.erasure_notices
    return [
        row.person for row in rig.parts.store.read(lambda c: c.execute(notices.select()).all())
        if row.person is not None
    ]  # fmt: skip


async def test_an_erasure_is_never_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    monkeypatch.setattr(module, "BACKOFF_S", 0.005)
    monkeypatch.setattr(module, "BACKOFF_MOST_S", 0.01)
    async with told(tmp_path, kinds=("person",), since="now") as (rig, one, _):
        await until(lambda: rig.parts.store.read(positions.listed))
        await rig.ask("PUT", "/v1/people/anna", body={"languages": ["fr"]})
        await until(lambda: one.requests)
        one.status = 400
        await rig.ask("POST", "/v1/erasures", body={"person": "anna"})
        await until(lambda: len(events(one, "proximity.person.erased.v1")) > module.REFUSALS + 3)
        assert names_left(rig) == ["anna"]
        one.status = 200
        await until(lambda: not names_left(rig))


async def test_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    async with told(tmp_path) as (rig, one, _):
        one.status = 503
        await rig.consent("phone-1")
        for back in (3, 2, 1):
            now = rig.parts.clock()
            assert (await rig.ask("POST", "/v1/fixes", body=fix(at=now - back))).status == 202
        await until(lambda: one.requests)
        await rig.until("/v1/deliveries", 1)
        found = (await rig.ask("GET", "/metrics")).body.decode()
        assert 'proximity_outbound_on{subscriber="crm"} 1.0' in found
        assert 'proximity_outbound_events_total{outcome="failed",subscriber="crm"}' in found
        behind = next(
            float(line.split()[-1]) for line in found.splitlines()
            if line.startswith("proximity_outbound_behind{")
        )  # fmt: skip
        assert behind >= 1.0
        assert "proximity_outbound_lag_seconds{" in found
        assert "phone-1" not in found
