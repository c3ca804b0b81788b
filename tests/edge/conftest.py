"""A real Envoy, rendered as everywhere else, in front of servers that write down what reaches them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from dev.edge import Edge
from dev.processes import free_port
from mesh.edge_settings import EdgeSettings
from tests.edge.standins import (
    AUDIENCE,
    ISSUER,
    METHODS,
    Call,
    Replica,
    Signer,
    eventually,
    request_class,
    response_class,
)


@dataclass
class Door:
    """An edge, what is behind it, and ways to knock."""

    edge: Edge
    gateway: Replica
    games: tuple[Replica, Replica]
    signer: Signer
    http: httpx.AsyncClient
    http2: httpx.AsyncClient
    channel: grpc.aio.Channel

    @property
    def calls(self) -> list[Call]:
        return [call for replica in (self.gateway, *self.games) for call in replica.calls]

    def reached(self, marker: str) -> list[Call]:
        """The calls that got through with `x-marker: marker`."""
        return [call for call in self.calls if marker in call.all("x-marker")]

    def bearer(self, token: str | None = None) -> dict[str, str]:
        return {"authorization": f"Bearer {token or self.signer.token()}"}

    async def grpc(self, path: str, request: Any = None, *, metadata: Any = ()) -> Any:
        """Calls a method of the contract over gRPC and returns its (last) answer."""
        method = METHODS[path]
        kind = (
            f"{'stream' if method.client_streaming else 'unary'}"
            f"_{'stream' if method.server_streaming else 'unary'}"
        )
        call = getattr(self.channel, kind)(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_class(path).FromString,
        )
        message = request_class(path)() if request is None else request
        running = call(
            [message] if method.client_streaming else message,
            metadata=metadata.items() if isinstance(metadata, dict) else metadata,
            timeout=10,
        )
        if not method.server_streaming:
            return await running
        return [answer async for answer in running]


def settings(**changes: Any) -> EdgeSettings:
    """Settings of an edge for a test: generous, and quick to notice."""
    return EdgeSettings.model_validate(
        {
            "edge_port": free_port(),
            "edge_bind": "127.0.0.1",
            "gateway_target": ("127.0.0.1:9",),
            "game_target": ("127.0.0.1:9",),
            "token_issuer": ISSUER,
            "token_audience": AUDIENCE,
            "cors_origins": ("https://app.popcorn.test",),
            "edge_sign_ins_per_minute": 100_000,
            "edge_guests_per_minute": 100_000,
            "edge_refreshes_per_minute": 100_000,
            "edge_joins_per_minute": 100_000,
            "edge_notifications_per_minute": 100_000,
            "edge_health_seconds": 0.1,
            "edge_keys_cache_seconds": 6,
        }
        | changes
    )


NewDoor = Callable[..., Awaitable[Door]]


@pytest.fixture(scope="session")
async def new_door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NewDoor]:
    """Makes doors with settings of their own; they are taken down at the end."""
    made: list[Door] = []

    async def make(*, behind: bool = True, **changes: Any) -> Door:
        signer = Signer("key-1")
        gateway, *games = [Replica(name, keys=[signer.jwk]) for name in ("gateway", "game-1", "game-2")]
        for replica in (gateway, *games):
            replica.port = free_port()
            if behind:
                await replica.start()
        edge = Edge(
            settings(
                gateway_target=(f"127.0.0.1:{gateway.port}",),
                game_target=tuple(f"127.0.0.1:{game.port}" for game in games),
                **changes,
            ),
            folder=tmp_path_factory.mktemp("edge"),
        )
        await asyncio.to_thread(edge.start)
        door = Door(
            edge,
            gateway,
            (games[0], games[1]),
            signer,
            httpx.AsyncClient(base_url=edge.url, trust_env=False),
            httpx.AsyncClient(base_url=edge.url, http1=False, http2=True, trust_env=False),
            grpc.aio.insecure_channel(
                edge.address, options=[("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
            ),
        )
        made.append(door)
        if behind:
            await eventually(lambda: serving(door))
        return door

    yield make
    for door in made:
        await door.http.aclose()
        await door.http2.aclose()
        await door.channel.close()
        await asyncio.to_thread(door.edge.stop)
        for replica in (door.gateway, *door.games):
            await replica.stop()


async def serving(door: Door) -> bool:
    """Whether the edge knows the keys and everything behind it serves."""
    if (await door.http.get("/healthz")).status_code != 200:
        return False
    return (await door.http.get("/v1/me", headers=door.bearer())).status_code == 200


@pytest.fixture(scope="session")
async def door(new_door: NewDoor) -> Door:
    """An edge that nobody changes."""
    return await new_door()


@pytest.fixture
def marker() -> str:
    """A header's value that finds this test's calls among the others."""
    return uuid.uuid4().hex


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
