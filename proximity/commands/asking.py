"""Where does a command get its answer: from a data folder, or from a running server?

Both are one face, so that each command is written once. A server is asked over HTTP with a token;
a folder is read directly, which works beside a running server as well. Knows no command.
"""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from proximity.commands.questions import is_url
from proximity.consent.grants import Grant, left_without, record_grant
from proximity.consent.proofs import said_page
from proximity.model import Person, ProximityError
from proximity.people.people import People
from proximity.server.consents import Withdrawn
from proximity.server.people import Recorded, known_ids, person_record
from proximity.server.reading import SMALL_LIMIT
from proximity.site.enrolment import Enrolments
from proximity.store import Store, StoreFailed, journal, open_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from proximity.dispatch.outbox import InFlight
    from proximity.model import Preference
    from proximity.store.journal import EntryChange

# A command waits for a person's patience, not for a machine's.
TIMEOUT_S = 30.0
PAGE = 500
# An answer is a page; what is larger is no answer of ours.
MOST_BYTES = 64 * 2**20


class Source(Protocol):
    """What the commands ask of a data folder or a server."""

    def grant(self, grants: Sequence[dict[str, Any]]) -> None:
        """Record consents, all or none."""

    def withdraw(self, person: str, purpose: str | None, channel: str | None) -> Sequence[InFlight]:
        """Record a withdrawal from now on; give what was being handed over at that moment."""

    def consents(self, person: str | None) -> Iterator[dict[str, Any]]:
        """Give the consent ledger, oldest first."""

    def put_people(self, people: Sequence[Person]) -> int:
        """Add or replace people: all or none in a folder, and in each slice sent to a server.

        Who was erased is left out and does not come back; gives how many those are.
        """

    def people(self) -> Iterator[dict[str, Any]]:
        """Give everyone who is known, by id."""

    def person(self, person: str) -> dict[str, Any] | None:
        """Give one person; None where nothing is known of them."""

    def prefer(self, person: str, preferences: Sequence[Preference]) -> None:
        """Replace a person's preferences."""

    def remove_person(self, person: str) -> bool:
        """Forget a person; tells whether there was anything."""


@contextmanager
def open_source(data: Path | None, server: str | None, token: str | None) -> Iterator[Source]:
    """Open whichever was named. Raises ProximityError where neither, or both, were."""
    with open_either(data, server, token) as there:
        yield _Server(there) if isinstance(there, Http) else _Folder(there)


@contextmanager
def open_either(data: Path | None, server: str | None, token: str | None) -> Iterator[Store | Http]:
    """Open the store of a folder, or the way to a server, as ``open_source`` does."""
    if (data is None) == (server is None):
        raise ProximityError("give either --data DIR, or --server URL with --token T")
    if server is not None:
        if not token:
            raise ProximityError("--server needs --token T (or PROXIMITY_TOKEN)")
        http = Http(server, token)
        try:
            yield http
        except msgspec.MsgspecError:  # JSON, and not what was asked for
            raise http.strange() from None
        return
    assert data is not None
    store = open_state(data)
    try:
        yield store
    finally:
        store.close()


def alone(store: Store) -> bool:
    """Whether no server has the folder; none can begin on it then before the store is closed."""
    try:
        store.hold()
    except StoreFailed:
        return False
    return True


class _Folder:
    """A data folder, read and written directly."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._people = People(store)

    def grant(self, grants: Sequence[dict[str, Any]]) -> None:
        try:
            said = msgspec.convert(grants, list[Grant])
        except msgspec.ValidationError as error:
            raise ProximityError(f"the consent cannot be recorded: {error}") from None
        now = time.time()

        def write(conn: Connection) -> None:
            for one in said:
                record_grant(self._people, conn, one, now)

        self._store.write(write).result()

    def withdraw(self, person: str, purpose: str | None, channel: str | None) -> Sequence[InFlight]:
        now = time.time()
        unwatched = alone(self._store)

        def write(conn: Connection) -> list[InFlight]:
            in_flight = self._people.withdraw(
                conn, person, purpose, channel, at=now, source="command"
            )
            if unwatched:
                forget_next(conn, left_without(self._people, conn, person, now), now)
            return in_flight

        return self._store.write(write).result()

    def consents(self, person: str | None) -> Iterator[dict[str, Any]]:
        after = 0
        while True:
            rows, cursor = self._store.read(
                lambda conn, after=after: said_page(conn, after, PAGE, person)  # type: ignore[misc]
            )
            yield from (msgspec.to_builtins(row) for row in rows)
            if len(rows) < PAGE:
                return
            after = cursor

    def put_people(self, people: Sequence[Person]) -> int:
        return self._store.write(
            lambda conn: self._people.put_all(conn, people, source="command")
        ).result()

    def people(self) -> Iterator[dict[str, Any]]:
        after = ""
        while names := self._store.read(
            lambda conn, after=after: known_ids(conn, after, PAGE)  # type: ignore[misc]
        ):
            for name in names:
                found = self.person(name)
                if found is not None:
                    yield found
            after = names[-1]

    def person(self, person: str) -> dict[str, Any] | None:
        found = self._people.get(person)
        record: dict[str, Any] | None = (
            None if found is None else msgspec.to_builtins(person_record(found))
        )
        return record

    def prefer(self, person: str, preferences: Sequence[Preference]) -> None:
        self._store.write(lambda conn: self._people.prefer(conn, person, preferences)).result()
        self._people.reload()

    def remove_person(self, person: str) -> bool:
        if not alone(self._store):
            raise ProximityError(
                "a running server has this folder and knows where the person is: "
                "ask it with --server URL --token T instead of --data"
            )
        now = time.time()

        def write(conn: Connection) -> bool:
            subjects = self._people.read(conn, person).subjects
            found = self._people.remove(conn, person)
            if found:
                forget_next(conn, (person, *subjects), now, tags=True)
            return found

        return self._store.write(write).result()


def forget_next(
    connection: Connection, subjects: Sequence[str], now: float, *, tags: bool = False
) -> None:
    """Have the next start forget subjects, as a running server does at once; ``tags`` as there."""
    if not subjects:
        return
    gone: list[EntryChange] = []
    if tags:
        gone = Enrolments(journal.entries_in_force(connection)).carried(frozenset(subjects))
        journal.change_entries(connection, gone)
    position, latest = journal.end(connection)
    payload = msgspec.msgpack.encode(journal.Forgetting(list(subjects), gone))
    row = journal.Row(
        position=position + 1,
        kind="forget",
        now=max(now, latest),
        version="",
        payload=payload,
    )
    journal.append(connection, row)


class _Server:
    """A running server, asked over HTTP."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def grant(self, grants: Sequence[dict[str, Any]]) -> None:
        self._http.ask("POST", "/v1/consents", body=grants)

    def withdraw(self, person: str, purpose: str | None, channel: str | None) -> Sequence[InFlight]:
        query = {"person": person, "purpose": purpose, "channel": channel}
        body = self._http.ask("DELETE", "/v1/consents", query)
        return msgspec.json.decode(body, type=Withdrawn).in_flight if body else ()

    def consents(self, person: str | None) -> Iterator[dict[str, Any]]:
        yield from self._http.pages("/v1/consents", {"person": person})

    def put_people(self, people: Sequence[Person]) -> int:
        left = 0
        for body in _slices(people):
            told = self._http.ask("POST", "/v1/people", body=body)
            left += msgspec.json.decode(told or b"{}", type=Recorded).erased
        return left

    def people(self) -> Iterator[dict[str, Any]]:
        yield from self._http.pages("/v1/people", {})

    def person(self, person: str) -> dict[str, Any] | None:
        body = self._http.ask("GET", f"/v1/people/{_quoted(person)}", missing=True)
        return None if body is None else msgspec.json.decode(body, type=dict[str, Any])

    def prefer(self, person: str, preferences: Sequence[Preference]) -> None:
        self._http.ask("PUT", f"/v1/people/{_quoted(person)}/preferences", body=preferences)

    def remove_person(self, person: str) -> bool:
        return self._http.ask("DELETE", f"/v1/people/{_quoted(person)}", missing=True) is not None


_TOKEN_OF = {
    "--server": "--token (or PROXIMITY_TOKEN)",
    "--peer": "--peer-token (or PROXIMITY_PEER_TOKEN)",
}
"""Where the token of a server is given, by the option that names the server."""
_NO_PATH = "There is nothing here"
"""How a server begins its answer where it knows no such path."""
_LATER = frozenset({429, 502, 503, 504})
"""Answers after which the same may succeed."""
_MENDS = {
    401: "make one there with `proximity token create`",
    403: "give one of another role",
}
"""What is to be done where a server does not take a token, by its answer."""


class Http:
    """The way to a running server: its URL and a token; ``option`` is where the URL was given."""

    def __init__(self, url: str, token: str, option: str = "--server") -> None:
        if not is_url(url):
            raise ProximityError(f"{option} {url}: this is no http:// or https:// URL")
        self._option, self._token_at = option, _TOKEN_OF[option]
        if not token.isascii() or not token.isprintable() or " " in token:
            # Else the refusal of the header would quote it.
            raise ProximityError(
                f"{self._token_at} holds what no token has, such as a space or a line break: "
                "give the token alone, as `proximity token create` printed it"
            )
        # Whoever copies an address out of a page about HTTP copies the version with it.
        self._url = url.rstrip("/").removesuffix("/v1")
        self._token = token

    def pages(self, path: str, query: dict[str, str | None]) -> Iterator[dict[str, Any]]:
        """Read a list page by page."""
        after: str | None = None
        while True:
            body = self.ask("GET", path, {**query, "limit": str(PAGE), "after": after})
            page = msgspec.json.decode(body or b"{}", type=_Page)
            yield from page.items
            if len(page.items) < PAGE:
                return
            after = page.cursor

    def ask(
        self,
        method: str,
        path: str,
        query: dict[str, str | None] | None = None,
        body: object = None,
        *,
        missing: bool = False,
        content_type: str = "application/json",
    ) -> bytes | None:
        """Send one request; the body of its answer, None for a 404 where ``missing`` is an answer.

        Raises ProximityError with what the server said.
        """
        given = {name: text for name, text in (query or {}).items() if text is not None}
        url = self._url + path + (f"?{urllib.parse.urlencode(given)}" if given else "")
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            url,
            method=method,
            data=body if body is None or isinstance(body, bytes) else msgspec.json.encode(body),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": content_type},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                content: bytes = answer.read(MOST_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                said = _said(error.code, error.read(MOST_BYTES))
            ours = error.headers.get_content_type() == "application/problem+json"
            if not ours and error.code in _LATER:
                # A proxy before it: the address is right.
                said = (f"{self._url}: {said[0]} Try again later.",)
            elif not ours or said[0].startswith(_NO_PATH):
                # Of nobody it tells that they are not known: it was never asked.
                said = (f"{self._url}: {said[0]} Is {self._option} the address of the server?",)
            elif error.code == 404 and missing:
                return None
            mend = _MENDS.get(error.code)
            if mend is not None:
                first = said[0].rstrip(".")
                said = (f"{self._token_at}, for {self._url}: {first}: {mend}", *said[1:])
            raise ProximityError(*said) from None
        except http.client.HTTPException:
            raise self.strange() from None
        except (urllib.error.URLError, OSError, ValueError, ssl.SSLError) as error:
            reason = getattr(error, "reason", error)
            raise ProximityError(
                f"{self._url}: no answer ({reason}): is the server running?"
            ) from None
        try:
            if content:
                msgspec.json.decode(content, type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError):
            raise self.strange() from None
        return content

    def strange(self) -> ProximityError:
        """Say that what answers is something else."""
        return ProximityError(
            f"{self._url}: what answers there is no server of this engine, or of another version: "
            f"mend {self._option}"
        )


def _slices(people: Sequence[Person]) -> Iterator[list[msgspec.Raw]]:
    """Give people in slices that a server takes: so many at most, and below its limit in bytes."""
    taken: list[msgspec.Raw] = []
    size = 0
    for person in people:
        text = msgspec.json.encode(person)
        # Each brings a comma, and the first both brackets.
        if taken and (len(taken) >= PAGE or size + len(text) + 2 > SMALL_LIMIT):
            yield taken
            taken, size = [], 0
        taken.append(msgspec.Raw(text))
        size += len(text) + 1
    if taken:
        yield taken


class _Page(msgspec.Struct):
    items: list[dict[str, Any]]
    cursor: str


def _said(status: int, body: bytes) -> tuple[str, ...]:
    """Give what a problem+json answer says, a line each."""
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return (f"The server answered {status}.",)
    listed = problem.get("problems")
    if isinstance(listed, list) and listed:
        return tuple(str(one) for one in listed)
    return (str(problem.get("detail", f"The server answered {status}.")),)


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
