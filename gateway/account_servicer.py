"""popcorn.gateway.v1.AccountService. The generated base answers UNIMPLEMENTED for what comes later."""

from typing import Any, Protocol
from uuid import UUID

import grpc

from gateway.accounts import Account, AccountGone
from gateway.messages import account_message
from mesh.identity import Identity, caller
from popcorn.gateway.v1 import account_pb2, account_pb2_grpc


class AccountStore(Protocol):
    """Keeps accounts."""

    async def account(self, user_id: UUID) -> Account | None:
        """Return an account, or None when there is none."""
        ...


class AccountServicer(account_pb2_grpc.AccountServiceServicer):
    """The caller's own account."""

    def __init__(self, accounts: AccountStore) -> None:
        """Take what keeps accounts."""
        self._accounts = accounts

    async def GetAccount(
        self, _request: account_pb2.GetAccountRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> account_pb2.GetAccountResponse:
        """Return the caller's account."""
        account = await self._accounts.account(user_id_of(caller()))
        if account is None:
            raise AccountGone
        return account_pb2.GetAccountResponse(account=account_message(account))


def user_id_of(identity: Identity) -> UUID:
    """Return the caller's id.

    Raises:
        AccountGone: The token's subject is not an id that we give.
    """
    try:
        return UUID(identity.user_id)
    except ValueError as error:
        raise AccountGone from error
