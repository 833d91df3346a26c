"""A gateway's spool at work, for the tests of power cuts: commits groups for ever, says each.

``python -m tests.edges.spooling FILE BOOT [NORMAL]``: a line of output is the number of the last
record that is promised to be on disk. With NORMAL nothing is synced, which the test has to notice.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from beacon_gateway.spoolfile import Limits, Record, SpoolFile


def work(path: Path, boot: str, *, careless: bool) -> None:
    file = SpoolFile(path, Limits(50_000_000, 1e6), boot=boot, wall=time.time, mono=time.monotonic)
    if careless:
        file._db.execute("PRAGMA synchronous = NORMAL")
    n = file.last_n
    while True:
        group = [
            Record(n + k, "gw-1", boot, n + k, b"{}", time.time(), time.monotonic(), -60)
            for k in range(1, 8)
        ]
        n += len(group)
        file.commit(group)
        sys.stdout.write(f"{n}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2], careless="NORMAL" in sys.argv[3:])
