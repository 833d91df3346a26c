"""With whom does a command keep people alike: a data folder, a running server, another's server?

Both are one face, so that a round is written once.
"""

from __future__ import annotations

import time
import urllib.parse
from typing import TYPE_CHECKING, TypeVar

import msgspec

from proximity.commands.asking import Http, alone, forget_next
from proximity.consent.grants import left_without
from proximity.consent.objections import bury
from proximity.model import ProximityError
from proximity.people.people import People
from proximity.people.tagging import NO_PLAN
from proximity.privacy import notices
from proximity.privacy.leaving import erase_alone
from proximity.sync import feed, peers
from proximity.sync.feed import Page
from proximity.sync.fields import STEP_S
from proximity.sync.merge import Item
from proximity.sync.rules import Rules
from proximity.sync.taking import Taken, erasures_in, remember, take

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection

    from proximity.people.tagging import Plan
    from proximity.store import Store
    from proximity.sync.round import Side

__all__ = ["Folder", "Remote", "side"]

_Form = TypeVar("_Form")


def side(there: Store | Http, rules: Rules | None = None, plan: Plan = NO_PLAN) -> Side:
    """Give the side that a folder or a server is; a server knows its rules and plan by itself."""
    if isinstance(there, Http):
        return Remote(there)
    return Folder(there, rules or Rules(), plan)


class Folder:
    """A data folder, read and written directly, beside a running server as well."""

    def __init__(self, store: Store, rules: Rules, plan: Plan = NO_PLAN) -> None:
        self._store = store
        self._people = People(store)
        self._rules, self._plan = rules, plan

    def page(self, reader: str, limit: int) -> Page:
        """Read what a peer does not have yet."""

        def read(conn: Connection) -> Page:
            peer = peers.find(conn, reader)
            start = 0 if peer is None else peer.cursor
            return feed.page(conn, self._people, start, limit, reader=reader)

        return self._store.read(read)

    def take(self, sender: str, items: Sequence[Item]) -> Taken:
        """Write what a peer tells; who is to be erased needs a folder without a server on it."""
        now = time.time()
        leaving = self._store.read(lambda conn: erasures_in(conn, items, sender))
        unwatched = alone(self._store)
        if leaving and not unwatched:
            raise ProximityError(
                "a running server has this folder and knows where those are who are to be erased: "
                "use --server URL --token T instead of --data"
            )

        def write(conn: Connection) -> Taken:
            peers.admit(conn, sender, now)
            told = take(
                conn, self._people, items, sender=sender, now=now,
                owners=self._rules.owners, plan=self._plan,
            )  # fmt: skip
            peers.heard(conn, sender, now, taken=told)
            if unwatched:
                for item in items:
                    if item.withdrawals:
                        gone = left_without(self._people, conn, item.person, now + STEP_S)
                        forget_next(conn, gone, now)
            return told

        told = self._store.write(write).result()
        for item in leaving:
            self._erase(sender, item, now)
        return told

    def _erase(self, sender: str, item: Item, now: float) -> None:
        source = f"sync:{sender}"
        erase_alone(self._store, item.person, now=now, source=source)

        def note(conn: Connection) -> None:
            bury(conn, (item.person,), at=now, source=source)  # who was not known here, too
            if item.id is not None:
                remember(conn, sender, {item.id}, now)

        self._store.write(note).result()

    def note(self, peer: str, cursor: str | None = None, position: str | None = None) -> None:
        """Note that a peer was heard and how far both are; one who is new is admitted."""
        now = time.time()

        def write(conn: Connection) -> bool:
            new = peers.admit(conn, peer, now)
            have = None if cursor is None else int(cursor)
            peers.heard(conn, peer, now, position=position, cursor=have)
            return new

        left = int(self._store.write(write).result())
        while left:
            left = self._store.write(lambda conn: peers.seed(conn, self._people, now)).result()

    def untold(self, persons: Collection[str]) -> None:
        """Leave it: the feed tells of them again as soon as anything of theirs changes."""

    def acknowledge(self, erasure: str, peer: str) -> None:
        """Note that a peer has erased."""
        now = time.time()
        self._store.write(lambda conn: notices.acknowledge(conn, erasure, peer, now=now)).result()


class Remote:
    """A running server, asked over HTTP."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._cursor: str | None = None

    def page(self, reader: str, limit: int) -> Page:
        """Read what a peer does not have yet."""
        query: dict[str, str | None] = {"for": reader, "limit": str(limit)}
        page = self._read(lambda: self._http.ask("GET", "/v1/changes", query), Page)
        if page.more and page.cursor == self._cursor:  # it would go on so for ever
            raise self._http.strange()
        self._cursor = page.cursor
        return page

    def take(self, sender: str, items: Sequence[Item]) -> Taken:
        """Write what a peer tells."""
        origin: dict[str, str | None] = {"origin": sender}
        return self._read(
            lambda: self._http.ask("POST", "/v1/changes", origin, body=list(items)), Taken
        )

    def note(self, peer: str, cursor: str | None = None, position: str | None = None) -> None:
        """Note that a peer was heard and how far both are; one who is new is admitted."""
        said = {"cursor": cursor, "position": position}
        known = {name: value for name, value in said.items() if value is not None}
        self._http.ask("PUT", f"/v1/sync/{urllib.parse.quote(peer, safe='')}", body=known)

    def _read(self, ask: Callable[[], bytes | None], form: type[_Form]) -> _Form:
        """Read an answer; raises ProximityError where it is none of a server of ours."""
        try:
            return msgspec.json.decode(ask() or b"{}", type=form)
        except (msgspec.DecodeError, RecursionError):
            raise self._http.strange() from None

    def untold(self, persons: Collection[str]) -> None:
        """Leave it: the feed tells of them again as soon as anything of theirs changes."""

    def acknowledge(self, erasure: str, peer: str) -> None:
        """Note that a peer has erased."""
        path = f"/v1/erasures/{urllib.parse.quote(erasure, safe='')}/acknowledgements"
        self._http.ask("POST", path, body={"processor": peer}, missing=True)
