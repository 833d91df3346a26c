"""The question: what does the campaigns file on disk say.

Reads a file of bounded size and hands its text to ``campaigns``, which does not know files.
"""

from __future__ import annotations

from pathlib import Path

from proximity.campaigns.campaigns import Campaigns
from proximity.campaigns.form import parse_campaigns
from proximity.inputs import called, open_input
from proximity.model import ProximityError

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
    file = Path(path)
    name = called(file)
    try:
        with open_input(file) as stream:
            raw = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ProximityError(f"{name}: cannot be read: {error.strerror}") from None
    if len(raw) > _MOST_BYTES:
        raise ProximityError(f"{name}: larger than {_MOST_BYTES} bytes; split the campaigns")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProximityError(f"{name}: no UTF-8 at byte {error.start}; save it so") from None
