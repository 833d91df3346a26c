"""Whatever a phone is told, forgets or misses: in the end it watches the regions that it should.

The three apps are modelled after what they document of their own lists: Android's merges by
``tst``, iOS's by ``rid`` while the system below knows a region by its name alone, and the Transistor
SDK's by ``identifier``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proximity.feeds import Incoming, owntracks, transistor
from proximity.phones.arming import Client, Phone, Region

OWN = {"_type": "waypoint", "rid": "a1b2c3", "tst": 1_700_000_000, "desc": "home", "lon": 1.0, "lat": 1.0, "rad": 80}  # fmt: skip
CIRCLES = st.sampled_from([(2.35, 48.85, 100), (2.36, 48.85, 250), (-179.99, -10.0, 101)])
#: Which fences are wanted, and which of few circles each has: names return in other slots.
CHOICES = st.dictionaries(st.sampled_from("abcdefgh"), CIRCLES, max_size=5)
#: What becomes of a reply, and whether the server forgets the phone before it.
STEPS = st.lists(
    st.tuples(CHOICES, st.sampled_from(["arrives", "lost", "restart"])), min_size=1, max_size=12
)

Watched = set[tuple[str, float, float, float]]


class Android:
    def __init__(self) -> None:
        self.by_tst = {OWN["tst"]: OWN}

    def read(self, reply: bytes) -> None:
        for one in json.loads(reply)[0]["waypoints"]["waypoints"]:
            assert -90 <= one["lat"] <= 90
            self.by_tst[one["tst"]] = one

    def watched(self) -> Watched:
        every = [one for one in self.by_tst.values() if one["desc"] != owntracks.NAMELESS]
        return {(one["desc"], one["lon"], one["lat"], one["rad"]) for one in every}


class IOS:
    def __init__(self) -> None:
        self.by_rid = {OWN["rid"]: OWN}
        self.system = {OWN["desc"]: OWN}

    def read(self, reply: bytes) -> None:
        for one in json.loads(reply)[0]["waypoints"]["waypoints"]:
            before = self.by_rid.pop(one["rid"], None)
            if before is not None:
                self.system.pop(before["desc"], None)
            if -90 <= one["lat"] <= 90:
                self.by_rid[one["rid"]] = one
                self.system[one["desc"]] = one

    def watched(self) -> Watched:
        assert set(map(str, self.system)) == {str(one["desc"]) for one in self.by_rid.values()}
        return {(one["desc"], one["lon"], one["lat"], one["rad"]) for one in self.system.values()}


class Transistor:
    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}

    def read(self, reply: bytes) -> None:
        for name, argument in json.loads(reply)["background_geolocation"]:
            if name == "removeGeofence":
                self.held.pop(argument, None)
            else:
                assert name == "addGeofences"
                self.held |= {one["identifier"]: one for one in argument}

    def watched(self) -> Watched:
        return {
            (one["extras"]["name"], one["longitude"], one["latitude"], one["radius"])
            for one in self.held.values()
        }


def walk(app: Android | IOS | Transistor, client: Client, steps: list[Any], own: Watched) -> None:
    def unknown() -> Phone:
        return Phone([None] * client.most if client.empties else [])

    phone, whole = unknown(), True
    for choice, fate in steps:
        if fate == "restart":
            phone, whole = unknown(), True
        wanted = [Region(name, name, *where) for name, where in choice.items()]
        orders = phone.put(wanted, whole=whole)
        assert len(phone.slots) <= client.most
        if fate == "lost":
            whole = True  # the phone repeats what it said, and is told everything
            continue
        whole = False
        if orders:
            app.read(client.write(orders))
        watched = app.watched()
        told = {(name, *where) for name, where in choice.items()} | own
        # Android's app can be told to delete nothing that is not known to be there.
        assert watched == told or (not client.empties and watched >= told)


def client_of(row: Callable[[Incoming], Client], agent: str) -> Client:
    return row(Incoming(headers={"user-agent": agent}))


HOME = ("home", 1.0, 1.0, 80)


@given(STEPS)
def test_android_watches_what_it_is_told_and_keeps_its_own(steps: list[Any]) -> None:
    app = Android()
    walk(app, client_of(owntracks.client, "Owntracks-Android/gms/1"), steps, {HOME})
    if not any(fate == "restart" for _, fate in steps) and steps[-1][1] == "arrives":
        assert len(app.watched()) == len(steps[-1][0]) + 1


@given(STEPS)
def test_ios_watches_what_it_is_told_and_keeps_its_own(steps: list[Any]) -> None:
    walk(IOS(), client_of(owntracks.client, "OwnTracks/18 CFNetwork/1 Darwin/23"), steps, {HOME})


@given(STEPS)
def test_the_transistor_sdk_watches_what_it_is_told(steps: list[Any]) -> None:
    walk(Transistor(), client_of(transistor.client, ""), steps, set())
