"""The composed film and the backlog page: REST and gRPC, through the edge and past it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from bench import cpu, load
from bench.report import Row
from bench.world import PAGE, World, say
from mesh.identity import IDENTITY_HEADER
from popcorn.gateway.v1 import library_pb2, library_pb2_grpc

_CHANNELS = 4


async def measure(world: World, seconds: float) -> list[Row]:
    """Measure both calls both ways."""
    film = library_pb2.GetMovieRequest(movie_id=world.film)
    page = library_pb2.ListBacklogRequest(page_size=PAGE)
    return [
        *await rest(world, seconds, "film over REST", f"/v1/movies/{world.film}"),
        *await _grpc(world, seconds, "film over gRPC", "GetMovie", film),
        *await rest(world, seconds, "backlog page over REST", f"/v1/backlog?pageSize={PAGE}"),
        *await _grpc(world, seconds, "backlog page over gRPC", "ListBacklog", page),
    ]


async def rest(world: World, seconds: float, group: str, path: str) -> list[Row]:
    """Measure a GET over REST, and an empty handler that answers it."""
    rows = []
    for name, port, pids in (
        ("the mesh", world.mesh.edge_port, world.pids),
        ("empty handler", world.empty_edge_port, world.empty_pids),
    ):
        connections = [
            await load.Rest("127.0.0.1", port, path, world.person.headers).open() for _ in range(load.CALLERS)
        ]
        rows.append(
            await measured(
                group, name, [one.call for one in connections], seconds, pids, is_limit=name != "the mesh"
            )
        )
        for connection in connections:
            connection.close()
    return rows


async def _grpc(world: World, seconds: float, group: str, method: str, request: Any) -> list[Row]:
    token = world.person.token
    padded = token.split(".")[1]
    past_the_edge = (
        (IDENTITY_HEADER, base64.urlsafe_b64encode(base64.urlsafe_b64decode(padded + "==")).decode()),
        ("accept-language", "en"),
        ("x-region", "US"),
    )
    through_the_edge = world.person.metadata
    rows = []
    for name, target, metadata, pids in (
        ("the mesh", world.mesh.edge_target, through_the_edge, world.pids),
        ("the mesh, past the edge", world.mesh.targets["gateway"], past_the_edge, world.pids),
        ("empty handler", f"127.0.0.1:{world.empty_edge_port}", through_the_edge, world.empty_pids),
        ("empty handler, past the edge", f"127.0.0.1:{world.empty_port}", past_the_edge, world.empty_pids),
    ):
        async with AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(one) for one in load.channels(target, _CHANNELS)]
            stubs = [library_pb2_grpc.LibraryServiceStub(channel) for channel in channels]
            callers = [
                partial(getattr(stubs[number % _CHANNELS], method), request, metadata=metadata, timeout=20)
                for number in range(load.CALLERS)
            ]
            rows.append(await measured(group, name, callers, seconds, pids, is_limit=name == "empty handler"))
    return rows


async def measured(
    group: str,
    name: str,
    callers: Sequence[Callable[[], Any]],
    seconds: float,
    pids: Callable[[], dict[str, int]],
    *,
    is_limit: bool,
) -> Row:
    """Load one side, and read what its processes used meanwhile (the warm-up included, in both)."""
    say(f"  {group}: {name} ...")
    before = cpu.readings(pids())
    made = await load.run(callers, seconds=seconds)
    used = cpu.used_between(before, cpu.readings(pids()))
    share = made.seconds / (made.seconds + load.WARM_UP_SECONDS)
    return Row(
        group, name, made, {process: time * share for process, time in used.items()}, is_limit=is_limit
    )
