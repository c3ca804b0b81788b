"""After the match: the night is on record, two taps and everybody has watched it, and the numbers show it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4
from xml.etree import ElementTree

import grpc
import pytest

from dev.mesh import Mesh
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc
from tests.test_account_life import Phone, phone_of

SPIRITED_AWAY, UNKNOWN = 129, 2**31 - 1


@pytest.fixture(name="people")
async def _people(mesh: Mesh) -> AsyncIterator[list[Phone]]:
    phones = [await phone_of(mesh, name) for name in ("Ada", "Grace", "Eve")]
    yield phones
    for phone in phones:
        await phone.rest.aclose()


async def matched(mesh: Mesh, movie_id: int, *people: Phone) -> str:
    """Tells backlogs of a match, as a game does. Returns the game's id."""
    game_id = uuid4().hex
    match = backlog_pb2.Match(
        game_id=game_id,
        game_name="Friday",
        movie_id=movie_id,
        participants=[
            backlog_pb2.Match.Participant(user_id=phone.user_id, display_name=name)
            for phone, name in zip(people, ("Ada", "Grace"), strict=False)
        ],
    )
    match.match_time.FromDatetime(datetime.now(UTC))
    async with grpc.aio.insecure_channel(mesh.targets["backlog_svc"]) as channel:
        backlogs = backlog_pb2_grpc.BacklogServiceStub(channel)
        answer = await backlogs.RecordMatch(backlog_pb2.RecordMatchRequest(match=match, game_seq=7))
    assert answer.recorded
    return game_id


async def test_two_taps_after_the_match_everybody_has_watched_it(mesh: Mesh, people: list[Phone]) -> None:
    ada, grace, eve = people
    await grace.call("PUT", f"/v1/backlog/{SPIRITED_AWAY}", json={"note": "with tea", "rating": 5})
    game_id = await matched(mesh, SPIRITED_AWAY, ada, grace)
    await matched(mesh, UNKNOWN, ada)

    listed = await ada.call("GET", "/v1/movieNights", headers={"accept-language": "de"})
    assert listed["totalSize"] == 2
    missing, night = listed["movieNights"]
    assert missing["movieMissing"] == "CAUSE_NOT_FOUND"
    assert night["movie"]["title"] == "Chihiros Reise ins Zauberland"
    assert [one["displayName"] for one in night["match"]["participants"]] == ["Ada", "Grace"]
    assert grace.user_id not in str(listed)

    path = f"/v1/movieNights/{game_id}/{SPIRITED_AWAY}:watched"
    last_night = (datetime.now(UTC) - timedelta(hours=9)).isoformat(timespec="seconds").replace("+00:00", "Z")
    done = await ada.call("POST", path, json={"watchTime": last_night})
    assert (done["moved"], done["match"]["watchTime"]) == (2, last_night)
    assert done["entry"]["source"] == "ENTRY_SOURCE_MOVIE_NIGHT"
    assert grace.user_id not in str(done)
    assert (await grace.call("POST", path, json={}))["moved"] == 0
    [hers] = (await grace.call("GET", "/v1/backlog?status=ENTRY_STATUS_WATCHED"))["items"]
    assert (hers["entry"]["note"], hers["entry"]["rating"]) == ("with tea", 5)
    assert hers["entry"]["watchTime"] == last_night

    for own in (await eve.call("GET", "/v1/movieNights"), await eve.call("GET", "/v1/backlog")):
        assert own["totalSize"] == 0
    for stranger in (
        await eve.rest.post(path, json={}),
        await eve.rest.post(path, json={"userId": ada.user_id}),
        await eve.rest.post(f"/v1/movieNights/{uuid4().hex}/{SPIRITED_AWAY}:watched", json={}),
    ):
        assert stranger.status_code == 404
        assert stranger.json()["details"][0]["reason"] == "MOVIE_NIGHT_NOT_FOUND"
    for query in (f"userId={ada.user_id}", f"user_id={ada.user_id}", f"gameId={game_id}"):
        elsewhere = f"/v1/movieNights/{uuid4().hex}/{SPIRITED_AWAY}:watched?{query}"
        assert (await eve.rest.post(elsewhere, json={})).status_code in (400, 404)
    token = (await ada.call("GET", "/v1/movieNights?pageSize=1"))["nextPageToken"]
    assert (await eve.rest.get("/v1/movieNights", params={"pageToken": token})).status_code == 400

    left = await ada.call("DELETE", "/v1/me")
    assert left == {}
    async with asyncio.timeout(60):
        while "Ada" in str(await grace.call("GET", "/v1/movieNights")):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.2)
    [night] = (await grace.call("GET", "/v1/movieNights"))["movieNights"]
    assert [one["displayName"] for one in night["match"]["participants"]] == ["", "Grace"]


async def test_numbers_and_their_picture_come_over_rest(mesh: Mesh, people: list[Phone]) -> None:
    ada = people[0]
    await ada.call(
        "PUT", f"/v1/backlog/{SPIRITED_AWAY}", json={"status": "ENTRY_STATUS_WATCHED", "rating": 4.5}
    )
    async with asyncio.timeout(30):
        # What is known of a film comes a moment after its first entry.
        while (stats := (await ada.call("GET", "/v1/backlog:stats"))["stats"])["withoutGenre"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert stats["watchedMinutes"] == "125"
    assert stats["decades"] == [{"decade": 2000, "count": 1}]
    assert [one["count"] for one in stats["ratings"]] == [0] * 8 + [1, 0]
    picture = await ada.rest.get("/v1/backlog:statsChart", headers={"accept-language": "de"})
    assert picture.status_code == 200
    assert picture.headers["content-type"] == "image/svg+xml"
    texts = {element.text for element in ElementTree.fromstring(picture.content).iter()}
    assert {"Meine Filme in Zahlen", "Animation", "2000er", "2 Stunden Film"} <= texts
