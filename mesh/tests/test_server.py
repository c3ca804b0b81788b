import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from mesh.health import THE_PROCESS, Health, Part
from mesh.server import ListenError, Server
from mesh.tests.conftest import FAST
from mesh.tests.probing import DESCRIPTOR, EverybodyStays, Stub, probing_service, text

Started = Callable[..., Awaitable[Server]]
SERVICE = DESCRIPTOR.full_name
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Store:
    """A dependency that can be taken away."""

    def __init__(self, *, there: bool = True) -> None:
        self.there = there
        self.asked = 0

    async def probe(self) -> None:
        self.asked += 1
        if not self.there:
            raise ConnectionError("refused")


@pytest.fixture
def client(cleanup: AsyncExitStack) -> Callable[[Server], Awaitable[Any]]:
    async def connect(server: Server) -> Any:
        return await cleanup.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))

    return connect


async def health_of(channel: Any, service: str) -> Any:
    request = health_pb2.HealthCheckRequest(service=service)
    return (await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)).status


async def until_health(channel: Any, service: str, status: Any) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    async for answer in health_pb2_grpc.HealthStub(channel).Watch(request, timeout=5):
        if answer.status == status:
            return


async def test_a_service_serves_only_while_its_stores_answer(started: Started, client: Any) -> None:
    store = Store(there=False)
    with capture_logs() as logs:
        server = await started(object(), probes={"redis": store.probe})
        channel = await client(server)
        assert await health_of(channel, SERVICE) == NOT_SERVING
        assert await health_of(channel, "") == NOT_SERVING
        for there, status in [(True, SERVING), (False, NOT_SERVING), (True, SERVING)]:
            store.there = there
            await until_health(channel, SERVICE, status)
            await until_health(channel, "", status)
        asked = store.asked
        while store.asked < asked + 5:  # noqa: ASYNC110 - rounds of probing are what is waited for
            await asyncio.sleep(0.01)
    changes = [(line["serving"], line.get("failing")) for line in logs if line["event"] == "health.changed"]
    refused = {"redis": "ConnectionError: refused"}
    # One line a change, not one a round.
    assert changes == [(False, refused), (True, None), (False, refused), (True, None)]


async def test_health_has_a_name_for_each_service_and_lists_them(started: Started, client: Any) -> None:
    channel = await client(await started(object()))
    await until_health(channel, SERVICE, SERVING)
    await until_health(channel, "", SERVING)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await health_of(channel, "nobody.Knows")
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    listed = await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest())
    assert {name: one.status for name, one in listed.statuses.items()} == {
        SERVICE: SERVING,
        "": SERVING,
        THE_PROCESS: SERVING,
    }


async def statuses_of(health: Health) -> dict[str, Any]:
    listed: Any = await health.servicer.List(None, None)
    return {name: one.status for name, one in listed.statuses.items()}


async def test_one_missing_store_stops_only_who_needs_it() -> None:
    good, bad = Store(), Store(there=False)
    health = Health([Part("a", {"good": good.probe}), Part("b", {"good": good.probe, "bad": bad.probe})])
    await health.probe()
    statuses = await statuses_of(health)
    assert statuses == {"a": SERVING, "b": NOT_SERVING, "": NOT_SERVING, THE_PROCESS: SERVING}
    assert (good.asked, bad.asked) == (1, 1)  # a store that two services share is asked once


async def test_a_probe_that_hangs_counts_as_failed_and_holds_up_nobody() -> None:
    good = Store()

    async def hang() -> None:
        await asyncio.Event().wait()

    health = Health([Part("a", {"good": good.probe}), Part("b", {"hanging": hang})], deadline_seconds=0.05)
    begun = asyncio.get_running_loop().time()
    await health.probe()
    assert asyncio.get_running_loop().time() - begun < 1
    statuses = await statuses_of(health)
    assert statuses == {"a": SERVING, "b": NOT_SERVING, "": NOT_SERVING, THE_PROCESS: SERVING}


async def test_reflection_knows_every_service(started: Started, client: Any) -> None:
    channel = await client(await started(object()))
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    answers = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]
    names = [service.name for service in answers[0].list_services_response.service]
    assert names == sorted([SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"])
    assert b"ProbingService" in answers[1].file_descriptor_response.file_descriptor_proto[0]


async def test_stopping_has_an_order(started: Started, client: Any) -> None:
    order: list[str] = []
    elsewhere = asyncio.all_tasks()  # other servers of this test process
    reconnect, running = asyncio.Event(), asyncio.Event()

    class Streaming:
        async def Watch(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
            order.append(f"{request.value} let in")
            running.set()
            await reconnect.wait()
            order.append("stream told")
            yield text("reconnect")

    async def before_stop() -> None:
        for watch in watches:
            assert (await watch.read()).status == NOT_SERVING
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as newcomer:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await Stub(newcomer).Watch(text("newcomer")).read()
        # The connection is refused, or, where it came as the doors were closing, its call is cut unseen.
        assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        order.append("health down, before_stop")
        reconnect.set()

    server = await started(Streaming(), before_stop=before_stop)
    channel = await client(server)
    await until_health(channel, SERVICE, SERVING)
    watches = [
        health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name))
        for name in (SERVICE, "")
    ]
    for watch in watches:
        assert (await watch.read()).status == SERVING
    stream = Stub(channel).Watch(text("guest"))
    reading = asyncio.ensure_future(stream.read())
    await running.wait()
    begun = asyncio.get_running_loop().time()
    await server.stop(5)
    order.append("stopped")
    assert (await reading).value == "reconnect"
    assert order == ["guest let in", "health down, before_stop", "stream told", "stopped"]
    # Nobody waited for the grace to pass.
    assert asyncio.get_running_loop().time() - begun < 4
    left = asyncio.all_tasks() - elsewhere
    assert not [task for task in left if task.get_name() == "health probes"]


async def test_an_open_health_watch_does_not_hold_up_the_stop(started: Started, client: Any) -> None:
    server = await started(object())
    channel = await client(server)
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    seen = [(await watch.read()).status]
    while seen[-1] != SERVING:
        seen.append((await watch.read()).status)
    begun = asyncio.get_running_loop().time()
    await server.stop(5)
    assert asyncio.get_running_loop().time() - begun < 4
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_call_that_runs_may_finish_and_one_that_does_not_is_cut(
    started: Started, client: Any
) -> None:
    class Slow:
        async def Ask(self, request: StringValue, context: Any) -> StringValue:
            begun.set()
            await asyncio.sleep(float(request.value))
            return text("finished")

    for seconds, outcome in [("0.1", "finished"), ("60", None)]:
        begun = asyncio.Event()
        server = await started(Slow())
        call = asyncio.ensure_future(Stub(await client(server)).Ask(text(seconds)))
        await begun.wait()
        await server.stop(0.5)
        if outcome is None:
            with pytest.raises(grpc.aio.AioRpcError):
                await call
        else:
            assert (await call).value == outcome


async def test_a_failing_before_stop_does_not_keep_the_server_up(started: Started) -> None:
    async def fail() -> None:
        raise RuntimeError("no")

    async def hang() -> None:
        await asyncio.Event().wait()

    for before_stop in (fail, hang):
        with capture_logs() as logs:
            server = await started(object(), before_stop=before_stop)
            await asyncio.wait_for(server.stop(0.1), 5)
        assert [line["event"] for line in logs if line["log_level"] == "error"] == [
            "server.before_stop_failed"
        ]


async def test_a_port_that_is_taken_is_said_so(started: Started) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenError, match=f"Cannot listen on {listen}"):
            await started(object(), listen=listen)


async def test_two_servers_never_share_a_port(started: Started) -> None:
    first = await started(object())
    second = Server(
        [probing_service(object())],
        listen=f"127.0.0.1:{first.port}",
        revocations=EverybodyStays(),
        options=FAST,
    )
    with pytest.raises(ListenError):
        await second.start()


async def test_a_request_above_the_limit_is_refused(started: Started, client: Any) -> None:
    class Echo:
        async def Ask(self, request: StringValue, context: Any) -> StringValue:
            return text(str(len(request.value)))

    stub = Stub(await client(await started(Echo())))
    assert (await stub.Ask(text("x" * (1024 * 1024 - 100)))).value == str(1024 * 1024 - 100)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Ask(text("x" * (1024 * 1024 + 1)))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_clients_may_ping_an_idle_connection(started: Started, cleanup: AsyncExitStack) -> None:
    class Quiet:
        async def Watch(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
            # gRPC pings once a second at most, and the fourth ping that comes too early cuts the connection.
            await asyncio.sleep(4.6)
            yield text("still connected")

    server = await started(Quiet(), options=replace(FAST, client_ping_interval_seconds=0.5))
    options = [("grpc.keepalive_time_ms", 100), ("grpc.http2.max_pings_without_data", 0)]
    target = f"127.0.0.1:{server.port}"
    channel = await cleanup.enter_async_context(grpc.aio.insecure_channel(target, options=options))
    assert [message.value async for message in Stub(channel).Watch(text(""))] == ["still connected"]


PROCESS = """
import asyncio, sys
from mesh import logs, server
from mesh.tests.probing import EverybodyStays, probing_service, text

class Slow:
    async def Ask(self, request, context):
        print("asked", flush=True)
        await asyncio.sleep(60)

async def before_stop():
    print("before_stop", flush=True)

logs.configure("probing")
server.run(
    server.serve(
        "probing",
        listen=sys.argv[1],
        services=[probing_service(Slow())],
        revocations=EverybodyStays(),
        before_stop=before_stop,
        options=server.ServerOptions(shutdown_grace_seconds=float(sys.argv[2])),
    )
)
print("ended", flush=True)
"""


@pytest.fixture
def process(
    repository: Path, cleanup: AsyncExitStack
) -> Callable[..., Awaitable[asyncio.subprocess.Process]]:
    async def start(*arguments: str) -> asyncio.subprocess.Process:
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROCESS,
            *arguments,
            env=os.environ | {"PYTHONPATH": f"{repository}{os.pathsep}{repository / 'gen'}"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

        async def end() -> None:
            if started.returncode is None:
                started.kill()
            await started.communicate()

        cleanup.push_async_callback(end)
        return started

    return start


async def line_with(process: asyncio.subprocess.Process, what: str) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while line := (await process.stdout.readline()).decode():
            if what in line:
                return line
    raise AssertionError(f"the process ended without {what!r}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_process_in_order(process: Any, number: signal.Signals) -> None:
    started = await process("127.0.0.1:0", "5")
    assert '"port":' in await line_with(started, "server.listening")
    started.send_signal(number)
    await line_with(started, "server.stopping")
    await line_with(started, "before_stop")
    await line_with(started, "server.stopped")
    await line_with(started, "ended")
    assert await asyncio.wait_for(started.wait(), 10) == 0


async def test_a_second_signal_cuts_the_grace_short(process: Any, cleanup: AsyncExitStack) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    started = await process(listen, "120")
    await line_with(started, "server.listening")
    channel = await cleanup.enter_async_context(grpc.aio.insecure_channel(listen))
    call = asyncio.ensure_future(Stub(channel).Ask(text("")))
    await line_with(started, "asked")
    started.send_signal(signal.SIGTERM)
    await line_with(started, "before_stop")
    started.send_signal(signal.SIGTERM)
    await line_with(started, "server.stopped")
    assert await asyncio.wait_for(started.wait(), 10) == 0
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def test_a_process_that_cannot_listen_says_so_and_ends(process: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        started = await process(f"127.0.0.1:{taken.getsockname()[1]}", "1")
        _, errors = await asyncio.wait_for(started.communicate(), 20)
    assert started.returncode == 1
    assert b"Cannot listen on 127.0.0.1:" in errors
    assert b"Traceback" not in errors
