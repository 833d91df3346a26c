"""What are rows judged by, and how does that change? Fences, what is enrolled, the site.

Each edit is a row of the journal, planned off the event loop and applied before it is answered; one
at a time, so that each is planned on what the one before left. Knows neither records nor time.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec
from sqlalchemy.exc import DBAPIError

from proximity.ingest.edits import hash_fences, plan_edit, refuse_fixed
from proximity.model import digest
from proximity.site.enrolment import hash_entries, plan, refuse_needed
from proximity.store import StoreFailed, journal
from proximity.store.journal import Forgetting, SiteChange, SiteText

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import Connection

    from geofences import Fence
    from proximity.campaigns.campaigns import Campaigns
    from proximity.ingest.backlog import Pending
    from proximity.ingest.edits import FenceEdit
    from proximity.ingest.fold import Fold
    from proximity.site.enrolment import Name, Put
    from proximity.store import Store

    Also = Callable[[Connection], None]
    Append = Callable[[journal.Kind, bytes, Also], Pending]


class Editing:
    """Edits of what the rows of one ``fold`` are judged by.

    ``append`` makes the next row (kind, payload, what is written with it), ``applied`` returns once
    the engine has had it. ``ahead`` are edits of fences, read already, by the position of the row
    that they wait in.
    """

    def __init__(
        self,
        store: Store,
        fold: Fold,
        campaigns: Callable[[], Campaigns],
        append: Append,
        applied: Callable[[Pending], Awaitable[None]],
    ) -> None:
        self.ahead: dict[int, FenceEdit] = {}
        self._store = store
        self._fold = fold
        self._campaigns = campaigns
        self._append = append
        self._applied = applied
        self._turn = asyncio.Lock()
        # Hashes of the fences and the entries that the next row is judged by.
        self._fences, self._entries = "", ""
        self._version: tuple[tuple[object, ...], str] = (), ""

    def version(self) -> str:
        """Give the version of a row: it names the fences, site and campaigns it is judged with."""
        told = self._campaigns().version, self._fold.site_text, self._fences, self._entries
        if self._version[0] != told:
            campaigns, site, *hashes = told
            texts = () if site is None else (site.text, site.beacons)
            self._version = told, digest(campaigns, *texts, *hashes)
        return self._version[1]

    async def begin(self, site: SiteText | None, fences: Sequence[Fence]) -> None:
        """Take in what the files say now: the site, and their fences and no others of theirs."""
        self._fences = await asyncio.to_thread(hash_fences, self._fold.fences)
        self._entries = hash_entries(self._fold.enrolments.records)
        if site != self._fold.site_text:
            payload = msgspec.msgpack.encode(SiteChange(self._fold.site_text, site))
            await self._carry("site", payload, partial(journal.change_site, site=site))
        there = {fence.id for fence in fences}
        gone = [
            name
            for name, known in self._fold.fences.items()
            if known.source == "file" and name not in there
        ]
        await self._change(fences, gone, "file")

    async def fences(self, puts: Sequence[Fence], removals: Sequence[str]) -> None:
        """Put and remove fences, all or nothing.

        Raises FenceFixed where one comes from a file, EntryFixed where something stands in one that
        is to go.
        """
        async with self._turn:
            named = [*(fence.id for fence in puts), *removals]
            refuse_fixed(self._fold.fences, self._fold.fixed, named)
            site, stay = self._fold.site, {fence.id for fence in puts}
            gone: list[Name] = [("place", name) for name in removals if name not in site.places]
            refuse_needed(site, stay, gone)
            await self._change(puts, removals, "http")

    async def entries(
        self, puts: Sequence[Put], removals: Sequence[Name], also: Also | None
    ) -> None:
        """Enrol and remove entries, all or nothing; raises what ``plan`` and ``also`` do."""
        async with self._turn:
            enrolled, fences = self._fold.enrolments.copy(), frozenset(self._fold.fences)
            fixed = self._fold.fixed
            found = await asyncio.to_thread(plan, enrolled, fixed, fences, puts, removals)
            if not found.changes:
                if also is not None:
                    await self._store.awrite(also)
                return

            def work(connection: Connection) -> None:
                journal.change_entries(connection, found.changes)
                if also is not None:
                    also(connection)

            before, self._entries = self._entries, found.etag
            try:
                await self._carry("enrolments", found.payload, work)
            except Exception:
                self._entries = before
                raise

    async def forget(self, subjects: Sequence[str], also: Also | None, *, tags: bool) -> None:
        """Have the engine forget subjects; ``tags``: and take away what is enrolled for them."""
        async with self._turn:
            enrolments = self._fold.enrolments
            gone = enrolments.carried(frozenset(subjects)) if tags else []

            def work(connection: Connection) -> None:
                journal.change_entries(connection, gone)
                if also is not None:
                    also(connection)

            payload = msgspec.msgpack.encode(Forgetting(list(subjects), gone))
            await self._carry("forget", payload, work)
            if gone:
                self._entries = hash_entries(enrolments.records)

    async def _change(
        self, puts: Sequence[Fence], removals: Sequence[str], source: Literal["file", "http"]
    ) -> None:
        """Change fences; rows that follow this one are judged by them, and say so."""
        planned = partial(plan_edit, dict(self._fold.fences), puts, removals, source)
        edit, payload, etags = await asyncio.to_thread(planned)
        if not edit.changes:
            return
        before, self._fences = self._fences, etags
        pending = self._append(
            "fences", payload, partial(journal.change_fences, changes=edit.changes)
        )
        self.ahead[pending.row.position] = edit
        try:
            await self._applied(pending)
        except Exception:
            self.ahead.pop(pending.row.position, None)
            self._fences = before
            raise

    async def _carry(self, kind: journal.Kind, payload: bytes, also: Also) -> None:
        """Append a row and have it applied; what ``also`` refuses with is raised as it is."""
        refused: list[Exception] = []

        def work(connection: Connection) -> None:
            try:
                also(connection)
            except DBAPIError:
                raise  # the store says what it means
            except Exception as error:
                refused.append(error)
                raise

        try:
            await self._applied(self._append(kind, payload, work))
        except StoreFailed:
            if refused:
                raise refused[0] from None
            raise
