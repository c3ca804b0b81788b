"""The pool that both of PostgreSQL's services use, on a server that works, hangs, breaks and refuses."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from dev.processes import free_port
from mesh.errors import Unavailable
from mesh.postgres import Database
from mesh.settings import DatabaseUrl

PATIENCE = timedelta(seconds=1)
# What a busy machine may add. Without the promise these tests would wait for half a minute, or for ever.
SLACK = 1.5


class Wire:
    """A TCP connection to PostgreSQL that can fall silent without closing, as a lost network does."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._passes = asyncio.Event()
        self._passes.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def fall_silent(self) -> None:
        self._passes.clear()

    def come_back(self) -> None:
        self._passes.set()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(self._host, self._port)
        for source, sink in ((reader, upstream_writer), (upstream_reader, writer)):
            task = asyncio.create_task(self._copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                await self._passes.wait()
                sink.write(data)
        sink.close()


@pytest.fixture
async def wire(postgres_url: str) -> AsyncIterator[Wire]:
    wire = Wire(postgres_url)
    yield wire
    await wire.close()


@pytest.fixture
async def database(postgres_url: str, wire: Wire) -> AsyncIterator[Database]:
    """Two connections at most, over a wire."""
    parts = urlsplit(postgres_url)
    through = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{await wire.open()}")
    database = Database(through.geturl(), application="tests", most_connections=2, patience=PATIENCE)
    await database.start()
    yield database
    wire.come_back()
    await database.close()


async def seconds_until_unavailable(work: Callable[[], object]) -> float:
    begun = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable) as raised:
        await work()  # type: ignore[misc]  # all of them are coroutine functions
    assert raised.value.metadata == {"dependency": "postgresql"}
    return asyncio.get_running_loop().time() - begun


async def test_its_verbs_are_those_of_the_driver(database: Database) -> None:
    assert await database.fetchval("SELECT $1::int + 1", 41) == 42
    assert [row["n"] for row in await database.fetch("SELECT generate_series(1, 3) AS n")] == [1, 2, 3]
    assert (await database.fetchrow("SELECT 'a' AS a"))["a"] == "a"
    assert await database.fetchrow("SELECT 1 WHERE FALSE") is None
    assert await database.execute("SELECT 1") == "SELECT 1"


async def test_the_server_itself_limits_what_a_session_may_do(database: Database) -> None:
    shown = {
        name: await database.fetchval("SELECT current_setting($1)", name)
        for name in ("application_name", "statement_timeout", "lock_timeout", "TimeZone", "jit")
    }
    assert shown == {
        "application_name": "tests",
        "statement_timeout": "850ms",
        "lock_timeout": "850ms",
        "TimeZone": "UTC",
        "jit": "off",
    }


async def test_a_transaction_is_all_or_nothing_and_leaves_no_trace_in_its_connection(
    database: Database,
) -> None:
    await database.execute("CREATE TABLE IF NOT EXISTS steps (n int PRIMARY KEY)")
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO steps VALUES (1)")

    async def half() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO steps VALUES (2)")
            await connection.execute("INSERT INTO steps VALUES (1)")

    with pytest.raises(asyncpg.UniqueViolationError):
        await half()
    # Somebody forgets to end a transaction of their own.
    async with database.acquire() as connection:
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO steps VALUES (3)")
    assert [row["n"] for row in await database.fetch("SELECT n FROM steps")] == [1]
    await database.execute("DROP TABLE steps")


async def test_a_statements_own_mistakes_stay_the_drivers(database: Database) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await database.execute("SELEKT")
    with pytest.raises(asyncpg.DataError):
        await database.fetchval("SELECT $1::int", "not a number")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await database.fetchval("SELECT 1 / 0")


async def test_nobody_listening_is_said_at_once() -> None:
    database = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/none", application="tests")
    await database.start()
    assert await seconds_until_unavailable(lambda: database.fetchval("SELECT 1")) < SLACK
    await database.close()


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(database: Database) -> None:
    took = await seconds_until_unavailable(lambda: database.fetchval("SELECT pg_sleep(30)"))
    assert took < PATIENCE.total_seconds() + SLACK
    still_running = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND state = 'active'"
    )
    assert await database.fetchval(still_running + " AND pid <> pg_backend_pid()") == 0


async def test_a_silent_network_costs_no_more_than_the_patience_even_inside_a_transaction(
    database: Database, wire: Wire
) -> None:
    async def fetch() -> None:
        await database.fetchval("SELECT 1")

    async def in_transaction() -> None:
        async with database.transaction() as connection:
            await connection.execute("SELECT 1")
            wire.fall_silent()
            await connection.execute("SELECT 2")

    await fetch()
    limit = PATIENCE.total_seconds() + SLACK
    assert await seconds_until_unavailable(in_transaction) < limit
    # More callers than connections: those wait for a connection that nobody can give back sooner.
    for took in await asyncio.gather(*(seconds_until_unavailable(fetch) for _ in range(6))):
        assert took < limit
    wire.come_back()
    await fetch()
    await asyncio.gather(*(fetch() for _ in range(6)))


async def test_who_holds_a_connection_too_long_loses_it_to_those_who_wait(database: Database) -> None:
    someone_else_was_served = asyncio.Event()

    async def hold() -> None:
        async with database.acquire() as connection:
            await someone_else_was_served.wait()
            await connection.fetchval("SELECT 1")

    holders = [asyncio.create_task(seconds_until_unavailable(hold)) for _ in range(2)]
    # Who comes now has as much patience left when theirs ends, to connect anew.
    await asyncio.sleep(PATIENCE.total_seconds() * 0.75)
    try:
        assert await database.fetchval("SELECT 1") == 1
    finally:
        someone_else_was_served.set()
    await asyncio.gather(*holders)


async def test_connections_go_round_first_come_first_served(postgres_url: str) -> None:
    database = Database(postgres_url, application="turns", most_connections=4)
    await database.start()
    callers, turns = 16, list[int]()

    async def call_again_and_again(caller: int) -> None:
        for _ in range(200):
            async with database.acquire() as connection:
                turns.append(caller)
                await connection.fetchval("SELECT 1")

    try:
        # All connected before it counts: connecting takes as long as many turns.
        await asyncio.gather(*(database.execute("SELECT pg_sleep(0.2)") for _ in range(4)))
        await asyncio.gather(*map(call_again_and_again, range(callers)))
    finally:
        await database.close()
    waited = sorted(
        after - before
        for caller in range(callers)
        for before, after in itertools.pairwise(turn for turn, who in enumerate(turns) if who == caller)
    )
    # Now and then the server is slow with one connection, and the others go round meanwhile.
    assert waited[len(waited) * 9 // 10] <= 1.5 * callers, "some were passed over again and again"


async def test_a_caller_that_gives_up_does_not_cost_the_connection(database: Database) -> None:
    for _ in range(5):
        task = asyncio.create_task(database.fetchval("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.gather(*(database.fetchval("SELECT 1") for _ in range(6))) == [1] * 6


async def test_a_connection_that_the_server_ends_is_replaced(database: Database) -> None:
    pid = await database.fetchval("SELECT pg_backend_pid()")
    await seconds_until_unavailable(
        lambda: database.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
    )
    assert await database.fetchval("SELECT pg_backend_pid()") != pid


async def test_closing_lets_what_runs_finish(postgres_url: str) -> None:
    database = Database(postgres_url, application="tests")
    await database.start()
    running = asyncio.create_task(database.fetchval("SELECT 'done' FROM pg_sleep(0.2)"))
    await asyncio.sleep(0.05)
    await database.close()
    assert await running == "done"
    await database.close()


@pytest.mark.parametrize("url", ["postgresql://popcorn:secret@db:5432/popcorn", "postgres:///popcorn"])
def test_a_database_url_is_kept_out_of_sight(url: str) -> None:
    checked: SecretStr = TypeAdapter(DatabaseUrl).validate_python(url)
    assert checked.get_secret_value() == url
    assert "secret" not in repr(checked)


@pytest.mark.parametrize(
    "url", ["", "popcorn", "mysql://db/popcorn", "postgresql://db:5432", "postgresql://db/"]
)
def test_what_is_no_database_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="postgresql://user:password@host:port/database"):
        TypeAdapter(DatabaseUrl).validate_python(url)
