"""Films that the gateway remembers: asked for once, of the reader they were asked for, and not for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import pytest

from gateway.films import MOST_FILMS, Films
from gateway.tests.conftest import NOTICE, Refused, World, film
from mesh.channels import open_channel
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

HERE = movie_pb2.Locale(languages=["de"], region="AT")
ELSEWHERE = movie_pb2.Locale(languages=["de"], region="DE")


@dataclass
class Watch:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def films(world: World, watch: Watch) -> AsyncIterator[Films]:
    async with open_channel(world.behind, services=[]) as channel:
        stub = movie_pb2_grpc.MovieServiceStub(channel)
        yield Films(stub, remembered=timedelta(minutes=1), seconds=watch)


def asked(world: World) -> list[list[int]]:
    """Return the films of each request that movie_svc got."""
    requests: list[Any] = list(world.movies.script.asked)
    return [list(getattr(request, "movie_ids", ())) or [request.movie_id] for request in requests]


async def batch(films: Films, *movie_ids: int) -> movie_pb2.BatchGetMoviesResponse:
    return await films.batch(movie_ids, HERE, patience=2)


async def test_a_film_is_asked_for_once_a_minute(world: World, films: Films, watch: Watch) -> None:
    first = await films.get(7, HERE)
    watch.now += 59
    assert await films.get(7, HERE) == first
    assert asked(world) == [[7]]
    watch.now += 2
    assert await films.get(7, HERE) == first
    assert asked(world) == [[7], [7]]


async def test_a_film_of_another_region_or_language_is_another_one(world: World, films: Films) -> None:
    for locale in (HERE, ELSEWHERE, movie_pb2.Locale(languages=["de", "en"], region="AT")):
        await films.get(7, locale)
    assert asked(world) == [[7], [7], [7]]


async def test_a_batch_asks_for_what_is_not_known_and_keeps_the_order(world: World, films: Films) -> None:
    await films.get(8, HERE)
    answer = await batch(films, 9, 8, 7, 8)
    assert list(answer.movies) == [film(9), film(8), film(7)]
    assert answer.attribution == NOTICE
    assert (await batch(films, 7, 8, 9)).movies == [film(7), film(8), film(9)]
    assert (await films.get(9, HERE)).movie == film(9)
    assert asked(world) == [[8], [9, 7]]


async def test_what_is_missing_is_asked_for_again(world: World, films: Films) -> None:
    for _ in range(2):
        answer = await batch(films, 7, 50, 123)
        assert [(one.movie_id, one.cause) for one in answer.missing] == [
            (50, movie_pb2.MissingMovie.CAUSE_UNAVAILABLE),
            (123, movie_pb2.MissingMovie.CAUSE_NOT_FOUND),
        ]
    assert asked(world) == [[7, 50, 123], [50, 123]]


async def test_a_refusal_is_raised_as_it_comes_and_not_remembered(world: World, films: Films) -> None:
    world.movies.script.failure = Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    for request in (films.get(7, HERE), batch(films, 7)):
        with pytest.raises(grpc.aio.AioRpcError):
            await request
    world.movies.script.failure = None
    assert (await films.get(7, HERE)).movie == film(7)


async def test_what_is_remembered_outlives_an_outage(world: World, films: Films) -> None:
    await batch(films, 7, 8)
    world.movies.script.failure = Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert (await batch(films, 8, 7)).movies == [film(8), film(7)]


async def test_there_is_a_limit_to_what_is_remembered(world: World, films: Films) -> None:
    for start in range(0, MOST_FILMS, 99):
        locale = movie_pb2.Locale(languages=["de"], region=f"{start}")
        await films.batch(range(1, 100), locale, patience=2)
    await films.get(7, HERE)
    first = movie_pb2.Locale(languages=["de"], region="0")
    before = len(world.movies.script.asked)
    await asyncio.gather(*(films.get(movie_id, first) for movie_id in (1, 2)))
    assert len(world.movies.script.asked) == before + 2
