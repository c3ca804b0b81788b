"""Entries in PostgreSQL. The stores are the only places of this service that know SQL and asyncpg."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from backlog_svc.entries import (
    MOST_HALF_STARS,
    Draft,
    Entry,
    Filter,
    Order,
    Page,
    Position,
    Source,
    Status,
    sort_key,
)
from mesh.postgres import Database

_FIRST_TIME: Final = datetime.min.replace(tzinfo=UTC)
_LAST_TIME: Final = datetime.max.replace(tzinfo=UTC)

# An order is an expression that is never NULL, its direction, and a position in front of every entry: with
# that, the first page is a page like any other, and the comparison can always use the index.
_ORDERS: Final[dict[Order, tuple[str, str, Position]]] = {
    Order.ADDED_DESC: ("add_time", "DESC", Position(_LAST_TIME, 0)),
    Order.ADDED_ASC: ("add_time", "ASC", Position(_FIRST_TIME, 0)),
    Order.UPDATED_DESC: ("update_time", "DESC", Position(_LAST_TIME, 0)),
    Order.UPDATED_ASC: ("update_time", "ASC", Position(_FIRST_TIME, 0)),
    Order.RATING_DESC: ("coalesce(half_stars, 0::smallint)", "DESC", Position(MOST_HALF_STARS + 1, 0)),
    Order.RATING_ASC: ("coalesce(half_stars, 11::smallint)", "ASC", Position(0, 0)),
}


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
        return _entry(row), row["added"]

    _REMOVE: Final = "DELETE FROM backlog.entries WHERE user_id = $1 AND movie_id = $2"

    async def remove(self, user_id: str, movie_id: int) -> bool:
        """Takes a film out and says whether it was there."""
        return await self._database.execute(self._REMOVE, user_id, movie_id) == "DELETE 1"

    # One statement, so the page and the total are of one moment. The total comes even with an empty page.
    _PAGE: Final = """
        SELECT total.size AS total_size, page.*
        FROM (SELECT count(*) AS size FROM backlog.entries WHERE {chosen}) AS total
        LEFT JOIN LATERAL (
            SELECT
                movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source,
                {key} AS sort_key
            FROM backlog.entries
            WHERE {chosen} AND {key} {at_or_after} $2 AND ({key} <> $2 OR movie_id > $3)
            ORDER BY {key} {direction}, movie_id
            LIMIT $4
        ) AS page ON TRUE
        ORDER BY page.sort_key {direction}, page.movie_id
    """

    async def page(
        self, user_id: str, chosen: Filter, order: Order, *, after: Position | None, size: int
    ) -> Page:
        """Gives a page of somebody's backlog.

        Args:
            user_id: Whose backlog.
            chosen: Which entries.
            order: In which order.
            after: Where the page before ended; None for the first.
            size: How many entries at most.
        """
        after = after or _ORDERS[order][2]
        values = [value for value in (chosen.status, chosen.tag) if value is not None]
        statement = _page_statement(order, chosen.status is not None, chosen.tag is not None)
        # One more than asked for tells whether the list goes on.
        rows = await self._database.fetch(statement, user_id, after.key, after.movie_id, size + 1, *values)
        entries = [_entry(row) for row in rows if row["movie_id"] is not None]
        last = entries[size - 1] if len(entries) > size else None
        return Page(
            entries=tuple(entries[:size]),
            next=None if last is None else Position(sort_key(last, order), last.movie_id),
            total_size=rows[0]["total_size"],
        )

    _OF_MOVIES: Final = """
        SELECT movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source
        FROM backlog.entries
        WHERE user_id = $1 AND movie_id = ANY ($2::integer[])
        ORDER BY movie_id
    """

    async def of_movies(self, user_id: str, movie_ids: Sequence[int]) -> tuple[Entry, ...]:
        """Gives the entries somebody has for these films, by film id."""
        return tuple(map(_entry, await self._database.fetch(self._OF_MOVIES, user_id, movie_ids)))

    _ALL: Final = """
        SELECT movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source
        FROM backlog.entries
        WHERE user_id = $1
        ORDER BY add_time, movie_id
    """

    async def everything(self, user_id: str) -> tuple[Entry, ...]:
        """Gives somebody's whole backlog as of one moment, in the order of adding."""
        return tuple(map(_entry, await self._database.fetch(self._ALL, user_id)))

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


@cache  # two dozen texts at most, and the same text is the same prepared statement
def _page_statement(order: Order, by_status: bool, by_tag: bool) -> str:
    key, direction, _ = _ORDERS[order]
    conditions = ["user_id = $1"]
    for asked, condition in ((by_status, "status = ${}"), (by_tag, "${} = ANY (tags)")):
        if asked:
            conditions.append(condition.format(4 + len(conditions)))
    return EntryStore._PAGE.format(
        chosen=" AND ".join(conditions),
        key=key,
        direction=direction,
        at_or_after="<=" if direction == "DESC" else ">=",
    )


def _entry(row: Any) -> Entry:
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
