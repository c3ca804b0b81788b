"""Between the contract's messages about imports and exports and the domain's values."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from backlog_svc.entries import Status
from backlog_svc.imports.claims import Format, Problem
from backlog_svc.imports.jobs import (
    MOST_CHOICES,
    AttentionRow,
    Choice,
    Job,
    JobState,
    RowState,
)
from backlog_svc.imports.writing import FileKind
from backlog_svc.messages import DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE, read_user_id
from mesh.checks import Checks
from mesh.page_tokens import PageTokens
from popcorn.backlog.v1 import backlog_pb2

_ROWS_KIND: Final = "backlog.import_rows"
_MOST_LANGUAGES: Final = 10
_IMPORT_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,4}")

_STATUSES: Final[Mapping[int, Status]] = {
    backlog_pb2.ENTRY_STATUS_WANT_TO_WATCH: Status.WANT_TO_WATCH,
    backlog_pb2.ENTRY_STATUS_WATCHING: Status.WATCHING,
    backlog_pb2.ENTRY_STATUS_WATCHED: Status.WATCHED,
    backlog_pb2.ENTRY_STATUS_DROPPED: Status.DROPPED,
}
_FORMATS: Final[Mapping[Format, int]] = {
    Format.LETTERBOXD: backlog_pb2.IMPORT_FORMAT_LETTERBOXD,
    Format.IMDB: backlog_pb2.IMPORT_FORMAT_IMDB,
    Format.TRAKT: backlog_pb2.IMPORT_FORMAT_TRAKT,
    Format.TMDB: backlog_pb2.IMPORT_FORMAT_TMDB,
    Format.OWN: backlog_pb2.IMPORT_FORMAT_OWN,
    Format.LETTERBOXD_IMPORT: backlog_pb2.IMPORT_FORMAT_LETTERBOXD_IMPORT,
}
_PROBLEMS: Final[Mapping[Problem, int]] = {
    Problem.WRONG_COLUMN_COUNT: backlog_pb2.ImportRow.PROBLEM_WRONG_COLUMN_COUNT,
    Problem.CELL_TOO_LONG: backlog_pb2.ImportRow.PROBLEM_CELL_TOO_LONG,
    Problem.NO_FILM_NAMED: backlog_pb2.ImportRow.PROBLEM_NO_FILM_NAMED,
    Problem.INVALID_RATING: backlog_pb2.ImportRow.PROBLEM_INVALID_RATING,
    Problem.INVALID_ITEM: backlog_pb2.ImportRow.PROBLEM_INVALID_ITEM,
}
_ROW_STATES: Final[Mapping[int, RowState]] = {
    backlog_pb2.IMPORT_ROW_KIND_UNSETTLED: RowState.UNSETTLED,
    backlog_pb2.IMPORT_ROW_KIND_FAILED: RowState.FAILED,
}
_FILE_KINDS: Final[Mapping[int, FileKind]] = {
    backlog_pb2.EXPORT_FORMAT_JSON: FileKind.JSON,
    backlog_pb2.EXPORT_FORMAT_LETTERBOXD_CSV: FileKind.LETTERBOXD_CSV,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The first StartImportRequest, checked."""

    user_id: str
    dry_run: bool
    plain: Status
    languages: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowQuery:
    """A ListImportRowsRequest, checked."""

    user_id: str
    import_id: UUID
    state: RowState
    page_size: int
    after: int

    def token_for(self, row: int | None, tokens: PageTokens) -> str:
        """The page token for going on after a row; empty at the list's end."""
        if row is None:
            return ""
        return tokens.seal(_ROWS_KIND, _binding(self.user_id, str(self.import_id), self.state), [row])


def read_upload(first: backlog_pb2.StartImportRequest | None) -> Upload:
    """What is handed in, and for whom; None stands for a call without any message.

    Raises:
        InvalidInput: With everything that is wrong.
    """
    checks = Checks()
    first = first or backlog_pb2.StartImportRequest()
    user_id = read_user_id(checks, first.user_id)
    plain = checks.choice(
        "plain_status",
        first.plain_status,
        backlog_pb2.EntryStatus,
        default=backlog_pb2.ENTRY_STATUS_WANT_TO_WATCH,
    )
    checks.require(
        plain not in (backlog_pb2.ENTRY_STATUS_WATCHING, backlog_pb2.ENTRY_STATUS_DROPPED),
        "plain_status",
        "UNKNOWN_VALUE",
        "Must be ENTRY_STATUS_WANT_TO_WATCH or ENTRY_STATUS_WATCHED.",
    )
    checks.require(
        len(first.languages) <= _MOST_LANGUAGES,
        "languages",
        "TOO_MANY",
        f"Must have at most {_MOST_LANGUAGES} items.",
    )
    checks.require(
        all(_LANGUAGE.fullmatch(language) for language in first.languages[:_MOST_LANGUAGES]),
        "languages",
        "INVALID_LANGUAGE",
        'Must be BCP 47 tags such as "pt-BR".',
    )
    checks.done()
    return Upload(
        user_id=user_id,
        dry_run=first.dry_run,
        plain=_STATUSES.get(plain, Status.WANT_TO_WATCH),
        languages=tuple(first.languages),
    )


async def read_pieces(
    first: backlog_pb2.StartImportRequest | None,
    others: AsyncIterator[backlog_pb2.StartImportRequest],
) -> AsyncIterator[bytes]:
    """The file's pieces."""
    if first is not None:
        yield first.data
        async for message in others:
            yield message.data


def read_import_id(checks: Checks, text: str) -> UUID:
    """Which import: the field `import_id`."""
    well_formed = _IMPORT_ID.fullmatch(text) is not None
    checks.require(well_formed, "import_id", "INVALID_IMPORT_ID", "Must be the id of an import.")
    return UUID(text) if well_formed else UUID(int=0)


def read_row_query(request: backlog_pb2.ListImportRowsRequest, *, tokens: PageTokens) -> RowQuery:
    """Which rows to list.

    Raises:
        InvalidInput: With everything that is wrong.
    """
    checks = Checks()
    user_id = read_user_id(checks, request.user_id)
    import_id = read_import_id(checks, request.import_id)
    kind = checks.choice(
        "kind",
        request.kind,
        backlog_pb2.ImportRowKind,
        default=backlog_pb2.IMPORT_ROW_KIND_UNSETTLED,
    )
    page_size = checks.page_size(
        "page_size", request.page_size, default=DEFAULT_PAGE_SIZE, most=LARGEST_PAGE_SIZE
    )
    state = _ROW_STATES.get(kind, RowState.UNSETTLED)
    position = checks.page_token(
        "page_token",
        request.page_token,
        tokens=tokens,
        kind=_ROWS_KIND,
        query=_binding(user_id, request.import_id, state),
    )
    checks.done()
    return RowQuery(
        user_id=user_id,
        import_id=import_id,
        state=state,
        page_size=page_size,
        after=position[0] if position else 0,
    )


def read_choices(checks: Checks, given: Sequence[backlog_pb2.ImportChoice]) -> list[Choice]:
    """What somebody says about rows: the field `choices`."""
    checks.require(len(given) > 0, "choices", "REQUIRED", "Must not be empty.")
    checks.require(
        len(given) <= MOST_CHOICES, "choices", "TOO_MANY", f"Must have at most {MOST_CHOICES} items."
    )
    rows: set[int] = set()
    choices = []
    for index, choice in enumerate(given[:MOST_CHOICES]):
        field = f"choices[{index}]"
        checks.require(choice.row >= 1, f"{field}.row", "INVALID_ROW", "Must be a row's number, from 1.")
        checks.require(
            choice.row not in rows, f"{field}.row", "DUPLICATE", "Must be there once in all choices."
        )
        rows.add(choice.row)
        if choice.skip:
            checks.require(
                choice.movie_id == 0, f"{field}.movie_id", "CONTRADICTION", "Must be left out beside `skip`."
            )
        else:
            checks.movie_id(f"{field}.movie_id", choice.movie_id)
        choices.append(Choice(choice.row, choice.movie_id))
    return choices


def read_export(checks: Checks, request: backlog_pb2.ExportEntriesRequest) -> tuple[FileKind, Status | None]:
    """Which file, of which entries."""
    kind = checks.choice(
        "format", request.format, backlog_pb2.ExportFormat, default=backlog_pb2.EXPORT_FORMAT_JSON
    )
    status = checks.choice("status", request.status, backlog_pb2.EntryStatus, default=0)
    return _FILE_KINDS.get(kind, FileKind.JSON), _STATUSES.get(status)


def job_message(job: Job) -> backlog_pb2.ImportJob:
    """An import, for an answer."""
    done = job.state is JobState.DONE
    return backlog_pb2.ImportJob(
        import_id=str(job.import_id),
        state=backlog_pb2.IMPORT_STATE_DONE if done else backlog_pb2.IMPORT_STATE_WORKING,
        format=_FORMATS[job.format],  # type: ignore[arg-type]  # numbers of this very enum
        dry_run=job.dry_run,
        films=job.films,
        done=job.done,
        added=job.added,
        changed=job.changed,
        unchanged=job.unchanged,
        skipped_series=job.skipped_series,
        unsettled=job.unsettled,
        failed=job.failed,
        skipped=job.skipped,
        shortened=job.shortened,
        create_time=_timestamp(job.create_time),
        finish_time=None if job.finish_time is None else _timestamp(job.finish_time),
        expire_time=_timestamp(job.expire_time),
    )


def row_message(row: AttentionRow) -> backlog_pb2.ImportRow:
    """A row, for an answer."""
    return backlog_pb2.ImportRow(
        row=row.row,
        line=row.line,
        file=row.file,
        title=row.title,
        year=row.year,
        problem=0 if row.problem is None else _PROBLEMS[row.problem],  # type: ignore[arg-type]  # as above
        candidate_ids=row.candidates,
    )


def _binding(user_id: str, import_id: str, state: RowState) -> Mapping[str, object]:
    return {"user": user_id, "import": import_id, "state": state}


def _timestamp(time: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
