"""Files on their way through the gateway: who they are for, what is waited for, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gateway.tests.conftest import Refused, World, as_caller
from gateway.tests.refusals import refusal
from popcorn.backlog.v1 import backlog_pb2
from popcorn.gateway.v1 import library_pb2

Metadata = tuple[tuple[str, str], ...]
IMPORT_ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def me(world: World, somebody: Callable[[], str]) -> Metadata:
    world.backlogs.job = backlog_pb2.ImportJob(import_id=IMPORT_ID, state=backlog_pb2.IMPORT_STATE_DONE)
    world.backlogs.rows = []
    return as_caller(
        await world.sign_in(somebody()), ("accept-language", "de-at, en;q=0.5"), ("x-region", "at")
    )


def pieces(*sizes: int) -> Iterator[library_pb2.ImportBacklogRequest]:
    for number, size in enumerate(sizes):
        piece = library_pb2.ImportBacklogRequest(dry_run=number == 0)
        piece.file.data = bytes([number]) * size
        yield piece


async def test_a_file_is_handed_on_as_it_comes_for_whoever_calls(
    world: World, somebody: Callable[[], str]
) -> None:
    signed_in = await world.sign_in(somebody())
    world.backlogs.job = backlog_pb2.ImportJob(
        import_id=IMPORT_ID, state=backlog_pb2.IMPORT_STATE_DONE, added=3
    )
    answer = await world.library.ImportBacklog(
        pieces(10, 600_000), metadata=as_caller(signed_in, ("accept-language", "de"), ("x-region", "AT"))
    )
    assert (answer.added, answer.job) == (3, world.backlogs.job)
    first, *others = world.backlogs.pieces
    assert first == backlog_pb2.StartImportRequest(
        user_id=signed_in.account.user_id, dry_run=True, languages=["de"]
    )
    assert b"".join(piece.data for piece in others) == bytes(10) + b"\1" * 600_000
    assert max(len(piece.data) for piece in others) <= 512 * 1024


async def test_a_job_that_is_not_done_in_time_is_answered_as_far_as_it_is(world: World, me: Metadata) -> None:
    world.backlogs.job.state = backlog_pb2.IMPORT_STATE_WORKING
    world.backlogs.failing = {"GetImport": Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")}
    try:
        answer = await world.library.ImportBacklog(pieces(10), metadata=me)
    finally:
        world.backlogs.failing = {}
    assert answer.job.state == backlog_pb2.IMPORT_STATE_WORKING, "it has been taken in all the same"


async def test_candidates_that_cannot_be_had_now_are_left_out(world: World, me: Metadata) -> None:
    world.backlogs.job.unsettled = 1
    world.backlogs.rows = [backlog_pb2.ImportRow(row=4, line=5, title="A", candidate_ids=[7, 50, 8])]
    answer = await world.library.ImportBacklog(pieces(10), metadata=me)
    assert [film.id for film in answer.unsettled[0].candidates] == [7, 8]
    listed = await world.library.ListImportRows(
        library_pb2.ListImportRowsRequest(import_id=IMPORT_ID), metadata=me
    )
    assert [film.id for film in listed.rows[0].candidates] == [7, 8]
    assert list(listed.rows[0].row.candidate_ids) == [7, 50, 8]
    world.movies.script.failure = Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    listed = await world.library.ListImportRows(
        library_pb2.ListImportRowsRequest(import_id=IMPORT_ID), metadata=me
    )
    assert (len(listed.rows), len(listed.rows[0].candidates)) == (1, 0)


async def test_nothing_is_settled_for_a_film_that_does_not_exist(world: World, me: Metadata) -> None:
    choices = [backlog_pb2.ImportChoice(row=1, movie_id=7), backlog_pb2.ImportChoice(row=2, movie_id=1000)]
    request = library_pb2.SettleImportRequest(import_id=IMPORT_ID, choices=choices)
    seen = await refusal(world.library.SettleImport(request, metadata=me))
    assert (seen.code, seen.reason) == ("NOT_FOUND", "MOVIE_NOT_FOUND")
    assert not any(
        isinstance(asked, backlog_pb2.SettleImportRequest) for asked in world.backlogs.script.asked
    )


@pytest.mark.parametrize(
    ("request_", "method", "fields"),
    [
        (library_pb2.GetImportRequest(), "GetImport", {"import_id"}),
        (
            library_pb2.ListImportRowsRequest(import_id="x" * 65, kind=9, page_size=-1, page_token="\0"),  # type: ignore[arg-type]
            "ListImportRows",
            {"import_id", "kind", "page_size", "page_token"},
        ),
        (library_pb2.SettleImportRequest(import_id="\0"), "SettleImport", {"import_id", "choices"}),
        (
            library_pb2.SettleImportRequest(import_id="x", choices=[backlog_pb2.ImportChoice(row=1)]),
            "SettleImport",
            {"choices[0].movie_id"},
        ),
        (
            library_pb2.ExportBacklogRequest(format=7, status=7),  # type: ignore[arg-type]
            "ExportBacklog",
            {"format", "status"},
        ),
    ],
)
async def test_bad_input_is_refused_before_anybody_is_asked(
    world: World, me: Metadata, request_: object, method: str, fields: set[str]
) -> None:
    seen = await refusal(getattr(world.library, method)(request_, metadata=me))
    assert (seen.code, seen.reason, seen.fields) == ("INVALID_ARGUMENT", "INVALID_INPUT", fields)
    assert world.backlogs.script.asked == []


async def test_a_file_comes_whole_or_not_at_all(world: World, me: Metadata) -> None:
    world.backlogs.file = [b"one, ", b"two"]
    call = world.library.DownloadBacklog(library_pb2.DownloadBacklogRequest(), metadata=me)
    assert [piece.file.data async for piece in call] == [b"one, ", b"two"]
    world.backlogs.file = [b"one, ", Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")]
    call = world.library.DownloadBacklog(library_pb2.DownloadBacklogRequest(), metadata=me)
    received: list[bytes] = []

    async def read() -> None:
        async for piece in call:
            received.append(piece.file.data)  # noqa: PERF401 - what came before it broke off counts

    seen = await refusal(read())
    assert (seen.code, received) == ("UNAVAILABLE", [])
    world.backlogs.file = [b"x" * 1_048_576] * 4
    seen = await refusal(world.library.ExportBacklog(library_pb2.ExportBacklogRequest(), metadata=me))
    assert (seen.code, seen.reason) == ("FAILED_PRECONDITION", "EXPORT_TOO_LARGE")
