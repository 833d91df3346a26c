"""``proximity serve --outbound`` as a process, killed without warning: nothing is lost on its way out."""

from __future__ import annotations

import base64
import json
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from standardwebhooks.webhooks import Webhook

from tests.edges.test_server import Server, folder, proximity, serving, token  # noqa: F401
from tests.proximity.server.rig import fix

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SUBSCRIBERS = """
[[subscriber]]
name = "crm"
kinds = ["transition", "decision", "delivery"]
url = "http://127.0.0.1:{port}/events"
allow = ["127.0.0.1"]
secret_file = "secret"

[[subscriber]]
name = "lake"
kinds = ["transition", "decision", "delivery"]
file = "lake.ndjson"
rotate_mb = 0.01
keep = 0
"""
KILLS = 4
PHONES = 60


class Receiver(ThreadingHTTPServer):
    """Takes what it gets, verifies it, and is away while it is told to be."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []
        self.bad: list[str] = []
        self.away = False
        super().__init__(("127.0.0.1", 0), Taking)


class Taking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.away:
            try:
                self.server.events.append(Webhook(SECRET).verify(body, dict(self.headers)))
            except Exception as error:  # noqa: BLE001 - whatever it is must be seen by the test
                self.server.bad.append(repr(error))
        self.send_response(503 if self.server.away else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    thread = threading.Thread(target=one.serve_forever)
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


def lines(folder: Path) -> list[dict[str, object]]:  # noqa: F811 - a fixture
    found = []
    for path in sorted(folder.glob("lake*.ndjson")):
        found += [
            json.loads(line) for line in path.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")
        ]  # fmt: skip
    return found


def send(server: Server, first: int, last: int) -> None:
    now = time.time()
    for n in range(first, last):
        for back in (3, 2, 1):
            assert server.ask("POST", "/v1/fixes", fix(f"u{n}", at=now - back))[0] == 202


@pytest.mark.slow
def test_kill_9_loses_nothing_and_repeats_have_the_same_id(
    folder: Path,  # noqa: F811 - a fixture
    token: str,  # noqa: F811 - a fixture
    receiver: Receiver,
) -> None:
    (folder / "secret").write_text(SECRET)
    (folder / "outbound.toml").write_text(SUBSCRIBERS.format(port=receiver.server_address[1]))
    options = ("--outbound", folder / "outbound.toml", "--consent", "assumed")
    each = PHONES // KILLS
    for turn in range(KILLS):
        receiver.away = turn == 1
        with serving(folder, token, *options) as server:
            send(server, turn * each, turn * each + each)
            server.end(signal.SIGKILL)
    receiver.away = False
    with serving(folder, token, *options) as server:
        # What was being handed over when it was killed waits for the end of its lease.
        wanted = {
            (kind, one["visit"] if kind == "transition" else one.get("id") or one["key"])
            for kind, path, least in (
                ("transition", "transitions", PHONES),
                ("decision", "decisions", PHONES),
                ("delivery", "deliveries", 1),
            )
            for one in server.until(f"/v1/{path}?limit=500", least)
        }
        assert len(wanted) > 2 * PHONES
        deadline = time.monotonic() + 30
        while not (told(receiver.events) >= wanted and told(lines(folder)) >= wanted):
            assert time.monotonic() < deadline, server.log.read_text()[-3000:]
            time.sleep(0.05)
        ask = Request(server.url + "/metrics", headers={"Authorization": f"Bearer {token}"})
        with urlopen(ask, timeout=10) as answer:
            metrics = answer.read().decode()
        assert 'proximity_outbound_on{subscriber="crm"} 1.0' in metrics
        assert 'proximity_outbound_events_total{outcome="sent",subscriber="lake"}' in metrics
    for events in (receiver.events, lines(folder)):
        by_id = {event["id"]: event for event in events}
        # Once each for a receiver that drops what it knows; a repeat says the same.
        assert len({json.dumps(event["data"]) for event in by_id.values()}) == len(by_id)
        for event in events:
            assert event == by_id[event["id"]]
        firsts = list(by_id)
        assert firsts == sorted(firsts, key=lambda one: by_id[one]["sequence"])
    assert receiver.bad == []
    assert "Traceback" not in server.log.read_text()
    listed = proximity("outbound", "list", "--data", folder / "data")
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[:3] for line in listed.stdout.splitlines()] == [
        ["crm", "ledger", "on"], ["lake", "ledger", "on"],
    ]  # fmt: skip


def told(events: list[dict[str, object]]) -> set[tuple[str, object]]:
    found = set()
    for event in events:
        kind, data = str(event["type"]).split(".")[1], event["data"]
        assert isinstance(data, dict)
        found.add((kind, data["visit"] if kind == "transition" else data.get("id") or data["key"]))
    return found


def test_a_file_of_subscribers_that_cannot_be_used_is_refused_before_anything_is_bound(
    folder: Path,  # noqa: F811 - a fixture
) -> None:
    (folder / "outbound.toml").write_text('[[subscriber]]\nname = "crm"\nkinds = ["visit"]\n')
    result = proximity(
        "serve", "--data", folder / "data", "--port", "0", "--outbound", folder / "outbound.toml"
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "outbound.toml: subscriber 'crm': kinds: 'visit' is none" in result.stderr
    assert "write either url or file" in result.stderr


def test_a_subscriber_that_nobody_knows_cannot_be_enabled(
    folder: Path,  # noqa: F811 - a fixture
    token: str,  # noqa: F811 - a fixture
) -> None:
    result = proximity("outbound", "enable", "crm", "--data", folder / "data")
    assert result.returncode == 1
    assert "nobody is called so" in result.stderr
