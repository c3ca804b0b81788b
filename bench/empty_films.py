"""An empty MovieService, which gives the same bytes whoever asks.

`python -m bench.empty_films --port N --answers DIR`, with the answers in DIR under the names of the methods.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from bench.empty import Healthy
from mesh.server import run
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc


class EmptyMovies(movie_pb2_grpc.MovieServiceServicer):
    """Answers what it was given."""

    def __init__(self, answers: Path) -> None:
        self._film = movie_pb2.GetMovieResponse.FromString((answers / "GetMovie").read_bytes())
        self._films = movie_pb2.BatchGetMoviesResponse.FromString((answers / "BatchGetMovies").read_bytes())
        self._titles = movie_pb2.SuggestMoviesResponse.FromString((answers / "SuggestMovies").read_bytes())

    async def GetMovie(self, _request: Any, _context: Any) -> movie_pb2.GetMovieResponse:
        """Gives the film."""
        return self._film

    async def BatchGetMovies(self, _request: Any, _context: Any) -> movie_pb2.BatchGetMoviesResponse:
        """Gives the films."""
        return self._films

    async def SuggestMovies(self, _request: Any, _context: Any) -> movie_pb2.SuggestMoviesResponse:
        """Gives the titles."""
        return self._titles


async def serve(port: int, answers: Path) -> None:
    """Serve until killed."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    # The generated base answers the rest with UNIMPLEMENTED; its stub calls those abstract.
    movies = EmptyMovies(answers)  # type: ignore[abstract]
    movie_pb2_grpc.add_MovieServiceServicer_to_server(movies, server)
    health_pb2_grpc.add_HealthServicer_to_server(Healthy(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.empty_films")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answers", type=Path, required=True)
    arguments = parser.parse_args()
    run(serve(arguments.port, arguments.answers))


if __name__ == "__main__":
    main()
