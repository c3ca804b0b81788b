"""Refreshing: one living chain a session, and what becomes of copies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest

from gateway import sessions
from gateway.tests.conftest import World, as_caller
from gateway.tests.refusals import Seen, refusal
from popcorn.gateway.v1 import account_pb2, auth_pb2

Subject = Callable[[], str]


async def refresh(world: World, token: str) -> auth_pb2.Tokens:
    return (await world.auth.RefreshSession(auth_pb2.RefreshSessionRequest(refresh_token=token))).tokens


async def refused(world: World, token: str) -> Seen:
    return await refusal(world.auth.RefreshSession(auth_pb2.RefreshSessionRequest(refresh_token=token)))


def claims_of(tokens: auth_pb2.Tokens) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(tokens.access_token, options={"verify_signature": False})
    return claims


async def test_a_refresh_gives_a_new_pair_of_the_same_session(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody(), display_name="Ada")
    world.clock.shift = timedelta(hours=1)
    tokens = await refresh(world, signed_in.tokens.refresh_token)
    before, after = claims_of(signed_in.tokens), claims_of(tokens)
    assert tokens.refresh_token != signed_in.tokens.refresh_token
    assert {name: after[name] for name in ("iss", "aud", "sub", "sid", "name", "guest")} == {
        name: before[name] for name in ("iss", "aud", "sub", "sid", "name", "guest")
    }
    assert after["jti"] != before["jti"]
    assert after["iat"] - before["iat"] >= 3600
    assert after["exp"] - after["iat"] == 30 * 86400
    assert tokens.refresh_token_expire_time == signed_in.tokens.refresh_token_expire_time
    signed_in.tokens.CopyFrom(tokens)
    seen = await world.accounts.GetAccount(account_pb2.GetAccountRequest(), metadata=as_caller(signed_in))
    assert seen.account.display_name == "Ada"


async def test_a_refresh_token_is_256_bits_of_its_own(world: World, somebody: Subject) -> None:
    token = (await world.sign_in(somebody())).tokens.refresh_token
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    successor = (await refresh(world, token)).refresh_token
    assert len(base64.urlsafe_b64decode(successor + "=")) == 32


async def test_a_chain_goes_on_for_as_long_as_its_session(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody())
    tokens = signed_in.tokens
    for day in (20, 40, 59):
        world.clock.shift = timedelta(days=day)
        tokens = await refresh(world, tokens.refresh_token)
        assert tokens.refresh_token_expire_time == signed_in.tokens.refresh_token_expire_time
    # The last access token ends with its session.
    assert abs(claims_of(tokens)["exp"] - tokens.refresh_token_expire_time.seconds) <= 1
    world.clock.shift = timedelta(days=60, seconds=1)
    seen = await refused(world, tokens.refresh_token)
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", "INVALID_REFRESH_TOKEN")


async def test_a_lost_answer_is_given_again_within_the_grace(world: World, somebody: Subject) -> None:
    first = (await world.sign_in(somebody())).tokens.refresh_token
    lost = await refresh(world, first)
    world.clock.shift = timedelta(seconds=9)
    again = await refresh(world, first)
    assert again.refresh_token == lost.refresh_token
    assert again.access_token != lost.access_token
    await refresh(world, again.refresh_token)


async def test_twenty_refreshes_at_once_leave_one_living_chain(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody())
    answers = await asyncio.gather(*(refresh(world, signed_in.tokens.refresh_token) for _ in range(20)))
    assert len({answer.refresh_token for answer in answers}) == 1
    assert {claims_of(answer)["sid"] for answer in answers} == {claims_of(signed_in.tokens)["sid"]}
    generations = await world.database.fetch(
        "SELECT generation FROM gateway.refresh_tokens WHERE session_id = $1",
        claims_of(signed_in.tokens)["sid"],
    )
    assert sorted(row["generation"] for row in generations) == [1, 2]
    await refresh(world, answers[7].refresh_token)


async def test_reuse_after_the_grace_ends_the_session(world: World, somebody: Subject) -> None:
    first = (await world.sign_in(somebody())).tokens.refresh_token
    second = (await refresh(world, first)).refresh_token
    world.clock.shift = timedelta(seconds=10.5)
    seen = await refused(world, first)
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", "SESSION_REVOKED")
    assert (await refused(world, second)).reason == "SESSION_REVOKED"
    assert (await refused(world, first)).reason == "SESSION_REVOKED"


async def test_a_grandparent_is_refused_even_within_the_grace(world: World, somebody: Subject) -> None:
    first = (await world.sign_in(somebody())).tokens.refresh_token
    second = (await refresh(world, first)).refresh_token
    third = (await refresh(world, second)).refresh_token
    assert (await refused(world, first)).reason == "SESSION_REVOKED"
    assert (await refused(world, third)).reason == "SESSION_REVOKED"


async def test_the_end_of_one_session_is_not_the_end_of_another(world: World, somebody: Subject) -> None:
    subject = somebody()
    phone, tablet = await world.sign_in(subject), await world.sign_in(subject)
    second = await refresh(world, phone.tokens.refresh_token)
    world.clock.shift = timedelta(seconds=11)
    await refused(world, phone.tokens.refresh_token)
    assert (await refused(world, second.refresh_token)).reason == "SESSION_REVOKED"
    await refresh(world, tablet.tokens.refresh_token)


async def test_why_a_session_ended_is_on_file(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody())
    await refresh(world, signed_in.tokens.refresh_token)
    world.clock.shift = timedelta(seconds=11)
    await refused(world, signed_in.tokens.refresh_token)
    row = await world.database.fetchrow(
        "SELECT end_time, end_reason FROM gateway.sessions WHERE session_id = $1",
        claims_of(signed_in.tokens)["sid"],
    )
    assert row["end_time"] is not None
    assert row["end_reason"] == "refresh_token_reuse"


def respelled(token: str) -> str:
    """The same bits in another spelling: the last of 43 characters has two to spare."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


@pytest.mark.parametrize(
    "made_up", ["x", "A" * 43, "A" * 42, "A" * 44, "!" * 43, "é" * 43, "a.b.c", "A" * 512, None]
)
async def test_what_we_never_gave_is_refused(world: World, somebody: Subject, made_up: str | None) -> None:
    mine = (await world.sign_in(somebody())).tokens.refresh_token
    seen = await refused(world, respelled(mine) if made_up is None else made_up)
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", "INVALID_REFRESH_TOKEN")
    await refresh(world, mine)


@pytest.mark.parametrize("bad", ["", "  ", "a\x00b", "A" * 513])
async def test_bad_input_names_the_field(world: World, bad: str) -> None:
    seen = await refused(world, bad)
    assert (seen.code, seen.fields) == ("INVALID_ARGUMENT", {"refresh_token"})


async def test_a_dump_of_the_tables_holds_no_usable_token(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody())
    first = signed_in.tokens.refresh_token
    second = (await refresh(world, first)).refresh_token
    dump = ""
    for table in ("accounts", "identities", "sessions", "refresh_tokens"):
        for row in await world.database.fetch(f"SELECT * FROM gateway.{table}"):
            dump += repr(tuple(row.values()))
    columns = [
        bytes(value)
        for row in await world.database.fetch("SELECT token_hash, sealed FROM gateway.refresh_tokens")
        for value in row.values()
        if value is not None
    ]
    assert hashlib.sha256(sessions.secret_of(second)).digest() in columns
    for token in (first, second):
        assert token not in dump
        assert sessions.secret_of(token) not in columns
    for column in columns:
        seen = await refused(world, sessions.token_text(column))
        assert seen.reason == "INVALID_REFRESH_TOKEN"
    await refresh(world, second)


def test_only_the_predecessor_opens_what_is_sealed() -> None:
    successor, predecessor, other = bytes(range(32)), b"p" * 32, b"q" * 32
    sealed = sessions.seal(successor, predecessor=predecessor)
    assert sealed != successor
    assert sessions.seal(sealed, predecessor=predecessor) == successor
    assert sessions.seal(sealed, predecessor=other) != successor
