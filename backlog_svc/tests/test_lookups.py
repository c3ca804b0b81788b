"""What nobody has asked about before is looked up while somebody waits, for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from backlog_svc.films import FRESH, View
from backlog_svc.lookups import BATCH
from popcorn.backlog.v1 import backlog_pb2 as pb
from popcorn.movie.v1 import movie_pb2

if TYPE_CHECKING:
    from backlog_svc.film_store import FilmStore
    from backlog_svc.list_store import ListStore
    from backlog_svc.tests.conftest import SetClock
    from backlog_svc.tests.movie_service import ScriptedMovies
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

NETFLIX = 8
BASE = 500_000
"""The films of this module, which no other looks at, come after it."""


@pytest.fixture(autouse=True)
def fresh_script(scripted: ScriptedMovies, clock: SetClock) -> Iterator[None]:
    """What was asked, from now on; afterwards everything is as it was."""
    clock.advance(minutes=1)  # failures of tests before are forgotten
    scripted.asked.clear()
    yield
    scripted.away = scripted.nothing = False
    scripted.seconds = 0.0
    scripted.titles.clear()
    scripted.subscriptions.clear()
    scripted.unavailable.clear()


@pytest.fixture
async def films(
    backlog: BacklogServiceAsyncStub, somebody: Callable[[], str], request: pytest.FixtureRequest
) -> tuple[str, list[int]]:
    """Somebody with three films that nothing is known of."""
    user = somebody()
    first = BASE + 10 * int(user.removeprefix("user-"))
    movie_ids = [first, first + 1, first + 2]
    for movie_id in movie_ids:
        await backlog.PutEntry(pb.PutEntryRequest(user_id=user, entry=pb.EntryDraft(movie_id=movie_id)))
    return user, movie_ids


def on_netflix(user: str, region: str = "DE", **more: int) -> pb.ListEntriesRequest:
    wanted = pb.EntryFilter(provider_ids=[NETFLIX], region=region)
    return pb.ListEntriesRequest(user_id=user, filter=wanted, **more)  # type: ignore[arg-type]  # numbers only


async def test_a_region_nobody_has_asked_about_is_looked_up_at_once_and_once(
    backlog: BacklogServiceAsyncStub, scripted: ScriptedMovies, films: tuple[str, list[int]]
) -> None:
    user, [_one, two, three] = films
    scripted.subscriptions = {(two, "DE"): [9, NETFLIX], (three, "GB"): [NETFLIX]}
    page = await backlog.ListEntries(on_netflix(user))
    assert [entry.movie_id for entry in page.entries] == [two]
    assert (page.total_size, page.undecided_size) == (1, 0)
    assert {request.locale.region for request in scripted.asked} == {"", "DE"}
    scripted.asked.clear()
    assert (await backlog.ListEntries(on_netflix(user))).entries == page.entries
    assert scripted.asked == []


async def test_titles_are_looked_up_in_the_readers_languages(
    backlog: BacklogServiceAsyncStub, scripted: ScriptedMovies, films: tuple[str, list[int]]
) -> None:
    user, [one, two, three] = films
    scripted.titles = {(one, "de-AT"): "Zebra", (two, "de-AT"): "Äpfel", (three, "de-AT"): "bäume"}
    by_title = pb.ListEntriesRequest(
        user_id=user, order=pb.ENTRY_ORDER_TITLE_ASC, languages=["de-AT", "en", "fr", "it"]
    )
    listed = await backlog.ListEntries(by_title)
    assert [entry.movie_id for entry in listed.entries] == [two, three, one]
    in_german = movie_pb2.Locale(languages=["de-AT", "en", "fr"])
    assert [request.locale for request in scripted.asked] == [movie_pb2.Locale(), in_german]
    found = await backlog.ListEntries(
        pb.ListEntriesRequest(user_id=user, filter=pb.EntryFilter(text="APFEL"), languages=["en"])
    )
    assert [entry.movie_id for entry in found.entries] == [two], "a title in any known language will do"


async def test_what_cannot_be_had_is_counted_and_neither_listed_nor_lost(
    backlog: BacklogServiceAsyncStub, scripted: ScriptedMovies, films: tuple[str, list[int]]
) -> None:
    user, [_one, two, three] = films
    scripted.subscriptions = {(two, "DE"): [NETFLIX], (three, "DE"): [NETFLIX]}
    scripted.unavailable = {three}
    page = await backlog.ListEntries(on_netflix(user))
    assert [entry.movie_id for entry in page.entries] == [two]
    assert (page.total_size, page.undecided_size) == (1, 1)
    scripted.unavailable = set()
    page = await backlog.ListEntries(on_netflix(user))
    assert [entry.movie_id for entry in page.entries] == [two, three]
    assert (page.total_size, page.undecided_size) == (2, 0)


async def test_without_movie_svc_lists_are_answered_and_it_is_left_in_peace_for_a_while(
    backlog: BacklogServiceAsyncStub,
    scripted: ScriptedMovies,
    films: tuple[str, list[int]],
    clock: SetClock,
) -> None:
    user, movie_ids = films
    scripted.away = True
    page = await backlog.ListEntries(on_netflix(user))
    assert (len(page.entries), page.total_size, page.undecided_size) == (0, 0, 3)
    by_length = pb.ListEntriesRequest(user_id=user, order=pb.ENTRY_ORDER_RUNTIME_DESC)
    assert [entry.movie_id for entry in (await backlog.ListEntries(by_length)).entries] == movie_ids
    scripted.away = False
    scripted.asked.clear()
    assert (await backlog.ListEntries(on_netflix(user))).undecided_size == 3
    assert scripted.asked == []
    clock.advance(seconds=5)
    assert (await backlog.ListEntries(on_netflix(user))).undecided_size == 0


async def test_films_that_hang_do_not_keep_a_list_waiting(
    backlog: BacklogServiceAsyncStub, scripted: ScriptedMovies, films: tuple[str, list[int]]
) -> None:
    user, _ = films
    scripted.seconds = 30
    async with asyncio.timeout(10):
        page = await backlog.ListEntries(on_netflix(user), timeout=20)
    assert page.undecided_size == 3


async def test_only_a_first_page_looks_films_up(
    backlog: BacklogServiceAsyncStub, scripted: ScriptedMovies, films: tuple[str, list[int]]
) -> None:
    user, [_one, _two, three] = films
    scripted.subscriptions = {(movie_id, "DE"): [NETFLIX] for movie_id in films[1]}
    first = await backlog.ListEntries(on_netflix(user, page_size=1))
    assert (first.total_size, first.undecided_size) == (3, 0)
    newcomer = three + 1
    draft = pb.EntryDraft(movie_id=newcomer)
    await backlog.PutEntry(pb.PutEntryRequest(user_id=user, entry=draft))
    scripted.asked.clear()
    going_on = on_netflix(user)
    going_on.page_token = first.next_page_token
    rest = await backlog.ListEntries(going_on)
    assert len(rest.entries) == 2
    assert rest.undecided_size == 1
    assert scripted.asked == []


async def test_many_films_are_looked_up_in_bounded_batches(
    backlog: BacklogServiceAsyncStub, scripted: ScriptedMovies, somebody: Callable[[], str]
) -> None:
    user = somebody()
    drafts = [pb.EntryDraft(movie_id=BASE - 1 - number) for number in range(250)]
    await backlog.BatchPutEntries(pb.BatchPutEntriesRequest(user_id=user, entries=drafts))
    page = await backlog.ListEntries(pb.ListEntriesRequest(user_id=user, order=pb.ENTRY_ORDER_POPULARITY_ASC))
    assert page.total_size == 250
    assert [len(request.movie_ids) for request in scripted.asked] == [BATCH, BATCH, 50]
    assert len(set(scripted.asked_for)) == 250


async def test_old_answers_are_used_and_asked_for_again(
    backlog: BacklogServiceAsyncStub,
    scripted: ScriptedMovies,
    films: tuple[str, list[int]],
    clock: SetClock,
    lists: ListStore,
) -> None:
    user, [one, two, three] = films
    scripted.subscriptions = {(one, "DE"): [NETFLIX]}
    await backlog.ListEntries(on_netflix(user))
    clock.now += FRESH
    view = View(region="DE")
    old = await lists.lacking(user, view, fresh_since=clock() - FRESH, without=[], most=10)
    assert old == [], "to the day"
    clock.advance(seconds=1)
    scripted.nothing = True
    assert (await backlog.ListEntries(on_netflix(user))).total_size == 1
    scripted.nothing = False
    scripted.subscriptions = {(two, "DE"): [NETFLIX], (three, "DE"): [NETFLIX]}
    assert (await backlog.ListEntries(on_netflix(user))).total_size == 2


async def test_a_film_that_tmdb_does_not_have_is_known_to_be_none(
    backlog: BacklogServiceAsyncStub, scripted: ScriptedMovies, somebody: Callable[[], str]
) -> None:
    user = somebody()
    gone = 900_000 + int(user.removeprefix("user-"))
    await backlog.PutEntry(pb.PutEntryRequest(user_id=user, entry=pb.EntryDraft(movie_id=gone)))
    page = await backlog.ListEntries(on_netflix(user))
    assert (page.total_size, page.undecided_size) == (0, 0)
    for order in pb.EntryOrder.values():
        listed = await backlog.ListEntries(pb.ListEntriesRequest(user_id=user, order=order, languages=["de"]))
        assert [entry.movie_id for entry in listed.entries] == [gone]


async def test_a_film_is_looked_up_though_another_reader_has_seen_it_in_another_language(
    backlog: BacklogServiceAsyncStub,
    scripted: ScriptedMovies,
    films: tuple[str, list[int]],
    film_store: FilmStore,
) -> None:
    user, [one, _two, _three] = films
    scripted.titles = {(one, "de"): "Der Tiger", (one, "fr"): "Le tigre"}
    for languages, text, found in ((["de"], "tiger", 1), (["fr"], "tigre", 1), (["fr"], "der", 1)):
        page = await backlog.ListEntries(
            pb.ListEntriesRequest(user_id=user, filter=pb.EntryFilter(text=text), languages=languages)
        )
        assert (page.total_size, page.undecided_size) == (found, 0), text
