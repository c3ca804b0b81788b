"""Alarms ring when they were last set to, on either event loop that services run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from game_svc.alarm import Alarm

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_an_alarm_rings_once_for_the_last_time_it_was_set_to(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def evening() -> None:
        rung: list[float] = []
        ringing = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ring() -> None:
            rung.append(loop.time())
            ringing.set()

        alarm = Alarm(ring)
        for _ in range(200):
            for seconds in (60.0, 0.0, 30.0, 90.0):  # later, at once, sooner, and later again
                alarm.set(seconds)
            await asyncio.sleep(0.0005)
        assert not rung, "each time it was set to another time before it could ring"
        alarm.set(0.05)
        due = loop.time() + 0.05
        await ringing.wait()
        assert rung[0] >= due - 0.02
        alarm.set(0.0)
        alarm.off()
        await asyncio.sleep(0.02)
        alarm.set(0.0)
        alarm.close()
        await asyncio.sleep(0.02)
        assert len(rung) == 1

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(evening())
