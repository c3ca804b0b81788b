"""Imports on the real service, worked off when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pytest

from backlog_svc.import_store import ImportStore
from backlog_svc.importing import Importing
from backlog_svc.movies import Movies
from backlog_svc.tests.conftest import SetClock
from mesh.postgres import Database
from popcorn.backlog.v1 import backlog_pb2 as pb

if TYPE_CHECKING:
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

HEADER = "Date,Name,Year,Letterboxd URI\n"
WITH_RATING = "Date,Name,Year,Letterboxd URI,Rating\n"


def films(numbers: Iterable[int], *, word: str = "Film") -> str:
    """A watchlist of films that movie_svc knows by their numbers."""
    return HEADER + "".join(f"2024-05-01,{word} {number},1979,u\n" for number in numbers)


def chunks(first: pb.StartImportRequest, file: bytes) -> Iterator[pb.StartImportRequest]:
    yield first
    for begin in range(0, len(file), 200_000):
        yield pb.StartImportRequest(data=file[begin : begin + 200_000])


class Person:
    """Somebody, and what they do with files."""

    def __init__(self, backlog: BacklogServiceAsyncStub, importing: Importing, user: str) -> None:
        self.backlog = backlog
        self.importing = importing
        self.user = user

    async def hand_in(self, file: str | bytes, *, dry_run: bool = False) -> pb.ImportJob:
        """The import as it is when the file has been taken in."""
        first = pb.StartImportRequest(user_id=self.user, dry_run=dry_run, languages=["de", "en"])
        data = file.encode() if isinstance(file, str) else file
        return (await self.backlog.StartImport(chunks(first, data), timeout=30)).job

    async def job(self, import_id: str) -> pb.ImportJob:
        asked = pb.GetImportRequest(user_id=self.user, import_id=import_id)
        return (await self.backlog.GetImport(asked)).job

    async def import_(self, file: str | bytes, *, dry_run: bool = False) -> pb.ImportJob:
        """The import once it is done."""
        job = await self.hand_in(file, dry_run=dry_run)
        while await self.importing.round():
            pass
        return await self.job(job.import_id)

    async def rows(self, job: pb.ImportJob, **more: object) -> pb.ListImportRowsResponse:
        asked = pb.ListImportRowsRequest(user_id=self.user, import_id=job.import_id, **more)  # type: ignore[arg-type]
        return await self.backlog.ListImportRows(asked)

    async def settle(self, job: pb.ImportJob, *choices: pb.ImportChoice) -> pb.ImportJob:
        asked = pb.SettleImportRequest(user_id=self.user, import_id=job.import_id, choices=choices)
        return (await self.backlog.SettleImport(asked)).job

    async def entries(self) -> dict[int, pb.Entry]:
        """The backlog, by film."""
        found: dict[int, pb.Entry] = {}
        token = ""
        while True:
            page = await self.backlog.ListEntries(
                pb.ListEntriesRequest(user_id=self.user, page_size=100, page_token=token)
            )
            found |= {entry.movie_id: entry for entry in page.entries}
            token = page.next_page_token
            if not token:
                return found


def counts(job: pb.ImportJob) -> dict[str, int]:
    """The counts that are not 0, but those of the file itself."""
    names = ("added", "changed", "unchanged", "skipped_series", "unsettled", "failed", "skipped", "shortened")
    return {name: number for name in names if (number := getattr(job, name))}


@pytest.fixture(scope="session")
def import_store(database: Database) -> ImportStore:
    return ImportStore(database)


@pytest.fixture(scope="session")
def importing(import_store: ImportStore, movies: Movies, clock: SetClock) -> Importing:
    return Importing(import_store, movies, clock=clock, work_arrived=asyncio.Event())


@pytest.fixture
def new_person(
    backlog: BacklogServiceAsyncStub, importing: Importing, somebody: Callable[[], str]
) -> Callable[[], Person]:
    return lambda: Person(backlog, importing, somebody())


@pytest.fixture
def ada(new_person: Callable[[], Person]) -> Person:
    return new_person()
