"""The RPC that is running right now: who asked, under which request id, and how long there is left.

One object a call, kept in a `ContextVar`. gRPC runs every RPC in a task of its own, so the variable needs no
resetting, and tasks that a handler starts see the same call.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mesh.identity import Identity

T = TypeVar("T")


@dataclass(slots=True)
class RunningCall:
    """What the mesh knows of one RPC while it runs. Filled by the interceptors, in their order."""

    method: str
    """The full path: `/popcorn.game.v1.GameService/Swipe`."""
    request_id: str
    """The id that all log lines of this request carry, in every service it passes through."""
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    """The request's metadata as received; keys are lower case and may repeat."""
    deadline: float | None = None
    """When the caller stops waiting, on `time.monotonic()`'s scale; None when it waits for ever."""
    identity: "Identity | None" = None
    """Who calls; None for methods that need nobody."""
    status: str | None = None
    """The status the mesh gave the call when it failed, as the access log shows it."""
    reason: str | None = None
    """The `ErrorInfo` reason that went with the status."""

    def time_left(self) -> float | None:
        """Return the seconds until the deadline, 0 when it has passed, None when there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


_running: ContextVar[RunningCall | None] = ContextVar("popcorn_running_call", default=None)


def current() -> RunningCall | None:
    """Return the RPC that this code runs for, or None outside of one."""
    return _running.get()


def enter(call: RunningCall) -> None:
    """Make `call` the running one for the rest of this task."""
    _running.set(call)


_new_context: Callable[[], Context] = Context


def detached_context() -> Context:
    """Return a context for work that outlives its RPC: empty, but for the trace, where there is one."""
    return _new_context()


def make_contexts_with(new_context: Callable[[], Context]) -> None:
    """Have `detached_context` return what this returns."""
    global _new_context
    _new_context = new_context


_detached: set[asyncio.Task[Any]] = set()


def start_detached(work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start work that outlives the RPC that caused it, and return its task.

    A task started the plain way inherits the RPC's deadline, so that everything it calls fails as soon as the
    caller has had its answer. This one inherits nothing but the trace, and is kept from the garbage collector
    until it ends.
    """
    task = asyncio.get_running_loop().create_task(work, name=name, context=detached_context())
    _detached.add(task)
    task.add_done_callback(_detached.discard)
    return task
