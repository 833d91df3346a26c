"""Web Push against the RFC's own vector, other people's decryption, and another push service."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from py_vapid import Vapid02

from proximity.channels.egress import Egress
from proximity.channels.vapid import (
    GOOD_S,
    RENEW_S,
    Vapid,
    check_contact,
    make_key,
    public_key_of,
    write_key,
)
from proximity.channels.web_push import (
    LESS_MESSAGE,
    MOST_BYTES,
    MOST_MESSAGE,
    Subscription,
    WebPush,
    encrypt,
    make_message,
    open_web_push,
    read_subscription,
    topic_of,
)
from proximity.model import Endpoint, ProximityError
from tests.npm import node
from tests.proximity.channels.push_service import push_service
from tests.proximity.channels.receivers import Names, receiver
from tests.proximity.given import NOON, offer

if TYPE_CHECKING:
    from collections.abc import Callable

CONTACT = "mailto:ops@example.com"
ALLOW = ["127.0.0.1"]


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Phone:
    """A browser's keys, kept here so that what it was sent can be read by somebody else's code."""

    def __init__(self) -> None:
        self.key = make_key()
        self.secret = bytes(range(16))

    def address(self, endpoint: str) -> str:
        keys = {"p256dh": public_key_of(self.key), "auth": b64(self.secret)}
        return json.dumps({"endpoint": endpoint, "expirationTime": None, "keys": keys})

    def read(self, bodies: list[bytes]) -> list[Any]:
        """Decrypt with npm http_ece, which shares no line with ours."""
        script = """
            const crypto = require("crypto"), ece = require("http_ece");
            const given = JSON.parse(require("fs").readFileSync(0));
            const privateKey = crypto.createECDH("prime256v1");
            privateKey.setPrivateKey(Buffer.from(given.key, "base64"));
            console.log(JSON.stringify(given.bodies.map(body => ece.decrypt(
                Buffer.from(body, "base64"),
                {version: "aes128gcm", privateKey, authSecret: given.secret}).toString())));
        """
        secret = self.key.private_numbers().private_value.to_bytes(32, "big")
        given = {
            "key": base64.b64encode(secret).decode(),
            "secret": b64(self.secret),
            "bodies": [base64.b64encode(body).decode() for body in bodies],
        }
        return [json.loads(one) for one in json.loads(node(script, stdin=json.dumps(given)))]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    write_key(tmp_path / "push.pem", make_key())
    return tmp_path / "push.pem"


def opened(key_file: Path, **more: Any) -> WebPush:
    config = {"contact": CONTACT, "key_file": key_file.name, "allow": ALLOW, **more}
    return open_web_push(config, key_file.parent)


def endpoint(address: str) -> Endpoint:
    return Endpoint(channel="web-push", address=address, origin="https://shop.example.test")


def pushed(**changes: Any) -> Any:
    return offer(**{"channel": "web-push", "expires_at": NOON + 120.0, **changes})


def test_the_vector_of_rfc_8291_comes_out_to_the_byte(shared_data: Callable[[str], Path]) -> None:
    vector = json.loads(
        (shared_data("push-and-webhook-vectors") / "rfc8291-appendix-a.json").read_text()
    )
    subscription = msg(vector["ua_public"], vector["auth_secret"])
    private = ec.derive_private_key(
        int.from_bytes(unb64(vector["as_private"]), "big"), ec.SECP256R1()
    )
    assert public_key_of(private) == vector["as_public"]
    body = encrypt(
        vector["plaintext"].encode(), subscription, private_key=private, salt=unb64(vector["salt"])
    )
    assert b64(body) == vector["body"]


def msg(p256dh: str, auth: str) -> Subscription:
    keys = {"p256dh": p256dh, "auth": auth}
    return read_subscription(json.dumps({"endpoint": "https://push.example.test/1", "keys": keys}))


def test_somebody_else_reads_what_was_encrypted() -> None:
    phone = Phone()
    to = read_subscription(phone.address("https://push.example.test/1"))
    wanted = [{"n": n, "text": "☕" * n} for n in (0, 1, 100, 1300)]
    bodies = [encrypt(json.dumps(one, ensure_ascii=False).encode(), to) for one in wanted]
    assert phone.read(bodies) == wanted
    assert len({body[:16] for body in bodies}) == 4, "a salt was used twice"
    assert len({body[21:86] for body in bodies}) == 4, "a key was used twice"


async def test_a_push_service_takes_it_and_the_browser_reads_it(key_file: Path) -> None:
    channel = opened(key_file)
    browser = push_service().subscribe(channel.public_key)
    now = pushed(expires_at=4e9, receipt="https://example.test/r/abc", title="Café du Nord")
    reply = await channel.send(now, endpoint(browser.address))
    await channel.close()
    assert (reply.outcome, reply.reply) == ("accepted", {"status": 201})
    (told,) = map(json.loads, browser.messages)
    assert told == {
        "key": "k1", "title": "Café du Nord", "text": "Un café au Café du Nord", "lang": "fr",
        "dir": "ltr", "link": "https://example.test/coffee", "expires_at": 4e9,
        "receipt": "https://example.test/r/abc",
    }  # fmt: skip


async def test_a_browser_that_unsubscribed_is_dead(key_file: Path) -> None:
    channel = opened(key_file)
    browser = push_service().subscribe(channel.public_key)
    browser.expire()
    reply = await channel.send(pushed(), endpoint(browser.address))
    await channel.close()
    assert (reply.outcome, reply.reply) == ("dead_endpoint", {"status": 410})


async def test_a_subscription_of_another_key_is_our_fault_and_stays(key_file: Path) -> None:
    channel = opened(key_file)
    browser = push_service().subscribe(public_key_of(make_key()))
    reply = await channel.send(pushed(), endpoint(browser.address))
    await channel.close()
    assert (reply.outcome, reply.reply) == ("config_error", {"status": 400})
    assert browser.messages == []


async def test_the_request_says_how_long_how_urgent_and_what_it_replaces(key_file: Path) -> None:
    phone, now = Phone(), [NOON]
    async with receiver() as service:
        service.status = 201
        channel = of(lambda: now[0])
        to = endpoint(phone.address(service.url(path="/send/abc")))
        await channel.send(pushed(key="6af4edce143545a5f8eab628e1b842e9"), to)
        now[0] += 60.5
        await channel.send(pushed(key="k/ü" * 40, purpose="service"), to)
        now[0] += 120
        await channel.send(pushed(purpose="content", expires_at=4e9), to)
        await channel.close()
    (_, one, body), (_, two, _), (_, three, _) = service.requests
    assert one["TTL"] == "120"
    assert two["TTL"] == "59", "whole seconds, and none too many"
    assert three["TTL"] == str(28 * 86400)
    assert [h["Urgency"] for h in (one, two, three)] == ["normal", "high", "low"]
    assert one["Topic"] == "6af4edce143545a5f8eab628e1b842e9"
    assert len(two["Topic"]) == 32
    assert two["Topic"].isalnum()
    assert one["Content-Type"] == "application/octet-stream"
    assert one["Content-Encoding"] == "aes128gcm"
    assert phone.read([body])[0]["text"] == "Un café au Café du Nord"


async def test_a_message_that_is_over_is_kept_by_nobody(key_file: Path) -> None:
    async with receiver() as service:
        channel = of(lambda: NOON + 500)
        await channel.send(pushed(), endpoint(Phone().address(service.url())))
        await channel.close()
    assert service.requests[0][1]["TTL"] == "0"


def of(clock: Callable[[], float], timeout_s: float = 15.0) -> WebPush:
    here = [ipaddress.ip_network("127.0.0.1")]
    return WebPush(
        Vapid(make_key(), CONTACT, clock), Egress(here, timeout_s=timeout_s), here, clock
    )


def test_a_token_is_for_one_service_and_half_a_day() -> None:
    now = [NOON]
    vapid = Vapid(make_key(), CONTACT, clock=lambda: now[0])
    header = vapid.authorize("https://fcm.googleapis.com")
    assert Vapid02.verify(header)
    scheme, _, parameters = header.partition(" ")
    told = dict(one.split("=", 1) for one in parameters.split(","))
    assert scheme == "vapid"
    assert told["k"] == vapid.public_key
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unb64(told["k"]))
    claims = jwt.decode(
        told["t"],
        point,
        ["ES256"],
        audience="https://fcm.googleapis.com",
        options={"verify_exp": False},
    )
    assert claims == {"aud": "https://fcm.googleapis.com", "exp": NOON + GOOD_S, "sub": CONTACT}
    assert claims["exp"] - NOON <= 86400

    now[0] += GOOD_S - RENEW_S
    assert vapid.authorize("https://fcm.googleapis.com") == header, "used again while it is good"
    now[0] += 1
    renewed = vapid.authorize("https://fcm.googleapis.com")
    assert renewed != header
    now[0] -= 3600
    assert vapid.authorize("https://fcm.googleapis.com") != renewed, "too long by a clock set back"
    assert vapid.authorize("https://web.push.apple.com").split(".")[1] != header.split(".")[1]


def test_tokens_of_ten_thousand_services_do_not_fill_the_memory() -> None:
    vapid = Vapid(make_key(), CONTACT)
    for n in range(600):
        vapid.authorize(f"https://{n}.example.test")
    assert len(vapid._tokens) == 256


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "accepted"), (201, "accepted"), (202, "accepted"), (204, "accepted"),
        (301, "config_error"), (307, "config_error"), (400, "config_error"), (401, "config_error"),
        (403, "config_error"), (404, "dead_endpoint"), (410, "dead_endpoint"), (405, "failed"),
        (408, "retry"), (413, "failed"), (425, "retry"), (429, "retry"), (500, "retry"),
        (502, "retry"), (503, "retry"),
    ],
)  # fmt: skip
async def test_what_a_status_means(status: int, outcome: str, key_file: Path) -> None:
    async with receiver() as service:
        service.status = status
        service.headers = {"Retry-After": "7", "Location": "https://example.test/"}
        channel = opened(key_file)
        reply = await channel.send(pushed(), endpoint(Phone().address(service.url())))
        await channel.close()
    assert reply.outcome == outcome
    assert reply.reply["status"] == status
    assert reply.retry_after_s == (7.0 if outcome == "retry" else None)
    assert len(service.requests) == (2 if status == 413 else 1)


async def test_a_service_that_takes_less_gets_less_once(key_file: Path) -> None:
    phone = Phone()
    async with receiver() as service:

        async def small(request: web.Request) -> web.Response:
            large = int(request.headers["Content-Length"]) > 3000
            return web.Response(status=413 if large else 201)

        service.answer = small
        channel = opened(key_file)
        long = pushed(text="Café " * 700, receipt="https://example.test/r/1")
        reply = await channel.send(long, endpoint(phone.address(service.url())))
        await channel.close()
    assert (reply.outcome, reply.reply) == ("accepted", {"status": 201, "shortened": True})
    first, second = phone.read([body for _, _, body in service.requests])
    assert first["text"].startswith("Café Café")
    assert second["text"].endswith("…")
    assert len(second["text"]) < len(first["text"])
    assert second["receipt"] == "https://example.test/r/1"


@pytest.mark.parametrize(
    "text", ["", "☕", "e\u0301" * 4000, "👩\u200d👩\u200d👧" * 900, "\x01" * 4000, "قهوة " * 2000]
)
@pytest.mark.parametrize("most", [MOST_MESSAGE, LESS_MESSAGE, 1500])
def test_whatever_is_said_fits(text: str, most: int) -> None:
    long = pushed(text=text, title="Café", link="https://example.test/" + "a" * 100)
    written = make_message(long, most)
    told = json.loads(written)
    assert len(written) <= most
    assert told["key"] == "k1"
    if len(text) > 300:
        assert told["text"].endswith("…")
        assert text.startswith(told["text"][:-1])
        assert len(written) > most - 24, "room was given away"
        rest = text[len(told["text"]) - 1 :]
        assert rest[0] not in "\u0301\u200d", "an accent was cut off its letter"
    else:
        assert told["text"] == text


def test_what_is_left_out_for_want_of_room() -> None:
    links = {
        name: f"https://example.test/{name}/" + "a" * 1900
        for name in ("link", "receipt", "withdraw")
    }
    told = json.loads(make_message(pushed(text="Un café. " * 30, **links)))
    assert told.keys() == {"key", "text", "lang", "dir", "link", "expires_at"}
    assert (
        len(
            encrypt(
                make_message(pushed(text="a" * 9000, **links)),
                msg(public_key_of(make_key()), "A" * 22),
            )
        )
        <= MOST_BYTES
    )
    told = json.loads(make_message(pushed(text="a" * 9000, title="T" * 9000, key="k" * 9000)))
    assert len(told["key"]) == 32
    assert len(told["text"]) > 80


@settings(max_examples=200)
@given(
    st.text(max_size=6000).filter(lambda s: s.isprintable() or s), st.integers(1500, MOST_MESSAGE)
)
def test_any_text_fits_and_is_the_beginning_of_what_was_meant(text: str, most: int) -> None:
    written = make_message(pushed(text=text), most)
    told = json.loads(written)
    assert len(written) <= most
    assert told["text"] == text or text.startswith(told["text"][:-1])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://push.example.test/1", "https"),
        ("https://10.0.0.1/1", "not public"),
        ("https://127.0.0.2/1", "not public"),
        ("https://[::1]/1", "not public"),
        ("https://169.254.169.254/latest/meta-data", "not public"),
        ("https://2130706433/1", "odd spelling"),
        ("https://user@push.example.test/1", "user name"),
        ("file:///etc/passwd", "https"),
        ("https://push.example.test/\n1", "space"),
    ],
)
async def test_a_stranger_s_address_leads_nowhere_inside(
    url: str, why: str, key_file: Path
) -> None:
    channel = opened(key_file)
    address = Phone().address(url)
    assert why in channel.refuses(address)
    reply = await channel.send(pushed(), endpoint(address))
    await channel.close()
    assert reply.outcome == "config_error"
    assert reply.reply["error"] == "refused"
    assert url not in json.dumps(reply.reply)


async def test_a_name_that_leads_inside_is_refused_when_connecting() -> None:
    phone = Phone()
    egress = Egress(resolver=Names({"push.example.test": [["10.1.2.3"]]}))
    channel = WebPush(Vapid(make_key(), CONTACT), egress)
    address = phone.address("https://push.example.test/1")
    assert channel.refuses(address) == ""
    assert (await channel.send(pushed(), endpoint(address))).outcome == "config_error"
    await channel.close()


async def test_no_answer_is_tried_again_and_may_have_been_taken() -> None:
    async with receiver() as service:

        async def silent(request: web.Request) -> web.Response:
            await asyncio.sleep(5)
            return web.Response()

        service.answer = silent
        channel = of(lambda: NOON, timeout_s=0.2)
        reply = await channel.send(pushed(), endpoint(Phone().address(service.url())))
        await channel.close()
    assert (reply.outcome, reply.unsure) == ("retry", True)


async def test_a_connection_that_is_cut_may_have_been_too_late_for_it() -> None:
    # At most once: what a service has read in full and then hung up on is not told twice.
    async with receiver() as service:

        async def hang_up(request: web.Request) -> web.Response:
            await request.read()
            assert request.transport is not None
            request.transport.close()
            return web.Response()

        service.answer = hang_up
        channel = of(lambda: NOON)
        address = Phone().address(service.url())
        cut = await channel.send(pushed(), endpoint(address))
    nobody = await channel.send(pushed(), endpoint(address))
    await channel.close()
    assert (cut.outcome, cut.unsure) == ("retry", True)
    assert (nobody.outcome, nobody.unsure) == ("retry", False)


GOOD = json.loads(Phone().address("https://push.example.test/1"))


@pytest.mark.parametrize(
    "address",
    [
        "", "{", "null", "[]", "https://push.example.test/1", "[" * 3000,
        json.dumps({"endpoint": "https://push.example.test/1"}),
        json.dumps({**GOOD, "keys": {**GOOD["keys"], "auth": "AAAA"}}),
        json.dumps({**GOOD, "keys": {**GOOD["keys"], "auth": "ü" * 22}}),
        json.dumps({**GOOD, "keys": {**GOOD["keys"], "auth": 7}}),
        json.dumps({**GOOD, "keys": {**GOOD["keys"], "p256dh": "B" + "A" * 86}}),
        json.dumps({**GOOD, "keys": {**GOOD["keys"], "p256dh": ""}}),
        json.dumps({**GOOD, "keys": {**GOOD["keys"], "p256dh": "Agkk"}}),
        '{"endpoint": "\ud800"}',
    ],
)  # fmt: skip
async def test_an_address_that_is_none(address: str, key_file: Path) -> None:
    channel = opened(key_file)
    assert channel.refuses(address)
    if address:
        assert (await channel.send(pushed(), endpoint(address))).outcome == "dead_endpoint"
    await channel.close()


async def test_without_an_address_nothing_is_sent(key_file: Path) -> None:
    channel = opened(key_file)
    assert (await channel.send(pushed())).outcome == "failed"


def test_no_secret_is_shown() -> None:
    phone = Phone()
    shown = repr(read_subscription(phone.address("https://push.example.test/secret-part")))
    assert "secret-part" not in shown
    assert b64(phone.secret) not in shown
    assert b64(phone.secret) not in repr(
        read_subscription(phone.address("https://h.example/")).keys
    )
    channel = WebPush(Vapid(make_key(), CONTACT), Egress())
    assert CONTACT not in repr(channel) + repr(channel._vapid)


def test_topics() -> None:
    assert topic_of("6af4edce143545a5f8eab628e1b842e9") == "6af4edce143545a5f8eab628e1b842e9"
    assert topic_of("a-b") != topic_of("a_b")
    assert all(
        topic_of(key).isalnum() and len(topic_of(key)) <= 32
        for key in ("é", "", "k" * 33, "\ud800")
    )


@pytest.mark.parametrize(
    "contact",
    [
        "mailto:ops@example.com",
        "mailto:a.b+c@mail.example.co.uk",
        "https://example.com",
        "https://shop.example.com:8443/contact",
    ],
)
def test_a_contact_that_will_do(contact: str) -> None:
    assert check_contact(contact) == ""


@pytest.mark.parametrize(
    "contact",
    [
        "mailto:ops@localhost", "https://localhost", "https://localhost:8080/", "mailto:ops@box.local",
        "mailto:", "mailto:ops", "ops@example.com", "http://example.com", "https://", "https://127.0.0.1",
        "https://[::1]/", "mailto: ops@example.com", "mailto:<ops@example.com>", "https://intranet/",
        "mailto:a@b@example.com", "https://user@example.com", "mailto:ops@example.com?subject=x",
    ],
)  # fmt: skip
def test_a_contact_that_nobody_could_reach(contact: str, key_file: Path) -> None:
    assert check_contact(contact)
    with pytest.raises(ProximityError, match="contact"):
        opened(key_file, contact=contact)


def test_keys_are_taken_in_either_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key()
    write_key(tmp_path / "push.pem", key)
    assert (tmp_path / "push.pem").stat().st_mode & 0o777 == 0o600
    assert opened(tmp_path / "push.pem").public_key == public_key_of(key)
    raw = b64(key.private_numbers().private_value.to_bytes(32, "big"))
    (tmp_path / "raw").write_text(raw + "\n")
    (tmp_path / "raw").chmod(0o600)
    assert opened(tmp_path / "raw").public_key == public_key_of(key)
    monkeypatch.setenv("PUSH_KEY", raw)
    channel = open_web_push({"contact": CONTACT, "key_env": "PUSH_KEY"}, tmp_path)
    assert channel.public_key == public_key_of(key)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hunter2",
        "A" * 43,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        "\x00\xff",
    ],
)
def test_a_key_that_is_none_is_named_and_not_shown(content: str, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text(content)
    (tmp_path / "bad").chmod(0o600)
    with pytest.raises(ProximityError) as caught:
        opened(tmp_path / "bad")
    assert "key" in caught.value.problems[0]
    assert not content or content not in str(caught.value)


def test_a_key_of_another_curve_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path / "other", ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(ProximityError, match="P-256"):
        opened(tmp_path / "other")


def test_a_key_is_never_written_over_another(tmp_path: Path) -> None:
    write_key(tmp_path / "push.pem", make_key())
    before = (tmp_path / "push.pem").read_bytes()
    with pytest.raises(ProximityError, match="there already"):
        write_key(tmp_path / "push.pem", make_key())
    assert (tmp_path / "push.pem").read_bytes() == before
    with pytest.raises(ProximityError, match="cannot be written"):
        write_key(tmp_path / "no" / "push.pem", make_key())


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ProximityError) as caught:
        open_web_push({"allow": ["nowhere"], "kontact": "x", "key_file": "gone"}, tmp_path)
    assert len(caught.value.problems) == 4
    with pytest.raises(ProximityError, match="either key_file or key_env"):
        open_web_push({"contact": CONTACT}, tmp_path)
