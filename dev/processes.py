"""Child processes that never outlive their parent, and ports for them to listen on."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launch.py")

# Linux sends the parent-death signal when the *thread* that forked ends, not when its process does. One
# thread that lives as long as the interpreter starts every child, so start() may be called from any thread.
_nursery = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nursery")

_POLL_SECONDS = 0.05


class StartFailed(Exception):
    """A process did not come up; the text is a sentence for the person at the terminal."""


class Process:
    """A started child: with a name, a log file, and a life no longer than its parent's.

    The child leads a process group of its own, so that Ctrl-C at the terminal reaches only the parent, which
    then stops its children in the order that is right for them.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Describes the process; `start` starts it.

        Args:
            name: What people call it, used in sentences.
            command: Program and arguments; no shell in between.
            log: File that standard output and error are appended to.
            environment: The child's whole environment; None hands on ours.
            folder: Working directory; None keeps ours.
            user: Account to run as, for a parent that is root; None stays as we are.
            stop_signal: What asks this program to stop in an orderly way.
        """
        self.name = name
        self.command = list(command)
        self.log = log
        self._environment = environment
        self._folder = folder
        self._user = user
        self._stop_signal = stop_signal
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process id, or None before `start`."""
        return self._child.pid if self._child else None

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), or None while it runs or was never started."""
        return self._child.poll() if self._child else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Starts the child; says nothing about its being ready.

        Raises:
            StartFailed: The operating system would not start it.
        """
        with self._lock:
            if self.running:
                return
            self.log.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._child = _nursery.submit(self._spawn).result()
            except OSError as error:
                raise StartFailed(f"{self.name} could not be started: {error.strerror}.") from error

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), self._user or "-"),
                    *self.command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=None if self._environment is None else dict(self._environment),
                process_group=0,
            )

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Waits until `ready` returns true.

        Raises:
            StartFailed: The process ended first, or the time ran out.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise StartFailed(
                    f"{self.name} ended with {self.ending()} before it was ready.{self.last_words()}"
                )
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.name} was not ready after {seconds:.0f} s.{self.last_words()}")
            time.sleep(_POLL_SECONDS)

    def ending(self) -> str:
        """How it ended, in words: ``exit code 1``, ``SIGKILL``."""
        code = self.exit_code
        if code is None:
            return "nothing"
        if code < 0:
            with contextlib.suppress(ValueError):
                return signal.Signals(-code).name
        return f"exit code {code}"

    def last_words(self) -> str:
        """The end of its log, a line each behind a bar, to follow a sentence; empty where there is none."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 4096))
                lines = log.read().decode(errors="replace").splitlines()[-8:]
        except OSError:
            return ""
        return "".join(f"\n  | {line}" for line in lines)

    def stop(self, *, grace: float = 10.0) -> None:
        """Asks it to stop, and after `grace` seconds makes it. Harmless when it does not run."""
        if self._child is None:
            return
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(grace)
        self.kill()

    def kill(self) -> None:
        """Ends it at once (SIGKILL), with whatever is left of its process group, and waits for the end."""
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()


# Below the ports that operating systems hand to outgoing connections, so that none of those takes a port
# between our finding it free and a server's listening on it.
_PORTS = range(20_000, 32_768)
_handed_out: set[int] = set()


def free_port() -> int:
    """A TCP port on the loopback interface that nothing listens on; this process gets each only once."""
    while True:
        port = secrets.choice(_PORTS)
        if port not in _handed_out and not is_taken(port):
            _handed_out.add(port)
            return port


def is_taken(port: int, *, host: str = "127.0.0.1") -> bool:
    """Whether another process listens on `port` of `host`."""
    with socket.socket() as listener:
        listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # a closed connection's remains do not count
        try:
            listener.bind((host, port))
        except OSError:
            return True
    return False


def accepts_connections(port: int) -> bool:
    """Whether something on the loopback interface accepts TCP connections on `port`."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
