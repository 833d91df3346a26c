"""The webhook with programs that nobody here wrote: npm's libraries both ways, and OpenSSL."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proximity.channels.envelope import Envelope, as_batch, as_binary, as_structured
from proximity.channels.signatures import sign, signer_of
from proximity.channels.webhook import open_webhook
from proximity.model import ProximityError
from proximity.site import gatewaysecrets
from tests.npm import node
from tests.proximity.channels.receivers import receiver
from tests.proximity.given import offer
from tests.proximity.server.rig import running
from tests.servers import find

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = ["whsec_" + base64.b64encode(bytes([n] * 32)).decode() for n in (1, 2)]
SEED = bytes(range(32))
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
KEY = "whsk_" + base64.b64encode(SEED + PUBLIC.public_bytes_raw()).decode()

VERIFY = """
const { Webhook } = require("standardwebhooks");
const asked = JSON.parse(require("fs").readFileSync(0));
const said = asked.map(({ secret, body, headers }) => {
  try { new Webhook(secret).verify(body, headers); return "good"; }
  catch (error) { return error.message; }
});
console.log(JSON.stringify(said));
"""
SIGN = """
const { Webhook } = require("standardwebhooks");
const { secret, id, body } = JSON.parse(require("fs").readFileSync(0));
const now = new Date();
console.log(JSON.stringify({
  "webhook-id": id, "webhook-timestamp": String(Math.floor(now / 1000)),
  "webhook-signature": new Webhook(secret).sign(id, now, body),
}));
"""
READ = """
const { HTTP } = require("cloudevents");
const asked = JSON.parse(require("fs").readFileSync(0));
const read = asked.map(({ headers, body }) => HTTP.toEvent({ headers, body }));
console.log(JSON.stringify(read));
"""
WRITE = """
const { HTTP, CloudEvent } = require("cloudevents");
const event = new CloudEvent(JSON.parse(require("fs").readFileSync(0)));
console.log(JSON.stringify([HTTP.structured(event), HTTP.binary(event)]));
"""


async def sent(folder: Path, lines: list[str], **config: Any) -> tuple[dict[str, str], str]:
    """Send one offer and give what arrived, header names in small letters."""
    (folder / "secret").write_text("\n".join(lines))
    async with receiver() as one:
        channel = open_webhook(
            {"url": one.url(), "secret_file": "secret", "allow": ["127.0.0.1"], **config}, folder
        )
        reply = await channel.send(
            offer(text='قهوة ☕ "half" 50%', campaign="café crème 50%", title="A title")
        )
        await channel.close()
    assert reply.outcome == "accepted"
    _, headers, body = one.requests[0]
    return {name.lower(): value for name, value in headers.items()}, body.decode()


async def test_npm_verifies_what_we_sign_with_either_secret_and_nothing_else(
    tmp_path: Path,
) -> None:
    headers, body = await sent(tmp_path, SECRETS)
    stranger = "whsec_" + base64.b64encode(bytes(32)).decode()
    old = {**headers, "webhook-timestamp": str(int(time.time()) - 1000)}
    asked = [
        {"secret": SECRETS[0], "body": body, "headers": headers},
        {"secret": SECRETS[1], "body": body, "headers": headers},
        {"secret": stranger, "body": body, "headers": headers},
        {"secret": SECRETS[0], "body": body + " ", "headers": headers},
        {"secret": SECRETS[0], "body": body, "headers": {**headers, "webhook-id": "x"}},
        {"secret": SECRETS[0], "body": body, "headers": old},
    ]
    said = json.loads(node(VERIFY, stdin=json.dumps(asked)))
    assert said[:2] == ["good", "good"]
    assert set(said[2:]) == {"No matching signature found", "Message timestamp too old"}


async def test_a_secret_is_changed_over_without_a_message_being_refused(tmp_path: Path) -> None:
    # Old alone, both, new alone: a receiver changes at any time while there are both.
    asked = []
    for lines, verifiers in (
        (SECRETS[:1], SECRETS[:1]), (SECRETS, SECRETS), (SECRETS[1:], SECRETS[1:]),
    ):  # fmt: skip
        headers, body = await sent(tmp_path, lines)
        asked += [{"secret": one, "body": body, "headers": headers} for one in verifiers]
    assert json.loads(node(VERIFY, stdin=json.dumps(asked))) == ["good"] * 4


async def test_what_npm_signs_our_server_takes_once(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        secret = rig.parts.store.write(
            lambda conn: gatewaysecrets.make_secret(conn, "gw-1", time.time())
        ).result()
        await rig.parts.signatures.arefresh()
        sighting = {"type": "sighting", "gateway": "gw-1", "at": time.time(), "rssi": -60,
                    "beacon": {"kind": "ibeacon", "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e",
                               "major": 1, "minor": 2}}  # fmt: skip
        body = json.dumps(sighting)
        asked = {"secret": secret, "id": f"msg_{secrets.token_hex(8)}", "body": body}
        headers = json.loads(node(SIGN, stdin=json.dumps(asked)))
        for changed, status in ((body, 202), (body, 401), (body + " ", 401)):
            answer = await rig.ask(
                "POST", "/v1/sightings", role=None, raw=changed.encode(), headers=headers
            )
            assert answer.status == status, answer.body


async def test_openssl_verifies_the_signature_by_a_public_key(tmp_path: Path) -> None:
    headers, body = await sent(tmp_path, [SECRETS[0], KEY])
    v1, v1a = headers["webhook-signature"].split(" ")
    assert v1.startswith("v1,")
    assert v1a.startswith("v1a,")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    signature = base64.b64decode(v1a.removeprefix("v1a,"))
    PUBLIC.verify(signature, signed)
    (tmp_path / "public.pem").write_bytes(
        PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "signature").write_bytes(signature)
    for message, good in ((signed, True), (signed + b" ", False)):
        (tmp_path / "message").write_bytes(message)
        done = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
            [find("openssl"), "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin",
             "-in", "message", "-sigfile", "signature"],
            cwd=tmp_path, capture_output=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) is good
    # The other library passes over the version that it does not know.
    asked = [{"secret": SECRETS[0], "body": body, "headers": headers}]
    assert json.loads(node(VERIFY, stdin=json.dumps(asked))) == ["good"]


async def test_openssl_makes_the_same_hmac(tmp_path: Path) -> None:
    headers, body = await sent(tmp_path, SECRETS[:1])
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    key = base64.b64decode(SECRETS[0].removeprefix("whsec_")).hex()
    made = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
        [find("openssl"), "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key}", "-binary"],
        input=signed, capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(made).decode()}"


def test_a_seed_alone_signs_the_same_and_what_is_no_key_is_named(tmp_path: Path) -> None:
    seed = "whsk_" + base64.b64encode(SEED).decode()
    assert sign([signer_of(seed)], "k", 1.0, b"x") == sign([signer_of(KEY)], "k", 1.0, b"x")
    for bad in ("whsk_", "whsk_AAAA", KEY + "=", "whsk_é"):
        (tmp_path / "secret").write_text(bad, encoding="utf-8")
        with pytest.raises(ProximityError, match="line 1: not whsk_ and base64 of an Ed25519 key"):
            open_webhook({"url": "https://x.example.test/", "secret_file": "secret"}, tmp_path)


@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_both_libraries_read_both_modes_alike(tmp_path: Path, mode: str) -> None:
    headers, body = await sent(tmp_path, SECRETS, mode=mode)
    (theirs,) = json.loads(node(READ, stdin=json.dumps([{"headers": headers, "body": body}])))
    assert theirs["id"] == "k1"
    assert theirs["source"] == "urn:proximity-engine"
    assert theirs["type"] == "proximity.offer.v1"
    # npm leaves what headers have to escape as it is written there.
    subject = unquote(theirs["subject"]) if mode == "binary" else theirs["subject"]
    assert subject == "café crème 50%"
    assert theirs["time"] == "2026-01-06T11:00:00.000Z"
    assert theirs["data"]["text"] == 'قهوة ☕ "half" 50%'
    assert theirs["data"]["title"] == "A title"
    if mode == "binary":
        assert headers["ce-id"] == headers["webhook-id"]
        event = from_binary(
            HTTPMessage(headers=headers, body=body.encode()), JSONFormat(), CloudEvent
        )
        assert event.get_subject() == subject
        assert event.get_data() == theirs["data"]


def test_npm_reads_a_batch() -> None:
    some = [Envelope(id=f"e{n}", source="urn:x", type="t", data={"n": n}) for n in range(3)]
    asked = [{"headers": {"content-type": "application/cloudevents-batch+json"},
              "body": as_batch(some).decode()}]  # fmt: skip
    (read,) = json.loads(node(READ, stdin=json.dumps(asked)))
    assert [(one["id"], one["data"]) for one in read] == [(f"e{n}", {"n": n}) for n in range(3)]


def test_what_the_libraries_write_of_an_event_is_what_we_write() -> None:
    ours = Envelope(
        id="e1", source="urn:x", type="t", time="2026-01-06T11:00:00.000Z", subject="é 50%",
        sequence="0007", data={"text": "☕"},
    )  # fmt: skip
    attributes = {**ours.attributes(), "datacontenttype": "application/json"}
    structured, binary = json.loads(node(WRITE, stdin=json.dumps(attributes | {"data": ours.data})))
    assert json.loads(structured["body"]) == json.loads(as_structured(ours))
    headers, body = as_binary(ours)
    # npm leaves letters beyond ASCII as they are, which HTTP cannot carry.
    theirs = {name: value for name, value in binary["headers"].items() if name != "ce-subject"}
    theirs["content-type"] = theirs["content-type"].partition(";")[0]
    assert theirs == {name: value for name, value in headers.items() if name != "ce-subject"}
    assert json.loads(binary["body"]) == json.loads(body)
    python = CloudEvent(attributes=attributes_of(attributes), data=ours.data)
    written = to_binary(python, JSONFormat())
    assert written.headers["ce-subject"] == headers["ce-subject"] == "%C3%A9%2050%25"
    assert json.loads(to_structured(python, JSONFormat()).body)["data"] == ours.data


def attributes_of(attributes: dict[str, str]) -> dict[str, Any]:
    from datetime import datetime

    return attributes | {"time": datetime.fromisoformat(attributes["time"])}
