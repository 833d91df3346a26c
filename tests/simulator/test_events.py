"""What people do on the way, in a replay: what they buy, say and were sent decides what follows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.__main__ import main

STREET = Path(__file__).resolve().parents[2] / "examples" / "street"
NOON = 1_777_629_600.0  # 12:00 in Paris, a Friday
INSIDE, OUTSIDE = (2.3706, 48.8701), (2.3690, 48.8690)

COFFEE = """
[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["cafe"]
channels = ["console"]
text = { en = "Coffee." }
"""
PLAN = """
unknown = "keep"
[[event]]
name = "saved"
properties = { item = "text" }
[[attribute]]
name = "diet"
type = "text"
editable = true
"""


def event(at: float, name: str, **more: Any) -> dict[str, Any]:
    own = {"id": more.pop("id")} if "id" in more else {}
    return {"type": "event", "subject": "phone", "at": NOON + at, "name": name,
            "properties": more} | own  # fmt: skip


def stay(at: float, seconds: float = 120.0) -> list[dict[str, Any]]:
    """Come into the café, stay, and leave."""
    spots = [(at - 30, OUTSIDE), *((at + s, INSIDE) for s in range(0, int(seconds), 10))]
    spots += [(at + seconds + s, OUTSIDE) for s in range(0, 100, 10)]
    return [
        {"type": "fix", "subject": "phone", "at": NOON + t, "lon": lon, "lat": lat, "accuracy_m": 4}
        for t, (lon, lat) in spots
    ]


def replay(
    folder: Path, campaigns: str, *records: dict[str, Any], people: dict[str, Any] | None = None,
    status: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Replay records of one person; give the decisions."""
    known = {"person": "ada", "subjects": ["phone"], "timezone": "Europe/Paris",
             "consents": [{"purpose": "marketing", "channel": "console"}]}  # fmt: skip
    (folder / "people.jsonl").write_text(json.dumps(known | (people or {})) + "\n")
    (folder / "campaigns.toml").write_text(campaigns)
    (folder / "plan.toml").write_text(PLAN)
    (folder / "trace.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    words = ["replay", str(folder / "trace.jsonl"), "--site", str(STREET / "site.toml")]
    words += ["--campaigns", str(folder / "campaigns.toml")]
    words += ["--people", str(folder / "people.jsonl"), "--events", str(folder / "plan.toml")]
    words += ["--out", str(folder / "out"), "--until", "+7200"]
    assert main(words) == status
    lines = (folder / "out" / "decisions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def verdicts(decisions: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    return [(one["campaign"], one["decision"], one["reason"]) for one in decisions]


def gate(decision: dict[str, Any], name: str) -> dict[str, Any]:
    because: dict[str, Any] = next(g for g in decision["gates"] if g["gate"] == name)["because"]
    return because


def test_other_systems_messages_count_against_the_cap(tmp_path: Path) -> None:
    cap = '[[cap]]\npurpose = "marketing"\ncount = 2\nwindow_s = 86400\n'
    sent = {"system": "mailer", "channel": "email", "purpose": "marketing"}
    mails = [
        event(-7200, "message-sent", id="m1", **sent),
        event(-60, "message-sent", id="m2", **sent),
    ]
    (coffee,) = replay(tmp_path, cap + COFFEE, *mails, *stay(0))
    assert verdicts([coffee]) == [("coffee", "suppress", "capped")]
    assert {"mailer:m1", "mailer:m2"} <= set(json.dumps(gate(coffee, "caps")).split('"'))
    (coffee,) = replay(tmp_path, cap + COFFEE, mails[0], *stay(0))
    assert coffee["decision"] == "send"


def test_an_answer_decides_the_next_offer(tmp_path: Path) -> None:
    rule = '[campaign.audience]\nattribute = "diet"\nis = "vegetarian"\n'
    answer = event(300, "preference-set", attribute="diet", value="vegetarian")
    first, second = replay(tmp_path, COFFEE + rule, *stay(0), answer, *stay(1200))
    assert verdicts([first, second]) == [
        ("coffee", "suppress", "segment"), ("coffee", "send", None),
    ]  # fmt: skip


def test_a_preference_decides_the_next_offer_and_is_cited(tmp_path: Path) -> None:
    about = COFFEE.replace('id = "coffee"', 'id = "coffee"\ntopic = "drinks"')
    no = event(300, "preference-set", topic="drinks", allow=False)
    yes = event(2400, "preference-set", topic="drinks", allow=True)
    first, second, third = replay(tmp_path, about, *stay(0), no, *stay(1200), yes, *stay(3600))
    assert [one["reason"] for one in (first, second, third)] == [None, "preference", None]
    assert "drinks" in json.dumps(gate(second, "preference"))


def test_who_always_takes_one_thing_is_not_offered_its_rival(tmp_path: Path) -> None:
    rival = COFFEE.replace(
        'id = "coffee"', 'id = "coffee"\nproduct = "meatballs"\ncontrary = ["club sandwich"]'
    )
    bought = [event(-60.0 * n, "purchase", product="club sandwich") for n in range(30, 0, -1)]
    (excluded,) = replay(tmp_path, rival, *bought, *stay(0))
    assert excluded["reason"] == "affinity"
    assert gate(excluded, "affinity")["count"] == 30
    (sent,) = replay(tmp_path, rival, *bought[:2], *stay(0))
    assert sent["decision"] == "send"


def test_an_event_is_a_trigger_where_one_is(tmp_path: Path) -> None:
    saved = """
[[campaign]]
id = "fitting"
purpose = "marketing"
on = "event"
event = "saved"
places = ["cafe"]
channels = ["console"]
text = { en = "Try it on." }
"""
    outside, inside = event(-60, "saved", item="a"), event(60, "saved", item="b")
    trace = sorted([*stay(0), outside, inside, dict(inside)], key=lambda one: one["at"])
    (found,) = replay(tmp_path, saved, *trace)
    assert verdicts([found]) == [("fitting", "send", None)]
    assert (found["place"], bool(found["visit"])) == ("cafe", True)


def test_what_the_plan_speaks_against_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replay(tmp_path, COFFEE, event(0, "saved", itme="x"), event(1, "saved", item="x"))
    said = capsys.readouterr().out
    assert "malformed" in said
    assert "events that the tagging plan does not know" in said
    (tmp_path / "plan.toml").write_text("[[event]]")
    words = ["replay", str(tmp_path / "trace.jsonl"), "--site", str(STREET / "site.toml")]
    assert main([*words, "--events", str(tmp_path / "plan.toml")]) == 2
    assert "plan.toml: event number 1: name is missing" in capsys.readouterr().err


def test_the_same_however_the_trace_is_ordered_within_an_instant(tmp_path: Path) -> None:
    trace = [event(60, "saved", item="b"), *stay(0), event(61, "saved", item="c")]
    first = replay(tmp_path, COFFEE, *sorted(trace, key=lambda one: one["at"]))
    again = replay(tmp_path, COFFEE, *sorted(trace, key=lambda one: (one["at"], one["type"])))
    assert first == again
