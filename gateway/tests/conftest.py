"""The real gateway, upon a real PostgreSQL, between servers that answer as a test tells them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from gateway import keys
from gateway.__main__ import build_deletions, services
from gateway.migrate import FOLDER, SCHEMA
from gateway.session_store import SessionStore
from gateway.settings import GatewaySettings
from mesh.background import running_in_background
from mesh.channels import open_channel
from mesh.migrations import migrate
from mesh.postgres import Database
from mesh.revocations import Revocations
from mesh.server import Server, ServerOptions, Service
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc
from popcorn.game.v1 import people_pb2, people_pb2_grpc
from popcorn.gateway.v1 import (
    account_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    library_pb2_grpc,
)
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

if TYPE_CHECKING:
    from popcorn.gateway.v1.account_pb2_grpc import AccountServiceAsyncStub
    from popcorn.gateway.v1.auth_pb2_grpc import AuthServiceAsyncStub
    from popcorn.gateway.v1.library_pb2_grpc import LibraryServiceAsyncStub

GOOGLE_CLIENTS = ("ios.apps.googleusercontent.com", "web.apps.googleusercontent.com")
APPLE_CLIENTS = ("dev.eveningpopcorn.app", "dev.eveningpopcorn.web")
ISSUER = "https://popcorn.test"
AUDIENCE = "popcorn-api"


@dataclass
class ShiftedClock:
    """The real time, as much later as a test says: tokens of providers are checked against real time too."""

    shift: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.shift


class Signer:
    """A key pair of an identity provider."""

    def __init__(self, key_id: str, *, algorithm: str = "RS256") -> None:
        self.key_id = key_id
        self.algorithm = algorithm
        self.private_key: Any = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048)
            if algorithm == "RS256"
            else ec.generate_private_key(ec.SECP256R1())
        )

    def jwk(self) -> dict[str, Any]:
        """The public half."""
        maker = jwt.algorithms.RSAAlgorithm if self.algorithm == "RS256" else jwt.algorithms.ECAlgorithm
        public: dict[str, Any] = maker.to_jwk(self.private_key.public_key(), as_dict=True)
        return {**public, "kid": self.key_id, "use": "sig", "alg": self.algorithm}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A token; a header of None is left out."""
        headers = {"kid": self.key_id, **header}
        payload = json.dumps(claims).encode()  # not jwt.encode: it refuses some of what tests want to say
        return jwt.PyJWS().encode(payload, self.private_key, algorithm=self.algorithm, headers=headers)


class KeyServer:
    """Serves a JSON document over HTTP, and counts; may be told to fail or to hang."""

    def __init__(self, document: object) -> None:
        self.document: object = document
        self.status = 200
        self.cache_control = "public, max-age=3600"
        self.requests = 0
        self.was_asked = asyncio.Event()
        self.hanging: asyncio.Event | None = None
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}/keys"

    async def __aenter__(self) -> KeyServer:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        if self.hanging is not None:
            self.hanging.set()
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            self.was_asked.set()
            if self.hanging is not None:
                await self.hanging.wait()
            body = self.document if isinstance(self.document, bytes) else json.dumps(self.document).encode()
            head = (
                f"HTTP/1.1 {self.status} X",
                "content-type: application/json",
                f"content-length: {len(body)}",
                f"cache-control: {self.cache_control}",
                "connection: close\r\n\r\n",
            )
            writer.write("\r\n".join(head).encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up, which is what some tests want
        finally:
            writer.close()


class Refused(Exception):
    """What a scripted service answers when it is told to fail."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__("A scripted refusal.")
        self.status = status
        self.reason = reason
        self.metadata: dict[str, str] = {}


@dataclass
class Script:
    """What a service was asked, and how it shall fail."""

    asked: list[Message] = field(default_factory=list)
    failure: Exception | None = None
    hanging: bool = False
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    going_on: asyncio.Event = field(default_factory=asyncio.Event)

    def let_go(self) -> None:
        """End the hanging, of those too who hang already."""
        self.hanging = False
        self.going_on.set()

    async def note(self, request: Message) -> None:
        self.asked.append(request)
        self.was_asked.set()
        if self.hanging:
            await self.going_on.wait()
        if self.failure is not None:
            raise self.failure


NOTICE = movie_pb2.Attribution(tmdb="This product uses the TMDB API.", justwatch="JustWatch")


class ScriptedMovies(movie_pb2_grpc.MovieServiceServicer):
    """Knows the films 1 to 99, named after their number, and has lost 50."""

    def __init__(self) -> None:
        self.script = Script()

    async def GetMovie(
        self, request: movie_pb2.GetMovieRequest, context: object
    ) -> movie_pb2.GetMovieResponse:
        await self.script.note(request)
        if request.movie_id > 99:
            raise Refused("NOT_FOUND", "MOVIE_NOT_FOUND")
        return movie_pb2.GetMovieResponse(movie=film(request.movie_id), attribution=NOTICE)

    async def BatchGetMovies(
        self, request: movie_pb2.BatchGetMoviesRequest, context: object
    ) -> movie_pb2.BatchGetMoviesResponse:
        await self.script.note(request)
        return movie_pb2.BatchGetMoviesResponse(
            movies=[film(movie_id) for movie_id in request.movie_ids if movie_id <= 99 and movie_id != 50],
            missing=[
                movie_pb2.MissingMovie(
                    movie_id=movie_id,
                    cause=movie_pb2.MissingMovie.CAUSE_UNAVAILABLE
                    if movie_id == 50
                    else movie_pb2.MissingMovie.CAUSE_NOT_FOUND,
                )
                for movie_id in request.movie_ids
                if movie_id > 99 or movie_id == 50
            ],
            attribution=NOTICE,
        )

    async def SearchMovies(
        self, request: movie_pb2.SearchMoviesRequest, context: object
    ) -> movie_pb2.SearchMoviesResponse:
        await self.script.note(request)
        films = [] if request.query == "nothing" else [film(1), film(2), film(3)]
        return movie_pb2.SearchMoviesResponse(
            movies=films, next_page_token="more", total_size=60, attribution=NOTICE
        )

    async def SuggestMovies(
        self, request: movie_pb2.SuggestMoviesRequest, context: object
    ) -> movie_pb2.SuggestMoviesResponse:
        await self.script.note(request)
        return movie_pb2.SuggestMoviesResponse(movies=[film(4), film(5)], attribution=NOTICE)

    async def DiscoverMovies(
        self, request: movie_pb2.DiscoverMoviesRequest, context: object
    ) -> movie_pb2.DiscoverMoviesResponse:
        await self.script.note(request)
        return movie_pb2.DiscoverMoviesResponse(
            movies=[film(6), film(7)], next_page_token="more", total_size=30, attribution=NOTICE
        )

    async def ListGenres(
        self, request: movie_pb2.ListGenresRequest, context: object
    ) -> movie_pb2.ListGenresResponse:
        await self.script.note(request)
        genre = movie_pb2.Genre(id=18, name="Drama")
        return movie_pb2.ListGenresResponse(genres=[genre], attribution=NOTICE)

    async def ListWatchProviders(
        self, request: movie_pb2.ListWatchProvidersRequest, context: object
    ) -> movie_pb2.ListWatchProvidersResponse:
        await self.script.note(request)
        provider = movie_pb2.WatchProvider(id=8, name="Netflix")
        return movie_pb2.ListWatchProvidersResponse(providers=[provider], attribution=NOTICE)

    async def ListTrending(
        self, request: movie_pb2.ListTrendingRequest, context: object
    ) -> movie_pb2.ListTrendingResponse:
        await self.script.note(request)
        return movie_pb2.ListTrendingResponse(
            movies=[film(7), film(8)], next_page_token="more", total_size=40, attribution=NOTICE
        )


def film(movie_id: int) -> movie_pb2.Movie:
    watch = movie_pb2.WatchOptions(region="AT")  # what JustWatch is credited for
    return movie_pb2.Movie(id=movie_id, title=f"Film {movie_id}", watch=watch)


def entry(movie_id: int, note: str = "") -> backlog_pb2.Entry:
    return backlog_pb2.Entry(
        movie_id=movie_id, status=backlog_pb2.ENTRY_STATUS_WANT_TO_WATCH, note=note, etag="e"
    )


class ScriptedBacklogs(backlog_pb2_grpc.BacklogServiceServicer):
    """Holds whatever a test puts into `entries`, whoever asks."""

    def __init__(self) -> None:
        self.script = Script()
        self.entries: dict[int, backlog_pb2.Entry] = {}
        self.job = backlog_pb2.ImportJob()
        self.rows: list[backlog_pb2.ImportRow] = []
        self.pieces: list[backlog_pb2.StartImportRequest] = []
        self.file: list[bytes | Exception] = []
        self.failing: dict[str, Exception] = {}
        self.matches: list[backlog_pb2.Match] = []
        self.stats = backlog_pb2.Stats()

    async def GetStats(
        self, request: backlog_pb2.GetStatsRequest, context: object
    ) -> backlog_pb2.GetStatsResponse:
        await self.script.note(request)
        return backlog_pb2.GetStatsResponse(stats=self.stats)

    async def ListMatches(
        self, request: backlog_pb2.ListMatchesRequest, context: object
    ) -> backlog_pb2.ListMatchesResponse:
        await self.script.note(request)
        return backlog_pb2.ListMatchesResponse(
            matches=self.matches, next_page_token="more", total_size=len(self.matches)
        )

    async def MarkMatchWatched(
        self, request: backlog_pb2.MarkMatchWatchedRequest, context: object
    ) -> backlog_pb2.MarkMatchWatchedResponse:
        await self.script.note(request)
        return backlog_pb2.MarkMatchWatchedResponse(
            match=self.matches[0], entry=self.entries.get(request.movie_id), moved=2
        )

    async def PutEntry(
        self, request: backlog_pb2.PutEntryRequest, context: object
    ) -> backlog_pb2.PutEntryResponse:
        await self.script.note(request)
        added = request.entry.movie_id not in self.entries
        self.entries[request.entry.movie_id] = entry(request.entry.movie_id, request.entry.note)
        return backlog_pb2.PutEntryResponse(entry=self.entries[request.entry.movie_id], added=added)

    async def UpdateEntry(
        self, request: backlog_pb2.UpdateEntryRequest, context: object
    ) -> backlog_pb2.UpdateEntryResponse:
        await self.script.note(request)
        return backlog_pb2.UpdateEntryResponse(entry=entry(request.entry.movie_id, request.entry.note))

    async def RemoveEntry(
        self, request: backlog_pb2.RemoveEntryRequest, context: object
    ) -> backlog_pb2.RemoveEntryResponse:
        await self.script.note(request)
        return backlog_pb2.RemoveEntryResponse(removed=self.entries.pop(request.movie_id, None) is not None)

    async def ListEntries(
        self, request: backlog_pb2.ListEntriesRequest, context: object
    ) -> backlog_pb2.ListEntriesResponse:
        await self.script.note(request)
        return backlog_pb2.ListEntriesResponse(
            entries=self.entries.values(),
            next_page_token="more",
            total_size=len(self.entries),
            undecided_size=3,
        )

    async def BatchGetEntries(
        self, request: backlog_pb2.BatchGetEntriesRequest, context: object
    ) -> backlog_pb2.BatchGetEntriesResponse:
        await self.script.note(request)
        return backlog_pb2.BatchGetEntriesResponse(
            entries=[self.entries[movie_id] for movie_id in request.movie_ids if movie_id in self.entries]
        )

    async def ExportUser(
        self, request: backlog_pb2.ExportUserRequest, context: object
    ) -> backlog_pb2.ExportUserResponse:
        await self.script.note(request)
        entries = [json_format.MessageToDict(kept) for kept in self.entries.values()]
        data = json_format.ParseDict({"entries": entries, "movieNights": []}, Struct())
        return backlog_pb2.ExportUserResponse(data=data)

    async def EraseUser(
        self, request: backlog_pb2.EraseUserRequest, context: object
    ) -> backlog_pb2.EraseUserResponse:
        await self.script.note(request)
        erased, self.entries = len(self.entries), {}
        return backlog_pb2.EraseUserResponse(erased_entries=erased)

    async def StartImport(
        self, requests: AsyncIterator[backlog_pb2.StartImportRequest], context: object
    ) -> backlog_pb2.StartImportResponse:
        self.pieces = [piece async for piece in requests]
        return backlog_pb2.StartImportResponse(job=self.job)

    async def GetImport(
        self, request: backlog_pb2.GetImportRequest, context: object
    ) -> backlog_pb2.GetImportResponse:
        await self.script.note(request)
        if "GetImport" in self.failing:
            raise self.failing["GetImport"]
        return backlog_pb2.GetImportResponse(job=self.job)

    async def ListImportRows(
        self, request: backlog_pb2.ListImportRowsRequest, context: object
    ) -> backlog_pb2.ListImportRowsResponse:
        await self.script.note(request)
        return backlog_pb2.ListImportRowsResponse(rows=self.rows, total_size=len(self.rows))

    async def SettleImport(
        self, request: backlog_pb2.SettleImportRequest, context: object
    ) -> backlog_pb2.SettleImportResponse:
        await self.script.note(request)
        return backlog_pb2.SettleImportResponse(job=self.job)

    async def ExportEntries(
        self, request: backlog_pb2.ExportEntriesRequest, context: object
    ) -> AsyncIterator[backlog_pb2.ExportEntriesResponse]:
        await self.script.note(request)
        for piece in self.file:
            if isinstance(piece, Exception):
                raise piece
            yield backlog_pb2.ExportEntriesResponse(data=piece)


class ScriptedPeople(people_pb2_grpc.PeopleServiceServicer):
    """Holds one room of whoever asks."""

    def __init__(self) -> None:
        self.script = Script()

    async def ExportUser(
        self, request: people_pb2.ExportUserRequest, context: object
    ) -> people_pb2.ExportUserResponse:
        await self.script.note(request)
        data = json_format.ParseDict({"rooms": [{"code": "ABCD2345", "playerId": "p1"}]}, Struct())
        return people_pb2.ExportUserResponse(data=data)

    async def EraseUser(
        self, request: people_pb2.EraseUserRequest, context: object
    ) -> people_pb2.EraseUserResponse:
        await self.script.note(request)
        return people_pb2.EraseUserResponse(erased_rooms=1)


@dataclass
class World:
    """Everything around a running gateway."""

    settings: GatewaySettings
    clock: ShiftedClock
    database: Database
    google: Signer
    apple: Signer
    google_server: KeyServer
    apple_server: KeyServer
    movies: ScriptedMovies
    backlogs: ScriptedBacklogs
    people: ScriptedPeople
    signing_keys: keys.SigningKeys
    revocations: Revocations
    behind: str
    target: str
    auth: AuthServiceAsyncStub
    accounts: AccountServiceAsyncStub
    library: LibraryServiceAsyncStub

    def google_claims(self, subject: str, **claims: Any) -> dict[str, Any]:
        """What Google would say of somebody; a claim of None is left out."""
        now = int(datetime.now(UTC).timestamp())
        usual = {
            "iss": "https://accounts.google.com",
            "aud": GOOGLE_CLIENTS[0],
            "azp": GOOGLE_CLIENTS[0],
            "sub": subject,
            "email": f"{subject}@example.com",
            "email_verified": True,
            "iat": now,
            "exp": now + 3600,
        }
        return {name: value for name, value in (usual | claims).items() if value is not None}

    def apple_claims(self, subject: str, **claims: Any) -> dict[str, Any]:
        """What Apple would say of somebody; a claim of None is left out."""
        now = int(datetime.now(UTC).timestamp())
        usual = {
            "iss": "https://appleid.apple.com",
            "aud": APPLE_CLIENTS[0],
            "sub": subject,
            "email": f"{subject}@privaterelay.appleid.com",
            "email_verified": "true",
            "is_private_email": "true",
            "iat": now,
            "exp": now + 600,
        }
        return {name: value for name, value in (usual | claims).items() if value is not None}

    async def sign_in(self, subject: str, **request: Any) -> auth_pb2.SignInResponse:
        """Sign in with Google."""
        token = self.google.sign(self.google_claims(subject))
        return await self.auth.SignIn(
            auth_pb2.SignInRequest(provider=1, id_token=token, **request)  # type: ignore[arg-type]  # a number
        )


def as_caller(signed_in: auth_pb2.SignInResponse, *headers: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """What the edge makes of an access token: the verified payload in one header, the token beside it."""
    token = signed_in.tokens.access_token
    return (("authorization", f"Bearer {token}"), ("x-popcorn-identity", token.split(".")[1]), *headers)


LIMITS = [name for name in GatewaySettings.model_fields if name.endswith("_per_minute")]


def make_settings(**settings: Any) -> GatewaySettings:
    usual: dict[str, Any] = {
        "gateway_listen": "127.0.0.1:0",
        "backlog_target": "127.0.0.1:1",
        "movie_target": "127.0.0.1:1",
        "game_target": "127.0.0.1:1",
        "database_url": "postgresql://nobody@127.0.0.1:1/nothing",
        "google_client_ids": GOOGLE_CLIENTS,
        "apple_client_ids": APPLE_CLIENTS,
        "signing_keys_file": Path("/nowhere"),
        "token_issuer": ISSUER,
        "token_audience": AUDIENCE,
        "page_token_key": "k" * 32,
        **dict.fromkeys(LIMITS, 1_000_000),
    }
    return GatewaySettings(**(usual | settings))


@pytest.fixture(scope="session")
async def database(new_database: Callable[[], str]) -> AsyncIterator[Database]:
    url = new_database()
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    database = Database(url, application="tests")
    await database.start()
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def signing_keys(tmp_path_factory: pytest.TempPathFactory) -> keys.SigningKeys:
    file = tmp_path_factory.mktemp("keys") / "signing.json"
    keys.create(file, now=datetime.now(UTC))
    return keys.read(file, now=datetime.now(UTC))


QUICK = ServerOptions(shutdown_grace_seconds=0.1, probe_interval_seconds=0.05)


@pytest.fixture(scope="session")
async def the_world(database: Database, signing_keys: keys.SigningKeys) -> AsyncIterator[World]:
    google, apple = Signer("google-1"), Signer("apple-1")
    movies, backlogs = ScriptedMovies(), ScriptedBacklogs()  # type: ignore[abstract]  # the rest is not asked
    people = ScriptedPeople()
    clock = ShiftedClock()
    behind = Server(
        [
            Service(
                descriptor=movie_pb2.DESCRIPTOR.services_by_name["MovieService"],
                add=movie_pb2_grpc.add_MovieServiceServicer_to_server,
                servicer=movies,
            ),
            Service(
                descriptor=backlog_pb2.DESCRIPTOR.services_by_name["BacklogService"],
                add=backlog_pb2_grpc.add_BacklogServiceServicer_to_server,
                servicer=backlogs,
            ),
            Service(
                descriptor=people_pb2.DESCRIPTOR.services_by_name["PeopleService"],
                add=people_pb2_grpc.add_PeopleServiceServicer_to_server,
                servicer=people,
            ),
        ],
        listen="127.0.0.1:0",
        options=QUICK,
    )
    async with (
        KeyServer({"keys": [google.jwk()]}) as google_server,
        KeyServer({"keys": [apple.jwk()]}) as apple_server,
        httpx.AsyncClient(trust_env=False) as client,
        behind,
        open_channel(f"127.0.0.1:{behind.port}", services=[]) as channel,
    ):
        settings = make_settings(
            google_certs_url=google_server.url, apple_keys_url=apple_server.url, erasure_delay_seconds=0
        )
        deletions = build_deletions(settings, database=database, backlogs=channel, games=channel, clock=clock)
        revocations = Revocations(SessionStore(database).changes, poll=timedelta(milliseconds=200))
        gateway = Server(
            services(
                settings,
                keys=signing_keys,
                database=database,
                backlogs=channel,
                movies=channel,
                games=channel,
                deletions=deletions,
                providers=client,
                clock=clock,
                films_remembered=timedelta(0),  # tests share a gateway, not what its films are
            ),
            listen="127.0.0.1:0",
            revocations=revocations,
            options=QUICK,
        )
        async with (
            running_in_background(deletions.run(), name="deletions"),
            revocations,
            gateway,
            grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as door,
        ):
            yield World(
                settings=settings,
                clock=clock,
                database=database,
                google=google,
                apple=apple,
                google_server=google_server,
                apple_server=apple_server,
                movies=movies,
                backlogs=backlogs,
                people=people,
                signing_keys=signing_keys,
                revocations=revocations,
                behind=f"127.0.0.1:{behind.port}",
                target=f"127.0.0.1:{gateway.port}",
                auth=auth_pb2_grpc.AuthServiceStub(door),
                accounts=account_pb2_grpc.AccountServiceStub(door),
                library=library_pb2_grpc.LibraryServiceStub(door),
            )


@pytest.fixture
def world(the_world: World) -> World:
    """The running gateway, with everything around it as at the start."""
    return restored(the_world)


def restored(the_world: World) -> World:
    """Undo what tests have told the servers around the gateway to do."""
    the_world.clock.shift = timedelta()
    the_world.movies.script = Script()
    the_world.backlogs.script = Script()
    the_world.people.script = Script()
    the_world.backlogs.entries = {}
    the_world.backlogs.matches = []
    the_world.backlogs.stats = backlog_pb2.Stats()
    return the_world


@pytest.fixture(scope="session")
def somebody() -> Callable[[], str]:
    """Names a subject that no other test knows: all tests share one database, as people do."""
    numbers = iter(range(1, 1_000_000))
    return lambda: f"subject-{next(numbers)}"
