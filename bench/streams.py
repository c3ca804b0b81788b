"""Swipes over `Play`: rooms of four, every swipe acknowledged and fanned out to all, beside an empty echo."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import grpc

from bench import cpu, load
from bench.report import Row
from bench.world import World, say
from mesh.identity import IDENTITY_HEADER
from popcorn.game.v1 import game_pb2, game_pb2_grpc
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

ROOMS: Final = 100
SEATS: Final = 4
AHEAD: Final = 5
"""How many swipes a player sends without waiting for the answer to the first: as many as there are cards."""

LIKES: Final = 0.3
"""How often a player likes a film: now and then all four do."""

MATCHING_LIKES: Final = 0.41
"""The same where matches are timed: all four then like 2.8 % of the films, as people with tastes do."""

FEW_ROOMS, MANY_ROOMS = 10, 1000
STEADY_RATE: Final = 1000.0
"""Swipes a second, over few rooms and over many."""

CONNECTED_ROOMS: Final = 500
"""For how many rooms of connected players memory is measured."""

DECK: Final = 500
"""How many cards a room has: as many as can be."""

CROWD: Final = 20
LONG_GAME: Final = 5000
LONG_GAMES: Final = 5
"""So many players, until there are so many events, in so many rooms: how long it takes to open such a one."""

_CHANNELS: Final = 16
_PATIENCE: Final = 20.0
_TRIES: Final = 60

Metadata = tuple[tuple[str, str], ...]


async def measure(world: World, seconds: float) -> list[Row]:
    """Measure the mesh and the echo."""
    await have_films(world)
    rows = await _throughput(world, seconds)
    whole, echo = (next(row for row in rows if row.name == name) for name in ("the mesh", "empty echo"))
    rows += await _matches(world, seconds, "that load", rate=whole.load.per_second / 2)
    rows += await _matches(world, seconds, "a quarter of the echo's", rate=echo.load.per_second / 8)
    rows += await _number_of_rooms(world, seconds)
    rows += await _connected(world)
    rows += await _opened(world)
    return rows


async def have_films(world: World) -> None:
    """Have movie_svc know all films of a deck: on most evenings somebody has seen each of them before."""
    say("  films for the decks ...")
    async with grpc.aio.insecure_channel(world.mesh.targets["movie_svc"]) as channel:
        stub = movie_pb2_grpc.MovieServiceStub(channel)
        trending = movie_pb2.ListTrendingRequest(page_size=20)
        movie_ids: list[int] = []
        while len(movie_ids) < DECK:
            page = await stub.ListTrending(trending, timeout=_PATIENCE)
            movie_ids += [movie.id for movie in page.movies]
            trending.page_token = page.next_page_token
            if not page.next_page_token:
                break
        del movie_ids[DECK:]
        for locale in (movie_pb2.Locale(), movie_pb2.Locale(languages=["en"], region="US")):
            request = movie_pb2.BatchGetMoviesRequest(movie_ids=movie_ids, locale=locale)
            for _ in range(_TRIES):  # TMDB is asked no faster than it allows
                if not (await stub.BatchGetMovies(request, timeout=_PATIENCE)).missing:
                    break
                await asyncio.sleep(1)


async def _throughput(world: World, seconds: float) -> list[Row]:
    group = f"Play: {ROOMS} rooms of {SEATS}, each swipe acknowledged and fanned out"
    say(f"  {group}: signing in ...")
    people = [person.metadata for person in await world.people(ROOMS * SEATS)]
    strangers = [_header() for _ in people]
    rows = []
    for name, target, who, pids in (
        ("the mesh", world.mesh.edge_target, people, world.pids),
        ("the mesh, past the edge", world.mesh.targets["game_svc"], strangers, world.pids),
        ("empty echo", f"127.0.0.1:{world.empty_edge_port}", people, world.empty_pids),
        ("empty echo, past the edge", f"127.0.0.1:{world.empty_port}", people, world.empty_pids),
    ):
        say(f"  {group}: {name} ...")
        is_echo = name.startswith("empty")
        async with _table(target, who, echo=is_echo) as table:
            made, used = await _measured(table, pids, seconds, rate=None)
        rows.append(Row(group, name, made, used, is_limit=name == "empty echo"))
    return rows


async def _matches(world: World, seconds: float, load_name: str, *, rate: float) -> list[Row]:
    group = f"from the last like's send to the last player's match event, at half of {load_name}"
    say(f"  {group} ...")
    people = [person.metadata for person in await world.people(ROOMS * SEATS)]
    async with _table(world.mesh.edge_target, people, likes=MATCHING_LIKES) as table:
        made, used = await _measured(table, world.pids, 4 * seconds, rate=rate)
        waited = sorted(wait for room in table.rooms for wait in room.waits())
        matches = load.Load(len(waited), made.seconds, tuple(waited), made.generator_seconds)
    return [Row(group, "swipes", made, used), Row(group, "matches", matches)]


async def _number_of_rooms(world: World, seconds: float) -> list[Row]:
    group = f"{STEADY_RATE:.0f} swipes a second, over few rooms and over many, past the edge"
    rows = []
    for number in (FEW_ROOMS, MANY_ROOMS):
        say(f"  {group}: {number} ...")
        people = [_header() for _ in range(number * SEATS)]
        async with _table(world.mesh.targets["game_svc"], people) as table:
            made, used = await _measured(table, world.pids, seconds, rate=STEADY_RATE)
        rows.append(Row(group, f"{number} rooms", made, used))
    return rows


async def _connected(world: World) -> list[Row]:
    group = f"{CONNECTED_ROOMS * SEATS} players connected and silent, past the edge"
    say(f"  {group} ...")
    people = [_header() for _ in range(CONNECTED_ROOMS * SEATS)]
    pid = world.pids()["game_svc"]
    async with _rooms(world.mesh.targets["game_svc"], people) as (rooms, stubs):
        before = cpu.memory_of(pid)
        greeted: list[float] = []
        table = _Table(rooms, _seated(rooms, people, stubs), [])
        began, own = time.perf_counter(), time.process_time()
        for player in table.players:
            asked = time.perf_counter()
            await player.sit_down()
            greeted.append(time.perf_counter() - asked)
        made = load.Load(
            len(greeted), time.perf_counter() - began, tuple(sorted(greeted)), time.process_time() - own
        )
        each = (cpu.memory_of(pid) - before) / len(people) / 1024
        for player in table.players:
            player.leave()
    return [Row(group, f"hello to snapshot; {each:.0f} KB a player", made)]


async def _opened(world: World) -> list[Row]:
    group = f"opening rooms with {LONG_GAME} events on a replica that does not know them"
    say(f"  {group} ...")
    people = [_header() for _ in range(LONG_GAMES * CROWD)]
    async with _table(world.mesh.targets["game_svc"], people, seats=CROWD) as table:
        await _all_at_once(table.players)
        hosts = table.players[::CROWD]
        for host in hosts:
            await host.until(LONG_GAME)
        for player in table.players:
            player.eager = False
        opened: list[float] = []
        async with world.another_replica() as target, grpc.aio.insecure_channel(target) as channel:
            stub = game_pb2_grpc.GameServiceStub(channel)
            party = [_header() for _ in range(2)]
            await _start(stub, party)  # what the first call of a process costs is not what is asked
            began, own = time.perf_counter(), time.process_time()
            for host in hosts:
                asked = time.perf_counter()
                await host.seq(stub)
                opened.append(time.perf_counter() - asked)
            made = load.Load(
                len(opened), time.perf_counter() - began, tuple(sorted(opened)), time.process_time() - own
            )
    return [Row(group, "GetGame", made)]


def _header() -> Metadata:
    """Return what the edge would say of somebody who is signed in."""
    now = int(time.time())
    claims = {
        "sub": uuid4().hex, "sid": uuid4().hex, "jti": uuid4().hex, "name": "Somebody", "iss": "bench",
        "aud": "bench", "iat": now - 10, "exp": now + 3600,
    }  # fmt: skip
    return ((IDENTITY_HEADER, base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")),)


@dataclass(slots=True)
class _Room:
    """What the players of a room have seen together."""

    code: str
    liked: dict[int, float] = field(default_factory=dict)
    """When the last like of each film was sent."""
    heard: dict[int, list[float]] = field(default_factory=dict)
    """When each player heard of each match."""

    def waits(self) -> list[float]:
        """Return, for each match that all have heard of, how long it took from its last like's send."""
        return [
            max(heard) - self.liked[movie_id] for movie_id, heard in self.heard.items() if len(heard) == SEATS
        ]


@dataclass(slots=True)
class _Table:
    """Everybody who plays."""

    rooms: list[_Room]
    players: list[_Player]
    latencies: list[float]


@asynccontextmanager
async def _rooms(
    target: str, people: Sequence[Metadata], *, echo: bool = False, seats: int = SEATS
) -> AsyncIterator[tuple[list[_Room], list[Any]]]:
    """Seat everybody in rooms and start the games; give the rooms, and where each player calls."""
    async with AsyncExitStack() as stack:
        number = max(_CHANNELS, len(people) // 90 + 1)
        opened = [await stack.enter_async_context(one) for one in load.channels(target, number)]
        stubs = [game_pb2_grpc.GameServiceStub(opened[n % number]) for n in range(len(people))]
        slots = asyncio.Semaphore(4)

        async def gather_room(first: int) -> _Room:
            async with slots:
                return _Room("" if echo else await _start(stubs[first], people[first : first + seats]))

        yield list(await asyncio.gather(*map(gather_room, range(0, len(people), seats)))), stubs


def _seated(
    rooms: Sequence[_Room], people: Sequence[Metadata], stubs: Sequence[Any], **how: Any
) -> list[_Player]:
    seats = len(people) // len(rooms)
    how = {"likes": LIKES, "echo": False, "latencies": [], **how}
    return [
        _Player(stub, who, rooms[n // seats], **how)
        for n, (stub, who) in enumerate(zip(stubs, people, strict=True))
    ]


@asynccontextmanager
async def _table(
    target: str, people: Sequence[Metadata], *, echo: bool = False, likes: float = LIKES, seats: int = SEATS
) -> AsyncIterator[_Table]:
    """Seat everybody in rooms, start the games, and connect all players."""
    async with _rooms(target, people, echo=echo, seats=seats) as (rooms, stubs):
        table = _Table(rooms, [], [])
        table.players = _seated(rooms, people, stubs, latencies=table.latencies, likes=likes, echo=echo)
        doors = asyncio.Semaphore(_CHANNELS)

        async def sit_down(player: _Player) -> None:
            async with doors:
                await player.sit_down()

        await asyncio.gather(*map(sit_down, table.players))
        yield table
        for player in table.players:
            player.leave()


async def _start(stub: Any, people: Sequence[Metadata]) -> str:
    settings = game_pb2.GameSettings(deck_sources=[game_pb2.DECK_SOURCE_TRENDING], max_movies=DECK)
    host = people[0]
    created = await stub.CreateGame(
        game_pb2.CreateGameRequest(settings=settings), metadata=host, timeout=_PATIENCE
    )
    code: str = created.game.code
    for guest in people[1:]:
        await stub.JoinGame(game_pb2.JoinGameRequest(code=code), metadata=guest, timeout=_PATIENCE)
    await stub.StartGame(game_pb2.StartGameRequest(code=code), metadata=host, timeout=_PATIENCE)
    return code


class _Player:
    """Somebody who swipes: every card as soon as it is dealt, or when told to."""

    def __init__(
        self, stub: Any, metadata: Metadata, room: _Room, *, latencies: list[float], likes: float, echo: bool
    ) -> None:
        self._stub = stub
        self._metadata = metadata
        self._call: Any = None
        self._room = room
        self._latencies = latencies
        self._likes = likes
        self._films = itertools.count(1) if echo else None
        self._random = random.Random(repr((room.code, metadata)))  # friends differ
        self._sent: dict[str, float] = {}
        self._swiped: set[int] = set()
        self._cards: list[int] = []
        self.eager = False
        """Whether cards are swiped as they come."""
        self._reading: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._told = asyncio.Condition()
        self._last_seq = 0

    async def sit_down(self) -> None:
        """Connect, say hello, and read from now on."""
        self._call = self._stub.Play(metadata=self._metadata)
        if self._films is None:
            await self._call.write(game_pb2.PlayRequest(hello=game_pb2.Hello(code=self._room.code)))
            message = await self._call.read()
            self._cards = [card.movie_id for card in message.cards]
        self._reading = asyncio.create_task(self._read())

    def leave(self) -> None:
        """Hang up."""
        if self._reading is not None:
            self._reading.cancel()
        self._call.cancel()

    async def seq(self, stub: Any = None) -> int:
        """Return the number of the room's last event, as a replica tells it."""
        request = game_pb2.GetGameRequest(code=self._room.code)
        answer = await (stub or self._stub).GetGame(request, metadata=self._metadata, timeout=_PATIENCE)
        return int(answer.game.seq)

    async def until(self, seq: int) -> None:
        """Return when the player has been told of the event with this number."""
        async with self._told:
            await self._told.wait_for(lambda: self._last_seq >= seq)

    def failure(self) -> BaseException | None:
        """Return what ended the reading, if something did."""
        reading = self._reading
        return reading.exception() if reading is not None and reading.done() else None

    async def swipe_all(self) -> None:
        """Swipe every card there is."""
        if self._films is not None:
            for _ in range(AHEAD - len(self._sent)):
                await self._swipe(next(self._films))
        for movie_id in self._cards:
            if movie_id not in self._swiped:
                await self._swipe(movie_id)

    async def swipe_one(self) -> None:
        """Swipe the next card, if there is one."""
        for movie_id in self._cards:
            if movie_id not in self._swiped:
                await self._swipe(movie_id)
                return

    async def _read(self) -> None:
        while True:
            message = await self._call.read()
            if message is grpc.aio.EOF:
                raise RuntimeError(f"the stream ended: {await self._call.code()}")
            now = time.perf_counter()
            for ack in message.acks:
                if not ack.seq:
                    raise RuntimeError(f"a swipe was refused: {ack.refusal.message}")
                self._latencies.append(now - self._sent.pop(ack.swipe_id))
            for event in message.events:
                if event.HasField("match"):
                    self._room.heard.setdefault(event.match.movie_id, []).append(now)
            if message.events:
                self._last_seq = message.events[-1].seq
                async with self._told:
                    self._told.notify_all()
            if message.cards:
                self._cards = [card.movie_id for card in message.cards]
            if self.eager:
                await self.swipe_all()

    async def _swipe(self, movie_id: int) -> None:
        self._swiped.add(movie_id)
        like = self._random.random() < self._likes
        swipe = game_pb2.PlaySwipe(
            swipe_id=uuid4().hex,
            movie_id=movie_id,
            verdict=game_pb2.VERDICT_LIKE if like else game_pb2.VERDICT_PASS,
        )
        async with self._writing:  # gRPC takes one message of a stream at a time
            self._sent[swipe.swipe_id] = now = time.perf_counter()
            if like:
                self._room.liked[movie_id] = now
            await self._call.write(game_pb2.PlayRequest(swipe=swipe))


async def _measured(
    table: _Table, pids: Callable[[], dict[str, int]], seconds: float, *, rate: float | None
) -> tuple[load.Load, Mapping[str, float]]:
    """Play for a while, after a short warm-up, and return what became of it and the CPU time by process."""
    players = list(table.players)
    random.Random(0).shuffle(players)
    enough = asyncio.Event()
    pacing = asyncio.create_task(_all_at_once(players) if rate is None else _pace(players, rate, enough))
    await asyncio.sleep(load.WARM_UP_SECONDS)
    table.latencies.clear()
    before, own = cpu.readings(pids()), time.process_time()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - started
    used = cpu.used_between(before, cpu.readings(pids()))
    made = load.Load(len(table.latencies), took, tuple(sorted(table.latencies)), time.process_time() - own)
    for player in players:
        player.eager = False
    enough.set()  # not cancelled: that would end the call that is being written to
    await pacing
    await asyncio.sleep(0.3)
    for player in players:
        failure = player.failure()
        if failure is not None:
            raise failure
    return made, used


async def _all_at_once(players: Sequence[_Player]) -> None:
    """Have everybody swipe as soon as they can."""
    for player in players:
        player.eager = True
    await asyncio.gather(*(player.swipe_all() for player in players))


async def _pace(players: Sequence[_Player], rate: float, enough: asyncio.Event) -> None:
    """Have one player after the other swipe a card, so many a second, whatever the answers take."""
    began = time.perf_counter()
    for sent, player in enumerate(itertools.cycle(players)):
        early = began + sent / rate - time.perf_counter()
        if early > 0:
            await asyncio.sleep(early)
        if enough.is_set():
            return
        await player.swipe_one()
