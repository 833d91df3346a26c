"""The description, and schemathesis over all of it with every role against a running server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from proximity.server.auth import Role, make_token
from proximity.server.openapi import describe, document
from proximity.server.table import TABLE
from proximity.store import Store
from proximity.store.folder import state_of
from tests.proximity.server.rig import SPEAKERS, write_files

# Of each operation, each sent with every role. More find more: PROXIMITY_EXAMPLES=100 takes long.
EXAMPLES = int(os.environ.get("PROXIMITY_EXAMPLES", "5"))

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


def test_every_row_is_described_once() -> None:
    described = json.loads(document())
    assert described["openapi"] == "3.1.0"
    rows = {
        f"{method.upper()} {path}"
        for path, operations in described["paths"].items()
        for method in operations
    }
    assert rows == {route.key for route in TABLE}
    ids = [op["operationId"] for ops in described["paths"].values() for op in ops.values()]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere() -> None:
    described = json.loads(document())

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for one in value.values():
                yield from references(one)
        elif isinstance(value, list):
            for one in value:
                yield from references(one)

    for reference in set(references(described)):
        prefix, _, name = reference.rpartition("/")
        assert prefix == "#/components/schemas"
        assert name in described["components"]["schemas"]


def test_only_health_and_what_a_signed_link_names_is_open() -> None:
    described = json.loads(document())
    unguarded = [
        path
        for path, operations in described["paths"].items()
        for operation in operations.values()
        if not operation["security"]
    ]
    assert sorted(set(unguarded)) == [
        "/client/", "/client/{id}", "/healthz", "/inbox/{id}", "/inbox/{id}/stream",
        "/o/{id}", "/onsite.js", "/preferences/{id}", "/r/{id}", "/readyz", "/v1/push-key",
        "/withdraw/{id}",
    ]  # fmt: skip


def test_whatever_takes_a_body_says_how_it_may_be_refused() -> None:
    described = json.loads(document())
    for route in TABLE:
        answers = described["paths"][route.path][route.method.lower()]["responses"]
        if route.method in {"POST", "PUT"} or route.body is not None:
            assert {"408", "413", "415", "503", "507"} <= set(answers), route.key
        else:
            assert "415" not in answers, route.key


def test_a_signed_link_may_be_longer_than_an_id() -> None:
    described = json.loads(document())
    for route in TABLE:
        for one in described["paths"][route.path][route.method.lower()]["parameters"]:
            if one["in"] == "path":
                assert one["schema"].get("maxLength") == (128 if route.roles else None), route.key


def test_where_a_gateway_may_sign_in_place_of_a_token() -> None:
    described = json.loads(document())
    for route in TABLE:
        security = described["paths"][route.path][route.method.lower()]["security"]
        assert ({"signature": []} in security) == (Role.GATEWAY in route.roles), route.key
    assert described["components"]["securitySchemes"]["signature"]["name"] == "webhook-signature"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[Role, str]]]:
    """A server in a process of its own, and a token for each role."""
    folder = tmp_path_factory.mktemp("live")
    files = write_files(folder)
    with contextlib.closing(Store.open(state_of(folder / "data"))) as store:
        tokens = {
            role: store.write(
                lambda conn, role=role: make_token(conn, role, SPEAKERS.get(role), 1.0)
            ).result()
            for role in Role
        }
    command = [
        sys.executable, "-m", "proximity", "serve", "--data", str(folder / "data"), "--port", "0",
        "--site", str(files["site"]), "--campaigns", str(files["campaigns"]), "--consent", "assumed",
    ]  # fmt: skip
    log = (folder / "log").open("w")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        url = line.removeprefix("listening on ").strip()
        try:
            yield url, tokens
            request = urllib.request.Request(
                f"{url}/metrics", headers={"Authorization": f"Bearer {tokens[Role.ADMIN]}"}
            )
            with urllib.request.urlopen(request) as answer:
                seen = Counter(re.findall(r'status="(\d+)"} [1-9]', answer.read().decode()))
        finally:
            server.terminate()
            assert server.wait(15) == 0
            log.close()
            written = (folder / "log").read_text()
    assert "a request failed" not in written, written[-2000:]
    # The tokens were taken, and much of what was generated was good: the run bites.
    assert seen["401"] == 0
    assert seen["200"] > 15
    for token in tokens.values():
        assert token not in written
    assert "Traceback" not in written


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """Write an array as lines, anything else as one."""
    many = value if isinstance(value, list) else [value]
    return b"\n".join(json.dumps(one).encode() for one in many)


# The stream never ends by itself; test_stream reads it.
described = schemathesis.openapi.from_dict(describe([route for route in TABLE if not route.live]))


@described.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_of_any_role_breaks_the_server_or_the_description(
    case: schemathesis.Case, live: tuple[str, dict[Role, str]]
) -> None:
    url, tokens = live
    for token in tokens.values():
        case.call_and_validate(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            checks=list(CHECKS),
            timeout=60,  # on a machine that others use as well
        )
