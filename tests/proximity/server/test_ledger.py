from __future__ import annotations

import time

import msgspec
import pytest

from proximity.model import Decision, Delivery, GateResult, Transition, Verdict
from proximity.server.records_of import DecisionRecord, DeliveryRecord, TransitionRecord
from proximity.store import ledger
from tests.proximity.server.rig import Rig

# A server sweeps what has outlived its retention, at its start too: nothing here is old.
NOW = time.time()


def transition(n: int, subject: str = "s", place: str = "p") -> Transition:
    return Transition(
        kind="enter",
        subject=subject,
        place=place,
        visit=f"v{n}",
        at=NOW + n,
        decided_at=NOW + 1.0 + n,
    )


DECISION = Decision(
    id="d", decision=Verdict.SUPPRESS, reason="caps", campaign="c", version=1, subject="s",
    person="s", place="p", visit="v", at=NOW, gates=(GateResult("caps", False, {"count": 2}),),
)  # fmt: skip
DELIVERY = Delivery(
    key="d", channel="console", attempt=1, outcome="accepted", at=NOW, campaign="c", person="s",
    subject="s", place="p",
)  # fmt: skip


async def fill(rig: Rig, *items: Transition | Decision | Delivery) -> None:
    await rig.parts.store.awrite(
        lambda conn: ledger.append(conn, [ledger.entry(item) for item in items])
    )
    rig.parts.tail.grew()


async def test_pages_follow_each_other_without_gap_or_overlap(rig: Rig) -> None:
    await fill(rig, *(transition(n) for n in range(7)), DECISION)
    seen, cursor = [], "0"
    for expected in (3, 3, 1, 0):
        page = (await rig.ask("GET", f"/v1/transitions?limit=3&after={cursor}")).json
        assert len(page["items"]) == expected
        seen += [one["visit"] for one in page["items"]]
        cursor = page["cursor"]
    assert seen == [f"v{n}" for n in range(7)]
    await fill(rig, transition(7))
    page = (await rig.ask("GET", f"/v1/transitions?after={cursor}")).json
    assert [one["visit"] for one in page["items"]] == ["v7"]


async def test_filters_by_subject_and_place(rig: Rig) -> None:
    await fill(rig, transition(1, "a", "x"), transition(2, "b", "x"), transition(3, "a", "y"))
    for query, visits in (
        ("subject=a", ["v1", "v3"]),
        ("place=x", ["v1", "v2"]),
        ("subject=a&place=x", ["v1"]),
        ("subject=c", []),
    ):
        page = (await rig.ask("GET", f"/v1/transitions?{query}")).json
        assert [one["visit"] for one in page["items"]] == visits


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "after=-1", "after=x", "after=" + "9" * 19, "subject=", "subject=%00",
     "place=" + "x" * 129, "subjct=a"],
)  # fmt: skip
async def test_a_bad_query_is_refused_with_the_reason(rig: Rig, query: str) -> None:
    answer = await rig.ask("GET", f"/v1/transitions?{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.json["detail"]


async def test_a_misspelt_filter_is_told_the_nearest(rig: Rig) -> None:
    answer = await rig.ask("GET", "/v1/decisions?subjct=a")
    assert "did you mean subject?" in answer.json["detail"]


def test_the_shapes_in_the_description_are_those_that_are_written() -> None:
    corrected = Transition(
        kind="corrected", subject="s", place="p", visit="v", at=None, decided_at=1.0, enter_at=1.0
    )
    full = Transition(
        kind="dwell", subject="s", place="p", visit="v", at=1.0, decided_at=1.0, reason="left",
        dwell_s=60.0, late=True, because={"rule": "side"},
    )  # fmt: skip
    for value, shape in (
        (corrected, TransitionRecord),
        (full, TransitionRecord),
        (DECISION, DecisionRecord),
        (DELIVERY, DeliveryRecord),
    ):
        written = value.to_record()
        strict = msgspec.defstruct(
            "Strict",
            [
                (f.encode_name, f.type)
                if f.required
                else (
                    f.encode_name,
                    f.type,
                    f.default if f.default is not msgspec.NODEFAULT else None,
                )
                for f in msgspec.structs.fields(shape)
            ],
            forbid_unknown_fields=True,
            kw_only=True,
        )
        msgspec.json.decode(msgspec.json.encode(written), type=strict)
