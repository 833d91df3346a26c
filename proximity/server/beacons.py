"""How are tags, loyalty cards and fixed beacons enrolled over HTTP? Singly, or by a list.

A tag may come with the person who is to carry it and what they agreed to: all of it is one
transaction. The key of a rotating beacon goes in and never comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from proximity.server.entries import Resource, Source, find, routes
from proximity.server.people import KEEPERS
from proximity.site.entries import record_of
from proximity.site.registry import Enrolled

if TYPE_CHECKING:
    from proximity.server.parts import Parts
    from proximity.site.entries import Value


class BeaconRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An enrolled beacon with the keys of a site file; ids left out are any.

    ``eid`` of a rotating one names the first of its identities; its key is not shown.
    """

    id: str
    format: str = msgspec.field()
    source: Source = msgspec.field()
    uuid: str | None = None
    major: int | None = None
    minor: int | None = None
    id1: str | None = None
    id2: int | None = None
    id3: int | None = None
    namespace: str | None = None
    instance: str | None = None
    eid: str | None = None
    exponent: int | None = None
    epoch: float | None = None
    url: str | None = None
    subject: str | None = None
    place: str | None = None
    gateways: tuple[str, ...] = ()


class BeaconPage(msgspec.Struct, frozen=True):
    """A page of beacons by id; ``cursor`` is the next request's ``after``."""

    items: tuple[BeaconRecord, ...]
    cursor: str


def _ids(parts: Parts) -> list[str]:
    return sorted(parts.ingest.site.by_name)


def _show(parts: Parts, name: str) -> BeaconRecord | None:
    found = find(parts, "beacon", name)
    if found is None:
        return None
    assert isinstance(found.value, Enrolled)
    fields = record_of(found.value)
    if fields.pop("identity_key", None) is not None:
        fields["eid"] = found.value.key[1]
    return msgspec.convert({**fields, "source": found.source}, BeaconRecord)


def _restore(fields: dict[str, Any], before: Value | None) -> None:
    """Let a rotating beacon keep its key where the record comes back as it was shown."""
    if "exponent" not in fields or "identity_key" in fields:
        return
    if isinstance(before, Enrolled) and before.eid is not None:
        if fields.get("eid") == before.key[1]:
            del fields["eid"]
        fields["identity_key"] = before.eid.identity_key


ROUTES = routes(
    Resource(
        kind="beacon",
        path="/v1/beacons",
        page=BeaconPage,
        record=BeaconRecord,
        readers=KEEPERS,
        editors=KEEPERS,
        ids=_ids,
        show=_show,
        restore=_restore,
        gone="It is gone. Its subject and what was agreed to stay with the person.",
        csv=True,
    )
)
