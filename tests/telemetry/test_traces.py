"""Traces: one request through the real edge is one trace, with a span of every hop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from dev.processes import free_port
from mesh.edge import render
from mesh.tracing import REQUEST_ID
from tests.edge.door import settings
from tests.telemetry.collector import Span
from tests.telemetry.conftest import Evening

pytestmark = pytest.mark.xdist_group("watched")


async def until(holds: Callable[[], bool]) -> None:
    """Spans are sent in batches, every few seconds."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "the spans do not come"
        await asyncio.sleep(0.1)


def of_request(evening: Evening, request_id: str) -> list[Span]:
    spans = tuple(evening.collector.spans)
    traces = {span.trace_id for span in spans if span.attributes.get(REQUEST_ID) == request_id}
    return [span for span in spans if span.trace_id in traces]


async def test_one_request_is_one_trace_with_every_hop(evening: Evening) -> None:
    wanted = {
        ("gateway", "popcorn.gateway.v1.LibraryService/GetMovie"),
        ("backlog_svc", "popcorn.backlog.v1.BacklogService/BatchGetEntries"),
        ("backlog_svc", "postgresql SELECT"),
        ("movie_svc", "popcorn.movie.v1.MovieService/GetMovie"),
        ("movie_svc", "mongodb call"),
        ("movie_svc", "tmdb /movie"),
    }
    await until(
        lambda: (
            {(span.service, span.name) for span in of_request(evening, evening.film_read)} >= wanted
            and any(span.service == "edge" for span in of_request(evening, evening.film_read))
        )
    )
    spans = of_request(evening, evening.film_read)
    assert len({span.trace_id for span in spans}) == 1
    # It begins at the edge, and every other step is a part of one that is there too.
    known = {span.span_id for span in spans}
    [root] = [span for span in spans if not span.parent_id]
    assert root.service == "edge"
    assert all(span.parent_id in known for span in spans if span is not root)
    for service in ("edge", "gateway", "backlog_svc", "movie_svc"):
        told = {span.attributes.get(REQUEST_ID) for span in spans if span.service == service}
        assert evening.film_read in told, service


async def test_a_swipe_is_followed_to_redis(evening: Evening) -> None:
    swipe = next(answer for answer in evening.answers if answer.request.url.path.endswith("/swipes")).headers[
        "x-request-id"
    ]
    await until(
        lambda: (
            {(span.service, span.name) for span in of_request(evening, swipe)}
            >= {("game_svc", "popcorn.game.v1.GameService/Swipe"), ("game_svc", "redis EVALSHA")}
        )
    )


async def test_no_span_holds_what_is_nobodys_business(evening: Evening) -> None:
    last = evening.answers[-1].headers["x-request-id"]
    await until(lambda: {span.service for span in of_request(evening, last)} >= {"edge", "gateway"})
    assert len(evening.collector.spans) > 50
    for span in evening.collector.spans:
        for what, secret in evening.secrets.items():
            assert secret not in span.text, f"{what} stands in {span.service}'s {span.name}"
        assert "@example.com" not in span.text
        assert "api_key" not in span.text


async def test_nobody_outside_decides_what_is_traced(evening: Evening) -> None:
    theirs = "0123456789abcdef0123456789abcdef"
    async with httpx.AsyncClient(base_url=evening.mesh.edge_url) as phone:
        answer = await phone.get("/v1/me", headers={"traceparent": f"00-{theirs}-0123456789abcdef-01"})
    await until(lambda: bool(of_request(evening, answer.headers["x-request-id"])))
    assert theirs not in {span.trace_id for span in evening.collector.spans}


async def test_without_a_collector_the_edge_traces_nothing() -> None:
    rendered = render(settings(edge_port=free_port()), folder=Path())
    assert "tracers" not in rendered
    assert "collector" not in rendered
