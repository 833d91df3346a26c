"""Where a data folder says that its state is."""

from __future__ import annotations

from pathlib import Path

import pytest

from proximity.model import ProximityError
from proximity.store import Store, open_state
from proximity.store.folder import ADDRESS, FILE, state_of


def test_it_is_in_the_folder(tmp_path: Path) -> None:
    assert state_of(tmp_path) == tmp_path / FILE
    with pytest.raises(ProximityError, match="--data"):
        open_state(tmp_path)
    assert not (tmp_path / FILE).exists()
    open_state(tmp_path / "new", create=True).close()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    open_state(tmp_path / "new").close()


@pytest.mark.parametrize("kind", ["postgresql", "postgres"])
def test_or_where_the_folder_says(tmp_path: Path, kind: str) -> None:
    (tmp_path / ADDRESS).write_text(f"\n {kind}://engine@db.example/engine?sslmode=require \n")
    assert state_of(tmp_path) == f"{kind}://engine@db.example/engine?sslmode=require"
    (tmp_path / FILE).touch()  # empty, as one that was never written is
    assert state_of(tmp_path).__class__ is str


@pytest.mark.parametrize(
    "text",
    ["", "\n", "sqlite:///engine.db", "postgresql://a/b\npostgresql://c/d", "db.example", "x" * 5000],
)  # fmt: skip
def test_what_is_no_address_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / ADDRESS).write_text(text)
    with pytest.raises(ProximityError, match=f"{ADDRESS}.*write one line, postgresql://"):
        state_of(tmp_path)


def test_state_in_both_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path / FILE).close()
    (tmp_path / ADDRESS).write_text("postgresql://engine@db.example/engine")
    with pytest.raises(ProximityError, match="proximity restore"):
        state_of(tmp_path)


@pytest.mark.parametrize(
    "url", ["postgresql://me:secret@db/x", "postgresql://me@db/x?password=secret"]
)
def test_a_password_is_for_its_owner_alone(tmp_path: Path, url: str) -> None:
    (tmp_path / ADDRESS).write_text(url)
    (tmp_path / ADDRESS).chmod(0o644)
    with pytest.raises(ProximityError, match="chmod 600") as caught:
        state_of(tmp_path)
    assert "secret" not in str(caught.value)
    (tmp_path / ADDRESS).chmod(0o600)
    assert state_of(tmp_path) == url
