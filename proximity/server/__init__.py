"""The server: contract 7 over aiohttp, from one route table.

A name loads when it is first asked for: making a token needs the auth table, not the application.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proximity.server.app import create_app
    from proximity.server.serve import run
    from proximity.server.settings import Settings

__all__ = ["Settings", "create_app", "run"]

_HOMES = {"Settings": "settings", "create_app": "app", "run": "serve"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value
