"""`python -m movie_svc` serves films until SIGTERM."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient

from mesh import logs
from mesh.clock import Clock, utc_now
from mesh.page_tokens import PageTokens
from mesh.server import ServerOptions, Service, run, serve
from mesh.settings import load
from movie_svc.catalogue import FILM_POLICY, GENRES_POLICY, PAGE_POLICY, PROVIDERS_POLICY
from movie_svc.external_ids import ExternalIds
from movie_svc.films import ListPage
from movie_svc.keys import FindKey, RankingKey, SearchKey
from movie_svc.messages import Presenter
from movie_svc.servicer import FilmCatalogue, MovieServicer
from movie_svc.settings import MovieSettings
from movie_svc.shelf import Shelf
from movie_svc.store import Store
from movie_svc.suggestions import Suggestions
from movie_svc.tmdb import Tmdb
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

NAME = "movie_svc"

_PAGES_IN_MEMORY = 500
_GENRE_LISTS_IN_MEMORY = 100
_PROVIDER_LISTS_IN_MEMORY = 100


@dataclass(frozen=True, slots=True)
class Parts:
    """What the process is made of."""

    service: Service
    """What is served."""
    catalogue: FilmCatalogue
    """What it serves from."""
    suggestions: Suggestions
    """The titles it knows."""
    rankings: Shelf[RankingKey, ListPage, ListPage]
    """TMDB's popular and best rated films, to fill the cache with."""
    store: Store
    """What all replicas share."""


@asynccontextmanager
async def parts(settings: MovieSettings, *, clock: Clock = utc_now) -> AsyncIterator[Parts]:
    """Builds the service upon its store and its client of TMDB's, and closes them at the end."""
    client_class: Any = AsyncIOMotorClient
    store = Store(client_class, settings.mongo_url.get_secret_value())
    tmdb = Tmdb(
        url=settings.tmdb_url,
        key=settings.tmdb_api_key.get_secret_value(),
        requests_per_second=settings.tmdb_requests_per_second,
        most_at_once=settings.tmdb_requests_at_once,
        jitter=random.random,
        clock=clock,
    )
    presenter = Presenter(settings.tmdb_image_url)
    suggestions = Suggestions(
        store.titles, kept=FILM_POLICY.kept, most_films=settings.suggested_films, clock=clock
    )
    searches: Shelf[SearchKey, ListPage, ListPage] = Shelf(
        store=store.pages,
        fetch=suggestions.noting_pages(tmdb.search),
        present=lambda _, page: page,
        policy=PAGE_POLICY,
        clock=clock,
        most_in_memory=_PAGES_IN_MEMORY,
    )
    finds: Shelf[FindKey, ListPage, ListPage] = Shelf(
        store=store.pages,
        fetch=suggestions.noting_pages(tmdb.find),
        present=lambda _, page: page,
        policy=PAGE_POLICY,
        clock=clock,
        most_in_memory=_PAGES_IN_MEMORY,
    )
    rankings: Shelf[RankingKey, ListPage, ListPage] = Shelf(
        store=store.pages,
        fetch=suggestions.noting_pages(tmdb.ranking),
        present=lambda _, page: page,
        policy=PAGE_POLICY,
        clock=clock,
        most_in_memory=_PAGES_IN_MEMORY,
    )
    external_ids = ExternalIds(finds=finds, searches=searches, titles_of=suggestions.titles_of)
    catalogue: FilmCatalogue = FilmCatalogue(
        films=Shelf(
            store=store.films,
            fetch=suggestions.noting_films(tmdb.film),
            present=presenter.film,
            policy=FILM_POLICY,
            clock=clock,
            most_in_memory=settings.films_in_memory,
        ),
        searches=searches,
        trending=Shelf(
            store=store.pages,
            fetch=suggestions.noting_pages(tmdb.trending),
            present=lambda _, page: page,
            policy=PAGE_POLICY,
            clock=clock,
            most_in_memory=_PAGES_IN_MEMORY,
        ),
        discoveries=Shelf(
            store=store.pages,
            fetch=suggestions.noting_pages(tmdb.discover),
            present=lambda _, page: page,
            policy=PAGE_POLICY,
            clock=clock,
            most_in_memory=_PAGES_IN_MEMORY,
        ),
        genres=Shelf(
            store=store.genres,
            fetch=tmdb.genres,
            present=lambda _, genres: {genre.id: genre.name for genre in genres},
            policy=GENRES_POLICY,
            clock=clock,
            most_in_memory=_GENRE_LISTS_IN_MEMORY,
        ),
        providers=Shelf(
            store=store.providers,
            fetch=tmdb.providers,
            present=lambda _, providers: providers,
            policy=PROVIDERS_POLICY,
            clock=clock,
            most_in_memory=_PROVIDER_LISTS_IN_MEMORY,
        ),
    )
    tokens = PageTokens(settings.page_token_key.get_secret_value().encode())
    servicer = MovieServicer(
        catalogue,
        suggestions=suggestions,
        external_ids=external_ids,
        presenter=presenter,
        tokens=tokens,
    )
    service = Service(
        descriptor=movie_pb2.DESCRIPTOR.services_by_name["MovieService"],
        add=movie_pb2_grpc.add_MovieServiceServicer_to_server,
        servicer=servicer,
        probes={"mongodb": store.probe},
    )
    try:
        async with suggestions:
            yield Parts(service, catalogue, suggestions=suggestions, rankings=rankings, store=store)
    finally:
        await catalogue.settle()
        await rankings.settle()
        await external_ids.settle()
        await suggestions.settle()
        await tmdb.close()
        await store.close()


async def main(settings: MovieSettings) -> None:
    """Serves with these settings."""
    async with parts(settings) as built:
        await serve(
            NAME,
            listen=settings.movie_listen,
            services=[built.service],
            options=ServerOptions(shutdown_grace_seconds=settings.shutdown_grace_seconds),
        )


if __name__ == "__main__":
    loaded = load(MovieSettings)
    logs.configure(NAME, loaded.log_level, loaded.log_format)
    run(main(loaded))
