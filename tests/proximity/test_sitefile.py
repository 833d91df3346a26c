"""Site files as people write them: read whole, or every problem named at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from beacon_gateway.eid import EidKey
from beacon_gateway.eid import name as first_identity
from proximity.model import ProximityError
from proximity.site import sitefile
from proximity.site.registry import Enrolled, Gateway, Place
from proximity.site.sitefile import fences_beside, load_site, parse_site, read_rows, read_site
from proximity.tomltable import TomlTable

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
FULL = f"""
fences = "fences.geojson"
timezone = "Europe/Paris"

[[place]]
id = "store-7/entrance"
parent = "store-7"
exit_after_s = 30
near_dbm = -72
dwell_s = [120, 60]

[[place]]
id = "store-7/shoes"
dwell_s = 45

[[gateway]]
id = "gw-1"
place = "store-7/entrance"
offset_db = -2.5
lon = 2.35
lat = 48.85
x_m = 3
y_m = 4
floor = 1
dead = true

[[beacon]]
format = "ibeacon"
uuid = "{UUID.upper()}"
major = 1
minor = 7
subject = "member-42"

[[beacon]]
uuid = "{UUID.replace("-", "")}"
major = 2
place = "store-7/shoes"

[[beacon]]
format = "altbeacon"
id1 = "{UUID}"
id2 = 0
subject = "member-43"

[[beacon]]
format = "eddystone-uid"
namespace = "ABABABABABABABABABAB"
instance = "cdcdcdcdcdcd"
subject = "member-44"

[[beacon]]
format = "eddystone-eid"
eid = "0011223344556677"
subject = "member-45"

[[beacon]]
format = "eddystone-url"
url = "https://a.com"
place = "store-7/shoes"
"""


def problems(text: str, beacons_csv: str | None = None) -> list[str]:
    with pytest.raises(ProximityError) as caught:
        parse_site(text, "site.toml", beacons_csv)
    assert all("\n" not in problem for problem in caught.value.problems)
    return list(caught.value.problems)


def problem(text: str, beacons_csv: str | None = None) -> str:
    (only,) = problems(text, beacons_csv)
    return only


def test_a_beacon_of_the_list_is_named_by_its_line() -> None:
    site = parse_site('beacons = "tags.csv"', "site.toml", f"uuid,place\n{UUID},shose\n")
    (found,) = site.check(["shoes"])
    assert found.startswith("tags.csv: line 2: place 'shose' is neither")
    assert "did you mean 'shoes'?" in found


def test_a_whole_site() -> None:
    site = parse_site(FULL, "site.toml")
    assert (site.name, site.fences, site.timezone) == (
        "site.toml",
        "fences.geojson",
        "Europe/Paris",
    )
    assert site.places == {
        "store-7/entrance": Place(
            id="store-7/entrance",
            parent="store-7",
            exit_after_s=30.0,
            near_dbm=-72.0,
            dwell_s=(60.0, 120.0),
        ),
        "store-7/shoes": Place(id="store-7/shoes", dwell_s=(45.0,)),
    }
    assert site.gateways == {
        "gw-1": Gateway(
            id="gw-1",
            place="store-7/entrance",
            offset_db=-2.5,
            lon=2.35,
            lat=48.85,
            x_m=3.0,
            y_m=4.0,
            floor=1.0,
            dead=True,
        )
    }
    assert site.beacons == (
        Enrolled(key=("ibeacon", UUID, 1, 7), subject="member-42"),
        Enrolled(key=("ibeacon", UUID, 2, None), place="store-7/shoes"),
        Enrolled(key=("altbeacon", UUID, 0, None), subject="member-43"),
        Enrolled(key=("eddystone-uid", "ab" * 10, "cd" * 6), subject="member-44"),
        Enrolled(key=("eddystone-eid", "0011223344556677"), subject="member-45"),
        Enrolled(key=("eddystone-url", "https://a.com"), place="store-7/shoes"),
    )
    assert site.check([]) == []


def test_an_empty_file_is_a_site_of_nothing() -> None:
    site = parse_site("", "site.toml")
    assert (site.fences, site.timezone, site.places, site.gateways, site.beacons) == (
        None,
        None,
        {},
        {},
        (),
    )


def test_a_list_of_beacons_enrols_many() -> None:
    rows = (
        f"format, uuid,major,minor,subject,place\r\n,{UUID},1,7,m-1,\n\nibeacon,{UUID},2,,,shoes\n"
    )
    site = parse_site('beacons = "tags.csv"', "site.toml", rows)
    assert site.beacons == (
        Enrolled(key=("ibeacon", UUID, 1, 7), subject="m-1"),
        Enrolled(key=("ibeacon", UUID, 2, None), place="shoes"),
    )
    assert parse_site('beacons = "tags.csv"', "site.toml", "").beacons == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("place = 3", "place must be a list of tables: write [[place]]"),
        ("[place]\nid = 'a'", "write [[place]]"),
        ("zone = 3", "unknown key 'zone'"),
        ("timezon = 'UTC'", "did you mean 'timezone'?"),
        ("timezone = 'Mars/Base'", "timezone 'Mars/Base' is not known"),
        ("timezone = '../../etc/passwd'", "is not known"),
        ("timezone = 'Europe'", "is not known"),
        ("first_inside = 'never'", "first_inside 'never' is not known"),
        ("fences = 3", "fences must be a text"),
        ("[[place]]", "place number 1: lacks id"),
        ("[[place]]\nid = ''", "place number 1: id must be a text"),
        ("[[place]]\nid = 7", "id must be a text"),
        ("[[place]]\nid = 'a'\nnear = -70", "place 'a': unknown key 'near'"),
        ("[[place]]\nid = 'a'\nnear_dbm = 70", "near_dbm must be a number from -120 to 0"),
        ("[[place]]\nid = 'a'\nexit_after_s = 0", "exit_after_s must be a number"),
        ("[[place]]\nid = 'a'\nexit_after_s = nan", "exit_after_s must be a number"),
        ("[[place]]\nid = 'a'\ndwell_s = ['x']", "dwell_s must be a number"),
        ("[[place]]\nid = 'a'\ndwell_s = -3", "dwell_s must be a number"),
        (f"[[place]]\nid = 'a'\ndwell_s = {[1] * 99}", "write at most 16"),
        ("[[place]]\nid = 'a'\n[[place]]\nid = 'a'", "this id is used before"),
        ("[[place]]\nid = 'a'\nparent = 'a'", "place 'a' in 'a': none can be its own parent"),
        ("[[gateway]]\nid = 'g'", "gateway 'g': lacks place"),
        ("[[gateway]]\nid = 'g'\nplace = 'a'\noffset_db = 100", "offset_db must be a number"),
        ("[[gateway]]\nid = 'g'\nplace = 'a'\nlon = true", "lon must be a number"),
        ("[[beacon]]\nsubject = 'm'", "lacks uuid"),
        ("[[beacon]]\nsubject = 'm'\nuuid = '12'", "uuid must be a UUID"),
        ("[[beacon]]\nsubject = 'm'\nuuid = 12", "uuid must be a text"),
        (f"[[beacon]]\nsubject = 'm'\nuuid = '{UUID}'\nmajor = 65536", "from 0 to 65535"),
        (f"[[beacon]]\nsubject = 'm'\nuuid = '{UUID}'\nmajor = 1.5", "whole number"),
        (f"[[beacon]]\nuuid = '{UUID}'", "needs either subject"),
        (f"[[beacon]]\nuuid = '{UUID}'\nsubject = 'm'\nplace = 'a'", "needs either subject"),
        (f"[[beacon]]\nuuid = '{UUID}'\nsubject = 'm'\neid = '00'", "unknown key 'eid'"),
        ("[[beacon]]\nformat = 'eddystone-tlm'", "format is 'eddystone-tlm'"),
        ("[[beacon]]\nformat = 3", "format must be a text"),
        ("[[beacon]]\nformat = 'eddystone-eid'\neid = 'xy'\nsubject = 'm'", "16 hex digits"),
        ("beacons = 'b.csv'", "whose text was not given"),
        ("a = ", "this is no TOML"),
        ("a = " + "[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_problem_names_the_place_and_the_mend(text: str, words: str) -> None:
    found = problem(text)
    assert found.startswith("site.toml: ")
    assert words in found


def test_the_same_beacon_twice() -> None:
    one = f"[[beacon]]\nuuid = '{UUID}'\nmajor = 1\nsubject = 'm'\n"
    assert f"beacon number 2: ibeacon/{UUID}/1 is enrolled before" in problem(one + one)


def test_every_problem_at_once() -> None:
    text = "[[place]]\nid = 'a'\nparent = 'b'\nnear = 1\n[[place]]\nid = 'b'\nparent = 'a'\n"
    text += "[[place]]\nid = 'c'\nparent = 'a'\n[[gateway]]\n[[beacon]]\n"
    assert [line.removeprefix("site.toml: ")[:30] for line in problems(text)] == [
        "place 'a': unknown key 'near';",
        "gateway number 1: lacks id: ad",
        "gateway number 1: lacks place:",
        "beacon number 1: lacks uuid: a",
        "beacon number 1: needs either ",
        "place 'a' in 'b' in 'a': none ",
    ]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("uuid,subject\nx,m", "tags.csv: line 2: uuid must be a UUID"),
        (f"uuid,subject\n{UUID},m,7", "tags.csv: line 2: has 3 cells, but there are 2"),
        (f"uuid,subjct\n{UUID},m", "tags.csv: line 2: "),
        (f"uuid,major,subject\n{UUID},x,m", "major must be a number"),
        (f"uuid,major,subject\n{UUID},{'9' * 5000},m", "major must be a number"),
        (f'uuid,subject\n"{UUID}" x,m', "tags.csv: line 2: is not CSV"),
        ("uuid,subject\n" + "x" * 200_000, "is not CSV"),
        (f"uuid,subject,uuid\n{UUID},m,{UUID}", "tags.csv: line 1: column 'uuid' is there 2 times"),
    ],
)
def test_a_problem_of_the_list_names_its_line(rows: str, words: str) -> None:
    assert any(words in found for found in problems('beacons = "tags.csv"', rows))


def test_very_many_problems_are_cut() -> None:
    found = problems('beacons = "tags.csv"', "uuid\n" + "x\n" * 10_000)
    assert len(found) == sitefile.MAX_PROBLEMS + 1
    assert found[-1] == "site.toml: and more; mend these first"


def test_files_beside_one_another(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('\ufefffences = "f.geojson"\nbeacons = "tags.csv"\n', encoding="utf-8")
    (tmp_path / "tags.csv").write_text(f"\ufeffuuid,subject\n{UUID},m\n", encoding="utf-8")
    site = load_site(path)
    assert site.name == "site.toml"
    assert [beacon.subject for beacon in site.beacons] == ["m"]
    assert fences_beside(path, site) == tmp_path / "f.geojson"
    path.write_text("")
    assert read_site(path) == ("", None)
    assert fences_beside(path, load_site(path)) is None


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(ProximityError) as caught:
            load_site(path)
        return str(caught.value)

    path = tmp_path / "site.toml"
    assert "site.toml: cannot be read: No such file" in refusal(path)
    assert "cannot be read: embedded null byte" in refusal(tmp_path / "a\0b")
    path.write_text('beacons = "tags.csv"')
    assert "site.toml: beacons: tags.csv: cannot be read" in refusal(path)
    (tmp_path / "tags.csv").write_bytes(b"uuid\n\xff\n")
    assert "tags.csv: line 2 is not UTF-8" in refusal(path)
    monkeypatch.setattr(sitefile, "MAX_SITE_BYTES", 5)
    assert "site.toml: larger than 5 bytes: split the site" in refusal(path)


def test_a_site_may_be_named_by_text(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('[[place]]\nid = "shop"\n')
    assert load_site(str(path)) == load_site(path)


@pytest.mark.parametrize("zone", ["localtime", "Factory", "posixrules", "Mars/Olympus"])
def test_a_zone_that_is_none_everywhere_is_refused(zone: str) -> None:
    with pytest.raises(ProximityError, match=r"timezone .* is not known"):
        parse_site(f'timezone = "{zone}"\n', "site.toml")


@pytest.mark.parametrize("key", ["major = 0x", "subject = 0x", "place = 0x"])
def test_endless_whole_numbers_are_problems(key: str) -> None:
    text = f'[[beacon]]\nuuid = "{UUID}"\n{key}{"f" * 9000}\n'
    with pytest.raises(ProximityError, match="a number of thousands of digits"):
        parse_site(text, "site.toml")


def test_endless_numbers_have_no_upper_bound_to_hide_below() -> None:
    table = TomlTable({"n": 10**400, "t": 10**400, "odd": 1}, "f")
    assert (table.number("n", 7.0), table.time("t")) == (7.0, None)
    table.has("n")
    table.finish()
    assert len(table.problems) == 3
    assert table.problems[2] == "f: unknown key 'odd'; there is n, t"


def test_a_beacon_list_called_dash_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.toml").write_text('beacons = "-"\nfences = "-"\n')
    Path("-").write_text("uuid,subject\n")
    site = load_site("site.toml")
    assert fences_beside(Path("site.toml"), site) == tmp_path / "-"


KEY = "0123456789abcdef" * 2


def test_a_rotating_beacon_is_known_by_the_first_of_its_identities() -> None:
    text = f"""
[[gateway]]
id = "gw-1"
place = "hall"
[[place]]
id = "hall"
[[beacon]]
id = "card-1"
format = "eddystone-eid"
identity_key = "{KEY.upper()}"
exponent = 10
epoch = 2026-01-01T00:00:00Z
subject = "m"
gateways = ["gw-1", "gw-2"]
"""
    site = parse_site(text, "site.toml")
    (card,) = site.beacons
    assert card.eid == EidKey(identity_key=KEY, exponent=10, epoch=1767225600.0)
    assert (card.name, card.key) == ("card-1", ("eddystone-eid", first_identity(card.eid)))
    assert card.bound("gw-1")
    assert not card.bound("gw-3")
    assert site.check(()) == [
        (
            "site.toml: [[beacon]] card-1: gateways: 'gw-2' is no [[gateway]]: "
            "add it or mend the name; did you mean 'gw-1'?"
        )
    ]
    assert KEY not in repr(site)
    listed = f"format,identity_key,exponent,epoch,subject\neddystone-eid,{KEY},10,1767225600,m\n"
    (same,) = parse_site('beacons = "b.csv"', "site.toml", listed).beacons
    assert (same.eid, same.id) == (card.eid, None)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (f'identity_key = "{KEY}"', "lacks exponent"),
        ('identity_key = "abc"\nexponent = 3\nepoch = 0', "identity_key must be 32 hex digits"),
        (f'identity_key = "{KEY}"\nexponent = 16\nepoch = 0', "exponent must be a number"),
        (
            f'identity_key = "{KEY}"\nexponent = 1\nepoch = 0\neid = "{"0" * 16}"',
            "needs either eid",
        ),
    ],
)
def test_what_is_wrong_of_a_rotating_beacon_never_shows_its_key(keys: str, told: str) -> None:
    text = f'[[beacon]]\nformat = "eddystone-eid"\nsubject = "m"\n{keys}\n'
    with pytest.raises(ProximityError) as refused:
        parse_site(text, "site.toml")
    assert any(told in problem for problem in refused.value.problems)
    assert KEY not in str(refused.value)


def test_without_its_library_a_rotating_beacon_is_a_problem_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    keys = f'identity_key = "{KEY}"\nexponent = 1\nepoch = 0'
    said = problem(f'[[beacon]]\nformat = "eddystone-eid"\nsubject = "m"\n{keys}\n')
    assert "proximity-engine[eid]" in said
    assert KEY not in said


def test_an_id_of_a_beacon_is_its_own() -> None:
    two = "".join(
        f'[[beacon]]\nid = "x"\nuuid = "{UUID}"\nmajor = {n}\nsubject = "m"\n' for n in range(2)
    )
    with pytest.raises(ProximityError, match="'x': this id is used before"):
        parse_site(two, "site.toml")


@pytest.mark.parametrize("text", ["uuid: x", "[[beacon]]\n", "a,b\n1,2\n"])
def test_what_is_no_beacon_list_is_no_empty_one(text: str) -> None:
    problems: list[str] = []
    assert list(read_rows(text, "tags.csv", problems)) == []
    (problem,) = problems
    assert problem.startswith("tags.csv: line 1: has no column that tells a beacon: begin with")
