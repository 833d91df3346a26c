"""Expectations: what matches, what is refused, and how a failure reads."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from proximity.model import ProximityError
from simulator.expect import Expectations, read_expectations, to_junit

ENTER: dict[str, Any] = {
    "kind": "enter",
    "subject": "phone-1",
    "place": "cafe",
    "visit": "v1",
    "at": "2026-05-01T10:00:00.000Z",
    "decided_at": "2026-05-01T10:00:05.000Z",
    "because": {"distance_m": -3.2, "still": False, "rule": "side"},
}
DECISION: dict[str, Any] = {
    "id": "d1",
    "decision": "suppress",
    "reason": "no_consent",
    "campaign": "coffee",
    "person": "ana",
    "at": "2026-05-01T10:00:05.000Z",
    "until": None,
    "gates": [
        {"gate": "fresh", "passed": True, "because": {"age_s": 0}},
        {"gate": "consent", "passed": False, "because": {"purpose": "marketing"}},
        {"gate": "cap", "passed": True, "because": {}},
    ],
}


def shown(text: str, *records: dict[str, Any]) -> Expectations:
    expected = read_expectations(text.encode(), "expect.jsonl")
    for number, record in enumerate(records, 1):
        expected.see(f"transitions.jsonl:{number}", record)
    return expected


@pytest.mark.parametrize(
    "line",
    [
        '{"kind":"enter"}',
        '{"kind":"enter","place":"cafe","because":{"rule":"side"}}',
        '{"at":"2026-05-01T12:00:00+02:00"}',
        '{"at":1777629600}',
        '{"because":{"distance_m":-3.2,"still":false}}',
        '{"decision":"suppress","gates":[{"gate":"consent","passed":false}]}',
        '{"gates":[{"gate":"fresh"},{"gate":"cap"}]}',
        '{"until":null,"campaign":"coffee"}',
        '{"none":{"kind":"exit"}}',
        '{"none":{"decision":"send"}}',
        '\n  \n{"kind":"enter"}\n\n',
    ],
)
def test_met(line: str) -> None:
    expected = shown(line, ENTER, DECISION)
    assert len(expected.lines) == 1
    assert expected.unmet == []
    assert expected.report() == "1 of 1 expectations met"


@pytest.mark.parametrize(
    "line",
    [
        '{"kind":"exit"}',
        '{"kind":"enter","place":"bakery"}',
        '{"at":"2026-05-01T10:00:00.001Z"}',
        '{"because":{"still":0}}',
        '{"because":"side"}',
        '{"gates":[{"gate":"cap"},{"gate":"fresh"}]}',
        '{"gates":{"gate":"cap"}}',
        '{"reason":["no_consent"]}',
        '{"kind":"enter","until":null}',
        '{"none":{"kind":"enter"}}',
    ],
)
def test_unmet(line: str) -> None:
    expected = shown(line, ENTER, DECISION)
    assert len(expected.unmet) == 1
    assert expected.report().endswith("\n0 of 1 expectations met")


def test_a_failure_reads_well() -> None:
    text = """\
{"kind":"enter","subject":"phone-1","place":"bakery","because":{"rule":"side","distance_m":-9.5}}
{"none":{"decision":"suppress"}}
{"outcome":"accepted"}
{"kind":"enter"}
"""
    assert shown(text, ENTER, {"decision": "suppress", "reason": "cap"}).report() == (
        'expect.jsonl:1: nothing matches {"kind":"enter","subject":"phone-1","place":"bakery",'
        '"because":{"rule":"side","distance_m":-9.5}}\n'
        '  nearest is transitions.jsonl:1: {"kind":"enter","subject":"phone-1","place":"cafe",'
        '"visit":"v1","at":"2026-05-01T10:00:00.000Z","decided_at":"2026-05-01T10:00:05.000Z",'
        '"because":{"distance_m":-3.2,"still":false,"rule":"side"}}\n'
        '    place               expected "bakery", found "cafe"\n'
        "    because.distance_m  expected -9.5, found -3.2\n"
        'expect.jsonl:2: expected that nothing matches {"decision":"suppress"}\n'
        '  but transitions.jsonl:2 does: {"decision":"suppress","reason":"cap"}\n'
        'expect.jsonl:3: nothing matches {"outcome":"accepted"}\n'
        "  no record was written that has any of this\n"
        "1 of 4 expectations met"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"nope\n", "expect.jsonl:1: no JSON"),
        (b'{"kind":"enter"}\n[1]\n', "expect.jsonl:2: write an object"),
        (b"{}\n", "expect.jsonl:1: write an object"),
        (b'{"none":{}}\n', "expect.jsonl:1: write an object"),
        (b'{"none":3}\n', "expect.jsonl:1: write an object"),
        (b'{"plce":"cafe"}\n', "no output record has a key 'plce': is 'place' meant?"),
        (b'{"none":{"zzzz":1}}\n', "no output record has a key 'zzzz'; it may hold at, attempt"),
        (
            b'{"none":{"kind":"entre"}}\n',
            "no output record has the kind \"entre\": is 'enter' meant?",
        ),
        (b'{"decision":"sent"}\n', "no output record has the decision \"sent\": is 'send' meant?"),
        (b'{"kind":7}\n', "no output record has the kind 7; it may hold corrected, dwell, enter"),
        (b'{"none":{"at":"ten"}}\n', "expect.jsonl:1: at: 'ten' is no RFC 3339 time: write it as"),
        (b'{"kind":"enter","none":{"kind":"exit"}}\n', "no output record has a key 'none'"),
        (b"[" * 100_000, "expect.jsonl:1: no JSON"),
        (b"\xff\xfe\n", "expect.jsonl:1: no JSON"),
    ],
)
def test_refused(text: bytes, problem: str) -> None:
    with pytest.raises(ProximityError) as caught:
        read_expectations(text, "expect.jsonl")
    assert problem in str(caught.value)


def test_a_file_that_expects_nothing_is_refused() -> None:
    with pytest.raises(ProximityError, match="holds no expectation"):
        read_expectations(b"\n", "expect.jsonl")


def test_every_problem_is_named() -> None:
    with pytest.raises(ProximityError) as caught:
        read_expectations(b'x\n{"kind":"enter"}\n{"a1":1,"b2":2}\n', "e")
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["1", "3", "3"]


def test_too_many_lines_are_refused() -> None:
    with pytest.raises(ProximityError, match="split the file"):
        read_expectations(b'{"kind":"exit"}\n' * 100_001, "e")


def test_junit_holds_the_outcome_of_every_line() -> None:
    text = (
        '{"kind":"enter"}\n{"kind":"exit","subject":"\x7fé\ufffe<&>"}\n{"none":{"kind":"enter"}}\n'
    )
    expected = shown(text, ENTER)
    root = ET.fromstring(to_junit(expected, "replay"))
    (suite,) = root
    assert suite.attrib == {
        "name": "replay",
        "tests": "3",
        "failures": "2",
        "errors": "0",
        "skipped": "0",
    }
    names = [case.attrib["name"] for case in suite]
    assert names[0] == '{"kind":"enter"}'
    assert names[2] == 'none: {"kind":"enter"}'
    assert "é\ufffd<&>" in names[1]
    failures = [case.find("failure") for case in suite]
    assert failures[0] is None
    assert failures[1] is not None
    assert failures[1].text == expected.lines[1].difference()[:].replace("\ufffe", "\ufffd")
    assert to_junit(expected, "replay") == to_junit(expected, "replay")
