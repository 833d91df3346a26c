"""One fixed identity in places too far apart is an alarm; a stray position is none."""

import pytest

from beacon_gateway.model import Beacon, Sighting
from proximity.engine.sharing import MOST_IDENTITIES, MOST_SPOTS, Sharing
from tests.proximity.test_suspects import UUID, WHO, T, by_phone, heard


def note(sharing, minute, lon, lat=48.85, rssi=-60.0, age=0.0, accuracy=10.0):
    at = T + minute * 60
    sharing.note(by_phone(minute * 60, rssi), lon, lat, at - age, accuracy)


def test_loud_at_places_too_far_apart():
    sharing = Sharing()
    for minute in range(3):
        note(sharing, minute, 2.35)
        note(sharing, minute + 0.5, 2.36)
        assert sharing.alarms() == [] or minute == 2
    (alarm,) = sharing.alarms()
    assert (alarm.identity, alarm.reason, alarm.because["spots"]) == (WHO, "shared", 2)
    assert alarm.since == T + 30
    assert 720 < alarm.because["metres"] < 740
    assert alarm.subject is None


@pytest.mark.parametrize("why", [{"rssi": -70.0}, {"age": 90.0}, {"accuracy": 500.0}, {"accuracy": None}])  # fmt: skip
def test_what_says_little_of_where_is_not_noted(why):
    sharing = Sharing()
    for minute in range(5):
        note(sharing, minute, 2.35)
        note(sharing, minute, 2.36, **why)
    assert sharing.alarms() == []


def test_one_stray_position_is_no_alarm_and_a_gateway_none_at_all():
    sharing = Sharing()
    for minute in range(5):
        note(sharing, minute, 2.35 + minute * 0.0003)
    for second in range(30):
        note(sharing, second / 60, 2.40)
    sharing.note(heard(0), 2.5, 48.85, T, 10.0)
    assert sharing.alarms() == []
    assert len(sharing.spots[WHO]) == 2


def test_spots_and_identities_are_bounded():
    sharing = Sharing()
    for n in range(50):
        note(sharing, n, 2.0 + n / 10)
    assert len(sharing.spots[WHO]) == MOST_SPOTS
    for n in range(MOST_IDENTITIES + 5):
        sharing.note(Sighting(beacon=Beacon(format="ibeacon", uuid=UUID, major=n % 60_000, minor=n // 60_000), at=T, rssi_dbm=-50, subject="p"), 2.0, 48.0, T, 5.0)  # fmt: skip
    assert len(sharing.spots) == MOST_IDENTITIES
