"""The players' backlogs, in backlog_svc: what they want to watch and have watched, and what games tell."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import grpc

from mesh.errors import reason_of, status_of
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc

_PATIENCE_SECONDS: Final = 2.0
_BATCH: Final = 500
_NO_ENTRY: Final = "ENTRY_NOT_FOUND"


class Backlogs:
    """What backlog_svc knows. Every method raises grpc.aio.AioRpcError when it does not answer."""

    def __init__(self, backlogs: backlog_pb2_grpc.BacklogServiceAsyncStub) -> None:
        self._backlogs = backlogs

    async def wanted(
        self, user_ids: Sequence[str], *, leave_out_watched: bool, most: int = _BATCH
    ) -> Mapping[int, int]:
        """Return films that some of these people want, each with how many do; those wanted by most first."""
        if not user_ids:
            return {}
        answer = await self._backlogs.IntersectBacklogs(
            backlog_pb2.IntersectBacklogsRequest(
                user_ids=user_ids, leave_out_watched=leave_out_watched, limit=most
            ),
            timeout=_PATIENCE_SECONDS,
        )
        return {movie.movie_id: movie.wanted_by for movie in answer.movies}

    async def watched(self, user_ids: Sequence[str], movie_ids: Sequence[int]) -> frozenset[int]:
        """Return those of the films that one of these people has watched."""
        batches = [movie_ids[start : start + _BATCH] for start in range(0, len(movie_ids), _BATCH)]
        answers = await asyncio.gather(
            *(self._watched(user_id, batch) for user_id in user_ids for batch in batches)
        )
        return frozenset[int]().union(*answers)

    async def _watched(self, user_id: str, movie_ids: Sequence[int]) -> set[int]:
        answer = await self._backlogs.BatchGetEntries(
            backlog_pb2.BatchGetEntriesRequest(user_id=user_id, movie_ids=movie_ids),
            timeout=_PATIENCE_SECONDS,
        )
        watched = backlog_pb2.ENTRY_STATUS_WATCHED
        return {entry.movie_id for entry in answer.entries if entry.status == watched}

    async def mark_watched(self, user_id: str, movie_id: int) -> None:
        """Say that somebody has watched a film. What they have written down about it stays."""
        draft = backlog_pb2.EntryDraft(
            movie_id=movie_id,
            status=backlog_pb2.ENTRY_STATUS_WATCHED,
            source=backlog_pb2.ENTRY_SOURCE_MOVIE_NIGHT,
        )
        update = backlog_pb2.UpdateEntryRequest(user_id=user_id, entry=draft)
        update.update_mask.paths.append("status")
        try:
            await self._backlogs.UpdateEntry(update, timeout=_PATIENCE_SECONDS)
        except grpc.aio.AioRpcError as error:
            status = status_of(error)
            if status is None or reason_of(status) != _NO_ENTRY:
                raise
            put = backlog_pb2.PutEntryRequest(user_id=user_id, entry=draft)
            await self._backlogs.PutEntry(put, timeout=_PATIENCE_SECONDS)

    async def record_match(self, match: backlog_pb2.Match, *, game_seq: int) -> None:
        """Keep a match for good."""
        request = backlog_pb2.RecordMatchRequest(match=match, game_seq=game_seq)
        await self._backlogs.RecordMatch(request, timeout=_PATIENCE_SECONDS)

    async def withdraw_match(self, game_id: str, movie_id: int, *, game_seq: int) -> None:
        """Take a match back."""
        request = backlog_pb2.WithdrawMatchRequest(game_id=game_id, movie_id=movie_id, game_seq=game_seq)
        await self._backlogs.WithdrawMatch(request, timeout=_PATIENCE_SECONDS)

    async def record_game(self, game: backlog_pb2.FinishedGame, *, game_seq: int) -> None:
        """Keep a finished game's summary for good."""
        request = backlog_pb2.RecordGameRequest(game=game, game_seq=game_seq)
        await self._backlogs.RecordGame(request, timeout=_PATIENCE_SECONDS)
