"""Apple's authorization codes: traded at its token endpoint for the identity token and a refresh token.

https://developer.apple.com/documentation/signinwithapplerestapi/generate-and-validate-tokens
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gateway.apple_client_secret import AppleClientSecrets
from gateway.apple_refresh_tokens import AppleRefreshTokens
from gateway.credentials import AuthorizationCode, InvalidAuthorizationCode
from gateway.google_codes import PATIENCE_SECONDS, id_token_in
from gateway.identity_tokens import ProvenIdentity, Provider
from gateway.proofs import IdentityTokens
from gateway.token_endpoint import Denied, TokenEndpoint
from mesh.errors import Unavailable

_LONGEST_REFRESH_TOKEN: Final = 4096


class AppleCodes:
    """Trades codes of Sign in with Apple."""

    def __init__(
        self,
        endpoint: TokenEndpoint,
        tokens: IdentityTokens,
        *,
        client_ids: Sequence[str],
        secrets: AppleClientSecrets,
        refresh_tokens: AppleRefreshTokens,
    ) -> None:
        """Take the parts.

        Args:
            endpoint: Apple's token endpoint.
            tokens: What checks the identity token that comes back.
            client_ids: Ours; the first is used for codes that name none.
            secrets: Our client secrets.
            refresh_tokens: What encrypts the refresh token that comes back.
        """
        self._endpoint = endpoint
        self._tokens = tokens
        self._client_ids = tuple(client_ids)
        self._secrets = secrets
        self._refresh_tokens = refresh_tokens

    async def prove(self, code: AuthorizationCode, *, nonce: str) -> ProvenIdentity:
        """Return whom a code is about, with the grant that came along.

        Raises:
            InvalidAuthorizationCode: Apple does not take it, or it is for a client id that is not ours.
            InvalidIdentityToken: The token that came back does not convince.
            Unavailable: Apple does not answer within 3 seconds.
        """
        client_id = code.client_id or self._client_ids[0]
        if client_id not in self._client_ids:
            raise InvalidAuthorizationCode
        form = {
            "grant_type": "authorization_code",
            "code": code.text,
            "client_id": client_id,
            "client_secret": self._secrets.of(client_id),
        }
        if code.verifier:
            form["code_verifier"] = code.verifier
        if code.redirect_uri:
            form["redirect_uri"] = code.redirect_uri
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await self._endpoint.post(form)
                identity = await self._tokens.verify(id_token_in(answer, Provider.APPLE), nonce=nonce)
        except Denied as denied:
            raise InvalidAuthorizationCode from denied
        except TimeoutError as error:
            raise Unavailable(Provider.APPLE.value) from error
        refresh_token = answer.get("refresh_token")
        if not isinstance(refresh_token, str) or not 0 < len(refresh_token) <= _LONGEST_REFRESH_TOKEN:
            return identity
        return replace(identity, grant=self._refresh_tokens.seal(refresh_token, client_id))
