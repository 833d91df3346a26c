"""What makes everybody wait, and how is it kept short? The collector, and whose turn it is.

Both are settings of the interpreter: they concern the whole process, and are the server's alone.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Objects made before the youngest are looked through. Python's own 700 does so hundreds of times a
# second under load and finds nothing: requests and records die with their last reference.
YOUNG = 10_000
# A generation of survivors is looked through after so many of the one before: 50,000 objects, some
# 5 ms. With 20 it was four times as long, and so was every collection that waits for it.
SURVIVORS = 5
# The oldest never by itself: half a million subjects would take it half a second, at any moment.
NEVER = 1_000_000_000
# A thread that works in Python gives way after so long. The writer of the store does its rows in
# turns with the event loop, which lets go at each read and send; Python's own 5 ms would be what
# half of the requests wait.
TURN_S = 0.0005


@contextmanager
def put_off() -> Iterator[None]:
    """Collect nothing while a program is loaded: what that makes stays, and looking takes time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def kept_short() -> Iterator[None]:
    """Set the interpreter up for a server: what there is now stays for as long as it runs."""
    turn_s, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(TURN_S)
    # Not collected first: whoever waits for the server would wait for that, 0.1 s and, with half a
    # million subjects, half a second more. The first whole collection finds what is garbage in it.
    gc.freeze()
    gc.set_threshold(YOUNG, SURVIVORS, NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        sys.setswitchinterval(turn_s)


def much_is_new() -> bool:
    """Whether survivors were looked through since the last collection: it should not get more."""
    return gc.get_count()[2] > 0


def collect(*, whole: bool) -> None:
    """Collect what came since the last time, and look at what is left of it no more.

    ``whole``: look through everything, which takes some microseconds a thousand objects; for a
    moment in which nobody waits. It also finds cycles that outlived an earlier call.
    """
    if whole:
        gc.unfreeze()
    gc.collect()
    gc.freeze()
