"""`python -m backlog_svc` serves backlogs until SIGTERM."""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

from backlog_svc.export_store import ExportStore
from backlog_svc.exporting import Exporting
from backlog_svc.film_store import FilmStore
from backlog_svc.game_store import GameStore
from backlog_svc.import_store import ImportStore
from backlog_svc.importing import Importing
from backlog_svc.list_store import ListStore
from backlog_svc.listing import Listing
from backlog_svc.lookups import Lookups
from backlog_svc.match_store import MatchStore
from backlog_svc.migrate import FOLDER, SCHEMA
from backlog_svc.movies import Movies
from backlog_svc.refreshing import Refreshing
from backlog_svc.servicer import BacklogServicer
from backlog_svc.settings import BacklogSettings
from backlog_svc.stats_store import StatsStore
from backlog_svc.store import EntryStore
from backlog_svc.uploads import Uploads
from mesh import logs, tracing
from mesh.background import running_in_background
from mesh.channels import open_channel
from mesh.clock import Clock, utc_now
from mesh.metrics import Metrics, of_database
from mesh.page_tokens import PageTokens
from mesh.postgres import Database
from mesh.server import ServerOptions, Service, run, serve
from mesh.settings import load
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

NAME = "backlog_svc"
MOVIE_SERVICE = movie_pb2.DESCRIPTOR.services_by_name["MovieService"]


def service(
    database: Database,
    movies: Movies,
    *,
    page_token_key: bytes,
    clock: Clock = utc_now,
    import_arrived: asyncio.Event | None = None,
) -> Service:
    """Builds the service upon its database and movie_svc; `import_arrived` is set when there is one to do."""
    lists = ListStore(database)
    lookups = Lookups(lists, FilmStore(database), movies, clock=clock)
    imports = ImportStore(database)
    servicer = BacklogServicer(
        EntryStore(database),
        Listing(lists, lookups, clock=clock),
        imports=imports,
        uploads=Uploads(imports, clock=clock, new_id=uuid4, work_arrived=import_arrived or asyncio.Event()),
        exporting=Exporting(ExportStore(database), lookups, clock=clock),
        matches=MatchStore(database),
        games=GameStore(database),
        stats=StatsStore(database),
        tokens=PageTokens(page_token_key),
        clock=clock,
    )
    return Service(
        descriptor=backlog_pb2.DESCRIPTOR.services_by_name["BacklogService"],
        add=backlog_pb2_grpc.add_BacklogServiceServicer_to_server,
        servicer=servicer,
        probes={"postgresql": database.probe(schema=SCHEMA, folder=FOLDER)},
    )


async def main(settings: BacklogSettings) -> None:
    """Serves with these settings."""
    certificates = settings.certificates()
    async with AsyncExitStack() as stack:
        database = Database(
            settings.database_url.get_secret_value(),
            application=NAME,
            most_connections=settings.database_connections,
        )
        stack.push_async_callback(database.close)
        await database.start()
        certificates = settings.certificates()
        channel = await stack.enter_async_context(
            open_channel(settings.movie_target, services=[MOVIE_SERVICE], certificates=certificates)
        )
        movies = Movies(movie_pb2_grpc.MovieServiceStub(channel))
        refreshing = Refreshing(FilmStore(database), movies, clock=utc_now)
        await stack.enter_async_context(running_in_background(refreshing.run(), name="refreshing films"))
        metrics = Metrics(settings.metrics_listen)
        metrics.watch(of_database(database))
        arrived = asyncio.Event()
        importing = Importing(ImportStore(database), movies, clock=utc_now, work_arrived=arrived)
        await stack.enter_async_context(running_in_background(importing.run(), name="importing"))
        await serve(
            NAME,
            listen=settings.backlog_listen,
            services=[
                service(
                    database,
                    movies,
                    page_token_key=settings.page_token_key.get_secret_value().encode(),
                    import_arrived=arrived,
                )
            ],
            certificates=certificates,
            health_listen=settings.health_listen,
            metrics=metrics,
            options=ServerOptions(shutdown_grace_seconds=settings.shutdown_grace_seconds),
        )


if __name__ == "__main__":
    loaded = load(BacklogSettings)
    logs.configure(NAME, loaded.log_level, loaded.log_format)
    tracing.configure(NAME, loaded.otlp_endpoint)
    run(main(loaded))
