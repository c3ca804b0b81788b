"""Snapshots of rooms, kept one at a time and for a small part of the time.

Rooms that play alike come due together, and to write one holds the interpreter for some milliseconds. Nobody
waits for a snapshot; a match does not wait for a hundred of them.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

import structlog

from game_svc.log import RoomLogs
from game_svc.state import State
from mesh.errors import Unavailable
from mesh.running import start_detached

REST: Final = 9.0
"""How many times as long as a snapshot took nothing is done before the next: a tenth of the time is spent."""

LONGEST_REST_SECONDS: Final = 1.0

MOST_DUE: Final = 1_000
"""How many rooms wait at most; those that have waited longest are left out until their next snapshot."""

_log = structlog.get_logger("game_svc.keeping")


class Keeping:
    """The snapshots that are to be kept: of each room the latest."""

    def __init__(self, logs: RoomLogs) -> None:
        self._logs = logs
        self._due: dict[str, State] = {}
        self._keeping: asyncio.Task[None] | None = None

    def keep(self, code: str, state: State) -> None:
        """Keep a room's state, in its turn; a newer one takes its place."""
        self._due[code] = state
        if len(self._due) > MOST_DUE:
            del self._due[next(iter(self._due))]
        if self._keeping is None:
            # Detached: it outlives the call that brought the room so far.
            self._keeping = start_detached(self._keep_all(), name="snapshots of rooms")

    async def stop(self) -> None:
        """Leave what is due to the next snapshot, or to whoever opens the room: they fold its log."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping

    async def _keep_all(self) -> None:
        try:
            while self._due:
                code = next(iter(self._due))
                began = time.monotonic()
                try:
                    await self._logs.keep_snapshot(code, self._due.pop(code))
                except Unavailable:
                    _log.info("room.snapshot_not_kept", code=code)  # the next one will be
                await asyncio.sleep(min(REST * (time.monotonic() - began), LONGEST_REST_SECONDS))
        finally:
            self._keeping = None
