"""How do processors learn whom they have to erase too, and who of them has said that it is done?

A signed POST for each (Standard Webhooks, a CloudEvents event), repeated until it is taken; only an
acknowledgement ends it, and until then the person's id stands in the notice. Connections are
``egress``'s; what an erasure does here is ``erasing``'s.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from proximity.channels.egress import Egress, EgressError
from proximity.channels.signatures import sign, signer_of
from proximity.model import format_time
from proximity.store import schema
from proximity.sync import peers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from proximity.privacy.policy import Recipient
    from proximity.store import Store

__all__ = ["EVENT_TYPE", "Notice", "acknowledge", "notices", "tell"]

EVENT_TYPE = "proximity.person.erased.v1"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Which processor is to erase for which erasure, and how far that is; Unix seconds.

    ``person`` is None once they have said it is done, or were waited for in vain.
    """

    erasure: str
    processor: str
    told_at: float | None
    acknowledged_at: float | None
    person: str | None


def notices(connection: Connection, *, erasure: str | None = None) -> list[Notice]:
    """List notices, those of one erasure or all."""
    table = schema.erasure_notices
    query = sa.select(table).order_by(table.c.erasure, table.c.processor)
    if erasure is not None:
        query = query.where(table.c.erasure == erasure)
    return [Notice(**row) for row in connection.execute(query).mappings()]


def acknowledge(connection: Connection, erasure: str, processor: str, *, now: float) -> bool:
    """Record at Unix second ``now`` that a processor has erased; whether that was asked of them."""
    table = schema.erasure_notices
    theirs = (table.c.erasure == erasure) & (table.c.processor == processor)
    done = connection.execute(
        table.update()
        .where(theirs, table.c.acknowledged_at.is_(None))
        .values(acknowledged_at=now, person=None)
    )
    if done.rowcount:
        return True
    return connection.scalar(sa.select(table.c.erasure).where(theirs)) is not None


async def tell(
    store: Store, processors: Sequence[Recipient], clock: Callable[[], float]
) -> tuple[int, int]:
    """Tell every processor what they were not told yet; how many were told, and how many not."""
    readers = await store.aread(peers.names)  # they are told in the feed of changes
    waiting = [
        one
        for one in await store.aread(notices)
        if one.told_at is None and one.person is not None and one.processor not in readers
    ]
    told = 0
    known = {one.id: one for one in processors}
    for notice in waiting:
        processor = known.get(notice.processor)
        if processor is not None and await _post(processor, notice, clock()):
            now = clock()
            await store.awrite(lambda c, n=notice, at=now: _told(c, n, at))  # type: ignore[misc]
            told += 1
    return told, len(waiting) - told


async def _post(processor: Recipient, notice: Notice, now: float) -> bool:
    """Post one notice; whether it was taken (2xx)."""
    body = msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": f"{notice.erasure}/{processor.id}",
            "source": "urn:proximity-engine",
            "type": EVENT_TYPE,
            "subject": notice.erasure,
            "time": format_time(now),
            "datacontenttype": "application/json",
            "data": {
                "erasure": notice.erasure,
                "processor": processor.id,
                "person": notice.person,
                "acknowledge": f"/v1/erasures/{notice.erasure}/acknowledgements",
            },
        }
    )
    signers = [signer_of(secret) for secret in processor.secrets]
    headers = {
        "content-type": "application/cloudevents+json; charset=utf-8",
        "user-agent": "proximity-engine",
        **sign(signers, f"{notice.erasure}/{processor.id}", now, body),
    }
    egress = Egress([ipaddress.ip_network(network) for network in processor.allow])
    try:
        answer = await egress.post(processor.url, body, headers)
    except EgressError:
        return False
    finally:
        await egress.close()
    return 200 <= answer.status < 300


def _told(connection: Connection, notice: Notice, at: float) -> None:
    table = schema.erasure_notices
    connection.execute(
        table.update()
        .where(table.c.erasure == notice.erasure, table.c.processor == notice.processor)
        .values(told_at=at)
    )
