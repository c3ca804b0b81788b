"""What readers get while TMDB misbehaves, in each of its ways: the development stand-in does so on demand."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from dev.processes import Process, accepts_connections, free_port
from movie_svc.breaker import BreakerPolicy
from movie_svc.tests.conftest import KEY, Running, TurnedClock, running_service, until
from movie_svc.tests.test_service import another_replica, get, refused
from movie_svc.tests.upstream import Asked, Reply, Upstream, film, running_upstream
from popcorn.movie.v1 import movie_pb2

UNAVAILABLE = ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
MATRIX, PULP, NO_FILM = 603, 680, 999_999_999
SECONDS = 3.0
CZECH = movie_pb2.Locale(languages=["cs"], region="CZ")

FAULTS = [
    pytest.param({"latencySeconds": 10}, id="10 s latency"),
    pytest.param({"status": 429}, id="429"),
    pytest.param({"status": 429, "retryAfter": 1}, id="429 with Retry-After"),
    pytest.param({"status": 500}, id="500"),
    pytest.param({"status": 503, "body": "html"}, id="503 of a proxy"),
    pytest.param({"body": "reset"}, id="reset"),
    pytest.param({"body": "truncated"}, id="truncated JSON"),
    pytest.param({"status": 200, "body": "html"}, id="HTML instead of JSON"),
    pytest.param({"status": 404, "body": "html"}, id="404 of a proxy"),
]


class StandIn(Upstream):
    """The stand-in in its own process, and its switches."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.url = f"http://127.0.0.1:{port}/3"
        self._control = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/control")

    async def misbehave(self, fault: Mapping[str, object]) -> None:
        """Meets every request from now on; what was asked before is forgotten."""
        await self.behave()
        answer = await self._control.post("/faults", json={**fault, "times": 0})
        answer.raise_for_status()

    async def behave(self) -> None:
        (await self._control.post("/reset")).raise_for_status()

    async def requests_for(self, path: str) -> int:
        requests = (await self._control.get("/requests")).json()["requests"]
        return sum(request.startswith(path) for request in requests)

    async def close(self) -> None:
        await self._control.aclose()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[int]:
    taken = free_port()
    process = Process(
        "tmdb",
        [sys.executable, "-m", "dev.tmdb", "--port", str(taken), "--api-key", KEY],
        log=tmp_path_factory.mktemp("tmdb") / "log",
        folder=repository,
    )
    process.start()
    try:
        process.wait_until(lambda: accepts_connections(taken), seconds=30)
        yield taken
    finally:
        process.stop()


@pytest.fixture
async def upstream(port: int) -> AsyncIterator[StandIn]:
    stand_in = StandIn(port)
    await stand_in.behave()
    yield stand_in
    await stand_in.behave()
    await stand_in.close()


async def title(running: Running, movie_id: int) -> str:
    return (await running.stub.GetMovie(get(movie_id), timeout=SECONDS)).movie.title


@pytest.mark.parametrize("fault", FAULTS)
async def test_cached_is_served_the_rest_is_refused_in_time_and_nothing_wrong_is_kept(
    running: Running, upstream: StandIn, fault: dict[str, Any]
) -> None:
    assert await title(running, MATRIX) == "The Matrix"
    assert await refused(running.stub.GetMovie(get(NO_FILM))) == ("NOT_FOUND", "MOVIE_NOT_FOUND")
    await running.settled()
    await upstream.misbehave(fault)

    assert await refused(running.stub.GetMovie(get(PULP), timeout=SECONDS)) == UNAVAILABLE
    assert await upstream.requests_for(f"/3/movie/{PULP}") <= 2
    assert await title(running, MATRIX) == "The Matrix"
    missing = running.stub.GetMovie(get(NO_FILM), timeout=SECONDS)
    assert await refused(missing) == ("NOT_FOUND", "MOVIE_NOT_FOUND")
    assert await upstream.requests_for(f"/3/movie/{MATRIX}") == 0
    running.clock.turn(days=8)
    assert await title(running, MATRIX) == "The Matrix"  # stale
    await running.settled()
    assert await upstream.requests_for(f"/3/movie/{MATRIX}") <= 2

    await upstream.behave()

    async def well_again() -> bool:
        try:
            return await title(running, PULP) == "Pulp Fiction"
        except grpc.aio.AioRpcError:
            return False

    await until(well_again)
    await running.settled()
    await upstream.misbehave(fault)
    async with another_replica(running) as replica:  # from the store
        for movie_id, named in ((MATRIX, "The Matrix"), (PULP, "Pulp Fiction")):
            assert await title(replica, movie_id) == named


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_list_costs_more_than_two_requests(
    running: Running, upstream: StandIn, fault: dict[str, Any]
) -> None:
    # The second page of 15 stands on two of TMDB's; its rows have genres to name, and some lack an overview.
    lists: tuple[tuple[Any, Any], ...] = (
        (running.stub.ListTrending, movie_pb2.ListTrendingRequest(page_size=15, locale=CZECH)),
        (running.stub.DiscoverMovies, movie_pb2.DiscoverMoviesRequest(page_size=15, locale=CZECH)),
    )
    for ask, request in lists:
        await upstream.behave()
        request.page_token = (await ask(request)).next_page_token
        await running.settled()
        assert await upstream.requests_for("/3/") <= 2
        await upstream.misbehave(fault)
        with suppress(grpc.aio.AioRpcError):
            await ask(request, timeout=SECONDS)
        await running.settled()
        assert await upstream.requests_for("/3/") <= 2


@pytest.mark.parametrize("fault", [{"status": 500}, {"body": "reset"}, {"body": "html"}])
async def test_the_breaker_spares_a_failing_tmdb_and_closes_when_it_is_well(
    running: Running, upstream: StandIn, fault: dict[str, Any]
) -> None:
    assert await title(running, MATRIX) == "The Matrix"
    known = [680, 550, 278, 238, 424, 155, 13, 129, 496243, 194]
    await upstream.misbehave(fault)
    for movie_id in known:
        assert await refused(running.stub.GetMovie(get(movie_id), timeout=SECONDS)) == UNAVAILABLE
    assert await upstream.requests_for("/3/") == BreakerPolicy().failures_in_a_row
    assert await title(running, MATRIX) == "The Matrix"

    await upstream.behave()
    assert await refused(running.stub.GetMovie(get(known[0]), timeout=SECONDS)) == UNAVAILABLE
    assert await upstream.requests_for("/3/") == 0  # still open
    running.seconds.now += BreakerPolicy().rest_seconds
    for movie_id in known:
        assert await title(running, movie_id)


async def test_a_wrong_type_in_any_field_loses_no_film(
    clock: TurnedClock, own_upstream: Upstream, new_mongo_url: Any
) -> None:
    whole = film(1)
    odd: list[object] = [None, "odd", [1], {"odd": [None]}, -1]
    films = [{**whole, name: value} for name in whole if name not in ("id",) for value in odd]
    nameless = {"original_title", "title"}

    def answer(asked: Asked) -> Reply:
        number = int(asked.path.rpartition("/")[2])
        return Reply.of({**films[number - 1], "id": number})

    own_upstream.answers = {f"/movie/{number}": answer for number in range(1, len(films) + 1)}
    async with running_service(own_upstream, clock, new_mongo_url()) as running:
        ids = list(range(1, len(films) + 1))
        got: dict[int, movie_pb2.Movie] = {}
        wanted = ids
        async with asyncio.timeout(60):
            while wanted:
                # A busy machine may not get through all of them in a reader's patience; lost is none.
                request = movie_pb2.BatchGetMoviesRequest(movie_ids=wanted[:40])
                batch = await running.stub.BatchGetMovies(request)
                assert {one.cause for one in batch.missing} <= {movie_pb2.MissingMovie.CAUSE_UNAVAILABLE}
                got |= {movie.id: movie for movie in batch.movies}
                wanted = [movie_id for movie_id in ids if movie_id not in got]
        assert all(movie.title for movie in got.values())
        for movie_id, sent in zip(ids, films, strict=True):
            if all(sent[name] == whole[name] for name in nameless | {"translations"}):
                assert got[movie_id].original_title == whole["original_title"]


@pytest.fixture
async def own_upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


async def test_a_caller_who_goes_away_costs_the_others_nothing(running: Running, upstream: StandIn) -> None:
    await upstream.misbehave({"latencySeconds": 0.6})
    hurried = asyncio.create_task(title(running, PULP))
    patient = asyncio.create_task(title(running, PULP))
    await asyncio.sleep(0.1)
    hurried.cancel()
    assert await patient == "Pulp Fiction"
    assert await upstream.requests_for(f"/3/movie/{PULP}") == 1
