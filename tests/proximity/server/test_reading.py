from __future__ import annotations

import sys
from typing import Literal

import msgspec
import pytest

from proximity.inbox.marking import Mark
from proximity.server.problems import Problem
from proximity.server.reading import parse_json, parse_lines, unknown_encoding


class Told(msgspec.Struct):
    outcome: Literal["delivered", "opened"] | None


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b'{"outcome": "eaten"}', Told, "delivered, opened"),
        (b'{"key": "k", "did": "eaten"}', Mark | tuple[Mark, ...], "read, redeemed, dismissed"),
        (b'[{"key": "k", "did": "a\\nb"}]', Mark | tuple[Mark, ...], "read, redeemed, dismissed"),
    ],
)
def test_a_word_that_is_none_is_answered_with_those_there_are(
    body: bytes, kind: type[Told], words: str
) -> None:
    with pytest.raises(Problem, match=f"; it is one of {words}$"):
        parse_json(body, kind)


def test_each_line_with_such_a_word_is_told_them() -> None:
    with pytest.raises(Problem) as refused:
        parse_lines(b'{"outcome": "opened"}\n{"outcome": "eaten"}', Told, "receipts")
    (problem,) = refused.value.problems
    assert problem.startswith("line 2: ")
    assert problem.endswith("it is one of delivered, opened")


def test_what_is_nested_too_deeply_is_told_in_plain_words() -> None:
    for body in (b"[" * 200_000, b'{"outcome": ' + b"[" * 200_000):
        with pytest.raises(Problem, match="nested too deeply"):
            parse_lines(body, Told, "receipts")


def test_each_refusal_is_made_anew() -> None:
    """One that is raised again keeps every frame that it ever went through, with what is in it."""
    for module in [one for name, one in sys.modules.items() if name.startswith("proximity.")]:
        kept = [name for name, what in vars(module).items() if isinstance(what, BaseException)]
        assert kept == [], module.__name__
    assert unknown_encoding() is not unknown_encoding()
