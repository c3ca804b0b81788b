"""What happens around every RPC, in one list and one order.

Each layer is a function that takes the rest of the way (`Run`) and returns a way with itself in front. All
four kinds of handler are brought to the same shape first, a coroutine of (request or request iterator,
context), so a layer is written once. A method's layers are put together when its service is registered:
gRPC's own interceptors are asked at every call, which costs a tenth of an empty one.
"""

import asyncio
import inspect
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import DecodeError

from mesh import errors, identity, running
from mesh.clock import Clock
from mesh.revocations import Sessions
from popcorn.options.v1 import options_pb2

REQUEST_ID_HEADER: Final = "x-request-id"
ABORT_SECONDS: Final = 5.0
"""How long a call waits for its client to take its status, which reaches them should they read again."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")

# In quotes: these are generic in the stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Run = Callable[[Any, Context], Awaitable[Any]]
NewId = Callable[[], str]

_log = structlog.get_logger("mesh.rpc")


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC of the contract."""

    path: str
    """`/popcorn.game.v1.GameService/Swipe`."""
    access: int
    """Who may call it: a value of `popcorn.options.v1.Access`."""
    reads: bool
    """Whether it changes nothing: idempotency_level NO_SIDE_EFFECTS."""
    streams: bool = False
    """Whether it has more than one message in either direction."""


Layer = Callable[[Method, Run], Run]


def new_request_id() -> str:
    """Return a fresh request id: the id function of production."""
    return os.urandom(16).hex()


def layers(
    *, clock: Clock, new_id: NewId, revocations: Sessions | None, watching: Sequence[Layer] = ()
) -> Sequence[Layer]:
    """Return the layers around every RPC, the outermost first.

    Args:
        clock: The present.
        new_id: Makes request ids.
        revocations: See `identities`.
        watching: Layers that look on, such as metrics and traces.
    """
    return (
        request_ids(new_id),  # first, so that everything after it can be found in the log by one id
        *watching,  # as far outside: they see the status the client gets, and every call there is
        access_log,  # outside of the error mapping, so that it sees the status the client gets
        error_mapping,  # outside of all that may refuse
        identities(clock, revocations),  # last: what runs behind it knows its caller
    )


def request_ids(new_id: NewId) -> Layer:
    """Give the call its request id, the caller's when that is well-formed, and note its deadline."""

    def layer(method: Method, proceed: Run) -> Run:
        path = method.path

        async def run(request: Any, context: Context) -> Any:
            metadata: Any = context.invocation_metadata() or ()
            request_id = None
            for key, value in metadata:
                if key == REQUEST_ID_HEADER:
                    if isinstance(value, str) and _REQUEST_ID.fullmatch(value):
                        request_id = value
                    break
            if request_id is None:
                request_id = new_id()
            time_left: float | None = context.time_remaining()
            running.enter(
                running.RunningCall(
                    method=path,
                    request_id=request_id,
                    metadata=metadata,
                    deadline=None if time_left is None else time.monotonic() + time_left,
                )
            )
            return await proceed(request, context)

        return run

    return layer


def access_log(method: Method, proceed: Run) -> Run:
    """Write one line a call: method, status, milliseconds, who. Never what was sent or answered."""
    path = method.path

    async def run(request: Any, context: Context) -> Any:
        started = time.perf_counter()
        status: str | None = None
        try:
            return await proceed(request, context)
        except asyncio.CancelledError:
            status = "CANCELLED"
            raise
        finally:
            if _log.is_enabled_for(logging.INFO):
                milliseconds = round((time.perf_counter() - started) * 1000, 2)
                _log.info("rpc", method=path, **_outcome(status, context), ms=milliseconds)

    return run


def _outcome(status: str | None, context: Context) -> dict[str, object]:
    call = running.current()
    if call is None:
        return {"status": status or status_name(context.code())}
    fields: dict[str, object] = {"status": status or call.status or status_name(context.code())}
    if call.reason is not None:
        fields["reason"] = call.reason
    if call.identity is not None:
        fields["user_id"] = call.identity.user_id
    return fields


def error_mapping(method: Method, proceed: Run) -> Run:
    """Answer every exception with a status and its details, and none with its own text."""
    path = method.path

    async def run(request: Any, context: Context) -> Any:
        try:
            return await proceed(request, context)
        except grpc.aio.AbortError:
            raise  # the handler has already answered
        except grpc.aio.InternalError:
            # Reading or writing failed under the handler: the call has ended, and nobody is left to answer.
            raise asyncio.CancelledError from None
        except Exception as error:  # the one place where every failure becomes a status
            status = errors.to_status(error, method=path)
        code = errors.code_of(status)
        trailers = errors.trailers_of(status)
        call = running.current()
        if call is not None:
            call.status, call.reason = code.name, errors.reason_of(status)
            trailers = (*trailers, (REQUEST_ID_HEADER, call.request_id))
        try:
            async with asyncio.timeout(ABORT_SECONDS):
                await context.abort(code, status.message, trailers)
        except (grpc.aio.InternalError, TimeoutError):
            raise asyncio.CancelledError from None

    return run


def identities(clock: Clock, revocations: Sessions | None) -> Layer:
    """Let in whom the contract's `access` option lets in while their session lasts, and remember who it is.

    Args:
        clock: The present, for the expiry of tokens.
        revocations: Tells which sessions have ended; None only where no method needs to know its caller.
    """

    def layer(method: Method, proceed: Run) -> Run:
        access, reads = method.access, method.reads
        if access in (options_pb2.ACCESS_PUBLIC, options_pb2.ACCESS_INTERNAL):
            return proceed
        if revocations is None:
            raise ValueError(f"{method.path} needs to know which sessions have ended")

        async def run(request: Any, context: Context) -> Any:
            call = running.current()
            metadata: Any = context.invocation_metadata() or () if call is None else call.metadata
            who = identity.identify(metadata, now=clock())
            if call is not None:
                call.identity = who
            revocations.check(who.session_id, reads=reads)
            identity.admit(who, access=access)
            return await proceed(request, context)

        return run

    return layer


class LayeredHandlers(grpc.GenericRpcHandler):
    """The handlers of the mesh's services, with the layers around them.

    Generated `add_...Servicer_to_server` functions take it for a server to register with; the server then
    gets it as its last handler. A method that nobody has answers UNIMPLEMENTED with an ErrorInfo, like
    everything else that fails. Health and reflection stay outside: they are not the contract's, and are
    asked every second.
    """

    def __init__(self, services: Sequence[ServiceDescriptor], layers: Sequence[Layer]) -> None:
        self._methods: Mapping[str, Method] = {
            path: Method(
                path=path,
                access=identity.access_of(method),
                reads=method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
                streams=method.client_streaming or method.server_streaming,
            )
            for service in services
            for method in service.methods
            for path in [f"/{service.full_name}/{method.name}"]
        }
        self._layers = tuple(layers)
        self._handlers: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Take the contract's methods out of what a generated function registers."""
        for handler in handlers:
            for path, method in self._methods.items():
                found = handler.service(_Details(path))
                if found is not None:
                    self._handlers[path] = self._layered(method, found)

    def add_registered_method_handlers(self, _service: str, _handlers: Mapping[str, Handler]) -> None:
        """Take nothing: generated functions register the same handlers this way as well."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Return the handler for a call."""
        path = handler_call_details.method
        return self._handlers.get(path) or _unknown_method(path)

    def _layered(self, method: Method, handler: Handler) -> Handler:
        run = _normalised(handler)
        for layer in reversed(self._layers):
            run = layer(method, run)
        return _rebuilt(handler, run)


@dataclass(frozen=True, slots=True)
class _Details(grpc.HandlerCallDetails):
    """A call of a method, for asking who handles it."""

    method: str
    invocation_metadata: tuple[()] = ()


def _unknown_method(path: str) -> Handler:
    async def run(_requests: AsyncIterator[bytes], context: Context) -> None:
        status = errors.to_status(NotImplementedError(), method=path)
        await context.abort(errors.code_of(status), status.message, errors.trailers_of(status))

    # A stream of bytes both ways fits every kind of call: nothing is read before the answer.
    return grpc.stream_stream_rpc_method_handler(run)


def _normalised(handler: Handler) -> Run:
    """Return a handler's behaviour as one coroutine, from bytes where the request is single, to bytes.

    Messages are parsed and serialised in here and not by gRPC, whose way of saying that one cannot be is to
    send the client the exception's text.
    """
    any_handler: Any = handler
    kinds = {
        (False, False): any_handler.unary_unary,
        (False, True): any_handler.unary_stream,
        (True, False): any_handler.stream_unary,
        (True, True): any_handler.stream_stream,
    }
    behaviour = kinds[any_handler.request_streaming, any_handler.response_streaming]
    # A stream's messages are parsed by gRPC as the handler reads them: a failure then happens inside the
    # handler.
    parse = _as_it_is if any_handler.request_streaming else _parser(any_handler)
    serialise = any_handler.response_serializer or _as_it_is

    if inspect.isasyncgenfunction(behaviour):

        async def stream(request: Any, context: Context) -> None:
            # Closed here and not by the garbage collector: what the generator holds is let go with the call.
            async with aclosing(behaviour(parse(request), context)) as messages:
                async for message in messages:
                    await context.write(message)

        return stream

    if not inspect.iscoroutinefunction(behaviour):

        async def call(request: Any, context: Context) -> Any:
            # A plain function: the generated base class, whose methods raise NotImplementedError.
            return serialise(behaviour(parse(request), context))

        return call

    if any_handler.response_streaming:

        async def write(request: Any, context: Context) -> None:
            await behaviour(parse(request), context)

        return write

    async def answer(request: Any, context: Context) -> Any:
        return serialise(await behaviour(parse(request), context))

    return answer


def _rebuilt(handler: Handler, run: Any) -> Handler:
    """Return a handler of the same kind that does `run`."""
    any_handler: Any = handler
    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[any_handler.request_streaming, any_handler.response_streaming]
    rebuilt: Handler = make(
        run,
        _parser(any_handler) if any_handler.request_streaming else None,
        _serialiser(any_handler) if any_handler.response_streaming else None,
    )
    return rebuilt


def _serialiser(handler: Any) -> Callable[[Any], Any]:
    """Return what makes bytes of a stream's messages; a handler may write some that are bytes already."""
    serialise = handler.response_serializer or _as_it_is

    def serialised(message: Any) -> Any:
        return message if type(message) is bytes else serialise(message)

    return serialised


def _parser(handler: Any) -> Callable[[Any], Any]:
    parse = handler.request_deserializer or _as_it_is

    def parsed(message: Any) -> Any:
        try:
            return parse(message)
        except DecodeError:
            pass
        sentence = "The message cannot be parsed: it is not of the type that this method takes."
        raise errors.InvalidInput([errors.Violation("", "MALFORMED_MESSAGE", sentence)])

    return parsed


def _as_it_is(message: Any) -> Any:
    return message


def status_name(code: grpc.StatusCode | int | None) -> str:
    """Return the name of what a context calls its code."""
    match code:
        case None | 0:
            return "OK"
        case grpc.StatusCode():
            return code.name
        case number:
            return next((known.name for known in grpc.StatusCode if known.value[0] == number), "UNKNOWN")
