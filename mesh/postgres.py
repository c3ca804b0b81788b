"""PostgreSQL for a service: a bounded pool of connections whose every use has a deadline.

    database = Database(url, application="gateway")
    await database.start()                                   # connects nothing yet: PostgreSQL may be away
    row = await database.fetchrow("SELECT ... WHERE id = $1", account_id)
    async with database.transaction() as connection:         # asyncpg's connection; all or nothing
        await connection.execute(...)

Whatever goes wrong between us and PostgreSQL (refused, killed, hung, out of connections, too slow, not
migrated) is logged and raised as `mesh.errors.Unavailable("postgresql")`, at the latest after `patience`.
What a statement itself causes, such as a broken constraint, stays the driver's exception: the store that
wrote the statement knows what it means. Connections are made when they are needed, so a server that comes
back is used by the next call.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import structlog

from mesh import migrations, tracing
from mesh.errors import Unavailable

DEPENDENCY: Final = "postgresql"
"""What PostgreSQL is called in an Unavailable's metadata."""

_PATIENCE: Final = timedelta(seconds=1.75)
# The server gives up a little earlier than we do: then its answer, and the connection, can still be used.
_SERVER_SHARE_OF_PATIENCE: Final = 0.85
_CONNECT_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 5.0
_RETRY_AFTER: Final = timedelta(seconds=1)

# Anything here says that PostgreSQL cannot serve now, not that a statement was wrong.
_UNAVAILABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,  # the connection was closed under us, the pool is closing
    asyncpg.InternalClientError,  # the connection broke in the middle of a message
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, statement_timeout
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.PostgresSystemError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,  # the database is not there (yet)
    asyncpg.InvalidSchemaNameError,  # not migrated (yet), as are the next two
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.ReadOnlySQLTransactionError,  # a fail-over has made this server a standby
    asyncpg.TransactionRollbackError,  # deadlock, serialisation: the same call again will do
    asyncpg.LockNotAvailableError,
)
# A value of the wrong type or size is a mistake of ours, although the driver derives it from InterfaceError.
_OURS: Final = (asyncpg.DataError, asyncpg.exceptions.ClientConfigurationError)

_log = structlog.get_logger("mesh.postgres")


@dataclass(frozen=True, slots=True)
class Use:
    """How a pool is used at a moment, and what has failed so far."""

    in_use: int
    """Connections that somebody has."""
    idle: int
    """Connections that nobody has."""
    most: int
    """How many there may be."""
    waiting: int
    """Callers that wait for one."""
    failures: int
    """Uses that ended as Unavailable, since the start."""


class Database:
    """One PostgreSQL database, through at most `most_connections` connections."""

    def __init__(
        self,
        url: str,
        *,
        application: str,
        most_connections: int = 10,
        patience: timedelta = _PATIENCE,
    ) -> None:
        """Describe it; `start` before use.

        Args:
            url: `postgresql://user:password@host:port/database`.
            application: What PostgreSQL's own views call us.
            most_connections: How many there are at most; further callers wait, within their patience.
            patience: How long one use may take, waiting for a connection included, until it is Unavailable.
        """
        self._url = url
        self._most_connections = most_connections
        self._patience = patience.total_seconds()
        on_server = str(int(self._patience * _SERVER_SHARE_OF_PATIENCE * 1000))
        self._server_settings = {
            "application_name": application,
            "timezone": "UTC",
            "jit": "off",  # compiling takes longer than any statement here runs
            "statement_timeout": on_server,
            "lock_timeout": on_server,
            "idle_in_transaction_session_timeout": str(int(self._patience * 2000)),
        }
        self._pool: asyncpg.Pool | None = None
        # First come, first served. asyncpg's pool alone lets whoever asks just then take the connection that
        # was meant for the next in line, who goes back to the end: under load somebody never gets one.
        self._turns = asyncio.Semaphore(most_connections)
        self._waiting = 0
        self._failures = 0
        self._answers = True

    def use(self) -> Use:
        """Return how the pool is used now."""
        pool = self._pool
        idle, size = (0, 0) if pool is None else (pool.get_idle_size(), pool.get_size())
        return Use(size - idle, idle, self._most_connections, self._waiting, self._failures)

    async def start(self) -> None:
        """Make the pool. Connects nothing, so it works while PostgreSQL is away."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._most_connections,
            timeout=min(_CONNECT_SECONDS, self._patience),
            server_settings=self._server_settings,
            # The usual reset is a round trip after every use. Our statements leave nothing behind in a
            # session: SET LOCAL and pg_advisory_xact_lock only. An open transaction is rolled back anyway.
            reset=_leave_as_it_is,
        )

    async def close(self) -> None:
        """Let running statements end, then close every connection. Harmless when there is no pool."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await pool.close()
        except TimeoutError:
            _log.warning(
                "postgres.closed_hard"
            )  # asyncpg has cut the connections when its close was cancelled

    @asynccontextmanager
    async def acquire(self, operation: str = "connection") -> AsyncIterator[Any]:
        """Lend one connection for the length of the block, which has `patience` for all that it does.

        Args:
            operation: What traces call it.

        Raises:
            Unavailable: PostgreSQL does not answer, or not in time.
        """
        with tracing.span(DEPENDENCY, operation):
            async with self._lend() as connection:
                yield connection

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[Any]:
        pool = self._pool
        if pool is None:
            raise RuntimeError("the database was not started, or is closed")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        turn = _Turn(self._turns)
        try:
            self._waiting += 1
            try:
                async with asyncio.timeout_at(deadline):
                    await turn.take()
            finally:
                self._waiting -= 1
            connection = await pool.acquire(timeout=deadline - loop.time())

            # Cutting the connection ends whatever waits for it, a rollback or a cancellation included; to
            # cancel the task instead would leave those waiting for a server that hangs.
            def cut() -> None:
                _cut(connection)
                turn.give_back()

            watchdog = loop.call_at(deadline, cut)
            try:
                yield connection
            finally:
                try:
                    await pool.release(connection)
                finally:
                    watchdog.cancel()
            self._answers = True
        except _OURS:
            raise
        except _UNAVAILABLE as error:
            self._failures += 1
            if self._answers:  # said once, however many ask until it answers again: health says when
                _log.warning("postgres.unavailable", error=type(error).__name__, detail=str(error))
            self._answers = False
            raise Unavailable(DEPENDENCY, _RETRY_AFTER) from error
        finally:
            turn.give_back()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Lend one connection inside a transaction: committed at the end, rolled back by an exception.

        Raises:
            Unavailable: As `acquire`. When the connection broke during COMMIT nobody knows whether it
                happened: what runs here should be safe to do again.
        """
        async with self.acquire("transaction") as connection, connection.transaction():
            yield connection

    async def fetch(self, statement: str, *values: object) -> list[Any]:
        """Run one statement and return its rows. Raises Unavailable."""
        async with self.acquire(_first_word(statement)) as connection:
            rows: list[Any] = await connection.fetch(statement, *values)
            return rows

    async def fetchrow(self, statement: str, *values: object) -> Any:
        """Run one statement and return its first row, or None. Raises Unavailable."""
        async with self.acquire(_first_word(statement)) as connection:
            return await connection.fetchrow(statement, *values)

    async def fetchval(self, statement: str, *values: object) -> Any:
        """Run one statement and return the first value of its first row, or None. Raises Unavailable."""
        async with self.acquire(_first_word(statement)) as connection:
            return await connection.fetchval(statement, *values)

    async def execute(self, statement: str, *values: object) -> str:
        """Run one statement and return PostgreSQL's tag for it (`DELETE 1`). Raises Unavailable."""
        async with self.acquire(_first_word(statement)) as connection:
            tag: str = await connection.execute(statement, *values)
            return tag

    def probe(self, *, schema: str, folder: Path) -> Callable[[], Awaitable[None]]:
        """Return the health probe that passes when the server answers and `schema` is migrated far enough.

        Args:
            schema: The service's schema.
            folder: Its migrations.
        """
        wanted = migrations.latest(folder)

        async def probe() -> None:
            async with self.acquire() as connection:
                found = await migrations.revision(connection, schema)
            if found < wanted:
                raise migrations.BehindError(schema, found, wanted)

        return probe


class _Turn:
    """One caller's place in the queue for a connection, given back once, by whoever is first."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns = turns
        self._taken = False

    async def take(self) -> None:
        """Wait for it."""
        await self._turns.acquire()
        self._taken = True

    def give_back(self) -> None:
        """Let the next one in."""
        if self._taken:
            self._taken = False
            self._turns.release()


def _first_word(statement: str) -> str:
    return statement.split(maxsplit=1)[0]


def _cut(connection: Any) -> None:
    with suppress(asyncpg.InterfaceError):  # it has just been given back
        connection.terminate()


async def _leave_as_it_is(_connection: object) -> None:
    return
