"""The table of verdicts, against the lists of codes that other people's libraries carry."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from aiosmtplib.typing import SMTPStatus
from firebase_admin import messaging
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from proximity.channels.channel import Outcome
from proximity.channels.verdicts import MEANS, ROWS, TABLE, Means, judge, reply_to
from tests.npm import node

PROVIDERS = ("webhook", "web-push", "fcm", "oauth", "apns", "email", "mqtt")

# Apple's list of reasons as the Rust crate apns-h2 has it, with their statuses.
APPLE = {
    400: (
        "BadCollapseId BadDeviceToken BadExpirationDate BadMessageId BadPriority BadTopic "
        "DeviceTokenNotForTopic DuplicateHeaders IdleTimeout InvalidPushType MissingDeviceToken "
        "MissingTopic PayloadEmpty TopicDisallowed"
    ),
    403: (
        "BadCertificate BadCertificateEnvironment ExpiredProviderToken Forbidden "
        "InvalidProviderToken MissingProviderToken UnrelatedKeyIdInToken BadEnvironmentKeyIdInToken"
    ),
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "ExpiredToken Unregistered",
    413: "PayloadTooLarge",
    429: "TooManyProviderTokenUpdates TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable Shutdown",
}
REASONS = [(status, reason) for status, text in APPLE.items() for reason in text.split()]


def test_every_row_is_whole_and_stands_once() -> None:
    assert len(TABLE) == len(ROWS)
    assert tuple(dict.fromkeys(row.provider for row in ROWS)) == PROVIDERS
    for row in ROWS:
        assert row.means in get_args(Means)
        assert row.what
        assert row.source
        assert row.wait_s is None or row.means == "retry", row
    assert set(MEANS) == set(get_args(Means))
    assert set(MEANS.values()) == set(get_args(Outcome))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_says_what_holds_for_the_rest_and_deletes_nothing_for_it(
    provider: str,
) -> None:
    assert judge(provider, 999).code == "*"
    for row in ROWS:
        if row.code.endswith(("xx", ".x")):
            assert row.means != "dead_endpoint", "a whole class of codes takes nobody's address"
    assert TABLE[provider, "*"].means in {"retry", "fatal_message"}


def test_all_of_apples_reasons_are_listed() -> None:
    assert len(REASONS) == len({reason for _, reason in REASONS}) == 32
    for status, reason in REASONS:
        assert judge("apns", reason, status).code == reason
    dead = {reason for status, reason in REASONS if judge("apns", reason).means == "dead_endpoint"}
    assert dead == {"BadDeviceToken", "Unregistered", "ExpiredToken"}
    # What Apple says not to try again is not.
    for reason in (
        "BadDeviceToken", "DeviceTokenNotForTopic", "Forbidden", "ExpiredToken", "Unregistered",
        "PayloadTooLarge",
    ):  # fmt: skip
        assert judge("apns", reason).means != "retry"
    for reason in ("TooManyProviderTokenUpdates", "InternalServerError", "ServiceUnavailable"):
        assert reply_to("apns", reason).retry_after_s == {"T": 1200.0}.get(reason[0], 900.0)


def test_the_reasons_that_an_apns_library_of_nodes_knows_are_listed() -> None:
    known = json.loads(node('console.log(JSON.stringify(require("apns2").Errors))')).values()
    own = {"Error", "InvalidSigningKey", "UnknownError"}  # the library's, not Apple's
    assert {reason for reason in known if ("apns", reason) not in TABLE} == own


def test_the_errors_that_googles_library_knows_are_listed() -> None:
    for name in messaging._MessagingService.FCM_ERROR_TYPES:
        assert ("fcm", name) in TABLE
    assert judge("fcm", "UNREGISTERED", 404).means == "dead_endpoint"
    assert judge("fcm", "SENDER_ID_MISMATCH", 403).means == "config_error"
    assert judge("fcm", "INVALID_ARGUMENT", 400).means == "fatal_message"
    assert reply_to("fcm", "QUOTA_EXCEEDED", 429).retry_after_s == 60.0
    assert reply_to("fcm", 429).retry_after_s == 60.0


def test_every_reason_code_of_mqtt_5_is_listed() -> None:
    codes = set(ReasonCode(PacketTypes.PUBACK).names)
    for_others = {0x04, 0x11, 0x18, 0x19}  # of DISCONNECT with will, UNSUBACK and AUTH
    assert {code for code in codes if ("mqtt", f"0x{code:02x}") not in TABLE} == for_others
    for code in codes - for_others:
        assert (judge("mqtt", code).means == "ok") is (code < 0x80)
        assert judge("mqtt", code).means != "dead_endpoint", "a topic is nobody's address"


def test_every_reply_of_smtp_is_judged_by_its_class_at_least() -> None:
    for status in SMTPStatus:
        if status >= 400:
            means = judge("email", int(status)).means
            assert means != "ok"
            assert (means == "retry") is (status < 500) or status == 432
    for enhanced, reply, means in [
        ("5.1.1", 550, "dead_endpoint"), ("5.1.10", 556, "dead_endpoint"),
        ("5.7.1", 550, "fatal_message"), ("5.2.2", 552, "fatal_message"),
        ("5.7.8", 535, "config_error"), ("5.7.26", 550, "config_error"),
        ("4.2.2", 452, "retry"), ("2.1.5", 250, "ok"), ("5.1.99", 550, "fatal_message"),
        ("5.99.99", 550, "fatal_message"), ("6.1.1", 550, "fatal_message"),
    ]:  # fmt: skip
        assert judge("email", enhanced, reply).means == means


def test_an_enhanced_code_of_another_class_is_not_believed() -> None:
    assert judge("email", "5.1.1", 450).means == "retry"
    assert judge("email", "2.1.5", 550).means == "fatal_message"


@pytest.mark.parametrize(
    ("status", "means"),
    [
        (201, "ok"), (404, "dead_endpoint"), (410, "dead_endpoint"), (400, "config_error"),
        (401, "config_error"), (403, "config_error"), (413, "fatal_message"), (429, "retry"),
        (503, "retry"), (301, "config_error"), (418, "fatal_message"),
    ],
)  # fmt: skip
def test_web_push(status: int, means: str) -> None:
    assert judge("web-push", status).means == means


def test_the_most_telling_code_decides() -> None:
    assert judge("apns", "Unregistered", 410).code == "Unregistered"
    assert judge("apns", "NewReason", 503).code == "5xx"
    assert judge("apns", "NewReason", 410).means == "fatal_message"
    assert judge("apns", "NewReason", 403).means == "config_error"


def test_a_reply_holds_codes_and_nothing_that_the_other_side_made_up() -> None:
    assert reply_to("apns", "BadTopic", 400).reply == {"code": "BadTopic", "status": 400}
    assert reply_to("apns", "Canary", 400).reply == {"code": "unlisted", "status": 400}
    assert reply_to("email", "5.1.1", 550).reply == {"code": "5.1.1", "status": 550}
    assert reply_to("mqtt", 0x87).reply == {"code": "0x87"}
    assert reply_to("mqtt", 0xEE).reply == {"code": "unlisted"}
    assert reply_to("webhook", 204).reply == {"status": 204}


def test_what_the_answer_asks_for_stands_before_the_tables_own_wait() -> None:
    assert reply_to("fcm", "QUOTA_EXCEEDED", 429, retry_after_s=7.0).retry_after_s == 7.0
    assert reply_to("webhook", 503, retry_after_s=7.0).retry_after_s == 7.0
    assert reply_to("webhook", 503).retry_after_s is None
    assert reply_to("webhook", 400, retry_after_s=7.0).retry_after_s is None


@given(st.sampled_from(PROVIDERS), st.lists(st.text() | st.integers(-5, 1000), max_size=3))
def test_nothing_unlisted_is_dead_or_well(provider: str, codes: list[str | int]) -> None:
    row = judge(provider, *codes)
    reply = reply_to(provider, *codes)
    assert reply.outcome == MEANS[row.means]
    if row.code == "*":
        assert row.means in {"retry", "fatal_message"}
    assert set(reply.reply) <= {"code", "status"}
