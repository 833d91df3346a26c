"""The question: where does a running agent say how it fares, and in which form.

Lines of JSON on standard error, which the journal of the system keeps; for a person, where one is
watching. Never an id, an address or a token at INFO or above: that is up to who writes a line.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import structlog

LEVEL = "BEACON_GATEWAY_LOG"


def log_to_stderr(least: str = "info") -> None:
    """Write the log to standard error, from level ``least`` on, or the environment's own."""
    level = getattr(logging, os.environ.get(LEVEL, least).upper(), logging.INFO)
    show: Any = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        show = structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            show,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Libraries' own lines may name what was heard, hosts and topics.
    for library in ("bleak", "aiohttp", "aiomqtt", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
