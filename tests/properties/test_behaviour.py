"""What people did, and where, is the same in whichever order, how often and how batched it comes."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from geofences import FenceIndex
from proximity.campaigns.campaigns import Campaigns
from proximity.engine.engine import Engine
from proximity.ingest.outputs import Outputs
from proximity.ingest.told import take
from proximity.model import Event, Record
from proximity.people.people import People
from proximity.people.tagging import parse_plan
from proximity.site.places import Places
from proximity.store import Store, schema
from tests.street import STREET, fences, fix

START = 1_767_225_600.0
NOW = START + 600.0
PLAN = parse_plan(
    'unknown = "keep"\n[[attribute]]\nname = "diet"\ntype = "text"\neditable = true\n'
)
SPOTS = [(20, 25), (20, 25), (55, 25), (300, 300), (300, 300), (0, -60), (40, -90)]
"""In the café, in the bakery, nowhere, in the mall's shoe shop, in its depot."""

subjects = st.sampled_from(["s0", "s0", "s0", "s1"])
seconds = st.integers(0, 22).map(lambda step: 25.0 * step)
fixes = st.builds(
    lambda at, spot, who: fix(START + at, *spot, who), seconds, st.sampled_from(SPOTS), subjects
)
said = st.one_of(
    st.just(("saved", {})),
    st.builds(lambda v: ("preference-set", {"attribute": "diet", "value": v}), st.sampled_from("ab")),
    st.builds(
        lambda topic, allow: ("preference-set", {"topic": topic, "allow": allow}),
        st.sampled_from("xy"), st.booleans(),
    ),
    st.just(("message-sent", {"system": "crm"})),
    st.just(("message-sent", {})),
)  # fmt: skip
events = st.builds(
    lambda at, what, who: Event(
        subject=who, at=START + at, name=what[0], properties=what[1], id=f"{what}-{at}"
    ),
    seconds, said, subjects,
)  # fmt: skip
Decide = Literal["robust", "point"]
TABLES = (schema.visits, schema.events, schema.quarantine, schema.sends, schema.people)


def written(records: list[Record], batches: list[int], decide: Decide) -> dict[str, Any]:
    """Take records as they come, so many at once; give what is in the store then."""
    index = FenceIndex(fences(*STREET))
    engine = Engine(index, None, decide)
    store = Store.open(":memory:")
    people, places = People(store, lambda: START), Places(index)
    sizes, start = [*batches, len(records)], 0
    for size in sizes:
        some = records[start : start + size]
        start += size
        outputs = Outputs(people, places, plan=PLAN, consent="assumed")
        for told in take(engine, some):
            outputs.add(told, Campaigns())
        if start >= len(records):  # timers that are due are told whenever time goes on
            outputs.add(engine.advance(NOW + 3600.0), Campaigns())
        store.write(lambda c, outputs=outputs: outputs.write(c, NOW)).result()  # type: ignore[misc]
    left_out = {"seq", "visit"}  # in order of arrival; named after how a visit was first found
    found = {
        table.name: sorted(
            tuple(value for name, value in row.items() if name not in left_out)
            for row in store.read(
                lambda c, table=table: c.execute(sa.select(table)).mappings().all()
            )  # type: ignore[misc]
        )
        for table in TABLES
    }
    store.close()
    return found


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.one_of(fixes, fixes, events),
        min_size=4,
        max_size=20,
        unique_by=lambda one: (one.subject, one.at),
    ),
    st.data(),
    st.sampled_from(["robust", "point"]),
)
def test_order_repeats_and_batches_change_nothing(
    records: list[Record], data: st.DataObject, decide: Decide
) -> None:
    arrived = [msgspec.structs.replace(one, received_at=NOW) for one in records]
    sorted_run = written(sorted(arrived, key=lambda one: one.at), [], decide)
    mixed = data.draw(st.permutations(arrived))
    doubled = mixed + data.draw(
        st.lists(st.sampled_from(arrived), max_size=5) if arrived else st.just([])
    )
    batches = data.draw(st.lists(st.integers(0, 6), max_size=6))
    assert written(doubled, batches, decide) == sorted_run
