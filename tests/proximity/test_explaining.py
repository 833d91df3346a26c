"""``proximity explain`` from a folder and from a server: three readers, one story."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proximity.__main__ import main
from proximity.model import Consent, Fix, Person
from proximity.people.people import People
from proximity.server.auth import Role
from proximity.store import Store, journal, ledger, schema
from proximity.store.folder import state_of
from tests import street
from tests.proximity.server.rig import running
from tests.proximity.test_explain import decided, handed, moved

T = 1_000_000.0


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a visit of ada's, and with fixes of bob's that came near the kiosk."""
    folder = tmp_path / "data"
    drawn = street.feature("kiosk", street.circle(-60, 0), radius_m=25)
    drawn["properties"]["name"] = "Kiosk"
    lon, lat = street.at(-60, 40)
    fixes = [Fix(subject="b", at=T + 10.0 * n, lon=lon, lat=lat, accuracy_m=9.0) for n in range(4)]
    row = journal.Row(
        position=1, kind="records", now=T + 40.0, version="", payload=journal.encode_records(fixes)
    )
    fence = {"id": "kiosk", "feature": json.dumps(drawn), "etag": "e", "source": "file"}
    with contextlib.closing(Store.open(state_of(folder))) as store:
        people = People(store)

        def fill(conn: object) -> None:
            ledger.append(conn, [ledger.entry(one) for one in (moved(), decided(), handed())])
            journal.append(conn, row)
            conn.execute(schema.fences.insert(), fence)
            yes = (Consent(purpose="service"),)
            for person, subject in (("ada", "s"), ("bob", "b")):
                people.put(
                    conn,
                    Person(
                        person=person, subjects=(subject,), consents=yes, languages=("es",),
                        timezone="Asia/Tokyo",
                    ),
                )  # fmt: skip

        store.write(fill).result()
    return folder


def test_three_readers_are_told_the_same_story(data: Path) -> None:
    engineer = run("explain", "--data", data, "--subject", "s")
    assert "coffee: sent" in engineer.stdout
    marketer = run("explain", "--data", data, "--subject", "s", "--for", "marketer")
    assert "every gate let it pass (console: accepted)" in marketer.stdout
    person = run("explain", "--data", data, "--person", "ada", "--for", "person")
    assert "A las 09:16 decidimos enviarle la oferta «coffee»" in person.stdout
    french = run(
        "explain", "--data", data, "--person", "ada", "--for", "person", "--language", "fr"
    )
    assert "nous avons décidé" in french.stdout
    as_json = run("explain", "--data", data, "--person", "ada", "--for", "person", "--json")
    told = json.loads(as_json.stdout)
    assert (told["language"], told["timezone"]) == ("es", "Asia/Tokyo")


def test_a_folder_tells_how_near_somebody_came(data: Path) -> None:
    told = run("explain", "--data", data, "--subject", "b")
    assert "stood outside kiosk, 15 m from the edge, accuracy 9 m" in told.stdout
    person = run(
        "explain", "--data", data, "--person", "bob", "--for", "person", "--language", "en"
    )
    assert "outside Kiosk, about 15 meters from its edge" in person.stdout
    early = json.loads(
        run("explain", "--data", data, "--subject", "b", "--at", T + 10.0, "--json").stdout
    )
    assert early["seen"][0]["fixes"] == 2
    before = json.loads(
        run("explain", "--data", data, "--subject", "b", "--at", T - 9e4, "--json").stdout
    )
    assert before["nothing"] == ["not_kept"]


def test_a_stranger_is_nobody_who_agreed(data: Path) -> None:
    told = run("explain", "--data", data, "--subject", "stranger")
    assert told.exit_code == 0
    assert "no consent to the processing" in told.stdout


@pytest.mark.parametrize(
    "words",
    [[], ["--subject", "s", "--for", "king"], ["--subject", "s", "--at", "noon"],
     ["--subject", "s", "--campaigns", "NONE"]],
    ids=" ".join,
)  # fmt: skip
def test_bad_usage_is_one_line(data: Path, tmp_path: Path, words: list[str]) -> None:
    known = [str(tmp_path / "none") if word == "NONE" else word for word in words]
    ended = run("explain", "--data", data, *known)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "fault of the program" not in ended.stderr


async def test_a_server_is_asked_the_same_way(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        await rig.consent("s")
        where = ("--server", rig.url, "--token", rig.token(Role.ADMIN))

        async def ask(*words: object) -> Result:
            return await asyncio.to_thread(run, "explain", *where, *words)

        told = await ask("--subject", "s")
        assert "Nothing happened" in told.stdout
        person = await ask("--person", "s", "--for", "person", "--language", "de", "--at", "1000")
        assert "Es ist nichts geschehen" in person.stdout
        marketer = await ask("--subject", "s", "--for", "marketer", "--json")
        assert json.loads(marketer.stdout)["rows"] == []
        refused = await ask("--subject", "s", "--campaigns", tmp_path / "campaigns.toml")
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
