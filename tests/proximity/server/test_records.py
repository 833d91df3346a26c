from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
import zlib
from typing import Any

import pytest

from proximity.ingest import ingest
from proximity.ingest.ingest import Overloaded
from proximity.server import reading, records
from proximity.server.auth import Role
from proximity.store import StoreBroken, StoreFailed, StoreFull
from tests.proximity.server.rig import Rig, fix

BEACON = {
    "format": "ibeacon",
    "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e",
    "major": 1,
    "minor": 7,
}
EMPTY = {"accepted": 0, "duplicate": 0, "unconsented": 0, "rejected": []}


async def test_a_fix_becomes_a_transition_a_decision_and_a_delivery(rig: Rig) -> None:
    await rig.consent("phone-1")
    now = time.time()
    for back in (3, 2, 1):
        answer = await rig.ask("POST", "/v1/fixes", body=fix(at=now - back))
        assert (answer.status, answer.json) == (202, {**EMPTY, "accepted": 1})
    (enter,) = await rig.until("/v1/transitions", 1)
    assert (enter["kind"], enter["subject"], enter["place"]) == ("enter", "phone-1", "store-7")
    (decision,) = await rig.until("/v1/decisions", 1)
    assert (decision["decision"], decision["campaign"]) == ("send", "coffee")
    (delivery,) = await rig.until("/v1/deliveries", 1)
    assert (delivery["outcome"], delivery["key"]) == ("accepted", decision["id"])


@pytest.mark.parametrize("form", ["lines", "array", "one"])
async def test_bodies_are_lines_an_array_or_one_object(rig: Rig, form: str) -> None:
    await rig.consent("a")
    records = [fix("a", at=time.time() - back) for back in (2, 1)]
    if form == "array":
        raw = json.dumps(records).encode()
    elif form == "lines":
        raw = b"\n".join(json.dumps(record).encode() for record in records)
    else:
        records, raw = records[:1], json.dumps(records[0]).encode()
    answer = await rig.ask("POST", "/v1/fixes", raw=raw)
    assert answer.json == {**EMPTY, "accepted": len(records)}


async def test_each_record_of_a_batch_is_answered_for(rig: Rig) -> None:
    await rig.consent("a")
    good = fix("a", id="x")
    batch = [
        good,
        good,
        fix("nobody"),
        fix("a", lat=91),
        fix("a", at=time.time() + 3600),
        fix("a", at=time.time() - 7200),
        {"type": "event", "subject": "a", "at": time.time(), "name": "open"},
    ]
    answer = await rig.ask("POST", "/v1/fixes", body=batch)
    body = answer.json
    assert answer.status == 202
    assert (body["accepted"], body["duplicate"], body["unconsented"], body["late"]) == (2, 1, 1, 1)
    assert [one["line"] for one in body["rejected"]] == [4, 5]
    text = (await rig.ask("GET", "/metrics")).body.decode()
    for outcome in ("accepted", "rejected"):
        assert f'proximity_records_total{{feed="fixes",outcome="{outcome}"}} 2.0' in text
    for outcome in ("duplicate", "unconsented", "late"):
        assert f'proximity_records_total{{feed="fixes",outcome="{outcome}"}} 1.0' in text


async def test_a_large_batch_is_taken_in_slices_and_answered_as_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.consent("a")
    monkeypatch.setattr(records, "SLICE", 100)
    monkeypatch.setattr(records, "PAUSE_S", 0.0)
    taken = rig.parts.ingest.accept
    calls = 0

    async def accept(*batch: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Overloaded("full, for a moment")
        return await taken(*batch)

    monkeypatch.setattr(rig.parts.ingest, "accept", accept)
    start = time.time() - 30
    batch = [fix("a" if n % 2 else "nobody", at=start + n / 20) for n in range(450)]
    batch[249]["at"] = time.time() + 3600
    answer = await rig.ask("POST", "/v1/fixes", body=batch)
    assert (answer.json["accepted"], answer.json["unconsented"]) == (224, 225)
    assert [one["line"] for one in answer.json["rejected"]] == [250]
    assert calls == 6


async def test_sightings_of_a_gateway_and_events_of_a_device(rig: Rig) -> None:
    await rig.consent("member-42")
    await rig.consent("phone-1")
    sighting = {
        "type": "sighting",
        "beacon": BEACON,
        "gateway": "gw-1",
        "at": time.time(),
        "rssi_dbm": -60,
    }
    answer = await rig.ask("POST", "/v1/sightings", role=Role.GATEWAY, body=sighting)
    assert answer.json == {**EMPTY, "accepted": 1}
    stranger = {**sighting, "gateway": "gw-2"}
    answer = await rig.ask("POST", "/v1/sightings", role=Role.GATEWAY, body=stranger)
    assert len(answer.json["rejected"]) == 1
    event = {"type": "event", "subject": "phone-1", "at": time.time(), "name": "open"}
    answer = await rig.ask("POST", "/v1/events", role=Role.DEVICE, body=event)
    assert answer.json == {**EMPTY, "accepted": 1}


async def test_phones_get_the_reply_they_expect(rig: Rig) -> None:
    await rig.consent("phone-1")
    now = int(time.time())
    owntracks = {"_type": "location", "tid": "p1", "lat": 48.85, "lon": 2.35, "tst": now, "acc": 8}
    overland = {
        "locations": [
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [2.35, 48.85]},
                "properties": {
                    "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
                    "horizontal_accuracy": 8,
                },
            }
        ]
    }
    for path, body, expected in (
        ("/owntracks", owntracks, []),
        ("/overland", overland, {"result": "ok"}),
        ("/api/v1/overland/batches", overland, {"result": "ok"}),
    ):
        for content in (body, "poison"):
            answer = await rig.ask("POST", path, role=Role.DEVICE, body=content)
            assert (answer.status, answer.json) == (200, expected), path
    answer = await rig.ask(
        "GET", f"/osmand?id=x&lat=48.85&lon=2.35&timestamp={now}", role=Role.DEVICE
    )
    assert answer.status == 200
    text = (await rig.ask("GET", "/metrics")).body.decode()
    assert 'proximity_records_total{feed="owntracks",outcome="accepted"} 1.0' in text
    assert 'proximity_records_total{feed="osmand",outcome="accepted"} 1.0' in text


async def test_a_compressed_body_counts_as_large_as_it_unpacks(rig: Rig) -> None:
    await rig.consent("a")
    headers = {"Content-Encoding": "gzip"}
    raw = gzip.compress(json.dumps(fix("a")).encode())
    answer = await rig.ask("POST", "/v1/fixes", raw=raw, headers=headers)
    assert answer.json["accepted"] == 1
    bomb = gzip.compress(b" " * (reading.RECORDS_LIMIT + 1))
    assert (await rig.ask("POST", "/v1/fixes", raw=bomb, headers=headers)).status == 413
    answer = await rig.ask("POST", "/v1/fixes", raw=b"no gzip at all", headers=headers)
    assert answer.status == 400


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
@pytest.mark.parametrize("raw", [zlib.compress(b"[{}]" * 99)[:-3], b"[{}]", b"\xff\xff\xff"])
async def test_a_body_that_does_not_unpack_is_said_to_be_so(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, raw: bytes, pause_s: float
) -> None:
    """Whether it comes with its head or after it."""
    monkeypatch.setattr(reading, "BODY_DEADLINE_S", 0.5)
    reader, writer = await asyncio.open_connection(*rig.url.removeprefix("http://").split(":"))
    head = (
        f"POST /v1/fixes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.token(Role.FEED)}\r\n"
        f"Content-Encoding: deflate\r\nContent-Length: {len(raw)}\r\n\r\n"
    ).encode()
    for part in (head, raw) if pause_s else (head + raw,):
        writer.write(part)
        await asyncio.sleep(pause_s)
    answer = (await asyncio.wait_for(reader.read(), 10)).decode()
    assert answer.split()[1] == "400"
    assert "The body is cut short or wrongly encoded." in answer
    writer.close()


async def test_a_body_too_large_is_refused_before_it_is_read(rig: Rig) -> None:
    reader, writer = await asyncio.open_connection(*rig.url.removeprefix("http://").split(":"))
    token = rig.token(Role.FEED)
    head = f"POST /v1/fixes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 99999999\r\n\r\n"
    writer.write(head.encode())
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_body_that_dribbles_is_cut_off(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BODY_DEADLINE_S", 0.05)
    reader, writer = await asyncio.open_connection(*rig.url.removeprefix("http://").split(":"))
    token = rig.token(Role.FEED)
    head = f"POST /v1/fixes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 10\r\n\r\n{{"
    writer.write(head.encode())
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (Overloaded("x"), 503),
        (StoreFailed("x"), 503),
        (StoreBroken("x"), 503),
        (StoreFull("x"), 507),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_failing_store_asks_to_come_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, raised: Exception, status: int
) -> None:
    async def accept(*_: object) -> None:
        raise raised

    monkeypatch.setattr(rig.parts.ingest, "accept", accept)
    for path, body in (
        ("/v1/fixes", fix()),
        ("/owntracks", {"_type": "location", "lat": 1, "lon": 1, "tst": int(time.time())}),
    ):
        answer = await rig.ask("POST", path, role=Role.DEVICE, body=body)
        assert answer.status == status
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("path", "encoding", "times"),
    [("/v1/fixes", "identity", 50_000), ("/owntracks", "identity", 1), ("/v1/fixes", "gzip", 1)],
)
async def test_a_flood_is_refused_before_it_is_read(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
    encoding: str,
    times: int,
) -> None:
    """What nobody could read or unpack is refused like all else, and fills no log."""
    read = 0

    async def read_body(*_: object) -> bytes:
        nonlocal read
        read += 1
        return b""

    with monkeypatch.context() as full:
        full.setattr(ingest, "MOST_ROWS", 0)
        full.setattr(records, "read_body", read_body)
        headers = {"Content-Encoding": encoding}
        answer = await rig.ask(
            "POST", path, role=Role.DEVICE, raw=b"{ no record" * times, headers=headers
        )
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    await asyncio.sleep(0.05)  # what is left of it has been thrown away
    assert read == 0
    assert not caplog.records
    assert (await rig.ask("GET", "/v1/fences")).status == 200


async def test_who_was_refused_unread_asks_again_on_the_same_connection(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.consent("phone-1")
    reader, writer = await asyncio.open_connection(*rig.url.removeprefix("http://").split(":"))
    body = json.dumps(fix()).encode()
    head = (
        f"POST /v1/fixes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.token(Role.FEED)}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    with monkeypatch.context() as full:
        full.setattr(ingest, "MOST_ROWS", 0)
        writer.write(head)  # the answer comes before the body is sent
        said = await reader.readuntil(b"\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 503 ")
        await reader.readexactly(int(re.findall(rb"Content-Length: (\d+)", said)[0]))
    writer.write(body + head + body)
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 202 ")
    writer.close()


async def test_a_fault_is_a_500_that_quotes_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def accept(*_: object) -> None:
        raise KeyError("48.85 2.35 phone-1")

    monkeypatch.setattr(rig.parts.ingest, "accept", accept)
    answer = await rig.ask("POST", "/v1/fixes", body=fix())
    assert answer.status == 500
    out = capfd.readouterr()
    logged = "\n".join(
        line for line in (out.out + out.err).splitlines() if "debug" not in line.lower()
    )
    for secret in ("48.85", rig.token(Role.ADMIN)):
        assert secret not in answer.body.decode()
    assert "KeyError" in logged
    assert "test_records.py" in logged


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b"NaN",
        b"null",
        b"[]",
        b"1e999",
        b'"x"',
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/fixes", "/v1/sightings", "/v1/events", "/owntracks", "/transistor"]
)
async def test_no_body_is_a_fault_of_the_server(rig: Rig, path: str, raw: bytes) -> None:
    answer = await rig.ask("POST", path, raw=raw)
    assert answer.status < 500
    assert "accepted" not in answer.body.decode() or answer.json["accepted"] == 0
