"""The question: who hands an offer over where the first provider cannot.

Several providers of one channel, ``[[channel.NAME.provider]]`` in the file, tried in its order. One
that says "not now", or that its settings are refused, gives way to the next; what is said of the
receiver holds, whoever said it. Where one may have taken it after all nobody else is asked: two
providers collapse nothing between them. One that fails again and again is passed over but for a
probe now and then (``pace``), so that nobody waits for it. It must not know what any of them does.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from proximity.dispatch.pace import Pace
from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from proximity.channels.channel import Channel, Outcome, Reply
    from proximity.model import Endpoint, Offer

__all__ = ["Failover", "open_providers"]

_MOST_PROVIDERS = 8
"""Each may take its time before the next is asked, and a hand-over has 20 s in all."""
_NEXT = frozenset({"retry", "config_error"})


class Failover:
    """Hands over by the first provider that can; the reply says which, by its number from 1.

    ``elapsed`` tells seconds of any beginning, for how long one is passed over.
    """

    def __init__(
        self,
        name: str,
        providers: Sequence[Channel],
        *,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._providers = tuple(providers)
        self._paces = tuple(Pace() for _ in self._providers)
        self._elapsed = elapsed

    @property
    def to_endpoints(self) -> bool:
        """As its providers, which are of one kind."""
        return self._providers[0].to_endpoints

    def refuses(self, address: str) -> str:
        """Say why no provider takes an address; empty where one of them does, or none can tell."""
        said = [one.refuses(address) if hasattr(one, "refuses") else "" for one in self._providers]
        return said[0] if all(said) else ""

    async def check(self, offer: Offer, endpoint: Endpoint) -> Reply:
        """Have the first provider that can judge a message do so, without handing it over.

        Raises ProximityError where none can.
        """
        for provider in self._providers:
            if hasattr(provider, "check"):
                judged: Reply = await provider.check(offer, endpoint)
                return judged
        raise ProximityError(f"channel {self.name}: no provider judges without handing it over")

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        """Hand over by the first provider that takes it or knows that nobody can.

        Where none does, the reply is the one that leaves most hope: a retry before a refusal.
        """
        tried: list[Reply] = []
        now = self._elapsed()
        every = range(len(self._providers))
        # Where all of them fail it is the channel that does, and whoever hands over knows it.
        able = [number for number in every if not self._paces[number].room(now).barred] or every
        for number in able:
            reply = await self._ask(number, offer, endpoint)
            said = replace(reply, reply={**reply.reply, "provider": number + 1})
            if reply.outcome not in _NEXT or reply.unsure:
                return said
            tried.append(said)
        return next((one for one in tried if one.outcome == "retry"), tried[0])

    async def _ask(self, number: int, offer: Offer, endpoint: Endpoint | None) -> Reply:
        pace = self._paces[number]
        pace.begin(1, 0)
        outcome: Outcome = "retry"  # whoever is given up, or raises, has failed
        try:
            reply = await self._providers[number].send(offer, endpoint)
            outcome = reply.outcome
        finally:
            whose = None if endpoint is None else offer.person
            pace.end(outcome, self._elapsed(), whose=whose)
        return reply

    async def close(self) -> None:
        """Close every provider, whatever another one's closing does."""
        faults = []
        for provider in self._providers:
            try:
                await provider.close()
            except Exception as error:  # noqa: BLE001  the others have connections too
                faults.append(error)
        if faults:
            raise faults[0]


def open_providers(
    name: str,
    opener: Callable[[Mapping[str, Any], Path], Channel],
    common: Mapping[str, Any],
    tables: object,
    folder: Path,
) -> Failover:
    """Open a channel's providers; ``common`` are the keys that all of them share.

    Raises ProximityError with the problems of all of them.
    """
    where = f"channel.{name}"
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise ProximityError(f"{where}: provider must be a list of tables: [[{where}.provider]]")
    if not 0 < len(tables) <= _MOST_PROVIDERS:
        raise ProximityError(f"{where}: {len(tables)} providers; write 1 to {_MOST_PROVIDERS}")
    opened, problems = [], []
    for number, table in enumerate(tables, start=1):
        try:
            opened.append(opener({**common, **table}, folder))
        except ProximityError as error:
            problems += [f"provider {number}: {problem}" for problem in error.problems]
    if problems:
        raise ProximityError(*problems)
    return Failover(name, opened)
