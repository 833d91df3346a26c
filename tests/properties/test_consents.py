"""Nothing without a yes: random histories of agreeing and withdrawing, and what the gates say."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proximity.gates import gates
from proximity.model import Reason, Verdict
from proximity.people.people import People
from proximity.store import Store
from tests.proximity.given import ANNA, COFFEE, NOON, candidate

STORE = Store.open(":memory:")  # one for all examples, and a new person in it for each
NUMBERS = count()
WORDS = st.lists(
    st.tuples(
        st.booleans(),  # a yes, else a no
        st.sampled_from(
            ["marketing", "push-marketing", "service", "location-background", "beacon", None]
        ),
        st.sampled_from([None, "console", "email"]),
        st.integers(1, 20),  # seconds until it begins, of a yes
        st.none() | st.integers(1, 30),  # and how long it lasts
    ),
    max_size=10,
)


@settings(deadline=None)
@given(WORDS, st.integers(0, 40))
def test_an_offer_is_sent_exactly_where_a_yes_stands(
    words: list[tuple[bool, str | None, str | None, int, int | None]], after_s: int
) -> None:
    """Against a plain model: each yes with the moments between which it stands."""
    who = f"anna-{next(NUMBERS)}"
    people = People(STORE, clock=lambda: NOON)
    now = NOON + after_s
    said: list[dict[str, Any]] = []

    def live(connection: Any) -> None:
        for number, (yes, purpose, channel, wait_s, lasts_s) in enumerate(words):
            at = NOON + number
            if not yes:
                people.withdraw(connection, who, purpose, channel, at=at)
                for one in said:
                    if purpose in {None, one["purpose"]} and (
                        channel is None or one["channel"] in {None, channel}
                    ):
                        one["until"] = min(one["until"], at)
                if purpose in {"location-background", "beacon"}:
                    said.append({"purpose": purpose, "channel": channel, "since": at, "until": at})
            elif purpose is not None:
                until = None if lasts_s is None else at + wait_s + lasts_s
                consent = type(ANNA.consents[0])(
                    purpose=purpose, channel=channel, since=at + wait_s, until=until
                )
                people.grant(connection, who, consent, "test")
                since, end = at + wait_s, float("inf") if until is None else until
                said.append({"purpose": purpose, "channel": channel, "since": since, "until": end})

    def stands(*purposes: str) -> bool:
        return any(
            one["purpose"] in purposes
            and one["channel"] in {None, "console"}
            and one["since"] <= now < one["until"]
            for one in said
        )

    STORE.write(live).result()
    person = STORE.read(lambda conn: people.read(conn, who))
    decision = gates.decide(candidate(person=person, now=now, campaign=COFFEE))
    located = [one for one in said if one["purpose"] == "location-background"]
    if not stands("marketing", "push-marketing"):
        assert (decision.decision, decision.reason) == (Verdict.SUPPRESS, Reason.NO_CONSENT)
    elif located and not any(one["since"] <= now < one["until"] for one in located):
        assert decision.reason == Reason.NO_LOCATION_CONSENT
    else:
        assert decision.decision is Verdict.SEND
