"""Metrics: what a process counts, served to Prometheus over HTTP on a port of its own.

    metrics = Metrics(settings.metrics_listen)
    metrics.watch(of_database(database))                     # and whatever the service itself counts
    await serve(NAME, ..., metrics=metrics)                  # counts every RPC, and serves what was counted

Nothing is pushed into the library: what is counted are plain numbers beside their subject, and they are read
when somebody asks. So counting costs an addition, and only modules named `metrics` know Prometheus. Without
an address nothing is counted or served.
"""

import asyncio
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mesh import running
from mesh.health import Health
from mesh.interceptors import Context, Layer, Method, Run, status_name
from mesh.revocations import Revocations

if TYPE_CHECKING:  # not every service has a database
    from mesh.postgres import Database

Families = Callable[[], Iterable[Metric]]
"""Reads what was counted. Called from a thread of its own."""

RPC_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of an RPC's duration. A call may take 3 s inside the mesh, 10 s at the edge."""


class Metrics:
    """All that a process counts."""

    def __init__(self, listen: str | None) -> None:
        """Describe it; nothing is opened before `serving`.

        Args:
            listen: `host:port` to serve at, port 0 for a free one; None counts and serves nothing.
        """
        self.listen = listen
        """Where it is served; None is nowhere."""
        self._registry = CollectorRegistry()
        self._calls: dict[str, _Calls] = {}
        self.port = 0
        """Where it is served, once it is."""
        if listen is not None:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
            GCCollector(registry=self._registry)
            self.watch(self._families)

    @property
    def layers(self) -> Sequence[Layer]:
        """What to put around every RPC; nothing where nothing is counted."""
        return () if self.listen is None else (self._layer,)

    def watch(self, families: Families) -> None:
        """Have these served, too."""
        if self.listen is not None:
            self._registry.register(_Read(families))

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve for as long as the block lasts.

        Raises:
            OSError: The address is taken, or not this machine's.
        """
        if self.listen is None:
            yield
            return
        host, _, port = self.listen.rpartition(":")
        server, thread = start_http_server(int(port), addr=host.strip("[]"), registry=self._registry)
        self.port = server.server_port
        try:
            yield
        finally:
            _end(server, thread)

    def _layer(self, method: Method, proceed: Run) -> Run:
        """Count the calls of a method, and how long they take."""
        calls = self._calls[method.path] = _Calls(method)
        now, buckets, by_status = time.perf_counter, calls.buckets, calls.by_status

        async def run(request: Any, context: Context) -> Any:
            calls.running += 1
            status = "OK"
            began = now()
            try:
                return await proceed(request, context)
            except BaseException as error:
                status = _status(error, context)
                raise
            finally:
                took = now() - began
                calls.running -= 1
                calls.seconds += took
                buckets[bisect_left(RPC_SECONDS, took)] += 1
                by_status[status] = by_status.get(status, 0) + 1

        return run

    def _families(self) -> Iterable[Metric]:
        handled = CounterMetricFamily(
            "popcorn_rpc_handled", "RPCs answered, by method and gRPC status.", labels=["method", "status"]
        )
        seconds = HistogramMetricFamily(
            "popcorn_rpc_seconds", "How long unary RPCs took, in seconds.", labels=["method"]
        )
        in_flight = GaugeMetricFamily("popcorn_rpc_running", "RPCs that run now.", labels=["method"])
        streams = GaugeMetricFamily("popcorn_open_streams", "Streams that are open now.", labels=["method"])
        for path, calls in self._calls.items():
            for status, number in tuple(calls.by_status.items()):
                handled.add_metric([path, status], number)
            if calls.streams:
                streams.add_metric([path], calls.running)
            else:
                in_flight.add_metric([path], calls.running)
                seconds.add_metric([path], *histogram(RPC_SECONDS, calls.buckets, calls.seconds))
        return handled, seconds, in_flight, streams


class _Calls:
    """What was counted of one method."""

    __slots__ = ("buckets", "by_status", "running", "seconds", "streams")

    def __init__(self, method: Method) -> None:
        self.streams = method.streams
        self.running = 0
        self.seconds = 0.0
        self.by_status: dict[str, int] = {}
        self.buckets = [0] * (len(RPC_SECONDS) + 1)


class _Read(Collector):
    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what there is may only be known later."""
        return ()


def histogram(
    bounds: Sequence[float], buckets: Sequence[int], total: float
) -> tuple[list[tuple[str, float]], float]:
    """Return a histogram as `HistogramMetricFamily` takes it.

    Args:
        bounds: The upper bounds of all buckets but the last, which has none.
        buckets: How many values fell into each of them alone.
        total: Of all values.
    """
    names = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    return list(zip(names, map(float, accumulate(buckets)), strict=True)), total


def of_health(health: Health) -> Families:
    """Return what there is to tell of a process' health."""

    def families() -> Iterable[Metric]:
        serving = GaugeMetricFamily(
            "popcorn_serving", "1 while everything that a service needs answers.", labels=["service"]
        )
        for service, serves in tuple(health.serving.items()):
            serving.add_metric([service], serves)
        return (serving,)

    return families


def of_database(database: "Database") -> Families:
    """Return what there is to tell of a pool of connections."""

    def families() -> Iterable[Metric]:
        use = database.use()
        connections = GaugeMetricFamily(
            "popcorn_database_connections", "Connections to PostgreSQL.", labels=["state"]
        )
        connections.add_metric(["in_use"], use.in_use)
        connections.add_metric(["idle"], use.idle)
        return (
            connections,
            GaugeMetricFamily("popcorn_database_connections_most", "As many as there may be.", use.most),
            GaugeMetricFamily("popcorn_database_waiting", "Callers that wait for a connection.", use.waiting),
            CounterMetricFamily(
                "popcorn_database_failures", "Uses that PostgreSQL did not answer in time.", use.failures
            ),
        )

    return families


def of_revocations(revocations: Revocations) -> Families:
    """Return what there is to tell of the list of ended sessions."""

    def families() -> Iterable[Metric]:
        age = revocations.age_seconds
        return (
            GaugeMetricFamily("popcorn_revocations_sessions", "Ended sessions remembered.", len(revocations)),
            GaugeMetricFamily(
                "popcorn_revocations_age_seconds", "Since the last poll that was answered; +Inf before.", age
            ),
        )

    return families


def _status(error: BaseException, context: Context) -> str:
    call = running.current()
    if call is not None and call.status is not None:
        return call.status
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED"
    return status_name(context.code())


def _end(server: Any, thread: threading.Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()
