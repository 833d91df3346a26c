"""What was the server told, and can it be used? Options, files, certificate, host: before binding.

Every problem of every file is found before anything starts. Knows nothing of requests.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from geofences import Fence, GeofenceError, load
from proximity.campaigns.campaigns import Campaigns
from proximity.campaigns.file import load_campaigns
from proximity.channels import open_channels
from proximity.ingest.edits import read_features
from proximity.model import ProximityError
from proximity.outbound.subscribers import load_subscribers
from proximity.people.planfile import load_plan
from proximity.people.tagging import NO_PLAN
from proximity.privacy import approvals
from proximity.privacy.policy import Policy, load_policy
from proximity.privacy.publishing import refused
from proximity.server.auth import admin_exists
from proximity.server.webclient import ClientFile, read_client
from proximity.site.enrolment import Enrolments
from proximity.site.registry import Site
from proximity.site.sitefile import fences_beside, load_site
from proximity.store import journal
from proximity.sync.rules import Rules, load_rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from proximity.channels import Channel
    from proximity.outbound.subscribers import Subscriber
    from proximity.people.tagging import Plan
    from proximity.store import Store


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What ``proximity serve`` was told; times in seconds."""

    data: Path
    site: Path | None = None
    campaigns: Path | None = None
    events: Path | None = None
    consent: Literal["required", "assumed"] = "required"
    host: str = "127.0.0.1"
    port: int = 8080
    tls_cert: Path | None = None
    tls_key: Path | None = None
    late_s: float = 3600.0
    decide: Literal["robust", "point"] = "robust"
    clock_speed: float = 1.0
    arm_phones: bool = False
    privacy: Path | None = None
    sync: Path | None = None
    client: Path | None = None
    outbound: Path | None = None
    mqtt: str | None = None
    mqtt_password_file: Path | None = None


@dataclass(frozen=True)
class Files:
    """What the files named on the command line say."""

    fences: Sequence[Fence]
    campaigns: Campaigns
    channels: Mapping[str, Channel]
    plan: Plan = NO_PLAN
    policy: Policy = field(default_factory=Policy)
    sync: Rules = field(default_factory=Rules)
    site: Site = field(default_factory=Site)
    client: Mapping[str, ClientFile] = field(default_factory=dict)
    subscribers: Sequence[Subscriber] = ()


def read_files(settings: Settings) -> Files:
    """Read every file; raises ProximityError with the problems of all of them."""
    problems: list[str] = []
    fences: Sequence[Fence] = ()
    site = Site()
    campaigns = Campaigns()
    channels: Mapping[str, Channel] = {}
    if settings.site is not None:
        try:
            site = load_site(settings.site)
            beside = fences_beside(settings.site, site)
            if beside is not None:
                fences = load(beside)
        except (ProximityError, GeofenceError) as error:
            problems += [str(problem) for problem in error.problems]
        except OSError as error:
            problems.append(f"{error.filename}: cannot be read ({error.strerror})")
    if settings.campaigns is not None:
        try:
            campaigns = load_campaigns(settings.campaigns)
            channels = open_channels(campaigns, settings.campaigns)
        except ProximityError as error:
            problems += error.problems
    plan = NO_PLAN
    if settings.events is not None:
        try:
            plan = load_plan(settings.events)
        except ProximityError as error:
            problems += error.problems
    policy = Policy()
    if settings.privacy is not None:
        try:
            policy = load_policy(settings.privacy)
        except ProximityError as error:
            problems += error.problems
    subscribers: Sequence[Subscriber] = ()
    if settings.outbound is not None:
        try:
            subscribers = load_subscribers(settings.outbound)
        except ProximityError as error:
            problems += error.problems
    client: Mapping[str, ClientFile] = {}
    if settings.client is not None:
        try:
            client = read_client(settings.client)
        except ProximityError as error:
            problems += error.problems
    sync = Rules()
    if settings.sync is not None:
        try:
            sync = load_rules(settings.sync)
        except ProximityError as error:
            problems += error.problems
    if problems:
        raise ProximityError(*problems)
    return Files(
        fences=fences, campaigns=campaigns, channels=channels, plan=plan, policy=policy,
        site=site, client=client, sync=sync, subscribers=subscribers,
    )  # fmt: skip


def check_site(files: Files, store: Store) -> None:
    """Refuse gateways and beacons of the site file whose place or gateway is nowhere.

    What came over HTTP is there as well. Raises ProximityError that names every one.
    """
    drawn = {fence.id for fence in files.fences}
    drawn |= {
        name for name, one in store.read(journal.fences_in_force).items() if one.source == "http"
    }
    enrolled = Enrolments(store.read(journal.entries_in_force)).join(files.site)
    problems = files.site.check(drawn | enrolled.places.keys())
    if problems:
        raise ProximityError(*problems)


def check_places(files: Files, store: Store) -> None:
    """Refuse campaigns that use a sensitive place for which not enough people vouch.

    Raises ProximityError that names every use.
    """
    problems = places_problems(files, store)
    if problems:
        raise ProximityError(*problems)


def places_problems(files: Files, store: Store) -> list[str]:
    """Say which campaigns use sensitive places; fences and zones that came over HTTP count."""
    fences = {fence.id: fence for fence in files.fences}
    stored = store.read(journal.fences_in_force)
    texts = (one.feature for one in stored.values() if one.source == "http")
    fences = {fence.id: fence for fence in read_features(texts)} | fences
    site = Enrolments(store.read(journal.entries_in_force)).join(files.site)
    vouched = store.read(approvals.vouched)
    found = refused(files.campaigns, fences.values(), site, files.policy, vouched)
    return [use.problem() for use in found]


def open_tls(settings: Settings) -> ssl.SSLContext | None:
    """Load the certificate; raises ProximityError where it cannot be used."""
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise ProximityError("TLS needs both --tls-cert and --tls-key: give the other as well")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or "unreadable"
        raise ProximityError(
            f"{settings.tls_cert}, {settings.tls_key}: no PEM certificate with its unencrypted "
            f"key ({reason}): give the chain and the key that belongs to it"
        ) from None
    return context


def check_host(host: str, store: Store) -> None:
    """Refuse to be reached from elsewhere while nobody could be told apart."""
    if _is_loopback(host) or store.read(admin_exists):
        return
    raise ProximityError(
        f"--host {host} can be reached from other machines, and no admin token exists yet: "
        "make one first with `proximity token create --role admin --data …`"
    )


def _is_loopback(host: str) -> bool:
    """Tell whether every address of ``host`` is this machine's own; a name that has none is not."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    try:
        found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ProximityError(
            f"--host {host}: this name has no address: give an IP address"
        ) from None
    return bool(host) and all(
        ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found
    )
