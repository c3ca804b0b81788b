"""movie_svc by itself: films from memory, from MongoDB and from TMDB's stand-in, and suggestions.

Each against an empty handler that gives the same bytes. Films from TMDB cost what the stand-in costs, too: it
shares the servers' core.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import ascii_uppercase
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import grpc
import pymongo

from bench import cpu, load
from bench.library import measured
from bench.report import Row
from bench.world import LOAD_CORE, SERVER_CORE, World, say
from dev.mesh import serves
from dev.processes import Process, free_port
from movie_svc.store import LONGEST_KEPT, Store
from movie_svc.suggestions import KnownFilm
from movie_svc.title_store import fields_of
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

KNOWN_FILMS = 100_000
"""How many films suggestions are made of; each has two or three titles."""

BATCH = 20

_CHANNELS = 4
_WORDS = 20_000
_WRITTEN_AT_ONCE = 1_000
_CATALOGUE = Path(__file__).parent.parent / "dev" / "tmdb" / "films.jsonl"
_READER = movie_pb2.Locale(languages=["en"], region="US")

Call = Callable[[], Awaitable[Any]]
Stubs = Sequence["movie_pb2_grpc.MovieServiceAsyncStub"]


async def measure(world: World, seconds: float) -> list[Row]:
    """Measure films and suggestions."""
    movie_ids = [json.loads(line)["id"] for line in _CATALOGUE.read_text(encoding="utf-8").splitlines()]
    hot = movie_pb2.GetMovieRequest(movie_id=world.film, locale=_READER)
    batch = movie_pb2.BatchGetMoviesRequest(movie_ids=movie_ids[:BATCH], locale=_READER)
    films = [movie_pb2.GetMovieRequest(movie_id=movie_id, locale=_READER) for movie_id in movie_ids]
    regions = ["".join(pair) for pair in itertools.product(ascii_uppercase, repeat=2)]
    cold = (
        movie_pb2.GetMovieRequest(movie_id=movie_id, locale=movie_pb2.Locale(languages=["en"], region=region))
        for region in regions
        for movie_id in movie_ids
    )
    titles = list(made_up_titles(KNOWN_FILMS))
    typed = itertools.cycle(list(prefixes(titles)))
    rows: list[Row] = []

    with tempfile.TemporaryDirectory(prefix="popcorn-bench-films-") as folder:
        answers = Path(folder)

        async def side(
            group: str, target: str, name: str, pids: Mapping[str, int], calls: Callable[[Stubs], list[Call]]
        ) -> None:
            async with _stubs(target) as stubs:
                limit = name == "empty handler"
                rows.append(
                    await measured(group, name, calls(stubs), seconds, lambda: dict(pids), is_limit=limit)
                )

        own = _processes(world, "movie_svc", "mongo")
        async with _stubs(world.mesh.targets["movie_svc"]) as stubs:
            for request in films:
                await stubs[0].GetMovie(request, timeout=20)
            (answers / "GetMovie").write_bytes((await stubs[0].GetMovie(hot)).SerializeToString())
            (answers / "BatchGetMovies").write_bytes(
                (await stubs[0].BatchGetMovies(batch, timeout=20)).SerializeToString()
            )
        await _know(world, titles)
        elsewhere = {"MONGO_URL": _database(world, "bench_titles")}
        async with _another(world, "suggesting", elsewhere) as (target, pid):
            async with _stubs(target) as stubs:
                say("  waiting until all titles are read ...")
                await _until_loaded(stubs[0], max(titles[-1], key=len))
                one_letter = movie_pb2.SuggestMoviesRequest(prefix="a", locale=_READER)
                (answers / "SuggestMovies").write_bytes(
                    (await stubs[0].SuggestMovies(one_letter, timeout=20)).SerializeToString()
                )
            async with _empty(world, answers) as (empty, empty_pid):
                nothing = {"empty": empty_pid}
                for group, asked in (("film, hot (memory)", hot), (f"{BATCH} films, hot", batch)):
                    method = "GetMovie" if asked is hot else "BatchGetMovies"
                    again = _same(method, asked)
                    await side(group, world.mesh.targets["movie_svc"], "movie_svc", own, again)
                    await side(group, empty, "empty handler", nothing, again)
                warm = {"MONGO_URL": world.mesh.environment["MONGO_URL"], "FILMS_IN_MEMORY": "1"}
                async with _another(world, "warm", warm) as (other, other_pid):
                    pids = {**own, "movie_svc": other_pid}
                    await side(
                        "film, warm (MongoDB)",
                        other,
                        "movie_svc",
                        pids,
                        _next("GetMovie", itertools.cycle(films)),
                    )
                await side("film, warm (MongoDB)", empty, "empty handler", nothing, _same("GetMovie", hot))
                fresh = {"MONGO_URL": _database(world, "bench_cold"), "TMDB_REQUESTS_PER_SECOND": "1000"}
                async with _another(world, "cold", fresh) as (other, other_pid):
                    pids = {**own, **_processes(world, "tmdb"), "movie_svc": other_pid}
                    await side(
                        "film, cold (TMDB's stand-in)", other, "movie_svc", pids, _next("GetMovie", cold)
                    )
                await side(
                    "film, cold (TMDB's stand-in)", empty, "empty handler", nothing, _same("GetMovie", hot)
                )
                group = f"suggestions of {KNOWN_FILMS:,} films"
                pids = {**own, "movie_svc": pid}
                await side(group, target, "movie_svc", pids, _next("SuggestMovies", typed))
                await side(group, empty, "empty handler", nothing, _next("SuggestMovies", typed))
    return rows


def made_up_titles(films: int) -> Iterator[tuple[str, ...]]:
    """Yield the titles of so many films, the same in every run: words are as unequal as in a language."""
    chance = random.Random(7)
    syllables = ["ka", "lo", "the", "mi", "ra", "st", "ar", "wo", "den", "ni", "ght", "be", "so", "ul", "an"]
    words = ["".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(_WORDS)]
    weights = list(itertools.accumulate(1 / place for place in range(1, _WORDS + 1)))
    for _ in range(films):
        yield tuple(
            " ".join(chance.choices(words, cum_weights=weights, k=chance.randint(1, 5))).title()
            for _ in range(chance.randint(2, 3))
        )


def prefixes(titles: Sequence[tuple[str, ...]]) -> Iterator[movie_pb2.SuggestMoviesRequest]:
    """Yield what is asked while people type the beginnings of some titles, from the first letter on."""
    chance = random.Random(8)
    for title in chance.choices([title for film in titles for title in film], k=500):
        word = title[title.rfind(" ", 0, chance.randint(1, len(title))) + 1 :]
        for end in range(1, min(len(word), 8) + 1):
            if not word[end - 1].isspace():
                yield movie_pb2.SuggestMoviesRequest(prefix=word[:end], locale=_READER)


def _same(method: str, request: Any) -> Callable[[Stubs], list[Call]]:
    return _next(method, itertools.repeat(request))


def _next(method: str, requests: Iterator[Any]) -> Callable[[Stubs], list[Call]]:
    def callers(stubs: Stubs) -> list[Call]:
        def caller(number: int) -> Call:
            call = getattr(stubs[number % len(stubs)], method)
            return lambda: call(next(requests), timeout=20)

        return [caller(number) for number in range(load.CALLERS)]

    return callers


@asynccontextmanager
async def _stubs(target: str) -> AsyncIterator[Stubs]:
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(one) for one in load.channels(target, _CHANNELS)]
        yield [movie_pb2_grpc.MovieServiceStub(channel) for channel in channels]


@asynccontextmanager
async def _another(world: World, name: str, settings: Mapping[str, str]) -> AsyncIterator[tuple[str, int]]:
    """One more movie_svc, with other settings than the mesh's."""
    target = f"127.0.0.1:{free_port()}"
    environment = {**world.mesh.environment, **settings, "MOVIE_LISTEN": target}
    async with _running(f"movie_svc-{name}", ["-m", "movie_svc"], target, environment) as pid:
        yield target, pid


@asynccontextmanager
async def _empty(world: World, answers: Path) -> AsyncIterator[tuple[str, int]]:
    port = free_port()
    command = ["-m", "bench.empty_films", "--port", str(port), "--answers", str(answers)]
    target = f"127.0.0.1:{port}"
    async with _running("empty films", command, target, world.mesh.environment) as pid:
        yield target, pid


@asynccontextmanager
async def _running(
    name: str, command: list[str], target: str, environment: Mapping[str, str]
) -> AsyncIterator[int]:
    with tempfile.TemporaryDirectory(prefix="popcorn-bench-log-") as folder:
        process = Process(
            name, [sys.executable, *command], log=Path(folder) / "log", environment=dict(environment)
        )
        cpu.share_a_core(SERVER_CORE)  # children inherit it
        try:
            process.start()
        finally:
            cpu.share_a_core(LOAD_CORE)
        try:
            await asyncio.to_thread(process.wait_until, lambda: serves(target), seconds=30)
            assert process.pid is not None, "it has been started"
            yield process.pid
        finally:
            await asyncio.to_thread(process.stop)


async def _know(world: World, titles: Sequence[tuple[str, ...]]) -> None:
    """Write films into a database of their own, the first the most popular ones."""
    say(f"  writing {len(titles):,} films ...")
    url = _database(world, "bench_titles")
    store = Store(pymongo.AsyncMongoClient, url)
    await store.titles.prepare()
    await store.close()
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    films = [_film(number, names, now) for number, names in enumerate(titles, start=1)]
    client: pymongo.AsyncMongoClient[dict[str, Any]] = pymongo.AsyncMongoClient(url)
    collection = client.get_default_database()["titles"]
    for first in range(0, len(films), _WRITTEN_AT_ONCE):
        # The store's own way takes a second or two for a thousand films, for it adds to what is there.
        await collection.insert_many(
            [
                {"_id": film.id, "titles": dict(film.titles), **fields_of(film, kept=LONGEST_KEPT)}
                for film in films[first : first + _WRITTEN_AT_ONCE]
            ]
        )
    await client.close()


def _film(number: int, titles: tuple[str, ...], now: datetime) -> KnownFilm:
    return KnownFilm(
        id=number,
        original_title=titles[0],
        original_language="en",
        titles=dict(zip(("en-US", "de-DE", "fr-FR"), titles, strict=False)),
        popularity=1000 / number,
        release_date=now.date(),
        genre_ids=(18, 35),
        rating=7.1,
        vote_count=number,
        poster_path="/p.jpg",
        backdrop_path="/b.jpg",
        seen_at=now,
    )


async def _until_loaded(stub: movie_pb2_grpc.MovieServiceAsyncStub, last_title: str) -> None:
    """Wait for the film that is read last."""
    request = movie_pb2.SuggestMoviesRequest(prefix=last_title, page_size=20, locale=_READER)
    async with asyncio.timeout(180):
        while True:
            try:
                found = await stub.SuggestMovies(request, timeout=5)
            except grpc.aio.AioRpcError:
                found = movie_pb2.SuggestMoviesResponse()
            if any(movie.id == KNOWN_FILMS for movie in found.movies):
                return
            await asyncio.sleep(0.5)


def _processes(world: World, *names: str) -> dict[str, int]:
    found = {}
    for part in world.mesh.parts:
        process = part.runs.process
        if part.name in names and process is not None and process.pid is not None:
            found[part.name] = process.pid
    return found


def _database(world: World, name: str) -> str:
    return urlunsplit(urlsplit(world.mesh.environment["MONGO_URL"])._replace(path=f"/{name}"))
