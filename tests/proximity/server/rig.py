"""A whole server in this process: the real parts, a real port, a store in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from proximity.server.auth import Role, make_token
from proximity.server.parts import Parts
from proximity.server.serve import bound, opened, working
from proximity.server.settings import Settings, read_files
from proximity.store import Store

SPEAKERS = {Role.DEVICE: "phone-1", Role.GATEWAY: "gw-1"}

FENCES = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "id": "store-7",
            "properties": {"name": "Store", "radius_m": 60, "tags": ["cafe"]},
            "geometry": {"type": "Point", "coordinates": [2.35, 48.85]},
        }
    ],
}
SITE = """
fences = "fences.geojson"
timezone = "Europe/Paris"
[[place]]
id = "store-7/entrance"
parent = "store-7"
[[gateway]]
id = "gw-1"
place = "store-7/entrance"
[[beacon]]
uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
major = 1
subject = "member-42"
"""
CAMPAIGNS = """
[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["store-7"]
link = "https://example.test/coffee"
channels = ["console"]
[campaign.text]
en = "Coffee, half price until eleven."
"""


def write_files(folder: Path) -> dict[str, Path]:
    (folder / "fences.geojson").write_text(json.dumps(FENCES))
    (folder / "site.toml").write_text(SITE)
    (folder / "campaigns.toml").write_text(CAMPAIGNS)
    return {"site": folder / "site.toml", "campaigns": folder / "campaigns.toml"}


def fix(subject: str = "phone-1", **fields: Any) -> dict[str, Any]:
    """A good fix in the middle of the shop, now."""
    return {
        "type": "fix",
        "subject": subject,
        "at": time.time(),
        "lon": 2.35,
        "lat": 48.85,
        "accuracy_m": 8,
        **fields,
    }


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Rig:
    url: str
    parts: Parts
    session: aiohttp.ClientSession
    tokens: dict[Role, str] = field(default_factory=dict)

    def token(self, role: Role, speaks_for: str | None = None) -> str:
        if speaks_for is None and role in self.tokens:
            return self.tokens[role]
        named = speaks_for or SPEAKERS.get(role)
        made = self.parts.store.write(
            lambda conn: make_token(conn, role, named, time.time())
        ).result()
        if speaks_for is None:
            self.tokens[role] = made
        return made

    async def ask(
        self, method: str, path: str, *, role: Role | None = Role.ADMIN, body: Any = None,
        headers: dict[str, str] | None = None, raw: bytes | None = None,
    ) -> Answer:  # fmt: skip
        every = dict(headers or {})
        if role is not None:
            every["Authorization"] = f"Bearer {self.token(role)}"
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        if content is not None:
            every.setdefault("Content-Type", "application/json")
        from yarl import URL

        url = URL(self.url + path, encoded=True)
        async with self.session.request(method, url, data=content, headers=every) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def consent(self, person: str, purpose: str = "marketing") -> None:
        answer = await self.ask("POST", "/v1/consents", body={"person": person, "purpose": purpose})
        assert answer.status == 201, answer.body

    async def until(self, path: str, count: int) -> list[Any]:
        """Wait until a list has ``count`` items: the engine and the dispatcher work behind the answer."""
        for _ in range(3000):
            items = (await self.ask("GET", path)).json["items"]
            if len(items) >= count:
                return items
            await asyncio.sleep(0.01)
        raise AssertionError(f"{path} never had {count} items")


@contextlib.asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[Rig]:
    settings = Settings(**{"data": folder, "port": 0, **write_files(folder), **options})
    store = Store.open(":memory:")
    stop = asyncio.Event()
    try:
        async with (
            opened(settings, read_files(settings), store) as (parts, dispatcher),
            working(parts, dispatcher, stop),
            bound(settings, parts, None) as url,
            aiohttp.ClientSession(auto_decompress=True) as session,
        ):
            yield Rig(url, parts, session)
            parts.closing.set()
            parts.tail.grew()
    finally:
        store.close()
