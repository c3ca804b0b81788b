"""Sign-in and refresh, and what it costs every other call to know who calls and whether they still may."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx

from bench import load
from bench.library import measured
from bench.report import Row
from bench.world import World, say
from mesh.clock import utc_now
from mesh.identity import IDENTITY_HEADER, access_of
from mesh.interceptors import Method, identities
from mesh.revocations import Changes, Revocation, Revocations
from popcorn.gateway.v1 import account_pb2, auth_pb2, auth_pb2_grpc, library_pb2, library_pb2_grpc

ENDED_SESSIONS = 10_000
"""How many sessions the list of the ended ones holds while it is measured."""

STRANGERS = 8192
"""How many different tokens make each of them a new one: more than the process remembers."""

_CHANNELS = 4


async def measure(world: World, seconds: float) -> list[Row]:
    """Measure sign-in, refresh and the checks."""
    tokens = await _id_tokens(world, load.CALLERS)
    rows = []
    for name, target in (
        ("the mesh", world.mesh.edge_target),
        ("the mesh, past the edge", world.mesh.targets["gateway"]),
    ):
        async with AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(one) for one in load.channels(target, _CHANNELS)]
            stubs = [auth_pb2_grpc.AuthServiceStub(channel) for channel in channels]
            people = [_Person(stubs[number % _CHANNELS], id_token) for number, id_token in enumerate(tokens)]
            rows.append(
                await measured(
                    "sign-in with an ID token, over gRPC",
                    name,
                    [person.sign_in for person in people],
                    seconds,
                    world.pids,
                    is_limit=False,
                )
            )
            await asyncio.gather(*(person.sign_in() for person in people))
            rows.append(
                await measured(
                    "refresh, over gRPC",
                    name,
                    [person.refresh for person in people],
                    seconds,
                    world.pids,
                    is_limit=False,
                )
            )
    rows.sort(key=lambda row: row.group, reverse=True)
    return [*rows, *await _checks(world, seconds)]


class _Person:
    """Somebody who signs in again and again, or goes on and on."""

    def __init__(self, stub: Any, id_token: str) -> None:
        self._stub = stub
        self._sign_in = auth_pb2.SignInRequest(provider=account_pb2.PROVIDER_GOOGLE, id_token=id_token)
        self._refresh_token = ""

    async def sign_in(self) -> None:
        """Opens a session."""
        answer = await self._stub.SignIn(self._sign_in, timeout=20)
        self._refresh_token = answer.tokens.refresh_token

    async def refresh(self) -> None:
        """Trades the session's refresh token for the next."""
        request = auth_pb2.RefreshSessionRequest(refresh_token=self._refresh_token)
        answer = await self._stub.RefreshSession(request, timeout=20)
        self._refresh_token = answer.tokens.refresh_token


async def _id_tokens(world: World, number: int) -> list[str]:
    async with httpx.AsyncClient(timeout=20) as http:
        asked = [{"provider": "google", "subject": uuid4().hex, "name": "Somebody"} for _ in range(number)]
        answers = [await http.post(f"{world.mesh.idp_url}/tokens", json=one) for one in asked]
        return [str(answer.json()["idToken"]) for answer in answers]


# ---- the checks ----


async def _checks(world: World, seconds: float) -> list[Row]:
    """Time the layer that every protected call passes, against the CPU that an empty handler takes."""
    group = "who calls, and whether their session goes on"
    known = _metadata(world.person.token)
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(one)
            for one in load.channels(f"127.0.0.1:{world.empty_port}", _CHANNELS)
        ]
        stubs = [library_pb2_grpc.LibraryServiceStub(channel) for channel in channels]
        request = library_pb2.GetMovieRequest(movie_id=world.film)

        def caller(number: int) -> Callable[[], Awaitable[object]]:
            get: Any = stubs[number % _CHANNELS].GetMovie
            return lambda: get(request, metadata=known, timeout=20)

        callers = [caller(number) for number in range(load.CALLERS)]
        empty = await measured(
            group, "empty handler, past the edge", callers, seconds, world.empty_pids, is_limit=False
        )
    # A check is compared with what the handler's own process uses for a call.
    handler = empty.cpu["empty"] / max(1, empty.load.calls)
    rows = [empty]
    revocations = Revocations(_ended_sessions)
    await revocations.poll()
    for name, metadata in (
        ("known token", [known]),
        (
            "token seen for the first time",
            [_metadata(_another(world.person.token)) for _ in range(STRANGERS)],
        ),
    ):
        say(f"  {group}: {name} ...")
        made = await _timed(revocations, metadata, seconds=min(seconds, 2.0))
        took = made.seconds / made.calls
        label = f"{name}: {1e6 * took:.1f} µs, {100 * took / handler:.1f} %"
        rows.append(Row(group, label, made, {"checks": made.seconds}))
    return rows


async def _timed(revocations: Revocations, metadata: Sequence[Any], *, seconds: float) -> load.Load:
    """Return the CPU time of the layer around a handler that does nothing, less the handler's own."""
    service = library_pb2.DESCRIPTOR.services_by_name["LibraryService"]
    method = Method(path="/bench", access=access_of(service.methods_by_name["GetMovie"]), reads=True)

    async def nothing(_request: Any, _context: Any) -> None:
        return

    layer = identities(utc_now, revocations)(method, nothing)
    contexts: list[Any] = [_Context(one) for one in metadata]
    bare = checked = 0.0
    calls = 0
    while checked < seconds:
        for run in (nothing, layer):
            started = time.process_time()
            for context in contexts:
                await run(None, context)
            took = time.process_time() - started
            if run is layer:
                checked += took
            else:
                bare += took
        calls += len(contexts)
    net = checked - bare
    return load.Load(calls, net, (net / calls,), generator_seconds=0.0)


class _Context:
    """What the layer asks of a call's context."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Gives what was sent."""
        return self._metadata


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    """What the edge makes of a token, among the headers of a usual call."""
    return (
        ("user-agent", "grpc-python/1.85.1"),
        ("accept-language", "en"),
        ("x-region", "US"),
        ("authorization", f"Bearer {token}"),
        (IDENTITY_HEADER, token.split(".")[1]),
    )


def _another(token: str) -> str:
    """A token like this one, of another session. Its signature is none: only the edge looks at that."""
    head, payload, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims |= {"sid": str(uuid4()), "jti": uuid4().hex}
    encoded = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{head}.{encoded}.{uuid4().hex}"


async def _ended_sessions(_since: object) -> Changes:
    now = utc_now()
    ended = [Revocation(str(uuid4()), now + timedelta(days=30)) for _ in range(ENDED_SESSIONS)]
    return Changes(ended, now)
