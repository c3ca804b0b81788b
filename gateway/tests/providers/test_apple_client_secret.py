"""Apple's client secret: fresh before it runs out, whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dev.idp_codes import APPLE_KEY_ID, APPLE_TEAM_ID, OAuthError, check_apple_client_secret
from gateway.apple_client_secret import LIFETIME, AppleClientSecrets, read_private_key

KEY = ec.generate_private_key(ec.SECP256R1())
START = datetime(2026, 1, 1, tzinfo=UTC)


class Hands:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def secrets_at(clock: Hands) -> AppleClientSecrets:
    return AppleClientSecrets(team_id=APPLE_TEAM_ID, key_id=APPLE_KEY_ID, private_key=KEY, clock=clock)


def accepted(secret: str, client_id: str, now: datetime) -> None:
    form = {"client_id": client_id, "client_secret": secret}
    check_apple_client_secret(form, key=KEY.public_key(), now=now.timestamp())


def test_it_says_what_apple_asks_for() -> None:
    secret = secrets_at(Hands()).of("app")
    assert jwt.get_unverified_header(secret) == {"alg": "ES256", "typ": "JWT", "kid": APPLE_KEY_ID}
    claims = jwt.decode(secret, options={"verify_signature": False})
    assert claims == {
        "iss": APPLE_TEAM_ID,
        "sub": "app",
        "aud": "https://appleid.apple.com",
        "iat": int(START.timestamp()),
        "exp": int((START + LIFETIME).timestamp()),
    }


def test_it_is_made_once_while_it_is_young_and_one_for_each_client() -> None:
    clock = Hands()
    secrets = secrets_at(clock)
    first = secrets.of("app")
    clock.now += timedelta(minutes=29)
    assert secrets.of("app") == first
    assert secrets.of("web") != first
    accepted(secrets.of("web"), "web", clock.now)
    with pytest.raises(OAuthError):
        accepted(first, "web", clock.now)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.integers(min_value=-200_000, max_value=20_000_000), max_size=30))
def test_whatever_the_clock_does_it_is_good_for_half_an_hour_more(steps: list[int]) -> None:
    clock = Hands()
    secrets = secrets_at(clock)
    for step in steps:
        clock.now = max(START, clock.now + timedelta(seconds=step))
        secret = secrets.of("app")
        accepted(secret, "app", clock.now)
        accepted(secret, "app", clock.now + timedelta(minutes=29))


def pem_of(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()).decode()


def test_a_key_may_have_its_line_breaks_written_out() -> None:
    for pem in (pem_of(KEY), pem_of(KEY).replace("\n", "\\n")):
        assert read_private_key(pem).private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a key",
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        pem_of(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        pem_of(KEY, BestAvailableEncryption(b"password")),
    ],
    ids=["nothing", "words", "another curve", "RSA", "a password"],
)
def test_what_is_no_such_key_is_refused_in_words_that_do_not_quote_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it is not") as caught:
        read_private_key(text)
    assert not text or text not in str(caught.value)
