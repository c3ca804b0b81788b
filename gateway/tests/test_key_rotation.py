"""The signing key changes while people call through the real edge, and nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import jwt

from dev.edge import Edge
from dev.processes import free_port
from gateway import keys
from gateway.tests.conftest import AUDIENCE, ISSUER, World
from gateway.tests.replicas import replica
from mesh.background import running_in_background
from mesh.clock import utc_now
from mesh.edge_settings import EdgeSettings
from popcorn.gateway.v1 import account_pb2, auth_pb2

CACHE_SECONDS = 6
ACTIVATE_AFTER = timedelta(seconds=CACHE_SECONDS + 1)


async def test_a_rotation_under_load_fails_no_request(
    world: World, somebody: Callable[[], str], tmp_path: Path
) -> None:
    file = tmp_path / "signing.json"
    first = keys.create(file, now=utc_now())
    key_file = keys.KeyFile(file)
    async with (
        running_in_background(key_file.follow(seconds=0.1), name="signing keys"),
        replica(world, keys=key_file) as gateway,
    ):
        await gateway.revocations.poll()
        edge = Edge(
            EdgeSettings(
                edge_port=free_port(),
                edge_bind="127.0.0.1",
                gateway_target=(gateway.target,),
                game_target=(gateway.target,),
                token_issuer=ISSUER,
                token_audience=AUDIENCE,
                edge_health_seconds=0.2,
                edge_keys_cache_seconds=CACHE_SECONDS,
                edge_refreshes_per_minute=1_000_000,
            ),
            folder=tmp_path,
        )
        await asyncio.to_thread(edge.start)
        try:
            async with (
                httpx.AsyncClient(base_url=edge.url, trust_env=False, timeout=10) as rest,
                gateway.revocations,
                asyncio.timeout(40),
            ):
                id_token = world.google.sign(world.google_claims(somebody()))
                signed_in = await gateway.auth.SignIn(
                    auth_pb2.SignInRequest(provider=account_pb2.PROVIDER_GOOGLE, id_token=id_token)
                )
                oldest = signed_in.tokens.access_token
                # Nobody tells when the edge has fetched the keys.
                while await looks(rest, oldest) != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                second = await asyncio.to_thread(
                    keys.rotate, file, now=utc_now(), activate_after=ACTIVATE_AFTER
                )
                failures, signed_by = [], set()
                refresh_token = signed_in.tokens.refresh_token
                rounds_left = 50
                while rounds_left:
                    answer = await rest.post("/v1/auth:refresh", json={"refreshToken": refresh_token})
                    tokens = answer.json()["tokens"]
                    refresh_token = tokens["refreshToken"]
                    key_id = jwt.get_unverified_header(tokens["accessToken"])["kid"]
                    signed_by.add(key_id)
                    statuses = await asyncio.gather(
                        *(looks(rest, token) for token in (tokens["accessToken"], oldest) * 4)
                    )
                    failures += [status for status in (answer.status_code, *statuses) if status != 200]
                    rounds_left -= key_id == second
        finally:
            await asyncio.to_thread(edge.stop)
    assert failures == []
    assert signed_by == {first, second}


async def looks(rest: httpx.AsyncClient, token: str) -> int:
    return (await rest.get("/v1/me", headers={"authorization": f"Bearer {token}"})).status_code
