"""What holds between an engine and a table of somebody else's, whichever databases both are.

The table is real: SQLite's, or PostgreSQL's where one runs. People change on both sides.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from proximity.commands.sides import Folder
from proximity.model import Consent, Person, Preference
from proximity.people.people import People
from proximity.privacy import erasing
from proximity.store import Store
from proximity.sync.foreign import Foreign, open_foreign
from proximity.sync.mapping import parse_mapping
from proximity.sync.round import Exchanged, exchange
from proximity.sync.rules import Rules
from tests.contracts.conftest import TARGETS

pytestmark = pytest.mark.parametrize(
    "target", [one for one in TARGETS if one != "memory"], indirect=True
)
MAPPING = {
    "table": "customers",
    "key": "no",
    "changed_at": "updated_at",
    "erased_at": "deleted_at",
    "columns": {
        "tier": "attributes.tier",
        "points": "attributes.points",
        "zone": "timezone",
        "langs": "languages",
        "email": "endpoints.email",
        "card": "subject",
        'weird "name"; --': "attributes.note",
    },
    "consents": {"newsletter": {"purpose": "marketing"}},
}
EARLY = datetime(2026, 1, 6, 12, tzinfo=UTC)


class Shop:
    """A shop's own table, written as the shop would, and the engine beside it."""

    def __init__(self, url: str, target: str | Path, folder: Path) -> None:
        self.engine = sa.create_engine(url)
        self.url = self.engine.url.render_as_string(hide_password=False)
        self.folder = folder
        meta = sa.MetaData()
        self.table = sa.Table(
            "customers", meta,
            sa.Column("no", sa.Text, primary_key=True),
            sa.Column("updated_at", sa.DateTime(timezone=True)),
            sa.Column("deleted_at", sa.DateTime(timezone=True)),
            sa.Column("tier", sa.Text), sa.Column("points", sa.Integer),
            sa.Column("zone", sa.Text), sa.Column("langs", sa.Text), sa.Column("email", sa.Text),
            sa.Column("card", sa.Text), sa.Column('weird "name"; --', sa.Text),
            sa.Column("newsletter", sa.Boolean),
        )  # fmt: skip
        meta.drop_all(self.engine)
        meta.create_all(self.engine)
        self.store = Store.open(target)
        self.people = People(self.store)
        self.ours = Folder(self.store, Rules())

    def has(self, no: str, at: datetime = EARLY, **cells: Any) -> None:
        with self.engine.begin() as connection:
            mine = self.table.c.no == no
            done = connection.execute(
                self.table.update().where(mine).values(updated_at=at, **cells)
            )
            if not done.rowcount:
                connection.execute(self.table.insert(), {"no": no, "updated_at": at, **cells})

    def row(self, no: str) -> dict[str, Any]:
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(self.table).where(self.table.c.no == no)).mappings()
            return dict(row.one())

    def opened(self) -> Foreign:
        state = self.folder / "crm.state"
        return open_foreign(self.url, parse_mapping(MAPPING, "crm.toml"), state)

    def round(self) -> Exchanged:
        theirs = self.opened()
        try:
            return exchange(self.ours, theirs, they="crm", we="engine")
        finally:
            theirs.close()

    def person(self, name: str) -> Person:
        return self.store.read(lambda c: self.people.read(c, name))

    def put(self, **fields: Any) -> None:
        one = Person(**{"person": "ann", **fields})
        self.store.write(lambda c: self.people.put(c, one, source="http")).result()

    def quiet(self) -> None:
        assert self.round().changes == 0
        assert self.round().changes == 0


@pytest.fixture
def shop(target: str, tmp_path: Path) -> Iterator[Shop]:
    url = target if target.startswith("postgresql") else f"sqlite:///{tmp_path / 'shop.db'}"
    if url.startswith("postgresql"):
        url = (
            sa.make_url(url)
            .set(drivername="postgresql+psycopg")
            .render_as_string(hide_password=False)
        )
    made = Shop(url, target, tmp_path)
    yield made
    made.store.close()
    made.engine.dispose()


def test_rows_become_people_and_people_rows(shop: Shop) -> None:
    shop.has(
        "ann", tier="gold", points=12, zone="Europe/Paris", langs="fr;en", email="ann@shop.example",
        card="card-1", newsletter=True,
    )  # fmt: skip
    assert shop.round().here.changed == 1
    ann = shop.person("ann")
    assert ann.attributes == {"tier": "gold", "points": 12}
    assert (ann.timezone, ann.languages, ann.subjects) == (
        "Europe/Paris",
        ("fr", "en"),
        ("card-1",),
    )
    assert [(one.channel, one.address) for one in ann.endpoints] == [("email", "ann@shop.example")]
    assert [(one.purpose, one.since) for one in ann.consents] == [("marketing", EARLY.timestamp())]
    shop.quiet()
    shop.put(person="bob", consents=(Consent(purpose="marketing"),), attributes={"tier": "new"})
    assert shop.round().there.changed == 1
    assert (shop.row("bob")["tier"], shop.row("bob")["newsletter"]) == ("new", True)
    shop.quiet()


def test_of_one_row_each_cell_has_its_own_last_word(shop: Shop) -> None:
    shop.has("ann", tier="gold", points=1, newsletter=True)
    shop.round()
    shop.put(consents=(Consent(purpose="marketing"),), attributes={"tier": "ours", "points": 1})
    # They change another cell later: the row is younger, its tier is not.
    shop.has("ann", datetime.now(UTC) + timedelta(seconds=2), points=2)
    shop.round()
    assert shop.person("ann").attributes == {"tier": "ours", "points": 2}
    assert (shop.row("ann")["tier"], shop.row("ann")["points"]) == ("ours", 2)
    shop.quiet()


def test_both_change_the_same_cell_and_the_later_word_stands(shop: Shop) -> None:
    shop.has("ann", tier="gold", newsletter=True)
    shop.round()
    shop.put(consents=(Consent(purpose="marketing"),), attributes={"tier": "ours"})
    shop.has("ann", datetime.now(UTC) - timedelta(hours=1), tier="theirs")
    shop.round()
    shop.round()
    assert shop.person("ann").attributes == {"tier": "ours"}
    assert shop.row("ann")["tier"] == "ours"
    shop.has("ann", datetime.now(UTC) + timedelta(seconds=5), tier="last")
    shop.round()
    assert shop.person("ann").attributes == {"tier": "last"}
    shop.quiet()


def test_a_withdrawal_goes_both_ways(shop: Shop) -> None:
    shop.has("ann", tier="gold", newsletter=True)
    shop.round()
    now = time.time()
    shop.store.write(
        lambda c: shop.people.withdraw(c, "ann", "marketing", at=now, source="link")
    ).result()
    shop.round()
    assert shop.row("ann")["newsletter"] is False
    shop.quiet()
    shop.has("bob", datetime.now(UTC), newsletter=True)
    shop.round()
    assert any(one.holds(time.time()) for one in shop.person("bob").consents)
    shop.has("bob", datetime.now(UTC), newsletter=False)
    shop.round()
    assert not any(one.holds(time.time()) for one in shop.person("bob").consents)
    shop.quiet()


def test_a_flag_that_was_never_set_is_no_withdrawal(shop: Shop) -> None:
    shop.put(consents=(Consent(purpose="marketing", since=1.0),))
    shop.has("ann", tier="gold", newsletter=False)
    shop.round()
    assert any(one.holds(time.time()) for one in shop.person("ann").consents)
    assert shop.row("ann")["newsletter"] is True


def test_what_was_refused_for_want_of_a_consent_comes_once_they_agree(shop: Shop) -> None:
    shop.has("ann", tier="gold", card="card-1")
    shop.round()
    assert (shop.person("ann").attributes, shop.person("ann").subjects) == ({}, ("card-1",))
    shop.store.write(
        lambda c: shop.people.grant(c, "ann", Consent(purpose="service"), "form")
    ).result()
    shop.round()
    assert shop.person("ann").attributes == {"tier": "gold"}
    shop.quiet()


def test_who_is_erased_there_is_erased_here_and_stays_so(shop: Shop) -> None:
    shop.has("ann", tier="gold", newsletter=True)
    shop.round()
    shop.has("ann", datetime.now(UTC), tier=None, newsletter=None, deleted_at=datetime.now(UTC))
    assert shop.round().here.erasing == 1
    assert shop.person("ann") == Person(person="ann")
    shop.has("ann", datetime.now(UTC) + timedelta(seconds=5), tier="back", deleted_at=None)
    assert shop.round().here.erased == 1
    assert shop.person("ann") == Person(person="ann")
    shop.quiet()


def test_who_is_erased_here_is_erased_there(shop: Shop) -> None:
    shop.has("ann", tier="gold", email="ann@shop.example", newsletter=True)
    shop.round()
    now = time.time()
    shop.store.write(lambda c: erasing.begin(c, shop.people, "ann", now=now)).result()
    assert shop.round().there.erasing == 1
    row = shop.row("ann")
    assert (row["tier"], row["email"], row["newsletter"]) == (None, None, None)
    assert row["deleted_at"] is not None
    shop.quiet()


def test_a_crash_between_reading_and_noting_is_done_again(shop: Shop) -> None:
    for number in range(5):
        shop.has(f"p{number}", EARLY + timedelta(seconds=number), tier="x", newsletter=True)
    theirs = shop.opened()
    page = theirs.page("engine", 3)
    shop.ours.take("crm", page.items)  # and then it is killed: nothing was noted
    theirs.close()
    shop.round()
    assert all(shop.person(f"p{number}").attributes == {"tier": "x"} for number in range(5))
    shop.quiet()


def test_a_row_that_nobody_can_read_is_named_and_the_others_come(shop: Shop) -> None:
    shop.has("ann", zone="Mars/Olympus", newsletter=True)
    shop.has("bob", EARLY + timedelta(seconds=1), tier="gold", newsletter=True)
    with shop.engine.begin() as connection:
        connection.execute(shop.table.insert(), {"no": "timeless", "tier": "x"})
    found = shop.round()
    assert shop.person("bob").attributes == {"tier": "gold"}
    assert any("Mars/Olympus" in line for line in found.refused)
    theirs = shop.opened()
    assert theirs.unreadable() == 1
    theirs.close()


def test_names_of_columns_are_quoted_and_never_run(shop: Shop) -> None:
    shop.has("ann", EARLY, newsletter=True, **{'weird "name"; --': "'; DROP TABLE customers; --"})
    shop.round()
    assert shop.person("ann").attributes == {"note": "'; DROP TABLE customers; --"}
    shop.put(consents=(Consent(purpose="marketing"),), attributes={"note": '"; --'})
    shop.round()
    assert shop.row("ann")['weird "name"; --'] == '"; --'


def test_what_the_person_wants_is_not_the_tables_to_say(shop: Shop) -> None:
    shop.has("ann", newsletter=True)
    shop.round()
    said = (Preference(allow=False, topic="music"),)
    shop.store.write(lambda c: shop.people.prefer(c, "ann", said)).result()
    shop.has("ann", datetime.now(UTC) + timedelta(seconds=5), tier="gold")
    shop.round()
    assert shop.person("ann").preferences == said
    shop.quiet()


UUIDS = {
    "table": "members",
    "key": "id",
    "changed_at": "updated_at",
    "overlap_s": 0,  # so that the last key that was read is asked for
    "columns": {"tier": "attributes.tier", "ref": "attributes.ref", "card": "subject"},
    "consents": {"newsletter": {"purpose": "marketing"}},
}
ANN, BOB, CARD = (str(UUID(int=n << 96 | 0xABC)) for n in (7, 8, 9))


class Members(Shop):
    """A shop whose people are named by UUID, in the type that it has for them."""

    def __init__(self, shop: Shop, kind: str) -> None:
        self.__dict__.update(shop.__dict__)
        with self.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS members")
            connection.exec_driver_sql(
                f"CREATE TABLE members (id {kind} PRIMARY KEY, ref {kind}, card {kind}, tier TEXT,"
                " newsletter BOOLEAN, updated_at TIMESTAMP)"
            )

    def opened(self) -> Foreign:
        state = self.folder / "members.state"
        return open_foreign(self.url, parse_mapping(UUIDS, "members.toml"), state)

    def ask(self, statement: str, *values: Any) -> list[Any]:
        names = {f"v{n}": value for n, value in enumerate(values)}
        for n in range(len(values)):
            statement = statement.replace("?", f":v{n}", 1)
        with self.engine.begin() as connection:
            done = connection.execute(sa.text(statement), names)
            return [[str(cell) for cell in row] for row in done] if done.returns_rows else []


@pytest.mark.parametrize("kind", ["UUID", "TEXT"])
def test_people_may_be_named_by_uuid(shop: Shop, kind: str) -> None:
    members = Members(shop, kind)
    at = EARLY.replace(tzinfo=None)
    made = "INSERT INTO members VALUES (?, ?, ?, 'gold', true, ?)"
    members.ask(made, ANN, BOB, CARD, at.isoformat(sep=" ", timespec="microseconds"))
    assert members.round().here.changed == 1
    ann = members.person(ANN)
    assert (ann.attributes, ann.subjects) == ({"tier": "gold", "ref": BOB}, (CARD,))
    members.quiet()
    # Another of the same moment, which only its key tells from the first.
    members.ask(made, BOB, ANN, None, at.isoformat(sep=" ", timespec="microseconds"))
    assert members.round().here.changed == 1
    assert members.person(BOB).attributes == {"tier": "gold", "ref": ANN}
    # And what changes here goes there, into the rows that there are and into new ones.
    yes = (Consent(purpose="marketing"),)
    new = str(UUID(int=1))
    members.put(
        person=ANN, subjects=(CARD,), attributes={"tier": "ours", "ref": CARD}, consents=yes
    )
    members.put(person=new, attributes={"tier": "new"}, consents=yes)
    assert members.round().there.changed == 2
    asked = "SELECT id, ref, tier FROM members ORDER BY tier"
    assert members.ask(asked) == [
        [BOB, ANN, "gold"], [new, "None", "new"], [ANN, CARD, "ours"],
    ]  # fmt: skip
    members.quiet()
    with members.engine.connect() as connection:
        native = members.engine.dialect.name == "postgresql" and kind == "UUID"
        (held,) = connection.exec_driver_sql("SELECT id FROM members WHERE tier = 'new'").one()
        assert isinstance(held, UUID) == native
    # Whom such a column cannot hold, or only as somebody else, is named, and nobody is changed.
    if native:
        for name in ("eight", ANN.upper(), ANN.replace("-", "")):
            members.put(person=name, attributes={"tier": "lost"}, consents=yes)
        refused = members.round().refused
        assert len(refused) == 3
        assert all("is no id of a table that names them by UUID" in one for one in refused)
        assert len(members.ask(asked)) == 3
    now = time.time()
    members.store.write(lambda c: erasing.begin(c, members.people, ANN, now=now)).result()
    assert members.round().there.erasing == 1
    assert [row[0] for row in members.ask(asked)] == [BOB, new]
