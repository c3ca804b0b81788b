"""Who calls.

Envoy checks the access token and hands its payload on in one header, which no client can set. What arrives is
checked again in full: a header that is there twice, is not what Envoy writes, or has run out, is nobody.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor

from mesh import running
from mesh.errors import PermissionDenied, Unauthenticated
from popcorn.options.v1 import options_pb2

IDENTITY_HEADER: Final = "x-popcorn-identity"
"""Carries the access token's payload, base64url: set by Envoy, and by nobody else."""

ACCESS_TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - the media type of RFC 9068, not a secret
_AUTHORIZATION: Final = "authorization"
_LONGEST_HEADER: Final = 4096
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LONGEST_NAME: Final = 512
# Seconds since 1970 up to the year 9999: what `datetime` can hold.
_LATEST_TIME: Final = 253_402_300_799

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Identity:
    """The person behind a call, as the access token names them."""

    user_id: str
    """`sub`: the account, or the guest."""
    session_id: str
    """`sid`: the sign-in that the token came from."""
    name: str
    """The name to show to others."""
    guest: bool
    """True for somebody who plays without an account."""
    expires_at: datetime
    """When the token runs out, in UTC."""


def caller() -> Identity:
    """Return who calls the running RPC.

    Raises:
        Unauthenticated: Outside of an RPC, or in one whose method needs nobody.
    """
    call = running.current()
    if call is None or call.identity is None:
        raise Unauthenticated
    return call.identity


def access_of(method: MethodDescriptor) -> int:
    """Return who may call a method: a value of `popcorn.options.v1.Access`, unspecified meaning members."""
    return int(method.GetOptions().Extensions[options_pb2.access])


def needs_identity(method: MethodDescriptor) -> bool:
    """Return whether a method has to know its caller."""
    return access_of(method) not in (options_pb2.ACCESS_PUBLIC, options_pb2.ACCESS_INTERNAL)


def identify(metadata: Metadata, *, now: datetime) -> Identity:
    """Read the identity from a request's metadata.

    Args:
        metadata: All of the request's metadata, repeated keys repeated.
        now: The present, for the token's expiry.

    Raises:
        Unauthenticated: MISSING_IDENTITY without the header, BAD_IDENTITY when there are several or it is not
            a valid payload, BAD_TOKEN_TYPE when the bearer token beside it is not an access token,
            TOKEN_EXPIRED.
    """
    headers: list[str | bytes] = []
    for key, value in metadata:
        if key == IDENTITY_HEADER:
            headers.append(value)
        elif key == _AUTHORIZATION and not (isinstance(value, str) and _is_access_token(value)):
            raise Unauthenticated(
                "BAD_TOKEN_TYPE", "This call needs an access token, and was sent another kind."
            )
    match headers:
        case []:
            raise Unauthenticated
        case [str() as header]:
            identity = _read(header)
        case _:
            identity = None
    if identity is None:
        raise Unauthenticated(
            "BAD_IDENTITY", "The identity of this call cannot be read. Please sign in again."
        )
    if identity.expires_at <= now:
        raise Unauthenticated("TOKEN_EXPIRED", "Your session has run out. Refresh it or sign in again.")
    return identity


def admit(identity: Identity, *, access: int) -> None:
    """Let somebody known into a method, or not.

    Raises:
        PermissionDenied: GUEST_NOT_ALLOWED for a guest at a method for members.
    """
    if identity.guest and access != options_pb2.ACCESS_GUEST:
        raise PermissionDenied(
            "GUEST_NOT_ALLOWED", "Guests cannot do this. Create an account to keep things."
        )


# The same token comes with every request of a person, so reading it once is enough: a pure function of the
# header.
@lru_cache(maxsize=2048)
def _read(header: str) -> Identity | None:
    """Return what the header says, or None when it is not what Envoy writes."""
    claims = _decode_object(header)
    if claims is None:
        return None
    ids = [claims.get(claim) for claim in ("sub", "sid", "jti")]
    times = [claims.get(claim) for claim in ("iat", "exp")]
    name, guest, audience, issuer = (
        claims.get("name"),
        claims.get("guest", False),
        claims.get("aud"),
        claims.get("iss"),
    )
    audiences = audience if isinstance(audience, list) else [audience]
    if not (
        all(isinstance(value, str) and _ID.fullmatch(value) for value in ids)
        and all(type(value) is int and 0 < value <= _LATEST_TIME for value in times)
        and isinstance(name, str)
        and len(name) <= _LONGEST_NAME
        and not _CONTROL.search(name)
        and isinstance(guest, bool)
        and audiences
        and all(isinstance(value, str) and value for value in audiences)
        and isinstance(issuer, str)
        and issuer
    ):
        return None
    issued_at, expires_at = claims["iat"], claims["exp"]
    if issued_at >= expires_at:
        return None
    return Identity(
        user_id=claims["sub"],
        session_id=claims["sid"],
        name=name,
        guest=guest,
        expires_at=datetime.fromtimestamp(expires_at, UTC),
    )


@lru_cache(maxsize=2048)
def _is_access_token(authorization: str) -> bool:
    """Return whether a bearer token's header says that it is an access token (RFC 9068)."""
    scheme, _, token = authorization.partition(" ")
    header = _decode_object(token.partition(".")[0])
    return scheme.lower() == "bearer" and header is not None and header.get("typ") == ACCESS_TOKEN_TYPE


def _decode_object(encoded: str) -> dict[str, Any] | None:
    """Return the JSON object in a base64url text, padded or not, or None when there is none."""
    if len(encoded) > _LONGEST_HEADER or _BASE64URL.fullmatch(encoded) is None:
        return None
    bare = encoded.rstrip("=")
    try:
        decoded = json.loads(
            base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True),
            object_pairs_hook=_object_without_repeats,
        )
    except (binascii.Error, ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Parsers differ in which of two equal keys counts; nothing of ours writes one twice.
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found
