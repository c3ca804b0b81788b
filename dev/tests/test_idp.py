"""The development identity provider: tokens that the real verifiers take, and sentences for bad input."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from google.auth import transport
from google.oauth2 import id_token

from dev.idp import APPLE_CLIENT_ID, GOOGLE_CLIENT_ID, IdentityProvider, SigningKey


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idp")


@pytest.fixture
async def idp(state: Path) -> AsyncIterator[httpx.AsyncClient]:
    application = IdentityProvider(state).application()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application), base_url="http://idp.example"
    ) as client:
        yield client


async def _token(idp: httpx.AsyncClient, **wanted: object) -> str:
    answer = await idp.post("/tokens", json=wanted)
    assert answer.status_code == 200, answer.text
    token = answer.json()["idToken"]
    assert isinstance(token, str)
    return token


class _Certificates(transport.Request):
    """Gives google-auth the provider's keys without a network."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys

    def __call__(self, *_arguments: Any, **_named: Any) -> transport.Response:
        return _Answer(self._keys)


class _Answer(transport.Response):
    def __init__(self, body: bytes) -> None:
        self._body = body

    @property
    def status(self) -> int:
        return 200

    @property
    def headers(self) -> Mapping[str, str]:
        return {}

    @property
    def data(self) -> bytes:
        return self._body


async def _google_certificates(idp: httpx.AsyncClient) -> _Certificates:
    return _Certificates((await idp.get("/google/certs")).content)


def _verified_by_google(token: str, certificates: _Certificates) -> Mapping[str, Any]:
    claims: Mapping[str, Any] = id_token.verify_oauth2_token(  # type: ignore[no-untyped-call]  # google-auth has no types here
        token, certificates, GOOGLE_CLIENT_ID
    )
    return claims


async def _apple_key(idp: httpx.AsyncClient, token: str) -> jwt.PyJWK:
    keys = jwt.PyJWKSet.from_dict((await idp.get("/apple/keys")).json())
    return keys[jwt.get_unverified_header(token)["kid"]]


async def test_google_auth_verifies_the_google_token(idp: httpx.AsyncClient) -> None:
    token = await _token(idp, provider="google", subject="ada", name="Ada Lovelace", nonce="n-1")
    claims = _verified_by_google(token, await _google_certificates(idp))
    assert claims["iss"] == "https://accounts.google.com"
    assert claims["azp"] == GOOGLE_CLIENT_ID
    assert (claims["sub"], claims["name"], claims["nonce"]) == ("ada", "Ada Lovelace", "n-1")
    assert (claims["email"], claims["email_verified"]) == ("ada@example.com", True)
    assert claims["exp"] - claims["iat"] == 3600


async def test_google_auth_refuses_another_audience_and_an_expired_token(idp: httpx.AsyncClient) -> None:
    certificates = await _google_certificates(idp)
    elsewhere = await _token(idp, provider="google", subject="ada", audience="another-app")
    with pytest.raises(jwt.InvalidAudienceError):
        _verified_by_google(elsewhere, certificates)
    expired = await _token(idp, provider="google", subject="ada", expiresInSeconds=-60)
    with pytest.raises(jwt.ExpiredSignatureError):
        _verified_by_google(expired, certificates)


async def test_pyjwt_verifies_the_apple_token(idp: httpx.AsyncClient) -> None:
    token = await _token(idp, provider="apple", subject="001.grace.7", name="Grace Hopper", nonce="n-2")
    claims = jwt.decode(
        token,
        await _apple_key(idp, token),
        algorithms=["RS256"],
        audience=APPLE_CLIENT_ID,
        issuer="https://appleid.apple.com",
    )
    assert (claims["sub"], claims["nonce"], claims["nonce_supported"]) == ("001.grace.7", "n-2", True)
    assert (claims["email_verified"], claims["is_private_email"]) == ("true", "false")
    assert claims["auth_time"] == claims["iat"]
    assert "name" not in claims


async def test_apple_says_so_when_an_address_is_a_relay(idp: httpx.AsyncClient) -> None:
    token = await _token(
        idp, provider="apple", subject="grace", email="x1@privaterelay.appleid.com", emailVerified=False
    )
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["email_verified"], claims["is_private_email"]) == ("false", "true")


async def test_the_two_providers_never_share_a_key(idp: httpx.AsyncClient) -> None:
    token = await _token(idp, provider="apple", subject="grace")
    with pytest.raises(jwt.PyJWKClientError, match="Unable to find a signing key"):
        _verified_by_google(token, await _google_certificates(idp))


def test_keys_survive_a_restart_and_are_their_owners_alone(tmp_path: Path) -> None:
    first = SigningKey(tmp_path / "google.pem")
    assert SigningKey(tmp_path / "google.pem").jwk() == first.jwk()
    assert (tmp_path / "google.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("provider", {"subject": "ada"}),
        ("provider", {"provider": "facebook", "subject": "ada"}),
        ("subject", {"provider": "google"}),
        ("subject", {"provider": "google", "subject": ""}),
        ("subject", {"provider": "google", "subject": 7}),
        ("subject", {"provider": "google", "subject": "a\u0000b"}),
        ("email", {"provider": "google", "subject": "ada", "email": "nowhere"}),
        ("emailVerified", {"provider": "google", "subject": "ada", "emailVerified": "yes"}),
        ("name", {"provider": "google", "subject": "ada", "name": "x" * 201}),
        ("expiresInSeconds", {"provider": "google", "subject": "ada", "expiresInSeconds": 1.5}),
        ("expiresInSeconds", {"provider": "google", "subject": "ada", "expiresInSeconds": True}),
        ("expiresInSeconds", {"provider": "google", "subject": "ada", "expiresInSeconds": 10**9}),
        ("colour", {"provider": "google", "subject": "ada", "colour": "red"}),
        ("body", ["google", "ada"]),
    ],
)
async def test_bad_input_gets_a_sentence_that_names_the_field(
    idp: httpx.AsyncClient, field: str, wanted: object
) -> None:
    answer = await idp.post("/tokens", json=wanted)
    assert answer.status_code == 400
    assert answer.json()["field"] == field
    assert field in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"' + b"x" * 20_000 + b'"'])
async def test_a_body_that_is_not_json_or_too_large_gets_a_sentence(
    idp: httpx.AsyncClient, body: bytes
) -> None:
    answer = await idp.post("/tokens", content=body)
    assert answer.status_code == 400
    assert answer.json()["field"] == "body"


async def test_the_page_shows_the_line_of_curl(idp: httpx.AsyncClient) -> None:
    page = await idp.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "curl -s http://idp.example/tokens -d" in page.text
