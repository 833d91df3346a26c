"""Scenario files: what they say, and what is said of one that cannot be."""

from __future__ import annotations

import math
import tomllib
from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.model import ProximityError
from simulator.gps import PHONES, Phone, Sky
from simulator.radio import Air
from simulator.scenario import LIBRARY, Scenario, find, names, read_scenario
from simulator.tomltext import array_of_tables, line

HEAD = 'start = "2026-05-01T10:00:00Z"\norigin = [2.35, 48.85]\n'
WALKER = '[[walker]]\nsubject = "ana"\npath = [[0, 0], [50, 0]]\n'
SHOP = '[[fence]]\nid = "shop"\nbox = [0, 0, 20, 30]\n'
UUID = 'uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"\n'
ZONE = '[[place]]\nid = "door"\nbox = [0, 0, 5, 5]\n'


def read(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "one.toml"
    path.write_text(text, "utf-8")
    return read_scenario(path)


def problems(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ProximityError) as caught:
        read(tmp_path, text)
    return caught.value.problems


def test_the_least_scenario_is_somebody_who_walks(tmp_path: Path) -> None:
    scenario = read(tmp_path, HEAD + WALKER)
    assert scenario.name == "one"
    assert scenario.start == 1777629600.0
    assert scenario.seed == 1
    (actor,) = scenario.actors
    assert actor.phone == PHONES["plain"]
    assert actor.walker.path[1].lon == pytest.approx(2.35 + 50 / 73_386, abs=1e-6)
    assert scenario.venue.site_toml == 'fences = "fences.geojson"\n'
    assert scenario.campaigns_toml is None


def test_without_an_origin_points_are_degrees(tmp_path: Path) -> None:
    text = 'start = 1777629600\n[[walker]]\nsubject = "ana"\npath = [[2.35, 48.85], [2.36, 48.86, 5]]\n'
    text += '[[fence]]\nid = "kiosk"\ncircle = [2.35, 48.85, 25]\n'
    scenario = read(tmp_path, text)
    assert [(one.lon, one.lat, one.stay_s) for one in scenario.actors[0].walker.path] == [
        (2.35, 48.85, 0.0), (2.36, 48.86, 5.0),
    ]  # fmt: skip
    assert scenario.venue.index.locate(2.35, 48.8501) == ["kiosk"]


def test_shapes_become_fences_with_their_properties(tmp_path: Path) -> None:
    text = f"""{HEAD}{WALKER}
[[fence]]
id = "box"
box = [0, 0, 20, 30]
holes = [[[5, 5], [10, 5], [10, 10]]]
dwell_s = [60, 300]
name = "The shop"
tags = ["food"]
valid_until = 2026-06-01T00:00:00Z
[[fence]]
id = "outline"
outline = [[100, 0], [120, 0], [110, 20]]
venue = "box"
exclude = true
[[fence]]
id = "circle"
circle = [200, 0, 15]
floor = 1
[[fence]]
id = "corridor"
corridor = [[300, 0], [340, 0]]
radius_m = 4
"""
    scenario = read(tmp_path, text)
    box, outline, circle = (scenario.venue.index.get(name) for name in ("box", "outline", "circle"))
    assert box is not None
    assert (box.dwell_s, box.name, box.tags) == ((60.0, 300.0), "The shop", ("food",))
    assert box.valid_until == 1780272000.0
    assert outline is not None
    assert outline.exclude
    assert circle is not None
    assert circle.floor == 1.0

    def held(x: float, y: float) -> list[str]:
        return scenario.venue.index.locate(*scenario.venue.plan.degrees(x, y))

    assert held(2, 2) == ["box"]
    assert held(8, 6) == []
    assert held(110, 5) == ["outline"]
    assert held(200, 14.9) == ["circle"]
    assert held(320, -3.9) == ["corridor"]
    assert held(320, -4.1) == []


def test_skies_are_areas_and_fences(tmp_path: Path) -> None:
    text = f'{HEAD}{WALKER}{SHOP}sky = "indoor"\n[[sky]]\nis = "canyon"\nbox = [0, -20, 100, 0]\n'
    scenario = read(tmp_path, text)
    assert sorted(scenario.venue.sky_of.values()) == [Sky.CANYON, Sky.INDOOR]
    assert len(scenario.venue.skies) == 2
    assert "sky" not in scenario.venue.fences.decode()


def test_phones_are_names_or_tables_with_ranges(tmp_path: Path) -> None:
    text = f"""{HEAD}
[[walker]]
subject = "a"
phone = "town"
path = [[0, 0]]
[[walker]]
subject = "b"
phone = {{ like = "town", every_s = 30, stated = [0.5, 2], offline = [[10, 20.5]], mock = true, gap_s = [5, 9] }}
path = [[0, 0]]
[[walker]]
subject = "c"
phone = "none"
path = [[0, 0]]
"""
    a, b, c = read(tmp_path, text).actors
    assert a.phone == PHONES["town"]
    assert b.phone is not None
    assert (b.phone.every_s, b.phone.mock, b.phone.gap_s) == (30.0, True, (5.0, 9.0))
    assert b.phone.offline == ((10.0, 20.5),)
    assert b.phone.accuracy_m == PHONES["town"].accuracy_m
    assert b.between == {"stated": (0.5, 2.0)}
    assert c.phone is None


def test_points_may_say_more(tmp_path: Path) -> None:
    text = (
        HEAD
        + '[[walker]]\nsubject = "a"\npath = [[0, 0, 9], { at = [9, 0], stay_s = 60, wander_m = 4, floor = 1, speed_mps = 2 }]\n'
    )
    first, second = read(tmp_path, text).actors[0].walker.path
    assert (first.stay_s, first.floor, first.speed_mps) == (9.0, None, None)
    assert (second.stay_s, second.wander_m, second.floor, second.speed_mps) == (60.0, 4.0, 1.0, 2.0)


def test_radios_stand_where_they_truly_are(tmp_path: Path) -> None:
    text = f"""{HEAD}timezone = "Europe/Paris"
{ZONE}near_dbm = -72
[[gateway]]
id = "gw"
place = "door"
at = [2, 3]
offset_db = 1.5
skew_s = -4
down = [[10, 20]]
[[beacon]]
{UUID}major = 1
minor = 7
subject = "tag"
every_s = 0.4
[[beacon]]
{UUID}place = "door"
at = [1, 1]
power_dbm = -65
[[wall]]
line = [[0, 0], [0, 9]]
loss_db = 11
[air]
exponent = [1.8, 2.0]
loss = 0.1
[[walker]]
subject = "ana"
carries = ["tag"]
hears = true
path = [[0, 0]]
"""
    scenario = read(tmp_path, text)
    (gateway,) = scenario.venue.receivers
    assert (gateway.x, gateway.y) == pytest.approx((2.0, 3.0), abs=1e-3)
    assert (gateway.skew_s, gateway.down) == (-4.0, ((10.0, 20.0),))
    tag, fixed = scenario.venue.senders
    assert (tag.subject, tag.every_s, tag.beacon.minor) == ("tag", 0.4, 7)
    assert (fixed.place, fixed.power_dbm, fixed.beacon.power_dbm, fixed.beacon.major) == (
        "door", -65.0, -65, 0,
    )  # fmt: skip
    assert scenario.venue.walls[0].loss_db == 11.0
    assert scenario.venue.air.exponent == (1.8, 2.0)
    assert scenario.venue.site.gateways["gw"].offset_db == 1.5
    assert scenario.venue.site.places["door"].near_dbm == -72.0
    site = tomllib.loads(scenario.venue.site_toml)
    assert site["timezone"] == "Europe/Paris"
    assert set(site["gateway"][0]) == {"id", "place", "offset_db", "lon", "lat"}
    assert set(site["beacon"][1]) == {"uuid", "place"}
    assert scenario.venue.areas.ids == ["door"]


def test_people_and_campaigns_are_those_of_the_contract(tmp_path: Path) -> None:
    text = f"""{HEAD}{SHOP}{WALKER}
[[person]]
person = "p"
subjects = ["ana"]
languages = ["fr"]
consents = [{{ purpose = "marketing", channel = "console", from = 2026-01-01T00:00:00Z }}]
[[campaign]]
id = "c"
purpose = "marketing"
on = "enter"
places = ["shop"]
link = "https://example.test/c"
channels = ["console"]
text = {{ en = "Hello" }}
"""
    scenario = read(tmp_path, text)
    assert scenario.people[0].consents[0].since == 1767225600.0
    assert scenario.campaigns_toml is not None
    assert tomllib.loads(scenario.campaigns_toml)["campaign"][0]["text"] == {"en": "Hello"}


def test_files_beside_serve_as_well() -> None:
    scenario = read_scenario(Path(__file__).parents[2] / "examples" / "street" / "walkers.toml")
    assert set(scenario.venue.index.ids) >= {"cafe", "bakery"}
    assert {person.person for person in scenario.people} == {"ana", "ben", "cleo"}
    assert scenario.campaigns_toml is not None


def test_a_crowd_is_one_walker_many_times(tmp_path: Path) -> None:
    text = f"""{HEAD}
[[crowd]]
subject = "w"
count = 12
path = [[0, 0], [50, 0]]
starts_s = [0, 100]
spread_m = 3
calls = [[10, 10], [20, 20], [30, 30]]
calls_each = [1, 2]
stay_s = [5, 9]
"""
    (crowd,) = read(tmp_path, text).crowds
    assert (crowd.count, crowd.calls_each, crowd.stay_s) == (12, (1, 2), (5.0, 9.0))
    assert len(crowd.calls) == 3


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("= 1", "this is no TOML"),
        (WALKER, "lacks start"),
        ('start = "noon"\n' + WALKER, "start"),
        ('start = "9999-12-31T23:59:30Z"\n' + WALKER, "start: leave a century"),
        (HEAD, "nobody walks"),
        (HEAD + 'shop = "x"\n' + WALKER, "unknown key 'shop'"),
        (HEAD + "seed = -1\n" + WALKER, "seed must be"),
        ("start = 0\norigin = [2, 95]\n" + WALKER, "origin must be"),
        (HEAD + WALKER + '[[fence]]\nid = "f"\n', "no shape"),
        (HEAD + WALKER + "[[fence]]\nbox = [0, 0, 1, 1]\n", "lacks id"),
        (HEAD + WALKER + SHOP + "circle = [0, 0, 5]\n", "box and circle: one shape each"),
        (HEAD + WALKER + SHOP + "dwel_s = 5\n", "did you mean 'dwell_s'?"),
        (HEAD + WALKER + SHOP + "dwell_s = -5\n", "dwell_s"),
        (HEAD + WALKER + SHOP + SHOP, "shop"),
        (HEAD + WALKER + SHOP + 'sky = "cave"\n', "there is canyon, indoor, none"),
        (HEAD + WALKER + '[[fence]]\nid = "f"\nbox = [5, 0, 1, 1]\n', "west and south the smaller"),
        (HEAD + WALKER + '[[fence]]\nid = "f"\ncircle = [0, 0, -2]\n', "circle must be"),
        (HEAD + WALKER + '[[fence]]\nid = "f"\ncorridor = [[0, 0], [9, 0]]\n', "with radius_m"),
        (HEAD + WALKER + '[[fence]]\nid = "f"\noutline = [[0, 0], [9, 0]]\n', "three points"),
        (HEAD + WALKER + SHOP + "holes = [[[0, 0]]]\n", "holes must be"),
        (HEAD + WALKER + '[[fence]]\nid = "f"\noutline = [[0, 0], [9, 9], [9, 0], [0, 9]]\n', "cross"),
        (HEAD + "[[walker]]\npath = [[0, 0]]\n", "lacks subject"),
        (HEAD + '[[walker]]\nsubject = "a"\npath = []\n', "1 to 10000 points"),
        (HEAD + '[[walker]]\nsubject = "a"\npath = [[0]]\n', "path: point 1"),
        (HEAD + '[[walker]]\nsubject = "a"\npath = [[0, 0, -5]]\n', "seconds to stay"),
        (HEAD + '[[walker]]\nsubject = "a"\npath = [[1e9, 0]]\n', "farther than"),
        (HEAD + '[[walker]]\nsubject = "a"\npath = [{ stay_s = 5 }]\n', "needs at"),
        (HEAD + '[[walker]]\nsubject = "a"\npath = [{ at = [0, 0], stay = 5 }]\n', "'stay_s'"),
        ('start = 0\n[[walker]]\nsubject = "a"\npath = [[200, 0]]\n', "name an origin"),
        (HEAD + WALKER + "speed_mps = 0\n", "speed_mps"),
        (HEAD + WALKER + 'phone = "twon"\n', "did you mean 'town'?"),
        (HEAD + WALKER + "phone = 3\n", "phone must be"),
        (HEAD + WALKER + "phone = { every = 3 }\n", "'every_s'"),
        (HEAD + WALKER + "phone = { white = 3 }\n", "white must be"),
        (HEAD + WALKER + "phone = { white = [0.3, 0.1] }\n", "rising"),
        (HEAD + WALKER + "phone = { offline = [[20, 10]] }\n", "from, to"),
        (HEAD + WALKER + "phone = { mock = 1 }\n", "true or false"),
        (HEAD + WALKER + 'carries = ["tag"]\n', "no [[beacon]] is enrolled for"),
        (HEAD + WALKER + WALKER, "somebody else's"),
        (HEAD + WALKER + "hears = true\n", "no [[beacon]] is fixed"),
        (HEAD + WALKER + 'phone = "none"\nhears = true\n', "no phone to hear with"),
        (HEAD + WALKER + '[[gateway]]\nid = "g"\nplace = "x"\nat = [0, 0]\n', "neither a fence nor"),
        (HEAD + WALKER + ZONE + '[[gateway]]\nid = "g"\nplace = "door"\n', "needs at = [x, y]"),
        (HEAD + WALKER + ZONE + '[[gateway]]\nid = "g"\nplace = "door"\nat = [0, 0]\nofset_db = 1\n', "offset_db"),
        (
            HEAD + WALKER + '[[place]]\nid = "z"\n[[gateway]]\nid = "g"\nplace = "z"\nat = [0, 0]\n',
            "drawn nowhere",
        ),
        (HEAD + WALKER + '[[beacon]]\nuuid = "f7"\nsubject = "ana"\n', "must be a UUID"),
        (HEAD + WALKER + f'[[beacon]]\n{UUID}minor = "a"\nsubject = "ana"\n', "minor"),
        (HEAD + WALKER + ZONE + '[[gateway]]\nid = "g"\nplace = "door"\nat = [0, 0]\nwindow_s = 3\n', "[10, 5]"),
        (HEAD + WALKER + "[[sky]]\nbox = [0, 0, 1, 1]\n", "needs is"),
        (HEAD + WALKER + "a" + ".a" * 3000 + " = 1\n", ""),
        (HEAD + WALKER + "[[wall]]\nline = [[0, 0]]\n", "line must be a list of 2 points"),
        (HEAD + WALKER + "[air]\nexponent = 2\n", "exponent must be"),
        (HEAD + WALKER + "[air]\nlos = 2\n", "'loss'"),
        (HEAD + WALKER + '[[person]]\nperson = ""\n', "write a person as"),
        (HEAD + WALKER + '[[person]]\nperson = "p"\nage = 5\n', "unknown key 'age'"),
        (HEAD + WALKER + '[[campaign]]\nid = "c"\n', "campaign 'c'"),
        (HEAD + "expect = '''{\"knd\":1}'''\n" + WALKER, "no output record has a key 'knd'"),
        (HEAD + 'site = "../site.toml"\n' + WALKER, "beside this one, no path"),
        (HEAD + 'site = "gone.toml"\n' + WALKER, "gone.toml"),
        (HEAD + 'site = "s.toml"\n' + WALKER + SHOP, "leave out one"),
        (HEAD + '[[crowd]]\nsubject = "w"\ncount = 1000000000\npath = [[0, 0]]\n', "count must be"),
        (HEAD + '[[crowd]]\nsubject = "w"\nstarts_s = [9, 1]\npath = [[0, 0]]\n', "starts_s"),
        (HEAD + WALKER + "path = 3\n", "TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_mend(tmp_path: Path, text: str, wanted: str) -> None:
    found = problems(tmp_path, text)
    assert any(wanted in problem for problem in found), found
    assert all(problem.startswith(("one.toml", "../", "gone", "/")) for problem in found), found


def test_all_problems_are_told_at_once_and_no_more_than_can_be_read(tmp_path: Path) -> None:
    text = (
        HEAD + '[[fence]]\nid = "f"\n' * 1 + '[[walker]]\nsubject = "a"\nspeed_mps = -1\npath = 3\n'
    )
    assert len(problems(tmp_path, text)) >= 3
    many = HEAD + "".join(f'[[fence]]\nid = "f{n}"\n' for n in range(500)) + WALKER
    assert len(problems(tmp_path, many)) == 101


def test_too_large_too_deep_and_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProximityError, match="line 1 is not UTF-8: save"):
        read_scenario(tmp_path / "one.toml")
    assert "nested" in problems(tmp_path, "a = " + "[" * 100_000)[0]
    with pytest.raises(ProximityError, match="cannot be read"):
        read_scenario(tmp_path / "none.toml")


def test_a_scenario_comes_from_standard_input_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").write_text(HEAD + WALKER)
    with (tmp_path / "in").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert read_scenario(find("-")).name == "standard input"


def test_names_are_found_and_slips_are_guessed() -> None:
    assert find("walk-in") == LIBRARY / "walk-in.toml"
    assert find("some/where.toml") == Path("some/where.toml")
    with pytest.raises(ProximityError, match="is 'walk-in' meant"):
        find("walkin")
    with pytest.raises(ProximityError, match="--list"):
        find("zzzz")
    assert len(names()) >= 20


@pytest.mark.parametrize("name", names())
def test_every_scenario_of_the_library_says_what_it_shows(name: str) -> None:
    scenario = read_scenario(find(name))
    assert 20 <= len(scenario.shows) <= 120
    assert scenario.shows.endswith(".")
    assert (LIBRARY / f"{name}.toml").read_text().startswith("# ")


values = st.recursive(
    st.text(st.characters(exclude_categories=("Cs",)))
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.dates(date(1, 1, 1)),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=9), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=9), values, max_size=4
    )
)
def test_what_is_written_as_toml_reads_back(table) -> None:
    text = line("one", table) + array_of_tables("many", [table, {}])
    assert tomllib.loads(text) == {"one": table, "many": [table, {}]}
    assert all(not math.isnan(one) for one in table.values() if isinstance(one, float))


# The page ----------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scenarios.md"


def test_the_page_lists_the_library_in_its_own_words() -> None:
    rows = [f"| `{name}` | {read_scenario(find(name)).shows} |" for name in names()]
    told = PAGE.read_text().partition("## The library")[2]
    assert [row for row in told.splitlines() if row.startswith("| `")] == rows


def test_the_page_names_everything_that_phones_and_air_can_be_told() -> None:
    page = PAGE.read_text()
    missing = [
        one.name for kind in (Phone, Air) for one in fields(kind) if f"`{one.name}`" not in page
    ]
    assert missing == []
    assert [name for name in PHONES if f"`{name}`" not in page] == []


def test_a_start_that_is_no_time_is_told_once(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, f'start = "soon"\norigin = [2.35, 48.85]\n{WALKER}')
    assert "start: 'soon' is no RFC 3339 time" in problem
