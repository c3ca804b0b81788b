"""Authorization codes of the development identity provider: given once, traded once, as Google and Apple do.

What they answer, and to what:

- Google: https://developers.google.com/identity/protocols/oauth2/native-app#exchange-authorization-code
- Apple: https://developer.apple.com/documentation/signinwithapplerestapi/generate-and-validate-tokens
- The errors of both: RFC 6749 section 5.2. PKCE: RFC 7636, with S256 only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

T = TypeVar("T")

APPLE_TEAM_ID: Final = "POPCORNDEV"
"""The developer team that the stand-in for Apple knows."""
APPLE_KEY_ID: Final = "POPCORNKEY"
"""The id of that team's key."""

_LIFETIME_SECONDS: Final = 600.0
_MOST_AT_ONCE: Final = 10_000
_LONGEST_CLIENT_SECRET_SECONDS: Final = 15_777_000  # Apple's limit, six months
_APPLE: Final = "https://appleid.apple.com"


class OAuthError(Exception):
    """What a token endpoint refuses with; the text is the error code of RFC 6749."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(code)
        self.description = description


@dataclass(frozen=True, slots=True)
class Grant(Generic[T]):
    """What a code stands for."""

    wanted: T
    """What the ID token is to say."""
    provider: str
    """`google` or `apple`."""
    client_id: str
    """The app that asked."""
    redirect_uri: str | None
    """Where the code was sent."""
    challenge: str | None
    """The PKCE challenge, S256."""
    expires_at: float
    """Seconds since 1970."""


class Codes(Generic[T]):
    """The codes that have been given and not been traded. Holds 10,000; the oldest go first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._grants: OrderedDict[str, Grant[T]] = OrderedDict()

    def give(
        self, wanted: T, *, provider: str, client_id: str, redirect_uri: str | None, challenge: str | None
    ) -> str:
        """A new code, good for one trade within ten minutes."""
        code = f"{'4/0' if provider == 'google' else 'c'}{secrets.token_urlsafe(32)}"
        expires_at = self._clock() + _LIFETIME_SECONDS
        self._grants[code] = Grant(wanted, provider, client_id, redirect_uri, challenge, expires_at)
        while len(self._grants) > _MOST_AT_ONCE:
            self._grants.popitem(last=False)
        return code

    def trade(self, provider: str, form: Mapping[str, str]) -> T:
        """What a code stands for. It is spent from now on, whether or not the rest of the form is right.

        Raises:
            OAuthError: The form is not right, or the code not good.
        """
        if form.get("grant_type") != "authorization_code":
            raise OAuthError("unsupported_grant_type", "Only authorization_code is known here.")
        grant = self._grants.pop(form.get("code", ""), None)
        if grant is None or grant.provider != provider or grant.expires_at <= self._clock():
            raise OAuthError("invalid_grant", "The code is unknown, was used before, or is too old.")
        if form.get("client_id") != grant.client_id:
            raise OAuthError("invalid_grant", "The code was given to another client.")
        if form.get("redirect_uri") != grant.redirect_uri:
            raise OAuthError(
                "redirect_uri_mismatch" if provider == "google" else "invalid_grant",
                "redirect_uri is not the one that the code was asked for with.",
            )
        if grant.challenge is not None and not _matches(form.get("code_verifier", ""), grant.challenge):
            raise OAuthError("invalid_grant", "code_verifier does not match the challenge.")
        return grant.wanted


def _matches(verifier: str, challenge: str) -> bool:
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    return hmac.compare_digest(digest, challenge.encode())


def check_apple_client_secret(form: Mapping[str, str], *, key: ec.EllipticCurvePublicKey, now: float) -> None:
    """Sees that a client secret is one that the team's key has made for the client.

    Raises:
        OAuthError: It is not.
    """
    text = form.get("client_secret", "")
    try:
        header = jwt.get_unverified_header(text)
        # The clock is ours, which tests may have put elsewhere.
        claims = jwt.decode(
            text,
            key,
            algorithms=["ES256"],
            audience=_APPLE,
            issuer=APPLE_TEAM_ID,
            options={
                "require": ["iss", "iat", "exp", "aud", "sub"],
                "verify_exp": False,
                "verify_iat": False,
            },
        )
    except jwt.PyJWTError as error:
        raise OAuthError("invalid_client", f"client_secret is not good: {error}") from error
    good = (
        header.get("kid") == APPLE_KEY_ID
        and claims["sub"] == form.get("client_id")
        and claims["iat"] <= now + 60
        and now < claims["exp"] <= claims["iat"] + _LONGEST_CLIENT_SECRET_SECONDS
    )
    if not good:
        raise OAuthError("invalid_client", "client_secret is for another client, or not of this time.")
