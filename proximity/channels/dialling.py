"""The question: where is the operator's own server, how is it spoken to, and may we connect there.

For protocols that are not HTTP: a mail relay, a broker. The rules are ``egress``'s: the name is
resolved once, every address is judged, and the connection is made to those and no others. TLS with
a checked name is the rule; without it only addresses that are listed are reached. It must not know
what is said over the connection.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from proximity.channels.credentials import read_credential
from proximity.channels.egress import EgressError, EgressRefused, check_url, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proximity.channels.egress import Network
    from proximity.tomltable import TomlTable

__all__ = ["Peer", "Tls", "dial", "read_allowed", "read_context", "read_peer"]

Tls = Literal["tls", "starttls", "none"]

CONNECT_S = 5.0
"""For one address, as ``egress`` has it."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server of the operator's: where it is, how it is reached, and who we are to it."""

    host: str
    port: int
    tls: Tls
    allow: tuple[Network, ...] = ()
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    context: ssl.SSLContext | None = field(default=None, repr=False)


async def dial(peer: Peer) -> socket.socket:
    """Connect to the peer; the socket is connected, not encrypted, and does not block.

    Raises EgressRefused where an address of its name may not be reached, EgressError where nobody
    answers.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S):
            found = await loop.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise EgressError("the name has no address") from None
    for *_, address in found:
        reason = refusal(ipaddress.ip_address(address[0]), peer.allow)
        if reason is not None:
            raise EgressRefused(reason)
    for family, kind, protocol, _, address in found:
        one = socket.socket(family, kind, protocol)
        try:
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(CONNECT_S):
                await loop.sock_connect(one, address)
        except (OSError, TimeoutError):
            one.close()
        except BaseException:
            one.close()
            raise
        else:
            return one
    raise EgressError("nobody answers")


def read_peer(table: TomlTable, folder: Path, ports: Mapping[Tls, int]) -> Peer | None:
    """Read where the server is, from a channel's table; None where the problems say why not.

    ``ports`` are the ways that the protocol has, each with its port, the first being the default.
    """
    allow = read_allowed(table)
    host = table.text("host")
    default = next(iter(ports))
    tls = cast("Tls", table.choice("tls", ports) or default)
    port = table.whole("port", ports[tls], least=1, most=65535)
    username = table.text("username")
    password = _read_password(table, folder)
    if (username is None) != (password is None):
        table.fault("username and password_file (or password_env) go together: write both, or none")
    context = read_context(table, folder)
    if host is None:
        table.fault("host is missing: a campaign uses this channel, so say where its server is")
        return None
    # The host by the rules of a URL; without TLS as http: for listed addresses alone.
    named = f"[{host}]" if ":" in host else host
    scheme = "http" if tls == "none" else "https"
    target, problem = check_url(f"{scheme}://{named}:{port}/", allow)
    if target is None or target.raw_path != "/" or target.host is None:
        if tls == "none":
            problem = 'tls = "none" is for an address that allow lists'
        table.fault(f"host: {problem or 'write a name or an address alone'}")
        return None
    if tls == "none" and username is not None:
        table.fault('username: with tls = "none" everybody on the way could read the password')
    return Peer(
        host=target.host, port=port, tls=tls, allow=tuple(allow), username=username,
        password=password, context=None if tls == "none" else context,
    )  # fmt: skip


def read_allowed(table: TomlTable) -> list[Network]:
    """Read ``allow``: addresses and networks that may be reached though they are not public."""
    allow: list[Network] = []
    for entry in table.names("allow"):
        try:
            allow.append(ipaddress.ip_network(entry))
        except ValueError:
            table.fault(f"allow: {entry!r:.60} is no address or network such as 10.0.0.0/8")
    return allow


def read_context(table: TomlTable, folder: Path) -> ssl.SSLContext:
    """Trust what the system trusts, or the authorities of ``ca_file`` alone."""
    file = table.text("ca_file")
    if file is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(folder / file))
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no certificates in PEM"
        table.fault(f"ca_file {file!r:.80} cannot be read: {reason}")
        return ssl.create_default_context()


def _read_password(table: TomlTable, folder: Path) -> str | None:
    if not (table.has("password_file") or table.has("password_env")):
        return None
    found = read_credential(table, folder, "password", "the password")
    return None if found is None else found.strip()
