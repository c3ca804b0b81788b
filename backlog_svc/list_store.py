"""Lists of entries in PostgreSQL: filters, orders and pages, in one statement each.

There are two kinds. A list that asks about entries alone reads an index as far as its page goes. One that
asks about films goes through all entries of the person, with their films beside them, and sorts.

A condition about a film that is not known yet is NULL, and SQL's logic does the rest: an entry passes, does
not pass, or nobody can say yet. A sort key is never NULL: what is missing counts as beyond the end of its
order.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from backlog_svc.entries import MOST_HALF_STARS, Filter, Order, Page, Position
from backlog_svc.films import View
from backlog_svc.store import entry_of
from mesh.postgres import Database

_FIRST_TIME: Final = datetime.min.replace(tzinfo=UTC)
_LAST_TIME: Final = datetime.max.replace(tzinfo=UTC)
_LAST_CHARACTER: Final = "\U0010ffff"
_EVERY_DAY: Final = 10_000_000
"""More days than there are before or after 1970."""
_LARGEST_INT: Final = 2**31 - 1
_MOST_POPULAR: Final = 1e300

_TITLE: Final = "nullif(left(t.folded_title, 50), ''), nullif(f.sort_title, '')"
_RELEASED: Final = "f.release_date - DATE '1970-01-01'"


@dataclass(frozen=True, slots=True)
class _Ordering:
    """How SQL goes about an order."""

    key: str
    """An expression that is never NULL."""
    direction: str
    before: datetime | float | str
    """A key in front of all others: with that, the first page is a page like any other."""
    asks_about_films: bool = True


_ORDERINGS: Final[dict[Order, _Ordering]] = {
    Order.ADDED_DESC: _Ordering("e.add_time", "DESC", _LAST_TIME, False),
    Order.ADDED_ASC: _Ordering("e.add_time", "ASC", _FIRST_TIME, False),
    Order.UPDATED_DESC: _Ordering("e.update_time", "DESC", _LAST_TIME, False),
    Order.UPDATED_ASC: _Ordering("e.update_time", "ASC", _FIRST_TIME, False),
    Order.RATING_DESC: _Ordering("coalesce(e.half_stars, 0::smallint)", "DESC", MOST_HALF_STARS + 1, False),
    Order.RATING_ASC: _Ordering("coalesce(e.half_stars, 11::smallint)", "ASC", 0, False),
    Order.RELEASE_DATE_DESC: _Ordering(f"coalesce({_RELEASED}, -{_EVERY_DAY})", "DESC", _EVERY_DAY),
    Order.RELEASE_DATE_ASC: _Ordering(f"coalesce({_RELEASED}, {_EVERY_DAY})", "ASC", -_EVERY_DAY),
    Order.RUNTIME_DESC: _Ordering("coalesce(f.runtime_minutes, 0)", "DESC", _LARGEST_INT),
    Order.RUNTIME_ASC: _Ordering(f"coalesce(f.runtime_minutes, {_LARGEST_INT})", "ASC", 0),
    Order.TITLE_DESC: _Ordering(f"coalesce({_TITLE}, '')", "DESC", _LAST_CHARACTER),
    Order.TITLE_ASC: _Ordering(f"coalesce({_TITLE}, '{_LAST_CHARACTER}')", "ASC", ""),
    Order.POPULARITY_DESC: _Ordering("coalesce(f.popularity, -1)", "DESC", _MOST_POPULAR),
    Order.POPULARITY_ASC: _Ordering(f"coalesce(f.popularity, {_MOST_POPULAR})", "ASC", -1.0),
}


def view_of(chosen: Filter, order: Order, languages: tuple[str, ...]) -> View:
    """Return what of the films such a list looks at that depends on who looks."""
    by_title = bool(chosen.text) or order in (Order.TITLE_DESC, Order.TITLE_ASC)
    return View.of(languages if by_title else (), chosen.region if chosen.provider_ids else "")


class ListStore:
    """Lists of all people. Every method raises `mesh.errors.Unavailable` when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # One statement, so the page and the total are of one moment. The total comes even with an empty page.
    _PAGE: Final = """
        SELECT total.size AS total_size, 0 AS undecided_size, 0 AS lacking_size, page.*
        FROM (SELECT count(*) AS size FROM backlog.entries AS e WHERE {chosen}) AS total
        LEFT JOIN LATERAL (
            SELECT
                movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source,
                {key} AS sort_key
            FROM backlog.entries AS e
            WHERE {chosen} AND {key} {at_or_after} $2 AND ({key} <> $2 OR e.movie_id > $3)
            ORDER BY {key} {direction}, e.movie_id
            LIMIT $4
        ) AS page ON TRUE
        ORDER BY page.sort_key {direction}, page.movie_id
    """

    # The same about films. Of all entries only what decides and sorts is collected; the rest is read of those
    # on the page.
    _FILM_PAGE: Final = """
        WITH collected AS MATERIALIZED (
            SELECT e.movie_id, {passes} AS passes, {key} AS sort_key, {lacking} AS lacking
            FROM backlog.entries AS e
            {joins}
            WHERE {chosen}
        ), page AS (
            SELECT movie_id, sort_key FROM collected
            WHERE passes AND sort_key {at_or_after} $2 AND (sort_key <> $2 OR movie_id > $3)
            ORDER BY sort_key {direction}, movie_id
            LIMIT $4
        )
        SELECT total.*, page.sort_key, e.*
        FROM (
            SELECT
                count(*) FILTER (WHERE passes) AS total_size,
                count(*) FILTER (WHERE passes IS NULL) AS undecided_size,
                count(*) FILTER (WHERE lacking) AS lacking_size
            FROM collected
        ) AS total
        LEFT JOIN (
            page JOIN backlog.entries AS e ON e.user_id = $1 AND e.movie_id = page.movie_id
        ) ON TRUE
        ORDER BY page.sort_key {direction}, page.movie_id
    """

    async def page(
        self,
        user_id: str,
        chosen: Filter,
        order: Order,
        *,
        languages: tuple[str, ...] = (),
        after: Position | None,
        size: int,
        fresh_since: datetime,
    ) -> Page:
        """Gives a page of somebody's backlog.

        Args:
            user_id: Whose backlog.
            chosen: Which entries.
            order: In which order.
            languages: The reader's, the best liked first: they decide on titles.
            after: Where the page before ended; None for the first.
            size: How many entries at most.
            fresh_since: Titles and providers from before this time count as lacking, and are used.
        """
        ordering = _ORDERINGS[order]
        after = after or Position(ordering.before, 0)
        view = view_of(chosen, order, languages)
        # One more than asked for tells whether the list goes on.
        values = [user_id, after.key, after.movie_id, size + 1]
        if ordering.asks_about_films or chosen.asks_about_films:
            given = _given(chosen, view, fresh_since)
            statement = _film_page(order, tuple(given))
        else:
            given = _given(chosen, View(), None)
            statement = _page(order, tuple(given))
        rows = await self._database.fetch(statement, *values, *given.values())
        found = [row for row in rows if row["movie_id"] is not None]
        last = found[size - 1] if len(found) > size else None
        return Page(
            entries=tuple(map(entry_of, found[:size])),
            next=None if last is None else Position(last["sort_key"], last["movie_id"]),
            total_size=rows[0]["total_size"],
            undecided_size=rows[0]["undecided_size"],
            lacking_size=rows[0]["lacking_size"],
        )

    # What was added last is what people look at.
    _LACKING: Final = """
        SELECT e.movie_id
        FROM backlog.entries AS e
        {joins}
        WHERE e.user_id = $1 AND ({lacking}) AND e.movie_id <> ALL ($2::integer[])
        ORDER BY e.add_time DESC
        LIMIT $3
    """

    async def lacking(
        self, user_id: str, view: View, *, fresh_since: datetime, without: Collection[int], most: int
    ) -> list[int]:
        """Gives films of somebody's backlog that lack facts.

        Args:
            user_id: Whose backlog.
            view: The titles and providers that matter; neither, for films of which nothing is known yet.
            fresh_since: What is older lacks as well.
            without: Films to leave out.
            most: How many at most.
        """
        given = _given(Filter(), view, fresh_since)
        numbers = _numbered(tuple(given), first=4)
        about = _lacking_view(numbers) or _UNKNOWN
        statement = self._LACKING.format(joins=_joins(numbers), lacking=about)
        rows = await self._database.fetch(statement, user_id, list(without), most, *given.values())
        return [row["movie_id"] for row in rows]


_UNKNOWN: Final = "f.refresh_time IS NULL"

# What a filter sets, and the condition it makes. About entries:
_ENTRY_CONDITIONS: Final = {"status": "e.status = {status}", "tag": "{tag} = ANY (e.tags)"}
# About films; NULL while that is not known. A film without a runtime is not a short one.
_FILM_CONDITIONS: Final = {
    "genre_ids": "f.genre_ids @> {genre_ids}::integer[]",
    "max_runtime_minutes": f"""CASE WHEN NOT ({_UNKNOWN})
        THEN coalesce(f.runtime_minutes <= {{max_runtime_minutes}}, FALSE) END""",
    "decade": f"""CASE WHEN NOT ({_UNKNOWN})
        THEN coalesce(extract(year FROM f.release_date)::integer / 10 * 10 = {{decade}}, FALSE) END""",
    "provider_ids": "p.provider_ids && {provider_ids}::integer[]",
    # The notes and tags of most entries are empty, and folding is what costs.
    "text": """(
            (e.note <> '' OR e.tags <> '{{}}')
            AND strpos(backlog.fold(e.note || E'\\n' || array_to_string(e.tags, E'\\n')), wanted.text) > 0
        )
        OR strpos(f.folded_titles, wanted.text) > 0
        OR EXISTS (
            SELECT FROM backlog.film_titles AS any_title
            WHERE any_title.movie_id = e.movie_id AND strpos(any_title.folded_title, wanted.text) > 0
        )""",
}


def _given(chosen: Filter, view: View, fresh_since: datetime | None) -> dict[str, object]:
    """What a statement is asked with, by name; what is not set is not there."""
    values: dict[str, object] = {
        "status": chosen.status,
        "tag": chosen.tag,
        "genre_ids": chosen.genre_ids or None,
        "max_runtime_minutes": chosen.max_runtime_minutes,
        "decade": chosen.decade,
        "provider_ids": chosen.provider_ids or None,
        "text": chosen.text or None,
        "languages": view.language_key or None,
        "region": view.region or None,
        "fresh_since": fresh_since if view.languages or view.region else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _numbered(names: tuple[str, ...], *, first: int) -> dict[str, str]:
    """The placeholder of each name."""
    return {name: f"${number}" for number, name in enumerate(names, first)}


def _joins(numbers: dict[str, str]) -> str:
    joins = ["LEFT JOIN backlog.films AS f ON f.movie_id = e.movie_id"]
    if "languages" in numbers:
        joins.append(
            "LEFT JOIN backlog.film_titles AS t "
            f"ON t.movie_id = e.movie_id AND t.languages = {numbers['languages']}"
        )
    if "region" in numbers:
        joins.append(
            "LEFT JOIN backlog.film_providers AS p "
            f"ON p.movie_id = e.movie_id AND p.region = {numbers['region']}"
        )
    if "text" in numbers:
        # Folded once, and not once an entry.
        joins.append(f"CROSS JOIN (SELECT backlog.fold({numbers['text']}) AS text OFFSET 0) AS wanted")
    return " ".join(joins)


def _lacking_view(numbers: dict[str, str]) -> str:
    return " OR ".join(
        f"({table}.refresh_time >= {numbers['fresh_since']}) IS NOT TRUE"
        for name, table in (("languages", "t"), ("region", "p"))
        if name in numbers
    )


@lru_cache(maxsize=1024)  # the same text is the same prepared statement
def _page(order: Order, names: tuple[str, ...]) -> str:
    ordering = _ORDERINGS[order]
    numbers = _numbered(names, first=5)
    return ListStore._PAGE.format(
        chosen=_chosen(numbers),
        key=ordering.key,
        direction=ordering.direction,
        at_or_after="<=" if ordering.direction == "DESC" else ">=",
    )


@lru_cache(maxsize=1024)
def _film_page(order: Order, names: tuple[str, ...]) -> str:
    ordering = _ORDERINGS[order]
    numbers = _numbered(names, first=5)
    conditions = [condition for name, condition in _FILM_CONDITIONS.items() if name in numbers]
    if "text" in numbers and "languages" in numbers:
        # The title may have the text in the reader's own language: that has not been looked at.
        conditions[-1] += " OR nullif(t.movie_id IS NULL, TRUE)"
    key = ordering.key
    if "languages" not in numbers:
        key = key.replace("nullif(left(t.folded_title, 50), ''), ", "")
    lacking = [_UNKNOWN, *([view] if (view := _lacking_view(numbers)) else [])]
    return ListStore._FILM_PAGE.format(
        passes=" AND ".join(f"({condition.format(**numbers)})" for condition in conditions) or "TRUE",
        key=key,
        lacking=" OR ".join(lacking),
        joins=_joins(numbers),
        chosen=_chosen(numbers),
        direction=ordering.direction,
        at_or_after="<=" if ordering.direction == "DESC" else ">=",
    )


def _chosen(numbers: dict[str, str]) -> str:
    conditions = [
        condition.format(**numbers) for name, condition in _ENTRY_CONDITIONS.items() if name in numbers
    ]
    return " AND ".join(["e.user_id = $1", *conditions])
