from __future__ import annotations

import base64
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook, WebhookVerificationError

from beacon_gateway.credentials import Credentials
from beacon_gateway.folder import SECRET
from beacon_gateway.https import HttpsLink
from beacon_gateway.link import Away, Poison, Receipt
from beacon_gateway.model import GatewayError
from tests.beacon_gateway.listener import Listener, problem

OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()
TLS = Path(__file__).resolve().parents[1] / "edges" / "tls"
BODY = b'{"id":"boot:0","at":1}\n'


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    await made.start()
    yield made
    await made.stop()


Linked = Callable[..., HttpsLink]


@pytest.fixture
async def linked(tmp_path: Path, listener: Listener) -> AsyncIterator[Linked]:
    links = []

    def make(
        token: str = "px_token", gateway: str | None = "gw-1", wall: Callable[[], float] = time.time
    ) -> HttpsLink:
        (tmp_path / "token").write_text(token + "\n")
        credentials = Credentials(tmp_path / "token", tmp_path)
        link = HttpsLink(f"http://127.0.0.1:{listener.port}/", credentials, gateway, wall)
        links.append(link)
        return link

    yield make
    for link in links:
        await link.close()


def signed_with(secret: str, request: web.Request, body: bytes) -> bool:
    try:
        Webhook(secret).verify(body.decode(), dict(request.headers))
    except WebhookVerificationError:
        return False
    return True


async def test_a_bearer_token_goes_as_it_is(listener: Listener, linked: Linked) -> None:
    assert await linked().send(BODY) == Receipt()
    headers = listener.requests[0][1]
    assert headers["Authorization"] == "Bearer px_token"
    assert headers["Content-Type"] == "application/x-ndjson"
    assert "webhook-id" not in headers


async def test_a_secret_signs_each_request_afresh_when_it_is_sent(
    listener: Listener, linked: Linked
) -> None:
    good = []
    listener.answer = lambda request, _: good.append(signed_with(OLD, request, BODY))
    link = linked(OLD)
    await link.send(BODY)
    await link.send(BODY)
    assert good == [True, True]
    first, second = (headers for _, headers in listener.requests)
    assert first["webhook-id"] != second["webhook-id"]
    assert first["Gateway"] == "gw-1"
    assert "Authorization" not in first
    assert OLD.encode() not in b"".join(listener.raw)
    await link.configuration()
    path, headers = listener.requests[2]
    assert path == "/v1/gateways/gw-1/config"
    Webhook(OLD).verify("{}", {**headers, "webhook-signature": _of_empty(headers)})


def _of_empty(headers: dict[str, str]) -> str:
    """Check that an empty body was signed, and give the signature of one that verify can parse."""
    from beacon_gateway import signing

    key, message = signing.read_secret(OLD), headers["webhook-id"]
    at = int(headers["webhook-timestamp"])
    assert headers["webhook-signature"] == signing.signature(key, message, at, b"")
    return signing.signature(key, message, at, b"{}")


async def test_a_wrong_clock_is_set_by_the_servers_refusal_and_the_batch_goes_again(
    listener: Listener, linked: Linked
) -> None:
    def check(request: web.Request, _: object) -> web.Response | None:
        off = abs(time.time() - int(request.headers["webhook-timestamp"]))
        return problem(401, "clock", Date=formatdate(usegmt=True)) if off > 300 else None

    listener.answer = check
    link = linked(OLD, wall=lambda: time.time() - 20 * 365 * 86_400.0)
    assert await link.send(BODY) == Receipt()
    assert len(listener.requests) == 2
    assert abs(link.clock_offset_s - 20 * 365 * 86_400.0) < 3
    await link.send(BODY)
    assert len(listener.requests) == 3, "and stays right"


async def test_a_clock_that_is_a_little_off_is_left_alone(linked: Linked) -> None:
    link = linked(OLD, wall=lambda: time.time() - 3.0)
    await link.send(BODY)
    assert link.clock_offset_s == 0.0


async def test_a_clock_that_never_comes_right_is_no_endless_loop(
    listener: Listener, linked: Linked
) -> None:
    listener.answer = lambda *_: problem(401, "clock")
    with pytest.raises(Away):
        await linked(OLD).send(BODY)
    assert len(listener.requests) == 2


async def test_strangers_cannot_set_the_clock(listener: Listener, linked: Linked) -> None:
    listener.answer = lambda *_: web.Response(
        status=502, headers={"Date": "Thu, 01 Jan 1998 00:00:00 GMT"}
    )
    link = linked(OLD)
    with pytest.raises(Away):
        await link.send(BODY)
    assert link.clock_offset_s == 0.0


@pytest.mark.parametrize("status", [200, 302])
async def test_a_login_page_cannot_set_the_clock(
    listener: Listener, linked: Linked, status: int
) -> None:
    listener.answer = lambda *_: web.Response(
        status=status,
        text="<html>Sign in to the hotel</html>",
        content_type="text/html",
        headers={"Date": "Thu, 01 Jan 1998 00:00:00 GMT", "Location": "/sign-in"},
    )
    link = linked(OLD)
    with pytest.raises(Away):
        await link.send(BODY)
    assert link.clock_offset_s == 0.0
    assert not link.timed


async def test_an_unchanged_list_sets_the_clock(linked: Linked) -> None:
    off_s = 0.0
    link = linked("px_token", wall=lambda: time.time() - off_s)
    await link.configuration()
    off_s = 7200.0
    assert await link.configuration() is None
    assert abs(link.clock_offset_s - 7200.0) < 3


async def test_what_was_never_asked_for_is_not_unchanged(
    listener: Listener, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unchanged(_listener: Listener, _request: web.Request) -> web.Response:
        return web.Response(status=304)

    await listener.stop()
    monkeypatch.setattr(Listener, "_config", unchanged)
    await listener.start()
    with pytest.raises(Away, match="something else answers"):
        await linked(gateway=None).configuration()


async def test_a_batch_seen_before_was_taken(listener: Listener, linked: Linked) -> None:
    listener.answer = lambda *_: problem(401, "repeated")
    assert await linked(OLD).send(BODY) == Receipt()


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_batch_that_can_never_be_taken_is_poison(
    listener: Listener, linked: Linked, status: int
) -> None:
    listener.answer = lambda *_: problem(status)
    with pytest.raises(Poison):
        await linked().send(BODY)


async def test_strangers_poison_nothing_for_sure(listener: Listener, linked: Linked) -> None:
    for answer, sure in ((problem(400), True), (web.Response(status=400), False)):
        listener.answer = lambda *_, answer=answer: answer
        with pytest.raises(Poison) as poison:
            await linked().send(BODY)
        assert poison.value.sure is sure


async def test_the_server_says_when_to_come_back(listener: Listener, linked: Linked) -> None:
    after: list[float] = []
    for value in ("17", "1000000", "soon", "-5", "Wed, 21 Oct 2026 07:28:00 GMT"):
        listener.answer = lambda *_, value=value: problem(503, **{"Retry-After": value})
        with pytest.raises(Away) as away:
            await linked().send(BODY)
        after.append(away.value.after_s)
    assert after == [17.0, 3600.0, 0.0, 0.0, 0.0]


async def test_no_refusal_tells_a_token_a_host_or_an_id(listener: Listener, linked: Linked) -> None:
    for status in (301, 401, 403, 404, 429, 500):
        listener.answer = lambda *_, status=status: web.Response(status=status)
        with pytest.raises(Away) as away:
            await linked().send(BODY)
        for secret in ("px_token", "127.0.0.1", "gw-1"):
            assert secret not in str(away.value)
    link = linked()
    await listener.stop()
    with pytest.raises(Away, match="cannot be reached") as away:
        await link.send(BODY)
    assert "127" not in str(away.value)


async def test_the_configuration_is_asked_for_by_etag(listener: Listener, linked: Linked) -> None:
    link = linked()
    first = await link.configuration()
    assert first is not None
    assert await link.configuration() is None
    listener.config["place"] = "exit"
    assert b"exit" in (await link.configuration() or b"")
    link.unread()
    assert b"exit" in (await link.configuration() or b"")


async def test_who_does_not_know_its_own_id_asks_as_self(
    listener: Listener, linked: Linked
) -> None:
    await linked(gateway=None).configuration()
    assert listener.requests[0][0] == "/v1/gateways/self/config"
    await linked(gateway="a/b c").configuration()
    assert listener.requests[1][0] == "/v1/gateways/a%2Fb%20c/config"


async def test_health_is_told(listener: Listener, linked: Linked) -> None:
    await linked().health(b'{"beacons":1}')
    assert listener.health == [{"beacons": 1}]


async def test_a_replaced_secret_is_kept_used_at_once_and_after_a_restart(
    tmp_path: Path, listener: Listener, linked: Linked
) -> None:
    link = linked(OLD)
    link._credentials.renew(NEW)
    used = []
    listener.answer = lambda request, _: used.append(signed_with(NEW, request, BODY))
    await link.send(BODY)
    assert (tmp_path / SECRET).stat().st_mode & 0o077 == 0
    await linked(OLD).send(BODY)
    assert used == [True, True]


async def test_a_new_secret_that_is_refused_falls_back_to_the_old_one(
    listener: Listener, linked: Linked
) -> None:
    def only_old(request: web.Request, _: object) -> web.Response | None:
        return None if signed_with(OLD, request, BODY) else problem(401, "signature")

    listener.answer = only_old
    link = linked(OLD)
    link._credentials.renew(NEW)
    assert await link.send(BODY) == Receipt()
    assert await link.send(BODY) == Receipt()
    assert len(listener.requests) == 3, "and stays with it"


async def test_both_secrets_refused_is_no_endless_loop(listener: Listener, linked: Linked) -> None:
    listener.answer = lambda *_: problem(401, "signature")
    link = linked(OLD)
    link._credentials.renew(NEW)
    with pytest.raises(Away, match="pair"):
        await link.send(BODY)
    assert len(listener.requests) == 2


async def test_a_gateway_paired_anew_forgets_the_secret_it_was_given_before(
    tmp_path: Path, linked: Linked
) -> None:
    linked(OLD)._credentials.renew(NEW)
    again = "whsec_" + base64.b64encode(b"p" * 32).decode()
    assert linked(again)._credentials.secret == b"p" * 32
    assert linked(OLD)._credentials.secret == b"n" * 32
    (tmp_path / SECRET).write_text("garbage")
    assert linked(OLD)._credentials.secret == b"o" * 32


@pytest.mark.parametrize("content", [b"", b"  \n", b"two words", b"\xff\xfe", b"whsec_short"])
def test_a_token_file_that_holds_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(GatewayError, match="token") as error:
        Credentials(tmp_path / "token", tmp_path)
    assert "whsec_short" not in str(error.value)
    with pytest.raises(GatewayError, match="cannot be read"):
        Credentials(tmp_path / "nowhere", tmp_path)


def test_a_token_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xef\xbb\xbfpx_token\r\n")
    assert Credentials(tmp_path / "token", tmp_path).token == "px_token"


@pytest.mark.parametrize("code", [None, "unknown", "signature"])
async def test_a_gateway_that_is_paired_anew_reads_its_token_again(
    listener: Listener, linked: Linked, tmp_path: Path, code: str | None
) -> None:
    def answer(request: web.Request, _: object) -> web.Response | None:
        return None if signed_with(NEW, request, BODY) else problem(401, code)

    listener.answer = answer
    link = linked(OLD)
    with pytest.raises(Away, match="refused"):
        await link.send(BODY)
    asked = len(listener.requests)
    with pytest.raises(Away, match="refused"):
        await link.send(BODY)
    assert len(listener.requests) == asked + 1, "an unchanged token is not tried twice"
    for broken in ("", "two words", "whsec_short"):
        (tmp_path / "token").write_text(broken)
        with pytest.raises(Away, match="refused"):
            await link.send(BODY)
    # What was kept after the old file does not stand before the new one.
    (tmp_path / SECRET).write_text(f'{{"secret": "{OLD}", "after": "another"}}')
    (tmp_path / "token").write_text(NEW + "\n")
    assert await link.send(BODY) == Receipt()
    listener.answer = lambda *_: None
    assert await link.send(BODY) == Receipt()


async def test_a_token_may_follow_a_secret(
    listener: Listener, linked: Linked, tmp_path: Path
) -> None:
    def answer(request: web.Request, _: object) -> web.Response | None:
        return None if request.headers.get("Authorization") == "Bearer px_new" else problem(401)

    listener.answer = answer
    link = linked(OLD)
    (tmp_path / "token").write_text("px_new")
    assert await link.send(BODY) == Receipt()


async def test_a_port_that_speaks_no_tls_is_told_from_a_certificate(
    listener: Listener, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("px_token")
    credentials = Credentials(tmp_path / "token", tmp_path)
    link = HttpsLink(f"https://127.0.0.1:{listener.port}", credentials, "gw-1", time.time)
    with pytest.raises(Away, match="speaks no TLS"):
        await link.send(BODY)
    await link.close()


@pytest.mark.parametrize(
    ("host", "begins", "ends", "says"),
    [
        ("localhost", -9, -2, "has expired, or this computer's clock is wrong"),
        ("localhost", 2, 9, "is not valid yet: this computer's clock may be wrong"),
        ("elsewhere.example", -2, 9, "is for another host"),
    ],
)
async def test_what_is_wrong_with_a_certificate_is_told(
    tmp_path: Path, host: str, begins: int, ends: int, says: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "cert.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, tmp_path / "key.pem")
    server = TestServer(web.Application(), scheme="https", host="localhost")
    await server.start_server(ssl=context)
    (tmp_path / "token").write_text("px_token")
    credentials = Credentials(tmp_path / "token", tmp_path)
    link = HttpsLink(f"https://localhost:{server.port}", credentials, "gw-1", time.time, pem)
    with pytest.raises(Away, match=says):
        await link.send(BODY)
    await link.close()
    await server.close()


async def test_a_certificate_is_always_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take(_: web.Request) -> web.Response:
        return web.json_response({"accepted": 1, "duplicate": 0}, status=202)

    app = web.Application()
    app.router.add_post("/v1/sightings", take)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    (tmp_path / "token").write_text("px_token")
    credentials = Credentials(tmp_path / "token", tmp_path)
    server = TestServer(app, scheme="https", host="localhost")
    await server.start_server(ssl=context)
    url = f"https://localhost:{server.port}"
    # A proxy of the environment would be asked first.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    trusting = HttpsLink(url, credentials, "gw-1", time.time, TLS / "cert.pem")
    assert await trusting.send(BODY) == Receipt()
    await trusting.close()
    strict = HttpsLink(url, credentials, "gw-1", time.time)
    with pytest.raises(Away, match="certificate"):
        await strict.send(BODY)
    await strict.close()
    await server.close()
    with pytest.raises(GatewayError, match="holds no certificate"):
        HttpsLink(url, credentials, "gw-1", time.time, tmp_path / "token")
