"""Signing out, through the real edge: streams end, everybody refuses, and a restart forgets nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import grpc
import httpx
import pytest

from dev.mesh import Mesh
from mesh.errors import reason_of, status_of
from popcorn.game.v1 import game_pb2, game_pb2_grpc

SOON_SECONDS = 10
"""Twice what we promise: machines that run tests are busy."""


class Person:
    """Somebody who signs in on several devices."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.subject = f"subject-{uuid4().hex}"
        self.rest = httpx.AsyncClient(base_url=mesh.edge_url, timeout=10)

    async def sign_in(self, device: str) -> dict[str, str]:
        """A session on a device; returns what its calls carry."""
        asked = {"provider": "google", "subject": self.subject}
        id_token = (await self.rest.post(f"{self.mesh.idp_url}/tokens", json=asked)).json()["idToken"]
        body = {"provider": "PROVIDER_GOOGLE", "idToken": id_token}
        answer = await self.rest.post("/v1/auth:signIn", json=body, headers={"x-device": device})
        assert answer.status_code == 200, answer.text
        return {"authorization": f"Bearer {answer.json()['tokens']['accessToken']}"}

    async def refused(self, path: str, headers: dict[str, str]) -> bool:
        """Whether a read is refused because the session has ended."""
        answer = await self.rest.get(path, headers=headers)
        if answer.status_code == 200:
            return False
        assert answer.status_code == 401, answer.text
        assert answer.json()["details"][0]["reason"] == "SESSION_REVOKED"
        return True


@pytest.fixture(name="ada")
async def _ada(mesh: Mesh) -> AsyncIterator[Person]:
    person = Person(mesh)
    yield person
    await person.rest.aclose()


async def last_event(answer: httpx.Response) -> dict[str, Any]:
    last: dict[str, Any] = {}
    async for line in answer.aiter_lines():
        if line.startswith("data:"):
            last = json.loads(line.removeprefix("data:"))
    return last


async def end_of(play: Any) -> tuple[str, str | None]:
    """Read a stream to its end; returns the status and the reason."""
    try:
        while await play.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        status = status_of(error)
        return error.code().name, status and reason_of(status)
    return "OK", None


async def test_signing_out_everywhere_is_heard_everywhere(mesh: Mesh, ada: Person) -> None:
    phone, tablet = await ada.sign_in("Ada's phone"), await ada.sign_in("Ada's tablet")
    listed = (await ada.rest.get("/v1/me/sessions", headers=tablet)).json()
    assert {session["device"] for session in listed["sessions"]} == {"Ada's phone", "Ada's tablet"}
    code = (await ada.rest.post("/v1/games", json={"name": "Friday"}, headers=phone)).json()["game"]["code"]
    path = f"/v1/games/{code}"
    async with grpc.aio.insecure_channel(mesh.edge_target) as channel:
        play: Any = game_pb2_grpc.GameServiceStub(channel).Play(
            metadata=[*phone.items(), ("x-game-code", code)], timeout=60
        )
        await play.write(game_pb2.PlayRequest(hello=game_pb2.Hello(code=code)))
        assert (await play.read()).HasField("snapshot")
        stream = ada.rest.stream("GET", f"{path}/events", headers=phone, timeout=60)
        async with stream as answer, asyncio.timeout(SOON_SECONDS):
            ended = await ada.rest.post("/v1/auth:signOut", json={"allSessions": True}, headers=tablet)
            assert ended.json() == {"endedSessions": 2}
            assert await end_of(play) == ("UNAUTHENTICATED", "SESSION_REVOKED")
            assert (await last_event(answer))["error"]["details"][0]["reason"] == "SESSION_REVOKED"
            for headers in (phone, tablet):
                for read in ("/v1/me", path):
                    # The edge, the gateway and the rooms learn it within a second, each by itself.
                    while not await ada.refused(read, headers):  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
    for part in ("gateway", "game_svc"):
        await asyncio.to_thread(mesh.restart, part)
    async with asyncio.timeout(30):
        while (await ada.rest.get("/healthz")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    for read in ("/v1/me", path):
        assert await ada.refused(read, phone)
    again = await ada.sign_in("Ada's phone")
    assert (await ada.rest.get(path, headers=again)).status_code == 200
