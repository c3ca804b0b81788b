"""The fault switch and the count of requests, over a real connection where that matters."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from starlette.testclient import TestClient

from dev.tmdb.app import DEFAULT_KEY, create_app
from dev.tmdb.catalogue import Catalogue

CONTROL = "http://tmdb.test/control"


def switch_on(tmdb: TestClient, **fault: object) -> None:
    """Lets `fault` happen."""
    assert tmdb.post(f"{CONTROL}/faults", json=fault).status_code == 204


def test_requests_are_counted_until_the_reset(tmdb: TestClient) -> None:
    tmdb.get("movie/603")
    tmdb.get("search/movie", params={"query": "dune", "api_key": "secret"})
    tmdb.get("movie/603", headers={"Authorization": "Bearer wrong"})
    tmdb.get("http://tmdb.test/t/p/w92/p603.svg")
    report = tmdb.get(f"{CONTROL}/requests").json()
    assert report == {"count": 3, "requests": ["/3/movie/603", "/3/search/movie?query=dune", "/3/movie/603"]}
    assert tmdb.post(f"{CONTROL}/reset").status_code == 204
    assert tmdb.get(f"{CONTROL}/requests").json() == {"count": 0, "requests": []}


def test_a_fault_happens_as_often_as_told(tmdb: TestClient) -> None:
    switch_on(tmdb, status=429, retryAfter=7, times=2)
    for _ in range(2):
        answer = tmdb.get("movie/603")
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "7"
        assert answer.json()["status_code"] == 25
    assert tmdb.get("movie/603").status_code == 200


def test_a_fault_without_end_lasts_until_the_reset(tmdb: TestClient) -> None:
    switch_on(tmdb, status=503, times=0)
    assert [tmdb.get("movie/603").status_code for _ in range(3)] == [503, 503, 503]
    tmdb.post(f"{CONTROL}/reset")
    assert tmdb.get("movie/603").status_code == 200


def test_a_fault_can_be_held_to_a_path(tmdb: TestClient) -> None:
    switch_on(tmdb, status=500, path="/3/search", times=1)
    assert tmdb.get("movie/603").status_code == 200
    assert tmdb.get("search/movie?query=dune").status_code == 500


def test_a_proxys_page_is_no_json(tmdb: TestClient) -> None:
    switch_on(tmdb, body="html")
    answer = tmdb.get("movie/603")
    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")


def test_a_truncated_answer_ends_in_the_middle(tmdb: TestClient) -> None:
    whole = tmdb.get("movie/603").content
    switch_on(tmdb, body="truncated")
    answer = tmdb.get("movie/603")
    assert answer.status_code == 200
    assert whole.startswith(answer.content)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()


@pytest.mark.parametrize(
    "fault", [{"body": "nonsense"}, {"status": 99}, {"latency": 1}, {"times": "x"}, [], "x", None]
)
def test_a_fault_nobody_knows_is_refused(tmdb: TestClient, fault: object) -> None:
    answer = tmdb.post(f"{CONTROL}/faults", json=fault)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.fixture
async def served(catalogue: Catalogue) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the stand-in on a real port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(catalogue), log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        listener.listen()
        serving = asyncio.create_task(server._serve(sockets=[listener]))
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            headers={"Authorization": f"Bearer {DEFAULT_KEY}"},
            timeout=10,
        ) as client:
            yield client
        server.should_exit = True
        await serving


async def test_a_reset_connection_gives_no_answer(served: httpx.AsyncClient) -> None:
    await served.post("/control/faults", json={"body": "reset"})
    with pytest.raises(httpx.TransportError):
        await served.get("/3/movie/603")
    assert (await served.get("/3/movie/603")).status_code == 200


async def test_a_slow_answer_is_late_but_whole(served: httpx.AsyncClient) -> None:
    await served.post("/control/faults", json={"latencySeconds": 0.2})
    answer = await served.get("/3/movie/603")
    assert answer.elapsed.total_seconds() >= 0.2
    assert answer.json()["id"] == 603
