"""Files on their way in: gathered within a bound, read off the loop, and put down for work."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final
from uuid import UUID

from backlog_svc.entries import Status
from backlog_svc.import_store import ImportStore
from backlog_svc.imports.files import read
from backlog_svc.imports.jobs import Job, TooManyUploads
from backlog_svc.imports.refusals import FileTooLarge
from mesh.clock import Clock

LARGEST_FILE_BYTES: Final = 32 * 1024 * 1024
MOST_HELD_BYTES: Final = 4 * LARGEST_FILE_BYTES
"""Over all files that are on their way into this replica."""
MOST_LET_PASS_BYTES: Final = 2 * LARGEST_FILE_BYTES
"""Of a file that is refused."""


class Uploads:
    """Takes files in."""

    def __init__(
        self, store: ImportStore, *, clock: Clock, new_id: Callable[[], UUID], work_arrived: asyncio.Event
    ) -> None:
        """Take what it needs.

        Args:
            store: Keeps imports.
            clock: The present.
            new_id: Makes ids of imports, which nobody can guess.
            work_arrived: Set when there is something to work off.
        """
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._work_arrived = work_arrived
        self._held = 0
        # Reading takes a core: one file at a time leaves the other threads alone.
        self._reading = asyncio.Semaphore(1)

    async def take_in(
        self,
        user_id: str,
        pieces: AsyncIterator[bytes],
        *,
        dry_run: bool,
        plain: Status,
        languages: Sequence[str],
    ) -> Job:
        """Take a file in and put its lines down.

        Args:
            user_id: Whose backlog it is for.
            pieces: The file.
            dry_run: Only say what would happen.
            plain: What a list means that says nothing of watching.
            languages: In which films are looked for.

        Raises:
            FileTooLarge, TooManyRows, UnknownFormat, UnreadableArchive: What is wrong with the file.
            TooManyImports: The person has three that are not done.
            TooManyUploads: This replica holds as many files as it can.
        """
        held: list[bytes] = []
        size = 0
        try:
            async for piece in pieces:
                size += len(piece)
                self._held += len(piece)
                held.append(piece)
                if size > LARGEST_FILE_BYTES or self._held > MOST_HELD_BYTES:
                    held.clear()
                    self._held, size, refused = self._held - size, 0, _refusal(size)
                    await _let_pass(pieces)
                    raise refused
            async with self._reading:
                data = b"".join(held)
                held.clear()
                reading = await asyncio.to_thread(read, data, plain=plain, now=self._clock())
                del data
        finally:
            self._held -= size
        job = await self._store.add(
            user_id,
            reading,
            import_id=self._new_id(),
            dry_run=dry_run,
            languages=languages,
            now=self._clock(),
        )
        self._work_arrived.set()
        return job


def _refusal(size: int) -> Exception:
    return FileTooLarge(LARGEST_FILE_BYTES) if size > LARGEST_FILE_BYTES else TooManyUploads()


async def _let_pass(pieces: AsyncIterator[bytes]) -> None:
    """Read on without keeping anything: whoever is still writing when a call ends may miss why it did."""
    left = MOST_LET_PASS_BYTES
    async for piece in pieces:
        left -= len(piece)
        if left < 0:
            return
