"""From the domain's dataclasses to the contract's messages."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.accounts import Account
from gateway.auth import Tokens
from gateway.exports import Export
from gateway.identity_tokens import Provider
from gateway.sessions import OpenSession
from popcorn.gateway.v1 import account_pb2, auth_pb2

PROVIDERS: Final[Mapping[int, Provider]] = {
    account_pb2.PROVIDER_GOOGLE: Provider.GOOGLE,
    account_pb2.PROVIDER_APPLE: Provider.APPLE,
}
"""The contract's providers, in the domain's words."""

_NUMBERS: Final = {provider: account_pb2.Provider.ValueType(number) for number, provider in PROVIDERS.items()}


def timestamp(moment: datetime) -> Timestamp:
    """Return a moment as a message."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def account_message(account: Account) -> account_pb2.Account:
    """Return an account as its owner sees it."""
    return account_pb2.Account(
        user_id=str(account.user_id),
        display_name=account.display_name,
        language=account.language,
        region=account.region,
        identities=[
            account_pb2.Identity(
                provider=_NUMBERS[identity.provider],
                email=identity.email,
                link_time=timestamp(identity.link_time),
                private_email=identity.private_email,
                email_disabled=identity.email_disabled,
            )
            for identity in account.identities
        ],
        guest=account.guest,
        create_time=timestamp(account.create_time),
    )


def session_message(session: OpenSession, *, current: bool) -> account_pb2.Session:
    """Return a session as its owner sees it; `current` says whether it is the one that asks."""
    return account_pb2.Session(
        session_id=str(session.session_id),
        device=session.device,
        create_time=timestamp(session.create_time),
        last_use_time=timestamp(session.last_use_time),
        current=current,
    )


def export_message(export: Export, *, session_id: str) -> account_pb2.ExportAccountResponse:
    """Return everything held about a person, for a call of this session."""
    message = account_pb2.ExportAccountResponse(
        account=account_message(export.own.account),
        sessions=[
            account_pb2.Session(
                session_id=str(session.session_id),
                device=session.device,
                create_time=timestamp(session.create_time),
                last_use_time=timestamp(session.last_use_time),
                current=str(session.session_id) == session_id,
            )
            for session in export.own.sessions
        ],
        services=export.services,
    )
    json_format.ParseDict(dict(export.own.rows), message.services["gateway"])
    return message


def tokens_message(tokens: Tokens) -> auth_pb2.Tokens:
    """Return a session's tokens."""
    return auth_pb2.Tokens(
        access_token=tokens.access_token,
        access_token_expire_time=timestamp(tokens.access_expire_time),
        refresh_token=tokens.refresh_token,
        refresh_token_expire_time=timestamp(tokens.refresh_expire_time),
    )
