"""What may be asked of the server, as OpenAPI 3.1? Generated from the route table alone."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec

from beacon_gateway.signing import SIGNATURE_HEADER
from proximity.model import Event, Fix, Sighting
from proximity.server.auth import Role
from proximity.server.problems import ProblemBody

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proximity.server.routes import Content, Param, Route

WRITES = frozenset({"POST", "PUT", "DELETE"})
SENDS = frozenset({"POST", "PUT"})

# What any route may answer besides what its row names; 401 and 403 come with its roles.
COMMON = {
    400: "The request cannot be read; `detail` and `problems` say what and how to mend it.",
    408: "The request did not arrive in time.",
    413: "The body is too large.",
    503: "Not now: try again after Retry-After seconds.",
    507: "The disk is full.",
}
UNPACKED = "The body is compressed in another way than gzip or deflate."
REFUSED = {
    401: "No token in force came with the request.",
    403: "The token's role may not do this.",
}


@cache
def document() -> bytes:
    """Write the whole description as JSON."""
    from proximity.server.table import TABLE  # the table holds the route that asks for this

    return msgspec.json.encode(describe(TABLE))


def describe(table: Iterable[Route]) -> dict[str, Any]:
    """Describe the rows of a route table as an OpenAPI 3.1 object."""
    table = list(table)
    types = _types(table)
    refs, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    schema_of = dict(zip(types, refs, strict=True))
    components["Record"] = {
        "anyOf": [schema_of[Fix], schema_of[Sighting], schema_of[Event]],
        "description": "A fix, a sighting or an event; `type` may be left out where the path says.",
    }
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "proximity",
            "version": _version(),
            "summary": "Who is where, and what is said to them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The token as the password, for phone apps that know no other.",
                },
                "token": {"type": "apiKey", "in": "query", "name": "token"},
                "api_key": {"type": "apiKey", "in": "query", "name": "api_key"},
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": SIGNATURE_HEADER,
                    "description": "Standard Webhooks, with webhook-id and webhook-timestamp: a "
                    "gateway signs with its own secret in place of sending a token.",
                },
            },
        },
    }


def _types(table: list[Route]) -> list[Any]:
    """List the msgspec types that the rows name, each once."""
    found: dict[Any, None] = dict.fromkeys((ProblemBody, Fix, Sighting, Event))
    for route in table:
        for content in (route.body, *route.answers.values()):
            for schema in () if content is None else _named(content):
                found.setdefault(schema)
    return list(found)


def _named(content: Content) -> tuple[type, ...]:
    """Give the msgspec types of a content: one, any of several, or none."""
    if isinstance(content.schema, tuple):
        return content.schema
    return (content.schema,) if isinstance(content.schema, type) else ()


def _operation(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    answers = {str(status): _content(one, schema_of) for status, one in route.answers.items()}
    open_read = not route.roles and route.method not in WRITES
    refusals = {400: COMMON[400], 503: COMMON[503]} if open_read else dict(COMMON)
    if route.method in SENDS or route.body is not None:
        refusals[415] = UNPACKED
    if route.roles:
        refusals.update(REFUSED)
    problem = schema_of[ProblemBody]
    for status, meaning in refusals.items():
        if str(status) not in answers:
            answers[str(status)] = {
                "description": meaning,
                "content": {"application/problem+json": {"schema": problem}},
            }
    for status, one in route.answers.items():
        if status >= 400 and one.schema is None:
            answers[str(status)]["content"] = {"application/problem+json": {"schema": problem}}
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": [*_path_params(route), *(_param(p) for p in route.params)],
        "responses": dict(sorted(answers.items())),
        "security": _security(route),
    }
    operation["parameters"] += [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        for name in route.headers
    ]
    if route.roles:
        roles = ", ".join(sorted(route.roles))
        operation["description"] = f"Roles: {roles}."
    if route.body is not None:
        operation["requestBody"] = {"required": True, **_content(route.body, schema_of)}
    return operation


def _operation_id(route: Route) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", route.path.lower()).strip("_")
    return f"{route.method.lower()}_{words or 'page'}"


def _path_params(route: Route) -> list[dict[str, Any]]:
    schema: dict[str, Any] = {"type": "string", "minLength": 1}
    meaning = "What a signed link, or a file's name, ends in."  # as long as what is signed in it
    if route.roles:
        schema["maxLength"] = 128
        meaning = "An id; a `/` in it travels as `%2F`."
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": schema,
            "description": meaning,
        }
        for name in re.findall(r"{(\w+)", route.path)
    ]


def _param(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "in": "query",
        "required": param.required,
        "description": param.meaning,
        "schema": dict(param.schema),
    }


def _content(content: Content, schema_of: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": content.meaning}
    if content.headers:
        described["headers"] = {name: {"schema": {"type": "string"}} for name in content.headers}
    if content.schema is not None:
        named = [schema_of[one] for one in _named(content)]
        schema = content.schema if not named else named[0] if len(named) == 1 else {"anyOf": named}
        described["content"] = {media: {"schema": schema} for media in content.media}
    return described


def _security(route: Route) -> list[dict[str, list[str]]]:
    if not route.roles:
        return []
    schemes = ["bearer", "basic"]
    if route.token_in_query:
        schemes += ["token", "api_key"]
    if Role.GATEWAY in route.roles:
        schemes.append("signature")
    return [{scheme: []} for scheme in schemes]


def _version() -> str:
    try:
        return version("proximity-engine")
    except PackageNotFoundError:
        return "0"
