"""Lint: what can never be sent, by the way it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from proximity.__main__ import main
from proximity.campaigns.form import parse_campaigns
from proximity.campaigns.lint import lint

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
[[campaign]]
id = "tea"
purpose = "marketing"
on = "enter"
places = ["cafe"]
benefit = "half price"
channels = ["console"]
text = { en = "Tea" }
"""
OR_HOLIDAYS = 'hours = [{ from = "08:00", to = "10:00", holidays = true }'
MORNING = 'hours = [{ from = "08:00", to = "10:00" }]\n'
SUNDAY = 'hours = [{ days = ["sun"], from = "22:00", to = "02:00" }]\n'


def never(campaign: str, before: str = "") -> list[tuple[str, str]]:
    """Levels and words of what the rule `never` finds."""
    found = lint(parse_campaigns(before + HEAD + campaign))
    return [(one.level, one.text) for one in found if one.rule == "never"]


@pytest.mark.parametrize(
    ("campaign", "before", "said"),
    [
        ("", 'quiet_hours = [{ from = "00:00", to = "12:00" }, { from = "12:00", to = "00:00" }]',
         "quiet_hours are every hour"),
        (f'{MORNING}dayparts = [{{ from = "20:00", to = "22:00", clock = "place" }}]', "",
         "no hour is in"),
        ("", '[[cap]]\npurpose = "marketing"\ncount = 0\nper = "day"', "count = 0"),
        ("[[campaign.caps]]\ncount = 0\nper = 'day'", "", "count = 0"),
        ('stock = ["none"]', '[[stock]]\nid = "none"\ncount = 0', "stock 'none'"),
        ('context = [{ tags = ["hotel"] }, { not_tags = ["hotel", "bar"] }]', "", "hotel"),
        ("value = 0.1", "[contest]\nleast_value = 0.5", "least_value asks for 0.5"),
        ('audience = { all = [{ attribute = "a", is = 1 }, { not = { attribute = "a", is = 1 } }]}',
         "", "audience"),
        (('audience = { all = [{ attribute = "a", is = 1 }, '
         '{ not = { not = { not = { attribute = "a", is = 1 } } } }] }'), "", "audience"),
        (('audience = { all = [{ all = [{ attribute = "a", is = 1 }, { attribute = "b", is = 1 }] }, '
         '{ not = { attribute = "a", is = 1 } }] }'), "", "audience"),
        ('audience = { all = [{ segment = "s" }, { not = { segment = "s" } }] }',
         '[[segment]]\nid = "s"\nattribute = "a"\nis = 1', "audience"),
        (f"{OR_HOLIDAYS}]", "", "names none"),
    ],
)  # fmt: skip
def test_what_can_never_be_sent_is_a_fault(campaign: str, before: str, said: str) -> None:
    ((level, text),) = never(campaign, before)
    assert level == "fault"
    assert said in text


@pytest.mark.parametrize(
    ("campaign", "before"),
    [
        ("", 'quiet_hours = [{ from = "00:00", to = "23:59" }]'),
        ("", 'holidays = "FR"\nquiet_hours = [{ from = "00:00", to = "24:00", holidays = true }]'),
        (f'{SUNDAY}dayparts = [{{ days = ["mon"], from = "01:00", to = "03:00" }}]', ""),
        (f'{MORNING}dayparts = [{{ from = "20:00", to = "22:00", clock = "person" }}]', ""),
        ("", '[[cap]]\npurpose = "service"\ncount = 0\nper = "day"'),
        ("", '[[cap]]\nplace = "bar"\ncount = 0\nper = "day"'),
        ("", '[[cap]]\nchannel = "inbox"\ncount = 0\nper = "day"'),
        ('context = [{ tags = ["hotel", "inn"], not_tags = ["hotel"] }]', ""),
        ("value = 0.5\nleast_value = 0.5", ""),
        ('audience = { any = [{ attribute = "a", is = 1 }, { not = { attribute = "a", is = 1 } }]}',
         ""),
        # A person may have a list of them.
        ('audience = { all = [{ attribute = "a", is = 1 }, { attribute = "a", is = 2 }] }', ""),
        ("active = false", '[[cap]]\ncount = 0\nper = "day"'),
    ],
)  # fmt: skip
def test_what_can_be_sent_to_somebody_is_none(campaign: str, before: str) -> None:
    assert never(campaign, before) == []


def test_a_cap_of_another_campaign_stops_that_one() -> None:
    coffee = HEAD.replace("tea", "coffee")
    cap = '[[cap]]\ncampaign = "coffee"\ncount = 0\nper = "day"'
    found = lint(parse_campaigns(coffee + HEAD + cap))
    assert [one.campaign for one in found if one.rule == "never"] == ["coffee"]


@pytest.mark.parametrize(
    ("campaign", "before"),
    [
        (f'{OR_HOLIDAYS}, {{ from = "11:00", to = "12:00" }}]', ""),
        ("", 'quiet_hours = [{ from = "08:00", to = "10:00", holidays = true }]'),
    ],
)
def test_a_window_that_never_opens_is_told(campaign: str, before: str) -> None:
    ((level, text),) = never(campaign, before)
    assert (level, "names none" in text) == ("advice", True)


def test_hours_that_are_all_quiet_are_for_people_on_another_clock() -> None:
    late = 'hours = [{ from = "23:00", to = "01:00" }]'
    night = 'quiet_hours = [{ from = "22:00", to = "07:00" }]'
    ((level, text),) = never(late, night)
    assert (level, "another clock" in text) == ("advice", True)
    assert never(late.replace("23:00", "21:00"), night) == []


def test_with_the_site_places_that_are_closed_whenever_it_may_speak(tmp_path: Path) -> None:
    (tmp_path / "fences.geojson").write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","id":"cafe","properties":'
        '{"radius_m":40,"active":[{"from":"08:00","to":"18:00"}]},'
        '"geometry":{"type":"Point","coordinates":[2.37,48.87]}}]}'
    )
    site, file = tmp_path / "site.toml", tmp_path / "campaigns.toml"
    site.write_text('fences = "fences.geojson"\n')

    def told(hours: str) -> str:
        file.write_text(HEAD + f"hours = [{{ {hours} }}]\n")
        words = ["campaign", "lint", str(file), "--site", str(site)]
        return CliRunner().invoke(main, words).stdout

    assert "cafe closed whenever it may speak [never]" in told('from = "19:00", to = "21:00"')
    assert "[never]" not in told('from = "17:00", to = "21:00"')
