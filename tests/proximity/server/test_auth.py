from __future__ import annotations

import asyncio
import base64
import contextlib

import pytest

from proximity.model import ProximityError
from proximity.server.auth import (
    Role,
    Tokens,
    admin_exists,
    list_tokens,
    make_token,
    revoke_token,
)
from proximity.server.table import TABLE
from proximity.store import Store
from tests.proximity.server.rig import SPEAKERS, Rig, fix

# The whole permission table, written out: a route that is added must be added here on purpose.
ALLOWED = {
    "POST /v1/fixes": "device feed admin",
    "POST /v1/sightings": "device gateway feed admin",
    "POST /v1/events": "device feed admin",
    "POST /owntracks": "device feed admin",
    "POST /overland": "device feed admin",
    "POST /api/v1/overland/batches": "device feed admin",
    "POST /transistor": "device feed admin",
    "GET /osmand": "device feed admin",
    "POST /osmand": "device feed admin",
    "GET /gpslogger": "device feed admin",
    "POST /gpslogger": "device feed admin",
    "POST /gateways/minew": "gateway feed admin",
    "POST /gateways/aprilbrother": "gateway feed admin",
    "POST /gateways/ruuvi": "gateway feed admin",
    "POST /gateways/ingics": "gateway feed admin",
    "POST /gateways/raddec": "gateway feed admin",
    "GET /v1/fences": "marketer analyst admin",
    "POST /v1/fences": "marketer admin",
    "GET /v1/fences/{id}": "marketer analyst admin",
    "PUT /v1/fences/{id}": "marketer admin",
    "DELETE /v1/fences/{id}": "marketer admin",
    "GET /v1/places": "marketer analyst admin",
    "GET /v1/places/{id}": "marketer analyst admin",
    "POST /v1/places": "marketer admin",
    "PUT /v1/places/{id}": "marketer admin",
    "DELETE /v1/places/{id}": "marketer admin",
    "GET /v1/gateways": "marketer analyst admin",
    "POST /v1/gateways": "admin",
    "PUT /v1/gateways/{id}": "admin",
    "DELETE /v1/gateways/{id}": "admin",
    "GET /v1/gateways/{id}": "marketer analyst admin",
    "GET /v1/gateways/{id}/config": "gateway admin",
    "POST /v1/gateways/{id}/health": "gateway admin",
    "GET /v1/gateways/{id}/secrets": "admin",
    "POST /v1/gateways/{id}/secrets": "admin",
    "DELETE /v1/gateways/{id}/secrets": "admin",
    "GET /v1/beacons": "feed admin",
    "POST /v1/beacons": "feed admin",
    "PUT /v1/beacons/{id}": "feed admin",
    "DELETE /v1/beacons/{id}": "feed admin",
    "GET /v1/beacons/{id}": "feed admin",
    "GET /v1/alarms": "analyst admin",
    "GET /v1/campaigns": "marketer analyst admin",
    "GET /v1/campaigns/{id}": "marketer analyst admin",
    "POST /v1/campaigns": "marketer admin",
    "PUT /v1/campaigns/{id}": "marketer admin",
    "DELETE /v1/campaigns/{id}": "marketer admin",
    "POST /v1/campaigns/{id}/sends": "marketer admin",
    "GET /v1/segments": "marketer analyst admin",
    "GET /v1/segments/{id}/size": "marketer analyst admin",
    "GET /v1/segments/{id}/explain": "feed admin",
    "GET /v1/reports": "marketer analyst admin",
    "GET /v1/reports/{id}": "marketer analyst admin",
    "GET /v1/people": "feed admin",
    "POST /v1/people": "feed admin",
    "GET /v1/people/{id}": "feed admin",
    "PUT /v1/people/{id}": "feed admin",
    "DELETE /v1/people/{id}": "feed admin",
    "GET /v1/people/{id}/export": "feed admin",
    "GET /v1/people/{id}/profile": "feed admin",
    "GET /v1/people/{id}/reach": "feed admin",
    "GET /v1/people/{id}/preferences": "feed admin",
    "PUT /v1/people/{id}/preferences": "feed admin",
    "POST /v1/people/{id}/preferences/link": "feed admin",
    "GET /v1/people/{id}/inbox": "device feed admin",
    "POST /v1/people/{id}/inbox": "device feed admin",
    "GET /v1/people/{id}/inbox/stream": "device feed admin",
    "POST /v1/people/{id}/inbox/link": "feed admin",
    "POST /v1/endpoints": "device feed admin",
    "DELETE /v1/endpoints": "device feed admin",
    "GET /v1/push-key": "",
    "GET /v1/changes": "feed admin",
    "POST /v1/changes": "feed admin",
    "GET /v1/sync": "feed admin",
    "PUT /v1/sync/{id}": "feed admin",
    "POST /v1/conversions": "feed admin",
    "GET /v1/events": "feed admin",
    "POST /v1/events/history": "feed admin",
    "POST /v1/exports": "feed admin",
    "POST /v1/erasures": "feed admin",
    "GET /v1/erasures": "feed admin",
    "GET /v1/erasures/{id}": "feed admin",
    "POST /v1/erasures/{id}/acknowledgements": "feed admin",
    "POST /v1/receipts": "feed admin",
    "GET /v1/privacy": "admin",
    "GET /v1/approvals": "marketer admin",
    "POST /v1/approvals": "marketer admin",
    "GET /v1/consents": "feed admin",
    "POST /v1/consents": "feed admin",
    "DELETE /v1/consents": "device feed admin",
    "GET /v1/consents/proof": "feed admin",
    "GET /v1/consents/verify": "feed admin",
    "GET /v1/consents/texts": "feed admin",
    "POST /v1/consents/texts": "feed admin",
    "GET /v1/objections/{id}": "feed admin",
    "PUT /v1/objections/{id}": "feed admin",
    "DELETE /v1/objections/{id}": "feed admin",
    "GET /v1/optin": "feed admin",
    "POST /v1/optin": "device feed admin",
    "GET /withdraw/{id}": "",
    "POST /withdraw/{id}": "",
    "GET /preferences/{id}": "",
    "POST /preferences/{id}": "",
    "GET /o/{id}": "",
    "POST /o/{id}": "",
    "GET /r/{id}": "",
    "GET /inbox/{id}": "",
    "POST /inbox/{id}": "",
    "OPTIONS /inbox/{id}": "",
    "GET /inbox/{id}/stream": "",
    "GET /onsite.js": "",
    "GET /client/": "",
    "GET /client/{id}": "",
    "POST /r/{id}": "",
    "OPTIONS /r/{id}": "",
    "GET /v1/transitions": "analyst admin",
    "GET /v1/decisions": "marketer analyst admin",
    "GET /v1/deliveries": "marketer analyst admin",
    "GET /v1/explain": "device feed marketer analyst admin",
    "GET /v1/records/stream": "analyst admin",
    "GET /v1/stream": "analyst admin",
    "GET /healthz": "",
    "GET /readyz": "",
    "GET /metrics": "analyst admin",
    "GET /openapi.json": "device gateway feed marketer analyst admin",
    "GET /": "device gateway feed marketer analyst admin",
}

# Open to whoever has a link of ours: its signature is the credential. Of a key for web push and of
# the web client nothing is there, since this server was given neither.
NOTHING_THERE = {
    "GET /withdraw/{id}", "POST /withdraw/{id}", "GET /preferences/{id}", "POST /preferences/{id}",
    "GET /o/{id}", "POST /o/{id}", "GET /r/{id}", "GET /inbox/{id}", "POST /inbox/{id}",
    "GET /inbox/{id}/stream", "GET /v1/push-key", "GET /client/", "GET /client/{id}",
}  # fmt: skip


def test_the_table_grants_what_is_written_here_and_nothing_else() -> None:
    assert {route.key: set(route.roles) for route in TABLE} == {
        key: {Role(role) for role in roles.split()} for key, roles in ALLOWED.items()
    }


@pytest.mark.parametrize("role", [None, *Role], ids=str)
async def test_every_route_holds_to_the_table_over_http(rig: Rig, role: Role | None) -> None:
    for route in TABLE:
        # A phone's token speaks for its own person: of anybody else's inbox it is refused.
        own = role is Role.DEVICE and "/inbox" in route.path
        path = route.path.replace("{id}", SPEAKERS[Role.DEVICE] if own else "nothing")
        allowed = ALLOWED[route.key].split()
        if route.live and role is not None and str(role) in allowed:
            continue  # answered for as long as it is listened to: test_stream
        answer = await rig.ask(route.method, path, role=role)
        if route.key in NOTHING_THERE:
            assert answer.status == 404, route.key
        elif not allowed:
            assert answer.status in (200, 204, 400), route.key
        elif role is None:
            assert answer.status == 401, route.key
            assert "Bearer" in answer.headers["WWW-Authenticate"]
        elif role in allowed:
            assert answer.status not in (401, 403, 405, 500), (route.key, answer.body)
        else:
            assert answer.status == 403, route.key
        if answer.status >= 400 and not route.token_in_query:
            assert answer.headers["Content-Type"] == "application/problem+json", route.key


async def test_what_is_not_in_the_table_says_so_to_callers_only(rig: Rig) -> None:
    assert (await rig.ask("GET", "/nowhere", role=None)).status == 401
    assert (await rig.ask("GET", "/nowhere")).status == 404
    answer = await rig.ask("PATCH", "/v1/fences/a")
    assert answer.status == 405
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, PUT"


async def test_health_may_be_asked_by_head(rig: Rig) -> None:
    answer = await rig.ask("HEAD", "/readyz", role=None)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    "header",
    [
        lambda token: "Basic " + base64.b64encode(f"anyone:{token}".encode()).decode(),
        lambda token: "Basic " + base64.b64encode(f"{token}:".encode()).decode(),
        lambda token: f"Basic {token}:",
        lambda token: f"basic {token}",
        lambda token: f"bearer {token}",
    ],
)
async def test_tokens_arrive_in_every_way_phones_know(rig: Rig, header: object) -> None:
    token = rig.token(Role.DEVICE)
    answer = await rig.ask(
        "POST", "/v1/fixes", role=None, body=fix(), headers={"Authorization": header(token)}
    )
    assert answer.status == 202


async def test_tokens_in_the_query_count_on_phone_paths_alone(rig: Rig) -> None:
    token = rig.token(Role.DEVICE)
    for name in ("token", "api_key"):
        answer = await rig.ask("GET", f"/osmand?{name}={token}&lat=1&lon=2", role=None)
        assert answer.status == 200
        answer = await rig.ask("POST", f"/v1/fixes?{name}={token}", role=None, body=fix())
        assert answer.status == 401


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer px_nope", "Basic !!!", "Basic px_x:", "Digest x", "Bearer \xff\xfe"],
)
async def test_anything_else_is_refused(rig: Rig, header: str) -> None:
    reader, writer = await asyncio.open_connection(*rig.url.removeprefix("http://").split(":"))
    writer.write(
        f"GET /v1/fences HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\n\r\n".encode("latin-1")
    )
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"px_" not in head


async def test_a_device_speaks_for_itself_alone(rig: Rig) -> None:
    await rig.consent("phone-1")
    await rig.consent("phone-2")
    answer = await rig.ask(
        "POST", "/v1/fixes", role=Role.DEVICE, body=[fix("phone-2"), fix("phone-1")]
    )
    assert answer.status == 202
    assert answer.json["accepted"] == 1
    assert [one["line"] for one in answer.json["rejected"]] == [1]


async def test_a_token_made_or_revoked_elsewhere_counts_at_once(rig: Rig) -> None:
    store = rig.parts.store
    token = store.write(lambda conn: make_token(conn, Role.ANALYST, None, 1.0)).result()
    headers = {"Authorization": f"Bearer {token}"}
    assert (await rig.ask("GET", "/v1/fences", role=None, headers=headers)).status == 200
    store.write(lambda conn: revoke_token(conn, token, 2.0)).result()
    for _ in range(50):
        status = (await rig.ask("GET", "/v1/fences", role=None, headers=headers)).status
        if status == 401:
            break
        await asyncio.sleep(0.1)
    assert status == 401


async def test_pages_of_other_sites_cannot_write_with_remembered_passwords(rig: Rig) -> None:
    token = base64.b64encode(f"x:{rig.token(Role.ADMIN)}".encode()).decode()
    for headers in (
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        headers["Authorization"] = f"Basic {token}"
        for method, path in (("POST", "/v1/fences"), ("GET", "/osmand?lat=1&lon=1&id=a")):
            assert (await rig.ask(method, path, role=None, headers=headers)).status == 403
    own = {"Origin": rig.url, "Sec-Fetch-Site": "same-origin", "Authorization": f"Basic {token}"}
    assert (await rig.ask("GET", "/osmand?lat=1&lon=1&id=a", role=None, headers=own)).status == 200


def test_tokens_are_hashed_listed_and_revoked_once() -> None:
    with contextlib.closing(Store.open(":memory:")) as store:
        assert not store.read(admin_exists)
        token = store.write(lambda conn: make_token(conn, Role.ADMIN, None, 1.0)).result()
        assert store.read(admin_exists)
        (row,) = store.read(list_tokens)
        assert (row.role, row.subject, row.created_at, row.revoked_at) == ("admin", None, 1.0, None)
        assert token not in repr(row)
        assert store.write(lambda conn: revoke_token(conn, row.id, 2.0)).result() == 1
        assert store.write(lambda conn: revoke_token(conn, token, 3.0)).result() == 0
        assert not store.read(admin_exists)


@pytest.mark.parametrize("role", sorted(SPEAKERS))
def test_a_bound_role_must_name_whom_it_speaks_for(role: Role) -> None:
    store = Store.open(":memory:")
    with contextlib.closing(store), pytest.raises(ProximityError, match="--id"):
        store.write(lambda conn: make_token(conn, role, None, 1.0)).result()


def test_the_id_of_an_unbound_token_is_a_note_only() -> None:
    with contextlib.closing(Store.open(":memory:")) as store:
        store.write(lambda conn: make_token(conn, Role.FEED, "app", 1.0)).result()
        tokens = Tokens(store)
        tokens.refresh()
        assert [caller.speaks_for for caller in tokens._by_hash.values()] == [None]
