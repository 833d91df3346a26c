"""The question: what is a campaigns file, said so that an editor or a program can check it.

JSON Schema (draft 2020-12) of the file as an object, and the rows of the reference page, both from
the tables of keys that the reader uses. What keys say against each other only the reader knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.campaigns import forms
from proximity.campaigns.keys import CAMPAIGN, FILE
from proximity.segments.segments import FORMS

if TYPE_CHECKING:
    from proximity.campaigns.forms import Form

__all__ = ["rows", "schema"]


def schema() -> dict[str, Any]:
    """Give the JSON Schema of a campaigns file; a TOML date stands in it as text."""
    campaign = forms.schema_of(CAMPAIGN)
    # Either of these says what it waits for; which keys go with which the reader tells.
    campaign["anyOf"] = [{"required": ["on"]}, {"required": ["trigger"]}]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Campaigns of proximity-engine",
        **forms.schema_of(FILE),
        "$defs": {"campaign": campaign, "rule": _rule()},
    }


def _rule() -> dict[str, Any]:
    """Say what a rule is: one of the forms, with whatever goes with it."""
    rules = {"type": "array", "items": {"$ref": "#/$defs/rule"}, "minItems": 1}
    return {
        "description": "Whom a campaign is for; docs/segments.md has every form.",
        "type": "object",
        "properties": {"all": rules, "any": rules, "not": {"$ref": "#/$defs/rule"}},
        "oneOf": [{"required": [form]} for form in FORMS],
    }


def rows(form: Form) -> list[str]:
    """Give the rows of a form for the reference page: key, what it says, what holds without it."""
    return [
        f"| `{key.name}` | {key.says} | {'' if key.needed else key.otherwise} |" for key in form
    ]
