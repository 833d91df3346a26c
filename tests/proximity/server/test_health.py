from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proximity.store import StoreFull
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


async def test_ready_follows_the_writes(rig: Rig) -> None:
    assert (await rig.ask("GET", "/readyz", role=None)).json == {"status": "ok"}
    await rig.parts.ingest.stop()
    assert (await rig.ask("GET", "/readyz", role=None)).status == 503
    assert (await rig.ask("GET", "/healthz", role=None)).status == 200
    assert (await rig.ask("POST", "/v1/fixes", body=[fix()])).status == 503


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
        assert (await rig.ask("GET", "/readyz", role=None)).status == 503
    assert capsys.readouterr().out.count("the disk takes nothing") == 1
    for _ in range(500):
        if store.refusing is None:
            break
        await asyncio.sleep(0.01)
    assert (await rig.ask("GET", "/readyz", role=None)).status == 200
