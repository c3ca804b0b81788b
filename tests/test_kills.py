"""Replicas and Redis are killed while rooms swipe: the smaller sister of `python -m bench.kills`."""

from __future__ import annotations

import pytest

from bench import kills
from dev.mesh import Mesh


async def test_nothing_acknowledged_is_lost_or_doubled_when_replicas_and_redis_are_killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("mortal-mesh")
    with Mesh(folder, settings=kills.settings(), replicas={"game_svc": len(kills.REPLICAS)}) as mesh:
        outcome = await kills.run(
            mesh,
            ["kill a replica", "kill a replica", "kill Redis", "stop a replica", "stop a replica"],
            rooms=4,
            pause=0.1,
            rest=0.5,
        )
    assert outcome.acknowledged > 0
    assert (outcome.lost, outcome.doubled, outcome.differing) == (0, 0, 0)
    assert outcome.interrupted["kill a replica"], "everybody was connected to one of the two"
    assert outcome.interrupted["stop a replica"], "the same"
