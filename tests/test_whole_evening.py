"""A whole evening over REST, through the real edge and all services: from the lobby to what is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from dev.mesh import Mesh
from tests.test_account_life import Phone, phone_of

ALIEN, BLADE_RUNNER, CASABLANCA, SPIRITED_AWAY = 348, 78, 289, 129


@pytest.fixture(name="people")
async def _people(mesh: Mesh) -> AsyncIterator[list[Phone]]:
    phones = [await phone_of(mesh, name) for name in ("Ada", "Grace", "Eve")]
    yield phones
    for phone in phones:
        await phone.rest.aclose()


async def swipe(phone: Phone, code: str, movie_id: int, verdict: str) -> None:
    body = {"swipeId": f"{movie_id}-{verdict}", "movieId": movie_id, "verdict": f"VERDICT_{verdict}"}
    await phone.call("POST", f"/v1/games/{code}/swipes", json=body)


async def room_of(ada: Phone, grace: Phone, **settings: Any) -> str:
    code: str = (await ada.call("POST", "/v1/games", json={"settings": settings}))["game"]["code"]
    await grace.call("POST", f"/v1/games/{code}:join", json={})
    return code


async def nights_of(phone: Phone, *, at_least: int) -> list[int]:
    """The films of somebody's movie nights, once there are so many."""
    async with asyncio.timeout(30):
        while True:
            nights = (await phone.call("GET", "/v1/movieNights"))["movieNights"]
            if len(nights) >= at_least:
                return [night["match"]["movieId"] for night in nights]
            await asyncio.sleep(0.1)


async def test_from_the_lobby_to_the_results(people: list[Phone]) -> None:
    ada, grace, eve = people
    for phone in (ada, grace):
        await phone.call("PUT", f"/v1/backlog/{ALIEN}", json={})
    await ada.call("PUT", f"/v1/backlog/{SPIRITED_AWAY}", json={})
    await grace.call("PUT", f"/v1/backlog/{CASABLANCA}", json={"status": "ENTRY_STATUS_WATCHED"})

    code = await room_of(ada, grace)
    mask = "name,settings.deckSources,settings.leaveOutWatched,settings.maxMovies"
    change = {
        "name": "Saturday",
        "settings": {
            "deckSources": ["DECK_SOURCE_BACKLOGS", "DECK_SOURCE_PICKS"],
            "leaveOutWatched": True,
            "maxMovies": 10,
        },
    }
    changed = await ada.call("PATCH", f"/v1/games/{code}?updateMask={mask}", json=change)
    assert changed["game"]["name"] == "Saturday"
    for movie_id in (CASABLANCA, BLADE_RUNNER):
        await ada.call("PUT", f"/v1/games/{code}/picks/{movie_id}")
    count = await grace.call("GET", f"/v1/games/{code}/deck:count")
    assert (count["movies"], [source["movies"] for source in count["sources"]]) == (3, [1, 2])

    picture = await grace.rest.get(f"/v1/games/{code}/qr", params={"format": "FORMAT_PNG"})
    assert (picture.headers["content-type"], picture.content[1:4]) == ("image/png", b"PNG")
    await ada.call("POST", f"/v1/games/{code}:lock", json={"locked": True})
    locked = await eve.rest.post(f"/v1/games/{code}:join", json={})
    assert locked.json()["details"][0]["reason"] == "ROOM_LOCKED"

    started = await ada.call("POST", f"/v1/games/{code}:start", json={})
    assert started["game"]["deckSize"] == 3, "what Grace has watched is left out"
    await swipe(ada, code, ALIEN, "LIKE")
    await ada.call("DELETE", f"/v1/games/{code}/swipes/{ALIEN}?swipeId={ALIEN}-LIKE")
    for movie_id in (ALIEN, SPIRITED_AWAY, BLADE_RUNNER):
        await swipe(ada, code, movie_id, "SUPERLIKE" if movie_id == ALIEN else "PASS")
        await swipe(grace, code, movie_id, "SEEN_IT" if movie_id == BLADE_RUNNER else "PASS")
    results = await grace.call("GET", f"/v1/games/{code}/results")
    assert [(miss["movieId"], miss["percent"]) for miss in results["nearMisses"]] == [(ALIEN, 50)]

    await ada.call("POST", f"/v1/games/{code}:runOff", json={})
    for movie_id in [card["movieId"] for card in (await ada.call("GET", f"/v1/games/{code}/deck"))["cards"]]:
        for phone in (ada, grace):
            body = {"swipeId": f"again-{movie_id}", "movieId": movie_id, "verdict": "VERDICT_PASS"}
            await phone.call("POST", f"/v1/games/{code}/swipes", json=body)
    drawn = await ada.call("POST", f"/v1/games/{code}:draw", json={})
    winner = drawn["winner"]["movieId"]
    assert winner in drawn["winner"]["among"]
    assert drawn["game"]["endCause"] == "END_CAUSE_DRAW"

    results = await grace.call("GET", f"/v1/games/{code}/results")
    assert (results["winner"]["movieId"], results["runOffs"]) == (winner, 1)
    assert [game["code"] for game in (await grace.call("GET", "/v1/me/games"))["games"]] == [code]
    assert await nights_of(grace, at_least=1) == [winner]
    watched = "ENTRY_STATUS_WATCHED"
    async with asyncio.timeout(30):
        while True:
            items = (await grace.call("GET", f"/v1/backlog?status={watched}"))["items"]
            if {item["entry"]["movieId"] for item in items} == {CASABLANCA, BLADE_RUNNER}:
                break
            await asyncio.sleep(0.1)


async def test_a_match_outlives_all_of_redis(mesh: Mesh, people: list[Phone]) -> None:
    ada, grace, _ = people
    code = await room_of(ada, grace)
    for movie_id in (ALIEN, CASABLANCA):
        await ada.call("PUT", f"/v1/games/{code}/picks/{movie_id}")
    await ada.call("POST", f"/v1/games/{code}:start", json={})
    await swipe(ada, code, ALIEN, "LIKE")
    await swipe(grace, code, ALIEN, "LIKE")
    assert (await ada.call("GET", f"/v1/games/{code}"))["game"]["matches"][0]["movieId"] == ALIEN
    await asyncio.sleep(1)
    async with Redis.from_url(mesh.environment["REDIS_URL"]) as redis:
        await redis.flushall()
    gone = await ada.rest.get(f"/v1/games/{code}")
    assert gone.json()["details"][0]["reason"] == "GAME_NOT_FOUND"
    for phone in (ada, grace):
        assert await nights_of(phone, at_least=1) == [ALIEN]
    assert await room_of(ada, grace), "and the next evening begins"


async def test_six_wrong_codes_are_too_many(people: list[Phone]) -> None:
    eve = people[2]
    answers = [await eve.rest.post(f"/v1/games/0000000{number}:join", json={}) for number in range(6)]
    assert [answer.status_code for answer in answers] == [404] * 5 + [429]
    assert answers[-1].json()["details"][0]["reason"] == "TOO_MANY_WRONG_CODES"
