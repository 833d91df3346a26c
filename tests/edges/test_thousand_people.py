"""A thousand people on every route, half of whom agreed to nothing: not a byte of them is written.

Each record carries an id that is only this person's, and each tag an identity and a radio address
that are only this tag's; afterwards every file is searched for those of the half that said nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import aiomqtt
import msgpack
import pytest

from tests.edges.test_erasure import folder, logged, token  # noqa: F401 - fixtures
from tests.edges.test_server import Server, proximity, serving
from tests.proximity.server.rig import fix
from tests.servers import Mosquitto

PEOPLE = 1000
AT_ONCE = 16
# By way of a broker; there `user/device` is a subject that nobody enrolled, whoever agreed.
PHONES = 200
LON, LAT = 2.35, 48.85


class Somebody(NamedTuple):
    """One person: an id that is nobody else's, and what their tag says over the radio."""

    number: int
    mark: str
    name: str
    uuid: str
    mac: str

    @property
    def agreed(self) -> bool:
        return self.number % 2 == 0


# What is only one person's: in all of it stands the same mark, eight digits or four bytes.
SPOKEN = re.compile(
    rb"canary-([0-9a-f]{8})-|([0-9a-f]{8})-?5a51-?4d0b-?9d0c-?ca|c0de([0-9a-f]{8})", re.IGNORECASE
)
PACKED = re.compile(rb"(.{4})\x5a\x51\x4d\x0b\x9d\x0c\xca|\xc0\xde(.{4})", re.DOTALL)


def everybody() -> list[Somebody]:
    found = []
    for number in range(PEOPLE):
        mark = f"{number * 2654435761 % 2**32:08x}"
        uuid = f"{mark}-5a51-4d0b-9d0c-ca{mark}55"
        found.append(Somebody(number, mark, f"canary-{mark}-{number}", uuid, f"c0de{mark}"))
    return found


def told_by_phone(one: Somebody, now: float) -> list[tuple[str, str, Any]]:
    """What each kind of phone sends of them: method, path, body."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    spot = {"lat": LAT, "lon": LON}
    query = urllib.parse.urlencode
    feature = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [LON, LAT]},
        "properties": {"timestamp": stamp, "device_id": one.name, "horizontal_accuracy": 8},
    }
    heard = {
        "type": "sighting", "subject": one.name, "at": now, "rssi_dbm": -60,
        "beacon": {"format": "ibeacon", "uuid": one.uuid, "major": 1, "minor": 1},
    }  # fmt: skip
    event = {
        "type": "event", "subject": one.name, "at": now, "name": "open",
        "properties": {"who": one.name},
    }  # fmt: skip
    owntracks = {"_type": "location", "topic": f"owntracks/{one.name}/p", "tst": now, **spot}
    transistor = {
        "device_id": one.name,
        "location": {
            "coords": {"latitude": LAT, "longitude": LON, "accuracy": 8}, "timestamp": stamp,
            "uuid": one.uuid,
        },
    }  # fmt: skip
    moment = {"timestamp": str(int(now)), "lat": str(LAT), "lon": str(LON)}
    logger = {**moment, "time": stamp, "ser": one.name}
    return [
        ("POST", "/v1/fixes", fix(one.name, id=f"{one.name}-1")),
        ("POST", "/v1/sightings", heard),
        ("POST", "/v1/events", event),
        ("POST", "/owntracks", owntracks),
        ("POST", "/overland", {"locations": [feature]}),
        ("POST", "/api/v1/overland/batches", {"locations": [feature]}),
        ("GET", f"/osmand?{query({**moment, 'id': one.name})}", None),
        ("GET", f"/gpslogger?{query(logger)}", None),
        ("POST", "/transistor", transistor),
    ]


def told_by_receivers(one: Somebody, now: float) -> list[tuple[str, str, Any]]:
    """What each make of receiver hears of their tag."""
    advert = f"0201061aff4c000215{one.uuid.replace('-', '')}00010001c5"
    seen = {"beacon": {"format": "ibeacon", "uuid": one.uuid, "major": 1, "minor": 1},
            "gateway": "gw-1", "at": now, "rssi_dbm": -55, "type": "sighting"}  # fmt: skip
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    minew = [
        {"timestamp": stamp, "type": "Gateway", "mac": "gw-1"},
        {"timestamp": stamp, "type": "Unknown", "mac": one.mac, "rssi": -55, "rawData": advert},
    ]
    april = {"mac": "gw-1", "time": 7,
             "devices": [bytes.fromhex("00" + one.mac + "c4" + advert)]}  # fmt: skip
    ruuvi = {
        "data": {
            "gw_mac": "gw-1", "timestamp": int(now),
            "tags": {one.mac: {"rssi": -55, "timestamp": int(now), "data": advert}},
        }
    }  # fmt: skip
    ingics = f"$GPRP,{one.mac.upper()},gw-1,-55,{advert.upper()},{now:.3f}\r\n"
    raddec = {
        "transmitterId": one.mac, "transmitterIdType": 2, "timestamp": int(now * 1000),
        "rssiSignature": [{"receiverId": "gw-1", "receiverIdType": 2, "rssi": -55}],
        "packets": [f"421b{one.mac}{advert}"],
    }  # fmt: skip
    return [
        ("POST", "/v1/sightings", seen),
        ("POST", "/gateways/minew", minew),
        ("POST", "/gateways/aprilbrother", msgpack.packb(april)),
        ("POST", "/gateways/ruuvi", ruuvi),
        ("POST", "/gateways/ingics", ingics.encode()),
        ("POST", "/gateways/raddec", raddec),
    ]


async def send(server: Server, requests: list[tuple[str, str, Any]]) -> None:
    """Send all of them, some at once; every one is answered 2xx, consent or not."""
    headers = {"Authorization": f"Bearer {server.token}"}
    left = iter(requests)
    async with aiohttp.ClientSession(server.url, headers=headers) as session:

        async def some() -> None:
            for method, path, body in left:
                raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
                async with session.request(method, path, data=raw) as answer:
                    text = await answer.text()
                    assert 200 <= answer.status < 300, (path, answer.status, text)

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def enrol(server: Server, folder: Path, people: list[Somebody]) -> None:  # noqa: F811 - a path
    """Enrol those who agreed, with their tags."""
    agreed = [one for one in people if one.agreed]
    lines = [
        json.dumps({"person": one.name, "consents": [{"purpose": "marketing"}]}) for one in agreed
    ]
    (folder / "people.jsonl").write_text("\n".join(lines))
    done = proximity(
        "person", "import", folder / "people.jsonl", "--server", server.url, "--token", server.token
    )
    assert done.returncode == 0, done.stderr
    tags = [
        {"id": f"tag-{one.number}", "uuid": one.uuid, "person": one.name, "subject": one.name}
        for one in agreed
    ]
    assert server.ask("POST", "/v1/beacons", tags)[0] == 200


def written_of(folder: Path, people: list[Somebody]) -> set[int]:  # noqa: F811 - a path
    """The numbers of those of whom any byte stands in any file, or in the log."""
    files = [path.read_bytes() for path in (folder / "data").rglob("*") if path.is_file()]
    content = b"\n".join([*files, logged(folder).encode()])
    marks = {
        found.decode().lower() for every in SPOKEN.findall(content) for found in every if found
    } | {found.hex() for every in PACKED.findall(content) for found in every if found}
    return {one.number for one in people if one.mark in marks}


@pytest.mark.slow
async def test_of_who_agreed_to_nothing_not_a_byte_is_written(
    folder: Path,  # noqa: F811 - a fixture
    token: str,  # noqa: F811 - a fixture
) -> None:
    people = everybody()
    with serving(folder, token) as server:
        await asyncio.to_thread(enrol, server, folder, people)
        now = time.time()
        await send(server, [asked for one in people for asked in told_by_phone(one, now)])
        await send(server, [asked for one in people for asked in told_by_receivers(one, now)])
        status, body = server.ask("GET", "/readyz")
        assert status == 200, body
        running = await asyncio.to_thread(written_of, folder, people)
        page = server.ask("GET", "/v1/transitions?limit=1000")[1]["items"]
        assert not {one["subject"] for one in page} & {o.name for o in people if not o.agreed}
    ended = await asyncio.to_thread(written_of, folder, people)
    agreed = {one.number for one in people if one.agreed}
    assert running == ended == agreed


async def test_nor_of_who_comes_through_a_broker(
    folder: Path,  # noqa: F811 - a fixture
    token: str,  # noqa: F811 - a fixture
    mosquitto: Mosquitto,
) -> None:
    people = everybody()[:PHONES]
    with serving(folder, token, "--mqtt", mosquitto.url) as server:
        await asyncio.to_thread(enrol, server, folder, people)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for one in people:
                now = time.time()
                spot = {"_type": "location", "lat": LAT, "lon": LON, "tst": now, "tid": one.name}
                await client.publish(f"owntracks/{one.name}/p", json.dumps(spot), qos=1)
                seen = told_by_receivers(one, now)[0][2]
                await client.publish("proximity/gw-1/sightings", json.dumps(seen), qos=1)
        async with asyncio.timeout(20):
            while True:
                text = await asyncio.to_thread(metrics, server)
                if f'feed="owntracks",outcome="unconsented"}} {PHONES}.0' in text:
                    break
                await asyncio.sleep(0.05)
    assert await asyncio.to_thread(written_of, folder, people) == {
        one.number for one in people if one.agreed
    }


def metrics(server: Server) -> str:
    asked = urllib.request.Request(
        server.url + "/metrics", headers={"Authorization": f"Bearer {server.token}"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        text: str = answer.read().decode()
    return text
