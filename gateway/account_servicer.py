"""popcorn.gateway.v1.AccountService. The generated base answers UNIMPLEMENTED for what comes later."""

from typing import Any, Protocol
from uuid import UUID

import grpc

from gateway.account_changes import read_changes
from gateway.accounts import Account, AccountChanges, AccountGone
from gateway.deletion import Cause, Deletions
from gateway.exports import Exports
from gateway.messages import account_message, export_message
from mesh.checks import Checks
from mesh.identity import Identity, caller
from popcorn.gateway.v1 import account_pb2, account_pb2_grpc


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

    def __init__(self, accounts: AccountStore, *, deletions: Deletions, exports: Exports) -> None:
        """Take what keeps accounts, what ends them, and what tells all that is held about their owners."""
        self._accounts = accounts
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


def user_id_of(identity: Identity) -> UUID:
    """Return the caller's id.

    Raises:
        AccountGone: The token's subject is not an id that we give.
    """
    try:
        return UUID(identity.user_id)
    except ValueError as error:
        raise AccountGone from error
