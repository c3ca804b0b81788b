"""The description of the mesh: what is started, what is used from elsewhere, and who is given what."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.mesh import Mesh
from dev.processes import StartFailed

_EVERYTHING = {
    "postgres",
    "mongo",
    "valkey",
    "tmdb",
    "idp",
    "signing keys",
    "backlog_svc migrations",
    "gateway migrations",
    "backlog_svc",
    "movie_svc",
    "game_svc",
    "gateway",
    "edge",
}


def _names(mesh: Mesh) -> set[str]:
    return {part.name for part in mesh.parts}


def test_with_no_settings_everything_is_started(tmp_path: Path) -> None:
    assert _names(Mesh(tmp_path, settings={})) == _EVERYTHING


@pytest.mark.parametrize(
    ("setting", "value", "replaced"),
    [
        ("DATABASE_URL", "postgresql://ada@db.example/popcorn", "postgres"),
        ("MONGO_URL", "mongodb://db.example/popcorn", "mongo"),
        ("REDIS_URL", "redis://cache.example/0", "valkey"),
        ("TMDB_API_KEY", "a-real-key", "tmdb"),
    ],
)
def test_what_a_setting_names_is_used_and_not_started(
    tmp_path: Path, setting: str, value: str, replaced: str
) -> None:
    mesh = Mesh(tmp_path, settings={setting: value})
    assert _names(mesh) == _EVERYTHING - {replaced}
    assert mesh.environment[setting] == value


def test_with_a_real_key_the_real_tmdb_is_asked(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path, settings={"TMDB_API_KEY": "a-real-key"})
    assert mesh.tmdb_url is None
    assert "TMDB_URL" not in mesh.environment


def test_with_real_client_ids_the_provider_itself_is_asked(tmp_path: Path) -> None:
    google = Mesh(tmp_path, settings={"GOOGLE_CLIENT_IDS": "ours.apps.googleusercontent.com"})
    assert "idp" in _names(google)
    assert "GOOGLE_CERTS_URL" not in google.environment
    assert google.environment["APPLE_KEYS_URL"] == f"{google.idp_url}/apple/keys"
    both = Mesh(tmp_path, settings={"GOOGLE_CLIENT_IDS": "ours", "APPLE_CLIENT_IDS": "com.example.ours"})
    assert "idp" not in _names(both)
    assert both.idp_url is None


def test_an_empty_setting_is_none(tmp_path: Path) -> None:
    assert "postgres" in _names(Mesh(tmp_path, settings={"DATABASE_URL": ""}))


def test_settings_of_this_process_do_not_leak_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody@elsewhere.example/popcorn")
    monkeypatch.setenv("EDGE_MAX_BODY_BYTES", "none of it")
    mesh = Mesh(tmp_path)
    assert "postgres" in _names(mesh)
    assert "EDGE_MAX_BODY_BYTES" not in mesh.environment


def test_secrets_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    first = Mesh(tmp_path, settings={}).environment
    again = Mesh(tmp_path, settings={}).environment
    assert first["PAGE_TOKEN_KEY"] == again["PAGE_TOKEN_KEY"]
    assert len(first["PAGE_TOKEN_KEY"]) >= 32
    passwords = [url.rpartition("@")[0] for url in (first["DATABASE_URL"], again["DATABASE_URL"])]
    assert passwords[0] == passwords[1]
    files = (tmp_path / "page-token-key", tmp_path / "postgres" / "password")
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]


def test_replicas_of_the_game_are_all_behind_the_edge(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path, settings={}, replicas={"game_svc": 3})
    games = [target for name, target in mesh.targets.items() if name.startswith("game_svc")]
    assert len(set(games)) == 3
    assert mesh.environment["GAME_TARGET"].split(",") == games
    assert {"game_svc", "game_svc-2", "game_svc-3"} <= _names(mesh)


def test_a_bad_setting_of_the_edge_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="EDGE_MAX_BODY_BYTES is not usable"):
        Mesh(tmp_path, settings={"EDGE_MAX_BODY_BYTES": "much"})
