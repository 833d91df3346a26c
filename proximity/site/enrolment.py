"""The question: what does enrolling over HTTP or from a list change of the site, and may it?

Places, gateways and beacons that no file names: read from what is asked, judged together with the
site and the fences there are, and joined with the file's. Pure: records as text go in, changes as
the journal keeps them come out. It must not know HTTP, people's tables, or what a change does to
presence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from beacon_gateway.model import Beacon
from proximity.model import Consent, ProximityError, digest
from proximity.site.entries import (
    Kind,
    Value,
    read_beacon,
    read_gateway,
    read_place,
    record_of,
    rings,
)
from proximity.site.registry import ID_FIELDS, Enrolled, Gateway, Key, Place, Site, spell
from proximity.site.sitefile import read_rows
from proximity.store.journal import Entries, EntryChange
from proximity.tomltable import TomlTable, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

Name = tuple[Kind, str]

decode_changes = msgspec.msgpack.Decoder(list[EntryChange]).decode

# More problems than a person mends in one go are not looked for.
MOST_PROBLEMS = 100
MOST_CONSENTS = 50


class EntryFixed(ProximityError):  # noqa: N818 - it says what the entry is
    """A file that the server was started with names it, or others need it: change that first."""


class Asked(NamedTuple):
    """One entry as it is asked for, and for whom: a person who is to carry it, and their yes.

    ``where`` leads the problems that it has with the rest: a list and its line, a line of JSON.
    """

    value: Value
    person: str | None = None
    consents: tuple[Consent, ...] = ()
    where: str = ""


Put = Value | Asked
"""What an edit puts: an entry, or one with what was said beside it."""

Carried = tuple[str, str, tuple[Consent, ...]]
"""A person, the subject that they are to carry, and what they agreed to with it."""


def carried(asked: Iterable[Asked]) -> list[Carried]:
    """Give what enrolling these entries says of people."""
    return [
        (one.person, one.value.subject, one.consents)
        for one in asked
        if one.person is not None and isinstance(one.value, Enrolled) and one.value.subject
    ]


class Plan(NamedTuple):
    """What an edit changes, its row's payload, and the hash of all entries after it."""

    changes: list[EntryChange]
    payload: bytes
    etag: str


class Enrolments:
    """What is enrolled over HTTP: each entry's ``records`` text, and the value that it stands for.

    ``values`` are by kind and id, the same as ``records``.
    """

    def __init__(self, records: Mapping[Name, str] | None = None) -> None:
        self.records: Entries = {}
        self.values: dict[Name, Value] = {}
        for (kind, name), record in (records or {}).items():
            self._put(kind, name, record)

    def copy(self) -> Enrolments:
        """Give an independent copy; values are shared, since none changes."""
        found = Enrolments()
        found.records, found.values = dict(self.records), dict(self.values)
        return found

    def change(self, changes: Iterable[EntryChange]) -> None:
        """Bring it up to what an edit says."""
        for one in changes:
            if one.after is None:
                self.records.pop(one.name, None)
                self.values.pop(one.name, None)
            else:
                self._put(one.kind, one.id, one.after)

    def join(self, site: Site) -> Site:
        """Give the site of a file with these entries; what both name is as the file says."""
        if not self.values:
            return site
        fixed = {one.key for one in site.beacons} | {one.name for one in site.beacons}
        places: dict[str, Place] = {}
        gateways: dict[str, Gateway] = {}
        beacons: list[Enrolled] = []
        for (_, name), value in self.values.items():
            if isinstance(value, Place):
                places[name] = value
            elif isinstance(value, Gateway):
                gateways[name] = value
            elif value.key not in fixed and name not in fixed:
                beacons.append(value)
        return replace(
            site,
            places=places | site.places,
            gateways=gateways | site.gateways,
            beacons=(*site.beacons, *beacons),
        )

    def carried(self, subjects: Collection[str]) -> list[EntryChange]:
        """Give the changes that take away every beacon that these subjects carry."""
        return [
            EntryChange(kind, name, self.records[kind, name], None)
            for (kind, name), value in self.values.items()
            if isinstance(value, Enrolled) and value.subject in subjects
        ]

    def _put(self, kind: Kind, name: str, record: str) -> None:
        self.records[kind, name] = record
        self.values[kind, name] = _value(kind, record)


def read_asked(kind: Kind, where: str, fields: Mapping[str, Any], problems: list[str]) -> Asked:
    """Read one entry as it is asked for, ``where`` leading each of its ``problems``.

    Of a beacon also ``person`` and ``consents``: whoever names no subject for a person's tag gets
    one that is called as the tag is. Where there was a problem the answer is good for nothing.
    """
    asked = {name: said for name, said in fields.items() if said is not None}
    person: str | None = None
    consents: tuple[Consent, ...] = ()
    if kind == "beacon":
        table = TomlTable({key: asked.pop(key) for key in ("person", "consents") if key in asked},
                          where, problems)  # fmt: skip
        person, consents = table.identity("person"), _consents(table)
        if consents and person is None:
            table.fault("consents are a person's: add person")
        if person is not None and "place" in asked:
            table.fault("is fixed: nobody carries it; leave person or place out")
    own_subject = person is not None and "subject" not in asked and "place" not in asked
    if own_subject:
        asked["subject"] = person
    value = _read(kind, TomlTable(asked, where, problems))
    if own_subject and isinstance(value, Enrolled):
        value = replace(value, subject=value.name)
    return Asked(value, person, consents, where)


def read_list(text: str, name: str, problems: list[str]) -> list[Asked]:
    """Read a list of beacons as CSV: the columns of a site's, and ``person`` and ``consents``.

    Every problem goes to ``problems``, by line of ``name``; what has none is given.
    """
    asked: list[Asked] = []
    for _, row in read_rows(text, name, problems):
        before = len(problems)
        one = read_asked("beacon", row.where, row.table, problems)
        if len(problems) == before:
            asked.append(one)
    if len(problems) > MOST_PROBLEMS:
        problems[MOST_PROBLEMS:] = [f"{name or 'list'}: and more; mend these first"]
    return asked


def plan(
    enrolled: Enrolments,
    fixed: Site,
    fences: Collection[str],
    puts: Sequence[Put],
    removals: Sequence[Name] = (),
) -> Plan:
    """Say what an edit of ``enrolled`` changes; ``fixed`` is the file's site, ``fences`` all ids.

    Raises EntryFixed where a file names an entry or something still needs it, ProximityError where
    what is asked does not fit the rest, each with every problem; nothing is to change then.
    """
    asked = [one if isinstance(one, Asked) else Asked(one) for one in puts]
    named = [(name_of(one.value), one) for one in asked]
    standing = _standing(fixed, [*((name, one.where) for name, one in named),
                                 *((name, "") for name in removals)])  # fmt: skip
    problems: list[str] = []
    values: dict[Name, Value] = {}
    for name, one in named:
        if values.setdefault(name, one.value) is not one.value:
            problems.append(_led(one.where, f"{name[0]} {name[1]!r} is there twice: keep one"))
    after: dict[Name, str | None] = {name: _text(value) for name, value in values.items()}
    after.update(dict.fromkeys(removals))
    changes = [
        EntryChange(kind, name, enrolled.records.get((kind, name)), text)
        for (kind, name), text in after.items()
        if text != enrolled.records.get((kind, name))
    ]
    upcoming = enrolled.copy()
    upcoming.change(changes)
    then = upcoming.join(fixed)
    problems += _clashes(then, named)
    # Asked of the values, so that what was amiss before stands in nobody's way.
    problems += then.check(
        fences,
        [
            (_led(one.where, f"{name[0]} {name[1]!r}"), one.value)
            for name, one in named
            if not isinstance(one.value, Place)
        ],
    )
    problems += [f"place {ring}: none can be its own parent" for ring in rings(then.places)]
    if standing:
        raise EntryFixed(*[*standing, *problems][:MOST_PROBLEMS])
    if problems:
        raise ProximityError(*problems[:MOST_PROBLEMS])
    refuse_needed(then, fences, removals)
    return Plan(changes, msgspec.msgpack.encode(changes), hash_entries(upcoming.records))


def faults(
    enrolled: Enrolments, fixed: Site, fences: Collection[str], puts: Sequence[Put]
) -> tuple[str, ...]:
    """Name all that would stand in the way of these; for input of which some is no good anyway."""
    try:
        plan(enrolled, fixed, fences, puts)
    except ProximityError as error:
        return error.problems
    return ()


def name_of(value: Value) -> Name:
    """Give the kind and the id of an entry."""
    if isinstance(value, Place):
        return "place", value.id
    if isinstance(value, Gateway):
        return "gateway", value.id
    return "beacon", value.name


def hash_entries(records: Mapping[Name, str]) -> str:
    """Give one hash of all entries."""
    return digest(*(f"{kind} {name} {record}" for (kind, name), record in sorted(records.items())))


def concerned(changes: Iterable[EntryChange], before: Site) -> frozenset[str] | None:
    """Name the places whose past visits an edit of ``before`` puts in doubt; None: any.

    A new tag was nobody's until now and puts none in doubt, so that enrolling does not end what
    may still be corrected of everybody else.
    """
    places: set[str] = set()
    for change in changes:
        if change.kind != "beacon":
            return None
        for record in (change.before, change.after):
            value = None if record is None else _value("beacon", record)
            if not isinstance(value, Enrolled) or (
                change.before is None and before.enrolled(_typical(value.key)) is None
            ):
                continue
            if value.place is not None:
                places.add(value.place)
            else:
                places.update(one.place for one in before.gateways.values() if value.bound(one.id))
    return frozenset(places)


_READERS: dict[Kind, Any] = {"place": read_place, "gateway": read_gateway, "beacon": read_beacon}


def _read(kind: Kind, table: TomlTable) -> Value:
    found: dict[Any, Value] = {}
    _READERS[kind](table, found)
    # A format that is not known leaves nothing; that is a problem of the table already.
    return next(iter(found.values()), Place(id="?"))


def _value(kind: Kind, record: str) -> Value:
    """Read an entry from the text that is kept of it; raises ProximityError."""
    table = TomlTable(msgspec.json.decode(record), f"enrolled {kind}")
    value = _read(kind, table)
    if table.problems:
        raise ProximityError(*table.problems)
    return value


def _text(value: Value) -> str:
    return msgspec.json.encode(record_of(value)).decode()


def _typical(key: Key) -> Beacon:
    """Make a beacon that has exactly the ids of a key."""
    form, *ids = key
    fields = {"format": form, **dict(zip(ID_FIELDS[str(form)], ids, strict=True))}
    return Beacon(**cast("dict[str, Any]", fields))


# What a consent says on the wire.
_SAID = tuple(one.encode_name for one in msgspec.structs.fields(Consent))


def _consents(table: TomlTable) -> tuple[Consent, ...]:
    """Read consents: as contract 3 has them, or each the text of a purpose, ``purpose@channel``."""
    said = table.table["consents"] if table.has("consents") else []
    if not isinstance(said, list) or len(said) > MOST_CONSENTS:
        table.fault(f"consents must be a list of at most {MOST_CONSENTS}, such as marketing")
        return ()
    found: list[Consent] = []
    for one in said:
        fields = one
        if isinstance(one, str):
            purpose, at, channel = one.partition("@")
            if at and not channel.strip():
                # Cut off, perhaps: taken for a yes to every channel it would be more than was said.
                table.fault(
                    f"consents: {one!r:.80} names no channel: "
                    f"write {purpose or 'marketing'}@email, or without @ for every channel"
                )
                continue
            fields = {"purpose": purpose} | ({"channel": channel} if at else {})
        elif isinstance(one, dict) and (strange := [key for key in one if key not in _SAID]):
            # A mistyped channel left out would be a yes to every channel.
            table.fault(f"consents: unknown key {strange[0]!r:.60}; {nearest(strange[0], _SAID)}")
            continue
        try:
            found.append(msgspec.convert(fields, Consent))
        except msgspec.ValidationError as error:
            table.fault(f"consents: {error}")
    return tuple(found)


def _led(where: str, problem: str) -> str:
    return f"{where}: {problem}" if where else problem


def _standing(fixed: Site, names: Iterable[tuple[Name, str]]) -> list[str]:
    """Name the entries that the file names, each with where it was asked for."""
    there = {("place", name) for name in fixed.places}
    there |= {("gateway", name) for name in fixed.gateways}
    there |= {("beacon", one.name) for one in fixed.beacons}
    return [
        _led(where, f"{kind} {name!r} stands in {fixed.name}: edit it there")
        for (kind, name), where in names
        if (kind, name) in there
    ]


def refuse_needed(then: Site, fences: Collection[str], removals: Iterable[Name]) -> None:
    """Raise EntryFixed where something that stays names what is to be removed.

    ``fences`` are the ids of those that stay: a place drawn by one is still there.
    """
    gone = set(removals)
    if not gone:
        return
    found = [
        f"gateway {one.id!r} stands in place {one.place!r}: move or remove it first"
        for one in then.gateways.values()
        if ("place", one.place) in gone and one.place not in fences
    ]
    for beacon in then.beacons:
        if ("place", beacon.place) in gone and beacon.place not in fences:
            found.append(
                f"beacon {beacon.name!r} is fixed in place {beacon.place!r}: move it first"
            )
        found += [
            f"beacon {beacon.name!r} is bound to gateway {gateway!r}: bind it to others first"
            for gateway in beacon.gateways
            if ("gateway", gateway) in gone
        ]
    if found:
        raise EntryFixed(*found[:MOST_PROBLEMS])


def _clashes(then: Site, named: Sequence[tuple[Name, Asked]]) -> list[str]:
    """Name the beacons whose identity is enrolled under another name."""
    asked: dict[Key, tuple[str, str]] = {}
    names = {name for (_, name), _ in named}
    found: list[tuple[str, str, Key, str]] = []
    for (_, name), one in named:
        if isinstance(one.value, Enrolled):
            first, _ = asked.setdefault(one.value.key, (name, one.where))
            if first != name:
                found.append((one.where, name, one.value.key, first))
    found += [
        (asked[one.key][1], asked[one.key][0], one.key, one.name)
        for one in then.beacons
        # Those that are asked for were compared above.
        if one.key in asked and one.name not in names
    ]
    return [
        _led(where, f"beacon {name!r}: {spell(key)} is enrolled as {other!r}; each beacon once")
        for where, name, key, other in found
    ]
