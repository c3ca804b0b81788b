"""Finished games: the last summary holds, everybody who played finds it, and who leaves is out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from backlog_svc.tests.test_paging import EXAMPLES
from mesh.postgres import Database
from popcorn.backlog.v1 import backlog_pb2 as pb

if TYPE_CHECKING:
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

EVENING = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)


def stamp(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message


def finished(game_id: str, *people: str, minutes: int = 0) -> pb.FinishedGame:
    return pb.FinishedGame(
        game_id=game_id,
        game_name="Friday",
        start_time=stamp(EVENING),
        end_time=stamp(EVENING + timedelta(minutes=minutes)),
        players=[
            pb.FinishedGame.Player(
                user_id=user,
                display_name=f"called {user}",
                guest=seat == 2,
                swipes=30 - seat,
                liked_percent=10 * seat,
                with_majority_percent=100 - seat,
            )
            for seat, user in enumerate(people, start=1)
        ],
        matched_movie_ids=[603, 129],
        near_misses=[
            pb.FinishedGame.NearMiss(movie_id=11, percent=75),
            pb.FinishedGame.NearMiss(movie_id=12, percent=50),
        ],
        genres=[pb.FinishedGame.GenreTaste(genre_id=18, swipes=40, likes=31)],
    )


async def record(backlog: BacklogServiceAsyncStub, game: pb.FinishedGame, game_seq: int = 1) -> bool:
    return (await backlog.RecordGame(pb.RecordGameRequest(game=game, game_seq=game_seq))).recorded


async def games_of(
    backlog: BacklogServiceAsyncStub, user: str, page_size: int = 100
) -> list[pb.FinishedGame]:
    found: list[pb.FinishedGame] = []
    request = pb.ListGamesRequest(user_id=user, page_size=page_size)
    while True:
        page = await backlog.ListGames(request)
        found += page.games
        if not page.next_page_token:
            assert page.total_size == len(found)
            return found
        request.page_token = page.next_page_token


async def test_a_game_is_kept_as_it_was_told_for_all_who_played(
    backlog: BacklogServiceAsyncStub, somebody: Callable[[], str]
) -> None:
    ada, bob = somebody(), somebody()
    told = finished(somebody(), ada, bob)
    answers = await asyncio.gather(*(record(backlog, told) for _ in range(10)))
    assert answers.count(True) == 1
    assert await games_of(backlog, ada) == [told]
    assert await games_of(backlog, bob) == [told]
    assert await games_of(backlog, somebody()) == []


async def test_of_two_summaries_the_one_that_knows_more_holds(
    backlog: BacklogServiceAsyncStub, somebody: Callable[[], str]
) -> None:
    ada, bob, game = somebody(), somebody(), somebody()
    first, last = finished(game, ada, bob), finished(game, bob, minutes=9)
    assert await record(backlog, last, 70)
    assert not await record(backlog, first, 60), "it comes late"
    assert await games_of(backlog, bob) == [last]
    assert await record(backlog, first, 80)
    assert await games_of(backlog, bob) == await games_of(backlog, ada) == [first]


@EXAMPLES
@given(minutes=st.lists(st.integers(0, 3), max_size=10), page_size=st.integers(1, 4))
async def test_games_are_listed_once_each_the_latest_first(
    backlog: BacklogServiceAsyncStub, somebody: Callable[[], str], minutes: list[int], page_size: int
) -> None:
    user, other, prefix = somebody(), somebody(), somebody()
    for number, minute in enumerate(minutes):
        await record(backlog, finished(f"{prefix}-{number}", user, other, minutes=minute))
    listed = [game.game_id for game in await games_of(backlog, user, page_size)]
    expected = sorted(range(len(minutes)), key=lambda number: (-minutes[number], number))
    assert listed == [f"{prefix}-{number}" for number in expected]


async def test_who_leaves_is_out_of_the_game_and_a_game_that_nobody_is_left_of_goes(
    backlog: BacklogServiceAsyncStub, database: Database, somebody: Callable[[], str]
) -> None:
    ada, bob = somebody(), somebody()
    told = finished(somebody(), ada, bob)
    await record(backlog, told)
    await backlog.EraseUser(pb.EraseUserRequest(user_id=ada))
    told.players[0].user_id = told.players[0].display_name = ""
    assert await games_of(backlog, bob) == [told]
    rows = await database.fetch("SELECT player::text AS text FROM backlog.game_players AS player")
    assert not [row["text"] for row in rows if ada in row["text"]]
    await backlog.EraseUser(pb.EraseUserRequest(user_id=bob))
    kept = "SELECT count(*) FROM backlog.games WHERE game_id = $1"
    assert await database.fetchval(kept, told.game_id) == 0


async def test_an_export_has_the_game_and_nobody_elses_id(
    backlog: BacklogServiceAsyncStub, somebody: Callable[[], str]
) -> None:
    ada, bob = somebody(), somebody()
    told = finished(somebody(), ada, bob)
    told.players[1].display_name = "Bob"
    await record(backlog, told)
    answer = await backlog.ExportUser(pb.ExportUserRequest(user_id=ada))
    data = json_format.MessageToDict(answer.data)
    told.players[1].user_id = ""
    assert data["games"] == [json_format.MessageToDict(told)]
    assert bob not in str(data)
