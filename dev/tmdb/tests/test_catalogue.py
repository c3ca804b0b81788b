"""What every film of the shipped catalogue has."""

import re
from collections import Counter
from datetime import date

from dev.tmdb.catalogue import KINDS, Catalogue, Film, fold
from dev.tmdb.names import COUNTRIES, GENRES, LANGUAGES


def whole(catalogue: Catalogue) -> list[Film]:
    """The films without the one that is there for its gaps."""
    return [film for film in catalogue.films if film.released]


def test_there_are_films_enough_for_many_evenings(catalogue: Catalogue) -> None:
    films = whole(catalogue)
    assert len(films) >= 260
    assert sum(film.original_language != "en" for film in films) >= 60
    assert len({(film.year or 0) // 10 for film in films}) >= 10
    assert set(GENRES["en"]) - {10770} <= {genre for film in films for genre in film.genres}


def test_ids_are_used_once(catalogue: Catalogue) -> None:
    assert max(Counter(film.id for film in catalogue.films).values()) == 1
    assert max(Counter(film.imdb_id for film in whole(catalogue)).values()) == 1


def test_every_film_has_its_facts(catalogue: Catalogue) -> None:
    for film in whole(catalogue):
        name = f"{film.id} {film.title}"
        assert re.fullmatch(r"tt\d{7,8}", film.imdb_id or ""), name
        assert date(1920, 1, 1) < date.fromisoformat(film.released) < date(2026, 1, 1), name
        assert 60 <= film.runtime <= 240, name
        assert film.genres, name
        assert set(film.genres) <= set(GENRES["en"]), name
        assert film.countries, name
        assert set(film.countries) <= set(COUNTRIES), name
        assert {film.original_language, *film.spoken} <= set(LANGUAGES), name
        assert film.directors, name
        # "Flow" is played by animals, and nobody speaks.
        assert 3 <= len(film.cast) <= 8 or film.id == 823219, name
        assert 0 < film.vote_average <= 10, name
        assert film.vote_count > 0, name
        assert film.popularity > 0, name
        assert set(film.certifications) == {"US", "DE"}, name
        assert film.certifications["DE"] in {"0", "6", "12", "16", "18"}, name


def test_every_film_is_told_in_english_and_german(catalogue: Catalogue) -> None:
    for film in whole(catalogue):
        for language in ("en", "de"):
            text = film.texts[language]
            assert text.title, film.id
            assert 30 < len(text.overview) < 300, film.id
            assert text.tagline, film.id
        assert film.texts["en"].overview != film.texts["de"].overview
    told = Counter(
        text.overview for film in whole(catalogue) for text in film.texts.values() if text.overview
    )
    assert max(told.values()) == 1


def test_films_are_on_offer_in_several_regions_by_every_kind(catalogue: Catalogue) -> None:
    offered: Counter[tuple[str, str]] = Counter()
    for film in catalogue.films:
        for region, kinds in film.availability.items():
            for kind, providers in kinds.items():
                assert kind in KINDS
                assert providers, film.id
                for provider in providers:
                    assert region in catalogue.providers[provider].priorities, (film.id, provider)
                offered[region, kind] += 1
    assert {region for region, _ in offered} == {"US", "DE", "GB"}
    for region in ("US", "DE", "GB"):
        assert offered[region, "flatrate"] > 200
        for kind in KINDS:
            assert offered[region, kind] > 5


def test_one_film_has_gaps_such_as_tmdb_has_them(catalogue: Catalogue) -> None:
    [film] = [film for film in catalogue.films if not film.released]
    assert (film.imdb_id, film.runtime, film.vote_count, film.genres) == (None, 0, 0, ())


def test_folding_forgets_case_accents_and_punctuation() -> None:
    assert fold("  Amélie: Le Fabuleux   DESTIN! ") == "amelie le fabuleux destin"
    assert fold("Rosemary's Baby") == fold("rosemarys baby")
    assert fold("Große Straße") == "grosse strasse"
    assert fold("Kieślowski Łódź Ærø") == "kieslowski lodz aero"
    assert fold("WALL·E") == "walle"
    assert fold("君の名は。") == "君の名は"
