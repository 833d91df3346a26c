"""The question: what did a person say that they want, and what does it change of what is known?

An answer comes as an event ``preference-set`` with flat properties: an attribute and its value, or
a row of preferences. The newest answer to a question stands, in whichever order answers come. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proximity.model import MOST_PREFERENCES, Hours, Person, Preference
from proximity.windows import DAYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proximity.people.tagging import AttributeRule

__all__ = [
    "MOST_PREFERENCES", "Answer", "Value", "about", "answered", "problems_of", "read_answer",
]  # fmt: skip

Value = str | float | bool | None

_ABOUT = ("topic", "channel", "place")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was said: ``attribute`` and ``value`` (None: take it away), else a ``preference``."""

    attribute: str | None = None
    value: Value = None
    preference: Preference | None = None


def read_answer(properties: Mapping[str, Value], at: float) -> Answer:
    """Read what the properties of an answer say, said at Unix second ``at``.

    Raises ValueError where they say nothing, or two things at once.
    """
    attribute = properties.get("attribute")
    said = {name for name, value in properties.items() if value is not None}
    if attribute is not None:
        if said - {"attribute", "value"}:
            raise ValueError("an answer sets an attribute or a preference: send two events for two")
        return Answer(attribute=str(attribute), value=properties.get("value"))
    if "allow" not in said or not said.intersection((*_ABOUT, "from")):
        raise ValueError(
            "an answer needs attribute and value, or allow and one of topic, channel, place, from"
        )
    if "value" in said:
        raise ValueError("value goes with attribute")
    if ("from" in said) != ("to" in said) or ("days" in said and "from" not in said):
        raise ValueError(
            "hours need both from and to, such as 22:00 and 07:00; days goes with them"
        )
    hours = None
    if "from" in said:
        days = tuple(str(properties.get("days") or " ".join(DAYS)).replace(",", " ").split())
        hours = (Hours(str(properties["from"]), str(properties["to"]), days),)
    names = {name: str(properties[name]) for name in _ABOUT if name in said}
    return Answer(
        preference=Preference(allow=bool(properties["allow"]), hours=hours, said_at=at, **names)
    )


def problems_of(
    properties: Mapping[str, Value], attributes: Mapping[str, AttributeRule]
) -> list[str]:
    """Say what is wrong with an answer; ``attributes`` are those of the tagging plan.

    People set only what the plan lets them: else anyone could call themselves a gold member.
    """
    try:
        answer = read_answer(properties, 0.0)
    except ValueError as error:
        return [str(error)]
    if answer.attribute is None:
        return []
    rule = attributes.get(answer.attribute)
    if rule is None or not rule.editable:
        name = f"{answer.attribute!r:.60}"
        return [f"attribute {name} is not for people to set: the plan has no editable one so named"]
    value = value_of(answer, rule)
    problem = None if value is None else rule.problem("value", value)
    return [] if problem is None else [problem]


def value_of(answer: Answer, rule: AttributeRule | None) -> Value | list[str]:
    """Give the value of an attribute as its rule has it: a list of texts is sent with commas."""
    value = answer.value
    if rule is not None and rule.kind == "texts" and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def about(answer: Answer) -> tuple[object, ...]:
    """Tell what an answer is about: of two about the same the newer stands."""
    if answer.preference is None:
        return ("attribute", answer.attribute)
    return ("preference", *_key(answer.preference))


def answered(person: Person, answer: Answer, rule: AttributeRule | None = None) -> Person:
    """Give the person as an answer leaves them; it is the newest about what it says.

    Raises ValueError where they would have more preferences, or attributes, than one may have.
    """
    if answer.preference is None:
        attributes = {name: v for name, v in person.attributes.items() if name != answer.attribute}
        value = value_of(answer, rule)
        if value is not None and answer.attribute is not None:
            attributes[answer.attribute] = value
        return msgspec.structs.replace(person, attributes=attributes)
    new = answer.preference
    rows = [one for one in person.preferences if _key(one) != _key(new)]
    # Later rows win, so an answer stands behind those said before it; what a file or a form said
    # without a time came first.
    place = sum((one.said_at or 0.0) <= (new.said_at or 0.0) for one in rows)
    rows.insert(place, new)
    return msgspec.structs.replace(person, preferences=tuple(rows))


def _key(preference: Preference) -> tuple[object, ...]:
    return preference.topic, preference.channel, preference.place, preference.hours
