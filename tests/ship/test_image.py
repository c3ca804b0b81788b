"""The image and compose.yaml, as far as they can be looked at without Docker."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh import probe
from mesh.edge_settings import EdgeSettings
from mesh.migrations import MigrationSettings
from mesh.settings import Settings
from tests.ship.cluster import SERVICES
from tests.ship.test_kubernetes import loaded, settings_class


def test_the_image_holds_what_runs_and_nothing_else(repository: Path) -> None:
    lines = (repository / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    kept = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    packages = {service.replace("-", "_") for service in SERVICES}
    assert kept == {"requirements/services.txt", "mesh", "gen", "envoy", *packages}
    assert all((repository / name).exists() for name in kept)
    assert "**/tests" in patterns


def test_the_image_is_pinned_and_runs_as_nobody(repository: Path) -> None:
    text = (repository / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]
    assert "ARG PYTHON_IMAGE\n" in text, "no default: a base is given by digest"
    assert "--require-hashes" in text
    assert "--only-binary :all:" in text
    assert re.search(r"^USER 65532:65532$", text, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["python", "-m"\]$', text, re.MULTILINE)


def compose(repository: Path) -> dict[str, Any]:
    text = (repository / "compose.yaml").read_text()
    # As compose does: ${NAME:-default}, and ${NAME:?message} where there has to be something.
    text = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)
    found: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{[A-Z_]+:\?[^}]*\}", "given", text))
    return found


def test_compose_gives_every_service_what_it_requires(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {
        name: service
        for name, service in compose(repository)["services"].items()
        if service["image"] == "evening-popcorn:local"
    }
    read: dict[str, type[Settings]] = {service: settings_class(service) for service in SERVICES}
    read |= {f"migrate-{service}": MigrationSettings for service in ("gateway", "backlog-svc")}
    read["edge-configuration"] = EdgeSettings
    assert set(ours) == {*read, "signing-keys"}
    for name, kind in read.items():
        variables = {key: str(value) for key, value in ours[name]["environment"].items()}
        loaded(kind, variables, monkeypatch)


def test_compose_locks_every_container(repository: Path) -> None:
    for name, service in compose(repository)["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service["image"].endswith(":latest"), name
        assert ":" in service["image"], name
        # Our own image's user is its own already.
        assert service["image"].startswith("evening-popcorn:") or service["user"].split(":")[0] != "0", name
    redis = compose(repository)["services"]["redis"]["command"]
    assert redis[redis.index("--appendonly") + 1] == "yes"
    assert redis[redis.index("--appendfsync") + 1] == "always"


async def test_the_container_s_health_is_the_service_s(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    statuses = {
        "": health_pb2.HealthCheckResponse.SERVING,
        "process": health_pb2.HealthCheckResponse.NOT_SERVING,
    }

    class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
        async def Check(self, request: Any, _context: object) -> Any:
            return health_pb2.HealthCheckResponse(status=statuses[request.service])

    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Health(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv("HEALTH_LISTEN", f"0.0.0.0:{port}")
    assert await asyncio.to_thread(probe.main, []) == 0
    assert await asyncio.to_thread(probe.main, ["--service", "process"]) == 1
    assert capsys.readouterr().err == f"0.0.0.0:{port} says NOT_SERVING.\n"
    await server.stop(None)
    assert await asyncio.to_thread(probe.main, []) == 1
    assert "does not answer" in capsys.readouterr().err
    monkeypatch.delenv("HEALTH_LISTEN")
    assert probe.main([]) == 2
    assert "HEALTH_LISTEN is not set" in capsys.readouterr().err
