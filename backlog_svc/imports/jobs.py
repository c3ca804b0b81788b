"""An import at work: its state, what a batch of its lines does to a backlog, and what may be settled.

Plain values and rules; nothing here knows of gRPC or PostgreSQL.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID

from backlog_svc.entries import Entry
from backlog_svc.imports.claims import Claim, Format, Problem, merged

MOST_UNFINISHED: Final = 3
"""Imports of one person that are not done."""
MOST_KEPT: Final = 10
"""Imports of one person; the oldest that is done makes room."""
KEPT_FOR: Final = timedelta(days=30)
RECEIVED_WITHIN: Final = timedelta(minutes=10)
"""An import whose lines have not all been put down by then was left behind by a crash."""
LEASE: Final = timedelta(seconds=10)
"""Longer than a batch can last."""
MOST_CHOICES: Final = 50

_SHORTEST_PAUSE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(minutes=1)


class JobState(StrEnum):
    """How far an import is."""

    RECEIVING = "receiving"
    WORKING = "working"
    DONE = "done"


class RowState(StrEnum):
    """What has become of a line."""

    WAITING = "waiting"
    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    UNSETTLED = "unsettled"
    """More than one film it could be about, or none."""
    SKIPPED = "skipped"
    """Left out by hand."""
    FAILED = "failed"
    """Nothing could be made of it."""


TAKEN: Final = frozenset({RowState.ADDED, RowState.CHANGED, RowState.UNCHANGED})
"""The states of a line whose film is known and whose claim has been taken in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One file that somebody handed in."""

    import_id: UUID
    user_id: str
    format: Format
    dry_run: bool
    languages: tuple[str, ...]
    state: JobState
    films: int
    done: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    unsettled: int = 0
    skipped: int = 0
    skipped_series: int
    failed: int
    shortened: int
    create_time: datetime
    finish_time: datetime | None = None
    tries: int = 0

    @property
    def expire_time(self) -> datetime:
        """When it is forgotten."""
        return self.create_time + KEPT_FOR


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """A line that says something about a film."""

    row: int
    state: RowState
    claim: Claim
    candidates: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRow:
    """A line that somebody should look at."""

    row: int
    line: int
    file: str
    title: str
    year: int
    problem: Problem | None
    """None for one that is to be settled."""
    candidates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowPage:
    """Some lines to look at."""

    rows: tuple[AttentionRow, ...]
    next: int | None
    """The row after which they go on; None at the end."""
    total_size: int


@dataclass(frozen=True, slots=True)
class Found:
    """Which film a line is about."""

    movie_id: int
    """0 when that is not sure."""
    candidates: tuple[int, ...] = ()
    """The likeliest first, when it is not sure."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody says about an unsettled line."""

    row: int
    movie_id: int
    """0 leaves it out."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What becomes of a line."""

    row: int
    state: RowState
    movie_id: int = 0
    candidates: tuple[int, ...] = ()


@dataclass(slots=True)
class Effects:
    """What a batch of lines does, all at once."""

    marks: list[Mark] = field(default_factory=list)
    new: dict[int, Entry] = field(default_factory=dict)
    """Entries to insert, by film."""
    changed: dict[int, Entry] = field(default_factory=dict)
    """Entries to replace, by film."""


class ImportNotFound(Exception):
    """There is no such import of this person's (any more)."""

    status = "NOT_FOUND"
    reason = "IMPORT_NOT_FOUND"
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__("There is no such import (any more).")


class ImportRowNotFound(Exception):
    """The import has no such line to settle."""

    status = "NOT_FOUND"
    reason = "IMPORT_ROW_NOT_FOUND"

    def __init__(self, row: int) -> None:
        super().__init__(f"There is no row {row} to settle in this import.")
        self.metadata: Mapping[str, str] = {"row": str(row)}


class ImportRowSettled(Exception):
    """Something else was decided about the line before."""

    status = "FAILED_PRECONDITION"
    reason = "IMPORT_ROW_SETTLED"

    def __init__(self, row: int) -> None:
        super().__init__(f"Row {row} was settled differently before. Change the entry itself instead.")
        self.metadata: Mapping[str, str] = {"row": str(row)}


class ImportIsDryRun(Exception):
    """A dry run has nothing to settle."""

    status = "FAILED_PRECONDITION"
    reason = "IMPORT_IS_DRY_RUN"
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__("This import only said what would happen. Import the file, and settle that.")


class TooManyImports(Exception):
    """The person has as many unfinished imports as one may have."""

    status = "RESOURCE_EXHAUSTED"
    reason = "TOO_MANY_IMPORTS"

    def __init__(self) -> None:
        super().__init__(f"{MOST_UNFINISHED} of your imports are not done yet. Please wait for one of them.")
        self.metadata: Mapping[str, str] = {"most": str(MOST_UNFINISHED)}


class TooManyUploads(Exception):
    """This replica reads as many files as it has memory for."""

    status = "RESOURCE_EXHAUSTED"
    reason = "TOO_MANY_UPLOADS"
    metadata: ClassVar[Mapping[str, str]] = {}
    retry_after = timedelta(seconds=5)

    def __init__(self) -> None:
        super().__init__("Too many files are being handed in at this moment. Please try again in a moment.")


def effects(
    rows: Sequence[ClaimRow],
    found: Mapping[int, Found],
    *,
    entries: Mapping[int, Entry],
    earlier: Iterable[tuple[int, Claim]] = (),
    now: datetime,
) -> Effects:
    """Say what a batch of lines does.

    Args:
        rows: The lines, in their order.
        found: Which film each is about, by its row.
        entries: The entries that are there for these films, by film.
        earlier: What this import has said about these films before and has not written, in its order: film
            and claim. Only a dry run has that.
        now: The time to write.
    """
    there = dict(entries)
    for movie_id, claim in earlier:
        there[movie_id] = merged(there.get(movie_id), claim, movie_id=movie_id, now=now)
    done = Effects()
    for row in rows:
        film = found[row.row]
        if not film.movie_id:
            done.marks.append(Mark(row.row, RowState.UNSETTLED, candidates=film.candidates))
            continue
        movie_id = film.movie_id
        before = there.get(movie_id)
        after = merged(before, row.claim, movie_id=movie_id, now=now)
        there[movie_id] = after
        if before is None:
            state = RowState.ADDED
        else:
            state = RowState.UNCHANGED if after == before else RowState.CHANGED
        if state is not RowState.UNCHANGED:
            (done.changed if movie_id in entries else done.new)[movie_id] = after
        done.marks.append(Mark(row.row, state, movie_id))
    return done


def settled(choices: Sequence[Choice], rows: Mapping[int, ClaimRow]) -> list[Choice]:
    """Return the choices that are still to be carried out.

    Raises:
        ImportRowNotFound: There is no such line, or it never had to be settled.
        ImportRowSettled: The opposite was decided before.
    """
    left = []
    for choice in choices:
        row = rows.get(choice.row)
        if row is None:
            raise ImportRowNotFound(choice.row)
        if row.state is RowState.UNSETTLED:
            left.append(choice)
        elif row.claim.movie_id != choice.movie_id:
            raise ImportRowSettled(choice.row)
    return left


def pause_after(tries: int) -> timedelta:
    """Return how long an import waits when films could not be looked up so often in a row."""
    doubled: int = 2 ** min(tries, 10)
    return min(_SHORTEST_PAUSE * doubled, _LONGEST_PAUSE)
