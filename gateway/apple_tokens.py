"""Apple's identity tokens and the signature of its notifications, checked with pyjwt."""

from collections.abc import Callable, Mapping, Set
from datetime import datetime
from typing import Final

from gateway.apple_notifications import InvalidNotification
from gateway.identity_tokens import InvalidIdentityToken, ProvenIdentity, Provider, Trust, proven_identity
from gateway.provider_keys import ProviderKeys
from gateway.signed_tokens import signed_claims, signing_key

ISSUERS: Final = frozenset({"https://appleid.apple.com"})
"""The only spelling of `iss` that Apple uses."""


class AppleTokens:
    """Checks identity tokens of Sign in with Apple."""

    def __init__(self, keys: ProviderKeys, *, audiences: Set[str], clock: Callable[[], datetime]) -> None:
        """Take Apple's keys, our client ids (the app's bundle, the web's service) and the clock."""
        self._keys = keys
        self._clock = clock
        self._trust = Trust(Provider.APPLE, issuers=ISSUERS, audiences=audiences, tells_email_always=False)

    async def verify(self, token: str, *, nonce: str) -> ProvenIdentity:
        """Return whom an identity token is about.

        Raises:
            InvalidIdentityToken: It does not convince.
            Unavailable: Apple's keys cannot be had.
        """
        claims = signed_claims(token, await signing_key(token, self._keys))
        return proven_identity(claims, self._trust, nonce=nonce, now=self._clock())


class AppleSignatures:
    """Checks Apple's signature on its notifications: the same keys, other claims."""

    def __init__(self, keys: ProviderKeys) -> None:
        """Take Apple's keys."""
        self._keys = keys

    async def claims(self, token: str) -> Mapping[str, object]:
        """Return what a token of Apple's says.

        Raises:
            InvalidNotification: Apple has not signed it.
            Unavailable: Apple's keys cannot be had.
        """
        try:
            return signed_claims(token, await signing_key(token, self._keys))
        except InvalidIdentityToken as refusal:
            raise InvalidNotification(refusal.check.value) from refusal
