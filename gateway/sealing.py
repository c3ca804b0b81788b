"""Secrets of others that have to be kept: encrypted with AES-256-GCM, under keys that can be exchanged.

The setting lists keys with ids. The first one encrypts, all of them decrypt, and what is kept says which one
it needs. To exchange a key, put a new one in front; what is kept under the older ones is encrypted again by
the way (`AppleRevocations`), after which they can go.
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
"""AES-256."""
NONCE_BYTES: Final = 12
"""GCM's own size: 96 bits, random, so one key may encrypt some four billion times (NIST SP 800-38D 8.3)."""

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")


class CannotOpen(Exception):
    """The key is not among ours (any more), or what was kept is not what was encrypted."""


@dataclass(frozen=True, slots=True)
class SealingKey:
    """One key."""

    key_id: str
    """What names it beside what it has encrypted."""
    key: bytes = field(repr=False)
    """32 bytes."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted secret."""

    key_id: str
    """Which key opens it."""
    text: bytes = field(repr=False)
    """Nonce and ciphertext with its tag."""


def read_keys(values: Sequence[str]) -> list[SealingKey]:
    """Read keys as the setting spells them, `id:base64`.

    Raises:
        ValueError: One is not of that shape, not of 32 bytes, or an id is there twice. Never quotes a key.
    """
    keys = []
    for value in values:
        key_id, _, encoded = value.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("a key is not in base64") from None
        if _KEY_ID.fullmatch(key_id) is None or len(key) != KEY_BYTES:
            raise ValueError("each should be an id, a colon and 32 bytes in base64")
        keys.append(SealingKey(key_id, key))
    if not keys or len({key.key_id for key in keys}) != len(keys):
        raise ValueError("there should be at least one key, and no id twice")
    return keys


class Sealer:
    """Encrypts and decrypts."""

    def __init__(self, keys: Sequence[SealingKey], *, new_nonce: Callable[[], bytes]) -> None:
        """Take the keys, the first of which encrypts, and what makes nonces: 12 random bytes each."""
        self._first = keys[0]
        self._ciphers = {key.key_id: AESGCM(key.key) for key in keys}
        self._new_nonce = new_nonce

    @property
    def key_id(self) -> str:
        """The id of the key that encrypts."""
        return self._first.key_id

    def seal(self, secret: str, *, bound_to: str) -> Sealed:
        """Encrypt a secret so that it opens only for the same `bound_to`: it cannot change its place."""
        nonce = self._new_nonce()
        ciphertext = self._ciphers[self._first.key_id].encrypt(nonce, secret.encode(), bound_to.encode())
        return Sealed(self._first.key_id, nonce + ciphertext)

    def open(self, sealed: Sealed, *, bound_to: str) -> str:
        """Decrypt a secret.

        Raises:
            CannotOpen: The key is not there, or somebody has meddled with it.
        """
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise CannotOpen(f"there is no key {sealed.key_id}")
        try:
            nonce, ciphertext = sealed.text[:NONCE_BYTES], sealed.text[NONCE_BYTES:]
            return cipher.decrypt(nonce, ciphertext, bound_to.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise CannotOpen("it was changed") from error
