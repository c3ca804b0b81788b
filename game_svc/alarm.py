"""A timer that is set again and again at the cost of a field: what streams have several of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Rings once when the time it was last set to has come.

    Setting it later than before only notes the new time: the loop's timer goes on to run, and looks when it
    has run out how much is left.
    """

    __slots__ = ("_at", "_looks_at", "_loop", "_ring", "_timer")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = 0.0  # when the timer runs out: uvloop's does not always tell

    def set(self, seconds: float) -> None:
        """Ring after so many seconds, and not before."""
        self._at = at = self._loop.time() + seconds
        timer = self._timer
        if timer is not None and self._looks_at > at:
            timer.cancel()
            timer = None
        if timer is None:
            self._start(at)

    def off(self) -> None:
        """Do not ring."""
        self._at = None

    def close(self) -> None:
        """Let go of the loop's timer."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, at: float) -> None:
        self._looks_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._at is None:
            return
        if self._at > self._loop.time():
            self._start(self._at)
            return
        self._at = None
        self._ring()
