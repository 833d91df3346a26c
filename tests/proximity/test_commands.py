"""The ``proximity`` command, in this process: answers, words and exit statuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from proximity.__main__ import main
from proximity.commands.asking import _slices
from proximity.model import Consent, Person
from proximity.server.auth import Role
from proximity.server.reading import SMALL_LIMIT
from proximity.store import Store, ledger
from proximity.store.folder import state_of
from tests.proximity.server.rig import CAMPAIGNS, running
from tests.proximity.test_explain import decided, handed, moved
from tests.proximity.test_ingest import INSIDE, START
from tests.proximity.test_ingest import Rig as IngestRig
from tests.street import fix

YES = Consent(purpose="service")


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    with contextlib.closing(Store.open(state_of(folder))) as store:
        items = [moved(), decided(), handed()]
        store.write(
            lambda conn: ledger.append(conn, [ledger.entry(item) for item in items])
        ).result()
    return folder


def test_help_stands_on_every_command() -> None:
    for words in (
        [], ["serve"], ["token"], ["token", "create"], ["token", "list"], ["token", "revoke"],
        ["explain"], ["consent"], ["consent", "grant"], ["consent", "withdraw"],
        ["consent", "list"], ["person"], ["person", "import"], ["person", "list"],
        ["person", "show"], ["person", "remove"], ["campaign"], ["campaign", "check"],
    ):  # fmt: skip
        result = run(*words, "--help")
        assert result.exit_code == 0, words
        assert result.stdout.startswith("Usage: ")


@pytest.mark.parametrize("words", [[], ["token"], ["consent"]])
def test_a_group_alone_prints_its_help_in_its_own_lines(words: list[str]) -> None:
    ended = run(*words)
    assert ended.exit_code == 2
    assert "\nCommands:\n" in ended.output


def test_a_token_is_printed_alone_then_listed_then_revoked(tmp_path: Path) -> None:
    data = tmp_path / "fresh"
    made = run("token", "create", "--data", data, "--role", "device", "--id", "phone-1")
    assert (made.exit_code, made.stderr) == (0, "")
    token = made.stdout.strip()
    assert len(token) > 40
    assert data.stat().st_mode & 0o077 == 0
    listed = run("token", "list", "--data", data, "--json")
    row = json.loads(listed.stdout)
    assert (row["role"], row["for"], row["revoked"]) == ("device", "phone-1", None)
    assert token not in listed.stdout
    assert "phone-1" in run("token", "list", "--data", data).stdout
    assert run("token", "revoke", "--data", data, row["id"]).exit_code == 0
    again = run("token", "revoke", "--data", data, token)
    assert again.exit_code == 1
    assert len(again.stderr.splitlines()) == 1
    assert "revoked 2" in run("token", "list", "--data", data).stdout


@pytest.mark.parametrize(
    "words",
    [
        ["bogus"],
        ["token", "create", "--role", "device"],
        ["token", "create", "--data", "DATA", "--role", "king"],
        ["token", "create", "--data", "DATA", "--role", "device"],
        ["token", "create", "--data", "DATA", "--role", "feed", "--id", "x" * 129],
        ["token", "list", "--data", "NONE"],
        ["serve"],
        ["serve", "--data", "DATA", "--port", "99999"],
        ["serve", "--data", "DATA", "--site", "NONE"],
        ["serve", "--data", "DATA", "--site", "-"],
        ["serve", "--data", "DATA", "--late", "nan"],
        ["serve", "--data", "DATA", "--late", "inf"],
        ["serve", "--data", "DATA", "--clock-speed", "nan"],
        ["serve", "--data", "DATA", "--campaigns", "NONE"],
        ["serve", "--data", "DATA", "--tls-cert", "NONE"],
        ["serve", "--data", "DATA", "--tls-cert", "NONE", "--tls-key", "NONE"],
        ["serve", "--data", "DATA", "--host", "0.0.0.0"],
        ["serve", "--data", "DATA", "--host", ""],
        ["explain", "--subject", "s"],
        ["explain", "--subject", "s", "--data", "DATA", "--server", "http://x"],
        ["explain", "--subject", "s", "--data", "NONE"],
        ["explain", "--subject", "s", "--data", "DATA", "--at", "noon"],
        ["explain", "--subject", "s", "--server", "http://127.0.0.1:1"],
        ["explain", "--subject", "s", "--server", "ftp://x", "--token", "t"],
        ["explain", "--subject", "s", "--server", "http://127.0.0.1:1", "--token", "t"],
        ["consent", "grant", "--data", "DATA", "--person", "p"],
        ["consent", "grant", "--data", "DATA", "--person", "", "--purpose", "marketing"],
        ["consent", "grant", "--data", "DATA", "--person", "p", "--purpose", "x", "--from", "9", "--until", "8"],
        ["person", "import", "--data", "DATA", "NONE"],
        ["campaign", "check", "NONE"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_usage_is_one_line_and_status_2(data: Path, tmp_path: Path, words: list[str]) -> None:
    named = {"DATA": str(data), "NONE": str(tmp_path / "none")}
    result = run(*(named.get(word, word) for word in words))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("proximity: ")
    assert "fault of the program" not in line


def test_a_fault_is_one_line_too(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    monkeypatch.setattr("proximity.server.auth.list_tokens", lambda _conn: 1 / 0)
    result = run("token", "list", "--data", data)
    assert result.exit_code == 2
    assert "ZeroDivisionError" in result.stderr
    assert "Traceback" not in result.output


def test_explain_prints_a_story_or_json(data: Path, tmp_path: Path) -> None:
    told = run("explain", "--data", data, "--subject", "s")
    assert told.exit_code == 0
    assert "coffee: sent" in told.stdout
    as_json = run("explain", "--data", data, "--subject", "s", "--at", "1200", "--json")
    assert json.loads(as_json.stdout)["visits"][0]["decisions"][0]["campaign"] == "coffee"
    campaigns = tmp_path / "campaigns.toml"
    campaigns.write_text(CAMPAIGNS.replace("coffee", "tea").replace("store-7", "shop"))
    waited = run("explain", "--data", data, "--subject", "s", "--campaigns", campaigns)
    assert "tea: not decided yet" in waited.stdout
    nothing = run("explain", "--data", data, "--subject", "nobody")
    assert nothing.exit_code == 0
    assert "Nothing happened" in nothing.stdout


def test_consent_is_granted_withdrawn_and_listed(data: Path) -> None:
    for words in (
        ["grant", "--person", "ada", "--purpose", "marketing", "--until", "2030-01-01T00:00:00Z"],
        ["withdraw", "--person", "ada"],
        ["grant", "--person", "bob", "--purpose", "service", "--channel", "console"],
    ):
        result = run("consent", words[0], "--data", data, *words[1:])
        assert (result.exit_code, result.output) == (0, "")
    rows = [
        json.loads(line)
        for line in run("consent", "list", "--data", data, "--json").stdout.splitlines()
    ]
    assert [(row["person"], row["withdrawal"]) for row in rows] == [
        ("ada", False), ("ada", True), ("bob", False),
    ]  # fmt: skip
    table = run("consent", "list", "--data", data, "--person", "ada").stdout
    assert "agreed to marketing" in table
    assert "withdrew everything" in table
    assert "bob" not in table


def test_people_are_imported_shown_and_removed(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text('{"person":"ada","subjects":["s"]}\n{"person":"bob"}\n')
    assert run("person", "import", "--data", data, file).exit_code == 0
    listed = [
        json.loads(line)["person"]
        for line in run("person", "list", "--data", data).stdout.splitlines()
    ]
    assert listed == ["ada", "bob"]
    shown = run("person", "show", "--data", data, "ada")
    assert json.loads(shown.stdout)["subjects"] == ["s"]
    assert run("person", "remove", "--data", data, "ada").exit_code == 0
    for command in ("show", "remove"):
        result = run("person", command, "--data", data, "ada")
        assert (result.exit_code, result.stdout) == (1, "")
    file.write_text('{"person":"eve"}\n{"person":1}\n{"who":2}\n')
    bad = run("person", "import", "--data", data, file)
    assert bad.exit_code == 2
    assert len(bad.stderr.splitlines()) == 2


async def test_who_is_removed_or_withdraws_in_the_folder_is_nowhere_at_the_next_start(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    rig = await IngestRig(Path(state_of(data)), consent="required").started()
    for name in ("s0", "s1"):
        person = Person(person=name, subjects=(f"{name}-phone",), consents=(YES,))
        await rig.store.awrite(lambda c, one=person: rig.people.put(c, one))  # type: ignore[misc]
    await rig.ingest.accept([fix(START, *INSIDE, f"{name}-phone") for name in ("s0", "s1")])
    await rig.settled()
    refused = await asyncio.to_thread(run, "person", "remove", "--data", data, "s0")
    assert refused.exit_code == 2
    assert "--server" in refused.stderr
    assert rig.store.read(lambda c: rig.people.read(c, "s0")).subjects == ("s0-phone",)
    await rig.stop()
    assert run("person", "remove", "--data", data, "s0").exit_code == 0
    assert run("consent", "withdraw", "--data", data, "--person", "s1").exit_code == 0
    rig = await rig.again()
    assert sorted(rig.told()) == [("enter", "cafe")] * 2 + [("exit", "cafe")] * 2
    assert rig.ingest.engine.subjects == 0
    await rig.stop()


def test_people_go_to_a_server_in_slices_that_it_takes() -> None:
    long = [Person(person=f"p{n}", attributes={"x": "y" * 30_000}) for n in range(100)]
    many = [Person(person=f"p{n}") for n in range(1001)]
    for people, least in ((long, 3), (many, 3), ([], 0)):
        slices = list(_slices(people))
        assert len(slices) == least
        assert all(len(msgspec.json.encode(one)) <= SMALL_LIMIT for one in slices)
        sent = [msgspec.json.decode(text, type=Person) for one in slices for text in one]
        assert sent == people


def test_campaign_check_names_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "campaigns.toml"
    file.write_text(CAMPAIGNS)
    assert (run("campaign", "check", file).exit_code, run("campaign", "check", file).output) == (
        0,
        "",
    )
    file.write_text('[[campaign]]\nid = "a"\n[[campaign]]\nid = "b"\non = "sneeze"\n')
    bad = run("campaign", "check", file)
    assert bad.exit_code == 1
    assert len(bad.stdout.splitlines()) > 2


async def test_the_same_commands_ask_a_running_server(tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text('{"person":"ada/x","subjects":["s"]}\n{"person":"bob"}\n')
    async with running(tmp_path) as rig:
        where = ["--server", rig.url, "--token", rig.token(Role.ADMIN)]

        async def ask(*words: object) -> Result:
            return await asyncio.to_thread(run, *words)

        assert (await ask("person", "import", *where, file)).exit_code == 0
        listed = await ask("person", "list", *where)
        assert [json.loads(line)["person"] for line in listed.stdout.splitlines()] == [
            "ada/x",
            "bob",
        ]
        shown = await ask("person", "show", *where, "ada/x")
        assert json.loads(shown.stdout)["subjects"] == ["s"]
        assert (
            await ask("consent", "grant", *where, "--person", "bob", "--purpose", "x")
        ).exit_code == 0
        assert (await ask("consent", "withdraw", *where, "--person", "bob")).exit_code == 0
        rows = (await ask("consent", "list", *where, "--json")).stdout.splitlines()
        assert [json.loads(row)["withdrawal"] for row in rows] == [False, True]
        assert (await ask("person", "remove", *where, "ada/x")).exit_code == 0
        assert (await ask("person", "show", *where, "ada/x")).exit_code == 1
        told = await ask("explain", *where, "--subject", "s", "--at", "2026-01-01T00:00:00Z")
        assert "Nothing happened" in told.stdout
        refused = await ask("person", "list", "--server", rig.url, "--token", "px_wrong")
        assert refused.exit_code == 2
        assert "unknown or revoked" in refused.stderr
        assert "px_wrong" not in refused.stderr
        device = rig.token(Role.DEVICE)
        for token, mend in (("px_wrong", "make one there"), (device, "give one of another role")):
            peer = ("--peer", rig.url, "--peer-token", token)
            refused = await ask("sync", "run", *where, *peer)
            assert refused.exit_code == 2
            assert "--peer-token (or PROXIMITY_PEER_TOKEN), for http" in refused.stderr
            assert mend in refused.stderr
            assert token not in refused.stderr
        bad = await ask(
            "consent",
            "grant",
            *where,
            "--person",
            "p",
            "--purpose",
            "x",
            "--from",
            "9",
            "--until",
            "8",
        )
        assert bad.exit_code == 2


def test_people_and_campaigns_may_be_standard_input(data: Path) -> None:
    words = ["person", "import", "--data", str(data), "-"]
    assert CliRunner().invoke(main, words, input='{"person":"ada"}\n').exit_code == 0
    assert json.loads(run("person", "show", "--data", data, "ada").stdout)["person"] == "ada"
    assert CliRunner().invoke(main, ["campaign", "check", "-"], input=CAMPAIGNS).exit_code == 0
    bad = CliRunner().invoke(main, ["campaign", "check", "-"], input="[[campaign]]\n")
    assert bad.exit_code == 1
    assert bad.stdout.startswith("standard input: ")


@pytest.mark.parametrize(
    "content", [b"[[campaign]\n", b'id = "\xff"\n', b"id = " + b"[" * 9000, b"id = " + b"9" * 5000]
)
def test_campaign_check_of_what_is_no_toml_is_status_2(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "campaigns.toml"
    file.write_bytes(content)
    result = run("campaign", "check", file)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert "campaigns.toml: " in line
    assert "fault of the program" not in line
