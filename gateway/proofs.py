"""Who is it? The one place that turns what an app shows into an identity that a provider vouches for."""

from collections.abc import Mapping
from typing import Protocol

from gateway.credentials import AuthorizationCode, CodeSignInNotConfigured, Credential, IdToken
from gateway.identity_tokens import ProvenIdentity, Provider


class IdentityTokens(Protocol):
    """Checks one provider's tokens."""

    async def verify(self, token: str, *, nonce: str) -> ProvenIdentity:
        """Return whom a token is about. Raises InvalidIdentityToken, or Unavailable without keys."""
        ...


class Codes(Protocol):
    """Trades one provider's authorization codes."""

    async def prove(self, code: AuthorizationCode, *, nonce: str) -> ProvenIdentity:
        """Return whom a code is about.

        Raises InvalidAuthorizationCode, InvalidIdentityToken, or Unavailable when the provider is away.
        """
        ...


class Proofs:
    """Checks credentials of every provider."""

    def __init__(self, *, tokens: Mapping[Provider, IdentityTokens], codes: Mapping[Provider, Codes]) -> None:
        """Take what checks the tokens of each provider, and what trades the codes of those that we can."""
        self._tokens = tokens
        self._codes = codes

    async def prove(self, provider: Provider, credential: Credential, *, nonce: str) -> ProvenIdentity:
        """Return whom a credential is about.

        Args:
            provider: Who vouches.
            credential: What the app shows.
            nonce: What the provider's token must hold; empty when that is not to be looked at.

        Raises:
            InvalidIdentityToken: The token does not convince.
            InvalidAuthorizationCode: The provider does not take the code.
            CodeSignInNotConfigured: A code, of a provider whose codes we cannot trade.
            mesh.errors.Unavailable: The provider does not answer.
        """
        match credential:
            case IdToken(text):
                return await self._tokens[provider].verify(text, nonce=nonce)
            case AuthorizationCode():
                codes = self._codes.get(provider)
                if codes is None:
                    raise CodeSignInNotConfigured(provider)
                return await codes.prove(credential, nonce=nonce)
