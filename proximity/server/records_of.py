"""What do contract 6's records look like to a reader? Their shapes, for OpenAPI alone.

The texts themselves come from ``proximity.model``'s ``to_record``; a test holds the two together.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class TransitionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of presence. ``enter_at`` and ``exit_at`` stand in ``corrected`` alone."""

    kind: Literal["enter", "dwell", "exit", "pass", "corrected"]
    subject: str
    place: str
    visit: str
    decided_at: str
    at: str | None = None
    reason: str | None = None
    dwell_s: float | None = None
    late: bool = False
    enter_at: str | None = None
    exit_at: str | None = None
    because: dict[str, Any] = {}


class GateRecord(msgspec.Struct, frozen=True):
    """One gate's verdict, and the numbers it judged by."""

    gate: str
    passed: bool
    because: dict[str, Any]


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided for one candidate; ``reason`` is the first gate that failed."""

    id: str
    decision: Literal["send", "defer", "suppress"]
    reason: str | None
    campaign: str
    version: int
    subject: str
    person: str
    place: str
    visit: str
    at: str
    until: str | None
    variant: str | None
    gates: tuple[GateRecord, ...]


class DeliveryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to hand an offer to a channel; ``key`` is the decision's id."""

    key: str
    channel: str
    attempt: int
    outcome: str
    at: str
    campaign: str
    person: str
    subject: str
    place: str
    reason: str | None
    next_at: str | None
    reply: dict[str, Any]
    handed: dict[str, Any]
