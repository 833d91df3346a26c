"""The question: what does the tagging plan on disk say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proximity.inputs import called, read_text
from proximity.people.tagging import parse_plan

if TYPE_CHECKING:
    from pathlib import Path

    from proximity.people.tagging import Plan

__all__ = ["load_plan"]

_MOST_BYTES = 2 * 1024 * 1024
"""Two thousand events of ten properties are about 1 MB; a larger file is no tagging plan."""


def load_plan(path: Path) -> Plan:
    """Read a tagging plan (``-`` is standard input); raises ProximityError with every problem."""
    return parse_plan(read_text(path, _MOST_BYTES), called(path))
