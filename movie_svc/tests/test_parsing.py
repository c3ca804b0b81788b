"""Reading what TMDB sends: what was recorded, and what hopefully never comes."""

import contextlib
import copy
import dataclasses
import json
import math
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from movie_svc.documents import (
    film_document,
    film_from,
    page_document,
    page_from,
    providers_document,
    providers_from,
)
from movie_svc.films import Collection, Film, ListPage, Trailer
from movie_svc.keys import FilmKey
from movie_svc.languages import Reader
from movie_svc.messages import Presenter
from movie_svc.parsing import NoFilm, film_of, genres_of, page_of, providers_of
from movie_svc.tests.upstream import film, page, provider, recorded

READER = Reader(("de-DE",), "DE")


def parse(answer: object, movie_id: int = 194) -> Film:
    return film_of(answer, movie_id=movie_id, language="de-DE", region="DE")


def load(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_bytes())


def test_a_recorded_film_is_read_whole(shared_recordings: Path) -> None:
    answer = load(shared_recordings, "movie_607_appended.json")
    parsed = film_of(answer, movie_id=607, language="en-US", region="US")
    assert parsed.original_title == "Men in Black"
    assert parsed.release_date == date(1997, 7, 2)
    assert parsed.runtime_minutes == 98
    assert parsed.certification == "PG-13"
    assert parsed.cast[0].name == "Tommy Lee Jones"
    assert len(parsed.cast) == 10
    assert parsed.directors == ("Barry Sonnenfeld",)
    assert parsed.trailer == Trailer("HYUd7AOw_lk", "Men In Black (1997) - Trailer")
    assert parsed.collection == Collection(86055, "Men In Black Collection")
    assert parsed.imdb_id == "tt0119654"
    assert parsed.watch is not None
    assert parsed.texts[0].overview.startswith("After a police chase")
    assert film_from(film_document(parsed)) == parsed


def test_recorded_translations_and_providers_are_read(shared_recordings: Path) -> None:
    answer = load(shared_recordings, "movie-details.json") | {
        "translations": load(shared_recordings, "movie-translations.json"),
        "watch/providers": load(shared_recordings, "movie-watch-providers.json"),
        "credits": load(shared_recordings, "movie-credits.json"),
    }
    parsed = film_of(answer, movie_id=550, language="pt-BR", region="ES")
    languages = {text.language for text in parsed.translations.unpack()}
    assert {"pt-BR", "pt-PT", "de-DE", "zh-TW"} <= languages
    assert parsed.watch is not None
    assert [provider.name for provider in parsed.watch.free] == ["Plex"]
    assert [provider.name for provider in parsed.watch.subscription][:2] == ["Disney Plus", "Netflix"]
    movie = Presenter("x").film(FilmKey(550, Reader(("pt-BR",), "ES")), parsed).movie
    assert (movie.title, movie.language) == ("Clube da Luta", "pt-BR")


def test_a_recorded_film_about_which_nothing_is_known_is_read(shared_recordings: Path) -> None:
    parsed = parse(load(shared_recordings, "movie-latest.json"), 1236474)
    assert parsed.original_title == "Better Than Me"
    assert (parsed.release_date, parsed.runtime_minutes, parsed.rating) == (None, None, None)
    assert (parsed.imdb_id, parsed.poster_path, parsed.collection) == ("", "", None)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("search-movie.json", 1),
        ("trending_movie.json", 20),
        ("discover_movie_de.json", 20),
        ("movie-top-rated.json", 20),
        ("movie-recommendations.json", 20),
    ],
)
def test_every_row_of_a_recorded_list_is_read(shared_recordings: Path, name: str, rows: int) -> None:
    parsed = page_of(load(shared_recordings, name))
    assert len(parsed.rows) == rows
    assert None not in parsed.rows
    assert parsed.total <= 10_000
    assert page_from(page_document(parsed)) == parsed


def test_recorded_genres_are_read(shared_recordings: Path) -> None:
    assert len(genres_of(load(shared_recordings, "genre-movie-list.json"))) == 19


def test_recorded_providers_are_read_in_the_region_s_order(shared_recordings: Path) -> None:
    answer = load(shared_recordings, "watch-provider-movie-list.json")
    providers = providers_of(answer, region="DE")
    assert len(providers) == len(answer["results"])
    places = {row["provider_id"]: row["display_priorities"].get("DE") for row in answer["results"]}
    here = [places[provider.id] for provider in providers if places[provider.id] is not None]
    assert here == sorted(here)
    assert providers_from(providers_document(providers)) == providers


@pytest.mark.parametrize("name", ["resource-not-found.json", "invalid-api-key.json", "validation-error.json"])
def test_an_error_is_no_film_and_no_list(shared_recordings: Path, name: str) -> None:
    answer = load(shared_recordings, name)
    for read in (parse, page_of, genres_of, partial(providers_of, region="DE")):
        with pytest.raises(NoFilm):
            read(answer)


def test_our_own_recording_is_read_whole_and_kept_whole() -> None:
    parsed = parse(recorded("movie_appended.json"))
    assert parsed.popularity == 21.5
    assert parsed.countries == ("FR", "DE")
    assert parsed.trailer == Trailer("trailerDe01", "Trailer (deutsch)")
    assert film_from(film_document(parsed)) == parsed


@pytest.mark.parametrize(
    ("fields", "attribute", "value"),
    [
        ({"release_date": ""}, "release_date", None),
        ({"release_date": "2001-02-30"}, "release_date", None),
        ({"runtime": 0}, "runtime_minutes", None),
        ({"runtime": -5}, "runtime_minutes", None),
        ({"runtime": "122"}, "runtime_minutes", 122),
        ({"vote_count": 0}, "rating", None),
        ({"vote_average": 11}, "rating", None),
        ({"vote_average": "7.9"}, "rating", 7.9),
        ({"vote_count": 10**12}, "vote_count", 2**31 - 1),
        ({"popularity": math.inf}, "popularity", 0.0),
        ({"poster_path": "https://elsewhere.example/x.jpg"}, "poster_path", ""),
        ({"poster_path": "/../x.jpg"}, "poster_path", ""),
        ({"imdb_id": "", "external_ids": None}, "imdb_id", ""),
        ({"external_ids": {"imdb_id": "javascript:"}}, "imdb_id", "tt0211915"),
        ({"original_language": "cn"}, "original_language", "zh"),
        ({"original_title": "Am\x00é\ud800lie\n"}, "original_title", "Amélie"),
        ({"original_title": " "}, "original_title", "Die fabelhafte Welt der Amélie"),
        ({"belongs_to_collection": {"id": "no"}}, "collection", None),
        ({"watch/providers": {"results": {"DE": {"flatrate": []}}}}, "watch", None),
    ],
)
def test_an_odd_field_is_as_if_it_were_missing(fields: dict[str, Any], attribute: str, value: object) -> None:
    assert getattr(parse(film(194, **fields)), attribute) == value


@pytest.mark.parametrize(
    "answer",
    [
        [],
        None,
        "film",
        {},
        {"id": 194},
        {"success": False},
        {"id": 195, "title": "Another"},
        {"id": 194, "title": "", "original_title": None},
    ],
)
def test_what_is_no_film_is_refused(answer: object) -> None:
    with pytest.raises(NoFilm):
        parse(answer)


def test_a_row_that_cannot_be_read_keeps_its_place() -> None:
    answer = page(1)
    answer["results"][3] = {"id": None, "title": "?"}
    answer["results"][5]["media_type"] = "tv"
    rows = page_of(answer).rows
    assert [place for place, row in enumerate(rows) if row is None] == [3, 5]
    assert len(rows) == 20


# What may stand in the place of any value.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.just(""),
    st.text(max_size=20),
    st.just("\ud800\x00"),
    st.just("x" * 100_000),
    st.integers(),
    st.sampled_from([10**30, -(10**30), 1e308, -0.0, math.inf, -math.inf, math.nan]),
    st.just([]),
    st.just({}),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=5), st.just({})), max_size=4),
    st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers()), max_size=3),
)
MISSING = object()
PATIENT = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of every value in a JSON document."""
    found = [path] if path else []
    children: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    for key, child in children:
        found += places(child, (*path, key))
    return found


def put(answer: Any, path: tuple[str | int, ...], value: object) -> None:
    for key in path[:-1]:
        try:
            answer = answer[key]
        except (TypeError, KeyError, IndexError):
            return  # an earlier replacement has taken this place away
    last = path[-1]
    if isinstance(answer, dict):
        if value is MISSING:
            answer.pop(last, None)
        else:
            answer[last] = value
    elif isinstance(answer, list) and isinstance(last, int) and last < len(answer):
        answer[last] = None if value is MISSING else value


WHOLE = recorded("movie_appended.json")
PLACES = [path for path in places(WHOLE) if path not in {("id",), ("original_title",)}]


@PATIENT
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.one_of(st.just(MISSING), ODD)), max_size=30))
def test_no_field_that_is_missing_null_huge_or_of_the_wrong_type_loses_the_film(
    changes: list[tuple[tuple[str | int, ...], object]],
) -> None:
    answer = copy.deepcopy(WHOLE)
    for path, value in changes:
        put(answer, path, value)
    parsed = parse(json.loads(json.dumps(answer)))
    assert film_from(film_document(parsed)) == parsed
    movie = Presenter("https://pictures.example").film(FilmKey(194, READER), parsed).movie
    assert movie.title
    assert movie.language
    assert movie.SerializeToString()


# What each field of TMDB's decides; all else must come through unharmed when it is odd.
DECIDES: dict[str, set[str]] = {
    "backdrop_path": {"backdrop_path"},
    "belongs_to_collection": {"collection"},
    "genres": {"genres"},
    "original_language": {"original_language", "texts", "trailer"},
    "overview": set(),
    "title": set(),
    "tagline": set(),
    "popularity": {"popularity"},
    "poster_path": {"poster_path"},
    "production_countries": {"countries"},
    "release_date": {"release_date"},
    "runtime": {"runtime_minutes"},
    "vote_average": {"rating"},
    "vote_count": {"vote_count", "rating"},
    "credits": {"cast", "directors"},
    "release_dates": {"certification"},
    "videos": {"trailer"},
    "translations": {"texts", "translations"},
    "watch/providers": {"watch"},
    "external_ids": {"imdb_id"},
    "imdb_id": {"imdb_id"},
    "status": set(),
    "adult": set(),
}


@PATIENT
@given(st.sampled_from(sorted(DECIDES)), st.one_of(st.just(MISSING), ODD))
def test_an_odd_field_harms_nothing_but_itself(name: str, value: object) -> None:
    answer = copy.deepcopy(WHOLE)
    put(answer, (name,), value)
    harmed, whole = parse(answer), parse(WHOLE)
    for field in dataclasses.fields(Film):
        if field.name not in DECIDES[name]:
            assert getattr(harmed, field.name) == getattr(whole, field.name), field.name


@PATIENT
@given(
    st.one_of(ODD, st.recursive(ODD, lambda inner: st.dictionaries(st.sampled_from(sorted(WHOLE)), inner)))
)
def test_anything_at_all_is_a_film_or_refused(answer: object) -> None:
    with contextlib.suppress(NoFilm):
        assert isinstance(parse(answer), Film)


@PATIENT
@given(
    st.lists(st.one_of(ODD, st.fixed_dictionaries({}, optional=dict.fromkeys(provider(1), ODD))), max_size=9)
)
def test_an_odd_provider_harms_no_other(rows: list[object]) -> None:
    providers = providers_of({"results": [*rows, provider(2**31 - 1)]}, region="DE")
    assert 2**31 - 1 in [provider.id for provider in providers]
    assert providers_from(providers_document(providers)) == providers


ROW_FIELDS = sorted(page(1)["results"][0])


@PATIENT
@given(st.lists(st.tuples(st.integers(0, 19), st.sampled_from(ROW_FIELDS), ODD), max_size=30), ODD)
def test_an_odd_row_harms_no_other_row(changes: list[tuple[int, str, object]], total: object) -> None:
    answer = page(1) | {"total_results": total}
    for place, name, value in changes:
        answer["results"][place][name] = value
    parsed = page_of(answer)
    assert isinstance(parsed, ListPage)
    assert 0 <= parsed.total <= 10_000
    whole = page_of(page(1)).rows
    touched = {place for place, _, _ in changes}
    for place, row in enumerate(parsed.rows):
        if place not in touched:
            assert row == whole[place]
    assert page_from(page_document(parsed)) == parsed
