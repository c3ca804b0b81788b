"""Further replicas of the gateway upon the same database, each with a list of ended sessions of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import httpx

from gateway.__main__ import build_deletions, services
from gateway.keys import Keys
from gateway.session_store import SessionStore
from gateway.tests.conftest import QUICK, World, make_settings
from mesh.channels import open_channel
from mesh.postgres import Database
from mesh.revocations import Revocations
from mesh.server import Server
from popcorn.gateway.v1 import account_pb2_grpc, auth_pb2_grpc

if TYPE_CHECKING:
    from popcorn.gateway.v1.account_pb2_grpc import AccountServiceAsyncStub
    from popcorn.gateway.v1.auth_pb2_grpc import AuthServiceAsyncStub


@dataclass(frozen=True)
class Replica:
    """One more gateway."""

    target: str
    channel: grpc.aio.Channel
    auth: AuthServiceAsyncStub
    accounts: AccountServiceAsyncStub
    revocations: Revocations
    """Asks only when a test says `poll()`."""


@asynccontextmanager
async def replica(
    world: World,
    *,
    database: Database | None = None,
    revocations: Revocations | None = None,
    keys: Keys | None = None,
    **settings: Any,
) -> AsyncIterator[Replica]:
    """A gateway like the world's, with a few other settings."""
    there = world.database if database is None else database
    known = Revocations(SessionStore(there).changes) if revocations is None else revocations
    async with (
        open_channel(world.behind, services=[]) as behind,
        httpx.AsyncClient(trust_env=False) as client,
        Server(
            services(
                make_settings(
                    google_certs_url=world.google_server.url,
                    apple_keys_url=world.apple_server.url,
                    **settings,
                ),
                keys=world.signing_keys if keys is None else keys,
                database=there,
                backlogs=behind,
                movies=behind,
                games=behind,
                deletions=build_deletions(world.settings, database=there, backlogs=behind, games=behind),
                providers=client,
                clock=world.clock,
            ),
            listen="127.0.0.1:0",
            revocations=known,
            options=QUICK,
        ) as gateway,
        grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as door,
    ):
        yield Replica(
            target=f"127.0.0.1:{gateway.port}",
            channel=door,
            auth=auth_pb2_grpc.AuthServiceStub(door),
            accounts=account_pb2_grpc.AccountServiceStub(door),
            revocations=known,
        )
