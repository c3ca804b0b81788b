"""Serves the stand-in: `python -m dev.tmdb --port 8082`."""

import argparse
import socket

import uvicorn

from dev.tmdb.app import DEFAULT_KEY, create_app


def main() -> None:
    """Listens until SIGTERM or Ctrl-C, and says where on its first line."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.tmdb", description="A stand-in for TMDB's API, version 3."
    )
    parser.add_argument("--port", type=int, required=True, help="where to listen; 0 takes a free port")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default %(default)s)")
    parser.add_argument(
        "--api-key",
        action="append",
        dest="keys",
        metavar="KEY",
        help=f"a key to accept, as often as wanted (default {DEFAULT_KEY})",
    )
    asked = parser.parse_args()

    app = create_app(keys=asked.keys or [DEFAULT_KEY])
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((asked.host, asked.port))
    except OSError as problem:
        parser.exit(
            1, f"The stand-in for TMDB cannot listen on {asked.host}:{asked.port}: {problem.strerror}.\n"
        )
    listener.listen(128)
    host, port = listener.getsockname()[:2]
    print(f"The stand-in for TMDB listens on http://{host}:{port}/3", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
