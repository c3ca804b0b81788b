"""A setting that is missing, malformed or contradictory stops a service before it starts, in one sentence."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dev.certificates import Authority, Mounted
from dev.processes import free_port
from gateway.keys import create
from mesh.clock import utc_now
from mesh.settings import Settings, load, variable_of

# Every program that reads settings, by what it is run with.
PROGRAMS = {
    "gateway": "gateway.settings.GatewaySettings",
    "backlog_svc": "backlog_svc.settings.BacklogSettings",
    "movie_svc": "movie_svc.settings.MovieSettings",
    "game_svc": "game_svc.settings.GameSettings",
    "gateway.migrate": "mesh.migrations.MigrationSettings",
    "backlog_svc.migrate": "mesh.migrations.MigrationSettings",
    "movie_svc.fill --top 1": "movie_svc.settings.MovieSettings",
    "mesh.edge": "mesh.edge_settings.EdgeSettings",
}
SERVICES = ("gateway", "backlog_svc", "movie_svc", "game_svc")
SECONDS = 20.0

# What nobody can tell from what was meant: names, and what somebody else made.
FREE = {"TOKEN_ISSUER", "TOKEN_AUDIENCE", "TMDB_API_KEY", "GOOGLE_CLIENT_IDS", "APPLE_CLIENT_IDS"}
# These are looked at together; see `CONTRADICTIONS`.
TOGETHER = {"APPLE_TEAM_ID", "APPLE_KEY_ID", "APPLE_PRIVATE_KEY_FILE"}
TOGETHER |= {"MESH_CERTIFICATE_FILE", "MESH_KEY_FILE", "MESH_AUTHORITIES_FILE"}
# And this is looked at when it is read.
LATER = {"SIGNING_KEYS_FILE"}

CONTRADICTIONS: tuple[tuple[str, dict[str, str], str], ...] = (
    ("gateway", {"APPLE_TEAM_ID": "TEAM"}, "APPLE_TEAM_ID, APPLE_KEY_ID"),
    ("mesh.edge", {"EDGE_TLS_KEY_FILE": __file__}, "EDGE_TLS_CERTIFICATE_FILE"),
    *((name, {"MESH_KEY_FILE": __file__}, "MESH_CERTIFICATE_FILE, MESH_KEY_FILE") for name in PROGRAMS),
    *(
        (name, {"HEALTH_LISTEN": "127.0.0.1:9000", f"{short}_LISTEN": "127.0.0.1:9000"}, f"{short}_LISTEN")
        for name, short in zip(SERVICES, ("GATEWAY", "BACKLOG", "MOVIE", "GAME"), strict=True)
    ),
)


def settings_of(program: str) -> type[Settings]:
    module, _, name = PROGRAMS[program].rpartition(".")
    found: type[Settings] = getattr(importlib.import_module(module), name)
    return found


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Everything that any program requires; the stores are where nobody answers."""
    keys = tmp_path_factory.mktemp("keys") / "signing-keys.json"
    create(keys, now=utc_now())
    nobody = f"127.0.0.1:{free_port()}"
    return {
        "DATABASE_URL": f"postgresql://popcorn:hunter2@{nobody}/popcorn",
        "MONGO_URL": f"mongodb://popcorn:hunter2@{nobody}/popcorn",
        "REDIS_URL": f"redis://popcorn:hunter2@{nobody}/0",
        "TMDB_API_KEY": "hunter2",
        "TMDB_URL": f"http://{nobody}/3",
        "PAGE_TOKEN_KEY": "hunter2" * 6,
        "SIGNING_KEYS_FILE": str(keys),
        "GOOGLE_CLIENT_IDS": "google",
        "APPLE_CLIENT_IDS": "apple",
        "TOKEN_ISSUER": "https://popcorn.test",
        "TOKEN_AUDIENCE": "popcorn",
        **{f"{name}_TARGET": nobody for name in ("GATEWAY", "BACKLOG", "MOVIE", "GAME")},
        **{f"{name}_LISTEN": "127.0.0.1:0" for name in ("GATEWAY", "BACKLOG", "MOVIE", "GAME")},
    }


def sentences(
    program: str,
    variables: Mapping[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """What a program says of its environment; nothing when it takes it."""
    kind = settings_of(program)
    for name, field in kind.model_fields.items():
        monkeypatch.delenv(variable_of(name, field), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    status = None
    try:
        load(kind)
    except SystemExit as stopped:
        status = stopped.code
    told = capsys.readouterr().err.splitlines()
    assert status == (2 if told else None)
    return told


def variables_of(program: str) -> Iterator[tuple[str, Any]]:
    for name, field in settings_of(program).model_fields.items():
        yield variable_of(name, field), field


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_required_setting_is_missed_by_its_name(
    program: str, good: Mapping[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sentences(program, good, capsys, monkeypatch) == []
    required = [variable for variable, field in variables_of(program) if field.is_required()]
    assert required
    for variable in required:
        for nothing in ({}, {variable: ""}):
            rest = {name: value for name, value in good.items() if name != variable}
            [sentence] = sentences(program, rest | nothing, capsys, monkeypatch)
            assert sentence.startswith(f"{variable} is not set: ")
            assert len(sentence) > len(f"{variable} is not set: ") + 10, "it says what it should be"
    # All at once, not one at each start.
    told = sentences(program, {}, capsys, monkeypatch)
    assert [sentence.split()[0] for sentence in told] == required


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_malformed_setting_is_named_and_never_repeated(
    program: str, good: Mapping[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, _ in variables_of(program):
        refused = 0
        for bad in ("hunter3 hunter3", "-1", "99999999999", "hunter3://hunter3"):
            told = sentences(program, {**good, variable: bad}, capsys, monkeypatch)
            if told and variable not in TOGETHER:
                [sentence] = told
                assert sentence.startswith(f"{variable} is not usable"), sentence
                assert "hunter" not in sentence
                refused += 1
        assert refused or variable in FREE | TOGETHER | LATER, f"{variable} may be anything"


@pytest.mark.parametrize(("program", "changes", "names"), CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_told_in_one_sentence(
    program: str,
    changes: Mapping[str, str],
    names: str,
    good: Mapping[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [sentence] = sentences(program, {**good, **changes}, capsys, monkeypatch)
    assert names in sentence
    assert "hunter" not in sentence


@pytest.mark.parametrize("program", PROGRAMS)
def test_certificates_that_do_not_fit_are_told_by_variable(
    program: str,
    good: Mapping[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority, mounted, other = Authority("ours"), Mounted(tmp_path / "a"), Mounted(tmp_path / "b")
    for one in (mounted, other):
        one.put(authority.issue("here"), authority)
    files = {
        "MESH_CERTIFICATE_FILE": str(mounted.files.chain),
        "MESH_KEY_FILE": str(mounted.files.key),
        "MESH_AUTHORITIES_FILE": str(mounted.files.authorities),
    }
    assert sentences(program, {**good, **files}, capsys, monkeypatch) == []
    for variable in files:
        for bad, problem in ((tmp_path / "none", "No such file"), (Path(__file__), "in PEM")):
            [sentence] = sentences(program, {**good, **files, variable: str(bad)}, capsys, monkeypatch)
            assert sentence.startswith(f"{variable} is not usable: {bad} ")
            assert problem in sentence
    strange = {**good, **files, "MESH_KEY_FILE": str(other.files.key)}
    [sentence] = sentences(program, strange, capsys, monkeypatch)
    assert sentence.startswith("MESH_KEY_FILE is not usable: ")
    assert "is not the key of" in sentence


# ---- as processes ----------------------------------------------------------------------------------------


async def started(program: str, repository: Path, variables: Mapping[str, str]) -> asyncio.subprocess.Process:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *program.split()),
        env={**inherited, "PYTHONPATH": os.pathsep.join([".", "gen"]), **variables},
        cwd=repository,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_program_that_misses_a_setting_ends_with_status_2(
    program: str, repository: Path, good: Mapping[str, str]
) -> None:
    missed = next(variable for variable, field in variables_of(program) if field.is_required())
    process = await started(
        program, repository, {name: value for name, value in good.items() if name != missed}
    )
    output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 2
    [sentence] = output.decode().splitlines()
    assert sentence.startswith(f"{missed} is not set: ")


async def test_signing_keys_that_are_none_end_the_gateway_with_status_2(
    repository: Path, good: Mapping[str, str], tmp_path: Path
) -> None:
    nonsense = tmp_path / "nonsense.json"
    nonsense.write_text("nonsense")
    for bad in (nonsense, tmp_path / "none.json"):
        process = await started("gateway", repository, {**good, "SIGNING_KEYS_FILE": str(bad)})
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
        assert process.returncode == 2
        [sentence] = output.decode().splitlines()
        assert sentence.startswith("SIGNING_KEYS_FILE is not usable: ")


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_without_its_store_stays_asks_on_and_says_so_once(
    service: str, repository: Path, good: Mapping[str, str]
) -> None:
    port = free_port()
    process = await started(service, repository, {**good, "HEALTH_LISTEN": f"127.0.0.1:{port}"})
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)

            for _ in range(30):  # time for several rounds of everything that asks a store
                for name, status in (("process", "SERVING"), ("", "NOT_SERVING")):
                    request = health_pb2.HealthCheckRequest(service=name)
                    answer = await health.Check(request, timeout=SECONDS, wait_for_ready=True)
                    assert answer.status == health_pb2.HealthCheckResponse.ServingStatus.Value(status)
                await asyncio.sleep(0.1)
        running = process.returncode is None
    finally:
        process.terminate()
    output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert running
    assert process.returncode == 0
    assert b"hunter" not in output
    lines = [json.loads(line) for line in output.decode().splitlines()]
    told = Counter((line["event"], line.get("about")) for line in lines if line["level"] != "info")
    assert "health.changed" in {event for event, _ in told}
    assert set(told.values()) == {1}, told
