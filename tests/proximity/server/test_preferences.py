"""What a person says of themselves: over HTTP by those who keep people, and on their own page."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from proximity.server.auth import Role
from tests.proximity.server.rig import Rig, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PLAN = """
unknown = "keep"

[[attribute]]
name = "diet"
type = "text"
one_of = ["anything", "vegetarian"]
ask = { en = "What do you eat?", fr = "Que mangez-vous ?" }

[[attribute]]
name = "children"
type = "flag"
editable = true

[[attribute]]
name = "tier"
type = "text"
"""

HTML = {"Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Rig]:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    async with running(tmp_path, events=plan) as made:
        yield made


async def enrol(rig: Rig, person: str = "ada", **fields: Any) -> None:
    body = {"subjects": ["phone-a"], "consents": [{"purpose": "marketing"}], **fields}
    answer = await rig.ask("PUT", f"/v1/people/{person}", body=body)
    assert answer.status in {200, 201}, answer.body


async def link(rig: Rig, person: str = "ada") -> str:
    made = await rig.ask("POST", f"/v1/people/{person}/preferences/link")
    assert made.status == 201
    url: str = made.json["url"]
    return url[url.index("/preferences/") :]


async def said(rig: Rig, wanted: Any, key: str = "preferences") -> Any:
    """Wait until the engine has had the answer."""
    found = None
    for _ in range(200):
        found = (await rig.ask("GET", "/v1/people/ada")).json.get(key)
        if found == wanted:
            break
        await asyncio.sleep(0.01)
    return found


async def test_preferences_are_replaced_and_read_back(rig: Rig) -> None:
    await enrol(rig)
    rows = [
        {"allow": False, "topic": "food"},
        {"allow": True, "place": "store-7", "hours": [{"from": "09:00", "to": "18:00"}]},
    ]
    answer = await rig.ask("PUT", "/v1/people/ada/preferences", body=rows)
    assert (answer.status, answer.json["preferences"]) == (200, rows)
    assert (await rig.ask("GET", "/v1/people/ada")).json["preferences"] == rows
    # A copy of customers that knows nothing of it leaves it as it is.
    await enrol(rig, attributes={"tier": "gold"})
    assert (await rig.ask("GET", "/v1/people/ada/preferences")).json["preferences"] == rows
    answer = await rig.ask("PUT", "/v1/people/ada/preferences", body=[])
    assert answer.json["preferences"] == []


async def test_what_is_no_preference_is_refused(rig: Rig) -> None:
    await enrol(rig)
    bad = [{"allow": True, "hours": [{"from": "9", "to": "18:00"}]}]
    assert (await rig.ask("PUT", "/v1/people/ada/preferences", body=bad)).status == 400
    many = [{"allow": True}] * 501
    assert (await rig.ask("PUT", "/v1/people/ada/preferences", body=many)).status == 422
    hours = [{"from": "09:00", "to": "18:00"}] * 51
    busy = [{"allow": False, "topic": topic, "hours": hours} for topic in ("tea", "milk")]
    refused = await rig.ask("PUT", "/v1/people/ada/preferences", body=busy)
    assert (refused.status, "102 are more than 100" in refused.body.decode()) == (422, True)
    assert (await rig.ask("PUT", "/v1/people/eve/preferences", body=[])).status == 404
    assert (await rig.ask("GET", "/v1/people/eve/preferences")).status == 404


async def test_a_question_is_answered_on_the_page(asking: Rig) -> None:
    await enrol(asking, preferences=[{"allow": True, "topic": "food"}])
    page = await link(asking)
    french = {"Accept-Language": "fr;q=0.9, en;q=0.1", "Accept": "text/html"}
    shown = await asking.ask("GET", page, role=None, headers=french)
    text = shown.body.decode()
    assert shown.status == 200
    assert 'lang="fr"' in text
    assert "Que mangez-vous ?" in text
    assert "ada" not in text
    assert "script-src" not in shown.headers["Content-Security-Policy"]
    assert 'name="ask:tier"' not in text  # it is not for her to say
    form = urlencode({"shown": "topic:food", "ask:diet": "vegetarian", "from": "", "to": ""})
    answer = await asking.ask("POST", page, role=None, raw=form.encode(), headers=HTML)
    assert answer.status == 200
    assert "Saved" in answer.body.decode()
    assert await said(asking, {"diet": "vegetarian"}, "attributes") == {"diet": "vegetarian"}
    (row,) = (await asking.ask("GET", "/v1/people/ada/preferences")).json["preferences"]
    assert (row["topic"], row["allow"]) == ("food", False)
    again = (await asking.ask("GET", page, role=None, headers={"Accept": "text/html"})).body
    assert b'value="vegetarian" selected' in again
    assert b'value="topic:food"><label><input type="checkbox" name="want" value="topic:food">' in (
        again
    )


async def test_hours_of_rest_are_set_changed_and_taken_back(asking: Rig) -> None:
    await enrol(asking)
    page = await link(asking)

    async def send(opens: str, closes: str) -> None:
        form = urlencode({"from": opens, "to": closes})
        answer = await asking.ask("POST", page, role=None, raw=form.encode(), headers=HTML)
        assert answer.status == 200

    async def alone(wanted: list[tuple[bool, str]]) -> list[tuple[bool, str]]:
        found: list[tuple[bool, str]] = []
        for _ in range(200):
            person = (await asking.ask("GET", "/v1/people/ada")).json
            rows = person.get("preferences", [])
            found = [(row["allow"], row["hours"][0]["from"]) for row in rows]
            if found == wanted:
                break
            await asyncio.sleep(0.01)
        return found

    await send("13:00", "15:00")
    assert await alone([(False, "13:00")]) == [(False, "13:00")]
    await send("14:00", "15:00")
    assert await alone([(True, "13:00"), (False, "14:00")]) == [(True, "13:00"), (False, "14:00")]
    await send("", "")
    assert await alone([(True, "13:00"), (True, "14:00")]) == [(True, "13:00"), (True, "14:00")]


async def test_the_end_of_the_day_is_written_as_browsers_read_it(asking: Rig) -> None:
    await enrol(asking)
    page = await link(asking)
    rest = [{"allow": False, "hours": [{"from": "22:00", "to": "24:00"}]}]
    assert (await asking.ask("PUT", "/v1/people/ada/preferences", body=rest)).status == 200
    form = (await asking.ask("GET", page, role=None, headers=HTML)).body.decode()
    sent = {name: re.search(rf'name="{name}" value="([^"]*)"', form) for name in ("from", "to")}
    fields = {name: found[1] for name, found in sent.items() if found}
    assert fields == {"from": "22:00", "to": ""}  # no field of a browser shows 24:00

    async def send(**fields: str) -> int:
        json = {"Accept": "application/json", "Content-Type": HTML["Content-Type"]}
        raw = urlencode(fields).encode()
        answered: int = (await asking.ask("POST", page, role=None, raw=raw, headers=json)).json[
            "answered"
        ]
        return answered

    assert await send(**fields) == 0  # nothing was changed, so nothing is written
    assert await send(**{"from": "", "to": ""}) == 1


@pytest.mark.parametrize(
    ("language", "words"), [("en", "Go back"), ("fr", "Revenez"), ("de", "zurück"), ("es", "atrás")]
)
async def test_who_fills_it_in_wrongly_is_told_on_a_page(
    asking: Rig, language: str, words: str
) -> None:
    await enrol(asking)
    page = await link(asking)
    headers = HTML | {"Accept-Language": language}
    form = urlencode({"from": "08:00", "to": "08:00"}).encode()
    told = await asking.ask("POST", page, role=None, raw=form, headers=headers)
    assert (told.status, told.headers["Content-Type"]) == (422, "text/html; charset=utf-8")
    assert words in told.body.decode()
    program = HTML | {"Accept": "*/*"}
    told = await asking.ask("POST", page, role=None, raw=form, headers=program)
    assert told.status == 422
    assert "alike" in told.json["detail"]
    assert "preferences" not in (await asking.ask("GET", "/v1/people/ada")).json


async def test_answers_as_json(asking: Rig) -> None:
    await enrol(asking)
    page = await link(asking)
    json = {"Accept": "application/json"}
    shown = (await asking.ask("GET", page, role=None, headers=json)).json
    assert [one["attribute"] for one in shown["questions"]] == ["diet", "children"]
    body = {"answers": [{"attribute": "children", "value": True}, {"topic": "x", "allow": False}]}
    answer = await asking.ask("POST", page, role=None, body=body, headers=json)
    assert (answer.status, answer.json) == (200, {"answered": 2})
    assert await said(asking, {"children": True}, "attributes") == {"children": True}
    for bad in ({"attribute": "tier", "value": "gold"}, {"attribute": "diet", "value": "ham"}, {}):
        answer = await asking.ask("POST", page, role=None, body={"answers": [bad]}, headers=json)
        assert answer.status == 422, bad
    body = {"answers": [{"topic": "x", "allow": False}] * 101}
    assert (await asking.ask("POST", page, role=None, body=body, headers=json)).status == 413


async def test_a_link_is_good_for_one_person_and_one_thing(asking: Rig) -> None:
    await enrol(asking)
    page = await link(asking)
    assert (await asking.ask("GET", page[:-2] + "xx", role=None)).status == 404
    assert (
        await asking.ask("GET", page.replace("preferences", "withdraw"), role=None)
    ).status == 404
    assert (await asking.ask("POST", "/v1/people/eve/preferences/link")).status == 404
    bad = await asking.ask("POST", page, role=None, raw=b"\xff", headers=HTML)
    assert bad.status == 400


async def test_of_whom_agreed_to_nothing_no_answer_is_kept(asking: Rig) -> None:
    await enrol(asking, consents=[])
    page = await link(asking)
    form = urlencode({"ask:diet": "vegetarian", "from": "", "to": ""}).encode()
    answer = await asking.ask("POST", page, role=None, raw=form, headers=HTML)
    assert re.search("Nothing was saved", answer.body.decode())
    body = {"answers": [{"topic": "x", "allow": False}]}
    assert (await asking.ask("POST", page, role=None, body=body)).status == 403
    assert (await asking.ask("GET", "/v1/events")).json["items"] == []
    assert (await asking.ask("GET", "/v1/people/ada")).json["attributes"] == {}


async def test_an_attribute_is_as_the_plan_has_it(asking: Rig) -> None:
    body = {"attributes": {"diet": "ham", "shoe": 43}}
    answer = await asking.ask("PUT", "/v1/people/bob", body=body)
    assert answer.status == 422
    assert "attribute diet must be one of" in answer.json["problems"][0]
    await enrol(asking, attributes={"shoe": 43, "diet": "vegetarian"})
    assert asking.token(Role.ADMIN)
