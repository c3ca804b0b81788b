"""`python -m gateway` puts the gateway together and serves it until SIGTERM."""

import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

import grpc
import httpx
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.access_tokens import AccessTokens
from gateway.account_servicer import AccountServicer
from gateway.apple_client_secret import AppleClientSecrets, read_private_key
from gateway.apple_codes import AppleCodes
from gateway.apple_grants import AppleGrantStore
from gateway.apple_notifications import AppleNotifications
from gateway.apple_refresh_tokens import AppleRefreshTokens
from gateway.apple_revocations import AppleRevocations
from gateway.apple_tokens import AppleSignatures, AppleTokens
from gateway.auth import Auth
from gateway.auth_servicer import AuthServicer
from gateway.backlog_files import BacklogFiles
from gateway.deletion import Cause, Deletions, Step
from gateway.deletion_store import DeletionStore
from gateway.export_store import OwnRecordStore
from gateway.exports import Exports
from gateway.films import REMEMBERED, Films
from gateway.google_codes import GoogleCodes
from gateway.google_tokens import GoogleTokens
from gateway.identities import Identities
from gateway.identity_store import IdentityStore
from gateway.identity_tokens import Provider
from gateway.keys import KeyFile, KeyFileError, Keys
from gateway.library import Library
from gateway.library_servicer import LibraryServicer
from gateway.limit_store import LimitStore
from gateway.limits import Limits, PerMinute
from gateway.migrate import FOLDER, SCHEMA
from gateway.own_sessions import OwnSessions
from gateway.proofs import Codes, Proofs
from gateway.provider_keys import ProviderKeys
from gateway.records import Records, backlog_records, game_records
from gateway.revocation_servicer import RevocationServicer
from gateway.sealing import NONCE_BYTES, Sealer, read_keys
from gateway.session_store import SessionStore
from gateway.sessions import SECRET_BYTES, Lifetimes
from gateway.settings import GatewaySettings, pairs, split
from gateway.store import Store
from gateway.sweeping import Sweep, sweep_for_ever
from gateway.token_endpoint import TokenEndpoint
from mesh import logs, tracing
from mesh.background import running_in_background
from mesh.channels import open_channel
from mesh.clock import Clock, utc_now
from mesh.health import Probe
from mesh.metrics import Metrics, of_database, of_revocations
from mesh.page_tokens import PageTokens
from mesh.postgres import Database
from mesh.revocations import Revocations
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
    revocations_pb2,
    revocations_pb2_grpc,
)
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

NAME: Final = "gateway"

_BACKLOGS: Final = backlog_pb2.DESCRIPTOR.services_by_name["BacklogService"]
_PEOPLE: Final = people_pb2.DESCRIPTOR.services_by_name["PeopleService"]
_MOVIES: Final = movie_pb2.DESCRIPTOR.services_by_name["MovieService"]

_HEALTH_DEADLINE_SECONDS: Final = 1.0

_KEEP_SESSIONS: Final = timedelta(days=7)
"""How long a session stays on file after it has run out."""


class NotServing(Exception):
    """A service that this one needs says that it does not serve."""


@dataclass(frozen=True, slots=True)
class AppleTeam:
    """What Apple knows our team by, at work."""

    secrets: AppleClientSecrets
    """Our client secrets."""
    refresh_tokens: AppleRefreshTokens
    """Apple's refresh tokens, encrypted and given back."""


def apple_team(
    settings: GatewaySettings, *, providers: httpx.AsyncClient, clock: Clock = utc_now
) -> AppleTeam | None:
    """Build what Apple knows our team by, or None where the settings say nothing of a team.

    Raises:
        ValueError: APPLE_PRIVATE_KEY_FILE is no such key. Never quotes it.
        OSError: It cannot be read.
    """
    if not settings.apple_team_id:
        return None
    pem = settings.apple_private_key.get_secret_value()
    if settings.apple_private_key_file is not None:
        pem = settings.apple_private_key_file.read_text(encoding="utf-8")
    client_secrets = AppleClientSecrets(
        team_id=settings.apple_team_id,
        key_id=settings.apple_key_id,
        private_key=read_private_key(pem),
        clock=clock,
    )
    sealer = Sealer(
        read_keys(split(settings.apple_token_keys)), new_nonce=lambda: secrets.token_bytes(NONCE_BYTES)
    )
    endpoint = TokenEndpoint(settings.apple_revoke_url, provider="apple", client=providers)
    return AppleTeam(client_secrets, AppleRefreshTokens(endpoint, secrets=client_secrets, sealer=sealer))


def services(
    settings: GatewaySettings,
    *,
    keys: Keys,
    database: Database,
    backlogs: grpc.aio.Channel,
    movies: grpc.aio.Channel,
    games: grpc.aio.Channel,
    deletions: Deletions,
    providers: httpx.AsyncClient,
    apple: AppleTeam | None = None,
    clock: Clock = utc_now,
    films_remembered: timedelta = REMEMBERED,
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
        providers: Reaches Google and Apple.
        apple: What Apple knows our team by; without it Apple's codes cannot be traded.
        clock: The present.
        films_remembered: For how long films of movie_svc are.
    """
    store, session_store = Store(database), SessionStore(database)
    own_sessions = OwnSessions(session_store, clock=clock)
    page_tokens = PageTokens(_page_token_key(settings))
    google_keys = ProviderKeys(settings.google_certs_url, provider="google", client=providers)
    apple_keys = ProviderKeys(settings.apple_keys_url, provider="apple", client=providers)
    google_tokens = GoogleTokens(google_keys, audiences=set(settings.google_client_ids), clock=clock)
    apple_tokens = AppleTokens(apple_keys, audiences=set(settings.apple_client_ids), clock=clock)
    codes: dict[Provider, Codes] = {
        Provider.GOOGLE: GoogleCodes(
            TokenEndpoint(settings.google_token_url, provider="google", client=providers),
            google_tokens,
            client_ids=settings.google_client_ids,
            secrets=pairs(settings.google_client_secrets),
        )
    }
    if apple is not None:
        codes[Provider.APPLE] = AppleCodes(
            TokenEndpoint(settings.apple_token_url, provider="apple", client=providers),
            apple_tokens,
            client_ids=settings.apple_client_ids,
            secrets=apple.secrets,
            refresh_tokens=apple.refresh_tokens,
        )
    proofs = Proofs(tokens={Provider.GOOGLE: google_tokens, Provider.APPLE: apple_tokens}, codes=codes)
    identity_store = IdentityStore(database)
    identities = Identities(proofs=proofs, store=identity_store, accounts=store, clock=clock)
    notifications = AppleNotifications(
        signed=AppleSignatures(apple_keys),
        audiences=set(settings.apple_client_ids),
        store=identity_store,
        clock=clock,
        delete_account=partial(deletions.start, cause=Cause.APPLE),
    )
    auth = Auth(
        proofs=proofs,
        store=store,
        guests=session_store,
        limits=_limits(settings, database),
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
    movie_stub = movie_pb2_grpc.MovieServiceStub(movies)
    backlog_stub = backlog_pb2_grpc.BacklogServiceStub(backlogs)
    library = Library(
        movies=movie_stub,
        films=Films(movie_stub, remembered=films_remembered, seconds=time.monotonic),
        backlogs=backlog_stub,
    )
    files = BacklogFiles(movies=movie_stub, backlogs=backlog_stub)
    postgresql = {"postgresql": database.probe(schema=SCHEMA, folder=FOLDER)}
    # The generated base answers what a servicer does not override with UNIMPLEMENTED; its stub calls those
    # abstract.
    return [
        Service(
            descriptor=auth_pb2.DESCRIPTOR.services_by_name["AuthService"],
            add=auth_pb2_grpc.add_AuthServiceServicer_to_server,
            servicer=AuthServicer(auth, sessions=own_sessions, notifications=notifications, keys=keys),
            probes=postgresql,
        ),
        Service(
            descriptor=account_pb2.DESCRIPTOR.services_by_name["AccountService"],
            add=account_pb2_grpc.add_AccountServiceServicer_to_server,
            servicer=AccountServicer(
                store,
                sessions=own_sessions,
                identities=identities,
                page_tokens=page_tokens,
                deletions=deletions,
                exports=Exports(OwnRecordStore(database, accounts=store), others=records(backlogs, games)),
            ),
            probes=postgresql,
        ),
        Service(
            descriptor=revocations_pb2.DESCRIPTOR.services_by_name["RevocationService"],
            add=revocations_pb2_grpc.add_RevocationServiceServicer_to_server,
            servicer=RevocationServicer(session_store, tokens=page_tokens),
            probes=postgresql,
        ),
        Service(
            descriptor=library_pb2.DESCRIPTOR.services_by_name["LibraryService"],
            add=library_pb2_grpc.add_LibraryServiceServicer_to_server,
            servicer=LibraryServicer(library, files=files, preferences=store, clock=clock),
            probes={
                **postgresql,
                "backlog_svc": serving_probe(backlogs, _BACKLOGS),
                "movie_svc": serving_probe(movies, _MOVIES),
            },
        ),
    ]


def _page_token_key(settings: GatewaySettings) -> bytes:
    return settings.page_token_key.get_secret_value().encode()


def _limits(settings: GatewaySettings, database: Database) -> Limits:
    return Limits(
        LimitStore(database, key=_page_token_key(settings)),
        address=PerMinute(
            sign_ins=settings.sign_ins_per_address_per_minute,
            guest_sign_ins=settings.guests_per_address_per_minute,
            refreshes=settings.refreshes_per_address_per_minute,
        ),
        account=PerMinute(
            sign_ins=settings.sign_ins_per_account_per_minute,
            refreshes=settings.refreshes_per_account_per_minute,
        ),
    )


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


def serving_probe(channel: grpc.aio.Channel, service: ServiceDescriptor) -> Probe:
    """Return a probe that passes while another service says that it serves (gRPC's health protocol)."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service.full_name)

    async def probe() -> None:
        answer = await stub.Check(request, timeout=_HEALTH_DEADLINE_SECONDS)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise NotServing(f"{service.full_name} does not serve")

    return probe


async def main(settings: GatewaySettings, keys: KeyFile) -> None:
    """Serve with these settings and keys."""
    async with AsyncExitStack() as stack:
        database = Database(
            settings.database_url.get_secret_value(),
            application=NAME,
            most_connections=settings.database_connections,
        )
        await database.start()
        stack.push_async_callback(database.close)
        providers = await stack.enter_async_context(httpx.AsyncClient(http2=True))
        apple = apple_team(settings, providers=providers)
        if apple is not None:
            giving_back = AppleRevocations(AppleGrantStore(database), apple.refresh_tokens, clock=utc_now)
            await stack.enter_async_context(
                running_in_background(giving_back.run(), name="apple revocations")
            )
        await stack.enter_async_context(
            running_in_background(sweep_for_ever(_sweeps(settings, database)), name="sweeping")
        )
        await stack.enter_async_context(running_in_background(keys.follow(), name="signing keys"))
        revocations = await stack.enter_async_context(Revocations(SessionStore(database).changes))
        certificates = settings.certificates()
        backlogs, movies, games = [
            await stack.enter_async_context(
                open_channel(target, services=[service], certificates=certificates)
            )
            for target, service in (
                (settings.backlog_target, _BACKLOGS),
                (settings.movie_target, _MOVIES),
                (settings.game_target, _PEOPLE),
            )
        ]
        metrics = Metrics(settings.metrics_listen)
        metrics.watch(of_database(database))
        metrics.watch(of_revocations(revocations))
        deletions = build_deletions(settings, database=database, backlogs=backlogs, games=games)
        await stack.enter_async_context(running_in_background(deletions.run(), name="deletions"))
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
                providers=providers,
                apple=apple,
            ),
            revocations=revocations,
            certificates=certificates,
            health_listen=settings.health_listen,
            metrics=metrics,
            options=ServerOptions(shutdown_grace_seconds=settings.shutdown_grace_seconds),
        )


def _sweeps(settings: GatewaySettings, database: Database) -> Sequence[Sweep]:
    session_store = SessionStore(database)

    async def sessions() -> None:
        await session_store.sweep(before=utc_now() - _KEEP_SESSIONS)

    return (sessions, LimitStore(database, key=_page_token_key(settings)).sweep)


def see_that_apple_key_is_usable(settings: GatewaySettings) -> None:
    """Read Apple's key once; what is wrong with its file ends the process like a bad setting."""
    if settings.apple_private_key_file is None:
        return
    try:
        read_private_key(settings.apple_private_key_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        print(f"APPLE_PRIVATE_KEY_FILE is not usable: {why}.", file=sys.stderr)
        raise SystemExit(2) from error


def signing_keys(settings: GatewaySettings) -> KeyFile:
    """Read the signing keys; what is wrong with them ends the process like a bad setting."""
    try:
        return KeyFile(settings.signing_keys_file)
    except KeyFileError as error:
        print(f"SIGNING_KEYS_FILE is not usable: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    loaded = load(GatewaySettings)
    logs.configure(NAME, loaded.log_level, loaded.log_format)
    tracing.configure(NAME, loaded.otlp_endpoint)
    see_that_apple_key_is_usable(loaded)
    run(main(loaded, signing_keys(loaded)))
