"""The ways to sign in to an account: adding one, and taking one away.

The key of a person is (provider, subject). Two accounts are never joined: an identity that belongs to
somebody is refused, and that two of them have one e-mail address says nothing. An account has at most one
identity of each provider, and at least one in all unless it is a guest's.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar, Protocol
from uuid import UUID

from gateway.accounts import Account, AccountGone
from gateway.audit import audit
from gateway.credentials import Credential
from gateway.identity_tokens import ProvenIdentity, Provider
from gateway.proofs import Proofs


class IdentityTaken(Exception):
    """The identity belongs to another account."""

    status = "ALREADY_EXISTS"
    reason = "IDENTITY_TAKEN"

    def __init__(self, provider: Provider) -> None:
        super().__init__("This sign-in belongs to another account already. Accounts cannot be joined.")
        self.metadata: Mapping[str, str] = {"provider": provider.value}


class ProviderAlreadyLinked(Exception):
    """The account has another identity of that provider."""

    status = "ALREADY_EXISTS"
    reason = "PROVIDER_ALREADY_LINKED"

    def __init__(self, provider: Provider) -> None:
        super().__init__("This account has another sign-in of that provider. Please remove that one first.")
        self.metadata: Mapping[str, str] = {"provider": provider.value}


class LastIdentity(Exception):
    """Without it nobody could sign in to the account any more."""

    status = "FAILED_PRECONDITION"
    reason = "LAST_IDENTITY"
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__("This is the only way to sign in to your account. Please add another one first.")


class IdentityStore(Protocol):
    """Keeps identities."""

    async def link(self, user_id: UUID, identity: ProvenIdentity, *, now: datetime) -> bool:
        """Add an identity to an account; return whether it is new there.

        Raises AccountGone, IdentityTaken, ProviderAlreadyLinked or InvalidIdentityToken.
        """
        ...

    async def unlink(self, user_id: UUID, provider: Provider, *, now: datetime) -> bool:
        """Take an identity away; return whether it was there. Raises AccountGone or LastIdentity."""
        ...


class Accounts(Protocol):
    """Keeps accounts."""

    async def account(self, user_id: UUID) -> Account | None:
        """Return an account, or None when there is none."""
        ...


class Identities:
    """Linking and unlinking."""

    def __init__(
        self,
        *,
        proofs: Proofs,
        store: IdentityStore,
        accounts: Accounts,
        clock: Callable[[], datetime],
    ) -> None:
        """Take what proves identities, what keeps them, what keeps accounts, and the clock."""
        self._proofs = proofs
        self._store = store
        self._accounts = accounts
        self._clock = clock

    async def link(self, user_id: UUID, provider: Provider, credential: Credential, *, nonce: str) -> Account:
        """Add a way to sign in; a guest's account becomes a member's. One's own again is fine.

        Raises:
            InvalidIdentityToken: What the provider gave does not convince.
            InvalidAuthorizationCode: The provider does not take the code.
            CodeSignInNotConfigured: A code, of a provider whose codes we cannot trade.
            IdentityTaken: It is somebody else's.
            ProviderAlreadyLinked: The account has another one of that provider.
            AccountGone: There is no such account.
            mesh.errors.Unavailable: The provider or the store cannot be reached.
        """
        identity = await self._proofs.prove(provider, credential, nonce=nonce)
        if await self._store.link(user_id, identity, now=self._clock()):
            audit("identity.linked", user_id=user_id, provider=provider)
        return await self._account(user_id)

    async def unlink(self, user_id: UUID, provider: Provider) -> Account:
        """Take a way to sign in away; one that is not there is fine.

        Raises:
            LastIdentity: It is the only one.
            AccountGone: There is no such account.
            mesh.errors.Unavailable: The store cannot be reached.
        """
        if await self._store.unlink(user_id, provider, now=self._clock()):
            audit("identity.unlinked", user_id=user_id, provider=provider, reason="asked")
        return await self._account(user_id)

    async def _account(self, user_id: UUID) -> Account:
        account = await self._accounts.account(user_id)
        if account is None:
            raise AccountGone
        return account
