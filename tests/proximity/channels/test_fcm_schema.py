"""FCM's own discovery document as a server, and Google's own encoder beside ours.

The document ships with google-api-python-client; google-discovery-to-swagger makes it an
OpenAPI document, and Prism a server of that, which refuses whatever the document does not have.
"""

from __future__ import annotations

import json
import re
import socket
import warnings
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import googleapiclient
import pytest
from firebase_admin import messaging
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity.channels.fcm import make_message, open_fcm
from proximity.channels.mobile import app_fields, collapse_id, weight
from proximity.model import Endpoint
from tests.npm import NODE_MODULES, need_node, node
from tests.proximity.channels import google
from tests.proximity.given import NOON, offer
from tests.servers import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proximity.model import Offer

DOCUMENT = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "fcm.v1.json"
CONVERT = """
const text = require("fs").readFileSync(0, "utf8");
const { convert } = require("google-discovery-to-swagger");
console.log(JSON.stringify(convert(JSON.parse(text))));
"""


class Prism(Server):
    """A mock server of an OpenAPI document, which answers 422 to what is not in it."""

    def __init__(self, document: Path, log: Path) -> None:
        self.port = free_port()
        program = NODE_MODULES / "@stoplight" / "prism-cli" / "dist" / "index.js"
        command = [
            need_node(), str(program), "mock", "--host", "127.0.0.1", "--port", str(self.port),
            "--errors", str(document),
        ]  # fmt: skip
        super().__init__(command, log, {"PATH": "", "NO_UPDATE_NOTIFIER": "1"})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0


def as_openapi(discovery: str) -> dict[str, Any]:
    """Convert it, and say what a discovery document leaves unsaid.

    The path's ``{+parent}`` is ``projects/{project}``; it takes JSON; a field that a message has
    not is none.
    """
    made: dict[str, Any] = json.loads(node(CONVERT, stdin=discovery))
    send = made["paths"]["/v1/{+parent}/messages:send"]["post"]
    send["consumes"] = send["produces"] = ["application/json"]
    for parameter in send["parameters"]:
        if parameter["name"] == "parent":
            parameter["name"] = "project"
        else:
            parameter["required"] = True
    made["paths"] = {"/v1/projects/{project}/messages:send": {"post": send}}
    for schema in made["definitions"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return made


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:
    folder = tmp_path_factory.mktemp("prism")
    (folder / "fcm.json").write_text(json.dumps(as_openapi(DOCUMENT.read_text())))
    server = Prism(folder / "fcm.json", folder / "log")
    server.start()
    yield server
    server.stop()


async def post(prism: Prism, body: bytes) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{prism.url}/v1/projects/shop-42/messages:send",
            data=body,
            headers={"content-type": "application/json", "authorization": "Bearer x"},
        ) as answer,
    ):
        return answer.status, await answer.text()


PHONES = [
    Endpoint(channel="fcm", address="token-1", platform="android"),
    Endpoint(channel="fcm", address="fid:cNx7", platform="android"),
    Endpoint(channel="fcm", address="token-2", platform="ios"),
    Endpoint(channel="fcm", address="token-3"),
]
OFFERS = [
    offer(),
    offer(link=None, text="", purpose="content"),
    offer(title="☕", terms="t", receipt="https://x.test/r", withdraw="https://x.test/w",
          links={"app": "a://b", "web": "https://x.test"}, purpose="service"),
    offer(text="x" * 9000),
]  # fmt: skip


@pytest.mark.parametrize("phone", PHONES, ids=lambda one: one.address)
@pytest.mark.parametrize("number", range(len(OFFERS)))
async def test_every_message_is_one_by_the_document(
    prism: Prism, phone: Endpoint, number: int
) -> None:
    for try_only in (False, True):
        made = make_message(OFFERS[number], phone, NOON, app_channel="offers", try_only=try_only)
        assert made is not None
        status, said = await post(prism, made)
        assert status == 200, said


def damaged() -> Iterator[tuple[str, dict[str, Any]]]:
    made = make_message(OFFERS[2], PHONES[3], NOON, app_channel="offers")
    text = (made or b"").decode()
    for name, path, value in [
        ("a number for ttl", "android.ttl", 120),
        ("a number among the data", "data.key", 7),
        ("an object among the data", "data.key", {"a": "b"}),
        ("an unknown priority", "android.priority", "URGENT"),
        ("a priority in small letters", "android.priority", "high"),
        ("a number for a text", "notification.body", 1),
        ("a list for the token", "token", ["a"]),
        ("a field that there is not", "collapse", "x"),
        ("a field that there is not, deeper", "android.timeToLive", "1s"),
        ("one deeper still", "android.notification.tags", "x"),
        ("a number among the headers", "apns.headers.apns-priority", 10),
    ]:
        message = json.loads(text)
        *folders, last = path.split(".")
        at = message["message"]
        for folder in folders:
            at = at[folder]
        at[last] = value
        yield name, message


@pytest.mark.parametrize(
    ("name", "message"), list(damaged()), ids=lambda v: v if isinstance(v, str) else ""
)
async def test_the_server_does_refuse_what_is_not(
    prism: Prism, name: str, message: dict[str, Any]
) -> None:
    status, _ = await post(prism, json.dumps(message).encode())
    assert status == 422, name


async def test_the_channel_itself_is_accepted_by_it(prism: Prism, tmp_path: Path) -> None:
    async with google.google() as one:
        config = google.settings(tmp_path, one.url) | {"base_url": prism.url}
        channel = open_fcm(config, tmp_path)
        reply = await channel.send(offer(), PHONES[0])
        assert (reply.outcome, reply.reply) == ("accepted", {"status": 200})
        assert (await channel.check(offer(), PHONES[1])).outcome == "accepted"
        await channel.close()


# -- Google's own encoder ------------------------------------------------------------------------


def as_google_writes(one: Offer, phone: Endpoint, now: float) -> dict[str, Any]:
    """The same message by firebase-admin, from what the offer says."""
    target = (
        {"fid": phone.address[4:]} if phone.address.startswith("fid:") else {"token": phone.address}
    )
    same, insistence = collapse_id(one.key), weight(one.purpose)
    android = messaging.AndroidConfig(
        collapse_key=same,
        priority=insistence.fcm.lower(),
        ttl=timedelta(seconds=int(one.expires_at - now)),
        notification=messaging.AndroidNotification(tag=same, channel_id="offers"),
    )
    apns = messaging.APNSConfig(
        headers={
            "apns-collapse-id": same,
            "apns-priority": str(insistence.apns),
            "apns-expiration": str(int(one.expires_at)),
        },
        payload=messaging.APNSPayload(
            aps=messaging.Aps(
                thread_id=one.place,
                sound=None if insistence.level == "passive" else "default",
                mutable_content=one.receipt is not None or None,
                custom_data={"interruption-level": insistence.level},
            )
        ),
    )
    platform = phone.platform or ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tokens are to give way to installation ids
        message = messaging.Message(
            data=app_fields(one),
            notification=messaging.Notification(title=one.title, body=one.text),
            android=None if platform == "ios" else android,
            apns=None if platform == "android" else apns,
            **target,
        )
    encoded: dict[str, Any] = messaging._MessagingService.encode_message(message)
    return encoded


PLAIN = {"data", "headers", "payload"}
"""Maps, whose keys are not field names."""


def camel(value: Any) -> Any:
    """Field names as JSON has them in proto3: both spellings are one to the server."""
    if not isinstance(value, dict):
        return value
    return {
        re.sub("_([a-z])", lambda hit: hit[1].upper(), name): (
            inner if name in PLAIN else camel(inner)
        )
        for name, inner in value.items()
    }


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@settings(max_examples=500)
@given(
    st.builds(
        offer, key=words, text=words, title=st.none() | words, place=words, campaign=words,
        link=st.none() | words, terms=st.none() | words, receipt=st.none() | words,
        links=st.dictionaries(st.sampled_from(["app", "universal", "web"]), words),
        purpose=st.sampled_from(["marketing", "content", "service", "reminder"]),
        expires_at=st.integers(int(NOON), int(NOON) + 2419200).map(float),
    ),
    st.sampled_from(PHONES),
)  # fmt: skip
def test_googles_library_makes_the_same_message(one: Offer, phone: Endpoint) -> None:
    made = make_message(one, phone, NOON, app_channel="offers")
    ours = json.loads(made or b"")["message"]
    theirs = camel(as_google_writes(one, phone, NOON))
    if "android" in theirs:
        theirs["android"]["priority"] = theirs["android"]["priority"].upper()
    assert ours == theirs
