"""Offers laid into an inbox as their decision and hand-over do it, and the links that open them."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from proximity.consent.links import sign
from proximity.dispatch import offers
from proximity.model import Offer
from proximity.store.keys import store_key
from tests.proximity.given import offer
from tests.proximity.server.rig import Rig

ANNA = {"person": "anna", "subjects": ["phone-1"], "consents": [{"purpose": "marketing"}]}


async def enrol(rig: Rig, **fields: Any) -> None:
    """Make Anna known, and the key that links are signed with."""
    assert (await rig.ask("PUT", "/v1/people/anna", body=ANNA | fields)).status in {200, 201}
    await rig.parts.store.awrite(lambda conn: store_key(conn, "links", 0.0))


async def lay(rig: Rig, key: str, **fields: Any) -> Offer:
    """Put an offer into Anna's inbox."""
    now = time.time()
    made = offer(
        key=key, channel="inbox", subject="phone-1",
        **{
            "link": None, "created_at": now, "expires_at": now + 600.0, "version": 1,
            "place": "store-7", "text": "Coffee.", "language": "en", **fields,
        },
    )  # fmt: skip

    def write(conn: Any) -> None:
        offers.put(conn, [made])
        offers.move(conn, [offers.News(key, "accepted", now, in_inbox=True)])

    await rig.parts.store.awrite(write)
    rig.parts.tail.grew()
    return made


async def signed(rig: Rig, until: float | None = None, **claims: Any) -> str:
    """Sign claims until Unix second ``until``, a minute from now where that is not said."""
    key = await rig.parts.store.awrite(lambda conn: store_key(conn, "links", 0.0))
    return quote(sign(key, claims, time.time() + 60.0 if until is None else until), safe="")


async def inbox_link(rig: Rig, until: float | None = None, **claims: Any) -> str:
    said = {"do": "inbox", "person": "anna"} | claims
    return f"/inbox/{await signed(rig, until, **said)}"


async def offer_link(rig: Rig, key: str, until: float | None = None, **claims: Any) -> str:
    said = {"do": "open", "campaign": "coffee", "place": "store-7", "key": key} | claims
    return f"/o/{await signed(rig, until, **said)}"
