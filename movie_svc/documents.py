"""Films and lists as plain dictionaries, the form in which the store keeps them.

`VERSION` counts the forms: what was kept in another one is as if it were not there, and fetched again.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any, Final

from movie_svc.films import (
    CastMember,
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

VERSION: Final = 1
"""Goes up with every change below that cannot read what was written before it."""

Document = Mapping[str, Any]


def film_document(film: Film) -> dict[str, Any]:
    """Return a film as a dictionary; the day as ISO 8601, the packed translations as bytes."""
    return {
        **asdict(film),
        "translations": film.translations.packed,
        "release_date": _day_text(film.release_date),
    }


def film_from(document: Document) -> Film:
    """Return the film that `film_document` wrote.

    Raises:
        KeyError, TypeError, ValueError: When it was written otherwise.
    """
    trailer, collection, watch = document["trailer"], document["collection"], document["watch"]
    plain = {name: document[name] for name in _PLAIN_FILM_FIELDS}
    return Film(
        **plain,
        texts=tuple(Text(**text) for text in document["texts"]),
        translations=Translations(bytes(document["translations"])),
        release_date=_day(document["release_date"]),
        genres=tuple(Genre(**genre) for genre in document["genres"]),
        cast=tuple(CastMember(**member) for member in document["cast"]),
        directors=tuple(document["directors"]),
        trailer=None if trailer is None else Trailer(**trailer),
        countries=tuple(document["countries"]),
        collection=None if collection is None else Collection(**collection),
        watch=None if watch is None else _watch(watch),
    )


def page_document(page: ListPage) -> dict[str, Any]:
    """Return a page of a list as a dictionary."""
    rows = [
        None if row is None else {**asdict(row), "release_date": _day_text(row.release_date)}
        for row in page.rows
    ]
    return {"rows": rows, "total": page.total}


def page_from(document: Document) -> ListPage:
    """Return the page that `page_document` wrote; raises as `film_from` does."""
    return ListPage(rows=tuple(map(_row, document["rows"])), total=document["total"])


def genres_document(genres: tuple[Genre, ...]) -> dict[str, Any]:
    """Return all genres as a dictionary."""
    return {"genres": [asdict(genre) for genre in genres]}


def genres_from(document: Document) -> tuple[Genre, ...]:
    """Return the genres that `genres_document` wrote; raises as `film_from` does."""
    return tuple(Genre(**genre) for genre in document["genres"])


def providers_document(providers: tuple[Provider, ...]) -> dict[str, Any]:
    """Return all providers of a region as a dictionary."""
    return {"providers": [asdict(provider) for provider in providers]}


def providers_from(document: Document) -> tuple[Provider, ...]:
    """Return the providers that `providers_document` wrote; raises as `film_from` does."""
    return tuple(Provider(**provider) for provider in document["providers"])


_PLAIN_FILM_FIELDS: Final = (
    *("id", "original_title", "original_language", "rating", "vote_count", "popularity"),
    *("poster_path", "backdrop_path", "runtime_minutes", "certification", "imdb_id"),
)


def _row(row: dict[str, Any] | None) -> Summary | None:
    if row is None:
        return None
    return Summary(**{**row, "genre_ids": tuple(row["genre_ids"]), "release_date": _day(row["release_date"])})


def _watch(watch: Document) -> WatchOptions:
    offers = {
        kind: tuple(Provider(**provider) for provider in watch[kind])
        for kind in ("subscription", "free", "ads", "rent", "buy")
    }
    return WatchOptions(region=watch["region"], link=watch["link"], **offers)


def _day_text(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
