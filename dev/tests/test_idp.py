"""The development identity provider: tokens that the real verifiers take, and sentences for bad input."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from google.auth import transport
from google.oauth2 import id_token

from dev.idp import APPLE_CLIENT_ID, GOOGLE_CLIENT_ID, IdentityProvider, SigningKey, developer_key
from dev.idp_codes import APPLE_KEY_ID, APPLE_TEAM_ID


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


# ---- codes ----

ADDRESS = "https://popcorn.example/signed-in"
VERIFIER = "a-verifier-of-at-least-forty-three-characters"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


async def _code(idp: httpx.AsyncClient, **wanted: object) -> str:
    answer = await idp.post("/codes", json={"redirectUri": ADDRESS, **wanted})
    assert answer.status_code == 200, answer.text
    code = answer.json()["code"]
    assert isinstance(code, str)
    return code


def _google_form(code: str, /, **fields: str) -> dict[str, str]:
    usual = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": GOOGLE_CLIENT_ID,
        "redirect_uri": ADDRESS,
        "code_verifier": VERIFIER,
    }
    return usual | fields


def _client_secret(state: Path, **claims: object) -> str:
    now = int(time.time())
    usual = {
        **{"iss": APPLE_TEAM_ID, "aud": "https://appleid.apple.com", "sub": APPLE_CLIENT_ID},
        **{"iat": now, "exp": now + 600},
    }
    key = developer_key(state / "apple-developer-key.p8")
    return jwt.encode(usual | claims, key, algorithm="ES256", headers={"kid": APPLE_KEY_ID})


def _apple_form(state: Path, code: str, **fields: str) -> dict[str, str]:
    usual = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": APPLE_CLIENT_ID,
        "client_secret": _client_secret(state),
        "redirect_uri": ADDRESS,
    }
    return usual | fields


async def test_a_code_of_googles_is_good_for_one_token(idp: httpx.AsyncClient) -> None:
    code = await _code(idp, provider="google", subject="ada", nonce="n-1", codeChallenge=CHALLENGE)
    answer = await idp.post("/google/token", data=_google_form(code))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    claims = _verified_by_google(answer.json()["id_token"], await _google_certificates(idp))
    assert (claims["sub"], claims["nonce"], claims["aud"]) == ("ada", "n-1", GOOGLE_CLIENT_ID)
    again = await idp.post("/google/token", data=_google_form(code))
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"code": "4/made-up"}, "invalid_grant"),
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"client_id": "another"}, "invalid_grant"),
        ({"redirect_uri": "https://elsewhere.example"}, "redirect_uri_mismatch"),
        ({"grant_type": "refresh_token"}, "unsupported_grant_type"),
    ],
)
async def test_google_refuses_as_rfc_6749_says(
    idp: httpx.AsyncClient, fields: dict[str, str], error: str
) -> None:
    code = await _code(idp, provider="google", subject="ada", codeChallenge=CHALLENGE)
    answer = await idp.post("/google/token", data=_google_form(code, **fields))
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_a_code_is_too_old_after_ten_minutes(state: Path) -> None:
    now = [time.time()]
    application = IdentityProvider(state, clock=lambda: now[0]).application()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application), base_url="http://idp.example"
    ) as idp:
        code = await _code(idp, provider="google", subject="ada", codeChallenge=CHALLENGE)
        now[0] += 601
        answer = await idp.post("/google/token", data=_google_form(code))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_code_of_apples_brings_a_refresh_token_that_can_be_given_back(
    idp: httpx.AsyncClient, state: Path
) -> None:
    code = await _code(idp, provider="apple", subject="001.grace.8")
    answer = await idp.post("/apple/auth/token", data=_apple_form(state, code))
    assert answer.status_code == 200, answer.text
    token = answer.json()["id_token"]
    claims = jwt.decode(token, await _apple_key(idp, token), algorithms=["RS256"], audience=APPLE_CLIENT_ID)
    assert claims["sub"] == "001.grace.8"

    async def grants() -> dict[str, int]:
        counts = (await idp.get("/apple/grants", params={"subject": "001.grace.8"})).json()
        assert isinstance(counts, dict)
        return counts

    assert await grants() == {"active": 1, "revoked": 0}
    form = {
        "client_id": APPLE_CLIENT_ID,
        "client_secret": _client_secret(state),
        "token": answer.json()["refresh_token"],
        "token_type_hint": "refresh_token",
    }
    for _ in range(2):
        revoked = await idp.post("/apple/auth/revoke", data=form)
        assert (revoked.status_code, revoked.content) == (200, b"")
    assert await grants() == {"active": 0, "revoked": 1}
    unknown = await idp.post("/apple/auth/revoke", data=form | {"token": "r-made-up"})
    assert unknown.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "OTHERTEAM1"},
        {"aud": "https://elsewhere.example"},
        {"sub": "another.app"},
        {"exp": 1},
        {"iat": int(time.time()) + 3600},
        {"exp": int(time.time()) + 20_000_000},
    ],
    # Not by value: every worker of the test run has to give a case the same name, whenever it looks.
    ids=["issuer", "audience", "subject", "expired", "from the future", "too long-lived"],
)
async def test_apple_looks_at_the_client_secret_before_the_code(
    idp: httpx.AsyncClient, state: Path, claims: dict[str, object]
) -> None:
    code = await _code(idp, provider="apple", subject="grace")
    bad = _apple_form(state, code, client_secret=_client_secret(state, **claims))
    answer = await idp.post("/apple/auth/token", data=bad)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert (await idp.post("/apple/auth/token", data=_apple_form(state, code))).status_code == 200


@pytest.mark.parametrize("body", [b"code", b"\xff=1", b"code=1&code=2", b"x=" + b"y" * 20_000])
async def test_a_form_that_is_none_is_an_invalid_request(idp: httpx.AsyncClient, body: bytes) -> None:
    answer = await idp.post("/google/token", content=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("codeChallenge", {"provider": "google", "subject": "ada"}),
        ("codeChallenge", {"provider": "google", "subject": "ada", "codeChallenge": "short"}),
        ("redirectUri", {"provider": "apple", "subject": "ada", "redirectUri": 7}),
        ("subject", {"provider": "apple"}),
        ("colour", {"provider": "apple", "subject": "ada", "colour": "red"}),
    ],
)
async def test_a_bad_wish_for_a_code_gets_a_sentence(
    idp: httpx.AsyncClient, field: str, wanted: object
) -> None:
    answer = await idp.post("/codes", json=wanted)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


# ---- notifications ----


async def test_a_notification_is_what_apple_would_send(idp: httpx.AsyncClient) -> None:
    wanted = {"type": "email-disabled", "subject": "grace", "email": "x1@privaterelay.appleid.com"}
    answer = await idp.post("/notifications", json=wanted)
    payload = answer.json()["payload"]
    claims = jwt.decode(
        payload,
        await _apple_key(idp, payload),
        algorithms=["RS256"],
        audience=APPLE_CLIENT_ID,
        issuer="https://appleid.apple.com",
    )
    assert set(claims) == {"iss", "aud", "iat", "jti", "events"}
    event = json.loads(claims["events"])
    assert event == {
        "type": "email-disabled",
        "sub": "grace",
        "email": "x1@privaterelay.appleid.com",
        "is_private_email": "true",
        "event_time": claims["iat"],
    }


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("type", {"subject": "grace"}),
        ("subject", {"type": "account-delete"}),
        ("eventTime", {"type": "account-delete", "subject": "grace", "eventTime": "now"}),
        ("colour", {"type": "account-delete", "subject": "grace", "colour": "red"}),
    ],
)
async def test_a_bad_wish_for_a_notification_gets_a_sentence(
    idp: httpx.AsyncClient, field: str, wanted: object
) -> None:
    answer = await idp.post("/notifications", json=wanted)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
