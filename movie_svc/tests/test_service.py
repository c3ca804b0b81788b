"""The service behind a real gRPC server, over a real store and a TMDB that does as it is told."""

import asyncio

import grpc
import pytest

from movie_svc.tests.conftest import Running
from movie_svc.tests.upstream import NOT_FOUND, Reply, film, page
from popcorn.movie.v1 import movie_pb2


async def test_a_film_comes_whole(running: Running) -> None:
    answer = await running.stub.GetMovie(
        movie_pb2.GetMovieRequest(movie_id=194, locale=movie_pb2.Locale(languages=["de-DE"], region="DE"))
    )
    movie = answer.movie
    assert (movie.id, movie.title, movie.language) == (194, "Die fabelhafte Welt der Amélie", "de-DE")
    assert movie.original_title == "Le Fabuleux Destin d'Amélie Poulain"
    assert (movie.release_date.year, movie.release_date.month, movie.release_date.day) == (2001, 4, 25)
    assert movie.poster.medium_url == "https://pictures.example/t/p/w342/tall.jpg"
    assert movie.backdrop.large_url == "https://pictures.example/t/p/w1280/wide.jpg"
    assert [genre.name for genre in movie.genres] == ["Komödie", "Liebesfilm"]
    assert [member.name for member in movie.cast] == ["Audrey Tautou", "Mathieu Kassovitz", "Rufus"]
    assert list(movie.directors) == ["Jean-Pierre Jeunet"]
    assert (movie.certification, movie.runtime_minutes, movie.imdb_id) == ("6", 122, "tt0211915")
    assert movie.trailer.youtube_key == "trailerDe01"
    assert [provider.name for provider in movie.watch.subscription] == ["Netflix", "Amazon Prime Video"]
    assert movie.watch.rent[0].logo_url == ""
    assert movie.watch.subscription[0].logo_url == "https://pictures.example/t/p/w92/logo.jpg"
    assert answer.attribution.tmdb.startswith("This product uses the TMDB API but is not endorsed")
    assert "JustWatch" in answer.attribution.justwatch


async def test_a_film_costs_tmdb_one_request(running: Running) -> None:
    for _ in range(3):
        await running.stub.GetMovie(movie_pb2.GetMovieRequest(movie_id=194))
    [asked] = running.upstream.asked
    assert asked.path == "/3/movie/194"
    assert asked.query["append_to_response"] == (
        "credits,release_dates,videos,translations,watch/providers,external_ids"
    )
    assert asked.query["language"] == "en-US"
