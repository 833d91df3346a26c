"""What may be asked of the server, by whom, and what comes back: the shape of the route table.

One row drives three things: where a request goes, which roles may send it, and what
``/openapi.json`` says of it. The rows themselves stand in a file for each resource.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from proximity.server.auth import Caller, Role
from proximity.server.problems import Problem

if TYPE_CHECKING:
    from proximity.server.parts import Parts

Endpoint = Callable[[web.Request, "Parts", Caller], Awaitable[web.StreamResponse]]

READERS = frozenset({Role.MARKETER, Role.ANALYST, Role.ADMIN})
EVERYBODY = frozenset(Role)

JSON = "application/json"
GEOJSON = "application/geo+json"
NDJSON = "application/x-ndjson"


@dataclass(frozen=True, kw_only=True)
class Param:
    """One query parameter: its JSON schema, what it means, and how its text is read.

    ``read`` raises ValueError with what is wrong and what would be right.
    """

    name: str
    schema: Mapping[str, Any]
    meaning: str
    read: Callable[[str], Any] = str
    default: Any = None
    required: bool = False

    def of(self, request: web.Request) -> Any:
        """Read this parameter from a request; its default where absent.

        Raises Problem 400 where it is missing though required, or cannot be read.
        """
        text = request.query.get(self.name) if request.query_string else None
        if text is None:
            if self.required:
                raise Problem(400, f"The query parameter {self.name} is missing: {self.meaning}")
            return self.default
        try:
            return self.read(text)
        except ValueError as error:
            raise Problem(400, f"The query parameter {self.name}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Content:
    """What one answer (or a request's body) holds.

    ``schema`` is a msgspec type, whose JSON schema is generated, several of which it is one, or a
    JSON schema as it stands.
    """

    meaning: str
    schema: Any = None
    media: tuple[str, ...] = (JSON,)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Route:
    """One row of the table.

    ``roles`` empty: open to all, which only the health routes are. ``token_in_query`` also takes
    the token from ``?token=`` or ``?api_key=``, for phones that can say it nowhere else;
    ``loose`` ignores query parameters that the row does not name, as those phones send many;
    ``live`` rows answer for as long as they are listened to, so that a HEAD would never end.
    """

    method: str
    path: str
    endpoint: Endpoint
    roles: frozenset[Role]
    summary: str
    answers: Mapping[int, Content]
    params: tuple[Param, ...] = ()
    headers: tuple[str, ...] = ()
    body: Content | None = None
    token_in_query: bool = False
    loose: bool = False
    live: bool = False
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(param.name for param in self.params))

    @property
    def key(self) -> str:
        """Name the row, for metrics and for the table in the documentation."""
        return f"{self.method} {self.path}"
