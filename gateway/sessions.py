"""Sessions: how long they live, and the rules of the refresh tokens that carry them.

A session begins with a sign-in and is a chain of refresh tokens, numbered by generation. Only the newest
can be traded for the next; the store does that in one atomic statement, so of two at once one wins.
Everything that statement does not take comes here (`judge_spent`):

- The immediate predecessor, within 10 seconds: the answer was lost on its way, or the app asked twice at
  once. It gets the same successor again, so that however many ask there is one living chain.
- Anything else that was used before: somebody has a copy. The session ends.

A secret is kept as its SHA-256. For the grace the successor is kept too, sealed with a pad that only the
predecessor's holder can make: a copy of the database holds no token that works.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

SECRET_BYTES = 32
"""A refresh token is 256 random bits."""

GRACE = timedelta(seconds=10)
"""How long after its use the immediate predecessor is still answered."""

_TEXT = re.compile(r"[A-Za-z0-9_-]{43}")
_PAD_LABEL = b"popcorn refresh token: the pad for my successor"


class InvalidRefreshToken(Exception):
    """Not a refresh token of ours, or of a session that is too old."""

    status = "UNAUTHENTICATED"
    reason = "INVALID_REFRESH_TOKEN"
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__("This refresh token is not valid. Please sign in again.")


class SessionRevoked(Exception):
    """The session has ended before its time."""

    status = "UNAUTHENTICATED"
    reason = "SESSION_REVOKED"
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__("This session has ended. Please sign in again.")


class SessionNotFound(Exception):
    """The caller has no session with this id."""

    status = "NOT_FOUND"
    reason = "SESSION_NOT_FOUND"
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__("There is no such session in your account.")


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long tokens live."""

    access: timedelta
    """Of an access token, though never beyond its session."""
    session: timedelta
    """Of a session and so of its refresh tokens, from sign-in."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be opened."""

    session_id: UUID
    """Its id, `sid` in access tokens."""
    token_hash: bytes
    """Of its first refresh token."""
    create_time: datetime
    """Now."""
    expire_time: datetime
    """When a new sign-in is due."""
    device: str = ""
    """What it runs on, for its owner to know it by. May be empty."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as its owner sees it."""

    session_id: UUID
    """Its id."""
    device: str
    """What it runs on. May be empty."""
    create_time: datetime
    """When it began."""
    last_use_time: datetime
    """When it was last refreshed, or else began."""


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that goes on, with what an access token says of its owner."""

    session_id: UUID
    """Its id."""
    user_id: UUID
    """Whose it is."""
    display_name: str
    """What its owner is called."""
    guest: bool
    """Whether its owner is a guest."""
    expire_time: datetime
    """When a new sign-in is due."""


@dataclass(frozen=True, slots=True)
class SpentToken:
    """A refresh token that was not traded, and how its session stands."""

    session: LiveSession
    """The session it belongs to; whether that still lives says `end_time`."""
    end_time: datetime | None
    """When the session was ended, None while it goes on."""
    generation: int
    """The token's own number in the chain, from 1."""
    newest_generation: int
    """The number of the token that can be traded."""
    spend_time: datetime | None
    """When it was traded for its successor, None when it never was."""
    sealed_successor: bytes | None
    """The successor's secret, to be opened with this token's."""


def judge_spent(token: SpentToken | None, *, now: datetime) -> bytes | None:
    """Decide about a refresh token that could not be traded.

    Args:
        token: What is known of it; None when nothing is.
        now: The present, with its zone.

    Returns:
        The sealed successor to give again, or None: it was used before and outside of the grace, so its
        session has to be ended.

    Raises:
        InvalidRefreshToken: Unknown, or its session has reached its age.
        SessionRevoked: Its session has ended already.
    """
    if token is None:
        raise InvalidRefreshToken
    if token.end_time is not None:
        raise SessionRevoked
    if token.session.expire_time <= now or token.generation >= token.newest_generation:
        raise InvalidRefreshToken
    is_parent = token.generation == token.newest_generation - 1
    if is_parent and token.spend_time is not None and now - token.spend_time <= GRACE:
        return token.sealed_successor
    return None


def token_text(secret: bytes) -> str:
    """Return a refresh token as the app sees it: 43 characters of base64url."""
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode("ascii")


def secret_of(text: str) -> bytes:
    """Return the 32 bytes of a refresh token.

    Raises:
        InvalidRefreshToken: When it is none, or is spelled in another way than `token_text` does.
    """
    if _TEXT.fullmatch(text) is None:
        raise InvalidRefreshToken
    secret = base64.urlsafe_b64decode(text + "=")
    if token_text(secret) != text:
        raise InvalidRefreshToken
    return secret


def token_hash(secret: bytes) -> bytes:
    """Return what is kept of a refresh token. No salt: 256 random bits cannot be guessed from a list."""
    return hashlib.sha256(secret).digest()


def seal(successor: bytes, *, predecessor: bytes) -> bytes:
    """Hide a successor's secret from all who do not hold its predecessor; the same call opens it again.

    A one-time pad: every predecessor has one successor, so its pad is used once.
    """
    pad = hmac.digest(predecessor, _PAD_LABEL, "sha256")
    return bytes(left ^ right for left, right in zip(successor, pad, strict=True))
