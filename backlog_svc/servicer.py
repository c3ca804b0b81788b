"""The contract's BacklogService: unpack, one call, pack. RPCs that are not here answer UNIMPLEMENTED."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from backlog_svc.exporting import Exporting
from backlog_svc.game_messages import game_message, read_finished_game, read_game_query
from backlog_svc.game_store import GameStore
from backlog_svc.import_messages import (
    job_message,
    read_choices,
    read_export,
    read_import_id,
    read_pieces,
    read_row_query,
    read_upload,
    row_message,
)
from backlog_svc.import_store import ImportStore
from backlog_svc.listing import Listing
from backlog_svc.match_messages import (
    match_message,
    read_game_id,
    read_game_seq,
    read_match,
    read_match_query,
    read_watched_night,
)
from backlog_svc.match_store import MatchStore
from backlog_svc.messages import (
    entry_message,
    list_message,
    read_batch,
    read_changes,
    read_draft,
    read_etag,
    read_intersection,
    read_list_query,
    read_movie_ids,
    read_user_id,
)
from backlog_svc.personal_data import export_struct
from backlog_svc.stats_messages import stats_message
from backlog_svc.stats_store import StatsStore
from backlog_svc.store import EntryStore
from backlog_svc.uploads import Uploads
from mesh.checks import Checks
from mesh.clock import Clock
from mesh.page_tokens import PageTokens
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class BacklogServicer(backlog_pb2_grpc.BacklogServiceServicer):
    """Backlogs of all people, for callers that have made sure that they speak for the person they name."""

    def __init__(
        self,
        store: EntryStore,
        listing: Listing,
        *,
        imports: ImportStore,
        uploads: Uploads,
        exporting: Exporting,
        matches: MatchStore,
        games: GameStore,
        stats: StatsStore,
        tokens: PageTokens,
        clock: Clock,
    ) -> None:
        self._store = store
        self._listing = listing
        self._imports = imports
        self._uploads = uploads
        self._exporting = exporting
        self._matches = matches
        self._games = games
        self._stats = stats
        self._tokens = tokens
        self._clock = clock

    async def PutEntry(
        self, request: backlog_pb2.PutEntryRequest, _context: Context
    ) -> backlog_pb2.PutEntryResponse:
        """Adds a film or replaces its entry."""
        now = self._clock()
        checks = Checks()
        user_id = read_user_id(checks, request.user_id)
        draft = read_draft(checks, "entry", request.entry, now=now)
        checks.done()
        entry, added = await self._store.put(user_id, draft, now=now)
        return backlog_pb2.PutEntryResponse(entry=entry_message(entry), added=added)

    async def UpdateEntry(
        self, request: backlog_pb2.UpdateEntryRequest, _context: Context
    ) -> backlog_pb2.UpdateEntryResponse:
        """Changes parts of an entry."""
        now = self._clock()
        checks = Checks()
        user_id = read_user_id(checks, request.user_id)
        draft, fields = read_changes(checks, request, now=now)
        etag = read_etag(checks, request.etag)
        checks.done()
        entry = await self._store.update(user_id, draft, fields, etag=etag, now=now)
        return backlog_pb2.UpdateEntryResponse(entry=entry_message(entry))

    async def BatchPutEntries(
        self, request: backlog_pb2.BatchPutEntriesRequest, _context: Context
    ) -> backlog_pb2.BatchPutEntriesResponse:
        """Adds or replaces several entries, all or none."""
        now = self._clock()
        checks = Checks()
        user_id = read_user_id(checks, request.user_id)
        drafts = read_batch(checks, request.entries, now=now)
        checks.done()
        done = await self._store.put_batch(user_id, drafts, now=now)
        return backlog_pb2.BatchPutEntriesResponse(
            added=done.added, changed=done.changed, unchanged=done.unchanged
        )

    async def RemoveEntry(
        self, request: backlog_pb2.RemoveEntryRequest, _context: Context
    ) -> backlog_pb2.RemoveEntryResponse:
        """Takes a film out."""
        checks = Checks()
        user_id = read_user_id(checks, request.user_id)
        movie_id = checks.movie_id("movie_id", request.movie_id)
        checks.done()
        return backlog_pb2.RemoveEntryResponse(removed=await self._store.remove(user_id, movie_id))

    async def ListEntries(
        self, request: backlog_pb2.ListEntriesRequest, _context: Context
    ) -> backlog_pb2.ListEntriesResponse:
        """Gives a page of somebody's backlog."""
        query = read_list_query(Checks(), request, tokens=self._tokens)
        return list_message(await self._listing.page(query), query, tokens=self._tokens)

    async def BatchGetEntries(
        self, request: backlog_pb2.BatchGetEntriesRequest, _context: Context
    ) -> backlog_pb2.BatchGetEntriesResponse:
        """Gives the entries somebody has for given films."""
        checks = Checks()
        user_id = read_user_id(checks, request.user_id)
        movie_ids = read_movie_ids(checks, request.movie_ids)
        checks.done()
        entries = await self._store.of_movies(user_id, movie_ids)
        return backlog_pb2.BatchGetEntriesResponse(entries=map(entry_message, entries))

    async def StartImport(
        self, requests: AsyncIterator[backlog_pb2.StartImportRequest], _context: Context
    ) -> backlog_pb2.StartImportResponse:
        """Takes a file in."""
        first = await anext(requests, None)
        upload = read_upload(first)
        job = await self._uploads.take_in(
            upload.user_id,
            read_pieces(first, requests),
            dry_run=upload.dry_run,
            plain=upload.plain,
            languages=upload.languages,
        )
        return backlog_pb2.StartImportResponse(job=job_message(job))

    async def GetImport(
        self, request: backlog_pb2.GetImportRequest, _context: Context
    ) -> backlog_pb2.GetImportResponse:
        """Says how far an import is."""
        checks = Checks()
        user_id = read_user_id(checks, request.user_id)
        import_id = read_import_id(checks, request.import_id)
        checks.done()
        job = await self._imports.get(user_id, import_id)
        return backlog_pb2.GetImportResponse(job=job_message(job))

    async def ListImportRows(
        self, request: backlog_pb2.ListImportRowsRequest, _context: Context
    ) -> backlog_pb2.ListImportRowsResponse:
        """Gives a page of the lines of an import that need attention."""
        query = read_row_query(request, tokens=self._tokens)
        page = await self._imports.page(
            query.user_id, query.import_id, query.state, after=query.after, size=query.page_size
        )
        return backlog_pb2.ListImportRowsResponse(
            rows=map(row_message, page.rows),
            next_page_token=query.token_for(page.next, self._tokens),
            total_size=page.total_size,
        )

    async def SettleImport(
        self, request: backlog_pb2.SettleImportRequest, _context: Context
    ) -> backlog_pb2.SettleImportResponse:
        """Decides about unsettled lines."""
        checks = Checks()
        user_id = read_user_id(checks, request.user_id)
        import_id = read_import_id(checks, request.import_id)
        choices = read_choices(checks, request.choices)
        checks.done()
        job = await self._imports.settle(user_id, import_id, choices, now=self._clock())
        return backlog_pb2.SettleImportResponse(job=job_message(job))

    async def ExportEntries(
        self, request: backlog_pb2.ExportEntriesRequest, _context: Context
    ) -> AsyncIterator[backlog_pb2.ExportEntriesResponse]:
        """Gives somebody's backlog as a file."""
        checks = Checks()
        user_id = read_user_id(checks, request.user_id)
        kind, status = read_export(checks, request)
        checks.done()
        async with aclosing(self._exporting.file(user_id, kind, status)) as file:
            async for piece in file:
                yield backlog_pb2.ExportEntriesResponse(data=piece.encode())

    async def GetStats(
        self, request: backlog_pb2.GetStatsRequest, _context: Context
    ) -> backlog_pb2.GetStatsResponse:
        """Gives somebody's backlog in numbers."""
        checks = Checks()
        user_id = read_user_id(checks, request.user_id)
        checks.done()
        return backlog_pb2.GetStatsResponse(stats=stats_message(await self._stats.count(user_id)))

    async def IntersectBacklogs(
        self, request: backlog_pb2.IntersectBacklogsRequest, _context: Context
    ) -> backlog_pb2.IntersectBacklogsResponse:
        """Gives the films that several people want."""
        asked = read_intersection(Checks(), request)
        wanted = await self._store.intersect(
            asked.user_ids,
            at_least=asked.at_least,
            leave_out_watched=asked.leave_out_watched,
            limit=asked.limit,
        )
        return backlog_pb2.IntersectBacklogsResponse(
            movies=[
                backlog_pb2.IntersectBacklogsResponse.WantedMovie(movie_id=movie_id, wanted_by=people)
                for movie_id, people in wanted
            ]
        )

    async def RecordMatch(
        self, request: backlog_pb2.RecordMatchRequest, _context: Context
    ) -> backlog_pb2.RecordMatchResponse:
        """Keeps a match for good."""
        checks = Checks()
        match = read_match(checks, "match", request.match)
        game_seq = read_game_seq(checks, "game_seq", request.game_seq)
        checks.done()
        recorded = await self._matches.record(match, game_seq=game_seq)
        return backlog_pb2.RecordMatchResponse(recorded=recorded)

    async def WithdrawMatch(
        self, request: backlog_pb2.WithdrawMatchRequest, _context: Context
    ) -> backlog_pb2.WithdrawMatchResponse:
        """Takes a match back."""
        checks = Checks()
        game_id = read_game_id(checks, "game_id", request.game_id)
        movie_id = checks.movie_id("movie_id", request.movie_id)
        game_seq = read_game_seq(checks, "game_seq", request.game_seq)
        checks.done()
        withdrawn = await self._matches.withdraw(game_id, movie_id, game_seq=game_seq)
        return backlog_pb2.WithdrawMatchResponse(withdrawn=withdrawn)

    async def ListMatches(
        self, request: backlog_pb2.ListMatchesRequest, _context: Context
    ) -> backlog_pb2.ListMatchesResponse:
        """Gives a page of somebody's movie nights."""
        query = read_match_query(Checks(), request, tokens=self._tokens)
        page = await self._matches.page(query.user_id, after=query.after, size=query.page_size)
        return backlog_pb2.ListMatchesResponse(
            matches=map(match_message, page.matches),
            next_page_token=query.token_for(page.next, self._tokens),
            total_size=page.total_size,
        )

    async def MarkMatchWatched(
        self, request: backlog_pb2.MarkMatchWatchedRequest, _context: Context
    ) -> backlog_pb2.MarkMatchWatchedResponse:
        """Moves the film of a movie night to watched, for all who were there."""
        now = self._clock()
        night = read_watched_night(Checks(), request, now=now)
        watched = await self._matches.mark_watched(
            night.game_id, night.movie_id, said_by=night.user_id, watch_time=night.watch_time, now=now
        )
        entries = await self._store.of_movies(night.user_id, [night.movie_id])
        return backlog_pb2.MarkMatchWatchedResponse(
            match=match_message(watched.match),
            entry=entry_message(entries[0]) if entries else None,
            moved=watched.moved,
        )

    async def RecordGame(
        self, request: backlog_pb2.RecordGameRequest, _context: Context
    ) -> backlog_pb2.RecordGameResponse:
        """Keeps a finished game's summary for good."""
        checks = Checks()
        game = read_finished_game(checks, "game", request.game)
        game_seq = read_game_seq(checks, "game_seq", request.game_seq)
        checks.done()
        recorded = await self._games.record(game, game_seq=game_seq)
        return backlog_pb2.RecordGameResponse(recorded=recorded)

    async def ListGames(
        self, request: backlog_pb2.ListGamesRequest, _context: Context
    ) -> backlog_pb2.ListGamesResponse:
        """Gives a page of the games somebody has played."""
        query = read_game_query(Checks(), request, tokens=self._tokens)
        page = await self._games.page(query.user_id, after=query.after, size=query.page_size)
        return backlog_pb2.ListGamesResponse(
            games=map(game_message, page.games),
            next_page_token=query.token_for(page.next, self._tokens),
            total_size=page.total_size,
        )

    async def EraseUser(
        self, request: backlog_pb2.EraseUserRequest, _context: Context
    ) -> backlog_pb2.EraseUserResponse:
        """Erases everything that is kept about somebody."""
        checks = Checks()
        user_id = read_user_id(checks, request.user_id)
        checks.done()
        # First imports and movie nights: they still write entries.
        await self._imports.erase(user_id)
        await self._matches.erase(user_id)
        await self._games.erase(user_id)
        return backlog_pb2.EraseUserResponse(erased_entries=await self._store.erase(user_id))

    async def ExportUser(
        self, request: backlog_pb2.ExportUserRequest, _context: Context
    ) -> backlog_pb2.ExportUserResponse:
        """Gives everything that is kept about somebody."""
        checks = Checks()
        user_id = read_user_id(checks, request.user_id)
        checks.done()
        # Thousands of entries take a second to render: not on the loop that answers everybody else.
        data = await asyncio.to_thread(
            export_struct,
            user_id,
            entries=await self._store.everything(user_id),
            matches=await self._matches.everything(user_id),
            games=await self._games.everything(user_id),
            imports=[job_message(job) for job in await self._imports.of_person(user_id)],
        )
        return backlog_pb2.ExportUserResponse(data=data)
