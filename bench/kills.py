"""`python -m bench.kills`: rooms that swipe while replicas and Redis are killed, and what came of it.

Two replicas of game_svc behind the edge, everybody over `Play`, as phones do it: who loses the stream
connects again with the last number, and sends what was not acknowledged once more under its old id. At the
end every acknowledged swipe is looked for in the log, and the logs of a room's players are laid beside each
other.

    python -m bench.kills --rooms 50 --kills 20
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import grpc
import httpx

from bench.load import percentile
from dev.mesh import Mesh, bare_environment
from dev.processes import StartFailed
from popcorn.game.v1 import game_pb2, game_pb2_grpc

SEATS: Final = 4
LIKES: Final = 0.3
DEEDS: Final = ("kill a replica", "kill Redis", "stop a replica")
"""What is done to the servers."""

REPLICAS: Final = ("game_svc", "game_svc-2")
LIMITS: Final = ("SIGN_INS", "GUESTS", "REFRESHES", "JOINS", "NOTIFICATIONS")
GATEWAY_LIMITS: Final = ("SIGN_INS_PER_ADDRESS", "GUESTS_PER_ADDRESS", "REFRESHES_PER_ADDRESS")

LONGEST_SECONDS: Final = 3.0
"""How long nobody may be without a stream."""

_PATIENCE: Final = 20.0
_AGAIN_SECONDS: Final = 0.1
_QUIET_SECONDS: Final = 30.0

Metadata = tuple[tuple[str, str], ...]


class Broken(Exception):
    """A promise was not kept, in words."""


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    acknowledged: int = 0
    """Swipes that were acknowledged."""
    lost: int = 0
    """Of these, those that are not in the log, under their number."""
    doubled: int = 0
    """Swipes that are there more often than they were made."""
    differing: int = 0
    """Players who were told another log than somebody else in their room, or one with gaps."""
    interrupted: dict[str, list[float]] = field(default_factory=dict)
    """By what was done: for each player whose stream ended, how many seconds it took to have another one."""
    waited: dict[str, list[float]] = field(default_factory=dict)
    """By what was done: for each player, how many seconds later they had the next acknowledgement."""

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, nobody saw something else, and nobody was away for too long."""
        away = max(itertools.chain(*self.interrupted.values()), default=0.0)
        return not (self.lost or self.doubled or self.differing) and away <= LONGEST_SECONDS

    def lines(self) -> list[str]:
        """Return it in words."""
        counts = f"{self.acknowledged} swipes acknowledged: {self.lost} lost, {self.doubled} doubled; "
        counts += f"{self.differing} players with another log than the rest of their room"
        return [counts, *map(self._line, self.waited)]

    def _line(self, what: str) -> str:
        streams, waits = sorted(self.interrupted.get(what, [])), sorted(self.waited[what])
        text = f"{what}: next acknowledgement after {_spread(waits)}"
        if streams:
            text += f"; {len(streams)} streams ended, another one after {_spread(streams)}"
        return text


def _spread(seconds: Sequence[float]) -> str:
    return f"p50 {percentile(seconds, 0.5):.2f} s, at most {seconds[-1]:.2f} s" if seconds else "nothing"


class Player:
    """Somebody who swipes a card every now and then, over a connection that may break."""

    def __init__(self, stub: Any, metadata: Metadata, code: str, *, pause: float, seed: str) -> None:
        self._stub = stub
        self._metadata = (*metadata, ("x-game-code", code))
        self._code = code
        self._pause = pause
        self._random = random.Random(seed)
        self.player_id = ""
        self.events: list[bytes] = []
        """All they were told, in order, as bytes; the first of them has the number `first_seq`."""
        self.first_seq = 0
        self.acknowledged: dict[str, int] = {}
        """The number of each swipe that was acknowledged."""
        self._unanswered: dict[str, game_pb2.PlaySwipe] = {}
        self._swiped: set[int] = set()
        self._cards: list[int] = []
        self._epoch = ""
        self._ready = asyncio.Event()
        self._call: Any = None
        self.swiping = True
        self.lost_at: float | None = None
        """When the stream ended, until there is another one."""
        self.resumes: list[tuple[float, float]] = []
        """When streams ended, and when there were others."""
        self.acknowledged_at: list[float] = []

    @property
    def last_seq(self) -> int:
        """The number of the last event they were told."""
        return self.first_seq + len(self.events) - 1

    @property
    def done(self) -> bool:
        """Whether everything they have sent is answered."""
        return not self.swiping and not self._unanswered

    async def play(self) -> None:
        """Play until cancelled."""
        swiping = asyncio.create_task(self._swipe_now_and_then())
        try:
            for attempt in itertools.count():
                try:
                    await self._stream()
                except grpc.aio.AioRpcError:
                    self._gone()
                await asyncio.sleep(min(0.05 * attempt, 0.3) if self.lost_at else 0)
        finally:
            swiping.cancel()
            if self._call is not None:
                self._call.cancel()

    async def _stream(self) -> None:
        self._ready.clear()
        call = self._call = self._stub.Play(metadata=self._metadata)
        hello = game_pb2.Hello(
            code=self._code, after_seq=self.last_seq if self._epoch else 0, epoch=self._epoch
        )
        await call.write(game_pb2.PlayRequest(hello=hello))
        first = await call.read()
        if first is grpc.aio.EOF:
            self._gone()
            return
        if self.lost_at is not None:
            self.resumes.append((self.lost_at, time.monotonic()))
            self.lost_at = None
        if not first.resumed:
            if self._epoch:
                raise Broken(f"{self.player_id} of {self._code} had to start over")
            game = first.snapshot.game
            self.player_id, self._epoch, self.first_seq = game.own_player_id, game.epoch, game.seq + 1
        self._take(first)
        for swipe in tuple(self._unanswered.values()):
            await call.write(game_pb2.PlayRequest(swipe=swipe))
        self._ready.set()
        while (message := await call.read()) is not grpc.aio.EOF:
            self._take(message)
        self._gone()

    def _gone(self) -> None:
        self._ready.clear()
        if self.lost_at is None:
            self.lost_at = time.monotonic()

    def _take(self, message: game_pb2.PlayResponse) -> None:
        for ack in message.acks:
            if ack.seq:
                if self.acknowledged.setdefault(ack.swipe_id, ack.seq) != ack.seq:
                    raise Broken(f"swipe {ack.swipe_id} was acknowledged with two numbers")
                self._unanswered.pop(ack.swipe_id, None)
                self.acknowledged_at.append(time.monotonic())
            else:
                self._again(ack.swipe_id)
        for event in message.events:
            if event.seq != self.last_seq + 1:
                raise Broken(f"{self.player_id} of {self._code}: {event.seq} came after {self.last_seq}")
            self.events.append(event.SerializeToString(deterministic=True))
        if message.cards:
            self._cards = [card.movie_id for card in message.cards]

    def _again(self, swipe_id: str) -> None:
        """Send a swipe that was refused, as Redis was away, once more in a moment."""
        swipe = self._unanswered.get(swipe_id)
        if swipe is not None:
            asyncio.get_running_loop().call_later(
                _AGAIN_SECONDS, lambda: asyncio.ensure_future(self._send(swipe))
            )

    async def _swipe_now_and_then(self) -> None:
        await asyncio.sleep(self._random.random() * self._pause)
        while True:
            await asyncio.sleep(self._pause)
            movie_id = next((card for card in self._cards if card not in self._swiped), None)
            if not self.swiping or movie_id is None or not self._ready.is_set():
                continue
            self._swiped.add(movie_id)
            like = self._random.random() < LIKES
            swipe = game_pb2.PlaySwipe(
                swipe_id=uuid4().hex,
                movie_id=movie_id,
                verdict=game_pb2.VERDICT_LIKE if like else game_pb2.VERDICT_PASS,
            )
            self._unanswered[swipe.swipe_id] = swipe
            await self._send(swipe)

    async def _send(self, swipe: game_pb2.PlaySwipe) -> None:
        # A stream that breaks here is noticed where it is read, and the swipe sent again on the next one.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            if self._ready.is_set():
                await self._call.write(game_pb2.PlayRequest(swipe=swipe))


@dataclass(slots=True)
class _Deed:
    """Something that was done to the servers."""

    what: str
    at: float


async def run(
    mesh: Mesh, deeds: Sequence[str], *, rooms: int, pause: float = 0.5, rest: float = 1.0
) -> Outcome:
    """Have rooms swipe, do one thing after the other to the servers, and look at what came of it.

    Args:
        mesh: A mesh with two replicas of game_svc that runs.
        deeds: Which of `DEEDS`, in this order.
        rooms: How many rooms.
        pause: Seconds between two swipes of a player.
        rest: Seconds between a deed that is repaired and the next one.

    Raises:
        Broken: A number came twice, was left out, or meant two things.
    """
    people = await sign_in(mesh, rooms * SEATS)
    channels = [
        grpc.aio.insecure_channel(mesh.edge_target, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(max(4, rooms * SEATS // 80 + 1))
    ]
    stubs = [game_pb2_grpc.GameServiceStub(channel) for channel in channels]
    players: list[list[Player]] = []
    for number in range(rooms):
        party = people[number * SEATS : (number + 1) * SEATS]
        stub = stubs[number % len(stubs)]
        code = await open_room(stub, party)
        players.append(
            [Player(stub, who, code, pause=pause, seed=f"{number} {seat}") for seat, who in enumerate(party)]
        )
    everybody = [player for room in players for player in room]
    playing = [asyncio.create_task(player.play()) for player in everybody]
    done: list[_Deed] = []
    try:
        await asyncio.sleep(2 * pause + rest)
        replicas = itertools.cycle(REPLICAS)
        for what in deeds:
            done.append(_Deed(what, time.monotonic()))
            await _do(mesh, what, replicas)
            await asyncio.sleep(rest)
            _raise_first(playing)
        await asyncio.sleep(rest)
        for player in everybody:
            player.swiping = False
        await _until_quiet(players, playing)
    finally:
        for task in playing:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
        for channel in channels:
            await channel.close()
    return _compare(players, done)


async def _do(mesh: Mesh, what: str, replicas: Any) -> None:
    match what:
        case "kill Redis":
            await asyncio.to_thread(mesh.kill, "valkey")
            await asyncio.to_thread(mesh.restart, "valkey")
        case "kill a replica":
            name = next(replicas)
            await asyncio.to_thread(mesh.kill, name)
            await asyncio.to_thread(mesh.restart, name)
        case "stop a replica":
            await asyncio.to_thread(mesh.restart, next(replicas))
        case _:
            raise ValueError(what)


async def _until_quiet(players: Sequence[Sequence[Player]], playing: Sequence[asyncio.Task[None]]) -> None:
    """Wait until everything is answered and everybody has been told the same."""
    end = time.monotonic() + _QUIET_SECONDS
    while True:
        _raise_first(playing)
        told = all(len({player.last_seq for player in room}) == 1 for room in players)
        if told and all(player.done for room in players for player in room):
            return
        if time.monotonic() > end:
            raise Broken("swipes stay unanswered, or some players are never told what others are")
        await asyncio.sleep(0.1)


def _raise_first(playing: Sequence[asyncio.Task[None]]) -> None:
    for task in playing:
        if task.done():
            task.result()


def _compare(players: Sequence[Sequence[Player]], done: Sequence[_Deed]) -> Outcome:
    outcome = Outcome()
    for room in players:
        first = max(player.first_seq for player in room)
        logs = [player.events[first - player.first_seq :] for player in room]
        outcome.differing += sum(log != logs[0] for log in logs)
        longest = min(room, key=lambda player: player.first_seq)
        events = [game_pb2.GameEvent.FromString(event) for event in longest.events]
        swipers = {event.seq: event.swiped.player_id for event in events if event.HasField("swiped")}
        for player in room:
            outcome.acknowledged += len(player.acknowledged)
            numbers = set(player.acknowledged.values())
            outcome.lost += len(player.acknowledged) - sum(
                swipers.get(number) == player.player_id for number in numbers
            )
            there = sum(swiper == player.player_id for swiper in swipers.values())
            outcome.doubled += max(0, there - len(player.acknowledged))
    for deed, following in itertools.zip_longest(done, done[1:]):
        end = following.at if following is not None else float("inf")
        waited = outcome.waited.setdefault(deed.what, [])
        interrupted = outcome.interrupted.setdefault(deed.what, [])
        for player in (player for room in players for player in room):
            interrupted += [until - lost for lost, until in player.resumes if deed.at <= lost < end]
            waited += [
                at - deed.at
                for at in itertools.islice((at for at in player.acknowledged_at if deed.at < at), 1)
            ]
    return outcome


async def sign_in(mesh: Mesh, number: int) -> list[Metadata]:
    """Sign several new people in."""
    slots = asyncio.Semaphore(8)

    async def one(http: httpx.AsyncClient) -> Metadata:
        async with slots:
            asked = {"provider": "google", "subject": uuid4().hex, "name": "Somebody"}
            id_token = (await http.post(f"{mesh.idp_url}/tokens", json=asked)).json()["idToken"]
            sign_in = {"provider": "PROVIDER_GOOGLE", "idToken": id_token}
            session = await http.post(f"{mesh.edge_url}/v1/auth:signIn", json=sign_in)
            session.raise_for_status()
            return (("authorization", f"Bearer {session.json()['tokens']['accessToken']}"),)

    async with httpx.AsyncClient(timeout=_PATIENCE) as http:
        return list(await asyncio.gather(*(one(http) for _ in range(number))))


async def open_room(stub: Any, people: Sequence[Metadata]) -> str:
    """Have people start a game with a long deck, and return its code."""
    settings = game_pb2.GameSettings(deck_sources=[game_pb2.DECK_SOURCE_TRENDING], max_movies=500)
    created = await stub.CreateGame(
        game_pb2.CreateGameRequest(settings=settings), metadata=people[0], timeout=_PATIENCE
    )
    code: str = created.game.code
    for guest in people[1:]:
        await stub.JoinGame(game_pb2.JoinGameRequest(code=code), metadata=guest, timeout=_PATIENCE)
    await stub.StartGame(game_pb2.StartGameRequest(code=code), metadata=people[0], timeout=_PATIENCE)
    return code


def settings() -> Mapping[str, str]:
    """Return what the mesh is started with: limits are out of the way."""
    found = bare_environment() | {f"EDGE_{limit}_PER_MINUTE": "1000000" for limit in LIMITS}
    return found | {f"{limit}_PER_MINUTE": "1000000" for limit in GATEWAY_LIMITS} | {"LOG_LEVEL": "warning"}


def main() -> int:
    """The command. Returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.kills", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20, help="how often each thing is done")
    parser.add_argument("--only", choices=DEEDS, action="append", help="do only this; repeatable")
    arguments = parser.parse_args()
    deeds = [*(arguments.only or DEEDS)] * arguments.kills
    with tempfile.TemporaryDirectory(prefix="popcorn-kills-") as folder:
        mesh = Mesh(Path(folder), settings=settings(), replicas={"game_svc": len(REPLICAS)})
        try:
            with mesh:
                outcome = asyncio.run(run(mesh, deeds, rooms=arguments.rooms, pause=1.0))
        except (StartFailed, Broken) as error:
            print(error)
            return 1
    print(f"{arguments.rooms} rooms of {SEATS}, each of these {arguments.kills} times, in turn")
    print("\n".join(outcome.lines()))
    return 0 if outcome.holds else 1


if __name__ == "__main__":
    sys.exit(main())
