"""`python -m gateway` puts the gateway together and serves it until SIGTERM."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import grpc
import httpx
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.access_tokens import AccessTokens
from gateway.account_servicer import AccountServicer
from gateway.apple_tokens import AppleTokens
from gateway.auth import Auth
from gateway.auth_servicer import AuthServicer
from gateway.deletion import Deletions, Step
from gateway.deletion_store import DeletionStore
from gateway.export_store import OwnRecordStore
from gateway.exports import Exports
from gateway.google_tokens import GoogleTokens
from gateway.identity_tokens import Provider
from gateway.keys import KeyFileError, SigningKeys, read
from gateway.library import Library
from gateway.library_servicer import LibraryServicer
from gateway.migrate import FOLDER, SCHEMA
from gateway.proofs import Proofs
from gateway.provider_keys import ProviderKeys
from gateway.records import Records, backlog_records, game_records
from gateway.sessions import SECRET_BYTES, Lifetimes
from gateway.settings import GatewaySettings
from gateway.store import Store
from mesh import logs
from mesh.channels import open_channel
from mesh.clock import Clock, utc_now
from mesh.health import Probe
from mesh.postgres import Database
from mesh.server import ServerOptions, Service, run, serve
from mesh.settings import load
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc
from popcorn.game.v1 import people_pb2, people_pb2_grpc
from popcorn.gateway.v1 import (
    account_pb2,
    account_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    library_pb2,
    library_pb2_grpc,
)
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

NAME: Final = "gateway"

_BACKLOGS: Final = backlog_pb2.DESCRIPTOR.services_by_name["BacklogService"]
_PEOPLE: Final = people_pb2.DESCRIPTOR.services_by_name["PeopleService"]
_MOVIES: Final = movie_pb2.DESCRIPTOR.services_by_name["MovieService"]

_HEALTH_DEADLINE_SECONDS: Final = 1.0


class NotServing(Exception):
    """A service that this one needs says that it does not serve."""


def services(
    settings: GatewaySettings,
    *,
    keys: SigningKeys,
    database: Database,
    backlogs: grpc.aio.Channel,
    movies: grpc.aio.Channel,
    games: grpc.aio.Channel,
    deletions: Deletions,
    providers: httpx.AsyncClient,
    clock: Clock = utc_now,
) -> Sequence[Service]:
    """Build the gateway's services upon what they need.

    Args:
        settings: The settings.
        keys: What signs access tokens.
        database: Accounts and sessions; whoever made it starts and closes it.
        backlogs: A channel to backlog_svc.
        movies: A channel to movie_svc.
        games: A channel to game_svc.
        deletions: What ends accounts; whoever made it runs it.
        providers: Fetches the keys of Google and Apple.
        clock: The present.
    """
    store = Store(database)
    google_keys = ProviderKeys(settings.google_certs_url, provider="google", client=providers)
    apple_keys = ProviderKeys(settings.apple_keys_url, provider="apple", client=providers)
    auth = Auth(
        proofs=Proofs(
            tokens={
                Provider.GOOGLE: GoogleTokens(
                    google_keys, audiences=set(settings.google_client_ids), clock=clock
                ),
                Provider.APPLE: AppleTokens(
                    apple_keys, audiences=set(settings.apple_client_ids), clock=clock
                ),
            },
            codes={},
        ),
        store=store,
        access_tokens=AccessTokens(
            keys,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            new_id=lambda: uuid4().hex,
        ),
        lifetimes=Lifetimes(
            access=timedelta(days=settings.access_token_days),
            session=timedelta(days=settings.refresh_token_days),
        ),
        clock=clock,
        new_id=uuid4,
        new_secret=lambda: secrets.token_bytes(SECRET_BYTES),
    )
    library = Library(
        movies=movie_pb2_grpc.MovieServiceStub(movies),
        backlogs=backlog_pb2_grpc.BacklogServiceStub(backlogs),
    )
    postgresql = {"postgresql": database.probe(schema=SCHEMA, folder=FOLDER)}
    # The generated base answers what a servicer does not override with UNIMPLEMENTED; its stub calls those
    # abstract.
    return [
        Service(
            descriptor=auth_pb2.DESCRIPTOR.services_by_name["AuthService"],
            add=auth_pb2_grpc.add_AuthServiceServicer_to_server,
            servicer=AuthServicer(auth, keys=keys),  # type: ignore[abstract]
            probes=postgresql,
        ),
        Service(
            descriptor=account_pb2.DESCRIPTOR.services_by_name["AccountService"],
            add=account_pb2_grpc.add_AccountServiceServicer_to_server,
            servicer=AccountServicer(  # type: ignore[abstract]
                store,
                deletions=deletions,
                exports=Exports(OwnRecordStore(database, accounts=store), others=records(backlogs, games)),
            ),
            probes=postgresql,
        ),
        Service(
            descriptor=library_pb2.DESCRIPTOR.services_by_name["LibraryService"],
            add=library_pb2_grpc.add_LibraryServiceServicer_to_server,
            servicer=LibraryServicer(library, preferences=store),  # type: ignore[abstract]
            probes={
                **postgresql,
                "backlog_svc": serving_probe(backlogs, _BACKLOGS),
                "movie_svc": serving_probe(movies, _MOVIES),
            },
        ),
    ]


def records(backlogs: grpc.aio.Channel, games: grpc.aio.Channel) -> tuple[Records, Records]:
    """Return what the other services hold about people, by channels to them."""
    return (
        backlog_records(backlog_pb2_grpc.BacklogServiceStub(backlogs)),
        game_records(people_pb2_grpc.PeopleServiceStub(games)),
    )


def build_deletions(
    settings: GatewaySettings,
    *,
    database: Database,
    backlogs: grpc.aio.Channel,
    games: grpc.aio.Channel,
    clock: Clock = utc_now,
) -> Deletions:
    """Build what ends accounts; its `run` belongs into the background of every replica."""
    return Deletions(
        DeletionStore(database),
        erasers={Step(part.service): part.erase for part in records(backlogs, games)},
        settle=timedelta(seconds=settings.erasure_delay_seconds),
        clock=clock,
    )


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Run something for the length of the block."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def serving_probe(channel: grpc.aio.Channel, service: ServiceDescriptor) -> Probe:
    """Return a probe that passes while another service says that it serves (gRPC's health protocol)."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service.full_name)

    async def probe() -> None:
        answer = await stub.Check(request, timeout=_HEALTH_DEADLINE_SECONDS)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise NotServing(f"{service.full_name} does not serve")

    return probe


async def main(settings: GatewaySettings, keys: SigningKeys) -> None:
    """Serve with these settings and keys."""
    async with AsyncExitStack() as stack:
        database = Database(
            settings.database_url.get_secret_value(),
            application=NAME,
            most_connections=settings.database_connections,
        )
        await database.start()
        stack.push_async_callback(database.close)
        backlogs = await stack.enter_async_context(
            open_channel(settings.backlog_target, services=[_BACKLOGS])
        )
        movies = await stack.enter_async_context(open_channel(settings.movie_target, services=[_MOVIES]))
        games = await stack.enter_async_context(open_channel(settings.game_target, services=[_PEOPLE]))
        deletions = build_deletions(settings, database=database, backlogs=backlogs, games=games)
        await stack.enter_async_context(in_background(deletions.run(), name="deletions"))
        await serve(
            NAME,
            listen=settings.gateway_listen,
            services=services(
                settings,
                keys=keys,
                database=database,
                backlogs=backlogs,
                movies=movies,
                games=games,
                deletions=deletions,
                providers=await stack.enter_async_context(httpx.AsyncClient(http2=True)),
            ),
            options=ServerOptions(shutdown_grace_seconds=settings.shutdown_grace_seconds),
        )


def signing_keys(settings: GatewaySettings) -> SigningKeys:
    """Read the signing keys; what is wrong with them ends the process like a bad setting."""
    try:
        return read(settings.signing_keys_file, now=utc_now())
    except KeyFileError as error:
        print(f"SIGNING_KEYS_FILE is not usable: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    loaded = load(GatewaySettings)
    logs.configure(NAME, loaded.log_level, loaded.log_format)
    run(main(loaded, signing_keys(loaded)))
