"""The client of TMDB's, against one that is slow, strict and sometimes gone."""

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from email.utils import format_datetime

import pytest
import structlog

from movie_svc.breaker import Breaker, BreakerPolicy, State
from movie_svc.counters import Counters
from movie_svc.films import AnswerUnusable, FilmsUnavailable
from movie_svc.keys import FilmKey, GenresKey, SearchKey, TrendingKey
from movie_svc.languages import Reader
from movie_svc.shelf import PATIENCE_SECONDS
from movie_svc.tests.conftest import KEY, TurnedClock
from movie_svc.tests.upstream import NOT_FOUND, Reply, Upstream, film
from movie_svc.tmdb import Budget, Tmdb, TmdbRefused, TmdbUnavailable

FILM = FilmKey(194, Reader(("pt-BR", "de"), "BR"))
FILM_PATH = "/3/movie/194"
HTML = Reply(b"<html><body>502 Bad Gateway</body></html>", 200, {"content-type": "text/html"})
TRUNCATED = Reply(json.dumps(film(194)).encode()[:500])


def now() -> float:
    return asyncio.get_running_loop().time()


def client(
    upstream: Upstream,
    clock: TurnedClock,
    *,
    key: str = KEY,
    most_at_once: int = 10,
    breaker: Breaker | None = None,
    counters: Counters | None = None,
) -> Tmdb:
    return Tmdb(
        url=upstream.url,
        key=key,
        requests_per_second=500,
        most_at_once=most_at_once,
        jitter=lambda: 0.0,
        clock=clock,
        breaker=breaker,
        counters=counters,
    )


@pytest.fixture
async def tmdb(upstream: Upstream, clock: TurnedClock) -> AsyncIterator[Tmdb]:
    made = client(upstream, clock)
    yield made
    await made.close()


async def ask(tmdb: Tmdb, *, patience: float = PATIENCE_SECONDS) -> object:
    return await tmdb.film(FILM, now() + patience)


async def test_one_request_brings_all_of_a_film(tmdb: Tmdb, upstream: Upstream) -> None:
    assert await ask(tmdb) is not None
    [asked] = upstream.asked
    assert asked.query == {
        "api_key": KEY,
        "append_to_response": "credits,release_dates,videos,translations,watch/providers,external_ids",
        "language": "pt-BR",
        "include_video_language": "pt,en,null",
    }


async def test_lists_are_asked_for_as_tmdb_wants_it(tmdb: Tmdb, upstream: Upstream) -> None:
    deadline = now() + PATIENCE_SECONDS
    found = await tmdb.search(SearchKey("amélie & co", 2001, "de-DE", "DE", 2), deadline)
    assert found is not None
    assert found.total == 45
    await tmdb.trending(TrendingKey("de-DE", 1), deadline)
    await tmdb.genres(GenresKey("de-DE"), deadline)
    searched, trending, genres = ({**asked.query, "path": asked.path} for asked in upstream.asked)
    assert searched.items() >= {"query": "amélie & co", "primary_release_year": "2001", "page": "2"}.items()
    assert searched.items() >= {"language": "de-DE", "region": "DE", "include_adult": "false"}.items()
    assert trending.items() >= {"path": "/3/trending/movie/week", "language": "de-DE", "page": "1"}.items()
    assert genres.items() >= {"path": "/3/genre/movie/list", "language": "de-DE"}.items()


async def test_a_read_access_token_goes_into_the_header_and_a_key_into_the_url(
    upstream: Upstream, clock: TurnedClock
) -> None:
    tmdb = client(upstream, clock, key="eyJh.eyJz.c2ln")
    await ask(tmdb)
    await tmdb.close()
    [asked] = upstream.asked
    assert asked.headers["authorization"] == "bearer eyjh.eyjz.c2ln"  # the stand-in lowers all headers
    assert "api_key" not in asked.query


async def test_connections_are_kept(tmdb: Tmdb, upstream: Upstream) -> None:
    for _ in range(5):
        await ask(tmdb)
    assert len(upstream.connections) == 1


async def test_a_film_that_does_not_exist_is_none(tmdb: Tmdb, upstream: Upstream) -> None:
    upstream.always = NOT_FOUND
    assert await ask(tmdb) is None
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Reply(status=500), id="500"),
        pytest.param(Reply(status=503), id="503"),
        pytest.param(Reply.of({"status_code": 25}, 429), id="429"),
        pytest.param(Reply.of({"status_code": 25}, 429, retry_after="0"), id="429 with Retry-After"),
        pytest.param(Reply(ending="reset"), id="reset"),
        pytest.param(Reply(b"x" * 1000, ending="short"), id="cut off"),
        pytest.param(HTML, id="HTML"),
        pytest.param(TRUNCATED, id="half of the JSON"),
    ],
)
async def test_a_passing_failure_is_tried_once_more(tmdb: Tmdb, upstream: Upstream, fault: Reply) -> None:
    upstream.faults = [fault]
    assert await ask(tmdb) is not None
    assert upstream.asked_for(FILM_PATH) == 2


@pytest.mark.parametrize(
    ("fault", "failure", "requests"),
    [
        pytest.param(Reply(status=500), TmdbUnavailable, 2, id="500"),
        pytest.param(Reply.of({"status_code": 25}, 429), TmdbUnavailable, 2, id="429"),
        pytest.param(Reply(ending="reset"), TmdbUnavailable, 2, id="reset"),
        pytest.param(Reply(b"x" * 1000, ending="short"), TmdbUnavailable, 2, id="cut off"),
        pytest.param(HTML, AnswerUnusable, 2, id="HTML"),
        pytest.param(TRUNCATED, AnswerUnusable, 2, id="half of the JSON"),
        pytest.param(Reply(b"[" * 200_000), AnswerUnusable, 2, id="too deep"),
        pytest.param(
            Reply(json.dumps(film(194)).encode() + b" " * 9_000_000), AnswerUnusable, 2, id="too long"
        ),
        pytest.param(Reply.of([1, 2]), AnswerUnusable, 1, id="no object"),
        pytest.param(Reply.of(film(195)), AnswerUnusable, 1, id="another film"),
        pytest.param(Reply(b"<html>", 404), AnswerUnusable, 1, id="404, but not TMDB's"),
        pytest.param(Reply(status=302, headers={"location": "/login"}), AnswerUnusable, 1, id="302"),
        pytest.param(Reply.of({"status_code": 7}, 401), TmdbRefused, 1, id="401"),
    ],
)
async def test_a_lasting_failure_is_typed_quick_and_never_more_than_two_requests(
    tmdb: Tmdb, upstream: Upstream, fault: Reply, failure: type[FilmsUnavailable], requests: int
) -> None:
    upstream.always = fault
    began = now()
    with pytest.raises(failure) as raised:
        await ask(tmdb)
    assert type(raised.value) is failure
    assert now() - began < PATIENCE_SECONDS
    assert len(upstream.asked) == requests


async def test_a_slow_answer_is_given_up_before_the_deadline(tmdb: Tmdb, upstream: Upstream) -> None:
    upstream.always = Reply(delay=10)
    began = now()
    with pytest.raises(TmdbUnavailable):
        await ask(tmdb, patience=0.6)
    assert now() - began < 0.8
    assert len(upstream.asked) <= 2


async def test_nobody_there_is_unavailable(clock: TurnedClock, upstream: Upstream) -> None:
    nowhere = Upstream()
    nowhere.url = "http://127.0.0.1:1/3"
    tmdb = client(nowhere, clock)
    with pytest.raises(TmdbUnavailable):
        await ask(tmdb)
    await tmdb.close()


async def test_retry_after_is_waited_for_when_there_is_time(tmdb: Tmdb, upstream: Upstream) -> None:
    upstream.faults = [Reply.of({"status_code": 25}, 429, retry_after="1")]
    began = now()
    assert await ask(tmdb) is not None
    assert now() - began >= 1


@pytest.mark.parametrize("as_date", [False, True])
async def test_a_long_retry_after_silences_everybody_at_once(
    tmdb: Tmdb, upstream: Upstream, clock: TurnedClock, as_date: bool
) -> None:
    moment = format_datetime(clock.now + timedelta(seconds=30), usegmt=True)
    upstream.faults = [Reply.of({"status_code": 25}, 429, retry_after=moment if as_date else "30")]
    began = now()
    for _ in range(3):
        with pytest.raises(TmdbUnavailable) as raised:
            await ask(tmdb)
        assert timedelta(seconds=29) < raised.value.retry_after <= timedelta(seconds=30)
    assert now() - began < 0.5
    assert len(upstream.asked) == 1


async def test_never_more_in_the_air_than_the_setting(upstream: Upstream, clock: TurnedClock) -> None:
    tmdb = client(upstream, clock, most_at_once=3)
    upstream.always = Reply.of(film(194))
    upstream.always = Reply(upstream.always.body, delay=0.05)
    answers = await asyncio.gather(*(ask(tmdb) for _ in range(12)))
    await tmdb.close()
    assert None not in answers
    assert upstream.most_in_the_air == 3


async def test_a_tmdb_that_is_down_is_left_alone_probed_by_one_and_used_again(
    upstream: Upstream, clock: TurnedClock
) -> None:
    seconds = 0.0
    counters = Counters()
    breaker = Breaker("tmdb", clock=lambda: seconds)
    tmdb = client(upstream, clock, breaker=breaker, counters=counters)
    upstream.always = Reply(status=503)
    for _ in range(19):
        with pytest.raises(TmdbUnavailable):
            await ask(tmdb)
    with pytest.raises(TmdbUnavailable) as raised:
        await ask(tmdb)
    assert len(upstream.asked) == BreakerPolicy().failures_in_a_row
    assert raised.value.retry_after <= timedelta(seconds=BreakerPolicy().rest_seconds)
    assert counters.values()['movie_tmdb_spared_total{why="breaker"}'] == 16

    # One request is a probe, for everybody.
    seconds += BreakerPolicy().rest_seconds
    upstream.asked.clear()
    upstream.always = Reply(status=503, delay=0.1)
    answers = await asyncio.gather(*(ask(tmdb) for _ in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {TmdbUnavailable}
    assert len(upstream.asked) == 1

    seconds += BreakerPolicy().rest_seconds
    upstream.always = None
    for _ in range(5):
        assert await ask(tmdb) is not None
    assert breaker.state is State.CLOSED
    await tmdb.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(NOT_FOUND, id="404"),
        pytest.param(Reply.of([1, 2]), id="no film"),
        pytest.param(Reply.of({"errors": ["query must be provided"]}, 422), id="422"),
        pytest.param(Reply.of({"status_code": 22}, 400), id="400"),
    ],
)
async def test_what_tmdb_says_about_one_request_opens_nothing(
    tmdb: Tmdb, upstream: Upstream, answer: Reply
) -> None:
    upstream.always = answer
    for _ in range(30):
        with suppress(AnswerUnusable):
            assert await ask(tmdb) is None
    assert len(upstream.asked) == 30


async def test_429_without_retry_after_makes_ever_longer_pauses(tmdb: Tmdb, upstream: Upstream) -> None:
    upstream.always = Reply.of({"status_code": 25}, 429)
    for _ in range(3):
        with pytest.raises(TmdbUnavailable):
            await ask(tmdb, patience=1.2)
    # After 0.2, 0.4 and 0.8 s the fourth would come too late for its deadline.
    assert len(upstream.asked) <= 4


async def test_the_key_is_in_no_log_and_no_error(
    upstream: Upstream, clock: TurnedClock, caplog: pytest.LogCaptureFixture
) -> None:
    never = Breaker("tmdb", clock=lambda: 0.0, policy=BreakerPolicy(failures_in_a_row=100))
    tmdb = client(upstream, clock, breaker=never)
    written: list[str] = []
    with caplog.at_level(logging.WARNING), structlog.testing.capture_logs() as logs:
        for fault in (
            Reply(status=500),
            Reply(ending="reset"),
            Reply(b"x" * 1000, ending="short"),
            HTML,
            Reply(b"<html>", 404),
            Reply(status=302, headers={"location": f"/?api_key={KEY}"}),
            Reply.of({"status_code": 7, "status_message": KEY}, 401),
            Reply.of(film(195)),
            Reply.of({"status_code": 25}, 429),
        ):
            upstream.always = fault
            with pytest.raises(FilmsUnavailable) as raised:
                await ask(tmdb)
            error = raised.value
            written += [*traceback.format_exception(error), repr(error), str(error.metadata)]
            assert error.__cause__ is None
    await tmdb.close()
    assert len(logs) >= 9
    assert all("path" in log for log in logs)
    assert not any(KEY in text for text in [*written, *map(str, logs), caplog.text])


async def test_the_budget_is_kept_and_lets_a_small_burst_through() -> None:
    budget = Budget(100)
    began = now()
    for _ in range(25):
        await budget.spend(began + 10)
    burst = now() - began
    for _ in range(50):
        await budget.spend(began + 10)
    assert burst < 0.2
    assert now() - began >= 0.49


async def test_who_cannot_be_served_in_time_is_turned_away_at_once() -> None:
    budget = Budget(10)
    began = now()
    served = await asyncio.gather(*(budget.spend(began + 1) for _ in range(40)), return_exceptions=True)
    refused = [error for error in served if isinstance(error, TmdbUnavailable)]
    assert 9 <= len(served) - len(refused) <= 13
    assert all(error.retry_after > timedelta(0) for error in refused)
    assert now() - began < 1.2
