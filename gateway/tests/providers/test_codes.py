"""Signing in with authorization codes: what the providers take, what they do not, and what is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway.credentials import AuthorizationCode
from gateway.google_codes import GoogleCodes
from gateway.identity_tokens import ProvenIdentity, Provider
from gateway.provider_keys import ProviderKeys
from gateway.tests.conftest import KeyServer, World
from gateway.tests.providers.conftest import (
    ADDRESS,
    APPLE,
    APPLE_WEB_CLIENT,
    GOOGLE,
    VERIFIER,
    Office,
    challenge,
)
from gateway.tests.refusals import refusal
from gateway.token_endpoint import TokenEndpoint
from mesh.errors import Unavailable
from popcorn.gateway.v1 import account_pb2, auth_pb2

Subject = Callable[[], str]
BOTH = pytest.mark.parametrize("provider", [GOOGLE, APPLE])
TOKEN_PATHS = {GOOGLE: "/google/token", APPLE: "/apple/auth/token"}


@BOTH
async def test_a_code_signs_in_as_a_token_does(
    office: Office, somebody: Subject, provider: account_pb2.Provider.ValueType
) -> None:
    subject = somebody()
    first = await office.sign_in_with_code(provider, subject)
    second = await office.sign_in_with_code(provider, subject)
    third = await office.sign_in(provider, subject)
    assert [one.new_account for one in (first, second, third)] == [True, False, False]
    assert {one.account.user_id for one in (first, second, third)} == {first.account.user_id}
    assert first.account.identities[0].email == f"{subject}@example.com"


@BOTH
async def test_a_code_works_once(
    office: Office, somebody: Subject, provider: account_pb2.Provider.ValueType
) -> None:
    request = office.request(provider, await office.code(provider, somebody()))
    await office.auth.SignIn(request)
    before = await office.everything()
    seen = await refusal(office.auth.SignIn(request))
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", "INVALID_AUTHORIZATION_CODE")
    assert await office.everything() == before


async def test_of_many_that_show_one_code_at_once_one_gets_in(office: Office, somebody: Subject) -> None:
    request = office.request(APPLE, await office.code(APPLE, somebody()))
    answers = await asyncio.gather(*(office.auth.SignIn(request) for _ in range(8)), return_exceptions=True)
    assert [isinstance(answer, auth_pb2.SignInResponse) for answer in answers].count(True) == 1


WRONG: dict[str, tuple[account_pb2.Provider.ValueType, dict[str, Any], dict[str, Any], str]] = {
    "made up": (GOOGLE, {}, {"authorization_code": "4/made-up"}, ""),
    "another verifier": (GOOGLE, {}, {"code_verifier": "x" * 43}, ""),
    "another address": (GOOGLE, {}, {"redirect_uri": "https://evil.example"}, ""),
    "no address": (GOOGLE, {}, {"redirect_uri": ""}, ""),
    "another client of ours": (GOOGLE, {}, {"client_id": "web.google.example"}, ""),
    "a client that is not ours": (GOOGLE, {"clientId": "evil"}, {"client_id": "evil"}, ""),
    "Apple's, made up": (APPLE, {}, {"authorization_code": "c-made-up"}, ""),
    "Apple's, another address": (APPLE, {}, {"redirect_uri": "https://evil.example"}, ""),
    "Apple's, another client of ours": (APPLE, {}, {"client_id": APPLE_WEB_CLIENT}, ""),
    "Apple's, a client that is not ours": (APPLE, {"clientId": "evil"}, {"client_id": "evil"}, ""),
    "Apple's, with a challenge and another verifier": (
        APPLE,
        {"codeChallenge": challenge(VERIFIER)},
        {"code_verifier": "x" * 43},
        "",
    ),
    "a token with another nonce": (GOOGLE, {"nonce": "n-1"}, {"nonce": "n-2"}, "nonce"),
    "Apple's token with another nonce": (APPLE, {"nonce": "n-1"}, {"nonce": "n-2"}, "nonce"),
    "a token without a verified address": (GOOGLE, {"emailVerified": False}, {}, "email_verified"),
    "Apple's token without one": (APPLE, {"emailVerified": False}, {}, "email_verified"),
    "a token for another app": (GOOGLE, {"audience": "evil"}, {}, "audience"),
    "Apple's token for another app": (APPLE, {"audience": "evil"}, {}, "audience"),
}


@pytest.mark.parametrize(("provider", "wanted", "fields", "check"), WRONG.values(), ids=WRONG.keys())
async def test_a_code_that_is_not_right_is_refused_and_nothing_is_written(
    office: Office,
    somebody: Subject,
    provider: account_pb2.Provider.ValueType,
    wanted: dict[str, Any],
    fields: dict[str, Any],
    check: str,
) -> None:
    before = await office.everything()
    code = await office.code(provider, somebody(), **wanted)
    seen = await refusal(office.auth.SignIn(office.request(provider, code, **fields)))
    reason = "INVALID_IDENTITY_TOKEN" if check else "INVALID_AUTHORIZATION_CODE"
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", reason)
    assert seen.metadata == ({"check": check} if check else {})
    assert await office.everything() == before


async def test_a_code_of_another_client_of_ours_signs_in_when_it_is_named(
    office: Office, somebody: Subject
) -> None:
    for provider, client_id in ((GOOGLE, "web.google.example"), (APPLE, APPLE_WEB_CLIENT)):
        code = await office.code(provider, somebody(), clientId=client_id)
        await office.auth.SignIn(office.request(provider, code, client_id=client_id))
    secrets = [b"client_secret=s3cret" in request.content for request in office.wire.sent if request.content]
    assert secrets == [True, False]


async def test_a_code_that_came_without_an_address_is_traded_without_one(
    office: Office, somebody: Subject
) -> None:
    code = await office.code(APPLE, somebody(), redirectUri=None)
    await office.auth.SignIn(office.request(APPLE, code, redirect_uri=""))


@BOTH
async def test_whoever_trades_codes_is_away(
    office: Office, somebody: Subject, provider: account_pb2.Provider.ValueType
) -> None:
    request = office.request(provider, await office.code(provider, somebody()))
    before = await office.everything()
    office.wire.is_cut = True
    seen = await refusal(office.auth.SignIn(request))
    assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert await office.everything() == before
    # The code was not spent by that.
    office.wire.restore()
    await office.auth.SignIn(request)


@BOTH
async def test_whoever_trades_codes_does_not_answer_in_time(
    office: Office, somebody: Subject, provider: account_pb2.Provider.ValueType
) -> None:
    request = office.request(provider, await office.code(provider, somebody()))
    office.wire.blocked_paths = {TOKEN_PATHS[provider]}
    # A later answer would be DEADLINE_EXCEEDED.
    seen = await refusal(office.auth.SignIn(request, timeout=3))
    assert (seen.code, seen.metadata) == (
        "UNAVAILABLE",
        {"dependency": "google" if provider == GOOGLE else "apple"},
    )


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, text="oops"),
        httpx.Response(429, json={"error": "slow_down"}),
        httpx.Response(302, headers={"location": "http://elsewhere.test"}),
        httpx.Response(400, text="<html>"),
        httpx.Response(400, json=["invalid_grant"]),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"id_token": 7}),
        httpx.Response(200, content=b'{"id_token": "' + b"x" * 70_000 + b'"}'),
        httpx.Response(200, content=b"[" * 40_000),
        httpx.Response(401, json={"error": "invalid_client"}),
        httpx.Response(400, json={"error": "unauthorized_client"}),
    ],
    ids=lambda answer: f"{answer.status_code} {answer.text[:24]}",
)
async def test_an_answer_that_is_none_is_the_providers_fault(
    office: Office, somebody: Subject, answer: httpx.Response
) -> None:
    for provider, path in TOKEN_PATHS.items():
        office.wire.answers[path] = answer
        request = office.request(provider, await office.code(provider, somebody()))
        seen = await refusal(office.auth.SignIn(request))
        assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")


async def test_without_a_team_at_apple_its_codes_are_not_taken(world: World) -> None:
    request = auth_pb2.SignInRequest(provider=APPLE, authorization_code="c-code", redirect_uri=ADDRESS)
    seen = await refusal(world.auth.SignIn(request))
    assert (seen.code, seen.reason) == ("FAILED_PRECONDITION", "CODE_SIGN_IN_NOT_CONFIGURED")
    assert seen.metadata == {"provider": "apple"}


async def test_a_refresh_token_of_apples_is_kept_where_nobody_can_read_it(
    office: Office, somebody: Subject
) -> None:
    subject = somebody()
    user_id = (await office.sign_in_with_code(APPLE, subject)).account.user_id
    await office.sign_in_with_code(APPLE, subject)
    kept = await office.database.fetch("SELECT * FROM gateway.apple_grants WHERE user_id = $1", user_id)
    assert [(row["client_id"], row["key_id"]) for row in kept] == [("dev.popcorn.app", "new")]
    given = (await office.idp.get("/apple/grants", params={"subject": subject})).json()
    assert given == {"active": 2, "revoked": 0}
    tokens = [json.loads(body)["refresh_token"] for body in office.wire.received if b"refresh_token" in body]
    assert len(tokens) == 2
    tables = await office.database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'gateway'")
    for row in tables:
        # As a dump has it: bytea in hexadecimal.
        dump = await office.database.fetchval(
            f"SELECT coalesce(string_agg(t::text, ','), '') FROM gateway.{row['tablename']} AS t"
        )
        assert not any(token in dump or token.encode().hex() in dump for token in tokens)


async def test_a_token_alone_brings_no_grant(office: Office, somebody: Subject) -> None:
    user_id = (await office.sign_in(APPLE, somebody())).account.user_id
    count = "SELECT count(*) FROM gateway.apple_grants WHERE user_id = $1"
    assert await office.database.fetchval(count, user_id) == 0


class _Slow:
    """Checks tokens, but never comes to an end."""

    async def verify(self, token: str, *, nonce: str) -> ProvenIdentity:
        await asyncio.Event().wait()
        raise AssertionError


async def test_the_trade_and_the_keys_have_one_deadline_together() -> None:
    answer = httpx.MockTransport(lambda _request: httpx.Response(200, json={"id_token": "x"}))
    async with httpx.AsyncClient(transport=answer) as client:
        endpoint = TokenEndpoint("http://idp.test/token", provider="google", client=client)
        codes = GoogleCodes(endpoint, _Slow(), client_ids=["ours"], secrets={})
        code = AuthorizationCode("4/code", verifier=VERIFIER, redirect_uri="", client_id="")
        async with asyncio.timeout(3):
            with pytest.raises(Unavailable):
                await codes.prove(code, nonce="")


@pytest.fixture
async def silent() -> AsyncIterator[KeyServer]:
    async with KeyServer({"keys": []}) as server:
        server.hanging = asyncio.Event()
        yield server


async def test_no_keys_yet_and_nobody_answers(silent: KeyServer, world: World, somebody: Subject) -> None:
    from gateway.google_tokens import GoogleTokens

    async with httpx.AsyncClient(trust_env=False) as client:
        keys = ProviderKeys(silent.url, provider=Provider.GOOGLE.value, client=client)
        tokens = GoogleTokens(keys, audiences={"ios.apps.googleusercontent.com"}, clock=world.clock)
        async with asyncio.timeout(3):
            with pytest.raises(Unavailable):
                await tokens.verify(world.google.sign(world.google_claims(somebody())), nonce="")


async def test_a_client_secret_lives_on_with_the_clock(office: Office, somebody: Subject) -> None:
    """The provider refuses a secret that has run out: sign-ins go on over days all the same."""
    for hours in (0, 1, 2, 25):
        office.clock.shift = timedelta(hours=hours)
        request = office.request(APPLE, await office.code(APPLE, somebody()))
        await office.auth.SignIn(request)
