"""Empty handlers of the mesh's shape: what grpcio and Envoy cost when nothing is done behind them.

`python -m bench.empty --port N --answers DIR --keys-from HOST:PORT` answers GetMovie and ListBacklog with
the bytes in DIR, and echoes every message of a Play stream. No interceptors, no checks. Keys come from the
real gateway, so that the edge in front of it lets the same tokens in.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.server import run
from popcorn.game.v1 import game_pb2, game_pb2_grpc
from popcorn.gateway.v1 import auth_pb2, auth_pb2_grpc, library_pb2, library_pb2_grpc

LARGEST_ANSWER = 16 * 1024 * 1024


class EmptyLibrary(library_pb2_grpc.LibraryServiceServicer):
    """Answers what it was given."""

    def __init__(self, answers: Path) -> None:
        self._movie = library_pb2.GetMovieResponse.FromString((answers / "film").read_bytes())
        self._backlog = library_pb2.ListBacklogResponse.FromString((answers / "backlog").read_bytes())

    async def GetMovie(self, _request: Any, _context: Any) -> library_pb2.GetMovieResponse:
        """Gives the film."""
        return self._movie

    async def ListBacklog(self, _request: Any, _context: Any) -> library_pb2.ListBacklogResponse:
        """Gives the page."""
        return self._backlog


class EmptyGame(game_pb2_grpc.GameServiceServicer):
    """Echoes."""

    async def Play(
        self, request_iterator: AsyncIterator[game_pb2.PlayRequest], _context: Any
    ) -> AsyncIterator[game_pb2.PlayResponse]:
        """Answers each swipe with an acknowledgement."""
        async for request in request_iterator:
            ack = game_pb2.SwipeAck(swipe_id=request.swipe.swipe_id, seq=1)
            yield game_pb2.PlayResponse(acks=[ack])


class Keys(auth_pb2_grpc.AuthServiceServicer):
    """Hands on the real gateway's keys."""

    def __init__(self, gateway: str) -> None:
        self._stub = auth_pb2_grpc.AuthServiceStub(grpc.aio.insecure_channel(gateway))

    async def GetJwks(self, request: auth_pb2.GetJwksRequest, _context: Any) -> auth_pb2.GetJwksResponse:
        """Gives the keys."""
        return await self._stub.GetJwks(request, timeout=3)


class Healthy(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it ships no types
    """Always serves."""

    async def Check(self, _request: Any, _context: Any) -> Any:
        """Says so."""
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


async def serve(port: int, answers: Path, gateway: str) -> None:
    """Serve until killed."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    # The generated bases answer the rest with UNIMPLEMENTED; their stubs call those abstract.
    library = EmptyLibrary(answers)  # type: ignore[abstract]
    game = EmptyGame()  # type: ignore[abstract]
    keys = Keys(gateway)  # type: ignore[abstract]
    library_pb2_grpc.add_LibraryServiceServicer_to_server(library, server)
    game_pb2_grpc.add_GameServiceServicer_to_server(game, server)
    auth_pb2_grpc.add_AuthServiceServicer_to_server(keys, server)
    health_pb2_grpc.add_HealthServicer_to_server(Healthy(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.empty")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--keys-from", required=True)
    arguments = parser.parse_args()
    run(serve(arguments.port, arguments.answers, arguments.keys_from))


if __name__ == "__main__":
    main()
