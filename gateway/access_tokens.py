"""Our access tokens: ES256 JWTs of the type `at+jwt` (RFC 9068), checked by Envoy and `mesh.identity`."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Final

import jwt

from gateway.keys import ALGORITHM, Keys
from gateway.sessions import LiveSession
from mesh.identity import ACCESS_TOKEN_TYPE

_JWS: Final = jwt.PyJWS()


class AccessTokens:
    """Signs access tokens."""

    def __init__(self, keys: Keys, *, issuer: str, audience: str, new_id: Callable[[], str]) -> None:
        """Take what is the same in all tokens.

        Args:
            keys: What signs.
            issuer: `iss`.
            audience: `aud`.
            new_id: Makes `jti`.
        """
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._new_id = new_id

    def sign(self, session: LiveSession, *, issued_at: datetime, expires_at: datetime) -> str:
        """Return an access token for a session.

        Args:
            session: Whose it is.
            issued_at: `iat`, cut to whole seconds.
            expires_at: `exp`, cut to whole seconds.
        """
        key = self._keys.at(issued_at)
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(session.user_id),
            "sid": str(session.session_id),
            "name": session.display_name,
            "guest": session.guest,
            "iat": int(issued_at.timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": self._new_id(),
        }
        # Not `jwt.encode`: it would write a name of emoji three times as long as UTF-8 does, and the token
        # travels in two headers.
        return _JWS.encode(
            json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode(),
            key.private_key,
            algorithm=ALGORITHM,
            headers={"typ": ACCESS_TOKEN_TYPE, "kid": key.key_id},
        )
