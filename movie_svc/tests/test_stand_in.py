"""The service's reading of the development stand-in for TMDB, over all of its films."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from dev.tmdb.app import DEFAULT_KEY, create_app
from dev.tmdb.catalogue import load
from movie_svc.keys import FilmKey
from movie_svc.languages import Reader
from movie_svc.messages import Presenter
from movie_svc.parsing import film_of, genres_of, page_of
from movie_svc.tmdb import APPENDED

GERMAN = Reader(("de-DE",), "DE")


@pytest.fixture
async def stand_in() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app()),
        base_url="http://tmdb.test/3",
        params={"api_key": DEFAULT_KEY, "language": GERMAN.language},
    ) as client:
        yield client


async def test_every_film_of_the_stand_in_has_its_details(stand_in: httpx.AsyncClient) -> None:
    presenter = Presenter("http://tmdb.test/t/p")
    titles_in_german = 0
    for known in load().films:
        answer = await stand_in.get(f"/movie/{known.id}", params={"append_to_response": APPENDED})
        parsed = film_of(answer.json(), movie_id=known.id, language=GERMAN.language, region=GERMAN.region)
        movie = presenter.film(FilmKey(known.id, GERMAN), parsed).movie
        assert movie.title
        assert (movie.original_title, movie.release_date.year) == (known.original_title, known.year or 0)
        assert [member.name for member in movie.cast] == [role.name for role in known.cast[:10]]
        assert list(movie.directors) == list(known.directors)
        assert [genre.id for genre in movie.genres] == list(known.genres)
        titles_in_german += movie.language == "de-DE"
    assert titles_in_german > 100


async def test_the_stand_in_s_lists_and_genres_are_read(stand_in: httpx.AsyncClient) -> None:
    for path, params in (("/trending/movie/week", {}), ("/search/movie", {"query": "the"})):
        rows = page_of((await stand_in.get(path, params=params)).json()).rows
        assert len(rows) == 20
        assert None not in rows
    assert genres_of((await stand_in.get("/genre/movie/list")).json())
