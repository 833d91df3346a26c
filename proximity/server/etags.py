"""Is what the client knows what is in force? ETags, If-Match and If-None-Match (RFC 9110)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from proximity.server.problems import HEADERS, Problem, json_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Nothing in it is read twice: the line is a stranger's, and everybody waits while it is searched.
_TAG = re.compile(r'(W/)?("[^"]*")')
NAMES = ("If-Match", "If-None-Match")


def etag_of(*texts: str | bytes) -> str:
    """Give the ETag of a representation, or of several in order, quotes included."""
    made = hashlib.blake2b(digest_size=12)
    for text in texts:
        made.update(text.encode() if isinstance(text, str) else text)
        made.update(b"\0")
    return f'"{made.hexdigest()}"'


def unchanged(request: web.Request, etag: str) -> bool:
    """Whether the client already holds ``etag``, so that a read may answer 304."""
    said = request.headers.getall("If-None-Match", ())
    return matches(said, etag, weakly=True)


def check_write(request: web.Request, etag: str | None) -> None:
    """Refuse a write whose condition does not hold; ``etag`` None: there is nothing yet.

    Raises Problem 412.
    """
    wanted, unwanted = (request.headers.getall(name, ()) for name in NAMES)
    if wanted and not matches(wanted, etag, weakly=False):
        raise Problem(
            412, "It has changed since, or is not there: read it again, then decide (If-Match)."
        )
    if matches(unwanted, etag, weakly=True):
        raise Problem(412, "It is there already (If-None-Match).")


def matches(lines: Sequence[str], etag: str | None, *, weakly: bool) -> bool:
    """Whether a condition names ``etag``: its tags may stand in several lines (RFC 9110, 5.3)."""
    if etag is None:
        return False
    return any(line.strip() == "*" or etag in _tags(line, weakly=weakly) for line in lines)


def _tags(line: str, *, weakly: bool) -> Iterable[str]:
    """List a line's tags; a weak one counts only where comparing weakly is enough."""
    return [tag for weak, tag in _TAG.findall(line) if weakly or not weak]


def tagged(request: web.Request, record: object) -> web.Response:
    """Answer a read of one record with its ETag, or 304 where the client has it already."""
    text = msgspec.json.encode(record)
    etag = etag_of(text)
    if unchanged(request, etag):
        return web.Response(status=304, headers={**HEADERS, "ETag": etag})
    return json_answer(text, headers={"ETag": etag})
