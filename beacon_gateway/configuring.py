"""The question: what is this gateway to listen for just now, and as whom.

The server says, and says again every half minute; what it said last lies in the folder, so that a
start without network hears what was heard before. It must not know radios, spools or batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog

from beacon_gateway.allowlist import MAX_BYTES, AllowList, Configuration, read_configuration
from beacon_gateway.credentials import Credentials
from beacon_gateway.folder import CONFIG, read_file, write_file
from beacon_gateway.link import Away, Link
from beacon_gateway.model import GatewayError

log = structlog.get_logger("beacon_gateway")

#: How often the server is asked, s; a tenth more or less, so that a chain's gateways spread out.
#: Whoever hands out a tag stands there and waits for it to be heard. Of a list that is unchanged a
#: 304 comes back, half a kilobyte there and back: 1.5 MB a day, and of a thousand gateways the
#: server is asked 33 times a second, each time for a comparison of two short texts.
EVERY_S = 30.0
#: While there is no list at all it is asked more often: this long at first, doubling to the most.
SOON_S, SOON_MOST_S = 2.0, 60.0


class _Paired(msgspec.Struct):
    """What is added to the document that is kept: a digest of the token file it came by."""

    paired: str | None = None


class Configuring:
    """The configuration over ``link``, kept in ``folder``; ``gateway`` is the id where it is told.

    ``listed`` is the list in force; ``changed`` is called after another came into force.
    """

    def __init__(
        self,
        link: Link,
        credentials: Credentials | None,
        folder: Path,
        gateway: str | None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._link, self._credentials, self._sleep = link, credentials, sleep
        self._path = folder / CONFIG
        #: Under which token file the document in the folder was kept; None where that is not known.
        self._paired: str | None = None
        self.gateway = gateway
        self.listed = AllowList()
        self.place: str | None = None
        self.changed: Callable[[], None] = lambda: None
        #: Set once a list has come, now or in an earlier life.
        self.came = asyncio.Event()
        #: Why no list comes now; None while one does.
        self.trouble: str | None = None

    def recall(self) -> None:
        """Go on with what was kept; one of another gateway, or a broken one, is none.

        Who this is by its token alone, a new token file may have changed: the server says then.
        """
        content = read_file(self._path, MAX_BYTES)
        if content is None:
            return
        try:
            kept = read_configuration(content)
            self._paired = msgspec.json.decode(content, type=_Paired).paired
        except (GatewayError, msgspec.MsgspecError) as error:
            log.warning("the list kept from last time cannot be read", reason=str(error))
            return
        known = self.gateway is not None or self._credentials is None
        if not known and self._paired not in {None, self._pairing}:
            log.info("paired anew since the list was kept: the server says who this is")
        elif self.gateway in {None, kept.gateway}:
            self._use(kept)

    async def begin(self) -> str:
        """Ask until this gateway knows who it is, and give its id."""
        tries = 0
        while self.gateway is None:
            if not await self.ask():
                await self._sleep(_soon(tries))
                tries += 1
        return self.gateway

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        tries = 0
        while True:
            if await self.ask() or self.came.is_set():
                await self._sleep(EVERY_S * _spread(0.9, 1.1))
            else:
                await self._sleep(_soon(tries))
                tries += 1

    async def ask(self) -> bool:
        """Ask once; whether there was an answer that can be used."""
        try:
            content = await self._link.configuration()
            if content is not None:
                told = read_configuration(content)
                if self.gateway not in {None, told.gateway}:
                    raise GatewayError("the configuration is another gateway's")
                self._keep(told, content)
                self._use(told)
            elif self._pairing != self._paired:
                self._keep_pairing()
        except (Away, GatewayError) as problem:
            if not isinstance(problem, Away):
                self._link.unread()
            if self.trouble is None:
                log.warning("no list of beacons from the server", reason=str(problem))
            self.trouble = str(problem)
            return False
        self.trouble = None
        return True

    def _use(self, told: Configuration) -> None:
        try:
            listed = AllowList(told.beacons)
        except GatewayError as error:
            # Rotating beacons need a library that is not there; the others are heard.
            log.error("rotating beacons are not heard", reason=str(error))  # noqa: TRY400
            listed = AllowList([each for each in told.beacons if "identity_key" not in each])
        if listed.unreadable:
            log.warning("entries of the list say nothing here", entries=listed.unreadable)
        log.info("listening for what is enrolled here", beacons=len(listed))
        self.listed, self.gateway, self.place = listed, told.gateway, told.place
        self.came.set()
        self.changed()

    def _keep(self, told: Configuration, content: bytes) -> None:
        """Write the document for the next start; a secret in it goes where secrets are."""
        try:
            if told.secret is not None and self._credentials is not None:
                self._credentials.renew(told.secret)
                log.info("the server replaced this gateway's secret")
            self._write(content)
        except OSError as error:
            log.warning("the folder cannot be written", reason=error.strerror)

    def _keep_pairing(self) -> None:
        """Write the document that is there under the token file of now."""
        with contextlib.suppress(OSError, GatewayError):
            content = read_file(self._path, MAX_BYTES) or b""
            if read_configuration(content).gateway == self.gateway:
                self._write(content)

    def _write(self, content: bytes) -> None:
        fields = msgspec.json.decode(content)
        fields.pop("secret", None)
        write_file(self._path, msgspec.json.encode({**fields, "paired": self._pairing}))
        self._paired = self._pairing

    @property
    def _pairing(self) -> str | None:
        return None if self._credentials is None else self._credentials.digest


def _soon(tries: int) -> float:
    return _spread(0.5, 1.0) * min(SOON_MOST_S, SOON_S * 2.0 ** min(tries, 10))


def _spread(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - spreads gateways out, guards nothing
