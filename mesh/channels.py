"""Channels to the other services of the mesh.

What a call hands on without being told: what is left of the running RPC's deadline, its request id, and the
trace it belongs to. What is tried again: calls of methods whose contract says NO_SIDE_EFFECTS or IDEMPOTENT,
by gRPC's own retries.
"""

import json
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from mesh import running, tracing
from mesh.certificates import Certificates, mutual_tls_channel
from mesh.health import THE_PROCESS
from mesh.interceptors import REQUEST_ID_HEADER

DEFAULT_DEADLINE_SECONDS: Final = 3.0
"""How long a call may take when nobody says otherwise."""

_REPEATABLE: Final = frozenset({MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT})

_RETRY_POLICY: Final = {
    "maxAttempts": 3,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
# Retries stop while more than one call in six fails: they must not keep down a service that comes back. Until
# then there are fifteen at least: a replica that is lost takes along whatever is just then on its way.
_RETRY_THROTTLING: Final = {"maxTokens": 30, "tokenRatio": 0.2}

_ARGUMENTS: Final[tuple[tuple[str, int | str], ...]] = (
    ("grpc.enable_retries", 1),
    ("grpc.lb_policy_name", "round_robin"),
    # The config given to `open_channel` is the only one: DNS does not override it.
    ("grpc.service_config_disable_resolution", 1),
    # A replica that comes or goes is seen within seconds: names are looked up again after every lost
    # connection, at most every two seconds, and reconnecting never waits longer than that.
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
)


def open_channel(
    target: str,
    *,
    services: Sequence[ServiceDescriptor],
    certificates: Certificates | None = None,
    default_deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
) -> grpc.aio.Channel:
    """Open a channel to another service; connecting happens with the first call.

    Args:
        target: `host:port`, or any gRPC target.
        services: The services that will be called: their contracts say what may be tried again.
        certificates: What we show, and whom we trust; None speaks plain text.
        default_deadline_seconds: How long a call with a unary request may take unless it says otherwise.

    Returns:
        A channel for the generated stubs; close it with the process.
    """
    options = [*_ARGUMENTS, ("grpc.service_config", service_config(services))]
    channel = (
        grpc.aio.insecure_channel(target, options=options)
        if certificates is None
        else mutual_tls_channel(target, certificates, options=options)
    )
    return _MeshChannel(channel, default_deadline_seconds)


def service_config(services: Sequence[ServiceDescriptor]) -> str:
    """Return gRPC's service config for these services, as JSON."""
    names = [
        {"service": service.full_name, "method": method.name}
        for service in services
        for method in service.methods
        if is_repeatable(method)
    ]
    config: dict[str, object] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "retryThrottling": _RETRY_THROTTLING,
        # Each replica says when it is about to stop, and gets no new calls from then on.
        "healthCheckConfig": {"serviceName": THE_PROCESS},
    }
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": _RETRY_POLICY}]
    return json.dumps(config)


def is_repeatable(method: MethodDescriptor) -> bool:
    """Return whether the contract says that calling a method twice is as good as calling it once."""
    return method.GetOptions().idempotency_level in _REPEATABLE


class _MeshChannel(grpc.aio.Channel):
    """A channel whose calls hand on deadline and request id.

    gRPC's own client interceptors do the same at the price of a task and a wrapper object a call.
    """

    def __init__(self, channel: grpc.aio.Channel, default_deadline_seconds: float) -> None:
        self._channel = channel
        self._default = default_deadline_seconds

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._handing_on(self._channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._handing_on(self._channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._channel.stream_unary(*args, **kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._channel.stream_stream(*args, **kwargs)

    def _handing_on(self, multi_callable: Any) -> Callable[..., Any]:
        default, traced = self._default, tracing.on()

        def call(request: Any, *, timeout: float | None = None, metadata: Any = None, **kwargs: Any) -> Any:
            running_call = running.current()
            seconds = default if timeout is None else timeout
            if running_call is not None:
                time_left = running_call.time_left()
                if time_left is not None and time_left < seconds:
                    seconds = time_left
                if metadata is None:
                    metadata = ((REQUEST_ID_HEADER, running_call.request_id),)
                elif all(key != REQUEST_ID_HEADER for key, _ in metadata):
                    metadata = (*metadata, (REQUEST_ID_HEADER, running_call.request_id))
                if traced:
                    metadata = (*metadata, *tracing.outgoing())
            return multi_callable(request, timeout=seconds, metadata=metadata, **kwargs)

        return call

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self._channel.close()
