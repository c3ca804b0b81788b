"""The client secret that Apple asks for: a short-lived JWT that we sign with the key from Apple's console.

https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret

Apple lets one live for six months. Ours live for an hour and are made anew when half of it has passed: nobody
has to remember a renewal, and a copy is soon worth nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

LIFETIME: Final = timedelta(hours=1)
"""How long a secret is good for."""
RENEWAL: Final = timedelta(minutes=30)
"""How much of its life a secret still has when it is replaced."""

_AUDIENCE: Final = "https://appleid.apple.com"
_ALGORITHM: Final = "ES256"


def read_private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    r"""Read the key that Apple's console gives, a file `AuthKey_<key id>.p8`.

    Args:
        pem: The file's text. Where line breaks cannot be had, as in some environments, they may be `\n`.

    Raises:
        ValueError: It is no private key on the curve P-256 without a password. Never quotes the key.
    """
    try:
        key = load_pem_private_key(pem.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("it is not a private key in PEM without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("it is not a key on the curve P-256")
    return key


@dataclass(frozen=True, slots=True)
class _Made:
    text: str
    create_time: datetime


class AppleClientSecrets:
    """Makes client secrets, and keeps one a client id while it is young."""

    def __init__(
        self,
        *,
        team_id: str,
        key_id: str,
        private_key: ec.EllipticCurvePrivateKey,
        clock: Callable[[], datetime],
    ) -> None:
        """Take what Apple knows us by.

        Args:
            team_id: The developer team's id.
            key_id: The key's id.
            private_key: The key.
            clock: The present, with its zone.
        """
        self._team_id = team_id
        self._key_id = key_id
        self._private_key = private_key
        self._clock = clock
        self._made: dict[str, _Made] = {}

    def of(self, client_id: str) -> str:
        """Return a secret for one of our client ids, good for another half an hour at least."""
        now = self._clock()
        made = self._made.get(client_id)
        # A clock that was put back makes a secret of the future: Apple would refuse that one too.
        if made is None or not timedelta() <= now - made.create_time < LIFETIME - RENEWAL:
            made = self._made[client_id] = _Made(self._sign(client_id, now), now)
        return made.text

    def _sign(self, client_id: str, now: datetime) -> str:
        seconds = int(now.timestamp())
        claims = {
            "iss": self._team_id,
            "iat": seconds,
            "exp": seconds + int(LIFETIME.total_seconds()),
            "aud": _AUDIENCE,
            "sub": client_id,
        }
        return jwt.encode(claims, self._private_key, algorithm=_ALGORITHM, headers={"kid": self._key_id})
