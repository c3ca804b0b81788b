"""Limits of sign-ins, refreshes and guests: one count over all replicas, before anything that costs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from gateway.clients import client_of, limited_address
from gateway.limit_store import LimitStore
from gateway.tests.conftest import World
from gateway.tests.refusals import refusal
from gateway.tests.replicas import Replica, replica
from mesh.errors import status_of
from popcorn.gateway.v1 import account_pb2, auth_pb2

Subject = Callable[[], str]
_numbers = count(1)


@pytest.fixture
def address() -> str:
    """An address that no other test calls from."""
    number = next(_numbers)
    return f"203.0.{number // 250}.{number % 250 + 1}"


def coming_from(address: str) -> tuple[tuple[str, str], ...]:
    return (("x-envoy-external-address", address),)


async def guest(gateway: Replica, address: str) -> None:
    request = auth_pb2.SignInAsGuestRequest(display_name="Ada")
    await gateway.auth.SignInAsGuest(request, metadata=coming_from(address))


async def refresh(gateway: Replica, token: str, address: str) -> auth_pb2.Tokens:
    request = auth_pb2.RefreshSessionRequest(refresh_token=token)
    return (await gateway.auth.RefreshSession(request, metadata=coming_from(address))).tokens


async def sign_in(gateway: Replica, id_token: str, address: str) -> auth_pb2.SignInResponse:
    request = auth_pb2.SignInRequest(provider=account_pb2.PROVIDER_GOOGLE, id_token=id_token)
    return await gateway.auth.SignIn(request, metadata=coming_from(address))


async def outcomes(*calls: Awaitable[Any]) -> list[str]:
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return [answer.code().name if isinstance(answer, grpc.aio.AioRpcError) else "OK" for answer in answers]


async def test_two_replicas_at_once_let_through_no_more_than_the_limit(world: World, address: str) -> None:
    async with (
        replica(world, guests_per_address_per_minute=5) as first,
        replica(world, guests_per_address_per_minute=5) as second,
    ):
        codes = await outcomes(*(guest(gateway, address) for _ in range(10) for gateway in (first, second)))
        assert codes.count("OK") == 5
        assert codes.count("RESOURCE_EXHAUSTED") == 15
        await guest(first, "198.51.100.1")  # somebody else is not concerned


async def test_a_refusal_says_when_to_come_again(world: World, address: str) -> None:
    async with replica(world, guests_per_address_per_minute=2) as gateway:
        for _ in range(2):
            await guest(gateway, address)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await guest(gateway, address)
        seen = await refusal(guest(gateway, address))
        assert (seen.code, seen.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
        assert seen.metadata == {"limit": "guest_sign_in"}
        status, retry = status_of(caught.value), error_details_pb2.RetryInfo()
        assert status is not None
        assert [detail.Unpack(retry) for detail in status.details].count(True) == 1
        assert 1 <= retry.retry_delay.seconds <= 30
        # Half a minute later there is one more.
        await world.database.execute(
            "UPDATE gateway.limits SET free_time = free_time - interval '30 seconds'"
        )
        codes = await outcomes(guest(gateway, address), guest(gateway, address))
        assert sorted(codes) == ["OK", "RESOURCE_EXHAUSTED"]


async def test_the_limit_comes_before_the_verification(world: World, address: str) -> None:
    async with replica(world, sign_ins_per_address_per_minute=3) as gateway:
        codes = [(await refusal(sign_in(gateway, "not.a.token", address))).reason for _ in range(4)]
        assert codes == ["INVALID_IDENTITY_TOKEN"] * 3 + ["RATE_LIMITED"]


async def test_an_account_has_a_limit_from_wherever_it_comes(
    world: World, somebody: Subject, address: str
) -> None:
    token, other = (world.google.sign(world.google_claims(somebody())) for _ in range(2))
    async with replica(world, sign_ins_per_account_per_minute=2) as gateway:
        for host in (1, 2):
            await sign_in(gateway, token, f"198.18.0.{host}")
        assert (await refusal(sign_in(gateway, token, "198.18.0.3"))).reason == "RATE_LIMITED"
        await sign_in(gateway, other, "198.18.0.3")


async def test_refreshes_are_counted_by_address_and_by_account(
    world: World, somebody: Subject, address: str
) -> None:
    async with replica(
        world, refreshes_per_address_per_minute=4, refreshes_per_account_per_minute=2
    ) as gateway:
        tokens = (await world.sign_in(somebody())).tokens
        for _ in range(2):
            tokens = await refresh(gateway, tokens.refresh_token, address)
        assert (await refusal(refresh(gateway, tokens.refresh_token, "198.18.1.1"))).reason == "RATE_LIMITED"
        for _ in range(2):
            assert (await refusal(refresh(gateway, "A" * 43, address))).reason == "INVALID_REFRESH_TOKEN"
        assert (await refusal(refresh(gateway, "A" * 43, address))).reason == "RATE_LIMITED"
        # Nobody was locked out by being refused.
        await world.database.execute("DELETE FROM gateway.limits")
        await refresh(gateway, tokens.refresh_token, address)


async def test_one_network_of_ipv6_is_one_address(world: World) -> None:
    async with replica(world, guests_per_address_per_minute=1) as gateway:
        await guest(gateway, "2001:db8:1:2::1")
        assert (await refusal(guest(gateway, "2001:db8:1:2:ffff::9"))).reason == "RATE_LIMITED"
        await guest(gateway, "2001:db8:1:3::1")


async def test_the_table_names_nobody_and_is_swept(world: World, address: str) -> None:
    async with replica(world) as gateway:
        await guest(gateway, address)
    rows = await world.database.fetch("SELECT key FROM gateway.limits")
    assert rows
    assert all(len(row["key"]) == 32 and address.encode() not in row["key"] for row in rows)
    await world.database.execute("UPDATE gateway.limits SET free_time = free_time - interval '1 hour'")
    await LimitStore(world.database, key=b"k" * 32).sweep()
    assert await world.database.fetchval("SELECT count(*) FROM gateway.limits") == 0


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("", ""),
        ("unix", ""),
        ("203.0.113.7, 10.0.0.1", ""),
    ],
)
def test_whom_an_address_counts_as(text: str, counted: str) -> None:
    assert limited_address(text) == counted


@pytest.mark.parametrize(
    ("peer", "counted"),
    [("ipv4:10.0.0.1:4711", "10.0.0.1"), ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::/64"), ("unix:x", "")],
)
def test_without_an_edge_the_peer_counts(peer: str, counted: str) -> None:
    assert client_of((), peer=peer).address == counted
