"""The public keys of an identity provider: fetched over HTTP, kept, and fetched again when they should be.

The one place that knows how keys travel (a JSON Web Key Set, RFC 7517, with Cache-Control) and when to ask
for them:

- Kept for as long as Cache-Control says, between a minute and a day.
- Asked for again when a token names a key that is not among them, but at most every ten seconds: providers
  rotate keys, and anybody can make up a key's id.
- When the provider does not answer, what is kept is used for up to a day; without that, or for a key that is
  not kept, it is Unavailable, within three seconds, and nobody asks again for the next two.
- Many at once share one request.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

import httpx
import jwt
import structlog

from mesh.errors import Unavailable
from mesh.running import start_detached

_FETCH_SECONDS: Final = 2.5
_SHORTEST_FRESHNESS: Final = 60.0
_LONGEST_FRESHNESS: Final = 24 * 3600.0
_USUAL_FRESHNESS: Final = 3600.0
_LONGEST_USE: Final = 24 * 3600.0
_PAUSE_FOR_UNKNOWN_KEYS: Final = 10.0
_PAUSE_AFTER_FAILURE: Final = 2.0
_LARGEST_DOCUMENT: Final = 256 * 1024
_MOST_KEYS: Final = 64

# RSA and elliptic curves only: a symmetric "key" in a public document would let everybody sign.
ALGORITHMS: Final = frozenset({"RS256", "ES256"})
"""What Google and Apple sign with."""

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,9})(?:$|[\s,])", re.IGNORECASE)

_log = structlog.get_logger("gateway.provider_keys")


class ProviderKeys:
    """One provider's keys by their id. Belongs to one event loop."""

    def __init__(
        self,
        url: str,
        *,
        provider: str,
        client: httpx.AsyncClient,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe them; nothing is fetched before it is needed.

        Args:
            url: Where the provider publishes its JSON Web Key Set.
            provider: The dependency's name in errors and logs: "google".
            client: What fetches.
            clock: Seconds that only go up.
        """
        self._url = url
        self._provider = provider
        self._client = client
        self._clock = clock
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._fresh_until = float("-inf")
        self._failed_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key with this id, or None when the provider has none.

        Raises:
            Unavailable: The provider does not answer, and what is kept is too old or does not have the key.
        """
        if self._should_fetch(key_id):
            await self._fetch_once()
        key = self._keys.get(key_id)
        # A key that is not among those kept may be new: while nobody can say, that is no verdict.
        in_doubt = key is None and self._failed_at > self._fetched_at
        if in_doubt or self._clock() - self._fetched_at > _LONGEST_USE:
            raise Unavailable(self._provider, timedelta(seconds=_PAUSE_AFTER_FAILURE))
        return key

    def _should_fetch(self, key_id: str) -> bool:
        now = self._clock()
        if now - self._failed_at < _PAUSE_AFTER_FAILURE:
            return False
        if now >= self._fresh_until:
            return True
        return key_id not in self._keys and now - self._fetched_at >= _PAUSE_FOR_UNKNOWN_KEYS

    async def _fetch_once(self) -> None:
        if self._fetching is None:
            # Detached: the request outlives the call that caused it, since others wait for it too.
            self._fetching = start_detached(self._fetch(), name=f"fetch keys of {self._provider}")
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                document, max_age = await self._download()
            keys = _usable_keys(document)
        except (httpx.HTTPError, TimeoutError, ValueError, jwt.PyJWTError) as error:
            self._failed_at = self._clock()
            _log.warning("provider_keys.failed", provider=self._provider, error=type(error).__name__)
        else:
            self._keys = keys
            self._fetched_at = self._clock()
            self._fresh_until = self._fetched_at + max_age
            _log.info("provider_keys.fetched", provider=self._provider, keys=len(keys), fresh_seconds=max_age)
        finally:
            self._fetching = None

    async def _download(self) -> tuple[str, float]:
        async with self._client.stream("GET", self._url, headers={"accept": "application/json"}) as response:
            response.raise_for_status()
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _LARGEST_DOCUMENT:
                    raise ValueError("the key document is too large")
            return body.decode("utf-8"), _freshness(response.headers.get("cache-control", ""))


def _usable_keys(document: str) -> Mapping[str, jwt.PyJWK]:
    """Return the signature keys of a JSON Web Key Set, by their id.

    Raises:
        ValueError, jwt.PyJWTError: It is no such set, or holds none.
    """
    try:
        keys = {
            key.key_id: key
            for key in jwt.PyJWKSet.from_json(document).keys[:_MOST_KEYS]
            if key.key_id and key.public_key_use in ("sig", None) and key.algorithm_name in ALGORITHMS
        }
    except (AttributeError, TypeError, RecursionError) as error:  # JSON of another shape
        raise ValueError("not a JSON Web Key Set") from error
    if not keys:
        raise ValueError("the key document has no key to check signatures with")
    return keys


def _freshness(cache_control: str) -> float:
    match = _MAX_AGE.search(cache_control)
    seconds = float(match[1]) if match else _USUAL_FRESHNESS
    return min(max(seconds, _SHORTEST_FRESHNESS), _LONGEST_FRESHNESS)
