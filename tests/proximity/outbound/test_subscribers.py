"""The subscribers' file: what it may say, and what is wrong with it, all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.model import ProximityError
from proximity.outbound.subscribers import (
    FileSink,
    UrlSink,
    load_subscribers,
    parse_subscribers,
)
from tests.proximity.outbound.told import SECRET

if TYPE_CHECKING:
    from pathlib import Path

BOTH = """
[[subscriber]]
name = "crm"
kinds = ["delivery", "person"]
url = "https://crm.example.test/events"
secret_file = "secret"
batch = 50
since = "start"
give_up_days = 2

[[subscriber]]
name = "lake"
kinds = ["transition", "decision"]
places = ["store-7"]
file = "out/lake.ndjson"
rotate_mb = 10
rotate_h = 1
keep = 5
source = "urn:shop:7"
"""


def test_both_kinds_of_subscriber(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "outbound.toml").write_text(BOTH)
    crm, lake = load_subscribers(tmp_path / "outbound.toml")
    assert isinstance(crm.sink, UrlSink)
    assert (crm.sink.batch, crm.since, crm.give_up_s) == (50, "start", 172800.0)
    assert SECRET not in repr(crm)
    assert isinstance(lake.sink, FileSink)
    assert lake.sink.path == tmp_path / "out" / "lake.ndjson"
    assert (lake.sink.rotate_bytes, lake.sink.rotate_s, lake.sink.keep) == (10_000_000, 3600.0, 5)
    assert (lake.places, lake.source) == ({"store-7"}, "urn:shop:7")
    assert parse_subscribers("", "x", tmp_path) == ()


URL = 'kinds = ["delivery"]\nurl = "https://x.example.test/"\nsecret_file = "secret"\n'
FILE = 'kinds = ["delivery"]\nfile = "x.ndjson"\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (FILE, "subscriber number 1: name is missing"),
        ('name = "a"\nfile = "x"\n', "subscriber 'a': kinds is missing"),
        ('name = "a"\nkinds = ["visit"]\nfile = "x"\n', "kinds: 'visit' is none; there is"),
        ('name = "a"\nkinds = ["delivery"]\n', "write either url or file"),
        ('name = "a"\n' + URL + 'file = "x"\n', "write either url or file"),
        ('name = "a"\n' + URL.replace("https", "http"), "url: http is for allowed addresses"),
        ('name = "a"\n' + URL.replace("x.example.test", "10.0.0.1"), "not public, or list its"),
        ('name = "a"\n' + URL.replace('"secret"', '"absent"'), "secret_file 'absent' cannot be"),
        ('name = "a"\n' + URL + 'mode = "binary"\nbatch = 2\n', "leave out batch, or mode"),
        ('name = "a"\n' + URL + "batch = 501\n", "batch must be a number from 1 to 500"),
        ('name = "a"\n' + URL + 'secret = "x"\n', "unknown key 'secret'"),
        ('name = "a"\n' + FILE + "rotate_mb = 0\n", "rotate_mb must be a number from 0.001"),
        ('name = "a"\nkinds = ["person"]\nplaces = ["p"]\nfile = "x"\n', "a person has no place"),
        ('name = "a"\nkinds = ["transition"]\ncampaigns = ["c"]\nfile = "x"\n', "has no campaign"),
        ('name = "a"\n' + FILE + '[[subscriber]]\nname = "a"\n' + FILE, "'a' is there twice"),
        ('name = "a"\n' + FILE + '[[subscriber]]\nname = "b"\n' + FILE, "another subscriber's as"),
        ('name = "a"\n' + FILE + 'since = "ever"\n', "since is 'ever'; "),
    ],
)
def test_faults_are_named(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    with pytest.raises(ProximityError) as caught:
        parse_subscribers("[[subscriber]]\n" + text, "outbound.toml", tmp_path)
    assert any(problem in one for one in caught.value.problems), caught.value.problems
    assert all(one.startswith("outbound.toml: ") for one in caught.value.problems)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("sink", ["", URL + 'file = "x"\nbatch = 5\nkeep = 2\n'])
def test_where_they_are_told_is_one_fault(sink: str, tmp_path: Path) -> None:
    kinds = "" if sink else 'kinds = ["delivery"]\nbatch = 5\nkeep = 2\n'
    with pytest.raises(ProximityError) as caught:
        parse_subscribers(f'[[subscriber]]\nname = "a"\n{kinds}{sink}', "x", tmp_path)
    assert caught.value.problems == (
        "x: subscriber 'a': write either url or file: where they are told",
    )


def test_there_are_not_too_many(tmp_path: Path) -> None:
    text = "".join(
        f'[[subscriber]]\nname = "n{n}"\nkinds = ["delivery"]\nfile = "{n}"\n' for n in range(65)
    )
    with pytest.raises(ProximityError, match="65 subscribers; 64 are the most"):
        parse_subscribers(text, "x", tmp_path)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    from pathlib import Path

    try:
        parse_subscribers(text, "x", Path("/nonexistent"))
    except ProximityError:
        return
