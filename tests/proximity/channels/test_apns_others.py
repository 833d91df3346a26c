"""Other people's APNs clients say the same thing to the same server: two of Node's, one of Python's.

Each gets the offer's parts in its own words; path, headers, token and payload must come out alike.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aioapns
import aioapns.connection
import jwt
import pytest

from proximity.channels.apns import open_apns
from proximity.channels.mobile import app_fields
from proximity.model import Endpoint
from tests.npm import node
from tests.proximity.channels.apple import (
    DEVICE,
    KEY_ID,
    TEAM_ID,
    TOPIC,
    Apple,
    Push,
    apple,
    settings,
)
from tests.proximity.channels.tls import ec_key
from tests.proximity.given import NOON, offer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

OFFER = offer(
    title="Café du Nord", text='„Un café“ ☕ \\ "half"', receipt="https://x.test/r/1",
    links={"app": "shop://c", "web": "https://x.test/c"}, terms="One each.",
)  # fmt: skip
PHONE = Endpoint(channel="apns", address=DEVICE, platform="ios")
IDENTIFIER = "6f3b9a3e-8d0f-4c9f-9d0a-0d7b6a1e2c3d"

# What they are told, beside the server's address and the key.
TOLD = {
    "device": DEVICE, "topic": TOPIC, "keyId": KEY_ID, "teamId": TEAM_ID, "id": IDENTIFIER,
    "title": OFFER.title, "body": OFFER.text, "place": OFFER.place, "collapse": OFFER.key,
    "expires": int(OFFER.expires_at), "offer": app_fields(OFFER),
}  # fmt: skip

NODE_APN = """
const told = JSON.parse(require("fs").readFileSync(0, "utf8"));
const apn = require("@parse/node-apn");
const fs = require("fs");
const provider = new apn.Provider({
  token: { key: fs.readFileSync(told.key), keyId: told.keyId, teamId: told.teamId },
  address: "127.0.0.1", port: told.port, ca: fs.readFileSync(told.ca), production: true,
});
const note = new apn.Notification();
note.payload = { offer: told.offer };
note.alert = { title: told.title, body: told.body };
note.sound = "default";
note.threadId = told.place;
note.mutableContent = 1;
note.interruptionLevel = "active";
note.topic = told.topic;
note.pushType = "alert";
note.priority = 10;
note.expiry = told.expires;
note.collapseId = told.collapse;
note.id = told.id;
provider.send(note, told.device).then((result) => {
  console.log(JSON.stringify({ sent: result.sent.length, failed: result.failed }));
  provider.shutdown();
});
"""

APNS2 = """
const told = JSON.parse(require("fs").readFileSync(0, "utf8"));
const { ApnsClient, Notification, Priority } = require("apns2");
const { Pool } = require("undici");
const fs = require("fs");
const client = new ApnsClient({
  team: told.teamId, keyId: told.keyId, signingKey: fs.readFileSync(told.key),
  defaultTopic: told.topic, keepAlive: false,
});
client.client = new Pool(`https://127.0.0.1:${told.port}`, {
  connections: 1, allowH2: true, connect: { ca: fs.readFileSync(told.ca) },
});
const note = new Notification(told.device, {
  aps: { "interruption-level": "active" }, alert: { title: told.title, body: told.body },
  sound: "default", threadId: told.place, mutableContent: true, data: { offer: told.offer },
  priority: Priority.immediate, expiration: told.expires, collapseId: told.collapse,
});
client.send(note).then(() => console.log(JSON.stringify({ sent: 1, failed: [] })))
  .catch((error) => console.log(JSON.stringify({ sent: 0, failed: [String(error)] })))
  .finally(() => client.close());
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Apple]:
    async with apple(tmp_path) as one:
        yield one


async def ours(server: Apple, folder: Path) -> Push:
    channel = open_apns(settings(folder, server.url), folder)
    assert (await channel.send(OFFER, PHONE)).outcome == "accepted"
    await channel.close()
    return server.pushes[-1]


async def by_node(script: str, server: Apple, folder: Path) -> Push:
    told = TOLD | {
        "port": server.port, "key": str(folder / "apns.p8"), "ca": str(folder / "server.pem"),
    }  # fmt: skip
    said = json.loads(await asyncio.to_thread(node, script, stdin=json.dumps(told)))
    assert said == {"sent": 1, "failed": []}
    return server.pushes[-1]


async def by_node_apn(server: Apple, folder: Path, _: pytest.MonkeyPatch) -> Push:
    return await by_node(NODE_APN, server, folder)


async def by_apns2(server: Apple, folder: Path, _: pytest.MonkeyPatch) -> Push:
    return await by_node(APNS2, server, folder)


async def by_aioapns(server: Apple, folder: Path, patch: pytest.MonkeyPatch) -> Push:
    patch.setattr(aioapns.connection.APNsProductionClientProtocol, "APNS_SERVER", "127.0.0.1")
    patch.setattr(aioapns.connection.APNsProductionClientProtocol, "APNS_PORT", server.port)
    patch.setattr(aioapns.connection, "time", SimpleNamespace(time=lambda: NOON))
    context = ssl.create_default_context(cafile=str(folder / "server.pem"))
    context.set_alpn_protocols(["h2"])
    client = aioapns.APNs(
        key=(folder / "apns.p8").read_text(), key_id=KEY_ID, team_id=TEAM_ID, topic=TOPIC,
        ssl_context=context,
    )  # fmt: skip
    payload = {
        "aps": {
            "alert": {"title": OFFER.title, "body": OFFER.text}, "sound": "default",
            "thread-id": OFFER.place, "interruption-level": "active", "mutable-content": 1,
        },
        "offer": app_fields(OFFER),
    }  # fmt: skip
    request = aioapns.NotificationRequest(
        DEVICE, payload, notification_id=IDENTIFIER, priority=10, collapse_key=OFFER.key,
        time_to_live=int(OFFER.expires_at - NOON), push_type=aioapns.PushType.ALERT,
    )  # fmt: skip
    said = await client.send_notification(request)
    assert said.is_successful
    for connection in client.pool.connections:
        connection.close()
    await asyncio.sleep(0.05)
    return server.pushes[-1]


# What a client leaves to the default that the other writes out, or does not offer at all.
OTHERS: dict[str, tuple[Callable[..., Awaitable[Push]], set[str]]] = {
    "node-apn": (by_node_apn, set()),
    "apns2": (by_apns2, {"apns-priority", "apns-id"}),
    "aioapns": (by_aioapns, set()),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_another_client_says_the_same(
    server: Apple, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await ours(server, tmp_path)
    client, unsaid = OTHERS[name]
    theirs = await client(server, tmp_path, monkeypatch)
    assert theirs is not mine
    assert mine.path == theirs.path == f"/3/device/{DEVICE}"
    assert mine.version == theirs.version == "2"
    assert mine.payload == theirs.payload

    def own(push: Push) -> dict[str, str]:
        return {key: value for key, value in push.headers.items() if key.startswith("apns-")}

    assert set(own(mine)) - set(own(theirs)) == unsaid
    expected = own(mine) | {"apns-id": IDENTIFIER}
    assert own(theirs) == {key: value for key, value in expected.items() if key not in unsaid}

    def token(push: Push) -> tuple[Any, Any]:
        claims = jwt.decode(push.jwt, ec_key("apns").public_key(), algorithms=["ES256"])
        header = jwt.get_unverified_header(push.jwt)
        assert isinstance(claims.pop("iat"), int)
        return {name: header[name] for name in ("alg", "kid")}, claims

    assert token(mine) == token(theirs) == ({"alg": "ES256", "kid": KEY_ID}, {"iss": TEAM_ID})
