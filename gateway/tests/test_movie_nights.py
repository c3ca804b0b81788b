"""Movie nights as the app sees them: with their films, with whom by name, and nobody else's id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.tests.conftest import NOTICE, Refused, World, as_caller, entry, film
from gateway.tests.refusals import refusal
from popcorn.backlog.v1 import backlog_pb2
from popcorn.gateway.v1 import library_pb2
from popcorn.movie.v1 import movie_pb2

Metadata = tuple[tuple[str, str], ...]
Listing, Watched = library_pb2.ListMovieNightsRequest, library_pb2.MarkMovieNightWatchedRequest
HERE = (("accept-language", "de"), ("x-region", "DE"))


def match(movie_id: int, *people: str, game_id: str = "g") -> backlog_pb2.Match:
    return backlog_pb2.Match(
        game_id=game_id,
        game_name="Friday",
        movie_id=movie_id,
        match_time=Timestamp(seconds=1_700_000_000),
        participants=[
            backlog_pb2.Match.Participant(
                user_id=user, display_name=user and f"called {user}", guest=user == "bob"
            )
            for user in people
        ],
    )


def as_told_to(user: str, told: backlog_pb2.Match) -> backlog_pb2.Match:
    seen = backlog_pb2.Match()
    seen.CopyFrom(told)
    for one in seen.participants:
        one.user_id = user if one.user_id == user else ""
    return seen


@pytest.fixture
async def me(world: World, somebody: Callable[[], str]) -> tuple[str, Metadata]:
    signed_in = await world.sign_in(somebody())
    return signed_in.account.user_id, as_caller(signed_in, *HERE)


async def test_nights_come_with_their_films_and_those_that_cannot_be_had_are_marked(
    world: World, me: tuple[str, Metadata]
) -> None:
    user, metadata = me
    world.backlogs.matches = [
        match(7, user, "bob", ""),
        match(50, "eve", user),
        match(1000, user),
        match(7, user, game_id="another"),
    ]
    answer = await world.library.ListMovieNights(Listing(page_size=4, page_token="t"), metadata=metadata)
    told = [as_told_to(user, one) for one in world.backlogs.matches]
    assert answer == library_pb2.ListMovieNightsResponse(
        movie_nights=[
            library_pb2.MovieNight(match=told[0], movie=film(7)),
            library_pb2.MovieNight(match=told[1], movie_missing=movie_pb2.MissingMovie.CAUSE_UNAVAILABLE),
            library_pb2.MovieNight(match=told[2], movie_missing=movie_pb2.MissingMovie.CAUSE_NOT_FOUND),
            library_pb2.MovieNight(match=told[3], movie=film(7)),
        ],
        next_page_token="more",
        total_size=4,
        attribution=NOTICE,
    )
    assert world.backlogs.script.asked == [
        backlog_pb2.ListMatchesRequest(user_id=user, page_size=4, page_token="t")
    ]
    asked: list[Any] = world.movies.script.asked
    assert [list(request.movie_ids) for request in asked] == [[7, 50, 1000]]


async def test_of_other_people_the_name_is_all_that_leaves(world: World, me: tuple[str, Metadata]) -> None:
    user, metadata = me
    world.backlogs.matches = [match(7, user, "bob", "eve")]
    nights = await world.library.ListMovieNights(Listing(), metadata=metadata)
    done = await world.library.MarkMovieNightWatched(Watched(game_id="g", movie_id=7), metadata=metadata)
    for seen in (nights.movie_nights[0].match, done.match):
        assert [one.user_id for one in seen.participants] == [user, "", ""]
        assert [one.display_name for one in seen.participants[1:]] == ["called bob", "called eve"]


@pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"])
async def test_nights_are_listed_while_films_cannot_be_had(
    world: World, me: tuple[str, Metadata], status: str
) -> None:
    user, metadata = me
    world.backlogs.matches = [match(7, user)]
    world.movies.script.failure = Refused(status, "DEPENDENCY_UNAVAILABLE")
    answer = await world.library.ListMovieNights(Listing(), metadata=metadata)
    assert answer.movie_nights[0].movie_missing == movie_pb2.MissingMovie.CAUSE_UNAVAILABLE
    assert answer.movie_nights[0].match.movie_id == 7


async def test_no_nights_ask_for_no_films(world: World, me: tuple[str, Metadata]) -> None:
    assert not (await world.library.ListMovieNights(Listing(), metadata=me[1])).movie_nights
    assert world.movies.script.asked == []


async def test_we_watched_it_says_what_it_has_done(world: World, me: tuple[str, Metadata]) -> None:
    user, metadata = me
    world.backlogs.matches = [match(7, user, "bob")]
    world.backlogs.entries = {7: entry(7)}
    request = Watched(game_id="g", movie_id=7, watch_time=Timestamp(seconds=1_700_000_100))
    answer = await world.library.MarkMovieNightWatched(request, metadata=metadata)
    assert answer == library_pb2.MarkMovieNightWatchedResponse(
        match=as_told_to(user, world.backlogs.matches[0]), entry=entry(7), moved=2
    )
    assert world.backlogs.script.asked == [
        backlog_pb2.MarkMatchWatchedRequest(
            user_id=user, game_id="g", movie_id=7, watch_time=request.watch_time
        )
    ]
    world.backlogs.entries = {}
    request.ClearField("watch_time")
    answer = await world.library.MarkMovieNightWatched(request, metadata=metadata)
    assert not answer.HasField("entry")
    last: Any = world.backlogs.script.asked[-1]
    assert not last.HasField("watch_time")


CALLS: list[tuple[str, Message]] = [
    ("ListMovieNights", Listing()),
    ("MarkMovieNightWatched", Watched(game_id="g", movie_id=7)),
    ("GetBacklogStats", library_pb2.GetBacklogStatsRequest()),
    ("GetBacklogStatsChart", library_pb2.GetBacklogStatsChartRequest()),
]


@pytest.mark.parametrize(("method", "request_"), CALLS)
@pytest.mark.parametrize(
    "failure",
    [Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE"), Refused("NOT_FOUND", "MOVIE_NIGHT_NOT_FOUND")],
)
async def test_what_backlogs_refuse_is_passed_on(
    world: World, me: tuple[str, Metadata], method: str, request_: Message, failure: Refused
) -> None:
    world.backlogs.script.failure = failure
    call: Callable[..., Awaitable[object]] = getattr(world.library, method)
    seen = await refusal(call(request_, metadata=me[1]))
    assert (seen.code, seen.reason) == (failure.status, failure.reason)


@pytest.mark.parametrize(
    ("method", "request_", "fields"),
    [
        ("ListMovieNights", Listing(page_size=-1), {"page_size"}),
        ("ListMovieNights", Listing(page_token="x" * 1025), {"page_token"}),
        ("ListMovieNights", Listing(page_size=-1, page_token="\x00"), {"page_size", "page_token"}),
        ("MarkMovieNightWatched", Watched(), {"game_id", "movie_id"}),
        ("MarkMovieNightWatched", Watched(game_id="g" * 65, movie_id=-1), {"game_id", "movie_id"}),
        ("MarkMovieNightWatched", Watched(game_id="\x00", movie_id=1), {"game_id"}),
    ],
)
async def test_bad_input_names_every_field_and_asks_nobody(
    world: World, me: tuple[str, Metadata], method: str, request_: Message, fields: set[str]
) -> None:
    call: Callable[..., Awaitable[object]] = getattr(world.library, method)
    seen = await refusal(call(request_, metadata=me[1]))
    assert (seen.code, seen.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
    assert seen.fields == fields
    assert world.movies.script.asked == world.backlogs.script.asked == []
