"""``privacy`` and what of ``person`` concerns leaving: on a folder, and over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from proximity.__main__ import main
from proximity.model import Consent, Person
from proximity.people.people import People
from proximity.server.auth import Role
from proximity.store import Store, schema
from tests.proximity.server.rig import fix, running, write_files

PERSON = "lovelace-5c1d"


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


async def ask(*words: object) -> Result:
    return await asyncio.to_thread(run, *words)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    store = Store.open(folder / "engine.db")
    ada = Person(
        person=PERSON, subjects=("phone-5c1d",), consents=(Consent(purpose="marketing"),),
        attributes={"tier": "gold"},
    )  # fmt: skip
    people = People(store)
    store.write(lambda c: people.put(c, ada)).result()
    event = {
        "id": "e", "person": PERSON, "subject": "phone-5c1d", "name": "n", "at": time.time(),
        "properties": "{}",
    }  # fmt: skip
    store.write(lambda c: c.execute(schema.events.insert(), event)).result()
    store.close()
    return folder


def test_a_person_leaves_a_folder_and_the_receipt_proves_it(data: Path, tmp_path: Path) -> None:
    assert run("privacy", "scan", "--data", data, "--id", PERSON, "--id", "x" * 20).output == (
        "engine.db holds id number 1\n"
    )
    receipt = tmp_path / "receipt.json"
    left = run("person", "erase", PERSON, "--data", data, "--receipt", receipt)
    assert left.exit_code == 0, left.output
    said = json.loads(left.stdout)
    assert json.loads(receipt.read_bytes()) == said
    assert said["rows"] == {
        "attributes": 1,
        "changes": 1,
        "consents": 1,
        "events": 1,
        "people": 1,
        "person_keys": 1,
        "subjects": 1,
    }
    assert (
        run("privacy", "scan", "--data", data, "--id", PERSON, "--id", "phone-5c1d").exit_code == 0
    )
    verify = ("privacy", "verify-receipt", receipt, "--data", data)
    assert (run(*verify).stdout, run(*verify).exit_code) == ("genuine\n", 0)
    assert run(*verify, "--person", PERSON).exit_code == 0
    assert run(*verify, "--person", "somebody-else").exit_code == 1
    receipt.write_text(json.dumps({**said, "records": 99}))
    assert (run(*verify).stdout, run(*verify).exit_code) == ("not genuine\n", 1)
    receipt.write_text("[")
    assert run(*verify).exit_code == 2
    (listed,) = run("privacy", "erasures", "--data", data).stdout.splitlines()
    assert (json.loads(listed)["state"], json.loads(listed)["receipt"]) == ("done", said)
    assert run("person", "erase", PERSON, "--data", data).exit_code == 1
    (tmp_path / "people.jsonl").write_text(json.dumps({"person": PERSON}))
    assert "erased" in run("person", "import", "--data", data, tmp_path / "people.jsonl").output
    assert run("person", "show", PERSON, "--data", data).exit_code == 1
    assert run("privacy", "scan", "--data", data, "--id", PERSON).exit_code == 0


def test_a_person_moves_from_folder_to_folder(data: Path, tmp_path: Path) -> None:
    for form in ("out.json", "out.zip", "out"):
        assert (
            run("person", "export", PERSON, "--data", data, "--out", tmp_path / form).exit_code == 0
        )
    whole = json.loads(run("person", "export", PERSON, "--data", data).stdout)
    assert whole == json.loads((tmp_path / "out.json").read_bytes())
    for form in ("out.json", "out.zip", "out"):
        other = tmp_path / f"to-{form}"
        other.mkdir()
        Store.open(other / "engine.db").close()
        taken = run("person", "import", "--data", other, tmp_path / form)
        assert taken.exit_code == 0, taken.output
        assert json.loads(run("person", "export", PERSON, "--data", other).stdout) == whole
    assert run("person", "export", "nobody", "--data", data).exit_code == 1


def test_what_is_past_its_time_is_reported_swept_and_gone(data: Path, tmp_path: Path) -> None:
    store = Store.open(data / "engine.db")
    old = sa.update(schema.events).values(at=time.time() - 10 * 86_400)
    store.write(lambda c: c.execute(old)).result()
    store.close()
    assert run("privacy", "scan", "--data", data).exit_code == 0
    (tmp_path / "privacy.toml").write_text("[retention]\nevents = 7\n")
    short = ("--privacy", tmp_path / "privacy.toml")
    scan = run("privacy", "scan", "--data", data, *short)
    assert (scan.exit_code, "events: 1 rows are past their time" in scan.output) == (1, True)
    report = json.loads(run("privacy", "report", "--data", data, "--json", *short).stdout)
    assert {one["table"]: one["past"] for one in report["tables"]}["events"] == 1
    assert "events" in run("privacy", "report", "--data", data, *short).stdout
    assert run("privacy", "sweep", "--data", data, *short).stdout == "events: 1 rows deleted\n"
    assert run("privacy", "scan", "--data", data, *short).exit_code == 0


def test_a_campaign_at_a_clinic_is_named_and_may_be_vouched_for(data: Path, tmp_path: Path) -> None:
    write_files(tmp_path)
    fences = json.loads((tmp_path / "fences.geojson").read_text())
    fences["features"][0]["properties"]["tags"] = ["clinic"]
    (tmp_path / "fences.geojson").write_text(json.dumps(fences))
    files = ("--site", tmp_path / "site.toml", "--campaigns", tmp_path / "campaigns.toml")
    scan = run("privacy", "scan", "--data", data, *files)
    assert scan.exit_code == 1
    assert "sensitive/health" in scan.output
    refused = run("serve", "--data", data, "--port", 0, *files)
    assert (refused.exit_code, "sensitive/health" in refused.output) == (2, True)
    what = scan.output.split("approve '")[1].split("'")[0]
    approve = ("privacy", "approve", what, "--data", data, "--reason", "it is the clinic's own")
    assert run(*approve).exit_code == 2  # by whom?
    assert "1 more must vouch" in run(*approve, "--who", "ann").output
    nonsense = ("privacy", "approve", "nonsense", "--data", data, "--reason", "r", "--who", "ann")
    assert "no refusal is called 'nonsense'" in run(*nonsense).stderr
    assert run("privacy", "scan", "--data", data, *files).exit_code == 1
    assert "may be used now" in run(*approve, "--who", "bob").output
    assert run("privacy", "scan", "--data", data, *files).exit_code == 0
    listed = [
        json.loads(line) for line in run("privacy", "approvals", "--data", data).stdout.splitlines()
    ]
    assert [(one["who"], one["reason"]) for one in listed if one["what"] == what] == [
        ("ann", "it is the clinic's own"), ("bob", "it is the clinic's own"),
    ]  # fmt: skip


async def test_the_same_is_asked_of_a_server(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        where = ("--server", rig.url, "--token", rig.token(Role.ADMIN))
        await rig.ask("PUT", f"/v1/people/{PERSON}", body={
            "person": PERSON, "subjects": ["phone-1"], "consents": [{"purpose": "marketing"}],
        })  # fmt: skip
        await rig.ask("POST", "/v1/fixes", body=fix())
        await rig.until("/v1/deliveries", 1)
        out = tmp_path / "out.zip"
        assert (await ask("person", "export", PERSON, *where, "--out", out)).exit_code == 0
        left = await ask("person", "erase", PERSON, *where)
        assert left.exit_code == 0, left.output
        lines = left.stdout.splitlines()  # among them what the server here says of itself
        receipt: dict[str, Any] = json.loads(next(line for line in lines if line[0] == "{"))
        (tmp_path / "receipt.json").write_text(json.dumps(receipt))
        verify = ("privacy", "verify-receipt", tmp_path / "receipt.json", *where)
        assert (await ask(*verify, "--person", PERSON)).exit_code == 0
        assert (await ask(*verify, "--person", "other")).exit_code == 1
        again = await ask("person", "import", out, *where)
        assert (again.exit_code, "was erased" in again.output) == (2, True)
        assert (await ask("person", "erase", PERSON, *where)).exit_code == 1
        assert (await ask("person", "export", PERSON, *where)).exit_code == 1
        assert receipt["id"] in (await ask("privacy", "erasures", *where)).stdout
        assert "ledger" in (await ask("privacy", "report", *where)).stdout
        vouch = ("privacy", "approve", "x@1", "--reason", "r", *where)
        assert (await ask(*vouch)).exit_code == 0
        assert (await ask(*vouch)).exit_code == 2
        nonsense = await ask("privacy", "approve", "y@1", "--reason", "r", *where)
        assert "no refusal is called 'y@1'" in nonsense.stderr
        assert '"x@1"' in (await ask("privacy", "approvals", *where)).stdout
        gone = await ask("privacy", "acknowledge", receipt["id"], "--processor", "crm", *where)
        assert gone.exit_code == 1


def test_the_map_is_printed() -> None:
    assert run("privacy", "map").stdout.startswith("# Data map\n")
