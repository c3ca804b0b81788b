"""Apple's authorization codes: traded for the identity token and a refresh token, and that given back.

- https://developer.apple.com/documentation/signinwithapplerestapi/generate-and-validate-tokens
- https://developer.apple.com/documentation/signinwithapplerestapi/revoke-tokens

We never refresh anything at Apple: its refresh token is kept, encrypted, for the one thing that it is needed
for, to tell Apple that somebody has left us.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gateway.apple_client_secret import AppleClientSecrets
from gateway.credentials import AuthorizationCode, InvalidAuthorizationCode
from gateway.google_codes import PATIENCE_SECONDS, id_token_in
from gateway.identity_tokens import ProvenIdentity, Provider, SealedGrant
from gateway.proofs import IdentityTokens
from gateway.sealing import Sealed, Sealer
from gateway.token_endpoint import Denied, TokenEndpoint
from mesh.errors import Unavailable

_LONGEST_REFRESH_TOKEN: Final = 4096


class AppleCodes:
    """Trades codes of Sign in with Apple, and takes grants back."""

    def __init__(
        self,
        *,
        tokens: IdentityTokens,
        token_endpoint: TokenEndpoint,
        revoke_endpoint: TokenEndpoint,
        client_ids: Sequence[str],
        secrets: AppleClientSecrets,
        sealer: Sealer,
    ) -> None:
        """Take the parts.

        Args:
            tokens: What checks the identity token that comes back.
            token_endpoint: Where codes are traded.
            revoke_endpoint: Where refresh tokens are given back.
            client_ids: Ours; the first is used for codes that name none.
            secrets: Our client secrets.
            sealer: What encrypts refresh tokens.
        """
        self._tokens = tokens
        self._token_endpoint = token_endpoint
        self._revoke_endpoint = revoke_endpoint
        self._client_ids = tuple(client_ids)
        self._secrets = secrets
        self._sealer = sealer

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
                answer = await self._token_endpoint.post(form)
                identity = await self._tokens.verify(id_token_in(answer, Provider.APPLE), nonce=nonce)
        except Denied as denied:
            raise InvalidAuthorizationCode from denied
        except TimeoutError as error:
            raise Unavailable(Provider.APPLE.value) from error
        refresh_token = answer.get("refresh_token")
        if not isinstance(refresh_token, str) or not 0 < len(refresh_token) <= _LONGEST_REFRESH_TOKEN:
            return identity
        return replace(identity, grant=self._seal(refresh_token, client_id))

    async def revoke(self, grant: SealedGrant) -> None:
        """Tell Apple that a grant is not needed any more. One that Apple does not know is fine.

        Raises:
            CannotOpen: The key that encrypted it is not among ours.
            Unavailable: Apple does not answer, or refuses us.
        """
        form = {
            "client_id": grant.client_id,
            "client_secret": self._secrets.of(grant.client_id),
            "token": self._open(grant),
            "token_type_hint": "refresh_token",
        }
        try:
            await self._revoke_endpoint.post(form)
        except Denied:
            return  # it was revoked before, by the person for example

    @property
    def key_id(self) -> str:
        """The id of the key that encrypts grants now."""
        return self._sealer.key_id

    def reseal(self, grant: SealedGrant) -> SealedGrant:
        """Return a grant encrypted with the key of now.

        Raises:
            CannotOpen: The key that encrypted it is not among ours.
        """
        return self._seal(self._open(grant), grant.client_id)

    def _seal(self, refresh_token: str, client_id: str) -> SealedGrant:
        sealed = self._sealer.seal(refresh_token, bound_to=_purpose(client_id))
        return SealedGrant(client_id=client_id, key_id=sealed.key_id, sealed=sealed.text)

    def _open(self, grant: SealedGrant) -> str:
        return self._sealer.open(Sealed(grant.key_id, grant.sealed), bound_to=_purpose(grant.client_id))


def _purpose(client_id: str) -> str:
    return f"Apple's refresh token for {client_id}"
