"""The other side of the click: links, prices, ends, stores and stock, on a website of our own."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from proximity.campaigns.campaigns import Links, PlaceFacts, Stock, TriggerRule
from proximity.campaigns.preflight import Problem, preflight
from proximity.channels.egress import Egress
from proximity.content.prices import Price
from tests.proximity.given import CAFE, COFFEE, NOON, rules, when
from tests.proximity.pages import Site, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]


@pytest.fixture(scope="module")
def website() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def site(website: Site) -> Site:
    website.pages, website.onward, website.asked = {}, {}, []
    website.page("/coffee")
    return website


def offer(**said: Any) -> str:
    return json.dumps({"@type": "Offer", **said})


def look(*campaigns: Any, allow: Any = LOOPBACK, left: Any = None, **changes: Any) -> list[Problem]:
    places = {"cafe-1": CAFE, "cafe-2": replace(CAFE, id="cafe-2", name="Café du Sud")}

    async def run() -> list[Problem]:
        egress = Egress(allow)
        try:
            return await preflight(
                rules(*campaigns, **changes), lambda name: places.get(name, PlaceFacts(id=name)),
                lambda tag: [name for name, one in places.items() if tag in one.tags],
                egress, NOON, left,
            )  # fmt: skip
        finally:
            await egress.close()

    return asyncio.run(run())


def coffee(site: Site, path: str = "/coffee", **changes: Any) -> Any:
    return replace(COFFEE, link=site.root + path, **changes)


def test_a_campaign_whose_page_is_there_has_no_problem(site: Site) -> None:
    assert look(coffee(site)) == []
    assert site.asked == ["/coffee"]


def test_a_dead_link_is_a_problem(site: Site) -> None:
    (problem,) = look(coffee(site, "/gone"))
    assert (problem.what, problem.advice) == ("link", False)
    assert problem.text == f"web link {site.root}/gone: the answer is 404"
    site.pages["/broken"] = 500, b""
    assert "the answer is 500" in look(coffee(site, "/broken"))[0].text


def test_a_host_that_does_not_answer_or_may_not_be_opened(site: Site) -> None:
    closed = replace(COFFEE, link="http://127.0.0.1:9/x")
    assert "there is no answer" in look(closed)[0].text
    assert "may not be opened" in look(coffee(site), allow=())[0].text
    assert "may not be opened" in look(replace(COFFEE, link="http://localhost:9/x"))[0].text
    assert site.asked == []


def test_a_redirect_is_followed_where_it_may_lead(site: Site) -> None:
    site.onward = {"/a": "/b", "/b": f"{site.root}/coffee"}
    assert look(coffee(site, "/a")) == []
    assert site.asked == ["/a", "/b", "/coffee"]
    site.onward = {"/a": "http://evil.test/x"}
    assert "it leads on: link 'http://evil.test/x' is not https" in look(coffee(site, "/a"))[0].text
    hosts = frozenset({"127.0.0.1"})
    site.onward = {"/a": "https://evil.test/x"}
    told = look(coffee(site, "/a"), link_hosts=hosts)
    assert "leads to 'evil.test', which is not among link_hosts" in told[0].text
    site.onward = {"/a": "/a"}
    assert "leads on more than 5 times" in look(coffee(site, "/a"))[0].text
    site.onward = {"/a": "javascript:alert(1)"}
    assert look(coffee(site, "/a"))[0].what == "link"


@pytest.mark.parametrize(
    ("changes", "what", "advice", "text"),
    [
        ({"valid_until": NOON}, "ended", False, "it ended at 2026-01-06T11:00:00.000Z"),
        ({"valid_until": NOON + 3600}, "ended", True, "it ends within a day"),
        ({"valid_from": NOON + 60}, "not_begun", True, "it begins at 2026-01-06T11:01:00.000Z"),
        ({"stock": ("cups",)}, "stock", False, "nothing is left of the stock 'cups'"),
    ],
)
def test_ends_and_stock(
    site: Site, changes: dict[str, Any], what: str, advice: bool, text: str
) -> None:
    (problem,) = look(coffee(site, **changes))
    assert (problem.what, problem.advice) == (what, advice)
    assert text in problem.text


def test_stock_is_what_is_left_where_that_is_known(site: Site) -> None:
    stocks = {"cups": Stock(id="cups", count=5)}
    assert look(coffee(site, stock=("cups",)), stocks=stocks) == []
    assert look(coffee(site, stock=("cups",)), stocks=stocks, left={"cups": 1}) == []
    assert look(coffee(site, stock=("cups",)), stocks=stocks, left={"cups": 0})[0].what == "stock"


def test_an_inactive_campaign_is_left_alone(site: Site) -> None:
    assert look(coffee(site, "/gone", active=False, valid_until=0.0)) == []
    assert site.asked == []


def test_the_page_s_price_is_the_campaign_s(site: Site) -> None:
    site.page("/coffee", offer(price="2.50", priceCurrency="EUR"))
    priced = coffee(site, price=Price(1.9, "EUR"))
    (problem,) = look(priced)
    assert problem.what == "price"
    assert "the page asks 2.5 EUR, the campaign says 1.9 EUR" in problem.text
    assert look(coffee(site)) == []
    site.page(
        "/coffee", offer(price="2.50", priceCurrency="EUR"), offer(price=1.90, priceCurrency="EUR")
    )
    assert look(priced) == []


def test_the_page_s_end_and_stock(site: Site) -> None:
    site.page("/coffee", offer(priceValidUntil="2026-01-05"))
    assert "its price ended at 2026-01-05" in look(coffee(site))[0].text
    site.page("/coffee", offer(priceValidUntil="2026-02-01"))
    assert look(coffee(site)) == []
    ends = look(coffee(site, valid_until=when("2026-03-01")))
    assert "before the campaign does" in ends[0].text
    site.page("/coffee", offer(availability="https://schema.org/OutOfStock"))
    assert look(coffee(site))[0].what == "stock"


def test_each_store_s_page_names_the_store(site: Site) -> None:
    tagged = coffee(site, "/{place}", places=frozenset(), tags=frozenset({"cafe"}))
    site.page("/cafe-1", words="Willkommen im CAFÉ DU NORD!")
    site.page("/cafe-2", words="Café du Nord")
    (problem,) = look(tagged)
    assert (problem.what, problem.text) == (
        "store", f"web link {site.root}/cafe-2: the page does not name 'Café du Sud'"
    )  # fmt: skip


def test_every_place_and_way_is_looked_at_once(site: Site) -> None:
    ways = Links(
        app="cafe-app://x", universal=f"{site.root}/u/{{place}}", web=f"{site.root}/coffee"
    )
    many = replace(
        COFFEE, link=None, links=ways, triggers=(TriggerRule(on="exit", places=frozenset({"b"})),)
    )
    look(many)
    assert sorted(site.asked) == ["/coffee", "/u/b", "/u/cafe-1"]


def test_links_that_nobody_can_name_are_told(site: Site) -> None:
    unknown = coffee(site, "/{place}", places=frozenset(), tags=frozenset({"bakery"}))
    (problem,) = look(unknown)
    assert (problem.what, problem.advice) == ("unseen", True)
    chain = coffee(site, "/{place}", places=frozenset(f"p{n:02}" for n in range(30)))
    told = look(chain)
    assert len(site.asked) == 20
    assert "30 places have their own link, the first 20 were opened" in [one.text for one in told]


def test_problems_stand_in_the_order_of_the_file(site: Site) -> None:
    tea, bread = coffee(site, "/x", id="tea"), coffee(site, "/y", id="bread", valid_until=1.0)
    assert [one.campaign for one in look(tea, bread)] == ["tea", "bread", "bread"]
    assert (
        Problem("tea", "link", "gone", advice=True).to_line()
        == "campaign 'tea': advice: gone [link]"
    )
