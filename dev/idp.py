"""The development identity provider: issues ID tokens like Google's and Apple's, for whoever you say you are.

    python -m dev.idp --port 8081 --state .data/idp

It signs with keys of its own, made at the first start and kept in the state folder, and publishes them the
way the two do. The gateway verifies its tokens with the code that verifies the real ones: only the addresses
(GOOGLE_CERTS_URL, GOOGLE_TOKEN_URL, APPLE_KEYS_URL, APPLE_TOKEN_URL, APPLE_REVOKE_URL) and what the app is
known by there differ. Production has no such thing.

    POST /tokens           an ID token, as the provider's own library hands it to an app
    POST /codes            an authorization code, as the provider's page hands it to an app
    POST /google/token     trades Google's codes
    POST /apple/auth/token, /apple/auth/revoke    trades Apple's codes, and takes refresh tokens back
    POST /notifications    what Apple's servers would send, signed; deliver it yourself
    GET /apple/grants?subject=    how many refresh tokens somebody has out, and how many came back

The folder also gets `apple-developer-key.p8`: the key that Apple's console would give to the team, and that
the gateway signs its client secrets with.

What the two really put into their tokens:

- Google: https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload
- Apple: https://developer.apple.com/documentation/signinwithapple/authenticating-users-with-sign-in-with-apple
- Apple's notifications: https://developer.apple.com/documentation/signinwithapple/processing-changes-for-sign-in-with-apple-accounts
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import hashlib
import json
import os
import re
import secrets
import socket
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import jwt
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dev.idp_codes import Codes, OAuthError, check_apple_client_secret

GOOGLE_ISSUER: Final = "https://accounts.google.com"
APPLE_ISSUER: Final = "https://appleid.apple.com"

GOOGLE_CLIENT_ID: Final = "popcorn-dev.apps.googleusercontent.com"
"""The client id that the development mesh uses where no real one is set."""
APPLE_CLIENT_ID: Final = "dev.eveningpopcorn.app"
"""The client id (bundle id) that the development mesh uses where no real one is set."""

_PRIVATE: Final = {"Cache-Control": "no-store"}
_PAGE: Final = Path(__file__).with_name("idp.html").read_text(encoding="utf-8")
_DEFAULT_LIFETIME: Final = 3600
_LONGEST_LIFETIME: Final = 86_400
_LARGEST_BODY: Final = 16_384
_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")
_RELAY: Final = "@privaterelay.appleid.com"
_DEVELOPER_KEY: Final = "apple-developer-key.p8"
_MOST_REFRESH_TOKENS: Final = 10_000
_NOTIFICATIONS: Final = (
    "email-disabled",
    "email-enabled",
    "consent-revoked",
    "account-delete",
    "account-deleted",
)
_TOKEN_FIELDS: Final = (
    *("provider", "subject", "email", "emailVerified", "name", "nonce", "audience", "expiresInSeconds"),
)


class BadInput(Exception):
    """What was asked for cannot be issued; the text is a sentence that names the field."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What somebody wants a token to say."""

    provider: str
    """`google` or `apple`."""
    subject: str
    """The person, as the provider names them for ever."""
    email: str
    """Their address."""
    email_verified: bool
    """Whether the provider has seen that the address is theirs."""
    name: str | None
    """Their name; in Google's tokens only."""
    nonce: str | None
    """What the app asked the provider to repeat."""
    audience: str | None
    """The app's client id; None is the first of the configured ones."""
    expires_in: int
    """Seconds from now; below 0, the token expired that long ago."""


def read_request(body: object) -> TokenRequest:
    """Reads the JSON of `POST /tokens`.

    Raises:
        BadInput: A field is missing, unknown or not what it should be.
    """
    body = _object(body, known=_TOKEN_FIELDS)
    provider = _text(body, "provider", longest=16)
    if provider not in ("google", "apple"):
        raise BadInput("provider", "provider should be google or apple.")
    subject = _text(body, "subject", longest=255)
    if subject is None:
        raise BadInput("subject", "subject is missing: who signs in, such as ada.")
    email = _text(body, "email", longest=254)
    if email is not None and not _EMAIL.fullmatch(email):
        raise BadInput("email", "email should look like ada@example.com.")
    verified = body.get("emailVerified")
    if verified is not None and not isinstance(verified, bool):
        raise BadInput("emailVerified", "emailVerified should be true or false.")
    lifetime = body.get("expiresInSeconds")
    if lifetime is None:
        lifetime = _DEFAULT_LIFETIME
    if not isinstance(lifetime, int) or isinstance(lifetime, bool) or abs(lifetime) > _LONGEST_LIFETIME:
        raise BadInput(
            "expiresInSeconds",
            f"expiresInSeconds should be a whole number up to {_LONGEST_LIFETIME}; "
            "below 0 gives a token that has expired.",
        )
    return TokenRequest(
        provider=provider,
        subject=subject,
        email=email or _derived_email(subject),
        email_verified=verified is not False,
        name=_text(body, "name", longest=200),
        nonce=_text(body, "nonce", longest=512),
        audience=_text(body, "audience", longest=255),
        expires_in=lifetime,
    )


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """What somebody wants a code for."""

    token: TokenRequest
    """What the ID token will say."""
    client_id: str | None
    """The app that asks; None is the first of the configured ones."""
    redirect_uri: str | None
    """Where the code would be sent."""
    challenge: str | None
    """The PKCE challenge, S256: 43 characters of base64url. Google's have one always."""


def read_code_request(body: object) -> CodeRequest:
    """Reads the JSON of `POST /codes`.

    Raises:
        BadInput: A field is missing, unknown or not what it should be.
    """
    body = _object(body, known=(*_TOKEN_FIELDS, "clientId", "redirectUri", "codeChallenge"))
    token = read_request({name: value for name, value in body.items() if name in _TOKEN_FIELDS})
    challenge = _text(body, "codeChallenge", longest=43)
    if (challenge is None and token.provider == "google") or (challenge is not None and len(challenge) != 43):
        raise BadInput(
            "codeChallenge",
            "codeChallenge should be the SHA-256 of the verifier, 43 characters of base64url.",
        )
    return CodeRequest(
        token=token,
        client_id=_text(body, "clientId", longest=255),
        redirect_uri=_text(body, "redirectUri", longest=2048),
        challenge=challenge,
    )


@dataclass(frozen=True, slots=True)
class NotificationRequest:
    """What Apple is to tell."""

    kind: str
    """`type` of the event, one of Apple's."""
    subject: str
    """Whom it is about."""
    email: str
    """Their address, as Apple forwards it."""
    audience: str | None
    """The app's client id; None is the first of the configured ones."""
    jti: str
    """The notification's id."""
    event_time: int | None
    """When it happened, in seconds since 1970; None is now."""


def read_notification_request(body: object) -> NotificationRequest:
    """Reads the JSON of `POST /notifications`.

    Raises:
        BadInput: A field is missing, unknown or not what it should be.
    """
    body = _object(body, known=("type", "subject", "email", "audience", "jti", "eventTime"))
    kind = _text(body, "type", longest=64)
    if kind is None:
        raise BadInput("type", f"type is missing: one of {', '.join(_NOTIFICATIONS)}, or what you like.")
    subject = _text(body, "subject", longest=255)
    if subject is None:
        raise BadInput("subject", "subject is missing: whom it is about, such as ada.")
    event_time = body.get("eventTime")
    if event_time is not None and (not isinstance(event_time, int) or isinstance(event_time, bool)):
        raise BadInput("eventTime", "eventTime should be whole seconds since 1970.")
    return NotificationRequest(
        kind=kind,
        subject=subject,
        email=_text(body, "email", longest=254) or f"{uuid.uuid4().hex[:10]}{_RELAY}",
        audience=_text(body, "audience", longest=255),
        jti=_text(body, "jti", longest=255) or uuid.uuid4().hex,
        event_time=event_time,
    )


def _object(body: object, *, known: Sequence[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BadInput(
            "body", 'The body should be a JSON object such as {"provider": "google", "subject": "ada"}.'
        )
    for field in body:
        if field not in known:
            raise BadInput(str(field), f"{field} is not a field here; there are {', '.join(known)}.")
    return body


def _text(body: Mapping[str, Any], field: str, *, longest: int) -> str | None:
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not value.isprintable():
        raise BadInput(field, f"{field} should be a text of 1 to {longest} printable characters.")
    return value


def _derived_email(subject: str) -> str:
    local = re.sub(r"[^a-z0-9._-]+", "-", subject.lower())[:64].strip(".-")
    return f"{local or 'somebody'}@example.com"


def google_claims(wanted: TokenRequest, *, audience: str, now: int) -> dict[str, object]:
    """The payload that Google would sign."""
    claims: dict[str, object] = {
        "iss": GOOGLE_ISSUER,
        "azp": audience,
        "aud": audience,
        "sub": wanted.subject,
        "email": wanted.email,
        "email_verified": wanted.email_verified,
        **_times(wanted, now=now),
    }
    if wanted.name is not None:
        given, _, family = wanted.name.partition(" ")
        claims |= {"name": wanted.name, "given_name": given} | ({"family_name": family} if family else {})
    if wanted.nonce is not None:
        claims["nonce"] = wanted.nonce
    return claims


def apple_claims(wanted: TokenRequest, *, audience: str, now: int) -> dict[str, object]:
    """The payload that Apple would sign: truth values as texts, and never a name."""
    times = _times(wanted, now=now)
    claims: dict[str, object] = {
        "iss": APPLE_ISSUER,
        "aud": audience,
        "sub": wanted.subject,
        "email": wanted.email,
        "email_verified": str(wanted.email_verified).lower(),
        "is_private_email": str(wanted.email.endswith(_RELAY)).lower(),
        "auth_time": times["iat"],
        "nonce_supported": True,
        **times,
    }
    if wanted.nonce is not None:
        claims["nonce"] = wanted.nonce
    return claims


def _times(wanted: TokenRequest, *, now: int) -> dict[str, int]:
    expires = now + wanted.expires_in
    return {"iat": min(now, expires - _DEFAULT_LIFETIME) if expires <= now else now, "exp": expires}


class SigningKey:
    """One provider's RSA key, kept in a file that only its owner may read."""

    def __init__(self, file: Path) -> None:
        """Reads the key, or makes it where there is none."""
        if not file.exists():
            _write_new_key(file)
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey), "we only ever write RSA keys"
        self._key = key
        numbers = key.public_key().public_numbers()
        self._public = {"kty": "RSA", "n": _base64url(numbers.n), "e": _base64url(numbers.e)}
        # RFC 7638: the same key always has the same id.
        thumbprint = json.dumps(dict(sorted(self._public.items())), separators=(",", ":")).encode()
        self.key_id = hashlib.sha256(thumbprint).hexdigest()[:40]

    def jwk(self) -> dict[str, str]:
        """The public half, as the providers publish theirs."""
        return {**self._public, "kid": self.key_id, "use": "sig", "alg": "RS256"}

    def sign(self, claims: Mapping[str, object]) -> str:
        """A signed token that says `claims`."""
        return jwt.encode(dict(claims), self._key, algorithm="RS256", headers={"kid": self.key_id})


def developer_key(file: Path) -> ec.EllipticCurvePrivateKey:
    """The key that Apple's console would give to the team, made where there is none."""
    if not file.exists():
        _write(file, ec.generate_private_key(ec.SECP256R1()))
    key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey), "we only ever write such keys"
    return key


def _write_new_key(file: Path) -> None:
    _write(file, rsa.generate_private_key(public_exponent=65537, key_size=2048))


def _write(file: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    unfinished = file.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(pem)
    unfinished.replace(file)


def _base64url(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(slots=True)
class _RefreshToken:
    """A refresh token of Apple's. They are forgotten at a restart, and the oldest beyond 10,000."""

    subject: str
    client_id: str
    revoked: bool = False


class IdentityProvider:
    """Both providers behind one address."""

    def __init__(
        self,
        state: Path,
        *,
        google_client_id: str = GOOGLE_CLIENT_ID,
        apple_client_id: str = APPLE_CLIENT_ID,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Reads or makes the keys.

        Args:
            state: Folder for the keys.
            google_client_id: The audience of Google's tokens unless one is asked for.
            apple_client_id: The same for Apple's.
            clock: Seconds since 1970.
        """
        self._google = SigningKey(state / "google.pem")
        self._apple = SigningKey(state / "apple.pem")
        self._audiences = {"google": google_client_id, "apple": apple_client_id}
        self._clock = clock
        self._codes: Codes[TokenRequest] = Codes(clock)
        self._developer_key = developer_key(state / _DEVELOPER_KEY).public_key()
        self._refresh_tokens: dict[str, _RefreshToken] = {}

    def issue(self, wanted: TokenRequest) -> str:
        """The ID token that was asked for."""
        now = int(self._clock())
        audience = wanted.audience or self._audiences[wanted.provider]
        if wanted.provider == "google":
            return self._google.sign(google_claims(wanted, audience=audience, now=now))
        return self._apple.sign(apple_claims(wanted, audience=audience, now=now))

    def application(self) -> Starlette:
        """The provider as a web application."""
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/healthz", _healthy),
                Route("/tokens", self._tokens, methods=["POST"]),
                Route("/codes", self._code, methods=["POST"]),
                Route("/notifications", self._notification, methods=["POST"]),
                Route("/google/certs", self._google_certs),
                Route("/google/token", self._google_token, methods=["POST"]),
                Route("/apple/keys", self._apple_keys),
                Route("/apple/auth/token", self._apple_token, methods=["POST"]),
                Route("/apple/auth/revoke", self._apple_revoke, methods=["POST"]),
                Route("/apple/grants", self._apple_grants),
            ],
        )

    async def _tokens(self, request: Request) -> Response:
        try:
            wanted = read_request(await _json(request))
        except BadInput as error:
            return JSONResponse({"error": str(error), "field": error.field}, status_code=400)
        return JSONResponse({"idToken": self.issue(wanted)}, headers=_PRIVATE)

    async def _code(self, request: Request) -> Response:
        try:
            wanted = read_code_request(await _json(request))
        except BadInput as error:
            return JSONResponse({"error": str(error), "field": error.field}, status_code=400)
        client_id = wanted.client_id or wanted.token.audience or self._audiences[wanted.token.provider]
        code = self._codes.give(
            dataclasses.replace(wanted.token, audience=wanted.token.audience or client_id),
            provider=wanted.token.provider,
            client_id=client_id,
            redirect_uri=wanted.redirect_uri,
            challenge=wanted.challenge,
        )
        return JSONResponse({"code": code}, headers=_PRIVATE)

    async def _notification(self, request: Request) -> Response:
        try:
            wanted = read_notification_request(await _json(request))
        except BadInput as error:
            return JSONResponse({"error": str(error), "field": error.field}, status_code=400)
        return JSONResponse({"payload": self.notify(wanted)}, headers=_PRIVATE)

    def notify(self, wanted: NotificationRequest) -> str:
        """The signed payload that Apple's servers would post."""
        now = int(self._clock())
        event = {
            "type": wanted.kind,
            "sub": wanted.subject,
            "event_time": now if wanted.event_time is None else wanted.event_time,
        }
        if wanted.kind.startswith("email-"):
            is_private = str(wanted.email.endswith(_RELAY)).lower()
            event |= {"email": wanted.email, "is_private_email": is_private}
        claims = {
            "iss": APPLE_ISSUER,
            "aud": wanted.audience or self._audiences["apple"],
            "iat": now,
            "jti": wanted.jti,
            "events": json.dumps(event),
        }
        return self._apple.sign(claims)

    async def _google_token(self, request: Request) -> Response:
        try:
            wanted = self._codes.trade("google", await _form(request))
        except OAuthError as error:
            return _refused(error)
        answer = {
            "access_token": f"ya29.{secrets.token_urlsafe(32)}",
            "expires_in": _DEFAULT_LIFETIME,
            "scope": "openid email profile",
            "token_type": "Bearer",
            "id_token": self.issue(wanted),
        }
        return JSONResponse(answer, headers=_PRIVATE)

    async def _apple_token(self, request: Request) -> Response:
        try:
            form = await _form(request)
            check_apple_client_secret(form, key=self._developer_key, now=self._clock())
            wanted = self._codes.trade("apple", form)
        except OAuthError as error:
            return _refused(error)
        refresh_token = f"r{secrets.token_urlsafe(48)}"
        self._refresh_tokens[refresh_token] = _RefreshToken(wanted.subject, form["client_id"])
        while len(self._refresh_tokens) > _MOST_REFRESH_TOKENS:
            del self._refresh_tokens[next(iter(self._refresh_tokens))]
        answer = {
            "access_token": f"a{secrets.token_urlsafe(32)}",
            "token_type": "Bearer",
            "expires_in": _DEFAULT_LIFETIME,
            "refresh_token": refresh_token,
            "id_token": self.issue(wanted),
        }
        return JSONResponse(answer, headers=_PRIVATE)

    async def _apple_revoke(self, request: Request) -> Response:
        try:
            form = await _form(request)
            check_apple_client_secret(form, key=self._developer_key, now=self._clock())
            given = self._refresh_tokens.get(form.get("token", ""))
            if given is None or given.client_id != form["client_id"]:
                raise OAuthError("invalid_grant", "The token is unknown.")
        except OAuthError as error:
            return _refused(error)
        given.revoked = True
        return Response()

    async def _apple_grants(self, request: Request) -> Response:
        given = [
            token
            for token in self._refresh_tokens.values()
            if token.subject == request.query_params.get("subject")
        ]
        revoked = sum(token.revoked for token in given)
        return JSONResponse({"active": len(given) - revoked, "revoked": revoked})

    async def _page(self, request: Request) -> Response:
        return HTMLResponse(_PAGE.replace("ADDRESS", escape(str(request.base_url).rstrip("/"))))

    async def _google_certs(self, _request: Request) -> Response:
        return _key_set(self._google)

    async def _apple_keys(self, _request: Request) -> Response:
        return _key_set(self._apple)


async def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _key_set(key: SigningKey) -> Response:
    return JSONResponse({"keys": [key.jwk()]}, headers={"Cache-Control": "public, max-age=3600"})


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise BadInput("body", f"The body should be at most {_LARGEST_BODY} bytes.")
    return body


async def _form(request: Request) -> dict[str, str]:
    """The fields of an application/x-www-form-urlencoded body, each of which may be there once."""
    try:
        fields = parse_qsl((await _body(request)).decode(), strict_parsing=True, max_num_fields=20)
    except (BadInput, ValueError) as error:
        raise OAuthError("invalid_request", "The body should be a small form.") from error
    if len(dict(fields)) != len(fields):
        raise OAuthError("invalid_request", "A field is there twice.")
    return dict(fields)


def _refused(error: OAuthError) -> Response:
    status = 401 if str(error) == "invalid_client" else 400
    body = {"error": str(error), "error_description": error.description}
    return JSONResponse(body, status_code=status, headers=_PRIVATE)


async def _json(request: Request) -> object:
    try:
        parsed: object = json.loads(await _body(request))
    except ValueError as error:
        raise BadInput("body", "The body should be JSON.") from error
    return parsed


def main() -> None:
    """The command: serves on the loopback interface until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m dev.idp", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8081, help="loopback port (default: 8081)")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder that keeps the keys")
    parser.add_argument("--google-client-id", default=GOOGLE_CLIENT_ID, metavar="ID")
    parser.add_argument("--apple-client-id", default=APPLE_CLIENT_ID, metavar="ID")
    options = parser.parse_args()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", options.port))
        except OSError:
            sys.exit(f"Port {options.port} is taken.")
        provider = IdentityProvider(
            options.state,
            google_client_id=options.google_client_id,
            apple_client_id=options.apple_client_id,
        )
        configuration = uvicorn.Config(
            provider.application(), log_level="warning", access_log=False, timeout_graceful_shutdown=2
        )
        uvicorn.Server(configuration).run(sockets=[listener])


if __name__ == "__main__":
    main()
