"""What a missing or bad variable gets."""

import pytest

from mesh.settings import load
from movie_svc.settings import MovieSettings

GOOD = {
    "MONGO_URL": "mongodb://127.0.0.1/popcorn",
    "MOVIE_LISTEN": "127.0.0.1:0",
    "PAGE_TOKEN_KEY": "k" * 32,
    "TMDB_API_KEY": "a-key",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in MovieSettings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_the_real_tmdb_is_the_default() -> None:
    settings = load(MovieSettings)
    assert settings.tmdb_url == "https://api.themoviedb.org/3"
    assert settings.tmdb_image_url == "https://image.tmdb.org/t/p"
    assert settings.tmdb_requests_per_second == 40


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_missing_variable_stops_the_service_with_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(SystemExit) as stopped:
        load(MovieSettings)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"{name} is not set")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TMDB_URL", "api.themoviedb.org"),
        ("TMDB_REQUESTS_PER_SECOND", "0"),
        ("TMDB_REQUESTS_AT_ONCE", "many"),
        ("PAGE_TOKEN_KEY", "short"),
        ("MOVIE_LISTEN", "9000"),
    ],
)
def test_a_bad_variable_stops_the_service_with_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load(MovieSettings)
    assert capsys.readouterr().err.startswith(f"{name} is not usable")


def test_no_secret_is_shown() -> None:
    shown = repr(load(MovieSettings))
    assert GOOD["TMDB_API_KEY"] not in shown
    assert GOOD["MONGO_URL"] not in shown
