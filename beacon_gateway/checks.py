"""The question: what keeps this gateway from hearing well, and what mends it.

Facts in, findings out: pure, one function for each check, in a table. It must not know how a fact
was found out. Every finding that is not good says what to do, in words for who stands before the
computer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from beacon_gateway.facts import Facts

Verdict = Literal["ok", "warning", "fault"]

# bleak needs BlueZ 5.55; passive scanning came with 5.56 (advertisement monitors).
OLDEST_BLUEZ = (5, 55)
OLDEST_PASSIVE = (5, 56)
# Below one sighting a second and beacon an exit after 30 s of silence is still safe, but somebody
# who walks past a 3 m zone is there for 5 s only.
SLOW_PER_S = 1.0
# The server's own limits: signatures older than 300 s are refused; it re-dates anything.
CLOCK_WARNING_S = 5.0
CLOCK_FAULT_S = 300.0
# The agent writes its health every 10 s; and the clocks that tell its age may differ a little.
AGENT_ALIVE_S = 60.0
AGENT_AHEAD_S = -5.0
# What waits where the server takes everything: two batches of the uplink, of which one is on its
# way. More is a spool that grows, or one that has yet to drain.
WAITING = 1000
# Less room than this on the disk ends in dropped sightings within a day offline.
FREE_BYTES = 200_000_000


START = "start it: `beacon-gateway run`, or `systemctl start beacon-gateway`"


class Finding(NamedTuple):
    """What a check found: its verdict, what is the case, and what to do about it."""

    verdict: Verdict
    says: str
    mend: str = ""


Check = Callable[[Facts], Finding | None]


def ok(says: str) -> Finding:
    """Find nothing wrong."""
    return Finding("ok", says)


def warning(says: str, mend: str) -> Finding:
    """Find what makes it worse."""
    return Finding("warning", says, mend)


def fault(says: str, mend: str) -> Finding:
    """Find what keeps it from working."""
    return Finding("fault", says, mend)


def _adapter(facts: Facts) -> Finding | None:
    if facts.simulated:
        if facts.radio_error is not None:
            return fault(facts.radio_error, "give --simulate a trace of what this gateway heard")
        return ok("not asked: a trace stands in for the radio")
    if facts.radio_error is not None:
        says, _, mend = facts.radio_error.partition(": ")
        return fault(says, mend or "see `systemctl status bluetooth` and `journalctl -u bluetooth`")
    if facts.platform == "darwin":
        return warning(
            "macOS keeps iBeacon frames from every program: AltBeacon and Eddystone only",
            "put a gateway for iBeacon on Linux or Windows",
        )
    if facts.platform != "linux":
        return ok("this system shows no adapters; the measured rate below is what tells")
    known = {adapter.address: adapter for adapter in facts.adapters}
    missing = [mac for mac in facts.wanted if mac not in known]
    if missing:
        there = ", ".join(known) or "none"
        return fault(
            f"there is no adapter {', '.join(missing)} (there: {there})",
            "plug it in, or name another with --adapter",
        )
    chosen = [known[mac] for mac in facts.wanted] or list(facts.adapters)
    if not chosen:
        return fault(
            "there is no Bluetooth adapter",
            "plug one in; on a Raspberry Pi remove dtoverlay=disable-bt from config.txt",
        )
    if not facts.wanted and not any(one.powered and one.central for one in chosen):
        chosen = chosen[:1]
    elif not facts.wanted:
        chosen = [next(one for one in chosen if one.powered and one.central)]
    for one in chosen:
        if not one.powered:
            return fault(
                f"the adapter {one.address} has no power",
                "sudo rfkill unblock bluetooth && bluetoothctl power on",
            )
        if not one.central:
            return fault(
                f"the adapter {one.address} cannot scan for low energy",
                "use one of version 4.0 or later",
            )
    return ok(", ".join(f"{one.address} ({one.name})" for one in chosen) + ", powered")


def _bluez(facts: Facts) -> Finding | None:
    if facts.simulated or facts.platform != "linux":
        return None
    found = re.match(r"(\d+)\.(\d+)", facts.bluez or "")
    if found is None:
        return warning("BlueZ does not tell its version", "install bluez 5.55 or later")
    version = (int(found[1]), int(found[2]))
    if version < (OLDEST_PASSIVE if facts.passive else OLDEST_BLUEZ):
        return fault(f"BlueZ {facts.bluez} is too old", "install bluez 5.56 or later")
    if facts.passive:
        return warning(
            f"BlueZ {facts.bluez}, passive: it tells levels only when they have changed by 8 dB, "
            "which about halves how often the right zone is told",
            "leave --passive away unless other radios suffer",
        )
    return ok(f"{facts.bluez}, asked in the way that has it tell every level")


def _rate(facts: Facts) -> Finding | None:
    if facts.listened_s <= 0:
        return None
    heard = f"{facts.per_s:.1f} advertisements a second from {facts.radios} radios"
    if facts.per_s == 0:
        if facts.radio_error is not None:
            return None
        return fault(
            f"nothing was heard in {facts.listened_s:.0f} s",
            "switch a tag on beside it; then take the power from the adapter for some seconds",
        )
    return ok(f"{heard} in {facts.listened_s:.0f} s")


def _beacons(facts: Facts) -> Finding | None:
    if facts.listened_s <= 0 or facts.per_s == 0:
        return None
    if not facts.listed:
        return warning(
            f"{facts.unlisted} beacons are heard; which are enrolled is not known without a list",
            "mend what keeps the list from coming, below",
        )
    others = f"; {facts.unlisted} beacons that are not enrolled" if facts.unlisted else ""
    if not facts.per_beacon:
        return warning(
            f"no enrolled beacon was heard{others}",
            "hold an enrolled tag beside it; `beacon-gateway scan --all` shows what is around",
        )
    slow = sum(1 for rate in facts.per_beacon if rate < SLOW_PER_S)
    if slow:
        return warning(
            f"{slow} of {len(facts.per_beacon)} enrolled beacons are heard less than once a "
            f"second (the slowest {min(facts.per_beacon):.1f}){others}",
            "set the tags to report at least twice a second; bring the gateway closer; a second "
            "adapter fills the gaps of the first",
        )
    return ok(f"{len(facts.per_beacon)}, each at least once a second{others}")


def _levels(facts: Facts) -> Finding | None:
    if facts.listened_s <= 0 or facts.per_s == 0:
        return None
    if facts.throttled:
        return warning(
            "levels change in steps of 8 dB or more: the system hides the others, and zones will "
            "be told wrongly",
            "end other programs that scan (bluetoothctl, a desktop's panel); update bluez",
        )
    if facts.throttled is None:
        return ok("too little was heard of enrolled beacons to judge")
    return ok("every level is told")


def _server(facts: Facts) -> Finding | None:
    if facts.server_error is not None:
        return fault(facts.server_error, "check --server, the network and the server's /readyz")
    return None if facts.token_error is not None and not facts.reached else ok("reached")


def _token(facts: Facts) -> Finding | None:
    if facts.token_error is not None:
        return fault(
            facts.token_error,
            "on the server: `proximity gateway pair`; put what it prints in the file",
        )
    if facts.server_error is not None:
        return None
    if facts.token_open:
        return warning(
            "accepted, but it travels in the clear where everybody on the way can read it",
            "give the server's https address, or pair with a secret (it signs and never travels)",
        )
    if facts.token_readable:
        return warning("accepted, but every user here can read its file", "chmod 600 the file")
    return ok("accepted")


def _list(facts: Facts) -> Finding | None:
    if facts.enrolled is None:
        return None
    here = f" for {facts.place}" if facts.place else ""
    if facts.enrolled == 0:
        return warning(
            f"the server lists no beacon to listen for{here}",
            "enrol tags: `proximity beacon enrol FILE`, or [[beacon]] in the site",
        )
    return ok(f"{facts.enrolled} beacons are enrolled{here}")


def _clock(facts: Facts) -> Finding | None:
    if facts.clock_offset_s is None:
        return None
    off = abs(facts.clock_offset_s)
    if off <= CLOCK_WARNING_S:
        return ok("agrees with the server's to 5 s")
    side = "behind" if facts.clock_offset_s > 0 else "ahead of"
    says = f"this clock is {off:,.0f} s {side} the server's"
    mend = "sudo timedatectl set-ntp true; let the shop's network pass NTP (UDP 123)"
    if off > CLOCK_FAULT_S:
        return warning(f"{says}; sightings are re-dated and signed by the server's time", mend)
    return warning(f"{says}; sightings are re-dated by the server", mend)


def _rtc(facts: Facts) -> Finding | None:
    if facts.rtc is None:
        return None
    if facts.rtc:
        return ok("there is a clock with a battery")
    return ok("no clock with a battery: after a power cut without network the server re-dates")


def _folder(facts: Facts) -> Finding | None:
    if facts.data_error is not None:
        return fault(facts.data_error, "give a folder of this user's own with --data")
    if facts.free_bytes is not None and facts.free_bytes < FREE_BYTES:
        return warning(
            f"{facts.free_bytes / 1e6:,.0f} MB are free on its disk",
            "make room: what cannot be kept while the server is away is dropped",
        )
    return ok("can be written")


def _spool(facts: Facts) -> Finding | None:
    if facts.spool_bytes is None:
        return None
    held = f"{facts.spool_bytes / 1e6:.1f} MB on the disk of at most {facts.spool_limit / 1e6:.0f}"
    if facts.dropped:
        return warning(
            f"{held}; {facts.dropped:,} sightings were dropped since the agent started",
            "see why the server was away for so long; a larger spool_bytes keeps more",
        )
    if facts.spool_bytes > 0.8 * facts.spool_limit:
        return warning(f"{held}: nearly full", "see why the server takes nothing")
    if facts.waiting > WAITING or (facts.waiting and facts.trouble is not None):
        return warning(
            f"{held}; {facts.waiting:,} sightings wait for the server",
            "see the lines server, token and agent; where those are well it drains by itself",
        )
    return ok(held)


def _agent(facts: Facts) -> Finding | None:
    if facts.data_error is not None:
        return None
    if facts.health_age_s is None:
        return warning(
            "the agent has not run with this data folder",
            START,
        )
    age_s = facts.health_age_s
    if facts.stopped:
        return warning(f"the agent has stopped, {max(0.0, age_s):,.0f} s ago", START)
    if age_s < AGENT_AHEAD_S:
        return warning(
            f"whether it runs cannot be told: its last word is dated {-age_s:,.0f} s from now",
            "put this clock right (timedatectl); a trace that is replayed faster is ahead too",
        )
    if age_s > AGENT_ALIVE_S:
        return warning(
            f"the agent last told of itself {age_s:,.0f} s ago",
            "systemctl status beacon-gateway; journalctl -u beacon-gateway",
        )
    if facts.trouble is not None:
        return fault(
            f"runs, and tells nothing: the server: {facts.trouble}",
            "see the lines server and token; a new token in the file is read within two minutes, "
            "under systemd after `systemctl restart beacon-gateway`",
        )
    if facts.list_trouble is not None:
        return warning(
            f"runs, and gets no list: the server: {facts.list_trouble}",
            "see the lines server and token; until then the list of before counts",
        )
    return ok("runs")


def _names(facts: Facts) -> Finding | None:
    if facts.in_memory is None:
        return None
    if not facts.in_memory:
        return warning(
            "Bluetooth's daemon writes the names of passers-by to /var/lib/bluetooth, on the disk",
            "`sudo beacon-gateway install-service` puts that folder in memory",
        )
    return ok("what Bluetooth's daemon remembers of passers-by is in memory only")


CHECKS: dict[str, Check] = {
    "adapter": _adapter,
    "bluez": _bluez,
    "rate": _rate,
    "beacons": _beacons,
    "levels": _levels,
    "server": _server,
    "token": _token,
    "list": _list,
    "clock": _clock,
    "battery clock": _rtc,
    "data folder": _folder,
    "spool": _spool,
    "agent": _agent,
    "passers-by": _names,
}


def examine(facts: Facts) -> dict[str, Finding]:
    """Make every check that applies; findings by the check's name, in order."""
    found = {name: check(facts) for name, check in CHECKS.items()}
    return {name: finding for name, finding in found.items() if finding is not None}
