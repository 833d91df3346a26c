"""``proximity campaign …``: what is told before anybody gets anything, and with which status."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema_rs
import msgspec
import pytest
from click.testing import CliRunner, Result

from proximity.__main__ import main
from proximity.people.people import People
from proximity.server.auth import Role
from proximity.store import Store
from proximity.store.folder import state_of
from tests.proximity.given import ANNA, LEAST
from tests.proximity.pages import Site, serving
from tests.proximity.server.rig import running

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
ALL_USERS = """
[[campaign]]
id = "blast"
purpose = "marketing"
on = "manual"
benefit = "half price"
channels = ["console"]
text = { en = "Everything at half price." }
"""
ANNAS = """
link_hosts = ["example.test", "cafe-app://"]

[[stock]]
id = "cups"
count = 3

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["cafe"]
attributes = ["name"]
stock = ["cups"]
channels = ["console"]
links = { app = "cafe-app://{place}", web = "https://example.test/{place}" }
[campaign.text]
en = "{{ person.name | default: 'Hello' }}, {{ stock | plural: one: 'one left', other: '# left' }} at {{ place }}."
fr = "Plus que {{ stock }} chez {{ place }}."

[[campaign]]
id = "tea"
purpose = "service"
on = "manual"
places = ["cafe"]
channels = ["console"]
text = { en = "Tea at {place}." }
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def write(tmp_path: Path) -> object:
    def write(text: str, name: str = "campaigns.toml") -> Path:
        file = tmp_path / name
        file.write_text(text)
        return file

    return write


def test_a_campaign_for_all_users_is_refused_by_lint(write) -> None:
    file = write(ALL_USERS, "all_users.toml")
    assert run("campaign", "check", file).exit_code == 0
    told = run("campaign", "lint", file)
    assert told.exit_code == 1
    assert "campaign 'blast': it goes to everybody, the same" in told.stdout
    assert told.stdout.splitlines()[0].endswith("[everyone]")
    somebody = ALL_USERS.replace(
        'on = "manual"', 'on = "manual"\naudience = { attribute = "tier", is = "gold" }'
    )
    assert run("campaign", "lint", write(somebody)).exit_code == 0


def test_lint_names_what_check_finds_and_goes_on_where_it_can(write) -> None:
    told = run("campaign", "lint", write("[[campaign]]\nid = 'x'\n"))
    assert told.exit_code == 1
    assert "channels is missing" in told.stdout
    least = run("campaign", "lint", write(LEAST))
    assert [line.rpartition("[")[2] for line in least.stdout.splitlines()] == [
        "benefit]", "age]", "pressure]", "pressure]", "hosts]"
    ]  # fmt: skip
    channel = run("campaign", "lint", write(LEAST + "[channel.inbox]\npoll = 5\n"))
    assert (
        "campaigns.toml: channel.inbox: unknown key 'poll'; did you mean 'poll_s'?\n"
        in channel.stdout
    )
    records = [
        json.loads(line)
        for line in run("campaign", "lint", write(LEAST), "--json").stdout.splitlines()
    ]
    assert records[0] == {
        "rule": "benefit", "level": "fault", "campaign": "coffee", "text": records[0]["text"],
    }  # fmt: skip
    assert {record["level"] for record in records[1:]} == {"advice"}


def test_lint_with_a_site_knows_its_places(write, tmp_path: Path) -> None:
    site = ROOT / "examples" / "street" / "site.toml"
    good = LEAST.replace('"store-7"', '"cafe"').replace(
        'id = "coffee"', 'id = "coffee"\nbenefit = "x"'
    )
    assert run("campaign", "lint", write(good), "--site", site).exit_code == 0
    told = run("campaign", "lint", write(good.replace('"cafe"', '"caffe"')), "--site", site)
    assert told.exit_code == 1
    assert "there is no place 'caffe'; did you mean 'cafe'? [place]" in told.stdout
    tagged = run(
        "campaign",
        "lint",
        write(good.replace('places = ["cafe"]', 'tags = ["zoo"]')),
        "--site",
        site,
    )
    assert "no fence carries the tag 'zoo'; there is books, cafe, food [place]" in tagged.stdout
    assert run("campaign", "lint", write(good), "--data", tmp_path).exit_code == 2
    # A cap on a place that is not there holds nowhere; nor is anybody shown the way to one.
    capped = good.replace('id = "coffee"', 'id = "coffee"\nlanding = true\nlanding_place = "bakry"\n'
                          'caps = [{ count = 1, per = "day", place = "cafee" }]')  # fmt: skip
    file = write(
        'public_url = "https://offers.example.test"\n' + capped
        + '[[cap]]\ncount = 1\nper = "day"\nplace = "streat"\n'
    )  # fmt: skip
    told = run("campaign", "lint", file, "--site", site, "--json")
    named = [
        (one["campaign"], one["text"].partition(";")[0])
        for one in map(json.loads, told.stdout.splitlines()) if one["rule"] == "place"
    ]  # fmt: skip
    assert named == [
        (None, "there is no place 'streat'"),
        ("coffee", "there is no place 'bakry'"),
        ("coffee", "there is no place 'cafee'"),
    ]


def test_lint_refuses_a_sensitive_place(write, tmp_path: Path) -> None:
    clinic = {
        "type": "Feature", "id": "clinic", "properties": {"tags": ["clinic"], "radius_m": 50},
        "geometry": {"type": "Point", "coordinates": [2.35, 48.85]},
    }  # fmt: skip
    fences = tmp_path / "fences.geojson"
    fences.write_text(json.dumps({"type": "FeatureCollection", "features": [clinic]}))
    site = tmp_path / "site.toml"
    site.write_text('fences = "fences.geojson"\n')
    campaign = LEAST.replace('"store-7"', '"clinic"').replace(
        'id = "coffee"', 'id = "coffee"\nbenefit = "x"'
    )
    told = run("campaign", "lint", write(campaign), "--site", site)
    assert told.exit_code == 1
    assert "[sensitive/health]" in told.stdout


def test_preview_shows_each_language_with_sample_stock(write) -> None:
    file = write(ANNAS)
    told = run("campaign", "preview", file)
    assert told.exit_code == 0
    assert told.stdout.splitlines()[:6] == [
        "coffee at cafe",
        "  en       Hello, 3 left at cafe.",
        "           22 characters",
        "           app: cafe-app://cafe",
        "           web: https://example.test/cafe",
        "  fr       Plus que 3 chez cafe.",
    ]
    site = ROOT / "examples" / "street" / "site.toml"
    named = run(
        "campaign", "preview", file, "--campaign", "tea", "--site", site, "--language", "fr"
    )
    assert "Tea at " in named.stdout
    assert "coffee" not in named.stdout
    assert run("campaign", "preview", file, "--campaign", "milk").exit_code == 2


def test_preview_for_a_person_says_whose_the_language_is(write, tmp_path: Path) -> None:
    people = write(
        '{"person":"ana","subjects":["a"],"languages":["fr-CA"],"attributes":{"name":"Ana"}}\n'
        '{"person":"bea","languages":["ja"],"attributes":{"name":"Bea"}}\n',
        "people.jsonl",
    )
    file = write(ANNAS)
    french = run(
        "campaign", "preview", file, "--campaign", "coffee", "--person", "ana", "--people", people
    )
    assert "fr       Plus que 3 chez cafe." in french.stdout
    assert "the language is the person's" in french.stdout
    records = run(
        "campaign",
        "preview",
        file,
        "--campaign",
        "coffee",
        "--person",
        "bea",
        "--people",
        people,
        "--json",
    )
    (record,) = [json.loads(line) for line in records.stdout.splitlines()]
    assert (record["text"], record["chosen_by"]) == ("Bea, 3 left at cafe.", "default")
    assert run("campaign", "preview", file, "--person", "eve", "--people", people).exit_code == 2
    unread = run("campaign", "preview", file, "--people", people)
    assert unread.exit_code == 2
    assert "--people: tells of --person" in unread.stderr
    data = tmp_path / "data"
    with contextlib.closing(Store.open(state_of(data))) as store:
        store.write(lambda conn: People(store).put(conn, ANNA)).result()
    stored = run(
        "campaign", "preview", file, "--person", "anna", "--data", data, "--campaign", "coffee"
    )
    assert "Plus que 3" in stored.stdout


def test_preview_of_what_is_not_there_names_what_may_be_meant(write) -> None:
    site = ROOT / "examples" / "street" / "site.toml"
    people = write('{"person":"ana"}\n', "people.jsonl")
    file = write(ANNAS)
    for words, told in [
        (("--campaign", "cofee"),
         "campaigns.toml: there is no campaign 'cofee'; did you mean 'coffee'?"),
        (("--site", site, "--place", "caffe"),
         "site.toml: there is no place 'caffe'; did you mean 'cafe'?"),
        (("--person", "anna", "--people", people), "people.jsonl: there is no person 'anna'"),
    ]:  # fmt: skip
        asked = run("campaign", "preview", file, *words)
        assert asked.exit_code == 2
        assert asked.stderr == f"proximity: {told}\n"
    # Without a site any place may be: its id stands for its name.
    assert "at the corner" in run("campaign", "preview", file, "--place", "the corner").stdout


def test_preview_of_what_cannot_be_shown_is_status_1(write) -> None:
    unknown = ANNAS.replace(" | default: 'Hello'", "")
    told = run("campaign", "preview", write(unknown), "--campaign", "coffee", "--language", "en")
    assert told.exit_code == 1
    assert "cannot be shown: text.en" in told.stdout


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made


def offering(site: Site, path: str, **more: str) -> str:
    extra = "\n".join(f"{key} = {value}" for key, value in more.items())
    return LEAST.replace("https://example.test/coffee", site.root + path).replace(
        'id = "coffee"', f'id = "coffee"\n{extra}'
    )


def test_preflight_ends_with_1_on_a_404_and_on_expiry(write, site: Site) -> None:
    site.page("/coffee")
    good = ("campaign", "preflight", write(offering(site, "/coffee")), "--allow", "127.0.0.0/8")
    assert (run(*good).exit_code, run(*good).stdout) == (0, "")
    dead = run("campaign", "preflight", write(offering(site, "/gone")), "--allow", "127.0.0.0/8")
    assert dead.exit_code == 1
    assert "the answer is 404 [link]" in dead.stdout
    ended = write(offering(site, "/coffee", valid_until='"2026-05-01T00:00:00Z"'))
    words = ("campaign", "preflight", ended, "--allow", "127.0.0.0/8", "--at")
    assert run(*words, "2026-04-01T00:00:00Z").exit_code == 0
    told = run(*words, "2026-05-02T00:00:00Z", "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["what"] == "ended"


def test_preflight_opens_nothing_that_is_not_public_unless_allowed(write, site: Site) -> None:
    file = write(offering(site, "/coffee"))
    told = run("campaign", "preflight", file)
    assert told.exit_code == 1
    assert "may not be opened" in told.stdout
    assert site.asked == []
    assert run("campaign", "preflight", file, "--allow", "everywhere").exit_code == 2


def test_preflight_with_data_knows_what_is_left(write, site: Site, tmp_path: Path) -> None:
    site.page("/coffee")
    file = write(
        '[[stock]]\nid = "cups"\ncount = 0\n' + offering(site, "/coffee", stock='["cups"]')
    )
    data = tmp_path / "data"
    Store.open(state_of(data)).close()
    told = run("campaign", "preflight", file, "--data", data, "--allow", "127.0.0.0/8")
    assert told.exit_code == 1
    assert "nothing is left of the stock 'cups' [stock]" in told.stdout


def test_the_schema_is_json_schema_and_takes_the_examples() -> None:
    import tomllib

    told = run("campaign", "schema")
    schema = json.loads(told.stdout)
    jsonschema_rs.meta.validate(schema)
    check = jsonschema_rs.Draft202012Validator(schema)
    files = sorted((ROOT / "examples").glob("*/campaigns.toml"))
    assert len(files) >= 5
    for file in files:
        table = json.loads(json.dumps(tomllib.loads(file.read_text()), default=str))
        assert [error.message for error in check.iter_errors(table)] == [], file
    assert list(check.iter_errors({"campaign": [{"id": 7}]}))


def test_a_dry_run_on_oneself_sends_nothing_and_says_what_would_be(write, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with contextlib.closing(Store.open(state_of(data))) as store:
        store.write(lambda conn: People(store).put(conn, ANNA)).result()
    file = write(ANNAS.replace('purpose = "service"', 'purpose = "marketing"'))
    words = ("campaign", "send", "tea", "--data", data, "--campaigns", file, "--person", "anna")
    told = run(*words, "--dry-run")
    assert (told.exit_code, told.stderr) == (0, "")
    assert "anna: would get: Tea at cafe." in told.stdout
    again = json.loads(run(*words, "--dry-run", "--json").stdout)
    assert again["results"] == {"send": 1}
    assert run(*words).stdout == "meant 1, of them new 1\n"
    assert run(*words).stdout == "meant 1, of them new 0\n"
    stranger = (*words[:-1], "nobody")
    refused = run(*stranger, "--dry-run")
    assert refused.exit_code == 1
    assert "1  unconsented" in refused.stdout
    # What is sent by itself alone can be tried as well, and cannot be sent.
    tried = run("campaign", "send", "coffee", *words[3:], "--dry-run")
    assert (tried.exit_code, "anna: would get: " in tried.stdout) == (0, True)
    assert run("campaign", "send", "coffee", *words[3:]).exit_code == 2
    assert run("campaign", "send", "tea", "--data", data).exit_code == 2


async def test_a_running_server_sends_previews_and_rehearses_for_one_person(
    write, tmp_path: Path
) -> None:
    file = write(ANNAS.replace('purpose = "service"', 'purpose = "marketing"'), "offers.toml")
    async with running(tmp_path, campaigns=file) as rig:
        where = ("--server", rig.url, "--token", rig.token(Role.ADMIN))
        await rig.ask("POST", "/v1/people", body=[json.loads(msgspec.json.encode(ANNA))])

        async def ask(*words: object) -> Result:
            return await asyncio.to_thread(run, *words)

        shown = await ask(
            "campaign", "preview", file, *where, "--person", "anna", "--campaign", "coffee"
        )
        assert "Plus que 3 chez cafe." in shown.stdout
        send = ("campaign", "send", "tea", *where, "--person", "anna")
        told = await ask(*send, "--dry-run")
        assert (told.exit_code, told.stderr) == (0, "")
        assert "anna: would get: Tea at cafe." in told.stdout
        queued = await ask(*send, "--json")
        assert json.loads(queued.stdout) == {"people": 1, "new": 1, "unconsented": 0}
        (decision,) = await rig.until("/v1/decisions", 1)
        assert (decision["decision"], decision["campaign"]) == ("send", "tea")
        assert (await ask(*send, "--campaigns", file)).exit_code == 2
        assert (await ask("campaign", "send", "milk", *where, "--person", "anna")).exit_code == 2


@pytest.mark.parametrize("told", ["check", "lint"])
def test_what_is_nested_too_deeply_is_told_in_plain_words(write, told: str) -> None:
    deep = run("campaign", told, write("x = " + "[" * 50_000))
    assert deep.exit_code == 2
    assert "is nested too deeply" in deep.stderr
