import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from mesh.channels import open_channel, service_config
from mesh.errors import Unavailable
from mesh.server import Server
from mesh.tests.probing import DESCRIPTOR, Stub, text

Started = Callable[..., Awaitable[Server]]


@pytest.fixture
def connected(started: Started, cleanup: AsyncExitStack) -> Callable[..., Awaitable[Stub]]:
    """Starts a server and returns a stub over a channel of the mesh."""

    async def connect(servicer: object, **arguments: Any) -> Stub:
        server = await started(servicer)
        channel = open_channel(f"127.0.0.1:{server.port}", services=[DESCRIPTOR], **arguments)
        return Stub(await cleanup.enter_async_context(channel))

    return connect


class Failing:
    """Answers UNAVAILABLE some times before it answers."""

    def __init__(self, failures: int, fail: Callable[[Any], Awaitable[None]]) -> None:
        self.failures = failures
        self.fail = fail
        self.attempts = 0

    async def Ask(self, request: StringValue, context: Any) -> StringValue:
        self.attempts += 1
        if self.attempts <= self.failures:
            await self.fail(context)
        return text("answered")

    Put = Ask
    Tell = Ask

    async def Watch(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield await self.Ask(request, context)


async def away(context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "away")


async def wrong(context: Any) -> None:
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "wrong")


async def refused(_context: Any) -> None:
    raise Unavailable("postgresql", timedelta(seconds=1))


@pytest.mark.parametrize("method", ["Ask", "Put"])
async def test_what_may_be_repeated_is_tried_three_times(connected: Any, method: str) -> None:
    servicer = Failing(2, away)
    assert (await getattr(await connected(servicer), method)(text(""))).value == "answered"
    assert servicer.attempts == 3


async def test_a_stream_that_has_not_begun_is_tried_again(connected: Any) -> None:
    servicer = Failing(2, away)
    stub = await connected(servicer)
    assert [message.value async for message in stub.Watch(text(""))] == ["answered"]
    assert servicer.attempts == 3


@pytest.mark.parametrize(
    ("method", "fail", "why"),
    [
        ("Tell", away, "the contract does not say that it may be repeated"),
        ("Ask", wrong, "it would fail again"),
        ("Ask", refused, "the service has said when to come back"),
    ],
)
async def test_what_must_not_be_repeated_is_tried_once(
    connected: Any, method: str, fail: Any, why: str
) -> None:
    servicer = Failing(1, fail)
    stub = await connected(servicer)
    with pytest.raises(grpc.aio.AioRpcError):
        await getattr(stub, method)(text(""))
    assert servicer.attempts == 1, why


async def test_three_attempts_are_all(connected: Any) -> None:
    servicer = Failing(99, away)
    stub = await connected(servicer)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Ask(text(""))
    assert servicer.attempts == 3


async def test_retries_stop_while_everything_fails(connected: Any) -> None:
    servicer = Failing(10_000, away)
    stub = await connected(servicer)
    for _ in range(20):
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Ask(text(""))
    # Without throttling it would be 60: three for each call.
    assert servicer.attempts < 40


def test_the_service_config_names_exactly_what_may_be_repeated() -> None:
    config = json.loads(service_config([DESCRIPTOR]))
    [policy] = config["methodConfig"]
    assert {name["method"] for name in policy["name"]} == {"Ask", "Put", "Watch", "MembersRead"}
    assert {name["service"] for name in policy["name"]} == {DESCRIPTOR.full_name}
    assert policy["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]


class Reporting:
    """Says how long its caller waits, and under which request id it runs."""

    async def Ask(self, request: StringValue, context: Any) -> StringValue:
        metadata = [value for key, value in context.invocation_metadata() if key == "x-request-id"]
        return text(json.dumps({"left": context.time_remaining(), "request_ids": metadata}))

    async def Watch(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield await self.Ask(request, context)


class Forwarding:
    """Asks the next service, with a time-out and metadata of its own or without."""

    def __init__(self, stub: Stub, **arguments: Any) -> None:
        self.stub = stub
        self.arguments = arguments

    async def Ask(self, request: StringValue, context: Any) -> StringValue:
        await asyncio.sleep(0.1)
        answer: StringValue = await self.stub.Ask(request, **self.arguments)
        return answer

    async def Watch(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        async for answer in self.stub.Watch(request, **self.arguments):
            yield answer


@pytest.mark.parametrize(
    ("arguments", "ours", "least", "most"),
    [
        ({}, 2.0, 1.0, 2.0),  # what is left of the caller's
        ({"timeout": 0.5}, 2.0, 0.2, 0.5),  # a shorter one of the call's own
        ({"timeout": 60}, 2.0, 1.0, 2.0),  # a longer one does not help
        ({}, 60, 2.0, 3.0),  # the default, when the caller waits for longer
        ({}, None, 2.0, 3.0),  # the default, when the caller waits for ever
        ({"timeout": 10}, None, 8.0, 10.0),  # a longer one, when the caller waits for ever
    ],
)
async def test_what_is_left_of_the_deadline_is_handed_on(
    connected: Any, arguments: Any, ours: float | None, least: float, most: float
) -> None:
    stub = await connected(
        Forwarding(await connected(Reporting()), **arguments), default_deadline_seconds=3600
    )
    waiting = {} if ours is None else {"timeout": ours}
    plain = Stub(stub.channel._channel)  # beneath the mesh's channel: no default deadline
    assert least < json.loads((await plain.Ask(text(""), **waiting)).value)["left"] < most + 0.1
    [streamed] = [message.value async for message in plain.Watch(text(""), **waiting)]
    assert least < json.loads(streamed)["left"] < most + 0.1


async def test_outside_of_an_rpc_the_default_deadline_holds(connected: Any) -> None:
    stub = await connected(Reporting())
    assert 2 < json.loads((await stub.Ask(text(""))).value)["left"] < 3.1


async def test_a_service_that_hangs_costs_its_caller_the_deadline_only(connected: Any) -> None:
    class Hanging:
        async def Ask(self, request: StringValue, context: Any) -> None:
            await asyncio.Event().wait()

    stub = await connected(Hanging(), default_deadline_seconds=0.2)
    begun = asyncio.get_running_loop().time()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Ask(text(""))
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert asyncio.get_running_loop().time() - begun < 2


@pytest.mark.parametrize("own", [None, [], [("x-other", "1")]])
async def test_the_request_id_is_handed_on(connected: Any, own: Any) -> None:
    stub = await connected(Forwarding(await connected(Reporting()), metadata=own))
    answer = await stub.Ask(text(""), metadata=[("x-request-id", "request-0001")])
    assert json.loads(answer.value)["request_ids"] == ["request-0001"]


async def test_a_request_id_of_the_call_s_own_is_kept(connected: Any) -> None:
    stub = await connected(
        Forwarding(await connected(Reporting()), metadata=(("x-request-id", "my-own-id"),))
    )
    assert json.loads((await stub.Ask(text(""))).value)["request_ids"] == ["my-own-id"]


async def test_a_service_that_comes_back_is_found_again(started: Started, cleanup: AsyncExitStack) -> None:
    first = await started(Reporting())
    listen = f"127.0.0.1:{first.port}"
    stub = Stub(await cleanup.enter_async_context(open_channel(listen, services=[DESCRIPTOR])))
    await stub.Ask(text(""))
    await first.stop(0)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Ask(text(""))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    await started(Reporting(), listen=listen)
    async with asyncio.timeout(5):
        await stub.Ask(text(""), wait_for_ready=True, timeout=5)
