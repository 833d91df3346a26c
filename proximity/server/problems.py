"""How does a request that cannot be served say so? RFC 9457, one shape for every refusal.

Knows nothing of routes or resources. A problem's text names the thing and the mend; it never
holds a token, a location or a traceback.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A file with ten thousand bad features is told of its first hundred problems, and how many more.
MOST_PROBLEMS = 100

# Every answer may hold personal records, so none may be cached; none may be sniffed into HTML.
HEADERS = {
    "Cache-Control": "no-store",
    "Server": "proximity",
    "X-Content-Type-Options": "nosniff",
}

_encode = msgspec.json.Encoder().encode


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members of ``application/problem+json``; ``problems`` lists all of an input's faults.

    ``code`` is the word that a program goes by, where one has to.
    """

    type: str = msgspec.field(default="about:blank")
    title: str
    status: int
    detail: str
    problems: tuple[str, ...] = ()
    code: str = ""


class Problem(Exception):  # noqa: N818 - RFC 9457's word, and not always an error of ours
    """A refusal on its way to the client: ``status``, one sentence, and all faults found."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        problems: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        code: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.problems = tuple(problems)
        self.headers = headers
        self.code = code

    def response(self) -> web.Response:
        """Write the problem as a response."""
        problems = self.problems[:MOST_PROBLEMS]
        if len(self.problems) > MOST_PROBLEMS:
            problems = (*problems, f"and {len(self.problems) - MOST_PROBLEMS} more")
        body = ProblemBody(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            problems=problems,
            code=self.code,
        )
        headers = dict(HEADERS)
        headers["Content-Type"] = "application/problem+json"
        if self.headers:
            headers.update(self.headers)
        return web.Response(status=self.status, body=_encode(body), headers=headers)


def answer(
    body: object,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Answer with ``body`` as JSON."""
    return json_answer(_encode(body), status, headers)


def json_answer(
    text: bytes | str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> web.Response:
    """Answer with text that is JSON already."""
    every = {**HEADERS, "Content-Type": content_type}
    if headers:
        every.update(headers)
    return web.Response(
        status=status, body=text.encode() if isinstance(text, str) else text, headers=every
    )
