"""What does an endpoint work with? The opened parts of one running server, by name.

Values and references only; opening and closing them is ``serve``'s work.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proximity.inbox.pace import Pace
from proximity.people.tagging import NO_PLAN
from proximity.privacy.policy import Policy
from proximity.sync.rules import Rules

if TYPE_CHECKING:
    from weakref import ReferenceType

    from proximity.campaigns.campaigns import Campaigns
    from proximity.channels import Channel
    from proximity.ingest.ingest import Ingest
    from proximity.people.people import People
    from proximity.people.tagging import Plan
    from proximity.server.arming import Arming
    from proximity.server.auth import Tokens
    from proximity.server.gateways import Told
    from proximity.server.metrics import Metrics
    from proximity.server.signing import Signatures
    from proximity.server.tail import Tail
    from proximity.server.webclient import ClientFile
    from proximity.site.places import Places
    from proximity.site.registry import Site
    from proximity.store import Store


@dataclass(kw_only=True)
class Parts:
    """One running server: where it keeps things, what it runs, and what time it is."""

    store: Store
    ingest: Ingest
    people: People
    places: Places
    campaigns: Callable[[], Campaigns]
    tokens: Tokens
    signatures: Signatures
    metrics: Metrics
    tail: Tail
    clock: Callable[[], float]
    plan: Plan = NO_PLAN
    """Which events are kept, and which attributes of people there are."""
    channels: Mapping[str, Channel] = field(default_factory=dict)
    """What offers are handed over by: each judges the addresses that people leave for it."""
    client: Mapping[str, ClientFile] = field(default_factory=dict)
    """The web client's files by name; none where there is no client."""
    late_s: float = 3600.0
    """How far behind the clock a record may be, seconds."""
    assumed: bool = False
    """Whether consent is kept upstream: then everybody may be processed."""
    arming: Arming | None = None
    """What tells phones which regions to watch; None where they are not to be told."""
    fences_edit: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from comparing an ETag to writing the fence: two editors cannot both win."""
    entries_edit: asyncio.Lock = field(default_factory=asyncio.Lock)
    """The same of places, gateways and beacons."""
    started_at: float = 0.0
    """Since when it listens, Unix seconds: who was not heard of since then is silent."""
    healths: dict[str, Told] = field(default_factory=dict)
    """What each gateway last told of itself."""
    configurations: dict[str, tuple[ReferenceType[Site], str]] = field(default_factory=dict)
    """The ETag of each gateway's configuration, and the site that it was made from, which a
    gateway that asks no more must not keep in memory."""
    policy: Policy = field(default_factory=Policy)
    """How long what is kept, who else has to erase, which places are sensitive."""
    pace: Pace = field(default_factory=Pace)
    """How often who looked into which inbox of late."""
    followers: int = 0
    """Inboxes that are followed live."""
    followed: Counter[str] = field(default_factory=Counter)
    """How often each person's is: nobody's link takes all the room there is."""
    sync: Rules = field(default_factory=Rules)
    """Whose word counts where people are kept alike with others, and what a purchase is put to."""
    erasing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an erasure was begun."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server drains: streams end, nothing new is taken."""
