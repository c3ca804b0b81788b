"""One port speaks REST, gRPC-Web and gRPC, and says the same in each."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from google.api import httpbody_pb2
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from popcorn.game.v1 import game_pb2
from popcorn.gateway.v1 import account_pb2, auth_pb2, library_pb2
from tests.edge.door import Door, open_door

ACCOUNT = "/popcorn.gateway.v1.AccountService/GetAccount"
MOVIE = "/popcorn.gateway.v1.LibraryService/GetMovie"
PUT_ENTRY = "/popcorn.gateway.v1.LibraryService/PutBacklogEntry"
EVENTS = "/popcorn.game.v1.GameService/StreamEvents"
PLAY = "/popcorn.game.v1.GameService/Play"
GET_GAME = "/popcorn.game.v1.GameService/GetGame"
ORIGIN = {"origin": "https://app.popcorn.test"}


def frame(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def read_frames(body: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while body:
        length = int.from_bytes(body[1:5], "big")
        frames.append((body[0], body[5 : 5 + length]))
        body = body[5 + length :]
    return frames


def pack(*details: Any) -> list[any_pb2.Any]:
    packed = []
    for detail in details:
        box = any_pb2.Any()
        box.Pack(detail)
        packed.append(box)
    return packed


@pytest.fixture(scope="module")
async def scripted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """An edge whose servers get answers from this module's tests."""
    async with open_door(tmp_path_factory.mktemp("edge")) as door:
        yield door


async def test_rest_prints_what_is_empty_and_leaves_out_what_is_absent(scripted: Door) -> None:
    async def answer(request: Any, context: Any) -> library_pb2.GetMovieResponse:
        response = library_pb2.GetMovieResponse()
        response.movie.id = request.movie_id
        response.movie.runtime_minutes = 0
        return response

    scripted.gateway.answers[MOVIE] = answer
    reply = (await scripted.http.get("/v1/movies/603", headers=scripted.bearer())).json()
    assert reply["movie"]["id"] == 603
    assert (reply["movie"]["voteCount"], reply["movie"]["genres"], reply["movie"]["tagline"]) == (0, [], "")
    assert reply["movie"]["runtimeMinutes"] == 0, "an optional field that is set is there, though 0"
    assert "rating" not in reply["movie"], "an optional field that is not set is absent"
    assert "poster" not in reply["movie"]
    assert "entry" not in reply


@pytest.mark.parametrize("written", ["the+thing+%2B+1", "the%20thing%20%2b%201"])
async def test_a_space_in_a_query_may_be_written_either_way(
    scripted: Door, marker: str, written: str
) -> None:
    headers = {**scripted.bearer(), "x-marker": marker}
    await scripted.http.get(f"/v1/movies:search?query={written}", headers=headers)
    [call] = scripted.reached(marker)
    assert call.request == library_pb2.SearchMoviesRequest(query="the thing + 1")


async def test_rest_takes_fields_from_path_query_and_body(scripted: Door, marker: str) -> None:
    headers = {**scripted.bearer(), "x-marker": marker}
    await scripted.http.put("/v1/backlog/7", content='{"note": "später", "tags": ["a"]}', headers=headers)
    await scripted.http.get("/v1/movies:search?query=the%20thing&pageSize=3", headers=headers)
    put, search = (call.request for call in scripted.reached(marker))
    assert put == library_pb2.PutBacklogEntryRequest(movie_id=7, note="später", tags=["a"])
    assert search == library_pb2.SearchMoviesRequest(query="the thing", page_size=3)


async def test_the_body_does_not_override_the_path(scripted: Door, marker: str) -> None:
    headers = {**scripted.bearer(), "x-marker": marker}
    await scripted.http.put("/v1/backlog/7", content='{"movieId": 8}', headers=headers)
    assert [call.request for call in scripted.reached(marker)] == [
        library_pb2.PutBacklogEntryRequest(movie_id=7)
    ]


async def test_enum_names_are_read_in_any_case(scripted: Door, marker: str) -> None:
    answer = await scripted.http.post(
        "/v1/auth:signIn", content='{"provider": "provider_google"}', headers={"x-marker": marker}
    )
    assert answer.status_code == 200
    assert scripted.reached(marker)[0].request == auth_pb2.SignInRequest(provider=account_pb2.PROVIDER_GOOGLE)


@pytest.mark.parametrize(
    ("verb", "path", "body", "names"),
    [
        ("POST", "/v1/auth:signIn", '{"provider": "PROVIDER_NETFLIX"}', "PROVIDER_NETFLIX"),
        ("POST", "/v1/auth:signIn", "{bad", ""),
        ("POST", "/v1/auth:signIn", '{"idToken": {}}', "id_token"),
        ("POST", "/v1/auth:signIn", "[]", ""),
        ("GET", "/v1/movies/abc", "", "movie_id"),
        ("GET", "/v1/movies/99999999999", "", "movie_id"),
        ("GET", "/v1/movies:search?query=a&pagesize=1", "", "pagesize"),
        ("GET", "/v1/movies:search?query=a&pageSize=x", "", "page_size"),
    ],
)
async def test_a_request_that_cannot_be_read_is_the_caller_s_mistake(
    scripted: Door, verb: str, path: str, body: str, names: str
) -> None:
    answer = await scripted.http.request(verb, path, content=body or None, headers=scripted.bearer())
    status = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    assert (status["code"], status["details"][0]["reason"]) == (3, "INVALID_REQUEST")
    assert names in status["details"][0]["metadata"]["cause"]


async def test_an_error_of_a_service_keeps_its_details_in_rest(scripted: Door) -> None:
    status = status_pb2.Status(
        code=code_pb2.INVALID_ARGUMENT,
        message='Bäd "note": 100 %.',
        details=pack(
            error_details_pb2.ErrorInfo(reason="INVALID_INPUT", domain="eveningpopcorn.dev"),
            error_details_pb2.BadRequest(
                field_violations=[
                    {"field": "note", "reason": "TOO_LONG", "description": "At most 1,024 characters."},
                    {"field": "movie_id", "reason": "TOO_SMALL", "description": "At least 1."},
                ]
            ),
        ),
    )

    async def answer(request: Any, context: Any) -> Any:
        known = rpc_status.to_status(status)
        await context.abort(known.code, known.details, known.trailing_metadata)

    scripted.gateway.answers[PUT_ENTRY] = answer
    for client in (scripted.http, scripted.http2):
        reply = await client.put("/v1/backlog/1", content="{}", headers=scripted.bearer())
        assert reply.status_code == 400
        assert reply.headers["content-type"] == "application/json"
        assert reply.json() == {
            "code": 3,
            "message": 'Bäd "note": 100 %.',
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "INVALID_INPUT",
                    "domain": "eveningpopcorn.dev",
                    "metadata": {},
                },
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [
                        {"field": "note", "reason": "TOO_LONG", "description": "At most 1,024 characters."},
                        {"field": "movie_id", "reason": "TOO_SMALL", "description": "At least 1."},
                    ],
                },
            ],
        }
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await scripted.grpc(PUT_ENTRY, metadata=scripted.bearer())
    assert rpc_status.from_call(refusal.value) == status


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.ALREADY_EXISTS, 409),
        (grpc.StatusCode.ABORTED, 409),
        (grpc.StatusCode.FAILED_PRECONDITION, 400),
        (grpc.StatusCode.PERMISSION_DENIED, 403),
        (grpc.StatusCode.UNAUTHENTICATED, 401),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.UNIMPLEMENTED, 501),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.INTERNAL, 500),
    ],
)
async def test_statuses_have_their_http_twins(scripted: Door, code: grpc.StatusCode, expected: int) -> None:
    async def answer(request: Any, context: Any) -> Any:
        await context.abort(code, "why")

    scripted.gateway.answers[ACCOUNT] = answer
    reply = await scripted.http.get("/v1/me", headers=scripted.bearer())
    del scripted.gateway.answers[ACCOUNT]
    assert (reply.status_code, reply.json()) == (
        expected,
        {"code": code.value[0], "message": "why", "details": []},
    )


async def test_rest_streams_are_server_sent_events_as_they_happen(scripted: Door) -> None:
    heard = asyncio.Event()
    last_event_ids = []

    def sent(text: str) -> httpbody_pb2.HttpBody:
        return httpbody_pb2.HttpBody(content_type="text/event-stream", data=text.encode())

    async def answer(request: Any, context: Any) -> AsyncIterator[httpbody_pb2.HttpBody]:
        last_event_ids.append(dict(context.invocation_metadata()).get("last-event-id"))
        yield sent(f"id: {request.after_seq + 1}-epoch\ndata: {{}}\n\n")
        await heard.wait()
        yield sent("data: 1\n\n")

    for game in scripted.games:
        game.answers[EVENTS] = answer
    for client in (scripted.http, scripted.http2):
        heard.clear()
        headers = {**scripted.bearer(), "last-event-id": "7-epoch"}
        async with (
            asyncio.timeout(10),
            client.stream("GET", "/v1/games/ABC/events?afterSeq=7", headers=headers) as reply,
        ):
            assert reply.status_code == 200
            assert reply.headers["content-type"] == "text/event-stream"
            assert reply.headers["cache-control"] == "no-store"
            lines = reply.aiter_lines()
            assert [await anext(lines) for _ in range(3)] == ["id: 8-epoch", "data: {}", ""]
            heard.set()
            assert [line async for line in lines] == ["data: 1", ""]
    assert last_event_ids == ["7-epoch"] * 2


async def test_a_stream_that_is_refused_has_a_status_and_json(scripted: Door) -> None:
    async def answer(request: Any, context: Any) -> AsyncIterator[httpbody_pb2.HttpBody]:
        await context.abort(grpc.StatusCode.NOT_FOUND, "No such room.")
        yield httpbody_pb2.HttpBody()

    for game in scripted.games:
        game.answers[EVENTS] = answer
    reply = await scripted.http.get("/v1/games/ABC/events", headers=scripted.bearer())
    assert (reply.status_code, reply.headers["content-type"]) == (404, "application/json")
    assert reply.json() == {"code": 5, "message": "No such room.", "details": []}


async def test_a_bidirectional_stream_answers_message_by_message(scripted: Door) -> None:
    async def answer(requests: Any, context: Any) -> AsyncIterator[game_pb2.PlayResponse]:
        async for request in requests:
            yield game_pb2.PlayResponse(acks=[game_pb2.SwipeAck(swipe_id=request.swipe.swipe_id)])

    for game in scripted.games:
        game.answers[PLAY] = answer
    play = scripted.channel.stream_stream(
        PLAY,
        request_serializer=game_pb2.PlayRequest.SerializeToString,
        response_deserializer=game_pb2.PlayResponse.FromString,
    )
    call = play(metadata=tuple(scripted.bearer().items()), timeout=10)
    for swipe_id in ("a", "b"):
        await call.write(game_pb2.PlayRequest(swipe=game_pb2.PlaySwipe(swipe_id=swipe_id)))
        reply = await call.read()
        assert isinstance(reply, game_pb2.PlayResponse)
        assert reply.acks[0].swipe_id == swipe_id
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


@pytest.mark.parametrize(
    "kind", ["application/grpc-web+proto", "application/grpc-web", "application/grpc-web-text"]
)
async def test_grpc_web_calls_a_method(scripted: Door, kind: str) -> None:
    async def answer(request: Any, context: Any) -> library_pb2.GetMovieResponse:
        response = library_pb2.GetMovieResponse()
        response.movie.id = request.movie_id
        return response

    scripted.gateway.answers[MOVIE] = answer
    body = frame(library_pb2.GetMovieRequest(movie_id=603).SerializeToString())
    text = kind.endswith("-text")
    reply = await scripted.http.post(
        MOVIE,
        content=base64.b64encode(body) if text else body,
        headers={**scripted.bearer(), **ORIGIN, "content-type": kind, "accept": kind, "x-grpc-web": "1"},
    )
    assert reply.status_code == 200
    assert reply.headers["content-type"] == (kind if kind.endswith("proto") else f"{kind}+proto")
    assert reply.headers["access-control-allow-origin"] == ORIGIN["origin"]
    # In text mode each piece is base64 of its own.
    pieces = [base64.b64decode(part) for part in split_base64(reply.content)] if text else [reply.content]
    (zero, message), (flag, trailers) = read_frames(b"".join(pieces))
    assert (zero, flag) == (0, 0x80)
    assert library_pb2.GetMovieResponse.FromString(message).movie.id == 603
    assert b"grpc-status:0" in trailers


def split_base64(text: bytes) -> list[bytes]:
    """Cuts after each padding: pieces that were encoded one after the other."""
    pieces, start = [], 0
    for at in range(4, len(text) + 4, 4):
        if text[at - 1 : at] == b"=" or at >= len(text):
            pieces.append(text[start:at])
            start = at
    return [piece for piece in pieces if piece]


async def test_grpc_web_hears_a_refusal_as_trailers(scripted: Door) -> None:
    reply = await scripted.http.post(
        ACCOUNT,
        content=frame(b""),
        headers={**ORIGIN, "content-type": "application/grpc-web+proto", "x-grpc-web": "1"},
    )
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/grpc-web+proto")
    ((flag, trailers),) = read_frames(reply.content)
    lines = dict(line.split(":", 1) for line in trailers.decode().split("\r\n") if line)
    assert flag == 0x80
    assert lines["grpc-status"] == "16"
    assert lines["grpc-message"] == "This call needs an access token: Authorization: Bearer ..."
    status = status_pb2.Status.FromString(base64.b64decode(lines["grpc-status-details-bin"] + "=="))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, info.reason) == (16, "MISSING_TOKEN")


async def test_grpc_web_in_text_mode_hears_a_refusal_too(scripted: Door) -> None:
    kind = "application/grpc-web-text"
    reply = await scripted.http.post(
        ACCOUNT, content=base64.b64encode(frame(b"")), headers={"content-type": kind, "accept": kind}
    )
    assert (reply.headers["grpc-status"], reply.content) == ("16", b"")


async def test_grpc_hears_a_refusal_as_status_message_and_details(scripted: Door) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await scripted.grpc(ACCOUNT)
    status = rpc_status.from_call(refusal.value)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, info.reason, info.domain) == (16, "MISSING_TOKEN", "eveningpopcorn.dev")
    assert refusal.value.details() == "This call needs an access token: Authorization: Bearer ..."


@pytest.mark.parametrize("path", ["/v1/me", "/v1/games/ABC/events", ACCOUNT, "/v1/nothing"])
async def test_a_browser_of_ours_may_ask_first_and_then_call(scripted: Door, path: str) -> None:
    asks = {
        **ORIGIN,
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "authorization,content-type",
    }
    reply = await scripted.http.options(path, headers=asks)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == ORIGIN["origin"]
    assert "PATCH" in reply.headers["access-control-allow-methods"]
    for name in ("authorization", "x-grpc-web", "x-region", "x-device", "accept-language", "x-game-code"):
        assert name in reply.headers["access-control-allow-headers"]
    # A refusal may be read too: the page has to know that it needs a token.
    reply = await scripted.http.get(path, headers=ORIGIN)
    assert reply.status_code in (401, 404)
    assert reply.headers["access-control-allow-origin"] == ORIGIN["origin"]
    exposed = ("grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id", "retry-after")
    for name in (*exposed, "content-disposition"):
        assert name in reply.headers["access-control-expose-headers"]


async def test_other_pages_may_not(scripted: Door) -> None:
    for origin in ("https://evil.test", "https://app.popcorn.test.evil.test", "null"):
        reply = await scripted.http.options(
            "/v1/me", headers={"origin": origin, "access-control-request-method": "GET"}
        )
        assert "access-control-allow-origin" not in reply.headers


async def test_a_request_has_one_id_of_the_edge_s_making(scripted: Door, marker: str) -> None:
    headers = {**scripted.bearer(), "x-request-id": "mine", "x-marker": marker}
    reply = await scripted.http.get("/v1/me", headers=headers)
    assert reply.headers["x-request-id"] != "mine"
    assert scripted.reached(marker)[0].all("x-request-id") == [reply.headers["x-request-id"]]
    assert (await scripted.http.get("/v1/nothing")).headers["x-request-id"]


async def test_language_region_device_and_room_travel_on(scripted: Door, marker: str) -> None:
    said = {
        "accept-language": "de-AT, de;q=0.8",
        "x-region": "AT",
        "x-device": "Ada's%20phone",
        "x-game-code": "7K3MXQ2A",
    }
    await scripted.http.get("/v1/games/7K3MXQ2A", headers={**scripted.bearer(), **said, "x-marker": marker})
    call = scripted.reached(marker)[0]
    assert {name: call.all(name) for name in said} == {name: [value] for name, value in said.items()}


@pytest.mark.parametrize("form", ["rest", "grpc"])
async def test_the_players_of_a_room_meet_on_one_replica(scripted: Door, marker: str, form: str) -> None:
    rooms = [f"ROOM{number:04}" for number in range(40)]
    for room in rooms:
        for _ in range(2):
            headers = {**scripted.bearer(), "x-marker": marker + room}
            if form == "grpc":
                await scripted.grpc(GET_GAME, metadata={**headers, "x-game-code": room})
            else:
                await scripted.http.get(f"/v1/games/{room}", headers=headers)
                await scripted.http.post(f"/v1/games/{room}:join", content="{}", headers=headers)
                await scripted.http.get(f"/v1/games/{room}/picks", headers=headers)
    where = {room: {call.replica for call in scripted.reached(marker + room)} for room in rooms}
    assert {len(replicas) for replicas in where.values()} == {1}
    assert set().union(*where.values()) == {"game-1", "game-2"}


async def test_the_log_has_neither_queries_nor_tokens(scripted: Door) -> None:
    secret = "what-i-search-for"
    reply = await scripted.http.get(f"/v1/movies:search?query={secret}", headers=scripted.bearer())
    identity = reply.headers["x-request-id"]
    log = scripted.edge.process.log
    async with asyncio.timeout(20):
        while identity not in (text := log.read_text()):  # noqa: ASYNC110 - Envoy flushes when it likes
            await asyncio.sleep(0.1)
    line = next(json.loads(line) for line in text.splitlines() if identity in line)
    assert line["path"] == "/v1/movies:search"
    assert line["rpc"] == "/popcorn.gateway.v1.LibraryService/SearchMovies"
    assert (line["status"], line["grpc_status"]) == (200, "OK")
    assert secret not in text
    assert "eyJ" not in text


async def test_one_client_of_each_http_version_is_served(door: Door) -> None:
    versions = set()
    for client in (door.http, door.http2):
        reply: httpx.Response = await client.get("/v1/me", headers=door.bearer())
        assert reply.status_code == 200
        versions.add(reply.http_version)
    assert versions == {"HTTP/1.1", "HTTP/2"}


@pytest.mark.parametrize("name", ["5%", "#yes", "a!b", "it's", "x|y", "~", "$6^"])
async def test_header_names_that_grpc_does_not_have_stay_outside(door: Door, marker: str, name: str) -> None:
    headers = {**door.bearer(), "x-marker": marker, name: "1", "x-fine.name": "2"}
    for client in (door.http, door.http2):
        assert (await client.get("/v1/me", headers=headers)).status_code == 200
    for call in door.reached(marker):
        assert not call.all(name)
        assert call.all("x-fine.name") == ["2"]
