import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.logs import scrub

# A process of its own: logging is the process', and pytest has its own ideas about it.
PROCESS = """
import logging, sys, warnings
import structlog
early = structlog.get_logger("early")
from mesh import logs, running
logs.configure("popcorn", {level!r}, {fmt!r})
log = structlog.get_logger("test")
log.debug("too.quiet")
early.info("one", movie_id=603, when=object)
running.enter(running.RunningCall(method="/a.B/C", request_id="request-0001"))
log.warning("two", title="Amélie 🍿", token="hunter2", email="zoe@example.com", note="ask zoe@example.com")
try:
    raise ValueError("postgresql://popcorn:hunter2@db/x eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln")
except ValueError as error:
    log.error("three", exc_info=error)
logging.getLogger("asyncpg").info("four %s", "formatted")
logging.getLogger("httpx").info("GET https://example.com?api_key=hunter2")
logging.getLogger("httpx").warning("five")
try:
    raise KeyError("six zoe@example.com")
except KeyError:
    logging.getLogger("grpc").exception("six")
warnings.warn("seven")
"""


def output(repository: Path, fmt: str, level: str = "info") -> str:
    environment = os.environ | {"PYTHONPATH": f"{repository}{os.pathsep}{repository / 'gen'}"}
    code = PROCESS.format(fmt=fmt, level=level)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def lines(repository: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output(repository, "json").splitlines()]


def test_every_line_is_one_json_object_with_the_same_head(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        assert list(line)[:4] == ["timestamp", "level", "service", "event"]
        assert line["service"] == "popcorn"
        assert line["timestamp"].endswith("Z")
    assert [line["level"] for line in lines] == [
        "info",
        "warning",
        "error",
        "info",
        "warning",
        "error",
        "warning",
    ]


def test_lines_of_a_request_carry_its_id(lines: list[dict[str, Any]]) -> None:
    assert "request_id" not in lines[0]
    assert {line["request_id"] for line in lines[1:]} == {"request-0001"}


def test_the_standard_library_s_loggers_come_out_the_same_way(lines: list[dict[str, Any]]) -> None:
    assert [(line["logger"], line["event"]) for line in lines[3:6]] == [
        ("asyncpg", "four formatted"),
        ("httpx", "five"),
        ("grpc", "six"),
    ]
    assert "Traceback" in lines[5]["exception"]
    assert "seven" in lines[6]["event"]


def test_no_secret_comes_out(repository: Path, lines: list[dict[str, Any]]) -> None:
    assert lines[1]["title"] == "Amélie 🍿"
    assert lines[1]["token"] == "[redacted]"
    assert "ValueError" in lines[2]["exception"]
    for text in (json.dumps(lines), output(repository, "console")):
        for secret in ("hunter2", "eyJ", "zoe@example.com"):
            assert secret not in text


def test_the_console_shows_the_same_to_people(repository: Path) -> None:
    text = output(repository, "console", "warning")
    assert "two" in text
    assert "ValueError" in text
    assert "one" not in [word for line in text.splitlines() for word in line.split()]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("write to zoe.b+x@mail.example.org now", "write to [redacted] now"),
        ("postgresql://user:secret@host:5432/x", "postgresql://user:[redacted]@host:5432/x"),
        ("Bearer eyJhbGciOi.eyJzdWIi.abc-_", "Bearer [redacted]"),
        ("popcorn.game.v1.GameService/Swipe @ 12", "popcorn.game.v1.GameService/Swipe @ 12"),
    ],
)
def test_secrets_are_found_by_their_looks(text: str, clean: str) -> None:
    assert scrub(text) == clean


@given(st.text(max_size=300))
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    assert scrub(scrub(text)) == scrub(text)
