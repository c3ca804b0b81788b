"""Signing in with Google and Apple: who gets in, who does not, and what is kept."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.tests.conftest import (
    APPLE_CLIENTS,
    AUDIENCE,
    GOOGLE_CLIENTS,
    ISSUER,
    Signer,
    World,
    as_caller,
)
from gateway.tests.contents import contents, quiet
from gateway.tests.refusals import refusal
from mesh import identity
from mesh.clock import utc_now
from popcorn.gateway.v1 import account_pb2, auth_pb2

GOOGLE, APPLE = account_pb2.PROVIDER_GOOGLE, account_pb2.PROVIDER_APPLE
Subject = Callable[[], str]


def token_of(world: World, provider: account_pb2.Provider.ValueType, subject: str, **claims: Any) -> str:
    if provider == GOOGLE:
        return world.google.sign(world.google_claims(subject, **claims))
    return world.apple.sign(world.apple_claims(subject, **claims))


async def sign_in(
    world: World, provider: account_pb2.Provider.ValueType, token: str, **request: Any
) -> auth_pb2.SignInResponse:
    return await world.auth.SignIn(auth_pb2.SignInRequest(provider=provider, id_token=token, **request))


async def rows(world: World) -> tuple[int, ...]:
    """How many rows there are of whom people are and how they get in."""
    tables = ("accounts", "identities", "sessions", "refresh_tokens")
    return tuple([await world.database.fetchval(f"SELECT count(*) FROM gateway.{table}") for table in tables])


@pytest.mark.parametrize("provider", [GOOGLE, APPLE])
async def test_the_first_sign_in_makes_an_account_and_the_second_finds_it(
    world: World, somebody: Subject, provider: account_pb2.Provider.ValueType
) -> None:
    subject = somebody()
    first = await sign_in(world, provider, token_of(world, provider, subject), display_name="Ada")
    second = await sign_in(world, provider, token_of(world, provider, subject), display_name="Not Ada")
    assert (first.new_account, second.new_account) == (True, False)
    assert second.account == first.account
    assert first.account.display_name == "Ada"
    assert [one.provider for one in first.account.identities] == [provider]
    assert first.account.identities[0].email.startswith(f"{subject}@")
    assert not first.account.guest
    assert first.tokens.access_token != second.tokens.access_token
    assert first.tokens.refresh_token != second.tokens.refresh_token


async def test_every_audience_of_ours_is_let_in(world: World, somebody: Subject) -> None:
    subject = somebody()
    for audience in GOOGLE_CLIENTS:
        for azp in (None, *GOOGLE_CLIENTS):
            await sign_in(world, GOOGLE, token_of(world, GOOGLE, subject, aud=audience, azp=azp))
    for audience in APPLE_CLIENTS:
        await sign_in(world, APPLE, token_of(world, APPLE, subject, aud=audience))
    await sign_in(world, GOOGLE, token_of(world, GOOGLE, subject, iss="accounts.google.com"))


async def test_the_same_subject_at_two_providers_is_two_people(world: World, somebody: Subject) -> None:
    subject = somebody()
    google = await sign_in(world, GOOGLE, token_of(world, GOOGLE, subject))
    apple = await sign_in(world, APPLE, token_of(world, APPLE, subject))
    assert google.account.user_id != apple.account.user_id


async def test_two_subjects_with_one_address_are_two_people(world: World, somebody: Subject) -> None:
    one = await sign_in(world, GOOGLE, token_of(world, GOOGLE, somebody(), email="shared@example.com"))
    other = await sign_in(world, GOOGLE, token_of(world, GOOGLE, somebody(), email="shared@example.com"))
    apple = await sign_in(world, APPLE, token_of(world, APPLE, somebody(), email="shared@example.com"))
    assert len({answer.account.user_id for answer in (one, other, apple)}) == 3


@pytest.mark.parametrize("provider", [GOOGLE, APPLE])
async def test_fifty_first_sign_ins_at_once_make_one_account(
    world: World, somebody: Subject, provider: account_pb2.Provider.ValueType
) -> None:
    subject = somebody()
    await quiet(world.database)
    before = await rows(world)
    token = token_of(world, provider, subject)
    answers = await asyncio.gather(*(sign_in(world, provider, token) for _ in range(50)))
    assert len({answer.account.user_id for answer in answers}) == 1
    assert [answer.new_account for answer in answers].count(True) == 1
    after = await rows(world)
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 50, 50]


async def test_the_access_token_is_what_the_mesh_reads(world: World, somebody: Subject) -> None:
    answer = await world.sign_in(somebody(), display_name="Ada")
    token = answer.tokens.access_token
    published = (await world.auth.GetJwks(auth_pb2.GetJwksRequest())).keys
    header = jwt.get_unverified_header(token)
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": published[0].kid}
    jwk = {name: getattr(published[0], name) for name in ("kty", "crv", "x", "y", "kid", "use", "alg")}
    claims = jwt.decode(token, jwt.PyJWK(jwk), algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)
    assert claims.keys() == {"iss", "aud", "sub", "sid", "name", "guest", "iat", "exp", "jti"}
    assert (claims["sub"], claims["name"], claims["guest"]) == (answer.account.user_id, "Ada", False)
    assert claims["exp"] - claims["iat"] == 30 * 86400
    assert answer.tokens.access_token_expire_time.seconds == claims["exp"]
    session = timedelta(seconds=answer.tokens.refresh_token_expire_time.seconds - claims["iat"])
    assert session == timedelta(days=60)
    who = identity.identify([("x-popcorn-identity", token.split(".")[1])], now=utc_now())
    assert (who.user_id, who.session_id, who.name) == (claims["sub"], claims["sid"], "Ada")


async def test_no_private_half_of_a_key_is_published(world: World) -> None:
    keys = (await world.auth.GetJwks(auth_pb2.GetJwksRequest())).keys
    assert [(key.kty, key.crv, key.alg, key.use) for key in keys] == [("EC", "P-256", "ES256", "sig")]
    assert {field.name for field in auth_pb2.JsonWebKey.DESCRIPTOR.fields} == {
        *("kty", "crv", "x", "y", "kid", "use", "alg")
    }


NAMES = {
    "a plain one": "Ada Lovelace",
    "a family of emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 & co",
    "Persian with a zero-width non-joiner": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "fifty astral characters": "\U0001f37f" * 50,
    "quotes and brackets": '"><script>\\',
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
async def test_whatever_somebody_is_called_their_token_lets_them_in(
    world: World, somebody: Subject, name: str
) -> None:
    answer = await world.sign_in(somebody(), display_name=name)
    seen = await world.accounts.GetAccount(account_pb2.GetAccountRequest(), metadata=as_caller(answer))
    assert seen.account.display_name == name


async def test_a_name_comes_from_the_app_then_from_the_token_then_from_us(
    world: World, somebody: Subject
) -> None:
    async def named(asked: str, **claims: Any) -> str:
        answer = await sign_in(
            world, GOOGLE, token_of(world, GOOGLE, somebody(), **claims), display_name=asked
        )
        return answer.account.display_name

    assert await named("Ada", name="Augusta Ada King") == "Ada"
    assert await named("", name="Augusta Ada King") == "Augusta Ada King"
    assert await named("", name="  many \n lines\x00 ") == "many lines"
    assert await named("", name="x" * 400) == "x" * 50
    assert await named("", name="\u200b") == "Film Fan"
    assert await named("\u200b") == "Film Fan"
    assert await named("", name=7) == "Film Fan"
    assert await named("") == "Film Fan"


async def test_an_account_begins_with_the_language_and_region_of_its_first_sign_in(
    world: World, somebody: Subject
) -> None:
    token = token_of(world, GOOGLE, somebody())
    for headers in ((("accept-language", "pt-br,en;q=0.5"), ("x-region", "br")), (("x-region", "de"),), ()):
        answer = await world.auth.SignIn(
            auth_pb2.SignInRequest(provider=GOOGLE, id_token=token), metadata=headers
        )
        assert (answer.account.language, answer.account.region) == ("pt-BR", "BR")


@pytest.mark.parametrize("verified", [True, "true"])
async def test_a_verified_address_is_kept(world: World, somebody: Subject, verified: object) -> None:
    token = token_of(world, APPLE, somebody(), email="ada@example.com", email_verified=verified)
    assert (await sign_in(world, APPLE, token)).account.identities[0].email == "ada@example.com"


async def test_apple_may_leave_the_address_out_for_whom_we_know(world: World, somebody: Subject) -> None:
    subject = somebody()
    for told, kept in (("old@example.com", "old"), ("new@example.com", "new"), (None, "new"), ("", "new")):
        answer = await sign_in(world, APPLE, token_of(world, APPLE, subject, email=told))
        assert answer.account.identities[0].email == f"{kept}@example.com"


async def test_an_address_that_changed_is_replaced(world: World, somebody: Subject) -> None:
    subject = somebody()
    for told in ("old@example.com", "new@example.com"):
        answer = await sign_in(world, GOOGLE, token_of(world, GOOGLE, subject, email=told))
        assert answer.account.identities[0].email == told


@pytest.mark.parametrize(("flag", "private"), [("true", True), (True, True), ("false", False), (None, False)])
async def test_an_address_that_apple_forwards_from_is_known_as_one(
    world: World, somebody: Subject, flag: object, private: bool
) -> None:
    subject = somebody()
    for claims in ({"is_private_email": flag}, {"email": None, "is_private_email": None}):
        answer = await sign_in(world, APPLE, token_of(world, APPLE, subject, **claims))
        assert answer.account.identities[0].private_email is private


async def test_a_nonce_counts_when_the_app_sends_one(world: World, somebody: Subject) -> None:
    for provider in (GOOGLE, APPLE):
        token = token_of(world, provider, somebody(), nonce="n-1")
        await sign_in(world, provider, token, nonce="n-1")
        await sign_in(world, provider, token)


# ---- every way to be wrong ----


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any]) -> str:
    return f"{segment({'alg': 'none', 'typ': 'JWT'})}.{segment(claims)}."


def signed_with_the_public_key_as_a_secret(signer: Signer, claims: dict[str, Any]) -> str:
    signing_input = f"{segment({'alg': 'HS256', 'kid': signer.key_id})}.{segment(claims)}"
    pem = signer.private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mac = hmac.digest(pem, signing_input.encode(), hashlib.sha256)
    return f"{signing_input}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def cut_into(token: str) -> str:
    head, _, signature = token.rpartition(".")
    return f"{head}.{('A' if signature[0] != 'A' else 'B') + signature[1:]}"


THIEF = Signer("thief")
THIEF_ES256 = Signer("thief", algorithm="ES256")

Forge = Callable[[Signer, dict[str, Any], Signer], str]

FORGERIES: dict[str, tuple[str, Forge]] = {
    "another key with the same id": (
        "signature",
        lambda real, claims, thief: thief.sign(claims, kid=real.key_id),
    ),
    "a signature that was cut into": ("signature", lambda real, claims, _: cut_into(real.sign(claims))),
    "no signature": ("signature", lambda real, claims, _: real.sign(claims).rpartition(".")[0] + "."),
    "a payload that was swapped": (
        "signature",
        lambda real, claims, _: ".".join(
            (
                real.sign(claims).split(".")[0],
                segment(claims | {"sub": "somebody-else"}),
                real.sign(claims).split(".")[2],
            )
        ),
    ),
    "alg none": ("algorithm", lambda _, claims, __: unsigned(claims)),
    "HS256 with the public key": (
        "algorithm",
        lambda real, claims, _: signed_with_the_public_key_as_a_secret(real, claims),
    ),
    "RS512 with the right key": (
        "algorithm",
        lambda real, claims, _: jwt.encode(
            claims, real.private_key, algorithm="RS512", headers={"kid": real.key_id}
        ),
    ),
    "ES256 for an RSA key": (
        "algorithm",
        lambda real, claims, _: THIEF_ES256.sign(claims, kid=real.key_id),
    ),
    "an unknown key": ("key", lambda _, claims, thief: thief.sign(claims)),
    "no key id": (
        "key",
        lambda real, claims, _: jwt.encode(claims, real.private_key, algorithm="RS256"),
    ),
    "a key that travels along": (
        "signature",
        lambda real, claims, thief: thief.sign(claims, kid=real.key_id, jwk=thief.jwk()),
    ),
    "an unknown key that travels along": (
        "key",
        lambda _, claims, thief: thief.sign(claims, jwk=thief.jwk()),
    ),
    "the address of a foreign key": (
        "signature",
        lambda real, claims, thief: thief.sign(claims, kid=real.key_id, jku="http://127.0.0.1:9/keys"),
    ),
    "not a token": ("malformed", lambda *_: "not.a.token"),
    "no dots": ("malformed", lambda *_: "abc"),
    "a header of another type": ("malformed", lambda *_: f"{segment([1])}.{segment({})}.AAAA"),
    "brackets without end": ("malformed", lambda *_: f"{'W1tb' * 1500}.e30.AAAA"),
    "an extension that must be understood": (
        "malformed",
        lambda real, claims, _: real.sign(claims, crit=["x"], x=1),
    ),
    "a payload that is a list": (
        "malformed",
        lambda real, _, __: jwt.PyJWS().encode(
            b"[1]", real.private_key, algorithm="RS256", headers={"kid": real.key_id}
        ),
    ),
}


@pytest.mark.parametrize("provider", [GOOGLE, APPLE])
@pytest.mark.parametrize(("check", "forge"), FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forged_token_is_refused_and_nothing_is_written(
    world: World, somebody: Subject, provider: account_pb2.Provider.ValueType, check: str, forge: Forge
) -> None:
    await quiet(world.database)
    before = await contents(world.database)
    real = world.google if provider == GOOGLE else world.apple
    subject = somebody()
    claims = world.google_claims(subject) if provider == GOOGLE else world.apple_claims(subject)
    seen = await refusal(sign_in(world, provider, forge(real, claims, THIEF)))
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", "INVALID_IDENTITY_TOKEN")
    assert seen.metadata == {"check": check}
    assert await contents(world.database) == before


NOW = time.time

CLAIMS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "another issuer": ("issuer", lambda: {"iss": "https://evil.example"}),
    "no issuer": ("issuer", lambda: {"iss": None}),
    "an issuer that is a list": ("issuer", lambda: {"iss": ["https://accounts.google.com"]}),
    "an issuer with a slash": ("issuer", lambda: {"iss": "https://accounts.google.com/"}),
    "another app's audience": ("audience", lambda: {"aud": "other.apps.googleusercontent.com"}),
    "no audience": ("audience", lambda: {"aud": None}),
    "an audience that is a list": (
        "audience",
        lambda: {"aud": [GOOGLE_CLIENTS[0], APPLE_CLIENTS[0], "other.example"]},
    ),
    "another app's azp": ("audience", lambda: {"azp": "other.apps.googleusercontent.com"}),
    "expired": ("expiry", lambda: {"exp": int(NOW()) - 1, "iat": int(NOW()) - 3600}),
    "expired long ago": ("expiry", lambda: {"exp": 1_000_000_000, "iat": 999_999_000}),
    "no expiry": ("expiry", lambda: {"exp": None}),
    "an expiry in words": ("expiry", lambda: {"exp": "tomorrow"}),
    "an expiry beyond all times": ("expiry", lambda: {"exp": 10**400}),
    "an expiry that is true": ("expiry", lambda: {"exp": True}),
    "issued in the future": ("issued_at", lambda: {"iat": int(NOW()) + 300}),
    "no time of issue": ("issued_at", lambda: {"iat": None}),
    "issued in words": ("issued_at", lambda: {"iat": "now"}),
    "not valid yet": ("issued_at", lambda: {"nbf": int(NOW()) + 300}),
    "no subject": ("subject", lambda: {"sub": None}),
    "an empty subject": ("subject", lambda: {"sub": ""}),
    "a subject that is a number": ("subject", lambda: {"sub": 7}),
    "a subject with a zero byte": ("subject", lambda: {"sub": "a\x00b"}),
    "an endless subject": ("subject", lambda: {"sub": "a" * 256}),
    "no address": ("email", lambda: {"email": None}),
    "an empty address": ("email", lambda: {"email": ""}),
    "an address that is a number": ("email", lambda: {"email": 7}),
    "an address with a zero byte": ("email", lambda: {"email": "a\x00@example.com"}),
    "an endless address": ("email", lambda: {"email": "a" * 400}),
    "an unverified address": ("email_verified", lambda: {"email_verified": False}),
    "an unverified address, in words": ("email_verified", lambda: {"email_verified": "false"}),
    "an address of which nothing is said": ("email_verified", lambda: {"email_verified": None}),
    "an address verified by a number": ("email_verified", lambda: {"email_verified": 1}),
}


@pytest.mark.parametrize("provider", [GOOGLE, APPLE])
@pytest.mark.parametrize(("check", "claims"), CLAIMS.values(), ids=CLAIMS.keys())
async def test_a_token_that_says_the_wrong_thing_is_refused_and_nothing_is_written(
    world: World,
    somebody: Subject,
    provider: account_pb2.Provider.ValueType,
    check: str,
    claims: Callable[[], dict[str, Any]],
) -> None:
    await quiet(world.database)
    before = await contents(world.database)
    token = token_of(world, provider, somebody(), **claims())
    seen = await refusal(sign_in(world, provider, token))
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", "INVALID_IDENTITY_TOKEN")
    assert seen.metadata == {"check": check}
    assert await contents(world.database) == before


@pytest.mark.parametrize("told", [None, "n-2", "", 7, "N-1"])
async def test_another_nonce_is_refused(world: World, somebody: Subject, told: object) -> None:
    for provider in (GOOGLE, APPLE):
        token = token_of(world, provider, somebody(), nonce=told)
        seen = await refusal(sign_in(world, provider, token, nonce="n-1"))
        assert (seen.reason, seen.metadata["check"]) == ("INVALID_IDENTITY_TOKEN", "nonce")


async def test_one_providers_token_does_not_sign_in_at_the_other(world: World, somebody: Subject) -> None:
    seen = await refusal(sign_in(world, APPLE, token_of(world, GOOGLE, somebody())))
    assert seen.metadata["check"] == "key"
    seen = await refusal(sign_in(world, GOOGLE, token_of(world, APPLE, somebody())))
    assert seen.metadata["check"] == "key"


async def test_a_clock_that_is_a_few_seconds_ahead_is_forgiven(world: World, somebody: Subject) -> None:
    for provider in (GOOGLE, APPLE):
        await sign_in(world, provider, token_of(world, provider, somebody(), iat=int(NOW()) + 5))


async def test_our_own_access_token_does_not_sign_in(world: World, somebody: Subject) -> None:
    mine = (await world.sign_in(somebody())).tokens.access_token
    for provider in (GOOGLE, APPLE):
        assert (await refusal(sign_in(world, provider, mine))).metadata["check"] == "key"


# ---- bad input ----

BAD: dict[str, tuple[set[str], dict[str, Any]]] = {
    "nothing": ({"provider", "id_token", "authorization_code"}, {}),
    "an unknown provider": ({"provider"}, {"provider": 77, "id_token": "x"}),
    "both": (
        {"id_token", "authorization_code"},
        {"provider": GOOGLE, "id_token": "x", "authorization_code": "y"},
    ),
    "an endless token": ({"id_token"}, {"provider": GOOGLE, "id_token": "x" * 8193}),
    "an endless code": (
        {"authorization_code"},
        {"provider": GOOGLE, "authorization_code": "x" * 2049, "code_verifier": "v" * 43},
    ),
    "a code of Google's without a verifier": (
        {"code_verifier"},
        {"provider": GOOGLE, "authorization_code": "x"},
    ),
    "what belongs to a code without one": (
        {"code_verifier", "redirect_uri", "client_id"},
        {
            **{"provider": GOOGLE, "id_token": "x", "code_verifier": "v" * 43},
            **{"redirect_uri": "https://a.example", "client_id": "c"},
        },
    ),
    "a short verifier": (
        {"code_verifier"},
        {"provider": GOOGLE, "authorization_code": "x", "code_verifier": "v" * 42},
    ),
    "a long verifier": (
        {"code_verifier"},
        {"provider": GOOGLE, "authorization_code": "x", "code_verifier": "v" * 129},
    ),
    "a long nonce": ({"nonce"}, {"provider": GOOGLE, "id_token": "x", "nonce": "n" * 513}),
    "a long name": ({"display_name"}, {"provider": GOOGLE, "id_token": "x", "display_name": "n" * 51}),
    "control characters everywhere": (
        {"id_token", "nonce", "display_name"},
        {"provider": GOOGLE, "id_token": "x\x00y", "nonce": "a\x1bb", "display_name": "a\x00b"},
    ),
    "all at once": (
        {"provider", "id_token", "nonce", "display_name"},
        {"id_token": "x" * 9000, "nonce": "n" * 600, "display_name": "d" * 60},
    ),
}


@pytest.mark.parametrize(("fields", "request_fields"), BAD.values(), ids=BAD.keys())
async def test_bad_input_names_every_field(
    world: World, fields: set[str], request_fields: dict[str, Any]
) -> None:
    seen = await refusal(world.auth.SignIn(auth_pb2.SignInRequest(**request_fields)))
    assert (seen.code, seen.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
    assert seen.fields == fields


# ---- the account ----


async def test_an_account_is_its_owners(world: World, somebody: Subject) -> None:
    ada, bob = await world.sign_in(somebody()), await world.sign_in(somebody())
    for who in (ada, bob):
        seen = await world.accounts.GetAccount(account_pb2.GetAccountRequest(), metadata=as_caller(who))
        assert seen.account == who.account


async def test_without_an_identity_there_is_no_account(world: World) -> None:
    seen = await refusal(world.accounts.GetAccount(account_pb2.GetAccountRequest()))
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", "MISSING_IDENTITY")


@pytest.mark.parametrize("subject", ["0b0e9cbf-55f0-4a35-9f0c-24c1d7d1a001", "not-one-of-our-ids"])
async def test_a_token_whose_account_is_gone_is_refused(world: World, subject: str) -> None:
    now = int(NOW())
    payload = segment(
        {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "sid": "s",
            "jti": "j",
            "name": "x",
            "iat": now,
            "exp": now + 60,
        }
    )
    call = world.accounts.GetAccount(
        account_pb2.GetAccountRequest(), metadata=(("x-popcorn-identity", payload),)
    )
    seen = await refusal(call)
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", "ACCOUNT_GONE")
