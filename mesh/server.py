"""Starts a service of the mesh, and stops it so that nobody notices.

    asyncio's entry point in a service's `__main__`:
        mesh.server.run(mesh.server.serve("game_svc", listen=settings.game_listen, services=[...]))

The order of stopping: health says NOT_SERVING, so that new calls go elsewhere, and then the doors close;
`before_stop` tells the open streams to reconnect; calls that run get the grace to finish; then the background
tasks end.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh import tracing
from mesh.certificates import Certificates
from mesh.clock import Clock, utc_now
from mesh.health import Health, Part, Probe
from mesh.identity import needs_identity
from mesh.interceptors import LayeredHandlers, NewId, layers, new_request_id
from mesh.metrics import Metrics, of_health
from mesh.revocations import DEPENDENCY as REVOCATIONS
from mesh.revocations import Sessions

T = TypeVar("T")

_MIB: Final = 1024 * 1024

_log = structlog.get_logger("mesh.server")


class ListenError(Exception):
    """The address cannot be listened on: taken, or not this machine's."""

    def __init__(self, listen: str) -> None:
        super().__init__(
            f"Cannot listen on {listen}: the port is taken, or the address is not this machine's."
        )
        self.listen = listen


@dataclass(frozen=True, slots=True)
class Service:
    """One gRPC service that a process offers."""

    descriptor: ServiceDescriptor
    """`game_pb2.DESCRIPTOR.services_by_name["GameService"]`."""
    add: Callable[[Any, Any], None]
    """The generated `add_GameServiceServicer_to_server`."""
    servicer: object
    """What answers: an instance of the generated base class."""
    probes: Mapping[str, Probe] = field(default_factory=dict)
    """What it needs in order to serve, by a plain name."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server behaves; the defaults are those of production."""

    shutdown_grace_seconds: float = 10.0
    """How long running calls, and `before_stop`, may take to finish once the server stops."""
    notice_seconds: float = 0.25
    """From saying NOT_SERVING to closing the doors: what is just then on its way is still answered."""
    probe_interval_seconds: float = 1.0
    """The pause between two rounds of probes."""
    probe_deadline_seconds: float = 2.0
    """How long one probe may take."""
    largest_request_bytes: int = _MIB
    """Requests above this are refused before they are read."""
    largest_response_bytes: int = 4 * _MIB
    """Answers above this are refused; 4 MiB is what every gRPC client takes by default."""
    keepalive_seconds: float = 30.0
    """How often a silent connection is asked whether it is still there."""
    keepalive_timeout_seconds: float = 10.0
    """How long that may stay unanswered before the connection counts as lost."""
    client_ping_interval_seconds: float = 5.0
    """Clients may ping this often, streams or not; gRPC's default of 5 minutes would cut them off."""


class Server:
    """A gRPC server with health, reflection and the mesh's interceptors. `async with` starts and stops it."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        listen: str,
        revocations: Sessions | None = None,
        before_stop: Callable[[], Awaitable[None]] | None = None,
        certificates: Certificates | None = None,
        health_listen: str | None = None,
        metrics: Metrics | None = None,
        options: ServerOptions = ServerOptions(),
        clock: Clock = utc_now,
        new_id: NewId = new_request_id,
    ) -> None:
        """Describe the server; nothing is opened before `start`.

        Args:
            services: What it offers.
            listen: `host:port`; port 0 takes a free one.
            revocations: Tells which sessions have ended; whoever made it starts and stops it. A service with
                methods that need to know their caller says NOT_SERVING until it has been filled. None only
                where there is no such method.
            before_stop: Called once when stopping, when nobody gets in any more and before calls are cut.
            certificates: What the server shows, and whose clients it lets in, followed while it runs; None
                speaks plain text.
            health_listen: `host:port` where health alone is answered in plain text; None is nowhere.
            metrics: Counts the RPCs, and is served for as long as the server is; None counts nothing.
            options: Limits and intervals.
            clock: For the expiry of identities.
            new_id: Makes request ids.

        Raises:
            ValueError: A method needs to know its caller, and nobody tells which sessions have ended.
        """
        if revocations is None and any(_knows_callers(service) for service in services):
            raise ValueError("a method needs to know its caller: give the server the revocations")
        self._services = tuple(services)
        self._revocations = revocations
        self._listen = listen
        self._before_stop = before_stop
        self._certificates = certificates
        self._health_listen = health_listen
        self._metrics = Metrics(None) if metrics is None else metrics
        self._serving_metrics = ExitStack()
        self._options = options
        self._clock = clock
        self._new_id = new_id
        self._server: grpc.aio.Server | None = None
        self._health_server: grpc.aio.Server | None = None
        self._stopping = False
        self._beside: list[asyncio.Task[None]] = []
        self._health: Health | None = None
        self.port = 0
        """The port it listens on, once started."""
        self.health_port = 0
        """The port of health alone, once started; 0 where there is none."""

    async def start(self) -> None:
        """Bind, start to answer, and start to probe; returns before the first probe has passed.

        Raises:
            ListenError: When the address is taken.
        """
        options = self._options
        descriptors = [service.descriptor for service in self._services]
        server = grpc.aio.server(options=_channel_arguments(options))
        handlers = LayeredHandlers(
            descriptors,
            layers(
                clock=self._clock,
                new_id=self._new_id,
                revocations=self._revocations,
                watching=(*tracing.layers(), *self._metrics.layers),
            ),
        )
        for service in self._services:
            service.add(service.servicer, handlers)
        self._health = Health(
            [Part(service.descriptor.full_name, self._probes_of(service)) for service in self._services],
            interval_seconds=options.probe_interval_seconds,
            deadline_seconds=options.probe_deadline_seconds,
        )
        self._metrics.watch(of_health(self._health))
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
        names = [descriptor.full_name for descriptor in descriptors]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        server.add_generic_rpc_handlers((handlers,))  # last, as it answers for names that nobody has
        self.port = _bind(server, self._listen, self._certificates)
        if self._health_listen is not None:
            self._health_server = grpc.aio.server(options=_channel_arguments(options))
            health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._health_server)
            self.health_port = _bind(self._health_server, self._health_listen, None)
            await self._health_server.start()
        try:
            self._serving_metrics.enter_context(self._metrics.serving())
        except OSError as error:
            raise ListenError(self._metrics.listen or "") from error
        await server.start()
        self._server = server
        self._beside.append(asyncio.create_task(self._health.run(), name="health probes"))
        if self._certificates is not None:
            self._beside.append(asyncio.create_task(self._certificates.follow(), name="certificates"))

    async def stop(self, grace: float | None = None) -> None:
        """Stop in order; see the module. Stopping twice is stopping once; `abort` cuts a stop short.

        Args:
            grace: Seconds for `before_stop` and for running calls; the option's by default.
        """
        server = self._server
        if server is None or self._stopping:
            return
        self._stopping = True
        assert self._health is not None, "a started server has health"
        seconds = self._options.shutdown_grace_seconds if grace is None else grace
        self._health.stop_serving()
        # Our own channels watch the health and send no more; what the edge is refused it tries elsewhere.
        await asyncio.sleep(min(self._options.notice_seconds, seconds))
        # From here on nobody gets in, and connections are told so (GOAWAY): a stream that is asked to connect
        # again lands elsewhere at once, and not here until somebody has looked at the health again.
        closing = asyncio.create_task(server.stop(seconds), name="close the doors")
        if self._before_stop is not None:
            try:
                async with asyncio.timeout(seconds):
                    await self._before_stop()
            except Exception as error:  # whatever it was, the server still has to stop
                _log.error("server.before_stop_failed", exc_info=error)
        self._health.close()
        await closing
        if self._health_server is not None:
            await self._health_server.stop(None)
        for task in self._beside:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._serving_metrics.close()

    def _probes_of(self, service: Service) -> Mapping[str, Probe]:
        if self._revocations is None or not _knows_callers(service):
            return service.probes
        return {**service.probes, REVOCATIONS: self._revocations.probe}

    async def abort(self) -> None:
        """Cut all running calls now, whatever a stop under way has promised them."""
        if self._server is not None:
            await self._server.stop(None)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stop, with the option's grace."""
        await self.stop()


async def serve(
    name: str,
    *,
    listen: str,
    services: Sequence[Service],
    revocations: Sessions | None = None,
    before_stop: Callable[[], Awaitable[None]] | None = None,
    certificates: Certificates | None = None,
    health_listen: str | None = None,
    metrics: Metrics | None = None,
    options: ServerOptions = ServerOptions(),
) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully; a second signal cuts the grace short.

    Args:
        name: The process' name, for the log.
        listen: `host:port`; port 0 takes a free one, and the log says which.
        services: What to offer.
        revocations: See `Server`.
        before_stop: See `Server`.
        certificates: See `Server`.
        health_listen: See `Server`.
        metrics: See `Server`.
        options: See `ServerOptions`.

    Raises:
        ListenError: When the address is taken.
    """
    signals: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number.name)
    try:
        server = Server(
            services,
            listen=listen,
            revocations=revocations,
            before_stop=before_stop,
            certificates=certificates,
            health_listen=health_listen,
            metrics=metrics,
            options=options,
        )
        await server.start()
        names = [service.descriptor.full_name for service in services]
        _log.info("server.listening", name=name, listen=listen, port=server.port, services=names)
        _log.info(
            "server.stopping", name=name, signal=await signals.get(), grace=options.shutdown_grace_seconds
        )
        stopping = asyncio.create_task(server.stop(), name="graceful stop")
        again = asyncio.create_task(signals.get(), name="second signal")
        await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            _log.warning("server.cut_short", name=name)
            await server.abort()
        again.cancel()
        await stopping
        _log.info("server.stopped", name=name)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as the process' main one, on uvloop where that is installed.

    An address that is taken ends the process with a sentence and status 1.
    """
    try:
        import uvloop  # optional: it is not made for every platform
    except ImportError:
        new_loop = None
    else:
        new_loop = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main)
    except ListenError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from error


def _bind(server: grpc.aio.Server, listen: str, certificates: Certificates | None) -> int:
    """Bind a server to an address and return its port. Raises ListenError."""
    try:
        if certificates is None:
            return server.add_insecure_port(listen)
        return server.add_secure_port(listen, certificates.server_credentials())
    except RuntimeError as error:
        raise ListenError(listen) from error


def _knows_callers(service: Service) -> bool:
    return any(needs_identity(method) for method in service.descriptor.methods)


def _channel_arguments(options: ServerOptions) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # a second process on the port is a mistake, not a way to share the load
        ("grpc.max_receive_message_length", options.largest_request_bytes),
        ("grpc.max_send_message_length", options.largest_response_bytes),
        ("grpc.keepalive_time_ms", round(options.keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", round(options.keepalive_timeout_seconds * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            round(options.client_ping_interval_seconds * 1000),
        ),
    ]
