"""The way to Google's access token: assertion, exchange, cache; verified by PyJWT."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from typing import Any

import pytest

from proximity.channels.channel import Reply
from proximity.channels.egress import Egress
from proximity.channels.google_account import SCOPE, GoogleAccount, read_account
from proximity.tomltable import TomlTable
from tests.proximity.channels import google
from tests.proximity.channels.tls import ec_key, pem, rsa_key

LOOPBACK = [ipaddress.ip_network("127.0.0.1")]


class Clock:
    def __init__(self) -> None:
        import time

        self.now = time.time()  # PyJWT looks at the real one

    def __call__(self) -> float:
        return self.now


def opened(info: dict[str, Any], clock: Clock) -> GoogleAccount:
    table = TomlTable({}, "channel.fcm")
    found = read_account(table, json.dumps(info), Egress(LOOPBACK), LOOPBACK, clock)
    assert found is not None, table.problems
    assert found[1] == google.PROJECT
    return found[0]


async def test_the_assertion_says_who_for_what_to_whom_and_for_how_long() -> None:
    async with google.google() as one:
        clock = Clock()
        account = opened(google.account(one.url), clock)
        assert await account.token() == "ya29.secret-1"
        await account._egress.close()
        claims = one.claims(one.assertions[0])
        assert claims == {
            "iss": google.EMAIL,
            "scope": SCOPE,
            "aud": f"{one.url}/token",
            "iat": int(clock.now),
            "exp": int(clock.now) + 3600,
        }


async def test_a_token_is_kept_until_five_minutes_before_its_end() -> None:
    async with google.google() as one:
        clock = Clock()
        account = opened(google.account(one.url), clock)
        first = await account.token()
        clock.now += 3299.0
        assert await account.token() == first
        clock.now += 2.0
        second = await account.token()
        assert second != first
        assert len(one.assertions) == 2
        account.forget("an older one")
        assert await account.token() == second
        account.forget(str(second))
        assert await account.token() == "ya29.secret-3"
        await account._egress.close()


@pytest.mark.parametrize(
    ("life", "used"), [(0, 0.0), (60, 29.0), (400, 199.0), (1e9, 3299.0), ("3600", 3299.0)]
)
async def test_odd_lives_are_survived(life: Any, used: float) -> None:
    async with google.google() as one:
        one.life_s = life
        clock = Clock()
        account = opened(google.account(one.url), clock)
        first = await account.token()
        assert isinstance(first, str)
        clock.now += used
        again = await account.token()
        assert (again == first) is (used > 0.0)
        clock.now += 2.0
        assert await account.token() != first
        await account._egress.close()


async def test_a_thousand_who_ask_at_once_are_one_question() -> None:
    async with google.google() as one:
        account = opened(google.account(one.url), Clock())
        tokens = await asyncio.gather(*(account.token() for _ in range(1000)))
        assert set(tokens) == {"ya29.secret-1"}
        assert len(one.assertions) == 1
        await account._egress.close()


async def test_a_clock_that_was_set_back_keeps_nothing_for_hours() -> None:
    async with google.google() as one:
        clock = Clock()
        account = opened(google.account(one.url), clock)
        assert await account.token() == "ya29.secret-1"
        clock.now -= 7200.0
        one.grants = (400, {"error": "invalid_grant"})
        assert isinstance(await account.token(), Reply)
        clock.now -= 7200.0
        one.grants = (200, None)
        assert await account.token() == "ya29.secret-3"
        await account._egress.close()


async def test_a_fault_that_may_pass_is_asked_again_soon() -> None:
    async with google.google() as one:
        clock = Clock()
        account = opened(google.account(one.url), clock)
        one.grants = (503, "")
        for _ in range(5):
            assert isinstance(await account.token(), Reply)
        assert len(one.assertions) == 1
        one.grants = (200, None)
        clock.now += 2.1
        assert await account.token() == "ya29.secret-2"
        await account._egress.close()


@pytest.mark.parametrize(
    ("grants", "outcome", "reply"),
    [
        ((400, {"error": "invalid_grant"}), "config_error", {"code": "invalid_grant"}),
        ((401, {"error": "invalid_client"}), "config_error", {"code": "invalid_client"}),
        ((403, "canary"), "config_error", {}),
        ((400, {"error": "canary says"}), "config_error", {}),
        ((400, {"error": "canary"}), "config_error", {"code": "unlisted"}),
        ((302, ""), "config_error", {}),
        ((429, ""), "retry", {}),
        ((500, {"error": "internal_failure"}), "retry", {"code": "unlisted"}),
        ((503, "<html>canary"), "retry", {}),
        ((200, "<html>canary"), "retry", {"error": "no token in the answer"}),
        ((200, {"access_token": "canary", "expires_in": "soon"}), "retry", None),
        ((200, {"access_token": "a\r\nb: canary", "expires_in": 3600}), "retry", None),
        ((200, {"id_token": "canary"}), "retry", None),
        ((200, '{"canary": ' + "[" * 16000), "retry", {"error": "no token in the answer"}),
        ((403, '{"canary": ' + "[" * 16000), "config_error", {}),
    ],
)
async def test_why_there_is_none(grants: Any, outcome: str, reply: dict[str, Any] | None) -> None:
    async with google.google() as one:
        one.grants = grants
        account = opened(google.account(one.url), Clock())
        said = await account.token()
        await account._egress.close()
    assert isinstance(said, Reply)
    assert said.outcome == outcome
    if reply is not None:
        assert said.reply == {"status": grants[0], "at": "token", **reply}
    assert "canary" not in repr(said)


async def test_a_refusal_is_not_asked_for_again_at_once() -> None:
    async with google.google() as one:
        one.grants = (400, {"error": "invalid_grant"})
        clock = Clock()
        account = opened(google.account(one.url), clock)
        for _ in range(50):
            assert isinstance(await account.token(), Reply)
        assert len(one.assertions) == 1
        clock.now += 31.0
        one.grants = (200, None)
        assert await account.token() == "ya29.secret-2"
        await account._egress.close()


async def test_nobody_there_and_nobody_who_may_be_asked() -> None:
    async with google.google() as one:
        url = one.url
    account = opened(google.account(url), Clock())
    said = await account.token()
    assert isinstance(said, Reply)
    assert (said.outcome, said.unsure) == ("retry", False)
    # The address was allowed when it was opened; it is judged again at every connection.
    account._egress._allow = ()
    account._rest_until = 0.0
    said = await account.token()
    assert isinstance(said, Reply)
    assert said.outcome == "config_error"
    await account._egress.close()


GOOD = google.account("https://oauth2.example.test")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"type": "authorized_user"}, "the account's type is not service_account"),
        ({"private_key": None}, "the account is no service account's JSON"),
        ({"private_key": "canary"}, "the account's private_key is no RSA key in PEM"),
        ({"private_key": pem(ec_key("other"))}, "the account's private_key is no RSA key in PEM"),
        ({"token_uri": "http://10.0.0.1/token"}, "the account's token_uri: the host is an addr"),
        ({"token_uri": "http://oauth2.example.test/t"}, "the account's token_uri: http is for"),
    ],
)
def test_what_is_wrong_with_an_account_is_named(change: dict[str, Any], problem: str) -> None:
    table = TomlTable({}, "channel.fcm")
    text = json.dumps(GOOD | change)
    assert read_account(table, text, Egress(), (), Clock()) is None
    assert len(table.problems) == 1
    assert table.problems[0].startswith(f"channel.fcm: {problem}")
    for secret in ("canary", "PRIVATE KEY", pem(rsa_key()).splitlines()[1]):
        assert secret not in table.problems[0]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "canary", "{" * 100_000, '{"type": 1}'])
def test_what_is_no_account_is_no_traceback(text: str) -> None:
    table = TomlTable({}, "channel.fcm")
    assert read_account(table, text, Egress(), (), Clock()) is None
    assert "the account is no service account's JSON" in table.problems[0]
    assert "canary" not in table.problems[0]
