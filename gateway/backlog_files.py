"""Backlogs as files, on their way in and out."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

import grpc
import structlog

from mesh import running
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

LARGEST_MESSAGE_BYTES: Final = 3 * 1024 * 1024
"""Of an export in one message: clients take messages of 4 MiB."""
LARGEST_EXPORT_BYTES: Final = 64 * 1024 * 1024

_PIECE_BYTES: Final = 256 * 1024
_UPLOAD_SECONDS: Final = 110.0
_EXPORT_SECONDS: Final = 60.0
_PATIENCE_WITH_IMPORTS_SECONDS: Final = 5.0
_PATIENCE_WITH_FILMS_SECONDS: Final = 2.0
_FIRST_LOOK_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 0.5

_log = structlog.get_logger("gateway.backlog_files")


class ExportTooLarge(Exception):
    """The file is longer than fits into the answer."""

    status = "FAILED_PRECONDITION"
    reason = "EXPORT_TOO_LARGE"

    def __init__(self, most_bytes: int) -> None:
        super().__init__(f"The file has more than {most_bytes} bytes. DownloadBacklog gives it in pieces.")
        self.metadata: Mapping[str, str] = {"most_bytes": str(most_bytes)}


class BacklogFiles:
    """Asks backlog_svc and movie_svc. Failures of theirs are raised as they come (`grpc.aio.AioRpcError`)."""

    def __init__(
        self,
        *,
        movies: "movie_pb2_grpc.MovieServiceAsyncStub",
        backlogs: "backlog_pb2_grpc.BacklogServiceAsyncStub",
    ) -> None:
        """Take stubs on channels of the mesh: they bring the deadlines and the retries."""
        self._movies = movies
        self._backlogs = backlogs

    async def take_in(
        self, first: backlog_pb2.StartImportRequest, pieces: AsyncIterator[bytes]
    ) -> backlog_pb2.ImportJob:
        """Hand a file on as it comes, and wait a little for the job that works through it.

        Args:
            first: Whose it is and what to do with it.
            pieces: The file.
        """
        begun = await self._backlogs.StartImport(_messages(first, pieces), timeout=_UPLOAD_SECONDS)
        job = begun.job
        pause = _FIRST_LOOK_SECONDS
        give_up_at = time.monotonic() + _PATIENCE_WITH_IMPORTS_SECONDS
        while job.state != backlog_pb2.IMPORT_STATE_DONE and time.monotonic() + pause < give_up_at:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            try:
                job = await self.job(first.user_id, job.import_id)
            except grpc.aio.AioRpcError as error:
                # It has been taken in, whatever else goes wrong: that is worth an answer.
                _log.warning("backlog_files.not_waited_for", status=error.code().name)
                break
        return job

    async def job(self, user_id: str, import_id: str) -> backlog_pb2.ImportJob:
        """Return how far an import is."""
        found = await self._backlogs.GetImport(
            backlog_pb2.GetImportRequest(user_id=user_id, import_id=import_id)
        )
        return found.job

    async def rows(self, request: backlog_pb2.ListImportRowsRequest) -> backlog_pb2.ListImportRowsResponse:
        """Return lines of an import that need attention."""
        return await self._backlogs.ListImportRows(request)

    async def candidates(
        self, rows: Iterable[backlog_pb2.ImportRow], locale: movie_pb2.Locale
    ) -> movie_pb2.BatchGetMoviesResponse | None:
        """Return the films that lines could be about; None when there are none, or films cannot be had."""
        movie_ids = sorted({movie_id for row in rows for movie_id in row.candidate_ids})
        if not movie_ids:
            return None
        try:
            return await self._batch(movie_ids, locale)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise  # a mistake of ours, not an outage
            _log.warning("backlog_files.films_missing", status=error.code().name, films=len(movie_ids))
            return None

    async def settle(
        self, request: backlog_pb2.SettleImportRequest, locale: movie_pb2.Locale
    ) -> backlog_pb2.ImportJob:
        """Decide about lines; NOT_FOUND for a film that does not exist."""
        movie_ids = sorted({choice.movie_id for choice in request.choices if choice.movie_id})
        if movie_ids:
            for missing in (await self._batch(movie_ids, locale)).missing:
                # It is asked for alone, so that the refusal is the one that this film always gets.
                await self._movies.GetMovie(
                    movie_pb2.GetMovieRequest(movie_id=missing.movie_id, locale=locale)
                )
        return (await self._backlogs.SettleImport(request)).job

    async def export(self, request: backlog_pb2.ExportEntriesRequest, *, most_bytes: int) -> Sequence[bytes]:
        """Return a whole backlog as the pieces of a file.

        All of it is gathered before anybody sees the first piece: a file that breaks off would pass for a
        whole one.

        Raises:
            ExportTooLarge: It is longer than `most_bytes`.
        """
        call = self._backlogs.ExportEntries(request, timeout=_EXPORT_SECONDS)
        pieces: list[bytes] = []
        size = 0
        try:
            async for message in call:
                size += len(message.data)
                if size > most_bytes:
                    raise ExportTooLarge(most_bytes)
                pieces.append(message.data)
        finally:
            call.cancel()
        return pieces

    async def _batch(
        self, movie_ids: Sequence[int], locale: movie_pb2.Locale
    ) -> movie_pb2.BatchGetMoviesResponse:
        call = running.current()
        left = call.time_left() if call is not None else None
        return await self._movies.BatchGetMovies(
            movie_pb2.BatchGetMoviesRequest(movie_ids=movie_ids, locale=locale),
            timeout=_PATIENCE_WITH_FILMS_SECONDS if left is None else min(_PATIENCE_WITH_FILMS_SECONDS, left),
        )


async def _messages(
    first: backlog_pb2.StartImportRequest, pieces: AsyncIterator[bytes]
) -> AsyncIterator[backlog_pb2.StartImportRequest]:
    yield first
    async for piece in pieces:
        for begin in range(0, len(piece), _PIECE_BYTES):
            yield backlog_pb2.StartImportRequest(data=piece[begin : begin + _PIECE_BYTES])
