"""TMDB's CSV exports: ratings and the watchlist."""

from collections.abc import Mapping
from datetime import datetime

from backlog_svc.entries import Status
from backlog_svc.imports.claims import (
    Claim,
    NotAFilm,
    half_stars_of,
    imdb_id_of,
    line_of_text,
    movie_id_of,
    time_of,
    year_of,
)


def recognises(header: frozenset[str]) -> bool:
    """Tell whether a header is TMDB's."""
    return header >= {"tmdb id", "type", "name"}


def claim(cells: Mapping[str, str], *, line: int, file: str, now: datetime) -> Claim:
    """Read a row. `Rating` is everybody's, `Your Rating` the owner's.

    Raises:
        NotAFilm: It is a series or an episode.
        BadLine: The rating is none.
    """
    if cells["type"].strip().lower() != "movie":
        raise NotAFilm
    half_stars = half_stars_of(cells.get("your rating"), of_ten=True)
    rated = time_of(cells.get("date rated", ""), now=now)
    return Claim(
        line=line,
        file=file,
        movie_id=movie_id_of(cells["tmdb id"]),
        imdb_id=imdb_id_of(cells.get("imdb id", "")),
        title=line_of_text(cells["name"]),
        year=year_of(cells.get("release date", "")),
        status=Status.WATCHED if half_stars else Status.WANT_TO_WATCH,
        half_stars=half_stars,
        add_time=rated,
        watch_time=rated if half_stars else None,
        state_time=rated,
    )
