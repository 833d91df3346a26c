"""What does it weigh? Resident memory of this process, before and after."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

_STATM = Path("/proc/self/statm")


def resident() -> int:
    """Bytes in memory now; where the system does not tell, the most that there ever were."""
    gc.collect()
    if _STATM.exists():
        # Freed memory goes back first, else an earlier peak would hide what comes after it.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def grown(make: Callable[[], object]) -> int:
    """Bytes that stay in memory after ``make``, its result included."""
    before = resident()
    kept = make()
    after = resident()
    del kept
    return after - before
