"""A mail server on loopback by aiosmtpd, which nobody here wrote, and the message that it got."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP, AuthResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from email.message import EmailMessage

TLS = Path(__file__).resolve().parents[2] / "edges" / "tls"
PASSWORD = "canary-password"


class Mailboxes:
    """What aiosmtpd asks when a message comes, and what it got; ``says`` are answers by step."""

    def __init__(self) -> None:
        self.port = 0
        self.says: dict[str, str] = {}
        self.got: list[tuple[str, str, list[str], bytes]] = []
        self.connections: list[Session] = []
        self.hang_up_after_data = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.tls: list[bool] = []

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # fmt: skip  # noqa: ARG002, N802
        if "once" in self.says:
            return self.says.pop("once")
        if "mail" in self.says:
            return self.says["mail"]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # fmt: skip  # noqa: ARG002, N802
        if "rcpt" in self.says:
            return self.says["rcpt"]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if "data" in self.says:
            return self.says["data"]
        self.tls.append(server.transport.get_extra_info("sslcontext") is not None)
        said = (session.host_name, envelope.mail_from, envelope.rcpt_tos, envelope.content)
        self.got.append(said)
        await self.answers.wait()
        if self.hang_up_after_data:
            server.transport.abort()
        return "250 2.0.0 taken"

    def sign_in(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:  # fmt: skip  # noqa: ARG002
        good = data.login == b"shop" and data.password == PASSWORD.encode()
        return AuthResult(success=good, handled=False)

    @property
    def messages(self) -> list[EmailMessage]:
        return [
            email.message_from_bytes(content, policy=email.policy.default)  # type: ignore[misc]
            for *_, content in self.got
        ]


class Session(SMTP):
    """A connection, which may be cut off or hang up as a test wants."""

    def __init__(self, boxes: Mailboxes, *args: Any, **options: Any) -> None:
        super().__init__(boxes, *args, **options)
        boxes.connections.append(self)


@asynccontextmanager
async def mailboxes(
    *, tls: str = "starttls", sign_in: bool = False, smtputf8: bool = True
) -> AsyncIterator[Mailboxes]:
    """Serve mail; ``tls`` as the channel's setting has it."""
    boxes = Mailboxes()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    loop = asyncio.get_running_loop()

    def connect() -> Session:
        return Session(
            boxes,
            enable_SMTPUTF8=smtputf8,
            tls_context=context if tls == "starttls" else None,
            require_starttls=tls == "starttls",
            authenticator=boxes.sign_in if sign_in else None,
            auth_required=sign_in,
            auth_require_tls=tls == "starttls",
            loop=loop,
            ident="test",
            hostname="relay.example.test",
        )

    wrap = context if tls == "tls" else None
    server = await loop.create_server(connect, "127.0.0.1", 0, ssl=wrap)
    boxes.port = server.sockets[0].getsockname()[1]
    try:
        yield boxes
    finally:
        server.close()
        for one in boxes.connections:
            if one.transport is not None:
                one.transport.abort()
        await asyncio.sleep(0)
