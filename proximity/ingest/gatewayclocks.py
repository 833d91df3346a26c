"""What is kept of gateways' clocks: one row for each run of each machine.

Knows rows; what they are for is ``ingest.redating``'s. Every function works on the connection
of the caller's transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from proximity.ingest.redating import MOST_BOOTS, Run
from proximity.store import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


def load(connection: Connection) -> list[Run]:
    """Give every run that is kept."""
    table = schema.gateway_clocks
    return [
        Run(
            gateway=row.gateway,
            boot=row.boot,
            offset_s=row.offset_s,
            mark_s=row.offset_s,
            since=row.since,
            heard_at=row.heard_at,
            trusted=bool(row.trusted),
            kept_at=row.heard_at,
        )
        for row in connection.execute(sa.select(table))
    ]


def save(connection: Connection, runs: Sequence[Run]) -> None:
    """Keep runs, and of each gateway only its latest."""
    table = schema.gateway_clocks
    for run in runs:
        mine = table.c.gateway == run.gateway
        connection.execute(table.delete().where(mine, table.c.boot == run.boot))
        connection.execute(
            table.insert(),
            {
                "gateway": run.gateway,
                "boot": run.boot,
                "offset_s": run.offset_s,
                "since": run.since,
                "heard_at": run.heard_at,
                "trusted": int(run.trusted),
            },
        )
        latest = sa.select(table.c.boot).where(mine).order_by(table.c.heard_at.desc())
        kept = list(connection.scalars(latest.limit(MOST_BOOTS)))
        connection.execute(table.delete().where(mine, table.c.boot.not_in(kept)))
