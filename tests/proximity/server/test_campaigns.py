"""What the server says of a campaign: every key of its file, as it is written there."""

from __future__ import annotations

import msgspec
import pytest

from proximity.campaigns.form import parse_campaigns
from proximity.campaigns.keys import CAMPAIGN
from proximity.server.auth import Role
from proximity.server.campaigns import CampaignRecord, campaign_record
from tests.proximity.given import LEAST
from tests.proximity.server.rig import Rig
from tests.proximity.test_campaignform import WHOLE


def test_a_record_has_the_keys_of_the_file() -> None:
    assert {key.name for key in CAMPAIGN} == set(CampaignRecord.__struct_fields__)


def test_the_least_form_is_told_as_before() -> None:
    coffee = parse_campaigns(LEAST).campaigns["coffee"]
    told = msgspec.json.decode(msgspec.json.encode(campaign_record(coffee)))
    assert told["hours"] == [{"days": ["mon", "tue"], "from": "08:00", "to": "11:00"}]
    assert (told["places"], told["valid_until"], told["dwell_s"]) == (["store-7"], None, None)
    assert not told.keys() & {"trigger", "audience", "context", "caps", "stock", "asks", "price"}


def test_what_is_written_beyond_it_is_told_as_it_was_written() -> None:
    campaigns = parse_campaigns(WHOLE).campaigns
    told = msgspec.json.decode(msgspec.json.encode(campaign_record(campaigns["whole"])))
    assert told["trigger"] == [
        {"on": "dwell", "tags": ["cafe"], "dwell_s": 300.0},
        {"on": "event", "event": "booking", "at_property": "starts_at", "before_s": 3600.0,
         "properties": {"kind": "table", "seats": 2, "inside": True}},
    ]  # fmt: skip
    assert told["context"][0] == {"tags": ["hotel"], "not_tags": ["spa"]}
    assert told["dayparts"][0]["holidays"] is False
    assert told["caps"] == [{"count": 1, "window_s": 60.0}]
    assert told["audience"] == 'People in segment "gold".'
    assert told["links"]["app"] == "cafe-app://coffee"
    ask = msgspec.json.decode(msgspec.json.encode(campaign_record(campaigns["ask"])))
    assert (ask["asks"], ask["after"], ask["on"]) == (
        "push-marketing", {"visits": 3, "event": "purchase"}, "manual",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/campaigns"),
        ("PUT", "/v1/campaigns/coffee"),
        ("DELETE", "/v1/campaigns/coffee"),
    ],
)
async def test_what_the_file_says_is_edited_there(rig: Rig, method: str, path: str) -> None:
    answer = await rig.ask(method, path, body={"id": "coffee"}, role=Role.MARKETER)
    assert answer.status == 409
    assert "edit the file" in answer.body.decode()
    assert (await rig.ask(method, path, body={"id": "coffee"}, role=Role.ANALYST)).status == 403
