"""Entries in PostgreSQL, one by one and in batches. Lists of them are in `list_store`."""

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from backlog_svc.entries import Draft, Entry, Field, Source, Status, changed
from backlog_svc.refusals import EntryChanged, EntryNotFound
from mesh.postgres import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutcome:
    """What putting a batch has done."""

    added: int
    changed: int
    unchanged: int


class EntryStore:
    """Backlogs of all people. Every method raises `mesh.errors.Unavailable` when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # xmax is 0 in a row version that no transaction has replaced or locked: one that was just inserted.
    _PUT: Final = """
        INSERT INTO backlog.entries AS old (
            user_id, movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source
        ) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9)
        ON CONFLICT (user_id, movie_id) DO UPDATE SET
            status = excluded.status,
            note = excluded.note,
            half_stars = excluded.half_stars,
            tags = excluded.tags,
            update_time = excluded.update_time,
            watch_time = CASE WHEN $10::boolean THEN coalesce(old.watch_time, excluded.watch_time)
                              ELSE excluded.watch_time END
        RETURNING
            movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source,
            (xmax = 0) AS added
    """

    async def put(self, user_id: str, draft: Draft, *, now: datetime) -> tuple[Entry, bool]:
        """Adds a film or replaces its entry; when it was added and how it came to be stay.

        Args:
            user_id: Whose backlog.
            draft: What the entry shall say.
            now: The time to write.

        Returns:
            The entry as it is now, and whether there was none before.
        """
        row = await self._database.fetchrow(
            self._PUT,
            user_id,
            draft.movie_id,
            draft.status,
            draft.note,
            draft.half_stars,
            draft.tags,
            now,
            draft.new_watch_time(now),
            draft.source,
            draft.keeps_watch_time,
        )
        return entry_of(row), row["added"]

    _LOCK: Final = """
        SELECT movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source
        FROM backlog.entries
        WHERE user_id = $1 AND movie_id = $2
        FOR UPDATE
    """
    _UPDATE: Final = """
        UPDATE backlog.entries
        SET status = $3, note = $4, half_stars = $5, tags = $6, update_time = $7, watch_time = $8
        WHERE user_id = $1 AND movie_id = $2
    """

    async def update(
        self, user_id: str, draft: Draft, fields: Set[Field], *, etag: str, now: datetime
    ) -> Entry:
        """Changes these fields of the entry for the draft's film, and returns the entry as it is then.

        Args:
            user_id: Whose backlog.
            draft: Has the new values.
            fields: Which to change; without any the entry stays as it is.
            etag: Of the entry that is to be changed; empty for any.
            now: The time to write.

        Raises:
            EntryNotFound: There is no entry.
            EntryChanged: It is no longer the one with this etag.
        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(self._LOCK, user_id, draft.movie_id)
            if row is None:
                raise EntryNotFound(draft.movie_id)
            entry = entry_of(row)
            if etag and etag != entry.etag:
                raise EntryChanged(draft.movie_id)
            after = changed(entry, draft, fields, now=now)
            if after is not entry:
                await connection.execute(
                    self._UPDATE,
                    user_id,
                    after.movie_id,
                    after.status,
                    after.note,
                    after.half_stars,
                    after.tags,
                    after.update_time,
                    after.watch_time,
                )
        return after

    # In the order of the films, so that two batches for one person do not wait for each other. What says the
    # same already is not written, and not returned.
    _PUT_BATCH: Final = """
        INSERT INTO backlog.entries AS old (
            user_id, movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source
        )
        SELECT $1, movie_id, status, note, half_stars, tags, $3, $3, watch_time, source
        FROM jsonb_to_recordset($2::jsonb) AS drafts (
            movie_id integer, status text, note text, half_stars smallint, tags text[],
            watch_time timestamptz, source text
        )
        ORDER BY movie_id
        ON CONFLICT (user_id, movie_id) DO UPDATE SET
            status = excluded.status,
            note = excluded.note,
            half_stars = excluded.half_stars,
            tags = excluded.tags,
            update_time = excluded.update_time,
            watch_time = CASE WHEN excluded.movie_id = ANY ($4::integer[])
                              THEN coalesce(old.watch_time, excluded.watch_time)
                              ELSE excluded.watch_time END
        WHERE (old.status, old.note, old.half_stars, old.tags)
                IS DISTINCT FROM (excluded.status, excluded.note, excluded.half_stars, excluded.tags)
            OR CASE WHEN excluded.movie_id = ANY ($4::integer[])
                    THEN old.watch_time IS NULL
                    ELSE old.watch_time IS DISTINCT FROM excluded.watch_time END
        RETURNING (xmax = 0) AS added
    """

    async def put_batch(self, user_id: str, drafts: Sequence[Draft], *, now: datetime) -> BatchOutcome:
        """Adds films or replaces their entries, all or none.

        Entries that say the same already stay as they are.

        Args:
            user_id: Whose backlog.
            drafts: What the entries shall say, each film once.
            now: The time to write.
        """
        rows = []
        for draft in drafts:
            watch_time = draft.new_watch_time(now)
            rows.append(
                {
                    "movie_id": draft.movie_id,
                    "status": draft.status,
                    "note": draft.note,
                    "half_stars": draft.half_stars,
                    "tags": draft.tags,
                    "watch_time": watch_time and watch_time.isoformat(),
                    "source": draft.source,
                }
            )
        keeping = [draft.movie_id for draft in drafts if draft.keeps_watch_time]
        written = await self._database.fetch(self._PUT_BATCH, user_id, json.dumps(rows), now, keeping)
        added = sum(row["added"] for row in written)
        return BatchOutcome(added=added, changed=len(written) - added, unchanged=len(drafts) - len(written))

    _REMOVE: Final = "DELETE FROM backlog.entries WHERE user_id = $1 AND movie_id = $2"

    async def remove(self, user_id: str, movie_id: int) -> bool:
        """Takes a film out and says whether it was there."""
        return await self._database.execute(self._REMOVE, user_id, movie_id) == "DELETE 1"

    _OF_MOVIES: Final = """
        SELECT movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source
        FROM backlog.entries
        WHERE user_id = $1 AND movie_id = ANY ($2::integer[])
        ORDER BY movie_id
    """

    async def of_movies(self, user_id: str, movie_ids: Sequence[int]) -> tuple[Entry, ...]:
        """Gives the entries somebody has for these films, by film id."""
        return tuple(map(entry_of, await self._database.fetch(self._OF_MOVIES, user_id, movie_ids)))

    _ALL: Final = """
        SELECT movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source
        FROM backlog.entries
        WHERE user_id = $1
        ORDER BY add_time, movie_id
    """

    async def everything(self, user_id: str) -> tuple[Entry, ...]:
        """Gives somebody's whole backlog as of one moment, in the order of adding."""
        return tuple(map(entry_of, await self._database.fetch(self._ALL, user_id)))

    # Wanted and watched entries of all of them in one pass over an index, whose columns these are.
    _INTERSECT: Final = """
        SELECT movie_id, count(*) FILTER (WHERE status = 'want_to_watch') AS wanted_by
        FROM backlog.entries
        WHERE user_id = ANY ($1::text[]) AND status = ANY ($2::text[])
        GROUP BY movie_id
        HAVING count(*) FILTER (WHERE status = 'want_to_watch') >= $3
            AND count(*) FILTER (WHERE status = 'watched') = 0
        ORDER BY wanted_by DESC, movie_id
        LIMIT $4
    """

    async def intersect(
        self, user_ids: Sequence[str], *, at_least: int, leave_out_watched: bool, limit: int
    ) -> list[tuple[int, int]]:
        """Gives the films that several people want to watch, those wanted by most first, then by film id.

        Args:
            user_ids: Who, each once.
            at_least: How many of them must want a film, 1 or more.
            leave_out_watched: Whether to leave out what any of them has watched.
            limit: How many films at most.

        Returns:
            Films, each with how many want it.
        """
        statuses = [Status.WANT_TO_WATCH, *([Status.WATCHED] if leave_out_watched else [])]
        rows = await self._database.fetch(self._INTERSECT, user_ids, statuses, at_least, limit)
        return [(row["movie_id"], row["wanted_by"]) for row in rows]

    _ERASE: Final = "DELETE FROM backlog.entries WHERE user_id = $1"

    async def erase(self, user_id: str) -> int:
        """Removes somebody's whole backlog, and says how many entries that were."""
        return int((await self._database.execute(self._ERASE, user_id)).removeprefix("DELETE "))


def entry_of(row: Any) -> Entry:
    """Return the entry that a row of the table is."""
    return Entry(
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
