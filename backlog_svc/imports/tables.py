"""CSV as people's programs write it, read row by row in bounded memory; what is broken costs its own line."""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TextIO

from backlog_svc.imports.claims import Problem

LONGEST_LINE: Final = 1024 * 1024
"""Characters; the rest of a longer line is not looked at."""
LONGEST_CELL: Final = 131_072
"""Characters; csv's own limit. It also ends what a quote that is never closed swallows."""

_PIECE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One row below the header."""

    line: int
    """The line it begins on, from 1."""
    cells: Mapping[str, str]
    """By the header's name in lower case; empty when there is a problem."""
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file."""

    header: frozenset[str]
    """The columns' names in lower case."""
    rows: Iterator[Row]
    """What comes after the header. Blank lines count as rows without cells."""


def text_of(data: bytes) -> TextIO:
    """Return a file's text: UTF-8 or UTF-16 by its mark, UTF-8 if it is that, and Latin-1 otherwise."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif _is_utf8(data):
        encoding = "utf-8-sig"
    else:
        # Latin-1 has control characters where Windows has quotes and dashes; nobody writes the former.
        encoding = "cp1252"
    return io.TextIOWrapper(io.BytesIO(data), encoding=encoding, errors="replace", newline="")


def read_table(text: TextIO) -> Table:
    """Return a CSV file; its header has no names when it has none."""
    lines = _lines(text)
    try:
        names = [name.strip().lower() for name in next(csv.reader(lines), [])]
    except csv.Error:
        names = []
    return Table(frozenset(filter(None, names)), _rows(lines, names))


def _rows(lines: Iterator[str], names: list[str]) -> Iterator[Row]:
    reader = csv.reader(lines)
    ended = 0
    while True:
        begins, ended_before = ended + 2, ended
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            # The reader begins afresh after it: what is left of the row is the next one.
            ended = reader.line_num
            yield Row(begins, {}, Problem.CELL_TOO_LONG)
            continue
        ended = max(reader.line_num, ended_before)
        while len(cells) > len(names) and not cells[-1].strip():
            cells.pop()  # spreadsheets add empty columns
        if not any(cells):
            yield Row(begins, {})
        elif len(cells) != len(names):
            yield Row(begins, {}, Problem.WRONG_COLUMN_COUNT)
        else:
            yield Row(begins, dict(zip(names, cells, strict=True)))


def _lines(text: TextIO) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE):
        rest = line
        while len(rest) == LONGEST_LINE and rest[-1] not in "\r\n":
            rest = text.readline(LONGEST_LINE)
        yield line


def _is_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for begin in range(0, len(data), _PIECE):
            decoder.decode(data[begin : begin + _PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
