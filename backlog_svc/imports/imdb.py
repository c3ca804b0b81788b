"""IMDb's CSV exports: ratings, and lists such as the watchlist."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from backlog_svc.entries import Status
from backlog_svc.imports.claims import (
    Claim,
    NotAFilm,
    half_stars_of,
    imdb_id_of,
    line_of_text,
    note_of,
    time_of,
    year_of,
)

# As IMDb spells them today ("TV Movie") and did before ("tvMovie"), without case and spaces.
_FILMS: Final = frozenset({"", "movie", "tvmovie", "short", "tvshort", "video", "tvspecial", "featurefilm"})


def recognises(header: frozenset[str]) -> bool:
    """Tell whether a header is IMDb's."""
    return header >= {"const", "title"} and bool(header & {"title type", "your rating", "imdb rating"})


def claim(cells: Mapping[str, str], *, line: int, file: str, now: datetime) -> Claim:
    """Read a row.

    Raises:
        NotAFilm: It is a series, an episode, a game.
        BadLine: The rating is none.
    """
    kind = "".join(cells.get("title type", "").lower().split())
    if kind not in _FILMS:
        raise NotAFilm
    half_stars = half_stars_of(cells.get("your rating"), of_ten=True)
    rated = time_of(cells.get("date rated", ""), now=now)
    created = time_of(cells.get("created", ""), now=now)
    modified = time_of(cells.get("modified", ""), now=now)
    note, cut = note_of(cells.get("description", ""))
    return Claim(
        line=line,
        file=file,
        imdb_id=imdb_id_of(cells["const"]),
        title=line_of_text(cells["title"]),
        year=year_of(cells.get("year", "")),
        status=Status.WATCHED if half_stars else Status.WANT_TO_WATCH,
        half_stars=half_stars,
        note=note,
        add_time=created or rated,
        watch_time=rated if half_stars else None,
        state_time=max(filter(None, (rated, created, modified)), default=None),
        shortened=cut,
    )
