"""Servers and stubs for mesh's tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from mesh.server import Server, ServerOptions
from mesh.tests.probing import NOW, EverybodyStays, Stub, probing_service

FAST = ServerOptions(
    shutdown_grace_seconds=1.0, notice_seconds=0.02, probe_interval_seconds=0.02, probe_deadline_seconds=0.1
)


@pytest.fixture
async def cleanup() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def started(cleanup: AsyncExitStack) -> Callable[..., Any]:
    """Starts a server with a servicer on a free port, stopped at the test's end."""

    async def start(servicer: object, *, probes: Any = None, **arguments: Any) -> Server:
        known: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "options": FAST,
            "clock": lambda: NOW,
            "revocations": EverybodyStays(),
            **arguments,
        }
        server = Server([probing_service(servicer, **(probes or {}))], **known)
        return await cleanup.enter_async_context(server)

    return start


@pytest.fixture
def serving(started: Callable[..., Any], cleanup: AsyncExitStack) -> Callable[..., Any]:
    """Starts a server with a servicer and returns a plain client's stub for it."""

    async def serve(servicer: object, **arguments: Any) -> Stub:
        server = await started(servicer, **arguments)
        channel = await cleanup.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
        return Stub(channel)

    return serve
