"""Who is erased is in no byte of any file: a real server, its files read as they lie on the disk."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.edges.test_server import Server, proximity, serving
from tests.proximity.server.rig import fix, write_files

PERSON, PHONE, TAG = "canary-person-7f3a", "canary-phone-91bc", "canary-tag-5d20"
NAMES = (PERSON, PHONE, TAG)
UUID = "0d3c2f6e-5a51-4d0b-9d0c-cab1e5ca9a21"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path)
    return tmp_path


@pytest.fixture
def token(folder: Path) -> str:
    made = proximity("token", "create", "--data", folder / "data", "--role", "admin")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def found_in(folder: Path, *needles: str) -> dict[str, list[str]]:
    """The files of a folder that hold any of these texts, as bytes."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            held = [
                needle
                for needle in needles
                if needle.encode() in content
                or (uuid_bytes(needle) is not None and uuid_bytes(needle) in content)
            ]
            if held:
                found[path.name] = held
    return found


def uuid_bytes(text: str) -> bytes | None:
    try:
        return uuid.UUID(text).bytes
    except ValueError:
        return None


def logged(folder: Path) -> str:
    """What the server said of itself: the console channel writes offers to the same place."""
    lines = (folder / "log").read_text().splitlines()
    return "\n".join(line for line in lines if '"offer"' not in line)


def become_known(server: Server) -> None:
    """Leave traces in every table that a person can be in."""
    ask = server.ask
    person = {
        "person": PERSON,
        "subjects": [PHONE],
        "consents": [{"purpose": "marketing"}, {"purpose": "service"}],
        "timezone": "Europe/Paris",
        "attributes": {"tier": "gold", "likes": ["tea", "coffee"]},
    }
    assert ask("PUT", f"/v1/people/{PERSON}", person)[0] == 201
    beacon = {"uuid": UUID, "major": 3, "minor": 4, "person": PERSON, "subject": TAG}
    assert ask("PUT", f"/v1/beacons/{TAG}", beacon)[0] in {200, 201}
    now = time.time()
    for back in (3, 2, 1):
        assert ask("POST", "/v1/fixes", fix(PHONE, at=now - back))[1]["accepted"] == 1
    sighting = {
        "type": "sighting",
        "at": now - 1,
        "rssi_dbm": -50,
        "gateway": "gw-1",
        "beacon": {"format": "ibeacon", "uuid": UUID, "major": 3, "minor": 4, "power_dbm": -59},
    }
    for back in (3, 2, 1):
        answer = ask("POST", "/v1/sightings", {**sighting, "at": now - back})[1]
        assert answer["accepted"] == 1
    event = {"type": "event", "subject": PHONE, "at": now, "name": "purchase", "id": "e-1"}
    assert ask("POST", "/v1/events", {**event, "properties": {"product": "tea"}})[1]["accepted"]
    server.until(f"/v1/transitions?subject={PHONE}", 1)
    server.until(f"/v1/decisions?subject={PHONE}", 1)
    server.until("/v1/deliveries", 1)


def erase(server: Server, person: str = PERSON) -> dict[str, Any]:
    status, erasure = server.ask("POST", "/v1/erasures", {"person": person})
    assert status == 202
    return erased(server, erasure["id"])


def erased(server: Server, erasure: str) -> dict[str, Any]:
    for _ in range(600):
        _, found = server.ask("GET", f"/v1/erasures/{erasure}")
        if found["state"] == "done":
            return dict(found["receipt"])
        time.sleep(0.05)
    raise AssertionError(f"never done:\n{server.log.read_text()}")


def test_nothing_is_left_in_any_file(folder: Path, token: str) -> None:
    with serving(folder, token) as server:
        become_known(server)
        other = {"person": "other", "subjects": ["phone-o"], "consents": [{"purpose": "service"}]}
        server.ask("PUT", "/v1/people/other", other)
        server.ask("POST", "/v1/fixes", fix("phone-o"))
        server.until("/v1/transitions?subject=phone-o", 1)
        assert found_in(folder / "data", *NAMES, UUID)
        receipt = erase(server)
        assert found_in(folder / "data", *NAMES, UUID) == {}
        assert receipt["rows"]["ledger"] >= 3
        assert receipt["records"] == 7
        assert receipt["tombstone"]
        assert len(server.until("/v1/transitions?subject=phone-o", 1)) == 1
        # They do not come back: not by an import, not by a late record, not by a new tag.
        assert server.ask("PUT", f"/v1/people/{PERSON}", {"person": PERSON})[0] in {409, 422}
        grant = {"person": PERSON, "purpose": "marketing"}
        assert server.ask("POST", "/v1/consents", grant)[0] in {409, 422}
        beacon = {"uuid": UUID, "major": 3, "minor": 4, "person": PERSON, "subject": TAG}
        assert server.ask("PUT", f"/v1/beacons/{TAG}", beacon)[0] in {409, 422}
        assert server.ask("POST", "/v1/fixes", fix(PHONE))[1]["unconsented"] == 1
        assert server.ask("GET", f"/v1/people/{PERSON}")[0] == 404
        genuine = server.ask("POST", "/v1/receipts", {"receipt": receipt, "person": PERSON})
        assert genuine == (200, {"genuine": True})
        forged = {**receipt, "records": 8}
        assert server.ask("POST", "/v1/receipts", {"receipt": forged})[1] == {"genuine": False}
        assert found_in(folder / "data", *NAMES, UUID) == {}
    assert found_in(folder / "data", *NAMES, UUID) == {}
    assert not any(name in logged(folder) for name in NAMES)
    with serving(folder, token) as server:  # and it comes up without them
        assert len(server.until("/v1/transitions?subject=phone-o", 1)) == 1
    assert found_in(folder / "data", *NAMES, UUID) == {}


def test_an_erasure_that_was_begun_is_finished_at_the_next_start(folder: Path, token: str) -> None:
    """Killed at once, and after ever longer whiles: whatever was done by then, the rest follows."""
    for wait_s in (0.0, 0.02, 0.1, 0.3):
        with serving(folder, token) as server:
            server.ask("DELETE", f"/v1/people/{PERSON}")
            proximity("consent", "lift", "--erased", "--person", PERSON, "--data", folder / "data")
            time.sleep(1.2)  # the server looks at people once a second
            become_known(server)
            status, erasure = server.ask("POST", "/v1/erasures", {"person": PERSON})
            assert status == 202
            time.sleep(wait_s)
            server.end(signal.SIGKILL)
        with serving(folder, token) as server:
            receipt = erased(server, erasure["id"])
            assert receipt["id"] == erasure["id"]
            assert found_in(folder / "data", *NAMES, UUID) == {}
            assert server.ask("POST", "/v1/fixes", fix(PHONE))[1]["unconsented"] == 1
        assert found_in(folder / "data", *NAMES, UUID) == {}


def test_nothing_is_left_when_all_others_go_on(folder: Path, token: str) -> None:
    """Under load, with theirs among what comes in until the last moment and after it."""
    people = [f"canary-{number}-{os.urandom(4).hex()}" for number in range(12)]
    crowd = [f"crowd-{number}" for number in range(30)]
    stop = threading.Event()
    with serving(folder, token) as server:
        everybody = "\n".join(
            json.dumps({"person": f"p-{one}", "subjects": [one], "consents": [{"purpose": "x"}]})
            for one in people + crowd
        )
        (folder / "people.jsonl").write_text(everybody)
        done = proximity(
            "person", "import", "--server", server.url, "--token", token, folder / "people.jsonl"
        )
        assert done.returncode == 0, done.stderr

        def send(number: int) -> None:
            while not stop.is_set():
                some = people[number::3] + crowd[number::3]
                lines = [fix(one, lat=48.85 + time.time() % 1 / 6000) for one in some]
                assert server.ask("POST", "/v1/fixes", lines)[0] == 202

        senders = [threading.Thread(target=send, args=(number,)) for number in range(3)]
        for sender in senders:
            sender.start()
        try:
            time.sleep(1.0)
            begun = [
                server.ask("POST", "/v1/erasures", {"person": f"p-{one}"})[1]["id"]
                for one in people
            ]
            for one in begun:
                assert erased(server, one)["tombstone"]
            time.sleep(0.5)
            while_running = found_in(folder / "data", *people)
        finally:
            stop.set()
            for sender in senders:
                sender.join()
        assert while_running == {}
        assert server.until("/v1/transitions?limit=1000", 1)
    assert found_in(folder / "data", *people) == {}
    assert not any(name in logged(folder) for name in people)
