"""A provider's endpoint for codes and tokens (RFC 6749 sections 4.1.3 and 5, RFC 7009), over HTTP.

What the provider says no to is told apart by whose fault it is: a code that is spent or foreign is the
caller's (`Denied`), our client id or secret being refused is ours and goes into the log as an error, and
everything else is the provider's. The latter two are Unavailable to the caller.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import httpx
import structlog

from mesh.errors import Unavailable

_SECONDS: Final = 2.5
_LARGEST_ANSWER: Final = 64 * 1024
_RETRY_AFTER: Final = timedelta(seconds=2)

_CALLERS_FAULT: Final = frozenset({"invalid_grant", "invalid_request", "redirect_uri_mismatch"})

_log = structlog.get_logger("gateway.token_endpoint")


class Denied(Exception):
    """The provider has understood the request, and what it was shown is not good (any more)."""


class TokenEndpoint:
    """One address that takes forms and answers with JSON."""

    def __init__(self, url: str, *, provider: str, client: httpx.AsyncClient) -> None:
        """Describe it.

        Args:
            url: Where it is.
            provider: The dependency's name in errors and logs: "google".
            client: What sends.
        """
        self._url = url
        self._provider = provider
        self._client = client

    async def post(self, form: Mapping[str, str]) -> Mapping[str, object]:
        """Send a form.

        Returns:
            The answer's JSON object; empty for an empty answer.

        Raises:
            Denied: What the form holds is not good.
            Unavailable: There is no answer within 2.5 seconds, or none that can be used.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                status, body = await self._send(form)
            answer = json.loads(body) if body.strip() else {}
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError) as error:
            _log.warning("token_endpoint.failed", provider=self._provider, error=type(error).__name__)
            raise self._unavailable() from error
        if not isinstance(answer, dict):
            answer = {}
        if status == httpx.codes.OK:
            return answer
        code = answer.get("error")
        if status in (httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED) and isinstance(code, str):
            if code in _CALLERS_FAULT:
                raise Denied(code)
            _log.error("token_endpoint.refused_us", provider=self._provider, status=status, error=code[:64])
        else:
            _log.warning("token_endpoint.failed", provider=self._provider, status=status)
        raise self._unavailable()

    async def _send(self, form: Mapping[str, str]) -> tuple[int, bytes]:
        headers = {"accept": "application/json"}
        async with self._client.stream("POST", self._url, data=dict(form), headers=headers) as response:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _LARGEST_ANSWER:
                    raise ValueError("the answer is too large")
            return response.status_code, bytes(body)

    def _unavailable(self) -> Unavailable:
        return Unavailable(self._provider, _RETRY_AFTER)
