"""Removing what has run out: one round now and then, in whichever replica's turn it is."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from mesh.errors import Unavailable

PAUSE_SECONDS: Final = 300.0
"""The pause between two rounds of one replica."""

_log = structlog.get_logger("gateway.sweeping")

Sweep = Callable[[], Awaitable[None]]


async def sweep_for_ever(sweeps: Sequence[Sweep], *, pause_seconds: float = PAUSE_SECONDS) -> None:
    """Run every sweep, again and again. Replicas may run them at the same time."""
    while True:
        for sweep in sweeps:
            try:
                await sweep()
            except Unavailable:
                pass  # the database says so itself; the next round comes
            except Exception as error:  # one that fails must not keep the others from running
                _log.error("sweeping.failed", exc_info=error)
        await asyncio.sleep(pause_seconds)
