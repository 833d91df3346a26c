"""A marketer sends a campaign over HTTP, and tries it out before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proximity.server.auth import Role
from tests.proximity.server.rig import CAMPAIGNS, running

NEWS = """
[[segment]]
id = "gold"
attribute = "tier"
is = "gold"

[[campaign]]
id = "news"
purpose = "marketing"
on = "manual"
channels = ["console"]
text = { en = "For gold members." }
"""


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "with-news.toml"
    file.write_text(NEWS + CAMPAIGNS)
    return {"campaigns": file}


async def test_tried_out_then_sent_once(tmp_path: Path, options: dict[str, Any]) -> None:
    async with running(tmp_path, **options) as rig:
        for name, tier in (("ada", "gold"), ("bob", "blue"), ("eve", "gold")):
            body = {"person": name, "attributes": {"tier": tier}}
            put = await rig.ask("PUT", f"/v1/people/{name}", body=body)
            assert put.status in {200, 201, 204}, put.body
        await rig.consent("ada")
        path, gold = "/v1/campaigns/news/sends", {"audience": "gold"}
        tried = await rig.ask("POST", path, body={**gold, "dry_run": True}, role=Role.MARKETER)
        assert tried.status == 200
        assert (tried.json["people"], tried.json["results"]) == (2, {"send": 1, "unconsented": 1})
        assert list(tried.json["texts"].values()) == ["For gold members."]
        assert {one["person"] for one in tried.json["decisions"]} == {"ada"}
        assert (await rig.ask("GET", "/v1/decisions")).json["items"] == []
        sent = await rig.ask("POST", path, body=gold, role=Role.MARKETER)
        assert (sent.status, sent.json) == (202, {"people": 2, "new": 1, "unconsented": 1})
        decided = await rig.until("/v1/decisions", 1)
        assert {one["person"]: one["reason"] for one in decided} == {"ada": None}
        (handed,) = await rig.until("/v1/deliveries", 1)
        assert (handed["person"], handed["outcome"]) == ("ada", "accepted")
        assert (await rig.ask("POST", path, body=gold)).json == {
            "people": 2, "new": 0, "unconsented": 1,
        }  # fmt: skip


async def test_what_cannot_be_sent_says_why(tmp_path: Path, options: dict[str, Any]) -> None:
    async with running(tmp_path, **options) as rig:
        asked = [
            ("tea", {}, 404), ("coffee", {"person": "ada"}, 422), ("news", {}, 422),
            ("news", {"audience": "silver"}, 422), ("news", {"person": ""}, 400),
            ("news", {"persons": "ada"}, 400),
        ]  # fmt: skip
        for campaign, body, status in asked:
            answer = await rig.ask("POST", f"/v1/campaigns/{campaign}/sends", body=body)
            assert answer.status == status, (campaign, body, answer.body)
