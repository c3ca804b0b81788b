"""Traces: which way a request went and how long each step took, sent to a collector by OTLP over HTTP.

    tracing.configure(NAME, settings.otlp_endpoint)          # in `__main__`, before channels are opened
    with tracing.span("postgresql", "SELECT"):               # around what a store asks its server
        ...

The edge begins every trace and decides which requests are traced; it hands on the W3C header `traceparent`
(https://www.w3.org/TR/trace-context/), as do our channels. What no traced request causes is not traced: polls
and probes would be most of it. Without a collector there is no layer around RPCs, and `span` does nothing.

A span says what was asked of whom and how it ended: never a value, a key or a person.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context as Variables
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mesh import running
from mesh.interceptors import Context, Layer, Method, Run, status_name

TRACEPARENT: Final = "traceparent"
REQUEST_ID: Final = "popcorn.request_id"
"""The attribute that holds the request's id, at the edge and in every service."""

_EXPORT_SECONDS: Final = 2.0
_NOTHING: Final = nullcontext()

_propagator: Final = TraceContextTextMapPropagator()
_tracer: trace.Tracer | None = None


def configure(service: str, collector: str | None) -> None:
    """Set up tracing for this process.

    Args:
        service: What the process is called in traces.
        collector: `http://host:4318`; None traces nothing.
    """
    global _tracer
    if collector is None:
        return
    provider = TracerProvider(
        resource=Resource({SERVICE_NAME: service}), sampler=ParentBased(root=ALWAYS_OFF)
    )
    exporter = OTLPSpanExporter(f"{collector}/v1/traces", timeout=_EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("evening-popcorn")
    running.make_contexts_with(_knowing_the_trace)


def layers() -> Sequence[Layer]:
    """Return what to put around every RPC; nothing where nothing is traced."""
    return () if _tracer is None else (_layer,)


def on() -> bool:
    """Return whether anything is traced."""
    return _tracer is not None


def span(system: str, operation: str) -> AbstractContextManager[Any]:
    """Trace a step of the request that is being traced, if one is.

    Args:
        system: What is asked: "postgresql", "redis", "mongodb", "tmdb".
        operation: What for, in a word or two that are the same whatever is asked: "SELECT", "/movie/changes".
    """
    if _tracer is None or not trace.get_current_span().get_span_context().trace_flags.sampled:
        return _NOTHING
    return _step(_tracer, system, operation)


def outgoing() -> tuple[tuple[str, str], ...]:
    """Return the metadata that makes a call a part of the trace that is going on; nothing without one."""
    if not trace.get_current_span().get_span_context().is_valid:
        return ()
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return tuple(carrier.items())


def _knowing_the_trace() -> Variables:
    variables = Variables()
    current = trace.get_current_span()
    if current.get_span_context().trace_flags.sampled:
        variables.run(otel.attach, trace.set_span_in_context(current, otel.Context()))
    return variables


@contextmanager
def _step(tracer: trace.Tracer, system: str, operation: str) -> Iterator[None]:
    with tracer.start_as_current_span(
        f"{system} {operation}",
        kind=SpanKind.CLIENT,
        attributes={"peer.service": system, "popcorn.operation": operation},
        record_exception=False,  # a driver's words quote values
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_status(StatusCode.ERROR)
            current.set_attribute("error.type", type(error).__name__)
            raise


def _layer(method: Method, proceed: Run) -> Run:
    """Go on with the trace that a call belongs to."""
    path = method.path
    service, _, name = path.removeprefix("/").partition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}

    async def run(request: Any, context: Context) -> Any:
        tracer = _tracer
        call = running.current()
        metadata: Any = (context.invocation_metadata() or ()) if call is None else call.metadata
        carrier = {key: value for key, value in metadata if key == TRACEPARENT}
        if tracer is None or not carrier:
            return await proceed(request, context)
        with tracer.start_as_current_span(
            path.removeprefix("/"),
            context=_propagator.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={**attributes, **({} if call is None else {REQUEST_ID: call.request_id})},
            record_exception=False,
            set_status_on_exception=False,
        ) as current:
            try:
                answer = await proceed(request, context)
            except BaseException:
                status = call.status if call is not None else None
                current.set_attribute("rpc.grpc.status", status or status_name(context.code()))
                current.set_status(StatusCode.ERROR)
                raise
            current.set_attribute("rpc.grpc.status", "OK")
            return answer

    return run
