"""Ended sessions: who is refused, how soon, and what goes on while nobody can tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.errors import Unavailable, reason_of, status_of
from mesh.revocations import Changes, Revocation, Revocations, SessionRevoked
from mesh.server import Server
from mesh.tests.probing import NOW, Stub, identity_metadata, probing_service, text

LATER = NOW + timedelta(days=30)


class Truth:
    """Who knows which sessions have ended; may be away, and notes what it was asked."""

    def __init__(self) -> None:
        self.ended: list[Revocation] = []
        self.away = False
        self.asked: list[datetime | None] = []
        self.was_asked = asyncio.Event()

    async def changes(self, since: datetime | None) -> Changes:
        self.asked.append(since)
        self.was_asked.set()
        if self.away:
            raise Unavailable("postgresql")
        return Changes(tuple(self.ended), NOW)


class Clocks:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.passed = timedelta()

    def now(self) -> datetime:
        return NOW + self.passed

    def seconds(self) -> float:
        return 1000 + self.passed.total_seconds()


@pytest.fixture
def truth() -> Truth:
    return Truth()


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def revocations(truth: Truth, clocks: Clocks) -> Revocations:
    return Revocations(
        truth.changes, clock=clocks.now, seconds=clocks.seconds, poll=timedelta(milliseconds=5)
    )


def goes_on(revocations: Revocations, *, reads: bool) -> bool:
    try:
        revocations.check("session-1", reads=reads)
    except Unavailable:
        return False
    return True


async def test_an_ended_session_is_refused_and_no_other(truth: Truth, revocations: Revocations) -> None:
    truth.ended = [Revocation("session-1", LATER)]
    await revocations.poll()
    for reads in (True, False):
        with pytest.raises(SessionRevoked):
            revocations.check("session-1", reads=reads)
        revocations.check("session-2", reads=reads)


async def test_only_what_is_new_is_asked_for(truth: Truth, revocations: Revocations) -> None:
    await revocations.poll()
    truth.away = True
    with pytest.raises(Unavailable):
        await revocations.poll()
    truth.away = False
    await revocations.poll()
    assert truth.asked == [None, NOW, NOW]


@pytest.mark.parametrize(
    ("seconds", "reads_go_on", "writes_go_on"),
    [(0, True, True), (5, True, True), (5.1, True, False), (60, True, False), (60.1, False, False)],
)
async def test_an_old_list_lets_in_reads_for_a_minute_and_writes_for_five_seconds(
    truth: Truth,
    clocks: Clocks,
    revocations: Revocations,
    seconds: float,
    reads_go_on: bool,
    writes_go_on: bool,
) -> None:
    await revocations.poll()
    truth.away = True
    clocks.passed = timedelta(seconds=seconds)
    with pytest.raises(Unavailable):
        await revocations.poll()
    assert goes_on(revocations, reads=True) is reads_go_on
    assert goes_on(revocations, reads=False) is writes_go_on
    truth.away = False
    await revocations.poll()
    assert goes_on(revocations, reads=False)


async def test_whom_it_knows_is_refused_however_old_the_list_is(
    truth: Truth, clocks: Clocks, revocations: Revocations
) -> None:
    truth.ended = [Revocation("session-1", LATER)]
    await revocations.poll()
    clocks.passed = timedelta(hours=1)
    with pytest.raises(SessionRevoked):
        revocations.check("session-1", reads=True)


async def test_nothing_goes_on_before_the_list_is_there(revocations: Revocations) -> None:
    assert not goes_on(revocations, reads=True)
    with pytest.raises(Unavailable) as caught:
        await revocations.probe()
    assert caught.value.metadata == {"dependency": "revocations"}
    assert caught.value.retry_after is not None
    await revocations.poll()
    await revocations.probe()


async def test_a_slow_answer_is_as_old_as_its_question(truth: Truth, clocks: Clocks) -> None:
    async def slow(since: datetime | None) -> Changes:
        clocks.passed += timedelta(seconds=6)
        return await truth.changes(since)

    revocations = Revocations(slow, clock=clocks.now, seconds=clocks.seconds)
    await revocations.poll()
    assert goes_on(revocations, reads=True)
    assert not goes_on(revocations, reads=False)


async def test_what_has_run_out_by_itself_is_forgotten(
    truth: Truth, clocks: Clocks, revocations: Revocations
) -> None:
    truth.ended = [
        Revocation(f"session-{minutes}", NOW + timedelta(minutes=minutes)) for minutes in (0, 1, 2, 2)
    ]
    await revocations.poll()
    assert len(revocations) == 2
    clocks.passed = timedelta(minutes=1)
    await revocations.poll()
    assert len(revocations) == 1
    assert revocations.is_revoked("session-2")
    clocks.passed = timedelta(minutes=2)
    truth.ended = []
    await revocations.poll()
    assert len(revocations) == 0


async def test_listeners_hear_of_each_ended_session_once(truth: Truth, revocations: Revocations) -> None:
    heard: list[frozenset[str]] = []
    revocations.on_change(heard.append)
    await revocations.poll()
    truth.ended = [Revocation("session-1", LATER), Revocation("session-2", LATER)]
    await revocations.poll()
    truth.ended.append(Revocation("session-3", LATER))
    await revocations.poll()
    await revocations.poll()
    assert heard == [{"session-1", "session-2"}, {"session-3"}]


async def test_it_goes_on_asking_whatever_happens(truth: Truth, revocations: Revocations) -> None:
    truth.away = True
    async with asyncio.timeout(10), revocations:
        await truth.was_asked.wait()
        truth.away = False
        learned = asyncio.Event()
        revocations.on_change(lambda _: learned.set())
        truth.ended = [Revocation("session-1", LATER)]
        await learned.wait()


# ---- through a server ----


class Servicer:
    """Answers, for as long as it may be asked."""

    async def Members(self, request: Any, context: Any) -> Any:
        return text("hello")

    async def MembersRead(self, request: Any, context: Any) -> Any:
        return text("hello")

    async def Ask(self, request: Any, context: Any) -> Any:
        return text("hello")


@pytest.fixture
async def server(revocations: Revocations, started: Callable[..., Any]) -> Server:
    server: Server = await started(Servicer(), revocations=revocations)
    return server


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


async def answer(channel: grpc.aio.Channel, method: str, *, session: str = "session-1") -> tuple[str, str]:
    """A call's status and the reason of its refusal."""
    try:
        await getattr(Stub(channel), method)(text(""), metadata=[identity_metadata(sid=session)])
    except grpc.aio.AioRpcError as error:
        status = status_of(error)
        assert status is not None
        return error.code().name, reason_of(status) or ""
    return "OK", ""


async def test_a_server_refuses_whoever_has_signed_out(
    truth: Truth, revocations: Revocations, channel: grpc.aio.Channel
) -> None:
    await revocations.poll()
    assert await answer(channel, "Members") == ("OK", "")
    truth.ended = [Revocation("session-1", LATER)]
    await revocations.poll()
    assert await answer(channel, "Members") == ("UNAUTHENTICATED", "SESSION_REVOKED")
    assert await answer(channel, "MembersRead") == ("UNAUTHENTICATED", "SESSION_REVOKED")
    assert await answer(channel, "Members", session="session-2") == ("OK", "")
    assert await answer(channel, "Ask") == ("OK", "")


async def test_a_server_whose_list_is_old_only_reads(
    clocks: Clocks, revocations: Revocations, channel: grpc.aio.Channel
) -> None:
    await revocations.poll()
    clocks.passed = timedelta(seconds=6)
    assert await answer(channel, "Members") == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert await answer(channel, "MembersRead") == ("OK", "")
    clocks.passed = timedelta(seconds=61)
    assert await answer(channel, "MembersRead") == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert await answer(channel, "Ask") == ("OK", "")


async def test_a_server_serves_once_the_list_is_there(
    revocations: Revocations, channel: grpc.aio.Channel
) -> None:
    watch: Any = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=10)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    await revocations.poll()
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_no_server_forgets_to_ask() -> None:
    with pytest.raises(ValueError, match="revocations"):
        Server([probing_service(Servicer())], listen="127.0.0.1:0")
