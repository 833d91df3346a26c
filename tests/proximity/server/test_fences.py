from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from proximity.server.auth import Role
from tests.proximity.server.rig import Rig, fix


def circle(radius_m: float = 50, **fields: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {"radius_m": radius_m},
        "geometry": {"type": "Point", "coordinates": [2.36, 48.86]},
        **fields,
    }


BOWTIE = {
    "type": "Feature",
    "properties": {},
    "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]},
}


async def test_put_get_and_delete_one(rig: Rig) -> None:
    made = await rig.ask("PUT", "/v1/fences/a", body=circle())
    assert made.status == 201
    assert made.json["id"] == "a"
    got = await rig.ask("GET", "/v1/fences/a")
    assert (got.status, got.body, got.headers["ETag"]) == (200, made.body, made.headers["ETag"])
    assert got.headers["Content-Type"] == "application/geo+json"
    changed = await rig.ask("PUT", "/v1/fences/a", body=circle(60))
    assert changed.status == 200
    assert changed.headers["ETag"] != made.headers["ETag"]
    assert (await rig.ask("DELETE", "/v1/fences/a")).status == 204
    assert (await rig.ask("GET", "/v1/fences/a")).status == 404
    assert (await rig.ask("DELETE", "/v1/fences/a")).status == 404


async def test_a_fence_that_a_gateway_stands_in_stays(rig: Rig) -> None:
    await rig.ask("PUT", "/v1/fences/a", body=circle())
    assert (await rig.ask("PUT", "/v1/gateways/g", body={"place": "a"})).status == 201
    refused = await rig.ask("DELETE", "/v1/fences/a")
    assert refused.status == 409
    assert "gateway 'g' stands in place 'a'" in refused.json["detail"]
    assert (await rig.ask("GET", "/v1/fences/a")).status == 200
    # Drawn anew, or a place of its own besides, it is still there.
    assert (await rig.ask("PUT", "/v1/fences/a", body=circle(60))).status == 200
    assert (await rig.ask("PUT", "/v1/places/a", body={})).status == 201
    assert (await rig.ask("DELETE", "/v1/fences/a")).status == 204


async def test_a_geometry_alone_is_a_fence_too(rig: Rig) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
    answer = await rig.ask("PUT", "/v1/fences/square", body=square)
    assert (answer.status, answer.json["id"], answer.json["geometry"]) == (201, "square", square)
    marked = b"\xef\xbb\xbf" + json.dumps(square).encode()
    assert (await rig.ask("PUT", "/v1/fences/square", raw=marked)).status == 200
    both = {"type": "FeatureCollection", "features": [{**answer.json, "id": "b"}]}
    marked = b"\xef\xbb\xbf" + json.dumps(both).encode()
    assert (await rig.ask("POST", "/v1/fences", raw=marked)).status == 200


@pytest.mark.parametrize("name", ["store-7/shoes", "100%", "a b", "ä?#", "{x}", '"q"'])
async def test_any_id_travels(rig: Rig, name: str) -> None:
    from urllib.parse import quote

    path = "/v1/fences/" + quote(name, safe="")
    made = await rig.ask("PUT", path, body=circle())
    assert (made.status, made.json["id"]) == (201, name)
    assert (await rig.ask("GET", path)).json["id"] == name
    assert name in rig.parts.ingest.index
    assert (await rig.ask("DELETE", path)).status == 204


async def test_conditions_hold_or_nothing_happens(rig: Rig) -> None:
    path = "/v1/fences/a"
    absent = {"If-Match": '"x"'}
    assert (await rig.ask("PUT", path, body=circle(), headers=absent)).status == 412
    assert (await rig.ask("DELETE", path, headers=absent)).status == 412
    fresh = {"If-None-Match": "*"}
    made = await rig.ask("PUT", path, body=circle(), headers=fresh)
    assert made.status == 201
    assert (await rig.ask("PUT", path, body=circle(70), headers=fresh)).status == 412
    stale = {"If-Match": '"x", "y"'}
    assert (await rig.ask("PUT", path, body=circle(70), headers=stale)).status == 412
    assert (await rig.ask("DELETE", path, headers=stale)).status == 412
    weak = {"If-Match": "W/" + made.headers["ETag"]}
    assert (await rig.ask("PUT", path, body=circle(70), headers=weak)).status == 412
    etag = made.headers["ETag"]
    assert (await rig.ask("GET", path, headers={"If-None-Match": etag})).status == 304
    assert (await rig.ask("GET", path, headers={"If-None-Match": f'"z", W/{etag}'})).status == 304
    right = {"If-Match": f'"z", {etag}'}
    assert (await rig.ask("PUT", path, body=circle(70), headers=right)).status == 200
    assert (await rig.ask("GET", path, headers={"If-None-Match": etag})).status == 200
    assert (await rig.ask("DELETE", path, headers={"If-Match": "*"})).status == 204


async def test_a_condition_may_stand_in_several_lines(rig: Rig) -> None:
    url = f"{rig.url}/v1/fences/a"
    etag = (await rig.ask("PUT", "/v1/fences/a", body=circle())).headers["ETag"]
    token = ("Authorization", f"Bearer {rig.token(Role.ADMIN)}")

    async def ask(method: str, name: str, *lines: str) -> int:
        headers = [token, *((name, line) for line in lines)]
        async with rig.session.request(method, url, json=circle(70), headers=headers) as answer:
            return answer.status

    assert await ask("GET", "If-None-Match", '"x"', etag) == 304
    assert await ask("PUT", "If-None-Match", '"x"', etag) == 412
    assert await ask("PUT", "If-Match", '"x"', '"y"') == 412
    assert await ask("PUT", "If-Match", '"x"', etag) == 200


async def test_of_two_editors_with_one_etag_one_wins(rig: Rig) -> None:
    etag = (await rig.ask("PUT", "/v1/fences/a", body=circle())).headers["ETag"]
    answers = await asyncio.gather(
        *(
            rig.ask("PUT", "/v1/fences/a", body=circle(60 + n), headers={"If-Match": etag})
            for n in range(5)
        )
    )
    assert sorted(answer.status for answer in answers) == [200, 412, 412, 412, 412]


async def test_what_a_file_names_is_read_only(rig: Rig) -> None:
    assert (await rig.ask("PUT", "/v1/fences/store-7", body=circle())).status == 409
    assert (await rig.ask("DELETE", "/v1/fences/store-7")).status == 409
    batch = {"type": "FeatureCollection", "features": [circle(id="b"), circle(id="store-7")]}
    answer = await rig.ask("POST", "/v1/fences", body=batch)
    assert answer.status == 409
    assert "store-7" in answer.json["problems"][0]
    assert (await rig.ask("GET", "/v1/fences/b")).status == 404


async def test_post_is_all_or_nothing_and_names_every_problem(rig: Rig) -> None:
    batch = {
        "type": "FeatureCollection",
        "features": [
            circle(id="good"),
            {**BOWTIE, "id": "bowtie"},
            {
                "type": "Feature",
                "id": "bare",
                "properties": {},
                "geometry": {"type": "Point", "coordinates": [0, 0]},
            },
        ],
    }
    answer = await rig.ask("POST", "/v1/fences", body=batch)
    assert answer.status == 422
    problems = "\n".join(answer.json["problems"])
    assert "bowtie" in problems
    assert "bare" in problems
    assert "good" not in problems
    assert (await rig.ask("GET", "/v1/fences/good")).status == 404
    batch["features"] = [circle(id="a"), circle(id="b")]
    answer = await rig.ask("POST", "/v1/fences", body=batch)
    assert (answer.status, answer.json) == (200, {"added": ["a", "b"], "replaced": []})
    batch["features"] = [circle(60, id="b"), circle(id="c")]
    answer = await rig.ask("POST", "/v1/fences", body=batch)
    assert answer.json == {"added": ["c"], "replaced": ["b"]}


async def test_the_collection_has_an_etag_of_its_own(rig: Rig) -> None:
    got = await rig.ask("GET", "/v1/fences")
    assert [feature["id"] for feature in got.json["features"]] == ["store-7"]
    etag = got.headers["ETag"]
    assert (await rig.ask("GET", "/v1/fences", headers={"If-None-Match": etag})).status == 304
    body = circle(id="a")
    assert (
        await rig.ask("POST", "/v1/fences", body=body, headers={"If-Match": etag})
    ).status == 200
    assert (
        await rig.ask("POST", "/v1/fences", body=body, headers={"If-Match": etag})
    ).status == 412
    assert (await rig.ask("GET", "/v1/fences", headers={"If-None-Match": etag})).status == 200


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[" * 100_000, ""),
        (b'{"type":"Feature"}', ""),
        (b'{"type":"Point","coordinates":[NaN,0]}', ""),
        (b'{"type":"Point","coordinates":[1e999,0]}', ""),
        (b'{"type":"FeatureCollection","features":[]}', "one fence"),
        (b'{"type":"Feature","id":"other","properties":{},"geometry":null}', "id"),
    ],
)
async def test_a_bad_fence_is_refused_with_the_reason(rig: Rig, raw: bytes, word: str) -> None:
    answer = await rig.ask("PUT", "/v1/fences/a", raw=raw)
    assert answer.status in (400, 422)
    assert word in answer.json["detail"].lower()
    assert (await rig.ask("GET", "/v1/fences/a")).status == 404


async def test_an_edit_is_seen_by_the_next_fix_and_ends_a_visit(rig: Rig) -> None:
    await rig.consent("phone-1")
    await rig.ask("PUT", "/v1/fences/new", body=circle())
    now = time.time()
    for back in (2, 1):
        await rig.ask("POST", "/v1/fixes", body=fix(lon=2.36, lat=48.86, at=now - back))
    (enter,) = await rig.until("/v1/transitions?place=new", 1)
    assert enter["kind"] == "enter"
    await rig.ask("DELETE", "/v1/fences/new")
    _, gone = await rig.until("/v1/transitions?place=new", 2)
    assert (gone["kind"], gone["reason"], gone["visit"]) == (
        "exit",
        "fence-removed",
        enter["visit"],
    )


async def test_analysts_read_and_do_not_write(rig: Rig) -> None:
    assert (await rig.ask("GET", "/v1/fences", role=Role.ANALYST)).status == 200
    assert (await rig.ask("PUT", "/v1/fences/a", role=Role.ANALYST, body=circle())).status == 403
