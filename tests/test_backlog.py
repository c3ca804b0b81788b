"""The backlog as a phone has it: REST through the real edge, with films from the stand-in for TMDB."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from dev.mesh import Mesh

ALIEN, BLADE_RUNNER, CASABLANCA, SPIRITED_AWAY = 348, 78, 289, 129
FILMS = (ALIEN, BLADE_RUNNER, CASABLANCA, SPIRITED_AWAY)


async def phone_of(mesh: Mesh) -> httpx.AsyncClient:
    rest = httpx.AsyncClient(
        base_url=mesh.edge_url, timeout=10, headers={"accept-language": "de", "x-region": "DE"}
    )
    asked = {"provider": "google", "subject": uuid4().hex, "name": "Somebody"}
    id_token = (await rest.post(f"{mesh.idp_url}/tokens", json=asked)).json()["idToken"]
    session = await rest.post("/v1/auth:signIn", json={"provider": "PROVIDER_GOOGLE", "idToken": id_token})
    rest.headers["authorization"] = f"Bearer {session.json()['tokens']['accessToken']}"
    return rest


@pytest.fixture(name="ada")
async def _ada(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with four films."""
    rest = await phone_of(mesh)
    for movie_id in FILMS:
        assert (await rest.put(f"/v1/backlog/{movie_id}", json={"note": f"No {movie_id}"})).is_success
    yield rest
    await rest.aclose()


@pytest.fixture(name="grace")
async def _grace(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    rest = await phone_of(mesh)
    yield rest
    await rest.aclose()


async def listed(rest: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await rest.get("/v1/backlog", params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def ids(page: dict[str, Any]) -> list[int]:
    return [item["entry"]["movieId"] for item in page["items"]]


def reason(answer: httpx.Response) -> str:
    return str(answer.json()["details"][0]["reason"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"orderBy": "ENTRY_ORDER_RELEASE_DATE_ASC"}, [CASABLANCA, ALIEN, BLADE_RUNNER, SPIRITED_AWAY]),
        ({"orderBy": "ENTRY_ORDER_RELEASE_DATE_DESC"}, [SPIRITED_AWAY, BLADE_RUNNER, ALIEN, CASABLANCA]),
        ({"decade": 1940}, [CASABLANCA]),
        ({"genreIds": 16}, [SPIRITED_AWAY]),
        ({"genreIds": [878, 27]}, [ALIEN]),
        ({"text": "CHIHÍRO"}, [SPIRITED_AWAY]),
        ({"text": "348"}, [ALIEN]),
        ({"text": "%"}, []),
        ({"maxRuntimeMinutes": 105}, [CASABLANCA]),
    ],
)
async def test_lists_are_filtered_and_ordered_by_what_films_are(
    ada: httpx.AsyncClient, query: dict[str, Any], found: list[int]
) -> None:
    page = await listed(ada, **query)
    assert ids(page) == found
    assert (page["totalSize"], page["undecidedSize"]) == (len(found), 0)
    assert all(item["movie"]["title"] for item in page["items"])


async def test_titles_are_in_order_in_the_language_that_they_are_shown_in(ada: httpx.AsyncClient) -> None:
    for language in ("de", "en", "fr"):
        ada.headers["accept-language"] = language
        page = await listed(ada, orderBy="ENTRY_ORDER_TITLE_ASC")
        titles = [item["movie"]["title"] for item in page["items"]]
        assert titles == sorted(titles), language
        page = await listed(ada, orderBy="ENTRY_ORDER_TITLE_DESC")
        assert [item["movie"]["title"] for item in page["items"]] == titles[::-1]


async def test_who_has_a_film_by_subscription_is_asked_of_the_callers_region(ada: httpx.AsyncClient) -> None:
    has: dict[int, set[int]] = {}
    for item in (await listed(ada))["items"]:
        watch = item["movie"].get("watch") or {}
        has[item["entry"]["movieId"]] = {one["id"] for one in watch.get("subscription", ())}
    everybody = set().union(*has.values())
    assert everybody, "the catalogue has subscriptions in Germany"
    for provider in everybody:
        page = await listed(ada, providerIds=provider, orderBy="ENTRY_ORDER_ADDED_ASC")
        assert ids(page) == [movie_id for movie_id in FILMS if provider in has[movie_id]]
        assert page["undecidedSize"] == 0


async def test_pages_go_on_where_they_ended_and_only_there(
    ada: httpx.AsyncClient, grace: httpx.AsyncClient
) -> None:
    query: dict[str, Any] = {"orderBy": "ENTRY_ORDER_TITLE_DESC", "pageSize": 3}
    first = await listed(ada, **query)
    rest = await listed(ada, **query, pageToken=first["nextPageToken"])
    everything = await listed(ada, orderBy="ENTRY_ORDER_TITLE_DESC")
    assert ids(first) + ids(rest) == ids(everything)
    assert sorted(ids(everything)) == sorted(FILMS)
    assert rest["nextPageToken"] == ""
    for phone, changed in (
        (ada, {"orderBy": "ENTRY_ORDER_TITLE_ASC"}),
        (ada, {"decade": 1940}),
        (ada, {"text": "a"}),
        (grace, {}),
    ):
        answer = await phone.get(
            "/v1/backlog", params={**query, **changed, "pageToken": first["nextPageToken"]}
        )
        assert (answer.status_code, reason(answer)) == (400, "INVALID_INPUT")


async def test_a_patch_changes_what_its_mask_names(ada: httpx.AsyncClient) -> None:
    path = f"/v1/backlog/{ALIEN}"
    answer = await ada.patch(
        path,
        params={"updateMask": "rating,watchTime,status"},
        json={"note": "ignored", "rating": 4.5, "status": "ENTRY_STATUS_WATCHED"},
    )
    assert answer.status_code == 200, answer.text
    item = answer.json()["item"]
    assert item["movie"]["title"]
    entry = item["entry"]
    assert (entry["note"], entry["rating"], entry["status"]) == ("No 348", 4.5, "ENTRY_STATUS_WATCHED")
    assert entry["watchTime"] == entry["updateTime"]

    emptied = (await ada.patch(path, params={"updateMask": "note,rating"}, json={})).json()["item"]["entry"]
    assert (emptied["note"], emptied.get("rating")) == ("", None)
    assert emptied["status"] == "ENTRY_STATUS_WATCHED"


async def test_a_patch_without_a_mask_changes_what_is_set(ada: httpx.AsyncClient) -> None:
    answer = await ada.patch(f"/v1/backlog/{ALIEN}", json={"tags": ["space"], "movieId": BLADE_RUNNER})
    entry = answer.json()["item"]["entry"]
    assert (entry["movieId"], entry["note"], entry["tags"]) == (ALIEN, "No 348", ["space"])
    nothing = (await ada.patch(f"/v1/backlog/{ALIEN}", json={})).json()["item"]["entry"]
    assert nothing == entry


async def test_a_patch_with_an_etag_loses_to_whoever_was_faster(ada: httpx.AsyncClient) -> None:
    path = f"/v1/backlog/{ALIEN}"
    etag = (await ada.patch(path, json={"rating": 3})).json()["item"]["entry"]["etag"]
    won = await ada.patch(path, params={"etag": etag}, json={"rating": 4})
    assert won.status_code == 200
    lost = await ada.patch(path, params={"etag": etag}, json={"rating": 5})
    assert (lost.status_code, reason(lost)) == (409, "ENTRY_CHANGED")
    assert (await ada.patch(path, json={})).json()["item"]["entry"]["rating"] == 4


@pytest.mark.parametrize("path", ["source", "movieId", "addTime", "entry.note", "everything"])
async def test_a_mask_that_names_what_cannot_be_changed_is_refused(ada: httpx.AsyncClient, path: str) -> None:
    answer = await ada.patch(f"/v1/backlog/{ALIEN}", params={"updateMask": f"note,{path}"}, json={})
    assert (answer.status_code, reason(answer)) == (400, "INVALID_INPUT")
    [violation] = answer.json()["details"][1]["fieldViolations"]
    assert violation["field"] == "update_mask.paths[1]"
    assert (await ada.patch(f"/v1/backlog/{ALIEN}", json={})).json()["item"]["entry"]["note"] == "No 348"


async def test_nothing_that_is_sent_reaches_another_persons_entries(
    ada: httpx.AsyncClient, grace: httpx.AsyncClient
) -> None:
    before = await listed(ada)
    etag = before["items"][0]["entry"]["etag"]
    her_id = (await ada.get("/v1/me")).json()["account"]["userId"]
    for movie_id in FILMS:
        missing = await grace.patch(
            f"/v1/backlog/{movie_id}", params={"etag": etag, "userId": her_id}, json={"note": "mine"}
        )
        assert missing.status_code in (400, 404), missing.text
        missing = await grace.patch(
            f"/v1/backlog/{movie_id}", json={"note": "mine", "userId": her_id, "user_id": her_id}
        )
        assert (missing.status_code, reason(missing)) == (404, "ENTRY_NOT_FOUND")
        assert (await grace.delete(f"/v1/backlog/{movie_id}")).json() == {"removed": False}
    for query in ({}, {"text": "No"}, {"userId": her_id}, {"user_id": her_id}, {"tag": "' OR TRUE --"}):
        answer = await grace.get("/v1/backlog", params=query)
        assert answer.status_code == 400 or answer.json()["totalSize"] == 0
    put = await grace.put(f"/v1/backlog/{ALIEN}", json={"note": "mine", "userId": her_id})
    assert put.json()["added"] is True
    assert await listed(ada) == before
