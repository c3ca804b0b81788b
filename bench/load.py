"""The load: a fixed number of callers, each with one call at a time, for a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Self

import grpc

CALLERS = 16
"""How many calls there are at a time."""

WARM_UP_SECONDS = 0.7
"""How long callers call before it counts."""


class Refused(Exception):
    """A call was answered with something else than what it asked for."""


@dataclass(frozen=True, slots=True)
class Load:
    """What became of a load."""

    calls: int
    seconds: float
    latencies: tuple[float, ...]
    """Of every call that was answered in seconds, the shortest first."""
    generator_seconds: float
    """CPU seconds that making the load took."""
    failed: int = 0
    """Calls that were refused. They are not among `calls`."""

    @property
    def per_second(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency in seconds that a share (0 to 1) of the calls did not exceed; nearest rank."""
        return percentile(self.latencies, share)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of ordered values; nan without any."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


async def run(callers: Sequence[Callable[[], Awaitable[object]]], *, seconds: float) -> Load:
    """Call again and again with every caller, after a short warm-up that does not count."""
    await _loop(callers, WARM_UP_SECONDS)
    cpu = time.process_time()
    started = time.perf_counter()
    latencies, failed = await _loop(callers, seconds)
    took = time.perf_counter() - started
    return Load(len(latencies), took, tuple(sorted(latencies)), time.process_time() - cpu, failed)


async def _loop(
    callers: Sequence[Callable[[], Awaitable[object]]], seconds: float
) -> tuple[list[float], int]:
    latencies: list[float] = []
    failed = 0
    end = time.perf_counter() + seconds

    async def one(call: Callable[[], Awaitable[object]]) -> None:
        nonlocal failed
        while (began := time.perf_counter()) < end:
            try:
                await call()
            except (Refused, grpc.aio.AioRpcError):
                failed += 1
            else:
                latencies.append(time.perf_counter() - began)

    await asyncio.gather(*map(one, callers))
    return latencies, failed


class Rest:
    """One HTTP/1.1 connection that sends the same GET again and again: lighter than any general client."""

    def __init__(self, host: str, port: int, path: str, headers: dict[str, str]) -> None:
        lines = [f"GET {path} HTTP/1.1", f"host: {host}:{port}", *(f"{k}: {v}" for k, v in headers.items())]
        self._request = "\r\n".join([*lines, "", ""]).encode()
        self._address = (host, port)

    async def open(self) -> Self:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def call(self) -> bytes:
        """Send the request and return the body.

        Raises:
            Refused: The answer is not a 200.
        """
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        body = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise Refused(body.decode(errors="replace"))
        return body

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def channels(target: str, number: int) -> list[grpc.aio.Channel]:
    """Return channels that have a connection each."""
    return [
        grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(number)
    ]
