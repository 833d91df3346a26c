"""The question: where does a running agent, or server, say how it fares, and in which form.

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


def log_to_stderr(
    least: str = "info",
    variable: str = LEVEL,
    hushed: tuple[str, ...] = ("bleak", "aiohttp", "aiomqtt", "asyncio"),
) -> None:
    """Write the log to standard error, from level ``least`` on, or what ``variable`` says.

    ``variable`` is one of the environment; of ``hushed`` libraries only what is critical is told.
    """
    levels = logging.getLevelNamesMapping()
    said = os.environ.get(variable) or least
    level = levels.get(said.upper(), levels[least.upper()])
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
    # Libraries' own lines may name what was heard or sent, hosts and topics.
    for library in hushed:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    if said.upper() not in levels:
        structlog.get_logger(__name__).warning(
            "there is no such level of the log: debug, info, warning or error", variable=variable
        )
