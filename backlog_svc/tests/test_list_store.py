"""Lists on a real PostgreSQL: what they read, and what is odd about pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backlog_svc.entries import Draft, Filter, Order, Status
from backlog_svc.film_store import FilmStore
from backlog_svc.films import FilmFacts, View
from backlog_svc.list_store import ListStore
from backlog_svc.store import EntryStore
from mesh.postgres import Database

NOW = datetime(2026, 11, 21, 20, 15, 0, 123456, tzinfo=UTC)
FIRST_MOVIE = 700_000

_SEED = """
    INSERT INTO backlog.entries
    SELECT $3, $2 + movie, 'want_to_watch', '', nullif(movie % 11, 0), '{}',
           $1::timestamptz - movie * interval '1 minute', $1, NULL, 'import'
    FROM generate_series(1, 1000) AS movie
"""


@pytest.fixture(scope="module")
async def seeded(database: Database) -> Database:
    """Twenty readers of a thousand films each."""
    for reader in range(1, 21):
        await database.execute(_SEED, NOW, FIRST_MOVIE, f"reader-{reader}")
    await database.execute("ANALYZE backlog.entries, backlog.films")
    return database


class Explained:
    """A database that explains what it is asked, instead of answering."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.plan: Any = None

    async def fetch(self, statement: str, *values: object) -> list[Any]:
        [[plan]] = await self._database.fetch("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, *values)
        self.plan = json.loads(plan)[0]["Plan"]
        return [{"movie_id": None, "total_size": 0, "undecided_size": 0, "lacking_size": 0}]


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def plan_of(database: Database, chosen: Filter, order: Order) -> list[Any]:
    explained = Explained(database)
    lists = ListStore(explained)  # type: ignore[arg-type]  # all of a database that a list needs
    await lists.page("reader-7", chosen, order, languages=("de",), after=None, size=20, fresh_since=NOW)
    return list(nodes(explained.plan))


@pytest.mark.parametrize("chosen", [Filter(), Filter(status=Status.WANT_TO_WATCH)])
@pytest.mark.parametrize(
    "order",
    [Order.ADDED_DESC, Order.ADDED_ASC, Order.RATING_DESC, Order.RATING_ASC],
)
async def test_an_order_of_entries_reads_its_index_only_as_far_as_the_page_goes(
    seeded: Database, chosen: Filter, order: Order
) -> None:
    plan = await plan_of(seeded, chosen, order)
    assert not any(node["Node Type"] == "Seq Scan" for node in plan)
    [page] = [node for node in plan if node["Node Type"] == "Limit"]
    [scan] = [node for node in nodes(page) if "Index Name" in node]
    assert scan["Index Name"].startswith("entries_by_")
    assert scan["Actual Rows"] < 300, "the page, and what ties with its end"


@pytest.mark.parametrize(
    ("chosen", "order"),
    [
        *(
            (Filter(), order)
            for order in Order
            if order.value.split("_")[0] not in ("added", "updated", "rating")
        ),
        (Filter(genre_ids=(18,)), Order.ADDED_DESC),
        (Filter(max_runtime_minutes=90), Order.ADDED_DESC),
        (Filter(decade=1990), Order.ADDED_DESC),
        (Filter(provider_ids=(8,), region="DE"), Order.ADDED_DESC),
        (Filter(text="x"), Order.ADDED_DESC),
    ],
)
async def test_a_list_that_asks_about_films_reads_the_entries_of_one_person_once(
    seeded: Database, chosen: Filter, order: Order
) -> None:
    plan = await plan_of(seeded, chosen, order)
    scans = [node for node in plan if node.get("Relation Name") == "entries" and node["Actual Loops"] <= 1]
    read = sum(node["Actual Rows"] for node in scans if node["Node Type"] != "Seq Scan")
    assert read >= 1000, "all of theirs"
    assert read <= 1000 + 21, "and nothing of anybody else's"
    assert not any(node["Node Type"] == "Seq Scan" for node in scans)


async def test_an_empty_page_still_counts(
    store: EntryStore, lists: ListStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    for order in (Order.RATING_ASC, Order.TITLE_ASC):
        nothing = await lists.page(user, Filter(), order, after=None, size=5, fresh_since=NOW)
        assert (nothing.entries, nothing.next, nothing.total_size) == ((), None, 0)
    for movie_id in (1, 2, 3):
        await store.put(user, Draft(movie_id=movie_id), now=NOW)
    for order in (Order.ADDED_ASC, Order.RUNTIME_DESC):
        first = await lists.page(user, Filter(), order, after=None, size=2, fresh_since=NOW)
        assert first.next is not None
        await store.remove(user, 3)
        beyond = await lists.page(user, Filter(), order, after=first.next, size=2, fresh_since=NOW)
        assert (beyond.entries, beyond.next, beyond.total_size) == ((), None, 2)
        await store.put(user, Draft(movie_id=3), now=NOW)


async def test_the_longest_and_strangest_titles_make_page_tokens_still(
    store: EntryStore, lists: ListStore, film_store: FilmStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    films = [
        FilmFacts(movie_id=FIRST_MOVIE + 50_000 + number, title=title, original_title=title)
        for number, title in enumerate(("\U0001f37f" * 500, "\U0001f37f" * 501, '"' * 500, "\u202e" * 300))
    ]
    await film_store.write(films, now=NOW)
    await store.put_batch(user, [Draft(movie_id=film.movie_id) for film in films], now=NOW)
    seen: list[int] = []
    after = None
    while True:
        page = await lists.page(user, Filter(), Order.TITLE_ASC, after=after, size=1, fresh_since=NOW)
        seen += [entry.movie_id for entry in page.entries]
        after = page.next
        if after is None:
            break
        assert isinstance(after.key, str)
        assert len(after.key) <= 50
    assert sorted(seen) == [film.movie_id for film in films]


async def test_no_character_of_a_text_is_special_and_case_and_accents_are_not_minded(
    store: EntryStore, lists: ListStore, film_store: FilmStore, somebody: Callable[[], str]
) -> None:
    user = somebody()
    titles = ["100 % Wolf", "snake_case", "back\\slash", "$2", "a' OR TRUE --", "Ça c'est Straße", "NIÑO"]
    films = [
        FilmFacts(movie_id=FIRST_MOVIE + 70_000 + number, title=title) for number, title in enumerate(titles)
    ]
    await film_store.write(films, now=NOW)
    await store.put_batch(user, [Draft(movie_id=film.movie_id) for film in films], now=NOW)
    await store.put(user, Draft(movie_id=1, note="Père\nfouettard", tags=("à voir", "été")), now=NOW)

    async def found(text: str) -> list[int]:
        chosen = Filter(text=text)
        page = await lists.page(user, chosen, Order.ADDED_ASC, after=None, size=20, fresh_since=NOW)
        return [entry.movie_id for entry in page.entries]

    for film in films:
        assert await found(film.title) == [film.movie_id]
        assert await found(film.title.swapcase()) == [film.movie_id]
    for text, title in (("%", 0), ("_", 1), ("\\", 2), ("$", 3), ("'", 4), ("STRASSE", 5), ("nino", 6)):
        assert films[title].movie_id in await found(text), text
        assert len(await found(text)) == (2 if text == "'" else 1), text
    for text in ("pere", "FOUET", "a voir", "ETE"):
        assert await found(text) == [1], text
    assert await found("fouettard a voir") == [], "a note and its tags are texts of their own"


async def test_titles_and_providers_from_before_are_used_and_counted_as_lacking(
    store: EntryStore, lists: ListStore, film_store: FilmStore, somebody: Callable[[], str]
) -> None:
    user, movie_id = somebody(), FIRST_MOVIE + 60_000
    film = FilmFacts(movie_id=movie_id, title="Tiger", original_title="Tiger", provider_ids=(8,))
    await store.put(user, Draft(movie_id=movie_id), now=NOW)
    wanted = Filter(provider_ids=(8,), region="DE")

    async def sizes(fresh_since: datetime) -> tuple[int, int, int]:
        page = await lists.page(user, wanted, Order.ADDED_DESC, after=None, size=5, fresh_since=fresh_since)
        return page.total_size, page.undecided_size, page.lacking_size

    assert await sizes(NOW) == (0, 1, 1)
    await film_store.write([film], now=NOW)
    assert await sizes(NOW) == (0, 1, 1)
    await film_store.write_view([film], View(region="DE"), now=NOW)
    assert await sizes(NOW) == (1, 0, 0)
    assert await sizes(NOW + timedelta(seconds=1)) == (1, 0, 1)
