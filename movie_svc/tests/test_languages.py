"""Which language a reader gets."""

from dataclasses import replace

import pytest

from movie_svc.films import Film
from movie_svc.languages import Reader, Shown, language_of_row, show
from movie_svc.parsing import film_of, page_of
from movie_svc.tests.upstream import film, page, recorded


def parsed(reader: Reader, **fields: object) -> Film:
    return film_of(film(194, **fields), movie_id=194, language=reader.language, region=reader.region)


def shown(*tags: str, **fields: object) -> Shown:
    reader = Reader.of(tags, "")
    return show(parsed(reader, **fields), reader)


@pytest.mark.parametrize(
    ("tags", "language", "title"),
    [
        ((), "en", "Amélie"),
        (("de",), "de", "Die fabelhafte Welt der Amélie"),
        (("de-DE",), "de-DE", "Die fabelhafte Welt der Amélie"),
        (("de-CH",), "de", "Die fabelhafte Welt der Amélie"),
        (("DE-de",), "de-DE", "Die fabelhafte Welt der Amélie"),
        (("pt-BR",), "pt-BR", "O Fabuloso Destino de Amélie Poulain"),
        (("pt",), "pt", "O Fabuloso Destino de Amélie"),
        (("fr",), "fr", "Le Fabuleux Destin d'Amélie Poulain"),
        (("fi",), "fr", "Le Fabuleux Destin d'Amélie Poulain"),
        (("fi", "en"), "en", "Amélie"),
        (("fi", "es"), "es", "Amelie"),
        (("fi", "sv", "de-AT"), "de", "Die fabelhafte Welt der Amélie"),
        (("en-GB", "de"), "en", "Amélie"),
        (("es-419",), "es", "Amelie"),
    ],
)
def test_the_best_liked_language_that_there_is(tags: tuple[str, ...], language: str, title: str) -> None:
    assert (shown(*tags).language, shown(*tags).title) == (language, title)


def test_a_missing_overview_comes_from_further_down_the_chain() -> None:
    brazilian = shown("pt-BR")
    assert brazilian.language == "pt-BR"
    assert brazilian.overview == "Uma empregada de Montmartre arruma em segredo a vida dos outros."
    spanish = shown("es")
    assert spanish.language == "es"
    assert spanish.overview.startswith("Une serveuse")


def test_the_film_s_own_language_comes_before_english() -> None:
    assert shown("fi").overview.startswith("Une serveuse")


def test_without_translations_the_top_of_the_answer_counts() -> None:
    german = shown("de", translations=None, title="Die fabelhafte Welt der Amélie")
    assert (german.language, german.title) == ("de", "Die fabelhafte Welt der Amélie")


def test_a_film_that_nobody_has_described_is_shown_in_its_own_language() -> None:
    sparse = film_of(recorded("movie_sparse.json"), movie_id=900001, language="de-DE", region="DE")
    assert show(sparse, Reader(("de",), "DE")) == Shown("und", "Untold", "", "")


def test_scripts_and_continents_become_countries() -> None:
    assert Reader.of(("zh-Hant", "zh-Hans-CN", "es-419", "de-u-co-phonebk"), "").languages == (
        "zh-TW",
        "zh-CN",
        "es-MX",
        "de",
    )


def test_tmdb_is_asked_with_a_country() -> None:
    assert Reader.of(("pt",), "").language == "pt-PT"
    assert Reader.of(("pt-br",), "").language == "pt-BR"
    assert Reader.of(("gsw",), "").language == "gsw"
    assert Reader.of((), "de").region == "DE"


def test_a_row_with_the_original_title_and_no_text_is_in_the_original_language() -> None:
    [row, *_] = page_of(page(1)).rows
    assert row is not None
    assert language_of_row(row, Reader(("de",), "DE")) == "de", "its text is"
    textless = replace(row, overview="")
    assert language_of_row(textless, Reader(("de",), "DE")) == "en"
    assert language_of_row(textless, Reader(("en-GB",), "GB")) == "en-GB"
