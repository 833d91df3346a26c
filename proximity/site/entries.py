"""The question: what does one entry of a site say: a place, a gateway, a beacon; and what is amiss.

Tables of keys become values, and values become the record that is kept and shown of them. The
same for a site file, a list and HTTP. It must not know where an entry came from, nor whether what
it names is there (``Site.check``, ``enrolment``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from beacon_gateway.adverts import format_uuid
from beacon_gateway.eid import EidKey
from beacon_gateway.eid import name as first_identity
from beacon_gateway.model import GatewayError
from proximity.site.registry import ID_FIELDS, Enrolled, Gateway, Key, Place, spell
from proximity.tomltable import TomlTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Kind = Literal["place", "gateway", "beacon"]
"""What a site has entries of."""
Value = Place | Gateway | Enrolled

# Longer than this nobody waits for a beacon: a slip of the pen, 30 days in seconds.
MAX_SECONDS = 30 * 86400.0
MAX_DWELLS = 16
# More than this is another antenna or another tag, not a difference of receivers, dB.
MAX_OFFSET_DB = 60.0


def read_place(table: TomlTable, places: dict[str, Place]) -> None:
    """Add the place of a table to ``places``; faults go to the table's problems."""
    name = _own_id(table, places)
    place = Place(
        id=name,
        parent=table.identity("parent"),
        exit_after_s=_number(table, "exit_after_s", 0.001, MAX_SECONDS),
        near_dbm=_number(table, "near_dbm", -120.0, 0.0),
        dwell_s=_dwell(table),
    )
    table.finish()
    places[name] = place


def read_gateway(table: TomlTable, gateways: dict[str, Gateway]) -> None:
    """Add the gateway of a table to ``gateways``; faults go to the table's problems."""
    name = _own_id(table, gateways)
    gateway = Gateway(
        id=name,
        place=_needed(table, "place"),
        offset_db=_number(table, "offset_db", -MAX_OFFSET_DB, MAX_OFFSET_DB) or 0.0,
        lon=_number(table, "lon", -180.0, 180.0),
        lat=_number(table, "lat", -90.0, 90.0),
        x_m=_number(table, "x_m", -1e6, 1e6),
        y_m=_number(table, "y_m", -1e6, 1e6),
        floor=_number(table, "floor", -1e3, 1e3),
        dead=table.flag("dead", default=False),
    )
    table.finish()
    gateways[name] = gateway


def read_beacon(table: TomlTable, beacons: dict[Key, Enrolled], line: int | None = None) -> None:
    """Enrol the beacon of a table by the ids of its format; it is either carried or fixed.

    ``line`` is where it stands in a list.
    """
    form = table.choice("format", ID_FIELDS) if table.has("format") else "ibeacon"
    if form is None:
        return  # which ids it wants is not known
    eid = _eid_key(table) if form == "eddystone-eid" and table.has("identity_key") else None
    first, *others = ID_FIELDS[form]
    if eid is None and not table.has(first) and not table.has("identity_key"):
        table.fault(f'lacks {first}: add {first} = "…", which {form} needs')
    key = (form, *(ID_CHECKS[name](table, name) for name in (first, *others)))
    if eid is not None:
        if table.has(first):
            table.fault("needs either eid (one that never changes) or identity_key")
        try:
            key = (form, first_identity(eid))
        except GatewayError as error:
            table.fault(str(error))
    name, gateways = table.identity("id"), table.names("gateways")
    subject, place = table.identity("subject"), table.identity("place")
    if table.has("subject") == table.has("place"):
        table.fault("needs either subject (who carries it) or place (where it is fixed)")
    if gateways and table.has("place"):
        table.fault("is fixed: gateways are for what is carried; leave them out")
    if key in beacons:
        table.fault(f"{spell(key)} is enrolled before; each beacon once")
    table.finish()
    beacons[key] = Enrolled(
        key=key, subject=subject, place=place, id=name, gateways=gateways, eid=eid, line=line
    )


def rings(places: Mapping[str, Place]) -> Iterator[str]:
    """Tell of places that are, over their parents, their own parent; once for each ring."""
    settled: set[str] = set()
    for start in places:
        path: dict[str, None] = {}
        step: str | None = start
        while step is not None and step in places and step not in settled and step not in path:
            path[step] = None
            step = places[step].parent
        if step is not None and step in path:
            along = list(path)
            yield " in ".join(repr(place) for place in [*along[along.index(step) :], step])
        settled.update(path)


def record_of(value: Value) -> dict[str, Any]:
    """Write an entry as its table would be, without what is left at its default.

    ``id`` is always there. An ``identity_key`` is too: it is for who shows the record to leave out.
    """
    if isinstance(value, Place):
        fields: dict[str, Any] = {
            "id": value.id,
            "parent": value.parent,
            "exit_after_s": value.exit_after_s,
            "near_dbm": value.near_dbm,
            "dwell_s": list(value.dwell_s) or None,
        }
    elif isinstance(value, Gateway):
        names = ("id", "place", "offset_db", "lon", "lat", "x_m", "y_m", "floor")
        fields = {name: getattr(value, name) for name in names}
        fields["offset_db"] = value.offset_db or None
        fields["dead"] = value.dead or None
    else:
        form, *ids = value.key
        fields = {"id": value.name, "format": form}
        if value.eid is None:
            fields.update(zip(ID_FIELDS[str(form)], ids, strict=True))
        else:
            eid = value.eid
            fields["identity_key"], fields["exponent"] = eid.identity_key, eid.exponent
            fields["epoch"] = eid.epoch
        fields["subject"], fields["place"] = value.subject, value.place
        fields["gateways"] = list(value.gateways) or None
    return {name: said for name, said in fields.items() if said is not None}


def _eid_key(table: TomlTable) -> EidKey | None:
    """Read what makes the identities of a rotating beacon; the key is never shown."""
    faults = len(table.problems)
    secret = table.text("identity_key")
    for needed in ("exponent", "epoch"):
        if not table.has(needed):
            table.fault(f"lacks {needed}: a beacon with an identity_key has exponent and epoch")
    exponent = table.whole("exponent", 0, least=0, most=15)
    epoch = table.time("epoch")
    if secret is not None and not _is_hex(secret, 16):
        table.fault("identity_key must be 32 hex digits")
    if len(table.problems) > faults or secret is None or epoch is None:
        return None
    return EidKey(identity_key=secret.lower(), exponent=exponent, epoch=epoch)


def _own_id(table: TomlTable, known: Mapping[str, object]) -> str:
    name = _needed(table, "id")
    if name and name in known:
        table.fault("this id is used before; each needs its own")
    return name


def _needed(table: TomlTable, key: str) -> str:
    if not table.has(key):
        table.fault(f'lacks {key}: add {key} = "…"')
    return table.identity(key) or ""


def _number(table: TomlTable, key: str, least: float, most: float) -> float | None:
    return table.number(key, 0.0, least=least, most=most) if table.has(key) else None


def _dwell(table: TomlTable) -> tuple[float, ...]:
    """Read a number of seconds, or a list of them."""
    if not table.has("dwell_s"):
        return ()
    value = table.table["dwell_s"]
    many = value if isinstance(value, list) else [value]
    if len(many) > MAX_DWELLS:
        table.fault(f"dwell_s has {len(many)} entries; write at most {MAX_DWELLS}")
        return ()
    each = (TomlTable({"dwell_s": one}, table.where, table.problems) for one in many)
    return tuple(
        sorted({one.number("dwell_s", 1.0, least=0.001, most=MAX_SECONDS) for one in each})
    )


def _sixteen_bits(table: TomlTable, key: str) -> int | None:
    return table.whole(key, 0, least=0, most=0xFFFF) if table.has(key) else None


def _uuid(table: TomlTable, key: str) -> str | None:
    """Read a UUID in either case, with or without dashes, as beacons are decoded."""
    value = table.text(key)
    digits = None if value is None else value.replace("-", "")
    if digits is None or not _is_hex(digits, 16):
        if value is not None:
            table.fault(f"{key} must be a UUID such as f7826da6-4fa2-4e98-8024-bc5b71e0893e")
        return None
    return format_uuid(bytes.fromhex(digits))


def _hex(octets: int) -> Callable[[TomlTable, str], str | None]:
    def read(table: TomlTable, key: str) -> str | None:
        value = table.text(key)
        if value is not None and not _is_hex(value, octets):
            table.fault(f"{key} must be {2 * octets} hex digits")
        return None if value is None else value.lower()

    return read


def _is_hex(text: str, octets: int) -> bool:
    return len(text) == 2 * octets and set(text.lower()) <= set("0123456789abcdef")


SIXTEEN_BITS = ("major", "minor", "id2", "id3")
ID_CHECKS: dict[str, Callable[[TomlTable, str], str | int | None]] = {
    "uuid": _uuid,
    "id1": _uuid,
    "namespace": _hex(10),
    "instance": _hex(6),
    "eid": _hex(8),
    "url": TomlTable.text,
    **dict.fromkeys(SIXTEEN_BITS, _sixteen_bits),
}
