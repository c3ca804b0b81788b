"""One person comes, keeps films, plays, asks what is known about them, and goes: through the real edge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import redis.asyncio

from dev.mesh import Mesh

FILM = 129


class Phone:
    """Somebody's phone."""

    def __init__(self, rest: httpx.AsyncClient, session: dict[str, Any], email: str) -> None:
        self.rest = rest
        self.email = email
        self.refresh_token: str = session["tokens"]["refreshToken"]
        self.user_id: str = session["account"]["userId"]
        rest.headers["authorization"] = f"Bearer {session['tokens']['accessToken']}"

    async def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """A call that has to succeed."""
        answer = await self.rest.request(method, path, **arguments)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


async def phone_of(mesh: Mesh, name: str) -> Phone:
    email = f"{uuid4().hex}@example.com"
    rest = httpx.AsyncClient(base_url=mesh.edge_url, timeout=10)
    asked = {"provider": "google", "subject": uuid4().hex, "email": email, "emailVerified": True}
    id_token = (await rest.post(f"{mesh.idp_url}/tokens", json=asked)).json()["idToken"]
    request = {"provider": "PROVIDER_GOOGLE", "idToken": id_token, "displayName": name}
    answer = await rest.post("/v1/auth:signIn", json=request)
    assert answer.status_code == 200, answer.text
    return Phone(rest, answer.json(), email)


@pytest.fixture(name="ada_name")
def _ada_name() -> str:
    return f"Ada {uuid4().hex[:12]}"


@pytest.fixture(name="ada")
async def _ada(mesh: Mesh, ada_name: str) -> AsyncIterator[Phone]:
    phone = await phone_of(mesh, ada_name)
    yield phone
    await phone.rest.aclose()


@pytest.fixture(name="grace")
async def _grace(mesh: Mesh) -> AsyncIterator[Phone]:
    phone = await phone_of(mesh, "Grace")
    yield phone
    await phone.rest.aclose()


async def everything_in_postgresql(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        names = {table["name"] for table in tables}
        assert {"gateway.accounts", "backlog.entries", "backlog.import_rows"} <= names
        rows = [
            row["row"]
            for name in names
            for row in await connection.fetch(f"SELECT mine::text AS row FROM {name} AS mine")
        ]
    finally:
        await connection.close()
    return "\n".join(rows)


async def everything_in_redis(url: str) -> str:
    found: list[Any] = []
    async with redis.asyncio.from_url(url, decode_responses=True) as client:
        async for key in client.scan_iter():
            readers: dict[Any, Any] = {
                "string": client.get,
                "hash": client.hgetall,
                "set": client.smembers,
                "list": lambda key: client.lrange(key, 0, -1),
                "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
                "stream": client.xrange,
            }
            found.append((key, await readers[await client.type(key)](key)))
    return repr(found)


async def test_a_person_can_take_everything_along_and_leave_nothing_behind(
    mesh: Mesh, ada: Phone, grace: Phone, ada_name: str
) -> None:
    await ada.call("PATCH", "/v1/me", json={"region": "GB"})
    await ada.call("PUT", f"/v1/backlog/{FILM}", json={"note": "for a rainy evening", "rating": 4.5})
    unclear = "Date,Name,Year,Letterboxd URI\n2024-05-01,Qwxzy Vbnmp,1911,u\n"
    handed_in = await ada.call("POST", "/v1/backlog:import", content=unclear)
    created = await grace.call("POST", "/v1/games", json={"name": "Tonight"})
    code = created["game"]["code"]
    await ada.call("POST", f"/v1/games/{code}:join", json={})
    await ada.call("PUT", f"/v1/games/{code}/picks/{FILM}", json={})

    export = await ada.call("GET", "/v1/me/export")
    assert export["account"]["displayName"] == ada_name
    assert export["account"]["region"] == "GB"
    assert export["account"]["identities"][0]["email"] == ada.email
    assert len(export["sessions"]) == 1
    [entry] = export["services"]["backlog_svc"]["entries"]
    assert (entry["movieId"], entry["note"], entry["rating"]) == (FILM, "for a rainy evening", 4.5)
    [imported] = export["services"]["backlog_svc"]["imports"]
    assert imported["importId"] == handed_in["job"]["importId"]
    [room] = export["services"]["game_svc"]["rooms"]
    assert (room["code"], room["picks"]) == (code, [FILM])
    assert grace.user_id not in json.dumps(export)
    assert grace.email not in json.dumps(export)

    postgresql, store = mesh.environment["DATABASE_URL"], mesh.environment["REDIS_URL"]
    traces = (ada.user_id, ada.email, ada_name, "Qwxzy Vbnmp")
    held = await everything_in_postgresql(postgresql) + await everything_in_redis(store)
    assert all(trace in held for trace in traces)

    assert await ada.call("DELETE", "/v1/me") == {}

    async with asyncio.timeout(60):
        while ada.user_id in await everything_in_postgresql(postgresql):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.2)
    left = await everything_in_postgresql(postgresql) + await everything_in_redis(store)
    assert [trace for trace in traces if trace in left] == []

    refused = await ada.rest.post("/v1/auth:refresh", json={"refreshToken": ada.refresh_token})
    assert refused.status_code == 401
    async with asyncio.timeout(5):
        while (await ada.rest.get("/v1/me")).status_code != 401:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.2)
    game = (await grace.call("GET", f"/v1/games/{code}"))["game"]
    assert [player["displayName"] for player in game["players"]] == ["Grace"], "the room goes on"
