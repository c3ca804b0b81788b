"""Letterboxd's files: those it gives (watchlist, watched, ratings, diary, reviews) and the one it takes.

https://letterboxd.com/about/importing-data/ describes the latter. It knows films by title and year, or by
TMDB's or IMDb's id; it separates tags with commas and rates with half to five stars, or one to ten points.
"""

from collections.abc import Mapping
from datetime import datetime

from backlog_svc.entries import Status
from backlog_svc.imports import guarding
from backlog_svc.imports.claims import (
    Claim,
    half_stars_of,
    imdb_id_of,
    line_of_text,
    movie_id_of,
    note_of,
    tags_of,
    time_of,
    year_of,
)


def recognises_export(header: frozenset[str]) -> bool:
    """Tell whether a header is one of those that Letterboxd gives."""
    return header >= {"date", "name", "year", "letterboxd uri"}


def recognises_import(header: frozenset[str]) -> bool:
    """Tell whether a header is one that Letterboxd takes."""
    names_films = bool(header & {"tmdbid", "imdbid", "letterboxduri"}) or header >= {"title", "year"}
    return names_films and bool(header & {"tmdbid", "rating", "rating10", "watcheddate", "tags", "review"})


def exported(cells: Mapping[str, str], *, line: int, file: str, plain: Status, now: datetime) -> Claim:
    """Read a row that Letterboxd has given.

    Args:
        cells: By the column's name in lower case.
        line: Where it stands.
        file: In which file of an archive.
        plain: What a list means that has neither ratings nor days: watchlist.csv and watched.csv look alike.
        now: Nothing has happened later.

    Raises:
        BadLine: The rating is none.
    """
    date = time_of(cells["date"], now=now)
    watched = time_of(cells.get("watched date", ""), now=now)
    says_seen = "rating" in cells or "watched date" in cells
    status = Status.WATCHED if says_seen else plain
    note, note_cut = note_of(cells.get("review", ""))
    tags, tags_cut = tags_of(cells.get("tags", "").split(","))
    return Claim(
        line=line,
        file=file,
        title=line_of_text(cells["name"]),
        year=year_of(cells["year"]),
        status=status,
        half_stars=half_stars_of(cells.get("rating"), of_ten=False),
        note=note,
        tags=tags,
        add_time=date,
        watch_time=watched,
        state_time=date,
        shortened=note_cut or tags_cut,
    )


def imported(cells: Mapping[str, str], *, line: int, file: str, now: datetime) -> Claim:
    """Read a row as Letterboxd would take it; ours may have guarded cells. A day or a rating means: seen.

    Raises:
        BadLine: The rating is none.
    """
    watched = time_of(cells.get("watcheddate", ""), now=now)
    half_stars = half_stars_of(cells.get("rating"), of_ten=False)
    if half_stars is None:
        half_stars = half_stars_of(cells.get("rating10"), of_ten=True)
    note, note_cut = note_of(guarding.unguarded(cells.get("review", "")))
    tags, tags_cut = tags_of(guarding.unguarded(cells.get("tags", "")).split(","))
    return Claim(
        line=line,
        file=file,
        movie_id=movie_id_of(cells.get("tmdbid", "")),
        imdb_id=imdb_id_of(cells.get("imdbid", "")),
        title=line_of_text(guarding.unguarded(cells.get("title", ""))),
        year=year_of(cells.get("year", "")),
        status=Status.WATCHED if watched or half_stars else Status.WANT_TO_WATCH,
        half_stars=half_stars,
        note=note,
        tags=tags,
        watch_time=watched,
        state_time=watched,
        shortened=note_cut or tags_cut,
    )
