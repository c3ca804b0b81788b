"""Friends who play: real clients of a real server, with the identity header that the edge would set."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import uuid4

import grpc
from pydantic import SecretStr

from game_svc.__main__ import BACKLOG_SERVICE, MOVIE_SERVICE, REVOCATION_SERVICE, assembled
from game_svc.settings import GameSettings
from mesh.identity import IDENTITY_HEADER
from mesh.revocations import Revocations
from mesh.server import Server, ServerOptions, Service
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc
from popcorn.game.v1 import game_pb2, game_pb2_grpc, people_pb2_grpc
from popcorn.gateway.v1 import revocations_pb2, revocations_pb2_grpc
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

UNKNOWN_MOVIE = 999_999
"""The one film that the scripted movie_svc does not have."""


class ScriptedMovies(movie_pb2_grpc.MovieServiceServicer):
    """A movie_svc that has every film but one, rated by its id, and a short list of what is trending."""

    def __init__(self) -> None:
        self.away = False
        self.lists_away = False
        self.discovered: list[movie_pb2.DiscoverMoviesRequest] = []
        self.batches: list[list[int]] = []

    async def BatchGetMovies(
        self, request: movie_pb2.BatchGetMoviesRequest, context: Any
    ) -> movie_pb2.BatchGetMoviesResponse:
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        self.batches.append(list(request.movie_ids))
        answer = movie_pb2.BatchGetMoviesResponse(attribution=movie_pb2.Attribution(tmdb="TMDB's notice"))
        for movie_id in request.movie_ids:
            if movie_id == UNKNOWN_MOVIE:
                answer.missing.add(movie_id=movie_id, cause=movie_pb2.MissingMovie.CAUSE_NOT_FOUND)
            else:
                language = request.locale.languages[0] if request.locale.languages else "en"
                answer.movies.add(
                    id=movie_id, title=f"Film {movie_id}", language=language, rating=movie_id % 100 / 10
                )
        return answer

    async def ListTrending(
        self, request: movie_pb2.ListTrendingRequest, context: Any
    ) -> movie_pb2.ListTrendingResponse:
        if self.lists_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return movie_pb2.ListTrendingResponse(
            movies=[movie_pb2.Movie(id=number, title=f"Film {number}") for number in range(501, 508)],
            total_size=7,
        )

    async def DiscoverMovies(
        self, request: movie_pb2.DiscoverMoviesRequest, context: Any
    ) -> movie_pb2.DiscoverMoviesResponse:
        """A hundred and thirty films pass any filter."""
        if self.lists_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        self.discovered.append(request)
        first = int(request.page_token or "601")
        after = min(first + request.page_size, 731)
        return movie_pb2.DiscoverMoviesResponse(
            movies=[movie_pb2.Movie(id=number, title=f"Film {number}") for number in range(first, after)],
            next_page_token=str(after) if after < 731 else "",
            total_size=130,
        )


class ScriptedGateway(revocations_pb2_grpc.RevocationServiceServicer):
    """A gateway that says which sessions have ended as a test tells it."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def ListRevocations(
        self, request: revocations_pb2.ListRevocationsRequest, context: Any
    ) -> revocations_pb2.ListRevocationsResponse:
        answer = revocations_pb2.ListRevocationsResponse()
        answer.as_of.GetCurrentTime()
        for session_id in self.ended:
            answer.revocations.add(session_id=session_id).forget_time.FromSeconds(int(time.time()) + 3600)
        return answer


class ScriptedBacklogs(backlog_pb2_grpc.BacklogServiceServicer):
    """A backlog_svc that remembers what it is told, as the contract says it has to."""

    def __init__(self) -> None:
        self.away = False
        self.open = asyncio.Event()
        """Answers wait for it."""
        self.open.set()
        self.seconds = 0.0
        """How long an answer takes."""
        self.wanted: dict[str, list[int]] = {}
        self.watched: dict[str, set[int]] = {}
        self.nights: dict[tuple[str, int], tuple[int, backlog_pb2.Match | None]] = {}
        """By game and film: what was said last, by its number. None: it was taken back."""
        self.recorded: list[tuple[str, int]] = []
        """By game and film: each match that was told, as often as it was."""
        self.games: dict[str, backlog_pb2.FinishedGame] = {}

    def matches_of(self, game_id: str) -> list[int]:
        """The films that a game is known to have matched."""
        return sorted(movie for (game, movie), (_, night) in self.nights.items() if game == game_id and night)

    async def IntersectBacklogs(
        self, request: backlog_pb2.IntersectBacklogsRequest, context: Any
    ) -> backlog_pb2.IntersectBacklogsResponse:
        await self._answer(context)
        counted = Counter(movie for who in request.user_ids for movie in self.wanted.get(who, []))
        if request.leave_out_watched:
            for who in request.user_ids:
                for movie in self.watched.get(who, ()):
                    counted.pop(movie, None)
        ranked = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
        answer = backlog_pb2.IntersectBacklogsResponse()
        for movie, people in ranked[: request.limit or 500]:
            answer.movies.add(movie_id=movie, wanted_by=people)
        return answer

    async def BatchGetEntries(
        self, request: backlog_pb2.BatchGetEntriesRequest, context: Any
    ) -> backlog_pb2.BatchGetEntriesResponse:
        await self._answer(context)
        answer = backlog_pb2.BatchGetEntriesResponse()
        for movie in self.watched.get(request.user_id, set()).intersection(request.movie_ids):
            answer.entries.add(movie_id=movie, status=backlog_pb2.ENTRY_STATUS_WATCHED)
        return answer

    async def UpdateEntry(
        self, request: backlog_pb2.UpdateEntryRequest, context: Any
    ) -> backlog_pb2.UpdateEntryResponse:
        await self._answer(context)
        if request.entry.movie_id not in self.wanted.get(request.user_id, []):
            raise NoEntry
        self.watched.setdefault(request.user_id, set()).add(request.entry.movie_id)
        return backlog_pb2.UpdateEntryResponse()

    async def PutEntry(
        self, request: backlog_pb2.PutEntryRequest, context: Any
    ) -> backlog_pb2.PutEntryResponse:
        await self._answer(context)
        self.watched.setdefault(request.user_id, set()).add(request.entry.movie_id)
        return backlog_pb2.PutEntryResponse()

    async def RecordMatch(
        self, request: backlog_pb2.RecordMatchRequest, context: Any
    ) -> backlog_pb2.RecordMatchResponse:
        await self._answer(context)
        self.recorded.append((request.match.game_id, request.match.movie_id))
        self._hear(request.match.game_id, request.match.movie_id, request.game_seq, request.match)
        return backlog_pb2.RecordMatchResponse()

    async def WithdrawMatch(
        self, request: backlog_pb2.WithdrawMatchRequest, context: Any
    ) -> backlog_pb2.WithdrawMatchResponse:
        await self._answer(context)
        self._hear(request.game_id, request.movie_id, request.game_seq, None)
        return backlog_pb2.WithdrawMatchResponse()

    async def RecordGame(
        self, request: backlog_pb2.RecordGameRequest, context: Any
    ) -> backlog_pb2.RecordGameResponse:
        await self._answer(context)
        self.games[request.game.game_id] = request.game
        return backlog_pb2.RecordGameResponse()

    def _hear(self, game_id: str, movie_id: int, seq: int, night: backlog_pb2.Match | None) -> None:
        known, _ = self.nights.get((game_id, movie_id), (-1, None))
        if seq > known:
            self.nights[game_id, movie_id] = seq, night

    async def _answer(self, context: Any) -> None:
        await self.open.wait()
        await asyncio.sleep(self.seconds)
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")


class NoEntry(Exception):
    """What backlog_svc says of an entry that is not there."""

    status = "NOT_FOUND"
    reason = "ENTRY_NOT_FOUND"
    metadata: ClassVar[Mapping[str, str]] = {}


QUICK = ServerOptions(shutdown_grace_seconds=0.1)


@dataclass(frozen=True)
class Replica:
    """One game_svc that runs."""

    server: Server
    stub: game_pb2_grpc.GameServiceAsyncStub
    people: people_pb2_grpc.PeopleServiceAsyncStub
    gateway: ScriptedGateway
    revocations: Revocations
    backlogs: ScriptedBacklogs
    """The backlog_svc it was given, unless it was told of another one."""


@asynccontextmanager
async def scripted_movies() -> AsyncIterator[tuple[ScriptedMovies, str]]:
    movies = ScriptedMovies()  # type: ignore[abstract]
    service = Service(
        descriptor=MOVIE_SERVICE,
        add=movie_pb2_grpc.add_MovieServiceServicer_to_server,
        servicer=movies,
        probes={},
    )
    async with Server([service], listen="127.0.0.1:0") as server:
        yield movies, f"127.0.0.1:{server.port}"


@asynccontextmanager
async def scripted_backlogs() -> AsyncIterator[tuple[ScriptedBacklogs, str]]:
    backlogs = ScriptedBacklogs()  # type: ignore[abstract]
    service = Service(
        descriptor=BACKLOG_SERVICE,
        add=backlog_pb2_grpc.add_BacklogServiceServicer_to_server,
        servicer=backlogs,
    )
    async with Server([service], listen="127.0.0.1:0") as server:
        yield backlogs, f"127.0.0.1:{server.port}"


@asynccontextmanager
async def replica(
    redis_url: str,
    movie_target: str,
    *,
    backlog_target: str = "",
    heartbeat_seconds: float = 15,
    revocations: Revocations | None = None,
) -> AsyncIterator[Replica]:
    gateway = ScriptedGateway()
    revocation_service = Service(
        descriptor=REVOCATION_SERVICE,
        add=revocations_pb2_grpc.add_RevocationServiceServicer_to_server,
        servicer=gateway,
    )
    backlogs = ScriptedBacklogs()  # type: ignore[abstract]
    backlog_service = Service(
        descriptor=BACKLOG_SERVICE,
        add=backlog_pb2_grpc.add_BacklogServiceServicer_to_server,
        servicer=backlogs,
    )
    async with Server([revocation_service, backlog_service], listen="127.0.0.1:0", options=QUICK) as door:
        settings = GameSettings(
            redis_url=SecretStr(redis_url),
            movie_target=movie_target,
            gateway_target=f"127.0.0.1:{door.port}",
            backlog_target=backlog_target or f"127.0.0.1:{door.port}",
            page_token_key=SecretStr("a key that is long enough for tests"),
            heartbeat_seconds=heartbeat_seconds,
        )
        async with (
            assembled(settings, revocations=revocations) as assembly,
            Server(
                assembly.services,
                listen="127.0.0.1:0",
                revocations=assembly.revocations,
                before_stop=assembly.streams.stop,
            ) as server,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            await assembly.revocations.poll()
            yield Replica(
                server,
                game_pb2_grpc.GameServiceStub(channel),
                people_pb2_grpc.PeopleServiceStub(channel),
                gateway,
                assembly.revocations,
                backlogs,
            )


class Friend:
    """Somebody with a phone."""

    def __init__(
        self, name: str, stub: game_pb2_grpc.GameServiceAsyncStub, *, user_id: str = "", guest: bool = False
    ) -> None:
        self.name = name
        self.guest = guest
        self.user_id = user_id or f"user-{uuid4().hex}"
        self.session_id = f"session-{uuid4().hex}"
        self.token_seconds = 3600
        self.stub = stub

    def on(self, replica: Replica) -> Friend:
        """The same person, connected to another replica."""
        return Friend(self.name, replica.stub, user_id=self.user_id, guest=self.guest)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        now = int(time.time())
        claims = {
            "sub": self.user_id, "sid": self.session_id, "jti": "token-1", "name": self.name, "iss": "test",
            "aud": "test", "iat": now - 10, "exp": now + self.token_seconds, "guest": self.guest,
        }  # fmt: skip
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return ((IDENTITY_HEADER, payload),)

    async def create(self, **settings: Any) -> game_pb2.Game:
        request = game_pb2.CreateGameRequest(name="Friday", settings=game_pb2.GameSettings(**settings))
        return (await self.stub.CreateGame(request, metadata=self.metadata)).game

    async def join(self, code: str) -> game_pb2.Game:
        return (await self.stub.JoinGame(game_pb2.JoinGameRequest(code=code), metadata=self.metadata)).game

    async def leave(self, code: str) -> None:
        await self.stub.LeaveGame(game_pb2.LeaveGameRequest(code=code), metadata=self.metadata)

    async def pick(self, code: str, *movie_ids: int) -> None:
        for movie_id in movie_ids:
            request = game_pb2.AddPickRequest(code=code, movie_id=movie_id)
            await self.stub.AddPick(request, metadata=self.metadata)

    async def start(self, code: str) -> game_pb2.Game:
        return (await self.stub.StartGame(game_pb2.StartGameRequest(code=code), metadata=self.metadata)).game

    async def game(self, code: str) -> game_pb2.Game:
        return (await self.stub.GetGame(game_pb2.GetGameRequest(code=code), metadata=self.metadata)).game

    async def swipe(
        self, code: str, movie_id: int, verdict: int = game_pb2.VERDICT_LIKE, *, swipe_id: str = ""
    ) -> game_pb2.SwipeResponse:
        request = game_pb2.SwipeRequest(
            code=code,
            movie_id=movie_id,
            verdict=game_pb2.Verdict.ValueType(verdict),
            swipe_id=swipe_id or uuid4().hex,
        )
        return await self.stub.Swipe(request, metadata=self.metadata)

    async def undo(self, code: str, movie_id: int, *, swipe_id: str = "") -> int:
        request = game_pb2.UndoSwipeRequest(code=code, movie_id=movie_id, swipe_id=swipe_id)
        return (await self.stub.UndoSwipe(request, metadata=self.metadata)).seq

    async def end(self, code: str) -> game_pb2.Game:
        return (await self.stub.EndGame(game_pb2.EndGameRequest(code=code), metadata=self.metadata)).game

    async def results(self, code: str) -> game_pb2.GetResultsResponse:
        return await self.stub.GetResults(game_pb2.GetResultsRequest(code=code), metadata=self.metadata)

    def watch(self, code: str, *, after_seq: int = 0, epoch: str = "") -> Watching:
        request = game_pb2.WatchGameRequest(code=code, after_seq=after_seq, epoch=epoch)
        return Watching(self.stub.WatchGame(request, metadata=self.metadata))

    async def play(self, code: str, *, after_seq: int = 0, epoch: str = "", languages: str = "en") -> Playing:
        call = self.stub.Play(metadata=(*self.metadata, ("accept-language", languages)))
        hello = game_pb2.Hello(code=code, after_seq=after_seq, epoch=epoch)
        await call.write(game_pb2.PlayRequest(hello=hello))
        return Playing(call)


class _Stream:
    """What both kinds of stream have: messages come, and one waits for what one needs."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.messages: list[Any] = []
        self.events: list[game_pb2.GameEvent] = []

    async def until(self, enough: Callable[[], bool]) -> None:
        """Read until it is enough; fails when the stream ends before."""
        while not enough():
            message = await self.call.read()
            assert message is not grpc.aio.EOF, "the stream ended before it had brought what was expected"
            self.messages.append(message)
            self.events += message.events

    async def until_event(self, kind: str) -> game_pb2.GameEvent:
        await self.until(lambda: any(event.WhichOneof("kind") == kind for event in self.events))
        return next(event for event in self.events if event.WhichOneof("kind") == kind)

    async def until_seq(self, seq: int) -> None:
        await self.until(lambda: bool(self.events) and self.events[-1].seq >= seq)

    async def until_field(self, field: str) -> Any:
        await self.until(lambda: any(message.HasField(field) for message in self.messages))
        return next(message for message in self.messages if message.HasField(field))

    async def first(self) -> Any:
        await self.until(lambda: bool(self.messages))
        return self.messages[0]

    def close(self) -> None:
        self.call.cancel()


class Watching(_Stream):
    """A `WatchGame` stream."""


class Playing(_Stream):
    """A `Play` stream."""

    async def swipe(self, movie_id: int, verdict: int = game_pb2.VERDICT_LIKE, *, swipe_id: str = "") -> str:
        swipe = game_pb2.PlaySwipe(
            swipe_id=swipe_id or uuid4().hex, movie_id=movie_id, verdict=game_pb2.Verdict.ValueType(verdict)
        )
        await self.call.write(game_pb2.PlayRequest(swipe=swipe))
        return swipe.swipe_id

    async def undo(self, swipe_id: str) -> None:
        await self.call.write(game_pb2.PlayRequest(undo=game_pb2.PlayUndo(swipe_id=swipe_id)))

    @property
    def acks(self) -> list[game_pb2.SwipeAck]:
        return [ack for message in self.messages for ack in message.acks]

    async def ack(self, swipe_id: str) -> game_pb2.SwipeAck:
        await self.until(lambda: any(ack.swipe_id == swipe_id for ack in self.acks))
        return next(ack for ack in self.acks if ack.swipe_id == swipe_id)

    @property
    def dealt(self) -> list[game_pb2.Card]:
        """The latest cards."""
        return list(next((message.cards for message in reversed(self.messages) if message.cards), []))

    async def cards(self) -> list[game_pb2.Card]:
        """The latest cards, once there are some."""
        await self.until(lambda: bool(self.dealt))
        return self.dealt
