"""What the stand-in answers: keys, languages, search, filters, pages, pictures."""

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from starlette.testclient import TestClient

from dev.tmdb import answers
from dev.tmdb.app import create_app
from dev.tmdb.catalogue import Catalogue
from dev.tmdb.pictures import draw


def ids(answer: Any) -> list[int]:
    """The films of a list."""
    return [row["id"] for row in answer.json()["results"]]


def every(tmdb: TestClient, path: str) -> list[dict[str, Any]]:
    """All rows of a list, page by page."""
    first = tmdb.get(path).json()
    rows: list[dict[str, Any]] = list(first["results"])
    for page in range(2, first["total_pages"] + 1):
        rows += tmdb.get(path + ("&" if "?" in path else "?") + f"page={page}").json()["results"]
    assert len(rows) == first["total_results"]
    return rows


# Keys


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic dev-tmdb-key"}]
)
def test_without_a_known_key_nothing_is_answered(catalogue: Catalogue, headers: dict[str, str]) -> None:
    with TestClient(create_app(catalogue), headers=headers) as stranger:
        for path in ("/3/movie/603", "/3/movie/1", "/3/nowhere", "/3/configuration"):
            answer = stranger.get(path)
            assert answer.status_code == 401
            assert answer.json()["status_code"] == 7


def test_a_key_is_taken_from_the_query_or_the_header(catalogue: Catalogue) -> None:
    with TestClient(create_app(catalogue, keys=["one", "two"])) as client:
        assert client.get("/3/movie/603?api_key=one").status_code == 200
        assert client.get("/3/movie/603", headers={"Authorization": "Bearer two"}).status_code == 200
        assert client.get("/3/movie/603?api_key=dev-tmdb-key").status_code == 401


# One film


@pytest.mark.parametrize("name", ["603", "603-the-matrix", "tt0133093"])
def test_a_film_is_found_by_each_of_its_names(tmdb: TestClient, name: str) -> None:
    film = tmdb.get(f"movie/{name}").json()
    assert (film["id"], film["imdb_id"], film["title"]) == (603, "tt0133093", "The Matrix")
    assert film["poster_path"] == "/p603.svg"


@pytest.mark.parametrize("name", ["0", "-1", "99999999999", "matrix", "tt9", "603/nothing", "%00", "²"])
def test_an_unknown_film_is_not_found(tmdb: TestClient, name: str) -> None:
    answer = tmdb.get(f"movie/{name}")
    assert answer.status_code == 404
    assert answer.json()["status_code"] == 34


@pytest.mark.parametrize("language", ["de", "de-DE", "de-AT"])
def test_a_film_is_told_in_the_language_asked_for(tmdb: TestClient, language: str) -> None:
    film = tmdb.get("movie/11", params={"language": language}).json()
    assert film["title"] == "Krieg der Sterne"
    assert film["genres"][0] == {"id": 12, "name": "Abenteuer"}
    assert film["overview"].startswith("Ein Bauernjunge")
    assert film["tagline"]


def test_where_there_is_no_translation_texts_are_empty(tmdb: TestClient) -> None:
    french = tmdb.get("movie/11", params={"language": "fr-FR"}).json()
    assert (french["title"], french["overview"], french["tagline"]) == ("La Guerre des étoiles", "", "")
    finnish = tmdb.get("movie/11", params={"language": "fi-FI"}).json()
    assert (finnish["title"], finnish["overview"], finnish["tagline"]) == ("Star Wars", "", "")
    japanese = tmdb.get("movie/129", params={"language": "ja-JP"}).json()
    assert (japanese["title"], japanese["overview"]) == ("千と千尋の神隠し", "")


def test_parts_are_appended_and_unknown_ones_are_passed_over(tmdb: TestClient) -> None:
    film = tmdb.get("movie/603?append_to_response=credits,watch/providers,nonsense,videos").json()
    assert film["credits"]["cast"][0]["character"] == "Neo"
    assert [person["name"] for person in film["credits"]["crew"]] == ["Lana Wachowski", "Lilly Wachowski"]
    assert film["watch/providers"]["results"]["DE"]["link"].endswith("603-the-matrix/watch?locale=DE")
    assert film["videos"]["results"][0]["site"] == "YouTube"
    assert "nonsense" not in film
    assert "keywords" not in film
    assert "id" not in film["credits"]
    assert tmdb.get("movie/603/credits").json()["id"] == 603


def test_at_most_twenty_parts_are_appended(tmdb: TestClient) -> None:
    assert tmdb.get("movie/603", params={"append_to_response": ",".join(["credits"] * 20)}).status_code == 200
    answer = tmdb.get("movie/603", params={"append_to_response": ",".join(["credits"] * 21)})
    assert answer.status_code == 400
    assert answer.json()["status_code"] == 27


def test_every_film_can_be_answered_whole(catalogue: Catalogue) -> None:
    parts = (
        "credits release_dates videos images translations alternative_titles keywords external_ids "
        "watch/providers recommendations similar reviews lists changes"
    )
    for film in catalogue.films:
        json.dumps(answers.details(film, "de"))
        for part in parts.split():
            answer = answers.sub_resource(part, film, catalogue, language="de")
            assert answer is not None, part
            json.dumps(answer)


def test_age_ratings_are_given_by_region(tmdb: TestClient) -> None:
    rows = tmdb.get("movie/550/release_dates").json()["results"]
    ratings = {row["iso_3166_1"]: row["release_dates"][0]["certification"] for row in rows}
    assert (ratings["US"], ratings["DE"]) == ("R", "18")


def test_recommendations_are_like_the_film_and_not_the_film(tmdb: TestClient) -> None:
    found = ids(tmdb.get("movie/238/recommendations"))
    assert 238 not in found
    assert 240 in found[:3]


# Search


@pytest.mark.parametrize(
    ("query", "film"),
    [
        ("amelie", 194),
        ("AMÉLIE", 194),
        ("Le fabuleux destin", 194),
        ("die fabelhafte welt", 194),
        ("krieg der sterne", 11),
        ("chihiro", 129),
        ("千と千尋", 129),
        ("名は", 372058),
        ("rosemarys baby", 805),
        ("Das große Rennen", 9662),
        ("walle", 10681),
        ("8 1/2", None),
        ("hobbits in space", None),
    ],
)
def test_films_are_found_by_any_of_their_titles(tmdb: TestClient, query: str, film: int | None) -> None:
    found = ids(tmdb.get("search/movie", params={"query": query}))
    assert found[:1] == ([film] if film else [])


def test_the_very_title_comes_first(tmdb: TestClient) -> None:
    assert ids(tmdb.get("search/movie", params={"query": "alien"}))[:2] == [348, 679]
    assert ids(tmdb.get("search/movie", params={"query": "Dune"}))[:2] == [438631, 693134]


@pytest.mark.parametrize("name", ["year", "primary_release_year"])
def test_search_can_be_held_to_a_year(tmdb: TestClient, name: str) -> None:
    assert ids(tmdb.get("search/movie", params={"query": "beauty and the beast", name: 1946})) == [648]
    assert ids(tmdb.get("search/movie", params={"query": "beauty and the beast", name: 1991})) == [10020]


@pytest.mark.parametrize("params", [{}, {"query": ""}, {"query": "  "}])
def test_search_needs_a_query(tmdb: TestClient, params: dict[str, str]) -> None:
    answer = tmdb.get("search/movie", params=params)
    assert answer.status_code == 422
    assert answer.json() == {"errors": ["query must be provided"]}


def test_a_query_of_signs_alone_finds_nothing(tmdb: TestClient) -> None:
    answer = tmdb.get("search/movie", params={"query": "?!"}).json()
    assert (answer["results"], answer["total_results"]) == ([], 0)


# Discover


def test_a_comma_asks_for_all_and_a_pipe_for_any(tmdb: TestClient) -> None:
    both = every(tmdb, "discover/movie?with_genres=16,878")
    either = every(tmdb, "discover/movie?with_genres=16|878")
    assert both
    assert all({16, 878} <= set(row["genre_ids"]) for row in both)
    assert all({16, 878} & set(row["genre_ids"]) for row in either)
    assert len(either) > len(both)


def test_filters_hold_together(tmdb: TestClient, catalogue: Catalogue) -> None:
    rows = every(
        tmdb,
        "discover/movie?without_genres=27&primary_release_date.gte=1980-01-01&primary_release_date.lte=1999-12-31"
        "&with_runtime.gte=80&with_runtime.lte=110&vote_average.gte=7.5&vote_count.gte=500&with_original_language=ja|de",
    )
    assert rows
    for row in rows:
        film = catalogue.get(row["id"])
        assert film is not None
        assert 27 not in film.genres
        assert "1980" <= film.released < "2000"
        assert 80 <= film.runtime <= 110
        assert film.vote_average >= 7.5
        assert film.vote_count >= 500
        assert film.original_language in {"ja", "de"}


def test_offers_are_filtered_by_region_and_kind(tmdb: TestClient, catalogue: Catalogue) -> None:
    netflix = every(
        tmdb, "discover/movie?watch_region=DE&with_watch_providers=8&with_watch_monetization_types=flatrate"
    )
    assert netflix
    for row in netflix:
        film = catalogue.get(row["id"])
        assert film is not None
        assert 8 in film.providers("DE", ["flatrate"])
    either = every(tmdb, "discover/movie?watch_region=DE&with_watch_providers=8|337")
    both = every(tmdb, "discover/movie?watch_region=DE&with_watch_providers=2,3")
    assert len(either) > len(netflix)
    assert all({2, 3} <= film.providers("DE") for row in both if (film := catalogue.get(row["id"])))
    assert every(tmdb, "discover/movie?watch_region=US&with_watch_monetization_types=free|ads")


@pytest.mark.parametrize(
    ("order", "field", "falling"),
    [
        ("popularity.desc", "popularity", True),
        ("vote_average.desc", "vote_average", True),
        ("vote_count.asc", "vote_count", False),
        ("primary_release_date.desc", "release_date", True),
        ("nonsense", "popularity", True),
    ],
)
def test_discover_sorts(tmdb: TestClient, order: str, field: str, falling: bool) -> None:
    values = [row[field] for row in every(tmdb, f"discover/movie?sort_by={order}")]
    assert values == sorted(values, reverse=falling)


# Lists and pages


@pytest.mark.parametrize("page", ["0", "501", "-1", "x", "1.5", ""])
def test_pages_run_from_1_to_500(tmdb: TestClient, page: str) -> None:
    answer = tmdb.get("movie/popular", params={"page": page})
    assert answer.status_code == 400
    assert answer.json()["status_code"] == 22


def test_a_page_past_the_end_is_empty(tmdb: TestClient) -> None:
    answer = tmdb.get("movie/popular?page=500").json()
    assert (answer["results"], answer["page"]) == ([], 500)


def test_lists_give_every_film_once(tmdb: TestClient, catalogue: Catalogue) -> None:
    for path in ("movie/popular", "trending/movie/day", "trending/movie/week", "discover/movie"):
        rows = [row["id"] for row in every(tmdb, path)]
        assert sorted(rows) == sorted(film.id for film in catalogue.films)
    best = every(tmdb, "movie/top_rated")
    assert best[0]["vote_average"] == max(row["vote_average"] for row in best)
    assert tmdb.get("trending/movie/year").status_code == 404


def test_providers_of_a_region_come_in_its_order(tmdb: TestClient) -> None:
    rows = tmdb.get("watch/providers/movie?watch_region=DE").json()["results"]
    places = [row["display_priority"] for row in rows]
    assert places == sorted(places)
    assert {"Netflix", "WOW", "Arte"} <= {row["provider_name"] for row in rows}
    regions = {row["iso_3166_1"] for row in tmdb.get("watch/providers/regions").json()["results"]}
    assert {"US", "DE", "GB"} <= regions


def test_find_knows_imdbs_ids(tmdb: TestClient) -> None:
    assert tmdb.get("find/tt0111161?external_source=imdb_id").json()["movie_results"][0]["id"] == 278
    assert tmdb.get("find/tt0000000?external_source=imdb_id").json()["movie_results"] == []
    assert tmdb.get("find/Q1?external_source=wikidata_id").json()["movie_results"] == []
    assert tmdb.get("find/tt0111161").status_code == 422
    assert tmdb.get("find/tt0111161?external_source=nobody").status_code == 400


def test_genres_have_names(tmdb: TestClient) -> None:
    english = {row["id"]: row["name"] for row in tmdb.get("genre/movie/list").json()["genres"]}
    german = {row["id"]: row["name"] for row in tmdb.get("genre/movie/list?language=de").json()["genres"]}
    assert (english[99], german[99]) == ("Documentary", "Dokumentarfilm")


# Pictures


@pytest.mark.parametrize(
    ("path", "width", "height"),
    [
        ("w92/p603.svg", 92, 138),
        ("w500/p603.svg", 500, 750),
        ("original/p603.svg", 1000, 1500),
        ("w780/b603.svg", 780, 439),
        ("h632/p603.svg", 421, 632),
        ("w92/l8.svg", 92, 92),
    ],
)
def test_a_picture_has_the_width_asked_for(tmdb: TestClient, path: str, width: int, height: int) -> None:
    answer = tmdb.get(f"http://tmdb.test/t/p/{path}")
    assert answer.headers["content-type"] == "image/svg+xml"
    drawing = ElementTree.fromstring(answer.text)
    assert (drawing.get("width"), drawing.get("height")) == (str(width), str(height))


def test_a_poster_shows_the_title_and_the_year(tmdb: TestClient) -> None:
    words = " ".join(ElementTree.fromstring(tmdb.get("http://tmdb.test/t/p/w342/p603.svg").text).itertext())
    assert "Matrix" in words
    assert "1999" in words


def test_every_picture_can_be_drawn_and_read(catalogue: Catalogue) -> None:
    names = [f"{shape}{film.id}.svg" for film in catalogue.films for shape in "pb"]
    names += [f"l{provider}.svg" for provider in catalogue.providers]
    for name in names:
        picture = draw(catalogue, size="w342", name=name)
        assert picture is not None, name
        ElementTree.fromstring(picture.content)


def test_a_poster_comes_as_png_too(tmdb: TestClient) -> None:
    answer = tmdb.get("http://tmdb.test/t/p/w185/p603.png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(answer.content[16:20]) == 185


@pytest.mark.parametrize(
    "path", ["w342/p1.svg", "huge/p603.svg", "w342/p603.jpg", "w342/x603.svg", "w9/p603.svg"]
)
def test_an_unknown_picture_is_not_found(tmdb: TestClient, path: str) -> None:
    assert tmdb.get(f"http://tmdb.test/t/p/{path}").status_code == 404


def test_pictures_need_no_key(catalogue: Catalogue) -> None:
    with TestClient(create_app(catalogue)) as stranger:
        assert stranger.get("/t/p/w342/p603.svg").status_code == 200
