"""Phones told which regions to watch, over HTTP: whom, how many, when, and what each app expects."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from geofences import FenceIndex, loads
from proximity.feeds import FORMATS, Incoming
from proximity.ingest.admission import Receipt
from proximity.server import arming
from proximity.server.arming import Arming
from proximity.server.auth import Role
from tests.proximity.server.rig import Rig, running

ANDROID = {"User-Agent": "Owntracks-Android/gms/420503000"}
IOS = {"User-Agent": "OwnTracks/18.0.2 CFNetwork/1498.700.2 Darwin/23.6.0"}
DEGREE_M = 111_195.0


@pytest.fixture
async def armed(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path, arm_phones=True) as made:
        await made.consent("phone-1")
        yield made


def spot(metres: float = 0.0, **more: Any) -> dict[str, Any]:
    """An OwnTracks location so many metres north of the shop, now."""
    lat = 48.85 + metres / DEGREE_M
    return {"_type": "location", "lat": lat, "lon": 2.35, "acc": 8, "tst": time.time(), **more}


async def post(rig: Rig, body: Any, headers: dict[str, str] = ANDROID, path: str = "/owntracks",
               role: Role = Role.DEVICE) -> Any:  # fmt: skip
    answer = await rig.ask("POST", path, role=role, body=body, headers=headers)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json


def waypoints(reply: Any) -> list[dict[str, Any]]:
    """The waypoints of a reply, which must be the one command in an array that the app reads."""
    (command,) = reply
    assert (command["_type"], command["action"]) == ("cmd", "setWaypoints")
    assert command["waypoints"]["_type"] == "waypoints"
    found: list[dict[str, Any]] = command["waypoints"]["waypoints"]
    assert {one["_type"] for one in found} == {"waypoint"}
    return found


def fence(fence_id: str, lon: float, lat: float, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": fence_id,
        "properties": {"radius_m": 40, **properties},
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
    }


async def put(rig: Rig, *features: dict[str, Any]) -> None:
    body = {"type": "FeatureCollection", "features": features}
    answer = await rig.ask("POST", "/v1/fences", body=body)
    assert answer.status in {200, 201}, answer.body


SHOP = {
    "_type": "waypoint",
    "rid": "proximity-0",
    "tst": 1_000_000_000,
    "desc": "Store",
    "lon": 2.35,
    "lat": 48.85,
    "rad": 100,
}


# --- whether ---------------------------------------------------------------------------------


async def test_nobody_is_armed_unless_asked_for(rig: Rig) -> None:
    await rig.consent("phone-1")
    assert await post(rig, spot()) == []


async def test_a_phone_is_told_once_and_again_only_as_things_change(armed: Rig) -> None:
    assert waypoints(await post(armed, spot())) == [SHOP]
    assert await post(armed, spot(40)) == []
    assert await post(armed, spot(5000)) == []
    await put(armed, fence("inn", 2.36, 48.85, name="Inn"))
    (inn,) = waypoints(await post(armed, spot(5000)))
    assert (inn["desc"], inn["rid"], inn["tst"]) == ("Inn", "proximity-1", 1_000_000_001)
    await put(armed, fence("inn", 2.36, 48.85, name="Inn", radius_m=300))
    (inn,) = waypoints(await post(armed, spot(5000)))
    assert (inn["rid"], inn["rad"]) == ("proximity-1", 301)
    assert await post(armed, spot(5000)) == []


async def test_metrics_count_the_phones_and_name_none(armed: Rig) -> None:
    await post(armed, spot())
    text = (await armed.ask("GET", "/metrics")).body.decode()
    assert "proximity_phones_armed 1.0" in text
    assert "phone-1" not in text


async def test_a_phone_without_consent_is_told_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, arm_phones=True) as rig:
        assert await post(rig, spot()) == []
        assert len(rig.parts.arming or ()) == 0
    async with running(tmp_path, arm_phones=True, consent="assumed") as rig:
        assert waypoints(await post(rig, spot())) == [SHOP]


async def test_whoever_withdraws_is_told_to_watch_nothing(armed: Rig) -> None:
    assert waypoints(await post(armed, spot(), IOS))[-1] == SHOP
    gone = await armed.ask("DELETE", "/v1/consents?person=phone-1")
    assert gone.status == 204
    assert armed.parts.arming is not None
    (phone,) = armed.parts.arming._phones.values()
    assert phone.at is None
    assert "store-7" not in str(phone)
    (emptied,) = waypoints(await post(armed, spot(), IOS))
    assert (emptied["rid"], emptied["lat"], emptied["lon"]) == ("proximity-0", -1e6, -1e6)
    assert "Store" not in str(emptied)
    assert len(armed.parts.arming) == 0
    assert await post(armed, spot(), IOS) == []


async def test_after_a_restart_a_phone_is_told_everything_anew(tmp_path: Path) -> None:
    for _ in range(2):
        async with running(tmp_path, arm_phones=True) as rig:
            await rig.consent("phone-1")
            assert waypoints(await post(rig, spot())) == [SHOP]
            assert await post(rig, spot()) == []


# --- whom ------------------------------------------------------------------------------------


async def test_a_device_token_arms_itself_alone(armed: Rig) -> None:
    await armed.consent("ann/phone")
    as_another = spot(topic="owntracks/ann/phone")
    assert waypoints(await post(armed, as_another)) == [SHOP]
    assert armed.parts.arming is not None
    assert list(armed.parts.arming._phones) == [("phone-1", "owntracks")]
    # The one that was named is not taken for armed.
    assert waypoints(await post(armed, as_another, role=Role.FEED)) == [SHOP]


async def test_a_message_of_several_phones_arms_none(armed: Rig) -> None:
    await armed.consent("a")
    await armed.consent("b")
    batch = [location(device_id="a"), location(device_id="b")]
    assert await post(armed, {"location": batch}, {}, "/transistor", Role.FEED) == {}
    reply = await post(armed, {"location": batch[:1]}, {}, "/transistor", Role.FEED)
    assert "background_geolocation" in reply


# --- how many, and how -----------------------------------------------------------------------


async def crowd(rig: Rig) -> None:
    """Two hundred fences: ``f1`` is nearest to the shop, ``f200`` farthest."""
    await put(rig, *(fence(f"f{n}", 2.35, 48.85 + n * 0.002) for n in range(1, 201)))


async def test_android_is_told_eighty_of_the_nearest(armed: Rig) -> None:
    await crowd(armed)
    found = waypoints(await post(armed, spot(-500)))
    assert [one["desc"] for one in found] == ["Store", *(f"f{n}" for n in range(1, 80))]
    assert len({one["tst"] for one in found}) == 80
    assert all(isinstance(one["rad"], int) and isinstance(one["tst"], int) for one in found)


async def test_ios_is_told_fifteen_and_all_slots_are_deleted_before(armed: Rig) -> None:
    await crowd(armed)
    found = waypoints(await post(armed, spot(-500), IOS))
    gone, told = found[:15], found[15:]
    assert {(one["lon"], one["lat"]) for one in gone} == {(-1e6, -1e6)}
    assert [one["rid"] for one in gone] == [f"proximity-{n}" for n in range(15)]
    assert [one["desc"] for one in told] == ["Store", *(f"f{n}" for n in range(1, 15))]
    # 3 km further the first ones have left; each slot is named as it was, then as it is.
    found = waypoints(await post(armed, spot(2500), IOS))
    half = len(found) // 2
    assert [one["rid"] for one in found[:half]] == [one["rid"] for one in found[half:]]
    assert found[0]["desc"] == "Store"
    names = {one["desc"] for one in found[half:]}
    assert names
    assert not names & {"Store", *(f"f{n}" for n in range(1, 15))}


async def test_an_unknown_app_is_told_as_few_and_asked_to_delete_nothing(armed: Rig) -> None:
    await crowd(armed)
    found = waypoints(await post(armed, spot(-500), {}))
    assert len(found) == 15
    assert all(-90 <= one["lat"] <= 90 for one in found)


async def test_what_leaves_android_is_parked_where_nobody_is(armed: Rig) -> None:
    await put(armed, fence("inn", 2.36, 48.85))
    assert len(waypoints(await post(armed, spot()))) == 2
    assert (await armed.ask("DELETE", "/v1/fences/inn")).status == 204
    (parked,) = waypoints(await post(armed, spot()))
    assert (parked["rid"], parked["lon"], parked["lat"], parked["rad"]) == ("proximity-1", 0, 0, 1)
    assert parked["desc"] == "proximity"


def location(**more: Any) -> dict[str, Any]:
    coords = {"latitude": 48.85, "longitude": 2.35, "accuracy": 5, "speed": -1, "heading": -1}
    return {"timestamp": int(time.time() * 1000), "coords": coords, **more}


async def test_transistor_is_told_in_commands_of_its_own(armed: Rig) -> None:
    body = {"location": location()}
    reply = await post(armed, body, {}, "/transistor")
    *removed, added = reply["background_geolocation"]
    assert removed == [["removeGeofence", f"proximity-{n}"] for n in range(1, 100)]
    assert added == [
        "addGeofences",
        [
            {
                "identifier": "proximity-0",
                "longitude": 2.35,
                "latitude": 48.85,
                "radius": 100.0,
                "notifyOnEntry": True,
                "notifyOnExit": True,
                "extras": {"id": "store-7", "name": "Store"},
            }
        ],
    ]
    assert await post(armed, {"location": location()}, {}, "/transistor") == {}
    await crowd(armed)
    reply = await post(armed, {"location": location()}, {}, "/transistor")
    (command,) = reply["background_geolocation"]
    assert len(command[1]) == 99
    assert (await armed.ask("DELETE", "/v1/fences/f1")).status == 204
    reply = await post(armed, {"location": location()}, {}, "/transistor")
    (command,) = reply["background_geolocation"]
    assert [one["extras"]["id"] for one in command[1]] == ["f100"]


async def test_two_apps_of_one_subject_are_told_apart(armed: Rig) -> None:
    assert waypoints(await post(armed, spot())) == [SHOP]
    reply = await post(armed, {"location": location()}, {}, "/transistor")
    assert "background_geolocation" in reply
    assert await post(armed, spot(1)) == []


async def test_other_feeds_are_answered_as_ever(armed: Rig) -> None:
    place = {"type": "Point", "coordinates": [2.35, 48.85]}
    point = {"type": "Feature", "geometry": place, "properties": {"timestamp": time.time()}}
    assert await post(armed, {"locations": [point]}, {}, "/overland") == {"result": "ok"}


async def test_across_the_seam(armed: Rig) -> None:
    ring = [[179.999, 1.0], [-179.999, 1.0], [-179.999, 1.002], [179.999, 1.002], [179.999, 1.0]]
    atoll = {"type": "Feature", "id": "atoll", "properties": {}}
    await put(armed, {**atoll, "geometry": {"type": "Polygon", "coordinates": [ring]}})
    (told,) = waypoints(await post(armed, spot(lat=1.001, lon=-179.99)))
    assert (abs(told["lon"]), told["lat"]) == pytest.approx((180.0, 1.001), abs=1e-6)
    assert 157 <= told["rad"] <= 162


async def test_the_real_payloads_arm_where_they_are_of_now(armed: Rig, shared_data: Any) -> None:
    samples = json.loads((shared_data("client-payloads") / "owntracks.json").read_bytes())
    for number, sample in enumerate(samples):
        body = json.loads(sample["payload"])
        assert await post(armed, body) == []  # of years ago: no sign of where the phone is
        await put(armed, fence(f"here-{number}", body["lon"], body["lat"]))
        found = waypoints(await post(armed, {**body, "tst": time.time()}))
        assert f"here-{number}" in {one["desc"] for one in found}
    samples = json.loads((shared_data("client-payloads") / "osmand.json").read_bytes())
    texts = [sample["payload"] for sample in samples if sample["payload"].startswith("{")]
    assert len(texts) == 4
    for number, text in enumerate(texts):
        body = json.loads(text)
        where, subject = body["location"]["coords"], body["device_id"]
        await armed.consent(subject)
        await put(armed, fence(f"there-{number}", where["longitude"], where["latitude"]))
        body["location"] |= {"timestamp": int(time.time() * 1000), "uuid": f"u{number}"}
        reply = await post(armed, body, {}, "/transistor", Role.FEED)
        if body["location"].get("mock"):
            assert reply == {}  # a mock position is nobody's
            continue
        (added,) = (command[1] for command in reply["background_geolocation"] if command[0] == "addGeofences")  # fmt: skip
        assert f"there-{number}" in {one["extras"]["id"] for one in added}


# --- when ------------------------------------------------------------------------------------


async def test_a_reply_that_was_lost_is_given_again(armed: Rig) -> None:
    first = spot(_id="m1")
    assert waypoints(await post(armed, first)) == [SHOP]
    assert waypoints(await post(armed, first)) == [SHOP]
    assert await post(armed, spot(_id="m2")) == []
    assert await post(armed, first) == []


async def test_a_phone_that_publishes_its_list_is_told_all_of_it(armed: Rig) -> None:
    asked = {"_type": "waypoints", "waypoints": [{"_type": "waypoint", "desc": "home"}]}
    assert await post(armed, asked) == []  # it is not known where it is
    await post(armed, spot())
    assert waypoints(await post(armed, asked)) == [SHOP]
    # What Android says of each region it took over is no question.
    assert await post(armed, {"_type": "waypoint", "desc": "Store", "tst": 1_000_000_000}) == []
    assert await post(armed, {"_type": "lwt", "tst": 1}) == []


@pytest.mark.parametrize("body", [b'{"_type":"waypoints"', b'["waypoints"]', b'"waypoints"', b""])
async def test_poison_is_answered_as_ever(armed: Rig, body: bytes) -> None:
    answer = await armed.ask("POST", "/owntracks", role=Role.DEVICE, raw=body)
    assert (answer.status, answer.body) == (200, b"[]")


async def test_an_emptied_queue_arms_by_its_newest_fix_alone(armed: Rig) -> None:
    now = time.time()
    old = [location(timestamp=int((now - back) * 1000)) for back in (3000, 2000, 1000)]
    assert await post(armed, {"location": old}, {}, "/transistor") == {}
    far = {"latitude": 10.0, "longitude": 10.0, "accuracy": 5}
    batch = [location(), location(timestamp=int((now - 30) * 1000), coords=far)]
    reply = await post(armed, {"location": batch}, {}, "/transistor")
    assert reply["background_geolocation"][-1][1][0]["extras"]["id"] == "store-7"


# --- evidence, not truth ---------------------------------------------------------------------


def transition(event: str, metres: float, back: float) -> dict[str, Any]:
    claim = {"event": event, "desc": "Store", "rid": "proximity-0", "wtst": 1_000_000_000, "t": "c"}
    return {**spot(metres), "_type": "transition", "tst": time.time() - back, **claim}


async def test_no_claim_to_have_entered_is_believed(armed: Rig) -> None:
    # Inside the circle that woke the phone (100 m), outside the fence (60 m).
    for back in (520, 460, 400, 340, 280):
        await post(armed, transition("enter", 95, back))
    # What is decided is what the fixes say: inside, although the phone claims to leave.
    for back in (200, 160, 120, 80, 40):
        await post(armed, transition("leave", 0, back))
    (enter, *more) = await armed.until("/v1/transitions", 1)
    assert more == []
    assert (enter["kind"], enter["place"]) == ("enter", "store-7")
    at = datetime.fromisoformat(enter["at"]).timestamp()
    assert time.time() - 300 < at < time.time() - 100


# --- bounds ----------------------------------------------------------------------------------


class Bench:
    """The memory alone, with a clock in hand."""

    def __init__(self) -> None:
        feature = fence("store-7", 2.35, 48.85)
        index = FenceIndex(loads(json.dumps(feature)).fences)
        self.now = 1767225600.0
        self.arming = Arming(lambda: index, lambda _subject: True, lambda: self.now)

    def report(self, subject: str, **receipt: int) -> bool:
        """Whether a location of a subject is answered with regions."""
        body = {**spot(), "tst": self.now, "topic": f"owntracks/{subject}"}
        message = Incoming(body=json.dumps(body).encode(), now=self.now, headers={})
        wire = FORMATS["owntracks"]
        decoded = wire.decode(message)
        told = Receipt(**(receipt or {"accepted": 1}))
        said = self.arming.add(wire.answer(decoded, told), "owntracks", message, decoded, told)
        return said.body != b"[]"


def test_the_longest_silent_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arming, "MOST_PHONES", 3)
    bench = Bench()
    assert all(bench.report(name) for name in "abc")
    assert not bench.report("a")
    assert bench.report("d")
    assert len(bench.arming) == 3
    assert not bench.report("a")
    assert bench.report("b")  # was silent for longest


def test_a_phone_silent_for_a_day_is_forgotten() -> None:
    bench = Bench()
    assert bench.report("a")
    bench.now += arming.KEPT_S - 1
    assert not bench.report("b") or len(bench.arming) == 2
    bench.now += 2
    bench.report("c")
    assert {subject for subject, _ in bench.arming._phones} == {"b", "c"}


def test_late_and_refused_records_repeat_nothing() -> None:
    bench = Bench()
    assert bench.report("a")
    assert bench.report("a", duplicate=1)
    assert not bench.report("a", late=1)
    assert not bench.report("a", duplicate=1)
