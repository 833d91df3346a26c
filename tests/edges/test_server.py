"""``proximity serve`` as a process: what it prints, what it refuses, how it ends and comes back."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proximity.dispatch.queue import LEASE_S
from tests.proximity.server.rig import fix, write_files

TLS = Path(__file__).parent / "tls"


def proximity(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proximity", *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@dataclass
class Server:
    process: subprocess.Popen[str]
    url: str
    token: str
    log: Path

    def ask(
        self, method: str, path: str, body: Any = None, token: str | None = None
    ) -> tuple[int, Any]:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token or self.token}"},
        )
        try:
            context = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None

    def until(self, path: str, count: int) -> list[Any]:
        # Long enough for what a killed server held to come out of its lease, twice over.
        deadline = time.monotonic() + 2 * LEASE_S
        while time.monotonic() < deadline:
            _, page = self.ask("GET", path)
            if len(page["items"]) >= count:
                return page["items"]
            time.sleep(0.02)
        raise AssertionError(f"{path} never had {count} items:\n{self.log.read_text()}")

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path)
    return tmp_path


@pytest.fixture
def token(folder: Path) -> str:
    made = proximity("token", "create", "--data", folder / "data", "--role", "admin")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@contextlib.contextmanager
def serving(folder: Path, token: str, *options: object) -> Iterator[Server]:
    log = folder / "log"
    command = [
        sys.executable, "-m", "proximity", "serve", "--data", folder / "data", "--port", "0",
        "--site", folder / "site.toml", "--campaigns", folder / "campaigns.toml", *options,
    ]  # fmt: skip
    with (
        log.open("a") as errors,
        subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"listening on (https?://\S+:\d+)\n", line)
        assert found is not None, line + log.read_text()
        try:
            yield Server(process, found[1], token, log)
            if process.poll() is None:
                assert process.send_signal(signal.SIGTERM) is None
                assert process.wait(20) == 0
            assert process.stdout.read() == "", "nothing else belongs on standard output"
        finally:
            process.kill()


def test_it_says_one_line_and_ends_at_a_signal(folder: Path, token: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with serving(folder, token) as server:
            assert server.ask("GET", "/readyz")[0] == 200
            assert server.end(number) == 0
    assert "Traceback" not in server.log.read_text()


def test_after_kill_9_it_goes_on_where_it_was(folder: Path, token: str) -> None:
    with serving(folder, token) as server:
        server.ask("POST", "/v1/consents", {"person": "phone-1", "purpose": "marketing"})
        now = time.time()
        for back in (3, 2, 1):
            status, receipt = server.ask("POST", "/v1/fixes", fix(at=now - back))
            assert (status, receipt["accepted"]) == (202, 1)
        (enter,) = server.until("/v1/transitions", 1)
        server.until("/v1/deliveries", 1)
        server.end(signal.SIGKILL)
    with serving(folder, token, "--consent", "required") as server:
        # The same fix again is known, the visit is the same, and nothing is decided twice.
        assert server.ask("POST", "/v1/fixes", fix(at=now - 1))[1]["duplicate"] == 1
        assert (
            server.ask(
                "PUT",
                "/v1/fences/probe",
                {
                    "type": "Feature",
                    "properties": {"radius_m": 50},
                    "geometry": {"type": "Point", "coordinates": [2.4, 48.9]},
                },
            )[0]
            == 201
        )
        assert server.until("/v1/transitions", 1) == [enter]
        assert len(server.until("/v1/decisions", 1)) == 1
        assert len(server.until("/v1/deliveries", 1)) == 1
        server.end(signal.SIGKILL)
    with serving(folder, token) as server:
        assert server.ask("GET", "/v1/fences/probe")[0] == 200


def test_two_servers_cannot_share_a_folder(folder: Path, token: str) -> None:
    with serving(folder, token) as server:
        second = proximity("serve", "--data", folder / "data", "--port", "0")
        assert (second.returncode, second.stdout) == (2, "")
        (line,) = [one for one in second.stderr.splitlines() if one.startswith("proximity: ")]
        assert "another" in line
        assert server.ask("GET", "/readyz")[0] == 200


def test_bad_files_are_named_before_anything_is_bound(folder: Path) -> None:
    (folder / "fences.geojson").write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","id":"bow","properties":{},"geometry":{"type":"Polygon","coordinates":[[[0,0],[1,1],[1,0],[0,1],[0,0]]]}}]}'
    )
    (folder / "campaigns.toml").write_text('[[campaign]]\nid = "a"\non = "sneeze"\n')
    result = proximity(
        "serve", "--data", folder / "data", "--site", folder / "site.toml", "--campaigns", folder / "campaigns.toml",
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (2, "")
    assert "bow" in result.stderr
    assert "sneeze" in result.stderr
    assert all(line.startswith("proximity: ") for line in result.stderr.splitlines())
    assert not (folder / "data").exists()


def test_a_taken_port_is_one_clear_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = proximity("serve", "--data", folder / "data", "--port", taken.getsockname()[1])
    assert result.returncode == 2
    assert "cannot be bound" in result.stderr
    assert "Traceback" not in result.stderr


def test_it_is_reached_from_elsewhere_only_once_an_admin_exists(folder: Path) -> None:
    proximity("token", "create", "--data", folder / "data", "--role", "feed")
    refused = proximity("serve", "--data", folder / "data", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2
    assert "admin token" in refused.stderr
    made = proximity("token", "create", "--data", folder / "data", "--role", "admin")
    with serving(folder, made.stdout.strip(), "--host", "0.0.0.0") as server:
        port = server.url.rpartition(":")[2]
        server.url = f"http://127.0.0.1:{port}"
        assert server.ask("GET", "/v1/fences")[0] == 200


def test_over_tls(folder: Path, token: str) -> None:
    options = ("--tls-cert", TLS / "cert.pem", "--tls-key", TLS / "key.pem", "--host", "localhost")
    with serving(folder, token, *options) as server:
        assert server.url.startswith("https://localhost:")
        assert server.ask("GET", "/v1/fences")[0] == 200
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("localhost", port)) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not plain.recv(1000).startswith(b"HTTP/1.1 200")
    swapped = proximity(
        "serve", "--data", folder / "data", "--tls-cert", TLS / "key.pem", "--tls-key", TLS / "cert.pem",
    )  # fmt: skip
    assert swapped.returncode == 2
    assert len(swapped.stderr.splitlines()) == 1


def test_tokens_made_and_revoked_by_the_command_count_while_it_runs(
    folder: Path, token: str
) -> None:
    with serving(folder, token) as server:
        made = proximity("token", "create", "--data", folder / "data", "--role", "analyst")
        analyst = made.stdout.strip()
        assert server.ask("GET", "/v1/transitions", token=analyst)[0] == 200
        assert proximity("token", "revoke", "--data", folder / "data", analyst).returncode == 0
        revoked = time.monotonic()
        while server.ask("GET", "/v1/transitions", token=analyst)[0] != 401:
            assert time.monotonic() - revoked < 5
            time.sleep(0.05)
        granted = proximity(
            "consent",
            "grant",
            "--data",
            folder / "data",
            "--person",
            "phone-1",
            "--purpose",
            "marketing",
        )
        assert granted.returncode == 0
        made_at = time.monotonic()
        while server.ask("POST", "/v1/fixes", fix())[1]["accepted"] == 0:
            assert time.monotonic() - made_at < 5
            time.sleep(0.05)


def test_half_a_request_does_not_keep_it_from_ending(folder: Path, token: str) -> None:
    with serving(folder, token) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as half:
            head = f"POST /v1/fixes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n{{"
            half.sendall(head.encode())
            time.sleep(0.3)
            started = time.monotonic()
            assert server.end() == 0
            assert time.monotonic() - started < 12


def test_logs_and_files_hold_no_token_and_no_stranger(folder: Path, token: str) -> None:
    with serving(folder, token) as server:
        server.ask("POST", "/v1/consents", {"person": "phone-1", "purpose": "marketing"})
        server.ask("POST", "/v1/fixes", [fix(), fix("canary-stranger")])
        server.ask("GET", f"/osmand?id=canary-osmand&lat=11.223344&lon=3&token={token}")
        server.ask("GET", "/v1/fences", token="canary-wrong-token")
        server.until("/v1/deliveries", 1)
        assert server.end() == 0
    every = server.log.read_bytes()
    for file in (folder / "data").iterdir():
        every += file.read_bytes()
    for secret in (token, "canary-stranger", "canary-osmand", "11.223344", "canary-wrong-token"):
        assert secret.encode() not in every, secret
    assert b"48.85" not in server.log.read_bytes()
    assert (folder / "data").stat().st_mode & 0o077 == 0
