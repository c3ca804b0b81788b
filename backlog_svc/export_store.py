"""Whole backlogs with the films' titles, read from PostgreSQL in stretches."""

from collections.abc import AsyncIterator
from typing import Any, Final

from backlog_svc.entries import Entry, Source, Status
from backlog_svc.imports.own import Titled
from mesh.postgres import Database

STRETCH: Final = 200
"""Entries read at once: some 64 KiB of a file, 2 MiB at the most."""


class ExportStore:
    """Reads; raises `mesh.errors.Unavailable` when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # By film id, which never changes: what is there all the time is given exactly once.
    _STRETCH: Final = """
        SELECT
            movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source,
            coalesce(films.title, '') AS title,
            coalesce(extract(year FROM films.release_date)::integer, 0) AS year
        FROM backlog.entries LEFT JOIN backlog.films USING (movie_id)
        WHERE user_id = $1 AND movie_id > $2 AND ($3::text IS NULL OR status = $3)
        ORDER BY movie_id
        LIMIT $4
    """

    async def stretches(self, user_id: str, status: Status | None) -> AsyncIterator[list[Titled]]:
        """Give somebody's entries, by film id, and what is known of the films."""
        after = 0
        while True:
            rows = await self._database.fetch(self._STRETCH, user_id, after, status, STRETCH)
            if rows:
                yield list(map(_titled, rows))
            if len(rows) < STRETCH:
                return
            after = rows[-1]["movie_id"]


def _titled(row: Any) -> Titled:
    entry = Entry(
        movie_id=row["movie_id"],
        status=Status(row["status"]),
        note=row["note"],
        half_stars=row["half_stars"],
        tags=tuple(row["tags"]),
        add_time=row["add_time"],
        update_time=row["update_time"],
        watch_time=row["watch_time"],
        source=Source(row["source"]),
    )
    return Titled(entry, row["title"], row["year"])
