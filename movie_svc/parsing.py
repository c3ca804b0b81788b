"""TMDB's JSON, read with forbearance: one odd field never loses the film.

What TMDB sends holds nulls, empty strings, empty dates, a runtime of zero, numbers as strings, and now and
then something that nobody expected. A field that cannot be read is as if it were missing. Only an answer that
is no film at all, or another film, is refused.
"""

import math
import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, Final

from movie_svc.films import (
    LAST_PAGE,
    ROWS_A_PAGE,
    CastMember,
    ChangePage,
    Collection,
    Film,
    Genre,
    ListPage,
    Provider,
    Summary,
    Text,
    Trailer,
    Translations,
    WatchOptions,
)
from movie_svc.languages import base, texts_near, with_country

_MOST_CAST: Final = 10
_MOST_OF_A_KIND: Final = 50
_MOST_PROVIDERS: Final = 1_000
_MOST_TRANSLATIONS: Final = 200
_LONGEST_NAME: Final = 500
_LONGEST_OVERVIEW: Final = 5_000
_LARGEST_INT: Final = 2**31 - 1
_LARGEST_POPULARITY: Final = 1e9
_LONGEST_RUNTIME_MINUTES: Final = 100_000

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_PATH = re.compile(r"/[A-Za-z0-9_.-]{1,100}")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_IMDB_ID = re.compile(r"tt[0-9]{5,12}")
_YOUTUBE_KEY = re.compile(r"[A-Za-z0-9_-]{5,20}")
_LINK = re.compile(r"https?://[^\s\"<>]{1,500}")
_INTEGER = re.compile(r"-?[0-9]{1,12}")
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_NO_LANGUAGE: Final = "xx"
# TMDB's code for Cantonese is no code of ISO 639-1.
_LANGUAGE_FIXES: Final = {"cn": "zh", _NO_LANGUAGE: ""}
# Whose age rating counts first: in cinemas, in few cinemas, the premiere, digital, on disc, on television.
_RELEASE_ORDER: Final = {3: 0, 2: 1, 1: 2, 4: 3, 5: 4, 6: 5}


class NoFilm(ValueError):
    """What was sent cannot be read as the film, or the list, that was asked for."""


def film_of(answer: object, *, movie_id: int, language: str, region: str) -> Film:
    """Read the answer to `/movie/{id}` with everything appended.

    Args:
        answer: Decoded JSON.
        movie_id: The film that was asked for.
        language: The language that was asked for, `xx-YY` or `xx`.
        region: The country whose certification and providers are kept.

    Raises:
        NoFilm: When it is no object, is about another film, or has no title in any language.
    """
    if not isinstance(answer, dict):
        raise NoFilm("not a JSON object")
    if (sent_id := _integer(answer.get("id"))) not in (None, movie_id):
        raise NoFilm(f"asked for film {movie_id}, got film {sent_id}")
    original = _original_language(answer)
    texts = tuple(_translations(answer))
    own_title = _text(answer.get("original_title")) or _text(answer.get("title"))
    original_title = own_title or next((text.title for text in texts if text.title), "")
    if not original_title:
        raise NoFilm("no title in any language")
    if not texts:
        texts = _text_asked_for(answer, original_title, language=language)
    votes = _votes(answer)
    return Film(
        id=movie_id,
        original_title=original_title,
        original_language=original,
        texts=texts_near(texts, language=language, original=original),
        translations=Translations.pack(texts),
        release_date=_date(answer.get("release_date")),
        genres=tuple(_genres(answer.get("genres"))),
        rating=_rating(answer, votes),
        vote_count=votes,
        popularity=_popularity(answer),
        poster_path=_path(answer.get("poster_path")),
        backdrop_path=_path(answer.get("backdrop_path")),
        runtime_minutes=_within(_integer(answer.get("runtime")), 1, _LONGEST_RUNTIME_MINUTES),
        certification=_certification(answer, region),
        cast=tuple(_cast(answer)),
        directors=tuple(_directors(answer)),
        trailer=_trailer(answer, language=language, original=original),
        countries=tuple(_countries(answer)),
        collection=_collection(answer.get("belongs_to_collection")),
        watch=_watch(answer, region),
        imdb_id=_imdb_id(answer),
    )


def page_of(answer: object) -> ListPage:
    """Read a page of films: of a search, of discover, of what is trending.

    A row that cannot be read leaves its place empty, so that the others keep theirs.

    Raises:
        NoFilm: When it is no object with a list of results.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
        raise NoFilm("not a page of results")
    rows = tuple(_summary(row) for row in answer["results"][:ROWS_A_PAGE])
    most = LAST_PAGE * ROWS_A_PAGE
    total = _integer(answer.get("total_results"))
    return ListPage(rows=rows, total=len(rows) if total is None else max(0, min(total, most)))


def found_of(answer: object) -> ListPage:
    """Read the films in the answer to `/find/{id}`: at most one, for series and people are no films.

    Raises:
        NoFilm: When it is no object with a list of films.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("movie_results"), list):
        raise NoFilm("not what was found")
    rows = tuple(row for row in map(_summary, answer["movie_results"][:ROWS_A_PAGE]) if row is not None)
    return ListPage(rows=rows[:1], total=len(rows[:1]))


def genres_of(answer: object) -> tuple[Genre, ...]:
    """Read the answer to `/genre/movie/list`; empty when TMDB has no names in that language.

    Raises:
        NoFilm: When there is not one genre in it, named or not.
    """
    rows = _dicts(answer.get("genres")) if isinstance(answer, dict) else []
    if all(_integer(row.get("id")) is None for row in rows):
        raise NoFilm("not a list of genres")
    return tuple(_genres(rows))


def providers_of(answer: object, *, region: str) -> tuple[Provider, ...]:
    """Read the answer to `/watch/providers/movie`, in the region's order of display.

    Raises:
        NoFilm: When it is no object with a list of results.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
        raise NoFilm("not a list of providers")

    def place(row: dict[str, Any]) -> float:
        places = row.get("display_priorities")
        here = _order(places.get(region)) if isinstance(places, dict) else math.inf
        return here if here < math.inf else _place(row)

    return _providers(answer["results"], place=place, most=_MOST_PROVIDERS)


def changes_of(answer: object) -> ChangePage:
    """Read a page of the answer to `/movie/changes`.

    Raises:
        NoFilm: When it is no object with a list of results.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
        raise NoFilm("not a list of changes")
    ids = (_within(_integer(row.get("id")), 1, _LARGEST_INT) for row in _dicts(answer["results"]))
    pages = _within(_integer(answer.get("total_pages")), 0, _LARGEST_INT)
    return ChangePage(tuple(movie_id for movie_id in ids if movie_id is not None), pages or 1)


def _summary(row: object) -> Summary | None:
    if not isinstance(row, dict) or row.get("media_type", "movie") not in ("movie", None, ""):
        return None
    movie_id = _within(_integer(row.get("id")), 1, _LARGEST_INT)
    title = _text(row.get("title")) or _text(row.get("original_title"))
    if movie_id is None or not title:
        return None
    votes = _votes(row)
    genre_ids = (_within(_integer(genre), 1, _LARGEST_INT) for genre in _list(row.get("genre_ids")))
    return Summary(
        id=movie_id,
        title=title,
        original_title=_text(row.get("original_title")) or title,
        original_language=_original_language(row),
        overview=_text(row.get("overview"), longest=_LONGEST_OVERVIEW),
        release_date=_date(row.get("release_date")),
        genre_ids=tuple(dict.fromkeys(genre for genre in genre_ids if genre is not None)),
        rating=_rating(row, votes),
        vote_count=votes,
        popularity=_popularity(row),
        poster_path=_path(row.get("poster_path")),
        backdrop_path=_path(row.get("backdrop_path")),
    )


def _translations(answer: dict[str, Any]) -> Iterator[Text]:
    for translation in _rows(answer.get("translations"), "translations")[:_MOST_TRANSLATIONS]:
        language = _match(_LANGUAGE, translation.get("iso_639_1"))
        country = _match(_COUNTRY, translation.get("iso_3166_1"))
        data = translation.get("data")
        if not language or language == _NO_LANGUAGE or not isinstance(data, dict):
            continue
        language = _LANGUAGE_FIXES.get(language, language)
        text = Text(
            language=f"{language}-{country}" if country else language,
            title=_text(data.get("title")),
            overview=_text(data.get("overview"), longest=_LONGEST_OVERVIEW),
            tagline=_text(data.get("tagline")),
        )
        if text.title or text.overview:
            yield text


def _text_asked_for(answer: dict[str, Any], original_title: str, *, language: str) -> tuple[Text, ...]:
    """Return what stands at the top of the answer, for when its translations are missing.

    TMDB puts the original title there where it has no translation, and leaves the overview empty.
    """
    title = _text(answer.get("title"))
    text = Text(
        language=with_country(language),
        title="" if title == original_title else title,
        overview=_text(answer.get("overview"), longest=_LONGEST_OVERVIEW),
        tagline=_text(answer.get("tagline")),
    )
    return (text,) if text.title or text.overview else ()


def _original_language(answer: dict[str, Any]) -> str:
    language = _match(_LANGUAGE, answer.get("original_language"))
    return _LANGUAGE_FIXES.get(language, language)


def _votes(answer: dict[str, Any]) -> int:
    return min(max(_integer(answer.get("vote_count")) or 0, 0), _LARGEST_INT)


def _rating(answer: dict[str, Any], votes: int) -> float | None:
    rating = _number(answer.get("vote_average"))
    return rating if votes > 0 and rating is not None and 0 <= rating <= 10 else None


def _popularity(answer: dict[str, Any]) -> float:
    return min(max(_number(answer.get("popularity")) or 0.0, 0.0), _LARGEST_POPULARITY)


def _genres(value: object) -> Iterator[Genre]:
    for row in _dicts(value)[:_MOST_OF_A_KIND]:
        genre_id, name = _within(_integer(row.get("id")), 1, _LARGEST_INT), _text(row.get("name"))
        if genre_id is not None and name:
            yield Genre(genre_id, name)


def _cast(answer: dict[str, Any]) -> list[CastMember]:
    rows = [row for row in _rows(answer.get("credits"), "cast") if _text(row.get("name"))]
    rows.sort(key=lambda row: _order(row.get("order")))
    return [CastMember(_text(row["name"]), _text(row.get("character"))) for row in rows[:_MOST_CAST]]


def _directors(answer: dict[str, Any]) -> list[str]:
    names = (
        _text(row.get("name")) for row in _rows(answer.get("credits"), "crew") if row.get("job") == "Director"
    )
    return list(dict.fromkeys(name for name in names if name))[:_MOST_OF_A_KIND]


def _trailer(answer: dict[str, Any], *, language: str, original: str) -> Trailer | None:
    """Return the best video: a trailer before a teaser, in a language the reader knows, official."""
    liked = [base(language), original, "en"]
    found: list[tuple[tuple[int, int, int], Trailer]] = []
    for row in _rows(answer.get("videos"), "results"):
        key, kind = _match(_YOUTUBE_KEY, row.get("key")), row.get("type")
        if row.get("site") != "YouTube" or not key or kind not in ("Trailer", "Teaser"):
            continue
        spoken = _match(_LANGUAGE, row.get("iso_639_1"))
        rank = (
            0 if kind == "Trailer" else 1,
            liked.index(spoken) if spoken in liked else len(liked),
            0 if row.get("official") is True else 1,
        )
        found.append((rank, Trailer(key, _text(row.get("name")))))
    return min(found, key=lambda ranked: ranked[0])[1] if found else None


def _certification(answer: dict[str, Any], region: str) -> str:
    for country in _rows(answer.get("release_dates"), "results"):
        if country.get("iso_3166_1") != region:
            continue
        rated = [row for row in _dicts(country.get("release_dates")) if _text(row.get("certification"))]
        rated.sort(key=lambda row: _RELEASE_ORDER.get(_integer(row.get("type")) or 0, len(_RELEASE_ORDER)))
        if rated:
            return _text(rated[0]["certification"])
    return ""


def _countries(answer: dict[str, Any]) -> list[str]:
    codes = (_match(_COUNTRY, row.get("iso_3166_1")) for row in _dicts(answer.get("production_countries")))
    return list(dict.fromkeys(code for code in codes if code))[:_MOST_OF_A_KIND]


def _collection(value: object) -> Collection | None:
    if not isinstance(value, dict):
        return None
    collection_id, name = _within(_integer(value.get("id")), 1, _LARGEST_INT), _text(value.get("name"))
    return Collection(collection_id, name) if collection_id is not None and name else None


def _watch(answer: dict[str, Any], region: str) -> WatchOptions | None:
    providers = answer.get("watch/providers")
    regions = providers.get("results") if isinstance(providers, dict) else None
    offers = regions.get(region) if isinstance(regions, dict) else None
    if not isinstance(offers, dict):
        return None
    options = WatchOptions(
        region=region,
        link=_match(_LINK, offers.get("link")),
        subscription=_providers(offers.get("flatrate")),
        free=_providers(offers.get("free")),
        ads=_providers(offers.get("ads")),
        rent=_providers(offers.get("rent")),
        buy=_providers(offers.get("buy")),
    )
    listed = options.subscription or options.free or options.ads or options.rent or options.buy
    return options if listed else None


def _place(row: dict[str, Any]) -> float:
    return _order(row.get("display_priority"))


def _providers(
    value: object, *, place: Callable[[dict[str, Any]], float] = _place, most: int = _MOST_OF_A_KIND
) -> tuple[Provider, ...]:
    found: dict[int, Provider] = {}
    for row in sorted(_dicts(value), key=place):
        provider_id, name = (
            _within(_integer(row.get("provider_id")), 1, _LARGEST_INT),
            _text(row.get("provider_name")),
        )
        if provider_id is not None and name:
            found.setdefault(provider_id, Provider(provider_id, name, _path(row.get("logo_path"))))
    return tuple(found.values())[:most]


def _imdb_id(answer: dict[str, Any]) -> str:
    external_ids = answer.get("external_ids")
    appended = _match(_IMDB_ID, external_ids.get("imdb_id")) if isinstance(external_ids, dict) else ""
    return appended or _match(_IMDB_ID, answer.get("imdb_id"))


# What a field may be, and what stands for one that is something else.


def _text(value: object, *, longest: int = _LONGEST_NAME) -> str:
    """Return a text that protobuf and the store can hold; empty for anything that is none."""
    return _UNPRINTABLE.sub("", value).strip()[:longest].rstrip() if isinstance(value, str) else ""


def _match(pattern: re.Pattern[str], value: object) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""


def _path(value: object) -> str:
    return _match(_PATH, value)


def _integer(value: object) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if math.isfinite(value) and value == int(value):
            return int(value)
        case str() if _INTEGER.fullmatch(value):
            return int(value)
    return None


def _within(value: int | None, least: int, most: int) -> int | None:
    return value if value is not None and least <= value <= most else None


def _number(value: object) -> float | None:
    match value:
        case bool():
            return None
        case float() if math.isfinite(value):
            return value
        case int() if abs(value) <= _LARGEST_INT:
            return float(value)
        case str() if _NUMBER.fullmatch(value):
            return float(value)
    return None


def _order(value: object) -> float:
    """Return a place in a list; whoever has none stands at the end."""
    number = _number(value)
    return math.inf if number is None else number


def _date(value: object) -> date | None:
    if not isinstance(value, str):
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: object) -> list[dict[str, Any]]:
    return [row for row in _list(value) if isinstance(row, dict)]


def _rows(value: object, name: str) -> list[dict[str, Any]]:
    """Return the objects in the list `name` of an object."""
    return _dicts(value.get(name)) if isinstance(value, dict) else []
