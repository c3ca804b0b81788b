"""What Google's and Apple's tokens have to say before somebody is believed to be who they are.

The signature is checked elsewhere (`google_tokens`, `apple_tokens`); these are the rules for the claims,
after OpenID Connect Core 1.0 section 3.1.3.7, and the same for both providers. Stricter than there in two
things: `aud` is a single string, as both send it, and an account begins with a verified address.

The address is nobody's key, yet it is asked for: somebody who can make accounts at a provider without showing
that an address is theirs can make any number of them. So an address that the provider has not verified is
refused, with both. One that is missing is refused with Google, whose tokens always have it once the app asks
for it (our apps do). Apple may leave it out of the tokens of people it has told us of before, so there only
a token that would make an account or link an identity needs one (`fit_for_a_newcomer`): whom we know already
is let in by their subject. The price: Apple's accounts "at Work & School" may have no address at all, and
those cannot begin here.
"""

import hmac
import unicodedata
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

CLOCK_SKEW = timedelta(seconds=10)
"""How far ahead of ours a provider's clock may be. A token that has run out gets nothing on top."""

_LONGEST_SUBJECT = 255  # OpenID Connect's own limit
_LONGEST_EMAIL = 320
_LONGEST_NAME = 512


class Provider(Enum):
    """Who vouches for a person; the value is what the store keeps."""

    GOOGLE = "google"
    APPLE = "apple"


class Check(Enum):
    """What is looked at in a provider's token; the value is what a refusal's metadata says."""

    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    KEY = "key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EXPIRY = "expiry"
    ISSUED_AT = "issued_at"
    NONCE = "nonce"
    SUBJECT = "subject"
    EMAIL = "email"
    EMAIL_VERIFIED = "email_verified"


_SENTENCES = {
    Check.MALFORMED: "The identity token is not a signed JSON Web Token.",
    Check.ALGORITHM: "The identity token is signed with an algorithm that its key is not for.",
    Check.KEY: "The identity token is signed with a key that the provider does not publish.",
    Check.SIGNATURE: "The identity token's signature is wrong.",
    Check.ISSUER: "The identity token comes from another issuer.",
    Check.AUDIENCE: "The identity token was issued for another app.",
    Check.EXPIRY: "The identity token has expired. Please sign in with the provider again.",
    Check.ISSUED_AT: "The identity token says that it was issued in the future.",
    Check.NONCE: "The identity token was issued for another sign-in: its nonce differs.",
    Check.SUBJECT: "The identity token does not say whom it is about.",
    Check.EMAIL: "The identity token has no e-mail address. Please let the provider share one with us.",
    Check.EMAIL_VERIFIED: "The provider has not verified your e-mail address. Please do that there first.",
}


class InvalidIdentityToken(Exception):
    """A provider's token that does not convince."""

    status = "UNAUTHENTICATED"
    reason = "INVALID_IDENTITY_TOKEN"

    def __init__(self, check: Check) -> None:
        super().__init__(_SENTENCES[check])
        self.check = check
        self.metadata: Mapping[str, str] = {"check": check.value}


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose tokens are believed."""

    provider: Provider
    """Who issues them."""
    issuers: Set[str]
    """The spellings of `iss` that the provider uses."""
    audiences: Set[str]
    """The client ids of our apps with that provider: one of them has to stand in `aud`."""
    tells_email_always: bool = True
    """Whether every token has an address, also those of people whom the provider told us of before."""


@dataclass(frozen=True, slots=True)
class SealedGrant:
    """Apple's refresh token for one of our apps, encrypted: good for taking the grant back, some day."""

    client_id: str
    """Our client id that it was given to."""
    key_id: str
    """Which of our keys encrypted it."""
    sealed: bytes
    """The encrypted token (`sealing`)."""


@dataclass(frozen=True, slots=True)
class ProvenIdentity:
    """A person, as a provider vouches for them."""

    provider: Provider
    """Who vouches."""
    subject: str
    """The provider's id of the person: with the provider the only key. Never changes."""
    email: str
    """The address that the provider has verified. Empty when it told none this time."""
    private_email: bool
    """Whether that address is one that Apple made up and forwards from."""
    name: str
    """The name that the provider told. May be empty."""
    grant: SealedGrant | None = None
    """What the provider gave besides, where a code was exchanged with Apple."""


def proven_identity(
    claims: Mapping[str, object], trust: Trust, *, nonce: str, now: datetime
) -> ProvenIdentity:
    """Check the claims of a token whose signature is good.

    Args:
        claims: The token's payload.
        trust: Whose tokens are believed.
        nonce: What the app asked the provider to put into the token; empty when it asked for nothing.
        now: The present, with its zone.

    Raises:
        InvalidIdentityToken: With the first check that fails, in the order of `Check`.
    """
    _require(_is_one_of(trust.issuers, claims.get("iss")), Check.ISSUER)
    # `azp` names the app that got the token, where that is not the audience: ours too, or it was not ours
    # to use.
    _require(_is_one_of(trust.audiences, claims.get("aud")), Check.AUDIENCE)
    _require("azp" not in claims or _is_one_of(trust.audiences, claims["azp"]), Check.AUDIENCE)
    _require(_seconds(claims.get("exp")) > now.timestamp(), Check.EXPIRY)
    latest_start = (now + CLOCK_SKEW).timestamp()
    _require(
        "iat" in claims and _seconds(claims["iat"], otherwise=latest_start + 1) <= latest_start,
        Check.ISSUED_AT,
    )
    _require(_seconds(claims.get("nbf", 0), otherwise=latest_start + 1) <= latest_start, Check.ISSUED_AT)
    if nonce:
        told = claims.get("nonce")
        _require(isinstance(told, str) and hmac.compare_digest(_bytes(told), _bytes(nonce)), Check.NONCE)
    subject = claims.get("sub")
    _require(_is_plain(subject, longest=_LONGEST_SUBJECT), Check.SUBJECT)
    email, name = claims.get("email"), claims.get("name")
    if email is None or email == "":
        _require(not trust.tells_email_always, Check.EMAIL)
        email = ""
    else:
        _require(_is_plain(email, longest=_LONGEST_EMAIL), Check.EMAIL)
        _require(_is_true(claims.get("email_verified")), Check.EMAIL_VERIFIED)
    return ProvenIdentity(
        provider=trust.provider,
        subject=str(subject),
        email=str(email),
        private_email=_is_true(claims.get("is_private_email")),
        name=name[:_LONGEST_NAME] if isinstance(name, str) else "",
    )


def fit_for_a_newcomer(identity: ProvenIdentity) -> None:
    """See that an identity may begin something: an account, or a way to sign in to one.

    Raises:
        InvalidIdentityToken: It came without an address.
    """
    _require(identity.email != "", Check.EMAIL)


def _require(holds: bool, check: Check) -> None:
    if not holds:
        raise InvalidIdentityToken(check)


def _is_one_of(expected: Set[str], claim: object) -> bool:
    return isinstance(claim, str) and claim in expected


def _seconds(claim: object, *, otherwise: float = 0.0) -> float:
    """Return a NumericDate; what is none counts as `otherwise`, picked so that it is refused."""
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return otherwise
    # NaN compares false with everything and an int may be larger than any float: neither is a time.
    return float(claim) if 0 <= claim <= 253_402_300_799 else otherwise


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _is_true(claim: object) -> bool:
    # Apple sends booleans as booleans or as strings, by its own documentation.
    return claim is True or claim == "true"


def _is_plain(claim: object, *, longest: int) -> bool:
    """Return whether a claim is a text without control characters, which PostgreSQL could not keep."""
    return (
        isinstance(claim, str)
        and 0 < len(claim) <= longest
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in claim)
    )
