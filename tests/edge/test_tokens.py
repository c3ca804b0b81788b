"""Who one is at the edge is what the one access token in the Authorization header says, and nothing else."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import grpc
import jwt
import pytest

from mesh.identity import IDENTITY_HEADER
from tests.edge.door import Door
from tests.edge.standins import AUDIENCE, ISSUER, PROTECTED, PUBLIC, Call, Signer, rest

MALLORY = base64.urlsafe_b64encode(json.dumps({"sub": "mallory", "exp": 4_000_000_000}).encode()).decode()


def unsigned(door: Door) -> str:
    claims = jwt.decode(door.signer.token(), options={"verify_signature": False})
    return jwt.encode(claims, "", algorithm="none", headers={"kid": door.signer.kid})


def signed_with_the_public_key(door: Door) -> str:
    """The trick of taking a public key for a shared secret."""
    claims = jwt.decode(door.signer.token(), options={"verify_signature": False})
    secret = door.signer.jwk["x"] + door.signer.jwk["y"]
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": door.signer.kid})


def with_another_signature(door: Door) -> str:
    ours, theirs = door.signer.token(sub="mallory"), door.signer.token()
    return ".".join([*ours.split(".")[:2], theirs.split(".")[2]])


Forgery = Callable[[Door], list[tuple[str, str]]]

FORGERIES: dict[str, Forgery] = {
    "no token": lambda _: [],
    "the identity header alone": lambda _: [(IDENTITY_HEADER, MALLORY)],
    "an empty token": lambda _: [("authorization", "Bearer")],
    "not a token": lambda _: [("authorization", "Bearer abc.def.ghi")],
    "another scheme": lambda door: [("authorization", f"Basic {door.signer.token()}")],
    "the token without a scheme": lambda door: [("authorization", door.signer.token())],
    "a cookie": lambda door: [("cookie", f"access_token={door.signer.token()}")],
    "two tokens": lambda door: [("authorization", f"Bearer {door.signer.token()}")] * 2,
    "a token and another scheme": lambda door: [
        ("authorization", f"Bearer {door.signer.token()}"),
        ("authorization", "Basic YTpi"),
    ],
    "expired": lambda door: [*door.bearer(door.signer.token(exp=int(time.time()) - 10)).items()],
    "no expiry": lambda door: [*door.bearer(door.signer.token(without=("exp",))).items()],
    "no subject": lambda door: [*door.bearer(door.signer.token(without=("sub",))).items()],
    "too long a life": lambda door: [
        *door.bearer(door.signer.token(exp=int(time.time()) + 86400 * 365)).items()
    ],
    "not yet": lambda door: [*door.bearer(door.signer.token(nbf=int(time.time()) + 600)).items()],
    "another issuer": lambda door: [*door.bearer(door.signer.token(iss="https://evil.test")).items()],
    "no issuer": lambda door: [*door.bearer(door.signer.token(without=("iss",))).items()],
    "another audience": lambda door: [*door.bearer(door.signer.token(aud="somebody-else")).items()],
    "no audience": lambda door: [*door.bearer(door.signer.token(without=("aud",))).items()],
    "no signature": lambda door: [*door.bearer(unsigned(door)).items()],
    "a signature of the public key": lambda door: [*door.bearer(signed_with_the_public_key(door)).items()],
    "somebody else's signature": lambda door: [*door.bearer(with_another_signature(door)).items()],
    "a foreign key under our key id": lambda door: [*door.bearer(Signer(door.signer.kid).token()).items()],
    "a foreign key": lambda door: [*door.bearer(Signer("key-9").token()).items()],
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_no_forgery_reaches_a_protected_method(door: Door, marker: str, forgery: str) -> None:
    for path in PROTECTED:
        headers = [*FORGERIES[forgery](door), (IDENTITY_HEADER, MALLORY), ("x-marker", marker)]
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await door.grpc(path, metadata=headers, silent=True)
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED, path
        if rest(path):
            for http2 in (False, True):
                answer = await door.rest(path, headers=headers, http2=http2)
                assert (answer.status_code, answer.json()["code"]) == (401, 16), path
    assert door.reached(marker) == []


async def test_a_token_in_the_query_is_no_token(door: Door, marker: str) -> None:
    for path in PROTECTED:
        query = f"?access_token={door.signer.token()}"
        answer = await door.http2.post(
            path + query,
            content=b"\0\0\0\0\0",
            headers={"content-type": "application/grpc", "te": "trailers", "x-marker": marker},
        )
        assert answer.headers["grpc-status"] == "16", path
        if rest(path):
            answer = await door.rest(path, headers={"x-marker": marker}, query=query)
            assert answer.status_code in (400, 401), path
    assert door.reached(marker) == []


async def test_every_protected_method_learns_the_token_s_person_and_nobody_else(
    door: Door, marker: str
) -> None:
    headers = [
        *door.bearer().items(),
        (IDENTITY_HEADER, MALLORY),
        (IDENTITY_HEADER, MALLORY),
        ("x-marker", marker),
    ]
    for path in PROTECTED:
        await door.grpc(path, metadata=headers)
        if rest(path):
            assert (await door.rest(path, headers=headers)).status_code == 200, path
            assert (await door.rest(path, headers=headers, http2=True)).status_code == 200, path
    calls = door.reached(marker)
    assert {call.path for call in calls} == set(PROTECTED)
    assert {tuple(people(call)) for call in calls} == {("user-1",)}


async def test_public_methods_need_no_token_and_learn_nobody(door: Door, marker: str) -> None:
    for headers in ({}, {IDENTITY_HEADER: MALLORY}, door.bearer()):
        for path in PUBLIC:
            marked = [*headers.items(), ("x-marker", marker)]
            await door.grpc(path, metadata=marked)
            assert (await door.rest(path, headers=marked)).status_code == 200, path
    calls = door.reached(marker)
    assert {call.path for call in calls} == set(PUBLIC)
    assert [person for call in calls for person in people(call)] == []


async def test_a_header_with_an_underscore_is_refused(door: Door, marker: str) -> None:
    forged = {IDENTITY_HEADER.replace("-", "_"): MALLORY, "x-marker": marker}
    for path in (*PROTECTED, *PUBLIC):
        with pytest.raises(grpc.aio.AioRpcError):
            await door.grpc(path, metadata={**door.bearer(), **forged}, silent=True)
        if rest(path):
            assert (await door.rest(path, headers={**door.bearer(), **forged})).status_code == 400, path
    assert door.reached(marker) == []


async def test_the_token_travels_on_for_the_services_to_look_at(door: Door, marker: str) -> None:
    token = door.signer.token()
    await door.grpc(PROTECTED[0], metadata={**door.bearer(token), "x-marker": marker})
    assert door.reached(marker)[0].all("authorization") == [f"Bearer {token}"]


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (None, "MISSING_TOKEN"),
        ({"exp": 5}, "TOKEN_EXPIRED"),
        ({"aud": "somebody-else"}, "INVALID_TOKEN"),
        ({"iss": "https://evil.test"}, "INVALID_TOKEN"),
    ],
)
async def test_a_refusal_says_why_in_a_stable_word(
    door: Door, claims: dict[str, Any] | None, reason: str
) -> None:
    headers = {} if claims is None else door.bearer(door.signer.token(**claims))
    answer = await door.http.get("/v1/me", headers=headers)
    assert answer.json()["details"][0] == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "eveningpopcorn.dev",
        "metadata": {},
    }


async def test_a_token_is_what_the_issuer_and_audience_of_the_settings_say(door: Door) -> None:
    assert (door.edge.settings.token_issuer, door.edge.settings.token_audience) == (ISSUER, AUDIENCE)
    both = door.signer.token(aud=["somebody-else", AUDIENCE])
    assert (await door.http.get("/v1/me", headers=door.bearer(both))).status_code == 200


def people(call: Call) -> list[str]:
    """Whom the identity headers of a call name."""
    names = []
    for header in call.all(IDENTITY_HEADER):
        assert isinstance(header, str)
        names.append(json.loads(base64.urlsafe_b64decode(header + "==")).get("sub"))
    return names
