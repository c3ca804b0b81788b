"""What is known of films, in PostgreSQL."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from backlog_svc.films import KEPT, FilmFacts, View, due_again
from mesh.postgres import Database

_SWEPT_AT_ONCE: Final = 5_000


class FilmStore:
    """Facts about films. Every method raises `mesh.errors.Unavailable` when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    _TAKE: Final = """
        UPDATE backlog.films SET due_time = $2, attempts = attempts + 1
        WHERE movie_id IN (
            SELECT movie_id FROM backlog.films
            WHERE due_time <= $1
            ORDER BY due_time
            LIMIT $3
            FOR UPDATE SKIP LOCKED
        )
        RETURNING movie_id, attempts
    """

    async def take(self, *, now: datetime, lease_until: datetime, most: int) -> dict[int, int]:
        """Take films that are due, the longest first. No other replica gets them until the lease ends.

        Returns:
            Film ids, each with how often it was taken since it was last known, this time included.
        """
        rows = await self._database.fetch(self._TAKE, now, lease_until, most)
        return {row["movie_id"]: row["attempts"] for row in rows}

    _PUT_OFF: Final = """
        UPDATE backlog.films SET due_time = put_off.due_time
        FROM unnest($1::integer[], $2::timestamptz[]) AS put_off (movie_id, due_time)
        WHERE films.movie_id = put_off.movie_id
    """

    async def put_off(self, due_times: dict[int, datetime]) -> None:
        """Let films be taken again at these times, by film id."""
        await self._database.execute(self._PUT_OFF, list(due_times), list(due_times.values()))

    # In the order of their ids, so that two replicas that write the same films do not wait for each other.
    _WRITE: Final = """
        INSERT INTO backlog.films (
            movie_id, title, original_title, release_date, runtime_minutes, genre_ids, popularity, missing,
            refresh_time, due_time
        )
        SELECT
            movie_id, title, original_title, release_date, runtime_minutes, genre_ids, popularity, missing,
            $2, due_time
        FROM jsonb_to_recordset($1::jsonb) AS facts (
            movie_id integer, title text, original_title text, release_date date, runtime_minutes integer,
            genre_ids integer[], popularity double precision, missing boolean, due_time timestamptz
        )
        ORDER BY movie_id
        ON CONFLICT (movie_id) DO UPDATE SET
            title = excluded.title,
            original_title = excluded.original_title,
            release_date = excluded.release_date,
            runtime_minutes = excluded.runtime_minutes,
            genre_ids = excluded.genre_ids,
            popularity = excluded.popularity,
            missing = excluded.missing,
            refresh_time = excluded.refresh_time,
            due_time = excluded.due_time,
            attempts = 0
    """

    async def write(self, facts: Iterable[FilmFacts], *, now: datetime) -> None:
        """Keep what was told to a reader of English."""
        rows = [
            {
                "movie_id": film.movie_id,
                "title": film.title,
                "original_title": film.original_title,
                "release_date": film.release_date and film.release_date.isoformat(),
                "runtime_minutes": film.runtime_minutes,
                "genre_ids": film.genre_ids,
                "popularity": film.popularity,
                "missing": film.missing,
                "due_time": due_again(film, now).isoformat(),
            }
            for film in facts
        ]
        if rows:
            await self._database.execute(self._WRITE, json.dumps(rows), now)

    _WRITE_TITLES: Final = """
        INSERT INTO backlog.film_titles (movie_id, languages, folded_title, refresh_time)
        SELECT movie_id, $3, backlog.fold(title), $4
        FROM unnest($1::integer[], $2::text[]) AS told (movie_id, title)
        ORDER BY movie_id
        ON CONFLICT (movie_id, languages) DO UPDATE SET
            folded_title = excluded.folded_title, refresh_time = excluded.refresh_time
    """
    _WRITE_PROVIDERS: Final = """
        INSERT INTO backlog.film_providers (movie_id, region, provider_ids, refresh_time)
        SELECT movie_id, $2, provider_ids, $3
        FROM jsonb_to_recordset($1::jsonb) AS told (movie_id integer, provider_ids integer[])
        ORDER BY movie_id
        ON CONFLICT (movie_id, region) DO UPDATE SET
            provider_ids = excluded.provider_ids, refresh_time = excluded.refresh_time
    """

    async def write_view(self, facts: Sequence[FilmFacts], view: View, *, now: datetime) -> None:
        """Keep what was told to readers of these languages in this region."""
        if view.languages and facts:
            await self._database.execute(
                self._WRITE_TITLES,
                [film.movie_id for film in facts],
                [film.title for film in facts],
                view.language_key,
                now,
            )
        if view.region and facts:
            told = [{"movie_id": film.movie_id, "provider_ids": film.provider_ids} for film in facts]
            await self._database.execute(self._WRITE_PROVIDERS, json.dumps(told), view.region, now)

    _SWEEP: Final = """
        DELETE FROM backlog.{table} WHERE (movie_id, {view}) IN (
            SELECT movie_id, {view} FROM backlog.{table} WHERE refresh_time < $1
            ORDER BY refresh_time LIMIT $2 FOR UPDATE SKIP LOCKED
        )
    """
    _SWEEPS: Final = (
        _SWEEP.format(table="film_titles", view="languages"),
        _SWEEP.format(table="film_providers", view="region"),
    )

    async def sweep(self, *, now: datetime) -> None:
        """Give up titles and providers that nobody has asked about for long, a bounded number of them."""
        for statement in self._SWEEPS:
            await self._database.execute(statement, now - KEPT, _SWEPT_AT_ONCE)
