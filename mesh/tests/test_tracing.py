"""Where no collector is set there is nothing of traces; one that is away holds nobody up."""

import subprocess
import sys
from contextvars import Context
from pathlib import Path

from dev.processes import free_port
from mesh import running, tracing

TRACED = """
import asyncio, sys
from types import SimpleNamespace
from mesh import running, tracing
from mesh.interceptors import Method

tracing.configure("test", sys.argv[1])
[layer] = tracing.layers()

async def proceed(request, context):
    with tracing.span("postgresql", "SELECT"):
        [(key, value)] = tracing.outgoing()
    assert (key, value[3:35], value[-2:]) == ("traceparent", "4bf92f3577b34da6a3ce929d0e0e4736", "01")
    return await running.start_detached(later(), name="later")

async def later():
    assert running.current() is None
    return tracing.outgoing()[0][1][3:35]

async def main():
    header = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    context = SimpleNamespace(invocation_metadata=lambda: (header,), code=lambda: None)
    told = await layer(Method("/a.B/C", 0, True), proceed)(None, context)
    assert told == "4bf92f3577b34da6a3ce929d0e0e4736", told

asyncio.run(main())
"""


def test_without_a_collector_there_is_no_layer_and_a_step_is_nothing() -> None:
    tracing.configure("test", None)
    assert tracing.layers() == ()
    assert not tracing.on()
    assert tracing.span("redis", "GET") is tracing.span("postgresql", "SELECT")
    assert tracing.outgoing() == ()
    assert list(running.detached_context().items()) == list(Context().items()) == []


def test_a_collector_that_is_away_changes_nothing_for_calls_and_lets_us_end(
    repository: Path,
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", TRACED, nobody]
    ran = subprocess.run(
        command,
        env={"PYTHONPATH": f"{repository}:{repository / 'gen'}"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
