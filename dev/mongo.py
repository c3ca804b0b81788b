"""A server of MongoDB's protocol, from a wheel (`SecantusDB`), on a loopback port; its data stays."""

from __future__ import annotations

import socket
import struct
import sys
from importlib.util import find_spec
from pathlib import Path

from dev.processes import Process, StartFailed, free_port

_READY_SECONDS = 30.0
_DATABASE = "popcorn"

# One `hello` as an OP_MSG (opcode 2013): flags 0, section kind 0, the BSON of {hello: 1, $db: "admin"}.
_HELLO_BODY = b"\x10hello\x00\x01\x00\x00\x00" + b"\x02$db\x00\x06\x00\x00\x00admin\x00" + b"\x00"
_HELLO_DOCUMENT = struct.pack("<i", 4 + len(_HELLO_BODY)) + _HELLO_BODY
_HELLO = struct.pack("<iiiiIB", 21 + len(_HELLO_DOCUMENT), 1, 0, 2013, 0, 0) + _HELLO_DOCUMENT


class Mongo:
    """One SecantusDB server."""

    def __init__(self, data_dir: Path, *, port: int | None = None) -> None:
        """Describes a server.

        Args:
            data_dir: Where the data and the log live; made when missing.
            port: Loopback port; None takes a free one.
        """
        self._home = data_dir
        self.port = port or free_port()
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """URL of the database `popcorn`."""
        return self.url_of(_DATABASE)

    @property
    def process(self) -> Process | None:
        """The running server, or None before `start`."""
        return self._process

    def url_of(self, database: str) -> str:
        """URL of `database` on this server; MongoDB makes databases when they are first written to."""
        return f"mongodb://127.0.0.1:{self.port}/{database}?directConnection=true"

    def start(self) -> None:
        """Starts the server and waits until it answers `hello`.

        Raises:
            StartFailed: It did not come up; the text says why.
        """
        if find_spec("secantus") is None:
            raise StartFailed(
                f"The MongoDB server's wheel, SecantusDB, is not installed here ({sys.platform}). "
                "Set MONGO_URL to use a server of your own."
            )
        self._home.mkdir(parents=True, exist_ok=True)
        # An explicit, empty configuration: none is picked up from the home folder or /etc.
        configuration = self._home / "secantusd.toml"
        configuration.touch()
        self._process = Process(
            "SecantusDB",
            [
                *(sys.executable, "-m", "secantus", "--config", str(configuration)),
                *("--host", "127.0.0.1", "--port", str(self.port)),
                *("--storage-path", str(self._home / "data"), "--cache-size", "64M"),
                *("--log-level", "WARNING"),
            ],
            log=self._home / "secantus.log",
            folder=self._home,
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
                connection.sendall(_HELLO)
                return len(connection.recv(16)) > 0
        except OSError:
            return False

    def stop(self) -> None:
        """Stops the server in an orderly way, which takes it 2 s; the data stays."""
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """Ends the server at once, as a power cut would; the data stays."""
        if self._process:
            self._process.kill()
