"""The picture of a backlog: what stands where. Turned into SVG by `stats_picture`.

All lengths are in the picture's own units, which are pixels when it is shown at its natural size.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from gateway.chart_words import Words

WIDTH: Final = 760
_MARGIN: Final = 32
_GAP: Final = 20
_HALF: Final = (WIDTH - 2 * _MARGIN - _GAP) // 2
_PADDING: Final = 20
_HEADING: Final = 52
"""From a panel's top to where its bars begin."""

_TILES_TOP: Final = 112
_TILE_HEIGHT: Final = 78
_MOST_GENRES: Final = 8
_GENRE_ROW: Final = 25
_GENRE_NAME_WIDTH: Final = 120
_LONGEST_GENRE_NAME: Final = 16
"""Characters of a latin script that fit into that width."""
_MOST_DECADES: Final = 7
_MONTHS: Final = 12
_COLUMN_LABEL: Final = 22
"""Below the columns, for what they are."""
_COUNT_LABEL: Final = 16
"""Above a column, for how many."""
_LEAST_BAR: Final = 2.0
"""So that one film among thousands can be seen."""

# What no XML document may hold, however it is escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A backlog in numbers, as the picture needs them."""

    want_to_watch: int
    watching: int
    watched: int
    dropped: int
    watched_minutes: int
    genres: Sequence[tuple[str, int]]
    """Name and watched films, the most frequent first."""
    ratings: Sequence[int]
    """Entries of 0.5, 1, ... 5 stars: ten."""
    decades: Mapping[int, int]
    """Watched films by the decade's first year."""
    lengths: Sequence[tuple[int, int, int]]
    """From how many minutes, below how many (0: without end), watched films."""
    months: Mapping[tuple[int, int], int]
    """Watched films by year and month."""
    without_genre: int
    without_decade: int
    without_length: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with its texts."""

    label: str
    count: int
    x: float
    y: float
    width: float
    height: float
    label_x: float
    label_y: float
    count_x: float
    count_y: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One part of the picture."""

    kind: str
    """What is counted: names its colour."""
    heading: str
    aside: str
    """What stands at the right of the heading."""
    x: float
    y: float
    width: float
    height: float
    bars: tuple[Bar, ...]
    upright: bool
    """Whether the bars are columns."""
    nothing: str
    """What to say instead when nothing is counted; else empty."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One large number."""

    kind: str
    label: str
    number: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything, where it stands."""

    language: str
    title: str
    subtitle: str
    description: str
    """The whole picture in words, for who cannot see it."""
    tiles: tuple[Tile, ...]
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]
    notes_y: float
    width: int
    height: int


def draw(figures: Figures, words: Words, *, today: date, notice: str = "") -> Picture:
    """Return the picture of a backlog.

    Args:
        figures: The numbers.
        words: What to say.
        today: The last month shown is this day's.
        notice: What has to be shown with data about films.
    """
    genres = _genres(figures, words, y=_TILES_TOP + _TILE_HEIGHT + _GAP)
    ratings = _columns(
        _Place("ratings", _MARGIN + _HALF + _GAP, genres.y, _HALF, genres.height),
        words.ratings,
        [(_stars(half), count) for half, count in enumerate(figures.ratings, start=1)],
        words,
        aside=_average(figures.ratings, words),
    )
    below = genres.y + genres.height + _GAP
    decades = _columns(
        _Place("decades", _MARGIN, below, _HALF, 210), words.decades, _decades(figures, words), words
    )
    lengths = _columns(
        _Place("lengths", _MARGIN + _HALF + _GAP, below, _HALF, 210),
        words.lengths,
        [(_span(shortest, end), count) for shortest, end, count in figures.lengths],
        words,
    )
    months = _columns(
        _Place("months", _MARGIN, below + 210 + _GAP, WIDTH - 2 * _MARGIN, 190),
        words.months,
        _last_months(figures, words, today),
        words,
    )
    panels = (genres, ratings, decades, lengths, months)
    notes = tuple(note for note in (_unknown(figures, words), _text(notice)) if note)
    notes_y = months.y + months.height + 30
    tiles = _tiles(figures, words)
    return Picture(
        language=words.language,
        title=words.title,
        subtitle=words.hours.format(hours=_number(figures.watched_minutes // 60)),
        description=_description(tiles, panels),
        tiles=tiles,
        panels=panels,
        notes=notes,
        notes_y=notes_y,
        width=WIDTH,
        height=round(notes_y + 18 * len(notes)),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a panel stands."""

    kind: str
    x: float
    y: float
    width: float
    height: float


def _tiles(figures: Figures, words: Words) -> tuple[Tile, ...]:
    numbers = (
        ("watched", words.watched, figures.watched),
        ("want", words.want_to_watch, figures.want_to_watch),
        ("watching", words.watching, figures.watching),
        ("dropped", words.dropped, figures.dropped),
    )
    width = (WIDTH - 2 * _MARGIN - 3 * _GAP) / 4
    return tuple(
        Tile(kind, label, _number(number), _MARGIN + index * (width + _GAP), _TILES_TOP, width, _TILE_HEIGHT)
        for index, (kind, label, number) in enumerate(numbers)
    )


def _genres(figures: Figures, words: Words, *, y: float) -> Panel:
    shown = figures.genres[:_MOST_GENRES]
    left, top = _MARGIN + _PADDING, y + _HEADING
    room = _HALF - 2 * _PADDING - _GENRE_NAME_WIDTH - 34
    length_of = _scale([count for _, count in shown], room)
    bars = []
    for row, (name, count) in enumerate(shown):
        middle = top + row * _GENRE_ROW + _GENRE_ROW / 2
        x, width = left + _GENRE_NAME_WIDTH, length_of(count)
        bars.append(
            Bar(
                label=_shortened(_text(name)),
                count=count,
                x=x,
                y=middle - 7,
                width=width,
                height=14,
                label_x=x - 8,
                label_y=middle + 4.5,
                count_x=x + width + 6,
                count_y=middle + 4.5,
            )
        )
    height = _HEADING + _MOST_GENRES * _GENRE_ROW + _PADDING - 6
    nothing = "" if shown else words.nothing
    return Panel("genres", words.genres, "", _MARGIN, y, _HALF, height, tuple(bars), False, nothing)


def _columns(
    place: _Place, heading: str, counts: Sequence[tuple[str, int]], words: Words, *, aside: str = ""
) -> Panel:
    left, room = place.x + _PADDING, place.width - 2 * _PADDING
    bottom = place.y + place.height - _PADDING - _COLUMN_LABEL
    height_of = _scale([count for _, count in counts], bottom - place.y - _HEADING - _COUNT_LABEL)
    step = room / max(len(counts), 1)
    width = min(step * 0.64, 34.0)
    bars = []
    for column, (label, count) in enumerate(counts):
        middle, height = left + (column + 0.5) * step, height_of(count)
        bars.append(
            Bar(
                label=label,
                count=count,
                x=middle - width / 2,
                y=bottom - height,
                width=width,
                height=height,
                label_x=middle,
                label_y=bottom + 18,
                count_x=middle,
                count_y=bottom - height - 6,
            )
        )
    nothing = "" if any(count for _, count in counts) else words.nothing
    return Panel(
        place.kind,
        heading,
        aside,
        place.x,
        place.y,
        place.width,
        place.height,
        () if nothing else tuple(bars),
        True,
        nothing,
    )


def _scale(counts: Sequence[int], room: float) -> Callable[[int], float]:
    """Return how long the bar of a count is, the longest filling the room."""
    most = max(counts, default=0)
    return lambda count: max(room * count / most, _LEAST_BAR) if count else 0.0


def _decades(figures: Figures, words: Words) -> list[tuple[str, int]]:
    """The last decades without a gap; earlier ones in one column in front."""
    if not figures.decades:
        return []
    last = max(figures.decades)
    first = max(min(figures.decades), last - 10 * (_MOST_DECADES - 1))
    if first > min(figures.decades):
        first += 10
    columns = [
        (words.decade.format(year=year), figures.decades.get(year, 0)) for year in range(first, last + 1, 10)
    ]
    earlier = sum(count for year, count in figures.decades.items() if year < first)
    return [(f"< {first}", earlier), *columns] if earlier else columns


def _last_months(figures: Figures, words: Words, today: date) -> list[tuple[str, int]]:
    this_month = today.year * 12 + today.month - 1
    months = [divmod(number, 12) for number in range(this_month - _MONTHS + 1, this_month + 1)]
    return [
        (
            # The year where it begins, and in front.
            f"{words.month_names[month]} {year}" if month == 0 or index == 0 else words.month_names[month],
            figures.months.get((year, month + 1), 0),
        )
        for index, (year, month) in enumerate(months)
    ]


def _average(ratings: Sequence[int], words: Words) -> str:
    rated = sum(ratings)
    if not rated:
        return ""
    stars = sum(half * count for half, count in enumerate(ratings, start=1)) / rated / 2
    return words.average.format(stars=f"{stars:.1f}".replace(".", words.decimal_point))


def _unknown(figures: Figures, words: Words) -> str:
    parts = (
        (words.genre, figures.without_genre),
        (words.decade_of_release, figures.without_decade),
        (words.length, figures.without_length),
    )
    told = [f"{label} {_number(count)}" for label, count in parts if count]
    return f"{words.unknown}: {', '.join(told)}" if told else ""


def _description(tiles: Sequence[Tile], panels: Sequence[Panel]) -> str:
    lines = [", ".join(f"{tile.label}: {tile.number}" for tile in tiles)]
    for panel in panels:
        counts = ", ".join(f"{bar.label}: {bar.count}" for bar in panel.bars if bar.count)
        lines.append(f"{panel.heading}: {counts or panel.nothing}")
    return ". ".join(lines) + "."


def _stars(half_stars: int) -> str:
    whole, half = divmod(half_stars, 2)
    return f"{whole or ''}{'½' if half else ''}"


def _span(shortest: int, end: int) -> str:
    if not end:
        return f"{shortest}+"
    return f"{shortest}–{end - 1}" if shortest else f"< {end}"  # noqa: RUF001 - a range has an en dash


def _number(number: int) -> str:
    """Digits in groups of three, with narrow spaces: that is read the same everywhere."""
    return f"{number:,}".replace(",", "\u202f")


def _shortened(name: str) -> str:
    if _length(name) <= _LONGEST_GENRE_NAME:
        return name
    while _length(name) >= _LONGEST_GENRE_NAME:
        name = name[:-1]
    return name.rstrip() + "…"


def _length(name: str) -> int:
    """How many characters of a latin script a text is as long as."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in name)


def _text(text: str) -> str:
    return _NOT_XML.sub("", text)
