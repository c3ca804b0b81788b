"""The whole mesh with certificates: nobody gets in without one, and nobody notices new ones."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dev.certificates import Authority, Mounted
from dev.mesh import Mesh, bare_environment
from mesh.certificates import channel_credentials, read

SERVICES = ("gateway", "backlog_svc", "movie_svc", "game_svc")
LOOPBACK = ("127.0.0.1", "localhost")
OURS, NEXT, STRANGER = Authority("ours"), Authority("next"), Authority("stranger")
FILM = 129

# Starting a mesh takes seconds: all tests of this file share one.
pytestmark = pytest.mark.xdist_group("mutual-tls")


@dataclass(frozen=True, slots=True)
class Secured:
    """A mesh and the secret that all its parts have mounted."""

    mesh: Mesh
    secret: Mounted


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    secret = Mounted(folder / "secret")
    secret.put(OURS.issue(*LOOPBACK), OURS)
    files = secret.files
    settings = bare_environment() | {
        "MESH_CERTIFICATE_FILE": str(files.chain),
        "MESH_KEY_FILE": str(files.key),
        "MESH_AUTHORITIES_FILE": str(files.authorities),
    }
    with Mesh(folder / "mesh", settings=settings) as mesh:
        yield Secured(mesh, secret)


@pytest.fixture(name="phone")
async def _phone(secured: Secured) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=secured.mesh.edge_url, timeout=10) as phone:
        asked = {"provider": "google", "subject": "ada", "email": "ada@example.com", "emailVerified": True}
        id_token = (await phone.post(f"{secured.mesh.idp_url}/tokens", json=asked)).json()["idToken"]
        session = await phone.post(
            "/v1/auth:signIn", json={"provider": "PROVIDER_GOOGLE", "idToken": id_token, "displayName": "Ada"}
        )
        assert session.status_code == 200, session.text
        phone.headers["authorization"] = f"Bearer {session.json()['tokens']['accessToken']}"
        yield phone


async def lets_in(target: str, credentials: grpc.ChannelCredentials | None) -> bool:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = (
        grpc.aio.insecure_channel(target, options=options)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials, options=options)
    )
    async with channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        try:
            await health.Check(health_pb2.HealthCheckRequest(), timeout=3)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - the other outcome is as good
            return False
        return True


@pytest.mark.parametrize("service", SERVICES)
async def test_a_caller_without_a_certificate_of_ours_is_refused(
    secured: Secured, service: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = secured.mesh.targets[service]
    ours = read(secured.secret.files)
    assert await lets_in(target, channel_credentials(ours))
    assert not await lets_in(target, None)
    assert not await lets_in(target, grpc.ssl_channel_credentials(ours.authorities))
    other = Mounted(tmp_path_factory.mktemp("other") / "secret")
    other.put(STRANGER.issue(*LOOPBACK), OURS)
    assert not await lets_in(target, channel_credentials(read(other.files)))


async def call(phone: httpx.AsyncClient, method: str, path: str, **arguments: Any) -> Any:
    answer = await phone.request(method, path, **arguments)
    assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json()


async def play(phone: httpx.AsyncClient, code: str) -> None:
    """Calls that between them go over every connection of the mesh."""
    film = await call(phone, "GET", f"/v1/movies/{FILM}")
    assert film["movie"]["id"] == FILM
    await call(phone, "GET", f"/v1/games/{code}")
    await call(phone, "PUT", f"/v1/games/{code}/picks/{FILM}")
    await call(phone, "GET", f"/v1/games/{code}/picks")
    await call(phone, "GET", "/v1/me/export")


def shown_by(target: str, secured: Secured) -> bytes:
    """The certificate that a service shows at this moment, as PEM."""
    files = secured.secret.files
    context = ssl.create_default_context(cafile=str(files.authorities))
    context.load_cert_chain(files.chain, files.key)
    context.set_alpn_protocols(["h2"])
    host, _, port = target.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=3) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    return ssl.DER_cert_to_PEM_cert(certificate).encode()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 - other processes have no events for us
            await asyncio.sleep(0.1)


async def renewed(secured: Secured, issuer: Authority, *trusted: Authority) -> None:
    """Replaces the secret, and waits until every service shows what is new."""
    issued = issuer.issue(*LOOPBACK)
    secured.secret.put(issued, *trusted)

    async def everybody_shows_it() -> bool:
        shown = [
            await asyncio.to_thread(shown_by, secured.mesh.targets[service], secured) for service in SERVICES
        ]
        return set(shown) == {issued.certificate}

    await until(everybody_shows_it)


async def test_a_new_authority_comes_and_the_old_one_goes_without_a_failed_call(
    secured: Secured, phone: httpx.AsyncClient
) -> None:
    code = (await call(phone, "POST", "/v1/games", json={"name": "Friday"}))["game"]["code"]
    rounds = 0

    async def keep_playing() -> None:
        nonlocal rounds
        while True:
            await play(phone, code)
            rounds += 1

    async def played_on() -> bool:
        return rounds >= 3

    async with asyncio.TaskGroup() as group:
        playing = group.create_task(keep_playing())
        # The order to keep: trust both, change what is shown, trust the new one alone.
        for issuer, trusted in ((OURS, (OURS, NEXT)), (NEXT, (OURS, NEXT)), (NEXT, (NEXT,))):
            await renewed(secured, issuer, *trusted)
            rounds = 0
            await until(played_on)
        playing.cancel()

    async def everything_serves() -> bool:
        return (await phone.get("/healthz")).status_code == 200

    # What starts now has never trusted the old authority: who goes on running shows it the new one's.
    for services in (("backlog_svc", "movie_svc"), ("gateway",), ("game_svc",)):
        for service in services:
            await asyncio.to_thread(secured.mesh.restart, service)
        await until(everything_serves)
        await play(phone, code)
