"""Page tokens: where a list goes on, in a form that only we can write.

A token holds the position after the last row, signed together with the kind of list and the filters that it
was asked with. Somebody else's position, another list's token or changed filters are bad input, not
surprising pages.

    token = base64url(HMAC-SHA256(key, kind, query, position) || position)      position: JSON
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mesh.errors import InvalidInput, Violation

_MAC_BYTES: Final = hashlib.sha256().digest_size
_SHORTEST_KEY: Final = 32
_LONGEST_TOKEN: Final = 1024
_NOT_OURS: Final = (
    "Must be a page token of this list with these filters; leave it empty to start from the first page."
)


class PageTokens:
    """Seals and opens page tokens with one key, the same in every replica."""

    def __init__(self, key: bytes) -> None:
        """Take the key.

        Raises:
            ValueError: When it has fewer than 32 bytes.
        """
        if len(key) < _SHORTEST_KEY:
            raise ValueError(f"a key for page tokens has at least {_SHORTEST_KEY} bytes")
        self._key = key

    def seal(self, kind: str, query: Mapping[str, object], position: Sequence[object]) -> str:
        """Return the token for the page after `position`.

        Args:
            kind: Which list: "backlog.entries".
            query: Whose list and with which filters: everything that must be the same for the next page, as
                JSON values; page size is better left out, so that a client may change it.
            position: The sort key of the last row, as JSON values.

        Raises:
            ValueError: When the token would be longer than 1 KiB, or a number is not finite.
            TypeError: When something is not a JSON value.
        """
        body = _canonical(list(position))
        token = base64.urlsafe_b64encode(self._mac(kind, query, body) + body).rstrip(b"=").decode("ascii")
        if len(token) > _LONGEST_TOKEN:
            raise ValueError(f"a page token would have {len(token)} characters; {_LONGEST_TOKEN} is the most")
        return token

    def open(self, kind: str, query: Mapping[str, object], token: str) -> list[Any]:
        """Return the position that a token holds; the empty token is the first page: an empty position.

        Raises:
            InvalidInput: Field `page_token`, when the token is not one that `seal` made for the same kind and
                query.
        """
        if not token:
            return []
        body = self._verified_body(kind, query, token)
        if body is None:
            raise InvalidInput([Violation("page_token", "INVALID_PAGE_TOKEN", _NOT_OURS)])
        position: list[Any] = json.loads(body)
        return position

    def _verified_body(self, kind: str, query: Mapping[str, object], token: str) -> bytes | None:
        if len(token) > _LONGEST_TOKEN or not token.isascii() or "=" in token:
            return None
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            return None
        mac, body = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        return body if hmac.compare_digest(mac, self._mac(kind, query, body)) else None

    def _mac(self, kind: str, query: Mapping[str, object], body: bytes) -> bytes:
        # Lengths in front, so that no two triples run together to the same bytes.
        parts = (kind.encode(), _canonical(dict(query)), body)
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, message, "sha256")


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
