"""Everything is restarted under load: the smaller sister of `python -m bench.restarts`."""

from __future__ import annotations

from pathlib import Path

from bench import restarts


async def test_nobody_notices_that_a_replica_of_anything_is_restarted(tmp_path: Path) -> None:
    with restarts.two_of_each(tmp_path) as mesh:
        outcome = await restarts.run(
            mesh,
            ["game_svc", "game_svc-2", "gateway-2", "backlog_svc", "movie_svc-2", "edge"],
            callers=3,
            rooms=1,
        )
    assert outcome.calls.keys() == set(restarts.RESTARTED)
    assert outcome.failed == 0, "\n".join(outcome.lines())
    assert outcome.resumed["game_svc"], "whichever the room's players were connected to was restarted"
