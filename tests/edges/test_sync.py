"""Two engines that run, kept alike by a command beside them; and what goes on when one is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.edges.test_server import Server, proximity, serving
from tests.proximity.server.rig import fix, write_files

ADA: dict[str, Any] = {
    "person": "ada",
    "subjects": ["phone-1"],
    "consents": [{"purpose": "marketing", "channel": None, "from": None, "until": None}],
    "attributes": {"tier": "gold"},
}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    folders = [tmp_path / name for name in ("here", "there")]
    tokens = []
    for folder in folders:
        folder.mkdir()
        write_files(folder)
        made = proximity("token", "create", "--data", folder / "data", "--role", "admin")
        tokens.append(made.stdout.strip())
    with serving(folders[0], tokens[0]) as here, serving(folders[1], tokens[1]) as there:
        yield here, there


def words(here: Server, there: Server) -> list[str]:
    return [
        "sync", "run", "--server", here.url, "--token", here.token, "--peer", there.url,
        "--peer-token", there.token, "--peer-name", "there", "--as", "here",
    ]  # fmt: skip


def run(here: Server, there: Server) -> str:
    done = proximity(*words(here, there))
    assert done.returncode == 0, done.stderr
    return done.stderr


def person(server: Server, name: str) -> Any:
    status, found = server.ask("GET", f"/v1/people/{name}")
    return found if status == 200 else None


def test_two_servers_come_to_the_same_people_and_rest(two: tuple[Server, Server]) -> None:
    here, there = two
    assert here.ask("PUT", "/v1/people/ada", ADA)[0] == 201
    bob = {**ADA, "person": "bob", "subjects": ["phone-2"]}
    assert there.ask("PUT", "/v1/people/bob", bob)[0] == 201
    run(here, there)
    for name in ("ada", "bob"):
        assert person(here, name) == person(there, name)
    # Quiet now: nothing new on either side, and nothing the next time either.
    for _ in range(2):
        assert run(here, there) == "proximity: here: nothing new\nproximity: there: nothing new\n"
    there.ask("PUT", "/v1/people/ada/preferences", [{"allow": False, "topic": "music"}])
    here.ask("PUT", "/v1/people/bob", {**bob, "timezone": "Europe/Paris"})
    run(here, there)
    assert person(there, "bob")["timezone"] == "Europe/Paris"
    assert person(here, "ada")["preferences"] == [{"allow": False, "topic": "music"}]
    here.ask("DELETE", "/v1/consents?person=bob")
    run(here, there)
    assert there.ask("POST", "/v1/fixes", fix("phone-2"))[1]["unconsented"] == 1
    assert here.ask("POST", "/v1/erasures", {"person": "ada"})[0] == 202
    run(here, there)
    assert (person(here, "ada"), person(there, "ada")) == (None, None)
    (gone,) = here.ask("GET", "/v1/erasures")[1]["items"]
    assert [one["acknowledged_at"] is not None for one in gone["processors"]] == [True]
    # An old copy does not bring her back, on either side.
    assert there.ask("POST", "/v1/people", [ADA])[1]["erased"] == 1
    run(here, there)
    assert (person(here, "ada"), person(there, "ada")) == (None, None)


def test_a_round_that_is_killed_is_done_by_the_next(two: tuple[Server, Server]) -> None:
    here, there = two
    crowd = [{**ADA, "person": f"p{n:03}", "subjects": [f"s{n:03}"]} for n in range(600)]
    assert here.ask("POST", "/v1/people", crowd)[1]["recorded"] == len(crowd)
    for moment in (0.6, 0.9, 1.2, 1.5):
        command = [sys.executable, "-m", "proximity", *words(here, there)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ) as process:
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
    run(here, there)
    assert all(
        person(there, one["person"])["attributes"] == {"tier": "gold"} for one in crowd[::50]
    )
    _, page = there.ask("GET", "/v1/people?limit=1000")
    assert len(page["items"]) == len(crowd)
    assert run(here, there) == "proximity: here: nothing new\nproximity: there: nothing new\n"


def test_with_the_other_dead_decisions_go_on_and_its_age_is_told(
    two: tuple[Server, Server],
) -> None:
    here, there = two
    there.ask("PUT", "/v1/people/ada", ADA)
    run(here, there)
    there.process.kill()
    there.process.wait(10)
    failed = proximity(*words(here, there))
    assert failed.returncode == 2
    assert "no answer" in failed.stderr
    assert here.ask("POST", "/v1/fixes", fix("phone-1"))[1]["accepted"] == 1
    (decided,) = here.until("/v1/decisions", 1)
    assert (decided["person"], decided["decision"]) == ("ada", "send")
    (peer,) = here.ask("GET", "/v1/sync")[1]["items"]
    assert (peer["id"], 0.0 <= peer["age_s"] < 60.0) == ("there", True)
    told = proximity("sync", "status", "--server", here.url, "--token", here.token)
    assert told.stdout.startswith("there  heard ")
    # An address copied with the version that stands in every path means the same server.
    told = proximity("sync", "status", "--server", here.url + "/v1/", "--token", here.token)
    assert told.stdout.startswith("there  heard ")


def test_going_round_outlasts_the_other_side(two: tuple[Server, Server]) -> None:
    here, there = two
    port = there.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "proximity", *words(here, there), "--every", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "proximity: here: nothing new\n"
        there.process.kill()
        there.process.wait(10)
        while "no answer" not in process.stderr.readline():
            pass
        folder = there.log.parent
        with serving(folder, there.token, "--port", port) as back:
            here.ask("PUT", "/v1/people/ada", ADA)
            while person(back, "ada") is None:
                time.sleep(0.1)
        process.kill()
