"""The one adapter of a system that shows none."""

from __future__ import annotations

import pytest

from beacon_gateway.adapters import OnlyAdapter
from beacon_gateway.bluez import TROUBLES
from beacon_gateway.model import GatewayError


async def test_it_is_always_there_and_nobody_may_power_it() -> None:
    only = OnlyAdapter()
    adapter = only.find(None)
    assert adapter.powered
    assert (adapter.name, adapter.discovering) == (None, None)
    assert only.find("00:1A:7D:DA:71:13").address == "00:1A:7D:DA:71:13"
    assert only.absence() in TROUBLES
    with pytest.raises(GatewayError, match="no program power the adapter default"):
        await only.cycle(adapter)
