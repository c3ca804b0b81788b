"""What is not on the allow-list is not there, in whatever way one asks for it."""

from __future__ import annotations

import grpc
import pytest

from mesh.identity import access_of
from popcorn.options.v1 import options_pb2
from tests.edge.door import Door
from tests.edge.standins import INTERNAL, METHODS, PROTECTED, PUBLIC

FOREIGN = (
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/popcorn.gateway.v1.AuthService/Nothing",
    "/popcorn.gateway.v1.AuthService/",
    "/popcorn.gateway.v1.AuthService",
    "/popcorn.gateway.v1.authservice/signin",
    "/popcorn.gateway.v1.AuthService/SignIn/",
    "/popcorn.gateway.v1.AuthService/SignIn/popcorn.backlog.v1.BacklogService/PutEntry",
    "/",
)
FRAME = b"\0\0\0\0\0"
NOT_FOUND = {
    "code": 5,
    "message": "There is no such method here.",
    "details": [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "METHOD_NOT_FOUND",
            "domain": "eveningpopcorn.dev",
            "metadata": {},
        }
    ],
}


def test_the_contract_has_methods_of_every_kind() -> None:
    assert len(INTERNAL) > 15
    assert len(PUBLIC) > 3
    assert len(PROTECTED) > 30
    assert all(access_of(METHODS[path]) != options_pb2.ACCESS_INTERNAL for path in PROTECTED)


@pytest.mark.parametrize("path", [*INTERNAL, *FOREIGN])
async def test_what_is_inside_cannot_be_called(door: Door, marker: str, path: str) -> None:
    for who in ({}, door.bearer()):
        headers = {**who, "x-marker": marker, "te": "trailers", "content-type": "application/grpc"}
        answer = await door.http2.post(path, content=FRAME, headers=headers)
        assert answer.headers["grpc-status"] == str(grpc.StatusCode.UNIMPLEMENTED.value[0])
        web = {**headers, "content-type": "application/grpc-web+proto"}
        answer = await door.http.post(path, content=FRAME, headers=web)
        assert b"grpc-status:12" in answer.content
        for verb in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            plain = {**who, "x-marker": marker, "content-type": "application/json"}
            answer = await door.http.request(verb, path, content="{}", headers=plain)
            assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert door.reached(marker) == []


async def test_a_grpc_client_hears_unimplemented_with_its_reason(door: Door) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await door.grpc(INTERNAL[0], metadata=door.bearer())
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert refusal.value.details() == "There is no such method here."


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1", "/admin", "/v2/me", "/v1/me/nothing", "/stats"])
async def test_an_unknown_rest_path_is_not_found_without_a_token_too(door: Door, path: str) -> None:
    for client in (door.http, door.http2):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", [*PROTECTED, *PUBLIC])
async def test_json_sent_to_a_grpc_path_reaches_nobody(door: Door, marker: str, path: str) -> None:
    answer = await door.http.post(
        path,
        content="{}",
        headers={**door.bearer(), "content-type": "application/json", "x-marker": marker},
    )
    assert answer.status_code == 404
    assert door.reached(marker) == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1%2Fme",
        "/v1%5Cme",
        "/v1/games/%2e%2e%2fme",
        "/v1/me%00",
        "/v1/me#fragment",
        "/popcorn.gateway.v1.AuthService%2FSignIn",
    ],
)
async def test_a_path_that_can_be_read_in_two_ways_is_refused(door: Door, path: str) -> None:
    status, body = await door.raw(f"GET {path} HTTP/1.1", f"authorization: {door.bearer()['authorization']}")
    assert status == 400
    assert b'"reason":"INVALID_REQUEST"' in body


@pytest.mark.parametrize(
    "path", ["//v1//me", "/v1/./me", "/v1/games/../me", "/%76%31/me", "http://popcorn.test/v1/me"]
)
async def test_other_spellings_of_a_path_are_the_path(door: Door, path: str) -> None:
    bearer = f"authorization: {door.bearer()['authorization']}"
    assert (await door.raw(f"GET {path} HTTP/1.1", bearer))[0] == 200
    assert (await door.raw(f"GET {path} HTTP/1.1"))[0] == 401


async def test_a_detour_over_a_public_path_does_not_spare_the_token(door: Door, marker: str) -> None:
    for path in PROTECTED:
        detour = "/popcorn.gateway.v1.AuthService/SignIn/../.." + path
        answer = await door.http2.post(
            detour,
            content=FRAME,
            headers={"content-type": "application/grpc", "te": "trailers", "x-marker": marker},
        )
        assert answer.headers["grpc-status"] == "16"
    assert door.reached(marker) == []
