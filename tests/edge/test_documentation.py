"""The edge shows the API's documentation to anybody who asks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from mesh.edge import PAGES, Page
from tests.edge.door import Door

EVERY = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)


@EVERY
@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer nonsense"}, {"origin": "https://elsewhere"}]
)
async def test_it_is_there_for_anybody_from_anywhere(
    door: Door, page: Page, headers: Mapping[str, str], repository: Path
) -> None:
    for client in (door.http, door.http2):
        answer = await client.get(page.path, headers=headers)
        assert answer.status_code == 200
        assert answer.content == (repository / "gen" / page.file).read_bytes()
        assert answer.headers["content-type"] == page.content_type
        assert answer.headers["content-security-policy"] == page.policy
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers.get_list("cache-control") == ["public, max-age=300"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@EVERY
async def test_it_is_there_to_be_read_only(door: Door, page: Page) -> None:
    head = await door.http.head(page.path)
    assert (head.status_code, head.content) == (200, b"")
    for method in ("POST", "PUT", "DELETE"):
        refused = await door.http.request(method, page.path)
        assert refused.status_code == 404
        assert refused.json()["details"][0]["reason"] == "METHOD_NOT_FOUND"


@pytest.mark.parametrize(
    "path", ["/docs/../gen/popcorn.binpb", "/docs/popcorn.binpb", "/popcorn.binpb", "/docs.html"]
)
async def test_nothing_beside_it_is_there(door: Door, path: str) -> None:
    status, _ = await door.raw(f"GET {path} HTTP/1.1")
    assert status == 404


async def test_the_page_needs_nothing_else(door: Door) -> None:
    page: httpx.Response = await door.http.get("/docs")
    assert "<script" not in page.text
    for loads in ("src=", "@import", "url("):
        assert loads not in page.text


async def test_the_document_names_the_methods_that_the_edge_lets_in(door: Door) -> None:
    document = json.loads((await door.http.get("/openapi.json")).text)
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            answer = await door.http.request(verb, path.replace("{", "").replace("}", ""), content="{}")
            assert answer.status_code != 404, f"{verb} {path} is {operation['x-grpc-method']}"
