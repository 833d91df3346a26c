"""What a worker refuses, and what it notices."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from proximity import worker
from proximity.dispatch import rules
from proximity.model import ProximityError
from proximity.store import Store, open_state
from proximity.worker import MOST_SKEW_S, WorkerSettings, run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder on whose state a server without campaigns has worked."""
    folder = tmp_path / "data"
    with closing(open_state(folder, create=True)) as store:
        going_by = rules.Rules(campaigns="", consent="required")
        store.write(lambda c: rules.announce(c, going_by)).result()
    return folder


def test_without_state_there_is_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProximityError, match="--data"):
        run(WorkerSettings(data=tmp_path))
    assert [*tmp_path.iterdir()] == []


def test_without_a_server_there_are_no_rules(tmp_path: Path) -> None:
    open_state(tmp_path, create=True).close()
    with pytest.raises(ProximityError, match="start `proximity serve` first"):
        run(WorkerSettings(data=tmp_path))


@pytest.mark.parametrize(("ahead", "said"), [(1.1, "ahead of"), (-1.1, "behind")])
def test_a_clock_that_is_wrong_is_said(
    data: Path, monkeypatch: pytest.MonkeyPatch, ahead: float, said: str
) -> None:
    monkeypatch.setattr(Store, "skew", lambda _: ahead * MOST_SKEW_S)
    with pytest.raises(ProximityError, match=f"11 s {said} the database's.*NTP"):
        run(WorkerSettings(data=data))


def test_one_that_goes_wrong_later_stops_it(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    skews = iter([0.0, 0.0])
    monkeypatch.setattr(Store, "skew", lambda _: next(skews, 60.0))
    monkeypatch.setattr(worker, "WATCH_S", 0.01)
    assert run(WorkerSettings(data=data)) == 1
    told = capsys.readouterr()
    assert told.out.startswith("working\n")
    assert "60 s ahead of the database's" in told.err


def test_it_keeps_what_others_decide_out_of_its_hands(data: Path) -> None:
    """Between two looks at the rules each transaction asks for itself."""
    with closing(open_state(data)) as store:
        own = rules.Rules(campaigns="", consent="required")
        one = worker._Worker(store, worker.Campaigns(), {}, own)
        assert store.read(one._agrees)
        other = rules.Rules(campaigns="", consent="assumed")
        store.write(lambda c: rules.announce(c, other)).result()
        assert not store.read(one._agrees)
        assert asyncio.run(one._dispatcher.adecide_due(1e12)) == []
        assert "other rules" in (one._look() or "")
