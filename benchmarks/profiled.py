"""A `proximity` command, profiled from SIGUSR1 on: ``python -m benchmarks.profiled FILE serve``.

So that the start of a server does not hide what it does under load. Only the main thread, which
runs the event loop, is profiled.
"""

from __future__ import annotations

import cProfile
import runpy
import signal
import sys


def main() -> None:
    into = sys.argv.pop(1)
    sys.argv[0] = "proximity"
    profile = cProfile.Profile()
    signal.signal(signal.SIGUSR1, lambda *_: profile.enable())
    try:
        runpy.run_module("proximity", run_name="__main__", alter_sys=True)
    finally:
        profile.disable()
        profile.dump_stats(into)


if __name__ == "__main__":
    main()
