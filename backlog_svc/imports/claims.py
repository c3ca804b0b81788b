"""What a file says about films, one claim a film, and what putting such a claim into a backlog does.

Plain values and rules; nothing here knows of files, gRPC or PostgreSQL.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from backlog_svc.entries import LONGEST_NOTE, LONGEST_TAG, MOST_TAGS, Entry, Source, Status

LONGEST_TITLE: Final = 200
"""Code points; longer ones are cut."""
YEARS: Final = range(1870, 2201)
"""Years of release that are taken for one."""

_IMDB_ID: Final = re.compile(r"tt[0-9]{5,12}")
_LARGEST_MOVIE_ID: Final = 2**31 - 1
# What is no text, or would break a line: C0, DEL, C1, the Unicode line ends, lone surrogates.
_NOT_IN_A_LINE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_NOT_IN_LINES: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]+")
_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)
# Of two statuses in one file the one further along counts.
_PROGRESS: Final = {Status.WANT_TO_WATCH: 0, Status.WATCHING: 1, Status.DROPPED: 2, Status.WATCHED: 3}


class Format(StrEnum):
    """Whose file it is."""

    LETTERBOXD = "letterboxd"
    IMDB = "imdb"
    TRAKT = "trakt"
    TMDB = "tmdb"
    OWN = "own"
    """Our own export as JSON."""
    LETTERBOXD_IMPORT = "letterboxd_import"
    """The CSV that Letterboxd's importer takes, which our own export makes, too."""


class Problem(StrEnum):
    """Why nothing could be made of a line."""

    WRONG_COLUMN_COUNT = "wrong_column_count"
    CELL_TOO_LONG = "cell_too_long"
    NO_FILM_NAMED = "no_film_named"
    INVALID_RATING = "invalid_rating"
    INVALID_ITEM = "invalid_item"
    """Something in a JSON list that is not what the list is of."""


class BadLine(Exception):
    """Nothing can be made of a line."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


class NotAFilm(Exception):
    """A line is about a series, an episode, a game: it is counted and left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a file says about one film. Times are aware and not in the future."""

    line: int
    """Where it stands, from 1; in JSON the number of the item."""
    file: str = ""
    """Which file of an archive; empty for a single file."""
    movie_id: int = 0
    """TMDB's id; 0 when the file does not know it."""
    imdb_id: str = ""
    """IMDb's id ("tt0133093"); empty when the file does not know it."""
    title: str = ""
    """At most 200 code points, in one line."""
    year: int = 0
    """The year of release; 0 when unknown."""
    status: Status = Status.WANT_TO_WATCH
    half_stars: int | None = None
    note: str = ""
    tags: tuple[str, ...] = ()
    add_time: datetime | None = None
    """When it was put on the list."""
    watch_time: datetime | None = None
    """When it was watched."""
    state_time: datetime | None = None
    """Since when the file's owner has said all this; None when the file does not tell."""
    shortened: bool = False
    """Whether the note or the tags are more than an entry can hold, and were cut."""

    @property
    def names_a_film(self) -> bool:
        """Whether there is anything to find a film by."""
        return bool(self.movie_id or self.imdb_id or self.title)

    @property
    def film_key(self) -> tuple[object, ...]:
        """Equal for claims that name their film alike."""
        if self.movie_id:
            return (self.movie_id,)
        return (self.imdb_id,) if self.imdb_id else (self.title.casefold(), self.year)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A line that nothing could be made of."""

    line: int
    file: str = ""
    problem: Problem
    title: str = ""
    """The title it has, as far as it can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A whole file, read."""

    format: Format
    claims: tuple[Claim, ...]
    """One a film, in the order of the file."""
    faults: tuple[Fault, ...]
    skipped_series: int
    """How many lines are about something else than films."""


def joined(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Make one claim of all that name their film alike: a diary has a film as often as it was watched.

    The status furthest along, the last rating and note, all tags, the first adding and the last watching.
    """
    found: dict[tuple[object, ...], Claim] = {}
    for claim in claims:
        key = claim.film_key
        other = found.get(key)
        found[key] = claim if other is None else _joined(other, claim)
    return tuple(found.values())


def _joined(one: Claim, other: Claim) -> Claim:
    later, earlier = (
        (other, one) if (other.state_time or _NO_TIME) > (one.state_time or _NO_TIME) else (one, other)
    )
    tags = tuple(dict.fromkeys((*one.tags, *other.tags)))
    return replace(
        one,
        movie_id=one.movie_id or other.movie_id,
        imdb_id=one.imdb_id or other.imdb_id,
        title=one.title or other.title,
        year=one.year or other.year,
        status=max(one.status, other.status, key=_PROGRESS.__getitem__),
        half_stars=earlier.half_stars if later.half_stars is None else later.half_stars,
        note=later.note or earlier.note,
        tags=tags[:MOST_TAGS],
        add_time=min(filter(None, (one.add_time, other.add_time)), default=None),
        watch_time=max(filter(None, (one.watch_time, other.watch_time)), default=None),
        state_time=later.state_time,
        shortened=one.shortened or other.shortened or len(tags) > MOST_TAGS,
    )


def merged(entry: Entry | None, claim: Claim, *, movie_id: int, now: datetime) -> Entry:
    """Return the entry as it is once a claim has been taken in; an equal one when that changes nothing.

    A new entry says what the claim says. One that is there keeps what it says, unless the file's owner said
    otherwise *after* the entry was last changed; what is empty (rating, note, tags, watch time) is filled in
    either case. Watched beats want-to-watch, whatever their times; a wish never takes anything back. When
    and how an entry was added stays. So files taken in twice change nothing the second time, not even where
    two of their lines name the same film differently.

    Args:
        entry: The entry that is there.
        claim: What the file says.
        movie_id: The film that the claim is about.
        now: The time to write; nothing that a file says is later.
    """
    if entry is None:
        watch_time = claim.watch_time
        if watch_time is None and claim.status is Status.WATCHED:
            watch_time = claim.state_time or now
        return Entry(
            movie_id=movie_id,
            status=claim.status,
            note=claim.note,
            half_stars=claim.half_stars,
            tags=claim.tags,
            add_time=claim.add_time or claim.state_time or now,
            update_time=now,
            watch_time=watch_time,
            source=Source.IMPORT,
        )
    newer = claim.state_time is not None and claim.state_time > entry.update_time
    status = _merged_status(entry.status, claim.status, newer=newer)
    watch_time = entry.watch_time or claim.watch_time
    if claim.watch_time and watch_time and (newer or status is not entry.status):
        watch_time = max(watch_time, claim.watch_time)
    if watch_time is None and status is Status.WATCHED:
        watch_time = claim.state_time or now
    half_stars = entry.half_stars
    if claim.half_stars is not None and (newer or half_stars is None):
        half_stars = claim.half_stars
    after = replace(
        entry,
        status=status,
        half_stars=half_stars,
        note=claim.note if claim.note and (newer or not entry.note) else entry.note,
        tags=claim.tags if claim.tags and (newer or not entry.tags) else entry.tags,
        watch_time=watch_time,
    )
    return entry if after == entry else replace(after, update_time=now)


def _merged_status(there: Status, claimed: Status, *, newer: bool) -> Status:
    if claimed is Status.WANT_TO_WATCH:
        return there
    if newer or (there is Status.WANT_TO_WATCH and claimed is Status.WATCHED):
        return claimed
    return there


def line_of_text(cell: str, *, longest: int = LONGEST_TITLE) -> str:
    """Return a cell as one line of text: without control characters, white space single, cut to a length."""
    return " ".join(_NOT_IN_A_LINE.sub(" ", cell[: 8 * longest]).split())[:longest].rstrip()


def note_of(cell: str) -> tuple[str, bool]:
    """Return a cell as a note, and whether it had to be cut."""
    text = cell.replace("\r\n", "\n").replace("\r", "\n")
    text = _NOT_IN_LINES.sub("", text).strip()
    if len(text) <= LONGEST_NOTE:
        return text, False
    return text[: LONGEST_NOTE - 1].rstrip() + "…", True


def tags_of(names: Iterable[str]) -> tuple[tuple[str, ...], bool]:
    """Return tags, each once, and whether one had to be cut or left out."""
    lines = [line_of_text(name, longest=LONGEST_TAG + 1) for name in names]
    tags = tuple(dict.fromkeys(line[:LONGEST_TAG].rstrip() for line in lines if line))
    return tags[:MOST_TAGS], len(tags) > MOST_TAGS or any(len(line) > LONGEST_TAG for line in lines)


def movie_id_of(cell: object) -> int:
    """Return TMDB's id of a film, 0 when it is none."""
    number = _whole(cell)
    return number if 1 <= number <= _LARGEST_MOVIE_ID else 0


def imdb_id_of(cell: object) -> str:
    """Return IMDb's id of a film, empty when it is none."""
    text = cell.strip() if isinstance(cell, str) else ""
    return text if _IMDB_ID.fullmatch(text) else ""


def year_of(cell: object) -> int:
    """Return a year of release, 0 when it is none. Takes a date, too."""
    number = _whole(cell[:4] if isinstance(cell, str) else cell)
    return number if number in YEARS else 0


def time_of(cell: object, *, now: datetime) -> datetime | None:
    """Return a day or time in ISO 8601; None when it is none, or in the future. Without a zone it is UTC."""
    if not isinstance(cell, str) or not 8 <= len(cell.strip()) <= 40:
        return None
    try:
        time = datetime.fromisoformat(cell.strip())
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time if time.year >= YEARS.start and time <= now else None


def half_stars_of(cell: object, *, of_ten: bool) -> int | None:
    """Return a rating in half stars, None for an empty cell and for 0.

    Args:
        cell: A number, or its text.
        of_ten: Whether it is of ten points rather than of five stars.

    Raises:
        BadLine: It is no such rating.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, bool) or not isinstance(cell, (str, int, float)) or len(str(cell)) > 20:
        raise BadLine(Problem.INVALID_RATING)
    try:
        points = float(cell) * (1 if of_ten else 2)
    except ValueError:
        raise BadLine(Problem.INVALID_RATING) from None
    if not 0 <= points <= 10:  # NaN fails here, too
        raise BadLine(Problem.INVALID_RATING)
    return int(points + 0.5) or None


def _whole(cell: object) -> int:
    if isinstance(cell, bool):
        return 0
    if isinstance(cell, int):
        return cell
    text = cell.strip() if isinstance(cell, str) else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else 0
