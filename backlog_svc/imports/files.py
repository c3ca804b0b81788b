"""A file that somebody hands in: what it is, by its content alone, and all that it says, within bounds."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Final

from backlog_svc.entries import Status
from backlog_svc.imports import archives, imdb, letterboxd, own, tmdb, trakt
from backlog_svc.imports.claims import (
    BadLine,
    Claim,
    Fault,
    Format,
    NotAFilm,
    Problem,
    Reading,
    joined,
    line_of_text,
)
from backlog_svc.imports.items import BrokenJson, beginning_of, items
from backlog_svc.imports.refusals import TooManyRows, UnknownFormat
from backlog_svc.imports.tables import Row, Table, read_table, text_of

MOST_ROWS: Final = 50_000
"""Over all files of an archive, blank lines included."""

_LIST: Final = re.compile(r"\s*\[")
_OWN_ENTRIES: Final = re.compile(r'"entries"\s*:\s*\[')
_TITLES: Final = ("name", "title")

Line = tuple[int, str, "Callable[[], Claim | None]"]
"""A line's number, its title as far as that can be told, and what reads it; None for a blank one."""


def read(data: bytes, *, plain: Status, now: datetime, most_rows: int = MOST_ROWS) -> Reading:
    """Read a file.

    Args:
        data: The file.
        plain: What Letterboxd's plain lists mean, which look the same whether watched or wanted. In
            Letterboxd's archive the names of the files say it.
        now: The present; times beyond it are not believed.
        most_rows: How many lines are taken.

    Raises:
        UnknownFormat: It is none of the formats that are known.
        TooManyRows: It has more lines than that.
        FileTooLarge: It is an archive that unpacks to too much.
        UnreadableArchive: It is an archive that cannot be read.
    """
    if not archives.is_archive(data):
        return _read(data, file="", plain=plain, now=now, most_rows=most_rows)[0]
    readings: list[Reading] = []
    left = most_rows
    for member in archives.members(data):
        means = {"watched.csv": Status.WATCHED, "watchlist.csv": Status.WANT_TO_WATCH}.get(member.name, plain)
        try:
            reading, lines = _read(member.data, file=member.name, plain=means, now=now, most_rows=left)
        except UnknownFormat:
            continue  # profiles, comments, lists of lists
        except TooManyRows:
            raise TooManyRows(most_rows) from None
        left -= lines
        readings.append(reading)
    if not readings:
        raise UnknownFormat
    return Reading(
        format=readings[0].format,
        claims=joined(chain.from_iterable(reading.claims for reading in readings)),
        faults=tuple(chain.from_iterable(reading.faults for reading in readings)),
        skipped_series=sum(reading.skipped_series for reading in readings),
    )


def _read(data: bytes, *, file: str, plain: Status, now: datetime, most_rows: int) -> tuple[Reading, int]:
    """Return what one file says, and how many lines it has."""
    format_, lines = _recognised(data, file=file, plain=plain, now=now)
    claims: list[Claim] = []
    faults: list[Fault] = []
    series = count = 0
    try:
        for count, (line, title, claimed) in enumerate(lines, 1):
            if count > most_rows:
                raise TooManyRows(most_rows)
            try:
                claim = claimed()
                if claim is not None and not claim.names_a_film:
                    raise BadLine(Problem.NO_FILM_NAMED)
            except NotAFilm:
                series += 1
            except BadLine as bad:
                faults.append(Fault(line=line, file=file, problem=bad.problem, title=title))
            else:
                if claim is not None:
                    claims.append(claim)
    except BrokenJson:
        last = max((claim.line for claim in claims), default=0)
        last = max(last, max((fault.line for fault in faults), default=0))
        faults.append(Fault(line=last + 1, file=file, problem=Problem.INVALID_ITEM))
    reading = Reading(format=format_, claims=joined(claims), faults=tuple(faults), skipped_series=series)
    return reading, count


def _recognised(data: bytes, *, file: str, plain: Status, now: datetime) -> tuple[Format, Iterator[Line]]:
    text = text_of(data)
    begins = beginning_of(text)
    if found := _OWN_ENTRIES.search(begins) if begins.lstrip().startswith("{") else None:
        return Format.OWN, _items(items(text, begins[found.end() :]), partial(own.claim, file=file, now=now))
    if found := _LIST.match(begins):
        listed = items(text, begins[found.end() :])
        try:
            first = next(listed)
        except (StopIteration, BrokenJson):
            raise UnknownFormat from None
        if not trakt.recognises(first):
            raise UnknownFormat
        return Format.TRAKT, _items(chain([first], listed), partial(trakt.claim, file=file, now=now))
    text.seek(0)
    return _recognised_table(read_table(text), file=file, plain=plain, now=now)


def _recognised_table(
    table: Table, *, file: str, plain: Status, now: datetime
) -> tuple[Format, Iterator[Line]]:
    reads: Callable[..., Claim]
    if letterboxd.recognises_export(table.header):
        format_, reads = Format.LETTERBOXD, partial(letterboxd.exported, plain=plain)
    elif imdb.recognises(table.header):
        format_, reads = Format.IMDB, imdb.claim
    elif tmdb.recognises(table.header):
        format_, reads = Format.TMDB, tmdb.claim
    elif letterboxd.recognises_import(table.header):
        format_, reads = Format.LETTERBOXD_IMPORT, letterboxd.imported
    else:
        raise UnknownFormat
    return format_, _rows(table, partial(reads, file=file, now=now))


def _rows(table: Table, reads: Callable[..., Claim]) -> Iterator[Line]:
    for row in table.rows:
        title = next((row.cells[name] for name in _TITLES if name in row.cells), "")
        yield row.line, line_of_text(title), partial(_claim_of_row, row, reads)


def _claim_of_row(row: Row, reads: Callable[..., Claim]) -> Claim | None:
    if row.problem is not None:
        raise BadLine(row.problem)
    return reads(row.cells, line=row.line) if row.cells else None


def _items(listed: Iterator[object], reads: Callable[..., Claim]) -> Iterator[Line]:
    for number, item in enumerate(listed, 1):
        title = item.get("title") if isinstance(item, dict) else ""
        yield number, line_of_text(title) if isinstance(title, str) else "", partial(reads, item, line=number)
