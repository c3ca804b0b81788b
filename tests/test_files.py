"""Bringing a list and taking it away again, through the real edge."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import httpx
import pytest

from dev.mesh import Mesh
from popcorn.backlog.v1 import backlog_pb2
from popcorn.gateway.v1 import library_pb2, library_pb2_grpc

SECONDS = 60.0
SPIRITED_AWAY = 129
ZIPPED = {
    "watchlist.csv": "Date,Name,Year,Letterboxd URI\n2024-05-01,Alien,1979,https://boxd.it/1\n",
    "watched.csv": "Date,Name,Year,Letterboxd URI\n2024-05-02,Blade Runner,1982,https://boxd.it/2\n",
    "ratings.csv": "Date,Name,Year,Letterboxd URI,Rating\n2024-05-03,Blade Runner,1982,https://boxd.it/2,4.5\n",
    "likes/films.csv": "Date,Name,Year,Letterboxd URI\n2024-05-01,Casablanca,1942,https://boxd.it/3\n",
    "profile.csv": "Date Joined,Username\n2020-01-01,ada\n",
}


@asynccontextmanager
async def somebody_new(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody's REST client."""
    async with httpx.AsyncClient(base_url=mesh.edge_url, timeout=SECONDS) as client:
        asked = {"provider": "google", "subject": uuid4().hex, "name": "Ada"}
        id_token = (await client.post(f"{mesh.idp_url}/tokens", json=asked)).json()["idToken"]
        sign_in = {"provider": "PROVIDER_GOOGLE", "idToken": id_token}
        session = (await client.post("/v1/auth:signIn", json=sign_in)).json()
        client.headers["authorization"] = f"Bearer {session['tokens']['accessToken']}"
        yield client


@pytest.fixture
async def rest(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody new, over REST."""
    async with somebody_new(mesh) as client:
        yield client


@pytest.fixture
async def other(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody else."""
    async with somebody_new(mesh) as client:
        yield client


def metadata(rest: httpx.AsyncClient) -> tuple[tuple[str, str], ...]:
    return (("authorization", rest.headers["authorization"]),)


async def imported(rest: httpx.AsyncClient, file: bytes | str, **query: str) -> dict[str, Any]:
    """What an import has come to once it is done."""
    answer = await rest.post("/v1/backlog:import", content=file, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    async with asyncio.timeout(SECONDS):
        while body["job"]["state"] != "IMPORT_STATE_DONE":
            await asyncio.sleep(0.1)
            body = (await rest.get(f"/v1/backlog/imports/{body['job']['importId']}")).json()
    return body


def counts(body: dict[str, Any]) -> dict[str, int]:
    return {name: number for name, number in body["job"].items() if isinstance(number, int) and number}


def zipped(files: dict[str, str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made.getvalue()


async def test_letterboxds_archive_comes_in_and_again_changes_nothing(
    rest: httpx.AsyncClient,
) -> None:
    tried = await imported(rest, zipped(ZIPPED), dryRun="true")
    assert counts(tried) == {"dryRun": True, "films": 2, "done": 2, "added": 2}
    assert (await rest.get("/v1/backlog")).json()["totalSize"] == 0
    first = await imported(rest, zipped(ZIPPED))
    assert counts(first) == {"films": 2, "done": 2, "added": 2}
    assert (first["added"], first["job"]["format"]) == (2, "IMPORT_FORMAT_LETTERBOXD")
    listed = (await rest.get("/v1/backlog", params={"orderBy": "ENTRY_ORDER_ADDED_ASC"})).json()["items"]
    assert [
        (item["movie"]["title"], item["entry"]["status"], item["entry"].get("rating")) for item in listed
    ] == [("Alien", "ENTRY_STATUS_WANT_TO_WATCH", None), ("Blade Runner", "ENTRY_STATUS_WATCHED", 4.5)]
    assert {item["entry"]["source"] for item in listed} == {"ENTRY_SOURCE_IMPORT"}
    again = await imported(rest, zipped(ZIPPED))
    assert counts(again) == {"films": 2, "done": 2, "unchanged": 2}
    assert (await rest.get("/v1/backlog", params={"orderBy": "ENTRY_ORDER_ADDED_ASC"})).json()[
        "items"
    ] == listed


async def test_what_is_not_clear_waits_to_be_settled(rest: httpx.AsyncClient) -> None:
    file = "Date,Name,Year,Letterboxd URI\n2024-05-01,Alien,1981,u\n2024-05-01,Qwxzy Vbnmp,1911,u\n"
    body = await imported(rest, file)
    assert [(row["line"], row["title"]) for row in body["unsettled"]] == [(2, "Alien"), (3, "Qwxzy Vbnmp")]
    assert body["unsettled"][0]["candidates"][0]["title"] == "Alien"
    assert body["unsettled"][1]["candidates"] == []
    path = f"/v1/backlog/imports/{body['job']['importId']}"
    page = (await rest.get(f"{path}/rows", params={"pageSize": 1})).json()
    assert (page["totalSize"], page["rows"][0]["row"]["title"]) == (2, "Alien")
    page = (await rest.get(f"{path}/rows", params={"pageToken": page["nextPageToken"]})).json()
    assert ([row["row"]["title"] for row in page["rows"]], page["nextPageToken"]) == (["Qwxzy Vbnmp"], "")
    unknown = await rest.post(f"{path}:settle", json={"choices": [{"row": 1, "movieId": 99_999_999}]})
    assert (unknown.status_code, unknown.json()["details"][0]["reason"]) == (404, "MOVIE_NOT_FOUND")
    choices = {"choices": [{"row": 1, "movieId": 348}, {"row": 2, "skip": True}]}
    for _ in range(2):
        settled = await rest.post(f"{path}:settle", json=choices)
        assert settled.status_code == 200, settled.text
        assert counts(settled.json()) == {"films": 2, "done": 2, "added": 1, "skipped": 1}
    other = await rest.post(f"{path}:settle", json={"choices": [{"row": 2, "movieId": 348}]})
    assert (other.status_code, other.json()["details"][0]["reason"]) == (400, "IMPORT_ROW_SETTLED")
    assert (await rest.get("/v1/backlog")).json()["items"][0]["entry"]["movieId"] == 348


async def test_another_persons_import_is_not_there(rest: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    body = await imported(rest, "Date,Name,Year,Letterboxd URI\n2024-05-01,Alien,1981,u\n")
    path = f"/v1/backlog/imports/{body['job']['importId']}"
    choices = {"choices": [{"row": 1, "movieId": 348}]}
    for answer in (
        await other.get(path),
        await other.get(f"{path}/rows"),
        await other.get(f"{path}/rows", params={"userId": "x"}),
        await other.post(f"{path}:settle", json={**choices, "userId": "x"}),
    ):
        assert answer.status_code in (400, 404), answer.text
        assert answer.json()["details"][0]["reason"] in ("IMPORT_NOT_FOUND", "INVALID_REQUEST")
    assert (await rest.get(path)).json()["job"]["unsettled"] == 1


def pieces(file: bytes) -> Iterator[library_pb2.ImportBacklogRequest]:
    yield library_pb2.ImportBacklogRequest(plain_status=backlog_pb2.ENTRY_STATUS_WATCHED)
    for begin in range(0, len(file), 100_000):
        piece = library_pb2.ImportBacklogRequest()
        piece.file.data = file[begin : begin + 100_000]
        yield piece


async def test_a_file_of_several_megabytes_comes_in_over_rest_and_in_pieces_over_grpc(
    mesh: Mesh, rest: httpx.AsyncClient
) -> None:
    rows = [(number, f"Film {number}", "x" * 900) for number in range(1, 5001)]
    file = "tmdbID,Title,Review\n" + "".join(f'{number},"{title}",{note}\n' for number, title, note in rows)
    over_rest = await imported(rest, file)
    assert counts(over_rest) == {"films": 5000, "done": 5000, "added": 5000}
    async with grpc.aio.insecure_channel(mesh.edge_target) as channel:
        stub = library_pb2_grpc.LibraryServiceStub(channel)
        answer = await stub.ImportBacklog(pieces(file.encode()), metadata=metadata(rest), timeout=SECONDS)
        assert answer.job.films == 5000
        async with asyncio.timeout(SECONDS):
            while (job := answer.job).state != backlog_pb2.IMPORT_STATE_DONE:
                await asyncio.sleep(0.1)
                asked = library_pb2.GetImportRequest(import_id=job.import_id)
                answer = await stub.GetImport(asked, metadata=metadata(rest), timeout=SECONDS)  # type: ignore[assignment]
        assert answer.job.unchanged == 5000
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ExportBacklog(
                library_pb2.ExportBacklogRequest(), metadata=metadata(rest), timeout=SECONDS
            )
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        small = await stub.ExportBacklog(
            library_pb2.ExportBacklogRequest(status=backlog_pb2.ENTRY_STATUS_WATCHED),
            metadata=metadata(rest),
            timeout=SECONDS,
        )
        assert json.loads(small.file.data)["entries"] == []
    exported = await rest.get("/v1/backlog:export")
    assert exported.headers["content-type"] == "application/json"
    assert exported.headers["content-disposition"] == 'attachment; filename="evening-popcorn-backlog.json"'
    assert len(exported.content) > 4 * 1024 * 1024
    assert [entry["movieId"] for entry in exported.json()["entries"]] == [row[0] for row in rows]
    back = await imported(rest, exported.content)
    assert counts(back) == {"films": 5000, "done": 5000, "unchanged": 5000}


async def test_the_file_for_letterboxd_has_its_columns_and_nothing_that_runs(rest: httpx.AsyncClient) -> None:
    put = {"note": "=1+1", "rating": 4.5, "status": "ENTRY_STATUS_WATCHED", "tags": ["@home", "b"]}
    assert (await rest.put(f"/v1/backlog/{SPIRITED_AWAY}", json=put)).status_code == 200
    exported = await rest.get("/v1/backlog:export", params={"format": "FORMAT_LETTERBOXD_CSV"})
    assert exported.headers["content-type"] == "text/csv; charset=utf-8"
    [row] = csv.DictReader(io.StringIO(exported.text))
    assert list(row) == ["tmdbID", "Title", "Year", "Rating", "WatchedDate", "Tags", "Review"]
    assert (row["tmdbID"], row["Rating"], row["Tags"], row["Review"]) == ("129", "4.5", "'@home, b", "'=1+1")


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "UNKNOWN_FORMAT"),
        (b"a,b\n1,2\n", "UNKNOWN_FORMAT"),
        (b"PK\x03\x04 and nothing else", "UNREADABLE_ARCHIVE"),
        (b"tmdbID,Title\n" + b"1,a\n" * 50_001, "TOO_MANY_ROWS"),
        (b"tmdbID,Title\n" + b"x" * (33 * 1024 * 1024), "FILE_TOO_LARGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_file_that_cannot_be_taken_is_refused_with_a_reason(
    rest: httpx.AsyncClient, file: bytes, reason: str
) -> None:
    answer = await rest.post("/v1/backlog:import", content=file)
    assert answer.status_code == 400, answer.text
    assert answer.json()["details"][0]["reason"] == reason


def sample(repository: Path, name: str) -> bytes:
    path = repository.parent / "shared" / "imports" / name
    if not path.exists():
        pytest.skip(f"there is no {path}")
    return path.read_bytes()


async def test_recorded_samples_of_trakt_and_tmdb_come_in(rest: httpx.AsyncClient, repository: Path) -> None:
    first = await imported(rest, sample(repository, "tmdb_ratings.csv"))
    assert counts(first) == {"films": 2, "done": 2, "added": 2, "skippedSeries": 2}
    second = await imported(rest, sample(repository, "trakt_ratings.json"))
    assert counts(second) == {"films": 1, "done": 1, "unchanged": 1}
