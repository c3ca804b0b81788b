"""`python -m bench.restarts`: everything is restarted under load, one replica at a time, and what came of it.

Two replicas of each service and two edges. Callers make calls with one answer, over REST and over gRPC, those
that may be repeated and those that may not, and none of them tries again; rooms play over `Play`. Meanwhile
each service is told to stop (SIGTERM), and started again when it has ended. An edge is taken out as
Kubernetes does it: no new connections go there, then it is drained by the preStop of `k8s/base/edge.yaml`,
then it is told to stop.

    python -m bench.restarts --rounds 3 --mutual-tls
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import grpc
import httpx
from google.protobuf.field_mask_pb2 import FieldMask

from bench import kills
from bench.kills import Broken, Metadata, Player
from bench.load import Refused, percentile
from dev.certificates import Authority, Mounted
from dev.mesh import Mesh
from dev.processes import StartFailed, free_port
from popcorn.game.v1 import game_pb2, game_pb2_grpc
from popcorn.gateway.v1 import account_pb2, account_pb2_grpc, library_pb2, library_pb2_grpc

RESTARTED: Final = ("game_svc", "gateway", "backlog_svc", "movie_svc", "edge")
"""Who is restarted; of each there are two."""

REPLICAS: Final[Mapping[str, int]] = dict.fromkeys(RESTARTED, 2)

FILMS: Final = (129, 348, 78, 289)

_DRAIN_SECONDS: Final = 2.0
_CALL_SECONDS: Final = 10.0
_SETTLE_SECONDS: Final = 15.0


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    calls: Counter[str] = field(default_factory=Counter)
    """By who was restarted meanwhile: calls that were answered as they should be."""
    failures: dict[str, list[str]] = field(default_factory=dict)
    """By who was restarted meanwhile: calls that were not, in words."""
    resumed: dict[str, list[float]] = field(default_factory=dict)
    """By who was restarted: for each stream that ended, how many seconds it took to have another one."""

    @property
    def failed(self) -> int:
        """How many calls failed."""
        return sum(map(len, self.failures.values()))

    @property
    def longest(self) -> float:
        """The longest that a player was without a stream, in seconds."""
        return max(itertools.chain.from_iterable(self.resumed.values()), default=0.0)

    def lines(self) -> list[str]:
        """Return it in words."""
        return [self._line(what) for what in self.calls]

    def _line(self, what: str) -> str:
        failures = self.failures.get(what, [])
        text = f"{what:12} {self.calls[what]:6} calls, {len(failures)} failed"
        resumed = sorted(self.resumed.get(what, []))
        if resumed:
            text += (
                f"; {len(resumed)} streams ended, another one after p50 {percentile(resumed, 0.5):.2f} s, "
            )
            text += f"at most {resumed[-1]:.2f} s"
        for words, number in Counter(failures).most_common(5):
            text += f"\n    {number} x {words}"
        return text


def two_of_each(folder: Path, settings: Mapping[str, str] | None = None) -> Mesh:
    """Describe a mesh with two of each, whose edges drain as those of `k8s/base/edge.yaml` do."""
    mesh = Mesh(folder, settings={**kills.settings(), **(settings or {})}, replicas=REPLICAS)
    for edge in mesh.edges.values():
        edge.process.command += ["--drain-strategy", "immediate", "--drain-time-s", "15"]
    return mesh


def _certificates(folder: Path) -> dict[str, str]:
    """Write certificates, and return the settings that name them."""
    authority, secret = Authority("restarts"), Mounted(folder / "secret")
    secret.put(authority.issue("127.0.0.1", "localhost"), authority)
    return {
        "MESH_CERTIFICATE_FILE": str(secret.files.chain),
        "MESH_KEY_FILE": str(secret.files.key),
        "MESH_AUTHORITIES_FILE": str(secret.files.authorities),
    }


class Balancer:
    """Hands each new connection to an edge that is in service, as a load balancer or Kubernetes does."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        """Take the edges' ports by name."""
        self._ports = dict(ports)
        self._turn = itertools.count()
        self.out: set[str] = set()
        """The edges that get no new connections."""
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Cut everything."""
        assert self._server is not None, "it has been entered"
        self._server.close()
        for pipe in tuple(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        names = [name for name in self._ports if name not in self.out]
        name = names[next(self._turn) % len(names)]
        there, back = await asyncio.open_connection("127.0.0.1", self._ports[name])
        for source, sink in ((reader, back), (there, writer)):
            pipe = asyncio.create_task(_pipe(source, sink), name="balancer")
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    with suppress(OSError):
        sink.close()


Call = Callable[[], Awaitable[object]]


class _Caller:
    """Somebody who makes one call after the other, and none of them twice."""

    def __init__(self, url: str, channel: grpc.aio.Channel, person: Metadata, code: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=_CALL_SECONDS, headers=dict(person))
        self._person = (*person, ("x-game-code", code))
        self._code = code
        self._library: Any = library_pb2_grpc.LibraryServiceStub(channel)
        self._accounts: Any = account_pb2_grpc.AccountServiceStub(channel)
        self._game: Any = game_pb2_grpc.GameServiceStub(channel)
        self.close = self._http.aclose

    def calls(self) -> Mapping[str, Call]:
        """Return what they call, by name: reads, writes that may be repeated, and writes that may not."""
        film = FILMS[0]
        return {
            "GET film": lambda: self._rest("GET", f"/v1/movies/{film}"),
            "PUT backlog": lambda: self._rest("PUT", f"/v1/backlog/{film}", json={"note": "for tonight"}),
            "GET backlog": lambda: self._rest("GET", "/v1/backlog"),
            "GET game": lambda: self._rest("GET", f"/v1/games/{self._code}"),
            "PUT pick": lambda: self._rest("PUT", f"/v1/games/{self._code}/picks/{film}"),
            "PATCH me": lambda: self._rest("PATCH", "/v1/me", json={"displayName": "Somebody"}),
            "POST guest": lambda: self._rest("POST", "/v1/auth:signInAsGuest", json={"displayName": "Guest"}),
            "GetMovie": lambda: self._library.GetMovie(
                library_pb2.GetMovieRequest(movie_id=film), metadata=self._person, timeout=_CALL_SECONDS
            ),
            "ListTrendingMovies": lambda: self._library.ListTrendingMovies(
                library_pb2.ListTrendingMoviesRequest(), metadata=self._person, timeout=_CALL_SECONDS
            ),
            "GetAccount": lambda: self._accounts.GetAccount(
                account_pb2.GetAccountRequest(), metadata=self._person, timeout=_CALL_SECONDS
            ),
            "UpdateGame": lambda: self._game.UpdateGame(
                game_pb2.UpdateGameRequest(
                    code=self._code,
                    game=game_pb2.Game(name=uuid4().hex),
                    update_mask=FieldMask(paths=["name"]),
                ),
                metadata=self._person,
                timeout=_CALL_SECONDS,
            ),
        }

    async def _rest(self, method: str, path: str, **arguments: Any) -> None:
        answer = await self._http.request(method, path, **arguments)
        if answer.status_code != 200:
            raise Refused(f"{answer.status_code} {answer.text[:300]}")


class _Load:
    """Callers, and what becomes of their calls."""

    def __init__(self, callers: Sequence[_Caller], outcome: Outcome, *, pause: float) -> None:
        self._callers = callers
        self._outcome = outcome
        self._pause = pause
        self.what = ""
        """Who is being restarted."""

    async def run(self) -> None:
        """Call until cancelled."""
        await asyncio.gather(*(self._keep_calling(caller) for caller in self._callers))

    async def _keep_calling(self, caller: _Caller) -> None:
        for name, call in itertools.cycle(caller.calls().items()):
            began = self.what
            try:
                await call()
            except (Refused, httpx.HTTPError, grpc.aio.AioRpcError) as error:
                self._outcome.failures.setdefault(began, []).append(f"{name}: {_in_words(error)}")
            else:
                self._outcome.calls[began] += 1
            await asyncio.sleep(self._pause)


def _in_words(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name} {error.details()}"
    return f"{type(error).__name__} {error}"


async def run(
    mesh: Mesh,
    replicas: Sequence[str],
    *,
    callers: int = 4,
    rooms: int = 2,
    pause: float = 0.02,
    rest: float = 3.0,
) -> Outcome:
    """Restart replicas, one after the other, under load.

    Args:
        mesh: A mesh with two of each (`REPLICAS`) that runs.
        replicas: Which, in this order: `gateway`, `gateway-2`.
        callers: How many make calls with one answer.
        rooms: How many rooms of four play.
        pause: Seconds between two calls of a caller.
        rest: Seconds between a replica that serves again and the next that stops: Kubernetes waits for
            five (`minReadySeconds`).

    Raises:
        Broken: A player was told something twice, or not at all.
    """
    outcome = Outcome()
    people = await kills.sign_in(mesh, callers + rooms * kills.SEATS)
    async with AsyncExitStack() as stack:
        ports = {name: edge.settings.edge_port for name, edge in mesh.edges.items()}
        balancer = await stack.enter_async_context(Balancer(ports))
        target = f"127.0.0.1:{balancer.port}"
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(target, options=own))
            for _ in range(callers + rooms)
        ]
        calling, playing = channels[:callers], channels[callers:]
        made = [
            _Caller(f"http://{target}", channel, who, await _lobby(channel, who))
            for channel, who in zip(calling, people[:callers], strict=True)
        ]
        players: list[Player] = []
        for number, channel in enumerate(playing):
            seats = people[callers + number * kills.SEATS :][: kills.SEATS]
            stub = game_pb2_grpc.GameServiceStub(channel)
            code = await kills.open_room(stub, seats)
            players += [Player(stub, who, code, pause=0.5, seed=f"{number}{who}") for who in seats]
        load = _Load(made, outcome, pause=pause)
        tasks = [asyncio.create_task(load.run(), name="load")]
        tasks += [asyncio.create_task(player.play(), name="player") for player in players]
        try:
            for replica in replicas:
                load.what = replica.partition("-")[0]
                before = [len(player.resumes) for player in players]
                await _restart(mesh, replica, balancer)
                await asyncio.sleep(rest)
                await _until_all_play(players)
                for task in tasks:
                    if task.done():
                        task.result()
                outcome.resumed.setdefault(load.what, []).extend(
                    until - lost
                    for player, known in zip(players, before, strict=True)
                    for lost, until in player.resumes[known:]
                )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for caller in made:
                await caller.close()
    return outcome


async def _lobby(channel: grpc.aio.Channel, person: Metadata) -> str:
    """Open a room that nobody starts, and return its code."""
    stub: Any = game_pb2_grpc.GameServiceStub(channel)
    created = await stub.CreateGame(game_pb2.CreateGameRequest(), metadata=person, timeout=_CALL_SECONDS)
    code: str = created.game.code
    return code


async def _restart(mesh: Mesh, replica: str, balancer: Balancer) -> None:
    if replica in mesh.edges:
        balancer.out.add(replica)
        admin = mesh.edges[replica].settings.edge_admin_port
        async with httpx.AsyncClient(timeout=_CALL_SECONDS) as http:
            drain = f"http://127.0.0.1:{admin}/drain_listeners?graceful&skip_exit"
            (await http.post(drain)).raise_for_status()
        await asyncio.sleep(_DRAIN_SECONDS)
    await asyncio.to_thread(mesh.restart, replica)
    balancer.out.discard(replica)


async def _until_all_play(players: Sequence[Player]) -> None:
    end = time.monotonic() + _SETTLE_SECONDS
    while any(player.lost_at is not None for player in players):
        if time.monotonic() > end:
            raise Broken("some players have no stream any more")
        await asyncio.sleep(0.05)


def main() -> int:
    """The command. Returns its exit status: 0 where nobody noticed anything."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.restarts", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=1, help="how often everything is restarted")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--rooms", type=int, default=4)
    parser.add_argument("--mutual-tls", action="store_true", help="with certificates, as in production")
    parser.add_argument("--only", choices=RESTARTED, action="append", help="restart only this; repeatable")
    arguments = parser.parse_args()
    both = [replica for name in arguments.only or RESTARTED for replica in (name, f"{name}-2")]
    with tempfile.TemporaryDirectory(prefix="popcorn-restarts-") as folder:
        mesh = two_of_each(Path(folder), _certificates(Path(folder)) if arguments.mutual_tls else None)
        try:
            with mesh:
                outcome = asyncio.run(
                    run(
                        mesh,
                        both * arguments.rounds,
                        callers=arguments.callers,
                        rooms=arguments.rooms,
                    )
                )
        except (StartFailed, Broken) as error:
            print(error, file=sys.stderr)
            return 1
    print("\n".join(outcome.lines()))
    print(
        f"{outcome.failed} calls failed; nobody was without a stream for longer than {outcome.longest:.2f} s"
    )
    return 0 if outcome.failed == 0 and outcome.longest <= 3 else 1


if __name__ == "__main__":
    sys.exit(main())
