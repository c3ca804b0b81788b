"""Mutual TLS: files that fit together, servers that let in who has a certificate, renewals nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from dev.certificates import Authority, Issued, Mounted
from mesh.certificates import CertificateError, Certificates, channel_credentials, read
from mesh.channels import open_channel
from mesh.health import THE_PROCESS
from mesh.tests.probing import DESCRIPTOR, Stub, text


@pytest.fixture
def mount(tmp_path: Path) -> Callable[..., Mounted]:
    numbers = count(1)

    def mounted(issuer: Authority, *trusted: Authority, host: str = "127.0.0.1") -> Mounted:
        made = Mounted(tmp_path / f"mounted-{next(numbers)}")
        made.put(issuer.issue(host), *(trusted or (issuer,)))
        return made

    return mounted


class Echo:
    """Answers what it was asked."""

    async def Ask(self, request: Any, _context: object) -> Any:
        return request


OURS, NEXT, STRANGER = Authority("ours"), Authority("next"), Authority("stranger")


async def ask(channel: grpc.aio.Channel) -> str:
    return str((await Stub(channel).Ask(text("well?"), timeout=3)).value)


async def refused(credentials: grpc.ChannelCredentials | None, port: int) -> bool:
    options = [("grpc.use_local_subchannel_pool", 1)]
    target = f"127.0.0.1:{port}"
    channel = (
        grpc.aio.insecure_channel(target, options=options)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials, options=options)
    )
    async with channel:
        try:
            await ask(channel)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)


def test_files_that_do_not_fit_are_named(mount: Callable[..., Mounted], tmp_path: Path) -> None:
    mounted = mount(OURS)
    files = mounted.files
    assert read(files) == read(files)
    other = OURS.issue("127.0.0.1")
    (tmp_path / "other.key").write_bytes(other.key)
    (tmp_path / "nonsense").write_bytes(b"nonsense")
    for broken, path, problem in (
        (replace(files, key=tmp_path / "other.key"), tmp_path / "other.key", "is not the key of"),
        (replace(files, key=tmp_path / "nonsense"), tmp_path / "nonsense", "holds no private key"),
        (replace(files, key=tmp_path / "none"), tmp_path / "none", "cannot be read: No such file"),
        (replace(files, chain=tmp_path / "nonsense"), tmp_path / "nonsense", "holds no certificate"),
        (replace(files, authorities=tmp_path / "nonsense"), tmp_path / "nonsense", "holds no certificate"),
    ):
        with pytest.raises(CertificateError, match=problem) as raised:
            read(broken)
        assert raised.value.path == path


async def test_a_client_without_a_certificate_of_ours_is_refused(
    mount: Callable[..., Mounted], started: Callable[..., Any]
) -> None:
    server = await started(Echo(), certificates=Certificates(mount(OURS).files))
    known = read(mount(OURS).files)
    assert not await refused(channel_credentials(known), server.port)
    assert await refused(None, server.port)
    assert await refused(grpc.ssl_channel_credentials(known.authorities), server.port)
    stranger = read(mount(STRANGER, OURS).files)
    assert await refused(channel_credentials(stranger), server.port)


async def test_a_server_of_another_authority_or_name_is_not_spoken_to(
    mount: Callable[..., Mounted], started: Callable[..., Any]
) -> None:
    known = channel_credentials(read(mount(OURS).files))
    stranger = await started(Echo(), certificates=Certificates(mount(STRANGER, OURS).files))
    assert await refused(known, stranger.port)
    elsewhere = await started(Echo(), certificates=Certificates(mount(OURS, host="elsewhere").files))
    assert await refused(known, elsewhere.port)


async def test_health_alone_needs_no_certificate(
    mount: Callable[..., Mounted], started: Callable[..., Any]
) -> None:
    server = await started(Echo(), certificates=Certificates(mount(OURS).files), health_listen="127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.health_port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=THE_PROCESS), timeout=3)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await ask(channel)
        assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_authority_is_exchanged_without_a_failed_call(
    mount: Callable[..., Mounted], started: Callable[..., Any]
) -> None:
    at_server, at_client = mount(OURS), mount(OURS)
    both = [Certificates(at_server.files), Certificates(at_client.files)]
    server = await started(Echo(), certificates=both[0])
    answers: list[str] = []
    async with open_channel(
        f"127.0.0.1:{server.port}", services=[DESCRIPTOR], certificates=both[1]
    ) as channel:

        async def keep_asking() -> None:
            while True:
                answers.append(await ask(channel))

        asking = asyncio.create_task(keep_asking())
        for trusted, issuer in (((OURS, NEXT), OURS), ((OURS, NEXT), NEXT), ((NEXT,), NEXT)):
            for mounted, certificates in zip((at_server, at_client), both, strict=True):
                mounted.put(issuer.issue("127.0.0.1"), *trusted)
                certificates.reload()
                answers.clear()
                await until(lambda: len(answers) >= 5 or asking.done())
                assert set(answers) == {"well?"}
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    # Whoever still has the old certificate comes too late.
    assert await refused(channel_credentials(read(mount(OURS, OURS, NEXT).files)), server.port)
    assert not await refused(channel_credentials(read(mount(NEXT).files)), server.port)


async def test_a_call_outlives_the_certificate_it_began_with(
    mount: Callable[..., Mounted], started: Callable[..., Any]
) -> None:
    finish = asyncio.Event()

    class Slow(Echo):
        async def Ask(self, request: Any, _context: object) -> Any:
            if request.value == "slow":
                await finish.wait()
            return request

    at_client = mount(OURS)
    certificates = Certificates(at_client.files)
    server = await started(Slow(), certificates=Certificates(mount(OURS).files))
    async with open_channel(
        f"127.0.0.1:{server.port}", services=[DESCRIPTOR], certificates=certificates
    ) as channel:
        slow = Stub(channel).Ask(text("slow"), timeout=10)
        assert await ask(channel) == "well?"
        at_client.put(OURS.issue("127.0.0.1"), OURS)
        certificates.reload()
        assert await ask(channel) == "well?"
        assert not slow.done()
        finish.set()
        assert (await slow).value == "slow"


async def test_files_that_are_no_good_change_nothing_and_are_logged_once(
    mount: Callable[..., Mounted], tmp_path: Path
) -> None:
    mounted = mount(OURS)
    certificates = Certificates(mounted.files)
    before = certificates.current
    issued = OURS.issue("127.0.0.1")
    mounted.put(Issued(issued.certificate, OURS.issue("127.0.0.1").key), OURS)
    with capture_logs() as logged:
        certificates.reload()
        certificates.reload()
    assert certificates.current is before
    [line] = logged
    assert line["event"] == "certificates.unusable"
    assert "is not the key of" in line["detail"]
    mounted.put(issued, OURS)
    following = asyncio.create_task(certificates.follow(seconds=0.01))
    await until(lambda: certificates.current is not before)
    following.cancel()
    assert issued.key.decode() not in repr(certificates.current)
