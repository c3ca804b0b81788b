"""popcorn.gateway.v1.AuthService."""

from typing import Any, Final

import grpc

from gateway.account_servicer import session_id_of, user_id_of
from gateway.accounts import Preferences
from gateway.apple_notifications import AppleNotifications
from gateway.audit import audit
from gateway.auth import Auth, SignedIn, StolenToken
from gateway.clients import client_of
from gateway.credential_fields import read_credential, read_nonce
from gateway.identity_tokens import Provider
from gateway.keys import Keys
from gateway.messages import PROVIDERS, account_message, tokens_message
from gateway.names import read_display_name
from gateway.own_sessions import OwnSessions
from mesh.checks import Checks
from mesh.identity import caller
from mesh.locale import requested_locale
from popcorn.gateway.v1 import account_pb2, auth_pb2, auth_pb2_grpc

_LONGEST_REFRESH_TOKEN: Final = 512
_LONGEST_NOTIFICATION: Final = 16_384


class AuthServicer(auth_pb2_grpc.AuthServiceServicer):
    """Signing in and going on."""

    def __init__(
        self, auth: Auth, *, sessions: OwnSessions, notifications: AppleNotifications, keys: Keys
    ) -> None:
        """Take the use cases, and the keys whose public half is published."""
        self._notifications = notifications
        self._auth = auth
        self._sessions = sessions
        self._keys = keys

    async def SignIn(
        self, request: auth_pb2.SignInRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> auth_pb2.SignInResponse:
        """Sign in with what a provider gave."""
        checks = Checks()
        provider = checks.choice("provider", request.provider, account_pb2.Provider)
        credential = read_credential(checks, request)
        nonce = read_nonce(checks, request)
        display_name = read_display_name(checks, "display_name", request.display_name, required=False)
        checks.done()
        signed_in = await self._auth.sign_in(
            PROVIDERS[provider],
            credential,
            nonce=nonce,
            display_name=display_name,
            preferences=_preferences(context),
            client=client_of(context.invocation_metadata() or (), peer=context.peer()),
        )
        if signed_in.new_account:
            audit("identity.linked", user_id=signed_in.account.user_id, provider=PROVIDERS[provider])
        _audit_opened(signed_in, PROVIDERS[provider])
        return auth_pb2.SignInResponse(
            tokens=tokens_message(signed_in.tokens),
            account=account_message(signed_in.account),
            new_account=signed_in.new_account,
        )

    async def SignInAsGuest(
        self, request: auth_pb2.SignInAsGuestRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> auth_pb2.SignInAsGuestResponse:
        """Sign in with a name only."""
        checks = Checks()
        display_name = read_display_name(checks, "display_name", request.display_name, required=True)
        checks.done()
        signed_in = await self._auth.sign_in_as_guest(
            display_name=display_name,
            preferences=_preferences(context),
            client=client_of(context.invocation_metadata() or (), peer=context.peer()),
        )
        _audit_opened(signed_in, None)
        return auth_pb2.SignInAsGuestResponse(
            tokens=tokens_message(signed_in.tokens), account=account_message(signed_in.account)
        )

    async def RefreshSession(
        self, request: auth_pb2.RefreshSessionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> auth_pb2.RefreshSessionResponse:
        """Trade a refresh token for a new pair."""
        checks = Checks()
        refresh_token = checks.text(
            "refresh_token", request.refresh_token, shortest=1, longest=_LONGEST_REFRESH_TOKEN
        )
        checks.done()
        client = client_of(context.invocation_metadata() or (), peer=context.peer())
        try:
            tokens = await self._auth.refresh(refresh_token, client=client)
        except StolenToken as stolen:
            session = stolen.session
            audit(
                "session.ended",
                user_id=session.user_id,
                session_id=session.session_id,
                reason="refresh_token_reuse",
            )
            raise
        audit("session.refreshed", user_id=tokens.session.user_id, session_id=tokens.session.session_id)
        return auth_pb2.RefreshSessionResponse(tokens=tokens_message(tokens))

    async def SignOut(
        self, request: auth_pb2.SignOutRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> auth_pb2.SignOutResponse:
        """End the caller's session, or all of the account's."""
        user_id, session_id = user_id_of(caller()), session_id_of(caller())
        if request.all_sessions:
            ended = await self._sessions.sign_out_everywhere(user_id)
        else:
            ended = await self._sessions.sign_out(user_id, session_id)
        return auth_pb2.SignOutResponse(ended_sessions=ended)

    async def ReceiveAppleNotification(
        self,
        request: auth_pb2.ReceiveAppleNotificationRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> auth_pb2.ReceiveAppleNotificationResponse:
        """Take what Apple tells us of somebody."""
        checks = Checks()
        payload = checks.text("payload", request.payload, shortest=1, longest=_LONGEST_NOTIFICATION)
        checks.done()
        await self._notifications.receive(payload)
        return auth_pb2.ReceiveAppleNotificationResponse()

    async def GetJwks(
        self, _request: auth_pb2.GetJwksRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> auth_pb2.GetJwksResponse:
        """Publish the keys of our access tokens."""
        return auth_pb2.GetJwksResponse(keys=[auth_pb2.JsonWebKey(**key) for key in self._keys.published])


def _preferences(context: grpc.aio.ServicerContext[Any, Any]) -> Preferences:
    locale = requested_locale(context)
    return Preferences(language=locale.languages[0] if locale.languages else "", region=locale.region or "")


def _audit_opened(signed_in: SignedIn, provider: Provider | None) -> None:
    session = signed_in.tokens.session
    audit("session.opened", user_id=session.user_id, session_id=session.session_id, provider=provider)
