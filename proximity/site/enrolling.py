"""Where does a command that enrols go: to a data folder, or to a running server?

Both are one face, as ``asking``'s are. A folder's site is edited by a row of the journal, which the
next start applies, and so only while no server has it; secrets may be made beside a server.
"""

from __future__ import annotations

import time
import urllib.parse
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from proximity.commands.asking import Http, alone, open_either
from proximity.model import ProximityError, format_time
from proximity.people.people import People
from proximity.site import gatewaysecrets
from proximity.site.enrolment import Asked, Enrolments, carried, faults, plan, read_asked, read_list
from proximity.site.registry import Site
from proximity.site.sitefile import parse_site
from proximity.store import journal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from proximity.store import Store

_RUNNING = "a running server has this folder: ask it with --server URL --token T instead of --data"


class Ends(Protocol):
    """What the commands do to a data folder or a server."""

    def gateways(self) -> list[dict[str, Any]]:
        """List the gateways, each with the ``secrets`` in force."""

    def put_gateway(self, fields: dict[str, Any]) -> None:
        """Enrol a gateway."""

    def make_secret(self, gateway: str, overlap_s: float) -> str:
        """Make a secret; those before go on for so many seconds."""

    def end_secrets(self, gateway: str) -> bool:
        """End all secrets of a gateway; tells whether there were any."""

    def enrol(self, text: str, name: str) -> int:
        """Enrol the beacons of a list, all or none; how many there are."""


@contextmanager
def open_ends(data: Path | None, server: str | None, token: str | None) -> Iterator[Ends]:
    """Open whichever was named. Raises ProximityError where neither, or both, were."""
    with open_either(data, server, token) as there:
        yield _Remote(there) if isinstance(there, Http) else _Local(there)


class _Local:
    """A data folder."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def gateways(self) -> list[dict[str, Any]]:
        now = time.time()
        fixed, enrolments = self._store.read(_in_force)
        secrets = self._store.read(lambda conn: gatewaysecrets.list_secrets(conn, now))
        found = []
        for name, gateway in sorted(enrolments.join(fixed).gateways.items()):
            mine = [
                {
                    "id": one.id,
                    "created_at": format_time(one.created_at),
                    "until": None if one.until is None else format_time(one.until),
                }
                for one in secrets
                if one.gateway == name
            ]
            source = "file" if name in fixed.gateways else "http"
            found.append({"id": name, "place": gateway.place, "source": source, "secrets": mine})
        return found

    def put_gateway(self, fields: dict[str, Any]) -> None:
        problems: list[str] = []
        asked = read_asked("gateway", "gateway", fields, problems)
        if problems:
            raise ProximityError(*problems)
        self._put([asked._replace(where="")])

    def make_secret(self, gateway: str, overlap_s: float) -> str:
        if gateway not in {one["id"] for one in self.gateways()}:
            raise ProximityError(f"there is no gateway {gateway!r}: pair it with its --place first")
        now = time.time()
        return self._store.write(
            lambda conn: gatewaysecrets.make_secret(conn, gateway, now, overlap_s)
        ).result()

    def end_secrets(self, gateway: str) -> bool:
        return bool(
            self._store.write(lambda conn: gatewaysecrets.end_secrets(conn, gateway)).result()
        )

    def enrol(self, text: str, name: str) -> int:
        problems: list[str] = []
        asked = read_list(text, name, problems)
        self._put(asked, problems)
        return len(asked)

    def _put(self, asked: Sequence[Asked], problems: Sequence[str] = ()) -> None:
        """Enrol all, or nothing where there are ``problems``: then the others' are told as well."""
        if problems:
            fixed, enrolments = self._store.read(_in_force)
            fences = self._store.read(journal.fences_in_force)
            raise ProximityError(*problems, *faults(enrolments, fixed, fences, asked))
        if not alone(self._store):
            raise ProximityError(_RUNNING)

        def write(conn: Connection) -> None:
            fixed, enrolments = _in_force(conn)
            fences = journal.fences_in_force(conn)
            found = plan(enrolments, fixed, fences, asked)
            whose = carried(asked)
            if whose:
                People(self._store).enrol(conn, whose, source="command")
            if not found.changes:
                return
            journal.change_entries(conn, found.changes)
            position, latest = journal.end(conn)
            row = journal.Row(
                position=position + 1,
                kind="enrolments",
                now=max(time.time(), latest),
                version="",
                payload=found.payload,
            )
            journal.append(conn, row)

        self._store.write(write).result()


class _Remote:
    """A running server."""

    def __init__(self, server: Http) -> None:
        self._server = server

    def gateways(self) -> list[dict[str, Any]]:
        found = list(self._server.pages("/v1/gateways", {}))
        for one in found:
            body = self._server.ask("GET", f"/v1/gateways/{_quoted(one['id'])}/secrets")
            one["secrets"] = msgspec.json.decode(body or b"{}").get("items", [])
        return found

    def put_gateway(self, fields: dict[str, Any]) -> None:
        self._server.ask("PUT", f"/v1/gateways/{_quoted(fields['id'])}", body=fields)

    def make_secret(self, gateway: str, overlap_s: float) -> str:
        path = f"/v1/gateways/{_quoted(gateway)}/secrets"
        body = self._server.ask("POST", path, body={"overlap_s": overlap_s})
        return str(msgspec.json.decode(body or b"{}")["secret"])

    def end_secrets(self, gateway: str) -> bool:
        path = f"/v1/gateways/{_quoted(gateway)}/secrets"
        return self._server.ask("DELETE", path, missing=True) is not None

    def enrol(self, text: str, name: str) -> int:
        try:
            body = self._server.ask(
                "POST", "/v1/beacons", body=text.encode(), content_type="text/csv"
            )
        except ProximityError as error:
            # The server knows no more of the list than its lines.
            raise ProximityError(
                *(f"{name}: {one}" if one.startswith("line ") else one for one in error.problems)
            ) from None
        edited = msgspec.json.decode(body or b"{}", type=dict[str, list[str]])
        return sum(len(names) for names in edited.values())


def _in_force(conn: Connection) -> tuple[Site, Enrolments]:
    text = journal.site_in_force(conn)
    fixed = Site() if text is None else parse_site(text.text, text.name, text.beacons)
    return fixed, Enrolments(journal.entries_in_force(conn))


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
