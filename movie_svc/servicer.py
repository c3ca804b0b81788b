"""The contract's MovieService: unpack, one call, pack. RPCs that are not here answer UNIMPLEMENTED."""

from dataclasses import asdict
from typing import Any, Final, TypeAlias

import grpc

from mesh import running
from mesh.checks import Checks
from mesh.page_tokens import PageTokens
from movie_svc.catalogue import Catalogue, Rows
from movie_svc.external_ids import ExternalIds
from movie_svc.films import FilmsUnavailable, MovieNotFound
from movie_svc.messages import (
    LONGEST_PREFIX,
    LONGEST_QUERY,
    MOST_A_PAGE,
    MOST_SUGGESTED,
    SUGGESTED,
    Presenter,
    attribution,
    missing_movie,
    notices,
    read_external_films,
    read_filter,
    read_movie_ids,
    read_reader,
    read_year,
)
from movie_svc.shelf import PATIENCE_SECONDS
from movie_svc.suggestions import Suggestions
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
FilmCatalogue = Catalogue[movie_pb2.GetMovieResponse]

_SEARCH: Final = "movie.search"
_TRENDING: Final = "movie.trending"
_DISCOVER: Final = "movie.discover"
# The answer has to be on its way before the caller stops waiting.
_WAY_BACK_SECONDS: Final = 0.1
_AT_HAND_SECONDS: Final = 0.05
_MISSING = movie_pb2.MissingMovie


class MovieServicer(movie_pb2_grpc.MovieServiceServicer):
    """Films, for the other services of the mesh."""

    def __init__(
        self,
        catalogue: FilmCatalogue,
        *,
        suggestions: Suggestions,
        external_ids: ExternalIds,
        presenter: Presenter,
        tokens: PageTokens,
    ) -> None:
        self._catalogue = catalogue
        self._suggestions = suggestions
        self._external_ids = external_ids
        self._presenter = presenter
        self._tokens = tokens

    async def GetMovie(
        self, request: movie_pb2.GetMovieRequest, _context: Context
    ) -> movie_pb2.GetMovieResponse:
        """Give a film."""
        checks = Checks()
        movie_id = checks.movie_id("movie_id", request.movie_id)
        reader = read_reader(checks, request.locale)
        checks.done()
        return await self._catalogue.film(movie_id, reader, patience=_patience())

    async def BatchGetMovies(
        self, request: movie_pb2.BatchGetMoviesRequest, _context: Context
    ) -> movie_pb2.BatchGetMoviesResponse:
        """Give several films, and say which are missing and why."""
        checks = Checks()
        movie_ids = read_movie_ids(checks, request.movie_ids)
        reader = read_reader(checks, request.locale)
        checks.done()
        found = await self._catalogue.films(movie_ids, reader, patience=_patience())
        movies: list[movie_pb2.Movie] = []
        missing: list[movie_pb2.MissingMovie] = []
        for movie_id, film in found.items():
            match film:
                case MovieNotFound():
                    missing.append(missing_movie(movie_id, _MISSING.CAUSE_NOT_FOUND))
                case FilmsUnavailable():
                    missing.append(missing_movie(movie_id, _MISSING.CAUSE_UNAVAILABLE))
                case _:
                    movies.append(film.movie)
        return movie_pb2.BatchGetMoviesResponse(
            movies=movies, missing=missing, attribution=attribution(movies)
        )

    async def SearchMovies(
        self, request: movie_pb2.SearchMoviesRequest, _context: Context
    ) -> movie_pb2.SearchMoviesResponse:
        """Give a page of the films whose title matches."""
        checks = Checks()
        words = checks.text("query", request.query, longest=LONGEST_QUERY, shortest=1)
        year = read_year(checks, "year", request.year)
        size = checks.page_size("page_size", request.page_size, default=MOST_A_PAGE, most=MOST_A_PAGE)
        reader = read_reader(checks, request.locale)
        asked = {"query": words, "year": year, "language": reader.language, "region": reader.region}
        position = checks.page_token(
            "page_token", request.page_token, tokens=self._tokens, kind=_SEARCH, query=asked
        )
        checks.done()
        rows = await self._catalogue.search(
            words, year, reader, offset=_offset(position), size=size, patience=_patience()
        )
        movies = self._presenter.rows(rows, reader)
        return movie_pb2.SearchMoviesResponse(
            movies=movies,
            next_page_token=self._next_token(_SEARCH, asked, rows),
            total_size=rows.total,
            attribution=attribution(movies),
        )

    async def ListTrending(
        self, request: movie_pb2.ListTrendingRequest, _context: Context
    ) -> movie_pb2.ListTrendingResponse:
        """Give a page of what is looked at this week."""
        checks = Checks()
        size = checks.page_size("page_size", request.page_size, default=MOST_A_PAGE, most=MOST_A_PAGE)
        reader = read_reader(checks, request.locale)
        asked: dict[str, object] = {"language": reader.language}
        position = checks.page_token(
            "page_token", request.page_token, tokens=self._tokens, kind=_TRENDING, query=asked
        )
        checks.done()
        rows = await self._catalogue.trending(
            reader, offset=_offset(position), size=size, patience=_patience()
        )
        movies = self._presenter.rows(rows, reader)
        return movie_pb2.ListTrendingResponse(
            movies=movies,
            next_page_token=self._next_token(_TRENDING, asked, rows),
            total_size=rows.total,
            attribution=attribution(movies),
        )

    async def DiscoverMovies(
        self, request: movie_pb2.DiscoverMoviesRequest, _context: Context
    ) -> movie_pb2.DiscoverMoviesResponse:
        """Give a page of the films that pass a filter."""
        checks = Checks()
        wanted = read_filter(checks, request.filter)
        size = checks.page_size("page_size", request.page_size, default=MOST_A_PAGE, most=MOST_A_PAGE)
        reader = read_reader(checks, request.locale)
        asked: dict[str, object] = {
            "filter": asdict(wanted),
            "language": reader.language,
            "region": reader.region,
        }
        position = checks.page_token(
            "page_token", request.page_token, tokens=self._tokens, kind=_DISCOVER, query=asked
        )
        checks.done()
        rows = await self._catalogue.discover(
            wanted, reader, offset=_offset(position), size=size, patience=_patience()
        )
        movies = self._presenter.rows(rows, reader)
        return movie_pb2.DiscoverMoviesResponse(
            movies=movies,
            next_page_token=self._next_token(_DISCOVER, asked, rows),
            total_size=rows.total,
            attribution=attribution(movies),
        )

    async def ListGenres(
        self, request: movie_pb2.ListGenresRequest, _context: Context
    ) -> movie_pb2.ListGenresResponse:
        """Give all genres."""
        checks = Checks()
        reader = read_reader(checks, request.locale)
        checks.done()
        genres = await self._catalogue.genres(reader, patience=_patience())
        return movie_pb2.ListGenresResponse(
            genres=[movie_pb2.Genre(id=genre.id, name=genre.name) for genre in genres],
            attribution=notices(where_to_watch=False),
        )

    async def ListWatchProviders(
        self, request: movie_pb2.ListWatchProvidersRequest, _context: Context
    ) -> movie_pb2.ListWatchProvidersResponse:
        """Give all services one can watch films on in a region."""
        checks = Checks()
        reader = read_reader(checks, request.locale)
        checks.done()
        providers = await self._catalogue.providers(reader, patience=_patience())
        return movie_pb2.ListWatchProvidersResponse(
            providers=self._presenter.providers(providers),
            attribution=notices(where_to_watch=bool(providers)),
        )

    async def SuggestMovies(
        self, request: movie_pb2.SuggestMoviesRequest, _context: Context
    ) -> movie_pb2.SuggestMoviesResponse:
        """Give films with a title that begins so, or a word of it."""
        checks = Checks()
        prefix = checks.text("prefix", request.prefix, longest=LONGEST_PREFIX, shortest=1)
        size = checks.page_size("page_size", request.page_size, default=SUGGESTED, most=MOST_SUGGESTED)
        reader = read_reader(checks, request.locale)
        checks.done()
        films = await self._suggestions.suggest(prefix, most=size, patience=_patience())
        # Nobody who types waits for TMDB: names that are not at hand come with the next letter.
        genres = await self._catalogue.genre_names(reader, patience=_AT_HAND_SECONDS) if films else {}
        movies = self._presenter.suggestions(films, genres, reader)
        return movie_pb2.SuggestMoviesResponse(movies=movies, attribution=attribution(movies))

    async def ResolveExternalIds(
        self, request: movie_pb2.ResolveExternalIdsRequest, _context: Context
    ) -> movie_pb2.ResolveExternalIdsResponse:
        """Give TMDB's ids for films as other sites know them."""
        checks = Checks()
        wanted = read_external_films(checks, request.movies)
        reader = read_reader(checks, request.locale)
        checks.done()
        resolved = await self._external_ids.resolve(wanted, reader, patience=_patience())
        unsure = any(one.candidates for one in resolved)
        genres = await self._catalogue.genre_names(reader, patience=_AT_HAND_SECONDS) if unsure else {}
        return movie_pb2.ResolveExternalIdsResponse(movies=self._presenter.resolved(resolved, genres, reader))

    def _next_token(self, kind: str, asked: dict[str, object], rows: Rows) -> str:
        return "" if rows.next_offset is None else self._tokens.seal(kind, asked, [rows.next_offset])


def _offset(position: list[Any]) -> int:
    return int(position[0]) if position else 0


def _patience() -> float:
    """Return how many seconds the caller has for us."""
    call = running.current()
    left = None if call is None else call.time_left()
    return PATIENCE_SECONDS if left is None else min(PATIENCE_SECONDS, left - _WAY_BACK_SECONDS)
