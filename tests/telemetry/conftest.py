"""A mesh that is watched: metrics on, every request traced, and an evening that has been played in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from dev.mesh import Mesh, bare_environment
from tests.telemetry.collector import Collector
from tests.test_story import SPIRITED_AWAY, server_sent_events

NOTE = "a note that is nobody else's business"
SEARCHED = "chihiro"
FORGED_TOKEN = "eyJhbGciOiJub25lIn0.e30."
FORGED_ID_TOKEN = "eyJhbGciOi.forged.token"
FORGED_REFRESH_TOKEN = "a-refresh-token-of-nobody"


@dataclass(slots=True)
class Evening:
    """What was played, and what must not be found anywhere."""

    mesh: Mesh
    collector: Collector
    secrets: dict[str, str] = field(default_factory=dict)
    """By what it is: what no log and no span may hold."""
    answers: list[httpx.Response] = field(default_factory=list)
    """Every answer of the edge's."""
    film_read: str = ""
    """The request id of a film that was read when nothing was cached."""

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Somebody new listens to a room of their own."""
        async with _Phone(self, "google", "Linus") as phone:
            created = await phone.post("/v1/games", json={"name": "Alone"})
            code = created.json()["game"]["code"]
            async with phone.stream("GET", f"/v1/games/{code}/events", timeout=10) as events:
                messages = server_sent_events(events)
                await anext(messages)
                yield


@pytest.fixture(scope="session")
async def evening(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Evening]:
    collector = Collector()
    settings = bare_environment() | {"EDGE_TRACED_PERCENT": "100", "LOG_LEVEL": "info"}
    with collector.listening():
        settings["OTLP_ENDPOINT"] = collector.url
        mesh = Mesh(tmp_path_factory.mktemp("watched"), settings=settings)
        await asyncio.to_thread(mesh.start)
        try:
            played = Evening(mesh, collector)
            await _play(played)
            _note_secrets(played)
            await _until_the_edge_has_written_all(played)
            yield played
        finally:
            await asyncio.to_thread(mesh.stop)


async def _until_the_edge_has_written_all(evening: Evening) -> None:
    """Envoy writes its log in batches, and has no event for it."""
    ids = [answer.headers["x-request-id"] for answer in evening.answers]
    async with asyncio.timeout(20):
        while True:
            log = (evening.mesh.folder / "edge" / "envoy.log").read_text()
            if all(one in log for one in ids):
                return
            await asyncio.sleep(0.1)


async def _play(evening: Evening) -> None:
    """Two people find their film, and do some things wrong."""
    async with _Phone(evening, "google", "Ada") as ada, _Phone(evening, "apple", "Grace") as grace:
        read = await _call(evening, ada, "GET", f"/v1/movies/{SPIRITED_AWAY}")
        evening.film_read = read.headers["x-request-id"]
        await _call(evening, ada, "GET", f"/v1/movies:search?query={SEARCHED}")
        await _call(
            evening, ada, "PUT", f"/v1/backlog/{SPIRITED_AWAY}", json={"note": NOTE, "tags": ["family"]}
        )
        await _call(evening, ada, "GET", "/v1/backlog")
        await _call(evening, ada, "GET", "/v1/me/export")
        code = (await _call(evening, ada, "POST", "/v1/games", json={"name": "Friday"})).json()["game"][
            "code"
        ]
        await _call(evening, grace, "POST", f"/v1/games/{code}:join", json={})
        await _call(evening, ada, "PUT", f"/v1/games/{code}/picks/{SPIRITED_AWAY}")
        async with grace.stream("GET", f"/v1/games/{code}/events", timeout=30) as events:
            messages = server_sent_events(events)
            await anext(messages)
            await _call(evening, ada, "POST", f"/v1/games/{code}:start", json={})
            for phone in (ada, grace):
                await _call(evening, phone, "GET", f"/v1/games/{code}/deck")
                swipe = {"swipeId": uuid4().hex, "movieId": SPIRITED_AWAY, "verdict": "VERDICT_LIKE"}
                await _call(evening, phone, "POST", f"/v1/games/{code}/swipes", json=swipe)
            async for message in messages:
                if any("match" in event for event in message.get("events", [])):
                    break
        # Refusals are logged too, whatever they are about.
        for method, path, body in (
            ("PUT", "/v1/backlog/999999999", {"note": NOTE}),
            ("PUT", f"/v1/backlog/{SPIRITED_AWAY}", {"note": NOTE * 100}),
            ("GET", f"/v1/backlog?pageToken={NOTE}", None),
            (
                "POST",
                "/v1/auth:signIn",
                {"provider": "PROVIDER_GOOGLE", "idToken": "eyJhbGciOi.forged.token"},
            ),
            ("POST", "/v1/auth:refresh", {"refreshToken": "a-refresh-token-of-nobody"}),
            ("GET", "/v1/games/7K3MXQ2A", None),
        ):
            refused = await ada.request(method, path, json=body)
            assert refused.status_code >= 400, refused.text
            evening.answers.append(refused)
        evening.answers.append(await ada.get("/v1/me", headers={"authorization": f"Bearer {FORGED_TOKEN}"}))
        evening.secrets |= {
            "forged token": FORGED_TOKEN,
            "forged ID token": FORGED_ID_TOKEN,
            "forged refresh token": FORGED_REFRESH_TOKEN,
        }
        await _call(evening, grace, "POST", "/v1/auth:signOut", json={"allSessions": True})
        await _call(evening, ada, "DELETE", "/v1/me")


class _Phone:
    """Signs somebody in; `async with` gives a client with their token."""

    def __init__(self, evening: Evening, provider: str, name: str) -> None:
        self._evening, self._provider, self._name = evening, provider, name
        self._http = httpx.AsyncClient(
            base_url=evening.mesh.edge_url, timeout=10, headers={"accept-language": "de", "x-region": "DE"}
        )

    async def __aenter__(self) -> httpx.AsyncClient:
        email = f"{self._name.lower()}.{uuid4().hex[:8]}@example.com"
        asked = {
            "provider": self._provider,
            "subject": uuid4().hex,
            "email": email,
            "emailVerified": True,
            "name": self._name,
        }
        id_token = (await self._http.post(f"{self._evening.mesh.idp_url}/tokens", json=asked)).json()[
            "idToken"
        ]
        sign_in = {"provider": f"PROVIDER_{self._provider.upper()}", "idToken": id_token}
        session = await _call(self._evening, self._http, "POST", "/v1/auth:signIn", json=sign_in)
        tokens = session.json()["tokens"]
        self._http.headers["authorization"] = f"Bearer {tokens['accessToken']}"
        self._evening.secrets |= {
            f"{self._name}'s address": email,
            f"{self._name}'s ID token": id_token,
            f"{self._name}'s access token": tokens["accessToken"],
            f"{self._name}'s refresh token": tokens["refreshToken"],
        }
        return self._http

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()


async def _call(
    evening: Evening, phone: httpx.AsyncClient, method: str, path: str, **arguments: Any
) -> httpx.Response:
    answer = await phone.request(method, path, **arguments)
    assert answer.status_code == 200, f"{method} {path}: {answer.text}"
    evening.answers.append(answer)
    return answer


def _note_secrets(evening: Evening) -> None:
    given, folder = evening.mesh.environment, evening.mesh.folder
    evening.secrets |= {
        "note": NOTE,
        "search": SEARCHED,
        "TMDB's key": given["TMDB_API_KEY"],
        "page token key": given["PAGE_TOKEN_KEY"],
        "sealing key": given["APPLE_TOKEN_KEYS"].partition(":")[2],
        "database password": given["DATABASE_URL"].partition("@")[0].rpartition(":")[2],
    }
    for name, value in _private_values(Path(given["SIGNING_KEYS_FILE"]).read_text()):
        evening.secrets[f"signing key, {name}"] = value
    pem = (folder / "idp" / "apple-developer-key.p8").read_text()
    evening.secrets["Apple's key"] = max(pem.splitlines(), key=len)


def _private_values(text: str) -> Iterator[tuple[str, str]]:
    for key in json.loads(text)["keys"]:
        if "d" in key:
            yield "d", key["d"]
