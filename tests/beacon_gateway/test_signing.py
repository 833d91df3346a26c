from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from beacon_gateway import signing
from beacon_gateway.model import GatewayError

secrets = st.binary(min_size=24, max_size=64)
ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)


def as_text(secret: bytes) -> str:
    return "whsec_" + base64.b64encode(secret).decode()


@given(secrets, ids, st.integers(0, 2**33), st.text(max_size=200))
def test_signatures_are_those_of_the_reference(
    secret: bytes, message: str, at_s: int, body: str
) -> None:
    reference = Webhook(as_text(secret)).sign(message, datetime.fromtimestamp(at_s, UTC), body)
    assert signing.read_secret(as_text(secret)) == secret
    assert signing.signature(secret, message, at_s, body.encode()) == reference


@given(secrets, ids, st.text(max_size=200).filter(bool))
def test_the_reference_verifies_our_headers_and_nothing_changed(
    secret: bytes, message: str, text: str
) -> None:
    import json

    body = json.dumps({"text": text})
    now = int(datetime.now(UTC).timestamp())
    headers = signing.headers(secret, message, now, body.encode())
    assert Webhook(as_text(secret)).verify(body, headers) == {"text": text}
    for broken in (body + " ", body.replace("text", "tex")):
        with pytest.raises(Exception, match="matching signature"):
            Webhook(as_text(secret)).verify(broken, headers)


def test_the_specifications_own_example() -> None:
    secret = signing.read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert (
        signing.signature(
            secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
        )
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "whsec_", "whsec_!!!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "px_abcdefghijklmnopqrst",
        as_text(bytes(23)), as_text(bytes(65)), as_text(bytes(32)) + "\n", "whsec_é",
    ],
)  # fmt: skip
def test_what_is_no_secret_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(GatewayError) as error:
        signing.read_secret(text)
    assert len(text) < 8 or text[6:] not in str(error.value)
