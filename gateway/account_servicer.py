"""popcorn.gateway.v1.AccountService."""

from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import grpc

from gateway.account_changes import read_changes
from gateway.accounts import Account, AccountChanges, AccountGone
from gateway.credential_fields import read_credential, read_nonce
from gateway.deletion import Cause, Deletions
from gateway.exports import Exports
from gateway.identities import Identities
from gateway.messages import PROVIDERS, account_message, export_message, session_message
from gateway.own_sessions import OwnSessions
from gateway.sessions import SessionNotFound
from mesh.checks import Checks
from mesh.identity import Identity, caller
from mesh.page_tokens import PageTokens
from popcorn.gateway.v1 import account_pb2, account_pb2_grpc

_USUAL_PAGE: Final = 20
_LARGEST_PAGE: Final = 100
_SESSIONS: Final = "gateway.sessions"


class AccountStore(Protocol):
    """Keeps accounts."""

    async def account(self, user_id: UUID) -> Account | None:
        """Return an account, or None when there is none."""
        ...

    async def update_account(self, user_id: UUID, changes: AccountChanges) -> Account | None:
        """Change an account and return it as it is then, or None when there is none."""
        ...


class AccountServicer(account_pb2_grpc.AccountServiceServicer):
    """The caller's own account."""

    def __init__(
        self,
        accounts: AccountStore,
        *,
        sessions: OwnSessions,
        identities: Identities,
        page_tokens: PageTokens,
        deletions: Deletions,
        exports: Exports,
    ) -> None:
        """Take the parts.

        Args:
            accounts: Keeps accounts.
            sessions: The use cases of sessions.
            identities: Links and unlinks ways to sign in.
            page_tokens: Seals page tokens.
            deletions: Ends accounts.
            exports: Tells all that is held about a person.
        """
        self._accounts = accounts
        self._sessions = sessions
        self._identities = identities
        self._page_tokens = page_tokens
        self._deletions = deletions
        self._exports = exports

    async def GetAccount(
        self, _request: account_pb2.GetAccountRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> account_pb2.GetAccountResponse:
        """Return the caller's account."""
        account = await self._accounts.account(user_id_of(caller()))
        if account is None:
            raise AccountGone
        return account_pb2.GetAccountResponse(account=account_message(account))

    async def ListSessions(
        self, request: account_pb2.ListSessionsRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> account_pb2.ListSessionsResponse:
        """Return the caller's open sessions."""
        who = caller()
        user_id, query = user_id_of(who), {"user_id": who.user_id}
        checks = Checks()
        limit = checks.page_size("page_size", request.page_size, default=_USUAL_PAGE, most=_LARGEST_PAGE)
        position = checks.page_token(
            "page_token", request.page_token, tokens=self._page_tokens, kind=_SESSIONS, query=query
        )
        checks.done()
        after = (datetime.fromisoformat(position[0]), UUID(position[1])) if position else None
        # One more than asked for tells whether there is a next page.
        sessions, total = await self._sessions.page(user_id, after=after, limit=limit + 1)
        answer = account_pb2.ListSessionsResponse(
            sessions=[
                session_message(session, current=str(session.session_id) == who.session_id)
                for session in sessions[:limit]
            ],
            total_size=total,
        )
        if len(sessions) > limit:
            last = sessions[limit - 1]
            answer.next_page_token = self._page_tokens.seal(
                _SESSIONS, query, [last.last_use_time.isoformat(), str(last.session_id)]
            )
        return answer

    async def RevokeSession(
        self, request: account_pb2.RevokeSessionRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> account_pb2.RevokeSessionResponse:
        """End one of the caller's sessions."""
        user_id = user_id_of(caller())
        checks = Checks()
        session_id = checks.text("session_id", request.session_id, shortest=1, longest=64)
        checks.done()
        await self._sessions.revoke(user_id, _session_id(session_id))
        return account_pb2.RevokeSessionResponse()

    async def UpdateAccount(
        self, request: account_pb2.UpdateAccountRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> account_pb2.UpdateAccountResponse:
        """Change the caller's account."""
        checks = Checks()
        changes = read_changes(checks, request)
        checks.done()
        account = await self._accounts.update_account(user_id_of(caller()), changes)
        if account is None:
            raise AccountGone
        return account_pb2.UpdateAccountResponse(account=account_message(account))

    async def DeleteAccount(
        self, _request: account_pb2.DeleteAccountRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> account_pb2.DeleteAccountResponse:
        """Delete the caller's account."""
        await self._deletions.start(user_id_of(caller()), cause=Cause.REQUEST)
        return account_pb2.DeleteAccountResponse()

    async def ExportAccount(
        self, _request: account_pb2.ExportAccountRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> account_pb2.ExportAccountResponse:
        """Return everything held about the caller."""
        who = caller()
        export = await self._exports.everything_about(user_id_of(who))
        return export_message(export, session_id=who.session_id)

    async def LinkIdentity(
        self, request: account_pb2.LinkIdentityRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> account_pb2.LinkIdentityResponse:
        """Add a way to sign in to the caller's account."""
        user_id = user_id_of(caller())
        checks = Checks()
        provider = checks.choice("provider", request.provider, account_pb2.Provider)
        credential = read_credential(checks, request)
        nonce = read_nonce(checks, request)
        checks.done()
        account = await self._identities.link(user_id, PROVIDERS[provider], credential, nonce=nonce)
        return account_pb2.LinkIdentityResponse(account=account_message(account))

    async def UnlinkIdentity(
        self, request: account_pb2.UnlinkIdentityRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> account_pb2.UnlinkIdentityResponse:
        """Take a way to sign in away from the caller's account."""
        user_id = user_id_of(caller())
        checks = Checks()
        provider = checks.choice("provider", request.provider, account_pb2.Provider)
        checks.done()
        account = await self._identities.unlink(user_id, PROVIDERS[provider])
        return account_pb2.UnlinkIdentityResponse(account=account_message(account))


def user_id_of(identity: Identity) -> UUID:
    """Return the caller's id.

    Raises:
        AccountGone: The token's subject is not an id that we give.
    """
    try:
        return UUID(identity.user_id)
    except ValueError as error:
        raise AccountGone from error


def session_id_of(identity: Identity) -> UUID:
    """Return the id of the caller's session.

    Raises:
        SessionNotFound: The token's session is not an id that we give.
    """
    return _session_id(identity.session_id)


def _session_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise SessionNotFound from error
