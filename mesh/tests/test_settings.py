import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, SecretStr, ValidationError

from mesh.settings import CommaSeparated, Listen, Settings, Target, WebUrl, load
from mesh.settings.example import discover, example


class Popcorn(Settings):
    """Settings of a service that does not exist."""

    popcorn_url: SecretStr
    """The database, such as postgresql://user:password@host/popcorn."""
    popcorn_listen: Listen = "127.0.0.1:0"
    """Where to listen, host:port."""
    popcorn_target: Target = "backlog:9000"
    """Where the other service is, host:port."""
    popcorn_api: WebUrl = "https://api.example.com/3"
    """The API's address."""
    popcorn_audiences: CommaSeparated = ()
    """Whom tokens are for, with commas between."""
    popcorn_days: int = Field(default=30, ge=1, le=90)
    """How many days it lasts: 1 to 90."""
    popcorn_key: SecretStr = Field(default=SecretStr("a default secret"), min_length=8)
    """Signs things: at least 8 characters."""
    popcorn_kind: Literal["sweet", "salty"] = "sweet"
    """sweet or salty."""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("POPCORN_", "LOG_", "SHUTDOWN_")):
            monkeypatch.delenv(name)


def sentences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **variables: str
) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as raised:
        load(Popcorn)
    assert raised.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "POPCORN_URL": "postgresql://u:p@h/d",
        "POPCORN_LISTEN": "[::1]:9000",
        "POPCORN_TARGET": "dns:///backlog.svc:9000",
        "POPCORN_API": "http://localhost:8082/3/",
        "POPCORN_AUDIENCES": " ios, android ,,web",
        "POPCORN_DAYS": "",
        "LOG_LEVEL": "WARNING",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load(Popcorn)
    assert settings.popcorn_url.get_secret_value() == "postgresql://u:p@h/d"
    assert settings.popcorn_listen == "[::1]:9000"
    assert settings.popcorn_target == "dns:///backlog.svc:9000"
    assert settings.popcorn_api == "http://localhost:8082/3"
    assert settings.popcorn_audiences == ("ios", "android", "web")
    assert settings.popcorn_days == 30  # empty is unset
    assert settings.log_level == "warning"


def test_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPCORN_URL", "x")
    with pytest.raises(ValidationError, match="frozen"):
        load(Popcorn).popcorn_days = 1


def test_a_missing_variable_is_named_with_what_it_should_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentences(monkeypatch, capsys) == [
        "POPCORN_URL is not set: The database, such as postgresql://user:password@host/popcorn."
    ]


def test_everything_that_is_wrong_is_said_at_once_and_no_value_is_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = sentences(
        monkeypatch,
        capsys,
        POPCORN_LISTEN="tell-tale",
        POPCORN_TARGET="tell-tale:0",
        POPCORN_API="ftp://tell-tale",
        POPCORN_DAYS="tell-tale",
        POPCORN_KEY="tellt",
        POPCORN_KIND="tell-tale",
        SHUTDOWN_GRACE_SECONDS="301",
    )
    assert [sentence.split()[0] for sentence in said] == [
        "SHUTDOWN_GRACE_SECONDS",
        "POPCORN_URL",
        "POPCORN_LISTEN",
        "POPCORN_TARGET",
        "POPCORN_API",
        "POPCORN_DAYS",
        "POPCORN_KEY",
        "POPCORN_KIND",
    ]
    assert "tell" not in "".join(said)
    assert (
        "POPCORN_LISTEN is not usable (it should look like 127.0.0.1:9000, port 0 for a free one)" in said[2]
    )
    assert said[6] == "POPCORN_KEY is not usable: Signs things: at least 8 characters."


@pytest.mark.parametrize(
    "listen", ["9000", "localhost", "host:65536", "host:-1", "a b:1", "host:1/x", ":9000"]
)
def test_an_address_to_listen_on_is_a_host_and_a_port(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], listen: str
) -> None:
    [sentence] = sentences(monkeypatch, capsys, POPCORN_URL="x", POPCORN_LISTEN=listen)
    assert sentence.startswith("POPCORN_LISTEN is not usable")


def test_the_example_has_every_variable_once_with_its_docstring_and_default() -> None:
    class Other(Settings):
        """Shares a variable."""

        popcorn_url: SecretStr
        """The other's words for it."""
        other_size: float = 2.5
        """How big."""

    assert example([("popcorn", Popcorn), ("other", Other)]).partition("# ---- popcorn ----\n\n")[2] == (
        "# The database, such as postgresql://user:password@host/popcorn.\n"
        "# Read by other too.\n"
        "# Required.\n"
        "POPCORN_URL=\n\n"
        "# Where to listen, host:port.\n"
        "POPCORN_LISTEN=127.0.0.1:0\n\n"
        "# Where the other service is, host:port.\n"
        "POPCORN_TARGET=backlog:9000\n\n"
        "# The API's address.\n"
        "POPCORN_API=https://api.example.com/3\n\n"
        "# Whom tokens are for, with commas between.\n"
        "# May stay empty.\n"
        "POPCORN_AUDIENCES=\n\n"
        "# How many days it lasts: 1 to 90.\n"
        "POPCORN_DAYS=30\n\n"
        "# Signs things: at least 8 characters.\n"
        "# May stay empty.\n"
        "POPCORN_KEY=\n\n"
        "# sweet or salty.\n"
        "POPCORN_KIND=sweet\n\n"
        "# ---- other ----\n\n"
        "# How big.\n"
        "OTHER_SIZE=2.5\n"
    )


def test_services_that_disagree_about_a_default_are_found_out() -> None:
    class One(Settings):
        """One."""

        size: int = 1
        """How big."""

    class Two(Settings):
        """Another."""

        size: int = 2
        """How big."""

    with pytest.raises(ValueError, match="SIZE has one default in one, another in two"):
        example([("one", One), ("two", Two)])


def test_every_setting_of_every_service_is_documented(repository: Path) -> None:
    for folder, settings_class in discover(repository):
        for name, info in settings_class.model_fields.items():
            assert info.description, f"{folder}: {name} has no docstring"


def test_the_command_prints_writes_and_compares(repository: Path, tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": f"{repository}{os.pathsep}{repository / 'gen'}"}
        return subprocess.run(
            [sys.executable, "-m", "mesh.settings", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    printed = command()
    assert printed.returncode == 0, printed.stderr
    assert (
        "\n# The least level that is logged: debug, info, warning or error.\nLOG_LEVEL=info\n"
        in printed.stdout
    )
    assert command("--check", "example").returncode == 1
    assert command("--write", "example").returncode == 0
    assert (tmp_path / "example").read_text() == printed.stdout
    assert command("--check", "example").returncode == 0
    (tmp_path / "example").write_text(printed.stdout + "X=1\n")
    differing = command("--check", "example")
    assert (differing.returncode, differing.stderr.startswith("example is out of date")) == (1, True)
