"""Backlogs in numbers, counted by PostgreSQL."""

from datetime import date
from typing import Final

from backlog_svc.entries import Status
from backlog_svc.stats import RUNTIME_BOUNDS, Stats
from mesh.postgres import Database


class StatsStore:
    """Counts. Every method raises `mesh.errors.Unavailable` when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # One statement, so all numbers are of one moment, and the entries are read once. A key of NULL counts the
    # films that have none.
    _COUNT: Final = """
        WITH mine AS MATERIALIZED (
            SELECT status, half_stars, watch_time, genre_ids, release_date, runtime_minutes
            FROM backlog.entries LEFT JOIN backlog.films USING (movie_id)
            WHERE user_id = $1
        ),
        watched AS (SELECT * FROM mine WHERE status = 'watched')
        SELECT 'status' AS part, status AS key, count(*) AS films FROM mine GROUP BY status
        UNION ALL
        SELECT 'half_stars', half_stars::text, count(*) FROM mine GROUP BY half_stars
        UNION ALL
        SELECT 'genre', genre_id::text, count(*)
        FROM watched LEFT JOIN LATERAL unnest(genre_ids) AS genre_id ON TRUE
        GROUP BY genre_id
        UNION ALL
        SELECT 'decade', decade::text, count(*)
        FROM watched, LATERAL (SELECT extract(decade FROM release_date)::integer * 10 AS decade)
        GROUP BY decade
        UNION ALL
        SELECT 'runtime', span::text, count(*)
        FROM watched, LATERAL (SELECT width_bucket(runtime_minutes, $2::integer[]) AS span)
        GROUP BY span
        UNION ALL
        SELECT 'month', month::date::text, count(*)
        FROM watched, LATERAL (SELECT date_trunc('month', watch_time AT TIME ZONE 'UTC') AS month)
        GROUP BY month
        UNION ALL
        SELECT 'minutes', NULL, coalesce(sum(runtime_minutes), 0) FROM watched
    """

    async def count(self, user_id: str) -> Stats:
        """Gives somebody's backlog in numbers."""
        rows = await self._database.fetch(self._COUNT, user_id, RUNTIME_BOUNDS)
        counts: dict[str, dict[str | None, int]] = {}
        for row in rows:
            counts.setdefault(row["part"], {})[row["key"]] = int(row["films"])
        return Stats(
            statuses={Status(key): films for key, films in _known(counts, "status").items()},
            half_stars={int(key): films for key, films in _known(counts, "half_stars").items()},
            genres={int(key): films for key, films in _known(counts, "genre").items()},
            decades={int(key): films for key, films in _known(counts, "decade").items()},
            runtimes={int(key): films for key, films in _known(counts, "runtime").items()},
            months={date.fromisoformat(key): films for key, films in _known(counts, "month").items()},
            watched_minutes=counts["minutes"][None],
            without_genre=_unknown(counts, "genre"),
            without_decade=_unknown(counts, "decade"),
            without_runtime=_unknown(counts, "runtime"),
        )


def _known(counts: dict[str, dict[str | None, int]], part: str) -> dict[str, int]:
    return {key: films for key, films in counts.get(part, {}).items() if key is not None}


def _unknown(counts: dict[str, dict[str | None, int]], part: str) -> int:
    return counts.get(part, {}).get(None, 0)
