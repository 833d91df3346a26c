"""Every column says what it is, what it is for and how long it stays; the page says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, Table, Text

from proximity.privacy import datamap
from proximity.store import schema

PAGE = Path(__file__).parents[2] / "docs" / "data-map.md"


def test_no_column_of_the_store_is_without() -> None:
    assert datamap.lint() == []


def test_the_page_is_what_the_schema_says() -> None:
    assert PAGE.read_text() == datamap.render(), "proximity privacy map > docs/data-map.md"


GOOD = {"class": "none", "purpose": "to be good", "retention": "kept"}


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({**GOOD, "class": None}, "has no class"),
        ({**GOOD, "class": "odd"}, "has no class"),
        ({**GOOD, "purpose": ""}, "has no purpose"),
        ({**GOOD, "retention": None}, "has no retention"),
        ({**GOOD, "retention": "forever"}, "is no rule of the schedule"),
        ({**GOOD, "class": "personal"}, "say how theirs is found"),
    ],
)
def test_a_column_that_does_not_say_it_fails(info: dict[str, str], said: str) -> None:
    metadata = MetaData()
    Table("t", metadata, Column("id", Text, info=GOOD), Column("c", Text, info=info))
    (problem,) = datamap.lint(metadata)
    assert said in problem


def test_a_table_says_it_for_its_columns() -> None:
    metadata = MetaData()
    plain = {"class": "pseudonym", "purpose": "whose"}
    Table("t", metadata, Column("person", Text, info=plain),
          info={"retention": "visits", "erased": "person"})  # fmt: skip
    assert datamap.lint(metadata) == []
    Table("u", metadata, Column("who", Text, info=plain),
          info={"retention": "visits", "erased": "person"})  # fmt: skip
    assert datamap.lint(metadata) == ["u: is to be erased by 'person', which is no column of it"]


def test_the_classes_are_those_that_the_schema_explains() -> None:
    for name in datamap.CLASSES:
        assert f"``{name}``" in (schema.__doc__ or "")
