"""The store's contract, on a real PostgreSQL."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from backlog_svc.entries import Draft, Entry, Filter, Order, Source, Status
from backlog_svc.store import EntryStore, _page_statement
from mesh.postgres import Database

NOW = datetime(2026, 11, 21, 20, 15, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
FULL = Draft(
    movie_id=603,
    status=Status.WATCHED,
    note="Zwei Zeilen,\n\tmit Ümläuten und 🍿; '); DROP TABLE backlog.entries; --",
    half_stars=9,
    tags=("sci-fi", "Ada's", 'a "quoted", {braced} one', "ニンジャ"),
    watch_time=NOW - timedelta(days=400),
    source=Source.IMPORT,
)


async def test_everything_comes_back_as_it_was_put(store: EntryStore, somebody: Callable[[], str]) -> None:
    user = somebody()
    entry, added = await store.put(user, FULL, now=NOW)
    assert added
    assert entry == Entry(
        movie_id=603,
        status=Status.WATCHED,
        note=FULL.note,
        half_stars=9,
        tags=FULL.tags,
        add_time=NOW,
        update_time=NOW,
        watch_time=FULL.watch_time,
        source=Source.IMPORT,
    )
    assert await store.of_movies(user, [603]) == (entry,)
    page = await store.page(user, Filter(), Order.ADDED_DESC, after=None, size=10)
    assert page.entries == (entry,)
    assert page.next is None
    assert page.total_size == 1


async def test_the_earliest_time_there_is_comes_back(store: EntryStore, somebody: Callable[[], str]) -> None:
    first = datetime.min.replace(tzinfo=UTC, second=1)
    entry, _ = await store.put(somebody(), replace(FULL, watch_time=first), now=NOW)
    assert entry.watch_time == first


async def test_a_second_put_replaces_everything_but_how_and_when_it_was_added(
    store: EntryStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    await store.put(user, FULL, now=NOW)
    entry, added = await store.put(user, Draft(movie_id=603), now=LATER)
    assert not added
    assert entry == Entry(
        movie_id=603,
        status=Status.WANT_TO_WATCH,
        note="",
        half_stars=None,
        tags=(),
        add_time=NOW,
        update_time=LATER,
        watch_time=None,
        source=Source.IMPORT,
    )


async def test_watched_again_keeps_the_watch_time_unless_a_new_one_is_given(
    store: EntryStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    watched = Draft(movie_id=7, status=Status.WATCHED)
    assert (await store.put(user, watched, now=NOW))[0].watch_time == NOW
    assert (await store.put(user, watched, now=LATER))[0].watch_time == NOW
    given = replace(watched, watch_time=NOW - timedelta(days=1))
    assert (await store.put(user, given, now=LATER))[0].watch_time == given.watch_time
    assert (await store.put(user, Draft(movie_id=7), now=LATER))[0].watch_time is None
    assert (await store.put(user, watched, now=LATER))[0].watch_time == LATER


async def test_of_many_first_puts_at_once_exactly_one_added(
    store: EntryStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    puts = [store.put(user, Draft(movie_id=11, note=str(n)), now=NOW) for n in range(20)]
    outcomes = await asyncio.gather(*puts)
    assert [added for _, added in outcomes].count(True) == 1
    assert len(await store.of_movies(user, [11])) == 1


async def test_removing_says_whether_there_was_something(
    store: EntryStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    await store.put(user, FULL, now=NOW)
    assert await store.remove(user, 603)
    assert not await store.remove(user, 603)
    assert await store.of_movies(user, [603]) == ()
    _, added = await store.put(user, Draft(movie_id=603), now=LATER)
    assert added


async def test_entries_of_films_come_once_and_by_film_id(
    store: EntryStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    for movie_id in (30, 10, 20, 2**31 - 1):
        await store.put(user, Draft(movie_id=movie_id), now=NOW)
    entries = await store.of_movies(user, [20, 2**31 - 1, 10, 20, 99])
    assert [entry.movie_id for entry in entries] == [10, 20, 2**31 - 1]


async def test_an_empty_page_still_counts(store: EntryStore, somebody: Callable[[], str]) -> None:
    user = somebody()
    nothing = await store.page(user, Filter(), Order.RATING_ASC, after=None, size=5)
    assert (nothing.entries, nothing.next, nothing.total_size) == ((), None, 0)
    for movie_id in (1, 2, 3):
        await store.put(user, Draft(movie_id=movie_id), now=NOW)
    first = await store.page(user, Filter(), Order.ADDED_ASC, after=None, size=2)
    assert first.next is not None
    await store.remove(user, 3)
    beyond = await store.page(user, Filter(), Order.ADDED_ASC, after=first.next, size=2)
    assert (beyond.entries, beyond.next, beyond.total_size) == ((), None, 2)


@pytest.mark.parametrize(
    "beyond_the_rules",
    [
        Draft(movie_id=0),
        Draft(movie_id=1, half_stars=0),
        Draft(movie_id=1, half_stars=11),
        Draft(movie_id=1, note="n" * 1025),
        Draft(movie_id=1, tags=tuple(map(str, range(21)))),
    ],
    ids=repr,
)
async def test_the_table_itself_refuses_what_breaks_the_rules(
    store: EntryStore, somebody: Callable[[], str], beyond_the_rules: Draft
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await store.put(somebody(), beyond_the_rules, now=NOW)


async def test_every_status_and_source_is_one_the_table_knows(
    store: EntryStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    drafts = [Draft(movie_id=1, status=status) for status in Status]
    drafts += [Draft(movie_id=2 + number, source=source) for number, source in enumerate(Source)]
    for draft in drafts:
        entry, _ = await store.put(user, draft, now=NOW)
        assert (entry.status, entry.source) == (draft.status, draft.source)


_SEED = """
    INSERT INTO backlog.entries
    SELECT 'reader-' || reader, movie, 'want_to_watch', '', nullif(movie % 11, 0), '{}',
           $1::timestamptz - movie * interval '1 minute', $1, NULL, 'import'
    FROM generate_series(1, 20) AS reader, generate_series(1, 1000) AS movie
"""


async def test_every_order_reads_an_index_and_only_as_far_as_the_page_goes(database: Database) -> None:
    async with database.acquire() as connection:
        await connection.execute(_SEED, NOW)
        await connection.execute("ANALYZE backlog.entries")
        for order, key in (
            (Order.ADDED_DESC, NOW),
            (Order.ADDED_ASC, NOW - timedelta(minutes=500)),
            (Order.RATING_DESC, 5),
            (Order.RATING_ASC, 5),
        ):
            for by_status in (False, True):
                values = [Status.WANT_TO_WATCH] if by_status else []
                [[plan]] = await connection.fetch(
                    "EXPLAIN (ANALYZE, FORMAT JSON) " + _page_statement(order, by_status, False),
                    *("reader-7", key, 500, 21, *values),
                )
                read = [line for line in plan.splitlines() if '"Relation Name"' in line]
                assert len(read) == 2, f"{order}: one scan counts and one reads the page: {plan}"
                assert '"Seq Scan"' not in plan, order
                assert "entries_by_" in plan, order
