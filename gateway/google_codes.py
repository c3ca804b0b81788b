"""Google's authorization codes, with PKCE: traded at its token endpoint for the ID token.

https://developers.google.com/identity/protocols/oauth2/native-app#exchange-authorization-code

Apps on phones are public clients there and have no secret: the verifier proves that who trades the code is
who asked for it, so it is asked for always. A client id of the web has a secret besides.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from gateway.credentials import AuthorizationCode, InvalidAuthorizationCode
from gateway.identity_tokens import ProvenIdentity, Provider
from gateway.proofs import IdentityTokens
from gateway.token_endpoint import Denied, TokenEndpoint
from mesh.errors import Unavailable

PATIENCE_SECONDS: Final = 2.75
"""How long the trade and fetching the provider's keys may take together."""


class GoogleCodes:
    """Trades codes of Sign in with Google."""

    def __init__(
        self,
        endpoint: TokenEndpoint,
        tokens: IdentityTokens,
        *,
        client_ids: Sequence[str],
        secrets: Mapping[str, str],
    ) -> None:
        """Take the parts.

        Args:
            endpoint: Google's token endpoint.
            tokens: What checks the ID token that comes back.
            client_ids: Ours; the first is used for codes that name none.
            secrets: The secrets of those that have one, by client id.
        """
        self._endpoint = endpoint
        self._tokens = tokens
        self._client_ids = tuple(client_ids)
        self._secrets = secrets

    async def prove(self, code: AuthorizationCode, *, nonce: str) -> ProvenIdentity:
        """Return whom a code is about.

        Raises:
            InvalidAuthorizationCode: Google does not take it, or it is for a client id that is not ours.
            InvalidIdentityToken: The token that came back does not convince.
            Unavailable: Google does not answer within 3 seconds.
        """
        client_id = code.client_id or self._client_ids[0]
        if client_id not in self._client_ids or not code.verifier:
            raise InvalidAuthorizationCode
        form = {
            "grant_type": "authorization_code",
            "code": code.text,
            "code_verifier": code.verifier,
            "client_id": client_id,
        }
        if client_id in self._secrets:
            form["client_secret"] = self._secrets[client_id]
        if code.redirect_uri:
            form["redirect_uri"] = code.redirect_uri
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await self._endpoint.post(form)
                return await self._tokens.verify(id_token_in(answer, Provider.GOOGLE), nonce=nonce)
        except Denied as denied:
            raise InvalidAuthorizationCode from denied
        except TimeoutError as error:
            raise Unavailable(Provider.GOOGLE.value) from error


def id_token_in(answer: Mapping[str, object], provider: Provider) -> str:
    """Return the ID token of a token endpoint's answer.

    Raises:
        Unavailable: It has none: not the answer that the provider describes.
    """
    token = answer.get("id_token")
    if not isinstance(token, str):
        raise Unavailable(provider.value)
    return token
