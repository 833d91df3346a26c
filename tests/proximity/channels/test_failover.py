"""Several providers of one channel: who hands over, and whose word holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proximity.campaigns.form import parse_campaigns
from proximity.channels import Reply, open_channels
from proximity.channels.failover import Failover, open_providers
from proximity.dispatch.pace import MOST_PROBE_S, PROBE_S, TRIP_AFTER
from proximity.model import Endpoint, Offer, ProximityError
from tests.proximity.given import offer


class Provider:
    """Says what it is told to say, and counts how often it was asked."""

    to_endpoints = True

    def __init__(self, *says: Reply, fails: bool = False) -> None:
        self.name = "p"
        self.asked: list[Endpoint | None] = []
        self.closed = False
        self._says, self._fails = list(says), fails

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        del offer
        self.asked.append(endpoint)
        return self._says[min(len(self.asked), len(self._says)) - 1]

    async def close(self) -> None:
        self.closed = True
        if self._fails:
            raise OSError("gone")


def says(outcome: Any, **more: Any) -> Reply:
    return Reply(outcome=outcome, **more)


ACCEPTED = says("accepted", reply={"status": 201})


@pytest.mark.parametrize(
    ("first", "second", "outcome", "by"),
    [
        (ACCEPTED, ACCEPTED, "accepted", 1),
        (says("retry"), ACCEPTED, "accepted", 2),
        (says("config_error"), ACCEPTED, "accepted", 2),
        (says("dead_endpoint"), ACCEPTED, "dead_endpoint", 1),
        (says("failed"), ACCEPTED, "failed", 1),
        (says("config_error"), says("retry", retry_after_s=7.0), "retry", 2),
        (says("retry"), says("config_error"), "retry", 1),
        (says("config_error"), says("config_error"), "config_error", 1),
        (says("retry"), says("dead_endpoint"), "dead_endpoint", 2),
        # It may have arrived: two providers collapse nothing between them.
        (says("retry", unsure=True), ACCEPTED, "retry", 1),
    ],
)
async def test_the_next_is_asked_where_that_can_help(
    first: Reply, second: Reply, outcome: str, by: int
) -> None:
    one, two = Provider(first), Provider(second)
    endpoint = Endpoint(channel="fcm", address="t")
    reply = await Failover("fcm", [one, two]).send(offer(), endpoint)
    assert (reply.outcome, reply.reply["provider"]) == (outcome, by)
    assert set(one.asked + two.asked) == {endpoint}
    assert len(two.asked) == int(by == 2 or first.outcome in {"retry", "config_error"}) - int(
        first.unsure
    )


async def test_who_fails_again_and_again_is_passed_over_but_for_a_probe() -> None:
    seconds = [0.0]
    one, two = Provider(says("retry")), Provider(ACCEPTED)
    both = Failover("fcm", [one, two], elapsed=lambda: seconds[0])
    for _ in range(20):
        assert (await both.send(offer())).reply["provider"] == 2
    assert len(one.asked) == TRIP_AFTER
    assert len(two.asked) == 20
    seconds[0] += PROBE_S
    for _ in range(5):
        await both.send(offer())
    assert len(one.asked) == TRIP_AFTER + 1, "one probe"
    one._says = [ACCEPTED]
    seconds[0] += MOST_PROBE_S
    assert (await both.send(offer())).reply["provider"] == 1
    assert (await both.send(offer())).reply["provider"] == 1


async def test_one_phones_dead_ends_do_not_pass_a_provider_over() -> None:
    one, two = Provider(says("retry")), Provider(ACCEPTED)
    both = Failover("fcm", [one, two], elapsed=lambda: 0.0)
    for number in range(5 * TRIP_AFTER):
        endpoint = Endpoint(channel="fcm", address=f"t-{number}")
        assert (await both.send(offer(), endpoint)).reply["provider"] == 2
    assert len(one.asked) == 5 * TRIP_AFTER
    for number in range(TRIP_AFTER):
        await both.send(offer(person=f"person-{number}"), Endpoint(channel="fcm", address="t"))
    assert len(one.asked) == 6 * TRIP_AFTER - 1, "theirs is one of them"


async def test_where_all_fail_all_are_asked() -> None:
    seconds = [0.0]
    one, two = Provider(says("retry")), Provider(says("retry"))
    both = Failover("fcm", [one, two], elapsed=lambda: seconds[0])
    for _ in range(20):
        assert (await both.send(offer())).outcome == "retry"
    assert len(one.asked) == len(two.asked) == 20


async def test_one_that_raises_has_failed_and_another_offer_goes_by_the_next() -> None:
    class Broken(Provider):
        async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
            await super().send(offer, endpoint)
            raise ZeroDivisionError("a bug")

    one, two = Broken(ACCEPTED), Provider(ACCEPTED)
    both = Failover("fcm", [one, two], elapsed=lambda: 0.0)
    for _ in range(TRIP_AFTER):
        with pytest.raises(ZeroDivisionError):
            await both.send(offer())
    assert (await both.send(offer())).reply["provider"] == 2


class Judging(Provider):
    """One that knows addresses, and judges a message without handing it over."""

    def refuses(self, address: str) -> str:
        return "" if address == "good" else "no address of mine"

    async def check(self, offer: Offer, endpoint: Endpoint) -> Reply:
        del offer, endpoint
        return says("failed", reply={"status": 400})


async def test_addresses_and_messages_are_judged_by_whoever_can() -> None:
    endpoint = Endpoint(channel="fcm", address="good")
    both = Failover("fcm", [Provider(ACCEPTED), Judging(ACCEPTED)])
    assert both.refuses("bad") == ""  # one of them cannot tell
    assert (await both.check(offer(), endpoint)).reply == {"status": 400}
    strict = Failover("fcm", [Judging(ACCEPTED), Judging(ACCEPTED)])
    assert (strict.refuses("bad"), strict.refuses("good")) == ("no address of mine", "")
    with pytest.raises(ProximityError, match="no provider judges"):
        await Failover("fcm", [Provider(ACCEPTED)]).check(offer(), endpoint)


async def test_all_are_closed_whatever_one_does() -> None:
    one, two = Provider(ACCEPTED, fails=True), Provider(ACCEPTED)
    both = Failover("x", [one, two])
    assert both.to_endpoints
    with pytest.raises(OSError, match="gone"):
        await both.close()
    assert one.closed
    assert two.closed


CAMPAIGN = """
[[campaign]]
id = "c"
purpose = "service"
on = "enter"
places = ["p"]
channels = ["webhook"]
[campaign.text]
en = "x"
[channel.webhook]
source = "urn:shop"
"""
PROVIDER = """
[[channel.webhook.provider]]
url = "https://{host}.example.test/"
secret_env = "WHSEC"
"""


async def test_providers_of_a_file_share_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHSEC", "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")
    text = CAMPAIGN + PROVIDER.format(host="a") + PROVIDER.format(host="b")
    opened = open_channels(parse_campaigns(text))["webhook"]
    assert isinstance(opened, Failover)
    assert (opened.name, opened.to_endpoints) == ("webhook", False)
    await opened.close()


def test_every_provider_at_fault_is_named() -> None:
    text = CAMPAIGN + PROVIDER.format(host="a").replace("WHSEC", "NOTHING_THERE") * 2
    with pytest.raises(ProximityError) as caught:
        open_channels(parse_campaigns(text))
    assert [one.partition(" secret_env")[0] for one in caught.value.problems] == [
        "channel.webhook: provider 1:", "channel.webhook: provider 2:",
    ]  # fmt: skip


def test_a_fault_names_the_file_and_the_table_whatever_its_kind() -> None:
    table = CAMPAIGN.replace('channels = ["webhook"]', 'channels = ["hook"]')
    table = table.replace("[channel.webhook]", '[channel.hook]\nkind = "webhook"')
    with pytest.raises(ProximityError) as caught:
        open_channels(parse_campaigns(table), Path("shops/campaigns.toml"))
    assert {one.partition(": ")[0] for one in caught.value.problems} == {"campaigns.toml"}
    assert all(one.split(": ")[1] == "channel.hook" for one in caught.value.problems)


@pytest.mark.parametrize("tables", ["x", [], [1], [{}] * 9])
def test_providers_are_a_list_of_some(tables: object) -> None:
    with pytest.raises(ProximityError, match=r"channel\.x"):
        open_providers("x", lambda *_: Provider(ACCEPTED), {}, tables, Path())


def test_a_plug_in_that_is_not_there_is_named() -> None:
    text = CAMPAIGN.replace('source = "urn:shop"', 'kind = "no.such.module:open_it"')
    with pytest.raises(ProximityError, match="install that where the engine runs"):
        open_channels(parse_campaigns(text))
