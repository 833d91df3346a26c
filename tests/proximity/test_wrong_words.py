"""What operators get wrong, and what is told them then: one line each, and nothing lost by it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from click.testing import CliRunner, Result

from proximity.__main__ import main
from proximity.campaigns.file import parse_campaigns
from proximity.model import Preference, ProximityError
from proximity.outbound.subscribers import parse_subscribers
from proximity.people.table import parse_table
from proximity.people.tagging import parse_plan
from proximity.segments.segments import read_segments
from proximity.site.sitefile import parse_site
from proximity.store import Store
from proximity.tomltable import TomlTable

if TYPE_CHECKING:
    from collections.abc import Callable

HUGE = "0x" + "f" * 5000
"""TOML bounds the digits of a decimal number, and not those of any other."""


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    Store.open(folder / "engine.db").close()
    people = tmp_path / "people.jsonl"
    people.write_text('{"person":"ann","consents":[{"purpose":"marketing"}]}\n')
    assert run("person", "import", people, "--data", folder).exit_code == 0
    return folder


def test_of_people_in_a_pipe_none_is_lost(data: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    lines = "".join(json.dumps({"person": f"p{number}"}) + "\n" for number in range(2000))
    writer = threading.Thread(target=lambda: pipe.write_text(lines))
    writer.start()
    try:
        ended = run("person", "import", pipe, "--data", data)
    finally:
        writer.join()
    assert ended.stderr == "proximity: 2000 people written\n"


def test_whoever_may_be_known_may_be_listed_and_read_again(data: Path, tmp_path: Path) -> None:
    ends = [{"channel": "email", "address": f"{n}@{'x' * 3000}.test"} for n in range(100)]
    big = {"person": "big", "attributes": {"note": "x" * 65_000}, "endpoints": ends}
    file = tmp_path / "big.jsonl"
    file.write_text(json.dumps(big) + "\n")
    assert run("person", "import", file, "--data", data).exit_code == 0
    file.write_text(run("person", "list", "--data", data).stdout)
    assert run("person", "import", file, "--data", data).stderr == "proximity: 2 people written\n"


def test_a_receipt_that_cannot_be_written_erases_nobody(data: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "receipt.json"
    ended = run("person", "erase", "ann", "--data", data, "--receipt", nowhere)
    assert ended.exit_code == 2
    assert "receipt.json: cannot be written" in ended.stderr
    assert "nobody was erased" in ended.stderr
    assert run("person", "show", "ann", "--data", data).exit_code == 0


def test_a_receipt_may_be_asked_for_on_standard_output(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run("person", "erase", "ann", "--data", data, "--receipt", "-")
    assert json.loads(ended.stdout)["id"]
    assert not Path("-").exists()


def test_a_dash_is_standard_output_or_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = run("person", "export", "ann", "--data", data, "--out", "-")
    assert json.loads(told.stdout)["person"] == "ann"
    keys = run("push", "keys", "--out", "-")
    assert (keys.exit_code, keys.stdout) == (2, "")
    assert not Path("-").exists()


def test_an_id_that_is_empty_is_not_searched_for_in_vain(data: Path) -> None:
    ended = run("privacy", "scan", "--data", data, "--id", "")
    assert ended.exit_code == 2
    assert "--id is empty" in ended.stderr


@pytest.mark.parametrize(
    "url", ["x", "https://", "https://a b", "https://a\nb", "https://me:word@a", "https://a/?b=c"]
)
def test_a_link_leads_to_an_address(data: Path, url: str) -> None:
    for words in (("client", "link", "--subject", "phone"), ("consent", "link", "--person", "ann")):
        ended = run(*words, "--data", data, "--url", url)
        assert (ended.exit_code, ended.stdout) == (2, "")
        assert "is no address of a server" in ended.stderr


def test_whose_device_it_was_is_not_left_open(data: Path) -> None:
    ended = run("explain", "--data", data, "--person", "ann", "--subject", "bens-phone")
    assert ended.exit_code == 2
    assert "not both" in ended.stderr


@pytest.mark.parametrize("tag", ["", "!!", "französisch"])
def test_a_language_is_a_tag_and_else_no_default_is_shown(
    data: Path, tmp_path: Path, tag: str
) -> None:
    file = tmp_path / "campaigns.toml"
    file.write_text("")
    for words in (
        ("explain", "--data", data, "--person", "ann"),
        ("campaign", "preview", file),
    ):
        ended = run(*words, "--language", tag)
        assert ended.exit_code == 2
        assert "is no language tag: write one such as fr or pt-BR" in ended.stderr
        assert run(*words, "--language", "pt_BR").exit_code == 0


def test_a_channel_that_no_table_sets_up_is_told_how_to_be(tmp_path: Path) -> None:
    file = tmp_path / "campaigns.toml"
    file.write_text("")
    ended = CliRunner().invoke(main, ["push", "try", str(file), "--channel", "fcm"], input="token")
    assert ended.exit_code == 2
    assert ended.stderr == "proximity: campaigns.toml: there is no [channel.fcm]; write one\n"


def test_all_that_is_wrong_in_a_row_is_told() -> None:
    with pytest.raises(ProximityError) as refused:
        parse_table("person,age:number,member:flag,x:json\na,old,perhaps,{\n", "t.csv")
    assert [problem.split(": ")[1] for problem in refused.value.problems] == [
        "column age:number", "column member:flag", "column x:json",
    ]  # fmt: skip


def test_an_attribute_has_one_value() -> None:
    with pytest.raises(ProximityError, match="row 3: column age:text: there is a value of age"):
        parse_table("person,age:number,age:text\na,5,\nb,5,five\n", "t.csv")


def test_where_a_table_is_no_csv_is_told() -> None:
    with pytest.raises(ProximityError, match=r"t\.csv, row 3: this is no CSV"):
        parse_table('person,tier:text\na,gold\nb,"silver\n', "t.csv")


@pytest.mark.parametrize(
    ("read", "text", "problem"),
    [
        (
            parse_plan,
            f'[[event]]\nname="a"\n[event.properties.x]\ntype="number"\none_of=[{HUGE}]',
            "one_of must hold what its type says",
        ),
        (
            parse_plan,
            f'[[attribute]]\nname="a"\ntype="text"\nask={{en={HUGE}}}',
            "ask.en must be the question",
        ),
        (parse_plan, '[[event]]\nname="a"\nabout=5', "about must be a text"),
        (parse_site, 'fences="a\\u0000b"', "cannot be read: the name is none"),
        (parse_campaigns, f"quiet_hours=[{{from={HUGE},to='08:00'}}]", "thousands of digits"),
        (parse_campaigns, f"quiet_hours=[{{days={HUGE},from='07:00',to='08:00'}}]", "be a list of"),
        (
            lambda text, name: parse_subscribers(text, name, Path()),
            '[[subscriber]]\nname="a"\nkinds=["person"]\nfile="a\\u0000b"',
            "cannot be read: the name is none",
        ),
        (
            lambda text, name: parse_subscribers(text, name, Path()),
            '[[subscriber]]\nname="a"\nkinds=["person"]\nurl="https://h.test/"\nsecret_file="a\\u0000b"',
            "cannot be read: the name is none",
        ),
    ],
)
def test_no_value_of_a_file_ends_in_a_fault(
    read: Callable[[str, str], object], text: str, problem: str
) -> None:
    with pytest.raises(ProximityError) as refused:
        read(text, "file.toml")
    (told,) = refused.value.problems
    assert problem in told


def test_a_preference_that_is_misspelt_is_no_yes_to_everything() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `topik`"):
        msgspec.json.decode('{"allow":true,"topik":"food"}', type=Preference)


def test_what_a_segment_is_about_is_a_text() -> None:
    top = TomlTable({"segment": [{"id": "a", "about": 5, "attribute": "b", "is": "c"}]}, "f")
    read_segments(top)
    assert top.problems == ["f: segment 'a': about must be a text that is not empty; it is 5"]
