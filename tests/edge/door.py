"""An edge with everything behind it, and the ways to knock."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx

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
    rest,
)

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


def _pairs(headers: Headers) -> Iterable[tuple[str, str]]:
    return headers.items() if isinstance(headers, Mapping) else headers


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

    async def rest(
        self, path: str, *, headers: Headers = (), query: str = "", http2: bool = False
    ) -> httpx.Response:
        """Calls a method of the contract over REST; it must have a REST form."""
        form = rest(path)
        assert form is not None
        client = self.http2 if http2 else self.http
        return await client.request(
            form.verb, form.path + query, content=form.body, headers=[*_pairs(headers)], timeout=10
        )

    async def raw(self, head: str, *headers: str) -> tuple[int, bytes]:
        """Sends a request of HTTP/1.1 as it stands; returns the status and the body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.edge.settings.edge_port)
        lines = [head, "host: popcorn.test", "connection: close", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        async with asyncio.timeout(10):
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = re.search(r"content-length: (\d+)", answer)
            body = await reader.readexactly(int(length[1])) if length else b""
        writer.close()
        return int(answer.split(" ", 2)[1]), body

    async def grpc(
        self, path: str, request: Any = None, *, metadata: Headers = (), silent: bool = False
    ) -> Any:
        """Calls a method of the contract over gRPC and returns its answer, or its answers.

        A silent caller of a stream sends no message: grpcio may stumble over one that it still has to send
        when the refusal is there already.
        """
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
            ([] if silent else [message]) if method.client_streaming else message,
            metadata=[*_pairs(metadata)],
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
            "edge_imports_per_minute": 100_000,
            "edge_health_seconds": 0.5,
            "edge_keys_cache_seconds": 6,
        }
        | changes
    )


async def serving(door: Door) -> bool:
    """Whether the edge knows the keys and everything behind it serves."""
    if (await door.http.get("/healthz")).status_code != 200:
        return False
    return (await door.http.get("/v1/me", headers=door.bearer())).status_code == 200


@asynccontextmanager
async def open_door(folder: Path, *, behind: bool = True, **changes: Any) -> AsyncIterator[Door]:
    """An edge with settings of its own.

    Args:
        folder: For its configuration and log.
        behind: Whether what is behind it runs already; otherwise the test starts it.
        changes: Settings that differ from a test's usual ones.
    """
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
        folder=folder,
    )
    # In a thread: the servers that Envoy looks for live in this one.
    await asyncio.to_thread(edge.start)
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    try:
        async with (
            httpx.AsyncClient(base_url=edge.url, trust_env=False) as http,
            httpx.AsyncClient(base_url=edge.url, http1=False, http2=True, trust_env=False) as http2,
            grpc.aio.insecure_channel(edge.address, options=options) as channel,
        ):
            door = Door(edge, gateway, (games[0], games[1]), signer, http, http2, channel)
            if behind:
                await eventually(lambda: serving(door))
            yield door
    finally:
        await asyncio.to_thread(edge.stop)
        for replica in (gateway, *games):
            await replica.stop()
