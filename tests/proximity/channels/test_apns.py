"""APNs: what is posted over a real HTTP/2 stack, and what every answer makes of the offer."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.channels.apns import Apns, make_headers, make_payload, open_apns, read
from proximity.channels.http2 import Response
from proximity.channels.verdicts import MEANS, judge
from proximity.model import Endpoint, ProximityError
from tests.proximity.channels.apple import DEVICE, KEY_ID, TEAM_ID, TOPIC, Apple, apple, settings
from tests.proximity.channels.test_verdicts import REASONS
from tests.proximity.channels.tls import ec_key, write_certificate
from tests.proximity.given import NOON, offer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PHONE = Endpoint(channel="apns", address=DEVICE, platform="ios", registered_at=NOON - 86400.0)
REGISTERED_MS = int((NOON - 86400.0) * 1000)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Apple]:
    async with apple(tmp_path) as one:
        yield one


@pytest.fixture
async def sandbox(server: Apple, tmp_path: Path) -> AsyncIterator[Apple]:
    async with apple(tmp_path) as one:  # with the certificate that is there
        yield one


@pytest.fixture
async def channel(server: Apple, sandbox: Apple, tmp_path: Path) -> AsyncIterator[Apns]:
    one = open_apns(settings(tmp_path, server.url, sandbox.url), tmp_path)
    yield one
    await one.close()


async def test_what_is_posted(server: Apple, channel: Apns) -> None:
    reply = await channel.send(
        offer(title="Café du Nord", receipt="https://x.test/r/1", links={"app": "shop://c"}), PHONE
    )
    assert (reply.outcome, reply.reply) == ("accepted", {"status": 200})
    (push,) = server.pushes
    assert push.version == "2"
    assert push.path == f"/3/device/{DEVICE}"
    own = {name: value for name, value in push.headers.items() if name.startswith("apns-")}
    assert own == {
        "apns-topic": TOPIC,
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": str(int(NOON) + 120),
        "apns-collapse-id": "k1",
        "apns-id": own["apns-id"],
    }
    assert str(uuid.UUID(own["apns-id"])) == own["apns-id"]
    assert push.payload == {
        "aps": {
            "alert": {"title": "Café du Nord", "body": "Un café au Café du Nord"},
            "interruption-level": "active",
            "thread-id": "cafe-1",
            "sound": "default",
            "mutable-content": 1,
        },
        "offer": {
            "key": "k1",
            "campaign": "coffee",
            "purpose": "marketing",
            "place": "cafe-1",
            "expires_at": "2026-01-06T11:02:00.000Z",
            "link": "https://example.test/coffee",
            "link_app": "shop://c",
            "receipt": "https://x.test/r/1",
        },
    }
    assert jwt.get_unverified_header(push.jwt)["kid"] == KEY_ID
    claims = jwt.decode(push.jwt, ec_key("apns").public_key(), algorithms=["ES256"])
    assert claims["iss"] == TEAM_ID


@pytest.mark.parametrize(
    ("purpose", "level", "priority"),
    [
        ("marketing", "active", "10"), ("content", "passive", "5"), ("social", "active", "10"),
        ("reminder", "time-sensitive", "10"), ("service", "time-sensitive", "10"),
        ("opt-in", "passive", "5"),
    ],
)  # fmt: skip
def test_how_insistent_a_purpose_is(purpose: str, level: str, priority: str) -> None:
    one = offer(purpose=purpose)
    aps = msgspec.json.decode(make_payload(one) or b"")["aps"]
    assert aps["interruption-level"] == level
    assert ("sound" in aps) is (level != "passive")
    assert dict(make_headers(one, DEVICE, TOPIC))["apns-priority"] == priority


async def test_the_same_token_one_connection_and_the_same_ids_for_the_same_offer(
    server: Apple, channel: Apns
) -> None:
    for _ in range(3):
        await channel.send(offer(), PHONE)
    other = msgspec.structs.replace(PHONE, address="ab" * 32)
    await channel.send(offer(), other)
    assert len({push.jwt for push in server.pushes}) == 1
    ids = [push.headers["apns-id"] for push in server.pushes]
    assert (len(set(ids[:3])), len(set(ids))) == (1, 2)
    assert {push.headers["apns-collapse-id"] for push in server.pushes} == {"k1"}
    assert server.most_under_way == 1


async def test_one_at_a_time_until_the_token_is_taken_then_many(
    server: Apple, channel: Apns
) -> None:
    server.otherwise = (403, {"reason": "InvalidProviderToken"})
    await asyncio.gather(*(channel.send(offer(key=f"a{n}"), PHONE) for n in range(10)))
    assert server.most_under_way == 1
    server.otherwise = (200, {})
    await channel.send(offer(), PHONE)
    await asyncio.gather(*(channel.send(offer(key=f"b{n}"), PHONE) for n in range(40)))
    assert server.most_under_way > 5
    assert len(server.pushes) == 51


@pytest.mark.parametrize(("status", "reason"), REASONS)
async def test_what_every_reason_makes_of_it(
    server: Apple, sandbox: Apple, channel: Apns, status: int, reason: str
) -> None:
    said = (status, {"reason": reason} | ({"timestamp": REGISTERED_MS} if status == 410 else {}))
    server.otherwise = sandbox.otherwise = said
    reply = await channel.send(offer(), PHONE)
    row = judge("apns", reason)
    assert reply.outcome == MEANS[row.means]
    assert reply.reply == {"code": reason, "status": status}
    assert reply.retry_after_s == row.wait_s
    assert len(sandbox.pushes) == (1 if reason == "BadDeviceToken" else 0)


async def test_a_reason_that_holds_for_the_connection_makes_the_next_one_new(
    server: Apple, channel: Apns
) -> None:
    server.says[DEVICE] = [(503, {"reason": "Shutdown"}), (200, {})]
    first = channel._lines[0]
    assert (await channel.send(offer(), PHONE)).outcome == "retry"
    before = first._connection
    assert (await channel.send(offer(), PHONE)).outcome == "accepted"
    assert first._connection is not before
    assert (await channel.send(offer(), PHONE)).outcome == "accepted"


async def test_a_token_of_the_other_environment_is_tried_there_once(
    server: Apple, sandbox: Apple, channel: Apns
) -> None:
    server.otherwise = (400, {"reason": "BadDeviceToken"})
    assert (await channel.send(offer(), PHONE)).outcome == "accepted"
    assert (len(server.pushes), len(sandbox.pushes)) == (1, 1)
    assert server.pushes[0].headers["apns-id"] == sandbox.pushes[0].headers["apns-id"]
    sandbox.otherwise = (400, {"reason": "BadDeviceToken"})
    assert (await channel.send(offer(), PHONE)).outcome == "dead_endpoint"
    assert (len(server.pushes), len(sandbox.pushes)) == (2, 2)


async def test_the_sandbox_comes_first_for_its_own(
    server: Apple, sandbox: Apple, channel: Apns
) -> None:
    own = msgspec.structs.replace(PHONE, platform="ios-sandbox")
    assert (await channel.send(offer(), own)).outcome == "accepted"
    assert (len(server.pushes), len(sandbox.pushes)) == (0, 1)


@pytest.mark.parametrize(
    ("platform", "second", "outcome"),
    [
        ("ios", (403, "BadEnvironmentKeyIdInToken"), "dead_endpoint"),
        (None, (403, "BadEnvironmentKeyIdInToken"), "config_error"),
        ("ios", (503, "ServiceUnavailable"), "retry"),
        (None, (410, "Unregistered"), "dead_endpoint"),
    ],
)
async def test_what_the_other_environment_says(
    server: Apple, sandbox: Apple, channel: Apns, platform: str | None, second: Any, outcome: str
) -> None:
    server.otherwise = (400, {"reason": "BadDeviceToken"})
    sandbox.otherwise = (second[0], {"reason": second[1], "timestamp": REGISTERED_MS + 1})
    one = msgspec.structs.replace(PHONE, platform=platform)
    assert (await channel.send(offer(), one)).outcome == outcome


@pytest.mark.parametrize("reason", ["Unregistered", "ExpiredToken"])
@pytest.mark.parametrize(
    ("timestamp", "registered", "outcome"),
    [
        (REGISTERED_MS, True, "dead_endpoint"),
        (REGISTERED_MS + 1, True, "dead_endpoint"),
        (REGISTERED_MS - 1, True, "failed"),
        (None, True, "failed"),
        ("yesterday", True, "failed"),
        (REGISTERED_MS - 1, False, "dead_endpoint"),
        (None, False, "dead_endpoint"),
    ],
)
async def test_gone_only_if_it_went_after_it_came(
    server: Apple, channel: Apns, reason: str, timestamp: Any, registered: bool, outcome: str
) -> None:
    server.otherwise = (
        410,
        {"reason": reason} | ({} if timestamp is None else {"timestamp": timestamp}),
    )
    one = PHONE if registered else msgspec.structs.replace(PHONE, registered_at=None)
    assert (await channel.send(offer(), one)).outcome == outcome


async def test_a_provider_token_that_is_too_old_is_renewed_once_and_not_too_soon(
    server: Apple, channel: Apns
) -> None:
    now = [NOON]
    channel._token._clock = lambda: now[0]
    server.says[DEVICE] = [(403, {"reason": "ExpiredProviderToken"}), (200, {})]
    assert (await channel.send(offer(), PHONE)).outcome == "retry"
    assert len({push.jwt for push in server.pushes}) == 1
    now[0] += 1300.0
    server.says[DEVICE] = [(403, {"reason": "ExpiredProviderToken"}), (200, {})]
    assert (await channel.send(offer(), PHONE)).outcome == "accepted"
    assert len({push.jwt for push in server.pushes}) == 2
    now[0] += 1300.0
    server.says[DEVICE] = [(403, {"reason": "ExpiredProviderToken"})]
    before = len(server.pushes)
    assert (await channel.send(offer(), PHONE)).outcome == "retry"
    assert len(server.pushes) == before + 2


@pytest.mark.parametrize(
    ("address", "origin", "code"),
    [
        ("", None, None), ("../../../x", None, "BadDeviceToken"), ("zz", None, "BadDeviceToken"),
        ("ab\r\nx: y", None, "BadDeviceToken"), ("a" * 513, None, "BadDeviceToken"),
        (DEVICE, "a topic", "BadTopic"), (DEVICE, "é", "BadTopic"),
    ],
)  # fmt: skip
async def test_what_cannot_stand_in_a_request_is_not_sent(
    server: Apple, channel: Apns, address: str, origin: str | None, code: str | None
) -> None:
    if code is None:
        with pytest.raises(ValueError, match="address"):
            Endpoint(channel="apns", address=address)
        return
    reply = await channel.send(offer(), Endpoint(channel="apns", address=address, origin=origin))
    assert reply.outcome == MEANS[judge("apns", code).means]
    assert reply.reply == {"code": code}
    assert server.pushes == []


async def test_the_topic_is_the_endpoints_own_before_the_channels(
    server: Apple, channel: Apns
) -> None:
    await channel.send(offer(), msgspec.structs.replace(PHONE, origin="test.example.other"))
    assert server.pushes[0].headers["apns-topic"] == "test.example.other"
    channel._topic = None
    reply = await channel.send(offer(), PHONE)
    assert (reply.outcome, reply.reply) == ("config_error", {"code": "MissingTopic"})
    assert (await channel.send(offer())).outcome == "failed"


@given(st.text(max_size=5000), st.none() | st.text(max_size=5000), st.text(max_size=3000))
def test_a_payload_is_at_most_4096_bytes(text: str, title: str | None, terms: str) -> None:
    made = make_payload(offer(text=text, title=title, terms=terms))
    assert made is not None
    assert len(made) <= 4096
    assert msgspec.json.decode(made)["offer"]["link"] == offer().link


async def test_one_that_cannot_be_made_small_enough_is_not_sent(
    server: Apple, channel: Apns
) -> None:
    reply = await channel.send(offer(link="https://x.test/" + "x" * 5000), PHONE)
    assert (reply.outcome, reply.reply) == ("failed", {"code": "PayloadTooLarge"})
    assert server.pushes == []


@given(
    st.integers(0, 999),
    st.binary(max_size=300) | st.text(max_size=100).map(lambda t: b'{"reason":"%s"}' % t.encode()),
)
def test_no_answer_is_a_traceback_or_a_death(status: int, body: bytes) -> None:
    said = read(Response(status, body))
    assert said.reason is None or (said.reason.isalpha() and said.reason.isascii())
    assert said.reason not in {"BadDeviceToken", "Unregistered", "ExpiredToken"}


def test_an_answer_as_deep_as_it_is_long_is_no_traceback() -> None:
    assert read(Response(410, b'{"reason": "Unregistered", "x":' + b"[" * 4000)).reason is None


@pytest.mark.parametrize("status", [200, 400, 403, 500])
def test_a_death_is_believed_with_its_own_status_alone(status: int) -> None:
    body = b'{"reason": "Unregistered", "timestamp": 1}'
    assert read(Response(status, body)).reason is None
    assert read(Response(410, body)).reason == "Unregistered"


async def test_nobody_there_a_stranger_and_a_forbidden_address(
    server: Apple, channel: Apns, tmp_path: Path
) -> None:
    # Nobody listens.
    config = settings(tmp_path, "https://127.0.0.1:1", server.url)
    gone = open_apns(config, tmp_path)
    reply = await gone.send(offer(), PHONE)
    assert (reply.outcome, reply.unsure) == ("retry", False)
    # The certificate is not one of those that are trusted: nothing is said to it, token least.
    config = {
        name: value for name, value in settings(tmp_path, server.url).items() if name != "ca_file"
    }
    strict = open_apns(config, tmp_path)
    reply = await strict.send(offer(), PHONE)
    assert (reply.outcome, reply.unsure) == ("retry", False)
    # The certificate is trusted, and of another name.
    folder = tmp_path / "other"
    folder.mkdir()
    write_certificate(folder, "api.push.example.test")
    async with apple(folder) as stranger:
        other = open_apns(settings(folder, stranger.url), folder)
        assert (await other.send(offer(), PHONE)).outcome == "retry"
        assert stranger.pushes == []
    # A name that leads inside is refused when it is resolved.
    config = settings(tmp_path, f"https://localhost:{server.port}")
    inside = open_apns(config | {"allow": ["127.0.0.9"]}, tmp_path)
    assert (await inside.send(offer(), PHONE)).outcome == "config_error"
    named = open_apns(config | {"allow": ["127.0.0.1", "::1"]}, tmp_path)
    assert (await named.send(offer(), PHONE)).outcome == "accepted"
    assert [push.headers["host"] for push in server.pushes] == [f"localhost:{server.port}"]
    for one in (gone, strict, other, inside, named):
        await one.close()


@pytest.mark.parametrize(
    ("address", "refused"),
    [(DEVICE, False), (DEVICE.upper(), False), ("", True), (f"<{DEVICE}>", True), ("zz", True),
     ("00fc 13ad", True), ("a" * 513, True)],
)  # fmt: skip
def test_what_is_no_address_is_refused_when_it_comes(
    tmp_path: Path, address: str, refused: bool
) -> None:
    config = {name: value for name, value in settings(tmp_path, "x").items() if name[:3] == "key"}
    channel = open_apns(config | {"team_id": TEAM_ID}, tmp_path)
    assert bool(channel.refuses(address)) is refused


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"key_file": None}, "name either key_file or key_env"),
        ({"key_file": "open"}, "key_file 'open' can be read by everybody"),
        ({"key_file": "odd"}, "the key is no P-256 private key in PEM"),
        ({"key_id": None}, "key_id must be the ten capitals and digits"),
        ({"team_id": "x"}, "team_id must be the ten capitals and digits"),
        ({"topic": "a b"}, "topic 'a b' is no bundle id"),
        ({"url": "http://127.0.0.1:1"}, "url must be https://host"),
        ({"url": "https://127.0.0.1:1/3"}, "url must be https://host"),
        ({"sandbox_url": "https://10.0.0.1"}, "sandbox_url: the host is an address that is not"),
        ({"ca_file": "absent"}, "ca_file 'absent' cannot be read"),
        ({"allow": ["here"]}, "allow: 'here' is no address or network"),
        ({"passphrase": "canary"}, "unknown key 'passphrase'"),
    ],
)
def test_faults_of_the_table_are_named(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    config = settings(tmp_path, "https://127.0.0.1:9") | {"ca_file": None} | change
    for name, text, mode in (("open", "canary", 0o644), ("odd", "canary", 0o600)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    config = {key: value for key, value in config.items() if value is not None}
    with pytest.raises(ProximityError) as caught:
        open_apns(config, tmp_path)
    assert any(one.startswith(f"channel.apns: {problem}") for one in caught.value.problems)
    assert "canary" not in str(caught.value)


def test_left_out_it_is_apple(tmp_path: Path) -> None:
    config = settings(tmp_path, "x")
    made = open_apns({name: config[name] for name in ("key_file", "key_id", "team_id")}, tmp_path)
    hosts = [(line._peer.host, line._peer.port) for line in made._lines]
    assert hosts == [("api.push.apple.com", 443), ("api.sandbox.push.apple.com", 443)]
