"""From a path to its row, and what goes over the wire around an answer: HTTP as clients speak it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from yarl import URL

from proximity.server.auth import Role, revoke_token
from tests.proximity.server.rig import Rig, fix

BODY = json.dumps(fix()).encode()


class Wire:
    """One connection on which every byte is ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(
        self, rig: Rig, target: str, body: bytes = BODY, *, version: str = "1.1", **headers: str
    ) -> None:
        lines = [
            f"POST {target} HTTP/{version}",
            "Host: localhost",
            f"Authorization: Bearer {rig.token(Role.ADMIN)}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        if "Expect" not in headers:
            self.writer.write(body)
        await self.writer.drain()

    async def head(self) -> tuple[str, dict[str, str]]:
        """Read a status line and headers."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = text.strip().split("\r\n")
        return status, dict(line.split(": ", 1) for line in lines)

    async def answer(self) -> tuple[str, dict[str, str], bytes]:
        status, headers = await self.head()
        return status, headers, await self.reader.readexactly(int(headers["Content-Length"]))


@pytest.fixture
async def wire(rig: Rig) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(rig.url).port)
    yield Wire(reader, writer)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_receipt_is_a_whole_answer(rig: Rig, wire: Wire) -> None:
    await rig.consent("phone-1")
    for expected in ({"accepted": 1, "duplicate": 0}, {"accepted": 0, "duplicate": 1}):
        await wire.ask(rig, "/v1/fixes")
        status, headers, body = await wire.answer()
        assert status == "HTTP/1.1 202 Accepted"
        assert headers["Content-Type"] == "application/json"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Date"].endswith(" GMT")
        assert "Connection" not in headers  # it stays open, as HTTP/1.1 has it
        assert json.loads(body).items() >= expected.items()


@pytest.mark.parametrize(
    ("version", "said", "told"),
    [("1.1", "close", "close"), ("1.0", "keep-alive", "keep-alive"), ("1.0", "", "close")],
)
async def test_a_connection_ends_as_its_client_asks(
    rig: Rig, wire: Wire, version: str, said: str, told: str
) -> None:
    await wire.ask(rig, "/v1/fixes", version=version, **({"Connection": said} if said else {}))
    status, headers, _ = await wire.answer()
    assert status.endswith("202 Accepted")
    assert headers["Connection"] == told
    if told == "close":
        assert await wire.reader.read() == b""


async def test_requests_sent_ahead_are_answered_in_order(rig: Rig, wire: Wire) -> None:
    await rig.consent("phone-1")
    for number in range(5):
        body = json.dumps([fix(id=f"{number} {each}") for each in range(number)]).encode()
        await wire.ask(rig, "/v1/fixes", body)
    for number in range(5):
        assert json.loads((await wire.answer())[2])["accepted"] == number


async def test_who_asks_first_is_told_to_go_on(rig: Rig, wire: Wire) -> None:
    await rig.consent("phone-1")
    await wire.ask(rig, "/v1/fixes", Expect="100-continue")
    assert (await wire.head())[0] == "HTTP/1.1 100 Continue"
    wire.writer.write(BODY)
    assert json.loads((await wire.answer())[2])["accepted"] == 1


async def test_who_is_refused_need_not_send_the_body(rig: Rig, wire: Wire) -> None:
    await wire.ask(rig, "/v1/consents", bytes(2**24), Expect="100-continue")
    assert (await wire.head())[0].split()[1] == "413"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/fixes", 202),
        ("/v1/%66ixes", 202),
        ("http://elsewhere.example/v1/fixes", 202),
        ("/v1/fixes/", 404),
        ("/v1//fixes", 404),
        ("/V1/fixes", 404),
        ("/v1/fixes%2F", 404),
        ("/v1/fixes?subject=x", 400),
        ("/v1/transitions", 405),
        ("/v1/people/", 404),
        ("/v1/people/a/b", 404),
    ],
)
async def test_a_path_is_what_the_table_says(
    rig: Rig, wire: Wire, target: str, status: int
) -> None:
    await wire.ask(rig, target)
    assert (await wire.head())[0].split()[1] == str(status)


@pytest.mark.parametrize("name", ["a/b", "50%", "a%2Fb", "{id}", "ü", "a b", "%2F"])
async def test_an_id_in_a_path_is_the_id_itself(rig: Rig, name: str) -> None:
    escaped = "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02X}"
        for byte in name.encode()
    )
    path = f"/v1/people/{escaped}"
    assert (await rig.ask("PUT", path, body={"person": name})).status in {200, 201}
    assert (await rig.ask("GET", path)).json["person"] == name
    people = (await rig.ask("GET", "/v1/people")).json["items"]
    assert [each["person"] for each in people] == [name]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/v1/people/Ren%E9", "The id in the path: what is escaped with % must be UTF-8."),
        ("/v1/people/50%", "The id in the path: a % stands before two hexadecimal digits"),
        ("/v1/consents?person=Ren%E9", "The query: what is escaped with % must be UTF-8."),
        ("/v1/consents?person=50%zz", "The query: a % stands before two hexadecimal digits"),
    ],
)
async def test_an_address_that_is_not_escaped_as_it_should_be_names_nobody(
    rig: Rig, address: str, words: str
) -> None:
    for method in ("GET", "DELETE"):
        asked = rig.session.request(
            method,
            URL(rig.url + address, encoded=True),
            headers={"Authorization": f"Bearer {rig.token(Role.ADMIN)}"},
        )
        async with asked as answer:
            assert answer.status == 400
            assert (await answer.json())["detail"].startswith(words)
    assert (await rig.ask("GET", "/v1/consents")).json["items"] == []


@pytest.mark.parametrize("where", ["address", "header"])
async def test_a_head_that_is_too_long_is_told_so(rig: Rig, wire: Wire, where: str) -> None:
    long = "a" * 9000
    address, said = (f"/{long}", {}) if where == "address" else ("/v1/fixes", {"X-Said": long})
    await wire.ask(rig, address, **said)
    status, _, body = await wire.answer()
    assert status.split()[1] == "431"
    assert "longer than" in json.loads(body)["detail"]


async def test_what_is_asked_twice_is_refused_and_not_half_heard(rig: Rig) -> None:
    await rig.consent("ann")
    twice = await rig.ask("DELETE", "/v1/consents?person=ann&purpose=marketing&purpose=service")
    assert twice.status == 400
    assert twice.json["detail"] == (
        "The query parameter purpose is there more than once: send it once."
    )
    several = await rig.ask("GET", "/v1/transitions?subjct=a&limit=1&limit=2&plaec=b&subjct=b")
    assert several.json["problems"] == [
        "There is no query parameter 'subjct' here: did you mean subject?",
        "The query parameter limit is there more than once: send it once.",
        "There is no query parameter 'plaec' here: did you mean place?",
    ]
    many = "&".join(f"p{number}" for number in range(1000))
    assert len((await rig.ask("GET", f"/v1/transitions?{many}")).json["problems"]) == 10


async def test_a_revoked_token_is_forgotten_in_every_spelling(rig: Rig) -> None:
    token = rig.token(Role.FEED)
    header = {"Authorization": f"Bearer {token}"}
    body = [fix()]
    assert (await rig.ask("POST", "/v1/fixes", role=None, headers=header, body=body)).status == 202
    await rig.parts.store.awrite(lambda conn: revoke_token(conn, token, 1.0))
    await rig.parts.tokens.arefresh()
    assert (await rig.ask("POST", "/v1/fixes", role=None, headers=header, body=body)).status == 401


async def test_head_is_get_without_the_body(rig: Rig) -> None:
    whole = await rig.ask("GET", "/v1/fences")
    head = await rig.ask("HEAD", "/v1/fences")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.body))
