"""Trakt's JSON: ratings, history, watched, watchlist, collection and lists, as its API gives them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from backlog_svc.entries import Status
from backlog_svc.imports.claims import (
    BadLine,
    Claim,
    NotAFilm,
    Problem,
    half_stars_of,
    imdb_id_of,
    line_of_text,
    movie_id_of,
    note_of,
    time_of,
    year_of,
)

_SERIES: Final = ("show", "season", "episode", "person")


def recognises(item: object) -> bool:
    """Tell whether a list is Trakt's by its first item."""
    if not isinstance(item, Mapping):
        return False
    return any(isinstance(item.get(kind), Mapping) for kind in ("movie", *_SERIES))


def claim(item: object, *, line: int, file: str, now: datetime) -> Claim:
    """Read an item.

    Raises:
        NotAFilm: It is a series, a season, an episode.
        BadLine: It is nothing that Trakt writes, or the rating is none.
    """
    if not isinstance(item, Mapping):
        raise BadLine(Problem.INVALID_ITEM)
    movie = item.get("movie")
    if not isinstance(movie, Mapping):
        if any(isinstance(item.get(kind), Mapping) for kind in _SERIES):
            raise NotAFilm
        raise BadLine(Problem.INVALID_ITEM)
    found = movie.get("ids")
    ids: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    half_stars = half_stars_of(item.get("rating"), of_ten=True)
    rated = time_of(item.get("rated_at"), now=now)
    watched = time_of(item.get("watched_at"), now=now) or time_of(item.get("last_watched_at"), now=now)
    listed = time_of(item.get("listed_at"), now=now) or time_of(item.get("collected_at"), now=now)
    note, cut = note_of(_text(item.get("notes")))
    seen = half_stars is not None or "watched_at" in item or "last_watched_at" in item
    return Claim(
        line=line,
        file=file,
        movie_id=movie_id_of(ids.get("tmdb")),
        imdb_id=imdb_id_of(ids.get("imdb")),
        title=line_of_text(_text(movie.get("title"))),
        year=year_of(movie.get("year")),
        status=Status.WATCHED if seen else Status.WANT_TO_WATCH,
        half_stars=half_stars,
        note=note,
        add_time=listed or watched or rated,
        watch_time=watched or (rated if seen else None),
        state_time=max(filter(None, (rated, watched, listed)), default=None),
        shortened=cut,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
