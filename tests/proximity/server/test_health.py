from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from proximity.store import StoreBroken, StoreFull, schema
from tests.proximity.server.rig import Rig, fix
from tests.proximity.server.test_gateways import secret, signed


async def test_metrics_are_prometheus_text_and_name_nobody(rig: Rig) -> None:
    await rig.consent("phone-1")
    await rig.ask("POST", "/v1/fixes", body=fix())
    await rig.ask("GET", "/v1/people/phone-1")
    await rig.until("/v1/deliveries", 1)
    text = (await rig.ask("GET", "/metrics")).body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["proximity_fences"].samples[0].value == 1
    assert families["proximity_subjects"].samples[0].value == 1
    assert families["proximity_ready"].samples[0].value == 1
    for private in ("phone-1", "store-7", "coffee", "px_", "48.85"):
        assert private not in text
    sent = [s for s in families["proximity_decisions"].samples if s.name.endswith("_total")]
    assert [(s.labels, s.value) for s in sent] == [({"decision": "send", "reason": "none"}, 1.0)]


ROOT = Path(__file__).resolve().parents[3]


def values(text: str, family: str) -> dict[str, float]:
    """The samples of a family, by the value of its one label."""
    found = {one.name: one for one in text_string_to_metric_families(text)}[family]
    return {next(iter(one.labels.values())): one.value for one in found.samples}


async def test_what_the_dispatcher_meets_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (await rig.ask("GET", "/metrics")).body.decode()
    kinds = ("fault", "fenced", "channel_fault", "endpoint_gone", "seen")
    assert values(text, "proximity_dispatch") == dict.fromkeys(kinds, 0)

    async def broken(*_: object) -> None:
        raise KeyError("phone-1")

    monkeypatch.setattr(rig.parts.channels["console"], "send", broken)
    await rig.consent("phone-1")
    await rig.ask("POST", "/v1/fixes", body=fix())
    await rig.until("/v1/deliveries", 1)
    text = (await rig.ask("GET", "/metrics")).body.decode()
    assert values(text, "proximity_dispatch")["channel_fault"] == 1
    assert "phone-1" not in text
    assert values(text, "proximity_waiting") == {"triggers": 0, "offers": 1}


async def test_every_metric_is_on_the_page(rig: Rig) -> None:
    text = (await rig.ask("GET", "/metrics")).body.decode()
    page = (ROOT / "docs" / "http.md").read_text()
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        if name.endswith("_created"):
            continue  # since when the client library counts; it comes with each counter
        assert re.search(rf"`{name}[`{{]", page), name


async def test_what_cannot_be_read_is_told_until_somebody_sees_to_it(rig: Rig) -> None:
    def torn(connection: sa.Connection) -> None:
        row = {"trigger": b"torn", "due_at": 0.0, "state": "ready", "token": 0, "attempts": 0}
        connection.execute(schema.triggers.insert(), [{**row, "id": "a", "person": "phone-1"}])

    await rig.parts.store.awrite(torn)
    rig.parts.ingest.triggers_added.set()
    for _ in range(3000):
        text = (await rig.ask("GET", "/metrics")).body.decode()
        if values(text, "proximity_set_aside")["triggers"]:
            break
        await asyncio.sleep(0.01)
    assert values(text, "proximity_set_aside") == {"triggers": 1, "offers": 0}
    assert values(text, "proximity_waiting") == {"triggers": 0, "offers": 0}


async def test_metrics_are_told_though_the_store_cannot_be_read(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.ask("GET", "/metrics")

    async def broken(*_: object) -> None:
        raise StoreBroken("the disk failed")

    monkeypatch.setattr(rig.parts.store, "aread", broken)
    text = (await rig.ask("GET", "/metrics")).body.decode()
    assert "proximity_ready" in text
    assert "proximity_waiting" not in text


async def test_ready_follows_the_writes(rig: Rig) -> None:
    assert (await rig.ask("GET", "/readyz", role=None)).json == {"status": "ok"}
    await rig.parts.ingest.stop()
    said = await rig.ask("GET", "/readyz", role=None)
    assert said.status == 503
    assert said.json["detail"].endswith("now: the server is starting or stopping.")
    assert (await rig.ask("GET", "/healthz", role=None)).status == 200
    assert (await rig.ask("POST", "/v1/fixes", body=[fix()])).status == 503


async def test_who_waits_is_told_that_the_clock_was_set_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is taken by a clock far behind, and no body is read for it; then all is well."""
    now = time.time()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now - 3600.0)
        said = await rig.ask("GET", "/readyz", role=None)
        assert said.status == 503
        assert "the clock was set back" in said.json["detail"]
        refused = await rig.ask("POST", "/v1/fixes", raw=b"{ no record")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
    assert (await rig.ask("GET", "/readyz", role=None)).status == 200


async def test_the_page_is_inert(rig: Rig) -> None:
    answer = await rig.ask("GET", "/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert b"<script" not in answer.body


async def test_every_answer_is_private_and_not_sniffed(rig: Rig) -> None:
    for path in ("/v1/fences", "/nowhere", "/v1/transitions", "/", "/metrics"):
        answer = await rig.ask("GET", path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "aiohttp" not in answer.headers["Server"]


@pytest.mark.parametrize("encoding", ["br", "zstd", "rot13", "gzip, br"])
async def test_an_unknown_compression_is_a_problem(rig: Rig, encoding: str) -> None:
    answer = await rig.ask(
        "POST", "/v1/sightings", headers={"Content-Encoding": encoding}, raw=b"abc"
    )
    assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "gzip, deflate")
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_full_disk_on_any_path_is_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = await secret(rig)
    store = rig.parts.store

    def full(*_: Any) -> None:
        raise StoreFull("no room")

    ask = "/v1/gateways/gw-1/config"
    with monkeypatch.context() as patched:
        patched.setattr("proximity.store.store._transact", full)
        for _ in range(3):
            answer = await rig.ask("GET", ask, role=None, headers=signed(key, b""))
            assert answer.status == 507
        said = await rig.ask("GET", "/readyz", role=None)
        assert said.status == 503
        assert said.json["detail"].endswith("now: the disk is full: make room.")
    assert capsys.readouterr().out.count("the disk takes nothing") == 1
    for _ in range(500):
        if store.refusing is None:
            break
        await asyncio.sleep(0.01)
    assert (await rig.ask("GET", "/readyz", role=None)).status == 200
