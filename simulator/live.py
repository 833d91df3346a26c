"""How does a trace reach a running server, as phones and gateways would send it?

Shifts the records so that the first happens now, and posts each when its time has come, ``speed``
times as fast as it was. Knows nothing of the engine: the server answers for what it does.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from proximity.model import Event, Fix, ProximityError, Sighting
from simulator.sources import arrival
from simulator.trace import write_record

if TYPE_CHECKING:
    from proximity.model import Record

__all__ = ["body", "check_url", "send"]

MOST = 1000
"""Records in one request: the server's answer stays prompt, and a refused batch is small."""

PATIENCE_S = 30.0
"""How long a server may be away or overloaded before this gives up."""

_PATHS: dict[type[Record], str] = {Fix: "/v1/fixes", Sighting: "/v1/sightings", Event: "/v1/events"}


async def send(
    records: Iterable[Record],
    server: str,
    token: str,
    speed: float = 1.0,
    reasons: Counter[str] | None = None,
) -> Counter[str]:
    """Post ``records`` (in order of arrival) to ``server`` at ``speed`` times their own pace.

    Times are moved so that the first record is now, by the server's clock; with a speed over 1
    that clock must run as fast (``serve --clock-speed``), or records come from its future. Gives
    the counts of the answers: accepted, duplicate, unconsented, rejected; why those were rejected
    is counted into ``reasons``. Raises ProximityError
    where the server refuses the token or the path, or stays away.
    """
    check_url(server)
    counts: Counter[str] = Counter()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        base = server.rstrip("/")
        start = await _server_time(session, base)
        began = time.monotonic()
        first: float | None = None
        due: list[Record] = []

        async def post_due() -> None:
            for path, lines in _posts(due, start - (first or 0.0)):
                answer = await _post(session, base + path, b"".join(lines))
                counts.update(
                    {key: answer.get(key, 0) for key in ("accepted", "duplicate", "unconsented")}
                )
                rejected = answer.get("rejected", ())
                counts["rejected"] += len(rejected)
                if reasons is not None:
                    reasons.update(each["reason"] for each in rejected)
            due.clear()

        for record in records:
            first = arrival(record) if first is None else first
            wait_s = began + (arrival(record) - first) / speed - time.monotonic()
            # What is due by now goes together: at a great speed that is what keeps pace.
            if due and (wait_s > 0.0 or len(due) >= MOST):
                await post_due()
            if wait_s > 0.0:
                await asyncio.sleep(wait_s)
            due.append(record)
        await post_due()
    return counts


def check_url(server: str) -> None:
    """Raise ProximityError where ``--server`` is no URL: no server need be looked for there."""
    if not server.startswith(("http://", "https://")):
        raise ProximityError(f"--server {server}: is no URL: write http://HOST:PORT")


def body(record: Record, shift_s: float) -> bytes:
    """Write one record as a line of NDJSON, ``shift_s`` seconds later; the server dates receipt."""
    return write_record(msgspec.structs.replace(record, at=record.at + shift_s, received_at=None))


def _posts(records: list[Record], shift_s: float) -> Iterator[tuple[str, list[bytes]]]:
    """Split what is due into requests: by kind, in order."""
    for path, group in groupby(records, key=lambda record: _PATHS[type(record)]):
        yield path, [body(record, shift_s) for record in group]


async def _server_time(session: aiohttp.ClientSession, base: str) -> float:
    """Ask what time it is there (Unix seconds): the header has whole ones, so the middle of it."""
    try:
        async with session.get(f"{base}/healthz") as response:
            told = parsedate_to_datetime(response.headers.get("Date", ""))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _unreachable(base, error) from None
    except ValueError:
        return time.time()
    return told.timestamp() + 0.5


def _unreachable(url: str, error: Exception) -> ProximityError:
    return ProximityError(
        f"{url}: cannot be reached ({error or type(error).__name__}): is the server running?"
    )


async def _post(session: aiohttp.ClientSession, url: str, content: bytes) -> dict[str, Any]:
    """Post one body until it is taken; wait where the server asks for it or is away."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            async with session.post(url, data=content) as response:
                if response.status < 300:
                    answer: dict[str, Any] = await response.json()
                    return answer
                trouble = f"answers {response.status}: {(await response.text())[:200]}"
                if response.status < 500:
                    raise ProximityError(f"{url}: {trouble}")
                asked = response.headers.get("Retry-After", "")
                wait = min(float(asked), 5.0) if asked.isdecimal() else 1.0
        except (aiohttp.ClientError, TimeoutError) as error:
            if time.monotonic() > give_up:
                raise _unreachable(url, error) from None
            trouble, wait = "", 0.5
        if trouble and time.monotonic() + wait > give_up:
            raise ProximityError(f"{url}: {trouble}: try again when it has caught up")
        await asyncio.sleep(wait)
