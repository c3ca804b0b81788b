"""What is wrong with a request is said before any query, field by field, and all of it at once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from backlog_svc.servicer import BacklogServicer
from mesh.errors import reason_of, status_of
from popcorn.backlog.v1 import backlog_pb2 as pb
from popcorn.backlog.v1 import backlog_pb2_grpc

if TYPE_CHECKING:
    from backlog_svc.tests.conftest import SetClock
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

SERVICE = pb.DESCRIPTOR.services_by_name["BacklogService"]
LARGEST_INT32 = 2**31 - 1
IMPORT_ID = "00000000-0000-4000-8000-000000000000"
ALL_VALUES_ARE_FINE = {
    *("dry_run", "data", "choices.skip"),
    *("leave_out_watched", "match.participants.guest", "game.players.guest"),
    "match.watch_time",  # not looked at
}


def put(user_id: str = "ada", **draft: Any) -> pb.PutEntryRequest:
    return pb.PutEntryRequest(user_id=user_id, entry=pb.EntryDraft(**{"movie_id": 603, **draft}))


def update(
    user_id: str = "ada", mask: Sequence[str] = (), etag: str = "", **draft: Any
) -> pb.UpdateEntryRequest:
    request = pb.UpdateEntryRequest(
        user_id=user_id, entry=pb.EntryDraft(**{"movie_id": 603, **draft}), etag=etag
    )
    request.update_mask.paths.extend(mask)
    return request


def batch(user_id: str = "ada", *drafts: pb.EntryDraft, **draft: Any) -> pb.BatchPutEntriesRequest:
    given = drafts or (pb.EntryDraft(**{"movie_id": 603, **draft}),)
    return pb.BatchPutEntriesRequest(user_id=user_id, entries=given)


def listing(user_id: str = "ada", **more: Any) -> pb.ListEntriesRequest:
    return pb.ListEntriesRequest(user_id=user_id, **more)


def filtered(**filter_fields: Any) -> pb.ListEntriesRequest:
    return listing(filter=pb.EntryFilter(**filter_fields))


def settling(user_id: str, choices: Iterable[pb.ImportChoice]) -> pb.SettleImportRequest:
    return pb.SettleImportRequest(user_id=user_id, import_id=IMPORT_ID, choices=choices)


def time(seconds: int, nanos: int = 0) -> Timestamp:
    return Timestamp(seconds=seconds, nanos=nanos)


@dataclass(frozen=True)
class Case:
    request: Message
    field: str
    reason: str


def user_id_cases() -> Iterator[Case]:
    for user_id in ("", "a" * 65, "a b", "a/b", "ada\x00", "ada\n", "ädä", "a;b", "a'--", "../ada"):
        for request in (
            put(user_id),
            update(user_id),
            batch(user_id),
            pb.RemoveEntryRequest(user_id=user_id, movie_id=603),
            listing(user_id),
            pb.BatchGetEntriesRequest(user_id=user_id, movie_ids=[603]),
            pb.EraseUserRequest(user_id=user_id),
            pb.ExportUserRequest(user_id=user_id),
            pb.StartImportRequest(user_id=user_id),
            pb.GetImportRequest(user_id=user_id, import_id=IMPORT_ID),
            pb.ListImportRowsRequest(user_id=user_id, import_id=IMPORT_ID),
            settling(user_id, [pb.ImportChoice(row=1, skip=True)]),
            pb.ExportEntriesRequest(user_id=user_id),
            pb.GetStatsRequest(user_id=user_id),
            pb.ListMatchesRequest(user_id=user_id),
            pb.ListGamesRequest(user_id=user_id),
            pb.MarkMatchWatchedRequest(user_id=user_id, game_id="g", movie_id=603),
        ):
            yield Case(request, "user_id", "INVALID_USER_ID")


def told(**match: Any) -> pb.RecordMatchRequest:
    fine = {"game_id": "g", "movie_id": 603, "match_time": time(0), "participants": [who("ada")]}
    return pb.RecordMatchRequest(match=pb.Match(**{**fine, **match}))


def who(user_id: str, display_name: str = "Ada") -> pb.Match.Participant:
    return pb.Match.Participant(user_id=user_id, display_name=display_name)


def finished(**game: Any) -> pb.RecordGameRequest:
    fine = {"game_id": "g", "start_time": time(0), "end_time": time(9), "players": [player()]}
    return pb.RecordGameRequest(game=pb.FinishedGame(**{**fine, **game}))


def player(**fields: Any) -> pb.FinishedGame.Player:
    return pb.FinishedGame.Player(**{"user_id": "ada", "display_name": "Ada", **fields})


def movie_night_cases() -> Iterator[Case]:
    request: Message
    for game_id in ("", "g" * 65, "a b", "a/b", "g\x00", "g'--"):
        yield Case(told(game_id=game_id), "match.game_id", "INVALID_GAME_ID")
        yield Case(finished(game_id=game_id), "game.game_id", "INVALID_GAME_ID")
        for request in (
            pb.WithdrawMatchRequest(game_id=game_id, movie_id=603),
            pb.MarkMatchWatchedRequest(user_id="ada", game_id=game_id, movie_id=603),
        ):
            yield Case(request, "game_id", "INVALID_GAME_ID")
    for movie_id in (0, -1):
        yield Case(told(movie_id=movie_id), "match.movie_id", "INVALID_MOVIE_ID")
        for request in (
            pb.WithdrawMatchRequest(game_id="g", movie_id=movie_id),
            pb.MarkMatchWatchedRequest(user_id="ada", game_id="g", movie_id=movie_id),
        ):
            yield Case(request, "movie_id", "INVALID_MOVIE_ID")
        yield Case(finished(matched_movie_ids=[7, movie_id]), "game.matched_movie_ids[1]", "INVALID_MOVIE_ID")
        near_misses = [pb.FinishedGame.NearMiss(movie_id=movie_id)]
        yield Case(finished(near_misses=near_misses), "game.near_misses[0].movie_id", "INVALID_MOVIE_ID")
    withdrawal = pb.WithdrawMatchRequest(game_id="g", movie_id=603, game_seq=-1)
    numbered = told()
    numbered.game_seq = -1
    numbered_game = finished()
    numbered_game.game_seq = -(2**63)
    for request in (withdrawal, numbered, numbered_game):
        yield Case(request, "game_seq", "NEGATIVE")
    yield Case(told(game_name="\x00"), "match.game_name", "CONTROL_CHARACTER")
    yield Case(told(game_name="g" * 513), "match.game_name", "TOO_LONG")
    yield Case(finished(game_name="a\nb"), "game.game_name", "CONTROL_CHARACTER")
    yield Case(told(match_time=None), "match.match_time", "REQUIRED")
    yield Case(told(match_time=time(2**62)), "match.match_time", "INVALID_TIME")
    for field in ("start_time", "end_time"):
        yield Case(finished(**{field: None}), f"game.{field}", "REQUIRED")
        yield Case(finished(**{field: time(0, -1)}), f"game.{field}", "INVALID_TIME")
    tapped = {"user_id": "ada", "game_id": "g", "movie_id": 603}
    for seconds, reason in ((2**62, "INVALID_TIME"), (253_402_300_799, "IN_THE_FUTURE")):
        request = pb.MarkMatchWatchedRequest(**tapped, watch_time=time(seconds))  # type: ignore[arg-type]
        yield Case(request, "watch_time", reason)
    yield Case(told(participants=[]), "match.participants", "REQUIRED")
    yield Case(told(participants=[who(f"u{n}") for n in range(21)]), "match.participants", "TOO_MANY")
    seat = "match.participants[1]"
    for bad in ("a b", "", "u" * 65):
        yield Case(told(participants=[who("ada"), who(bad)]), f"{seat}.user_id", "INVALID_USER_ID")
    yield Case(told(participants=[who("ada"), who("ada")]), f"{seat}.user_id", "REPEATED")
    yield Case(
        told(participants=[who("ada"), who("bob", "\x00")]), f"{seat}.display_name", "CONTROL_CHARACTER"
    )
    yield Case(finished(players=[]), "game.players", "REQUIRED")
    yield Case(finished(players=[player(user_id="a b")]), "game.players[0].user_id", "INVALID_USER_ID")
    yield Case(finished(players=[player(display_name="n" * 513)]), "game.players[0].display_name", "TOO_LONG")
    yield Case(finished(players=[player(swipes=-1)]), "game.players[0].swipes", "OUT_OF_RANGE")
    for field in ("liked_percent", "with_majority_percent"):
        for percent in (-1, 101):
            request = finished(players=[player(**{field: percent})])
            yield Case(request, f"game.players[0].{field}", "OUT_OF_RANGE")
    near_miss, taste = pb.FinishedGame.NearMiss, pb.FinishedGame.GenreTaste
    yield Case(
        finished(near_misses=[near_miss(movie_id=7, percent=101)]),
        "game.near_misses[0].percent",
        "OUT_OF_RANGE",
    )
    yield Case(finished(near_misses=[near_miss(movie_id=7)] * 501), "game.near_misses", "TOO_MANY")
    yield Case(finished(matched_movie_ids=[7] * 501), "game.matched_movie_ids", "TOO_MANY")
    yield Case(finished(genres=[taste(genre_id=18)] * 101), "game.genres", "TOO_MANY")
    yield Case(finished(genres=[taste()]), "game.genres[0].genre_id", "OUT_OF_RANGE")
    yield Case(finished(genres=[taste(genre_id=1, swipes=-1)]), "game.genres[0].swipes", "OUT_OF_RANGE")
    yield Case(finished(genres=[taste(genre_id=1, likes=-1)]), "game.genres[0].likes", "OUT_OF_RANGE")
    for request_type in (pb.ListMatchesRequest, pb.ListGamesRequest):
        yield Case(request_type(user_id="ada", page_size=-1), "page_size", "NEGATIVE_PAGE_SIZE")
        for token in ("0", "A" * 64, "\x00", "A" * 100_000):
            yield Case(request_type(user_id="ada", page_token=token), "page_token", "INVALID_PAGE_TOKEN")


def intersection_cases() -> Iterator[Case]:
    def wanted(*user_ids: str, **more: Any) -> pb.IntersectBacklogsRequest:
        return pb.IntersectBacklogsRequest(user_ids=user_ids, **more)

    yield Case(wanted(), "user_ids", "REQUIRED")
    yield Case(wanted(*(f"u{n}" for n in range(21))), "user_ids", "TOO_MANY")
    yield Case(wanted("ada", "a b"), "user_ids[1]", "INVALID_USER_ID")
    yield Case(wanted("ada", wanted_by_at_least=-1), "wanted_by_at_least", "NEGATIVE")
    yield Case(wanted("ada", limit=-1), "limit", "NEGATIVE")


CASES: Final = [
    *user_id_cases(),
    *movie_night_cases(),
    *intersection_cases(),
    *(Case(put(movie_id=n), "entry.movie_id", "INVALID_MOVIE_ID") for n in (0, -1, -(2**31))),
    Case(pb.PutEntryRequest(user_id="ada"), "entry.movie_id", "INVALID_MOVIE_ID"),
    *(Case(put(status=n), "entry.status", "UNKNOWN_VALUE") for n in (5, -1, LARGEST_INT32)),
    *(Case(put(source=n), "entry.source", "UNKNOWN_VALUE") for n in (4, -1, LARGEST_INT32)),
    Case(put(note="n" * 1025), "entry.note", "TOO_LONG"),
    Case(put(note="🍿" * 1025), "entry.note", "TOO_LONG"),
    *(Case(put(note=f"a{c}b"), "entry.note", "CONTROL_CHARACTER") for c in "\x00\x01\x08\x0b\x1b\x7f\x85"),
    *(
        Case(put(rating=rating), "entry.rating", "INVALID_RATING")
        for rating in (0, 0.25, 4.75, 5.5, -0.5, 1e300, math.nan, math.inf, -math.inf)
    ),
    Case(put(tags=[str(n) for n in range(21)]), "entry.tags", "TOO_MANY"),
    Case(put(tags=[str(n) for n in range(100_000)]), "entry.tags", "TOO_MANY"),
    Case(put(tags=["fine", ""]), "entry.tags[1]", "REQUIRED"),
    Case(put(tags=["fine", "fine", " \t "]), "entry.tags[2]", "REQUIRED"),
    Case(put(tags=["t" * 41]), "entry.tags[0]", "TOO_LONG"),
    *(Case(put(tags=[f"a{c}b"]), "entry.tags[0]", "CONTROL_CHARACTER") for c in "\x00\n\t\x7f"),
    Case(put(watch_time=time(253_402_300_799)), "entry.watch_time", "IN_THE_FUTURE"),
    *(
        Case(put(watch_time=watch_time), "entry.watch_time", "INVALID_TIME")
        for watch_time in (
            time(253_402_300_800),
            time(-62_135_596_800),
            time(-62_135_596_801),
            time(2**63 - 1),
            time(-(2**63)),
            time(0, -1),
            time(0, 1_000_000_000),
            time(0, LARGEST_INT32),
        )
    ),
    *(
        Case(request, "entry.note", "TOO_LONG")
        for request in (update(note="n" * 1025), update(mask=["note"], note="n" * 1025))
    ),
    *(Case(update(movie_id=n), "entry.movie_id", "INVALID_MOVIE_ID") for n in (0, -1)),
    Case(update(status=5), "entry.status", "UNKNOWN_VALUE"),
    Case(update(mask=["*"], rating=4.3), "entry.rating", "INVALID_RATING"),
    Case(update(mask=["tags"], tags=["t" * 41]), "entry.tags[0]", "TOO_LONG"),
    Case(update(mask=["watch_time"], watch_time=time(253_402_300_799)), "entry.watch_time", "IN_THE_FUTURE"),
    *(
        Case(update(mask=["note", path]), "update_mask.paths[1]", "UNKNOWN_FIELD")
        for path in (
            "source",
            "movie_id",
            "entry.note",
            "add_time",
            "etag",
            "Note",
            "user_id",
            "",
            "\x00",
            "**",
        )
    ),
    Case(update(mask=["note"] * 7), "update_mask.paths", "TOO_MANY"),
    Case(update(etag="e" * 65), "etag", "TOO_LONG"),
    Case(update(etag="\x00"), "etag", "CONTROL_CHARACTER"),
    Case(pb.BatchPutEntriesRequest(user_id="ada"), "entries", "REQUIRED"),
    Case(batch("ada", *(pb.EntryDraft(movie_id=n) for n in range(1, 502))), "entries", "TOO_MANY"),
    Case(batch("ada", *(pb.EntryDraft(movie_id=n) for n in (7, 8, 7))), "entries[2].movie_id", "REPEATED"),
    Case(batch(movie_id=0), "entries[0].movie_id", "INVALID_MOVIE_ID"),
    Case(batch(status=5), "entries[0].status", "UNKNOWN_VALUE"),
    Case(batch(source=4), "entries[0].source", "UNKNOWN_VALUE"),
    Case(batch(note="\x00"), "entries[0].note", "CONTROL_CHARACTER"),
    Case(batch(rating=5.5), "entries[0].rating", "INVALID_RATING"),
    Case(batch(tags=[""]), "entries[0].tags[0]", "REQUIRED"),
    Case(batch(watch_time=time(0, -1)), "entries[0].watch_time", "INVALID_TIME"),
    *(
        Case(pb.RemoveEntryRequest(user_id="ada", movie_id=n), "movie_id", "INVALID_MOVIE_ID")
        for n in (0, -1, -(2**31))
    ),
    *(Case(listing(page_size=n), "page_size", "NEGATIVE_PAGE_SIZE") for n in (-1, -(2**31))),
    *(
        Case(listing(page_token=token), "page_token", "INVALID_PAGE_TOKEN")
        for token in ("0", "null", "AAAA", "A" * 64, "é", "\x00", "=" * 8, "A" * 100_000)
    ),
    *(Case(listing(order=n), "order", "UNKNOWN_VALUE") for n in (15, -1, LARGEST_INT32)),
    *(Case(filtered(status=n), "filter.status", "UNKNOWN_VALUE") for n in (5, -1, LARGEST_INT32)),
    Case(filtered(tag="t" * 41), "filter.tag", "TOO_LONG"),
    Case(filtered(tag="a\x00b"), "filter.tag", "CONTROL_CHARACTER"),
    Case(filtered(genre_ids=[18, 0]), "filter.genre_ids", "INVALID_ID"),
    Case(filtered(genre_ids=range(1, 12)), "filter.genre_ids", "TOO_MANY"),
    Case(filtered(max_runtime_minutes=-1), "filter.max_runtime_minutes", "NEGATIVE"),
    *(Case(filtered(decade=n), "filter.decade", "INVALID_DECADE") for n in (-10, 1995, 90, 3000)),
    Case(filtered(provider_ids=[-8], region="GB"), "filter.provider_ids", "INVALID_ID"),
    Case(filtered(provider_ids=range(1, 22), region="GB"), "filter.provider_ids", "TOO_MANY"),
    *(
        Case(filtered(provider_ids=[8], region=region), "filter.region", "INVALID_REGION")
        for region in ("", "gb", "GBR", "G\x00", "1")
    ),
    Case(listing(languages=["de"] * 11), "languages", "TOO_MANY"),
    *(
        Case(listing(languages=["en", tag]), "languages[1]", "INVALID_LANGUAGE")
        for tag in ("", "d", "de_AT", "german-", "\x00", "de-Aaaaaaaaa")
    ),
    Case(filtered(text="t" * 101), "filter.text", "TOO_LONG"),
    Case(filtered(text="\x00"), "filter.text", "CONTROL_CHARACTER"),
    *(
        Case(request, "import_id", "INVALID_IMPORT_ID")
        for import_id in ("", "1", IMPORT_ID.upper().replace("4", "F"), IMPORT_ID + "0", "\x00", "../" * 12)
        for request in (
            pb.GetImportRequest(user_id="ada", import_id=import_id),
            pb.ListImportRowsRequest(user_id="ada", import_id=import_id),
            pb.SettleImportRequest(
                user_id="ada", import_id=import_id, choices=[pb.ImportChoice(row=1, skip=True)]
            ),
        )
    ),
    *(
        Case(pb.StartImportRequest(user_id="ada", plain_status=n), "plain_status", "UNKNOWN_VALUE")  # type: ignore[arg-type]
        for n in (pb.ENTRY_STATUS_WATCHING, pb.ENTRY_STATUS_DROPPED, 5, -1)
    ),
    Case(pb.StartImportRequest(user_id="ada", languages=["en"] * 11), "languages", "TOO_MANY"),
    *(
        Case(pb.StartImportRequest(user_id="ada", languages=["en", one]), "languages", "INVALID_LANGUAGE")
        for one in ("", "english language", "e", "en_US", "\x00")
    ),
    *(
        Case(
            pb.ListImportRowsRequest(user_id="ada", import_id=IMPORT_ID, **{field: value}),  # type: ignore[arg-type]
            field,
            reason,
        )
        for field, value, reason in (
            ("kind", 3, "UNKNOWN_VALUE"),
            ("page_size", -1, "NEGATIVE_PAGE_SIZE"),
            ("page_token", "AAAA", "INVALID_PAGE_TOKEN"),
        )
    ),
    Case(settling("ada", []), "choices", "REQUIRED"),
    Case(settling("ada", [pb.ImportChoice(row=n, skip=True) for n in range(1, 52)]), "choices", "TOO_MANY"),
    Case(settling("ada", [pb.ImportChoice(row=0, skip=True)]), "choices[0].row", "INVALID_ROW"),
    Case(settling("ada", [pb.ImportChoice(row=1, skip=True)] * 2), "choices[1].row", "DUPLICATE"),
    *(
        Case(settling("ada", [pb.ImportChoice(row=1, movie_id=n)]), "choices[0].movie_id", "INVALID_MOVIE_ID")
        for n in (0, -1)
    ),
    Case(
        settling("ada", [pb.ImportChoice(row=1, movie_id=7, skip=True)]),
        "choices[0].movie_id",
        "CONTRADICTION",
    ),
    *(
        Case(pb.ExportEntriesRequest(user_id="ada", format=n), "format", "UNKNOWN_VALUE")  # type: ignore[arg-type]
        for n in (3, -1)
    ),
    Case(pb.ExportEntriesRequest(user_id="ada", status=9), "status", "UNKNOWN_VALUE"),  # type: ignore[arg-type]
    Case(pb.BatchGetEntriesRequest(user_id="ada"), "movie_ids", "REQUIRED"),
    Case(pb.BatchGetEntriesRequest(user_id="ada", movie_ids=range(1, 502)), "movie_ids", "TOO_MANY"),
    Case(pb.BatchGetEntriesRequest(user_id="ada", movie_ids=[1, 0]), "movie_ids[1]", "INVALID_MOVIE_ID"),
]


async def send(backlog: BacklogServiceAsyncStub, request: Message) -> Any:
    call = getattr(backlog, type(request).__name__.removesuffix("Request"))
    if isinstance(request, pb.StartImportRequest):
        return await call(iter([request]))
    if isinstance(request, pb.ExportEntriesRequest):
        return [message async for message in call(request)]
    return await call(request)


async def refusal(backlog: BacklogServiceAsyncStub, request: Message) -> dict[str, str]:
    """The violations that a request is refused with: reason by field."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await send(backlog, request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = status_of(raised.value)
    assert status is not None
    assert reason_of(status) == "INVALID_INPUT"
    bad_request = error_details_pb2.BadRequest()
    assert [detail.Unpack(bad_request) for detail in status.details] == [False, True]
    return {violation.field: violation.reason for violation in bad_request.field_violations}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.field}-{case.reason}")
async def test_a_bad_field_is_named_with_its_reason_and_no_other_is(
    backlog: BacklogServiceAsyncStub, case: Case
) -> None:
    assert await refusal(backlog, case.request) == {case.field: case.reason}


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (
            put(
                "a b",
                movie_id=-1,
                status=9,
                note="\x00",
                rating=math.nan,
                tags=["\x00", "t" * 41],
                watch_time=time(2**62),
                source=9,
            ),
            {
                *("user_id", "entry.movie_id", "entry.status", "entry.note", "entry.rating"),
                *("entry.tags[0]", "entry.tags[1]", "entry.watch_time", "entry.source"),
            },
        ),
        (
            update("", mask=["source", "*"], etag="\x00", note="\x00", rating=9),
            {"user_id", "update_mask.paths[0]", "etag", "entry.note", "entry.rating"},
        ),
        (
            batch("", pb.EntryDraft(note="\x00"), pb.EntryDraft(movie_id=7, rating=9)),
            {"user_id", "entries[0].movie_id", "entries[0].note", "entries[1].rating"},
        ),
        (pb.RemoveEntryRequest(), {"user_id", "movie_id"}),
        (
            listing(
                "",
                filter=pb.EntryFilter(
                    status=9,  # type: ignore[arg-type]  # no status, on purpose
                    tag="\x00",
                    genre_ids=[0],
                    max_runtime_minutes=-1,
                    decade=1,
                    provider_ids=[0],
                    region="x",
                    text="\x00",
                ),
                order=99,
                page_size=-1,
                page_token="x",
                languages=["?"],
            ),
            {
                *("user_id", "filter.status", "filter.tag", "filter.genre_ids", "filter.max_runtime_minutes"),
                *("filter.decade", "filter.provider_ids", "filter.region", "filter.text"),
                *("order", "page_size", "page_token", "languages[0]"),
            },
        ),
        (pb.BatchGetEntriesRequest(movie_ids=[0, 7, -7]), {"user_id", "movie_ids[0]", "movie_ids[2]"}),
        (pb.EraseUserRequest(), {"user_id"}),
        (pb.GetStatsRequest(), {"user_id"}),
        (pb.ExportUserRequest(), {"user_id"}),
        (
            pb.RecordMatchRequest(match=pb.Match(movie_id=-1), game_seq=-1),
            {"match.game_id", "match.movie_id", "match.match_time", "match.participants", "game_seq"},
        ),
        (pb.WithdrawMatchRequest(game_seq=-1), {"game_id", "movie_id", "game_seq"}),
        (
            pb.MarkMatchWatchedRequest(watch_time=time(2**62)),
            {"user_id", "game_id", "movie_id", "watch_time"},
        ),
        (pb.ListMatchesRequest(page_size=-1, page_token="x"), {"user_id", "page_size", "page_token"}),
        (
            pb.RecordGameRequest(game=pb.FinishedGame(matched_movie_ids=[0]), game_seq=-1),
            {
                *("game.game_id", "game.start_time", "game.end_time", "game.players"),
                *("game.matched_movie_ids[0]", "game_seq"),
            },
        ),
        (pb.ListGamesRequest(page_size=-1, page_token="x"), {"user_id", "page_size", "page_token"}),
        (
            pb.IntersectBacklogsRequest(user_ids=["", "\x00"], wanted_by_at_least=-1, limit=-1),
            {"user_ids[0]", "user_ids[1]", "wanted_by_at_least", "limit"},
        ),
    ],
    ids=lambda value: type(value).__name__.removesuffix("Request"),
)
async def test_every_bad_field_is_named_at_once(
    backlog: BacklogServiceAsyncStub, request_: Message, fields: set[str]
) -> None:
    assert set(await refusal(backlog, request_)) == fields


def fields_of(message: Descriptor, path: str = "") -> Iterator[str]:
    for field in message.fields:
        nested = field.message_type
        if nested is not None and nested.full_name != Timestamp.DESCRIPTOR.full_name:
            yield from fields_of(nested, f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}"


def implemented() -> Iterator[str]:
    for method in SERVICE.methods:
        if getattr(BacklogServicer, method.name) is not getattr(
            backlog_pb2_grpc.BacklogServiceServicer, method.name
        ):
            yield method.name


@pytest.mark.parametrize("rpc", list(implemented()))
def test_no_field_of_the_contract_is_without_a_bad_value_in_this_table(rpc: str) -> None:
    request = SERVICE.methods_by_name[rpc].input_type
    tried = {re.sub(r"\[\d+\]", "", case.field) for case in CASES if case.request.DESCRIPTOR is request}
    leaves = set(fields_of(request))
    # A message may itself be too many, beside what is wrong in it.
    tried -= {field for field in tried if any(leaf.startswith(f"{field}.") for leaf in leaves)}
    if rpc == "UpdateEntry":
        tried.add("entry.source")  # not looked at: how an entry came to be does not change
    assert tried == leaves - ALL_VALUES_ARE_FINE


async def test_the_limits_themselves_are_fine(backlog: BacklogServiceAsyncStub, clock: SetClock) -> None:
    now = clock()
    ahead = Timestamp()
    ahead.FromDatetime(now + timedelta(seconds=30))
    request = put(
        "A-z_0" + "9" * 59,
        movie_id=LARGEST_INT32,
        note="🍿" * 1024,
        rating=0.5,
        tags=[*("t" * 38 + f"{n:02}" for n in range(20)), "t" * 38 + "07"],
        status=pb.ENTRY_STATUS_WATCHED,
        watch_time=ahead,
    )
    entry = (await backlog.PutEntry(request)).entry
    assert entry.note == request.entry.note
    assert entry.tags == request.entry.tags[:20]
    assert entry.watch_time.ToDatetime(UTC) == now, "a phone's clock that is a little fast means now"
    request.entry.watch_time.CopyFrom(time(-62_135_596_799, 999_999_999))
    entry = (await backlog.PutEntry(request)).entry
    assert entry.watch_time.ToDatetime(UTC) == datetime(1, 1, 1, 0, 0, 1, 999_999, tzinfo=UTC)
    movie_ids = [LARGEST_INT32 - n for n in range(500)]
    found = await backlog.BatchGetEntries(
        pb.BatchGetEntriesRequest(user_id=request.user_id, movie_ids=movie_ids)
    )
    assert list(found.entries) == [entry]


async def test_texts_lose_the_space_around_them_and_tags_their_repetitions(
    backlog: BacklogServiceAsyncStub,
) -> None:
    request = put("tidy", note="  two\r\nlines\t \n", tags=[" b", "a", "b ", "A", "a"])
    entry = (await backlog.PutEntry(request)).entry
    assert entry.note == "two\nlines"
    assert list(entry.tags) == ["b", "a", "A"]


@pytest.mark.parametrize(
    ("page_size", "given"), [(0, 20), (1, 1), (100, 100), (101, 100), (LARGEST_INT32, 100)]
)
async def test_page_size_has_a_default_and_a_cap(
    backlog: BacklogServiceAsyncStub, page_size: int, given: int
) -> None:
    for movie_id in range(1, 104):
        await backlog.PutEntry(put("collector", movie_id=movie_id))
    page = await backlog.ListEntries(listing("collector", page_size=page_size))
    assert len(page.entries) == given
    assert page.next_page_token
    assert page.total_size == 103
