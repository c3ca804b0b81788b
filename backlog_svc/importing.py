"""Works off imports in the background, a batch at a time, in turns: nobody's long list holds up a short one.

Any replica takes an import that is due for the length of a lease (`ImportStore.take`), finds out which films
its next lines are about, and has the store do what they say and mark them in one transaction. Whatever a
crash leaves is due again when the lease ends, and no line is ever done twice.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

import grpc
import structlog

from backlog_svc.import_store import ImportStore
from backlog_svc.imports.jobs import LEASE, ClaimRow, Found, Job, pause_after
from backlog_svc.movies import Movies
from mesh.clock import Clock
from mesh.errors import Unavailable

BATCH: Final = 200
"""Lines that are read, and written where their films are known by id, at once."""
LOOKED_UP_AT_ONCE: Final = 20
"""Films that movie_svc is asked for in one call: as many as fit into its patience with TMDB."""

_PATIENCE_SECONDS: Final = 5.0
_LOOK_EVERY_SECONDS: Final = 1.0
_SWEEP_EVERY: Final = timedelta(minutes=1)

_log = structlog.get_logger("backlog_svc.importing")


class Importing:
    """Works off imports for as long as `run` runs."""

    def __init__(
        self, store: ImportStore, movies: Movies, *, clock: Clock, work_arrived: asyncio.Event
    ) -> None:
        """Take what it needs; `work_arrived` is set by whoever puts an import down."""
        self._store = store
        self._movies = movies
        self._clock = clock
        self._work_arrived = work_arrived
        self._taken: Job | None = None

    async def run(self) -> None:
        """Work off whatever is due, for ever; cancel it to end it."""
        swept = self._clock()
        while True:
            self._work_arrived.clear()
            try:
                while await self.round():
                    pass
                if self._clock() - swept >= _SWEEP_EVERY:
                    swept = self._clock()
                    await self._store.sweep(now=swept)
            except Unavailable:
                pass  # PostgreSQL is away, which the log says already; the batch is tried again
            except Exception as error:  # a mistake of ours may cost this round, and not all that come after
                _log.error("importing.round_failed", exc_info=error)
                self._taken = None
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_EVERY_SECONDS):
                        await self._work_arrived.wait()
                continue
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def round(self) -> bool:
        """Work off one batch, and say whether there may be more to do at once."""
        # What was taken before PostgreSQL went away is still ours: nobody waits for the lease to run out.
        self._taken = self._taken or await self._store.take(now=self._clock())
        if self._taken is None:
            return False
        await self._work_off(self._taken)
        self._taken = None
        return True

    async def _work_off(self, job: Job) -> None:
        rows = await self._store.waiting(job.import_id, most=BATCH)
        if not rows:  # another replica has just done the last of them
            await self._store.put_off(job.import_id, until=self._clock() + LEASE, tries=job.tries)
            return
        known = [row for row in rows if row.claim.movie_id]
        if known:
            found = {row.row: Found(row.claim.movie_id) for row in known}
        else:
            known = list(rows[:LOOKED_UP_AT_ONCE])
            try:
                found = await self._look_up(job, known)
            except grpc.aio.AioRpcError as error:
                _log.warning("importing.put_off", status=error.code().name, tries=job.tries + 1)
                until = self._clock() + pause_after(job.tries)
                await self._store.put_off(job.import_id, until=until, tries=job.tries + 1)
                return
        await self._store.take_in(job.import_id, known, found, now=self._clock())

    async def _look_up(self, job: Job, rows: Sequence[ClaimRow]) -> dict[int, Found]:
        try:
            resolved = await self._movies.resolve(
                [row.claim for row in rows], job.languages, patience_seconds=_PATIENCE_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            # One of them is not to movie_svc's taste: it alone is left to its owner.
            if len(rows) == 1:
                return {rows[0].row: Found(0)}
            apart = [await self._look_up(job, [row]) for row in rows]
            return {number: found for one in apart for number, found in one.items()}
        return {row.row: found for row, found in zip(rows, resolved, strict=True)}
