"""All of it for the person themselves, and nothing once they are gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format

from mesh.postgres import Database
from popcorn.backlog.v1 import backlog_pb2 as pb

if TYPE_CHECKING:
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

DRAFTS = [
    pb.EntryDraft(
        movie_id=603, note="Ada's\nnote 🍿", rating=4.5, tags=["sci-fi"], status=pb.ENTRY_STATUS_WATCHED
    ),
    pb.EntryDraft(movie_id=129, source=pb.ENTRY_SOURCE_IMPORT),
    pb.EntryDraft(movie_id=2**31 - 1, status=pb.ENTRY_STATUS_DROPPED),
]


@pytest.fixture
async def people(backlog: BacklogServiceAsyncStub, somebody: Callable[[], str]) -> tuple[str, str]:
    """Two people with the same three films."""
    ada, bob = somebody(), somebody()
    for user in (ada, bob):
        for draft in DRAFTS:
            await backlog.PutEntry(pb.PutEntryRequest(user_id=user, entry=draft))
    return ada, bob


async def exported(backlog: BacklogServiceAsyncStub, user: str) -> dict[str, object]:
    answer = await backlog.ExportUser(pb.ExportUserRequest(user_id=user))
    return json_format.MessageToDict(answer.data)


async def test_an_export_holds_every_entry_as_it_is_listed(
    backlog: BacklogServiceAsyncStub, people: tuple[str, str]
) -> None:
    listed = await backlog.ListEntries(
        pb.ListEntriesRequest(user_id=people[0], order=pb.ENTRY_ORDER_ADDED_ASC)
    )
    data = await exported(backlog, people[0])
    assert data == {
        "entries": [json_format.MessageToDict(entry) for entry in listed.entries],
        "movieNights": [],
        "games": [],
        "imports": [],
    }
    assert len(listed.entries) == len(DRAFTS)


async def test_an_export_of_nobody_is_empty(
    backlog: BacklogServiceAsyncStub, somebody: Callable[[], str]
) -> None:
    nothing: dict[str, object] = {"entries": [], "movieNights": [], "games": [], "imports": []}
    assert await exported(backlog, somebody()) == nothing


async def test_erasing_leaves_no_row_and_nobody_elses_is_touched(
    backlog: BacklogServiceAsyncStub, people: tuple[str, str], database: Database
) -> None:
    ada, bob = people
    before = await exported(backlog, bob)
    assert (await backlog.EraseUser(pb.EraseUserRequest(user_id=ada))).erased_entries == len(DRAFTS)
    rows = await database.fetch("SELECT entry::text AS text FROM backlog.entries AS entry")
    assert not [row["text"] for row in rows if f"({ada}," in row["text"]]
    assert await exported(backlog, bob) == before
    assert (await backlog.EraseUser(pb.EraseUserRequest(user_id=ada))).erased_entries == 0
