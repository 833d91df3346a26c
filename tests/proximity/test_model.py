"""The values: what they refuse, and how they are written."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from beacon_gateway.model import Beacon, Sighting, check_id
from proximity.model import (
    Consent,
    Decision,
    Delivery,
    Endpoint,
    Event,
    Fix,
    GateResult,
    Person,
    ProximityError,
    Record,
    Transition,
    Verdict,
    digest,
    format_time,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-05-01T10:00:00.250Z", 1777629600.25),
        ("2026-05-01T12:00:00+02:00", 1777629600.0),
        (1777629600, 1777629600.0),
    ],
)
def test_times_are_read_and_written(text: float | str, seconds: float) -> None:
    assert parse_time(text) == seconds
    assert parse_time(format_time(seconds)) == seconds


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("yesterday", "no RFC 3339"),
        ("2026-05-01T10:00:00", "lacks a time zone"),
        (-1.0, "1970"),
        (float("nan"), "1970"),
        (float("inf"), "1970"),
    ],
)
def test_a_bad_time_is_refused(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_time(value)


@pytest.mark.parametrize("value", ["x" * 100_000, "2026-05-01T10:00:00." + "0" * 100_000, 1e300])
def test_a_bad_time_is_not_repeated_at_length(value: Any) -> None:
    with pytest.raises(ValueError, match="time") as caught:
        parse_time(value)
    assert len(str(caught.value)) < 200


def test_milliseconds_round_up_into_the_next_second() -> None:
    assert format_time(1777629600.9996) == "2026-05-01T10:00:01.000Z"


@pytest.mark.parametrize("value", ["", "x" * 129, "a\nb", "a\x7f", "a\x85", "\ud800"])
def test_a_bad_id_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        check_id(value, "subject")


@pytest.mark.parametrize("value", ["x", "a/b", "\u00e9\u4e2d", "\u200b"])
def test_a_good_id_passes(value: str) -> None:
    check_id(value, "subject")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lon": 181.0}, "lon"),
        ({"lat": 91.0}, "swapped"),
        ({"lat": float("nan")}, "lat"),
        ({"subject": ""}, "subject"),
        ({"id": "x" * 200}, "id"),
        ({"at": "noon"}, "RFC 3339"),
        ({"received_at": -5}, "1970"),
    ],
)
def test_a_bad_fix_is_refused(change: dict[str, Any], told: str) -> None:
    good: dict[str, Any] = {"subject": "s", "at": 1.0, "lon": 2.0, "lat": 48.0, "id": "1"}
    Fix(**good)
    with pytest.raises(ValueError, match=told):
        Fix(**(good | change))
    if change.get("lat") == change.get("lat"):
        with pytest.raises(msgspec.ValidationError, match=told):
            msgspec.json.decode(msgspec.json.encode(good | change), type=Fix)


@pytest.mark.parametrize("value", [0.0, -1.0, None, float("inf"), float("nan")])
def test_accuracy_that_says_nothing_is_unknown(value: float | None) -> None:
    assert Fix(subject="s", at=1.0, lon=2.0, lat=48.0, accuracy_m=value).accuracy_m is None


def test_an_accuracy_wider_than_the_earth_is_refused() -> None:
    assert Fix(subject="s", at=1.0, lon=2.0, lat=48.0, accuracy_m=2e7).accuracy_m == 2e7
    with pytest.raises(ValueError, match="farther than any two places"):
        Fix(subject="s", at=1.0, lon=2.0, lat=48.0, accuracy_m=1e155)


def test_numbers_of_any_kind_become_floats() -> None:
    made = Fix(subject="s", at=np.float64(1.0), lon=np.float64(2.0), lat=48, floor=np.int64(3))
    kinds = {type(one) for one in (made.at, made.lon, made.lat, made.floor)}
    assert kinds == {float}


def test_records_know_their_type_on_the_wire() -> None:
    records: list[Record] = [
        Fix(subject="s", at=1.0, lon=2.0, lat=48.0),
        Sighting(
            beacon=Beacon(format="ibeacon", uuid="AB", major=1, minor=2),
            at=1.0,
            rssi_dbm=-60.0,
            gateway="g",
            id="7",
        ),
        Event(subject="s", at=1.0, name="open", id="8"),
    ]
    assert msgspec.json.decode(msgspec.json.encode(records), type=list[Record]) == records


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gateway": None}, "either"),
        ({"subject": "s"}, "either"),
        ({"gateway": "a\n"}, "gateway"),
        ({"rssi_dbm": float("nan")}, "rssi_dbm"),
        ({"id": ""}, "id"),
    ],
)
def test_a_bad_sighting_is_refused(change: dict[str, Any], told: str) -> None:
    good: dict[str, Any] = {
        "beacon": Beacon(format="ibeacon"), "at": 1.0, "rssi_dbm": -60.0, "gateway": "g"
    }  # fmt: skip
    with pytest.raises(ValueError, match=told):
        Sighting(**(good | change))


@pytest.mark.parametrize(
    ("rssi_dbm", "measured"),
    [(-60.0, True), (-120.0, True), (0.0, False), (127.0, False), (-127.0, False), (-121.0, False)],
)
def test_some_levels_mean_not_measured(rssi_dbm: float, measured: bool) -> None:
    beacon = Beacon(format="ibeacon")
    heard = Sighting(beacon=beacon, at=1.0, rssi_dbm=rssi_dbm, gateway="g")
    assert heard.measured is measured


def test_a_beacon_may_be_given_as_its_json_object() -> None:
    beacon: Any = {"format": "ibeacon", "uuid": "AB", "major": 1, "minor": 2}
    heard = Sighting(beacon=beacon, at=1.0, rssi_dbm=-60.0, gateway="g")
    assert heard.beacon == Beacon(format="ibeacon", uuid="ab", major=1, minor=2)


def test_the_identity_of_a_beacon_has_no_level_and_one_spelling() -> None:
    one = Beacon(format="ibeacon", uuid="F7826DA6", major=1, minor=2, power_dbm=-59)
    other = Beacon(format="ibeacon", uuid="f7826da6", major=1, minor=2, power_dbm=-70)
    assert one.identity == other.identity


def test_a_transition_as_a_line() -> None:
    enter = Transition(
        kind="enter",
        subject="s",
        place="p",
        visit="v",
        at=1.0,
        decided_at=2.0,
        because={"rule": "side", "evidence_at": 1.5},
        late=True,
    )
    assert enter.to_record() == {
        "kind": "enter",
        "subject": "s",
        "place": "p",
        "visit": "v",
        "at": "1970-01-01T00:00:01.000Z",
        "decided_at": "1970-01-01T00:00:02.000Z",
        "late": True,
        "because": {"rule": "side", "evidence_at": "1970-01-01T00:00:01.500Z"},
    }
    leave = msgspec.structs.replace(enter, kind="exit", reason="left", late=False)
    assert leave.to_record()["reason"] == "left"
    assert leave.id != enter.id
    dwell = msgspec.structs.replace(enter, kind="dwell", dwell_s=60.0)
    assert dwell.to_record()["dwell_s"] == 60.0


def test_a_correction_as_a_line() -> None:
    gone = Transition(
        kind="corrected", subject="s", place="p", visit="v", at=None, decided_at=2.0, enter_at=None
    )
    record = gone.to_record()
    assert (record["enter_at"], record["exit_at"]) == (None, None)
    moved = msgspec.structs.replace(gone, enter_at=1.0, exit_at=2.0).to_record()
    assert moved["enter_at"] == "1970-01-01T00:00:01.000Z"
    assert list(moved)[:7] == [
        "kind", "visit", "subject", "place", "enter_at", "exit_at", "decided_at"
    ]  # fmt: skip


def test_consents_hold_from_and_until() -> None:
    consent = msgspec.json.decode(
        b'{"purpose":"marketing","channel":null,"from":"1970-01-01T00:00:10Z","until":20}',
        type=Consent,
    )
    assert [consent.holds(at) for at in (9.0, 10.0, 19.9, 20.0)] == [False, True, True, False]
    assert Consent(purpose="service").holds(0.0)


def test_a_person_checks_its_ids() -> None:
    with pytest.raises(ValueError, match="subject"):
        Person(person="p", subjects=("",))
    with pytest.raises(ValueError, match="person"):
        Person(person="")


def test_posix_spells_a_language_otherwise() -> None:
    assert Person(person="p", languages=("pt_BR", "en")).languages == ("pt-BR", "en")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("languages", ("fr",) * 21),
        ("languages", ("pt BR",)),
        ("languages", ("de-" + "a-" * 20 + "a",)),
        ("subjects", tuple(f"s{n}" for n in range(1001))),
        ("consents", (Consent(purpose="m"),) * 1001),
        ("attributes", {"a": "x" * 65_536}),
    ],
)
def test_a_person_is_bounded(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Person(person="p", **{field: value})


def test_a_consent_checks_its_ids() -> None:
    with pytest.raises(ValueError, match="purpose"):
        Consent(purpose="x" * 129)
    with pytest.raises(ValueError, match="channel"):
        Consent(purpose="m", channel="")


def test_decisions_and_deliveries_as_lines() -> None:
    decision = Decision(
        id="d",
        decision=Verdict.DEFER,
        reason="quiet_hours",
        campaign="c",
        version=1,
        subject="s",
        person="p",
        place="shop",
        visit="v",
        at=1.0,
        until=2.0,
        gates=(GateResult("consent", passed=True, because={"purpose": "marketing"}),),
    )
    record = decision.to_record()
    assert (record["decision"], record["until"]) == ("defer", "1970-01-01T00:00:02.000Z")
    assert record["gates"] == [
        {"gate": "consent", "passed": True, "because": {"purpose": "marketing"}}
    ]
    delivery = Delivery(
        key="k", channel="console", attempt=1, outcome="retry", at=1.0, campaign="c", person="p",
        subject="s", place="shop", next_at=3.0,
    )  # fmt: skip
    assert delivery.to_record()["next_at"] == "1970-01-01T00:00:03.000Z"
    assert delivery.id == digest("k", "console", 1, "retry")


def test_errors_list_all_problems() -> None:
    assert str(ProximityError("one", "two")) == "one\ntwo"


@pytest.mark.parametrize("address", ["", "x" * 5000])
def test_an_endpoint_s_address_is_bounded_and_never_shown(address: str) -> None:
    with pytest.raises(ValueError, match="address must have 1 to"):
        Endpoint(channel="webpush", address=address)
    shown = repr(Endpoint(channel="webpush", address="secret-address", origin="https://shop.test"))
    assert "webpush" in shown
    assert "secret" not in shown
