"""What is measured: the whole mesh on one core, and an edge with nothing behind it beside it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import grpc
import httpx

from bench import cpu
from dev.edge import Edge
from dev.mesh import Mesh, bare_environment, serves
from dev.processes import Process, free_port
from mesh.edge_settings import EdgeSettings
from popcorn.gateway.v1 import library_pb2, library_pb2_grpc

BACKLOG = 60
"""How many films are in the backlog that is paged through."""

PAGE = 20

SERVER_CORE, LOAD_CORE = 0, 1

_LIMITS = ("SIGN_INS", "GUESTS", "REFRESHES", "JOINS", "NOTIFICATIONS", "IMPORTS")
_GATEWAY_LIMITS = (
    *("SIGN_INS_PER_ADDRESS", "SIGN_INS_PER_ACCOUNT", "GUESTS_PER_ADDRESS"),
    *("REFRESHES_PER_ADDRESS", "REFRESHES_PER_ACCOUNT"),
)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in."""

    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What a call of theirs carries."""
        return {"authorization": f"Bearer {self.token}", "accept-language": "en", "x-region": "US"}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The same for gRPC."""
        return tuple(self.headers.items())


class World:
    """Starts everything; `async with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answers = folder / "answers"
        self.mesh = Mesh(folder / "mesh", settings=without_limits())
        self.empty_port = free_port()
        self.empty_edge_port = free_port()
        self._empty: Process | None = None
        self._empty_edge: Edge | None = None
        self.person = Person("")
        self.film = 0

    async def __aenter__(self) -> Self:
        """Start the servers on their core, and go to the other one."""
        where = cpu.share_a_core(SERVER_CORE)
        say(f"servers: {where}")
        await asyncio.to_thread(self.mesh.start)
        self.person = (await self.people(1))[0]
        await self._fill_backlog()
        await self._keep_answers()
        await asyncio.to_thread(self._start_empty)
        say(f"load: {cpu.share_a_core(LOAD_CORE)}")
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        for part in (self._empty_edge, self._empty, self.mesh):
            if part is not None:
                await asyncio.to_thread(part.stop)

    @asynccontextmanager
    async def another_replica(self) -> AsyncIterator[str]:
        """Start one more game_svc, on the servers' core, and give its target."""
        target = f"127.0.0.1:{free_port()}"
        process = Process(
            "another game_svc",
            ["taskset", "-c", str(SERVER_CORE), sys.executable, "-m", "game_svc"],
            log=self._folder / "another.log",
            environment={**self.mesh.environment, "GAME_LISTEN": target},
        )
        await asyncio.to_thread(process.start)
        try:
            await asyncio.to_thread(process.wait_until, lambda: serves(target), seconds=30)
            yield target
        finally:
            await asyncio.to_thread(process.stop)

    def pids(self) -> dict[str, int]:
        """Return the mesh's running processes by name."""
        found = {}
        for part in self.mesh.parts:
            process = part.runs.process
            if process is not None and process.pid is not None and part.name not in ("idp", "tmdb"):
                found[part.name] = process.pid
        return found

    def empty_pids(self) -> dict[str, int]:
        """Return the empty side's processes by name."""
        assert self._empty is not None, "the world has been entered"
        assert self._empty_edge is not None, "the world has been entered"
        found = {"empty": self._empty.pid}
        if self._empty_edge.process is not None:
            found["edge"] = self._empty_edge.process.pid
        return {name: pid for name, pid in found.items() if pid is not None}

    async def people(self, number: int) -> list[Person]:
        """Sign several new people in."""
        slots = asyncio.Semaphore(8)

        async def one(http: httpx.AsyncClient) -> Person:
            async with slots:
                return await sign_in(self.mesh, http)

        async with httpx.AsyncClient(timeout=20) as http:
            return list(await asyncio.gather(*(one(http) for _ in range(number))))

    async def _fill_backlog(self) -> None:
        async with httpx.AsyncClient(
            base_url=self.mesh.edge_url, timeout=20, headers=self.person.headers
        ) as http:
            films: list[int] = []
            token = ""
            while len(films) < BACKLOG:
                page = (await http.get("/v1/movies:trending", params={"pageToken": token})).json()
                films += [found["movie"]["id"] for found in page["movies"]]
                token = page["nextPageToken"]
            for movie_id in films[:BACKLOG]:
                put = await http.put(f"/v1/backlog/{movie_id}", json={"note": "for some evening"})
                put.raise_for_status()
        self.film = films[0]

    async def _keep_answers(self) -> None:
        """Write the real answers down, for the empty handlers to give."""
        self._answers.mkdir()
        async with grpc.aio.insecure_channel(self.mesh.edge_target) as channel:
            stub = library_pb2_grpc.LibraryServiceStub(channel)
            film = await stub.GetMovie(
                library_pb2.GetMovieRequest(movie_id=self.film), metadata=self.person.metadata, timeout=20
            )
            page = await stub.ListBacklog(
                library_pb2.ListBacklogRequest(page_size=PAGE), metadata=self.person.metadata, timeout=20
            )
        (self._answers / "film").write_bytes(film.SerializeToString())
        (self._answers / "backlog").write_bytes(page.SerializeToString())

    def _start_empty(self) -> None:
        target = f"127.0.0.1:{self.empty_port}"
        command = [sys.executable, "-m", "bench.empty", "--port", str(self.empty_port)]
        command += ["--answers", str(self._answers), "--keys-from", self.mesh.targets["gateway"]]
        self._empty = Process(
            "empty", command, log=self._folder / "empty.log", environment=self.mesh.environment
        )
        self._empty.start()
        self._empty.wait_until(lambda: serves(target), seconds=20)
        given: dict[str, Any] = {
            name: value
            for name in EdgeSettings.model_fields
            if (value := self.mesh.environment.get(name.upper())) is not None
        }
        given |= {"edge_port": self.empty_edge_port, "gateway_target": target, "game_target": target}
        given["edge_admin_port"] = free_port()
        self._empty_edge = Edge(EdgeSettings(**given), folder=self._folder / "empty-edge")
        self._empty_edge.start()


def without_limits() -> dict[str, str]:
    """Return what a mesh is given that is to be measured: nobody is kept from calling often."""
    limits = {f"EDGE_{limit}_PER_MINUTE": "1000000" for limit in _LIMITS}
    limits |= {f"{limit}_PER_MINUTE": "1000000" for limit in _GATEWAY_LIMITS}
    return {**bare_environment(), **limits, "LOG_LEVEL": "warning"}


async def sign_in(mesh: Mesh, http: httpx.AsyncClient) -> Person:
    """Sign somebody new in."""
    asked = {"provider": "google", "subject": uuid4().hex, "name": "Somebody"}
    id_token = (await http.post(f"{mesh.idp_url}/tokens", json=asked)).json()["idToken"]
    asked = {"provider": "PROVIDER_GOOGLE", "idToken": id_token}
    session = await http.post(f"{mesh.edge_url}/v1/auth:signIn", json=asked)
    session.raise_for_status()
    return Person(session.json()["tokens"]["accessToken"])


def say(text: str) -> None:
    """Show progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)
