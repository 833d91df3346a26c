"""What the ledger shows of a consent at some moment: row, words, seal; and why there was none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity.consent import chain
from proximity.consent.consents import erase, grant, load_consents, withdraw
from proximity.consent.proofs import Proof, prove, said_page
from proximity.consent.texts import MOST_TEXT, Wording, every_text, find_text, register, sha256_of
from proximity.model import Consent, ProximityError, format_time
from proximity.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

NOW = 1_700_000_000.0
STORE = Store.open(":memory:")  # of the examples that are many; each begins with nobody in it
FIRST = "We send you offers while you are in the shop. You save a tenth. You can stop any time."
SECOND = "We send you offers. You save a tenth."


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


def write(store: Store, work: Callable[[Connection], Any]) -> Any:
    return store.write(work).result()


def wording(text: str = FIRST, version: str = "1", **fields: Any) -> Wording:
    return Wording(version=version, locale="en", text=text, **fields)


def proof(store: Store, at: float, channel: str | None = None, **fields: str) -> Proof:
    purpose = fields.get("purpose", "marketing")
    return store.read(lambda c: prove(c, "anna", purpose, channel, at))


def test_the_exact_words_in_force_at_some_moment(store: Store) -> None:
    for at, text, version in ((10.0, FIRST, "1"), (30.0, SECOND, "2")):
        sha256 = write(
            store, lambda c, t=text, v=version: register(c, "marketing", wording(t, v), NOW)
        )
        said = Consent(purpose="marketing", since=at, until=at + 10, text=sha256, method="form")
        write(store, lambda c, s=said, a=at: grant(c, "anna", s, source="till 4", now=a))
    for at, text, version in ((10.0, FIRST, "1"), (19.9, FIRST, "1"), (30.0, SECOND, "2")):
        found = proof(store, at)
        assert found.in_force
        assert found.text is not None
        assert (found.text.text, found.text.version) == (text, version)
        assert found.text.sha256 == sha256_of(text)
        assert found.consent is not None
        assert (found.consent.method, found.consent.source) == ("form", "till 4")
    for at in (9.9, 20.0, 29.9, 40.0):
        assert not proof(store, at).in_force


def test_a_proof_names_its_place_in_the_chain(store: Store) -> None:
    write(store, lambda c: grant(c, "anna", Consent(purpose="marketing"), source="x", now=NOW))
    write(store, lambda c: grant(c, "ben", Consent(purpose="marketing"), source="x", now=NOW))
    found = proof(store, NOW)
    assert found.seal is not None
    assert found.consent is not None
    assert found.seal.seq == found.consent.seq == 1
    assert found.head == str(store.read(chain.head)) != f"1:{found.seal.hash}"


def test_a_withdrawal_says_when_and_by_which_row(store: Store) -> None:
    assert proof(store, NOW).says == "there is no yes to this in the ledger"
    said = Consent(purpose="marketing", since=5.0)
    write(store, lambda c: grant(c, "anna", said, source="x", now=5.0))
    write(store, lambda c: withdraw(c, "anna", "marketing", at=50.0, now=50.0, source="link"))
    assert proof(store, 1.0).says.startswith("not yet in force: row 1")
    assert proof(store, 49.9).in_force
    gone = proof(store, 50.0)
    assert not gone.in_force
    assert gone.says.startswith("withdrawn 1970-01-01T00:00:50.000Z by row 2")
    assert gone.ended_by is not None
    assert (gone.ended_by.withdrawal, gone.ended_by.source) == (True, "link")
    over = Consent(purpose="service", until=9.0)
    write(store, lambda c: grant(c, "anna", over, source="x", now=5.0))
    assert proof(store, 9.0, purpose="service").says.startswith("ended 1970-01-01T00:00:09.000Z as")


def test_a_consent_recorded_after_the_moment_says_so(store: Store) -> None:
    said = Consent(purpose="marketing", since=NOW - 10)
    write(store, lambda c: grant(c, "anna", said, source="paper form", now=NOW))
    assert proof(store, NOW - 1).in_force
    assert "recorded after the moment asked about" in proof(store, NOW - 1).says
    assert "recorded after" not in proof(store, NOW).says


def test_a_consent_that_names_no_beginning_proves_nothing_of_before_it_was_recorded(
    store: Store,
) -> None:
    write(store, lambda c: grant(c, "anna", Consent(purpose="marketing"), source="x", now=NOW))
    assert not proof(store, NOW - 0.001).in_force
    assert proof(store, NOW - 0.001).says.startswith("not yet in force: row 1")
    assert proof(store, NOW).in_force


def test_a_channel_is_asked_for_by_itself(store: Store) -> None:
    said = Consent(purpose="marketing", channel="push")
    write(store, lambda c: grant(c, "anna", said, source="x", now=NOW))
    assert [proof(store, NOW, one).in_force for one in (None, "push", "email")] == [
        True, True, False,
    ]  # fmt: skip


HISTORY = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(["marketing", "service"]),
        st.sampled_from([None, "push"]),
        st.sampled_from([None, 3.0, 6.0]),
        st.sampled_from([None, 5.0, 9.0]),
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=50)
@given(HISTORY, st.sampled_from([8.0, 8.5, 9.0, 10.0]), st.sampled_from([None, "push"]))
def test_a_proof_says_what_the_gates_see(
    history: list[tuple[bool, str, str | None, float | None, float | None]],
    at: float,
    channel: str | None,
) -> None:
    """The proof reads rows by itself; of now, it must agree with the consents that stand."""
    store = STORE
    write(store, lambda c: erase(c, "anna", NOW))
    for number, (yes, purpose, on, since, until) in enumerate(history, start=1):
        if yes:
            if until is not None and until <= (since or 0.0):
                continue
            said = Consent(purpose=purpose, channel=on, since=since, until=until)
            write(store, lambda c, s=said, n=number: grant(c, "anna", s, source="x", now=n))
        else:
            write(
                store,
                lambda c, p=purpose, o=on, n=number: withdraw(
                    c, "anna", p, o, at=float(n), now=float(n), source="x"
                ),
            )
    for purpose in ("marketing", "service"):
        seen = any(
            one.purpose == purpose
            and one.holds(at)
            and (channel is None or one.channel in {None, channel})
            for one in store.read(lambda c: load_consents(c, "anna"))
        )
        assert proof(store, at, channel, purpose=purpose).in_force == seen


def test_the_ledger_in_pages(store: Store) -> None:
    for number in range(5):
        said = Consent(purpose=f"p{number}")
        write(store, lambda c, s=said, n=number: grant(c, f"p-{n % 2}", s, source="x", now=NOW))
    first, cursor = store.read(lambda c: said_page(c, 0, 2))
    rest, end = store.read(lambda c: said_page(c, cursor, 9))
    assert [one.purpose for one in (*first, *rest)] == [f"p{n}" for n in range(5)]
    assert store.read(lambda c: said_page(c, end)) == ((), end)
    mine, _ = store.read(lambda c: said_page(c, person="p-1"))
    assert [one.seq for one in mine] == [2, 4]


# -- the registry of texts -----------------------------------------------------------------------


def test_a_text_is_registered_once_and_never_changes(store: Store) -> None:
    one = wording(benefit="You save a tenth.")
    sha256 = write(store, lambda c: register(c, "marketing", one, NOW))
    assert write(store, lambda c: register(c, "marketing", one, NOW + 9)) == sha256
    found = store.read(lambda c: find_text(c, sha256))
    assert found is not None
    assert (found.recorded_at, found.benefit) == (format_time(NOW), "You save a tenth.")
    for purpose, other in (("sharing", one), ("marketing", wording(version="2"))):
        with pytest.raises(ProximityError, match="registered already"):
            write(store, lambda c, p=purpose, o=other: register(c, p, o, NOW))
    assert store.read(every_text) == [found]


def test_texts_are_listed_by_purpose_and_language(store: Store) -> None:
    for purpose, locale in (("service", "fr"), ("marketing", "fr"), ("marketing", "de")):
        text = Wording(version="1", locale=locale, text=f"{purpose} {locale}")
        write(store, lambda c, p=purpose, t=text: register(c, p, t, NOW))
    listed = [(one.purpose, one.locale) for one in store.read(every_text)]
    assert listed == [("marketing", "de"), ("marketing", "fr"), ("service", "fr")]
    assert len(store.read(lambda c: every_text(c, "marketing"))) == 2


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"text": " "}, "1 to 16384 characters"),
        ({"text": "x" * (MOST_TEXT + 1)}, "1 to 16384 characters"),
        ({"benefit": "A free car."}, "the text does not say it"),
        ({"benefit": " "}, "the text does not say it"),
        ({"locale": "english please"}, "is no language tag"),
        ({"version": ""}, "version must have"),
    ],
)
def test_a_text_says_its_benefit_and_its_language(fields: dict[str, str], problem: str) -> None:
    good = {"version": "1", "locale": "en", "text": FIRST}
    with pytest.raises(msgspec.ValidationError, match=problem):
        msgspec.convert(good | fields, Wording)
