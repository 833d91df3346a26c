"""Chromium without a screen, driven over the DevTools protocol on a WebSocket; nothing in between.

Each browser has a folder of its own, and is ended with the test that started it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.servers import find, libraries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

STARTED_WITHIN_S = 30.0
ANSWERED_WITHIN_S = 20.0
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--remote-debugging-port=0",
)
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


class ProtocolError(AssertionError):
    """The browser refused a command, or a script of the page threw."""


class Chromium:
    """One browser: sends commands, gathers events."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.events: list[dict[str, Any]] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            waiting = self._waiting.pop(told.get("id", 0), None)
            if waiting is None:
                self.events.append(told)
                self._news.set()
            elif not waiting.done():
                waiting.set_result(told)

    async def command(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Send a command and give its result. Raises ProtocolError."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(
            message if session is None else {**message, "sessionId": session}
        )
        told = await asyncio.wait_for(self._waiting[number], ANSWERED_WITHIN_S)
        if "error" in told:
            raise ProtocolError(f"{method}: {told['error']}")
        return told["result"]

    async def event(
        self, method: str, fits: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> Any:
        """Give the first event of this name that fits, of those that came or that will."""
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            while True:
                self._news.clear()
                for event in self.events:
                    if event["method"] == method and fits(event["params"]):
                        return event["params"]
                await self._news.wait()

    async def open(self, *, phone: bool = True) -> Page:
        """Open an empty page, of a phone's size unless told otherwise."""
        target = await self.command("Target.createTarget", url="about:blank")
        page = await self.attach(target["targetId"])
        for domain in ("Page", "Runtime", "Network", "Log", "ServiceWorker"):
            await page.command(f"{domain}.enable")
        if phone:
            await page.command("Emulation.setDeviceMetricsOverride", **PHONE)
        return page

    async def attach(self, target: str) -> Page:
        """Speak to a page or a worker."""
        attached = await self.command("Target.attachToTarget", targetId=target, flatten=True)
        return Page(self, attached["sessionId"])

    async def worker(self, url: str) -> Page:
        """Speak to the service worker whose script is at ``url``."""
        for _ in range(3000):
            targets = (await self.command("Target.getTargets"))["targetInfos"]
            for target in targets:
                if target["type"] == "service_worker" and target["url"] == url:
                    return await self.attach(target["targetId"])
            await asyncio.sleep(0.02)
        raise AssertionError(f"no service worker of {url}")

    async def close(self) -> None:
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader


class Page:
    """A page or a worker: runs scripts in it, waits for what it shows."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self.browser = browser
        self.session = session

    async def command(self, method: str, **parameters: Any) -> Any:
        return await self.browser.command(method, self.session, **parameters)

    async def before(self, script: str) -> None:
        """Run a script in each document before any of its own."""
        await self.command("Page.addScriptToEvaluateOnNewDocument", source=script)

    async def go(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.browser.events.clear()
        gone = await self.command("Page.navigate", url=url)
        assert "errorText" not in gone, gone
        await self.browser.event("Page.loadEventFired")

    async def run(self, script: str, *, gesture: bool = False) -> Any:
        """Give the value of an expression, or what its promise ends in. Raises ProtocolError."""
        told = await self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True,
            userGesture=gesture,
        )  # fmt: skip
        if "exceptionDetails" in told:
            details = told["exceptionDetails"]
            raise ProtocolError(details.get("exception", {}).get("description", details["text"]))
        return told["result"].get("value")

    async def until(self, script: str, within_s: float = 30.0) -> Any:
        """Ask until an expression is true; give its value."""
        deadline = time.monotonic() + within_s
        while True:
            found = await self.run(script)
            if found:
                return found
            assert time.monotonic() < deadline, f"never true: {script}"
            await asyncio.sleep(0.05)

    async def click(self, selector: str) -> None:
        """Press where something is, as a finger does: with the rights that a real press has."""
        where = await self.run(
            f"""(() => {{
                const found = document.querySelector({json.dumps(selector)});
                found.scrollIntoView({{block: "center", behavior: "instant"}});
                const box = found.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.command(
                "Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left",
                clickCount=1,
            )  # fmt: skip

    async def picture(self) -> bytes:
        """Take a picture of the whole page, as PNG."""
        shot = await self.command(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True
        )
        return base64.b64decode(shot["data"])

    def faults(self) -> list[str]:
        """List what the page complained of: errors in its log, refused by its policy, thrown."""
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(event["params"]["exceptionDetails"])[:500])
            elif (
                event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error"
            ):
                found.append(event["params"]["entry"]["text"])
        return found


@contextlib.asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Chromium]:
    """Run a browser in a folder of its own."""
    process = _started(folder)
    try:
        port, path = await _address(folder, process)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=64 * 2**20) as socket,
        ):
            browser = Chromium(socket)
            try:
                yield browser
            finally:
                with contextlib.suppress(ProtocolError, ConnectionError, TimeoutError):
                    await browser.command("Browser.close")
                await browser.close()
    finally:
        await asyncio.to_thread(_ended, process)


def _started(folder: Path) -> subprocess.Popen[bytes]:
    flags = [*FLAGS, f"--user-data-dir={folder / 'chromium'}"]
    if os.getuid() == 0:
        flags.append("--no-sandbox")  # Chromium's own does not start for root
    with (folder / "chromium.log").open("wb") as log:
        return subprocess.Popen(
            [find("chromium"), *flags, "about:blank"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=libraries(),
            start_new_session=True,
        )  # fmt: skip


def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end that was asked for; where it does not come, end it and all its children."""
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def _address(folder: Path, process: subprocess.Popen[bytes]) -> tuple[str, str]:
    deadline = time.monotonic() + STARTED_WITHIN_S
    while len(lines := _lines(folder / "chromium" / "DevToolsActivePort")) != 2:
        assert process.poll() is None, "Chromium ended"
        assert time.monotonic() < deadline, "Chromium does not answer"
        await asyncio.sleep(0.05)
    return lines[0], lines[1]


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
