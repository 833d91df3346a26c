"""The values that flow through the engine, one type at each step.

Values only: frozen, units in their names, no clock, no I/O. ``to_record`` writes a value as the
JSON object that files and HTTP carry.
"""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from beacon_gateway.model import Beacon, Sighting, check_id, normalise_times, parse_time
from proximity.people.facts import Happened
from proximity.person import (
    MOST_CONSENTS,
    MOST_PREFERENCES,
    MOST_SUBJECTS,
    Consent,
    Endpoint,
    Hours,
    Person,
    Precision,
    Preference,
)

if TYPE_CHECKING:
    Time = float
else:
    # On the wire a time is RFC 3339 text or Unix seconds; in memory always Unix seconds.
    Time = float | str

__all__ = [
    "MOST_CONSENTS", "MOST_PREFERENCES", "MOST_SUBJECTS", "Beacon", "Consent", "Decision",
    "Delivery", "Endpoint", "Event", "Fix", "GateResult", "Hours", "Kind", "Observation", "Person",
    "Precision", "Preference", "ProximityError", "Reason", "Record", "Sighting", "Transition",
    "Trigger", "digest", "format_time", "parse_time",
]  # fmt: skip

Kind = Literal["enter", "dwell", "exit", "pass", "corrected"]
TriggerKind = Literal["enter", "dwell", "exit", "pass", "corrected", "event", "manual"]
TriggerSource = Literal["fix", "sighting", "event", "manual"]
Says = Literal["inside", "outside", "nothing"]
Source = Literal["fix", "sighting"]

_YEAR_10000 = 253402300800.0  # Unix seconds; times end before it, as parse_time has it


class ProximityError(Exception):
    """Something the engine was given cannot be used; ``problems`` lists all of it, a line each."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def format_time(at: float) -> str:
    """Write Unix seconds as RFC 3339 UTC with milliseconds, as all output does."""
    second, millis = divmod(round(at * 1000.0), 1000)
    return _to_the_second(second) + _MILLIS[millis]


_MILLIS = tuple(f".{millis:03d}Z" for millis in range(1000))


@lru_cache(maxsize=4096)
def _to_the_second(second: int) -> str:
    """Write a whole Unix second; the records of a batch share a few of them."""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


# Half the way round the Earth, rounded up: no position can be farther off.
_HALF_ROUND_M = 20_100_000.0


def digest(*parts: object) -> str:
    """Hash parts to a short id: the same parts give the same id on any machine, for ever.

    128 bits of BLAKE2b in hex; parts are joined with a separator that no id may hold.
    """
    text = "\x1f".join(["" if part is None else str(part) for part in parts])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Fix(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    tag_field="type",
    tag="fix",
):
    """One location report of a subject.

    ``at`` and ``received_at`` are Unix seconds (RFC 3339 text is accepted), ``lon`` and ``lat``
    degrees (WGS 84), ``accuracy_m`` the 68 % radius in metres (zero, negative or null: unknown),
    ``altitude_m`` metres, ``speed_mps`` metres a second, ``course_deg`` degrees from north.
    Raises ValueError (msgspec.ValidationError when decoded) where a field is out of range.
    """

    subject: str
    at: Time
    lon: float
    lat: float
    accuracy_m: float | None = None
    altitude_m: float | None = None
    floor: float | None = None
    speed_mps: float | None = None
    course_deg: float | None = None
    motion: str | None = None
    mock: bool = False
    id: str | None = None
    received_at: Time | None = None

    def __post_init__(self) -> None:
        # Every record comes this way, and most are as they should be: looked at, not called about.
        subject, at, received_at = self.subject, self.at, self.received_at
        if not (0 < len(subject) <= 128 and subject.isprintable()):
            check_id(subject, "subject")
        if type(at) is not float or not 0.0 <= at < _YEAR_10000:
            msgspec.structs.force_setattr(self, "at", parse_time(at))
        if received_at is not None and (
            type(received_at) is not float or not 0.0 <= received_at < _YEAR_10000
        ):
            msgspec.structs.force_setattr(self, "received_at", parse_time(received_at))
        lon, lat, accuracy_m = self.lon, self.lat, self.accuracy_m
        altitude_m, floor = self.altitude_m, self.floor
        speed_mps, course_deg = self.speed_mps, self.course_deg
        if not (
            type(lon) is float
            and type(lat) is float
            and (accuracy_m is None or type(accuracy_m) is float)
            and (altitude_m is None or type(altitude_m) is float)
            and (floor is None or type(floor) is float)
            and (speed_mps is None or type(speed_mps) is float)
            and (course_deg is None or type(course_deg) is float)
        ):
            self._make_floats()
            lon, lat, accuracy_m = self.lon, self.lat, self.accuracy_m
        if not -180.0 <= lon <= 180.0:
            raise ValueError(f"lon {lon!r} is outside -180 to 180 degrees")
        if not -90.0 <= lat <= 90.0:
            raise ValueError(f"lat {lat!r} is outside -90 to 90 degrees (are lon and lat swapped?)")
        if self.id is not None:
            check_id(self.id, "id")
        if accuracy_m is not None and not 0.0 < accuracy_m <= _HALF_ROUND_M:
            if math.inf > accuracy_m > _HALF_ROUND_M:
                raise ValueError(
                    f"accuracy_m {accuracy_m!r} is farther than any two places on Earth lie apart: "
                    "leave it out where it is not known"
                )
            msgspec.structs.force_setattr(self, "accuracy_m", None)

    def _make_floats(self) -> None:
        """Keep numbers as floats, whoever made them: an int, or an array's own kind of number."""
        for name in ("lon", "lat", "accuracy_m", "altitude_m", "floor", "speed_mps", "course_deg"):
            value = getattr(self, name)
            if value is not None:
                msgspec.structs.force_setattr(self, name, float(value))


class Event(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="event"
):
    """Something a subject did: ``name`` with flat ``properties``, ``at`` Unix seconds.

    Raises ValueError (msgspec.ValidationError when decoded) where a field is out of range.
    """

    subject: str
    at: Time
    name: str
    id: str | None = None
    properties: dict[str, str | float | bool | None] = {}
    received_at: Time | None = None

    def __post_init__(self) -> None:
        check_id(self.subject, "subject")
        check_id(self.name, "name")
        normalise_times(self)
        if self.id is not None:
            check_id(self.id, "id")


Record = Fix | Sighting | Event


class Observation(msgspec.Struct, frozen=True, gc=False):
    """What one record says of one place: the joint of both feeds.

    ``strength`` is 0..1, how surely; ``because`` the evidence in metres or decibels, which only
    ``tracking`` and ``arbitration`` understand. ``nothing`` is no information, not one half.
    ``since`` is from when on it has been so, where that is earlier than the record (Unix seconds).
    """

    subject: str
    place: str
    at: float
    source: Source
    says: Says
    strength: float
    because: dict[str, Any]
    since: float | None = None


class Transition(msgspec.Struct, frozen=True, gc=False):
    """A change of presence, as ``transitions.jsonl`` carries it (contract 6).

    ``at`` is when it happened, ``decided_at`` when the engine was sure; ``enter_at`` and
    ``exit_at`` belong to ``corrected`` alone (both None: the visit never was). All Unix seconds.
    """

    kind: Kind
    subject: str
    place: str
    visit: str
    at: float | None
    decided_at: float
    because: dict[str, Any] = {}
    reason: str | None = None
    dwell_s: float | None = None
    late: bool = False
    enter_at: float | None = None
    exit_at: float | None = None

    @property
    def id(self) -> str:
        """A deterministic id: the same change found again, after a crash, has the same one.

        Late records of one batch may unsay a visit and find it again at one instant: each is told.
        """
        because = self.because
        found_by = (because["record_at"],) if "record_at" in because else ()
        return digest(
            self.kind, self.visit, self.dwell_s, self.reason, self.late,
            self.at, self.decided_at, self.enter_at, self.exit_at, *found_by,
        )  # fmt: skip

    def to_record(self) -> dict[str, Any]:
        """Give the JSON object of contract 6, keys in its order, times as RFC 3339 text."""
        because = dict(self.because)
        for key, value in because.items():
            if key[-3:] == "_at" and value is not None:
                because[key] = format_time(value)
        if self.kind == "corrected":
            return {
                "kind": "corrected",
                "visit": self.visit,
                "subject": self.subject,
                "place": self.place,
                "enter_at": None if self.enter_at is None else format_time(self.enter_at),
                "exit_at": None if self.exit_at is None else format_time(self.exit_at),
                "decided_at": format_time(self.decided_at),
                "because": because,
            }
        record: dict[str, Any] = {
            "kind": self.kind,
            "subject": self.subject,
            "place": self.place,
            "visit": self.visit,
            "at": None if self.at is None else format_time(self.at),
            "decided_at": format_time(self.decided_at),
        }
        if self.reason is not None:
            record["reason"] = self.reason
        if self.dwell_s is not None:
            record["dwell_s"] = self.dwell_s
        if self.late:
            record["late"] = True
        record["because"] = because
        return record


class Trigger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a campaign cares about, waiting in the queue for its decision.

    A transition, an event of the person's, or a marketer's own wish (``kind`` manual). ``at`` is
    when it happened, ``decided_at`` when the engine was sure, ``evidence_at`` the time of the
    newest record behind it (Unix seconds); ``still`` whether that record was known to be
    motionless; ``confidence`` 0..1 how sure the engine was, None where nobody can say; ``source``
    what kind of record told it. ``id`` is the decision's id (contract 6); ``moment`` that of all
    triggers of one transition or event: rivals meet in it. ``due_at``: not to be decided before;
    ``until``: worth nothing from then on. ``place`` and ``visit`` are empty where there is none.
    """

    id: str
    campaign: str
    version: int
    person: str
    subject: str
    place: str
    visit: str
    kind: TriggerKind
    at: float
    decided_at: float
    evidence_at: float
    still: bool = False
    dwell_s: float | None = None
    because: dict[str, Any] = {}
    confidence: float | None = None
    source: TriggerSource = "fix"
    moment: str = ""
    due_at: float | None = None
    until: float | None = None
    event: Happened | None = None


class Reason(StrEnum):
    """Why a candidate was not sent; each gate's own, and ``fault``, which is no gate's."""

    STALE = "stale"
    INACTIVE = "inactive"
    PLACE_CLOSED = "place_closed"
    NO_CONSENT = "no_consent"
    NO_LOCATION_CONSENT = "no_location_consent"
    AGE = "age"
    OBJECTION = "objection"
    PREFERENCE = "preference"
    UNREACHABLE = "unreachable"
    SEGMENT = "segment"
    CONFIDENCE = "confidence"
    CONTEXT = "context"
    AFFINITY = "affinity"
    BELOW_THRESHOLD = "below_threshold"
    ASK = "ask"
    OUTSIDE_HOURS = "outside_hours"
    OFFER_WINDOW = "offer_window"
    CAPPED = "capped"
    COOLDOWN = "cooldown"
    QUIET_HOURS = "quiet_hours"
    NO_CONTENT = "no_content"
    OUT_OF_STOCK = "out_of_stock"
    OUTRANKED = "outranked"
    FAULT = "fault"


class GateResult(msgspec.Struct, frozen=True, gc=False):
    """One gate's verdict on one candidate, with the numbers it judged by."""

    gate: str
    passed: bool
    because: dict[str, Any]


class Verdict(StrEnum):
    """What a decision says: send it, wait, or not at all."""

    SEND = "send"
    DEFER = "defer"
    SUPPRESS = "suppress"


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was decided for one candidate, and why; a line of ``decisions.jsonl`` (contract 6).

    ``reason`` is the first gate's that failed (None where it is sent); ``until`` Unix seconds, set
    for a deferral only; ``at`` when it was decided (Unix seconds).
    """

    id: str
    decision: Verdict
    reason: str | None
    campaign: str
    version: int
    subject: str
    person: str
    place: str
    visit: str
    at: float
    until: float | None = None
    variant: str | None = None
    gates: tuple[GateResult, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """Give the JSON object of contract 6, keys in its order, times as RFC 3339 text."""
        return {
            "id": self.id,
            "decision": str(self.decision),
            "reason": self.reason,
            "campaign": self.campaign,
            "version": self.version,
            "subject": self.subject,
            "person": self.person,
            "place": self.place,
            "visit": self.visit,
            "at": format_time(self.at),
            "until": None if self.until is None else format_time(self.until),
            "variant": self.variant,
            "gates": [
                {"gate": g.gate, "passed": g.passed, "because": g.because} for g in self.gates
            ],
        }


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel is handed for one decision: rendered text, link, and until when it is good.

    ``key`` is the same for every attempt and channel of one decision: receivers collapse on it.
    ``version`` is the campaign's when it was decided, None where that is not known; ``source`` what
    told of the trigger. ``links`` are the ways to the same thing (``deeplinks.KINDS``),
    ``withdraw`` the link by which the person is not told such things again. ``title`` and ``terms``
    are plain text; ``route`` the channels to try after ``channel``, in order; ``receipt`` the link
    by which a device tells what became of it. ``expires_at`` is Unix seconds.
    """

    key: str
    campaign: str
    person: str
    subject: str
    place: str
    purpose: str
    channel: str
    text: str
    language: str
    link: str | None
    created_at: float
    expires_at: float
    version: int | None = None
    visit: str = ""
    source: TriggerSource = "fix"
    links: dict[str, str] = {}
    withdraw: str | None = None
    title: str | None = None
    terms: str | None = None
    route: tuple[str, ...] = ()
    receipt: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to hand an offer to a channel, and what came back.

    ``outcome``: ``accepted`` (handed over), ``retry`` (``next_at`` says when), ``failed`` (for
    good), ``dead_endpoint``, ``expired`` or ``suppressed`` (withdrawn before it was sent;
    ``reason`` names the gate); and what was heard of it later: ``delivered`` (it is on the device),
    ``opened``, ``clicked``, ``converted``. ``at`` and ``next_at`` are Unix seconds.
    """

    key: str
    channel: str
    attempt: int
    outcome: str
    at: float
    campaign: str
    person: str
    subject: str
    place: str
    reason: str | None = None
    next_at: float | None = None
    reply: dict[str, Any] = {}
    handed: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """A deterministic id of this attempt."""
        return digest(self.key, self.channel, self.attempt, self.outcome)

    def to_record(self) -> dict[str, Any]:
        """Give the JSON object of ``deliveries.jsonl``, times as RFC 3339 text."""
        return {
            "key": self.key,
            "channel": self.channel,
            "attempt": self.attempt,
            "outcome": self.outcome,
            "at": format_time(self.at),
            "campaign": self.campaign,
            "person": self.person,
            "subject": self.subject,
            "place": self.place,
            "reason": self.reason,
            "next_at": None if self.next_at is None else format_time(self.next_at),
            "reply": self.reply,
            "handed": self.handed,
        }
