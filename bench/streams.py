"""Swipes over `Play`: rooms of four, every swipe acknowledged and fanned out to all, beside an empty echo."""

from __future__ import annotations

import itertools
import random
import time
from asyncio import gather
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import grpc

from bench import cpu, load
from bench.report import Row
from bench.world import Person, World, say
from popcorn.game.v1 import game_pb2, game_pb2_grpc

ROOMS = 10
SEATS = 4
AHEAD = 5
"""How many swipes a player sends without waiting for the answer to the first: as many as there are cards."""

LIKES = 0.3
"""How often a player likes a film: now and then all four do."""

_CHANNELS = 8


async def measure(world: World, seconds: float) -> list[Row]:
    """Measure the mesh and the echo."""
    group = f"Play: {ROOMS} rooms of {SEATS}, each swipe acknowledged and fanned out"
    say(f"  {group}: gathering ...")
    people = await world.people(ROOMS * SEATS)
    async with AsyncExitStack() as stack:

        async def stubs(target: str) -> list[Any]:
            opened = [await stack.enter_async_context(one) for one in load.channels(target, _CHANNELS)]
            return [game_pb2_grpc.GameServiceStub(opened[n % _CHANNELS]) for n in range(len(people))]

        players = await _in_rooms(await stubs(world.mesh.edge_target), people)
        rows = [await _measured(group, "the mesh", players, seconds, world.pids)]
        for name, port in (
            ("empty echo", world.empty_edge_port),
            ("empty echo, past the edge", world.empty_port),
        ):
            echoed = await stubs(f"127.0.0.1:{port}")
            players = [
                _Player(stub, person, "", itertools.count(1))
                for stub, person in zip(echoed, people, strict=True)
            ]
            rows.append(
                await _measured(
                    group, name, players, seconds, world.empty_pids, is_limit=name == "empty echo"
                )
            )
    return rows


async def _in_rooms(stubs: Sequence[Any], people: Sequence[Person]) -> list[_Player]:
    """Seat everybody in rooms of their own kind, and start the games."""
    settings = game_pb2.GameSettings(deck_sources=[game_pb2.DECK_SOURCE_TRENDING], max_movies=500)
    players: list[_Player] = []
    for first in range(0, len(people), SEATS):
        host, party = people[first], range(first, first + SEATS)
        request = game_pb2.CreateGameRequest(settings=settings)
        created = await stubs[first].CreateGame(request, metadata=host.metadata, timeout=20)
        code = created.game.code
        for guest in party[1:]:
            await stubs[guest].JoinGame(
                game_pb2.JoinGameRequest(code=code), metadata=people[guest].metadata, timeout=20
            )
        await stubs[first].StartGame(game_pb2.StartGameRequest(code=code), metadata=host.metadata, timeout=20)
        players += [_Player(stubs[one], people[one], code, None) for one in party]
    return players


class _Player:
    """Somebody who swipes every card as soon as it is dealt."""

    def __init__(self, stub: Any, person: Person, code: str, films: itertools.count[int] | None) -> None:
        """Take a seat.

        Args:
            stub: Where to play.
            person: Who.
            code: The room; empty for an echo.
            films: What to swipe where no cards are dealt; None where they are.
        """
        self._call = stub.Play(metadata=person.metadata)
        self._code = code
        self._films = films
        self._random = random.Random(code)
        self._sent: dict[str, float] = {}
        self._swiped: set[int] = set()
        self._greeted = False

    async def play(self, end: float) -> list[float]:
        """Swipe until the end, on `time.perf_counter()`'s scale; return how long each answer took."""
        latencies: list[float] = []
        if not self._greeted and self._films is None:
            hello = game_pb2.Hello(code=self._code)
            await self._call.write(game_pb2.PlayRequest(hello=hello))
        if self._films is not None and not self._greeted:
            for _ in range(AHEAD):
                await self._swipe(next(self._films))
        self._greeted = True
        while time.perf_counter() < end:
            message = await self._call.read()
            if message is grpc.aio.EOF:
                raise RuntimeError(f"the stream ended: {await self._call.code()}")
            now = time.perf_counter()
            for ack in message.acks:
                if not ack.seq:
                    raise RuntimeError(f"a swipe was refused: {ack.refusal.message}")
                latencies.append(now - self._sent.pop(ack.swipe_id))
                if self._films is not None:
                    await self._swipe(next(self._films))
            for card in message.cards:
                if card.movie_id not in self._swiped:
                    await self._swipe(card.movie_id)
        return latencies

    async def _swipe(self, movie_id: int) -> None:
        self._swiped.add(movie_id)
        verdict = game_pb2.VERDICT_LIKE if self._random.random() < LIKES else game_pb2.VERDICT_PASS
        swipe = game_pb2.PlaySwipe(swipe_id=uuid4().hex, movie_id=movie_id, verdict=verdict)
        self._sent[swipe.swipe_id] = time.perf_counter()
        await self._call.write(game_pb2.PlayRequest(swipe=swipe))

    def leave(self) -> None:
        """Hang up."""
        self._call.cancel()


async def _measured(
    group: str,
    name: str,
    players: Sequence[_Player],
    seconds: float,
    pids: Callable[[], dict[str, int]],
    *,
    is_limit: bool = False,
) -> Row:
    say(f"  {group}: {name} ...")
    await _all_play(players, load.WARM_UP_SECONDS)
    before, own = cpu.readings(pids()), time.process_time()
    started = time.perf_counter()
    latencies = await _all_play(players, seconds)
    took = time.perf_counter() - started
    used = cpu.used_between(before, cpu.readings(pids()))
    for player in players:
        player.leave()
    made = load.Load(len(latencies), took, tuple(sorted(latencies)), time.process_time() - own)
    return Row(group, name, made, used, is_limit=is_limit)


async def _all_play(players: Sequence[_Player], seconds: float) -> list[float]:
    end = time.perf_counter() + seconds
    return [latency for one in await gather(*(player.play(end) for player in players)) for latency in one]
