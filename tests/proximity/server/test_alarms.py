"""What an operator is told to look at, and what is no news."""

from __future__ import annotations

from tests.proximity.server.rig import Rig


async def test_the_silence_of_a_dead_gateway_is_no_news(rig: Rig) -> None:
    body = {"place": "store-7", "dead": True}
    assert (await rig.ask("PUT", "/v1/gateways/gw-2", body=body)).status == 201
    rig.parts.started_at -= 1000.0
    names = [one["name"] for one in (await rig.ask("GET", "/v1/alarms")).json["items"]]
    assert names == ["gw-1"]
    assert b"proximity_gateways_silent 1.0" in (await rig.ask("GET", "/metrics")).body
    assert (await rig.ask("GET", "/v1/gateways/gw-2")).json["silent"] is True
