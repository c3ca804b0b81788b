"""Health: a service serves when everything it depends on answers, and says so by name.

Every probe runs once a second with a deadline of its own. A service is NOT_SERVING until all its probes have
passed; the empty name stands for all services together. Each change is one log line. The name `process` is
SERVING from the start until the process is told to stop, whatever it depends on: to start a process again
brings no store back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

Probe = Callable[[], Awaitable[None]]
"""Asks a dependency something small; raises when it does not answer."""

THE_PROCESS: Final = "process"
"""The name whose health is the process' own."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

_log = structlog.get_logger("mesh.health")


@dataclass(frozen=True, slots=True)
class Part:
    """One service and what it needs."""

    service: str
    """The full gRPC name, `popcorn.game.v1.GameService`."""
    probes: Mapping[str, Probe]
    """What it needs, by a plain name for the log."""


class Health:
    """Runs the probes and keeps the health service's answers."""

    def __init__(
        self, parts: Sequence[Part], *, interval_seconds: float = 1.0, deadline_seconds: float = 2.0
    ) -> None:
        self.servicer = _HealthServicer([*(part.service for part in parts), ""])
        self._parts = tuple(parts)
        self._interval = interval_seconds
        self._deadline = deadline_seconds
        self._failing: dict[str, tuple[str, ...]] = {}
        self._serving: dict[str, bool] = {}

    @property
    def serving(self) -> Mapping[str, bool]:
        """Whether each service serves, as the last round of probes had it."""
        return self._serving

    async def run(self) -> None:
        """Probe for ever."""
        while True:
            await self.probe()
            await asyncio.sleep(self._interval)

    async def probe(self) -> None:
        """Run every probe once, all at the same time, and set what follows from them."""
        # Services of one process share their stores: a probe that several of them name runs once.
        probes = list(dict.fromkeys(probe for part in self._parts for probe in part.probes.values()))
        outcomes = dict(
            zip(probes, await asyncio.gather(*(self._outcome(probe) for probe in probes)), strict=True)
        )
        everything_serves = True
        for part in self._parts:
            failing = {
                name: outcomes[probe] for name, probe in part.probes.items() if outcomes[probe] is not None
            }
            everything_serves = everything_serves and not failing
            self._set(part.service, failing)
        self.servicer.set("", _SERVING if everything_serves else _NOT_SERVING)

    def stop_serving(self) -> None:
        """Answer NOT_SERVING for everything from now on."""
        self.servicer.stop_serving()

    def close(self) -> None:
        """End the watches that are still open, so that no stop has to wait for them."""
        self.servicer.end_watches()

    async def _outcome(self, probe: Probe) -> str | None:
        """Return what is wrong, or None."""
        try:
            async with asyncio.timeout(self._deadline):
                await probe()
        except TimeoutError:
            return f"no answer within {self._deadline:g} s"
        except Exception as error:  # whatever a driver raises, it is what the probe looks for
            return f"{type(error).__name__}: {error}"
        return None

    def _set(self, service: str, failing: Mapping[str, str | None]) -> None:
        serving = not failing
        self.servicer.set(service, _SERVING if serving else _NOT_SERVING)
        names = tuple(failing)
        if self._serving.get(service) != serving or self._failing.get(service) != names:
            log = _log.info if serving else _log.warning
            log(
                "health.changed",
                about=service,
                serving=serving,
                **({"failing": dict(failing)} if failing else {}),
            )
        self._serving[service], self._failing[service] = serving, names


class _HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it ships no types
    """The health service. gRPC's own has no `List`, and its watches hold up every stop."""

    def __init__(self, services: Sequence[str]) -> None:
        self._statuses = {THE_PROCESS: _SERVING, **dict.fromkeys(services, _NOT_SERVING)}
        self._changed = asyncio.Event()
        self._stopping = False
        self._ended = False

    def set(self, service: str, status: int) -> None:
        """Set a service's status, unless everything stops anyway."""
        if not self._stopping and self._statuses[service] != status:
            self._statuses[service] = status
            self._wake()

    def stop_serving(self) -> None:
        self._stopping = True
        self._statuses = dict.fromkeys(self._statuses, _NOT_SERVING)
        self._wake()

    def end_watches(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service here.")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(self, _request: object, _context: object) -> Any:
        return health_pb2.HealthListResponse(
            statuses={
                service: health_pb2.HealthCheckResponse(status=status)
                for service, status in self._statuses.items()
            }
        )

    async def Watch(self, request: Any, context: Any) -> None:
        sent = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, _SERVICE_UNKNOWN)
            if status != sent:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                sent = status
            elif self._ended:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "The server stops.")
            else:
                await changed.wait()
