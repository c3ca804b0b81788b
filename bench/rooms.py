"""`python -m bench.rooms`: how many swipes it takes friends to find a film that all of them like.

People with tastes (bench/tastes.py) play whole rooms to the first match. `--rooms` of each size are played
through the public API of a whole mesh: friends sign in, join, pick the films, and swipe in turns the one card
that GetDeck deals them. The server is given the films' public ratings and nothing else. Many more rooms are
played with the same code (game_svc/rules.py, deck.py) and no server, beside other orders; all of it is drawn.

That is the first evening: nobody has ever swiped those films. `--later` rooms of each size are played on a
later one: `OTHERS` people, none of whom is in the room, have swiped all of its films in games that are over,
and the server has counted what they said (game_svc/taste.py).

python -m bench.rooms --rooms 200 --later 20 --loop 2000 --picture docs/few-swipes.svg
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import grpc
import httpx

from bench import orders, tastes
from bench.catalogue import Served
from bench.distributions import Curve, Panel, drawn
from bench.tastes import Room
from bench.world import Person, say, sign_in, without_limits
from dev.mesh import Mesh
from dev.processes import StartFailed
from popcorn.game.v1 import game_pb2, game_pb2_grpc

SIZES: Final = (2, 4, 6)
"""How many friends sit in a room."""

OTHERS: Final = 40
"""How many people have swiped the films before, on a later evening, and """
CROWD: Final = 20
"""how many of them sit in a room: as many as can."""

AT_A_TIME: Final = 4
"""How many rooms are played at the same time."""

PICKS_AT_A_TIME: Final = 4

_LOOKS: Final = 100
_LOOK_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 20.0
_PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0)

Counts = Mapping[str, Sequence[int]]
"""Swipes to the first match, one number a room, by what dealt the cards."""


class Visitors:
    """Play rooms through the public API."""

    def __init__(self, mesh: Mesh, channel: grpc.aio.Channel, http: httpx.AsyncClient) -> None:
        """Play in a mesh, over a channel to its edge."""
        self._mesh = mesh
        self._http = http
        # The generated type is that of an interface; over a channel of asyncio its calls are awaited.
        self._game: Any = game_pb2_grpc.GameServiceStub(channel)

    async def play(self, room: Room, *, world: int = 0) -> int:
        """Play a room to its first match; return how many turns that took."""
        films = [film.movie_id for film in orders.public(room, world=world)]
        people, code = await self._gathered(len(room.likes), films)
        likes = [0] * len(films)
        for turn in range(1, len(films) + 1):
            for person, answers in zip(people, room.likes, strict=True):
                deck = await self._ask(person, "GetDeck", game_pb2.GetDeckRequest(code=code, page_size=1))
                film = films.index(deck.cards[0].movie_id)
                await self._swipe(person, code, films[film], liked=answers[film])
                likes[film] += answers[film]
                if likes[film] == len(people):
                    await self._see_match(person, code, films[film])
                    return turn
        raise ValueError("there is no match in this room")

    async def play_later(self, room: Room, *, world: int) -> int:
        """Play a room as `play` does, after its others have swiped its films, in a world of its own."""
        films = [film.movie_id for film in orders.public(room, world=world)]
        for first in range(0, len(room.others), CROWD):
            await self._swipe_all(films, room.others[first : first + CROWD])
        return await self.play(room, world=world)

    async def _swipe_all(self, films: Sequence[int], crowd: Sequence[Sequence[bool]]) -> None:
        """Play a whole game, in which everybody swipes every film, until it is history."""
        people, code = await self._gathered(len(crowd), films)

        async def swipe(person: Person, answers: Sequence[bool]) -> None:
            for movie_id, liked in zip(films, answers, strict=True):
                await self._swipe(person, code, movie_id, liked=liked)

        await asyncio.gather(*map(swipe, people, crowd))
        host = people[0]
        await self._ask(host, "EndGame", game_pb2.EndGameRequest(code=code))
        for _ in range(_LOOKS):
            # What a game has taught is counted before it is history.
            if (await self._ask(host, "ListMyGames", game_pb2.ListMyGamesRequest())).games:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        raise RuntimeError(f"game {code} is over, and has not become history")

    async def _gathered(self, players: int, films: Sequence[int]) -> tuple[Sequence[Person], str]:
        """Sign people in and let them play with these films; return them and the room's code."""
        people = [await sign_in(self._mesh, self._http) for _ in range(players)]
        host, *others = people
        created = await self._ask(host, "CreateGame", game_pb2.CreateGameRequest())
        code: str = created.game.code
        for other in others:
            await self._ask(other, "JoinGame", game_pb2.JoinGameRequest(code=code))
        slots = asyncio.Semaphore(PICKS_AT_A_TIME)

        async def pick(movie_id: int) -> None:
            async with slots:
                await self._ask(host, "AddPick", game_pb2.AddPickRequest(code=code, movie_id=movie_id))

        await asyncio.gather(*map(pick, films))
        await self._ask(host, "StartGame", game_pb2.StartGameRequest(code=code))
        return people, code

    async def _swipe(self, person: Person, code: str, movie_id: int, *, liked: bool) -> None:
        verdict = game_pb2.VERDICT_LIKE if liked else game_pb2.VERDICT_PASS
        swipe = game_pb2.SwipeRequest(code=code, swipe_id=uuid4().hex, movie_id=movie_id, verdict=verdict)
        await self._ask(person, "Swipe", swipe)

    async def _see_match(self, person: Person, code: str, movie_id: int) -> None:
        room = await self._ask(person, "GetGame", game_pb2.GetGameRequest(code=code))
        found = [match.movie_id for match in room.game.matches]
        if found != [movie_id]:
            raise RuntimeError(f"everybody likes film {movie_id}, and the matches are {found}")

    async def _ask(self, person: Person, method: str, request: object) -> Any:
        """Call a method; once more while something is not there, as an app would: a repeated swipe is one."""
        call = getattr(self._game, method)
        for pause in _PAUSES_SECONDS:
            try:
                return await call(request, metadata=person.metadata, timeout=_PATIENCE_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(pause)
        return await call(request, metadata=person.metadata, timeout=_PATIENCE_SECONDS)


async def through_the_api(rooms: Sequence[Room], mesh: Mesh, *, worlds: Sequence[int] = ()) -> list[int]:
    """Return how many turns each room takes, played through a mesh.

    Args:
        rooms: The rooms.
        mesh: Where they are played.
        worlds: For each room, the world that is its own and in which it is a later evening; none: it is the
            first one, in the world of all.
    """
    slots = asyncio.Semaphore(AT_A_TIME)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=_PATIENCE_SECONDS))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(mesh.edge_target))
        visitors = Visitors(mesh, channel, http)

        async def played(number: int, room: Room) -> int:
            async with slots:
                if worlds:
                    return await visitors.play_later(room, world=worlds[number])
                return await visitors.play(room)

        return list(await asyncio.gather(*itertools.starmap(played, enumerate(rooms))))


def in_the_loop(rooms: Sequence[Room], play: Callable[[Room, orders.Dealer], int]) -> dict[str, list[int]]:
    """Return how many turns each room takes by each order, played without a server."""
    counts = {}
    for name, dealer in orders.ORDERS.items():
        rng = random.Random(0)
        counts[name] = [play(room, dealer(room, rng)) for room in rooms]
    return counts


def figures(counts: Sequence[int]) -> str:
    """Return a median, a 90th percentile (what nine of ten rooms stay below or reach), and a mean."""
    ordered = sorted(counts)
    ninetieth = ordered[int(0.9 * len(ordered))]
    return (
        f"{statistics.median(ordered):4g} ({ninetieth:2}) {statistics.mean(ordered):6.2f}  {len(ordered):5}"
    )


def drawn_rooms(number: int, players: int, seed: int) -> list[Room]:
    """Return the first rooms of a size in which there is something to be found."""
    return tastes.rooms_with_a_match(number, players=players, seed=seed, others=OTHERS)


def played_through_the_api(arguments: argparse.Namespace) -> dict[tuple[str, int], list[int]]:
    """Play rooms of all sizes through a mesh of their own.

    Returns:
        How many turns each room took, by the name of what dealt the cards (`orders.ORDERS`) and by size.
    """
    played: dict[tuple[str, int], list[int]] = {}
    worlds = 1 + arguments.later * len(SIZES)
    with tempfile.TemporaryDirectory(prefix="popcorn-rooms-") as folder, Served(worlds=worlds) as catalogue:
        mesh = Mesh(Path(folder), settings={**without_limits(), **catalogue.settings})
        try:
            mesh.start()
            for number, players in enumerate(SIZES):
                say(f"{players} friends, {arguments.rooms} rooms through the API ...")
                rooms = drawn_rooms(arguments.rooms, players, arguments.seed)
                played["ours", players] = asyncio.run(through_the_api(rooms, mesh))
                if arguments.later:
                    say(f"{players} friends, {arguments.later} rooms on a later evening ...")
                    first = 1 + number * arguments.later
                    own = range(first, first + arguments.later)
                    again = through_the_api(rooms[: arguments.later], mesh, worlds=own)
                    played["ours, on a later evening", players] = asyncio.run(again)
        finally:
            mesh.stop()
    return played


def measured(arguments: argparse.Namespace) -> list[Panel]:
    """Play everything and print what came of it."""
    panels = []
    played = played_through_the_api(arguments) if arguments.rooms else {}
    print("swipes to the first match: median (90th percentile), mean, rooms")
    for players in SIZES:
        say(f"{players} friends, {arguments.loop} rooms in the loop ...")
        rooms = drawn_rooms(arguments.loop, players, arguments.seed)
        in_turns = in_the_loop(rooms, orders.in_turns)
        at_once = in_the_loop(rooms, orders.at_once)
        print(f"{players} friends")
        for name, counts in in_turns.items():
            print(f"  {name:47} {figures(counts)}")
            through = played.get((name, players))
            if through:
                same = sum(map(int.__eq__, through, counts))
                print(f"  {name + ', through the API':47} {figures(through)}  {same} as in the loop")
        knowing = [orders.knowing_tastes(room, random.Random(number)) for number, room in enumerate(rooms)]
        print(f"  {'told all tastes, asking whom one wants':47} {figures(knowing)}")
        for name in ("ours", "ours, on a later evening", "best rated first"):
            print(f"  {name + ', all swiping at once':47} {figures(at_once[name])}")
        curves = [Curve(name, counts, played.get((name, players), ())) for name, counts in in_turns.items()]
        panels.append(Panel(f"{players} friends", curves))
    return panels


def main() -> int:
    """The command. Returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.rooms", description="Count swipes to a match.")
    parser.add_argument(
        "--rooms", type=int, default=250, help="rooms of each size through the API; 0 for none"
    )
    parser.add_argument(
        "--later", type=int, default=20, help="the first so many of them once more, on a later evening"
    )
    parser.add_argument("--loop", type=int, default=1000, help="rooms of each size without a server")
    parser.add_argument("--seed", type=int, default=0, help="the first room's number")
    parser.add_argument("--picture", type=Path, help="draw the distributions into this file, as SVG")
    arguments = parser.parse_args()
    try:
        panels = measured(arguments)
    except StartFailed as error:
        say(str(error))
        return 1
    if arguments.picture:
        arguments.picture.parent.mkdir(parents=True, exist_ok=True)
        arguments.picture.write_text(drawn(panels))
    return 0


if __name__ == "__main__":
    sys.exit(main())
