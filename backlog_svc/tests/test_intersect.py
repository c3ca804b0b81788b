"""Films that several people want, against a plain model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from backlog_svc.entries import Status
from backlog_svc.store import EntryStore
from backlog_svc.tests.test_paging import EXAMPLES
from mesh.postgres import Database
from popcorn.backlog.v1 import backlog_pb2 as pb

if TYPE_CHECKING:
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

Lists = list[dict[int, pb.EntryStatus.ValueType]]
"""Each person's entries: status by film."""

STATUSES = st.sampled_from([status for status in pb.EntryStatus.values() if status])


def wanted(lists: Lists, *, at_least: int, leave_out_watched: bool, limit: int) -> list[tuple[int, int]]:
    """The model."""
    films = {film for one in lists for film in one}
    counted = {film: [one.get(film) for one in lists] for film in films}
    chosen = [
        (film, statuses.count(pb.ENTRY_STATUS_WANT_TO_WATCH))
        for film, statuses in counted.items()
        if statuses.count(pb.ENTRY_STATUS_WANT_TO_WATCH) >= max(at_least, 1)
        and not (leave_out_watched and pb.ENTRY_STATUS_WATCHED in statuses)
    ]
    return sorted(chosen, key=lambda pair: (-pair[1], pair[0]))[: limit or 500]


@EXAMPLES
@given(
    lists=st.lists(st.dictionaries(st.integers(1, 12), STATUSES), min_size=1, max_size=5),
    at_least=st.integers(0, 6),
    leave_out_watched=st.booleans(),
    limit=st.sampled_from([0, 1, 3, 500, 1000]),
    named_twice=st.booleans(),
)
async def test_films_that_k_of_n_people_want_are_the_models_the_most_wanted_first(
    backlog: BacklogServiceAsyncStub,
    somebody: Callable[[], str],
    lists: Lists,
    at_least: int,
    leave_out_watched: bool,
    limit: int,
    named_twice: bool,
) -> None:
    people = [somebody() for _ in lists]
    puts = [
        pb.PutEntryRequest(user_id=user, entry=pb.EntryDraft(movie_id=film, status=status))
        for user, films in zip(people, lists, strict=True)
        for film, status in films.items()
    ]
    await asyncio.gather(*map(backlog.PutEntry, puts))
    answer = await backlog.IntersectBacklogs(
        pb.IntersectBacklogsRequest(
            user_ids=people * 2 if named_twice else people,
            wanted_by_at_least=at_least,
            leave_out_watched=leave_out_watched,
            limit=limit,
        )
    )
    assert [(movie.movie_id, movie.wanted_by) for movie in answer.movies] == wanted(
        lists, at_least=at_least, leave_out_watched=leave_out_watched, limit=limit
    )


async def test_it_reads_the_peoples_own_entries_and_no_others(
    database: Database, somebody: Callable[[], str]
) -> None:
    prefix = somebody()
    async with database.acquire() as connection:
        await connection.execute(
            """
            INSERT INTO backlog.entries
            SELECT $1 || '-' || reader, movie, 'want_to_watch', '', NULL, '{}', now(), now(), NULL, 'import'
            FROM generate_series(1, 50) AS reader, generate_series(1, 400) AS movie
            """,
            prefix,
        )
        await connection.execute("ANALYZE backlog.entries")
        [[plan]] = await connection.fetch(
            "EXPLAIN (FORMAT JSON) " + EntryStore._INTERSECT,
            *([f"{prefix}-{n}" for n in range(1, 4)], list(Status)[:1], 2, 500),
        )
    assert '"Seq Scan"' not in plan
