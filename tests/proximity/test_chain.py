"""Whoever changes the consent ledger is found out; whoever is erased leaves it whole."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic import command

from proximity.consent import chain
from proximity.consent.consents import erase, grant, import_said, load_consents, withdraw
from proximity.model import Consent, ProximityError
from proximity.store import Store, migrations, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

NOW = 1_700_000_000.0
YES = Consent(purpose="marketing", channel="push", precision="venue", method="form")


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


@pytest.fixture
def ledger(store: Store) -> Store:
    """Five rows of three people, the third a no."""
    write(store, lambda c: grant(c, "anna", YES, source="till", now=NOW))
    write(store, lambda c: grant(c, "ben", YES, source="till", now=NOW + 1))
    write(store, lambda c: withdraw(c, "anna", at=NOW + 2, now=NOW + 2, source="link"))
    write(
        store,
        lambda c: import_said(
            c, [("cleo", (YES, Consent(purpose="beacon")))], source="crm", now=NOW + 3
        ),
    )
    return store


def write(store: Store, work: Callable[[Connection], Any]) -> Any:
    return store.write(work).result()


def verify(store: Store, head: str | None = None) -> chain.Verified:
    expected = None if head is None else chain.Head.parse(head)
    return store.read(lambda c: chain.verify(c, expected))


def test_an_empty_ledger_is_whole_and_has_no_head(store: Store) -> None:
    assert verify(store) == chain.Verified(rows=0, erased=0, head=None)


def test_what_is_recorded_is_sealed(ledger: Store) -> None:
    found = verify(ledger)
    assert (found.rows, found.erased, found.problems) == (5, 0, ())
    assert found.head == str(ledger.read(chain.head))
    assert found.head is not None
    assert found.head.startswith("5:")


def test_an_undone_write_leaves_no_seal(ledger: Store) -> None:
    before = verify(ledger)

    def fail(connection: Connection) -> None:
        grant(connection, "dora", YES, source="till", now=NOW + 4)
        raise LookupError("undone")

    with pytest.raises(LookupError):
        write(ledger, fail)
    assert verify(ledger) == before


ROWS, SEALS = "consents", "consent_chain"
TAMPERED = {
    "a purpose": f"UPDATE {ROWS} SET purpose = 'sharing' WHERE seq = 2",
    "a channel": f"UPDATE {ROWS} SET channel = NULL WHERE seq = 2",
    "a beginning": f"UPDATE {ROWS} SET since = 1.0 WHERE seq = 2",
    "an end": f"UPDATE {ROWS} SET until = 9e9 WHERE seq = 2",
    "a date": f"UPDATE {ROWS} SET recorded_at = recorded_at + 0.001 WHERE seq = 2",
    "a source": f"UPDATE {ROWS} SET source = 'Till' WHERE seq = 2",
    "a precision": f"UPDATE {ROWS} SET precision = 'exact' WHERE seq = 2",
    "a method": f"UPDATE {ROWS} SET method = NULL WHERE seq = 2",
    "a text": f"UPDATE {ROWS} SET text = '{'0' * 64}' WHERE seq = 2",
    "whose it is": f"UPDATE {ROWS} SET person = 'anna' WHERE seq = 2",
    "a no taken back": f"UPDATE {ROWS} SET until = NULL WHERE seq = 3",
    "a row taken away": f"DELETE FROM {ROWS} WHERE seq = 2",
    "the last row taken away": f"DELETE FROM {ROWS} WHERE seq = 5",
    "a row moved": f"UPDATE {ROWS} SET seq = 9 WHERE seq = 2",
    "a row put in": f"INSERT INTO {ROWS} (person, purpose, recorded_at, source) "
    f"VALUES ('anna', 'marketing', {NOW}, 'till')",
    "a seal taken away": f"DELETE FROM {SEALS} WHERE seq = 2",
    "the last seal taken away": f"DELETE FROM {SEALS} WHERE seq = 5",
    "a MAC": f"UPDATE {SEALS} SET mac = '{'0' * 64}' WHERE seq = 2",
    "a hash": f"UPDATE {SEALS} SET hash = '{'0' * 64}' WHERE seq = 2",
    "a seal's date": f"UPDATE {SEALS} SET recorded_at = recorded_at + 1 WHERE seq = 2",
    "an erasure pretended": f"UPDATE {SEALS} SET erased = '{'0' * 64}' WHERE seq = 2",
    "a key destroyed": "DELETE FROM person_keys WHERE person = 'ben'",
    "a key replaced": "UPDATE person_keys SET key = x'00' WHERE person = 'ben'",
    "the head's note taken away": "DELETE FROM meta WHERE key = 'consents_head'",
    "the head's note changed": "UPDATE meta SET value = replace(value, '5:', '4:') "
    "WHERE key = 'consents_head'",
}


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=TAMPERED)
def test_tampering_is_found(ledger: Store, statement: str) -> None:
    changed = write(ledger, lambda c: c.exec_driver_sql(statement).rowcount)
    assert changed == 1, "the test itself must change something"
    assert verify(ledger).problems


def test_two_rows_exchanged_are_found(ledger: Store) -> None:
    def exchange(connection: Connection) -> None:
        for old, new in ((2, 99), (4, 2), (99, 4)):
            connection.exec_driver_sql(f"UPDATE {ROWS} SET seq = {new} WHERE seq = {old}")

    write(ledger, exchange)
    assert len(verify(ledger).problems) == 2


def test_rows_cut_off_with_their_seals_are_found(ledger: Store) -> None:
    def cut(connection: Connection) -> None:
        for table in (ROWS, SEALS):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE seq > 3")

    head = verify(ledger).head
    write(ledger, cut)
    assert "not where it was noted to end" in verify(ledger).problems[0]
    assert f"does not hold the head {head}" in verify(ledger, head).problems[-1]


def test_a_ledger_made_anew_is_found_by_a_head_noted_elsewhere(ledger: Store) -> None:
    head = verify(ledger).head

    def forge(connection: Connection) -> None:
        """Do what somebody can who has the whole database, keys and all."""
        connection.exec_driver_sql(f"UPDATE {ROWS} SET purpose = 'sharing' WHERE seq = 2")
        connection.exec_driver_sql(f"DELETE FROM {SEALS}")
        connection.exec_driver_sql("DELETE FROM meta WHERE key = 'consents_head'")
        chain.begin(connection, NOW)

    write(ledger, forge)
    assert verify(ledger).problems == ()
    assert "it was made anew" in verify(ledger, head).problems[0]


def test_a_longer_ledger_holds_every_head_that_it_had(ledger: Store) -> None:
    heads = [verify(ledger).head]
    for number in range(3):
        write(ledger, lambda c, n=number: grant(c, "eve", YES, source="t", now=NOW + n))
        heads.append(verify(ledger).head)
    assert len(set(heads)) == 4
    for head in heads:
        assert verify(ledger, head).problems == ()


@pytest.mark.parametrize("text", ["", "5", "5:", "5:zz", "x:" + "0" * 64, "5:" + "0" * 63])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ProximityError, match="is no head of a ledger"):
        chain.Head.parse(text)


def test_who_is_erased_leaves_seals_that_name_nobody(ledger: Store) -> None:
    head = verify(ledger).head
    assert write(ledger, lambda c: erase(c, "anna", NOW + 9)) == 2
    found = verify(ledger, head)
    assert (found.rows, found.erased, found.problems) == (5, 2, ())
    left = ledger.read(lambda c: c.execute(sa.select(schema.consent_chain)).all())
    assert "anna" not in repr(left)
    keys = ledger.read(lambda c: c.scalars(sa.select(schema.person_keys.c.person)).all())
    assert sorted(keys) == ["ben", "cleo"]
    write(ledger, lambda c: grant(c, "ben", YES, source="till", now=NOW + 10))
    assert verify(ledger, head).problems == ()


def test_an_erased_row_that_is_put_back_is_found(ledger: Store) -> None:
    def again(connection: Connection) -> None:
        rows = connection.execute(
            sa.select(schema.consents).where(schema.consents.c.person == "anna")
        ).mappings()
        before = [dict(row) for row in rows]
        erase(connection, "anna", NOW + 9)
        connection.execute(schema.consents.insert(), before)

    write(ledger, again)
    problems = verify(ledger).problems
    assert sum("is there again" in problem for problem in problems) == 2


def test_a_mark_of_erasure_moved_to_another_seal_is_found(ledger: Store) -> None:
    write(ledger, lambda c: erase(c, "anna", NOW + 9))
    write(
        ledger,
        lambda c: c.exec_driver_sql(
            f"UPDATE {SEALS} SET erased = (SELECT erased FROM {SEALS} WHERE seq = 1) WHERE seq = 2"
        ),
    )
    write(ledger, lambda c: c.exec_driver_sql(f"DELETE FROM {ROWS} WHERE seq = 2"))
    assert "seal 2 is marked as erased, but not by this engine" in verify(ledger).problems


def test_rows_of_a_time_without_seals_are_sealed_once(ledger: Store) -> None:
    def unseal(connection: Connection) -> None:
        for statement in (
            f"DELETE FROM {SEALS}",
            "DELETE FROM meta WHERE key = 'consents_head'",
            "DELETE FROM person_keys",
            "DELETE FROM store_keys",
        ):
            connection.exec_driver_sql(statement)

    write(ledger, unseal)
    assert ledger.read(chain.begins)
    assert verify(ledger) == chain.Verified(rows=0, erased=0, head=None)
    write(ledger, lambda c: grant(c, "dora", YES, source="till", now=NOW + 4))
    assert not ledger.read(chain.begins)
    found = verify(ledger)
    assert (found.rows, found.problems) == (6, ())
    # What is slipped in afterwards is not sealed by the next word, nor by the next start.
    write(ledger, lambda c: c.exec_driver_sql(TAMPERED["a row put in"]))
    write(ledger, lambda c: grant(c, "dora", YES, source="till", now=NOW + 5))
    write(ledger, lambda c: chain.begin(c, NOW + 6))
    assert verify(ledger).problems == ("row 7 has no seal: it was not recorded by this engine",)


def test_a_ledger_longer_than_a_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_PAGE", 7)
    said = [(f"p-{number}", (YES,)) for number in range(30)]
    write(store, lambda c: import_said(c, said, source="crm", now=NOW))
    assert (verify(store).rows, verify(store).problems) == (30, ())
    write(store, lambda c: c.exec_driver_sql(f"UPDATE {ROWS} SET source = 'x' WHERE seq = 23"))
    assert verify(store).problems == ("row 23 is not as it was sealed: it was changed",)


def test_problems_are_told_up_to_a_hundred(store: Store) -> None:
    said = [(f"p-{number}", (YES,)) for number in range(150)]
    write(store, lambda c: import_said(c, said, source="crm", now=NOW))
    write(store, lambda c: c.exec_driver_sql(f"UPDATE {ROWS} SET source = 'x'"))
    assert len(verify(store).problems) == 100


def test_a_stranger_can_walk_the_chain(ledger: Store) -> None:
    """The documented formula, written down once more from the documentation alone."""
    hashed = "0" * 64
    for row in ledger.read(lambda c: c.execute(sa.select(schema.consent_chain)).all()):
        text = f"{hashed}\n{row.seq}\n{row.mac}\n{row.recorded_at!r}"
        hashed = hashlib.sha256(text.encode()).hexdigest()
        assert hashed == row.hash
    assert verify(ledger).head == f"5:{hashed}"


def test_a_store_of_the_release_before_is_sealed_at_the_next_start(tmp_path: Path) -> None:
    """The tables as that release made them, with a yes and a no; then what a server does first."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'engine.db'}")
    with engine.begin() as connection:
        command.upgrade(migrations.configuration(connection), "0003")
        connection.exec_driver_sql(
            f"INSERT INTO {ROWS} (person, purpose, since, until, recorded_at, source) VALUES "
            f"('anna', 'marketing', NULL, NULL, {NOW}, 'till'), "
            f"('ben', 'service', NULL, NULL, {NOW}, 'till'), "
            f"('anna', NULL, {NOW + 5}, {NOW + 5}, {NOW + 5}, 'letter')"
        )
    engine.dispose()
    store = Store.open(tmp_path / "engine.db")
    try:
        assert store.read(chain.begins)
        write(store, lambda c: chain.begin(c, NOW + 9))
        found = verify(store)
        assert (found.rows, found.problems) == (3, ())
        standing = store.read(lambda c: load_consents(c, "anna"))
        assert [(one.purpose, one.until) for one in standing] == [("marketing", NOW + 5)]
        write(store, lambda c: c.exec_driver_sql(f"UPDATE {ROWS} SET until = NULL WHERE seq = 3"))
        assert len(verify(store).problems) == 1
    finally:
        store.close()


@pytest.mark.parametrize("note", ["", "é", "5:abc", "no head at all"])
def test_a_note_that_was_overwritten_is_a_problem_and_no_crash(ledger: Store, note: str) -> None:
    meta = schema.meta
    spoilt = meta.update().where(meta.c.key == "consents_head").values(value=note)
    write(ledger, lambda c: c.execute(spoilt))
    assert any("chain ends at 5" in one for one in verify(ledger).problems)


def test_a_mark_of_any_text_is_a_problem_and_no_crash(ledger: Store) -> None:
    seals = schema.consent_chain
    spoilt = seals.update().where(seals.c.seq == 2).values(erased="é")
    write(ledger, lambda c: c.execute(spoilt))
    assert any("marked as erased" in one for one in verify(ledger).problems)
