"""The use cases of signing in: who is it, do we know them, and the two tokens that follow.

Plain Python over the ports below: what checks a provider's token, what keeps accounts and sessions, and
what signs access tokens is handed in, as are the clock, the ids and the randomness.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from gateway.accounts import Account, Newcomer, Preferences, first_display_name
from gateway.clients import Client
from gateway.credentials import Credential
from gateway.identity_tokens import ProvenIdentity, Provider
from gateway.limits import Limited, Limits
from gateway.proofs import Proofs
from gateway.sessions import (
    Lifetimes,
    LiveSession,
    NewSession,
    SessionRevoked,
    SpentToken,
    judge_spent,
    seal,
    secret_of,
    token_hash,
    token_text,
)


class SessionStore(Protocol):
    """Keeps accounts and sessions."""

    async def open_session(
        self, identity: ProvenIdentity, *, newcomer: Newcomer, session: NewSession
    ) -> tuple[Account, bool]:
        """Open a session for an identity, making its account when there is none; say whether it was made.

        Raises InvalidIdentityToken when there is none and the token may not make one.
        """
        ...

    async def trade_refresh_token(
        self, presented: bytes, *, successor: bytes, sealed_successor: bytes, now: datetime
    ) -> LiveSession | None:
        """Replace the newest token of a living session (as hashes); None when `presented` is not that."""
        ...

    async def spent_refresh_token(self, presented: bytes) -> SpentToken | None:
        """Return what is known of a token, by its hash."""
        ...

    async def end_session(self, session_id: UUID, *, now: datetime, reason: str) -> None:
        """End a session that has not ended yet."""
        ...


class GuestStore(Protocol):
    """Keeps guests, and knows whose a refresh token is."""

    async def open_guest_session(self, guest: Newcomer, session: NewSession) -> Account:
        """Make a guest's account and open its session."""
        ...

    async def owner_of(self, refresh_token_hash: bytes) -> UUID | None:
        """Return whose a refresh token is or was, None when it is nobody's."""
        ...


class AccessTokens(Protocol):
    """Signs access tokens."""

    def sign(self, session: LiveSession, *, issued_at: datetime, expires_at: datetime) -> str:
        """Return an access token."""
        ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """The two tokens of a session."""

    access_token: str
    """An ES256 JWT."""
    access_expire_time: datetime
    """When it stops working."""
    refresh_token: str
    """For one refresh."""
    refresh_expire_time: datetime
    """When a new sign-in is due."""
    session: LiveSession
    """The session they carry."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a sign-in gives."""

    tokens: Tokens
    """The session's first tokens."""
    account: Account
    """Who signed in."""
    new_account: bool
    """Whether this made the account."""


class StolenToken(SessionRevoked):
    """A refresh token came back that was used before; its session has just been ended."""

    def __init__(self, session: LiveSession) -> None:
        super().__init__()
        self.session = session


class Auth:
    """Signing in, and going on."""

    def __init__(
        self,
        *,
        proofs: Proofs,
        store: SessionStore,
        guests: GuestStore,
        limits: Limits,
        access_tokens: AccessTokens,
        lifetimes: Lifetimes,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
        new_secret: Callable[[], bytes],
    ) -> None:
        """Take the parts.

        Args:
            proofs: What checks whom a provider vouches for.
            store: What keeps accounts and sessions.
            guests: What keeps guests, and knows whose a refresh token is.
            limits: Counts who comes how often.
            access_tokens: What signs.
            lifetimes: How long tokens live.
            clock: The present, with its zone.
            new_id: Makes ids of accounts and sessions.
            new_secret: Makes refresh tokens: 32 random bytes.
        """
        self._proofs = proofs
        self._store = store
        self._guests = guests
        self._limits = limits
        self._access_tokens = access_tokens
        self._lifetimes = lifetimes
        self._clock = clock
        self._new_id = new_id
        self._new_secret = new_secret

    async def sign_in(
        self,
        provider: Provider,
        credential: Credential,
        *,
        nonce: str,
        display_name: str,
        preferences: Preferences,
        client: Client,
    ) -> SignedIn:
        """Open a session for whom a provider vouches for.

        Args:
            provider: Who vouches.
            credential: What the provider gave.
            nonce: What the token must hold; empty when that is not to be looked at.
            display_name: What to call a new account; may be empty.
            preferences: The language and region a new account begins with.
            client: Where the call comes from.

        Raises:
            RateLimited: The address, or whom the provider vouches for, comes too often.
            InvalidIdentityToken: The token does not convince, or is too little to begin an account with.
            InvalidAuthorizationCode: The provider does not take the code.
            CodeSignInNotConfigured: A code, of a provider whose codes we cannot trade.
            mesh.errors.Unavailable: The provider or the store cannot be reached.
        """
        await self._limits.count_address(Limited.SIGN_IN, client.address)
        identity = await self._proofs.prove(provider, credential, nonce=nonce)
        await self._limits.count_account(Limited.SIGN_IN, f"{identity.provider} {identity.subject}")
        now, secret = self._clock(), self._new_secret()
        session = self._new_session(secret, now=now, client=client)
        newcomer = Newcomer(
            user_id=self._new_id(),
            display_name=first_display_name(asked_for=display_name, told=identity.name),
            language=preferences.language,
            region=preferences.region,
        )
        account, new_account = await self._store.open_session(identity, newcomer=newcomer, session=session)
        return SignedIn(self._first_tokens(account, session, secret), account, new_account)

    async def sign_in_as_guest(
        self, *, display_name: str, preferences: Preferences, client: Client
    ) -> SignedIn:
        """Open a session for somebody who has a name and nothing else.

        Args:
            display_name: What others see, as `names.read_display_name` returns it.
            preferences: The language and region the account begins with.
            client: Where the call comes from.

        Raises:
            RateLimited: The address comes too often.
            mesh.errors.Unavailable: The store cannot be reached.
        """
        await self._limits.count_address(Limited.GUEST_SIGN_IN, client.address)
        now, secret = self._clock(), self._new_secret()
        session = self._new_session(secret, now=now, client=client)
        guest = Newcomer(
            user_id=self._new_id(),
            display_name=display_name,
            language=preferences.language,
            region=preferences.region,
        )
        account = await self._guests.open_guest_session(guest, session)
        return SignedIn(self._first_tokens(account, session, secret), account, new_account=True)

    async def refresh(self, refresh_token: str, *, client: Client) -> Tokens:
        """Trade a refresh token for a new pair.

        Raises:
            RateLimited: The address or the account comes too often.
            InvalidRefreshToken: Unknown or too old.
            SessionRevoked: The session has ended; as `StolenToken` when this very call ended it.
            mesh.errors.Unavailable: The store cannot be reached.
        """
        await self._limits.count_address(Limited.REFRESH, client.address)
        presented, successor, now = secret_of(refresh_token), self._new_secret(), self._clock()
        owner = await self._guests.owner_of(token_hash(presented))
        if owner is not None:
            await self._limits.count_account(Limited.REFRESH, str(owner))
        session = await self._store.trade_refresh_token(
            token_hash(presented),
            successor=token_hash(successor),
            sealed_successor=seal(successor, predecessor=presented),
            now=now,
        )
        if session is not None:
            return self._tokens(session, successor, now=now)
        spent = await self._store.spent_refresh_token(token_hash(presented))
        sealed_successor = judge_spent(spent, now=now)
        assert spent is not None, "an unknown token has been refused"
        if sealed_successor is None:
            await self._store.end_session(spent.session.session_id, now=now, reason="refresh_token_reuse")
            raise StolenToken(spent.session)
        return self._tokens(spent.session, seal(sealed_successor, predecessor=presented), now=now)

    def _new_session(self, secret: bytes, *, now: datetime, client: Client) -> NewSession:
        return NewSession(
            session_id=self._new_id(),
            token_hash=token_hash(secret),
            create_time=now,
            expire_time=now + self._lifetimes.session,
            device=client.device,
        )

    def _first_tokens(self, account: Account, session: NewSession, secret: bytes) -> Tokens:
        live = LiveSession(
            session_id=session.session_id,
            user_id=account.user_id,
            display_name=account.display_name,
            guest=account.guest,
            expire_time=session.expire_time,
        )
        return self._tokens(live, secret, now=session.create_time)

    def _tokens(self, session: LiveSession, secret: bytes, *, now: datetime) -> Tokens:
        # A session's age is absolute: its last access token ends with it. Tokens know whole seconds only.
        access_expire_time = min(now + self._lifetimes.access, session.expire_time).replace(microsecond=0)
        return Tokens(
            access_token=self._access_tokens.sign(session, issued_at=now, expires_at=access_expire_time),
            access_expire_time=access_expire_time,
            refresh_token=token_text(secret),
            refresh_expire_time=session.expire_time,
            session=session,
        )
