"""The question: what does a provider's answer mean for the offer and for where it was sent.

One table for all providers, each row with where it stands written. Pure: it knows codes, and no
connection, no message and no person. A row is found by the most telling code that is listed; a code
that nobody listed is judged by its class, and one without a class by the provider's ``*``. Nothing
that is unlisted ever takes an endpoint away: a person who is forgotten by mistake stays forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from proximity.channels.channel import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proximity.channels.channel import Outcome

__all__ = ["MEANS", "ROWS", "TABLE", "Means", "Row", "judge", "reply_to"]

Means = Literal["ok", "retry", "fatal_message", "dead_endpoint", "config_error"]

MEANS: dict[Means, Outcome] = {
    "ok": "accepted",
    "retry": "retry",
    "fatal_message": "failed",
    "dead_endpoint": "dead_endpoint",
    "config_error": "config_error",
}
"""What a verdict makes of the offer. ``fatal_message``: this message never, the next one perhaps.
``config_error``: our fault or the operator's, so that somebody must be told and nothing deleted."""


class Row(NamedTuple):
    """One code of one provider: its verdict, in words, and who says so.

    ``code`` may be a class, ``5xx`` or ``5.1.x``, or ``*`` for the rest. ``wait_s`` is how many
    seconds the provider asks to be left alone where its answer does not say.
    """

    provider: str
    code: str
    means: Means
    what: str
    source: str
    wait_s: float | None = None


_HTTP = "RFC 9110, 15"
_HOOKS = "Standard Webhooks, Deliverability and reliability"
_PUSH = "RFC 8030, 5 to 8"
_MOZILLA = "Mozilla autopush, Error codes"
_FCM = "Firebase, FCM REST ErrorCode"
_SCALE = "Firebase, Best practices when sending FCM messages at scale"
_RPC = "google.rpc.Code"
_OAUTH = "RFC 6749, 5.2"
_APPLE = "Apple, Handling notification responses from APNs"
_SMTP = "RFC 5321, 4.2"
_AUTH = "RFC 4954, 4 to 6"
_NO_MAIL = "RFC 7504, 3 and 4"
_STATUS = "RFC 3463, 3"
_MAIL_AUTH = "RFC 7372, 3"
_MQTT = "MQTT 5.0, 2.4"

_Entry = tuple[str, Means, str, str] | tuple[str, Means, str, str, float]

# Provider -> codes that share a row, verdict, what it says, source, seconds to wait.
_ENTRIES: dict[str, tuple[_Entry, ...]] = {
    "webhook": (
        ("2xx", "ok", "taken", _HOOKS),
        ("408", "retry", "the receiver waited too long for the request", _HTTP + ".5.9"),
        ("425", "retry", "too early for it", "RFC 8470, 5.2"),
        ("429", "retry", "too many", _HOOKS),
        ("410", "dead_endpoint", "the endpoint is gone: stop sending", _HOOKS),
        ("5xx", "retry", "a fault of the receiver's", _HOOKS),
        ("*", "fatal_message", "not taken; a redirect is not followed", _HOOKS),
    ),
    "web-push": (
        ("2xx", "ok", "taken by the push service", _PUSH),
        ("404", "dead_endpoint", "the subscription has expired", "RFC 8030, 7.3"),
        ("410", "dead_endpoint", "the subscription is gone", _MOZILLA),
        ("400", "config_error", "the request or its headers are wrong", _MOZILLA),
        ("401 403", "config_error", "the VAPID key or signature is not the one", "RFC 8292, 4.2"),
        ("413", "fatal_message", "the message is too large", "RFC 8030, 7.2"),
        ("429", "retry", "too many", "RFC 8030, 8.4"),
        ("408 425", "retry", "not in time", _HTTP),
        ("3xx", "config_error", "a redirect is not followed", _HTTP),
        ("4xx", "fatal_message", "not taken", _HTTP),
        ("5xx", "retry", "a fault of the push service's", _MOZILLA),
        ("*", "retry", "an answer that HTTP does not know", _HTTP),
    ),
    "fcm": (
        ("2xx", "ok", "taken by FCM", _FCM),
        ("UNREGISTERED", "dead_endpoint", "the app is gone from the device", _FCM),
        ("INVALID_ARGUMENT:token", "dead_endpoint", "the token is none", _FCM),
        ("INVALID_ARGUMENT", "fatal_message", "a field of the message is wrong", _FCM),
        ("SENDER_ID_MISMATCH", "config_error", "the token is of another project", _FCM),
        ("THIRD_PARTY_AUTH_ERROR", "config_error", "FCM's own key to APNs or web push", _FCM),
        ("APNS_AUTH_ERROR", "config_error", "the same, by its older name", _FCM),
        ("QUOTA_EXCEEDED", "retry", "too many for the project or the device", _FCM, 60.0),
        ("UNAVAILABLE INTERNAL", "retry", "a fault of FCM's", _SCALE, 10.0),
        ("UNSPECIFIED_ERROR", "retry", "FCM does not say", _FCM, 10.0),
        ("UNAUTHENTICATED", "config_error", "the access token is not valid", _RPC),
        ("PERMISSION_DENIED", "config_error", "the account may not send, or the API is off", _RPC),
        ("NOT_FOUND", "config_error", "no such project", _RPC),
        ("FAILED_PRECONDITION", "config_error", "the project is not set up for it", _RPC),
        ("RESOURCE_EXHAUSTED", "retry", "too many", _RPC, 60.0),
        ("ABORTED CANCELLED DEADLINE_EXCEEDED UNKNOWN", "retry", "not this time", _RPC, 10.0),
        ("400", "fatal_message", "the message is wrong", _SCALE),
        ("401 403 404", "config_error", "the project, account or address is wrong", _SCALE),
        ("429", "retry", "too many: not before the next minute", _SCALE, 60.0),
        ("3xx", "config_error", "a redirect is not followed", _HTTP),
        ("4xx", "fatal_message", "not taken", _HTTP),
        ("5xx", "retry", "a fault of FCM's", _SCALE, 10.0),
        ("*", "retry", "an answer that HTTP does not know", _HTTP),
    ),
    "oauth": (
        ("2xx", "ok", "an access token", _OAUTH),
        ("invalid_grant", "config_error", "the key is revoked, or this clock is wrong", _OAUTH),
        ("invalid_client unauthorized_client", "config_error", "the account is refused", _OAUTH),
        ("invalid_request invalid_scope", "config_error", "the request is refused", _OAUTH),
        ("unsupported_grant_type", "config_error", "it takes no signed assertion", _OAUTH),
        ("408 429", "retry", "not now", _HTTP),
        ("3xx 4xx", "config_error", "no access token", _OAUTH),
        ("5xx *", "retry", "a fault of the token endpoint's", _HTTP),
    ),
    "apns": (
        ("200", "ok", "taken by APNs", _APPLE),
        ("BadDeviceToken", "dead_endpoint", "no token of either environment", _APPLE),
        ("Unregistered", "dead_endpoint", "the token is no longer active", _APPLE),
        ("ExpiredToken", "dead_endpoint", "the token has expired", _APPLE),
        ("Unregistered:older", "fatal_message", "inactive before it was registered anew", _APPLE),
        ("ExpiredToken:older", "fatal_message", "expired before it was registered anew", _APPLE),
        ("DeviceTokenNotForTopic", "config_error", "the token is of another app", _APPLE),
        ("BadTopic MissingTopic", "config_error", "the topic is none", _APPLE),
        ("TopicDisallowed", "config_error", "the key may not send to the topic", _APPLE),
        ("BadCertificate", "config_error", "the certificate is bad", _APPLE),
        ("BadCertificateEnvironment", "config_error", "the other environment's", _APPLE),
        ("Forbidden", "config_error", "not allowed", _APPLE),
        ("InvalidProviderToken", "config_error", "key, key id or team id is wrong", _APPLE),
        ("MissingProviderToken", "config_error", "no provider token", _APPLE),
        ("BadEnvironmentKeyIdInToken", "config_error", "a key of the other environment", _APPLE),
        ("BadPath MissingDeviceToken", "config_error", "the path is wrong", _APPLE),
        ("MethodNotAllowed", "config_error", "something between changes the request", _APPLE),
        ("BadCollapseId BadMessageId", "fatal_message", "an id is too long or none", _APPLE),
        ("BadExpirationDate BadPriority", "fatal_message", "a header's value is wrong", _APPLE),
        ("InvalidPushType DuplicateHeaders", "fatal_message", "a header is wrong", _APPLE),
        ("PayloadEmpty", "fatal_message", "there is no message", _APPLE),
        ("PayloadTooLarge", "fatal_message", "more than 4096 bytes", _APPLE),
        ("ExpiredProviderToken", "retry", "our token was too old; a new one is made", _APPLE),
        ("UnrelatedKeyIdInToken", "retry", "another key: needs a new connection", _APPLE),
        # A provider token may be renewed once in 20 minutes.
        ("TooManyProviderTokenUpdates", "retry", "our token changes too often", _APPLE, 1200.0),
        ("TooManyRequests", "retry", "too many for this device", _APPLE, 60.0),
        ("IdleTimeout Shutdown", "retry", "APNs closes the connection", _APPLE),
        ("InternalServerError ServiceUnavailable", "retry", "a fault of APNs'", _APPLE, 900.0),
        ("403 404 405", "config_error", "the provider token or the path is wrong", _APPLE),
        ("429", "retry", "too many", _APPLE, 60.0),
        ("400 410 413", "fatal_message", "a reason that is not in this table", _APPLE),
        ("3xx 4xx", "fatal_message", "not taken", _HTTP),
        ("5xx", "retry", "a fault of APNs'", _APPLE, 900.0),
        ("*", "retry", "an answer that HTTP does not know", _HTTP),
    ),
    "email": (
        ("2xx 2.x.x", "ok", "taken by the mail server", _SMTP),
        ("4xx", "retry", "not now", _SMTP),
        ("4.x.x", "retry", "not now", _STATUS),
        ("432", "config_error", "the account needs a new password", _AUTH),
        ("500 501 502 503", "fatal_message", "it does not understand the command", _SMTP),
        ("504 555", "config_error", "it does not know a parameter", _SMTP),
        ("521 556", "dead_endpoint", "the host takes no mail", _NO_MAIL),
        ("530 534 535 538", "config_error", "our sign-in is refused, or needs TLS", _AUTH),
        ("550", "fatal_message", "the mailbox is not there, or it refuses us", _SMTP),
        ("551", "dead_endpoint", "the user is not local", _SMTP),
        ("552", "fatal_message", "the mailbox is full", _SMTP),
        ("553", "dead_endpoint", "the mailbox name is not allowed", _SMTP),
        ("554", "fatal_message", "refused", _SMTP),
        ("5xx", "fatal_message", "refused", _SMTP),
        ("5.1.1", "dead_endpoint", "no such mailbox", _STATUS + ".2"),
        ("5.1.2", "dead_endpoint", "no such domain", _STATUS + ".2"),
        ("5.1.3", "dead_endpoint", "the address is none", _STATUS + ".2"),
        ("5.1.6", "dead_endpoint", "the mailbox has moved, nobody says where", _STATUS + ".2"),
        ("5.1.10", "dead_endpoint", "the domain says that it takes no mail", "RFC 7505, 4.2"),
        ("5.1.7 5.1.8", "config_error", "the sender's address is wrong", _STATUS + ".2"),
        ("5.1.x", "fatal_message", "something about the address", _STATUS + ".2"),
        ("5.2.1", "dead_endpoint", "the mailbox is disabled", _STATUS + ".3"),
        ("5.2.2", "fatal_message", "the mailbox is full", _STATUS + ".3"),
        ("5.2.x", "fatal_message", "something about the mailbox", _STATUS + ".3"),
        ("5.3.4 5.2.3", "fatal_message", "the message is too large", _STATUS + ".4"),
        ("5.6.x", "fatal_message", "something about the content", _STATUS + ".7"),
        ("5.7.0 5.7.1", "fatal_message", "refused by policy", _STATUS + ".8"),
        ("5.7.8", "config_error", "our sign-in is wrong", _AUTH),
        ("5.7.9 5.7.11", "config_error", "the way to sign in is too weak", _AUTH),
        ("5.7.10 5.7.12 5.7.13 5.7.14", "config_error", "our account or connection", "RFC 5248, 3"),
        ("5.7.20 5.7.21 5.7.22", "config_error", "the DKIM signature does not hold", _MAIL_AUTH),
        ("5.7.23 5.7.24", "config_error", "SPF does not name this sender", _MAIL_AUTH),
        ("5.7.25", "config_error", "the sender's address has no name", _MAIL_AUTH),
        ("5.7.26", "config_error", "several checks of the sender failed", _MAIL_AUTH),
        ("5.7.27", "config_error", "the sender's domain takes no mail", "RFC 7505, 4.2"),
        ("5.7.28", "config_error", "too much mail of the kind", "IANA, SMTP enhanced status codes"),
        ("5.7.x", "fatal_message", "refused for safety", _STATUS + ".8"),
        ("5.x.x", "fatal_message", "refused", _STATUS),
        ("*", "retry", "an answer that SMTP does not know", _SMTP),
    ),
    "mqtt": (
        ("0x00 0x01 0x02", "ok", "taken by the broker", _MQTT),
        ("0x10", "ok", "taken; nobody listens at present", _MQTT),
        ("0x80 0x83", "retry", "the broker does not say", _MQTT),
        ("0x81 0x82", "fatal_message", "the broker cannot read the packet", _MQTT),
        ("0x84", "config_error", "the broker does not speak MQTT 5", _MQTT),
        ("0x85", "config_error", "the client id is refused", _MQTT),
        ("0x86 0x8c", "config_error", "our sign-in is refused", _MQTT),
        ("0x87", "config_error", "we may not publish there", _MQTT),
        ("0x8a", "config_error", "we are banned", _MQTT),
        ("0x8e", "config_error", "another client has our id", _MQTT),
        ("0x88 0x89 0x8b", "retry", "the broker is away, busy or shutting down", _MQTT),
        ("0x8d 0x98 0xa0", "retry", "the broker has closed the connection", _MQTT),
        ("0x91 0x92 0x93", "retry", "the exchange is out of step", _MQTT),
        ("0x96 0x97 0x9f", "retry", "too many", _MQTT, 10.0),
        ("0x90", "fatal_message", "the topic is none", _MQTT),
        ("0x94", "fatal_message", "the topic's alias is none", _MQTT),
        ("0x95", "fatal_message", "the message is too large", _MQTT),
        ("0x99", "fatal_message", "the message is not what it says it is", _MQTT),
        ("0x9a", "config_error", "the broker retains nothing", _MQTT),
        ("0x9b", "config_error", "the broker does not do this quality of service", _MQTT),
        ("0x9c 0x9d", "config_error", "use another broker", _MQTT),
        ("0x8f 0x9e 0xa1 0xa2", "config_error", "the subscription is refused", _MQTT),
        ("*", "retry", "a code that MQTT 5 does not know", _MQTT),
    ),
}

ROWS: tuple[Row, ...] = tuple(
    Row(provider, code, *entry[1:])
    for provider, entries in _ENTRIES.items()
    for entry in entries
    for code in entry[0].split()
)
"""Every code of every provider, one row each, in the order of the documentation."""

TABLE: dict[tuple[str, str], Row] = {(row.provider, row.code): row for row in ROWS}
"""(Provider, code) -> row."""


def judge(provider: str, *codes: str | int) -> Row:
    """Find the row of an answer's codes, the most telling code first.

    HTTP statuses and SMTP replies are given as whole numbers, MQTT's reason codes too. Each code is
    looked for as it is and then as its class; the first that is found decides. An enhanced code of
    SMTP whose class is not the reply's is not believed: RFC 3463 (2) has them agree.
    """
    written = [_written(provider, code) for code in codes]
    if provider == "email" and len({code[:1] for code in written}) > 1:
        written = written[-1:]
    for code in written:
        for wider in _widening(code):
            if (row := TABLE.get((provider, wider))) is not None:
                return row
    return TABLE[provider, "*"]


def reply_to(provider: str, *codes: str | int, retry_after_s: float | None = None) -> Reply:
    """Make the channel's reply from an answer's codes.

    ``reply`` holds the number as ``status`` and the name as ``code``, where the table lists the
    name: what else the other side wrote is not kept. ``retry_after_s`` is what the answer asked for
    (the row's own wait where it asked for nothing), and stands only where it is to be tried again.
    """
    row = judge(provider, *codes)
    said: dict[str, str | int] = {}
    for code in codes:
        if isinstance(code, int) and provider != "mqtt":
            said["status"] = code
        else:
            written = _written(provider, code)
            known = any((provider, wider) in TABLE for wider in _widening(written))
            said["code"] = written if known else "unlisted"
    wait = row.wait_s if retry_after_s is None else retry_after_s
    return Reply(
        outcome=MEANS[row.means], reply=said, retry_after_s=wait if row.means == "retry" else None
    )


def _written(provider: str, code: str | int) -> str:
    """Write a code as the table does."""
    if isinstance(code, str):
        return code
    return f"0x{code:02x}" if provider == "mqtt" else str(code)


def _widening(code: str) -> Iterator[str]:
    """Give a code and then its classes: 550, 5xx; 5.1.1, 5.1.x, 5.x.x."""
    yield code
    if len(code) == 3 and code.isascii() and code.isdigit():
        yield f"{code[0]}xx"
    elif (parts := code.split(".")) and len(parts) == 3:
        yield f"{parts[0]}.{parts[1]}.x"
        yield f"{parts[0]}.x.x"
