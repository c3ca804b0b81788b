"""The picture of a backlog: whole, readable by everybody, and safe whatever the words in it are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import stats_picture
from gateway.chart_words import SPOKEN, words_for
from gateway.stats_chart import Figures, Picture, draw
from gateway.tests.conftest import NOTICE, Refused, World, as_caller
from gateway.tests.refusals import refusal
from popcorn.backlog.v1 import backlog_pb2
from popcorn.gateway.v1 import library_pb2
from popcorn.movie.v1 import movie_pb2

SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "title", "desc", "style", "g", "rect", "line", "text"}
TODAY = date(2026, 11, 25)
SPANS: Final = [(0, 60), (60, 90), (90, 120), (120, 150), (150, 180), (180, 0)]
counts = st.one_of(st.just(0), st.integers(1, 9), st.integers(0, 5_000))

figures = st.builds(
    Figures,
    want_to_watch=counts,
    watching=counts,
    watched=counts,
    dropped=counts,
    watched_minutes=st.integers(0, 10**7),
    genres=st.lists(st.tuples(st.text(max_size=60), st.integers(1, 5_000)), max_size=20),
    ratings=st.lists(counts, min_size=10, max_size=10),
    decades=st.dictionaries(st.integers(187, 220).map(lambda tens: tens * 10), st.integers(1, 500)),
    lengths=st.lists(counts, min_size=6, max_size=6).map(
        lambda many: [(*span, count) for span, count in zip(SPANS, many, strict=True)]
    ),
    months=st.dictionaries(st.tuples(st.integers(1, 2030), st.integers(1, 12)), st.integers(1, 100)),
    without_genre=counts,
    without_decade=counts,
    without_length=counts,
)


def rectangles(picture: Picture) -> Iterator[tuple[float, float, float, float]]:
    yield from ((panel.x, panel.y, panel.width, panel.height) for panel in picture.panels)
    yield from ((tile.x, tile.y, tile.width, tile.height) for tile in picture.tiles)


@given(figures=figures, language=st.sampled_from(sorted(SPOKEN)), notice=st.text(max_size=80))
def test_whatever_there_is_to_draw_it_is_one_document_with_everything_in_its_place(
    figures: Figures, language: str, notice: str
) -> None:
    picture = draw(figures, SPOKEN[language], today=TODAY, notice=notice)
    root = ElementTree.fromstring(stats_picture.svg(picture))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= ELEMENTS
    assert root.get("role") == "img"
    assert [child.get("id") for child in root[:2]] == root.get("aria-labelledby", "").split()
    for one, other in combinations(rectangles(picture), 2):
        apart = (
            one[0] + one[2] <= other[0]
            or other[0] + other[2] <= one[0]
            or one[1] + one[3] <= other[1]
            or other[1] + other[3] <= one[1]
        )
        assert apart
    for panel in picture.panels:
        assert bool(panel.bars) != bool(panel.nothing)
        for bar in panel.bars:
            assert panel.x <= bar.x
            assert bar.x + bar.width <= panel.x + panel.width
            assert panel.y + 40 <= bar.y
            assert bar.y + bar.height <= panel.y + panel.height
            assert (bar.height if panel.upright else bar.width) > 0 or not bar.count
        for one_bar, next_bar in combinations(panel.bars, 2):
            # A longer bar is more films, down to the least that can be seen.
            if one_bar.count > next_bar.count:
                assert one_bar.height >= next_bar.height
                assert one_bar.width >= next_bar.width
    below = max(panel.y + panel.height for panel in picture.panels)
    assert below < picture.height


@pytest.mark.parametrize(
    "name",
    ["</text><script>alert(1)</script>", "<![CDATA[", "a & b", "\"'><image href='//evil'/>", "&lt;", "--><"],
)
def test_a_text_stays_a_text(name: str) -> None:
    picture = draw(some(genres=[(name, 3)]), words_for([]), today=TODAY, notice=name)
    root = ElementTree.fromstring(stats_picture.svg(picture))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert name[:12] in [text[:12] for text in texts if text]
    assert name in texts, "as the notice, in full"
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in ELEMENTS
        assert not [key for key in element.attrib if key.startswith("on") or "href" in key or key == "style"]
    [style] = root.iter(f"{SVG}style")
    assert not re.search(r"url\(|@import|expression", style.text or "")


def some(**changed: object) -> Figures:
    plain: dict[str, object] = {
        "want_to_watch": 1,
        "watching": 0,
        "watched": 3,
        "dropped": 0,
        "watched_minutes": 75_000,
        "genres": [("Drama", 2)],
        "ratings": [0, 0, 0, 0, 0, 0, 0, 1, 1, 0],
        "decades": {1990: 3},
        "lengths": [(*span, 1) for span in SPANS],
        "months": {(2026, 11): 2, (2024, 1): 1},
        "without_genre": 1,
        "without_decade": 0,
        "without_length": 0,
        **changed,
    }
    return Figures(**plain)  # type: ignore[arg-type]  # as above


def panel_of(picture: Picture, kind: str) -> list[tuple[str, int]]:
    [panel] = [panel for panel in picture.panels if panel.kind == kind]
    return [(bar.label, bar.count) for bar in panel.bars]


def test_months_are_the_last_twelve_and_decades_leave_no_gap_and_no_film_out() -> None:
    decades = {1920: 1, 1940: 2, 1990: 3, 2010: 4}
    picture = draw(some(decades=decades), words_for(["en"]), today=TODAY)
    months = panel_of(picture, "months")
    assert months[0] == ("Dec 2025", 0)
    assert months[1] == ("Jan 2026", 0)
    assert months[-1] == ("Nov", 2)
    assert len(months) == 12
    assert panel_of(picture, "decades") == [
        *(("< 1960", 3), ("1960s", 0), ("1970s", 0), ("1980s", 0), ("1990s", 3), ("2000s", 0), ("2010s", 4)),
    ]


def test_who_cannot_see_it_is_told_the_same() -> None:
    picture = draw(some(), words_for(["en"]), today=TODAY)
    for told in ("Watched: 3", "Drama: 2", "4: 1", "1990s: 3", "90–119: 1", "Nov: 2"):  # noqa: RUF001 - a range
        assert told in picture.description
    assert picture.subtitle == "1\u202f250 hours of film"
    assert picture.notes == ("Watched, but not known (yet): genre 1",)


@pytest.mark.parametrize(
    ("languages", "spoken"),
    [([], "en"), (["de-AT", "en"], "de"), (["ja", "FR"], "fr"), (["ja"], "en"), (["es-419"], "es")],
)
def test_it_speaks_the_best_of_the_readers_languages_that_it_knows(languages: list[str], spoken: str) -> None:
    assert words_for(languages).language == spoken


def test_every_language_says_everything() -> None:
    for words in SPOKEN.values():
        assert len(words.month_names) == 12
        assert all(getattr(words, name) for name in words.__slots__)
        assert "{hours}" in words.hours
        assert "{stars}" in words.average
        assert "{year}" in words.decade


def luminance(colour: str) -> float:
    """The relative luminance of sRGB (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_texts_and_bars_stand_out_from_what_is_behind_them(dark: bool) -> None:
    style = stats_picture.svg(draw(some(), words_for([]), today=TODAY)).decode()
    light_rules, _, dark_rules = style.partition("@media (prefers-color-scheme: dark)")
    fills = dict(re.findall(r"([.\w, ]+) \{[^}]*fill: (#\w{6})", dark_rules if dark else light_rules))
    panel, page = fills.pop(".panel"), fills.pop(".page")
    assert len(fills) == 11
    for what, colour in fills.items():
        # WCAG 2.2 AA: 4.5 to 1 for texts, 3 to 1 for what is drawn.
        least = 4.5 if what == "text" or "," in what else 3.0
        for behind in (panel, page):
            light, deep = sorted((luminance(colour), luminance(behind)), reverse=True)
            assert (light + 0.05) / (deep + 0.05) >= least, (what, colour, behind)


def test_the_picture_in_the_documents_is_what_is_drawn(repository: Path) -> None:
    picture = draw(
        some(
            want_to_watch=147,
            watching=3,
            watched=312,
            dropped=9,
            watched_minutes=36_080,
            genres=[
                *(("Drama", 121), ("Comedy", 88), ("Thriller", 64), ("Science Fiction", 47)),
                *(("Adventure", 40), ("Animation", 33), ("Family", 27), ("Documentary", 12), ("War", 3)),
            ],
            ratings=[2, 4, 3, 9, 14, 31, 52, 71, 44, 28],
            decades={1920: 2, 1950: 9, 1960: 13, 1970: 22, 1980: 38, 1990: 61, 2000: 70, 2010: 66, 2020: 27},
            lengths=[(*span, count) for span, count in zip(SPANS, (4, 41, 152, 80, 21, 9), strict=True)],
            months={
                **{(2025, 12): 9, (2026, 1): 14, (2026, 2): 6, (2026, 3): 4, (2026, 5): 8, (2026, 6): 3},
                **{(2026, 7): 1, (2026, 8): 2, (2026, 9): 7, (2026, 10): 12, (2026, 11): 10},
            },
            without_genre=4,
            without_decade=4,
            without_length=5,
        ),
        words_for(["en"]),
        today=TODAY,
        notice="This product uses the TMDB API but is not endorsed or certified by TMDB.",
    )
    kept = repository / "docs" / "backlog-stats.svg"
    assert kept.read_bytes() == stats_picture.svg(picture), f"write into {kept} what is drawn here"


# ---- through the gateway ----

STATS = backlog_pb2.Stats(
    statuses=[backlog_pb2.Stats.StatusCount(status=backlog_pb2.ENTRY_STATUS_WATCHED, count=5)],
    genres=[
        backlog_pb2.Stats.GenreCount(genre_id=18, count=4),
        backlog_pb2.Stats.GenreCount(genre_id=99, count=1),
    ],
    ratings=[backlog_pb2.Stats.RatingCount(rating=half / 2, count=half) for half in range(1, 11)],
    decades=[backlog_pb2.Stats.DecadeCount(decade=1990, count=5)],
    runtimes=[
        backlog_pb2.Stats.RuntimeCount(from_minutes=shortest, below_minutes=below, count=1)
        for shortest, below in SPANS
    ],
    months=[backlog_pb2.Stats.MonthCount(year=2026, month=1, count=5)],
    watched_minutes=600,
    without_genre=2,
)


async def test_the_numbers_come_as_they_are(world: World, somebody: Callable[[], str]) -> None:
    world.backlogs.stats = STATS
    signed_in = await world.sign_in(somebody())
    answer = await world.library.GetBacklogStats(
        library_pb2.GetBacklogStatsRequest(), metadata=as_caller(signed_in)
    )
    assert answer == library_pb2.GetBacklogStatsResponse(stats=STATS)
    assert world.backlogs.script.asked == [backlog_pb2.GetStatsRequest(user_id=signed_in.account.user_id)]
    assert world.movies.script.asked == []


async def test_the_picture_has_genres_by_name_in_the_readers_language(
    world: World, somebody: Callable[[], str]
) -> None:
    world.backlogs.stats = STATS
    metadata = as_caller(await world.sign_in(somebody()), ("accept-language", "de"), ("x-region", "AT"))
    answer = await world.library.GetBacklogStatsChart(
        library_pb2.GetBacklogStatsChartRequest(), metadata=metadata
    )
    assert answer.chart.content_type == "image/svg+xml"
    root = ElementTree.fromstring(answer.chart.data)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"Meine Filme in Zahlen", "Drama", "#99", "10 Stunden Film", NOTICE.tmdb} <= set(texts)
    assert world.movies.script.asked == [
        movie_pb2.ListGenresRequest(locale=movie_pb2.Locale(languages=["de"], region="AT"))
    ]


async def test_without_genres_there_is_no_picture_and_the_numbers_are_there(
    world: World, somebody: Callable[[], str]
) -> None:
    world.movies.script.failure = Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    metadata = as_caller(await world.sign_in(somebody()))
    request = library_pb2.GetBacklogStatsChartRequest()
    seen = await refusal(world.library.GetBacklogStatsChart(request, metadata=metadata))
    assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    await world.library.GetBacklogStats(library_pb2.GetBacklogStatsRequest(), metadata=metadata)
