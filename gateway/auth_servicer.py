"""popcorn.gateway.v1.AuthService. The generated base answers UNIMPLEMENTED for what comes later."""

from typing import Any, Final

import grpc
import structlog

from gateway.accounts import Preferences
from gateway.auth import Auth, StolenToken
from gateway.credential_fields import read_credential, read_nonce
from gateway.keys import SigningKeys
from gateway.messages import PROVIDERS, account_message, tokens_message
from gateway.names import read_display_name
from mesh.checks import Checks
from mesh.locale import requested_locale
from popcorn.gateway.v1 import account_pb2, auth_pb2, auth_pb2_grpc

_LONGEST_REFRESH_TOKEN: Final = 512

_log = structlog.get_logger("gateway.audit")


class AuthServicer(auth_pb2_grpc.AuthServiceServicer):
    """Signing in and going on."""

    def __init__(self, auth: Auth, *, keys: SigningKeys) -> None:
        """Take the use cases, and the keys whose public half is published."""
        self._auth = auth
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
        locale = requested_locale(context)
        signed_in = await self._auth.sign_in(
            PROVIDERS[provider],
            credential,
            nonce=nonce,
            display_name=display_name,
            preferences=Preferences(
                language=locale.languages[0] if locale.languages else "", region=locale.region or ""
            ),
        )
        _log.info(
            "session.opened",
            user_id=str(signed_in.account.user_id),
            session_id=str(signed_in.tokens.session.session_id),
            provider=PROVIDERS[provider].value,
            new_account=signed_in.new_account,
        )
        return auth_pb2.SignInResponse(
            tokens=tokens_message(signed_in.tokens),
            account=account_message(signed_in.account),
            new_account=signed_in.new_account,
        )

    async def RefreshSession(
        self, request: auth_pb2.RefreshSessionRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> auth_pb2.RefreshSessionResponse:
        """Trade a refresh token for a new pair."""
        checks = Checks()
        refresh_token = checks.text(
            "refresh_token", request.refresh_token, shortest=1, longest=_LONGEST_REFRESH_TOKEN
        )
        checks.done()
        try:
            tokens = await self._auth.refresh(refresh_token)
        except StolenToken as stolen:
            _log.warning(
                "session.revoked",
                user_id=str(stolen.session.user_id),
                session_id=str(stolen.session.session_id),
                why="refresh_token_reuse",
            )
            raise
        _log.info(
            "session.refreshed",
            user_id=str(tokens.session.user_id),
            session_id=str(tokens.session.session_id),
        )
        return auth_pb2.RefreshSessionResponse(tokens=tokens_message(tokens))

    async def GetJwks(
        self, _request: auth_pb2.GetJwksRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> auth_pb2.GetJwksResponse:
        """Publish the keys of our access tokens."""
        return auth_pb2.GetJwksResponse(keys=[auth_pb2.JsonWebKey(**key) for key in self._keys.published])
