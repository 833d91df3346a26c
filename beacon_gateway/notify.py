"""The question: how does systemd learn that this process is ready, alive or leaving.

Its protocol is a datagram to the socket that the environment names; without one it does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket

from beacon_gateway.scanner import Clock


def notify(state: str) -> bool:
    """Send a state, such as READY=1, WATCHDOG=1 or STATUS=words; False where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return False
    # A leading @ stands for the zero byte of a name that is no file.
    address = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        out.sendto(state.encode(), address)
        return True
    return False


async def heartbeat(clock: Clock | None = None) -> None:
    """Say that the process lives, twice as often as systemd asks, until cancelled.

    Run it beside everything else, through every rung of the watchdog's ladder: it tells that the
    event loop turns, not that beacons are heard.
    """
    wanted = os.environ.get("WATCHDOG_USEC", "")
    every_s = int(wanted) / 2e6 if wanted.isdecimal() else 0.0
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        every_s = 0.0
    while every_s > 0.0:
        notify("WATCHDOG=1")
        await (clock or Clock()).sleep(every_s)
