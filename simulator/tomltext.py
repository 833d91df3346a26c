"""How is a table written as TOML? The reverse of ``tomllib``, for what scenarios hand on.

Values in, text out: tables within tables are written inline, so that each entry stands for itself.
"""

from __future__ import annotations

import json
import re
from datetime import date, time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["array_of_tables", "line"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def array_of_tables(name: str, tables: Iterable[Mapping[str, Any]]) -> str:
    """Write tables as ``[[name]]``, a key a line."""
    return "".join(
        f"\n[[{name}]]\n{''.join(line(key, value) for key, value in table.items())}"
        for table in tables
    )


def line(key: str, value: object) -> str:
    """Write one key and its value, with the end of the line."""
    return f"{_key(key)} = {_value(value)}\n"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    # JSON escapes as TOML does, but for DEL; other characters stand as they are.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    assert isinstance(value, dict)
    pairs = (f"{_key(key)} = {_value(one)}" for key, one in value.items())
    return f"{{ {', '.join(pairs)} }}"
