"""What the metrics layer counts, and what is served."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from prometheus_client.parser import text_string_to_metric_families

from mesh.errors import Unavailable
from mesh.metrics import Metrics
from mesh.server import ListenError, Server
from mesh.tests.probing import EverybodyStays, Stub, path_of, probing_service, text


class Sometimes:
    """Answers, fails, or stays open, as it is told."""

    def __init__(self) -> None:
        self.leave = asyncio.Event()

    async def Ask(self, request: StringValue, context: Any) -> StringValue:
        match request.value:
            case "fail":
                raise Unavailable("redis")
            case "break":
                raise RuntimeError("a mistake")
            case "abort":
                await context.abort(grpc.StatusCode.NOT_FOUND, "There is none.")
            case "wait":
                await asyncio.Event().wait()
        return text("answer")

    async def Watch(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield text("first")
        await self.leave.wait()


async def read(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample that is served, by its name and the values of its labels, sorted by the labels."""

    def ask() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=5) as answer:
            body: bytes = answer.read()
        return body.decode()

    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(await asyncio.to_thread(ask))
        for sample in family.samples
    }


async def test_every_call_is_counted_by_the_status_its_caller_got(serving: Any) -> None:
    metrics = Metrics("127.0.0.1:0")
    stub: Stub = await serving(Sometimes(), metrics=metrics)
    for asked, times in (("", 3), ("fail", 2), ("break", 1), ("abort", 1)):
        for _ in range(times):
            try:
                await stub.Ask(text(asked))
            except grpc.aio.AioRpcError:
                assert asked
    waiting = stub.Ask(text("wait"), timeout=5)
    ask = path_of("Ask")
    while (await read(metrics))["popcorn_rpc_running", ask] == 0:  # noqa: ASYNC110 - as Prometheus asks
        await asyncio.sleep(0.01)
    waiting.cancel()
    handled = ("popcorn_rpc_handled_total", ask)
    while (*handled, "CANCELLED") not in (found := await read(metrics)):  # noqa: ASYNC110 - the same
        await asyncio.sleep(0.01)
    counted = {key[2]: value for key, value in found.items() if key[:2] == handled}
    assert counted == {"OK": 3, "UNAVAILABLE": 2, "INTERNAL": 1, "NOT_FOUND": 1, "CANCELLED": 1}
    assert found["popcorn_rpc_running", ask] == 0
    assert found["popcorn_rpc_seconds_count", ask] == sum(counted.values())
    assert found["popcorn_rpc_seconds_bucket", "+Inf", ask] == sum(counted.values())


async def test_a_stream_is_open_until_it_ends(serving: Any) -> None:
    metrics, servicer = Metrics("127.0.0.1:0"), Sometimes()
    stub: Stub = await serving(servicer, metrics=metrics)
    stream = stub.Watch(text(""))
    await stream.read()
    assert (await read(metrics))["popcorn_open_streams", path_of("Watch")] == 1
    servicer.leave.set()
    assert await stream.read() is grpc.aio.EOF
    found = await read(metrics)
    assert found["popcorn_open_streams", path_of("Watch")] == 0
    assert found["popcorn_rpc_handled_total", path_of("Watch"), "OK"] == 1
    assert ("popcorn_rpc_seconds_count", path_of("Watch")) not in found, "how long one plays is no latency"


async def test_without_an_address_nothing_is_counted_and_no_layer_is_there(serving: Any) -> None:
    metrics = Metrics(None)
    assert metrics.layers == ()
    stub: Stub = await serving(Sometimes(), metrics=metrics)
    assert (await stub.Ask(text(""))).value == "answer"
    assert metrics.port == 0


async def test_an_address_that_is_taken_is_told_like_any_other() -> None:
    first = Metrics("127.0.0.1:0")
    with first.serving():
        taken = f"127.0.0.1:{first.port}"
        server = Server(
            [probing_service(Sometimes())],
            listen="127.0.0.1:0",
            revocations=EverybodyStays(),
            metrics=Metrics(taken),
        )
        with pytest.raises(ListenError, match=taken):
            await server.start()
