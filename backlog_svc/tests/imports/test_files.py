"""Files of all kinds, and those that somebody made to do harm: a report, never a crash, in bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import random
import struct
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlog_svc.entries import LONGEST_NOTE, LONGEST_TAG, MOST_TAGS, Entry, Source, Status
from backlog_svc.imports import archives
from backlog_svc.imports.claims import Claim, Format, Problem, Reading, merged
from backlog_svc.imports.files import read
from backlog_svc.imports.guarding import guarded, unguarded
from backlog_svc.imports.own import Titled
from backlog_svc.imports.refusals import FileTooLarge, TooManyRows, UnknownFormat, UnreadableArchive
from backlog_svc.imports.writing import FileKind, pieces

NOW = datetime(2026, 11, 21, 20, 15, tzinfo=UTC)
SAMPLES = Path(__file__).parent / "samples"
LETTERBOXD = "Date,Name,Year,Letterboxd URI\n"
RUNS = "=+-@\uff1d\uff0b\uff0d\uff20\t\r\n"


def reading(data: bytes | str, *, plain: Status = Status.WANT_TO_WATCH) -> Reading:
    return read(data.encode() if isinstance(data, str) else data, plain=plain, now=NOW)


def brief(found: Reading) -> list[tuple[object, ...]]:
    return [
        (
            claim.line,
            claim.movie_id or claim.imdb_id or claim.title,
            claim.year,
            claim.status.value,
            claim.half_stars,
        )
        for claim in found.claims
    ]


def zipped(files: dict[str, str | bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


# ---- each site's files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "format_", "films", "series"),
    [
        ("letterboxd_watchlist.csv", Format.LETTERBOXD, [(2, "Alien", 1979, "want_to_watch", None)], 0),
        (
            "letterboxd_diary.csv",
            Format.LETTERBOXD,
            [(2, "Amélie", 2001, "watched", 9), (3, 'The "Burbs', 1989, "watched", None)],
            0,
        ),
        ("letterboxd_ratings.csv", Format.LETTERBOXD, [(2, "Alien", 1979, "watched", 1)], 0),
        (
            "imdb_ratings.csv",
            Format.IMDB,
            [(2, "tt0110912", 1994, "watched", 9), (4, "tt0133093", 1999, "watched", 10)],
            1,
        ),
        (
            "imdb_watchlist.csv",
            Format.IMDB,
            [(2, "tt0078748", 1979, "want_to_watch", None), (3, "tt0083658", 1982, "watched", 8)],
            2,
        ),
        ("trakt_watchlist.json", Format.TRAKT, [(1, 348, 1979, "want_to_watch", None)], 1),
        ("trakt_history.json", Format.TRAKT, [(1, 680, 1994, "watched", None)], 1),
        ("tmdb_watchlist.csv", Format.TMDB, [(2, 680, 1994, "want_to_watch", None)], 1),
    ],
)
def test_each_sites_file_is_known_by_its_content(
    file: str, format_: Format, films: list[tuple[object, ...]], series: int
) -> None:
    found = reading((SAMPLES / file).read_bytes())
    assert (found.format, brief(found), found.skipped_series) == (format_, films, series)
    assert found.faults == ()


def test_a_diary_has_days_tags_and_the_last_of_several_watchings() -> None:
    found = reading((SAMPLES / "letterboxd_diary.csv").read_bytes())
    amelie = found.claims[0]
    assert amelie.watch_time == datetime(2024, 2, 14, tzinfo=UTC)
    assert amelie.tags == ("paris", "with grace")


def test_plain_lists_mean_what_their_owner_says_and_in_the_archive_what_their_names_say() -> None:
    row = LETTERBOXD + "2024-05-01,Alien,1979,u\n"
    assert reading(row).claims[0].status is Status.WANT_TO_WATCH
    assert reading(row, plain=Status.WATCHED).claims[0].status is Status.WATCHED
    both = reading(zipped({"watched.csv": row, "watchlist.csv": row + "2024-05-01,Heat,1995,u\n"}))
    assert brief(both) == [(2, "Alien", 1979, "watched", None), (3, "Heat", 1995, "want_to_watch", None)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_text_is_read_in_the_encodings_that_people_have(encoding: str) -> None:
    title = "Amélie" if encoding == "latin-1" else "Amélie \u2013 l\u2019été"
    found = reading((LETTERBOXD + f"2024-05-01,{title},2001,u\r\n").encode(encoding))
    assert [claim.title for claim in found.claims] == [title]


def test_a_day_that_has_not_come_yet_is_not_believed() -> None:
    tomorrow = (NOW + timedelta(days=1)).date()
    [claim] = reading(LETTERBOXD + f"{tomorrow},Alien,1979,u\n").claims
    assert (claim.state_time, claim.add_time) == (None, None)


# ---- what is broken --------------------------------------------------------------------------------------


def test_a_broken_line_costs_itself_and_says_where_it_is() -> None:
    file = (
        "Date,Name,Year,Letterboxd URI,Rating\n"
        "2024-05-01,Alien,1979,u,4\n"
        "2024-05-01,Heat,1995\n"
        "2024-05-01,Jaws,1975,u,six\n"
        "2024-05-01,,1975,u,3\n"
        f"2024-05-01,{'x' * 1_000_000},1975,u,3\n"
        '2024-05-01,"Two\nlines",1975,u,3\n'
        "\n"
        "2024-05-01,Ran\0,1985,u,5\n"
    )
    found = reading(file)
    assert brief(found) == [
        (2, "Alien", 1979, "watched", 8),
        (7, "Two lines", 1975, "watched", 6),
        (10, "Ran", 1985, "watched", 10),
    ]
    assert [(fault.line, fault.problem, fault.title) for fault in found.faults] == [
        (3, Problem.WRONG_COLUMN_COUNT, ""),
        (4, Problem.INVALID_RATING, "Jaws"),
        (5, Problem.NO_FILM_NAMED, ""),
        (6, Problem.CELL_TOO_LONG, ""),
    ]


def test_a_quote_that_is_never_closed_swallows_a_stretch_and_not_the_rest() -> None:
    good = "".join(f"2024-05-01,Film {number},1979,u\n" for number in range(20_000))
    found = reading(LETTERBOXD + '2024-05-01,"Alien,1979,u\n' + good)
    assert found.faults[0].problem is Problem.CELL_TOO_LONG
    assert len(found.claims) > 14_000


def hostile(seed: int, rows: int) -> bytes:
    """Rows of everything that a CSV file should not have."""
    dice = random.Random(seed)
    cells = [
        *(
            "",
            '"',
            '""',
            '"a',
            "a,b",
            "=cmd|' /C calc'!A0",
            "@SUM(1)",
            "\0",
            "\x1b[2J",
            "ünï",
            "\u202e",
            "🍿" * 99,
        ),
        *(
            "NaN",
            "1e309",
            "-1",
            "9" * 400,
            "2024-13-45",
            "0001-01-01",
            "9999-12-31T23:59:59-23:59",
            "2024-05-01",
        ),
        *("\r", "\n", "\r\n", "'" * 50, ";" * 50, "," * 50, "../../etc/passwd", "{}[]", "\ufeff", "x" * 5000),
    ]
    lines = [LETTERBOXD.rstrip() + ",Rating,Rewatch,Tags,Watched Date,Review"]
    for _ in range(rows):
        row = [dice.choice(cells) for _ in range(dice.choice((0, 1, 8, 9, 9, 9, 10, 40)))]
        lines.append(",".join(row))
    made = "\n".join(lines).encode()
    for _ in range(5):
        at = dice.randrange(200, len(made))
        made = made[:at] + b"," + b"y" * 1_048_576 + made[at:]
    return made + bytes(dice.randrange(256) for _ in range(1000))


def test_ten_thousand_hostile_rows_are_a_report_in_bounded_memory() -> None:
    file = hostile(7, 10_000)
    tracemalloc.start()
    found = reading(file)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.faults
    assert most < 96 * 1024 * 1024
    for claim in found.claims:
        assert_can_be_kept(claim)


def assert_can_be_kept(claim: Claim) -> None:
    entry = merged(None, claim, movie_id=1, now=NOW)
    assert len(entry.note) <= LONGEST_NOTE
    assert len(entry.tags) <= MOST_TAGS
    assert all(0 < len(tag) <= LONGEST_TAG for tag in entry.tags)
    assert entry.half_stars is None or 1 <= entry.half_stars <= 10
    assert len(claim.title) <= 200
    for text in (claim.title, claim.note, *claim.tags, claim.imdb_id, claim.file):
        assert "\0" not in text
        text.encode()
    for time in (entry.add_time, entry.watch_time):
        assert time is None or time <= NOW


HEADERS = [
    LETTERBOXD,
    "Date,Name,Year,Letterboxd URI,Rating,Rewatch,Tags,Watched Date,Review\n",
    "Const,Your Rating,Date Rated,Title,Title Type,Year\n",
    "TMDb ID,IMDb ID,Type,Name,Release Date,Season Number,Episode Number,Rating,Your Rating,Date Rated\n",
    "tmdbID,Title,Year,Rating,WatchedDate,Tags,Review\n",
    '{"entries": [{"movieId": 1}, ',
    '[{"type": "movie", "movie": {"title": "A", "ids": {"tmdb": 1}}}, ',
    "PK\x03\x04",
]


@settings(max_examples=300)
@given(
    st.sampled_from(["", *HEADERS]),
    st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass")),
)
def test_whatever_comes_is_read_or_refused_with_a_reason(header: str, rest: bytes) -> None:
    try:
        found = reading(header.encode("latin-1") + rest)
    except (UnknownFormat, UnreadableArchive):
        return
    for claim in found.claims:
        assert_can_be_kept(claim)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["movie", "ids", "tmdb", "title", "rating", "watched_at", "movieId", "tags", "note", "status"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.lists(json_values, max_size=6), st.booleans())
def test_json_of_any_shape_is_read_or_refused_with_a_reason(values: list[object], ours: bool) -> None:
    file = json.dumps({"entries": values} if ours else values)
    try:
        found = reading(file)
    except UnknownFormat:
        assert not ours
        return
    assert len(found.claims) + len(found.faults) + found.skipped_series <= len(values)
    for claim in found.claims:
        assert_can_be_kept(claim)


@pytest.mark.parametrize(
    "file",
    [
        '{"entries": [' + "[" * 100_000,
        '{"entries": [{"movieId": 7}, {"movieId": ' + "9" * 1_000_000,
        '{"entries": [{"movieId": 7}, {"movieId": 8, "note": "' + "x" * 2_000_000,
        '[{"movie": {"ids": {"tmdb": 7}}}, {"movie": {"ids"',
    ],
    ids=["deep", "long number", "long text", "cut off"],
)
def test_json_that_stops_being_json_gives_what_came_before(file: str) -> None:
    found = reading(file)
    assert [fault.problem for fault in found.faults] == [Problem.INVALID_ITEM]
    assert len(found.claims) == file.count("7")


def test_too_many_rows_are_refused_blank_ones_included() -> None:
    for rows in ("2024-05-01,Alien,1979,u\n" * 50_001, "\n" * 50_001):
        with pytest.raises(TooManyRows):
            reading(LETTERBOXD + rows)
    half = LETTERBOXD + "2024-05-01,Alien,1979,u\n" * 25_001
    with pytest.raises(TooManyRows):
        reading(zipped({"watched.csv": half, "watchlist.csv": half}))


# ---- archives --------------------------------------------------------------------------------------------


def test_a_bomb_is_refused_as_soon_as_it_is_too_large() -> None:
    bomb = zipped({"watched.csv": LETTERBOXD.encode() + b"\0" * (archives.MOST_UNPACKED_BYTES + 1)})
    assert len(bomb) < 200_000
    with pytest.raises(FileTooLarge):
        reading(bomb)


def test_a_directory_that_is_longer_than_any_honest_one_is_not_even_read() -> None:
    many = zipped({f"{number}.csv": "" for number in range(archives.MOST_MEMBERS + 1)})
    with pytest.raises(UnreadableArchive):
        reading(many)
    small = bytearray(zipped({"watched.csv": LETTERBOXD}))
    end = small.rfind(b"PK\x05\x06")
    struct.pack_into("<I", small, end + 12, 2**31)
    with pytest.raises(UnreadableArchive):
        reading(bytes(small))


def test_names_that_point_elsewhere_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    row = LETTERBOXD + "2024-05-01,Alien,1979,u\n"
    for name in ("../../watched.csv", "/etc/watched.csv", "a\\..\\watched.csv", "C:watched.csv"):
        assert len(reading(zipped({name: row})).claims) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_lies_in_folders_is_left_alone() -> None:
    row = LETTERBOXD + "2024-05-01,Alien,1979,u\n"
    other = row.replace("Alien", "Heat")
    found = reading(zipped({"watchlist.csv": row, "likes/films.csv": other, "deleted/diary.csv": other}))
    assert [claim.title for claim in found.claims] == ["Alien"]
    in_a_folder = reading(zipped({"mine/watchlist.csv": row, "mine/likes/films.csv": other}))
    assert [claim.title for claim in in_a_folder.claims] == ["Alien"]
    with pytest.raises(UnknownFormat):
        reading(zipped({"profile.csv": "Date Joined,Username\n1,2\n", "inner.zip": zipped({"a.csv": row})}))


@given(st.data())
@settings(max_examples=200)
def test_a_damaged_archive_is_refused_or_read(data: st.DataObject) -> None:
    whole = bytearray(zipped({"watched.csv": LETTERBOXD + "2024-05-01,Alien,1979,u\n"}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(4, len(whole)))
    with contextlib.suppress(UnreadableArchive, UnknownFormat, FileTooLarge):
        reading(bytes(whole[:cut]))


# ---- out and in again ------------------------------------------------------------------------------------

texts = st.text(
    st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from("=+-@'\",;\n"), max_size=30
).map(lambda text: text.strip())
times = st.datetimes(datetime(1900, 1, 1), NOW.replace(tzinfo=None), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def backlogs(draw: st.DrawFn) -> list[Titled]:
    def one(movie_id: int) -> Titled:
        status = draw(st.sampled_from(Status))
        entry = Entry(
            movie_id=movie_id,
            status=status,
            note=draw(texts),
            half_stars=draw(st.none() | st.integers(1, 10)),
            tags=tuple(
                draw(
                    st.lists(
                        texts.map(lambda text: " ".join(text.split())).filter(bool), unique=True, max_size=4
                    )
                )
            ),
            add_time=draw(times),
            update_time=draw(times),
            watch_time=draw(times if status is Status.WATCHED else st.none() | times),
            source=draw(st.sampled_from(Source)),
        )
        return Titled(entry, draw(texts), draw(st.sampled_from([0, 1979])))

    return [one(movie_id) for movie_id in draw(st.lists(st.integers(1, 2**31 - 1), unique=True, max_size=5))]


def written(kind: FileKind, films: list[Titled], *, stretch: int) -> bytes:
    async def stretches() -> AsyncIterator[list[Titled]]:
        for begin in range(0, len(films), stretch):
            yield films[begin : begin + stretch]

    async def whole() -> str:
        return "".join([piece async for piece in pieces(kind, stretches(), now=NOW)])

    return asyncio.run(whole()).encode()


@settings(max_examples=200, deadline=None)
@given(backlogs(), st.integers(1, 3))
def test_our_own_json_brings_everything_back(films: list[Titled], stretch: int) -> None:
    file = written(FileKind.JSON, films, stretch=stretch)
    json.loads(file)
    found = reading(file)
    assert (found.format, found.faults) == (Format.OWN, ())
    back = [merged(None, claim, movie_id=claim.movie_id, now=NOW) for claim in found.claims]
    assert [without_import(entry) for entry in back] == [without_import(film.entry) for film in films]


def without_import(entry: Entry) -> tuple[object, ...]:
    return (
        *(entry.movie_id, entry.status, entry.note, entry.half_stars, entry.tags),
        *(entry.add_time, entry.watch_time),
    )


@settings(max_examples=200, deadline=None)
@given(backlogs())
def test_no_cell_of_the_csv_runs_and_what_it_says_comes_back(films: list[Titled]) -> None:
    file = written(FileKind.LETTERBOXD_CSV, films, stretch=2)
    rows = list(csv.reader(io.StringIO(file.decode(), newline="")))
    assert rows[0] == ["tmdbID", "Title", "Year", "Rating", "WatchedDate", "Tags", "Review"]
    for row in rows:
        assert not any(cell.startswith(tuple(RUNS)) for cell in row)
    found = reading(file)
    assert (found.format, found.faults) == (Format.LETTERBOXD_IMPORT, ())
    for film, claim in zip(films, found.claims, strict=True):
        entry = film.entry
        assert (claim.movie_id, claim.half_stars) == (entry.movie_id, entry.half_stars)
        assert claim.note == entry.note
        assert claim.title == " ".join(film.title.split())
        assert ", ".join(claim.tags) == ", ".join(commaless(entry.tags))
        watched = entry.watch_time if entry.status is Status.WATCHED else None
        assert (claim.watch_time and claim.watch_time.date()) == (watched and watched.date())


def commaless(tags: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, (" ".join(tag.replace(",", " ").split()) for tag in tags))))


@given(st.text(st.sampled_from(RUNS + "'a"), max_size=6))
def test_guarding_a_cell_is_undone_exactly(cell: str) -> None:
    assert not guarded(cell).startswith(tuple(RUNS))
    assert unguarded(guarded(cell)) == cell
