"""What the edge does when there is too much, too little, or nobody there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from mesh.edge import REFUSALS
from popcorn.game.v1 import game_pb2
from popcorn.gateway.v1 import library_pb2
from tests.edge.conftest import NewDoor
from tests.edge.door import Door, open_door, serving
from tests.edge.standins import Signer, eventually

SIGN_IN = "/popcorn.gateway.v1.AuthService/SignIn"
GUEST = "/popcorn.gateway.v1.AuthService/SignInAsGuest"
REFRESH = "/popcorn.gateway.v1.AuthService/RefreshSession"
JOIN = "/popcorn.game.v1.GameService/JoinGame"
IMPORT = "/popcorn.gateway.v1.LibraryService/ImportBacklog"
PUT_ENTRY = "/popcorn.gateway.v1.LibraryService/PutBacklogEntry"
WATCH = "/popcorn.game.v1.GameService/WatchGame"


def reason_of(reply: httpx.Response) -> str:
    assert reply.headers["content-type"] == "application/json"
    details = reply.json()["details"]
    assert len(details) == 1
    return str(details[0]["reason"])


@pytest.fixture(scope="module")
async def strict(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """An edge behind one proxy, which says who calls, with 3 calls a minute of each kind."""
    async with open_door(
        tmp_path_factory.mktemp("edge"),
        edge_trusted_hops=1,
        edge_sign_ins_per_minute=3,
        edge_guests_per_minute=3,
        edge_refreshes_per_minute=3,
        edge_joins_per_minute=3,
        edge_imports_per_minute=3,
    ) as door:
        yield door


async def test_services_learn_the_callers_address_and_nobody_can_forge_it(
    strict: Door, door: Door, marker: str
) -> None:
    claims = {"x-envoy-external-address": "198.51.100.99", "x-marker": marker}
    hops = "192.0.2.1, 203.0.113.77"  # the last one is what the trusted proxy wrote
    jwks = "/.well-known/jwks.json"
    await strict.http.get(jwks, headers={**claims, "x-forwarded-for": hops})
    await door.http.get(jwks, headers={**claims, "x-forwarded-for": hops})
    for edge, address in ((strict, "203.0.113.77"), (door, "127.0.0.1")):
        [call] = edge.reached(marker)
        assert call.all("x-envoy-external-address") == [address]


@pytest.mark.parametrize("path", [SIGN_IN, GUEST, REFRESH, JOIN, IMPORT])
async def test_an_address_that_calls_too_often_has_to_wait(strict: Door, path: str) -> None:
    caller = {**strict.bearer(), "x-forwarded-for": "203.0.113.7"}
    statuses = [(await strict.rest(path, headers=caller)).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    reply = await strict.rest(path, headers=caller, http2=True)
    assert reply.status_code == 429
    assert reply.headers["retry-after"] == "20"
    assert (reply.json()["code"], reason_of(reply)) == (8, "RATE_LIMITED")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await strict.grpc(path, metadata=caller)
    status = rpc_status.from_call(refusal.value)
    info = error_details_pb2.ErrorInfo()
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status.details[0].Unpack(info)
    assert info.reason == "RATE_LIMITED"
    # Others are not concerned, and neither are the caller's other calls.
    other = {**caller, "x-forwarded-for": "203.0.113.8"}
    assert (await strict.rest(path, headers=other)).status_code == 200
    assert (await strict.http.get("/v1/me", headers=caller)).status_code == 200


async def test_one_ipv6_household_is_one_caller(strict: Door) -> None:
    statuses = [
        (await strict.rest(SIGN_IN, headers={"x-forwarded-for": f"2001:db8:1:2::{host}"})).status_code
        for host in range(1, 5)
    ]
    assert statuses == [200, 200, 200, 429]
    assert (await strict.rest(SIGN_IN, headers={"x-forwarded-for": "2001:db8:1:3::1"})).status_code == 200


async def test_without_a_trusted_proxy_nobody_chooses_their_address(new_door: NewDoor) -> None:
    door = await new_door(edge_sign_ins_per_minute=2)
    statuses = [
        (await door.rest(SIGN_IN, headers={"x-forwarded-for": f"203.0.113.{host}"})).status_code
        for host in range(3)
    ]
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("size", [1_048_577 + 100, 3_000_000])
async def test_a_body_over_a_mebibyte_is_refused(door: Door, marker: str, size: int) -> None:
    headers = {**door.bearer(), "x-marker": marker}
    for client in (door.http, door.http2):
        reply = await client.put("/v1/backlog/1", content=json.dumps({"note": "x" * size}), headers=headers)
        assert (reply.status_code, reason_of(reply)) == (413, "BODY_TOO_LARGE")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await door.grpc(PUT_ENTRY, library_pb2.PutBacklogEntryRequest(note="x" * size), metadata=headers)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert door.reached(marker) == []


async def test_a_body_of_nearly_a_mebibyte_gets_through(door: Door, marker: str) -> None:
    headers = {**door.bearer(), "x-marker": marker}
    note = "x" * 1_000_000
    assert (
        await door.http.put("/v1/backlog/1", content=json.dumps({"note": note}), headers=headers)
    ).is_success
    await door.grpc(PUT_ENTRY, library_pb2.PutBacklogEntryRequest(note=note), metadata=headers)
    assert len(door.reached(marker)) == 2


async def test_a_long_answer_comes_whole(new_door: NewDoor) -> None:
    door = await new_door()

    async def answer(request: Any, context: Any) -> library_pb2.GetMovieResponse:
        response = library_pb2.GetMovieResponse()
        response.movie.overview = "x" * 3_000_000
        return response

    door.gateway.answers["/popcorn.gateway.v1.LibraryService/GetMovie"] = answer
    reply = await door.http.get("/v1/movies/1", headers=door.bearer())
    assert len(reply.json()["movie"]["overview"]) == 3_000_000


@pytest.mark.parametrize(
    "headers",
    [{"x-long": "x" * 17_000}, {f"x-header-{number}": "1" for number in range(80)}],
    ids=["long", "many"],
)
async def test_headers_have_a_limit(door: Door, marker: str, headers: dict[str, str]) -> None:
    marked = {**door.bearer(), **headers, "x-marker": marker}
    reply = await door.http.get("/v1/me", headers=marked)
    assert (reply.status_code, reason_of(reply)) == (431, "HEADERS_TOO_LARGE")
    # Over HTTP/2 there is no polite way: the stream is reset.
    with pytest.raises(httpx.RemoteProtocolError):
        await door.http2.get("/v1/me", headers=marked)
    assert door.reached(marker) == []


@pytest.mark.parametrize("head", ["NONSENSE", "GET v1/me HTTP/1.1"])
async def test_what_is_not_http_is_answered_in_json(door: Door, head: str) -> None:
    status, body = await door.raw(head)
    assert (status, json.loads(body)["details"][0]["reason"]) == (400, "INVALID_REQUEST")


async def test_health_follows_each_part_behind_the_edge(new_door: NewDoor) -> None:
    door = await new_door(edge_health_seconds=0.1)

    async def health_is(expected: int) -> None:
        async def holds() -> bool:
            return (await door.http.get("/healthz")).status_code == expected

        await eventually(holds)

    parts = [
        ((door.gateway,), "popcorn.gateway.v1.AuthService"),
        ((door.gateway,), "popcorn.gateway.v1.LibraryService"),
        (door.games, "popcorn.game.v1.GameService"),
    ]
    for replicas, service in parts:
        for replica in replicas:
            await replica.set_serving(service, serving=False)
        await health_is(503)
        assert reason_of(await door.http.get("/healthz")) == "UPSTREAM_UNAVAILABLE"
        # What is said to be ill still gets its calls, and answers for itself.
        assert (await door.http.get("/v1/genres", headers=door.bearer())).status_code == 200
        assert (await door.http.get("/v1/games/A", headers=door.bearer())).status_code == 200
        await replicas[-1].set_serving(service)
        await health_is(200)
    assert (await door.http2.get("/healthz")).status_code == 200


async def test_the_edge_may_start_first_and_serves_soon_after_the_rest_does(new_door: NewDoor) -> None:
    door = await new_door(behind=False)
    assert (await door.http.get("/healthz")).status_code == 503
    reply = await door.http.get("/v1/me", headers=door.bearer())
    assert (reply.status_code, reason_of(reply)) == (503, "UPSTREAM_UNAVAILABLE")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await door.grpc("/popcorn.gateway.v1.AccountService/GetAccount", metadata=door.bearer())
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
    reply = await door.rest(SIGN_IN)
    assert (reply.status_code, reason_of(reply)) == (503, "UPSTREAM_UNAVAILABLE")
    for replica in (door.gateway, *door.games):
        await replica.start()
    await eventually(lambda: serving(door), seconds=3)


async def test_keys_come_and_go_within_the_cache_s_time(new_door: NewDoor) -> None:
    door = await new_door(edge_keys_cache_seconds=2)
    old, new = door.signer, Signer("key-2")

    async def works(signer: Signer) -> bool:
        return (await door.http.get("/v1/me", headers=door.bearer(signer.token()))).status_code == 200

    assert not await works(new)
    door.gateway.keys.append(new.jwk)
    await eventually(lambda: works(new), seconds=4)
    assert await works(old)
    door.gateway.keys.remove(old.jwk)

    async def forgotten() -> bool:
        return not await works(old)

    await eventually(forgotten, seconds=4)
    assert await works(new)


async def test_a_replica_that_is_gone_costs_nobody_a_call(new_door: NewDoor) -> None:
    door = await new_door(edge_health_seconds=60)
    await door.games[0].stop()
    for number in range(30):
        headers = door.bearer()
        assert (await door.http.get(f"/v1/games/ROOM{number}", headers=headers)).status_code == 200
        assert (await door.http.post("/v1/games", content="{}", headers=headers)).status_code == 200
    await door.games[1].stop()
    reply = await door.http.get("/v1/games/ROOM", headers=door.bearer())
    assert (reply.status_code, reason_of(reply)) == (503, "UPSTREAM_UNAVAILABLE")


async def test_an_unavailable_service_is_asked_once(new_door: NewDoor) -> None:
    door = await new_door()
    asked = 0

    async def answer(request: Any, context: Any) -> Any:
        nonlocal asked
        asked += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, "TMDB does not answer.")

    door.gateway.answers["/popcorn.gateway.v1.LibraryService/GetMovie"] = answer
    reply = await door.http.get("/v1/movies/1", headers=door.bearer())
    assert (reply.status_code, reply.json()["message"], asked) == (503, "TMDB does not answer.", 1)


async def test_many_streams_do_not_use_up_what_short_calls_need(new_door: NewDoor) -> None:
    door = await new_door()
    done = asyncio.Event()

    async def answer(request: Any, context: Any) -> AsyncIterator[game_pb2.WatchGameResponse]:
        yield game_pb2.WatchGameResponse(resumed=True)
        await done.wait()

    for game in door.games:
        game.answers[WATCH] = answer
    watch = [
        grpc.aio.insecure_channel(
            door.edge.address, options=[("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        )
        for _ in range(15)
    ]
    try:
        calls = []
        for channel in watch:
            method = channel.unary_stream(
                WATCH,
                request_serializer=game_pb2.WatchGameRequest.SerializeToString,
                response_deserializer=game_pb2.WatchGameResponse.FromString,
            )
            for _ in range(80):
                call = method(game_pb2.WatchGameRequest(), metadata=tuple(door.bearer().items()), timeout=60)
                calls.append(call)
        first = await asyncio.gather(*(call.read() for call in calls))
        assert all(isinstance(one, game_pb2.WatchGameResponse) and one.resumed for one in first)
        assert len(calls) == 1200, "more than Envoy's default of 1,024"
        assert (await door.http.get("/v1/games/A", headers=door.bearer())).status_code == 200
    finally:
        done.set()
        for channel in watch:
            await channel.close()


def test_every_refusal_has_a_reason_and_a_sentence() -> None:
    for refusal in REFUSALS:
        assert refusal.reason.replace("_", "").isupper()
        assert refusal.message[-1] in ".…" or refusal.message.endswith("Bearer ...")
        assert 0 < refusal.code <= 16
        assert 0 < refusal.grpc_code <= 16
    assert {r.reason for r in REFUSALS if "429" in r.when} == {"RATE_LIMITED"}
