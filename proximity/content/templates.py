"""The question: what does a text with conditions, counts and plurals say for these values.

Marketers' Liquid (python-liquid), cut down to what a short text needs and bounded in every
direction: length, depth, loops, steps and output. A text can read the values it is given and
nothing else: no file, no clock, no other text, and unknown names are refused when it is read.
Pure; it must not know campaigns, places or people.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from liquid import Environment, FalsyStrictUndefined, RenderContext, Undefined
from liquid.builtin import content, illegal, output
from liquid.builtin.expressions import BooleanExpression, FilteredExpression, Path
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.tags import assign_tag, case_tag, comment_tag, for_tag, if_tag, unless_tag
from liquid.exceptions import LiquidError
from liquid.filter import with_context
from liquid.stringify import to_liquid_string

from proximity.content.languages import (
    PLURALS,
    direction,
    format_money,
    format_number,
    is_currency,
    isolate,
    plural_form,
    plural_forms,
)
from proximity.tomltable import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from typing import TextIO

    from liquid.ast import Node
    from liquid.builtin.expressions import Filter
    from liquid.expression import Expression
    from liquid.template import BoundTemplate

__all__ = ["FILTERS", "MAX_TEMPLATE", "Template", "TemplateError", "is_template"]

MAX_TEMPLATE = 4000
"""Characters of a template as written: a text of 1000 with all of Arabic's six plural forms fits,
and what a text this short can make the program do is bounded by it."""
_MAX_OUTPUT = 4096
"""Bytes that come out: what push platforms carry in all."""
_MAX_STEPS = 500
"""Look-ups, filters and values written in one rendering: a few milliseconds of work at most, where
a real text takes some dozens. Counted instead of timed, so that the same text with the same values
always ends the same way."""
_MAX_LOOP = 30
"""Turns of all loops that stand in each other. A text of 1000 characters cannot list more."""
_MAX_DEPTH = 8
"""Blocks within blocks. A text that needs more is a program."""
_MAX_NUMBER = 1e15
"""Numbers beyond this are no price and no count; floats still tell whole ones apart below it."""
_T = TypeVar("_T")
_MARKS = ("{{", "{%")
_MARKUP = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


class TemplateError(ValueError):
    """The text cannot be read, or not be written for these values; the message says why."""


def is_template(text: str) -> bool:
    """Whether a text is a template: it has Liquid's marks. All others are text with holes."""
    return any(mark in text for mark in _MARKS)


class Template:
    """One text, read once. Raises TemplateError where it is no template that may be used.

    ``literal`` is what of it stands as written, ``paths`` the values that it reads, such as
    ``("person", "name")``. ``html`` escapes every value that it writes, for a text that is itself
    HTML.
    """

    def __init__(self, source: str, language: str, *, html: bool = False) -> None:
        if len(source) > MAX_TEMPLATE:
            raise TemplateError(f"it has {len(source)} characters, at most {MAX_TEMPLATE}")
        self._bound = _guarded(lambda: _environment(html=html).from_string(source))
        self._language = language
        self.literal = _MARKUP.sub("", source)
        self._base = direction(self.literal)
        self._expressions = _guarded(lambda: tuple(_walk(self._bound)))
        if any(isinstance(one, RangeLiteral) for one in self._expressions):
            raise TemplateError("it counts through a range (1..5): loop over a list")
        for used in self._filters():
            if used.name not in FILTERS:
                raise TemplateError(
                    f"unknown filter {used.name!r:.40}; {nearest(used.name, FILTERS)}"
                )
        self.paths: frozenset[tuple[str, ...]] = _guarded(self._read_paths)

    def _read_paths(self) -> frozenset[tuple[str, ...]]:
        found = set()
        for variables in self._bound.analyze(include_partials=False).globals.values():
            for variable in variables:
                if not all(isinstance(part, str) for part in variable.segments):
                    raise TemplateError(f"{variable!s:.60} is worked out: write the name itself")
                found.add(tuple(str(part) for part in variable.segments))
        return frozenset(found)

    def _filters(self) -> Iterator[Filter]:
        for one in self._expressions:
            yield from getattr(one, "filters", None) or ()

    def missing_plurals(self) -> list[str]:
        """Name the plural forms that the language has and a ``plural`` filter here leaves out."""
        needed = set(plural_forms(self._language))
        missing: set[str] = set()
        for used in self._filters():
            if used.name == "plural":
                missing |= needed - {getattr(argument, "name", None) for argument in used.args}
        return [form for form in PLURALS if form in missing]

    def unguarded(self, roots: Collection[str]) -> list[str]:
        """Name the values under ``roots`` that are written as they are, known or not.

        A ``default`` beside it guards a value, and so does an ``if`` that asks for it anywhere.
        """
        asked = set()
        for one in self._expressions:
            if isinstance(one, BooleanExpression):
                asked |= {str(inner) for inner in _within(one) if isinstance(inner, Path)}
        found = set()
        for one in self._expressions:
            if not isinstance(one, FilteredExpression) or not isinstance(one.left, Path):
                continue
            guarded = any(used.name == "default" for used in one.filters or ())
            if one.left.path[0] in roots and not guarded and str(one.left) not in asked:
                found.add(str(one.left))
        return sorted(found)

    def render(self, values: Mapping[str, Any]) -> str:
        """Write the text for ``values``; raises TemplateError where it cannot be written."""
        context = _Context(self._bound, globals={**values, "language": self._language})
        context.base = self._base
        return _guarded(lambda: self._write(context))

    def _write(self, context: _Context) -> str:
        buffer = self._bound._get_buffer()  # noqa: SLF001  the one that counts bytes
        self._bound.render_with_context(context, buffer)
        return buffer.getvalue()


class _Context(RenderContext):
    """A rendering that counts its steps and knows which way its text runs."""

    __slots__ = ("base", "steps")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.base: str | None = None
        self.steps = 0

    def get(self, *args: Any, **options: Any) -> object:
        self.step()
        return super().get(*args, **options)

    def filter(self, *args: Any, **options: Any) -> Callable[..., object]:
        self.step()
        return super().filter(*args, **options)

    def step(self) -> None:
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise TemplateError(f"it takes more than {_MAX_STEPS} steps")


class _IsolatedNode(output.OutputNode):
    """``{{ value }}``, kept from turning the text around it."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        assert isinstance(context, _Context)
        context.step()
        text = to_liquid_string(self.expression.evaluate(context), context.autoescape)
        return buffer.write(isolate(text, context.base))


class _IsolatedOutput(output.Output):
    node_class = _IsolatedNode


class _Environment(Environment):
    """Liquid as offered here: these tags, ``FILTERS``, and no way to anything else."""

    block_nesting_limit = _MAX_DEPTH
    context_depth_limit = 2 * _MAX_DEPTH
    loop_iteration_limit = _MAX_LOOP
    local_namespace_limit = 4 * _MAX_OUTPUT
    output_stream_limit = _MAX_OUTPUT

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        del extra  # none of them
        for tag in (
            content.Literal, _IsolatedOutput, illegal.Illegal, if_tag.IfTag, unless_tag.UnlessTag,
            case_tag.CaseTag, for_tag.ForTag, for_tag.BreakTag, for_tag.ContinueTag,
            assign_tag.AssignTag, comment_tag.CommentTag,
        ):  # fmt: skip
            self.add_tag(tag)
        for name, function in FILTERS.items():
            self.add_filter(name, function)


@lru_cache(maxsize=2)
def _environment(*, html: bool) -> Environment:
    return _Environment(undefined=FalsyStrictUndefined, autoescape=html)


def _guarded(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except TemplateError:
        raise
    except LiquidError as error:
        raise TemplateError(_said(error)) from None
    except RecursionError:
        raise TemplateError("it is nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - strangers' text in a foreign parser: any fault is the text's
        raise TemplateError(f"it cannot be used ({type(error).__name__})") from None


def _said(error: LiquidError) -> str:
    """Give what Liquid says and the line, without the picture that it draws of it."""
    text = " ".join(str(error.message).split())[:200]
    if "unexpected keyword argument" in text or "positional argument" in text:
        text = "a filter is given arguments that it does not take"  # Python's words name no filter
    where = error.context()
    return text if where is None else f"line {where[0]}: {text}"


def _walk(bound: BoundTemplate) -> Iterator[Expression]:
    """Give every expression of a template, nested ones included."""
    nodes: list[Node] = list(bound.nodes)
    nothing = RenderContext(bound)
    while nodes:
        node = nodes.pop()
        nodes.extend(node.children(nothing, include_partials=False))
        for expression in node.expressions():
            yield from _within(expression)


def _within(expression: Expression) -> Iterator[Expression]:
    """Give an expression and every one in it."""
    expressions = [expression]
    while expressions:
        one = expressions.pop()
        yield one
        expressions.extend(one.children())


def _text(value: object) -> str:
    if isinstance(value, Undefined):
        return str(value)  # which says that it is not known
    return to_liquid_string(value, autoescape=False)


def _number(value: object) -> float:
    """Read a value as a number that prices and counts can be; whole ones stay whole."""
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = float(value)
        except ValueError:
            raise TemplateError(f"{value!r:.30} is no number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TemplateError(f"{_shown(value)} is no number")
    if not abs(value) <= _MAX_NUMBER:
        raise TemplateError(f"a number is larger than {_MAX_NUMBER:g}")
    value = round(value, 9)  # 0.1 and 0.2 are 0.3 to whoever reads them
    return int(value) if value == int(value) else value


def _shown(value: object) -> str:
    return f"{value.name!r:.60}" if isinstance(value, Undefined) else f"{value!r:.30}"


def _default(value: object, other: object = "") -> object:
    empty = value is None or value is False or isinstance(value, Undefined) or value in ("", [])
    return other if empty else value


def _truncate(value: object, length: object = 50, end: object = "…") -> str:
    text, most, more = _text(value), max(0, int(_number(length))), _text(end)
    return text if len(text) <= most else text[: max(0, most - len(more))] + more


def _join(value: object, between: str = ", ") -> str:
    if not isinstance(value, list):
        return _text(value)
    return between.join(_text(one) for one in value[:_MAX_LOOP])


def _divided_by(value: object, by: object) -> float:
    divisor = _number(by)
    if divisor == 0:
        raise TemplateError("a number is divided by zero")
    return _number(_number(value) / divisor)


def _round(value: object, digits: object = 0) -> float:
    """Round half up, as prices are and as Liquid does; Python's own rounds 2.5 to 2."""
    step = Decimal(1).scaleb(-max(0, min(9, int(_number(digits)))))
    return _number(float(Decimal(str(_number(value))).quantize(step, ROUND_HALF_UP)))


@with_context
def _plural(value: object, *, context: RenderContext, **forms: object) -> str:
    """Choose among texts by the number: ``{{ stock | plural: one: "…", other: "…" }}``."""
    unknown = sorted(forms.keys() - set(PLURALS))
    if unknown:
        raise TemplateError(f"plural has no form {unknown[0]!r:.30}; there is {', '.join(PLURALS)}")
    if "other" not in forms:
        raise TemplateError("plural needs the form other")
    number, language = _number(value), str(context.resolve("language"))
    chosen = _text(forms.get(plural_form(language, number), forms["other"]))
    return chosen.replace("#", format_number(number, language)) if "#" in chosen else chosen


@with_context
def _number_text(value: object, *, context: RenderContext) -> str:
    return format_number(_number(value), str(context.resolve("language")))


@with_context
def _money(value: object, currency: object, *, context: RenderContext) -> str:
    code = _text(currency)
    if not is_currency(code):
        raise TemplateError(f"{code!r:.30} is no currency: write three letters such as EUR")
    return format_money(_number(value), code, str(context.resolve("language")))


FILTERS: dict[str, Callable[..., Any]] = {
    "append": lambda value, more: _text(value) + _text(more),
    "at_least": lambda value, least: max(_number(value), _number(least)),
    "at_most": lambda value, most: min(_number(value), _number(most)),
    "capitalize": lambda value: _text(value).capitalize(),
    "ceil": lambda value: math.ceil(_number(value)),
    "default": _default,
    "divided_by": _divided_by,
    "downcase": lambda value: _text(value).lower(),
    "floor": lambda value: math.floor(_number(value)),
    "join": _join,
    "minus": lambda value, less: _number(_number(value) - _number(less)),
    "money": _money,
    "number": _number_text,
    "plural": _plural,
    "plus": lambda value, more: _number(_number(value) + _number(more)),
    "prepend": lambda value, before: _text(before) + _text(value),
    "round": _round,
    "strip": lambda value: _text(value).strip(),
    "times": lambda value, by: _number(_number(value) * _number(by)),
    "truncate": _truncate,
    "upcase": lambda value: _text(value).upper(),
}
"""Every filter that texts may use: none multiplies text, reads a clock or leads elsewhere."""
