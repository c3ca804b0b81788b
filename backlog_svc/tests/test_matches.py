"""Movie nights: told once or ten times, in any order, withdrawn, watched, and left by who leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from backlog_svc.match_store import MatchStore
from backlog_svc.matches import Participant, Seat, to_move
from backlog_svc.tests.test_paging import EXAMPLES
from mesh.errors import reason_of, status_of
from mesh.postgres import Database
from popcorn.backlog.v1 import backlog_pb2 as pb

if TYPE_CHECKING:
    from backlog_svc.tests.conftest import SetClock
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

Somebody = Callable[[], str]
EVENING = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)


def stamp(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message


def night(
    game_id: str,
    movie_id: int,
    people: Iterable[str],
    *,
    time: datetime = EVENING,
    guests: Iterable[str] = (),
) -> pb.Match:
    guests = set(guests)
    return pb.Match(
        game_id=game_id,
        game_name="Friday",
        movie_id=movie_id,
        match_time=stamp(time),
        participants=[
            pb.Match.Participant(user_id=user, display_name=f"called {user}", guest=user in guests)
            for user in people
        ],
    )


async def record(backlog: BacklogServiceAsyncStub, match: pb.Match, game_seq: int = 1) -> bool:
    answer = await backlog.RecordMatch(pb.RecordMatchRequest(match=match, game_seq=game_seq))
    return answer.recorded


async def watched(
    backlog: BacklogServiceAsyncStub, user: str, match: pb.Match, time: datetime | None = None
) -> pb.MarkMatchWatchedResponse:
    return await backlog.MarkMatchWatched(
        pb.MarkMatchWatchedRequest(
            user_id=user,
            game_id=match.game_id,
            movie_id=match.movie_id,
            watch_time=None if time is None else stamp(time),
        )
    )


async def nights_of(backlog: BacklogServiceAsyncStub, user: str, page_size: int = 100) -> list[pb.Match]:
    found: list[pb.Match] = []
    request = pb.ListMatchesRequest(user_id=user, page_size=page_size)
    while True:
        page = await backlog.ListMatches(request)
        found += page.matches
        if not page.next_page_token:
            assert page.total_size == len(found)
            return found
        assert len(page.matches) == page_size
        request.page_token = page.next_page_token


async def entry_of(backlog: BacklogServiceAsyncStub, user: str, movie_id: int) -> pb.Entry | None:
    answer = await backlog.BatchGetEntries(pb.BatchGetEntriesRequest(user_id=user, movie_ids=[movie_id]))
    return answer.entries[0] if answer.entries else None


async def moved_by(backlog: BacklogServiceAsyncStub, user: str, match: pb.Match) -> int | None:
    """How many entries it moves that somebody says they watched it; None when there is no such night."""
    try:
        return (await watched(backlog, user, match)).moved
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise


# ---- random histories against a plain model ----

GAMES, FILMS, PEOPLE = ["a", "b", "c"], [11, 12], ["ada", "bob", "eve", "guest"]
MEMBERS = PEOPLE[:3]


@dataclass(frozen=True)
class Told:
    """What the game says of a film: a match of these people, or that there is none (any more)."""

    game: str
    film: int
    people: tuple[str, ...]
    seq: int
    minutes: int


@dataclass(frozen=True)
class Tapped:
    """Somebody says that they watched it."""

    game: str
    film: int
    by: str


@dataclass(frozen=True)
class Left:
    """Somebody deletes their account."""

    who: str


@dataclass(frozen=True)
class Had:
    """Somebody writes an entry by hand, or removes it."""

    who: str
    film: int
    status: pb.EntryStatus.ValueType | None


games, films = st.sampled_from(GAMES), st.sampled_from(FILMS)
members = st.sampled_from(MEMBERS)
happenings = st.one_of(
    st.builds(
        Told,
        games,
        films,
        st.one_of(st.just(()), st.lists(st.sampled_from(PEOPLE), min_size=1, unique=True).map(tuple)),
        st.integers(0, 6),
        st.integers(0, 2),
    ),
    st.builds(Tapped, games, films, members),
    st.builds(
        Had,
        members,
        films,
        st.one_of(st.none(), st.sampled_from([pb.ENTRY_STATUS_WANT_TO_WATCH, pb.ENTRY_STATUS_WATCHED])),
    ),
    st.builds(Left, members),
)


@dataclass
class Night:
    seq: int
    minutes: int
    people: list[str | None]
    withdrawn: bool = False
    watched: bool = False
    moved: set[str] = field(default_factory=set)


@dataclass
class Model:
    """Movie nights and entries as dictionaries: what the service has to agree with."""

    nights: dict[tuple[str, int], Night] = field(default_factory=dict)
    entries: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    """Status and source of a person's entry."""
    gone: set[str] = field(default_factory=set)

    def tell(self, told: Told) -> bool:
        key = (told.game, told.film)
        known = self.nights.get(key)
        # A game knows who has left before backlogs are told.
        people: list[str | None] = [None if who in self.gone else who for who in told.people]
        if not people:
            if known is None:
                self.nights[key] = Night(told.seq, 0, [], withdrawn=True)
                return False
            if known.watched or told.seq < known.seq:
                return False
            stood = not known.withdrawn
            self.nights[key] = Night(told.seq, 0, [], withdrawn=True)
            return stood
        if known is not None and told.seq <= known.seq:
            return False
        if known is not None and known.watched:
            known.seq = told.seq
            known.people += [who for who in people if who is not None and who not in known.people]
            return True
        self.nights[key] = Night(told.seq, told.minutes, people)
        return True

    def tap(self, tapped: Tapped) -> int | None:
        one = self.nights.get((tapped.game, tapped.film))
        if one is None or tapped.by not in one.people:
            return None
        moved = 0
        for who in one.people:
            if who is None or who in one.moved or who == "guest":
                continue
            one.moved.add(who)
            one.watched = True
            status, source = self.entries.get((who, tapped.film), (0, pb.ENTRY_SOURCE_MOVIE_NIGHT))
            moved += status != pb.ENTRY_STATUS_WATCHED
            self.entries[who, tapped.film] = (pb.ENTRY_STATUS_WATCHED, source)
        return moved

    def have(self, had: Had) -> None:
        if had.status is None:
            self.entries.pop((had.who, had.film), None)
        else:
            _, source = self.entries.get((had.who, had.film), (0, pb.ENTRY_SOURCE_BY_HAND))
            self.entries[had.who, had.film] = (had.status, source)

    def leave(self, who: str) -> None:
        self.gone.add(who)
        self.entries = {key: value for key, value in self.entries.items() if key[0] != who}
        for key, one in self.nights.items():
            if who not in one.people:
                continue
            one.people = [None if other == who else other for other in one.people]
            one.moved.discard(who)
            if not any(one.people):
                self.nights[key] = Night(one.seq, 0, [], withdrawn=True)

    def listed(self, who: str) -> list[tuple[str, int, bool, list[str | None]]]:
        mine = [(key, one) for key, one in self.nights.items() if who in one.people]
        mine.sort(key=lambda pair: (-pair[1].minutes, pair[0]))
        return [(*key, one.watched, one.people) for key, one in mine]


@EXAMPLES
@given(history=st.lists(happenings, max_size=30), page_size=st.integers(1, 3))
async def test_whatever_the_game_tells_in_whatever_order_lists_and_entries_are_the_models(
    backlog: BacklogServiceAsyncStub,
    clock: SetClock,
    somebody: Somebody,
    history: list[Told | Tapped | Left | Had],
    page_size: int,
) -> None:
    ours, model = somebody(), Model()

    def named(who: str) -> str:
        return f"{ours}-{who}"

    for happening in history:
        clock.advance(minutes=1)
        match happening:
            case Told(game, film, people, seq, minutes):
                if people:
                    told = night(
                        named(game),
                        film,
                        map(named, people),
                        time=EVENING + timedelta(minutes=minutes),
                        guests=[named("guest")],
                    )
                    for one in told.participants:
                        if one.user_id in map(named, model.gone):
                            one.Clear()
                    changed = await record(backlog, told, seq)
                else:
                    withdrawal = await backlog.WithdrawMatch(
                        pb.WithdrawMatchRequest(game_id=named(game), movie_id=film, game_seq=seq)
                    )
                    changed = withdrawal.withdrawn
                assert changed == model.tell(happening), happening
            case Tapped(game, film, by):
                expected = model.tap(happening)
                assert await moved_by(backlog, named(by), night(named(game), film, [])) == expected
            case Left(who):
                await backlog.EraseUser(pb.EraseUserRequest(user_id=named(who)))
                model.leave(who)
            case Had(who, film, status):
                if status is None:
                    await backlog.RemoveEntry(pb.RemoveEntryRequest(user_id=named(who), movie_id=film))
                else:
                    draft = pb.EntryDraft(movie_id=film, status=status)
                    await backlog.PutEntry(pb.PutEntryRequest(user_id=named(who), entry=draft))
                model.have(happening)
    for who in PEOPLE:
        listed = [
            (
                match.game_id.removeprefix(f"{ours}-"),
                match.movie_id,
                match.HasField("watch_time"),
                [one.user_id.removeprefix(f"{ours}-") or None for one in match.participants],
            )
            for match in await nights_of(backlog, named(who), page_size)
        ]
        assert listed == model.listed(who)
        for film in FILMS:
            entry = await entry_of(backlog, named(who), film)
            kept = None if entry is None else (entry.status, entry.source)
            assert kept == model.entries.get((who, film))


@EXAMPLES
@given(
    minutes=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    between=st.lists(st.tuples(st.booleans(), st.integers(0, 11), st.integers(0, 3)), max_size=12),
    page_size=st.integers(1, 4),
)
async def test_nights_that_stay_are_listed_exactly_once_whatever_comes_and_goes_between_pages(
    backlog: BacklogServiceAsyncStub,
    somebody: Somebody,
    minutes: list[int],
    between: list[tuple[bool, int, int]],
    page_size: int,
) -> None:
    user, game = somebody(), somebody()
    for film, minute in enumerate(minutes, start=1):
        await record(backlog, night(game, film, [user], time=EVENING + timedelta(minutes=minute)))
    seen: list[int] = []
    request = pb.ListMatchesRequest(user_id=user, page_size=page_size)
    while True:
        page = await backlog.ListMatches(request)
        seen += [match.movie_id for match in page.matches]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
        if between:
            adds, film, minute = between.pop()
            coming = night(game, 100 + film, [user], time=EVENING + timedelta(minutes=minute))
            if adds:
                await record(backlog, coming)
            else:
                await backlog.WithdrawMatch(pb.WithdrawMatchRequest(game_id=game, movie_id=100 + film))
    stays = sorted(range(1, len(minutes) + 1), key=lambda film: (-minutes[film - 1], film))
    assert [film for film in seen if film < 100] == stays


# ---- what a match keeps ----


async def test_a_match_is_listed_for_everybody_as_it_was_told(
    backlog: BacklogServiceAsyncStub, somebody: Somebody
) -> None:
    ada, guest = somebody(), somebody()
    told = night(somebody(), 603, [ada, guest], guests=[guest])
    assert await record(backlog, told)
    assert await nights_of(backlog, ada) == [told]
    assert await nights_of(backlog, guest) == [told]
    assert await nights_of(backlog, somebody()) == []


async def test_the_same_match_told_again_is_one_movie_night(
    backlog: BacklogServiceAsyncStub, somebody: Somebody
) -> None:
    ada, game = somebody(), somebody()
    told = night(game, 603, [ada])
    answers = await asyncio.gather(*(record(backlog, told, 4) for _ in range(20)))
    assert answers.count(True) == 1
    assert await nights_of(backlog, ada) == [told]
    assert await record(backlog, night(game, 604, [ada]), 5), "another film of the same evening"


async def test_what_was_watched_cannot_be_taken_back(
    backlog: BacklogServiceAsyncStub, somebody: Somebody
) -> None:
    ada, bob = somebody(), somebody()
    told = night(somebody(), 603, [ada, bob])
    await record(backlog, told, 1)
    await watched(backlog, ada, told)
    withdrawal = pb.WithdrawMatchRequest(game_id=told.game_id, movie_id=603, game_seq=2)
    assert not (await backlog.WithdrawMatch(withdrawal)).withdrawn
    assert len(await nights_of(backlog, bob)) == 1


async def test_who_comes_to_a_watched_night_later_is_there_and_nobody_goes(
    backlog: BacklogServiceAsyncStub, somebody: Somebody
) -> None:
    ada, bob, eve = somebody(), somebody(), somebody()
    told = night(somebody(), 603, [ada, bob])
    await record(backlog, told, 1)
    await watched(backlog, ada, told)
    again = night(told.game_id, 603, [bob, eve], time=EVENING + timedelta(hours=1))
    assert await record(backlog, again, 2)
    [kept] = await nights_of(backlog, eve)
    assert [one.user_id for one in kept.participants] == [ada, bob, eve]
    assert kept.match_time == told.match_time
    assert (await watched(backlog, eve, told)).moved == 1


# ---- "we watched it" ----


async def test_everybodys_entry_moves_and_keeps_what_was_written_in_it(
    backlog: BacklogServiceAsyncStub, clock: SetClock, somebody: Somebody
) -> None:
    ada, bob, eve, guest = (somebody() for _ in range(4))
    told = night(somebody(), 603, [ada, bob, eve, guest], guests=[guest])
    await record(backlog, told)
    written = pb.EntryDraft(
        movie_id=603, note="bring crisps", rating=3.5, tags=["sci-fi"], source=pb.ENTRY_SOURCE_IMPORT
    )
    await backlog.PutEntry(pb.PutEntryRequest(user_id=bob, entry=written))
    seen = pb.EntryDraft(movie_id=603, status=pb.ENTRY_STATUS_WATCHED, note="long ago")
    before = (await backlog.PutEntry(pb.PutEntryRequest(user_id=eve, entry=seen))).entry
    now = clock.advance(hours=9)

    last_night = now - timedelta(hours=6)
    answer = await watched(backlog, ada, told, last_night)
    assert answer.moved == 2
    assert answer.match.watch_time.ToDatetime(UTC) == last_night
    assert answer.entry == await entry_of(backlog, ada, 603)
    assert (answer.entry.source, answer.entry.status) == (
        pb.ENTRY_SOURCE_MOVIE_NIGHT,
        pb.ENTRY_STATUS_WATCHED,
    )
    assert answer.entry.watch_time.ToDatetime(UTC) == last_night
    assert answer.entry.add_time.ToDatetime(UTC) == now
    bobs = await entry_of(backlog, bob, 603)
    assert bobs is not None
    assert (bobs.note, bobs.rating, list(bobs.tags)) == ("bring crisps", 3.5, ["sci-fi"])
    assert (bobs.status, bobs.source) == (pb.ENTRY_STATUS_WATCHED, pb.ENTRY_SOURCE_IMPORT)
    assert bobs.watch_time.ToDatetime(UTC) == last_night
    assert bobs.update_time.ToDatetime(UTC) == now
    assert await entry_of(backlog, eve, 603) == before, "she had watched it before"
    assert await entry_of(backlog, guest, 603) is None, "a guest keeps nothing"


async def test_saying_it_again_changes_nothing_even_after_somebody_changed_their_mind(
    backlog: BacklogServiceAsyncStub, clock: SetClock, somebody: Somebody
) -> None:
    ada, bob, eve = somebody(), somebody(), somebody()
    told = night(somebody(), 603, [ada, bob, eve])
    await record(backlog, told)
    first = await watched(backlog, ada, told)
    assert first.moved == 3
    again = pb.EntryDraft(movie_id=603, status=pb.ENTRY_STATUS_WANT_TO_WATCH)
    bobs = (await backlog.PutEntry(pb.PutEntryRequest(user_id=bob, entry=again))).entry
    await backlog.RemoveEntry(pb.RemoveEntryRequest(user_id=eve, movie_id=603))
    clock.advance(days=1)
    answers = [await watched(backlog, user, told) for user in (ada, bob, eve)]
    assert all((answer.moved, answer.match) == (0, first.match) for answer in answers)
    assert await entry_of(backlog, ada, 603) == first.entry
    assert await entry_of(backlog, bob, 603) == bobs
    assert await entry_of(backlog, eve, 603) is None
    assert [answer.HasField("entry") for answer in answers] == [True, True, False]


async def test_of_many_who_say_it_at_once_one_moves_everybody(
    backlog: BacklogServiceAsyncStub, somebody: Somebody
) -> None:
    people = [somebody() for _ in range(5)]
    told = night(somebody(), 603, people)
    await record(backlog, told)
    answers = await asyncio.gather(*(watched(backlog, user, told) for user in people * 2))
    assert sorted(answer.moved for answer in answers) == [0] * 9 + [5]
    assert all(answer.entry.status == pb.ENTRY_STATUS_WATCHED for answer in answers)


async def test_a_guest_who_has_an_account_by_now_is_moved_when_they_say_so(
    backlog: BacklogServiceAsyncStub, somebody: Somebody
) -> None:
    ada, guest = somebody(), somebody()
    told = night(somebody(), 603, [ada, guest], guests=[guest])
    await record(backlog, told)
    assert (await watched(backlog, ada, told)).moved == 1
    # The edge lets members in only: whoever says it has an account.
    answer = await watched(backlog, guest, told)
    assert (answer.moved, answer.entry.status) == (1, pb.ENTRY_STATUS_WATCHED)
    assert [one.guest for one in answer.match.participants] == [False, False]


async def test_only_who_was_there_can_say_it_and_nobody_learns_of_a_night_by_asking(
    backlog: BacklogServiceAsyncStub, somebody: Somebody
) -> None:
    ada, stranger = somebody(), somebody()
    told = night(somebody(), 603, [ada])
    await record(backlog, told)
    refusals = []
    for match in (told, night(told.game_id, 604, []), night(somebody(), 603, [])):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await watched(backlog, stranger, match)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        status = status_of(raised.value)
        assert status is not None
        assert reason_of(status) == "MOVIE_NIGHT_NOT_FOUND"
        refusals.append(status.message)
    assert len(set(refusals)) == 1
    assert await entry_of(backlog, ada, 603) is None


@pytest.mark.parametrize("moved", [False, True])
def test_whom_it_moves_is_said_in_one_place(moved: bool) -> None:
    ada = Seat(Participant(user_id="ada", display_name="Ada"), moved)
    erased = Seat(Participant(user_id=None, display_name=None), False)
    guest = replace(ada, participant=replace(ada.participant, user_id="guest", guest=True), moved=False)
    everybody: Sequence[Seat] = (guest, erased, ada)
    assert to_move(everybody, said_by="ada") == ([] if moved else ["ada"])
    assert to_move(everybody, said_by="guest") == (["guest"] if moved else ["ada", "guest"])


# ---- the end of an account ----


async def test_the_others_keep_the_night_and_the_name_is_gone(
    backlog: BacklogServiceAsyncStub, database: Database, somebody: Somebody
) -> None:
    ada, bob = somebody(), somebody()
    told = night(somebody(), 603, [ada, bob])
    await record(backlog, told)
    await backlog.EraseUser(pb.EraseUserRequest(user_id=ada))
    [kept] = await nights_of(backlog, bob)
    assert [(one.user_id, one.display_name) for one in kept.participants] == [
        ("", ""),
        (bob, f"called {bob}"),
    ]
    assert (await watched(backlog, bob, told)).moved == 1
    assert await entry_of(backlog, ada, 603) is None
    for table in ("matches", "match_participants", "games", "game_players"):
        rows = await database.fetch(f"SELECT kept::text AS text FROM backlog.{table} AS kept")
        assert not [row["text"] for row in rows if ada in row["text"]]


async def test_a_night_that_nobody_is_left_of_goes_and_does_not_come_back_by_a_late_message(
    backlog: BacklogServiceAsyncStub, database: Database, somebody: Somebody
) -> None:
    people = [somebody(), somebody()]
    told = night(somebody(), 603, people)
    await record(backlog, told, 3)
    await asyncio.gather(*(backlog.EraseUser(pb.EraseUserRequest(user_id=user)) for user in people))
    assert not await record(backlog, told, 3)
    rows = await database.fetch(
        "SELECT game_name, match_time FROM backlog.matches WHERE game_id = $1", told.game_id
    )
    assert [tuple(row) for row in rows] == [("", None)]
    assert [await nights_of(backlog, user) for user in people] == [[], []]


async def test_whoever_leaves_while_others_say_it_leaves_no_entry_behind(
    backlog: BacklogServiceAsyncStub, somebody: Somebody
) -> None:
    for film in range(1, 21):
        ada, bob = somebody(), somebody()
        told = night(somebody(), film, [ada, bob])
        await record(backlog, told)
        await asyncio.gather(watched(backlog, bob, told), backlog.EraseUser(pb.EraseUserRequest(user_id=ada)))
        assert await entry_of(backlog, ada, film) is None


async def test_an_export_has_everybodys_name_and_nobody_elses_id(
    backlog: BacklogServiceAsyncStub, somebody: Somebody
) -> None:
    ada, bob = somebody(), somebody()
    told = night(somebody(), 603, [ada, bob])
    told.participants[1].display_name = "Bob"
    await record(backlog, told)
    answer = await backlog.ExportUser(pb.ExportUserRequest(user_id=ada))
    data = json_format.MessageToDict(answer.data)
    told.participants[1].user_id = ""
    assert data["movieNights"] == [json_format.MessageToDict(told)]
    assert bob not in str(data)


BY_TIME = "match_participants_by_time"


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


async def test_a_page_reads_an_index_and_only_as_far_as_it_goes(database: Database) -> None:
    async with database.acquire() as connection:
        await connection.execute(
            """
            INSERT INTO backlog.matches
            SELECT 'game-' || n, 7, 1, 'Friday', $1::timestamptz - n * interval '1 day', FALSE, NULL
            FROM generate_series(1, 3000) AS n
            """,
            EVENING,
        )
        await connection.execute(
            """
            INSERT INTO backlog.match_participants
            SELECT game_id, movie_id, seat, 'fan-' || seat || '-' || right(game_id, 1), 'Fan', FALSE, FALSE,
                   match_time
            FROM backlog.matches, generate_series(1, 4) AS seat
            WHERE game_id LIKE 'game-%'
            """
        )
        await connection.execute("ANALYZE backlog.matches, backlog.match_participants")
        [[plan]] = await connection.fetch(
            "EXPLAIN (ANALYZE, FORMAT JSON) " + MatchStore._PAGE, "fan-2-7", EVENING, "", 0, 21
        )
    assert '"Seq Scan"' not in plan
    read = [
        node["Actual Rows"]
        for node in nodes(json.loads(plan)[0]["Plan"])
        if node.get("Index Name") == BY_TIME
    ]
    assert sorted(read) == [21, 300], "one scan reads the page and one counts"
