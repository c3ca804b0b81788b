"""Random lives of a few accounts against a small model: every answer, and what is left, is the model's."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.sessions import GRACE
from gateway.tests.conftest import World, as_caller, restored
from mesh.errors import reason_of, status_of
from popcorn.gateway.v1 import account_pb2, auth_pb2

GOOGLE, APPLE = account_pb2.PROVIDER_GOOGLE, account_pb2.PROVIDER_APPLE
OK = "OK"
REVOKED = "SESSION_REVOKED"
UNKNOWN_OR_REVOKED = {REVOKED, "INVALID_REFRESH_TOKEN"}
TOO_LATE = GRACE + timedelta(seconds=1)


@dataclass
class ModelAccount:
    """Who somebody is."""

    user_id: str
    guest: bool
    identities: dict[int, str] = field(default_factory=dict)
    deleted: bool = False


@dataclass
class ModelSession:
    """A chain of refresh tokens, the newest last, and the access token that came with that."""

    session_id: str
    account: ModelAccount
    chain: list[str]
    access: auth_pb2.SignInResponse
    token_says_guest: bool
    trade_may_be_repeated: bool = False
    ended: bool = False


@dataclass
class Model:
    """Everything that ought to be."""

    accounts: dict[str, ModelAccount] = field(default_factory=dict)
    sessions: list[ModelSession] = field(default_factory=list)

    def owner(self, provider: int, subject: str) -> ModelAccount | None:
        for account in self.accounts.values():
            if account.identities.get(provider) == subject:
                return account
        return None

    def open_sessions(self, account: ModelAccount) -> set[str]:
        return {one.session_id for one in self.sessions if one.account is account and not one.ended}

    def end(self, sessions: Iterable[ModelSession]) -> None:
        for session in sessions:
            session.ended = True


def claims_of(tokens: auth_pb2.Tokens) -> dict[str, Any]:
    payload = tokens.access_token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


class Life:
    """Does what a command says, to the gateway and to the model."""

    def __init__(self, world: World, subjects: list[str]) -> None:
        self.world = world
        self.subjects = subjects
        self.model = Model()

    async def reason(self, call: Awaitable[Any]) -> tuple[str, Any]:
        """OK and the answer, or the reason of the refusal."""
        try:
            return OK, await call
        except grpc.aio.AioRpcError as error:
            status = status_of(error)
        return (reason_of(status) if status is not None else None) or "NO_REASON", None

    def id_token(self, provider: int, subject: str) -> str:
        if provider == GOOGLE:
            return self.world.google.sign(self.world.google_claims(subject))
        return self.world.apple.sign(self.world.apple_claims(subject))

    def identity(self, number: int) -> tuple[int, str]:
        return (GOOGLE, APPLE)[number % 2], self.subjects[number // 2 % len(self.subjects)]

    def actor(self, number: int) -> ModelSession | None:
        """Somebody who can act: a session that goes on."""
        able = [session for session in self.model.sessions if not session.ended]
        return able[number % len(able)] if able else None

    def opened(self, account: ModelAccount, tokens: auth_pb2.Tokens) -> None:
        claims = claims_of(tokens)
        assert claims["sub"] == account.user_id
        assert claims["guest"] == account.guest
        session_id = claims["sid"]
        assert session_id not in {session.session_id for session in self.model.sessions}
        access = auth_pb2.SignInResponse(tokens=tokens)
        self.model.sessions.append(
            ModelSession(session_id, account, [tokens.refresh_token], access, claims["guest"])
        )

    # ---- commands: two numbers choose among whatever there is ----

    async def sign_in(self, first: int, _second: int) -> None:
        provider, subject = self.identity(first)
        request = auth_pb2.SignInRequest(
            provider=provider,  # type: ignore[arg-type]  # a number of this enum
            id_token=self.id_token(provider, subject),
        )
        answer = await self.world.auth.SignIn(request)
        owner = self.model.owner(provider, subject)
        assert answer.new_account is (owner is None)
        if owner is None:
            assert answer.account.user_id not in self.model.accounts, "ids are not given twice"
            owner = ModelAccount(answer.account.user_id, guest=False, identities={provider: subject})
            self.model.accounts[owner.user_id] = owner
        self.opened(owner, answer.tokens)

    async def sign_in_as_guest(self, _first: int, _second: int) -> None:
        answer = await self.world.auth.SignInAsGuest(auth_pb2.SignInAsGuestRequest(display_name="Guest"))
        account = ModelAccount(answer.account.user_id, guest=True)
        assert account.user_id not in self.model.accounts
        self.model.accounts[account.user_id] = account
        self.opened(account, answer.tokens)

    async def refresh(self, first: int, second: int) -> None:
        if not self.model.sessions:
            return
        latest = self.model.sessions[-3:]  # a few, so that their chains grow
        session = latest[first % len(latest)]
        # How far back in the chain each token is that is presented: 0 is the newest.
        for back in ((0,), (0, 0), (0, 1, 0), (0, 0, 2), (1,), (2,))[second % 6]:
            await self.present(session, session.chain[max(-1 - back, -len(session.chain))])

    async def present(self, session: ModelSession, token: str) -> None:
        request = auth_pb2.RefreshSessionRequest(refresh_token=token)
        reason, answer = await self.reason(self.world.auth.RefreshSession(request))
        is_newest = token == session.chain[-1]
        is_parent = len(session.chain) > 1 and token == session.chain[-2]
        if session.account.deleted:
            assert reason in UNKNOWN_OR_REVOKED
        elif session.ended:
            assert reason == REVOKED
        elif is_newest or (is_parent and session.trade_may_be_repeated):
            assert reason == OK
            if is_newest:
                assert answer.tokens.refresh_token not in session.chain
                session.chain.append(answer.tokens.refresh_token)
                session.trade_may_be_repeated = True
            else:
                assert answer.tokens.refresh_token == session.chain[-1], "a lost answer is given again"
            claims = claims_of(answer.tokens)
            assert claims["sid"] == session.session_id
            assert claims["sub"] == session.account.user_id
            assert claims["guest"] == session.account.guest
            session.access = auth_pb2.SignInResponse(tokens=answer.tokens)
            session.token_says_guest = session.account.guest
        else:
            assert reason == REVOKED
            self.model.end([session])

    async def wait_until_the_grace_is_over(self, _first: int, _second: int) -> None:
        self.world.clock.shift += TOO_LATE
        for session in self.model.sessions:
            session.trade_may_be_repeated = False

    async def link(self, first: int, second: int) -> None:
        if (session := self.actor(first)) is None:
            return
        provider, subject = self.identity(second)
        request = account_pb2.LinkIdentityRequest(
            provider=provider,  # type: ignore[arg-type]  # a number of this enum
            id_token=self.id_token(provider, subject),
        )
        call = self.world.accounts.LinkIdentity(request, metadata=as_caller(session.access))
        reason, _ = await self.reason(call)
        account, owner = session.account, self.model.owner(provider, subject)
        if owner is account:
            assert reason == OK
        elif owner is not None or provider in account.identities:
            refusals = {"IDENTITY_TAKEN"} if owner is not None else set()
            refusals |= {"PROVIDER_ALREADY_LINKED"} if provider in account.identities else set()
            assert reason in refusals
        else:
            assert reason == OK
            account.identities[provider] = subject
            account.guest = False

    async def unlink(self, first: int, second: int) -> None:
        if (session := self.actor(first)) is None:
            return
        provider = (GOOGLE, APPLE)[second % 2]
        request = account_pb2.UnlinkIdentityRequest(provider=provider)
        call = self.world.accounts.UnlinkIdentity(request, metadata=as_caller(session.access))
        reason, _ = await self.reason(call)
        identities = session.account.identities
        if session.token_says_guest:
            assert reason == "GUEST_NOT_ALLOWED"
        elif provider in identities and len(identities) == 1:
            assert reason == "LAST_IDENTITY"
        else:
            assert reason == OK
            identities.pop(provider, None)

    async def revoke(self, first: int, second: int) -> None:
        if (session := self.actor(first)) is None:
            return
        target = self.model.sessions[second % len(self.model.sessions)]
        request = account_pb2.RevokeSessionRequest(session_id=target.session_id)
        call = self.world.accounts.RevokeSession(request, metadata=as_caller(session.access))
        reason, _ = await self.reason(call)
        if session.token_says_guest:
            assert reason == "GUEST_NOT_ALLOWED"
        elif target.account is session.account:
            assert reason == OK
            self.model.end([target])
        else:
            assert reason == "SESSION_NOT_FOUND"

    async def sign_out(self, first: int, second: int) -> None:
        if (session := self.actor(first)) is None:
            return
        everywhere = second % 3 == 0
        await self.world.auth.SignOut(
            auth_pb2.SignOutRequest(all_sessions=everywhere), metadata=as_caller(session.access)
        )
        mine = [one for one in self.model.sessions if one.account is session.account]
        self.model.end(mine if everywhere else [session])

    async def delete(self, first: int, _second: int) -> None:
        if (session := self.actor(first)) is None:
            return
        await self.world.accounts.DeleteAccount(
            account_pb2.DeleteAccountRequest(), metadata=as_caller(session.access)
        )
        session.account.deleted = True
        session.account.identities = {}
        self.model.end(one for one in self.model.sessions if one.account is session.account)

    async def look(self, first: int, _second: int) -> None:
        if (session := self.actor(first)) is None:
            return
        answer = await self.world.accounts.GetAccount(
            account_pb2.GetAccountRequest(), metadata=as_caller(session.access)
        )
        account = answer.account
        assert (account.user_id, account.guest) == (session.account.user_id, session.account.guest)
        assert {identity.provider for identity in account.identities} == set(session.account.identities)
        call = self.world.accounts.ListSessions(
            account_pb2.ListSessionsRequest(page_size=100), metadata=as_caller(session.access)
        )
        reason, listed = await self.reason(call)
        if session.token_says_guest:
            assert reason == "GUEST_NOT_ALLOWED"
        else:
            assert {one.session_id for one in listed.sessions} == self.model.open_sessions(session.account)
            assert [one.session_id for one in listed.sessions if one.current] == [session.session_id]

    # ---- what is left ----

    async def check_what_is_left(self) -> None:
        await self.until(self.deleted_are_gone)
        fetch = self.world.database.fetch
        ids = [UUID(user_id) for user_id in self.model.accounts]
        living = {user_id for user_id, account in self.model.accounts.items() if not account.deleted}
        rows = await fetch("SELECT user_id, guest FROM gateway.accounts WHERE user_id = ANY ($1)", ids)
        assert {(str(row["user_id"]), row["guest"]) for row in rows} == {
            (user_id, self.model.accounts[user_id].guest) for user_id in living
        }
        names = {"google": GOOGLE, "apple": APPLE}
        rows = await fetch("SELECT * FROM gateway.identities WHERE subject = ANY ($1)", self.subjects)
        assert {(str(row["user_id"]), names[row["provider"]], row["subject"]) for row in rows} == {
            (user_id, provider, subject)
            for user_id in living
            for provider, subject in self.model.accounts[user_id].identities.items()
        }
        rows = await fetch(
            "SELECT session_id FROM gateway.sessions WHERE end_time IS NULL AND user_id = ANY ($1)", ids
        )
        assert {str(row["session_id"]) for row in rows} == {
            session.session_id for session in self.model.sessions if not session.ended
        }
        await self.until(self.ended_are_refused)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(60):
            while not await holds():  # noqa: ASYNC110 - what another task does in the background
                await asyncio.sleep(0.05)

    async def deleted_are_gone(self) -> bool:
        deleted = [UUID(account.user_id) for account in self.model.accounts.values() if account.deleted]
        found = await self.world.database.fetchval(
            "SELECT count(*) FROM gateway.accounts WHERE user_id = ANY ($1)", deleted
        )
        return not found

    async def ended_are_refused(self) -> bool:
        """Whether the access tokens of all ended sessions are refused; the others' never are."""
        for session in self.model.sessions:
            call = self.world.accounts.GetAccount(
                account_pb2.GetAccountRequest(), metadata=as_caller(session.access)
            )
            reason, _ = await self.reason(call)
            if session.ended and reason == OK:
                return False
            assert session.ended or reason == OK
        return True


COMMANDS = [
    *(Life.sign_in, Life.sign_in, Life.sign_in_as_guest),
    *(Life.refresh, Life.refresh, Life.refresh, Life.wait_until_the_grace_is_over),
    *(Life.link, Life.link, Life.unlink, Life.look),
    *(Life.revoke, Life.sign_out, Life.delete),
]
NUMBERS = st.integers(min_value=0, max_value=11)
LIVES = st.lists(st.tuples(st.sampled_from(COMMANDS), NUMBERS, NUMBERS), min_size=25, max_size=60)


@settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(life=LIVES)
async def test_every_life_goes_as_the_model_says(
    the_world: World,
    somebody: Callable[[], str],
    life: list[tuple[Callable[[Life, int, int], Awaitable[None]], int, int]],
) -> None:
    restored(the_world)
    lived = Life(the_world, [somebody() for _ in range(3)])
    for command, first, second in life:
        await command(lived, first, second)
    await lived.check_what_is_left()
