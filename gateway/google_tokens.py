"""Google's ID tokens, checked with google-auth.

google-auth's `verify_oauth2_token` fetches the keys at every call and blocks meanwhile; its `jwt.decode`
makes the same checks with keys that are handed in. It looks at neither issuer, nonce nor `email_verified`:
`identity_tokens` does.
"""

from collections.abc import Callable, Mapping, Set
from datetime import datetime
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.auth import jwt as google_jwt

from gateway.identity_tokens import (
    CLOCK_SKEW,
    Check,
    InvalidIdentityToken,
    ProvenIdentity,
    Provider,
    Trust,
    proven_identity,
)
from gateway.provider_keys import ProviderKeys
from gateway.signed_tokens import signed_claims, signing_key

ISSUERS: Final = frozenset({"accounts.google.com", "https://accounts.google.com"})
"""Both spellings of `iss`; Google documents both."""


class GoogleTokens:
    """Checks ID tokens of Sign in with Google."""

    def __init__(self, keys: ProviderKeys, *, audiences: Set[str], clock: Callable[[], datetime]) -> None:
        """Take Google's keys, our client ids (iOS, Android, web) and the clock."""
        self._keys = keys
        self._clock = clock
        self._trust = Trust(Provider.GOOGLE, issuers=ISSUERS, audiences=audiences)

    async def verify(self, token: str, *, nonce: str) -> ProvenIdentity:
        """Return whom an ID token is about.

        Raises:
            InvalidIdentityToken: It does not convince.
            Unavailable: Google's keys cannot be had.
        """
        key = await signing_key(token, self._keys)
        try:
            claims = self._accepted_by_google_auth(token, key)
        except (ValueError, TypeError, RecursionError) as refusal:  # the last two for claims of a wrong type
            raise InvalidIdentityToken(self._failed_check(token, key)) from refusal
        return proven_identity(claims, self._trust, nonce=nonce, now=self._clock())

    def _accepted_by_google_auth(self, token: str, key: jwt.PyJWK) -> Mapping[str, Any]:
        public_key = key.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        claims: Mapping[str, Any] = google_jwt.decode(  # type: ignore[no-untyped-call]  # it has no types
            token,
            certs={key.key_id: public_key},
            audience=list(self._trust.audiences),
            clock_skew_in_seconds=int(CLOCK_SKEW.total_seconds()),
        )
        return claims

    def _failed_check(self, token: str, key: jwt.PyJWK) -> Check:
        """Return what google-auth did not like: it says so in prose only."""
        try:
            proven_identity(signed_claims(token, key), self._trust, nonce="", now=self._clock())
        except InvalidIdentityToken as found:
            return found.check
        return Check.MALFORMED
