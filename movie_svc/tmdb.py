"""TMDB's API, version 3: the only module that knows its HTTP.

    FilmsUnavailable            what a reader gets to see, whatever it was
    ├── TmdbUnavailable         no answer in time, a broken connection, 5xx, 429; the budget is spent, the
    │                           circuit breaker open
    ├── TmdbRefused             our key is not taken
    └── AnswerUnusable          an answer that cannot be read

None of them carries anything of the request: with one of TMDB's two kinds of key, the key is in its URL.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

import httpx
import structlog

from mesh import tracing
from movie_svc import counters as names
from movie_svc.allowance import Allowance
from movie_svc.breaker import Breaker, BreakerOpen, Pass, State
from movie_svc.counters import Counters
from movie_svc.films import (
    VOTES_TO_BE_RATED,
    AnswerUnusable,
    ChangePage,
    Film,
    FilmsUnavailable,
    Genre,
    ListPage,
    Provider,
)
from movie_svc.keys import (
    ChangesKey,
    DiscoverKey,
    FilmKey,
    FindKey,
    GenresKey,
    ProvidersKey,
    RankingKey,
    SearchKey,
    TrendingKey,
)
from movie_svc.languages import base
from movie_svc.parsing import NoFilm, changes_of, film_of, found_of, genres_of, page_of, providers_of

T = TypeVar("T")

APPENDED: Final = "credits,release_dates,videos,translations,watch/providers,external_ids"
"""All that one request for a film brings along."""

# Without this TMDB leaves out the videos in other languages than the one asked for.
_VIDEO_LANGUAGES: Final = "{language},en,null"

_MOST_BYTES: Final = 8 * 1024 * 1024
_ATTEMPT_SECONDS: Final = 1.4
_CONNECT_SECONDS: Final = 1.0
_SHORTEST_ATTEMPT_SECONDS: Final = 0.1
_BACKOFF_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 60.0
_LONGEST_GUESSED_PAUSE_SECONDS: Final = 10.0
# A shorter attempt that fails says more about its deadline than about TMDB.
_FAIR_ATTEMPT_SECONDS: Final = 0.5
# "The resource you requested could not be found." and "Invalid id": what TMDB itself says with a 404.
_NOT_FOUND_CODES: Final = frozenset({6, 34})
_RETRIED_STATUSES: Final = frozenset({500, 502, 503, 504})

# To TMDB, Cantonese is a language of its own; see `parsing`.
_TMDB_LANGUAGES: Final = {"zh": "zh|cn"}

_log = structlog.get_logger("movie_svc.tmdb")


class TmdbUnavailable(FilmsUnavailable):
    """TMDB gives no answer just now."""


class TmdbRefused(FilmsUnavailable):
    """TMDB does not take our key: somebody has to look at the settings."""


class Budget:
    """So many requests a second, evenly: the generic cell rate algorithm (ITU-T I.371).

    Whoever cannot be served before their deadline is turned away at once, so nobody queues in vain and the
    queue is never longer than a deadline.
    """

    def __init__(self, per_second: float) -> None:
        """Take the rate; a quarter of a second's worth may go in one burst."""
        self.per_second = per_second
        """The rate."""
        self._interval = 1.0 / per_second
        self._tolerance = max(0.0, 0.25 - self._interval)
        self._due = 0.0
        self._paused_until = 0.0

    async def spend(self, deadline: float) -> None:
        """Wait until one more request fits in.

        Args:
            deadline: Until when that makes sense, on the event loop's clock.

        Raises:
            TmdbUnavailable: It would not be before the deadline.
        """
        while True:
            now = asyncio.get_running_loop().time()
            starts_at = max(now, self._due - self._tolerance, self._paused_until)
            if starts_at + _SHORTEST_ATTEMPT_SECONDS > deadline:
                raise TmdbUnavailable(retry_after=timedelta(seconds=max(1.0, starts_at - now)))
            self._due = max(self._due, starts_at) + self._interval
            await asyncio.sleep(starts_at - now)
            if starts_at >= self._paused_until:
                return

    def pause(self, seconds: float) -> None:
        """Send nothing for a while: TMDB has said that it is too much."""
        until = asyncio.get_running_loop().time() + min(seconds, _LONGEST_PAUSE_SECONDS)
        self._paused_until = max(self._paused_until, until)
        # What has piled up begins evenly, not in a burst.
        self._due = max(self._due, self._paused_until + self._tolerance)


class Tmdb:
    """A client of TMDB's, one a process: keeps its connections, its budget, and its manners."""

    def __init__(
        self,
        *,
        url: str,
        key: str,
        requests_per_second: float,
        most_at_once: int,
        jitter: Callable[[], float],
        clock: Callable[[], datetime],
        breaker: Breaker | None = None,
        counters: Counters | None = None,
    ) -> None:
        """Make a client; it connects when it is first used.

        Args:
            url: Up to and including the version: `https://api.themoviedb.org/3`.
            key: A read access token (sent as a bearer token) or an API key (TMDB takes it only in the URL).
            requests_per_second: This process' share of the budget.
            most_at_once: How many requests may be in the air.
            jitter: Gives a random number from 0 to 1.
            clock: The present, for a Retry-After that is a date.
            breaker: Stands before TMDB; one of its own by default.
            counters: Where requests are counted.
        """
        # A read access token is a JWT; the header is the better place, since URLs end up in logs.
        is_token = key.count(".") == 2
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={
                "accept": "application/json",
                **({"authorization": f"Bearer {key}"} if is_token else {}),
            },
            params={} if is_token else {"api_key": key},
            timeout=httpx.Timeout(_ATTEMPT_SECONDS, connect=_CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(
                max_connections=most_at_once, max_keepalive_connections=most_at_once, keepalive_expiry=30
            ),
            follow_redirects=False,
            trust_env=False,  # all settings come from our own class
        )
        self._budget = Budget(requests_per_second)
        self._in_the_air = asyncio.Semaphore(most_at_once)
        self._jitter = jitter
        self._clock = clock
        self._breaker = breaker or Breaker("tmdb", clock=time.monotonic)
        self._counters = counters or Counters()
        self._scolded_at = -math.inf
        self._scoldings = 0

    @property
    def budget_per_second(self) -> float:
        """How many requests a second this process may send."""
        return self._budget.per_second

    @property
    def rests(self) -> bool:
        """Whether TMDB has failed so often that it is left alone."""
        return self._breaker.state is not State.CLOSED

    async def film(self, key: FilmKey, deadline: float, allowance: Allowance | None = None) -> Film | None:
        """Return a film with its details, or None when TMDB has none with this id.

        Args:
            key: Which film, in which language, for which region.
            deadline: On the event loop's clock.
            allowance: How many requests it may cost; by default one, and one to try again.

        Raises:
            FilmsUnavailable: One of those above.
        """
        reader = key.reader
        path = f"/movie/{key.movie_id}"
        params = {
            "append_to_response": APPENDED,
            "language": reader.language,
            "include_video_language": _VIDEO_LANGUAGES.format(language=base(reader.language)),
        }

        def read(answer: object) -> Film:
            return film_of(answer, movie_id=key.movie_id, language=reader.language, region=reader.region)

        return await self._get(path, params, read, deadline, allowance)

    async def search(
        self, key: SearchKey, deadline: float, allowance: Allowance | None = None
    ) -> ListPage | None:
        """Return a page of the films whose title matches; raises as `film` does."""
        params = {
            "query": key.words,
            "language": key.language,
            "region": key.region,
            "page": str(key.page),
            "include_adult": "false",
        }
        if key.year:
            params["primary_release_year"] = str(key.year)
        return await self._get("/search/movie", params, page_of, deadline, allowance)

    async def trending(
        self, key: TrendingKey, deadline: float, allowance: Allowance | None = None
    ) -> ListPage | None:
        """Return a page of what is looked at this week; raises as `film` does."""
        params = {"language": key.language, "page": str(key.page)}
        return await self._get("/trending/movie/week", params, page_of, deadline, allowance)

    async def discover(
        self, key: DiscoverKey, deadline: float, allowance: Allowance | None = None
    ) -> ListPage | None:
        """Return a page of the films that pass a filter, the popular first; raises as `film` does."""
        params = {**_filter_params(key), "language": key.language, "page": str(key.page)}
        return await self._get("/discover/movie", params, page_of, deadline, allowance)

    async def providers(
        self, key: ProvidersKey, deadline: float, allowance: Allowance | None = None
    ) -> tuple[Provider, ...] | None:
        """Return all services one can watch films on in a region; raises as `film` does."""

        def read(answer: object) -> tuple[Provider, ...]:
            return providers_of(answer, region=key.region)

        return await self._get(
            "/watch/providers/movie", {"watch_region": key.region}, read, deadline, allowance
        )

    async def find(
        self, key: FindKey, deadline: float, allowance: Allowance | None = None
    ) -> ListPage | None:
        """Return the film that IMDb knows by an id, as a page of one or none; raises as `film` does."""
        params = {"external_source": "imdb_id", "language": key.language}
        return await self._get(f"/find/{key.imdb_id}", params, found_of, deadline, allowance)

    async def ranking(
        self, key: RankingKey, deadline: float, allowance: Allowance | None = None
    ) -> ListPage | None:
        """Return a page of the popular, or of the best rated films; raises as `film` does."""
        params = {"language": key.language, "page": str(key.page)}
        return await self._get(f"/movie/{key.ranking}", params, page_of, deadline, allowance)

    async def genres(
        self, key: GenresKey, deadline: float, allowance: Allowance | None = None
    ) -> tuple[Genre, ...] | None:
        """Return all genres, named in a language; raises as `film` does."""
        return await self._get(
            "/genre/movie/list", {"language": key.language}, genres_of, deadline, allowance
        )

    async def changes(
        self, key: ChangesKey, deadline: float, allowance: Allowance | None = None
    ) -> ChangePage | None:
        """Return a page of the films that have changed of late; raises as `film` does."""
        params = {"page": str(key.page)}
        if key.since is not None:
            params["start_date"] = key.since.isoformat()
        return await self._get("/movie/changes", params, changes_of, deadline, allowance)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _get(
        self,
        path: str,
        params: Mapping[str, str],
        read: Callable[[object], T],
        deadline: float,
        allowance: Allowance | None,
    ) -> T | None:
        """Ask, and once more if that may help, there is time, and the call may cause another request."""
        loop = asyncio.get_running_loop()
        allowance = allowance or Allowance()
        if not allowance.spend():
            raise TmdbUnavailable
        try:
            return await self._attempt(path, params, read, deadline)
        except TryAgain as first:
            pause = first.wait_seconds
            if pause is None:
                pause = _BACKOFF_SECONDS * (1 + self._jitter())
            in_time = loop.time() + pause + _SHORTEST_ATTEMPT_SECONDS <= deadline
            if not in_time or not allowance.spend():
                raise first.failure from None
        await asyncio.sleep(pause)
        try:
            return await self._attempt(path, params, read, deadline)
        except TryAgain as second:
            raise second.failure from None

    async def _attempt(
        self, path: str, params: Mapping[str, str], read: Callable[[object], T], deadline: float
    ) -> T | None:
        try:
            self._breaker.check()
            async with asyncio.timeout_at(deadline):
                await self._in_the_air.acquire()
        except TimeoutError:
            _log.warning("tmdb.failed", path=path, problem="too many requests in the air")
            self._counters.of(names.TMDB_SPARED, why="concurrency").add()
            raise TmdbUnavailable from None
        except BreakerOpen as error:
            raise self._spared(error) from None
        try:
            await self._spend(deadline)
            with self._breaker.enter() as way:  # again: it may have opened while we waited
                return await self._pass(path, params, read, deadline, way)
        except BreakerOpen as error:
            raise self._spared(error) from None
        finally:
            self._in_the_air.release()

    async def _spend(self, deadline: float) -> None:
        try:
            await self._budget.spend(deadline)
        except TmdbUnavailable:
            self._counters.of(names.TMDB_SPARED, why="budget").add()
            raise

    def _spared(self, error: BreakerOpen) -> TmdbUnavailable:
        self._counters.of(names.TMDB_SPARED, why="breaker").add()
        return TmdbUnavailable(retry_after=timedelta(seconds=max(1.0, error.retry_after_seconds)))

    async def _pass(
        self,
        path: str,
        params: Mapping[str, str],
        read: Callable[[object], T],
        deadline: float,
        way: Pass,
    ) -> T | None:
        """Send one request and read its answer; the breaker hears how TMDB is."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout_at(min(deadline, began + _ATTEMPT_SECONDS)):
                status, headers, body = await self._exchange(path, params)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            if not isinstance(error, TimeoutError) or loop.time() - began >= _FAIR_ATTEMPT_SECONDS:
                way.failed()
            self._count("failed")
            # Only the name: httpx puts URLs into some of its texts.
            _log.warning("tmdb.failed", path=path, problem=type(error).__name__)
            raise TryAgain(TmdbUnavailable()) from None
        if status == 429:
            self._count("too_many")
            raise self._scolded(path, headers, began=began)
        self._scoldings = 0
        return self._read(path, status, body, read, way)

    def _count(self, outcome: str) -> None:
        self._counters.of(names.TMDB_REQUESTS, outcome=outcome).add()

    def _scolded(self, path: str, headers: httpx.Headers, *, began: float) -> "TryAgain":
        """Pause everything, and return what the reader gets: it has been too much for TMDB.

        Where it does not say for how long, the pause doubles with each request that was sent after the last.
        """
        wait = _retry_after_seconds(headers.get("retry-after"), self._clock())
        if began > self._scolded_at:
            self._scolded_at = asyncio.get_running_loop().time()
            self._scoldings += 1
        guess = _BACKOFF_SECONDS * (1 + self._jitter()) * 2 ** min(self._scoldings - 1, 10)
        pause = min(guess, _LONGEST_GUESSED_PAUSE_SECONDS) if wait is None else wait
        self._budget.pause(pause)
        _log.warning("tmdb.too_many_requests", path=path, retry_after_seconds=wait)
        failure = TmdbUnavailable(retry_after=timedelta(seconds=max(1.0, pause)))
        return TryAgain(failure, wait_seconds=pause)

    async def _exchange(self, path: str, params: Mapping[str, str]) -> tuple[int, httpx.Headers, bytes]:
        body = bytearray()
        # The path without what it says of a film or a person, and nothing of the query.
        with tracing.span("tmdb", f"/{path.split('/')[1]}"):
            async with self._client.stream("GET", path, params=params) as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        body.clear()  # an answer of this size is no answer: nothing can be read from it
                        break
        return response.status_code, response.headers, bytes(body)

    def _read(self, path: str, status: int, body: bytes, read: Callable[[object], T], way: Pass) -> T | None:
        match status:
            case 200:
                return self._read_answer(path, body, read, way)
            case 404 if _tmdb_code(body) in _NOT_FOUND_CODES:
                way.succeeded()
                self._count("not_found")
                return None
            case 401 | 403:
                way.failed()
                self._count("refused")
                _log.error("tmdb.refused", path=path, status=status, problem="TMDB_API_KEY is not accepted")
                raise TmdbRefused
            case _ if status in _RETRIED_STATUSES:
                way.failed()
                self._count("failed")
                _log.warning("tmdb.failed", path=path, status=status)
                raise TryAgain(TmdbUnavailable())
            case _:
                # TMDB itself complaining about this one request says nothing about the next.
                if _tmdb_code(body) is None and status != 422:
                    way.failed()
                self._count("unusable")
                _log.error("tmdb.answer_unusable", path=path, status=status)
                raise AnswerUnusable

    def _read_answer(self, path: str, body: bytes, read: Callable[[object], T], way: Pass) -> T:
        try:
            answer = read(json.loads(body))
        except NoFilm as problem:
            way.succeeded()
            self._count("unusable")
            _log.error("tmdb.answer_unusable", path=path, problem=str(problem))
            raise AnswerUnusable from None
        except (ValueError, RecursionError) as problem:
            # HTML, or half of the JSON: the next answer may well be whole.
            way.failed()
            self._count("unusable")
            _log.warning("tmdb.answer_unusable", path=path, problem=type(problem).__name__)
            raise TryAgain(AnswerUnusable()) from None
        way.succeeded()
        self._count("ok")
        return answer


class TryAgain(Exception):
    """An attempt failed in a way that the next one may not."""

    def __init__(self, failure: FilmsUnavailable, *, wait_seconds: float | None = None) -> None:
        super().__init__()
        self.failure = failure
        self.wait_seconds = wait_seconds


def _filter_params(key: DiscoverKey) -> dict[str, str]:
    """Return a filter in TMDB's words: a comma means and, a pipe means or."""
    wanted = key.filter
    params = {"sort_by": "popularity.desc", "include_adult": "false", "include_video": "false"}
    if wanted.genre_ids:
        params["with_genres"] = ",".join(map(str, wanted.genre_ids))
    if wanted.year_from:
        params["primary_release_date.gte"] = f"{wanted.year_from}-01-01"
    if wanted.year_to:
        params["primary_release_date.lte"] = f"{wanted.year_to}-12-31"
    if wanted.max_runtime_minutes:
        # An unknown running time is 0 with TMDB.
        params |= {"with_runtime.gte": "1", "with_runtime.lte": str(wanted.max_runtime_minutes)}
    if wanted.min_rating:
        params |= {"vote_average.gte": f"{wanted.min_rating:g}", "vote_count.gte": str(VOTES_TO_BE_RATED)}
    if wanted.provider_ids:
        params |= {
            "with_watch_providers": "|".join(map(str, wanted.provider_ids)),
            "watch_region": key.region,
        }
    if wanted.original_language:
        codes = _TMDB_LANGUAGES.get(wanted.original_language, wanted.original_language)
        params["with_original_language"] = codes
    return params


def _tmdb_code(body: bytes) -> int | None:
    """Return TMDB's own code of an error; None when it was not TMDB that answered."""
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    code = answer.get("status_code") if isinstance(answer, dict) else None
    return code if isinstance(code, int) else None


def _retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Return how long a Retry-After says to wait (RFC 9110 section 10.2.3), None when it cannot be read."""
    if header is None:
        return None
    if header.isascii() and header.strip().isdigit():
        return min(float(header), _LONGEST_PAUSE_SECONDS)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_PAUSE_SECONDS)
