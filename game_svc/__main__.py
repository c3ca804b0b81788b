"""`python -m game_svc` serves the rooms until SIGTERM."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from game_svc.archive import Archive
from game_svc.backlogs import Backlogs
from game_svc.codes import new_code
from game_svc.deck_sources import DeckSources
from game_svc.events import Numbered
from game_svc.films import Films
from game_svc.garbage import collect_when_calm
from game_svc.history import History
from game_svc.log import RoomLogs
from game_svc.metrics import Evenings, of_audience, of_redis
from game_svc.outbox import Outbox
from game_svc.people import People
from game_svc.people_servicer import PeopleServicer
from game_svc.presence import Presence
from game_svc.redis_link import RedisLink
from game_svc.rooms import Pace, Rooms
from game_svc.seating import Seating
from game_svc.servicer import GameServicer
from game_svc.settings import GameSettings
from game_svc.state import State
from game_svc.streams import Streams
from game_svc.taste_store import TasteStore
from game_svc.wrong_codes import WrongCodes
from mesh import logs, server, tracing
from mesh.background import running_in_background
from mesh.certificates import Certificates
from mesh.channels import open_channel
from mesh.clock import utc_now
from mesh.metrics import Metrics, of_revocations
from mesh.page_tokens import PageTokens
from mesh.revocations import Revocations, over
from mesh.settings import load
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc
from popcorn.game.v1 import game_pb2, game_pb2_grpc, people_pb2, people_pb2_grpc
from popcorn.gateway.v1 import revocations_pb2
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

NAME = "game_svc"
GAME_SERVICE = game_pb2.DESCRIPTOR.services_by_name["GameService"]
PEOPLE_SERVICE = people_pb2.DESCRIPTOR.services_by_name["PeopleService"]
REVOCATION_SERVICE = revocations_pb2.DESCRIPTOR.services_by_name["RevocationService"]
BACKLOG_SERVICE = backlog_pb2.DESCRIPTOR.services_by_name["BacklogService"]
MOVIE_SERVICE = movie_pb2.DESCRIPTOR.services_by_name["MovieService"]


@dataclass(frozen=True, slots=True)
class Assembly:
    """game_svc, put together."""

    services: tuple[server.Service, ...]
    streams: Streams
    """To be stopped before the server is: they hold its calls."""
    revocations: Revocations
    """The sessions that have ended."""
    metrics: Metrics
    """What is counted."""
    pace: Pace
    """How busy it is."""


@asynccontextmanager
async def assembled(
    settings: GameSettings,
    *,
    revocations: Revocations | None = None,
    certificates: Certificates | None = None,
) -> AsyncIterator[Assembly]:
    """Puts the parts together, and takes them apart again.

    Args:
        settings: The settings.
        revocations: The sessions that have ended; the gateway's list by default.
        certificates: What we show the other services.
    """
    redis = RedisLink(settings.redis_url.get_secret_value())
    room_logs = RoomLogs(redis)
    channel = open_channel(settings.movie_target, services=[MOVIE_SERVICE], certificates=certificates)
    backlog_channel = open_channel(
        settings.backlog_target, services=[BACKLOG_SERVICE], certificates=certificates
    )
    gateway = open_channel(settings.gateway_target, services=[REVOCATION_SERVICE], certificates=certificates)
    revocations = Revocations(over(gateway)) if revocations is None else revocations
    films = Films(movie_pb2_grpc.MovieServiceStub(channel), clock=utc_now)
    backlogs = Backlogs(backlog_pb2_grpc.BacklogServiceStub(backlog_channel))
    tastes = TasteStore(redis)
    outbox = Outbox(redis)
    wrong_codes = WrongCodes(redis)
    rooms = Rooms(room_logs, outbox, clock=utc_now)
    redis.busy = lambda: rooms.pace.busy
    seating = Seating(
        room_logs,
        rooms,
        wrong_codes,
        clock=utc_now,
        new_code=lambda: new_code(secrets.choice),
        new_id=lambda: uuid4().hex,
    )
    replica = uuid4().hex
    archive = Archive(rooms, room_logs, outbox, backlogs, tastes, name=replica, clock=utc_now)
    rooms.owed = archive.hurry
    presence = Presence(room_logs, rooms, replica=replica)
    streams = Streams(
        rooms,
        films,
        revocations,
        presence,
        clock=utc_now,
        heartbeat=timedelta(seconds=settings.heartbeat_seconds),
    )
    servicer = GameServicer(
        rooms,
        seating,
        streams,
        presence,
        films,
        DeckSources(films, backlogs, tastes),
        History(room_logs, rooms),
        page_tokens=PageTokens(settings.page_token_key.get_secret_value().encode()),
        new_seed=lambda: secrets.token_hex(16),
        join_url=settings.join_url,
    )
    metrics = Metrics(settings.metrics_listen)
    evenings = Evenings()

    def appended(events: Sequence[Numbered], state: State) -> None:
        evenings.note(events, state)
        archive.note(events, state)

    rooms.appended = appended
    for families in (
        evenings.families,
        of_audience(streams),
        of_redis(redis),
        of_revocations(revocations),
    ):
        metrics.watch(families)
    await rooms.start()
    await presence.start()
    archiving = asyncio.create_task(archive.run(), name="archive")
    try:
        game = server.Service(
            descriptor=GAME_SERVICE,
            add=game_pb2_grpc.add_GameServiceServicer_to_server,
            servicer=servicer,
            probes={"redis": room_logs.ping},
        )
        people = server.Service(
            descriptor=PEOPLE_SERVICE,
            add=people_pb2_grpc.add_PeopleServiceServicer_to_server,
            servicer=PeopleServicer(People(room_logs, rooms, wrong_codes, archive, tastes)),
            probes={"redis": room_logs.ping},
        )
        async with revocations:
            yield Assembly((game, people), streams, revocations, metrics, rooms.pace)
    finally:
        archiving.cancel()
        await asyncio.wait({archiving})
        await presence.stop()
        await rooms.stop()
        await channel.close()
        await backlog_channel.close()
        await gateway.close()
        await redis.close()


async def main(settings: GameSettings) -> None:
    """Serves the rooms until told to stop."""
    certificates = settings.certificates()
    async with (
        assembled(settings, certificates=certificates) as assembly,
        running_in_background(collect_when_calm(lambda: assembly.pace.busy), name="garbage"),
    ):
        await server.serve(
            NAME,
            listen=settings.game_listen,
            services=assembly.services,
            revocations=assembly.revocations,
            before_stop=assembly.streams.stop,
            certificates=certificates,
            health_listen=settings.health_listen,
            metrics=assembly.metrics,
            options=server.ServerOptions(shutdown_grace_seconds=settings.shutdown_grace_seconds),
        )


if __name__ == "__main__":
    loaded = load(GameSettings)
    logs.configure(NAME, loaded.log_level, loaded.log_format)
    tracing.configure(NAME, loaded.otlp_endpoint)
    server.run(main(loaded))
