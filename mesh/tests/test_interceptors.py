import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2
from structlog.testing import capture_logs

from mesh import running
from mesh.errors import DOMAIN, InvalidInput, Unavailable, Violation, status_of
from mesh.interceptors import LayeredHandlers, layers
from mesh.tests.probing import DESCRIPTOR, NOW, EverybodyStays, Stub, identity_metadata, path_of, text

Serving = Callable[..., Awaitable[Stub]]

SECRET = "password=hunter2 at db.internal"


class RoomFull(Exception):
    status = "FAILED_PRECONDITION"
    reason = "ROOM_FULL"

    def __init__(self, seats: int) -> None:
        super().__init__(f"The room seats {seats}; it is full.")
        self.metadata = {"seats": str(seats)}


class Failing:
    """Fails in every kind of method, after one message where there is a stream."""

    def __init__(self, error: Callable[[], BaseException]) -> None:
        self.error = error

    async def Ask(self, request: StringValue, context: Any) -> StringValue:
        raise self.error()

    async def Watch(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield text("first")
        raise self.error()

    async def Collect(self, requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        async for _ in requests:
            raise self.error()
        return text("")

    async def Chat(self, requests: AsyncIterator[StringValue], context: Any) -> None:
        await context.write(text(f"heard {(await context.read()).value}"))
        raise self.error()


async def outcome(call: Any) -> tuple[list[str], grpc.aio.AioRpcError | None]:
    """Return the texts that a call answered with, and its error."""
    texts: list[str] = []
    try:
        if hasattr(call, "__aiter__"):
            async for message in call:
                texts.append(message.value)  # noqa: PERF401 - what came before an error counts
        else:
            texts.append((await call).value)
    except grpc.aio.AioRpcError as error:
        return texts, error
    return texts, None


def call_of(stub: Stub, kind: str) -> Any:
    match kind:
        case "unary-unary":
            return stub.Ask(text("a"))
        case "unary-stream":
            return stub.Watch(text("a"))
        case "stream-unary":
            return stub.Collect(iter([text("a")]))
        case _:
            return stub.Chat(iter([text("a")]))


def rpc_lines(logs: Any) -> list[Any]:
    return [line for line in logs if line["event"] == "rpc"]


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds: a server's log line comes a moment after its answer."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - log lines come without an event to wait for
            await asyncio.sleep(0.005)


KINDS = ["unary-unary", "unary-stream", "stream-unary", "stream-stream"]


def details_of(error: grpc.aio.AioRpcError | None) -> dict[str, Any]:
    assert error is not None
    status = status_of(error)
    assert status is not None, "every error carries a google.rpc.Status"
    assert status.message == error.details()
    found: dict[str, Any] = {}
    for detail in status.details:
        name = detail.TypeName().rpartition(".")[2]
        assert name not in found
        found[name] = getattr(error_details_pb2, name)()
        detail.Unpack(found[name])
    assert found["ErrorInfo"].domain == DOMAIN
    return found


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_reaches_the_client_with_its_reason(serving: Serving, kind: str) -> None:
    stub = await serving(Failing(lambda: RoomFull(8)))
    texts, error = await outcome(call_of(stub, kind))
    assert error is not None
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "The room seats 8; it is full."
    info = details_of(error)["ErrorInfo"]
    assert (info.reason, dict(info.metadata)) == ("ROOM_FULL", {"seats": "8"})
    assert texts == {"unary-stream": ["first"], "stream-stream": ["heard a"]}.get(kind, [])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error_type", [ValueError, KeyError, OSError, RuntimeError, StopAsyncIteration])
async def test_the_text_of_a_foreign_exception_never_leaves(
    serving: Serving, kind: str, error_type: type[Exception]
) -> None:
    stub = await serving(Failing(lambda: error_type(SECRET)))
    with capture_logs() as logs:
        _, error = await outcome(call_of(stub, kind))
    assert error is not None
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in repr(error) + repr(error.trailing_metadata())
    assert details_of(error)["ErrorInfo"].reason == "INTERNAL"
    failed = [line for line in logs if line["event"] == "rpc.failed"]
    assert len(failed) == 1
    assert failed[0]["exc_info"] is not None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_method_of_the_generated_base_class_is_unimplemented_with_details(
    serving: Serving, kind: str
) -> None:
    stub = await serving(object())
    _, error = await outcome(call_of(stub, kind))
    assert error is not None
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    info = details_of(error)["ErrorInfo"]
    assert info.reason == "NOT_IMPLEMENTED"
    assert info.metadata["method"].startswith("mesh.tests.ProbingService/")


@pytest.mark.parametrize("path", ["/mesh.tests.ProbingService/Nothing", "/nobody.Knows/This"])
async def test_a_method_that_nobody_has_is_unimplemented_with_details(serving: Serving, path: str) -> None:
    stub = await serving(object())
    with pytest.raises(grpc.aio.AioRpcError) as unary:
        await stub.channel.unary_unary(path)(b"x")
    with pytest.raises(grpc.aio.AioRpcError) as streaming:
        await anext(aiter(stub.channel.stream_stream(path)(iter([b"x"]))))
    for raised in (unary, streaming):
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert details_of(raised.value)["ErrorInfo"].metadata["method"] == path[1:]


async def test_every_violation_is_named(serving: Serving) -> None:
    violations = [
        Violation("note", "TOO_LONG", "Too long."),
        Violation("picks[3].movie_id", "INVALID", "Bad."),
    ]
    stub = await serving(Failing(lambda: InvalidInput(violations)))
    _, error = await outcome(stub.Ask(text("")))
    details = details_of(error)
    assert [
        (violation.field, violation.reason, violation.description)
        for violation in details["BadRequest"].field_violations
    ] == [("note", "TOO_LONG", "Too long."), ("picks[3].movie_id", "INVALID", "Bad.")]
    assert details["ErrorInfo"].reason == "INVALID_INPUT"


async def test_a_thousand_violations_still_fit_into_the_trailers(serving: Serving) -> None:
    reason, sentence = "INVALID_MOVIE_ID", "Must be the id of a film: a whole number from 1."
    many = [Violation(f"entries[{number}].movie_id", reason, sentence) for number in range(1000)]
    stub = await serving(Failing(lambda: InvalidInput(many)))
    _, error = await outcome(stub.Ask(text("")))
    details = details_of(error)
    assert error is not None
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert 20 < len(details["BadRequest"].field_violations) < 1000
    assert details["ErrorInfo"].metadata["violations"] == "1000"


async def test_a_refusal_may_say_when_to_try_again(serving: Serving) -> None:
    stub = await serving(Failing(lambda: Unavailable("tmdb", timedelta(seconds=2.5))))
    _, error = await outcome(stub.Ask(text("")))
    details = details_of(error)
    assert details["RetryInfo"].retry_delay.ToTimedelta() == timedelta(seconds=2.5)
    assert details["ErrorInfo"].metadata["dependency"] == "tmdb"


async def test_a_time_out_of_our_own_is_deadline_exceeded(serving: Serving) -> None:
    stub = await serving(Failing(TimeoutError))
    _, error = await outcome(stub.Ask(text("")))
    assert error is not None
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert details_of(error)["ErrorInfo"].reason == "DEADLINE_EXCEEDED"


async def test_a_handler_that_aborts_by_itself_is_left_alone(serving: Serving) -> None:
    class Aborting:
        async def Ask(self, request: StringValue, context: Any) -> None:
            await context.abort(grpc.StatusCode.DATA_LOSS, "by hand")

    stub = await serving(Aborting())
    with capture_logs() as logs:
        _, error = await outcome(stub.Ask(text("")))
        await until(lambda: rpc_lines(logs))
    assert error is not None
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "by hand")
    assert [line["status"] for line in rpc_lines(logs)] == ["DATA_LOSS"]


class Forwarding:
    """Asks the next service, like the gateway does."""

    def __init__(self, next_stub: Stub) -> None:
        self.next_stub = next_stub

    async def Ask(self, request: StringValue, context: Any) -> StringValue:
        answer: StringValue = await self.next_stub.Ask(request, timeout=0.5)
        return answer


async def test_the_status_of_another_service_of_the_mesh_is_passed_on(serving: Serving) -> None:
    stub = await serving(Forwarding(await serving(Failing(lambda: RoomFull(4)))))
    _, error = await outcome(stub.Ask(text("")))
    assert error is not None
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details_of(error)["ErrorInfo"].reason == "ROOM_FULL"


class Plain:
    """Fails as something that is not ours would: without details."""

    def __init__(self, code: grpc.StatusCode, trailers: tuple[tuple[str, bytes], ...] = ()) -> None:
        self.code = code
        self.trailers = trailers

    async def Ask(self, request: StringValue, context: Any) -> None:
        await context.abort(self.code, SECRET, self.trailers)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.DEADLINE_EXCEEDED),
        (grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("trailers", [(), (("grpc-status-details-bin", b"\xff\xff"),)])
async def test_a_failure_without_our_details_is_a_dependency_that_failed(
    serving: Serving, code: grpc.StatusCode, expected: grpc.StatusCode, trailers: Any
) -> None:
    stub = await serving(Forwarding(await serving(Plain(code, trailers))))
    _, error = await outcome(stub.Ask(text("")))
    assert error is not None
    assert error.code() is expected
    assert details_of(error)["ErrorInfo"].reason == "DEPENDENCY_UNAVAILABLE"
    assert "hunter2" not in repr(error)


async def test_a_message_that_cannot_be_parsed_is_bad_input(serving: Serving) -> None:
    stub = await serving(Failing(lambda: AssertionError("not reached")))
    channel = stub.channel
    malformed = b"\xff\xff"
    attempts = [
        channel.unary_unary(path_of("Ask"))(malformed),
        channel.unary_stream(path_of("Watch"))(malformed),
        channel.stream_unary(path_of("Collect"))(iter([malformed])),
        channel.stream_stream(path_of("Chat"))(iter([malformed])),
    ]
    for attempt in attempts:
        _, error = await outcome(attempt)
        assert error is not None
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert details_of(error)["BadRequest"].field_violations[0].reason == "MALFORMED_MESSAGE"


async def test_an_answer_that_cannot_be_serialised_is_internal(serving: Serving) -> None:
    class Forgetful:
        async def Ask(self, request: StringValue, context: Any) -> None:
            return None

        async def Watch(self, request: StringValue, context: Any) -> AsyncIterator[object]:
            yield object()

    stub = await serving(Forgetful())
    for call in (stub.Ask(text("")), stub.Watch(text(""))):
        _, error = await outcome(call)
        assert error is not None
        assert error.code() is grpc.StatusCode.INTERNAL
        assert details_of(error)["ErrorInfo"].reason == "INTERNAL"


async def test_what_a_streaming_handler_holds_is_let_go_when_the_client_leaves(serving: Serving) -> None:
    held, let_go = asyncio.Event(), asyncio.Event()

    class Holding:
        async def Watch(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
            held.set()
            try:
                yield text("first")
                await asyncio.Event().wait()
            finally:
                let_go.set()

    stub = await serving(Holding())
    with capture_logs() as logs:
        call = stub.Watch(text(""))
        assert (await call.read()).value == "first"
        call.cancel()
        await asyncio.wait_for(let_go.wait(), 5)
        await until(lambda: rpc_lines(logs))
    assert held.is_set()
    assert [line["status"] for line in rpc_lines(logs)] == ["CANCELLED"]


class Echo:
    async def Ask(self, request: StringValue, context: Any) -> StringValue:
        call = running.current()
        assert call is not None
        return text(json.dumps({"request_id": call.request_id, "left": call.time_left()}))

    async def Members(self, request: StringValue, context: Any) -> StringValue:
        return text("for members")

    async def Watch(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield text("only")


async def request_id_of(call: Any) -> str:
    """Return the request id that the handler saw."""
    seen: str = json.loads((await call).value)["request_id"]
    return seen


async def test_a_well_formed_request_id_is_kept(serving: Serving) -> None:
    stub = await serving(Echo())
    mine = "3f2a9c1e-77aa-4bd0-9a53-0d7b3e5f2c11"
    assert await request_id_of(stub.Ask(text(""), metadata=[("x-request-id", mine)])) == mine


@pytest.mark.parametrize("malformed", ["", "short", "with space in it", "x" * 65, 'quote"quote"'])
async def test_a_malformed_request_id_is_replaced(serving: Serving, malformed: str) -> None:
    stub = await serving(Echo(), new_id=lambda: "made-by-the-server")
    metadata = [("x-request-id", malformed)]
    assert await request_id_of(stub.Ask(text(""), metadata=metadata)) == "made-by-the-server"


async def test_an_error_carries_the_request_id(serving: Serving) -> None:
    stub = await serving(Failing(lambda: RoomFull(2)), new_id=lambda: "made-by-the-server")
    _, error = await outcome(stub.Ask(text("")))
    assert error is not None
    assert dict(error.trailing_metadata())["x-request-id"] == "made-by-the-server"


async def test_the_access_log_has_one_line_a_call_and_no_payload(serving: Serving) -> None:
    stub = await serving(Echo())
    with capture_logs() as logs:
        await stub.Members(text("my diary"), metadata=[identity_metadata(sub="user-7")])
        await outcome(stub.Members(text("my diary")))
        await outcome(stub.Watch(text("my diary")))
    found = rpc_lines(logs)
    lines = [{key: line.get(key) for key in ("method", "status", "reason", "user_id")} for line in found]
    assert lines == [
        {"method": path_of("Members"), "status": "OK", "reason": None, "user_id": "user-7"},
        {
            "method": path_of("Members"),
            "status": "UNAUTHENTICATED",
            "reason": "MISSING_IDENTITY",
            "user_id": None,
        },
        {"method": path_of("Watch"), "status": "OK", "reason": None, "user_id": None},
    ]
    assert all(0 <= line["ms"] < 5000 for line in found)
    assert "diary" not in repr(logs)


async def test_the_deadline_of_the_caller_is_known(serving: Serving) -> None:
    stub = await serving(Echo())
    assert json.loads((await stub.Ask(text(""))).value)["left"] is None
    left = json.loads((await stub.Ask(text(""), timeout=5)).value)["left"]
    assert 4 < left < 5.1


async def test_detached_work_outlives_its_rpc_and_inherits_nothing(serving: Serving) -> None:
    found: asyncio.Future[running.RunningCall | None] = asyncio.get_running_loop().create_future()

    class Starting:
        async def Ask(self, request: StringValue, context: Any) -> StringValue:
            async def work() -> None:
                found.set_result(running.current())

            running.start_detached(work(), name="work")
            return text("answered")

    stub = await serving(Starting())
    await stub.Ask(text(""), timeout=1)
    assert await asyncio.wait_for(found, 5) is None


async def test_concurrent_calls_do_not_see_each_other(serving: Serving) -> None:
    class Slow:
        async def Ask(self, request: StringValue, context: Any) -> StringValue:
            before = running.current()
            await asyncio.sleep(0.01)
            assert running.current() is before
            assert before is not None
            return text(before.request_id)

    stub = await serving(Slow())
    ids = [f"request-{number:04d}" for number in range(50)]
    answers = await asyncio.gather(*(stub.Ask(text(""), metadata=[("x-request-id", one)]) for one in ids))
    assert [answer.value for answer in answers] == ids


async def test_closing_early_does_not_upset_the_server(serving: Serving) -> None:
    class Endless:
        async def Watch(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
            while True:
                yield text("more")
                await asyncio.sleep(0)

        async def Ask(self, request: StringValue, context: Any) -> StringValue:
            return text("still here")

    stub = await serving(Endless())
    with capture_logs() as logs:
        for _ in range(10):
            call = stub.Watch(text(""))
            await call.read()
            call.cancel()
        assert (await stub.Ask(text(""))).value == "still here"
        await asyncio.sleep(0.05)
    assert not [line for line in logs if line["log_level"] == "error"]


class Gone:
    """A context whose client has left: the next write, and every answer, fails as gRPC's do."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def invocation_metadata(self) -> Any:
        return ()

    def time_remaining(self) -> None:
        return None

    def code(self) -> None:
        return None

    async def write(self, _message: object) -> None:
        raise self.error

    async def abort(self, *_status: object) -> None:
        raise grpc.aio.InternalError("execute_batch")


def handler_of(method: str, behaviour: Any) -> Any:
    """Return what a server gets of a handler."""
    kind = grpc.unary_stream_rpc_method_handler if method == "Watch" else grpc.unary_unary_rpc_method_handler
    plain: Any = kind(behaviour, StringValue.FromString, StringValue.SerializeToString)
    around = layers(clock=lambda: NOW, new_id=lambda: "request-0001", revocations=EverybodyStays())
    handlers = LayeredHandlers([DESCRIPTOR], around)
    handlers.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(DESCRIPTOR.full_name, {method: plain})]
    )
    details: Any = SimpleNamespace(method=path_of(method))
    return handlers.service(details)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), grpc.aio.InternalError("execute_batch")])
async def test_a_generator_is_closed_when_the_client_leaves_during_a_write(error: BaseException) -> None:
    let_go: list[str] = []

    async def watch(_request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
        try:
            yield text("first")
        finally:
            let_go.append("let go")

    handler = handler_of("Watch", watch)
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await handler.unary_stream(b"", Gone(error))
    assert let_go == ["let go"]
    assert [line["status"] for line in logs] == ["CANCELLED"]


async def test_a_refusal_that_nobody_waits_for_any_more_is_no_error() -> None:
    async def ask(_request: StringValue, _context: Any) -> StringValue:
        raise RoomFull(2)

    handler = handler_of("Ask", ask)
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await handler.unary_unary(b"", Gone(asyncio.CancelledError()))
    assert [line["log_level"] for line in logs] == ["info"]
