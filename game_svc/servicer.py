"""GameService: one method an RPC, which unpacks, makes one thing happen, and packs."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeAlias

import grpc
import segno
from google.api import httpbody_pb2

from game_svc import messages, requests, results
from game_svc.deck import remaining
from game_svc.deck_sources import DeckSources
from game_svc.events import PickAdded, PickRemoved
from game_svc.films import Films
from game_svc.history import History
from game_svc.presence import Presence
from game_svc.refusals import GameNotEnded, GameNotFound
from game_svc.rooms import Rooms
from game_svc.rules import (
    AddPick,
    Command,
    Draw,
    End,
    Lock,
    Remove,
    RemovePick,
    Start,
    StartRunOff,
    TransferHost,
    may_start,
    require_host,
)
from game_svc.seating import Seating
from game_svc.state import Player, State
from game_svc.streams import EventsContext, PlayContext, Streams, WatchContext, swipe_seq, undo_seq
from mesh.identity import caller
from mesh.locale import Locale, requested_locale
from mesh.page_tokens import PageTokens
from popcorn.game.v1 import game_pb2, game_pb2_grpc

LAST_EVENT_ID = "last-event-id"

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class GameServicer(game_pb2_grpc.GameServiceServicer):
    """Rooms. What each method does and refuses stands in the contract (game.proto)."""

    def __init__(
        self,
        rooms: Rooms,
        seating: Seating,
        streams: Streams,
        presence: Presence,
        films: Films,
        sources: DeckSources,
        history: History,
        *,
        page_tokens: PageTokens,
        new_seed: Callable[[], str],
        join_url: str,
    ) -> None:
        self._rooms = rooms
        self._seating = seating
        self._streams = streams
        self._presence = presence
        self._films = films
        self._sources = sources
        self._history = history
        self._page_tokens = page_tokens
        self._new_seed = new_seed
        self._join_url = join_url

    async def CreateGame(
        self, request: game_pb2.CreateGameRequest, context: Context
    ) -> game_pb2.CreateGameResponse:
        """Opens a room, and draws its QR code."""
        host = caller()
        name, settings = requests.name_and_settings(request, requested_locale(context))
        state = await self._seating.open(host, name, settings)
        join_url = self._link(state.code)
        return game_pb2.CreateGameResponse(
            game=await self._game(state, host.user_id),
            join_url=join_url,
            qr_code_svg=_qr_code(join_url, kind="svg").decode(),
        )

    async def GetGame(self, request: game_pb2.GetGameRequest, _context: Context) -> game_pb2.GetGameResponse:
        """Gives the room as it is now."""
        room, member = await self._rooms.visit(requests.code(request.code), caller().user_id)
        return game_pb2.GetGameResponse(
            game=await self._game(room.state, member.user_id), join_url=self._link(room.code)
        )

    async def UpdateGame(
        self, request: game_pb2.UpdateGameRequest, context: Context
    ) -> game_pb2.UpdateGameResponse:
        """Changes the name or the settings."""
        user_id = caller().user_id
        code, change = requests.change(request, requested_locale(context), user_id=user_id)
        return game_pb2.UpdateGameResponse(game=await self._submit(code, change))

    async def JoinGame(
        self, request: game_pb2.JoinGameRequest, _context: Context
    ) -> game_pb2.JoinGameResponse:
        """Seats the caller in a room."""
        player = caller()
        state = await self._seating.enter(player, requests.code(request.code))
        return game_pb2.JoinGameResponse(game=await self._game(state, player.user_id))

    async def LeaveGame(
        self, request: game_pb2.LeaveGameRequest, _context: Context
    ) -> game_pb2.LeaveGameResponse:
        """Takes the caller out of a room."""
        await self._seating.leave(caller().user_id, requests.code(request.code))
        return game_pb2.LeaveGameResponse()

    async def RemovePlayer(
        self, request: game_pb2.RemovePlayerRequest, _context: Context
    ) -> game_pb2.RemovePlayerResponse:
        """Takes somebody out, for good."""
        code, player_id = requests.code_and_player(request)
        return game_pb2.RemovePlayerResponse(
            game=await self._submit(code, Remove(caller().user_id, player_id))
        )

    async def TransferHost(
        self, request: game_pb2.TransferHostRequest, _context: Context
    ) -> game_pb2.TransferHostResponse:
        """Makes somebody else host."""
        code, player_id = requests.code_and_player(request)
        room, member = await self._rooms.visit(code, caller().user_id)
        host_id = room.state.host_id
        is_away = member.player_id != host_id and await self._presence.is_away(code, host_id)
        command = TransferHost(member.user_id, player_id, absent_host=host_id if is_away else "")
        return game_pb2.TransferHostResponse(game=await self._submit(code, command))

    async def LockGame(
        self, request: game_pb2.LockGameRequest, _context: Context
    ) -> game_pb2.LockGameResponse:
        """Closes the door, or opens it."""
        command = Lock(caller().user_id, request.locked)
        return game_pb2.LockGameResponse(game=await self._submit(requests.code(request.code), command))

    async def AddPick(self, request: game_pb2.AddPickRequest, context: Context) -> game_pb2.AddPickResponse:
        """Puts a film into the deck, once it is known to exist."""
        code, movie_id = requests.code_and_movie(request)
        room, member = await self._rooms.visit(code, caller().user_id)
        film = await self._films.find(movie_id, requested_locale(context))
        done = await room.submit(AddPick(member.user_id, film))
        return game_pb2.AddPickResponse(
            added=any(isinstance(numbered.event, PickAdded) for numbered in done.events),
            picked_movies=len(done.state.picked),
        )

    async def RemovePick(
        self, request: game_pb2.RemovePickRequest, _context: Context
    ) -> game_pb2.RemovePickResponse:
        """Takes the caller's pick back."""
        code, movie_id = requests.code_and_movie(request)
        done = await self._rooms.room(code).submit(RemovePick(caller().user_id, movie_id))
        return game_pb2.RemovePickResponse(
            removed=any(isinstance(numbered.event, PickRemoved) for numbered in done.events),
            picked_movies=len(done.state.picked),
        )

    async def ListPicks(
        self, request: game_pb2.ListPicksRequest, context: Context
    ) -> game_pb2.ListPicksResponse:
        """Gives the caller's own picks."""
        room, member = await self._rooms.visit(requests.code(request.code), caller().user_id)
        return game_pb2.ListPicksResponse(
            picks=await self._cards(tuple(member.picks), requested_locale(context)),
            picked_movies=len(room.state.picked),
            attribution=self._films.attribution,
        )

    async def StartGame(
        self, request: game_pb2.StartGameRequest, context: Context
    ) -> game_pb2.StartGameResponse:
        """Fixes the deck, from what the sources give."""
        room, member = await self._rooms.visit(requests.code(request.code), caller().user_id)
        start = Start(member.user_id, {})
        if may_start(room.state, member):
            found = await self._sources.gather(room.state, requested_locale(context))
            start = Start(member.user_id, found.films, found.left_out, found.appeals)
        return game_pb2.StartGameResponse(game=await self._submit(room.code, start))

    async def EndGame(self, request: game_pb2.EndGameRequest, _context: Context) -> game_pb2.EndGameResponse:
        """Ends the game."""
        command = End(caller().user_id)
        return game_pb2.EndGameResponse(game=await self._submit(requests.code(request.code), command))

    async def CountDeck(
        self, request: game_pb2.CountDeckRequest, context: Context
    ) -> game_pb2.CountDeckResponse:
        """Counts what the deck would have."""
        code, trial = requests.code_and_trial(request, requested_locale(context))
        room, member = await self._rooms.visit(code, caller().user_id)
        if trial is not None:
            require_host(room.state, member)
        return messages.deck_count(*await self._sources.count(room.state, trial or room.state.settings))

    async def StartRunOff(
        self, request: game_pb2.StartRunOffRequest, _context: Context
    ) -> game_pb2.StartRunOffResponse:
        """Begins a round between the best films."""
        command = StartRunOff(caller().user_id)
        return game_pb2.StartRunOffResponse(game=await self._submit(requests.code(request.code), command))

    async def DrawWinner(
        self, request: game_pb2.DrawWinnerRequest, _context: Context
    ) -> game_pb2.DrawWinnerResponse:
        """Lets chance decide."""
        user_id = caller().user_id
        room = self._rooms.room(requests.code(request.code))
        state = (await room.submit(Draw(user_id, self._new_seed()))).state
        assert state.drawn is not None, "a draw that was accepted has drawn"
        return game_pb2.DrawWinnerResponse(
            winner=messages.winner(state.drawn), game=await self._game(state, user_id)
        )

    async def GetQrCode(
        self, request: game_pb2.GetQrCodeRequest, _context: Context
    ) -> game_pb2.GetQrCodeResponse:
        """Draws the join link."""
        code, pixels = requests.code_and_format(request)
        room, _ = await self._rooms.visit(code, caller().user_id)
        kind, content_type = ("png", "image/png") if pixels else ("svg", "image/svg+xml")
        picture = _qr_code(self._link(room.code), kind=kind)
        return game_pb2.GetQrCodeResponse(
            picture=httpbody_pb2.HttpBody(content_type=content_type, data=picture)
        )

    async def GetDeck(self, request: game_pb2.GetDeckRequest, context: Context) -> game_pb2.GetDeckResponse:
        """Deals the caller's next cards."""
        code, page_size = requests.code_and_page_size(request)
        room, member = await self._rooms.visit(code, caller().user_id)
        films = room.ranking.next_cards(member, limit=page_size)
        return game_pb2.GetDeckResponse(
            cards=await self._cards([film.movie_id for film in films], requested_locale(context)),
            remaining=remaining(room.state, member),
            attribution=self._films.attribution,
        )

    async def Swipe(self, request: game_pb2.SwipeRequest, _context: Context) -> game_pb2.SwipeResponse:
        """Takes a verdict."""
        user_id = caller().user_id
        code, verdict = requests.code_and_verdict(request, user_id=user_id)
        done = await self._rooms.room(code).submit(verdict)
        return game_pb2.SwipeResponse(
            seq=swipe_seq(done.state, user_id, verdict.swipe_id),
            remaining=remaining(done.state, _member(done.state, user_id)),
        )

    async def UndoSwipe(
        self, request: game_pb2.UndoSwipeRequest, _context: Context
    ) -> game_pb2.UndoSwipeResponse:
        """Takes a verdict back."""
        user_id = caller().user_id
        code, undo = requests.code_and_undo(request, user_id=user_id)
        done = await self._rooms.room(code).submit(undo)
        if undo.swipe_id:
            return game_pb2.UndoSwipeResponse(seq=undo_seq(done.state, user_id, undo.swipe_id))
        return game_pb2.UndoSwipeResponse(seq=done.events[0].seq if done.events else 0)

    async def GetResults(
        self, request: game_pb2.GetResultsRequest, context: Context
    ) -> game_pb2.GetResultsResponse:
        """Tells what became of the evening."""
        code = requests.code(request.code)
        state = await self._rooms.room(code).refresh()
        if state.witness(caller().user_id) is None:
            raise GameNotFound(code=code)
        if not results.ready(state):
            raise GameNotEnded
        answer = messages.results(state)
        movie_ids = messages.named_movies(answer)
        films = await self._films.movies(movie_ids, requested_locale(context))
        answer.movies.extend(films[movie_id] for movie_id in movie_ids if movie_id in films)
        answer.attribution.CopyFrom(self._films.attribution)
        return answer

    async def ListMyGames(
        self, request: game_pb2.ListMyGamesRequest, _context: Context
    ) -> game_pb2.ListMyGamesResponse:
        """Gives a page of the caller's rooms."""
        user_id = caller().user_id
        size, after = requests.page(request, self._page_tokens, user_id=user_id)
        page = await self._history.visits(user_id, size=size, after=after)
        return game_pb2.ListMyGamesResponse(
            games=[
                messages.game(room, player, connected=await self._presence.connected(room.code))
                for room, player in page.visits
            ],
            next_page_token=requests.token_for(page.next, self._page_tokens, user_id=user_id),
            total_size=page.total,
        )

    # The streams write through the context, so that a slow client can be timed: the generated types
    # know only generators.
    async def WatchGame(  # type: ignore[override]
        self, request: game_pb2.WatchGameRequest, context: WatchContext
    ) -> None:
        """Streams the room's events."""
        player = caller()
        code, after_seq, epoch = requests.resume_point(request)
        room, _ = await self._rooms.visit(code, player.user_id)
        await self._streams.watch(room, player, (after_seq, epoch), context)

    async def StreamEvents(  # type: ignore[override]
        self, request: game_pb2.StreamEventsRequest, context: EventsContext
    ) -> None:
        """Streams the room's events to browsers."""
        player = caller()
        metadata: Any = context.invocation_metadata() or ()
        last_event_id = next((value for key, value in metadata if key == LAST_EVENT_ID), None)
        code, after_seq, epoch = requests.resume_point_of_browser(request, last_event_id)
        room, _ = await self._rooms.visit(code, player.user_id)
        await self._streams.send_events(room, player, (after_seq, epoch), context)

    async def Play(  # type: ignore[override]
        self, request_iterator: AsyncIterator[game_pb2.PlayRequest], context: PlayContext
    ) -> None:
        """Streams swipes up, and everything down."""
        await self._streams.play(request_iterator, caller(), requested_locale(context), context)

    async def _game(self, state: State, user_id: str) -> game_pb2.Game:
        connected = await self._presence.connected(state.code)
        return messages.game(state, _member(state, user_id), connected=connected)

    async def _submit(self, code: str, command: Command) -> game_pb2.Game:
        """Have a command done, and return the room after it as who gave it sees it."""
        state = (await self._rooms.room(code).submit(command)).state
        return await self._game(state, caller().user_id)

    def _link(self, code: str) -> str:
        return f"{self._join_url}/{code}"

    async def _cards(self, movie_ids: Sequence[int], locale: Locale) -> list[game_pb2.Card]:
        films = await self._films.movies(movie_ids, locale)
        return [game_pb2.Card(movie_id=movie_id, movie=films.get(movie_id)) for movie_id in movie_ids]


def _member(state: State, user_id: str) -> Player:
    member = state.member(user_id)
    if member is None:
        raise GameNotFound(code=state.code)
    return member


def _qr_code(url: str, *, kind: str) -> bytes:
    picture = io.BytesIO()
    how = {"xmldecl": False} if kind == "svg" else {}
    segno.make(url, error="m").save(picture, kind=kind, scale=8, border=2, **how)
    return picture.getvalue()
