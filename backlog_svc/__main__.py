"""`python -m backlog_svc` serves backlogs until SIGTERM."""

from backlog_svc.migrate import FOLDER, SCHEMA
from backlog_svc.servicer import BacklogServicer
from backlog_svc.settings import BacklogSettings
from backlog_svc.store import EntryStore
from mesh import logs
from mesh.clock import Clock, utc_now
from mesh.page_tokens import PageTokens
from mesh.postgres import Database
from mesh.server import ServerOptions, Service, run, serve
from mesh.settings import load
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc

NAME = "backlog_svc"


def service(database: Database, *, page_token_key: bytes, clock: Clock = utc_now) -> Service:
    """Builds the service upon its database."""
    # The generated base answers what is not overridden with UNIMPLEMENTED; its stub calls those abstract.
    servicer = BacklogServicer(  # type: ignore[abstract]
        EntryStore(database), tokens=PageTokens(page_token_key), clock=clock
    )
    return Service(
        descriptor=backlog_pb2.DESCRIPTOR.services_by_name["BacklogService"],
        add=backlog_pb2_grpc.add_BacklogServiceServicer_to_server,
        servicer=servicer,
        probes={"postgresql": database.probe(schema=SCHEMA, folder=FOLDER)},
    )


async def main(settings: BacklogSettings) -> None:
    """Serves with these settings."""
    database = Database(
        settings.database_url.get_secret_value(),
        application=NAME,
        most_connections=settings.database_connections,
    )
    await database.start()
    try:
        await serve(
            NAME,
            listen=settings.backlog_listen,
            services=[service(database, page_token_key=settings.page_token_key.get_secret_value().encode())],
            certificates=settings.certificates(),
            health_listen=settings.health_listen,
            options=ServerOptions(shutdown_grace_seconds=settings.shutdown_grace_seconds),
        )
    finally:
        await database.close()


if __name__ == "__main__":
    loaded = load(BacklogSettings)
    logs.configure(NAME, loaded.log_level, loaded.log_format)
    run(main(loaded))
