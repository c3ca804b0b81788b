"""The development identity provider: issues ID tokens like Google's and Apple's, for whoever you say you are.

    python -m dev.idp --port 8081 --state .data/idp

It signs with keys of its own, made at the first start and kept in the state folder, and publishes them the
way the two do. The gateway verifies its tokens with the code that verifies the real ones: only the addresses
of the keys (GOOGLE_CERTS_URL, APPLE_KEYS_URL) and the client ids differ. Production has no such thing.

What the two really put into their tokens:

- Google: https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload
- Apple: https://developer.apple.com/documentation/signinwithapple/authenticating-users-with-sign-in-with-apple
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import jwt
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

GOOGLE_ISSUER: Final = "https://accounts.google.com"
APPLE_ISSUER: Final = "https://appleid.apple.com"

GOOGLE_CLIENT_ID: Final = "popcorn-dev.apps.googleusercontent.com"
"""The client id that the development mesh uses where no real one is set."""
APPLE_CLIENT_ID: Final = "dev.eveningpopcorn.app"
"""The client id (bundle id) that the development mesh uses where no real one is set."""

_PAGE: Final = Path(__file__).with_name("idp.html").read_text(encoding="utf-8")
_DEFAULT_LIFETIME: Final = 3600
_LONGEST_LIFETIME: Final = 86_400
_LARGEST_BODY: Final = 16_384
_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")
_RELAY: Final = "@privaterelay.appleid.com"


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
    if not isinstance(body, dict):
        raise BadInput(
            "body", 'The body should be a JSON object such as {"provider": "google", "subject": "ada"}.'
        )
    known = ("provider", "subject", "email", "emailVerified", "name", "nonce", "audience", "expiresInSeconds")
    for field in body:
        if field not in known:
            raise BadInput(str(field), f"{field} is not a field here; there are {', '.join(known)}.")
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


def _write_new_key(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
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
                Route("/google/certs", self._google_certs),
                Route("/apple/keys", self._apple_keys),
            ],
        )

    async def _tokens(self, request: Request) -> Response:
        try:
            wanted = read_request(await _json(request))
        except BadInput as error:
            return JSONResponse({"error": str(error), "field": error.field}, status_code=400)
        return JSONResponse({"idToken": self.issue(wanted)}, headers={"Cache-Control": "no-store"})

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


async def _json(request: Request) -> object:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise BadInput("body", f"The body should be at most {_LARGEST_BODY} bytes.")
    try:
        parsed: object = json.loads(body)
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
