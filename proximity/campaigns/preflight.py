"""The question: is everything that a campaign promises there, now, on the other side of the click.

It opens each link as its reader would, and holds what the page says against what the campaign says:
price, end, store. Connections are ``egress``'s, pages ``landing``'s. It must not know who gets it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urljoin

from proximity.channels.egress import EgressError, EgressRefused
from proximity.content.content import links_of
from proximity.content.deeplinks import check_link, fill_links
from proximity.content.landing import read_landing
from proximity.model import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from proximity.campaigns.campaigns import Campaign, Campaigns, PlaceFacts
    from proximity.channels.egress import Egress, Page

__all__ = ["Problem", "Step", "preflight", "steps"]

What = Literal["ended", "not_begun", "link", "price", "store", "stock", "unseen"]

SOON_S = 86400.0
"""An end this near is worth a word: who publishes today may mean next week."""
MOST_STEPS = 500
"""Pages that one preflight opens: a chain's stores; more would be a load test."""
_MOST_PLACES = 20
"""Places of one campaign whose own link is opened."""
_MOST_HOPS = 5
_AT_ONCE = 8


class Problem(NamedTuple):
    """What stands in the way of a campaign; ``advice`` where it is only worth knowing."""

    campaign: str
    what: What
    text: str
    advice: bool = False

    def to_line(self) -> str:
        """Say it in one line."""
        mark = "advice: " if self.advice else ""
        return f"campaign {self.campaign!r:.80}: {mark}{self.text} [{self.what}]"


class Step(NamedTuple):
    """A link to open: of which campaign, at which place, where it leads."""

    campaign: Campaign
    place: PlaceFacts
    way: str
    link: str


async def preflight(
    campaigns: Campaigns,
    facts: Callable[[str], PlaceFacts],
    tagged: Callable[[str], Iterable[str]],
    egress: Egress,
    now: float,
    stock_left: Mapping[str, int] | None = None,
) -> list[Problem]:
    """Look at every active campaign at Unix second ``now``; give what is wrong, in file order.

    ``facts`` tells of a place, ``tagged`` which places carry a tag; ``stock_left`` are the units
    left by stock id, what the file gives where None.
    """
    problems: list[Problem] = []
    left = stock_left
    if left is None:
        left = {name: stock.count for name, stock in campaigns.stocks.items()}
    todo: list[Step] = []
    for campaign in campaigns.campaigns.values():
        if campaign.active:
            problems += _judge(campaign, left, now)
            found, faults = steps(campaign, campaigns.link_hosts, facts, tagged)
            problems += faults
            todo += found
    for campaign_id in {step.campaign.id: None for step in todo[MOST_STEPS:]}:
        problems.append(
            Problem(campaign_id, "unseen", f"not every link was opened, {MOST_STEPS} at most", True)
        )
    turns = asyncio.Semaphore(_AT_ONCE)

    async def look(step: Step) -> list[Problem]:
        async with turns:
            return await _look(step, campaigns.link_hosts, egress, now)

    for seen in await asyncio.gather(*(look(step) for step in todo[:MOST_STEPS])):
        problems += seen
    order = {name: number for number, name in enumerate(campaigns.campaigns)}
    return sorted(dict.fromkeys(problems), key=lambda one: order[one.campaign])


def steps(
    campaign: Campaign,
    hosts: Iterable[str],
    facts: Callable[[str], PlaceFacts],
    tagged: Callable[[str], Iterable[str]],
) -> tuple[list[Step], list[Problem]]:
    """List the web addresses that a campaign's links lead to, place by place where they differ."""
    written = links_of(campaign)
    names = sorted(
        {place for rule in campaign.waits_for for place in rule.places}
        | {place for rule in campaign.waits_for for tag in rule.tags for place in tagged(tag)}
    )
    by_place = any("{place}" in link for link in written.values())
    if not by_place:
        names = names[:1] or [""]
    allowed = frozenset(hosts)
    found: dict[tuple[str, str], Step] = {}
    problems: list[Problem] = []
    for name in names[:_MOST_PLACES]:
        place = facts(name)
        filled, faults = fill_links(written, name, campaign.id, allowed)
        problems += [Problem(campaign.id, "link", fault) for fault in faults]
        for way, link in filled.items():
            if way != "app" and not faults:
                found.setdefault((way, link), Step(campaign, place, way, link))
    if by_place and not names:
        text = "its link is each place's own, and it is not known which: give --site"
        problems.append(Problem(campaign.id, "unseen", text, advice=True))
    if len(names) > _MOST_PLACES:
        text = f"{len(names)} places have their own link, the first {_MOST_PLACES} were opened"
        problems.append(Problem(campaign.id, "unseen", text, advice=True))
    return list(found.values()), problems


def _judge(campaign: Campaign, left: Mapping[str, int], now: float) -> list[Problem]:
    problems = []
    start, end = campaign.valid_from, campaign.valid_until
    if end is not None and end <= now:
        problems.append(Problem(campaign.id, "ended", f"it ended at {format_time(end)}"))
    elif end is not None and end <= now + SOON_S:
        text = f"it ends within a day, at {format_time(end)}"
        problems.append(Problem(campaign.id, "ended", text, advice=True))
    if start is not None and start > now:
        text = f"it begins at {format_time(start)}"
        problems.append(Problem(campaign.id, "not_begun", text, advice=True))
    problems += [
        Problem(campaign.id, "stock", f"nothing is left of the stock {name!r:.80}")
        for name in campaign.stock
        if left.get(name, 0) <= 0
    ]
    return problems


async def _look(step: Step, hosts: frozenset[str], egress: Egress, now: float) -> list[Problem]:
    campaign, link = step.campaign, step.link

    def problem(what: What, text: str) -> Problem:
        return Problem(campaign.id, what, f"{step.way} link {step.link}: {text}")

    for _ in range(_MOST_HOPS):
        try:
            page = await egress.fetch(link)
        except EgressRefused as error:
            return [problem("link", f"it may not be opened from here: {error}")]
        except EgressError as error:
            return [problem("link", f"there is no answer ({error})")]
        onward = _onward(page, link)
        if onward is None:
            break
        faults = check_link(onward, hosts)
        if faults:
            return [problem("link", f"it leads on: {fault}") for fault in faults]
        link = onward
    else:
        return [problem("link", f"it leads on more than {_MOST_HOPS} times")]
    if not 200 <= page.status < 300:
        return [problem("link", f"the answer is {page.status}")]
    return [problem(*fault) for fault in _held_against(page, step, now)]


def _onward(page: Page, link: str) -> str | None:
    if page.status in {301, 302, 303, 307, 308} and page.location:
        return urljoin(link, page.location)
    return None


def _held_against(page: Page, step: Step, now: float) -> Sequence[tuple[What, str]]:
    """Say where page and campaign disagree; a page that says nothing disagrees with none."""
    campaign, landing = step.campaign, read_landing(page.body)
    found: list[tuple[What, str]] = []
    if campaign.price is not None and landing.prices and campaign.price not in landing.prices:
        asked = ", ".join(sorted(str(price) for price in landing.prices))
        found.append(("price", f"the page asks {asked}, the campaign says {campaign.price}"))
    if landing.until is not None and landing.until <= now:
        found.append(("ended", f"its price ended at {format_time(landing.until)}"))
    elif (
        landing.until is not None
        and campaign.valid_until is not None
        and landing.until < campaign.valid_until
    ):
        end = format_time(landing.until)
        found.append(("ended", f"its price ends at {end}, before the campaign does"))
    if landing.sold_out:
        found.append(("stock", "the page says that it is sold out"))
    name = step.place.name
    own = any("{place}" in link for link in links_of(campaign).values())
    if own and name is not None and name.casefold() not in landing.words.casefold():
        found.append(("store", f"the page does not name {name!r:.80}"))
    return found
