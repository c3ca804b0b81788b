"""Folding and finding, as properties: whatever a film is called, typing it finds it."""

# ruff: noqa: RUF001 - letters that look like others are what this is about

import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_svc.folding import foldings
from movie_svc.title_index import Entry, TitleIndex

NOW = 1_000_000.0
LATER = NOW + 1_000_000


def entry(movie_id: int, *titles: str, popularity: float = 1.0, gone_at: float = LATER) -> Entry:
    folded = frozenset(one for title in titles for one in foldings(title))
    return Entry(movie_id, popularity, folded, gone_at)


def index_of(entries: Sequence[Entry], *, compacted: bool, most_films: int = 1_000_000) -> TitleIndex:
    index = TitleIndex(most_films)
    if compacted:
        snapshot = index.snapshot()
        index.adopt(snapshot.compacted(entries, now=NOW), snapshot)
    else:
        for one in entries:
            index.put(one)
    return index


def compact(index: TitleIndex) -> None:
    snapshot = index.snapshot()
    index.adopt(snapshot.compacted(now=NOW), snapshot)


@pytest.mark.parametrize(
    ("title", "typed"),
    [
        ("Amélie", ["ame", "AME", "Amé", "Ame\u0301", "amelie"]),
        ("Le Fabuleux Destin d'Amélie Poulain", ["fab", "d'am", "dam", "amelie p", "le fabuleux d"]),
        ("Die fabelhafte Welt der Amélie", ["welt", "welt der am"]),
        ("Weißer Riese", ["weiss", "weiß", "WEISS", "WEIẞ"]),
        ("Smørrebrød", ["smor", "smør", "SMØR"]),
        ("Łódź", ["lodz", "łodz", "ŁÓ"]),
        ("Þór og Ægir", ["thor", "aegir", "ægir"]),
        ("İstanbul Hatırası", ["ist", "İst", "hatirasi", "hatıra"]),
        ("Spider-Man: No Way Home", ["spider man", "spiderman", "spider-m", "man no", "no way"]),
        ("Ocean's Eleven", ["oceans e", "ocean's e", "ocean’s e", "eleven"]),
        ("WALL·E", ["wall-e", "walle", "wall e"]),
        ("E.T. the Extra-Terrestrial", ["et the", "e.t.", "e t", "extraterr"]),
        ("(500) Days of Summer", ["500", "(500", "days"]),
        ("3:10 to Yuma", ["3:10", "310", "yuma"]),
        ("千と千尋の神隠し", ["千と", "千尋", "神隠し"]),
        ("기생충", ["기", "기생", "ㄱ".translate({0x3131: 0x1100})]),
        ("Иваново детство", ["иван", "ДЕТ"]),
        ("Ἀγορά", ["αγορα", "αγ"]),
        ("ตำนาน", ["ตำ", "นาน"]),
        ("!!!", ["!", "!!!"]),
    ],
)
def test_a_title_is_found_however_it_is_typed(title: str, typed: list[str]) -> None:
    index = index_of([entry(7, title)], compacted=True)
    for prefix in typed:
        assert index.find(foldings(prefix), 8) == [7], prefix


@pytest.mark.parametrize("typed", ["mélie", "bul", "pider", "!", "", "amelie x"])
def test_the_middle_of_a_word_finds_nothing(typed: str) -> None:
    index = index_of([entry(1, "Amélie"), entry(2, "Istanbul"), entry(3, "Spider-Man")], compacted=True)
    assert index.find(foldings(typed), 8) == []


TITLES = st.text(
    st.one_of(
        st.sampled_from("aAbéßøŁ'’-.: ñçœÆİıあがカ한千ü"),
        st.characters(exclude_categories=["Cs", "Cc"]),
    ),
    min_size=1,
    max_size=40,
)


@given(st.lists(TITLES, min_size=1, max_size=4), st.booleans())
def test_every_beginning_of_every_word_of_every_title_finds_the_film(
    titles: list[str], compacted: bool
) -> None:
    others = [entry(movie_id, "another", popularity=100) for movie_id in range(1, 4)]
    index = index_of([entry(9, *titles), *others], compacted=compacted)
    for title in titles:
        has_words = any(unicodedata.category(char)[0] in "LN" for char in title)
        for word in title.split():
            for end in range(1, len(word) + 1):
                typed = word[:end]
                # Signs alone look for titles of signs alone.
                if has_words and not any(unicodedata.category(char)[0] in "LN" for char in typed):
                    continue
                assert 9 in index.find(foldings(typed), 8), (title, typed)


@given(TITLES, TITLES)
def test_the_folding_of_a_beginning_is_the_beginning_of_a_folding(first: str, rest: str) -> None:
    for folded in foldings(first):
        if any(unicodedata.category(char)[0] in "LN" for char in first):
            assert any(whole.startswith(folded) for whole in foldings(first + rest))


@given(TITLES)
def test_case_and_composition_do_not_matter(title: str) -> None:
    assert foldings(unicodedata.normalize("NFD", title)) == foldings(unicodedata.normalize("NFC", title))
    assert foldings(foldings(title)[0])[0] == foldings(title)[0] if foldings(title) else True


FILMS = st.lists(
    st.tuples(
        st.sampled_from(["the ant", "the bee", "ant bee", "bee"]), st.sampled_from([0.0, 1.0, 2.5, 9.0])
    ),
    min_size=0,
    max_size=60,
)


@given(
    FILMS, st.integers(0, 60), st.sampled_from(["t", "the", "ant", "bee", "the b", "x"]), st.integers(1, 20)
)
def test_the_popular_come_first_and_no_film_twice(
    films: list[tuple[str, float]], newer: int, typed: str, most: int
) -> None:
    entries = [
        entry(number, title, title + " again", popularity=popularity)
        for number, (title, popularity) in enumerate(films, start=1)
    ]
    index = index_of(entries[newer:], compacted=True)
    for one in entries[:newer]:
        index.put(one)
    fitting = [one for one in entries if any(f" {title}".find(f" {typed}") >= 0 for title in one.titles)]
    fitting.sort(key=lambda one: (-one.popularity, one.movie_id))
    assert index.find(foldings(typed), most) == [one.movie_id for one in fitting][:most]


def test_a_film_far_down_in_popularity_is_found_all_the_same() -> None:
    entries = [entry(number, f"film {number}", popularity=20_000 - number) for number in range(1, 15_000)]
    index = index_of(entries, compacted=True)
    assert index.find(foldings("film 14999"), 8) == [14_999]
    assert index.find(foldings("1"), 3) == [1, 10, 11]
    assert index.find(foldings("film"), 3) == [1, 2, 3]


def test_what_changes_takes_the_place_of_what_was_before_and_after_compacting() -> None:
    index = index_of(
        [entry(1, "old name", popularity=1), entry(2, "old friend", popularity=2)], compacted=True
    )
    index.put(entry(1, "new name", popularity=3))
    for _ in range(2):
        assert index.find(foldings("old"), 8) == [2]
        assert index.find(foldings("n"), 8) == [1]
        assert index.entry(1) == entry(1, "new name", popularity=3)
        compact(index)
    index.drop(2)
    for _ in range(2):
        assert index.find(foldings("old"), 8) == []
        assert index.entry(2) is None
        compact(index)
    index.put(entry(2, "old friend"))
    assert index.find(foldings("old"), 8) == [2]


def test_what_comes_while_new_tiers_are_built_is_not_lost() -> None:
    index = index_of([entry(number, f"first {number}") for number in range(1, 6)], compacted=True)
    index.put(entry(6, "before"))
    snapshot = index.snapshot()
    tiers = snapshot.compacted(now=NOW)
    index.put(entry(7, "meanwhile"))
    index.put(entry(6, "renamed"))
    index.drop(1)
    index.adopt(tiers, snapshot)
    assert index.find(foldings("meanwhile"), 8) == [7]
    assert (index.find(foldings("before"), 8), index.find(foldings("renamed"), 8)) == ([], [6])
    assert index.find(foldings("first"), 8) == [2, 3, 4, 5]


def test_it_holds_the_popular_when_there_are_too_many_and_nothing_beyond_its_time() -> None:
    entries = [entry(number, "film", popularity=number) for number in range(1, 11)]
    entries.append(entry(11, "film", popularity=99, gone_at=NOW))
    index = index_of(entries, compacted=True, most_films=3)
    assert index.find(foldings("film"), 20) == [10, 9, 8]


def test_much_that_is_new_wants_compacting() -> None:
    index = TitleIndex(10_000)
    for number in range(1, 600):
        index.put(entry(number, f"film {number}"))
    wanted = [index.wants_compacting]
    compact(index)
    wanted.append(index.wants_compacting)
    assert wanted == [True, False]
    index.put(entry(5, "film 5"))
    assert len(index) == 599
