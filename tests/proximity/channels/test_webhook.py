"""The webhook against receivers, the standard's own library, its vector and CloudEvents' reader."""

from __future__ import annotations

import base64
import ipaddress
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cloudevents.core.bindings.http import from_structured
from standardwebhooks.webhooks import Webhook as Library
from standardwebhooks.webhooks import WebhookVerificationError

from proximity.campaigns.form import parse_campaigns
from proximity.channels import open_channels
from proximity.channels.egress import Egress
from proximity.channels.webhook import Webhook, make_event, open_webhook, outcome_of, sign
from proximity.model import ProximityError
from tests.proximity.channels.receivers import receiver
from tests.proximity.given import FULL, LEAST, offer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
OTHER = "whsec_" + base64.b64encode(b"76543210fedcba9876543210").decode()
LOOPBACK = [ipaddress.ip_network("127.0.0.1")]


def hook(url: str, *secrets: str) -> Webhook:
    return Webhook(url, secrets or [SECRET], Egress(LOOPBACK, timeout_s=2.0))


def test_the_vector_of_the_standard(shared_data: Callable[[str], Path]) -> None:
    vector = json.loads(
        (shared_data("push-and-webhook-vectors") / "standard-webhooks.json").read_text()
    )
    headers = sign(
        [Library(vector["secret"])], vector["id"], float(vector["timestamp"]),
        vector["payload"].encode(),
    )  # fmt: skip
    assert headers == {
        "webhook-id": vector["id"],
        "webhook-timestamp": vector["timestamp"],
        "webhook-signature": vector["signature"],
    }


async def test_what_arrives_verifies_and_reads_as_an_event() -> None:
    async with receiver() as one:
        channel = hook(one.url())
        reply = await channel.send(offer(text="قهوة ☕"))
        await channel.close()
    assert (reply.outcome, reply.reply) == ("accepted", {"status": 200})
    path, headers, body = one.requests[0]
    assert path == "/hook"
    # The standard's library verifies it, time included; anything changed it does not.
    read = Library(SECRET).verify(body, headers)
    assert read["data"]["text"] == "قهوة ☕"
    for secret, changed in ((OTHER, body), (SECRET, body + b" ")):
        with pytest.raises(WebhookVerificationError):
            Library(secret).verify(changed, headers)
    with pytest.raises(WebhookVerificationError):
        Library(SECRET).verify(body, headers | {"webhook-id": "other"})
    # The library of CloudEvents reads and validates it.
    event = from_structured_event(headers, body)
    assert event.get_id() == headers["webhook-id"] == "k1"
    assert event.get_type() == "proximity.offer.v1"
    assert event.get_source() == "urn:proximity-engine"
    assert event.get_subject() == "coffee"
    assert event.get_specversion() == "1.0"
    assert event.get_time() == datetime(2026, 1, 6, 11, tzinfo=UTC)
    data = event.get_data()
    assert isinstance(data, dict)
    assert data["person"] == "anna"
    assert data["expires_at"] == "2026-01-06T11:02:00.000Z"


def from_structured_event(headers: dict[str, str], body: bytes) -> Any:
    from cloudevents.core.bindings.http import HTTPMessage
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    return from_structured(HTTPMessage(headers=headers, body=body), JSONFormat(), CloudEvent)


async def test_what_the_library_signs_is_what_we_sign() -> None:
    body = make_event(offer())
    at = 1767697200.9
    ours = sign([Library(SECRET)], "k1", at, body)["webhook-signature"]
    theirs = Library(SECRET).sign("k1", datetime.fromtimestamp(at, UTC), body.decode())
    assert ours == theirs


async def test_while_secrets_rotate_either_verifies() -> None:
    async with receiver() as one:
        channel = hook(one.url(), SECRET, OTHER)
        await channel.send(offer())
        await channel.close()
    _, headers, body = one.requests[0]
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (SECRET, OTHER):
        assert Library(secret).verify(body, headers)["id"] == "k1"


async def test_every_attempt_has_the_same_id_and_body_and_its_own_time() -> None:
    now = [1767697200.0]
    async with receiver() as one:
        channel = Webhook(one.url(), [SECRET], Egress(LOOPBACK), clock=lambda: now[0])
        for _ in range(2):
            await channel.send(offer())
            now[0] += 60.0
        await channel.close()
    first, second = (headers for _, headers, _ in one.requests)
    assert first["webhook-id"] == second["webhook-id"] == "k1"
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
    assert one.requests[0][2] == one.requests[1][2]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "accepted"), (202, "accepted"), (204, "accepted"), (299, "accepted"),
        (301, "failed"), (302, "failed"), (304, "failed"), (308, "failed"), (400, "failed"),
        (401, "failed"), (404, "failed"), (413, "failed"), (408, "retry"), (425, "retry"),
        (429, "retry"), (410, "dead_endpoint"), (500, "retry"), (502, "retry"), (503, "retry"),
        (504, "retry"), (599, "retry"),
    ],
)  # fmt: skip
def test_what_a_status_means(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome


async def test_what_the_receiver_writes_is_not_kept() -> None:
    async with receiver() as one:
        one.status, one.headers = 503, {"Retry-After": "30", "X-Secret": "canary-1"}
        one.body = b"canary-2"
        channel = hook(one.url())
        reply = await channel.send(offer())
        await channel.close()
    assert (reply.outcome, reply.retry_after_s) == ("retry", 30.0)
    assert "canary" not in repr(reply)


async def test_retry_after_counts_for_retries_alone() -> None:
    async with receiver() as one:
        one.status, one.headers = 400, {"Retry-After": "30"}
        channel = hook(one.url())
        assert (await channel.send(offer())).retry_after_s is None
        await channel.close()


async def test_nobody_there_is_a_retry_and_a_forbidden_address_is_not() -> None:
    async with receiver() as one:
        gone = one.url()
    for url, outcome in ((gone, "retry"), ("https://10.0.0.1/", "config_error")):
        channel = hook(url)
        reply = await channel.send(offer())
        await channel.close()
        assert reply.outcome == outcome
        assert "10.0.0.1" not in repr(reply)


# -- configuration -------------------------------------------------------------------------------


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n{OTHER}\n")
    return file


def test_opened_with_a_secret_from_a_file_beside_the_campaigns(secret_file: Path) -> None:
    config = {"url": "https://hooks.example.test/", "secret_file": "secret"}
    assert len(open_webhook(config, secret_file.parent)._signers) == 2


def test_opened_with_a_secret_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFER_SECRET", SECRET)
    config = {
        "url": "http://127.0.0.1:8080/x", "secret_env": "OFFER_SECRET", "allow": ["127.0.0.0/8"],
        "source": "urn:shop:7",
    }  # fmt: skip
    channel = open_webhook(config, tmp_path)
    assert channel.name == "webhook"
    assert channel._source == "urn:shop:7"


GOOD = {"url": "https://hooks.example.test/", "secret_file": "secret"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"url": None}, "url is missing"),
        ({"url": "https://10.0.0.1/"}, "url: the host is an address that is not public, or list"),
        ({"url": "http://hooks.example.test/"}, "url: http is for allowed addresses alone"),
        ({"allow": ["internal"]}, "allow: 'internal' is no address or network"),
        ({"allow": ["10.0.0.1/8"]}, "allow: '10.0.0.1/8' is no address or network"),
        ({"secret": "whsec_x"}, "unknown key 'secret'; did you mean"),
        ({"secret_env": "X"}, "name either secret_file or secret_env"),
        ({"secret_file": None}, "name either secret_file or secret_env"),
        ({"secret_file": "absent"}, "secret_file 'absent' cannot be read: No such file"),
        ({"secret_file": None, "secret_env": "NOT_SET"}, "secret_env 'NOT_SET' is empty"),
        ({"secret_file": "short"}, "secret_file 'short', line 1: not whsec_ and base64 of 24"),
        ({"secret_file": "odd"}, "secret_file 'odd', line 2: not whsec_ and base64 of 24"),
    ],
)
def test_faults_of_the_table_are_named(
    secret_file: Path, change: dict[str, Any], problem: str
) -> None:
    (secret_file.parent / "short").write_text("whsec_c2hvcnQ=")
    (secret_file.parent / "odd").write_text(f"{SECRET}\nwhsec_é\n", encoding="utf-8")
    config = {key: value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(ProximityError) as caught:
        open_webhook(config, secret_file.parent)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"channel.webhook: {problem}")
    assert SECRET not in str(caught.value)


async def test_channels_are_opened_for_what_campaigns_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(open_channels(parse_campaigns(LEAST))) == ["console"]
    assert open_channels(parse_campaigns("")) == {}
    monkeypatch.setenv("OFFER_SECRET", SECRET)
    opened = open_channels(parse_campaigns(FULL), tmp_path / "campaigns.toml")
    assert sorted(opened) == ["console", "webhook"]
    for channel in opened.values():
        await channel.close()
    monkeypatch.delenv("OFFER_SECRET")
    with pytest.raises(ProximityError, match="secret_env 'OFFER_SECRET' is empty"):
        open_channels(parse_campaigns(FULL), tmp_path / "campaigns.toml")
