"""The store's promises, on a real server, with either driver."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymongo
import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from dev.mongo import Mongo
from movie_svc import documents
from movie_svc.films import Film, Genre, ListPage
from movie_svc.parsing import film_of, page_of
from movie_svc.shelf import Kept, StoreUnavailable
from movie_svc.store import LONGEST_KEPT, Store
from movie_svc.tests.conftest import until
from movie_svc.tests.upstream import film, page

NOW = datetime.now(UTC).replace(microsecond=0)
LATER = NOW + timedelta(days=30)

DRIVERS = [
    pytest.param(AsyncIOMotorClient, id="motor"),
    pytest.param(pymongo.AsyncMongoClient, id="pymongo"),
]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Callable[..., Any]:
    client_class: Callable[..., Any] = request.param
    return client_class


@pytest.fixture
def url(new_mongo_url: Callable[[], str]) -> str:
    return new_mongo_url()


@pytest.fixture
async def store(driver: Callable[..., Any], url: str) -> AsyncIterator[Store]:
    made = Store(driver, url)
    yield made
    await made.close()


@pytest.fixture
async def raw(url: str) -> AsyncIterator[Any]:
    """The database as somebody else sees it."""
    client: pymongo.AsyncMongoClient[dict[str, Any]] = pymongo.AsyncMongoClient(url, tz_aware=True)
    yield client.get_default_database()
    await client.close()


def parsed(movie_id: int) -> Film:
    return film_of(film(movie_id), movie_id=movie_id, language="de-DE", region="DE")


async def test_what_was_written_is_read_the_same(store: Store) -> None:
    kept = Kept(parsed(194), NOW)
    await store.films.write("194/de-DE/DE", kept, gone_at=LATER)
    assert await store.films.read(["194/de-DE/DE"]) == {"194/de-DE/DE": kept}
    listed: Kept[ListPage] = Kept(page_of(page(3)), NOW)
    await store.pages.write("search/x", listed, gone_at=LATER)
    assert await store.pages.read(["search/x"]) == {"search/x": listed}
    genres: Kept[tuple[Genre, ...]] = Kept((Genre(18, "Drama"),), NOW)
    await store.genres.write("genres/de", genres, gone_at=LATER)
    assert await store.genres.read(["genres/de"]) == {"genres/de": genres}


async def test_many_are_read_at_once_and_those_that_are_not_there_are_left_out(store: Store) -> None:
    for movie_id in (1, 2, 3):
        await store.films.write(f"{movie_id}/de-DE/DE", Kept(parsed(movie_id), NOW), gone_at=LATER)
    found = await store.films.read([f"{movie_id}/de-DE/DE" for movie_id in range(500)])
    assert sorted(found) == ["1/de-DE/DE", "2/de-DE/DE", "3/de-DE/DE"]


async def test_that_there_is_none_is_kept_too(store: Store) -> None:
    await store.films.write("5/de-DE/DE", Kept(None, NOW), gone_at=LATER)
    assert await store.films.read(["5/de-DE/DE"]) == {"5/de-DE/DE": Kept(None, NOW)}


async def test_the_newer_takes_the_older_one_s_place(store: Store, raw: Any) -> None:
    newer = NOW + timedelta(days=1)
    for fetched_at in (NOW, newer):
        await store.films.write("194/de-DE/DE", Kept(parsed(194), fetched_at), gone_at=LATER)
    assert (await store.films.read(["194/de-DE/DE"]))["194/de-DE/DE"].fetched_at == newer
    assert await raw["films"].count_documents({}) == 1


async def test_the_server_deletes_everything_after_six_months_at_most(store: Store, raw: Any) -> None:
    await store.probe()
    await store.films.write("194/de-DE/DE", Kept(parsed(194), NOW), gone_at=NOW + timedelta(days=10_000))
    for name in ("films", "lists", "leases"):
        indexes = await raw[name].index_information()
        [index] = [index for index in indexes.values() if "expireAfterSeconds" in index]
        assert (index["key"], index["expireAfterSeconds"]) == ([("expires_at", 1)], 0)
    document = await raw["films"].find_one({"_id": "194/de-DE/DE"})
    assert document["expires_at"] == NOW + LONGEST_KEPT <= NOW + timedelta(days=183)


async def test_what_cannot_be_read_is_as_if_it_were_not_there(store: Store, raw: Any) -> None:
    await store.films.write("1/de-DE/DE", Kept(parsed(1), NOW), gone_at=LATER)
    await raw["films"].insert_many(
        [
            {"_id": "2/de-DE/DE", "version": documents.VERSION, "value": {"id": 2}, "fetched_at": NOW},
            {"_id": "3/de-DE/DE", "version": documents.VERSION, "value": "film", "fetched_at": NOW},
            {"_id": "4/de-DE/DE", "version": documents.VERSION + 1, "value": None, "fetched_at": NOW},
            {"_id": "5/de-DE/DE"},
        ]
    )
    found = await store.films.read([f"{movie_id}/de-DE/DE" for movie_id in range(1, 6)])
    assert list(found) == ["1/de-DE/DE"]


async def test_only_one_replica_at_a_time_has_a_lease(driver: Callable[..., Any], url: str) -> None:
    replicas = [Store(driver, url) for _ in range(4)]
    until_then = NOW + timedelta(seconds=2)
    for moment in (NOW, until_then, until_then + timedelta(seconds=2)):  # nobody has had it; it has run out
        taken = await asyncio.gather(
            *(
                replica.films.lease("194/de-DE/DE", now=moment, until=moment + timedelta(seconds=2))
                for replica in replicas
            )
        )
        assert sum(taken) == 1
        holder = replicas[taken.index(True)]
        others = [replica for replica in replicas if replica is not holder]
        late = moment + timedelta(seconds=1)
        assert await holder.films.lease("194/de-DE/DE", now=late, until=moment + timedelta(seconds=2))
        for replica in others:
            assert not await replica.films.lease("194/de-DE/DE", now=late, until=LATER)
            await replica.films.release("194/de-DE/DE")
        assert not await others[0].films.lease("194/de-DE/DE", now=late, until=LATER)
        if moment > until_then:
            await holder.films.release("194/de-DE/DE")
            assert await others[0].films.lease("194/de-DE/DE", now=late, until=LATER)
    for replica in replicas:
        await replica.close()


async def test_a_dead_store_costs_its_deadline_once_and_is_used_again_when_it_is_back(
    driver: Callable[..., Any], tmp_path: Path
) -> None:
    server = Mongo(tmp_path / "before")
    successor = Mongo(tmp_path / "after", port=server.port)
    store = Store(driver, server.url)
    loop = asyncio.get_running_loop()
    try:
        server.start()
        await store.probe()
        await store.films.write("194/de-DE/DE", Kept(parsed(194), NOW), gone_at=LATER)
        server.kill()

        began = loop.time()
        with pytest.raises(StoreUnavailable):
            await store.films.read(["194/de-DE/DE"])
        assert loop.time() - began < 1.5
        began = loop.time()
        for _ in range(100):
            with pytest.raises(StoreUnavailable):
                await store.films.read(["194/de-DE/DE"])
        assert loop.time() - began < 0.5

        # What comes back may have lost everything, so it is told again what it has to delete.
        successor.start()
        await until(lambda: answers(store))
        await store.films.write("194/de-DE/DE", Kept(parsed(194), NOW), gone_at=LATER)
        assert "194/de-DE/DE" in await store.films.read(["194/de-DE/DE"])
        client: pymongo.AsyncMongoClient[dict[str, Any]] = pymongo.AsyncMongoClient(successor.url)
        indexes = await client.get_default_database()["films"].index_information()
        await client.close()
        assert any("expireAfterSeconds" in index for index in indexes.values())
    finally:
        await store.close()
        server.stop()
        successor.stop()


async def answers(store: Store) -> bool:
    try:
        await store.probe()
    except StoreUnavailable:
        return False
    return True


async def test_no_text_of_the_driver_s_leaves_the_store(driver: Callable[..., Any]) -> None:
    store = Store(driver, "mongodb://somebody:secret@127.0.0.1:1/popcorn")
    with pytest.raises(StoreUnavailable) as raised:
        await store.probe()
    await store.close()
    assert str(raised.value) == "the store of films does not answer"
    assert raised.value.__cause__ is None
