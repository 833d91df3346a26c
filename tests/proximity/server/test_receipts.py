"""What became of an offer, told by the link that came with it; and who can be reached at all."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from yarl import URL

from proximity.__main__ import main
from proximity.campaigns.reach import KINDS
from proximity.content.stamps import RECEIPT_S, stamp, stamp_of
from proximity.dispatch import offers
from proximity.model import Consent, Endpoint, Offer, Person
from proximity.people import endpoints
from proximity.people.people import People
from proximity.store import Store, schema
from proximity.store.folder import state_of
from tests.proximity.given import offer
from tests.proximity.server.rig import Rig, running

CAMPAIGNS = """
public_url = "https://offers.example.test"

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["store-7"]
channels = ["console"]
link = "https://example.test/coffee"
text = { en = "Coffee: {link}" }
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    file = tmp_path / "offers.toml"
    file.write_text(CAMPAIGNS)
    async with running(tmp_path, campaigns=file) as made:
        yield made


async def handed(rig: Rig, **changes: Any) -> Offer:
    """An offer as its device got it, whose reader agreed to it."""
    await rig.consent("anna")
    now = time.time()
    one = offer(created_at=now, expires_at=now + 60.0, **changes)
    await rig.parts.store.awrite(lambda conn: offers.put(conn, [one]))
    by = await rig.parts.store.awrite(
        lambda conn: stamp_of(conn, "https://offers.example.test", now)
    )
    return stamp(one, by)


async def tell(
    rig: Rig, link: str | None, body: bytes = b'{"outcome":"opened"}', **headers: str
) -> tuple[int, Any, dict[str, str]]:
    assert link is not None
    url = URL(rig.url + urlsplit(link).path, encoded=True)
    async with rig.session.post(url, data=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None), dict(answer.headers)


async def test_a_device_tells_by_its_link_alone_and_once(rig: Rig) -> None:
    one = await handed(rig)
    status, said, headers = await tell(rig, one.receipt, b'{"outcome":"delivered"}')
    assert (status, said) == (200, {"new": True})
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert (await tell(rig, one.receipt, b'{"outcome":"delivered"}'))[1] == {"new": False}
    # As a service worker of another website sends it, which asks for no leave.
    text = {"Content-Type": "text/plain;charset=UTF-8", "Origin": "https://shop.example.test"}
    assert (await tell(rig, one.receipt, b'{"outcome":"clicked"}', **text))[1] == {"new": True}
    rows = await rig.parts.store.aread(lambda c: c.execute(schema.offers.select()).all())
    assert [(row.state, row.read_at is not None) for row in rows] == [("clicked", True)]
    items = (await rig.ask("GET", "/v1/deliveries")).json["items"]
    assert [(one["outcome"], one["channel"]) for one in items] == [
        ("delivered", "console"), ("clicked", "console"),
    ]  # fmt: skip
    assert "/r/" not in str(items)


async def test_a_page_of_any_website_may_ask_to_tell(rig: Rig) -> None:
    one = await handed(rig)
    assert one.receipt is not None
    url = URL(rig.url + urlsplit(one.receipt).path, encoded=True)
    asks = {"Origin": "https://shop.example.test", "Access-Control-Request-Method": "POST"}
    async with rig.session.options(url, headers=asks) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Methods"] == "POST"
        assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"opened", b"[]", b'{"outcome":"converted"}', b'{"outcome":"accepted"}',
        b'{"outcome":"opened","key":"another"}', b'{"outcome":["opened"]}',
    ],
)  # fmt: skip
async def test_nothing_else_can_be_told(rig: Rig, body: bytes) -> None:
    one = await handed(rig)
    assert (await tell(rig, one.receipt, body))[0] == 400
    assert (await tell(rig, one.receipt, b" " * 2000 + body))[0] == 413
    assert (await rig.ask("GET", "/v1/deliveries")).json["items"] == []


async def test_no_other_link_tells_anything_and_none_for_ever(rig: Rig) -> None:
    one = await handed(rig)
    assert one.receipt is not None
    withdraw = urlsplit(str(one.withdraw)).path.removeprefix("/withdraw/")
    for link, status in [
        (f"https://x.test/r/{withdraw}", 404),
        (one.receipt[:-2] + "xx", 404),
        ("https://x.test/r/x.y", 404),
    ]:
        assert (await tell(rig, link))[0] == status
    now = time.time()
    by = await rig.parts.store.awrite(lambda conn: stamp_of(conn, "https://x.test", now))
    old = stamp(offer(created_at=1.0, expires_at=now - RECEIPT_S - 1.0), by)
    assert (await tell(rig, old.receipt))[0] == 410


async def test_of_who_agrees_to_nothing_any_more_nothing_is_noted(rig: Rig) -> None:
    one = await handed(rig, links={"web": "https://example.test/coffee"})
    gone = await rig.ask("DELETE", "/v1/consents?person=anna&purpose=marketing")
    assert gone.status in {200, 204}
    assert (await tell(rig, one.receipt))[:2] == (200, {"new": False})
    # The link opens what they have before them all the same; that they did is nobody's.
    assert one.link is not None
    url = URL(rig.url + urlsplit(one.link).path, encoded=True)
    async with rig.session.get(url, allow_redirects=False) as answer:
        assert answer.status == 302
    assert (await rig.ask("GET", "/v1/deliveries")).json["items"] == []


async def test_of_whom_is_erased_nothing_is_noted(rig: Rig) -> None:
    one = await handed(rig)
    await rig.parts.store.awrite(lambda conn: conn.execute(schema.offers.delete()))
    assert (await tell(rig, one.receipt))[:2] == (200, {"new": False})
    assert (await rig.ask("GET", "/v1/deliveries")).json["items"] == []


TOKEN = Endpoint(channel="fcm", address="token-of-anna", registered_at=5.0)
ANNA = Person(
    person="anna",
    subjects=("phone-a",),
    consents=(
        Consent(purpose="marketing", channel="fcm"),
        Consent(purpose="service", channel="email"),
    ),
    endpoints=(TOKEN, replace(TOKEN, channel="apns")),
)


async def test_it_is_told_which_channels_reach_somebody_and_why_not(rig: Rig) -> None:
    people, store = rig.parts.people, rig.parts.store
    await store.awrite(lambda c: people.put(c, ANNA))
    await store.awrite(lambda c: endpoints.gone(c, "anna", ANNA.endpoints[1], "Unregistered", 9.0))
    said = (await rig.ask("GET", "/v1/people/anna/reach")).json
    found = {one["channel"]: one for one in said["channels"]}
    assert set(found) >= KINDS.keys()
    assert {name for name, one in found.items() if one["set_up"]} == set(rig.parts.channels)
    # What is known of them is told of every channel, but what is not set up reaches nobody.
    assert found["fcm"] == {
        "channel": "fcm", "set_up": False, "reachable": False, "endpoints": 1,
        "agreed": ["marketing"], "why": "it is not set up",
    }  # fmt: skip
    assert (found["console"]["set_up"], found["console"]["why"]) == (
        True, "nothing was agreed to on it",
    )  # fmt: skip
    assert "token-of-anna" not in str(said)
    assert (await rig.ask("GET", "/v1/people/nobody/reach")).status == 404


def test_the_command_tells_the_same_of_a_folder(tmp_path: Path) -> None:
    store = Store.open(state_of(tmp_path))
    store.write(lambda c: People(store).put(c, ANNA)).result()
    dead = ANNA.endpoints[1]
    store.write(lambda c: endpoints.gone(c, "anna", dead, "Unregistered", 9.0)).result()
    store.close()
    ask = ["person", "reach", "--data", str(tmp_path)]
    said = CliRunner().invoke(main, [*ask, "anna"])
    assert said.exit_code == 0, said.output
    assert "fcm: reaches them, addresses: 1, agreed to marketing\n" in said.stdout
    assert "web-push: does not: no address was left\n" in said.stdout
    assert "--campaigns FILE tells which of these channels are set up" in said.stderr
    # With the campaigns file it is known which of them are set up.
    file = tmp_path / "push.toml"
    file.write_text(
        CAMPAIGNS.replace('channels = ["console"]', 'channels = ["console", "email", "apns"]')
        + '[channel.fcm]\naccount_file = "account.json"\n'
    )
    said = CliRunner().invoke(main, [*ask, "--campaigns", str(file), "anna"])
    assert said.exit_code == 0, said.output
    lines = dict(line.split(": ", 1) for line in said.stdout.splitlines())
    assert lines["fcm"] == "reaches them, addresses: 1, agreed to marketing"
    assert lines["apns"] == "does not: the address is gone: Unregistered"
    assert lines["email"] == "does not: no address was left, agreed to service"
    assert lines["console"] == "does not: nothing was agreed to on it"
    assert lines["web-push"] == lines["mqtt"] == "does not: it is not set up"
    assert said.stderr == ""
    gone = CliRunner().invoke(main, [*ask, "nobody"])
    assert gone.exit_code == 1
