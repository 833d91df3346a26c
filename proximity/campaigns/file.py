"""The question: what does the campaigns file on disk say.

Reads a file of bounded size and hands its text to ``campaigns``, which does not know files.
"""

from __future__ import annotations

from pathlib import Path

from proximity.campaigns.campaigns import Campaigns
from proximity.campaigns.form import parse_campaigns
from proximity.inputs import called, read_text

__all__ = ["load_campaigns", "read_campaigns"]

_MOST_BYTES = 4 * 1024 * 1024
"""Two thousand campaigns in ten languages are about 3 MB; a larger file is not a campaigns file."""


def load_campaigns(path: str | Path) -> Campaigns:
    """Read a campaigns file; raises ProximityError with every problem, each led by its name.

    ``-`` is standard input.
    """
    return parse_campaigns(read_campaigns(path), called(Path(path)))


def read_campaigns(path: str | Path) -> str:
    """Read the text of a campaigns file; raises ProximityError where it cannot be read."""
    return read_text(Path(path), _MOST_BYTES, "split the campaigns")
