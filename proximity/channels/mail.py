"""The question: how does an offer reach a mailbox, and what does the mail server say to it.

By SMTP to the operator's relay, which signs (DKIM), queues and takes bounces; what the message
looks like is ``letter``'s. A connection is encrypted and checked before a password or an address is
said, and serves many messages. What was handed over in full without an answer may have been taken:
that reply is ``unsure``. aiosmtplib is imported here alone (extra ``email``).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from proximity.channels.channel import Reply
from proximity.channels.dialling import dial, read_peer
from proximity.channels.egress import EgressError, EgressRefused
from proximity.channels.letter import NoAddress, read_address, read_mailbox, write
from proximity.channels.verdicts import reply_to
from proximity.model import ProximityError
from proximity.tomltable import TomlTable

try:
    import aiosmtplib
except ModuleNotFoundError as error:  # pragma: no cover - the tests' environment has it
    raise ProximityError(
        "channel email needs aiosmtplib: pip install 'proximity-engine[email]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.headerregistry import Address
    from pathlib import Path

    from proximity.channels.dialling import Peer, Tls
    from proximity.channels.letter import Letter
    from proximity.model import Endpoint, Offer

__all__ = ["Mail", "open_email"]

PORTS: dict[Tls, int] = {"starttls": 587, "tls": 465, "none": 25}
"""RFC 6409 and RFC 8314; plain SMTP is for a relay on the same machine."""
TIMEOUT_S = 15.0
"""For one hand-over in all, waiting for a connection included; a dispatcher gives it 20 s."""
CONNECTIONS = 4
"""At once. A message takes some five round trips, a fifth of a second; relays allow ten or so."""
_IDLE_S = 30.0
"""A connection that was not used for so long is closed: relays hang up after a minute or more."""
_QUIT_S = 1.0

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?!\S)")
_OURS = frozenset({"connect", "sender"})
"""Steps that know of no receiver yet: what is refused there for good is the operator's to mend."""


class _Try:
    """One hand-over: the step that it is at, so that a failure can be told by its place."""

    def __init__(self) -> None:
        self.step = "connect"


class _Idle(NamedTuple):
    """A connection that waits for its next message, since when (seconds of any beginning)."""

    client: aiosmtplib.SMTP
    since: float


class Mail:
    """Hands each offer to one relay as a mail to the endpoint's address."""

    name = "email"
    to_endpoints = True

    def __init__(
        self,
        peer: Peer,
        sender: Address,
        *,
        return_path: str | None = None,
        reply_to: Address | None = None,
        feedback: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._peer = peer
        self._sender = sender
        self._return_path = return_path or sender.addr_spec
        self._reply_to = reply_to
        self._feedback = feedback
        self._timeout_s = timeout_s
        self._idle: list[_Idle] = []
        self._turns = asyncio.Semaphore(CONNECTIONS)

    def refuses(self, address: str) -> str:
        """Say why nothing could be sent to this address; empty where it may be tried."""
        try:
            read_address(address)
        except NoAddress:
            return "it is no address of a mailbox: write name@example.com"
        return ""

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        """Hand the offer to the relay; the outcome follows from its codes and the step."""
        if endpoint is None:
            return Reply(outcome="failed", reply={"error": "no address"})
        try:
            letter = write(
                offer, endpoint.address, self._sender,
                reply_to=self._reply_to, feedback=self._feedback,
            )  # fmt: skip
        except NoAddress:
            return Reply(outcome="dead_endpoint", reply={"error": "address"})
        one = _Try()
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                await self._hand_over(letter, one)
        except (aiosmtplib.SMTPException, EgressError, OSError, ValueError) as error:
            return _judge(error, one.step)
        return Reply(outcome="accepted", reply={"status": 250})

    async def close(self) -> None:
        """Say goodbye on every connection."""
        while self._idle:
            await _quit(self._idle.pop().client)

    async def _hand_over(self, letter: Letter, one: _Try) -> None:
        """Send on a connection that is there already, else, or where it is dead, on a new one."""
        while (client := await self._take()) is not None:
            try:
                await self._say(client, letter, one)
            except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPResponseException) as error:
                # The relay hung up, or says so, while nothing was said of a receiver: begin anew.
                hung_up = getattr(error, "code", 421) == 421
                if not hung_up or one.step not in _OURS:
                    raise
                one.step = "connect"
            else:
                return
        await self._say(await self._connect(), letter, one)

    async def _say(self, client: aiosmtplib.SMTP, letter: Letter, one: _Try) -> None:
        """Say one message; a connection that is left in the middle of something is closed."""
        try:
            one.step = "sender"
            options, encoding = [], "ascii"
            if letter.utf8:
                if not client.supports_extension("smtputf8"):
                    raise aiosmtplib.SMTPNotSupported("smtputf8")
                options, encoding = ["SMTPUTF8", "BODY=8BITMIME"], "utf-8"
            await client.mail(self._return_path, options=options, encoding=encoding)
            one.step = "receiver"
            await client.rcpt(letter.recipient, encoding=encoding)
            one.step = "data"
            await client.data(letter.body)
        except aiosmtplib.SMTPResponseException as error:
            if error.code in {-1, 421}:
                client.close()
            else:
                await self._keep(client, reset=True)
            raise
        except BaseException:
            client.close()
            raise
        await self._keep(client)

    async def _take(self) -> aiosmtplib.SMTP | None:
        """Take the connection that was used last; let go of those that waited for too long."""
        while self._idle:
            client, since = self._idle.pop()
            if client.is_connected and time.monotonic() - since < _IDLE_S:
                return client
            client.close()
        return None

    async def _keep(self, client: aiosmtplib.SMTP, *, reset: bool = False) -> None:
        try:
            if reset:
                await client.rset()
        except (aiosmtplib.SMTPException, OSError):
            client.close()
        except BaseException:
            client.close()
            raise
        else:
            self._idle.append(_Idle(client, time.monotonic()))

    async def _connect(self) -> aiosmtplib.SMTP:
        """Connect, encrypt, sign in. Nothing is said before it is encrypted but the greeting."""
        peer = self._peer
        client = aiosmtplib.SMTP(
            hostname=peer.host,
            sock=await dial(peer),
            use_tls=peer.tls == "tls",
            start_tls=peer.tls == "starttls",
            tls_context=peer.context,
            username=peer.username,
            password=peer.password,
            # Else the library asks the machine's resolver for its own name.
            local_hostname=self._sender.domain,
            timeout=self._timeout_s,
        )
        try:
            await client.connect()
            await client.ehlo()  # what it can may have changed with TLS and with who we are
        except BaseException:
            client.close()  # and with it the socket
            raise
        return client


async def _quit(client: aiosmtplib.SMTP) -> None:
    with contextlib.suppress(aiosmtplib.SMTPException, OSError):
        async with asyncio.timeout(_QUIT_S):
            await client.quit()
    client.close()


def _judge(error: Exception, step: str) -> Reply:
    """Tell what a failure at a step means; never in words of the other side's."""
    if isinstance(error, aiosmtplib.SMTPResponseException) and error.code >= 200:
        found = _ENHANCED.match(error.message)
        codes: tuple[str | int, ...] = (error.code,)
        reply = reply_to("email", *(codes if found is None else (found[1], *codes)))
        reply = replace(reply, reply={**reply.reply, "step": step})
        final = reply.outcome not in {"retry", "accepted"}
        if final and (step in _OURS or isinstance(error, aiosmtplib.SMTPAuthenticationError)):
            return replace(reply, outcome="config_error")
        # A success in the wrong place is none.
        return replace(reply, outcome="retry") if reply.outcome == "accepted" else reply
    for cause in (error, error.__cause__):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Reply(outcome="config_error", reply={"error": "certificate"})
        if isinstance(cause, ssl.SSLError):
            return Reply(outcome="config_error", reply={"error": "tls"})
    if isinstance(error, EgressRefused):
        return Reply(outcome="config_error", reply={"error": "refused", "why": str(error)})
    if isinstance(error, EgressError):
        return Reply(outcome="retry", reply={"error": str(error)})
    if isinstance(error, OSError | aiosmtplib.SMTPResponseException):
        # Timeouts and broken connections are of this kind. From DATA on it may have been taken.
        said = "timeout" if isinstance(error, TimeoutError) else "connection"
        return Reply(outcome="retry", reply={"error": said, "step": step}, unsure=step == "data")
    # It does not offer what we need: TLS, a way to sign in, addresses beyond ASCII.
    return Reply(outcome="config_error", reply={"error": "unsupported", "step": step})


def open_email(config: Mapping[str, Any], folder: Path) -> Mail:
    """Open it from ``[channel.email]``; relative files are looked for in ``folder``.

    Raises ProximityError with every problem.
    """
    table = TomlTable(config, "channel.email")
    peer = read_peer(table, folder, PORTS)
    sender = _read_mailbox(table, "from")
    if sender is None and "from" not in config:
        table.fault('from is missing: write the sender, "Name <address>"')
    reply_to = _read_mailbox(table, "reply_to")
    return_path = _read_mailbox(table, "return_path")
    feedback = table.text("feedback")
    if feedback is not None and not re.fullmatch(r"[A-Za-z0-9._-]{5,15}", feedback):
        table.fault("feedback: write 5 to 15 letters and digits that name the sender")
    table.finish()
    if table.problems or peer is None or sender is None:
        raise ProximityError(*table.problems)
    return Mail(
        peer, sender, reply_to=reply_to, feedback=feedback,
        return_path=None if return_path is None else return_path.addr_spec,
    )  # fmt: skip


def _read_mailbox(table: TomlTable, key: str) -> Address | None:
    text = table.text(key)
    if text is None:
        return None
    try:
        return read_mailbox(text)
    except ProximityError as error:
        table.fault(f"{key}: {error}")
        return None
