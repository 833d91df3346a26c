"""The question: what is an adapter, and what must a radio know of the adapters there are.

Values and a protocol, for every system; who asks BlueZ is `daemon.py`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from beacon_gateway.model import GatewayError


class Adapter(NamedTuple):
    """One adapter as BlueZ has it now.

    ``name`` is today's (hci0; it moves between starts and when unplugged), ``address`` its own
    radio address in upper case, which stays; ``epoch`` tells one life of the daemon from the next.
    ``discovering`` is None where nobody can tell.
    """

    name: str | None
    address: str
    powered: bool = True
    discovering: bool | None = None
    central: bool = True
    epoch: int = 0


class Adapters(Protocol):
    """What a radio needs to know of the adapters of this computer."""

    def find(self, address: str | None) -> Adapter | None:
        """Give the adapter of that address, or of None the first that can scan."""

    def absence(self) -> str:
        """Say why `find` finds none, as a key of `bluez.TROUBLES`."""

    async def cycle(self, adapter: Adapter) -> None:
        """Take its power away and give it back."""


class OnlyAdapter:
    """The one adapter of a system that shows none of them (Windows, macOS)."""

    def find(self, address: str | None) -> Adapter | None:
        """Give it, whatever is asked for."""
        return Adapter(None, address or "default")

    def absence(self) -> str:
        """Give the reason that would be, were it ever absent."""
        return "NO_BLUETOOTH"

    async def cycle(self, adapter: Adapter) -> None:
        """Refuse: no program may."""
        raise GatewayError(f"this system lets no program power the adapter {adapter.address}")
