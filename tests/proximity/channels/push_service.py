"""A push service that nobody here wrote: npm ``web-push-testing``, started on loopback."""

from __future__ import annotations

import atexit
import json
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.npm import NODE_MODULES, need_node
from tests.servers import free_port

STARTED_WITHIN_S = 20.0


@dataclass(frozen=True)
class Browser:
    """A subscription: what its page would tell, and what was sent to it, decrypted."""

    service: PushService
    name: str
    address: str

    @property
    def messages(self) -> list[str]:
        found = self.service.ask("/get-notifications", {"clientHash": self.name})
        return found["data"]["messages"]

    def expire(self) -> None:
        self.service.ask(f"/expire-subscription/{self.name}", {})


class PushService:
    """The running service; ``subscribe`` does what a browser does there."""

    def __init__(self) -> None:
        self.port = free_port()
        script = NODE_MODULES / "web-push-testing" / "src" / "bin" / "server.js"
        self._process = subprocess.Popen(
            [need_node(), str(script), str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + STARTED_WITHIN_S
        while True:
            try:
                self.ask("/status", {})
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline, "web-push-testing does not answer"
                time.sleep(0.02)

    def subscribe(self, public_key: str) -> Browser:
        found = self.ask(
            "/subscribe", {"applicationServerKey": public_key, "userVisibleOnly": "true"}
        )["data"]
        name = found.pop("clientHash")
        # Its own addresses say localhost; a name is no address that `allow` could list.
        found["endpoint"] = found["endpoint"].replace("localhost", "127.0.0.1")
        return Browser(self, name, json.dumps(found))

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text.startswith(b"{") else None

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(STARTED_WITHIN_S)


@cache
def push_service() -> PushService:
    """One for all tests of a process: what it remembers, it keeps by subscription."""
    one = PushService()
    atexit.register(one.stop)
    return one
