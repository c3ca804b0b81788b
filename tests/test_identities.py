"""Ways to sign in through the real edge, in REST: codes, a guest who becomes an account, Apple's word."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from dev.mesh import Mesh

VERIFIER = "a-verifier-of-at-least-forty-three-characters"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ADDRESS = "https://app.example/signed-in"


@pytest.fixture
async def rest(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=mesh.edge_url, timeout=10) as client:
        yield client


async def asked(mesh: Mesh, path: str, **wanted: object) -> str:
    """What the identity provider gives: a token, a code or a notification."""
    async with httpx.AsyncClient(base_url=mesh.idp_url or "", timeout=10) as idp:
        answer = await idp.post(path, json=wanted)
    assert answer.status_code == 200, answer.text
    [value] = answer.json().values()
    return str(value)


async def said(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def reason(body: dict[str, Any]) -> str:
    return str(body["details"][0]["reason"])


async def test_codes_sign_in_once(mesh: Mesh, rest: httpx.AsyncClient) -> None:
    subject = f"ada-{uuid4().hex}"
    for provider, more in (("google", {"codeChallenge": CHALLENGE}), ("apple", {})):
        code = await asked(mesh, "/codes", provider=provider, subject=subject, redirectUri=ADDRESS, **more)
        wish = {
            "provider": f"PROVIDER_{provider.upper()}",
            "authorizationCode": code,
            "redirectUri": ADDRESS,
            **({"codeVerifier": VERIFIER} if more else {}),
        }
        session = await said(await rest.post("/v1/auth:signIn", json=wish))
        assert session["newAccount"] is True
        refused = await said(await rest.post("/v1/auth:signIn", json=wish), 401)
        assert reason(refused) == "INVALID_AUTHORIZATION_CODE"


async def test_a_guest_links_both_unlinks_one_and_hears_apple(mesh: Mesh, rest: httpx.AsyncClient) -> None:
    subject = f"grace-{uuid4().hex}"
    guest = await said(await rest.post("/v1/auth:signInAsGuest", json={"displayName": "Grace"}))
    rest.headers["authorization"] = f"Bearer {guest['tokens']['accessToken']}"
    linked: dict[str, Any] = {}
    for provider in ("apple", "google"):
        token = await asked(mesh, "/tokens", provider=provider, subject=subject)
        wish = {"provider": f"PROVIDER_{provider.upper()}", "idToken": token}
        linked = await said(await rest.post("/v1/me/identities", json=wish))
    assert linked["account"]["userId"] == guest["account"]["userId"]
    assert linked["account"]["guest"] is False

    # Unlinking is a member's: the guest's token has to be refreshed first.
    tokens = (
        await said(
            await rest.post("/v1/auth:refresh", json={"refreshToken": guest["tokens"]["refreshToken"]})
        )
    )["tokens"]
    rest.headers["authorization"] = f"Bearer {tokens['accessToken']}"
    left = await said(await rest.delete("/v1/me/identities/PROVIDER_GOOGLE"))
    assert [identity["provider"] for identity in left["account"]["identities"]] == ["PROVIDER_APPLE"]
    last = await said(await rest.delete("/v1/me/identities/PROVIDER_APPLE"), 400)
    assert reason(last) == "LAST_IDENTITY"

    # Apple's servers know no token of ours.
    payload = await asked(mesh, "/notifications", type="consent-revoked", subject=subject)
    async with httpx.AsyncClient(base_url=mesh.edge_url, timeout=10) as apple:
        await said(await apple.post("/v1/auth/apple/notifications", json={"payload": payload}))
        forged = payload[:-8] + "AAAAAAAA"
        refused = await apple.post("/v1/auth/apple/notifications", json={"payload": forged})
        assert reason(await said(refused, 401)) == "INVALID_NOTIFICATION"
    async with asyncio.timeout(10):
        while (await rest.get("/v1/me")).status_code != 401:  # noqa: ASYNC110 - other processes hear of it
            await asyncio.sleep(0.1)
