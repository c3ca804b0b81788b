"""An evening from the first sign-in to the match, through the real edge, as two different clients see it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import httpx
import pytest
from google.protobuf import json_format

from dev.mesh import Mesh
from popcorn.game.v1 import game_pb2, game_pb2_grpc

ALIEN, BLADE_RUNNER, CASABLANCA, SPIRITED_AWAY = 348, 78, 289, 129


class App:
    """One person's phone: REST and gRPC to the edge, with the token of a sign-in."""

    def __init__(self, mesh: Mesh, rest: httpx.AsyncClient, session: dict[str, Any]) -> None:
        self.mesh = mesh
        self.rest = rest
        self.session = session
        self.metadata = (("authorization", f"Bearer {session['tokens']['accessToken']}"),)
        rest.headers["authorization"] = self.metadata[0][1]

    async def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """A REST call that has to succeed; returns its JSON."""
        answer = await self.rest.request(method, path, **arguments)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        body: dict[str, Any] = answer.json()
        return body


async def signed_in(mesh: Mesh, provider: str, name: str) -> App:
    subject = f"{name}-{uuid4().hex}"
    rest = httpx.AsyncClient(base_url=mesh.edge_url, timeout=10, headers={"accept-language": "de"})
    answer = await rest.post(
        f"{mesh.idp_url}/tokens", json={"provider": provider, "subject": subject, "name": name}
    )
    id_token = answer.json()["idToken"]
    session = await rest.post(
        "/v1/auth:signIn",
        json={"provider": f"PROVIDER_{provider.upper()}", "idToken": id_token, "displayName": name},
    )
    assert session.status_code == 200, session.text
    assert session.json()["newAccount"] is True
    return App(mesh, rest, session.json())


@pytest.fixture(name="ada")
async def _ada(mesh: Mesh) -> AsyncIterator[App]:
    app = await signed_in(mesh, "google", "Ada")
    yield app
    await app.rest.aclose()


@pytest.fixture(name="grace")
async def _grace(mesh: Mesh) -> AsyncIterator[App]:
    app = await signed_in(mesh, "apple", "Grace")
    yield app
    await app.rest.aclose()


async def server_sent_events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))


async def events_until_match(messages: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    async for message in messages:
        events += message.get("events", [])
        if any("match" in event for event in events):
            return events
    raise AssertionError("the stream ended without a match")


async def test_two_people_find_their_film(mesh: Mesh, ada: App, grace: App) -> None:
    # Both fill their backlogs over REST; the list comes back with films in German.
    await ada.call("PUT", f"/v1/backlog/{ALIEN}", json={"note": "The first one", "rating": 4.5})
    await ada.call("PUT", f"/v1/backlog/{SPIRITED_AWAY}", json={"tags": ["family"]})
    await grace.call("PUT", f"/v1/backlog/{CASABLANCA}", json={})
    listed = await ada.call("GET", "/v1/backlog")
    assert listed["totalSize"] == 2
    assert [item["movie"]["id"] for item in listed["items"]] == [SPIRITED_AWAY, ALIEN]
    assert listed["items"][0]["movie"]["title"] == "Chihiros Reise ins Zauberland"
    assert [item["entry"]["movieId"] for item in (await grace.call("GET", "/v1/backlog"))["items"]] == [
        CASABLANCA
    ]

    # Ada opens a room over REST, Grace joins it by its code over gRPC.
    created = await ada.call("POST", "/v1/games", json={"name": "Friday"})
    code = created["game"]["code"]
    async with grpc.aio.insecure_channel(mesh.edge_target) as channel:
        game = game_pb2_grpc.GameServiceStub(channel)
        joined = await game.JoinGame(game_pb2.JoinGameRequest(code=code), metadata=grace.metadata, timeout=10)
        assert [player.display_name for player in joined.game.players] == ["Ada", "Grace"]
        for app, movie_ids in ((ada, [ALIEN, BLADE_RUNNER]), (grace, [CASABLANCA, SPIRITED_AWAY])):
            for movie_id in movie_ids:
                await app.call("PUT", f"/v1/games/{code}/picks/{movie_id}")

        # Ada plays over the bidirectional stream, Grace over Swipe and server-sent events.
        play: Any = game.Play(metadata=(*ada.metadata, ("x-game-code", code)), timeout=60)
        await play.write(game_pb2.PlayRequest(hello=game_pb2.Hello(code=code)))
        start_of_adas = (await play.read()).snapshot.game.seq
        async with grace.rest.stream(
            "GET", f"/v1/games/{code}/events", headers={"accept": "text/event-stream"}, timeout=60
        ) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            messages = server_sent_events(answer)
            start_of_graces = int((await anext(messages))["snapshot"]["game"]["seq"])
            assert start_of_graces == start_of_adas

            await ada.call("POST", f"/v1/games/{code}:start", json={})
            async with asyncio.timeout(30):
                events_of_graces = asyncio.create_task(events_until_match(messages))
                events_of_adas = await swipe_everything(play)
                deck = await grace.call("GET", f"/v1/games/{code}/deck")
                assert deck["cards"][0]["movie"]["title"]
                for card in deck["cards"]:
                    verdict = "VERDICT_LIKE" if card["movieId"] == SPIRITED_AWAY else "VERDICT_PASS"
                    await grace.call(
                        "POST",
                        f"/v1/games/{code}/swipes",
                        json={"swipeId": uuid4().hex, "movieId": card["movieId"], "verdict": verdict},
                    )
                while not any(event.HasField("match") for event in events_of_adas):
                    events_of_adas += (await play.read()).events
                heard = await events_of_graces
        play.cancel()

    as_json = [
        json_format.MessageToDict(event, always_print_fields_with_no_presence=True)
        for event in events_of_adas
    ]
    common = min(len(as_json), len(heard))
    assert as_json[:common] == heard[:common], "both heard the same, with the same numbers"
    assert [int(event["seq"]) for event in heard] == list(
        range(start_of_adas + 1, start_of_adas + 1 + len(heard))
    )
    assert next(event["match"]["movieId"] for event in heard if "match" in event) == SPIRITED_AWAY
    finished = await ada.call("GET", f"/v1/games/{code}")
    assert [match["movieId"] for match in finished["game"]["matches"]] == [SPIRITED_AWAY]


async def swipe_everything(play: Any) -> list[game_pb2.GameEvent]:
    """Like every card as it comes. Returns the events heard until all swipes were acknowledged."""
    events: list[game_pb2.GameEvent] = []
    swiped: set[int] = set()
    acknowledged = 0
    while acknowledged < 4:
        message = await play.read()
        events += message.events
        acknowledged += len(message.acks)
        for card in message.cards:
            if card.movie_id not in swiped:
                swiped.add(card.movie_id)
                swipe = game_pb2.PlaySwipe(
                    swipe_id=uuid4().hex, movie_id=card.movie_id, verdict=game_pb2.VERDICT_LIKE
                )
                await play.write(game_pb2.PlayRequest(swipe=swipe))
    return events


async def test_bad_input_reads_the_same_over_rest_as_over_grpc(mesh: Mesh, ada: App) -> None:
    request = {"swipeId": "", "movieId": 0, "verdict": 9}
    over_rest = await ada.rest.post("/v1/games/short/swipes", json=request)
    assert over_rest.status_code == 400
    body = over_rest.json()
    assert body["code"] == 3
    details = {detail["@type"].rsplit(".", 1)[-1]: detail for detail in body["details"]}
    assert details["ErrorInfo"]["reason"] == "INVALID_INPUT"
    assert details["ErrorInfo"]["domain"] == "eveningpopcorn.dev"
    fields = [violation["field"] for violation in details["BadRequest"]["fieldViolations"]]
    assert sorted(fields) == ["code", "movie_id", "swipe_id", "verdict"]

    async with grpc.aio.insecure_channel(mesh.edge_target) as channel:
        stub = game_pb2_grpc.GameServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as over_grpc:
            await stub.Swipe(
                game_pb2.SwipeRequest(code="short", verdict=game_pb2.Verdict.ValueType(9)),
                metadata=ada.metadata,
                timeout=10,
            )
    assert over_grpc.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert over_grpc.value.details() == body["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("PUT", "/v1/backlog/999999999", {}, 404, "MOVIE_NOT_FOUND"),
        ("PUT", "/v1/backlog/348", {"note": "n" * 1025}, 400, "INVALID_INPUT"),
        ("PUT", "/v1/backlog/348", {"note": "a\u0000b"}, 400, "INVALID_INPUT"),
        ("PUT", "/v1/backlog/0", {}, 400, "INVALID_INPUT"),
        ("GET", "/v1/backlog?pageSize=-1", None, 400, "INVALID_INPUT"),
        ("GET", "/v1/backlog?pageToken=forged", None, 400, "INVALID_INPUT"),
        ("GET", "/v1/movies:search?query=", None, 400, "INVALID_INPUT"),
        ("GET", "/v1/games/7K3MXQ2A", None, 404, "GAME_NOT_FOUND"),
        ("POST", "/v1/movieNights/none/129:watched", {}, 404, "MOVIE_NIGHT_NOT_FOUND"),
        ("GET", "/v1/nowhere", None, 404, None),
    ],
)
async def test_a_refusal_has_a_stable_reason(
    ada: App, method: str, path: str, body: Any, status: int, reason: str | None
) -> None:
    answer = await ada.rest.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    reasons = [detail.get("reason") for detail in answer.json().get("details", [])]
    if reason is not None:
        assert reason in reasons


def buf_curl(mesh_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    buf = Path(sys.executable).with_name("buf")
    if not buf.exists():
        pytest.skip("buf is not installed beside this Python: `make test` installs it")
    command = [str(buf), "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments]
    return subprocess.run(
        [*command[:-1], mesh_url + arguments[-1]], capture_output=True, text=True, timeout=20, check=False
    )


async def test_reflection_and_health_work_inside_and_are_not_there_at_the_edge(mesh: Mesh, ada: App) -> None:
    inside = f"http://{mesh.targets['movie_svc']}"
    listed = buf_curl(inside, "--list-methods", "")
    assert "popcorn.movie.v1.MovieService/GetMovie" in listed.stdout, listed.stderr
    found = buf_curl(inside, "--data", '{"movieId": 348}', "/popcorn.movie.v1.MovieService/GetMovie")
    assert json.loads(found.stdout)["movie"]["imdbId"] == "tt0078748", found.stderr
    healthy = buf_curl(inside, "--data", "{}", "/grpc.health.v1.Health/Check")
    assert json.loads(healthy.stdout) == {"status": "SERVING"}, healthy.stderr

    async with grpc.aio.insecure_channel(mesh.edge_target) as channel:
        for method in (
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            "/popcorn.movie.v1.MovieService/GetMovie",
        ):
            call: Any = channel.unary_unary(method)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"", metadata=ada.metadata, timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
