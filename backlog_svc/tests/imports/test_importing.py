"""Imports on the real service and database: what they do, how they are settled, and whose they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import pytest
from google.protobuf import json_format

from backlog_svc.entries import Status
from backlog_svc.import_store import ImportStore
from backlog_svc.importing import Importing
from backlog_svc.imports.files import read
from backlog_svc.imports.jobs import KEPT_FOR, MOST_KEPT, MOST_UNFINISHED
from backlog_svc.tests.imports.conftest import HEADER, WITH_RATING, Person, counts, films
from mesh.errors import reason_of, status_of
from mesh.page_tokens import PageTokens
from mesh.postgres import Database
from popcorn.backlog.v1 import backlog_pb2 as pb

if TYPE_CHECKING:
    from backlog_svc.movies import Movies
    from backlog_svc.tests.conftest import SetClock
    from backlog_svc.tests.movie_service import ScriptedMovies
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

DONE = pb.IMPORT_STATE_DONE
WORKING = pb.IMPORT_STATE_WORKING


async def refused(call: Awaitable[object]) -> tuple[str, str | None]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    status = status_of(raised.value)
    assert status is not None
    return raised.value.code().name, reason_of(status)


async def test_a_list_comes_in_and_a_second_time_changes_nothing(ada: Person) -> None:
    job = await ada.import_(films(range(1, 46)))
    assert (job.state, job.films, job.done, counts(job)) == (DONE, 45, 45, {"added": 45})
    entries = await ada.entries()
    assert entries.keys() == set(range(1, 46))
    assert {entry.source for entry in entries.values()} == {pb.ENTRY_SOURCE_IMPORT}
    assert {entry.add_time.ToJsonString() for entry in entries.values()} == {"2024-05-01T00:00:00Z"}
    assert counts(await ada.import_(films(range(1, 46)))) == {"unchanged": 45}
    assert await ada.entries() == entries


async def test_a_dry_run_says_what_would_happen_and_writes_no_entry(ada: Person) -> None:
    await ada.import_(films([1, 2]))
    before = await ada.entries()
    file = WITH_RATING + "".join(f"2024-05-01,{name},1979,u,4\n" for name in ("Film 2", "Film 3", "Maybe 4"))
    tried = await ada.import_(file, dry_run=True)
    assert await ada.entries() == before
    done = await ada.import_(file)
    assert counts(tried) == counts(done) == {"added": 1, "changed": 1, "unsettled": 1}
    assert (tried.dry_run, done.dry_run) == (True, False)
    assert await refused(ada.settle(tried, pb.ImportChoice(row=3, movie_id=4))) == (
        "FAILED_PRECONDITION",
        "IMPORT_IS_DRY_RUN",
    )


async def test_what_was_said_by_hand_since_stays_and_what_was_empty_is_filled(
    ada: Person, clock: SetClock
) -> None:
    for movie_id, rating in ((1, 2.0), (2, None)):
        draft = pb.EntryDraft(movie_id=movie_id, rating=rating, note="mine")
        await ada.backlog.PutEntry(pb.PutEntryRequest(user_id=ada.user, entry=draft))
    file = WITH_RATING + "2024-05-01,Film 1,1979,u,5\n2024-05-01,Film 2,1979,u,5\n"
    assert counts(await ada.import_(file)) == {"changed": 2}
    entries = await ada.entries()
    assert {movie_id: entry.rating for movie_id, entry in entries.items()} == {1: 2.0, 2: 5.0}
    assert {entry.status for entry in entries.values()} == {pb.ENTRY_STATUS_WATCHED}
    clock.advance(days=3)
    since = (clock() - timedelta(days=1)).date()
    newer = WITH_RATING + f"{since},Film 1,1979,u,5\n"
    assert counts(await ada.import_(newer)) == {"changed": 1}
    assert (await ada.entries())[1].rating == 5.0


async def test_films_are_looked_up_twenty_at_a_time_in_the_callers_languages(
    ada: Person, scripted: ScriptedMovies
) -> None:
    scripted.resolved.clear()
    await ada.import_(films(range(1, 46)))
    assert [len(asked.movies) for asked in scripted.resolved] == [20, 20, 5]
    assert {tuple(asked.locale.languages) for asked in scripted.resolved} == {("de", "en")}
    scripted.resolved.clear()
    assert counts(await ada.import_("tmdbID,Title\n7,Film 7\n")) == {"unchanged": 1}
    assert not scripted.resolved, "TMDB's own id needs no looking up"


async def test_a_title_that_movie_svc_refuses_costs_only_itself(ada: Person) -> None:
    job = await ada.import_(
        HEADER + "2024-05-01,Film 1,1979,u\n2024-05-01,refused,1979,u\n2024-05-01,Film 2,1979,u\n"
    )
    assert counts(job) == {"added": 2, "unsettled": 1}


async def test_while_films_cannot_be_had_an_import_waits_and_goes_on_by_itself(
    ada: Person, scripted: ScriptedMovies, clock: SetClock
) -> None:
    scripted.away = True
    try:
        job = await ada.import_(films(range(1, 31)))
        assert (job.state, job.done) == (WORKING, 0)
        scripted.resolved.clear()
        clock.advance(seconds=0.5)
        assert not await ada.importing.round(), "it is put off"
        assert not scripted.resolved
    finally:
        scripted.away = False
    clock.advance(seconds=1)
    while await ada.importing.round():
        pass
    assert counts(await ada.job(job.import_id)) == {"added": 30}


# ---- settling ------------------------------------------------------------------------------------------


async def test_what_is_not_clear_is_listed_with_candidates_and_settled_by_hand(ada: Person) -> None:
    job = await ada.import_(
        films([1]) + films([7, 20, 30], word="Maybe").removeprefix(HEADER) + "x,Nothing,1,u\n"
    )
    assert counts(job) == {"added": 1, "unsettled": 4}
    listed = await ada.rows(job)
    assert [(row.line, row.title, list(row.candidate_ids)) for row in listed.rows] == [
        (3, "Maybe 7", [7, 8]),
        (4, "Maybe 20", [20, 21]),
        (5, "Maybe 30", [30, 31]),
        (6, "Nothing", []),
    ]
    seven, twenty, thirty, nothing = (row.row for row in listed.rows)
    choices = [pb.ImportChoice(row=seven, movie_id=8), pb.ImportChoice(row=nothing, skip=True)]
    for _ in range(2):
        assert counts(await ada.settle(job, *choices)) == {"added": 2, "unsettled": 2, "skipped": 1}
    assert (await ada.entries()).keys() == {1, 8}
    assert (await ada.rows(job)).total_size == 2
    for again in (pb.ImportChoice(row=seven, movie_id=7), pb.ImportChoice(row=nothing, movie_id=7)):
        both = (pb.ImportChoice(row=twenty, movie_id=20), again)
        assert await refused(ada.settle(job, *both)) == ("FAILED_PRECONDITION", "IMPORT_ROW_SETTLED")
    assert counts(await ada.job(job.import_id))["unsettled"] == 2, "all choices count, or none"
    for unknown in (1, 99):
        both = (pb.ImportChoice(row=thirty, skip=True), pb.ImportChoice(row=unknown, movie_id=7))
        assert await refused(ada.settle(job, *both)) == ("NOT_FOUND", "IMPORT_ROW_NOT_FOUND")
    assert counts(await ada.settle(job, pb.ImportChoice(row=twenty, movie_id=8))) == {
        **{"added": 2, "unchanged": 1, "unsettled": 1, "skipped": 1}
    }


async def test_rows_are_paged_and_each_comes_once_while_others_are_settled(ada: Person) -> None:
    job = await ada.import_(films(range(1, 8), word="Maybe") + "1,2\n" * 3)
    broken = await ada.rows(job, kind=pb.IMPORT_ROW_KIND_FAILED)
    assert [row.problem for row in broken.rows] == [pb.ImportRow.PROBLEM_WRONG_COLUMN_COUNT] * 3
    assert [row.line for row in broken.rows] == [9, 10, 11]
    seen: list[int] = []
    token = ""
    while True:
        page = await ada.rows(job, page_size=2, page_token=token)
        seen += [row.row for row in page.rows]
        await ada.settle(job, pb.ImportChoice(row=page.rows[0].row, skip=True))
        token = page.next_page_token
        if not token:
            break
    assert seen == list(range(1, 8))


# ---- whose they are ------------------------------------------------------------------------------------


async def test_nobody_reaches_another_persons_import(
    ada: Person, new_person: Callable[[], Person], database: Database
) -> None:
    job = await ada.import_(films(range(1, 5), word="Maybe"))
    token = (await ada.rows(job, page_size=1)).next_page_token
    bob = new_person()
    own = await bob.import_(films(range(1, 5), word="Maybe"))
    missing = ("NOT_FOUND", "IMPORT_NOT_FOUND")
    assert await refused(bob.job(job.import_id)) == missing
    assert await refused(bob.rows(job)) == missing
    assert await refused(bob.settle(job, pb.ImportChoice(row=1, movie_id=1))) == missing
    bad = ("INVALID_ARGUMENT", "INVALID_INPUT")
    forged = PageTokens(b"another key, of the same length too").seal(
        "backlog.import_rows", {"user": ada.user, "import": job.import_id, "state": "unsettled"}, [0]
    )
    for whose, which in ((bob, job), (bob, own), (ada, own)):
        assert await refused(whose.rows(which, page_token=token)) == bad
    assert await refused(ada.rows(job, page_token=forged)) == bad
    assert await refused(ada.rows(job, page_token=token, kind=pb.IMPORT_ROW_KIND_FAILED)) == bad
    assert await bob.entries() == {}
    assert counts(await ada.job(job.import_id)) == {"unsettled": 4}


async def test_erasing_a_person_forgets_their_imports_and_nobody_elses(
    ada: Person, new_person: Callable[[], Person], database: Database
) -> None:
    bob = new_person()
    kept = await bob.import_(films([1], word="Maybe"))
    await ada.import_(films([1], word="Maybe"))
    half_way = await ada.hand_in(films(range(1, 101)))
    assert await ada.importing.round()
    assert len(await ada.entries()) == 20
    await ada.backlog.EraseUser(pb.EraseUserRequest(user_id=ada.user))
    while await ada.importing.round():
        pass
    assert await ada.entries() == {}
    assert await refused(ada.job(half_way.import_id)) == ("NOT_FOUND", "IMPORT_NOT_FOUND")
    rows = await database.fetchval("SELECT count(*) FROM backlog.import_rows")
    assert rows == await database.fetchval(
        "SELECT count(*) FROM backlog.import_rows JOIN backlog.imports USING (import_id)"
    )
    assert await database.fetchval("SELECT count(*) FROM backlog.imports WHERE user_id = $1", ada.user) == 0
    assert counts(await bob.job(kept.import_id)) == {"unsettled": 1}


async def test_an_export_of_a_person_names_their_imports(ada: Person) -> None:
    job = await ada.import_(films([1, 2]))
    answer = await ada.backlog.ExportUser(pb.ExportUserRequest(user_id=ada.user))
    assert json_format.MessageToDict(answer.data)["imports"] == [json_format.MessageToDict(job)]


# ---- bounds --------------------------------------------------------------------------------------------


async def test_a_person_has_only_so_many_unfinished_imports_and_others_are_not_held_up(
    ada: Person, new_person: Callable[[], Person]
) -> None:
    for _ in range(MOST_UNFINISHED):
        await ada.hand_in(films([1]))
    assert await refused(ada.hand_in(films([1]))) == ("RESOURCE_EXHAUSTED", "TOO_MANY_IMPORTS")
    assert counts(await new_person().import_(films([1]))) == {"added": 1}
    assert counts(await ada.import_(films([1]))) == {"unchanged": 1}


async def test_of_many_at_once_no_more_than_those_are_taken(ada: Person) -> None:
    answers = await asyncio.gather(*(ada.hand_in(films([1])) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(answer, pb.ImportJob) for answer in answers) == MOST_UNFINISHED
    while await ada.importing.round():
        pass


async def test_a_long_list_and_a_short_one_take_turns(ada: Person, new_person: Callable[[], Person]) -> None:
    long = await ada.hand_in(films(range(1, 201)))
    bob = new_person()
    short = await bob.hand_in(films([1]))
    for _ in range(3):
        await ada.importing.round()
    assert (await bob.job(short.import_id)).state == DONE
    assert (await ada.job(long.import_id)).state == WORKING
    while await ada.importing.round():
        pass


async def test_old_imports_are_forgotten_and_new_ones_make_room(
    ada: Person, import_store: ImportStore, clock: SetClock, database: Database
) -> None:
    last = pb.ImportJob()
    for _ in range(MOST_KEPT + 2):
        last = await ada.import_(films([1]))
        clock.advance(seconds=1)
    kept = await database.fetchval("SELECT count(*) FROM backlog.imports WHERE user_id = $1", ada.user)
    assert kept <= MOST_KEPT
    await import_store.sweep(now=clock() + KEPT_FOR - timedelta(minutes=1))
    assert (await ada.job(last.import_id)).expire_time.ToDatetime() > clock().replace(tzinfo=None)
    for _ in range(20):
        await import_store.sweep(now=clock() + KEPT_FOR + timedelta(minutes=1))
    assert await refused(ada.job(last.import_id)) == ("NOT_FOUND", "IMPORT_NOT_FOUND")


async def test_an_upload_that_breaks_off_leaves_nothing(ada: Person, database: Database) -> None:
    async def broken() -> AsyncIterator[pb.StartImportRequest]:
        yield pb.StartImportRequest(user_id=ada.user, data=films(range(1, 99)).encode())
        raise ConnectionError

    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await ada.backlog.StartImport(broken(), timeout=5)
    assert await database.fetchval("SELECT count(*) FROM backlog.imports WHERE user_id = $1", ada.user) == 0


async def test_a_call_that_is_cancelled_while_lines_are_put_down_leaves_nothing(
    ada: Person, import_store: ImportStore, database: Database, clock: SetClock
) -> None:
    reading = read(films(range(1, 20_001)).encode(), plain=Status.WATCHED, now=clock())
    adding = asyncio.create_task(
        import_store.add(ada.user, reading, import_id=uuid4(), dry_run=False, languages=[], now=clock())
    )
    count = "SELECT count(*) FROM backlog.imports WHERE user_id = $1"
    while not await database.fetchval(count, ada.user):
        assert not adding.done()
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert await database.fetchval(count, ada.user) == 0


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("", "UNKNOWN_FORMAT"),
        ("Datum;Titel\n1;2\n", "UNKNOWN_FORMAT"),
        (HEADER + "\n" * 50_001, "TOO_MANY_ROWS"),
        (HEADER + "x" * (32 * 1024 * 1024), "FILE_TOO_LARGE"),
        ("PK\x03\x04", "UNREADABLE_ARCHIVE"),
    ],
    ids=["empty", "unknown", "rows", "size", "archive"],
)
async def test_a_file_that_cannot_be_taken_is_refused_and_kept_nowhere(
    ada: Person, file: str, reason: str, database: Database
) -> None:
    assert await refused(ada.hand_in(file)) == ("INVALID_ARGUMENT", reason)
    assert await database.fetchval("SELECT count(*) FROM backlog.imports WHERE user_id = $1", ada.user) == 0


# ---- two replicas, and people in between -----------------------------------------------------------------


async def test_two_replicas_and_a_busy_hand_lose_and_double_nothing(
    ada: Person, import_store: ImportStore, movies: Movies, clock: SetClock
) -> None:
    job = await ada.hand_in(films(range(1, 201)))

    async def replica() -> None:
        other = Importing(import_store, movies, clock=clock, work_arrived=asyncio.Event())
        while await other.round():
            pass

    async def by_hand() -> None:
        for movie_id in range(1, 201, 3):
            draft = pb.EntryDraft(movie_id=movie_id, note="mine", rating=1)
            await ada.backlog.PutEntry(pb.PutEntryRequest(user_id=ada.user, entry=draft))

    await asyncio.gather(replica(), replica(), by_hand())
    done = await ada.job(job.import_id)
    assert (done.state, done.done) == (DONE, 200)
    assert sum(counts(done).values()) == 200
    entries = await ada.entries()
    assert entries.keys() == set(range(1, 201))
    assert {entries[movie_id].note for movie_id in range(1, 201, 3)} == {"mine"}


async def test_a_batch_that_was_worked_off_by_another_replica_is_left_alone(
    ada: Person, import_store: ImportStore, clock: SetClock
) -> None:
    await ada.hand_in(films([]) + "2024-05-01,Film 1,1979,u\n")
    job = await import_store.take(now=clock())
    assert job is not None
    rows = await import_store.waiting(job.import_id, most=10)
    found = await ada.importing._look_up(job, rows)  # what both have looked up before either writes
    first = await import_store.take_in(job.import_id, rows, found, now=clock())
    second = await import_store.take_in(job.import_id, rows, found, now=clock())
    assert first == second
    assert first is not None
    assert (first.added, first.done) == (1, 1)


async def exported(backlog: BacklogServiceAsyncStub, user: str, format_: int) -> bytes:
    asked = pb.ExportEntriesRequest(user_id=user, format=format_)  # type: ignore[arg-type]
    return b"".join([piece.data async for piece in backlog.ExportEntries(asked)])


@pytest.mark.parametrize("format_", [pb.EXPORT_FORMAT_JSON, pb.EXPORT_FORMAT_LETTERBOXD_CSV])
async def test_what_goes_out_comes_back_to_the_same_person_and_to_another(
    ada: Person, new_person: Callable[[], Person], format_: int
) -> None:
    def rows() -> Iterator[str]:
        for number in range(1, 451):
            rating = number % 11 / 2
            yield f'{number},Film,{rating or ""},{"2024-05-01" if rating else ""},"a,=b","@note, {number}"\n'

    first = await ada.import_("tmdbID,Title,Rating,WatchedDate,Tags,Review\n" + "".join(rows()))
    assert counts(first) == {"added": 450}
    file = await exported(ada.backlog, ada.user, format_)
    assert counts(await ada.import_(file)) == {"unchanged": 450}
    bob = new_person()
    assert counts(await bob.import_(file)) == {"added": 450}
    assert said(await bob.entries()) == said(await ada.entries())


def said(entries: dict[int, pb.Entry]) -> dict[int, tuple[object, ...]]:
    return {
        movie_id: (entry.status, entry.rating, entry.note, *entry.tags, entry.watch_time.ToJsonString())
        for movie_id, entry in entries.items()
    }
