"""A backlog in numbers, against a plain Python model; what is not known of a film is counted, not dropped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from backlog_svc.film_store import FilmStore
from backlog_svc.films import FilmFacts
from backlog_svc.tests.test_paging import EXAMPLES
from mesh.postgres import Database
from popcorn.backlog.v1 import backlog_pb2 as pb

if TYPE_CHECKING:
    from backlog_svc.tests.conftest import SetClock
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

WATCHED = pb.ENTRY_STATUS_WATCHED
SPANS = [(0, 60), (60, 90), (90, 120), (120, 150), (150, 180), (180, 0)]


@dataclass(frozen=True)
class Seen:
    """An entry, and what is known of its film: None for one that was never asked about."""

    status: pb.EntryStatus.ValueType
    half_stars: int | None
    watched: datetime
    film: FilmFacts | None


films = st.one_of(
    st.none(),
    st.builds(
        FilmFacts,
        movie_id=st.just(0),
        title=st.just("Film"),
        release_date=st.one_of(st.none(), st.dates(date(1874, 1, 1), date(2026, 12, 31))),
        runtime_minutes=st.one_of(
            st.none(), st.sampled_from([1, 59, 60, 89, 90, 149, 150, 179, 180, 873]), st.integers(1, 400)
        ),
        genre_ids=st.lists(st.sampled_from([18, 35, 28, 99]), max_size=4, unique=True).map(tuple),
    ),
)
seen = st.builds(
    Seen,
    status=st.sampled_from([status for status in pb.EntryStatus.values() if status]),
    half_stars=st.one_of(st.none(), st.integers(1, 10)),
    watched=st.one_of(
        st.datetimes(datetime(1, 1, 2), datetime(2026, 11, 20), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
        st.sampled_from(
            [
                datetime(2025, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
                datetime(2026, 1, 1, tzinfo=UTC),
                datetime(2026, 3, 31, 22, 30, tzinfo=UTC),
            ]
        ),
    ),
    film=films,
)


def model(entries: Sequence[Seen]) -> pb.Stats:
    """What the service has to say of these entries."""
    watched = [one for one in entries if one.status == WATCHED]
    facts = [one.film for one in watched if one.film is not None]
    statuses = Counter(one.status for one in entries)
    ratings = Counter(one.half_stars for one in entries)
    genres = Counter(genre for film in facts for genre in film.genre_ids)
    decades = Counter(film.release_date.year // 10 * 10 for film in facts if film.release_date)
    months = Counter((one.watched.year, one.watched.month) for one in watched)
    runtimes = [film.runtime_minutes for film in facts if film.runtime_minutes]
    return pb.Stats(
        statuses=[
            pb.Stats.StatusCount(status=status, count=statuses[status])
            for status in pb.EntryStatus.values()
            if status
        ],
        ratings=[pb.Stats.RatingCount(rating=half / 2, count=ratings[half]) for half in range(1, 11)],
        genres=[
            pb.Stats.GenreCount(genre_id=genre, count=count)
            for genre, count in sorted(genres.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        decades=[
            pb.Stats.DecadeCount(decade=decade, count=count) for decade, count in sorted(decades.items())
        ],
        runtimes=[
            pb.Stats.RuntimeCount(
                from_minutes=shortest,
                below_minutes=below,
                count=sum(shortest <= minutes < (below or 10_000) for minutes in runtimes),
            )
            for shortest, below in SPANS
        ],
        months=[
            pb.Stats.MonthCount(year=year, month=month, count=count)
            for (year, month), count in sorted(months.items())
        ],
        watched_minutes=sum(runtimes),
        without_genre=len(watched) - sum(bool(film.genre_ids) for film in facts),
        without_decade=len(watched) - decades.total(),
        without_runtime=len(watched) - len(runtimes),
    )


@pytest.fixture(scope="session")
def film_ids() -> Iterator[int]:
    """Films that no other test knows."""
    return iter(range(1_000_000, 2_000_000))


@EXAMPLES
@given(entries=st.lists(seen, max_size=12))
async def test_the_numbers_are_the_models(
    backlog: BacklogServiceAsyncStub,
    database: Database,
    clock: SetClock,
    somebody: Callable[[], str],
    film_ids: Iterator[int],
    entries: list[Seen],
) -> None:
    user, puts, facts = somebody(), [], []
    for one in entries:
        draft = pb.EntryDraft(movie_id=next(film_ids), status=one.status)
        if one.half_stars is not None:
            draft.rating = one.half_stars / 2
        if one.status == WATCHED:
            draft.watch_time.FromDatetime(one.watched)
        puts.append(pb.PutEntryRequest(user_id=user, entry=draft))
        if one.film is not None:
            facts.append(
                FilmFacts(
                    movie_id=draft.movie_id,
                    title=one.film.title,
                    release_date=one.film.release_date,
                    runtime_minutes=one.film.runtime_minutes,
                    genre_ids=one.film.genre_ids,
                )
            )
    await asyncio.gather(*map(backlog.PutEntry, puts))
    await FilmStore(database).write(facts, now=clock())
    answer = await backlog.GetStats(pb.GetStatsRequest(user_id=user))
    assert answer.stats == model(entries)


async def test_nobodys_backlog_is_all_zeros(
    backlog: BacklogServiceAsyncStub, somebody: Callable[[], str]
) -> None:
    answer = await backlog.GetStats(pb.GetStatsRequest(user_id=somebody()))
    assert answer.stats == model([])
    assert [count.rating for count in answer.stats.ratings] == [half / 2 for half in range(1, 11)]


async def test_a_film_that_was_watched_but_never_asked_about_is_counted_as_such(
    backlog: BacklogServiceAsyncStub, somebody: Callable[[], str], film_ids: Iterator[int]
) -> None:
    user = somebody()
    watched = Timestamp(seconds=1_700_000_000)
    draft = pb.EntryDraft(movie_id=next(film_ids), status=WATCHED, watch_time=watched)
    await backlog.PutEntry(pb.PutEntryRequest(user_id=user, entry=draft))
    stats = (await backlog.GetStats(pb.GetStatsRequest(user_id=user))).stats
    assert (stats.without_genre, stats.without_decade, stats.without_runtime) == (1, 1, 1)
    assert [(month.year, month.month, month.count) for month in stats.months] == [(2023, 11, 1)]
