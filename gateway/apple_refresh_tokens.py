"""Apple's refresh tokens: encrypted while we keep them, and given back to Apple.

https://developer.apple.com/documentation/signinwithapplerestapi/revoke-tokens

We never refresh anything at Apple. Its token is kept for the one thing that it is needed for: to tell Apple
that somebody has left us.
"""

from gateway.apple_client_secret import AppleClientSecrets
from gateway.identity_tokens import SealedGrant
from gateway.sealing import Sealed, Sealer
from gateway.token_endpoint import Denied, TokenEndpoint


class AppleRefreshTokens:
    """Encrypts them and gives them back."""

    def __init__(
        self, revoke_endpoint: TokenEndpoint, *, secrets: AppleClientSecrets, sealer: Sealer
    ) -> None:
        """Take Apple's endpoint for revoking, our client secrets, and what encrypts."""
        self._revoke_endpoint = revoke_endpoint
        self._secrets = secrets
        self._sealer = sealer

    @property
    def key_id(self) -> str:
        """The id of the key that encrypts now."""
        return self._sealer.key_id

    def seal(self, refresh_token: str, client_id: str) -> SealedGrant:
        """Return a refresh token, encrypted, with the client id that it was given to."""
        sealed = self._sealer.seal(refresh_token, bound_to=_purpose(client_id))
        return SealedGrant(client_id=client_id, key_id=sealed.key_id, sealed=sealed.text)

    def reseal(self, grant: SealedGrant) -> SealedGrant:
        """Return a grant encrypted with the key of now.

        Raises:
            CannotOpen: The key that encrypted it is not among ours.
        """
        return self.seal(self._open(grant), grant.client_id)

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

    def _open(self, grant: SealedGrant) -> str:
        return self._sealer.open(Sealed(grant.key_id, grant.sealed), bound_to=_purpose(grant.client_id))


def _purpose(client_id: str) -> str:
    return f"Apple's refresh token for {client_id}"
