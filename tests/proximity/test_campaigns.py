"""Campaign files: what is read, what is refused and how it is said, and who is triggered."""

from __future__ import annotations

from typing import Any

import pytest

from proximity.campaigns.campaigns import (
    Campaigns,
    Cap,
    PlaceFacts,
    waited,
)
from proximity.campaigns.file import load_campaigns
from proximity.campaigns.form import parse_campaigns
from proximity.campaigns.reach import KINDS
from proximity.channels import CHANNELS
from proximity.model import ProximityError, Transition, digest, parse_time
from tests.proximity.given import CAFE, COFFEE, FULL, LEAST, NOON, rules, windows


def problems(text: str) -> list[str]:
    with pytest.raises(ProximityError) as caught:
        parse_campaigns(text, "c.toml")
    return list(caught.value.problems)


def least(line: str = "", *, without: str = "", tail: str = "") -> str:
    """The least form, a line put before its text or the line of a key taken out."""
    kept = [one for one in LEAST.splitlines() if not (without and one.startswith(without + " "))]
    return "\n".join(kept).replace("[campaign.text]", f"{line}\n[campaign.text]") + tail


def transition(**changes: Any) -> Transition:
    fields: dict[str, Any] = {
        "kind": "enter", "subject": "phone-a", "place": "cafe-1", "visit": "v1", "at": NOON,
        "decided_at": NOON + 5,
    }  # fmt: skip
    return Transition(**fields | changes)


def test_the_least_form_of_the_contract() -> None:
    coffee = parse_campaigns(LEAST).campaigns["coffee"]
    assert (coffee.on, coffee.purpose, coffee.channels) == ("enter", "marketing", ("console",))
    assert coffee.hours == windows("08:00-11:00", days=["mon", "tue"])
    assert (coffee.max_age_s, coffee.cooldown_s, coffee.version) == (120.0, 86400.0, 1)
    assert coffee.text == {"en": "Coffee, half price until eleven."}
    assert coffee.active
    assert not coffee.defer


def test_every_key() -> None:
    read = parse_campaigns(FULL, "c.toml")
    linger = read.campaigns["linger"]
    assert read.caps == (
        Cap(purpose="marketing", count=2, window_s=86400.0),
        Cap(count=5, window_s=604800.0),
    )
    assert read.quiet_hours == windows("22:00-07:00")
    assert read.link_hosts == {"example.test"}
    assert read.channel["webhook"]["secret_env"] == "OFFER_SECRET"
    assert (linger.dwell_s, linger.version, linger.active, linger.defer) == (60.0, 3, False, True)
    assert linger.valid_from == parse_time("2026-01-01T00:00:00Z")
    assert linger.valid_until == parse_time("2026-12-31T22:59:59Z")
    assert (linger.ttl_s, linger.priority, linger.max_age_s) == (600.0, 2.0, 3600.0)
    assert list(linger.text) == ["en", "pt-BR"]


def test_nothing_is_a_file_of_no_campaigns() -> None:
    assert parse_campaigns("").campaigns == {}
    assert parse_campaigns("").version == digest("")


def test_the_version_is_that_of_the_text() -> None:
    assert parse_campaigns(LEAST).version == parse_campaigns(LEAST).version
    assert parse_campaigns(LEAST).version != parse_campaigns(LEAST + "\n#").version


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[campaign]", "c.toml: this is no TOML"),
        ("a = " + "[" * 5000, "c.toml: this is"),
        ("campaign = 3", "c.toml: campaign must be a list of tables: write [[campaign]]"),
        ("channel = 3", "c.toml: channel must be a table: write [channel]"),
        ("[channel.webhok]\nurl = 'x'", "c.toml: channel: webhok: no such channel; did you mean 'webhook'?"),
        ("[[campain]]", "c.toml: unknown key 'campain'; did you mean 'campaign'?"),
        ("[[cap]]\ncount = 1", "c.toml: cap number 1: a cap needs count and window_s, or count and per"),
        ("[[cap]]\ncount = 1.5\nwindow_s = 60", "c.toml: cap number 1: count must be a whole"),
        ("[[cap]]\ncount = -1\nwindow_s = 60", "c.toml: cap number 1: count must be a number from"),
        ("[[cap]]\ncount = 1\nwindow_s = nan", "c.toml: cap number 1: window_s must be a number"),
        ("[[cap]]\ncount = true\nwindow_s = 60", "c.toml: cap number 1: count must be a number"),
        ("[[cap]]\ncount = 1\nwindow_s = 60\npurpose = 'ads'", "c.toml: cap number 1: purpose is"),
        ("[[cap]]\ncount = 1\nwindow_s = 60\nwindows_s = 60", "c.toml: cap number 1: unknown key"),
        ("quiet_hours = []", None),
        ("[quiet_hours]\nfrom = '22:00'", "c.toml: quiet_hours: to must be a time of day"),
        ("link_hosts = 'example.test'", "c.toml: link_hosts must be a list of texts"),
        (least("max_age = 3"), "c.toml: campaign 'coffee': unknown key 'max_age'; did you mean"),
        (least("zzz = 3"), "c.toml: campaign 'coffee': unknown key 'zzz'; there is active, "),
        (least(without="id"), "c.toml: campaign number 1: id is missing"),
        (least(without="purpose"), "c.toml: campaign 'coffee': purpose is missing"),
        (least(without="on"), "c.toml: campaign 'coffee': on is missing"),
        (least(without="channels"), "c.toml: campaign 'coffee': channels is missing"),
        (least(without="places"), "c.toml: campaign 'coffee': it says nowhere: name places or"),
        (least(without="en"), "c.toml: campaign 'coffee': no text: write one for each language"),
        (least(without="hours").replace("# local", "#"), None),
        (LEAST + LEAST, "c.toml: campaign 'coffee': two campaigns have this id"),
        (least("defer = 'yes'"), "c.toml: campaign 'coffee': defer must be true or false"),
        (least("version = 1.5"), "c.toml: campaign 'coffee': version must be a whole number"),
        (least("dwell_s = 60"), "c.toml: campaign 'coffee': dwell_s belongs to on = \"dwell\""),
        (least("ttl_s = 0"), "c.toml: campaign 'coffee': ttl_s must be a number from 1"),
        (least("priority = inf"), "c.toml: campaign 'coffee': priority must be a number"),
        (least("tags = []"), "c.toml: campaign 'coffee': tags has 0 entries"),
        (least("tags = ['']"), "c.toml: campaign 'coffee': '' in tags must have 1 to 128"),
        (least("valid_from = 2026-01-01"), "c.toml: campaign 'coffee': valid_from: 2026-01-01 is no"),
        (least("valid_from = 2026-01-01T00:00:00"), "c.toml: campaign 'coffee': valid_from: '2026"),
        (least("valid_from = 'soon'"), "c.toml: campaign 'coffee': valid_from: 'soon' is no RFC"),
        (least("valid_from = 2\nvalid_until = 1"), "c.toml: campaign 'coffee': valid_until is not"),
        (LEAST.replace('["console"]', '["consle"]'), "c.toml: campaign 'coffee': unknown channel"),
        (LEAST.replace('"enter"  ', '"entre"'), "c.toml: campaign 'coffee': on is 'entre'; did you"),
        (LEAST.replace('"coffee"', '"cof\\u0007"'), "c.toml: campaign 'cof\\x07': id must have no"),
        (LEAST.replace('"coffee"', "7"), "c.toml: campaign number 1: id must be a text"),
        (LEAST.replace("https:", "http:"), "c.toml: campaign 'coffee': link 'http://example.test"),
        (LEAST.replace("08:00", "8am"), "c.toml: campaign 'coffee': hours: from must be a time"),
        (LEAST.replace("Coffee, half price until eleven.", " "), "c.toml: campaign 'coffee': text.en is"),
        (least(tail="\nfr_FR = 'x'"), "c.toml: campaign 'coffee': text.'fr_FR' is no language"),
        (least(tail="\nfr = '{plce}'"), "c.toml: campaign 'coffee': text.fr: unknown placeholder"),
        (LEAST.replace("120 ", "0 "), "c.toml: campaign 'coffee': max_age_s = 0 leaves its offers"),
        (least("ttl_s = 60").replace("120 ", "0 "), None),
        ("language = 'Deutsch, bitte'\n" + LEAST, "c.toml: language: 'Deutsch, bitte' is no language"),
        ("link_hosts = ['a.test']\n" + LEAST, "c.toml: campaign 'coffee': link leads to"),
    ],
)  # fmt: skip
def test_one_fault_is_one_problem_that_names_it(text: str, problem: str | None) -> None:
    if problem is None:
        assert parse_campaigns(text, "c.toml") is not None
        return
    found = problems(text)
    assert len(found) == 1, found
    assert found[0].startswith(problem)


def test_all_problems_at_once() -> None:
    text = LEAST.replace("https:", "ftp:").replace('"enter"  ', '"in"').replace("120 ", "-1 ")
    found = problems("[[cap]]\n" + text + "\n[[campaign]]\nid = 'tea'\n")
    assert len(found) == 9
    assert sum("'coffee'" in one for one in found) == 3
    assert sum("'tea'" in one for one in found) == 5


def test_too_many_campaigns_are_refused() -> None:
    many = "".join(LEAST.replace('"coffee"', f'"c{n}"') for n in range(2001))
    assert problems(many) == ["c.toml: 2001 campaigns are too many, at most 2000"]


def test_channels_that_campaigns_may_name_are_those_there_are() -> None:
    assert set(KINDS) == set(CHANNELS)


def test_a_file_is_read_from_disk_with_its_name_in_problems(tmp_path: Any) -> None:
    file = tmp_path / "campaigns.toml"
    file.write_text("\ufeff" + LEAST, encoding="utf-8")
    assert list(load_campaigns(file).campaigns) == ["coffee"]
    for content, problem in [
        (b"\xff\xfe", "campaigns.toml: line 1 is not UTF-8: save the file as UTF-8"),
        (b"#" * (4 * 1024 * 1024 + 1), "campaigns.toml: larger than 4194304 bytes"),
        (b"[[camp]]", "campaigns.toml: unknown key 'camp'"),
    ]:
        file.write_bytes(content)
        with pytest.raises(ProximityError, match=r"campaigns\.toml") as caught:
            load_campaigns(file)
        assert caught.value.problems[0].startswith(problem)
    with pytest.raises(ProximityError, match=r"absent\.toml: cannot be read: No such file"):
        load_campaigns(tmp_path / "absent.toml")


def test_a_trigger_carries_what_the_gates_need() -> None:
    met = rules().triggers(
        transition(because={"evidence_at": NOON + 2, "still": True}), "anna", CAFE
    )
    assert len(met) == 1
    one = met[0]
    assert one.id == digest("anna", "coffee", "v1", "enter", None)
    assert (one.person, one.subject, one.at, one.decided_at) == ("anna", "phone-a", NOON, NOON + 5)
    assert (one.evidence_at, one.still) == (NOON + 2, True)
    # Evidence that nobody dated is as old as the decision.
    bare = rules().triggers(transition(), "anna", CAFE)[0]
    assert (bare.evidence_at, bare.still) == (NOON + 5, False)


def replaced(**changes: Any) -> Campaigns:
    fields = {name: getattr(COFFEE, name) for name in COFFEE.__struct_fields__}
    return rules(type(COFFEE)(**fields | changes))


@pytest.mark.parametrize(
    ("campaigns", "change", "count"),
    [
        (replaced(), {}, 1),
        (replaced(), {"kind": "exit"}, 0),
        (replaced(), {"place": "cafe-2"}, 0),
        (replaced(places=frozenset({"cafe-1/bar"})), {}, 0),
        (replaced(places=frozenset({"street"})), {}, 0),  # the parent alone is named
        (replaced(places=frozenset(), tags=frozenset({"cafe"})), {}, 1),
        (replaced(places=frozenset(), tags=frozenset({"bar"})), {}, 0),
        (replaced(on="dwell"), {"kind": "dwell", "dwell_s": 60.0}, 1),
        (replaced(on="dwell", dwell_s=60.0), {"kind": "dwell", "dwell_s": 60.0}, 1),
        (replaced(on="dwell", dwell_s=60.0), {"kind": "dwell", "dwell_s": 300.0}, 0),
        (replaced(on="pass"), {"kind": "pass"}, 1),
        (replaced(on="exit"), {"kind": "exit", "reason": "left"}, 1),
        (replaced(on="exit"), {"kind": "exit", "reason": "silent"}, 1),
        (replaced(on="exit"), {"kind": "exit", "reason": "fence-removed"}, 0),
        (replaced(on="exit"), {"kind": "exit", "reason": "fence-expired"}, 0),
        (replaced(on="exit"), {"kind": "exit", "reason": "erased"}, 0),
        (replaced(), {"late": True}, 0),
        (replaced(), {"kind": "corrected", "at": None}, 0),
    ],
)
def test_which_transitions_trigger(
    campaigns: Campaigns, change: dict[str, Any], count: int
) -> None:
    place = PlaceFacts(id="cafe-1", tags=("cafe",), parents=("street",))
    assert len(campaigns.triggers(transition(**change), "anna", place)) == count


def test_priority_then_id_orders_triggers() -> None:
    fields = {name: getattr(COFFEE, name) for name in COFFEE.__struct_fields__}
    make = type(COFFEE)
    three = rules(
        make(**fields | {"id": "b"}), make(**fields | {"id": "a"}),
        make(**fields | {"id": "c", "priority": 1.0}),
    )  # fmt: skip
    assert [t.campaign for t in three.triggers(transition(), "anna", CAFE)] == ["c", "a", "b"]


def test_the_same_dwell_of_a_visit_has_one_id_however_it_is_found() -> None:
    dwell = replaced(on="dwell")
    ids = [
        dwell.triggers(
            transition(kind="dwell", dwell_s=60.0, decided_at=NOON + late), "anna", CAFE
        )[0].id
        for late in (0, 30)
    ]
    assert ids[0] == ids[1]


def test_a_campaign_that_left_the_file_stands_in_as_inactive() -> None:
    gone = rules().get("tea", 4)
    assert (gone.id, gone.version, gone.active, gone.listed) == ("tea", 4, False, False)
    assert rules().get("coffee") is COFFEE


@pytest.mark.parametrize(
    ("kind", "because", "age_s", "silence_s", "evidence_alone"),
    [
        ("enter", {"rssi_dbm": -60.0, "gateway": "g"}, 121.0, 30.0, True),
        ("enter", {"rssi_dbm": -60.0, "gateway": "g"}, 5.0, 30.0, False),
        ("enter", {"rule": "child", "source": "sighting", "gateway": "g"}, 1800.0, 30.0, True),
        ("dwell", {"rule": "nearer", "margin_db": 4.0, "gateway": "g"}, 1800.0, 30.0, True),
        # A visit that ends by silence is told that much later when all is well.
        ("exit", {"rssi_dbm": -60.0, "gateway": "g"}, 600.0, 600.0, False),
        ("exit", {"rssi_dbm": -60.0, "gateway": "g"}, 721.0, 600.0, True),
        # A phone's own reports wait in its pocket: there `max_age_s` says what is too old.
        ("enter", {"distance_m": 3.0}, 1800.0, 30.0, False),
        ("enter", {"rssi_dbm": -60.0, "near_dbm": -70.0, "margin_db": 10.0}, 1800.0, 30.0, False),
        ("enter", {"rule": "child", "source": "sighting"}, 1800.0, 30.0, False),
    ],
)
def test_what_waited_with_a_receiver_triggers_nothing(
    kind: Any, because: dict[str, Any], age_s: float, silence_s: float, evidence_alone: bool
) -> None:
    place = PlaceFacts(id="cafe-1", unheard_after_s=silence_s)
    change = Transition(
        kind=kind, subject="s", place="cafe-1", visit="v", at=NOON, decided_at=NOON + age_s,
        because=because,
    )  # fmt: skip
    assert waited(change, place) is evidence_alone
    if kind == "enter":
        assert bool(rules().triggers(change, "anna", place)) is not evidence_alone


def test_a_number_of_more_digits_than_can_be_read_is_a_problem_of_the_file() -> None:
    (problem,) = problems("x = " + "9" * 10_000)
    assert problem.startswith("c.toml: this is no TOML: ")
