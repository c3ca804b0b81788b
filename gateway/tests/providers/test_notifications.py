"""What Apple tells us, server to server: believed when it is Apple's, done once, and never too late."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.apple_tokens import AppleSignatures
from gateway.provider_keys import ProviderKeys
from gateway.tests.conftest import Signer
from gateway.tests.providers.conftest import APPLE, APPLE_WEB_CLIENT, GOOGLE, Office
from gateway.tests.refusals import refusal
from mesh.errors import Unavailable
from popcorn.gateway.v1 import auth_pb2

Subject = Callable[[], str]
GONE = ["account-delete", "account-deleted"]


async def is_open(office: Office, who: auth_pb2.SignInResponse) -> bool:
    """Whether a session goes on, by what is on file."""
    ends = "SELECT end_time FROM gateway.sessions WHERE user_id = $1"
    rows = await office.database.fetch(ends, who.account.user_id)
    return bool(rows) and all(row["end_time"] is None for row in rows)


async def identities(office: Office, who: auth_pb2.SignInResponse) -> list[str]:
    rows = await office.database.fetch(
        "SELECT provider FROM gateway.identities WHERE user_id = $1 ORDER BY provider", who.account.user_id
    )
    return [row["provider"] for row in rows]


async def somebody_with_both(office: Office, apple: str) -> auth_pb2.SignInResponse:
    who = await office.sign_in_with_code(APPLE, apple)
    await office.link(who, GOOGLE, f"google-of-{apple}")
    return who


async def test_consent_revoked_ends_sessions_and_leaves_the_only_way_back(
    office: Office, somebody: Subject
) -> None:
    subject = somebody()
    who = await office.sign_in_with_code(APPLE, subject)
    await office.notify("consent-revoked", subject)
    assert not await is_open(office, who)
    seen = await refusal(
        office.auth.RefreshSession(auth_pb2.RefreshSessionRequest(refresh_token=who.tokens.refresh_token))
    )
    assert seen.reason == "SESSION_REVOKED"
    # Apple has taken its token back itself.
    assert (
        await office.database.fetchval(
            "SELECT count(*) FROM gateway.apple_grants WHERE user_id = $1", who.account.user_id
        )
        == 0
    )
    again = await office.sign_in(APPLE, subject)
    assert (again.new_account, again.account.user_id) == (False, who.account.user_id)


@pytest.mark.parametrize("kind", ["consent-revoked", *GONE])
async def test_whoever_has_another_way_loses_only_this_one(
    office: Office, somebody: Subject, kind: str
) -> None:
    subject = somebody()
    who = await somebody_with_both(office, subject)
    await office.notify(kind, subject)
    assert not await is_open(office, who)
    assert await identities(office, who) == ["google"]
    again = await office.sign_in(GOOGLE, f"google-of-{subject}")
    assert again.account.user_id == who.account.user_id
    assert (await office.sign_in(APPLE, subject)).new_account


@pytest.mark.parametrize("kind", GONE)
async def test_an_apple_account_that_is_gone_takes_ours_along_when_it_was_the_only_way_in(
    office: Office, somebody: Subject, kind: str
) -> None:
    subject = somebody()
    who = await office.sign_in_with_code(APPLE, subject)
    await office.notify(kind, subject, jti=f"gone-{subject}")
    assert await identities(office, who) == []
    living = "SELECT count(*) FROM gateway.accounts WHERE user_id = $1 AND delete_time IS NULL"
    assert await office.database.fetchval(living, who.account.user_id) == 0
    before = await office.everything()
    await office.notify(kind, subject, jti=f"gone-{subject}")
    after = await office.everything()
    assert after["apple_notifications"] == before["apple_notifications"]


async def test_each_counts_once(office: Office, somebody: Subject) -> None:
    subject = somebody()
    await office.sign_in(APPLE, subject)
    payload = await office.notification("consent-revoked", subject)
    request = auth_pb2.ReceiveAppleNotificationRequest(payload=payload)
    await office.auth.ReceiveAppleNotification(request)
    # Even what would still be in time by its event: the person is back at once.
    who = await office.sign_in(APPLE, subject)
    before = await office.everything()
    for _ in range(3):
        await office.auth.ReceiveAppleNotification(request)
    assert await office.everything() == before
    assert (
        await office.database.fetchval(
            "SELECT count(*) FROM gateway.sessions WHERE user_id = $1 AND end_time IS NULL",
            who.account.user_id,
        )
        == 1
    )


async def test_ten_at_once_count_once(office: Office, somebody: Subject) -> None:
    subject = somebody()
    who = await somebody_with_both(office, subject)
    payload = await office.notification("consent-revoked", subject)
    request = auth_pb2.ReceiveAppleNotificationRequest(payload=payload)
    with capture_logs() as lines:
        await asyncio.gather(*(office.auth.ReceiveAppleNotification(request) for _ in range(10)))
    effects = [line["effect"] for line in lines if line["event"] == "apple_notification"]
    assert sorted(effects) == [*["repeated"] * 9, "unlinked"]
    actions = [line["action"] for line in lines if line["event"] == "audit"]
    assert sorted(actions) == ["identity.unlinked", "session.ended"]
    assert await identities(office, who) == ["google"]


async def test_one_that_comes_late_does_not_throw_out_who_has_come_back(
    office: Office, somebody: Subject
) -> None:
    subject = somebody()
    who = await office.sign_in(APPLE, subject)
    await office.notify("consent-revoked", subject, eventTime=int(time.time()) - 3600)
    assert await is_open(office, who)
    # An account that is gone at Apple never comes back: that is final whenever it comes.
    await office.notify("account-deleted", subject, eventTime=int(time.time()) - 3600)
    assert await identities(office, who) == []


async def test_event_times_in_milliseconds_are_understood(office: Office, somebody: Subject) -> None:
    subject = somebody()
    who = await office.sign_in(APPLE, subject)
    await office.notify("consent-revoked", subject, eventTime=(int(time.time()) - 3600) * 1000)
    assert await is_open(office, who)
    await office.notify("consent-revoked", subject, eventTime=int(time.time()) * 1000)
    assert not await is_open(office, who)


async def test_forwarding_is_on_or_off_as_the_latest_event_says(office: Office, somebody: Subject) -> None:
    subject, now = somebody(), int(time.time())
    await office.sign_in(APPLE, subject, email=f"{subject}@privaterelay.appleid.com")

    async def shown() -> tuple[bool, bool]:
        identity = (await office.sign_in(APPLE, subject)).account.identities[0]
        return identity.private_email, identity.email_disabled

    # The later sign-ins bring another address, which is not a private one.
    assert (await shown())[1] is False
    await office.notify("email-disabled", subject, eventTime=now - 60)
    assert (await shown())[1] is True
    await office.notify("email-enabled", subject, eventTime=now - 120)  # late: it was before that
    assert (await shown())[1] is True
    await office.notify("email-enabled", subject, eventTime=now - 30)
    assert (await shown())[1] is False


@pytest.mark.parametrize("kind", ["consent-revoked", *GONE, "email-disabled", "email-enabled"])
async def test_whom_we_do_not_know_is_no_reason_for_apple_to_try_again(
    office: Office, somebody: Subject, kind: str
) -> None:
    before = await office.everything()
    await office.notify(kind, somebody())
    after = await office.everything()
    assert {table for table in after if after[table] != before[table]} == {"apple_notifications"}


async def test_what_we_do_not_understand_is_answered_and_noted(office: Office, somebody: Subject) -> None:
    subject = somebody()
    who = await office.sign_in(APPLE, subject)
    with capture_logs() as lines:
        await office.notify("something-new", subject)
    assert [line["effect"] for line in lines if line["event"] == "apple_notification"] == ["unknown_event"]
    assert await is_open(office, who)


async def test_another_persons_account_is_left_alone(office: Office, somebody: Subject) -> None:
    subject, other = somebody(), await office.sign_in(APPLE, somebody())
    same_subject_at_google = await office.sign_in(GOOGLE, subject)
    await office.sign_in(APPLE, subject)
    await office.notify("consent-revoked", subject)
    assert await is_open(office, other)
    assert await is_open(office, same_subject_at_google)


async def test_a_sign_in_at_the_same_moment_is_either_ended_or_later(
    office: Office, somebody: Subject
) -> None:
    """A session that is opened while consent goes away must not be missed by it."""
    for _ in range(5):
        subject = somebody()
        who = await somebody_with_both(office, subject)
        _, other = await asyncio.gather(
            office.notify("account-deleted", subject), office.sign_in(APPLE, subject)
        )
        if other.account.user_id == who.account.user_id:
            assert not await is_open(office, who)
        else:
            assert other.new_account


# ---- who may tell ----


def payload(office: Office, **claims: Any) -> str:
    """A notification that Apple has signed; a claim of None is left out."""
    usual: dict[str, Any] = {
        "iss": "https://appleid.apple.com",
        "aud": APPLE_WEB_CLIENT,
        "iat": int(time.time()),
        "jti": f"n-{time.monotonic_ns()}",
        "events": json.dumps({"type": "consent-revoked", "sub": "nobody", "event_time": int(time.time())}),
    }
    return office.apple_key.sign(
        {name: value for name, value in (usual | claims).items() if value is not None}
    )


def identity_claims() -> dict[str, Any]:
    """What an identity token says."""
    now = int(time.time())
    return {
        **{"iss": "https://appleid.apple.com", "aud": APPLE_WEB_CLIENT, "sub": "x", "iat": now},
        **{"exp": now + 600, "email": "x@example.com", "email_verified": "true"},
    }


THIEF = Signer("thief")

FORGED: dict[str, tuple[str, Callable[[Office], str]]] = {
    "another key": ("key", lambda _: THIEF.sign(identity_claims())),
    "another key of the same id": (
        "signature",
        lambda office: THIEF.sign(identity_claims(), kid=office.apple_key.key_id),
    ),
    "Google's key": ("key", lambda office: office.google_key.sign(identity_claims())),
    "no token": ("malformed", lambda _: "x"),
    "another issuer": ("issuer", lambda office: payload(office, iss="https://accounts.google.com")),
    "no issuer": ("issuer", lambda office: payload(office, iss=None)),
    "another app": ("audience", lambda office: payload(office, aud="evil")),
    "no app": ("audience", lambda office: payload(office, aud=None)),
    "expired": ("expiry", lambda office: payload(office, exp=int(time.time()) - 1)),
    "an expiry in words": ("expiry", lambda office: payload(office, exp="never")),
    "of the future": ("issued_at", lambda office: payload(office, iat=int(time.time()) + 300)),
    "no id": ("jti", lambda office: payload(office, jti=None)),
    "an id with a zero byte": ("jti", lambda office: payload(office, jti="a\x00b")),
    "an endless id": ("jti", lambda office: payload(office, jti="a" * 256)),
    "no event": ("events", lambda office: payload(office, events=None)),
    "an event that is no JSON": ("events", lambda office: payload(office, events="{")),
    "a list of events": ("events", lambda office: payload(office, events="[]")),
    "an event without a type": ("events", lambda office: payload(office, events='{"sub": "x"}')),
    "an event about nobody": ("events", lambda office: payload(office, events='{"type": "consent-revoked"}')),
    "an endless nest": ("events", lambda office: payload(office, events="[" * 5000)),
    "an identity token": ("jti", lambda office: office.apple_key.sign(identity_claims())),
}


@pytest.mark.parametrize(("check", "forge"), FORGED.values(), ids=FORGED.keys())
async def test_what_is_not_apples_or_not_for_us_is_refused_and_nothing_is_written(
    office: Office, check: str, forge: Callable[[Office], str]
) -> None:
    before = await office.everything()
    request = auth_pb2.ReceiveAppleNotificationRequest(payload=forge(office))
    seen = await refusal(office.auth.ReceiveAppleNotification(request))
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", "INVALID_NOTIFICATION")
    assert seen.metadata == {"check": check}
    assert await office.everything() == before


async def test_an_event_that_is_not_in_a_string_is_taken_too(office: Office) -> None:
    event = {"type": "consent-revoked", "sub": "nobody"}
    await office.auth.ReceiveAppleNotification(
        auth_pb2.ReceiveAppleNotificationRequest(payload=payload(office, events=event, iat=None))
    )


async def test_a_notification_signs_nobody_in(office: Office, somebody: Subject) -> None:
    text = await office.notification("consent-revoked", somebody())
    seen = await refusal(office.auth.SignIn(auth_pb2.SignInRequest(provider=APPLE, id_token=text)))
    assert seen.reason == "INVALID_IDENTITY_TOKEN"


@pytest.mark.parametrize("text", ["", "x" * 16_385, "a\x00b"])
async def test_bad_input_names_the_field(office: Office, text: str) -> None:
    request = auth_pb2.ReceiveAppleNotificationRequest(payload=text)
    seen = await refusal(office.auth.ReceiveAppleNotification(request))
    assert (seen.code, seen.fields) == ("INVALID_ARGUMENT", {"payload"})


async def test_apple_is_told_to_try_again_while_its_keys_cannot_be_had(
    office: Office, somebody: Subject
) -> None:
    text = await office.notification("consent-revoked", somebody())
    office.wire.is_cut = True
    async with httpx.AsyncClient(transport=office.wire) as client:
        cold = ProviderKeys("http://idp.test/apple/keys", provider="apple", client=client)
        with pytest.raises(Unavailable):
            await AppleSignatures(cold).claims(text)
        office.wire.restore()
        warm = ProviderKeys("http://idp.test/apple/keys", provider="apple", client=client)
        assert (await AppleSignatures(warm).claims(text))["iss"] == "https://appleid.apple.com"
