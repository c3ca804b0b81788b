"""The stand-in's answers have the fields and the types of the real ones."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from starlette.testclient import TestClient

# Numbers come with and without a fraction, and what may be null is so only for some films.
Types = dict[str, set[str]]

# A film that has what the recorded one has: a collection, a trailer, offers.
RICH = 603


def kinds(value: Any) -> str:
    """The kind of a JSON value, integers and fractions being one."""
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case None:
            return "null"
        case list():
            return "array"
        case _:
            return "object"


def shape(value: Any, path: str = "$") -> Iterator[tuple[str, str]]:
    """Every path of a JSON value with its kind; all items of an array are one path, so are all regions."""
    yield path, kinds(value)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            # Regions (`US`) are data, not fields.
            name = "*" if len(key) == 2 and key.isupper() else key
            yield from shape(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from shape(inner, f"{path}[]")


def types(value: Any) -> Types:
    """The kinds that are found at each path."""
    found: Types = {}
    for path, kind in shape(value):
        found.setdefault(path, set()).add(kind)
    return found


# What TMDB has since added, or fills for some films only, and what nobody needs of it here.
ADDED = {
    "$.origin_country",
    "$.wikidata_id",
    "$.external_ids.wikidata_id",
    "$.release_dates.results[].release_dates[].descriptors",
}
LEFT_OUT = ("$.production_companies[]", "$.reviews", "$.images", "$.credits.crew[]", "$.translations[]")


def assert_alike(ours: Any, theirs: Any) -> None:
    """Our fields are theirs, of their types, and none is missing."""
    real, made = types(theirs), types(ours)
    for path, found in made.items():
        if path in ADDED or any(path.startswith(f"{added}") for added in ADDED):
            continue
        assert path in real, f"TMDB has no {path}"
        # A field that is null in the one recording may hold a value for another film, and vice versa.
        assert found <= real[path] | {"null"} or real[path] == {"null"}, (path, found, real[path])
    missing = [path for path in real if path not in made and not path.startswith(LEFT_OUT)]
    # Offers by a kind that none of our films has would be missing; none is.
    assert not missing


@pytest.mark.parametrize(
    ("path", "recording"),
    [
        ("configuration", "configuration"),
        ("movie/603", "movie-details"),
        ("movie/603/credits", "movie-credits"),
        ("movie/603/translations", "movie-translations"),
        ("movie/603/recommendations", "movie-recommendations"),
        ("movie/top_rated", "movie-top-rated"),
        ("movie/changes", "movie-all-changes"),
        ("movie/latest", "movie-latest"),
        ("search/movie?query=matrix", "search-movie"),
        ("discover/movie?language=de-DE", "discover_movie_de"),
        ("trending/movie/week", "trending_movie"),
        ("genre/movie/list", "genre-movie-list"),
        ("watch/providers/movie", "watch-provider-movie-list"),
        ("find/tt0133093?external_source=imdb_id", "find_tt10919380"),
    ],
)
def test_an_answer_has_tmdbs_fields(
    tmdb: TestClient, recorded: Callable[[str], Any], path: str, recording: str
) -> None:
    theirs = recorded(recording)
    answer = tmdb.get(path)
    assert answer.status_code == 200
    ours = answer.json()
    if recording == "movie-latest":  # the one film without anything
        assert {**ours, "origin_country": []} == {**theirs, **ours, "origin_country": []}
        assert types(ours)["$.poster_path"] == {"null"}
        return
    if recording == "movie-details":  # the recorded film stands alone
        ours["belongs_to_collection"] = None
    if recording == "find_tt10919380":
        ours["movie_results"] = [{k: v for k, v in ours["movie_results"][0].items() if k != "media_type"}]
    assert_alike(ours, theirs)


def test_offers_have_tmdbs_fields(tmdb: TestClient, recorded: Callable[[str], Any]) -> None:
    theirs = recorded("movie-watch-providers")
    every = {
        path
        for film in (603, 389, 129, 550, 11)
        for path in types(tmdb.get(f"movie/{film}/watch/providers").json())
    }
    real = types(theirs)
    assert every <= set(real)
    assert {"$.id", "$.results.*.link", "$.results.*.flatrate[].provider_name"} <= every


def test_details_with_everything_appended_have_tmdbs_fields(
    tmdb: TestClient, recorded: Callable[[str], Any]
) -> None:
    theirs = recorded("movie_607_appended")
    parts = [name for name in theirs if isinstance(theirs[name], dict) and name != "belongs_to_collection"]
    ours = tmdb.get("movie/607", params={"append_to_response": ",".join(parts)}).json()
    assert ours["imdb_id"] == theirs["imdb_id"]
    assert ours["title"] == theirs["title"]
    assert set(theirs) <= set(ours)
    made, real = types(ours), types(theirs)
    for path in made:
        if path in ADDED or path.startswith(("$.watch/providers", *ADDED)):
            continue
        assert path in real, f"TMDB has no {path}"


@pytest.mark.parametrize(
    ("path", "status", "recording"),
    [
        ("movie/999999999", 404, "resource-not-found"),
        ("search/movie", 422, "validation-error"),
    ],
)
def test_a_refusal_has_tmdbs_fields(
    tmdb: TestClient, recorded: Callable[[str], Any], path: str, status: int, recording: str
) -> None:
    theirs = recorded(recording)
    answer = tmdb.get(path)
    assert answer.status_code == status
    assert {**answer.json(), **theirs} == answer.json()


def test_an_unknown_key_is_refused_in_tmdbs_words(tmdb: TestClient, recorded: Callable[[str], Any]) -> None:
    answer = tmdb.get("movie/603", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert answer.json() == recorded("invalid-api-key")
