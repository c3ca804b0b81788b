"""The store's contract, on a real PostgreSQL."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from backlog_svc.entries import Draft, Entry, Field, Source, Status
from backlog_svc.refusals import EntryChanged, EntryNotFound
from backlog_svc.store import EntryStore

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


async def test_a_batch_is_put_all_or_none_and_counted(store: EntryStore, somebody: Callable[[], str]) -> None:
    user = somebody()
    await store.put(user, Draft(movie_id=1), now=NOW)
    await store.put(user, Draft(movie_id=2, note="old"), now=NOW)
    watched = Draft(movie_id=4, status=Status.WATCHED)
    drafts = [replace(FULL, movie_id=3), Draft(movie_id=1), Draft(movie_id=2, note="new"), watched]
    done = await store.put_batch(user, drafts, now=LATER)
    assert (done.added, done.changed, done.unchanged) == (2, 1, 1)
    one, two, three, four = await store.of_movies(user, [1, 2, 3, 4])
    assert (one.update_time, two.update_time) == (NOW, LATER)
    assert (two.add_time, two.note) == (NOW, "new")
    assert three == Entry(
        movie_id=3,
        status=Status.WATCHED,
        note=FULL.note,
        half_stars=9,
        tags=FULL.tags,
        add_time=LATER,
        update_time=LATER,
        watch_time=FULL.watch_time,
        source=Source.IMPORT,
    )
    assert four.watch_time == LATER
    again = await store.put_batch(user, drafts, now=LATER + timedelta(days=1))
    assert (again.added, again.changed, again.unchanged) == (0, 0, 4)
    assert await store.of_movies(user, [1, 2, 3, 4]) == (one, two, three, four)

    with pytest.raises(asyncpg.CheckViolationError):
        await store.put_batch(user, [Draft(movie_id=5), Draft(movie_id=6, half_stars=11)], now=LATER)
    assert await store.of_movies(user, [5, 6]) == ()


async def test_batches_that_meet_do_not_stand_in_each_others_way(
    store: EntryStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    drafts = [Draft(movie_id=movie_id) for movie_id in range(7_000, 7_300)]
    outcomes = await asyncio.gather(
        *(store.put_batch(user, drafts[:: 1 if number % 2 else -1], now=NOW) for number in range(8))
    )
    assert sum(outcome.added for outcome in outcomes) == 300
    assert sum(outcome.unchanged for outcome in outcomes) == 300 * 7


async def test_of_changes_with_one_etag_exactly_one_happens(
    store: EntryStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    entry, _ = await store.put(user, Draft(movie_id=11), now=NOW)
    changes = [
        store.update(user, Draft(movie_id=11, note=str(n)), {Field.NOTE}, etag=entry.etag, now=LATER)
        for n in range(20)
    ]
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    [won] = [outcome for outcome in outcomes if isinstance(outcome, Entry)]
    assert all(isinstance(outcome, Entry | EntryChanged) for outcome in outcomes)
    assert await store.of_movies(user, [11]) == (won,)


async def test_changes_of_different_fields_at_once_are_all_kept(
    store: EntryStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    await store.put(user, Draft(movie_id=11), now=NOW)
    await asyncio.gather(
        store.update(user, Draft(movie_id=11, note="n"), {Field.NOTE}, etag="", now=LATER),
        store.update(user, Draft(movie_id=11, half_stars=7), {Field.RATING}, etag="", now=LATER),
        store.update(user, Draft(movie_id=11, tags=("t",)), {Field.TAGS}, etag="", now=LATER),
        store.update(user, Draft(movie_id=11, status=Status.WATCHING), {Field.STATUS}, etag="", now=LATER),
    )
    [entry] = await store.of_movies(user, [11])
    assert (entry.note, entry.half_stars, entry.tags, entry.status) == ("n", 7, ("t",), Status.WATCHING)


async def test_what_is_not_there_cannot_be_changed(store: EntryStore, somebody: Callable[[], str]) -> None:
    owner = somebody()
    entry, _ = await store.put(owner, Draft(movie_id=11), now=NOW)
    with pytest.raises(EntryNotFound):
        await store.update(owner, Draft(movie_id=12, note="n"), {Field.NOTE}, etag="", now=LATER)
    with pytest.raises(EntryNotFound):
        await store.update(somebody(), Draft(movie_id=11, note="n"), {Field.NOTE}, etag=entry.etag, now=LATER)
    assert await store.of_movies(owner, [11]) == (entry,)
