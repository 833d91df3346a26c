"""What is logged of a fault of the program? Its kind and its place, and nothing that was sent."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger("proximity")

# The innermost frames say where it happened; further out it is always the same server.
FRAMES = 3


def log_fault(event: str, error: BaseException, **fields: object) -> None:
    """Log an exception by type and place; its text, which may quote a position, at DEBUG alone."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    place = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames)]
    known: Mapping[str, object] = {**fields, "error": type(error).__name__, "place": place}
    log.error(event, **known)
    log.debug(event, exc_info=error, **fields)
