"""The whole mesh on one machine: which parts there are, what each is given, and when it is ready.

`Mesh` is what `make up`, the end-to-end tests and the benchmarks start. There is one description of the
parts (`Mesh._describe`); only the folder, the ports and the settings differ.
"""

from __future__ import annotations

import base64
import hashlib
import os
import queue
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from dev.edge import Edge
from dev.idp_codes import APPLE_KEY_ID, APPLE_TEAM_ID
from dev.mongo import Mongo
from dev.postgres import Postgres
from dev.processes import Process, StartFailed, accepts_connections, free_port
from dev.valkey import Valkey
from mesh.certificates import CertificateFiles, channel_credentials, read
from mesh.edge_settings import EdgeSettings
from mesh.settings import sentences

ROOT: Final = Path(__file__).resolve().parent.parent

GOOGLE_CLIENT_ID: Final = "popcorn-dev.apps.googleusercontent.com"
"""Our client id at the development identity provider, where no real one is set."""
APPLE_CLIENT_ID: Final = "dev.eveningpopcorn.app"
"""The same for Apple."""

_LISTEN: Final[Mapping[str, str]] = {
    "backlog_svc": "BACKLOG_LISTEN",
    "movie_svc": "MOVIE_LISTEN",
    "gateway": "GATEWAY_LISTEN",
    "game_svc": "GAME_LISTEN",
}
"""The services, each with the setting that says where it listens."""

_TMDB_KEY: Final = "dev-tmdb-key"
_READY_SECONDS: Final = 60.0
_SYSTEM_VARIABLES: Final = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ", "USER")


class Runs(Protocol):
    """Something that can be started and stopped; when `start` returns, it is ready."""

    @property
    def process(self) -> Process | None:
        """What has to stay alive from now on; None for what has done its work."""

    def start(self) -> None:
        """Starts it and waits until it is ready. Raises StartFailed."""

    def stop(self) -> None:
        """Stops it in an orderly way."""

    def kill(self) -> None:
        """Ends it at once."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the mesh."""

    name: str
    """What commands and logs call it."""
    runs: Runs
    """What it does."""
    layer: int
    """Parts stop from the highest layer down; those of one layer stop together."""
    needs: tuple[str, ...] = ()
    """Parts that have to be ready before it starts."""
    address: str = ""
    """Where it is reached."""


class Program:
    """A server that we start as a process and that says when it is ready."""

    def __init__(self, process: Process, ready: Callable[[], bool]) -> None:
        """Wraps `process`; `ready` is asked again and again while it comes up."""
        self.process = process
        self._ready = ready

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self.process.start()
        try:
            self.process.wait_until(self._ready, seconds=_READY_SECONDS)
        except StartFailed:
            self.process.kill()
            raise

    def stop(self) -> None:
        """Stops it in an orderly way."""
        self.process.stop()

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()


class Errand:
    """A command that has to succeed once, such as a migration."""

    process = None

    def __init__(self, process: Process) -> None:
        """Wraps the command."""
        self._command = process

    def start(self) -> None:
        """Runs the command to its end."""
        self._command.start()
        self._command.wait_until(lambda: self._command.exit_code is not None, seconds=_READY_SECONDS)
        if self._command.exit_code != 0:
            raise StartFailed(f"{self._command.name} failed.{self._command.last_words()}")

    def stop(self) -> None:
        """Cuts it short, should it still run."""
        self._command.kill()

    kill = stop


class Mesh:
    """Everything, as processes of this machine, each on a loopback port of its own.

    What a setting names is used and not started: DATABASE_URL, MONGO_URL, REDIS_URL, TMDB_API_KEY,
    GOOGLE_CLIENT_IDS, APPLE_CLIENT_IDS.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        edge_port: int | None = None,
        idp_port: int | None = None,
        replicas: Mapping[str, int] | None = None,
    ) -> None:
        """Describes a mesh; `start` starts it.

        Args:
            folder: Where data, keys and logs live; what is there is used again.
            settings: The environment that parts start from; None is a bare one, whatever ours may hold.
            edge_port: Where the edge listens; None takes a free port.
            idp_port: Where the development identity provider listens; None takes a free port.
            replicas: How many processes there are of a service or of the edge; one where it says nothing.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._given = dict(bare_environment() if settings is None else settings)
        self._stopping = threading.Event()
        self.targets: dict[str, str] = {}
        """Where each service answers gRPC: `host:port` by its name."""
        self.metrics_urls: dict[str, str] = {}
        """Where each service's metrics are, by its name."""
        self._replicas = dict(replicas or {})
        self.edge_port = edge_port or free_port()
        self.edges: dict[str, Edge] = {}
        """The edges, by name. All but the first are for tests that stop one."""
        self.idp_port = idp_port or free_port()
        self.idp_url: str | None = None
        """Where the development identity provider is; None where it is not needed."""
        self.tmdb_url: str | None = None
        """Where the stand-in for TMDB is; None where the real one is used."""
        self.environment = self._environment()
        """What every service is given."""
        self._parts = {part.name: part for part in self._describe()}

    @property
    def edge_url(self) -> str:
        """Where REST is."""
        return f"http://127.0.0.1:{self.edge_port}"

    @property
    def edge_target(self) -> str:
        """Where gRPC is, as `host:port`."""
        return f"127.0.0.1:{self.edge_port}"

    @property
    def parts(self) -> Sequence[Part]:
        """All parts that are ours to start, in the order of their description."""
        return tuple(self._parts.values())

    # ---- the description -------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        """The settings of all services. What stands here first was given by whoever runs the mesh."""
        given = {name: value for name, value in self._given.items() if value}
        for service in _LISTEN:
            for name in self._names(service):
                self.targets[name] = f"127.0.0.1:{free_port()}"
        ours: dict[str, str] = {
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "gen"))),
            "PYTHONUNBUFFERED": "1",
            **{
                listen.replace("LISTEN", "TARGET"): ",".join(
                    self.targets[name] for name in self._names(service)
                )
                for service, listen in _LISTEN.items()
            },
            "EDGE_PORT": str(self.edge_port),
        }
        if "TMDB_API_KEY" not in given:
            port = free_port()
            self.tmdb_url = f"http://127.0.0.1:{port}"
            ours |= {
                "TMDB_API_KEY": _TMDB_KEY,
                "TMDB_URL": f"{self.tmdb_url}/3",
                "TMDB_IMAGE_URL": f"{self.tmdb_url}/t/p",
            }
        idp = f"http://127.0.0.1:{self.idp_port}"
        if "GOOGLE_CLIENT_IDS" not in given:
            self.idp_url = idp
            ours |= {
                "GOOGLE_CLIENT_IDS": GOOGLE_CLIENT_ID,
                "GOOGLE_CERTS_URL": f"{idp}/google/certs",
                "GOOGLE_TOKEN_URL": f"{idp}/google/token",
            }
        if "APPLE_CLIENT_IDS" not in given:
            self.idp_url = idp
            ours |= {
                "APPLE_CLIENT_IDS": APPLE_CLIENT_ID,
                "APPLE_KEYS_URL": f"{idp}/apple/keys",
                "APPLE_TOKEN_URL": f"{idp}/apple/auth/token",
                "APPLE_REVOKE_URL": f"{idp}/apple/auth/revoke",
                "APPLE_TEAM_ID": APPLE_TEAM_ID,
                "APPLE_KEY_ID": APPLE_KEY_ID,
                # The stand-in writes it when it starts.
                "APPLE_PRIVATE_KEY_FILE": str(self.folder / "idp" / "apple-developer-key.p8"),
                "APPLE_TOKEN_KEYS": f"dev:{_kept_key(self.folder / 'apple-token-key')}",
            }
        defaults = {
            "SIGNING_KEYS_FILE": str(self.folder / "signing-keys.json"),
            "PAGE_TOKEN_KEY": _kept_secret(self.folder / "page-token-key"),
            "TOKEN_ISSUER": f"http://localhost:{self.edge_port}",
            "TOKEN_AUDIENCE": "evening-popcorn",
            "SHUTDOWN_GRACE_SECONDS": "3",
            "EDGE_BIND": "127.0.0.1",
            "EDGE_HEALTH_SECONDS": "0.5",
            "EDGE_ADMIN_PORT": str(free_port()),
            "CORS_ORIGINS": "*",
        }
        return {**defaults, **given, **ours}

    def _names(self, part: str) -> tuple[str, ...]:
        """What the replicas of a part are called: the first like the part itself."""
        return (part, *(f"{part}-{number}" for number in range(2, self._replicas.get(part, 1) + 1)))

    def _describe(self) -> Iterator[Part]:
        """Every part that is not used from elsewhere."""
        yield from self._stores()
        yield from self._stand_ins()
        yield from self._errands()
        # A service comes up without its stores too, but then says NOT_SERVING until its next probe.
        yield from self._services("backlog_svc", layer=2, needs=("backlog_svc migrations",))
        yield from self._services("movie_svc", layer=2, needs=("mongo",))
        yield from self._services("game_svc", layer=3)
        yield from self._services("gateway", layer=3, needs=("signing keys", "idp"))
        for name in self._names("edge"):
            edge = self.edges[name] = self._edge(name)
            yield Part(name, _EdgeRuns(edge), layer=4, needs=tuple(self.targets), address=edge.url)

    def _stores(self) -> Iterator[Part]:
        given = self.environment
        if "DATABASE_URL" not in given:
            postgres = Postgres(self.folder / "postgres")
            self.environment["DATABASE_URL"] = postgres.url
            yield Part("postgres", postgres, layer=0, address=f"127.0.0.1:{postgres.port}")
        if "MONGO_URL" not in given:
            mongo = Mongo(self.folder / "mongo")
            self.environment["MONGO_URL"] = mongo.url
            yield Part("mongo", mongo, layer=0, address=f"127.0.0.1:{mongo.port}")
        if "REDIS_URL" not in given:
            valkey = Valkey(self.folder / "valkey")
            self.environment["REDIS_URL"] = valkey.url
            yield Part("valkey", valkey, layer=0, address=f"127.0.0.1:{valkey.port}")

    def _stand_ins(self) -> Iterator[Part]:
        if self.tmdb_url:
            port = int(self.tmdb_url.rpartition(":")[2])
            command = self._python("dev.tmdb", "--port", str(port), "--api-key", _TMDB_KEY)
            program = Program(self._process("tmdb", command), lambda: accepts_connections(port))
            yield Part("tmdb", program, layer=1, address=self.tmdb_url)
        if self.idp_url:
            command = self._python(
                "dev.idp",
                *("--port", str(self.idp_port), "--state", str(self.folder / "idp")),
                *("--google-client-id", _first(self.environment["GOOGLE_CLIENT_IDS"])),
                *("--apple-client-id", _first(self.environment["APPLE_CLIENT_IDS"])),
            )
            healthz = f"{self.idp_url}/healthz"
            program = Program(self._process("idp", command), lambda: _answers(healthz))
            yield Part("idp", program, layer=1, address=self.idp_url)

    def _errands(self) -> Iterator[Part]:
        keys = Path(self.environment["SIGNING_KEYS_FILE"])
        if not keys.exists():
            command = self._python("gateway.keys", "create", str(keys))
            yield Part("signing keys", Errand(self._process("gateway.keys", command)), layer=1)
        for service in ("backlog_svc", "gateway"):
            module = f"{service}.migrate"
            errand = Errand(self._process(module, self._python(module)))
            yield Part(f"{service} migrations", errand, layer=1, needs=("postgres",))

    def _services(self, package: str, *, layer: int, needs: tuple[str, ...] = ()) -> Iterator[Part]:
        for name in self._names(package):
            metrics = f"127.0.0.1:{free_port()}"
            self.metrics_urls[name] = f"http://{metrics}/metrics"
            target = self.targets[name]
            own = {_LISTEN[package]: target, "METRICS_LISTEN": metrics}
            process = self._process(name, self._python(package), own)
            ready = partial(serves, target, self._certificate_files())
            yield Part(name, Program(process, ready), layer=layer, needs=needs, address=target)

    def _certificate_files(self) -> CertificateFiles | None:
        """What the services show each other, where a setting says so."""
        names = ("MESH_CERTIFICATE_FILE", "MESH_KEY_FILE", "MESH_AUTHORITIES_FILE")
        paths = [Path(self.environment[name]) for name in names if name in self.environment]
        return CertificateFiles(*paths) if len(paths) == len(names) else None

    def _edge(self, name: str) -> Edge:
        values = {
            name: value
            for name in EdgeSettings.model_fields
            if (value := self.environment.get(name.upper())) is not None
        }
        if name != "edge":
            values |= {"edge_port": str(free_port()), "edge_admin_port": str(free_port())}
        try:
            settings = _GivenEdgeSettings.model_validate(values)
        except ValidationError as error:
            raise StartFailed(" ".join(sentences(EdgeSettings, error))) from error
        return Edge(settings, folder=self.folder / name)

    def _python(self, module: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", module, *arguments]

    def _process(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Process:
        return Process(
            name,
            command,
            log=self.folder / "logs" / f"{name}.log",
            environment={**self.environment, **(environment or {})},
            folder=self.folder,
        )

    # ---- life ------------------------------------------------------------------------------------------

    def start(self, on_ready: Callable[[Part, float], None] | None = None) -> None:
        """Starts every part as soon as what it needs is ready, and returns when all are.

        Args:
            on_ready: Called with each part as it comes up, and the seconds since the beginning.

        Raises:
            StartFailed: A part did not come up; everything is stopped again.
        """
        began = time.monotonic()
        self._stopping.clear()
        self._put_old_logs_aside()
        ready = {part.name: threading.Event() for part in self.parts}
        news: queue.SimpleQueue[Part | BaseException] = queue.SimpleQueue()
        pool = ThreadPoolExecutor(max_workers=len(ready), thread_name_prefix="mesh")
        try:
            for part in self.parts:
                pool.submit(self._bring_up, part, ready, news)
            for _ in self.parts:
                event = news.get()
                if isinstance(event, BaseException):
                    raise event
                if on_ready:
                    on_ready(event, time.monotonic() - began)
        except BaseException:  # Ctrl-C too: nothing may stay behind
            self.stop()
            for waiting in ready.values():
                waiting.set()
            pool.shutdown(cancel_futures=True)
            self.stop()  # whatever a thread was about to start when the first round went by
            raise
        pool.shutdown()

    def _bring_up(
        self,
        part: Part,
        ready: Mapping[str, threading.Event],
        news: queue.SimpleQueue[Part | BaseException],
    ) -> None:
        try:
            for need in part.needs:
                if need in ready:
                    ready[need].wait()
            if self._stopping.is_set():
                return
            part.runs.start()
        except BaseException as error:  # handed to the thread that waits for us
            news.put(error)
        else:
            ready[part.name].set()
            news.put(part)

    def stop(self) -> None:
        """Stops everything, those first that others serve: the edge, the services, the stores."""
        self._stopping.set()
        self._each_layer(lambda part: part.runs.stop())

    def kill_all(self) -> None:
        """Ends everything at once."""
        self._stopping.set()
        self._each_layer(lambda part: part.runs.kill())

    def _each_layer(self, end: Callable[[Part], None]) -> None:
        for layer in sorted({part.layer for part in self.parts}, reverse=True):
            together = [part for part in self.parts if part.layer == layer]
            with ThreadPoolExecutor(max_workers=len(together)) as pool:
                list(pool.map(end, together))

    def kill(self, name: str) -> None:
        """Ends one part at once, as a crash would."""
        self._parts[name].runs.kill()

    def restart(self, name: str) -> None:
        """Starts one part again, after stopping it where it still runs, and waits until it is ready.

        Raises:
            StartFailed: It did not come up.
        """
        part = self._parts[name]
        part.runs.stop()
        part.runs.start()

    def process(self, name: str) -> Process:
        """The process of one part that stays alive.

        Raises:
            KeyError: There is none of that name.
        """
        process = self._parts[name].runs.process
        if process is None:
            raise KeyError(name)
        return process

    def ended(self) -> list[Part]:
        """The parts that were ready once and whose process has ended since."""
        return [
            part for part in self.parts if (process := part.runs.process) and process.exit_code is not None
        ]

    def _put_old_logs_aside(self) -> None:
        for log in self.folder.glob("*/*.log"):
            log.replace(log.with_suffix(".log.before"))

    def __enter__(self) -> Self:
        """Starts it."""
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stops it."""
        self.stop()


class _GivenEdgeSettings(EdgeSettings):
    """The edge's settings from the mesh's environment, whatever our own process' may hold."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class _EdgeRuns:
    """The edge as a part: ready when everything behind it serves."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    @property
    def process(self) -> Process:
        return self._edge.process

    def start(self) -> None:
        self._edge.start()
        self._edge.process.wait_until(self._edge.serves, seconds=_READY_SECONDS)

    def stop(self) -> None:
        self._edge.stop()

    def kill(self) -> None:
        self._edge.kill()


def bare_environment() -> dict[str, str]:
    """What a process needs from its surroundings, and no setting of ours that may stand there."""
    return {name: os.environ[name] for name in _SYSTEM_VARIABLES if name in os.environ}


def serves(target: str, files: CertificateFiles | None = None) -> bool:
    """Whether the service at `host:port` says, by gRPC's health protocol, that all of it serves.

    Args:
        target: Where it is.
        files: What it wants to be shown, where it speaks mutual TLS.
    """
    if not accepts_connections(
        int(target.rpartition(":")[2])
    ):  # asked first: gRPC waits a second after a refusal
        return False
    with (
        grpc.insecure_channel(target)
        if files is None
        else grpc.secure_channel(target, channel_credentials(read(files)))
    ) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        try:
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - an address of this mesh
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False


def _first(values: str) -> str:
    return values.split(",")[0].strip()


def _kept_key(file: Path) -> str:
    """A key of 32 bytes in base64, made at the first start and used ever after."""
    return base64.b64encode(hashlib.sha256(_kept_secret(file).encode()).digest()).decode()


def _kept_secret(file: Path) -> str:
    """A secret made at the first start and used ever after."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32) + "\n")
    return file.read_text().strip()
