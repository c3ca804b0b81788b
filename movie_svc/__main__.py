"""`python -m movie_svc` serves films until SIGTERM."""

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient

from mesh import logs, tracing
from mesh.background import running_in_background
from mesh.clock import Clock, utc_now
from mesh.metrics import Metrics
from mesh.page_tokens import PageTokens
from mesh.server import ServerOptions, Service, run, serve
from mesh.settings import load
from movie_svc.breaker import Breaker
from movie_svc.catalogue import FILM_POLICY, GENRES_POLICY, PAGE_POLICY, PROVIDERS_POLICY
from movie_svc.changes import ChangeFollower
from movie_svc.counters import Counters
from movie_svc.external_ids import ExternalIds
from movie_svc.films import Film, ListPage
from movie_svc.keys import FilmKey, FindKey, RankingKey, SearchKey
from movie_svc.messages import Presenter
from movie_svc.metrics import of_counters, of_tmdb
from movie_svc.servicer import FilmCatalogue, MovieServicer
from movie_svc.settings import MovieSettings
from movie_svc.shelf import Shelf
from movie_svc.store import Store
from movie_svc.suggestions import Suggestions
from movie_svc.tmdb import Tmdb
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

NAME = "movie_svc"

# Of the budget, for films that have changed: readers come first.
_RENEWING_SHARE = 0.25
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
    changes: ChangeFollower
    """Keeps what is cached in step with TMDB."""
    counters: Counters
    """What was counted so far."""
    tmdb: Tmdb
    """The client of TMDB's."""


@asynccontextmanager
async def parts(
    settings: MovieSettings, *, clock: Clock = utc_now, seconds: Callable[[], float] = time.monotonic
) -> AsyncIterator[Parts]:
    """Builds the service upon its store and its client of TMDB's, and closes them at the end.

    Args:
        settings: From the environment.
        clock: The present.
        seconds: Goes on evenly, for the circuit breaker.
    """
    counters = Counters()
    client_class: Any = AsyncIOMotorClient
    store = Store(client_class, settings.mongo_url.get_secret_value())
    tmdb = Tmdb(
        url=settings.tmdb_url,
        key=settings.tmdb_api_key.get_secret_value(),
        requests_per_second=settings.tmdb_requests_per_second / settings.tmdb_replicas,
        most_at_once=settings.tmdb_requests_at_once,
        jitter=random.random,
        clock=clock,
        breaker=Breaker("tmdb", clock=seconds),
        counters=counters,
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
        about="searches",
        counters=counters,
    )
    finds: Shelf[FindKey, ListPage, ListPage] = Shelf(
        store=store.pages,
        fetch=suggestions.noting_pages(tmdb.find),
        present=lambda _, page: page,
        policy=PAGE_POLICY,
        clock=clock,
        most_in_memory=_PAGES_IN_MEMORY,
        about="finds",
        counters=counters,
    )
    rankings: Shelf[RankingKey, ListPage, ListPage] = Shelf(
        store=store.pages,
        fetch=suggestions.noting_pages(tmdb.ranking),
        present=lambda _, page: page,
        policy=PAGE_POLICY,
        clock=clock,
        most_in_memory=_PAGES_IN_MEMORY,
        about="rankings",
        counters=counters,
    )
    external_ids = ExternalIds(finds=finds, searches=searches, titles_of=suggestions.titles_of)
    films: Shelf[FilmKey, Film, movie_pb2.GetMovieResponse] = Shelf(
        store=store.films,
        fetch=suggestions.noting_films(tmdb.film),
        present=presenter.film,
        policy=FILM_POLICY,
        clock=clock,
        most_in_memory=settings.films_in_memory,
        about="films",
        counters=counters,
    )
    catalogue: FilmCatalogue = FilmCatalogue(
        films=films,
        searches=searches,
        trending=Shelf(
            store=store.pages,
            fetch=suggestions.noting_pages(tmdb.trending),
            present=lambda _, page: page,
            policy=PAGE_POLICY,
            clock=clock,
            most_in_memory=_PAGES_IN_MEMORY,
            about="trending",
            counters=counters,
        ),
        discoveries=Shelf(
            store=store.pages,
            fetch=suggestions.noting_pages(tmdb.discover),
            present=lambda _, page: page,
            policy=PAGE_POLICY,
            clock=clock,
            most_in_memory=_PAGES_IN_MEMORY,
            about="discoveries",
            counters=counters,
        ),
        genres=Shelf(
            store=store.genres,
            fetch=tmdb.genres,
            present=lambda _, genres: {genre.id: genre.name for genre in genres},
            policy=GENRES_POLICY,
            clock=clock,
            most_in_memory=_GENRE_LISTS_IN_MEMORY,
            about="genres",
            counters=counters,
        ),
        providers=Shelf(
            store=store.providers,
            fetch=tmdb.providers,
            present=lambda _, providers: providers,
            policy=PROVIDERS_POLICY,
            clock=clock,
            most_in_memory=_PROVIDER_LISTS_IN_MEMORY,
            about="providers",
            counters=counters,
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
    changes = ChangeFollower(
        store=store.changes,
        fetch=tmdb.changes,
        renew=films.renew,
        every=timedelta(minutes=settings.tmdb_changes_minutes),
        renewals_per_second=settings.tmdb_requests_per_second / settings.tmdb_replicas * _RENEWING_SHARE,
        clock=clock,
        counters=counters,
    )
    try:
        async with suggestions:
            yield Parts(
                service,
                catalogue,
                suggestions=suggestions,
                rankings=rankings,
                store=store,
                changes=changes,
                counters=counters,
                tmdb=tmdb,
            )
    finally:
        await catalogue.settle()
        await rankings.settle()
        await external_ids.settle()
        await suggestions.settle()
        await tmdb.close()
        await store.close()


async def main(settings: MovieSettings) -> None:
    """Serves with these settings."""
    async with (
        parts(settings) as built,
        running_in_background(built.changes.follow(), name="changes"),
        running_in_background(built.counters.keep_telling(), name="counters"),
    ):
        metrics = Metrics(settings.metrics_listen)
        metrics.watch(of_counters(built.counters))
        metrics.watch(of_tmdb(built.tmdb))
        await serve(
            NAME,
            listen=settings.movie_listen,
            services=[built.service],
            certificates=settings.certificates(),
            health_listen=settings.health_listen,
            metrics=metrics,
            options=ServerOptions(shutdown_grace_seconds=settings.shutdown_grace_seconds),
        )


if __name__ == "__main__":
    loaded = load(MovieSettings)
    logs.configure(NAME, loaded.log_level, loaded.log_format)
    tracing.configure(NAME, loaded.otlp_endpoint)
    run(main(loaded))
