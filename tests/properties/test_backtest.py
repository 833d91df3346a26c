"""Decided again from the ledger, any days come out as they were decided when they were lived."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proximity.backtest.backtest import backtest
from proximity.campaigns.form import parse_campaigns
from tests import days

# What stands at the head of the file: each draws on something else that is kept in memory.
HEADS = {
    "quiet": 'quiet_hours = [{ from = "21:00", to = "09:00" }]\n',
    "cap": "[[cap]]\ncount = 2\nwindow_s = 43200\npurpose = 'marketing'\n",
    "day": "[[cap]]\ncount = 1\nper = 'day'\nchannel = 'console'\n",
    "contest": "[contest]\nwinners = 1\n",
    "stock": "[[stock]]\nid = 'buns'\ncount = 3\nwindow = 'day'\n",
}
CAMPAIGNS = {
    "coffee": "on = 'enter'\nplaces = ['cafe', 'kiosk']\ndefer = true\ncooldown_s = 7200\n",
    "linger": "on = 'dwell'\ndwell_s = 60\nplaces = ['cafe']\npriority = 2\n",
    "bye": "on = 'exit'\nplaces = ['bakery', 'cafe']\nplace_cooldown_s = 40000\n",
    "regular": "on = 'enter'\nplaces = ['cafe', 'bakery']\npriority = 1\n"
    "audience = { visited = 'cafe', within_s = 172800, at_least = 2 }\n",
    "bought": "on = 'event'\nevent = 'purchase'\nonce_per_visit = true\n",
    "buyer": "on = 'enter'\nplaces = ['cafe', 'kiosk']\n"
    "audience = { event = 'purchase', within_s = 86400, at_least = 1 }\n",
    "tea": "on = 'exit'\nplaces = ['cafe', 'kiosk', 'bakery']\nproduct = 'cake'\n"
    "contrary = ['bun']\ncontrary_share = 0.4\ncontrary_count = 1\n",
}
TEXT = "channels = ['console']\ntext = { en = 'Come', fr = 'Viens' }\n"


@st.composite
def files(draw: st.DrawFn) -> str:
    """Draw campaigns files: some heads, some campaigns, marketing or service."""
    heads = draw(st.sets(st.sampled_from(sorted(HEADS))))
    names = draw(st.sets(st.sampled_from(sorted(CAMPAIGNS)), min_size=1))
    # A key of the whole file stands before the first table.
    text = "".join(HEADS[name] for name in sorted(heads, key=lambda name: name != "quiet"))
    for name in sorted(names):
        purpose = draw(st.sampled_from(["marketing", "marketing", "service"]))
        text += f"[[campaign]]\nid = '{name}'\npurpose = '{purpose}'\n" + CAMPAIGNS[name]
        if "stock" in heads and draw(st.booleans()):
            text += "stock = ['buns']\n"
        text += TEXT
    return text


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=files(), seed=st.integers(0, 10_000))
def test_days_decided_again_are_decided_alike(text: str, seed: int) -> None:
    campaigns = parse_campaigns(text)
    persons = days.people(5, seed)
    with days.lived(campaigns, persons, days.walks(persons, seed, visits=4)) as lived:
        decisions: list[object] = []
        lived.store.read(
            lambda conn: backtest(
                conn, campaigns, days.MONDAY, lived.until + 1.0, people=lived.people,
                places=lived.places, each=lambda one: decisions.append(one.to_record()),
            )
        )  # fmt: skip
        assert decisions == lived.decisions
