"""``proximity consent`` and ``optin`` beside a data folder, and the same asked of a server."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.parse
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from proximity.__main__ import main
from proximity.consent.links import read
from proximity.store import Store
from proximity.store.keys import find_key
from tests.proximity.server.rig import running

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

TEXT = "Offers in the shop? You save a tenth."


def run(*words: object, given: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], input=given)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    Store.open(folder / "engine.db").close()
    return folder


def ok(*words: object, given: str | None = None) -> str:
    ended = run(*words, given=given)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_from_the_words_to_the_proof_and_back(data: Path, tmp_path: Path) -> None:
    there = ("--data", data)
    file = tmp_path / "ask.txt"
    file.write_text(TEXT)
    add = ("consent", "texts", "add", *there, "--purpose", "marketing", "--version", 1)
    sha256 = ok(*add, "--locale", "en", "--benefit", "You save a tenth.", file).strip()
    assert (
        sha256
        == ok(*add, "--locale", "en", "--benefit", "You save a tenth.", "-", given=TEXT).strip()
    )
    listed = ok("consent", "texts", *there)
    assert TEXT in listed
    assert "benefit: You save a tenth." in listed
    ok(
        "consent", "grant", *there, "--person", "ann", "--purpose", "marketing", "--text", sha256,
        "--method", "form", "--precision", "geohash-6", "--source", "till 4",
    )  # fmt: skip
    prove = ("consent", "prove", *there, "--person", "ann", "--purpose", "marketing")
    shown = ok(*prove)
    assert shown.startswith("yes: in force by row 1")
    assert TEXT in shown
    assert json.loads(ok(*prove, "--json"))["text"]["sha256"] == sha256
    assert "(till 4, geohash-6, form, text " + sha256[:12] in ok("consent", "list", *there)
    head = ok("consent", "verify", *there).splitlines()[-1].removeprefix("head ")
    assert ok("consent", "withdraw", *there, "--person", "ann") == ""
    gone = run(*prove)
    assert gone.exit_code == 1
    assert gone.stdout.startswith("no: withdrawn")
    assert ok("consent", "verify", *there, "--head", head).startswith("2 rows")


def test_a_row_for_each_purpose_or_none(data: Path) -> None:
    grant = ("consent", "grant", "--data", data, "--person", "ann")
    ok(*grant, "--purpose", "beacon", "--purpose", "marketing")
    for words in ((), ("--purpose", "all"), ("--purpose", "service", "--purpose", "*")):
        refused = run(*grant, *words)
        assert (refused.exit_code, refused.stdout) == (2, "")
        (line,) = refused.stderr.splitlines()
        assert "a row each: name one of marketing, push-marketing" in line
    rows = [json.loads(one) for one in ok("consent", "list", "--data", data, "--json").splitlines()]
    assert [one["purpose"] for one in rows] == ["beacon", "marketing"]


def test_a_purpose_written_wrong_is_taken_and_told(data: Path, tmp_path: Path) -> None:
    told = "no purpose 'marketin', and keeps it as one of yours; did you mean 'marketing'?"
    there, which = ("--data", data, "--person", "ann"), ("--purpose", "marketin")
    (tmp_path / "people.jsonl").write_text('{"person":"bo","consents":[{"purpose":"marketin"}]}')
    (tmp_path / "ask.txt").write_text("May we?")
    text = ("--version", "1", "--locale", "en", "--data", data)
    for words in (
        ("consent", "grant", *there, *which),
        ("optin", "answer", *there, *which, "--answer", "later"),
        ("consent", "texts", "add", tmp_path / "ask.txt", *which, *text),
        ("person", "import", tmp_path / "people.jsonl", "--data", data),
    ):
        ended = run(*words)
        assert (ended.exit_code, told in ended.stderr) == (0, True), ended.output
    assert not run("consent", "grant", *there, "--purpose", "marketing").stderr


def test_tampering_ends_with_status_1_and_names_the_row(data: Path) -> None:
    ok("consent", "grant", "--data", data, "--person", "ann", "--purpose", "marketing")
    store = Store.open(data / "engine.db")
    store.write(lambda c: c.exec_driver_sql("UPDATE consents SET source = 'x'")).result()
    store.close()
    found = run("consent", "verify", "--data", data)
    assert found.exit_code == 1
    assert "row 1 is not as it was sealed: it was changed" in found.stdout
    assert json.loads(run("consent", "verify", "--data", data, "--json").stdout)["rows"] == 1


@pytest.mark.parametrize(
    "words",
    [
        ["consent", "verify", "--head", "nonsense"],
        ["consent", "prove", "--person", "ann"],
        ["consent", "prove", "--person", "ann", "--purpose", "x", "--at", "noon"],
        ["consent", "texts", "add", "NONE", "--purpose", "x", "--version", "1", "--locale", "en"],
        ["consent", "grant", "--person", "ann", "--purpose", "x", "--precision", "street"],
        ["consent", "grant", "--person", "ann", "--purpose", "x", "--text", "0" * 64],
        ["optin", "answer", "--person", "ann", "--purpose", "x", "--answer", "perhaps"],
        ["optin", "answer", "--person", "ann", "--purpose", "all", "--answer", "accepted"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_one_line_and_status_2(data: Path, tmp_path: Path, words: list[str]) -> None:
    named = {"NONE": str(tmp_path / "none")}
    ended = run(*(named.get(word, word) for word in words), "--data", data)
    assert (ended.exit_code, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert "fault of the program" not in line


def test_a_text_that_is_none_is_refused(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "ask.txt"
    add = ("consent", "texts", "add", "--data", data, "--purpose", "x", "--version", 1, "--locale")
    for content, locale in ((b"\xff", "en"), (b"x" * 70_000, "en"), (b"Ok?", "not a tag")):
        file.write_bytes(content)
        ended = run(*add, locale, file)
        assert ended.exit_code == 2
        assert len(ended.stderr.splitlines()) == 1


def test_who_objects_and_takes_it_back(data: Path) -> None:
    assert ok("consent", "object", "--data", data, "--person", "ann") == ""
    assert ok("consent", "lift", "--data", data, "--person", "ann") == ""
    again = run("consent", "lift", "--data", data, "--person", "ann")
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)
    assert run("consent", "lift", "--data", data, "--person", "ann", "--erased").exit_code == 1


def test_answers_and_when_to_ask_again(data: Path, tmp_path: Path) -> None:
    answer = ("optin", "answer", "--data", data, "--person", "ann", "--purpose", "marketing")
    assert run(*answer, "--answer", "later").exit_code == 1  # of whom nothing is kept
    ok("consent", "grant", "--data", data, "--person", "ann", "--purpose", "service")
    ok(*answer, "--answer", "shown", "--id", "1")
    assert run(*answer, "--answer", "shown", "--id", "1").exit_code == 1
    ok(*answer, "--answer", "later")
    campaigns = tmp_path / "campaigns.toml"
    campaigns.write_text(
        '[[campaign]]\nid = "ask"\npurpose = "opt-in"\nasks = "marketing"\non = "enter"\n'
        'places = ["store-7"]\nchannels = ["console"]\nback_off_s = 86400\n'
        '[campaign.text]\nen = "May we?"\n'
    )
    shown = ok("optin", "status", "--data", data, "--person", "ann", "--campaigns", campaigns)
    assert "shown 1 times, later 1 times" in shown
    assert "ask: may ask from 2" in shown
    ok(*answer, "--answer", "accepted", "--campaign", "ask")
    status = json.loads(
        ok("optin", "status", "--data", data, "--person", "ann", "--campaigns", campaigns, "--json")
    )
    assert (status["agreed"], status["again"]) == (True, {"ask": None})
    ok("consent", "prove", "--data", data, "--person", "ann", "--purpose", "marketing")


async def test_the_same_of_a_running_server(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        from proximity.server.auth import Role

        there = ("--server", rig.url, "--token", rig.token(Role.ADMIN))

        async def asked(*words: object, given: str | None = None, status: int = 0) -> str:
            ended = await asyncio.to_thread(run, *words, *there, given=given)
            assert ended.exit_code == status, ended.output
            return ended.stdout

        add = ("consent", "texts", "add", "-", "--purpose", "marketing", "--version", 1)
        sha256 = (await asked(*add, "--locale", "en", given=TEXT)).strip()
        assert sha256 in await asked("consent", "texts", "--purpose", "marketing", "--json")
        person = ("--person", "ann/é")
        await asked(
            "consent", "grant", *person, "--purpose", "marketing", "--purpose", "beacon",
            "--text", sha256, status=2,
        )  # fmt: skip
        await asked("consent", "grant", *person, "--purpose", "marketing", "--text", sha256)
        prove = ("consent", "prove", *person, "--purpose", "marketing")
        assert TEXT in await asked(*prove)
        await asked(*prove, "--at", "1970-01-02T00:00:00Z", status=1)
        head = (await asked("consent", "verify")).splitlines()[-1].removeprefix("head ")
        await asked("consent", "object", *person)
        await asked("consent", "lift", *person)
        await asked("consent", "lift", *person, status=1)
        await asked("optin", "answer", *person, "--purpose", "sharing", "--answer", "declined")
        assert "sharing  not agreed  last declined" in await asked("optin", "status", *person)
        await asked("consent", "withdraw", *person)
        await asked(*prove, status=1)
        assert (await asked("consent", "verify", "--head", head)).startswith("2 rows")
        await asked("consent", "verify", "--head", f"1:{'0' * 64}", status=1)
        await asked("optin", "status", *person, "--campaigns", "x.toml", status=2)


def test_a_link_made_by_the_command_is_one_that_the_server_takes(data: Path) -> None:
    words = ("consent", "link", "--data", data, "--person", "ann", "--url", "https://x.test")
    url = ok(*words, "--purpose", "marketing").strip()
    assert url == ok(*words, "--purpose", "marketing").strip()
    head, _, signed = url.rpartition("/")
    assert head == "https://x.test/withdraw"
    store = Store.open(data / "engine.db")
    key = store.read(lambda conn: find_key(conn, "links"))
    store.close()
    assert key is not None
    claims = read(key, urllib.parse.unquote(signed), time.time())
    assert claims == {"do": "withdraw", "person": "ann", "purpose": "marketing"}
