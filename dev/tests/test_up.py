"""`make up`: one sentence for whatever stands in the way, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from dev.mesh import bare_environment
from dev.processes import free_port
from dev.up import Refused, only_one, read_port, read_settings


def _up(data: Path, **settings: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", "dev.up", "--data", str(data), "--settings", str(data / "no.env")],
        cwd=root,
        env={**bare_environment(), "PYTHONPATH": f"{root}{os.pathsep}{root / 'gen'}", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("setting", ["EDGE_PORT", "DEV_IDP_PORT"])
def test_a_taken_port_is_told_in_one_sentence(tmp_path: Path, taken_port: int, setting: str) -> None:
    ports = {"EDGE_PORT": str(free_port()), "DEV_IDP_PORT": str(free_port()), setting: str(taken_port)}
    with _up(tmp_path, **ports) as up:
        output, _ = up.communicate(timeout=60)
    assert up.returncode == 1
    assert output == (
        f"evening-popcorn: Port {taken_port} is taken by another program. Stop that one, or choose another "
        f"port: {setting}={taken_port + 10} make up\n"
    )


def test_a_second_one_is_told_where_the_first_is(tmp_path: Path) -> None:
    with (
        only_one(tmp_path / "lock"),
        pytest.raises(Refused, match=f"up here already, as process {os.getpid()}"),
        only_one(tmp_path / "lock"),
    ):
        pass
    with only_one(tmp_path / "lock"):  # it may start again once the first has ended
        pass


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "\uff18\uff10"])
def test_a_port_that_is_none_is_told_in_a_sentence(port: str) -> None:
    with pytest.raises(Refused, match="EDGE_PORT should be a port number"):
        read_port({"EDGE_PORT": port}, "EDGE_PORT", otherwise=8080)


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("EDGE_PORT=9090\nREDIS_URL=\nLOG_LEVEL=debug\n")
    monkeypatch.setenv("EDGE_PORT", "9191")
    monkeypatch.delenv("REDIS_URL", raising=False)
    settings = read_settings(file)
    assert (settings["EDGE_PORT"], settings["LOG_LEVEL"]) == ("9191", "debug")
    assert "REDIS_URL" not in settings


_UNDER_MAKE = """
import sys, time
from dev.up import make_was_interrupted
print("interrupted" if make_was_interrupted() else "watching", flush=True)
deadline = time.monotonic() + 20
while not make_was_interrupted():
    if time.monotonic() > deadline:
        sys.exit("not noticed")
    time.sleep(0.05)
print("noticed", flush=True)
"""


@contextlib.contextmanager
def _make(folder: Path, *, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """make, running `_UNDER_MAKE`; `before` stands in front of it in the shell."""
    script = folder / "child.py"
    script.write_text(_UNDER_MAKE)
    makefile = folder / "Makefile"
    makefile.write_text(f"all:\n\t@{sys.executable} {script}\n")
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        # The tests themselves may run where signals are ignored, as in the background of a script.
        ["env", "--default-signal", "sh", "-c", f"{before} exec make -f {makefile}"],
        env={**bare_environment(), "PYTHONPATH": f"{root}{os.pathsep}{root / 'gen'}"},
        stdout=subprocess.PIPE,
        text=True,
    ) as make:
        yield make


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_only_make_gets_is_noticed(tmp_path: Path, number: signal.Signals) -> None:
    with _make(tmp_path) as make:
        assert make.stdout
        assert make.stdout.readline() == "watching\n"
        make.send_signal(number)
        assert make.stdout.readline() == "noticed\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_make_that_ignores_sigint_from_the_start_was_not_interrupted(tmp_path: Path) -> None:
    with _make(tmp_path, before="trap '' INT;") as make:  # as in the background of a script
        assert make.stdout
        assert make.stdout.readline() == "watching\n"
        make.terminate()


@pytest.mark.xdist_group("mesh")
def test_up_says_what_works_brings_back_what_dies_and_leaves_nothing(tmp_path: Path) -> None:
    with _up(tmp_path, EDGE_PORT=str(free_port()), DEV_IDP_PORT=str(free_port())) as up:
        try:
            assert up.stdout
            said = _read_until(up.stdout, "Ctrl-C stops everything")
            curl, grpcurl, buf = re.findall(r"^  ((?:curl|grpcurl|\S*/buf curl) .*)$", said, re.MULTILINE)
            assert json.loads(_pasted(curl))["account"]["displayName"] == "Ada Lovelace"
            assert "popcorn.gateway.v1.AccountService/GetAccount" in grpcurl
            assert json.loads(_pasted(buf))["account"]["displayName"] == "Ada Lovelace"

            family = _descendants(up.pid)
            game = next(pid for pid, command in family.items() if "game_svc" in command)
            os.kill(game, signal.SIGKILL)
            assert "game_svc ended with SIGKILL" in _read_until(up.stdout, "game_svc is back.")

            family |= _descendants(up.pid)
            up.send_signal(signal.SIGTERM)
            rest = up.communicate(timeout=30)[0]
            assert rest.endswith(f"Stopped. The data stays in {tmp_path}/.\n")
            assert up.returncode == 0
            assert not [command for pid, command in family.items() if Path(f"/proc/{pid}").exists()]
        finally:
            up.kill()


def _read_until(lines: IO[str], wanted: str) -> str:
    """What is said up to and including the line that has `wanted` in it."""
    said = ""
    for line in lines:
        said += line
        if wanted in line:
            return said
    raise AssertionError(f"{wanted!r} was never said, but:\n{said}")


def _pasted(line: str) -> str:
    return subprocess.run(["bash", "-c", line], check=True, capture_output=True, text=True, timeout=30).stdout


def _descendants(ancestor: int) -> dict[int, str]:
    """Processes below `ancestor`, by pid, with their command lines."""
    commands: dict[int, str] = {}
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                commands[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # it has ended while we looked
            parents[int(entry.name)] = int(stat[1])
    below: dict[int, str] = {}
    for pid, command in commands.items():
        walk = pid
        while walk in parents and walk != ancestor:
            walk = parents[walk]
        if walk == ancestor and pid != ancestor:
            below[pid] = command
    return below
