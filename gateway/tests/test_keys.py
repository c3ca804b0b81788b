"""The file of signing keys, and the command that makes it."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
import pytest

from gateway import keys
from gateway.access_tokens import AccessTokens
from gateway.sessions import LiveSession

NOW = datetime(2026, 11, 21, 20, 15, tzinfo=UTC)


def test_the_command_makes_a_file_that_only_its_owner_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "signing.json"
    assert keys.main(["create", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    [entry] = json.loads(file.read_text())["keys"]
    assert entry["kid"] in capsys.readouterr().out
    assert (entry["kty"], entry["crv"], entry["use"], entry["alg"]) == ("EC", "P-256", "sig", "ES256")
    assert keys.read(file, now=datetime.now(UTC)).at(datetime.now(UTC)).key_id == entry["kid"]


def test_a_file_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "signing.json"
    file.write_text("mine")
    assert keys.main(["create", str(file)]) == 1
    assert file.read_text() == "mine"
    assert "exists already" in capsys.readouterr().err


def test_a_folder_that_is_not_there_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys.main(["create", str(tmp_path / "nowhere" / "signing.json")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def key_file(tmp_path: Path, *active_from: datetime) -> tuple[Path, list[str]]:
    """A file with a key for each moment, and the keys' ids."""
    entries = []
    for number, moment in enumerate(active_from):
        keys.create(tmp_path / f"{number}.json", now=moment)
        entries += json.loads((tmp_path / f"{number}.json").read_text())["keys"]
    file = tmp_path / "all.json"
    file.write_text(json.dumps({"keys": entries}))
    return file, [entry["kid"] for entry in entries]


def test_a_key_is_published_before_it_signs_and_after(tmp_path: Path) -> None:
    file, (new, old) = key_file(tmp_path, NOW + timedelta(hours=1), NOW - timedelta(days=9))
    both = keys.read(file, now=NOW)
    assert {key["kid"] for key in both.published} == {new, old}
    assert all("d" not in key for key in both.published)
    assert both.at(NOW).key_id == old
    assert both.at(NOW + timedelta(hours=2)).key_id == new


def test_a_token_says_which_key_signed_it(tmp_path: Path) -> None:
    file, (_, new) = key_file(tmp_path, NOW - timedelta(days=9), NOW)
    tokens = AccessTokens(keys.read(file, now=NOW), issuer="i", audience="a", new_id=lambda: "j")
    session = LiveSession(
        session_id=UUID(int=1), user_id=UUID(int=2), display_name="Ada", guest=False, expire_time=NOW
    )
    token = tokens.sign(session, issued_at=NOW, expires_at=NOW + timedelta(days=1))
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "typ": "at+jwt", "kid": new}


def good_entry(tmp_path: Path) -> dict[str, Any]:
    file, _ = key_file(tmp_path, NOW)
    entry: dict[str, Any] = json.loads(file.read_text())["keys"][0]
    return entry


BAD_FILES: dict[str, Any] = {
    "nothing": lambda _: "",
    "not JSON": lambda _: "{",
    "a list": lambda _: "[]",
    "no keys": lambda _: '{"keys": []}',
    "keys that are numbers": lambda _: '{"keys": [1]}',
    "a public key": lambda entry: json.dumps({"keys": [{k: v for k, v in entry.items() if k != "d"}]}),
    "a key for something else": lambda entry: json.dumps({"keys": [entry | {"use": "enc"}]}),
    "a broken key": lambda entry: json.dumps({"keys": [entry | {"d": "AAAA"}]}),
    "another curve": lambda entry: json.dumps({"keys": [entry | {"crv": "P-384"}]}),
    "a symmetric key": lambda _: json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "use": "sig"}]}),
    "a key for tomorrow only": lambda entry: json.dumps({"keys": [entry | {"nbf": entry["nbf"] + 86400}]}),
    "a time in words": lambda entry: json.dumps({"keys": [entry | {"nbf": "soon"}]}),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_that_cannot_sign_is_refused_with_a_sentence(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "bad.json"
    entry = good_entry(tmp_path)
    file.write_text(content(entry))
    with pytest.raises(keys.KeyFileError) as caught:
        keys.read(file, now=NOW)
    assert str(caught.value).endswith(".")
    assert entry["d"] not in str(caught.value)


def test_a_file_that_is_missing_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(keys.KeyFileError, match=r"cannot be read .*`python -m gateway\.keys create"):
        keys.read(tmp_path / "nowhere.json", now=NOW)


# ---- rotation ----

DELAY = timedelta(minutes=5)
MONTH = timedelta(days=30)


def kids(file: Path, *, now: datetime = NOW) -> list[str]:
    return [key["kid"] for key in keys.read(file, now=now).published]


def test_a_new_key_is_published_at_once_and_signs_after_the_delay(tmp_path: Path) -> None:
    file = tmp_path / "signing.json"
    first = keys.create(file, now=NOW)
    second = keys.rotate(file, now=NOW, activate_after=DELAY)
    assert kids(file) == [first, second]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ring = keys.read(file, now=NOW)
    assert ring.at(NOW + DELAY - timedelta(seconds=1)).key_id == first
    assert ring.at(NOW + DELAY).key_id == second


def test_an_old_key_goes_when_its_last_token_has_run_out(tmp_path: Path) -> None:
    file = tmp_path / "signing.json"
    first = keys.create(file, now=NOW)
    second = keys.rotate(file, now=NOW, activate_after=DELAY)
    last_token_runs_out = NOW + DELAY + MONTH
    assert keys.retire(file, now=last_token_runs_out - timedelta(seconds=1), token_lifetime=MONTH) == []
    assert kids(file) == [first, second]
    assert keys.retire(file, now=last_token_runs_out, token_lifetime=MONTH) == [first]
    assert kids(file, now=last_token_runs_out) == [second]
    assert keys.retire(file, now=last_token_runs_out + 10 * MONTH, token_lifetime=MONTH) == []


def test_a_running_gateway_takes_a_replaced_file_and_leaves_a_broken_one(tmp_path: Path) -> None:
    file = tmp_path / "signing.json"
    first = keys.create(file, now=NOW)
    running = keys.KeyFile(file, clock=lambda: NOW)
    second = keys.rotate(file, now=NOW, activate_after=DELAY)
    running.reload()
    assert [key["kid"] for key in running.published] == [first, second]
    for broken in ("", "{}", '{"keys": []}'):
        file.write_text(broken)
        running.reload()
        assert [key["kid"] for key in running.published] == [first, second]
    file.unlink()
    running.reload()
    assert running.at(NOW).key_id == first


def test_the_commands_say_what_they_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "signing.json"
    assert keys.main(["rotate", str(file)]) == 1
    assert "is not usable" in capsys.readouterr().err
    keys.main(["create", str(file)])
    assert keys.main(["rotate", str(file), "--activate-after", "60"]) == 0
    [_, second] = kids(file, now=datetime.now(UTC))
    assert second in capsys.readouterr().out
    assert keys.main(["retire", str(file)]) == 0
    assert "0 signing key(s)" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["signing.json"]
