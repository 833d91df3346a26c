"""The provider token: verified by PyJWT and by OpenSSL, renewed neither too often nor too seldom."""

from __future__ import annotations

import base64
import subprocess
from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from proximity.channels.apple_key import ProviderToken, read_id, read_signer
from proximity.tomltable import TomlTable
from tests.proximity.channels.apple import KEY_ID, TEAM_ID
from tests.proximity.channels.tls import ec_key, pem, public_pem, rsa_key
from tests.servers import find

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1767697200.9


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def made(clock: Clock) -> ProviderToken:
    table = TomlTable({}, "channel.apns")
    signer = read_signer(table, pem(ec_key("apns")))
    assert signer is not None, table.problems
    return ProviderToken(KEY_ID, TEAM_ID, signer, clock)


def test_header_and_claims_are_apples() -> None:
    token = made(Clock()).get()
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}
    claims = jwt.decode(
        token, ec_key("apns").public_key(), algorithms=["ES256"], options={"verify_iat": False}
    )
    assert claims == {"iss": TEAM_ID, "iat": int(NOW)}
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, ec_key("another").public_key(), algorithms=["ES256"])


def test_openssl_verifies_the_signature(tmp_path: Path) -> None:
    openssl = find("openssl")
    signed, _, signature = made(Clock()).get().rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    assert len(raw) == 64, "r and s as they are (RFC 7518, 3.4), not in DER"
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    (tmp_path / "key.pem").write_text(public_pem(ec_key("apns")))
    (tmp_path / "der").write_bytes(der)

    def verify(text: str) -> str:
        (tmp_path / "text").write_text(text)
        command = ["dgst", "-sha256", "-verify", "key.pem", "-signature", "der", "text"]
        done = subprocess.run(
            [openssl, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    assert verify(signed) == "Verified OK"
    assert verify(signed + "x") != "Verified OK"


def test_it_is_used_for_forty_minutes() -> None:
    clock = Clock()
    token = made(clock)
    first = token.get()
    clock.now += 2399.0
    assert token.get() == first
    clock.now += 2.0
    second = token.get()
    assert second != first
    clock.now -= 5000.0  # the clock was set right
    assert token.get() not in {first, second}


def test_one_that_apple_calls_too_old_is_renewed_but_not_within_twenty_minutes() -> None:
    clock = Clock()
    token = made(clock)
    first = token.get()
    clock.now += 1199.0
    assert not token.drop()
    assert token.get() == first
    clock.now += 2.0
    assert token.drop()
    assert token.get() != first


@pytest.mark.parametrize(
    "text",
    [
        "",
        "canary",
        pem(rsa_key()),
        pem(ec.generate_private_key(ec.SECP384R1())),
        public_pem(ec_key()),
    ],
    ids=["empty", "text", "rsa", "p-384", "public"],
)
def test_what_is_no_key_is_named(text: str) -> None:
    table = TomlTable({}, "channel.apns")
    assert read_signer(table, text) is None
    (problem,) = table.problems
    assert problem.startswith("channel.apns: the key is no P-256 private key in PEM: put the text")
    assert "canary" not in problem


@pytest.mark.parametrize(
    "value", [None, "", "short", "toolongforit", "KEY4TEST9!", 7, "key4test99"]
)
def test_what_is_no_id_is_named(value: object) -> None:
    table = TomlTable({} if value is None else {"key_id": value}, "channel.apns")
    assert read_id(table, "key_id", "the account") == ""
    assert "key_id must be the ten capitals and digits that the account shows" in table.problems[-1]


def test_neither_key_nor_token_is_in_its_repr() -> None:
    token = made(Clock())
    assert token.get() not in repr(token)
