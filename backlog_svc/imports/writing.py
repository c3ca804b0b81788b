"""Backlogs as files: pieces of text that make one file in their order."""

import csv
import io
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final

from backlog_svc.entries import Status, stars
from backlog_svc.imports import own
from backlog_svc.imports.guarding import guarded
from backlog_svc.imports.own import Titled


class FileKind(StrEnum):
    """Which file."""

    JSON = "json"
    LETTERBOXD_CSV = "letterboxd_csv"


_COLUMNS: Final = ("tmdbID", "Title", "Year", "Rating", "WatchedDate", "Tags", "Review")


async def pieces(
    kind: FileKind, stretches: AsyncIterator[list[Titled]], *, now: datetime
) -> AsyncGenerator[str, None]:
    """Give a file piece by piece.

    Args:
        kind: Which file.
        stretches: The entries.
        now: The present.
    """
    match kind:
        case FileKind.JSON:
            yield own.beginning(now)
            before = "\n"
            async for stretch in stretches:
                yield before + ",\n".join(map(own.item, stretch))
                before = ",\n"
            yield own.END
        case FileKind.LETTERBOXD_CSV:
            yield _lines([_COLUMNS])
            async for stretch in stretches:
                yield _lines(map(_cells, stretch))


def _cells(film: Titled) -> tuple[object, ...]:
    """Return an entry as Letterboxd takes it: a comma separates tags, and only what was seen has a day."""
    entry = film.entry
    watched = entry.watch_time if entry.status is Status.WATCHED else None
    return (
        entry.movie_id,
        guarded(film.title),
        film.year or "",
        "" if entry.half_stars is None else f"{stars(entry.half_stars):g}",
        watched.date().isoformat() if watched else "",
        guarded(", ".join(tag.replace(",", " ") for tag in entry.tags)),
        guarded(entry.note),
    )


def _lines(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
