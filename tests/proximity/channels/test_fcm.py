"""FCM: what is posted, and what every documented answer makes of the offer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from proximity.channels.fcm import Fcm, codes_of, make_message, open_fcm
from proximity.model import Endpoint, ProximityError
from tests.proximity.channels import google
from tests.proximity.channels.google import BAD_REQUEST, DEVICE, FCM_ERROR, Google, refusal
from tests.proximity.given import NOON, offer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PHONE = Endpoint(channel="fcm", address=DEVICE, platform="android")


@pytest.fixture
async def server() -> AsyncIterator[Google]:
    async with google.google() as one:
        yield one


@pytest.fixture
async def channel(server: Google, tmp_path: Path) -> AsyncIterator[Fcm]:
    one = open_fcm(google.settings(tmp_path, server.url), tmp_path)
    one._clock = lambda: NOON + 20.7
    yield one
    await one.close()


def message(endpoint: Endpoint = PHONE, now: float = NOON, **changes: Any) -> dict[str, Any]:
    made = make_message(offer(**changes), endpoint, now)
    assert made is not None
    read: dict[str, Any] = json.loads(made)["message"]
    return read


async def test_what_is_posted(server: Google, channel: Fcm) -> None:
    reply = await channel.send(
        offer(title="Café du Nord", receipt="https://x.test/r/1", links={"app": "shop://c"}), PHONE
    )
    assert (reply.outcome, reply.reply) == ("accepted", {"status": 200})
    assert server.bearers == ["ya29.secret-1"]
    assert server.sent == [
        {
            "message": {
                "token": DEVICE,
                "notification": {"title": "Café du Nord", "body": "Un café au Café du Nord"},
                "data": {
                    "key": "k1",
                    "campaign": "coffee",
                    "purpose": "marketing",
                    "place": "cafe-1",
                    "expires_at": "2026-01-06T11:02:00.000Z",
                    "link": "https://example.test/coffee",
                    "link_app": "shop://c",
                    "receipt": "https://x.test/r/1",
                },
                "android": {
                    "collapseKey": "k1",
                    "priority": "HIGH",
                    "ttl": "99s",
                    "notification": {"tag": "k1"},
                },
            }
        }
    ]


def test_an_iphone_gets_apples_headers_for_fcms_ttl_does_not_reach_it() -> None:
    made = message(Endpoint(channel="fcm", address="t", platform="ios"), purpose="content")
    assert "android" not in made
    assert made["apns"] == {
        "headers": {
            "apns-collapse-id": "k1",
            "apns-priority": "5",
            "apns-expiration": str(int(NOON) + 120),
        },
        "payload": {"aps": {"interruption-level": "passive", "thread-id": "cafe-1"}},
    }
    both = message(Endpoint(channel="fcm", address="t"))
    assert {"android", "apns"} <= both.keys()


def test_an_installation_and_a_token() -> None:
    assert message(Endpoint(channel="fcm", address="fid:cNx7"))["fid"] == "cNx7"
    made = message(Endpoint(channel="fcm", address="fid2:cNx7"))
    assert (made["token"], "fid" in made) == ("fid2:cNx7", False)


@pytest.mark.parametrize(
    ("now", "ttl"),
    [
        (NOON, "120s"), (NOON + 119.5, "0s"), (NOON + 500, "0s"), (NOON - 1e8, "2419200s"),
        (NOON + 0.001, "119s"),
    ],
)  # fmt: skip
def test_it_lives_as_long_as_the_offer_and_not_a_second_longer(now: float, ttl: str) -> None:
    assert message(now=now)["android"]["ttl"] == ttl


def test_the_apps_notification_channel() -> None:
    made = make_message(offer(), PHONE, NOON, app_channel="offers")
    assert json.loads(made or b"")["message"]["android"]["notification"]["channelId"] == "offers"


@given(
    st.text(max_size=5000), st.none() | st.text(max_size=5000), st.text(max_size=3000),
    st.dictionaries(st.sampled_from(["app", "universal", "web"]), st.text(max_size=2000)),
)  # fmt: skip
def test_what_is_posted_is_at_most_4096_bytes_and_a_little_around_it(
    text: str, title: str | None, place: str, links: dict[str, str]
) -> None:
    made = make_message(
        offer(text=text, title=title, place=place, links=links),
        Endpoint(channel="fcm", address="t"), NOON,
    )  # fmt: skip
    assert made is not None
    sent = json.loads(made)["message"]
    counted = {name: sent[name] for name in ("notification", "data")}
    assert len(msgspec.json.encode(counted)) <= 4096
    assert all(isinstance(value, str) for value in sent["data"].values())


async def test_too_large_for_any_device(channel: Fcm, server: Google) -> None:
    reply = await channel.send(offer(link="https://x.test/" + "x" * 5000), PHONE)
    assert (reply.outcome, reply.reply) == ("failed", {"error": "too large"})
    assert server.sent == []


async def test_nobody_to_send_to(channel: Fcm) -> None:
    assert (await channel.send(offer())).outcome == "failed"


INVALID = "The registration token is not a valid FCM registration token"


@pytest.mark.parametrize(
    ("status", "said", "outcome", "code"),
    [
        (404, refusal(404, "NOT_FOUND", name="UNREGISTERED"), "dead_endpoint", "UNREGISTERED"),
        (403, refusal(403, "PERMISSION_DENIED", name="SENDER_ID_MISMATCH"), "config_error",
         "SENDER_ID_MISMATCH"),
        (400, refusal(400, "INVALID_ARGUMENT", name="INVALID_ARGUMENT", field="message.token"),
         "dead_endpoint", "INVALID_ARGUMENT:token"),
        (400, refusal(400, "INVALID_ARGUMENT", field="message.fid"), "dead_endpoint",
         "INVALID_ARGUMENT:token"),
        (400, refusal(400, "INVALID_ARGUMENT", name="INVALID_ARGUMENT", message=INVALID),
         "dead_endpoint", "INVALID_ARGUMENT:token"),
        (400, refusal(400, "INVALID_ARGUMENT", name="INVALID_ARGUMENT"), "failed",
         "INVALID_ARGUMENT"),
        (400, refusal(400, "INVALID_ARGUMENT", field="message.data[0].value"), "failed",
         "INVALID_ARGUMENT"),
        (400, refusal(400, "INVALID_ARGUMENT", field="message", message=INVALID), "failed",
         "INVALID_ARGUMENT"),
        (400, refusal(400, "INVALID_ARGUMENT", message=f"{INVALID} or the data is wrong"),
         "failed", "INVALID_ARGUMENT"),
        (401, refusal(401, "UNAUTHENTICATED", name="THIRD_PARTY_AUTH_ERROR"), "config_error",
         "THIRD_PARTY_AUTH_ERROR"),
        (401, refusal(401, "UNAUTHENTICATED"), "config_error", "UNAUTHENTICATED"),
        (403, refusal(403, "PERMISSION_DENIED"), "config_error", "PERMISSION_DENIED"),
        (404, refusal(404, "NOT_FOUND"), "config_error", "NOT_FOUND"),
        (429, refusal(429, "RESOURCE_EXHAUSTED", name="QUOTA_EXCEEDED"), "retry",
         "QUOTA_EXCEEDED"),
        (500, refusal(500, "INTERNAL", name="INTERNAL"), "retry", "INTERNAL"),
        (503, refusal(503, "UNAVAILABLE", name="UNAVAILABLE"), "retry", "UNAVAILABLE"),
        (502, "<!DOCTYPE html>", "retry", None),
        (404, "<!DOCTYPE html>", "config_error", None),
        (302, "", "config_error", None),
        (400, refusal(400, "CANARY"), "failed", "unlisted"),
        # What contradicts itself takes nobody's token away.
        (500, refusal(404, "NOT_FOUND", name="UNREGISTERED"), "retry", None),
        (500, refusal(500, "INTERNAL", name="UNREGISTERED"), "retry", None),
        (404, refusal(404, "NOT_FOUND", name="canary words"), "config_error", None),
        (404, {"error": {"code": 404, "status": "NOT_FOUND", "details": "canary"}},
         "config_error", None),
        (404, "[" * 16000, "config_error", None),
        (404, '{"error": {"code": 404, "details": ' + "[" * 15000, "config_error", None),
    ],
)  # fmt: skip
async def test_what_every_answer_makes_of_it(
    server: Google, channel: Fcm, status: int, said: Any, outcome: str, code: str | None
) -> None:
    server.says = (status, said)
    reply = await channel.send(offer(), PHONE)
    assert reply.outcome == outcome
    assert reply.reply == {"status": status} | ({} if code is None else {"code": code})
    assert "canary" not in repr(reply).lower()


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(max_size=9) | st.sampled_from([FCM_ERROR, BAD_REQUEST]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["error", "code", "status", "details", "@type", "errorCode",
                         "fieldViolations", "field", "message"]), inner, max_size=6),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_body_is_a_traceback_or_a_death(body: bytes) -> None:
    for status in (400, 404):
        assert codes_of(status, body) not in {("UNREGISTERED",), ("INVALID_ARGUMENT:token",)}


async def test_retry_after_is_heard_and_a_minute_is_waited_without_it(
    server: Google, channel: Fcm
) -> None:
    server.says = (429, refusal(429, "RESOURCE_EXHAUSTED", name="QUOTA_EXCEEDED"))
    assert (await channel.send(offer(), PHONE)).retry_after_s == 60.0
    server.headers = {"Retry-After": "90"}
    assert (await channel.send(offer(), PHONE)).retry_after_s == 90.0
    server.says = (503, refusal(503, "UNAVAILABLE", name="UNAVAILABLE"))
    assert (await channel.send(offer(), PHONE)).retry_after_s == 90.0
    server.headers = {}
    assert (await channel.send(offer(), PHONE)).retry_after_s == 10.0


async def test_an_access_token_that_is_not_taken_is_renewed_once(
    server: Google, channel: Fcm
) -> None:
    assert (await channel.send(offer(), PHONE)).outcome == "accepted"
    server.taken = {"ya29.secret-2"}  # Google has revoked the first
    assert (await channel.send(offer(), PHONE)).outcome == "accepted"
    assert server.bearers == ["ya29.secret-1", "ya29.secret-1", "ya29.secret-2"]
    server.taken = set()
    reply = await channel.send(offer(), PHONE)
    assert (reply.outcome, reply.reply["code"]) == ("config_error", "UNAUTHENTICATED")
    assert len(server.bearers) == 5


async def test_without_an_access_token_nothing_is_sent(server: Google, channel: Fcm) -> None:
    server.grants = (400, {"error": "invalid_grant"})
    reply = await channel.send(offer(), PHONE)
    assert (reply.outcome, reply.reply["at"]) == ("config_error", "token")
    assert server.sent == []


@pytest.mark.parametrize(
    "page", ["<html>sign in to the guest network</html>", '{"x": ' + "[" * 16000]
)
async def test_a_page_in_fcms_place_is_no_acceptance(
    server: Google, channel: Fcm, page: str
) -> None:
    server.says = (200, page)
    reply = await channel.send(offer(), PHONE)
    assert (reply.outcome, reply.reply) == ("retry", {"status": 200, "error": "not FCM"})


async def test_nobody_there_is_surely_not_sent_and_no_answer_is_perhaps(
    server: Google, channel: Fcm
) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            return await server.answer(request)
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    server.receiver.answer = hang_up
    reply = await channel.send(offer(), PHONE)
    assert (reply.outcome, reply.unsure) == ("retry", True)
    channel._url = "http://127.0.0.1:1/"
    reply = await channel.send(offer(), PHONE)
    assert (reply.outcome, reply.unsure) == ("retry", False)
    channel._url = "http://127.0.0.2:1/"
    assert (await channel.send(offer(), PHONE)).outcome == "config_error"


async def test_a_check_hands_nothing_over(server: Google, channel: Fcm) -> None:
    assert (await channel.check(offer(), PHONE)).outcome == "accepted"
    assert [sent.pop("validateOnly") for sent in server.sent] == [True]
    await channel.send(offer(), PHONE)
    assert server.sent[0] == server.sent[1]


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        (DEVICE, False), ("fid:cNx7abcdEFGH_-0123456", False), ("x" * 163, False),
        ("", True), ("short", True), ("fid:", True), ("fid:a b", True), ("a" * 20 + "\r\n", True),
        ("https://push.example.test/send/abc", True), ('{"endpoint": "https://x"}', True),
        ("é" * 30, True), ("a" * 3000, True),
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_when_it_comes(
    tmp_path: Path, address: str, refused: bool
) -> None:
    channel = open_fcm(google.settings(tmp_path, "http://127.0.0.1:9"), tmp_path)
    assert bool(channel.refuses(address)) is refused
    assert len(address) < 5 or address not in channel.refuses(address)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"account_file": None}, "name either account_file or account_env"),
        ({"account_file": "open"}, "account_file 'open' can be read by everybody"),
        ({"account_file": "odd"}, "the account is no service account's JSON"),
        ({"base_url": "http://fcm.example.test"}, "base_url: http is for allowed addresses alone"),
        ({"allow": ["here"]}, "allow: 'here' is no address or network"),
        ({"project": "../x"}, "project '../x' is no id of a project"),
        ({"server_key": "canary"}, "unknown key 'server_key'"),
    ],
)
def test_faults_of_the_table_are_named(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    config = google.settings(tmp_path, "http://127.0.0.1:9")
    for name, text, mode in (("open", "canary", 0o644), ("odd", "canary", 0o600)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    config = {key: value for key, value in (config | change).items() if value is not None}
    with pytest.raises(ProximityError) as caught:
        open_fcm(config, tmp_path)
    assert any(one.startswith(f"channel.fcm: {problem}") for one in caught.value.problems)
    assert "canary" not in str(caught.value)


def test_left_out_it_is_google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCOUNT", json.dumps(google.account("https://oauth2.example.test")))
    made = open_fcm({"account_env": "ACCOUNT"}, tmp_path)
    assert made._url == f"https://fcm.googleapis.com/v1/projects/{google.PROJECT}/messages:send"
