"""GameService: one method an RPC, which unpacks, makes one thing happen, and packs."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeAlias

import grpc
import segno

from game_svc import messages, requests
from game_svc.deck import next_cards, remaining
from game_svc.events import DeckSource, PickAdded, PickRemoved
from game_svc.films import Films
from game_svc.presence import Presence
from game_svc.refusals import GameNotFound
from game_svc.rooms import Rooms
from game_svc.rules import AddPick, RemovePick, Start
from game_svc.seating import Seating
from game_svc.state import Player, State
from game_svc.streams import EventsContext, PlayContext, Streams, WatchContext, swipe_seq
from mesh.identity import caller
from mesh.locale import Locale, requested_locale
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
        *,
        join_url: str,
    ) -> None:
        self._rooms = rooms
        self._seating = seating
        self._streams = streams
        self._presence = presence
        self._films = films
        self._join_url = join_url

    async def CreateGame(
        self, request: game_pb2.CreateGameRequest, context: Context
    ) -> game_pb2.CreateGameResponse:
        """Opens a room, and draws its QR code."""
        host = caller()
        name, settings = requests.name_and_settings(request, requested_locale(context))
        state = await self._seating.open(host, name, settings)
        join_url = f"{self._join_url}/{state.code}"
        return game_pb2.CreateGameResponse(
            game=await self._game(state, host.user_id), join_url=join_url, qr_code_svg=_qr_code(join_url)
        )

    async def GetGame(self, request: game_pb2.GetGameRequest, _context: Context) -> game_pb2.GetGameResponse:
        """Gives the room as it is now."""
        room, member = await self._rooms.visit(requests.code(request.code), caller().user_id)
        return game_pb2.GetGameResponse(game=await self._game(room.state, member.user_id))

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
        self, request: game_pb2.StartGameRequest, _context: Context
    ) -> game_pb2.StartGameResponse:
        """Fixes the deck, with what is trending at hand if it is needed."""
        room, member = await self._rooms.visit(requests.code(request.code), caller().user_id)
        settings = room.state.settings
        wanted = DeckSource.TRENDING in settings.deck_sources or not room.state.picked
        trending = await self._films.trending(settings.max_movies) if wanted else ()
        done = await room.submit(Start(member.user_id, {DeckSource.TRENDING: trending}))
        return game_pb2.StartGameResponse(game=await self._game(done.state, member.user_id))

    async def GetDeck(self, request: game_pb2.GetDeckRequest, context: Context) -> game_pb2.GetDeckResponse:
        """Deals the caller's next cards."""
        code, page_size = requests.code_and_page_size(request)
        room, member = await self._rooms.visit(code, caller().user_id)
        films = next_cards(room.state, member, limit=page_size)
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

    async def _cards(self, movie_ids: Sequence[int], locale: Locale) -> list[game_pb2.Card]:
        films = await self._films.movies(movie_ids, locale)
        return [game_pb2.Card(movie_id=movie_id, movie=films.get(movie_id)) for movie_id in movie_ids]


def _member(state: State, user_id: str) -> Player:
    member = state.member(user_id)
    if member is None:
        raise GameNotFound(code=state.code)
    return member


def _qr_code(url: str) -> str:
    picture = io.BytesIO()
    segno.make(url, error="m").save(picture, kind="svg", scale=8, border=2, xmldecl=False)
    return picture.getvalue().decode()
