"""Guests: a name, a session, and the rooms; nothing else."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from gateway.tests.conftest import World, as_caller
from gateway.tests.refusals import refusal
from gateway.tests.test_sessions import claims_of
from mesh.identity import access_of
from popcorn.gateway.v1 import account_pb2, auth_pb2, library_pb2
from popcorn.options.v1 import options_pb2

MEMBERS_ONLY = [
    method
    for file in (auth_pb2, account_pb2, library_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if access_of(method) == options_pb2.ACCESS_UNSPECIFIED
]


async def come_in(world: World, name: str = "Ada") -> Any:
    return await world.auth.SignInAsGuest(auth_pb2.SignInAsGuestRequest(display_name=name))


async def test_a_name_is_enough(world: World) -> None:
    guest = await come_in(world, "  Ada  ")
    claims = claims_of(guest.tokens)
    assert (claims["name"], claims["guest"], claims["sub"]) == ("Ada", True, guest.account.user_id)
    assert guest.account.guest
    assert not guest.account.identities
    seen = await world.accounts.GetAccount(account_pb2.GetAccountRequest(), metadata=as_caller(guest))
    assert seen.account == guest.account
    refresh = auth_pb2.RefreshSessionRequest(refresh_token=guest.tokens.refresh_token)
    assert claims_of((await world.auth.RefreshSession(refresh)).tokens)["guest"] is True


async def test_guests_of_one_name_are_two(world: World) -> None:
    assert (await come_in(world)).account.user_id != (await come_in(world)).account.user_id


@pytest.mark.parametrize(
    "name", ["", "   ", "x" * 51, "a\x00b", "\u200b\u200b", "\U0001f468\u200d\U0001f467" * 51]
)
async def test_a_guest_needs_a_name_that_can_be_shown(world: World, name: str) -> None:
    before = await world.database.fetchval("SELECT count(*) FROM gateway.accounts")
    seen = await refusal(come_in(world, name))
    assert (seen.code, seen.fields) == ("INVALID_ARGUMENT", {"display_name"})
    assert await world.database.fetchval("SELECT count(*) FROM gateway.accounts") == before


async def test_fifty_families_are_a_name_of_fifty_characters(world: World) -> None:
    family = "\U0001f468\u200d\U0001f467"
    assert (await come_in(world, family * 50)).account.display_name == family * 50


async def test_a_guest_signs_out_like_everybody(world: World) -> None:
    guest = await come_in(world)
    answer = await world.auth.SignOut(auth_pb2.SignOutRequest(), metadata=as_caller(guest))
    assert answer.ended_sessions == 1
    await world.revocations.poll()
    seen = await refusal(
        world.accounts.GetAccount(account_pb2.GetAccountRequest(), metadata=as_caller(guest))
    )
    assert seen.reason == "SESSION_REVOKED"
    row = await world.database.fetchrow(
        "SELECT guest FROM gateway.accounts WHERE user_id = $1", UUID(guest.account.user_id)
    )
    assert row["guest"]


@pytest.mark.parametrize("method", MEMBERS_ONLY, ids=lambda method: method.name)
async def test_what_is_for_members_is_not_for_guests(world: World, method: Any) -> None:
    guest = await come_in(world)
    async with grpc.aio.insecure_channel(world.target) as channel:
        call: Any = channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        seen = await refusal(call(GetMessageClass(method.input_type)(), metadata=as_caller(guest)))
    assert (seen.code, seen.reason) == ("PERMISSION_DENIED", "GUEST_NOT_ALLOWED")
