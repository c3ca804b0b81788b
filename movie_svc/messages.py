"""Between the contract's messages and our own films: reading requests, making answers."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Final

from mesh.checks import Checks
from movie_svc import films
from movie_svc.cache import Lru
from movie_svc.catalogue import Rows
from movie_svc.external_ids import ExternalFilm, Resolved
from movie_svc.films import Film, Filter, Summary
from movie_svc.keys import FilmKey
from movie_svc.languages import Reader, language_of_row, show
from movie_svc.suggestions import KnownFilm, Suggested
from popcorn.movie.v1 import movie_pb2

TMDB_NOTICE: Final = "This product uses the TMDB API but is not endorsed or certified by TMDB."
JUSTWATCH_CREDIT: Final = "Where to watch: data by JustWatch."

MOST_LANGUAGES: Final = 10
MOST_IN_A_BATCH: Final = 500
MOST_A_PAGE: Final = 20
LONGEST_QUERY: Final = 200
MOST_GENRES: Final = 10
MOST_PROVIDERS: Final = 20
MOST_SUGGESTED: Final = 20
SUGGESTED: Final = 8
LONGEST_PREFIX: Final = 100
MOST_SUGGESTIONS_IN_MEMORY: Final = 5_000
"""About 1 KB each."""
MOST_RESOLVED: Final = 100
LONGEST_TITLE: Final = 200
FIRST_YEAR: Final = 1870
LAST_YEAR: Final = 2200

_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,4}")
_LANGUAGE = re.compile(r"[a-z]{2}")
_REGION = re.compile(r"[A-Za-z]{2}")
_IMDB_ID = re.compile(r"tt[0-9]{5,12}")

_POSTER_SIZES: Final = ("w154", "w342", "w780", "original")
_BACKDROP_SIZES: Final = ("w300", "w780", "w1280", "original")
_LOGO_SIZE: Final = "w92"


def read_reader(checks: Checks, locale: movie_pb2.Locale) -> Reader:
    """Return who reads; what cannot be read is noted as `locale...`."""
    tags, region = tuple(locale.languages), locale.region
    reader = _reader(tags, region)
    if reader is not None:
        return reader
    checks.require(
        len(tags) <= MOST_LANGUAGES,
        "locale.languages",
        "TOO_MANY",
        f"Must have at most {MOST_LANGUAGES} entries.",
    )
    for place, tag in enumerate(tags[:MOST_LANGUAGES]):
        well_formed = _TAG.fullmatch(tag) is not None
        field = f"locale.languages[{place}]"
        checks.require(well_formed, field, "INVALID_LANGUAGE", 'Must be a BCP 47 tag such as "pt-BR".')
    well_formed = not region or _REGION.fullmatch(region) is not None
    checks.require(well_formed, "locale.region", "INVALID_REGION", 'Must be an ISO 3166-1 code such as "DE".')
    return Reader()


def read_movie_ids(checks: Checks, movie_ids: Sequence[int]) -> list[int]:
    """Return the ids of a batch."""
    checks.require(len(movie_ids) > 0, "movie_ids", "REQUIRED", "Must not be empty.")
    few = len(movie_ids) <= MOST_IN_A_BATCH
    checks.require(few, "movie_ids", "TOO_MANY", f"Must have at most {MOST_IN_A_BATCH} entries.")
    return [
        checks.movie_id(f"movie_ids[{place}]", movie_id)
        for place, movie_id in enumerate(movie_ids[:MOST_IN_A_BATCH])
    ]


def read_year(checks: Checks, field: str, year: int) -> int:
    """Return a year of release, 0 for any."""
    sensible = year == 0 or FIRST_YEAR <= year <= LAST_YEAR
    checks.require(
        sensible, field, "YEAR_OUT_OF_RANGE", f"Must be {FIRST_YEAR} to {LAST_YEAR}, or 0 for any."
    )
    return year


def read_filter(checks: Checks, wanted: movie_pb2.MovieFilter) -> Filter:
    """Return which films to discover; what cannot be read is noted as `filter...`."""
    year_from = read_year(checks, "filter.year_from", wanted.year_from)
    year_to = read_year(checks, "filter.year_to", wanted.year_to)
    in_order = not (year_from and year_to) or year_from <= year_to
    checks.require(in_order, "filter.year_to", "YEARS_REVERSED", "Must not be before year_from.")
    minutes = wanted.max_runtime_minutes
    checks.require(minutes >= 0, "filter.max_runtime_minutes", "NEGATIVE", "Must be 0 or more.")
    rated = 0 <= wanted.min_rating <= 10  # false for NaN as well
    checks.require(rated, "filter.min_rating", "RATING_OUT_OF_RANGE", "Must be 0 to 10.")
    language = wanted.original_language.lower()
    coded = not language or _LANGUAGE.fullmatch(language) is not None
    checks.require(
        coded, "filter.original_language", "INVALID_LANGUAGE", 'Must be an ISO 639-1 code such as "de".'
    )
    return Filter(
        genre_ids=_read_ids(checks, "filter.genre_ids", wanted.genre_ids, most=MOST_GENRES),
        year_from=year_from,
        year_to=year_to,
        max_runtime_minutes=minutes,
        min_rating=wanted.min_rating if rated else 0.0,
        provider_ids=_read_ids(checks, "filter.provider_ids", wanted.provider_ids, most=MOST_PROVIDERS),
        original_language=language,
    )


def read_external_films(checks: Checks, movies: Sequence[movie_pb2.ExternalMovie]) -> list[ExternalFilm]:
    """Return films as other sites know them; what cannot be read is noted as `movies[3]...`."""
    checks.require(len(movies) > 0, "movies", "REQUIRED", "Must not be empty.")
    few = len(movies) <= MOST_RESOLVED
    checks.require(few, "movies", "TOO_MANY", f"Must have at most {MOST_RESOLVED} entries.")
    films: list[ExternalFilm] = []
    for place, movie in enumerate(movies[:MOST_RESOLVED]):
        field = f"movies[{place}]"
        well_formed = not movie.imdb_id or _IMDB_ID.fullmatch(movie.imdb_id) is not None
        checks.require(
            well_formed, f"{field}.imdb_id", "INVALID_IMDB_ID", 'Must be an id of IMDb such as "tt0133093".'
        )
        title = checks.text(f"{field}.title", movie.title, longest=LONGEST_TITLE)
        named = bool(movie.imdb_id or title)
        checks.require(named, f"{field}.title", "REQUIRED", "Must not be empty without an IMDb id.")
        films.append(ExternalFilm(movie.imdb_id, title, read_year(checks, f"{field}.year", movie.year)))
    return films


def _read_ids(checks: Checks, field: str, ids: Sequence[int], *, most: int) -> tuple[int, ...]:
    checks.require(len(ids) <= most, field, "TOO_MANY", f"Must have at most {most} entries.")
    for place, number in enumerate(ids[:most]):
        checks.require(number >= 1, f"{field}[{place}]", "INVALID_ID", "Must be a whole number from 1.")
    return tuple(sorted(set(ids)))


class Presenter:
    """Makes the contract's films."""

    def __init__(self, image_url: str) -> None:
        """Take where TMDB's pictures are, without a final slash: `https://image.tmdb.org/t/p`."""
        self.image_url = image_url
        # Whoever types sees the popular films again and again. They stand here as long as the index holds the
        # same of them and the same names of genres are at hand.
        self._suggested: Lru[tuple[int, Reader], tuple[bytes, Mapping[int, str], movie_pb2.Movie]] = Lru(
            MOST_SUGGESTIONS_IN_MEMORY
        )

    def film(self, key: FilmKey, film: Film) -> movie_pb2.GetMovieResponse:
        """Return a film as its reader gets it: a whole answer, for it is what is asked for most."""
        shown = show(film, key.reader)
        movie = movie_pb2.Movie(
            id=film.id,
            title=shown.title,
            original_title=film.original_title,
            original_language=film.original_language,
            language=shown.language,
            overview=shown.overview,
            genres=[movie_pb2.Genre(id=genre.id, name=genre.name) for genre in film.genres],
            rating=film.rating,
            vote_count=film.vote_count,
            popularity=film.popularity,
            poster=self._image(film.poster_path, _POSTER_SIZES),
            backdrop=self._image(film.backdrop_path, _BACKDROP_SIZES),
            tagline=shown.tagline,
            runtime_minutes=film.runtime_minutes,
            certification=film.certification,
            cast=[movie_pb2.CastMember(name=member.name, character=member.character) for member in film.cast],
            directors=film.directors,
            trailer=_trailer(film.trailer),
            countries=film.countries,
            collection=_collection(film.collection),
            watch=self._watch(film.watch),
            imdb_id=film.imdb_id,
        )
        _set_day(movie.release_date, film.release_date)
        return movie_pb2.GetMovieResponse(movie=movie, attribution=attribution([movie]))

    def rows(self, rows: Rows, reader: Reader) -> list[movie_pb2.Movie]:
        """Return a list's films, without details."""
        return [
            self._row(row, rows.genres, reader, otherwise=rows.overviews.get(row.id, "")) for row in rows.rows
        ]

    def suggestions(
        self, suggested: Sequence[Suggested], genres: Mapping[int, str], reader: Reader
    ) -> list[movie_pb2.Movie]:
        """Return films by the titles that are known of them: like a list's, but without overviews."""
        return [self._suggestion(one, genres, reader) for one in suggested]

    def resolved(
        self, resolved: Sequence[Resolved], genres: Mapping[int, str], reader: Reader
    ) -> list[movie_pb2.ResolvedMovie]:
        """Return what became of films that other sites know."""
        return [
            movie_pb2.ResolvedMovie(
                movie_id=one.movie_id,
                confidence=one.confidence,
                candidates=[self._row(row, genres, reader) for row in one.candidates],
            )
            for one in resolved
        ]

    def providers(self, providers: Sequence[films.Provider]) -> list[movie_pb2.WatchProvider]:
        """Return services one can watch films on."""
        return [
            movie_pb2.WatchProvider(
                id=provider.id,
                name=provider.name,
                logo_url=f"{self.image_url}/{_LOGO_SIZE}{provider.logo_path}" if provider.logo_path else "",
            )
            for provider in providers
        ]

    def _suggestion(self, one: Suggested, genres: Mapping[int, str], reader: Reader) -> movie_pb2.Movie:
        held = self._suggested.get((one.movie_id, reader))
        if held is not None and held[0] == one.packed and held[1] is genres:
            return held[2]
        movie = self._known_film(one.film, genres, reader)
        self._suggested.put((one.movie_id, reader), (one.packed, genres, movie))
        return movie

    def _known_film(self, film: KnownFilm, genres: Mapping[int, str], reader: Reader) -> movie_pb2.Movie:
        shown = show(film, reader)
        movie = movie_pb2.Movie(
            id=film.id,
            title=shown.title,
            original_title=film.original_title,
            original_language=film.original_language,
            language=shown.language,
            genres=[
                movie_pb2.Genre(id=genre, name=genres[genre]) for genre in film.genre_ids if genre in genres
            ],
            rating=film.rating,
            vote_count=film.vote_count,
            popularity=film.popularity,
            poster=self._image(film.poster_path, _POSTER_SIZES),
            backdrop=self._image(film.backdrop_path, _BACKDROP_SIZES),
        )
        _set_day(movie.release_date, film.release_date)
        return movie

    def _row(
        self, row: Summary, genres: Mapping[int, str], reader: Reader, *, otherwise: str = ""
    ) -> movie_pb2.Movie:
        movie = movie_pb2.Movie(
            id=row.id,
            title=row.title,
            original_title=row.original_title,
            original_language=row.original_language,
            language=language_of_row(row, reader),
            overview=row.overview or otherwise,
            genres=[
                movie_pb2.Genre(id=genre, name=genres[genre]) for genre in row.genre_ids if genre in genres
            ],
            rating=row.rating,
            vote_count=row.vote_count,
            popularity=row.popularity,
            poster=self._image(row.poster_path, _POSTER_SIZES),
            backdrop=self._image(row.backdrop_path, _BACKDROP_SIZES),
        )
        _set_day(movie.release_date, row.release_date)
        return movie

    def _image(self, path: str, sizes: tuple[str, str, str, str]) -> movie_pb2.Image | None:
        if not path:
            return None
        small, medium, large, original = (f"{self.image_url}/{size}{path}" for size in sizes)
        return movie_pb2.Image(small_url=small, medium_url=medium, large_url=large, original_url=original)

    def _watch(self, watch: films.WatchOptions | None) -> movie_pb2.WatchOptions | None:
        if watch is None:
            return None
        return movie_pb2.WatchOptions(
            region=watch.region,
            link=watch.link,
            subscription=self.providers(watch.subscription),
            free=self.providers(watch.free),
            ads=self.providers(watch.ads),
            rent=self.providers(watch.rent),
            buy=self.providers(watch.buy),
        )


def attribution(movies: Sequence[movie_pb2.Movie]) -> movie_pb2.Attribution:
    """Return the notices that have to be shown with these films."""
    return notices(where_to_watch=any(movie.HasField("watch") for movie in movies))


def notices(*, where_to_watch: bool) -> movie_pb2.Attribution:
    """Return the notices to show: TMDB's, and JustWatch's where an answer says where to watch."""
    return movie_pb2.Attribution(tmdb=TMDB_NOTICE, justwatch=JUSTWATCH_CREDIT if where_to_watch else "")


def missing_movie(movie_id: int, cause: movie_pb2.MissingMovie.Cause.ValueType) -> movie_pb2.MissingMovie:
    """Return a film of a batch that could not be given."""
    return movie_pb2.MissingMovie(movie_id=movie_id, cause=cause)


# A pure function of what apps send with every call, in few variants: most calls find their reader here.
@lru_cache(maxsize=4096)
def _reader(tags: tuple[str, ...], region: str) -> Reader | None:
    """Return the reader, or None when something is malformed."""
    well_formed = (
        len(tags) <= MOST_LANGUAGES
        and all(_TAG.fullmatch(tag) for tag in tags)
        and (not region or _REGION.fullmatch(region))
    )
    return Reader.of(tags, region) if well_formed else None


def _set_day(message: Any, day: date | None) -> None:
    """Fill in a google.type.Date of a message; left alone it stays absent."""
    if day is not None:
        message.year, message.month, message.day = day.year, day.month, day.day


def _trailer(trailer: films.Trailer | None) -> movie_pb2.Trailer | None:
    return None if trailer is None else movie_pb2.Trailer(youtube_key=trailer.youtube_key, name=trailer.name)


def _collection(collection: films.Collection | None) -> movie_pb2.Collection | None:
    return None if collection is None else movie_pb2.Collection(id=collection.id, name=collection.name)
