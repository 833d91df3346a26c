"""The question: which named holes has a text, and what does it say once they are filled.

Text is text with ``{name}`` in it, no template language: what marketers and map-makers write can
fill a hole, never run. Pure; it must not know what the holes stand for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proximity.tomltable import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["check_holes", "fill", "outside"]

_HOLE = re.compile(r"\{([^{}]*)\}")


def check_holes(text: str, allowed: Mapping[str, str], besides: Sequence[str] = ()) -> list[str]:
    """Name every hole that is not among ``allowed``, and braces that make none.

    ``besides`` is what may be written instead of a hole.
    """
    problems = [
        f"unknown placeholder {{{name:.40}}}; {nearest(name, [*allowed, *besides])}"
        for name in _HOLE.findall(text)
        if name not in allowed
    ]
    if any(brace in outside(text) for brace in "{}"):
        problems.append("a brace stands alone; braces are for placeholders such as {place}")
    return problems


def fill(text: str, values: Mapping[str, str]) -> str:
    """Fill the holes of a text in one pass, so that a value's own braces stay what they are."""
    return _HOLE.sub(lambda hole: values.get(hole[1], hole[0]), text)


def outside(text: str) -> str:
    """Give what of a text is no hole."""
    return _HOLE.sub("", text)
