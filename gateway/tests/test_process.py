"""The gateway as a process: how it starts, what it says when it cannot, its health, and its log."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dev.postgres import Postgres
from dev.processes import Process, free_port
from gateway.migrate import FOLDER, SCHEMA
from gateway.tests.conftest import APPLE_CLIENTS, AUDIENCE, GOOGLE_CLIENTS, ISSUER, Signer, World
from gateway.tests.refusals import refusal
from mesh.migrations import migrate
from popcorn.gateway.v1 import account_pb2, auth_pb2, auth_pb2_grpc

SERVICES = [f"popcorn.gateway.v1.{name}" for name in ("AuthService", "AccountService", "LibraryService")]
AUTH, ACCOUNTS, LIBRARY = SERVICES
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
BASE = {
    "PATH": os.environ.get("PATH", ""),
    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    "PYTHONDONTWRITEBYTECODE": "1",
}


async def command(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run `python -m ...` and return its status, output and errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", *arguments),
        env=BASE | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    return {
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "BACKLOG_TARGET": "127.0.0.1:1",
        "MOVIE_TARGET": "127.0.0.1:1",
        "GAME_TARGET": "127.0.0.1:1",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "GOOGLE_CLIENT_IDS": ",".join(GOOGLE_CLIENTS),
        "APPLE_CLIENT_IDS": ",".join(APPLE_CLIENTS),
        "PAGE_TOKEN_KEY": "k" * 32,
        "SIGNING_KEYS_FILE": str(tmp_path / "signing.json"),
        "TOKEN_ISSUER": ISSUER,
        "TOKEN_AUDIENCE": AUDIENCE,
        "SHUTDOWN_GRACE_SECONDS": "0.2",
    } | variables


async def test_missing_settings_are_named_one_sentence_each(tmp_path: Path) -> None:
    status, _, err = await command("gateway")
    assert status == 2
    for variable in environment(tmp_path):
        if variable != "SHUTDOWN_GRACE_SECONDS":
            assert f"{variable} is not set" in err
    assert "Traceback" not in err


async def test_a_missing_key_file_is_a_sentence_that_says_how_to_make_one(tmp_path: Path) -> None:
    status, _, err = await command("gateway", **environment(tmp_path))
    assert status == 2
    assert err.startswith("SIGNING_KEYS_FILE is not usable: ")
    assert "python -m gateway.keys create" in err
    assert "Traceback" not in err


async def test_the_migration_command_brings_an_empty_database_up(new_database: Callable[[], str]) -> None:
    url = new_database()
    assert (await command("gateway.migrate", "--check", DATABASE_URL=url))[0] == 1
    assert (await command("gateway.migrate", DATABASE_URL=url))[0] == 0
    assert (await command("gateway.migrate", "--check", DATABASE_URL=url))[0] == 0


@asynccontextmanager
async def running(tmp_path: Path, **variables: str) -> AsyncIterator[tuple[grpc.aio.Channel, Process]]:
    """A gateway in a process of its own, and a channel to it."""
    port = free_port()
    assert (await command("gateway.keys", "create", str(tmp_path / "signing.json")))[0] == 0
    process = Process(
        "gateway",
        [sys.executable, "-m", "gateway"],
        log=tmp_path / "gateway.log",
        environment=BASE | environment(tmp_path, GATEWAY_LISTEN=f"127.0.0.1:{port}", **variables),
    )
    process.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            async with asyncio.timeout(20):
                await channel.channel_ready()
            yield channel, process
    finally:
        await asyncio.to_thread(process.stop)


async def until(channel: grpc.aio.Channel, service: str, status: int) -> None:
    """Wait until a service's health is `status`."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    async with asyncio.timeout(15):
        async for answer in stub.Watch(health_pb2.HealthCheckRequest(service=service)):
            if answer.status == status:
                return
    raise AssertionError("the watch ended")


async def health(channel: grpc.aio.Channel, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    return int(answer.status)


async def test_it_starts_without_its_database_and_serves_once_that_is_there(
    world: World, postgres_server: Postgres, tmp_path: Path
) -> None:
    name = f"late_{free_port()}"
    url = postgres_server.url_of(name)
    variables = {
        "DATABASE_URL": url,
        "GOOGLE_CERTS_URL": world.google_server.url,
        "APPLE_KEYS_URL": world.apple_server.url,
        "BACKLOG_TARGET": world.behind,
        "MOVIE_TARGET": world.behind,
    }
    request = auth_pb2.SignInRequest(
        provider=account_pb2.PROVIDER_GOOGLE, id_token=world.google.sign(world.google_claims("late"))
    )
    async with running(tmp_path, **variables) as (channel, _):
        auth: Any = auth_pb2_grpc.AuthServiceStub(channel)
        for service in SERVICES:
            assert await health(channel, service) == NOT_SERVING
        seen = await refusal(auth.SignIn(request, timeout=5))
        assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        assert seen.metadata == {"dependency": "postgresql"}

        await asyncio.to_thread(postgres_server.create_database, name)
        seen = await refusal(auth.SignIn(request, timeout=5))
        assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")

        await migrate(url, schema=SCHEMA, folder=FOLDER)
        for service in SERVICES:
            await until(channel, service, SERVING)
        assert (await auth.SignIn(request, timeout=5)).new_account


async def test_only_the_library_needs_the_other_services(
    world: World, new_database: Callable[[], str], tmp_path: Path
) -> None:
    url = new_database()
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    variables = {"DATABASE_URL": url, "BACKLOG_TARGET": world.behind}
    async with running(tmp_path, **variables, MOVIE_TARGET=f"127.0.0.1:{free_port()}") as (channel, _):
        await until(channel, AUTH, SERVING)
        await until(channel, ACCOUNTS, SERVING)
        assert await health(channel, LIBRARY) == NOT_SERVING
        assert await health(channel, "") == NOT_SERVING


async def test_without_the_providers_keys_signing_in_is_unavailable_in_time(
    world: World, new_database: Callable[[], str], tmp_path: Path
) -> None:
    url = new_database()
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    nowhere = f"http://127.0.0.1:{free_port()}/keys"
    variables = {"DATABASE_URL": url, "GOOGLE_CERTS_URL": nowhere, "APPLE_KEYS_URL": nowhere}
    async with running(tmp_path, **variables) as (channel, _):
        auth: Any = auth_pb2_grpc.AuthServiceStub(channel)
        for provider, token, name in (
            (account_pb2.PROVIDER_GOOGLE, world.google.sign(world.google_claims("x")), "google"),
            (account_pb2.PROVIDER_APPLE, world.apple.sign(world.apple_claims("x")), "apple"),
        ):
            call = auth.SignIn(auth_pb2.SignInRequest(provider=provider, id_token=token), timeout=3)
            seen = await refusal(call)
            assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
            assert seen.metadata == {"dependency": name}


async def test_the_log_says_who_and_never_what_was_sent(
    world: World, new_database: Callable[[], str], tmp_path: Path
) -> None:
    url = new_database()
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    variables = {"DATABASE_URL": url, "GOOGLE_CERTS_URL": world.google_server.url, "LOG_LEVEL": "debug"}
    claims = world.google_claims("sub-of-ada", email="very.secret@example.com", nonce="secret-nonce")
    token = world.google.sign(claims)
    async with running(tmp_path, **variables) as (channel, process):
        await until(channel, AUTH, SERVING)
        auth: Any = auth_pb2_grpc.AuthServiceStub(channel)
        good = auth_pb2.SignInRequest(
            provider=account_pb2.PROVIDER_GOOGLE, id_token=token, nonce="secret-nonce", display_name="Ada"
        )
        signed_in = await auth.SignIn(good)
        forged = Signer("thief").sign(claims, kid=world.google.key_id)
        for bad_token in (forged, "a" * 9000, "not.a.token"):
            with pytest.raises(grpc.aio.AioRpcError):
                await auth.SignIn(auth_pb2.SignInRequest(provider=good.provider, id_token=bad_token))
        first = auth_pb2.RefreshSessionRequest(refresh_token=signed_in.tokens.refresh_token)
        tokens = (await auth.RefreshSession(first)).tokens
        await auth.RefreshSession(auth_pb2.RefreshSessionRequest(refresh_token=tokens.refresh_token))
        assert (await refusal(auth.RefreshSession(first))).reason == "SESSION_REVOKED"
    log = process.log.read_text()
    events = [json.loads(line) for line in log.splitlines()]
    audit = [event for event in events if event["event"] == "audit"]
    assert [event["action"] for event in audit] == [
        *("identity.linked", "session.opened", "session.refreshed", "session.refreshed", "session.ended")
    ]
    assert {event["user_id"] for event in audit} == {signed_in.account.user_id}
    assert all(event["request_id"] for event in audit)
    secrets = (token, forged, token.rpartition(".")[2], "very.secret", "secret-nonce", "sub-of-ada")
    ours = (signed_in.tokens.access_token, signed_in.tokens.refresh_token, tokens.refresh_token)
    for secret in (*secrets, *ours):
        assert secret not in log
