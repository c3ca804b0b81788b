"""When Python looks for circles of garbage: while nobody waits.

Rooms are a great many small objects, hardly ever in a circle, and most of what is young in them at any moment
is alive. To look through it takes Python tens of milliseconds, ten times a minute on a busy evening, for the
few dozen objects that a stream leaves behind when it ends.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Final

LOOK_SECONDS: Final = 1.0

CALM_LOOKS: Final = 5
"""After how many looks in a row without haste the replica has time: a busy evening has its quiet seconds."""

SOME: Final = 20_000
"""How many new objects are looked through while the replica has time."""

MOST: Final = 1_000_000
"""How many are looked through even while it is busy: it takes half a second, and the memory has a bound."""

ALL_SECONDS: Final = 3600.0
"""How often all objects are looked through, in a moment when the replica has time."""

_YOUNG, _RECENT, _ALL = range(3)


async def collect_when_calm(busy: Callable[[], bool], *, now: Callable[[], float] = time.monotonic) -> None:
    """Look for garbage from now on until cancelled, in place of Python's own rule.

    Args:
        busy: Tells whether this is a bad moment.
        now: The time in seconds, by a clock that never goes back.
    """
    gc.collect()
    gc.freeze()  # what there is by now stays, and need not be looked through again
    gc.disable()
    try:
        looked_through_all = now()
        calm = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            calm = 0 if busy() else calm + 1
            all_due = now() - looked_through_all >= ALL_SECONDS
            generation = due(gc.get_count()[0], busy=calm < CALM_LOOKS, all_due=all_due)
            if generation is not None:
                gc.collect(generation)
            if generation == _ALL:
                looked_through_all = now()
    finally:
        gc.enable()
        gc.unfreeze()


def due(young: int, *, busy: bool, all_due: bool) -> int | None:
    """Return up to which generation to look for garbage now, if at all.

    Args:
        young: How many objects have been made and not freed since the last time.
        busy: Whether this is a bad moment.
        all_due: Whether it is time to look through everything.
    """
    if busy:
        return _YOUNG if young >= MOST else None
    if all_due:
        return _ALL
    return _RECENT if young >= SOME else None
