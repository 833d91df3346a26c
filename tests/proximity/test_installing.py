"""`proximity gateway` and `proximity beacon`, over a data folder and over a running server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from beacon_gateway import settings
from beacon_gateway.signing import read_secret
from beacon_gateway.systemd import NAME, UNITS, units
from proximity.__main__ import main
from proximity.server.auth import Role
from proximity.store import Store, journal
from proximity.store.folder import state_of
from tests.proximity.server.rig import running
from tests.proximity.test_ingest import Rig as IngestRig
from tests.street import SITE, UUID

CARDS = (
    f"id,uuid,major,minor,person,consents\ncard-1,{UUID},5,1,ann,service\ncard-2,{UUID},5,2,bob,\n"
)


def run(*words: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], input=stdin)


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A folder that a server has had: fences, and a site from a file."""
    folder = tmp_path / "data"
    (tmp_path / "site.toml").write_text(SITE)
    rig = await IngestRig(state_of(folder), site_file=tmp_path / "site.toml").started()
    await rig.stop()
    return folder


def test_help_stands_on_every_command() -> None:
    for words in (
        ["gateway"], ["gateway", "pair"], ["gateway", "secret"], ["gateway", "rotate"],
        ["gateway", "list"], ["gateway", "revoke"], ["beacon"], ["beacon", "enrol"],
    ):  # fmt: skip
        result = run(*words, "--help")
        assert (result.exit_code, result.stdout[:7]) == (0, "Usage: ")


def test_pairing_prints_what_the_gateway_can_read(data: Path, tmp_path: Path) -> None:
    paired = run("gateway", "pair", "--data", data, "--id", "gw-7", "--place", "cafe")
    assert paired.exit_code == 0, paired.stderr
    script = paired.stdout
    assert "THIS-SERVER" in paired.stderr
    documents = [part.split("\nEND\n")[0] for part in script.split("<<'END'\n")[1:]]
    read_secret(documents[0])
    said = tomllib.loads(documents[1])
    assert said["gateway"] == "gw-7"
    (tmp_path / "settings.toml").write_text(documents[1])
    told = settings.load({}, {}, tmp_path / "settings.toml")
    assert told.token_file == tmp_path / "token"
    # What the script writes where, what it then runs, and what the service is handed are the same.
    assert told.data == Path("/var/lib") / NAME
    folder = Path("/etc") / NAME
    (written,) = [line for line in script.splitlines() if line.startswith("cat > ")]
    config = Path(written.removeprefix("cat > ").removesuffix(" <<'END'"))
    assert config == folder / "settings.toml"
    assert f"cat > {folder / 'token'} )" in script
    assert script.splitlines()[-2:] == [
        f"beacon-gateway doctor --config {config}",
        f"beacon-gateway install-service --config {config}",
    ]
    handed = msgspec.structs.replace(told, token_file=config.parent / "token")
    unit = units(handed, config, Path("/usr/local/bin") / NAME)[f"{UNITS}/{NAME}.service"]
    assert f"LoadCredential=token:{folder / 'token'}\nLoadCredential=settings:{config}\n" in unit
    again = run("gateway", "pair", "--data", data, "--id", "gw-7", "--json")
    assert json.loads(again.stdout)["secret"] != documents[0]
    (row,) = [json.loads(one) for one in run("gateway", "list", "--data", data, "--json")
              .stdout.splitlines() if "gw-7" in one]  # fmt: skip
    assert (row["source"], len(row["secrets"])) == ("http", 1)
    assert documents[0] not in run("gateway", "list", "--data", data).stdout


def test_what_cannot_be_paired_is_told(data: Path, tmp_path: Path) -> None:
    for words, told in (
        (["pair", "--id", "new"], "--place"),
        (["pair", "--id", "gw-bar", "--place", "cafe"], "stands in 'cafe/bar'"),
        (["pair", "--id", "new", "--place", "kaffe"], "did you mean 'cafe'?"),
        (["secret", "--id", "new"], "pair it"),
        (["rotate", "--id", "new"], "pair it"),
    ):
        ended = run("gateway", *words, "--data", data)
        assert (ended.exit_code, told in ended.stderr) == (2, True), ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    assert run("gateway", "revoke", "--id", "gw-bar", "--data", data).exit_code == 1
    assert run("gateway", "list", "--data", tmp_path / "none").exit_code == 2


def test_a_first_secret_is_no_replacement_that_nobody_could_fetch(data: Path) -> None:
    ended = run("gateway", "rotate", "--data", data, "--id", "gw-bar")
    assert ended.exit_code == 2
    assert "has no secret that it could fetch a new one with" in ended.stderr
    assert "no secret" in run("gateway", "list", "--data", data).stdout


@pytest.mark.parametrize("command", ["pair", "secret", "rotate", "revoke"])
@pytest.mark.parametrize("name", ["", "g" * 129, "a\nb"])
def test_what_is_no_id_is_told_before_anything_is_asked(command: str, name: str) -> None:
    ended = run("gateway", command, "--server", "http://127.0.0.1:9", "--token", "t", "--id", name)
    assert ended.exit_code == 2
    (line,) = ended.stderr.splitlines()
    assert "--id must have" in line


def test_secrets_are_replaced_and_ended(data: Path) -> None:
    first = run("gateway", "secret", "--data", data, "--id", "gw-bar").stdout.strip()
    rotated = run("gateway", "rotate", "--data", data, "--id", "gw-bar", "--overlap", "1")
    assert (rotated.exit_code, rotated.stdout) == (0, "")
    listed = run("gateway", "list", "--data", data).stdout
    assert "the one before ends" in listed
    second = run("gateway", "secret", "--data", data, "--id", "gw-bar").stdout.strip()
    assert read_secret(first) != read_secret(second)
    assert "before" not in run("gateway", "list", "--data", data).stdout
    assert run("gateway", "revoke", "--data", data, "--id", "gw-bar").exit_code == 0
    assert "no secret" in run("gateway", "list", "--data", data).stdout


async def test_a_list_enrolled_in_a_folder_counts_at_the_next_start(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "cards.csv").write_text(CARDS)
    ended = await asyncio.to_thread(run, "beacon", "enrol", "--data", data, tmp_path / "cards.csv")
    assert (ended.exit_code, "2 beacons" in ended.stderr) == (0, True), ended.stderr
    piped = await asyncio.to_thread(run, "beacon", "enrol", "--data", data, "-", stdin=CARDS)
    assert piped.exit_code == 0
    rig = await IngestRig(state_of(data), site_file=tmp_path / "site.toml").started()
    assert rig.people.person_of("card-1") == "ann"
    assert rig.ingest.site.by_name["card-2"].subject == "card-2"
    busy = await asyncio.to_thread(run, "beacon", "enrol", "--data", data, tmp_path / "cards.csv")
    assert (busy.exit_code, "--server" in busy.stderr) == (2, True)
    await rig.stop()


async def test_who_is_removed_in_the_folder_takes_their_tags_along(
    data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "cards.csv"
    file.write_text(CARDS)
    assert run("beacon", "enrol", "--data", data, file).exit_code == 0
    assert run("person", "remove", "--data", data, "ann").exit_code == 0
    store = Store.open(state_of(data))
    assert set(store.read(journal.entries_in_force)) == {("beacon", "card-2")}
    store.close()
    rig = await IngestRig(state_of(data), site_file=tmp_path / "site.toml").started()
    assert set(rig.ingest.enrolments.values) == {("beacon", "card-2")}
    assert "card-1" not in rig.ingest.site.by_name
    await rig.stop()


def test_a_bad_list_changes_nothing(data: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(CARDS + f"card-3,{UUID},99999,x,cid,\n,{UUID},5,2,dan,\n")
    ended = run("beacon", "enrol", "--data", data, tmp_path / "bad.csv")
    assert ended.exit_code == 2
    told = [line.split(": ")[1:3] for line in ended.stderr.splitlines()]
    assert {name for name, _ in told} == {"bad.csv"}
    assert [line for _, line in told].count("line 4") >= 2
    (tmp_path / "latin.csv").write_bytes(b"id\n\xff\n")
    assert "not UTF-8" in run("beacon", "enrol", "--data", data, tmp_path / "latin.csv").stderr
    assert run("beacon", "enrol", "--data", data, tmp_path / "none.csv").exit_code == 2
    with contextlib.closing(Store.open(state_of(data))) as store:
        assert store.read(journal.entries_in_force) == {}


async def test_the_same_over_a_server(tmp_path: Path) -> None:
    (tmp_path / "cards.csv").write_text(CARDS)
    async with running(tmp_path) as rig:
        where = ["--server", rig.url, "--token", rig.token(Role.ADMIN)]

        async def ask(*words: object) -> Any:
            return await asyncio.to_thread(run, *words, *where)

        paired = await ask("gateway", "pair", "--id", "till/2", "--place", "store-7")
        assert (paired.exit_code, rig.url in paired.stdout) == (0, True), paired.stderr
        listed = (await ask("gateway", "list")).stdout.splitlines()
        assert [line.split()[0] for line in listed] == ["gw-1", "till/2"]
        assert (await ask("gateway", "rotate", "--id", "till/2")).exit_code == 0
        assert (await ask("gateway", "revoke", "--id", "till/2")).exit_code == 0
        assert (await ask("gateway", "revoke", "--id", "till/2")).exit_code == 1
        wrong = await ask("gateway", "pair", "--id", "x", "--place", "nowhere")
        assert (wrong.exit_code, "neither a fence" in wrong.stderr) == (2, True)
        ended = await ask("beacon", "enrol", tmp_path / "cards.csv")
        assert ended.exit_code == 0, ended.stderr
        assert rig.parts.people.person_of("card-1") == "ann"
