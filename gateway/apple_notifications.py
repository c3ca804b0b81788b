"""What Apple tells us of people, server to server: who it is about, what happened, and what follows.

https://developer.apple.com/documentation/signinwithapple/processing-changes-for-sign-in-with-apple-accounts

A notification is a JWT signed with the keys that sign identity tokens, for one of our client ids. Its
`events` is one event, as JSON inside a string. Apple sends it again until it is answered, and may send it
late:

- Each `jti` counts once. What follows is written in the same transaction as the `jti`; only a deletion begins
  before that, since it can be begun twice without harm.
- Consent revoked: all sessions of the account end, and the identity is unlinked; where it is the only way to
  sign in it stays, since the person may come back with it. One that is older than their last sign-in is
  outdated: they have come back already.
- Account deleted: the same, except that where it was the only way to sign in, the account is deleted.
- E-mail forwarding on or off: noted with the identity; the later event counts.
- Anything else is noted and answered like the others, so that Apple does not go on sending it.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Protocol
from uuid import UUID

import structlog

from gateway.audit import audit
from gateway.identity_tokens import CLOCK_SKEW, Provider

_LONGEST_ID = 255
_LARGEST_TIME = 253_402_300_799  # the end of the year 9999
_MILLISECONDS_FROM = 100_000_000_000  # in seconds that would be the year 5138

_log = structlog.get_logger("gateway.apple_notifications")


class Event(Enum):
    """What may have happened; the value is Apple's name for it."""

    CONSENT_REVOKED = "consent-revoked"
    ACCOUNT_DELETED = "account-deleted"
    EMAIL_ENABLED = "email-enabled"
    EMAIL_DISABLED = "email-disabled"


_EVENTS: Mapping[str, Event] = {
    **{event.value: event for event in Event},
    "account-delete": Event.ACCOUNT_DELETED,  # Apple's documentation has both spellings
}


class InvalidNotification(Exception):
    """It does not come from Apple, is not for us, or is not what Apple describes."""

    status = "UNAUTHENTICATED"
    reason = "INVALID_NOTIFICATION"

    def __init__(self, check: str) -> None:
        super().__init__("This is not a notification of Apple's to us.")
        self.metadata: Mapping[str, str] = {"check": check}


@dataclass(frozen=True, slots=True)
class Notification:
    """One event."""

    jti: str
    """Apple's id of the notification."""
    kind: str
    """What happened, in Apple's words."""
    event: Event | None
    """The same in ours; None for what we do not know."""
    subject: str
    """Whom it is about, by Apple's id. Empty where an unknown kind says nobody."""
    event_time: datetime
    """When it happened, by Apple's clock."""


class Effect(Enum):
    """What followed; the value is what the log says."""

    REPEATED = "repeated"
    UNKNOWN_EVENT = "unknown_event"
    UNKNOWN_PERSON = "unknown_person"
    OUTDATED = "outdated"
    EMAIL_SWITCHED = "email_switched"
    SESSIONS_ENDED = "sessions_ended"
    UNLINKED = "unlinked"
    DELETION_DUE = "deletion_due"


class SignedByApple(Protocol):
    """Checks Apple's signature."""

    async def claims(self, token: str) -> Mapping[str, object]:
        """Return what a token says. Raises InvalidNotification, or Unavailable without Apple's keys."""
        ...


class NotificationStore(Protocol):
    """Keeps what follows from notifications."""

    async def apply(self, notification: Notification, *, now: datetime) -> tuple[Effect, UUID | None]:
        """Do what a notification asks for, once; return what that was, and to whose account.

        For DELETION_DUE nothing has been written: that is for the caller, who then remembers it.
        """
        ...

    async def remember(self, notification: Notification, *, now: datetime) -> None:
        """Note that a notification has been dealt with."""
        ...


class AppleNotifications:
    """Receives them."""

    def __init__(
        self,
        *,
        signed: SignedByApple,
        audiences: Set[str],
        store: NotificationStore,
        clock: Callable[[], datetime],
        delete_account: Callable[[UUID], Awaitable[None]],
    ) -> None:
        """Take the parts.

        Args:
            signed: What checks Apple's signature.
            audiences: Our client ids at Apple.
            store: What keeps the effects.
            clock: The present, with its zone.
            delete_account: Begins the deletion of an account; again for the same one changes nothing.
        """
        self._signed = signed
        self._audiences = audiences
        self._store = store
        self._clock = clock
        self._delete_account = delete_account

    async def receive(self, payload: str) -> None:
        """Take one notification.

        Raises:
            InvalidNotification: It is not from Apple, or not for us.
            mesh.errors.Unavailable: Apple's keys or the store cannot be reached; Apple tries again.
        """
        now = self._clock()
        notification = read_notification(
            await self._signed.claims(payload), audiences=self._audiences, now=now
        )
        effect, user_id = await self._store.apply(notification, now=now)
        _log.info("apple_notification", kind=notification.kind[:64], effect=effect.value)
        if user_id is None:
            return
        reason = "apple_" + notification.kind.replace("-", "_")
        match effect:
            case Effect.DELETION_DUE:
                await self._delete_account(user_id)
                await self._store.remember(notification, now=now)
            case Effect.UNLINKED:
                audit("identity.unlinked", user_id=user_id, provider=Provider.APPLE, reason=reason)
                audit("session.ended", user_id=user_id, reason=reason)
            case Effect.SESSIONS_ENDED:
                audit("session.ended", user_id=user_id, reason=reason)
            case Effect.EMAIL_SWITCHED:
                audit("identity.changed", user_id=user_id, provider=Provider.APPLE, reason=reason)
            case _:
                pass


def read_notification(claims: Mapping[str, object], *, audiences: Set[str], now: datetime) -> Notification:
    """Read what a token says whose signature is good.

    Args:
        claims: The token's payload.
        audiences: Our client ids at Apple.
        now: The present, with its zone.

    Raises:
        InvalidNotification: It is for somebody else, of another time, or not what Apple describes.
    """
    audience = claims.get("aud")
    _require(claims.get("iss") == "https://appleid.apple.com", "issuer")
    _require(isinstance(audience, str) and audience in audiences, "audience")
    if "exp" in claims:
        expiry = _moment(claims["exp"])
        _require(expiry is not None and expiry > now, "expiry")
    if "iat" in claims:
        issued_at = _moment(claims["iat"])
        _require(issued_at is not None and issued_at <= now + CLOCK_SKEW, "issued_at")
    jti = claims.get("jti")
    _require(_is_id(jti), "jti")
    event = _event(claims.get("events"))
    kind, subject = event.get("type"), event.get("sub")
    _require(_is_id(kind), "events")
    known = _EVENTS.get(str(kind))
    _require(known is None or _is_id(subject), "events")
    happened = _moment(event.get("event_time")) or _moment(claims.get("iat")) or now
    return Notification(
        jti=str(jti),
        kind=str(kind),
        event=known,
        subject=str(subject) if _is_id(subject) else "",
        event_time=min(happened, now),
    )


def is_outdated(notification: Notification, *, last_proof_time: datetime) -> bool:
    """Return whether somebody has signed in with Apple since what a notification tells of.

    Apple's clock and ours may differ by a little, and Apple cuts to seconds.
    """
    return last_proof_time - notification.event_time > timedelta(minutes=1)


def _event(events: object) -> Mapping[str, object]:
    try:
        event = json.loads(events) if isinstance(events, str) else events
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise InvalidNotification("events")
    return event


def _moment(claim: object) -> datetime | None:
    """Return a moment given in seconds since 1970, or in milliseconds as Apple's event times may be."""
    if isinstance(claim, bool) or not isinstance(claim, int | float) or not claim >= 0:
        return None
    seconds = claim / 1000 if claim >= _MILLISECONDS_FROM else claim
    return datetime.fromtimestamp(seconds, UTC) if seconds <= _LARGEST_TIME else None


def _is_id(claim: object) -> bool:
    return isinstance(claim, str) and 0 < len(claim) <= _LONGEST_ID and claim.isprintable()


def _require(holds: bool, check: str) -> None:
    if not holds:
        raise InvalidNotification(check)
