"""The signature of a provider's token: which key it names, and whether that key made it."""

from collections.abc import Mapping
from typing import Any

import jwt

from gateway.identity_tokens import Check, InvalidIdentityToken
from gateway.provider_keys import ALGORITHMS, ProviderKeys


async def signing_key(token: str, keys: ProviderKeys) -> jwt.PyJWK:
    """Return the provider's key that a token names, pinned to the algorithm the key is for.

    Nothing else in the header counts: a key that travels with the token (`jwk`, `x5c`) or an address of one
    (`jku`, `x5u`) is whatever the sender likes.

    Raises:
        InvalidIdentityToken: It is no token, names no key that the provider has, or another algorithm than
        the key's.
        Unavailable: The provider's keys cannot be had.
    """
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as error:
        raise InvalidIdentityToken(Check.MALFORMED) from error
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise InvalidIdentityToken(Check.ALGORITHM)
    if not isinstance(key_id, str) or not key_id:
        raise InvalidIdentityToken(Check.KEY)
    key = await keys.find(key_id)
    if key is None:
        raise InvalidIdentityToken(Check.KEY)
    if key.algorithm_name != algorithm:
        raise InvalidIdentityToken(Check.ALGORITHM)
    return key


def signed_claims(token: str, key: jwt.PyJWK) -> Mapping[str, Any]:
    """Return what a token says, once its signature is known to be good. What it says is not looked at.

    Raises:
        InvalidIdentityToken: Another key made the signature, or its payload is no JSON object.
    """
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            # `identity_tokens.proven_identity` has the rules for the claims, and our clock.
            options={
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": False,
                "verify_iss": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )
    except jwt.InvalidSignatureError as error:
        raise InvalidIdentityToken(Check.SIGNATURE) from error
    except (jwt.PyJWTError, ValueError) as error:
        raise InvalidIdentityToken(Check.MALFORMED) from error
    return claims
