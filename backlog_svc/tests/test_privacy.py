"""Nobody sees, counts, changes or removes what is somebody else's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from backlog_svc.tests.test_games import finished
from backlog_svc.tests.test_games import record as record_game
from backlog_svc.tests.test_matches import night, record
from mesh.page_tokens import PageTokens
from popcorn.backlog.v1 import backlog_pb2 as pb

if TYPE_CHECKING:
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

MOVIES = range(1, 8)


@pytest.fixture
async def ada(backlog: BacklogServiceAsyncStub, somebody: Callable[[], str]) -> str:
    """Somebody with seven films."""
    user = somebody()
    for movie_id in MOVIES:
        draft = pb.EntryDraft(movie_id=movie_id, note="private", tags=["mine"], rating=4)
        await backlog.PutEntry(pb.PutEntryRequest(user_id=user, entry=draft))
    return user


async def all_of(backlog: BacklogServiceAsyncStub, user: str) -> pb.ListEntriesResponse:
    return await backlog.ListEntries(pb.ListEntriesRequest(user_id=user, page_size=100))


async def test_the_same_film_ids_show_another_person_nothing(
    backlog: BacklogServiceAsyncStub, ada: str, somebody: Callable[[], str]
) -> None:
    bob = somebody()
    got = await backlog.BatchGetEntries(pb.BatchGetEntriesRequest(user_id=bob, movie_ids=MOVIES))
    assert not got.entries
    listed = await all_of(backlog, bob)
    assert (len(listed.entries), listed.total_size) == (0, 0)
    tagged = await backlog.ListEntries(
        pb.ListEntriesRequest(user_id=bob, filter=pb.EntryFilter(tag="mine"), order=pb.ENTRY_ORDER_RATING_ASC)
    )
    assert (len(tagged.entries), tagged.total_size) == (0, 0)


async def test_no_filter_and_no_order_shows_what_is_somebody_elses(
    backlog: BacklogServiceAsyncStub, ada: str, somebody: Callable[[], str]
) -> None:
    bob = somebody()
    draft = pb.EntryDraft(movie_id=1, note="bob's own")
    await backlog.PutEntry(pb.PutEntryRequest(user_id=bob, entry=draft))
    filters = [
        pb.EntryFilter(),
        pb.EntryFilter(status=pb.ENTRY_STATUS_WANT_TO_WATCH),
        pb.EntryFilter(tag="mine"),
        pb.EntryFilter(text="private"),
        pb.EntryFilter(text="film"),
        pb.EntryFilter(max_runtime_minutes=500),
        pb.EntryFilter(provider_ids=[8], region="GB"),
        *(pb.EntryFilter(text=text) for text in ("' OR TRUE --", "%", f"{ada}", "$1", "\\")),
        *(pb.EntryFilter(tag=tag) for tag in ("' OR TRUE --", "{mine}", "%")),
    ]
    for order in pb.EntryOrder.values():
        for wanted in filters:
            page = await backlog.ListEntries(
                pb.ListEntriesRequest(user_id=bob, filter=wanted, order=order, languages=["de"])
            )
            assert page.total_size + page.undecided_size <= 1
            assert all(entry.note == "bob's own" for entry in page.entries)


async def test_the_etag_of_another_persons_entry_opens_nothing(
    backlog: BacklogServiceAsyncStub, ada: str, somebody: Callable[[], str]
) -> None:
    before = await all_of(backlog, ada)
    bob = somebody()
    for entry in before.entries:
        change = pb.UpdateEntryRequest(
            user_id=bob, entry=pb.EntryDraft(movie_id=entry.movie_id, note="bob's"), etag=entry.etag
        )
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await backlog.UpdateEntry(change)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    mine = await backlog.PutEntry(pb.PutEntryRequest(user_id=bob, entry=pb.EntryDraft(movie_id=1)))
    change = pb.UpdateEntryRequest(
        user_id=bob, entry=pb.EntryDraft(movie_id=1, note="bob's"), etag=before.entries[-1].etag
    )
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await backlog.UpdateEntry(change)
    assert raised.value.code() is grpc.StatusCode.ABORTED
    change.etag = mine.entry.etag
    assert (await backlog.UpdateEntry(change)).entry.note == "bob's"
    batch = pb.BatchPutEntriesRequest(user_id=bob, entries=[pb.EntryDraft(movie_id=n) for n in MOVIES])
    assert (await backlog.BatchPutEntries(batch)).added == len(MOVIES) - 1
    assert await all_of(backlog, ada) == before


async def test_another_persons_puts_and_removals_leave_everything_as_it_was(
    backlog: BacklogServiceAsyncStub, ada: str, somebody: Callable[[], str]
) -> None:
    before = await all_of(backlog, ada)
    bob = somebody()
    for movie_id in MOVIES:
        removal = await backlog.RemoveEntry(pb.RemoveEntryRequest(user_id=bob, movie_id=movie_id))
        assert not removal.removed
        draft = pb.EntryDraft(movie_id=movie_id, note="bob's")
        assert (await backlog.PutEntry(pb.PutEntryRequest(user_id=bob, entry=draft))).added
        removal = await backlog.RemoveEntry(pb.RemoveEntryRequest(user_id=bob, movie_id=movie_id))
        assert removal.removed
    assert await all_of(backlog, ada) == before


@pytest.mark.parametrize(
    "nearly", [str.upper, lambda user: user + "_", lambda user: user[:-1], lambda _: "_"]
)
async def test_a_user_id_matches_exactly_or_not_at_all(
    backlog: BacklogServiceAsyncStub, ada: str, nearly: Callable[[str], str]
) -> None:
    assert (await all_of(backlog, nearly(ada))).total_size == 0


async def test_a_page_token_minds_the_reader_where_the_reader_matters(
    backlog: BacklogServiceAsyncStub, ada: str
) -> None:
    by_title = pb.ListEntriesRequest(
        user_id=ada, order=pb.ENTRY_ORDER_TITLE_ASC, languages=["de"], page_size=3
    )
    by_title.page_token = (await backlog.ListEntries(by_title)).next_page_token
    assert len((await backlog.ListEntries(by_title)).entries) == 3
    by_title.languages[:] = ["fr"]
    with pytest.raises(grpc.aio.AioRpcError):
        await backlog.ListEntries(by_title)
    by_time = pb.ListEntriesRequest(user_id=ada, languages=["de"], page_size=3)
    by_time.page_token = (await backlog.ListEntries(by_time)).next_page_token
    by_time.languages[:] = ["fr"]
    assert len((await backlog.ListEntries(by_time)).entries) == 3


async def test_a_page_token_is_good_for_one_list_of_one_person(
    backlog: BacklogServiceAsyncStub, ada: str, somebody: Callable[[], str]
) -> None:
    asked = pb.ListEntriesRequest(user_id=ada, page_size=3)
    first = await backlog.ListEntries(asked)
    going_on = pb.ListEntriesRequest(user_id=ada, page_size=2, page_token=first.next_page_token)
    second = await backlog.ListEntries(going_on)
    assert len(second.entries) == 2, "the size of a page may change on the way"

    token = first.next_page_token
    forged = PageTokens(b"somebody else's key, just as long").seal(
        "backlog.entries", {"user": ada, "status": None, "tag": None, "order": "added_desc"}, [0, 0]
    )
    swapped = ("B" if token[0] == "A" else "A") + token[1:]
    for request in (
        pb.ListEntriesRequest(user_id=somebody(), page_token=token),
        pb.ListEntriesRequest(user_id=ada, page_token=token, order=pb.ENTRY_ORDER_ADDED_ASC),
        pb.ListEntriesRequest(user_id=ada, page_token=token, order=pb.ENTRY_ORDER_UPDATED_DESC),
        pb.ListEntriesRequest(user_id=ada, page_token=token, filter=pb.EntryFilter(tag="mine")),
        pb.ListEntriesRequest(
            user_id=ada, page_token=token, filter=pb.EntryFilter(status=pb.ENTRY_STATUS_WANT_TO_WATCH)
        ),
        *(
            pb.ListEntriesRequest(user_id=ada, page_token=token, filter=wanted)
            for wanted in (
                pb.EntryFilter(genre_ids=[18]),
                pb.EntryFilter(max_runtime_minutes=90),
                pb.EntryFilter(decade=1990),
                pb.EntryFilter(provider_ids=[8], region="GB"),
                pb.EntryFilter(text="private"),
            )
        ),
        *(
            pb.ListEntriesRequest(user_id=ada, page_token=token, order=order)
            for order in pb.EntryOrder.values()
            if order > pb.ENTRY_ORDER_ADDED_DESC
        ),
        pb.ListEntriesRequest(user_id=ada, page_token=forged),
        pb.ListEntriesRequest(user_id=ada, page_token=swapped),
        pb.ListEntriesRequest(user_id=ada, page_token=token[:-1]),
        pb.ListEntriesRequest(user_id=ada, page_token=token + "A"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await backlog.ListEntries(request)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "page_token" in (raised.value.details() or "")


async def test_a_page_token_of_movie_nights_or_games_is_good_for_one_list_of_one_person(
    backlog: BacklogServiceAsyncStub, ada: str, somebody: Callable[[], str]
) -> None:
    bob = somebody()
    for user in (ada, bob):
        for movie_id in MOVIES:
            await record(backlog, night(somebody(), movie_id, [user]))
            await record_game(backlog, finished(somebody(), user))
    entries = await backlog.ListEntries(pb.ListEntriesRequest(user_id=ada, page_size=3))
    nights = await backlog.ListMatches(pb.ListMatchesRequest(user_id=ada, page_size=3))
    games = await backlog.ListGames(pb.ListGamesRequest(user_id=ada, page_size=3))
    for token in (entries.next_page_token, nights.next_page_token, games.next_page_token):
        assert token
        for user in (ada, bob):
            for rpc, asked, fits in (
                (backlog.ListMatches, pb.ListMatchesRequest, nights),
                (backlog.ListGames, pb.ListGamesRequest, games),
            ):
                request: Any = asked(user_id=user, page_token=token)
                list_: Any = rpc
                if user == ada and token == fits.next_page_token:
                    await list_(request)
                    continue
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await list_(request)
                assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert "page_token" in (raised.value.details() or "")
