"""Whoever has signed out is refused everywhere: by other replicas, other services, and after a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import grpc
import pytest

from gateway.session_store import SessionStore
from gateway.tests.conftest import World, as_caller
from gateway.tests.refusals import refusal
from gateway.tests.replicas import Replica, replica
from gateway.tests.test_sessions import claims_of
from mesh.errors import Unavailable
from mesh.revocations import Changes, Revocations, over
from popcorn.gateway.v1 import account_pb2, auth_pb2, revocations_pb2, revocations_pb2_grpc

Subject = Callable[[], str]


@pytest.fixture
async def second(world: World) -> AsyncIterator[Replica]:
    async with replica(world) as second:
        await second.revocations.poll()
        yield second


async def sign_out(world: World, signed_in: auth_pb2.SignInResponse, *, everywhere: bool = False) -> None:
    request = auth_pb2.SignOutRequest(all_sessions=everywhere)
    await world.auth.SignOut(request, metadata=as_caller(signed_in))


async def look(gateway: World | Replica, signed_in: auth_pb2.SignInResponse) -> account_pb2.Account:
    request = account_pb2.GetAccountRequest()
    return (await gateway.accounts.GetAccount(request, metadata=as_caller(signed_in))).account


async def test_another_replica_refuses_whoever_has_signed_out(
    world: World, second: Replica, somebody: Subject
) -> None:
    signed_in, other = await world.sign_in(somebody()), await world.sign_in(somebody())
    assert (await look(second, signed_in)).user_id == signed_in.account.user_id
    await sign_out(world, signed_in)
    await second.revocations.poll()
    seen = await refusal(look(second, signed_in))
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", "SESSION_REVOKED")
    await look(second, other)


async def test_a_replica_that_starts_later_knows_it_too(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody())
    await sign_out(world, signed_in)
    async with replica(world) as restarted:
        await restarted.revocations.poll()
        assert (await refusal(look(restarted, signed_in))).reason == "SESSION_REVOKED"


async def test_other_services_learn_it_over_the_mesh(world: World, somebody: Subject) -> None:
    async with grpc.aio.insecure_channel(world.target) as channel:
        elsewhere = Revocations(over(channel))
        signed_in = await world.sign_in(somebody())
        session_id = claims_of(signed_in.tokens)["sid"]
        await elsewhere.poll()
        assert not elsewhere.is_revoked(session_id)
        await sign_out(world, signed_in)
        await elsewhere.poll()
        assert elsewhere.is_revoked(session_id)


async def test_a_long_list_comes_in_pages(world: World, somebody: Subject) -> None:
    subject = somebody()
    sessions = [await world.sign_in(subject) for _ in range(5)]
    began = await SessionStore(world.database).as_of() + timedelta(seconds=10)
    await sign_out(world, sessions[0], everywhere=True)
    async with grpc.aio.insecure_channel(world.target) as channel:
        stub = revocations_pb2_grpc.RevocationServiceStub(channel)
        request = revocations_pb2.ListRevocationsRequest(page_size=2)
        request.since.FromDatetime(began)
        found: list[str] = []
        while True:
            answer = await stub.ListRevocations(request)
            found += [revocation.session_id for revocation in answer.revocations]
            assert len(answer.revocations) <= 2
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        mine = {claims_of(session.tokens)["sid"] for session in sessions}
        assert mine <= set(found)
        assert len(found) == len(set(found))
        request.since.FromDatetime(began + timedelta(seconds=1))
        assert (await refusal(stub.ListRevocations(request))).fields == {"page_token"}


async def test_what_ends_just_now_is_asked_for_again(world: World, somebody: Subject) -> None:
    """A session may end in a transaction that commits after a poll and began before it."""
    store = SessionStore(world.database)
    signed_in = await world.sign_in(somebody())
    session_id = claims_of(signed_in.tokens)["sid"]
    async with world.database.transaction() as connection:
        await connection.execute(
            "UPDATE gateway.sessions SET end_time = $2 WHERE session_id = $1",
            UUID(session_id),
            datetime.now(UTC),
        )
        meanwhile = await store.changes(None)
    assert session_id not in {revocation.session_id for revocation in meanwhile.revocations}
    after = await store.changes(meanwhile.as_of)
    assert session_id in {revocation.session_id for revocation in after.revocations}


async def test_the_list_outlives_the_account_and_names_nobody(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody())
    user_id = UUID(signed_in.account.user_id)
    await world.database.execute("DELETE FROM gateway.accounts WHERE user_id = $1", user_id)
    changes = await SessionStore(world.database).changes(None)
    assert claims_of(signed_in.tokens)["sid"] in {gone.session_id for gone in changes.revocations}
    row = await world.database.fetchrow("SELECT * FROM gateway.revocations LIMIT 1")
    assert set(row.keys()) == {"session_id", "revoke_time", "forget_time"}


async def test_theft_ends_access_too(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody())
    refresh = auth_pb2.RefreshSessionRequest(refresh_token=signed_in.tokens.refresh_token)
    await world.auth.RefreshSession(refresh)
    world.clock.shift = timedelta(seconds=10.5)
    assert (await refusal(world.auth.RefreshSession(refresh))).reason == "SESSION_REVOKED"
    await world.revocations.poll()
    assert (await refusal(look(world, signed_in))).reason == "SESSION_REVOKED"


async def test_old_sessions_are_swept_with_their_revocations(world: World, somebody: Subject) -> None:
    gone, stays = await world.sign_in(somebody()), await world.sign_in(somebody())
    for signed_in in (gone, stays):
        await sign_out(world, signed_in)
    long_ago = datetime.now(UTC) - timedelta(days=100)
    ids = [UUID(claims_of(signed_in.tokens)["sid"]) for signed_in in (gone, stays)]
    await world.database.execute(
        "UPDATE gateway.sessions SET expire_time = $2 WHERE session_id = $1", ids[0], long_ago
    )
    await world.database.execute(
        "UPDATE gateway.revocations SET forget_time = $2 WHERE session_id = $1", ids[0], long_ago
    )
    await SessionStore(world.database).sweep(before=long_ago + timedelta(days=1))
    for table in ("sessions", "refresh_tokens", "revocations"):
        left = await world.database.fetch(
            f"SELECT session_id FROM gateway.{table} WHERE session_id = ANY($1)", ids
        )
        assert [row["session_id"] for row in left] == [ids[1]], table


async def test_while_the_list_cannot_be_had_reads_go_on_for_a_minute(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody())
    passed, away = [0.0], [False]

    async def source(since: datetime | None) -> Changes:
        if away[0]:
            raise Unavailable("postgresql")
        return await SessionStore(world.database).changes(since)

    revocations = Revocations(source, seconds=lambda: passed[0])
    async with replica(world, revocations=revocations) as gateway:
        sign_out = auth_pb2.SignOutRequest()
        await revocations.poll()
        away[0] = True
        for seconds, reads, writes in ((4.0, True, True), (6.0, True, False), (61.0, False, False)):
            passed[0] = seconds
            with pytest.raises(Unavailable):
                await revocations.poll()
            if reads:
                await look(gateway, signed_in)
            else:
                seen = await refusal(look(gateway, signed_in))
                assert (seen.code, seen.metadata) == ("UNAVAILABLE", {"dependency": "revocations"})
            if not writes:
                seen = await refusal(gateway.auth.SignOut(sign_out, metadata=as_caller(signed_in)))
                assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
                assert seen.metadata == {"dependency": "revocations"}
        away[0] = False
        await revocations.poll()
        await gateway.auth.SignOut(sign_out, metadata=as_caller(signed_in))
